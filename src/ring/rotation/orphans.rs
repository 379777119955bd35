//! What was made at a backend, and is no key of the ring.

use std::collections::BTreeSet;

use super::RingAdmin;
use crate::envelope::KekRef;
use crate::key::{KekState, Versions};
use crate::ring::record::{Intent, IntentStep, KeyRecord, Provenance};
use crate::ring::witness::Operation;
use crate::ring::{RecordId, Scope, State};
use crate::value::error::{Error, ErrorKind, Result};

/// A KEK or a version that a rotation may have made, or somebody beside the ring, and that is no key of the ring. It is never
/// used. To get rid of it, use the backend's own means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Orphan {
    /// The provider of the KEK, if it is known.
    pub provider: String,
    /// The id of the KEK, or the name that it would have.
    pub kek: String,
    /// The version, if it is one.
    pub version: String,
    /// The intent that was given up, if that is what it comes from.
    pub intent: Option<RecordId>,
}

impl Orphan {
    pub(super) fn version(kek: &Provenance, version: &str) -> Self {
        Self {
            provider: kek.provider.clone(),
            kek: kek.id.clone(),
            version: version.to_owned(),
            intent: None,
        }
    }

    fn of_intent(intent: &Intent, predecessor: Option<&KeyRecord>) -> Self {
        let old = predecessor.map(|key| &key.provenance);
        Self {
            provider: old.map(|old| old.provider.clone()).unwrap_or_default(),
            kek: match &intent.step {
                IntentStep::NewKek { name } => name.clone(),
                IntentStep::NewVersion { .. } => old.map(|old| old.id.clone()).unwrap_or_default(),
                IntentStep::NewBranch { .. } => intent.key.to_string(),
            },
            version: String::new(),
            intent: Some(intent.id),
        }
    }
}

impl RingAdmin {
    /// Gives up what a rotation has begun. What it may have made at the backend is an [`Orphan`] from now on.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such intent; `Conflict` while somebody is at work on it.
    pub async fn abandon(&self, intent: RecordId, reason: &str) -> Result<()> {
        let deed = self.deed(Operation::Abandon).of_key(intent);
        self.witnessed(deed, self.do_abandon(intent, reason)).await
    }

    pub(super) async fn do_abandon(&self, intent: RecordId, reason: &str) -> Result<()> {
        let missing = || Error::argument(format!("the ring has no intent {intent}"));
        let scope = self.inventory().scope_of(intent).await?.ok_or_else(missing)?;
        self.change(std::slice::from_ref(&scope), |view, draft| {
            let mut intents = view.intents(&scope).iter();
            let found = intents.find(|found| found.id == intent).ok_or_else(missing)?;
            if found.is_held(draft.at()) {
                return Err(super::intents::under_way(found, draft.at()));
            }
            if found.abandoned.is_some() {
                return Ok(());
            }
            let mut given_up = found.claim(self.owner(), draft.at());
            given_up.abandoned = Some(reason.to_owned());
            draft.put(&given_up)
        })
        .await
    }

    /// Looks for orphans of a scope: intents that were given up, and versions at the backends that are newer than the first one that
    /// the ring knows and are none of its keys.
    ///
    /// # Errors
    /// The kinds of the backends.
    pub async fn orphans(&self, scope: &Scope) -> Result<Vec<Orphan>> {
        let view = self.read(std::slice::from_ref(scope)).await?;
        // What was given up of a branch key is nowhere.
        let is_somewhere = |intent: &&Intent| !matches!(intent.step, IntentStep::NewBranch { .. });
        let given_up = view
            .intents(scope)
            .iter()
            .filter(|intent| intent.abandoned.is_some())
            .filter(is_somewhere);
        let mut orphans: Vec<_> = given_up
            .map(|intent| {
                let predecessor = intent.predecessor.and_then(|id| view.key(id));
                Orphan::of_intent(intent, predecessor.map(|key| &**key))
            })
            .collect();
        let mut looked = BTreeSet::new();
        for key in view.keys(scope) {
            let kek = &key.provenance;
            let is_versioned = key.state == State::Active && !kek.version.is_empty();
            if is_versioned && looked.insert((kek.provider.clone(), kek.id.clone())) {
                orphans.extend(self.stray_versions(scope, kek).await?);
            }
        }
        Ok(orphans)
    }

    /// Those of these orphans that no scope of the ring has as a key. None if that cannot be proven now: a later look finds them.
    pub(super) async fn proven(&self, mut orphans: Vec<Orphan>) -> Vec<Orphan> {
        if orphans.is_empty() {
            return orphans;
        }
        match self.reader.whole().await {
            Ok(view) => orphans.retain(|orphan| {
                let mut keys = view.all_keys();
                !keys.any(|key| {
                    is_of(key, &orphan.provider, &orphan.kek) && key.provenance.version == orphan.version
                })
            }),
            Err(error) => {
                tracing::warn!(%error, "what a rotation found beside its own version could not be compared with the whole ring");
                orphans.clear();
            }
        }
        orphans
    }

    async fn stray_versions(&self, scope: &Scope, kek: &Provenance) -> Result<Vec<Orphan>> {
        let manager = self.call(self.backends.key(kek)).await?;
        if manager.capabilities().versions != Versions::Proven {
            return Ok(Vec::new());
        }
        let admin = match self.call(self.backends.admin(&kek.uri)).await {
            Ok(admin) => admin,
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let all = KekRef::new(&kek.provider, &kek.id, "")?;
        let versions = self.call(admin.describe_versions(&all)).await?;
        // After the backend was asked: what is recorded meanwhile is known.
        // The whole ring: whoever hides a scope from the index would have its versions called strays, and somebody would destroy them.
        let view = self.reader.whole().await?;
        let is_sharing =
            |of: &&Scope| *of == scope || view.keys(of).iter().any(|key| is_of(key, &kek.provider, &kek.id));
        let mut intents = view
            .scopes
            .keys()
            .filter(is_sharing)
            .flat_map(|scope| view.intents(scope));
        if intents.any(|intent| intent.abandoned.is_none()) {
            // One of them may be somebody's work.
            return Ok(Vec::new());
        }
        let known: BTreeSet<_> = view
            .all_keys()
            .filter(|key| is_of(key, &kek.provider, &kek.id))
            .map(|key| key.provenance.version.as_str())
            .collect();
        // The newest first: older than the oldest that is known is what was there before the ring.
        let oldest = versions
            .iter()
            .rposition(|version| known.contains(version.kek.version()));
        let newer = versions.iter().take(oldest.unwrap_or(0));
        let strays = newer
            .filter(|version| version.state != KekState::Destroyed && !known.contains(version.kek.version()));
        Ok(strays
            .map(|version| Orphan::version(kek, version.kek.version()))
            .collect())
    }
}

/// Whether a key is of this KEK, in whatever version.
fn is_of(key: &KeyRecord, provider: &str, kek: &str) -> bool {
    key.provenance.provider == provider && key.provenance.id == kek
}
