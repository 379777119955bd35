//! All keys of one KEK, in whichever scopes they are.

use std::sync::Arc;

use super::exposed::Found;
use super::{RingAdmin, refused};
use crate::ring::draft::Draft;
use crate::ring::record::{KeyRecord, Provenance};
use crate::ring::view::{View, no_such_key};
use crate::ring::{RecordId, Scope, State};
use crate::value::error::{Error, ErrorKind, Result};

/// The most scopes that may have keys of one KEK when one of them is rotated or destroyed.
const SHARING: u32 = 10_000;
/// How many of them are read at once.
const PAGE: usize = 500;
/// How often everything is looked at again because the ring was changed meanwhile.
const LOOKS: usize = 16;

impl RingAdmin {
    /// Decides on a change with all keys of the KEK of this key in view: those that a look at the whole ring has found, at the same
    /// revision. An inventory's index of KEKs is not signed, and one that leaves a scope out must not get its key destroyed.
    ///
    /// This reads and verifies the whole ring. Destroying is rare, and in no hurry.
    pub(super) async fn change_same_kek<T: Send>(
        &self,
        id: RecordId,
        decide: impl FnMut(&View, &mut Draft<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let (_, key) = self.find(id).await?;
        if key.branch.is_some() {
            // Nobody else has it.
            return self.change(std::slice::from_ref(&key.scope), decide).await;
        }
        let look = |whole: &View| {
            let key = whole.key(id).ok_or_else(|| no_such_key(id))?;
            scopes_of(whole, &key.provenance)
        };
        self.change_whole(look, decide).await
    }

    /// Decides on a change of those scopes that `look` names after a look at the whole ring, at the same revision.
    ///
    /// This reads and verifies the whole ring, as `ring check` does.
    pub(super) async fn change_whole<T: Send>(
        &self,
        mut look: impl FnMut(&View) -> Result<Vec<Scope>> + Send,
        mut decide: impl FnMut(&View, &mut Draft<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        for _ in 0..LOOKS {
            let (scopes, revision) = {
                let whole = self.reader.whole().await?;
                (look(&whole)?, whole.revision())
            };
            let decided = self
                .change(&scopes, |view, draft| match view.revision() == revision {
                    true => decide(view, draft).map(Some),
                    false => Ok(None),
                })
                .await?;
            if let Some(decided) = decided {
                return Ok(decided);
            }
        }
        Err(Error::new(ErrorKind::Conflict)
            .with_detail("the ring was changed each time before the whole of it was looked at; try again"))
    }

    /// Refuses a KEK that was revoked as a key of another scope: whoever has it has this one. The scopes are found by the inventory's index, which nobody signs; each
    /// record is verified, and one that was tampered with hinders no other. Whoever commits checks its own scope, by the view that it decides on.
    pub(super) async fn check_kek(&self, scope: &Scope, kek: &Provenance) -> Result<()> {
        let mut scopes = self
            .inventory()
            .scopes_of_kek(&kek.provider, &kek.id, SHARING + 1)
            .await?;
        scopes.retain(|one| one != scope);
        for page in scopes.chunks(PAGE) {
            for view in self.readable(page, &mut Found::default()).await? {
                check_not_compromised(&view, scope, kek)?;
            }
        }
        Ok(())
    }

    /// Every scope that has a key of this KEK, beside `scope`, as the inventory's index has it. A hint: nothing may depend on its being
    /// complete.
    pub(super) async fn scopes_sharing(
        &self,
        scope: &Scope,
        provider: &str,
        kek_id: &str,
    ) -> Result<Vec<Scope>> {
        let mut scopes = self
            .inventory()
            .scopes_of_kek(provider, kek_id, SHARING + 1)
            .await?;
        check_count(scopes.len())?;
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
        Ok(scopes)
    }
}

fn check_count(scopes: usize) -> Result<()> {
    if scopes <= SHARING as usize {
        return Ok(());
    }
    Err(Error::new(ErrorKind::OverLimit {
        limit: "the number of scopes that share a KEK",
        max: u64::from(SHARING),
    }))
}

/// Refuses a KEK that was revoked, as a key of what was read.
pub(super) fn check_not_compromised(view: &View, scope: &Scope, kek: &Provenance) -> Result<()> {
    let mut keys = view.all_keys();
    match keys.find(|key| key.revocation().is_some() && key.provenance.overlaps(kek)) {
        None => Ok(()),
        Some(key) => Err(refused(format!(
            "the KEK was revoked as the key {} of scope {}, for good: whoever has it would have what is sealed in scope {scope}. Take another KEK",
            key.id, key.scope
        ))),
    }
}

fn scopes_of(view: &View, kek: &Provenance) -> Result<Vec<Scope>> {
    let keys = view.all_keys().filter(|key| key.provenance.overlaps(kek));
    let mut scopes: Vec<_> = keys.map(|key| key.scope.clone()).collect();
    scopes.sort();
    scopes.dedup();
    check_count(scopes.len())?;
    Ok(scopes)
}

/// The other keys of a KEK, or of some of it, that are not gone.
pub(super) fn others<'v>(view: &'v View, key: &'v KeyRecord) -> impl Iterator<Item = &'v Arc<KeyRecord>> {
    view.all_keys().filter(|other| {
        other.id != key.id && other.state != State::Destroyed && other.provenance.overlaps(&key.provenance)
    })
}
