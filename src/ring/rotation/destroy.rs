//! Keys that are destroyed: slowly, and never without evidence.
//!
//! # Steps
//! 1. [`destroy`](RingAdmin::destroy) begins the cooling-off. Nothing happens at the backend.
//! 2. After it, a tick commits that it is about to tell the backend, in the records of all keys of the KEK: each of them must be in
//!    destruction, with evidence of its own.
//! 3. It tells the backend, and commits that the backend was told.
//! 4. When the backend says that the KEK is destroyed, all those keys are.
//!
//! A cancellation before step 2 needs no backend. After it, the cancellation is committed first, so that nobody tells the backend
//! anew; then the backend is asked, and calls the destruction off.

use super::evidence::Evidence;
use super::moves::{Said, moved};
use super::parents::check_exported;
use super::promote::in_state;
use super::same_kek::others;
use super::{Moved, RingAdmin, refused};
use crate::envelope::KekRef;
use crate::key::{KekDescription, KekState};
use crate::ring::record::KeyRecord;
use crate::ring::view::{View, no_such_key};
use crate::ring::witness::Operation;
use crate::ring::{RecordId, State, Time};
use crate::value::error::{Error, ErrorKind, Result};

impl RingAdmin {
    /// Begins to destroy a retired or compromised key. For as long as the setting `cooling_off` says, nothing happens at the backend,
    /// and [`cancel_destroy`](Self::cancel_destroy) takes it back. Then a [`tick`](Self::tick) tells the backend. From now on
    /// nobody can register the KEK in another scope.
    ///
    /// If the KEK is a key of other scopes too, the backend is told only when all of them are being destroyed, each with evidence of its
    /// own; [`Moved::warnings`] names those that are not yet.
    ///
    /// This reads the whole ring.
    ///
    /// # Errors
    /// `LifecycleRefused` if it is neither retired nor compromised, another key of the same KEK may still be needed, branch keys are wrapped under
    /// it, or were until after the newest export of the ring ([`remember_export`](Self::remember_export)), or the evidence does
    /// not count or finds something under the KEK; `OverLimit` if too many keys are being destroyed at once.
    pub async fn destroy(&self, id: RecordId, evidence: &Evidence, reason: &str) -> Result<Moved> {
        let deed = self.deed(Operation::Destroy).of_key(id).on_grounds("evidence");
        self.witnessed(deed, self.do_destroy(id, evidence, reason)).await
    }

    pub(super) async fn do_destroy(&self, id: RecordId, evidence: &Evidence, reason: &str) -> Result<Moved> {
        let (_, key) = self.find(id).await?;
        let branches = self.branches_of(&key).await?;
        let (key, waits) = self
            .change_same_kek(id, |view, draft| {
                let key = view.key(id).ok_or_else(|| no_such_key(id))?;
                // The table comes first: what it does not allow needs no evidence.
                key.state.check_move(State::Destroying)?;
                check_not_shredding(view, key)?;
                evidence.check(key, view.settings(), draft.now())?;
                check_unneeded(view, key)?;
                branches.check_none(view, key)?;
                check_exported(view, key)?;
                let waits = others(view, key)
                    .filter_map(|other| waits_for(key, other))
                    .collect();
                let said = Said::new(draft, reason);
                let said = said.with_evidence(Some(evidence.history_digest()));
                let mut key = moved(key, State::Destroying, &said)?;
                key.destruction_due = Some(view.settings().cooling_off.after(said.at)?);
                draft.put(&key)?;
                Ok::<(KeyRecord, Vec<String>), Error>((key, waits))
            })
            .await?;
        let mut done = self.done(&key).await;
        done.warnings.extend(waits.into_iter().map(refused));
        Ok(done)
    }

    /// Records that a key was destroyed by the backend's own means, where the backend cannot say so.
    ///
    /// The backend is asked first. If it cannot be asked, the record is made all the same, its history says why, and so does
    /// [`Moved::warnings`].
    ///
    /// # Errors
    /// `LifecycleRefused` if it is not being destroyed, its cooling-off is not over, or the backend says that it still has the KEK.
    pub async fn attest_destroyed(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let deed = self.deed(Operation::AttestDestroyed).of_key(id);
        self.witnessed(deed, self.do_attest_destroyed(id, reason)).await
    }

    pub(super) async fn do_attest_destroyed(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let (view, key) = self.find(id).await?;
        // Nobody is asked about what is refused anyway.
        check_cooled(
            in_state(&view, id, State::Destroying)?,
            self.reader.time(&view).await?,
        )?;
        if key.branch.is_some() {
            return self.destroyed(&key, reason, false).await;
        }
        let unasked = match self.describe(&key).await {
            Ok(described) if described.state == KekState::Destroyed => None,
            Ok(described) => {
                return Err(refused(format!(
                    "the key {id} is not gone: its backend says that the KEK is {}",
                    words(described.state)
                )));
            }
            Err(error) if error.kind() == ErrorKind::KeyNotFound => None,
            Err(error) => Some(error),
        };
        let reason = match &unasked {
            None => reason.to_owned(),
            Some(error) => format!(
                "{reason} (attested: the backend could not be asked, {})",
                error.kind()
            ),
        };
        let mut done = self.destroyed(&key, &short(&reason), false).await?;
        done.warnings.extend(unasked.map(|error| {
            let why = error.to_string();
            error.with_detail(format!(
                "the backend could not be asked whether the KEK is gone: {why}"
            ))
        }));
        Ok(done)
    }

    /// Records that a key is gone: with all keys of its KEK, if the backend was told of them and says so.
    pub(super) async fn destroyed(&self, key: &KeyRecord, reason: &str, by_backend: bool) -> Result<Moved> {
        let id = key.id;
        let kek = &key.provenance;
        // Whom the index does not name finds out by asking the backend.
        let scopes = match by_backend {
            true => self.scopes_sharing(&key.scope, &kek.provider, &kek.id).await?,
            false => vec![key.scope.clone()],
        };
        let (key, rest) = self
            .change(&scopes, |view, draft| {
                let key = in_state(view, id, State::Destroying)?;
                check_cooled(key, draft.now())?;
                let said = Said::new(draft, reason);
                let next = moved(key, State::Destroyed, &said)?;
                draft.put(&next)?;
                let mut rest = Vec::new();
                let is_gone = |other: &&std::sync::Arc<KeyRecord>| {
                    by_backend && other.destruction_told && key.provenance.covers(&other.provenance)
                };
                for other in others(view, key).filter(is_gone) {
                    let other = moved(other, State::Destroyed, &said)?;
                    draft.put(&other)?;
                    rest.push(other);
                }
                Ok::<(KeyRecord, Vec<KeyRecord>), Error>((next, rest))
            })
            .await?;
        let mut done = self.done(&key).await;
        for other in &rest {
            done.warnings.extend(self.tell(other).await);
        }
        Ok(done)
    }

    /// What the backend says of a KEK.
    pub(super) async fn describe(&self, key: &KeyRecord) -> Result<KekDescription> {
        if key.branch.is_some() {
            return Err(Error::unsupported("the description of a branch key")
                .with_detail("a branch key is in the ring, and no backend knows of it"));
        }
        let admin = self.call(self.backends.admin(&key.provenance.uri)).await?;
        let kek = key.provenance.kek()?;
        if !key.provenance.nameless {
            return self.call(admin.describe(&kek)).await;
        }
        // An empty version would mean any.
        let all = KekRef::new(kek.provider(), kek.id(), "")?;
        let versions = self.call(admin.describe_versions(&all)).await?;
        let mut own = versions
            .into_iter()
            .filter(|version| version.kek.version().is_empty());
        own.next()
            .ok_or_else(|| Error::new(ErrorKind::KeyNotFound).with_provider(kek.provider().to_owned()))
    }
}

/// Refuses to do with one key of a scope that was shredded what is done with all of them.
pub(super) fn check_not_shredding(view: &View, key: &KeyRecord) -> Result<()> {
    match view.tombstone(&key.scope) {
        None => Ok(()),
        Some(tombstone) => Err(refused(format!(
            "the key {} goes with its scope: {}; what is done is done with the whole scope (`waxseal keys shred --scope {}`)",
            key.id,
            tombstone.words(),
            key.scope
        ))),
    }
}

/// Refuses to destroy a KEK that is another key, too, under which something is or may be.
pub(super) fn check_unneeded(view: &View, key: &KeyRecord) -> Result<()> {
    let is_needed = |other: &&std::sync::Arc<KeyRecord>| {
        !matches!(
            other.state,
            State::Retired | State::Compromised | State::Destroying
        )
    };
    let mut needed = others(view, key).filter(is_needed);
    match needed.next() {
        None => Ok(()),
        Some(other) => Err(refused(format!(
            "the key {} is the same KEK as the key {} of scope {}, which is {}",
            key.id, other.id, other.scope, other.state
        ))),
    }
}

/// Why the backend is not told yet: another key of the same KEK is not being destroyed.
pub(super) fn waits_for(key: &KeyRecord, other: &KeyRecord) -> Option<String> {
    let what = match other.state {
        State::Destroying if other.destruction_cancelled.is_some() => "being kept",
        State::Destroying => return None,
        state => state.name(),
    };
    Some(format!(
        "the key {} is the same KEK as the key {} of scope {}, which is {what}: destroy that one as well, with evidence of its own, \
         and the backend is told of both",
        key.id, other.id, other.scope
    ))
}

/// Refuses to destroy before its time.
pub(super) fn check_cooled(key: &KeyRecord, now: Time) -> Result<()> {
    match key.destruction_due {
        Some(due) if due > now => Err(refused(format!(
            "the key {} is not to be destroyed before {due}",
            key.id
        ))),
        _ => Ok(()),
    }
}

pub(super) fn words(state: KekState) -> &'static str {
    match state {
        KekState::Enabled => "enabled",
        KekState::Disabled => "disabled",
        KekState::PendingDestruction => "about to be destroyed",
        KekState::Destroyed => "destroyed",
    }
}

/// A reason as long as a record takes it.
fn short(reason: &str) -> String {
    reason
        .get(..reason.floor_char_boundary(1024))
        .unwrap_or_default()
        .to_owned()
}
