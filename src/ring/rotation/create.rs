//! New keys: of KEKs that are there, and of KEKs that are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::intents::Plan;
use super::moves::{Said, linked, moved};
use super::preset::KeyKind;
use super::probe::{Probed, Resolved, check_enabled, named};
use super::revoke::filled;
use super::rotate::Rollout;
use super::same_kek::check_not_compromised;
use super::{Labels, Moved, RingAdmin, refused};
use crate::key::{KekState, Versions};
use crate::ring::draft::Draft;
use crate::ring::record::{IntentStep, KeyRecord, Provenance, Settings};
use crate::ring::view::View;
use crate::ring::witness::Operation;
use crate::ring::{Period, RecordId, Scope, Slot, State};
use crate::value::error::{Error, Result};

/// Where the KEK of a new key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySource {
    /// It is there, at this KEK URI.
    Existing(String),
    /// It is made, at the place of this KEK URI and with its options. For a local key: `file:FOLDER/NAME`, whatever the name.
    MadeBeside(String),
    /// It is a branch key: 32 random bytes that the ring keeps, wrapped under the active key of a wider scope, its parent. Its class and protection are those of
    /// the parent.
    Branch {
        /// The scope of the parent. By default the one in which the settings let keys be provisioned, or else `/`.
        parent: Option<Scope>,
    },
}

/// A key that is to be created.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewKey {
    /// Whose key it is.
    pub scope: Scope,
    /// The place in the wrap section. `default` by default.
    pub slot: Slot,
    /// Where its KEK comes from.
    pub source: KeySource,
    /// How long it is active before it is rotated. By default what the settings say.
    pub cadence: Option<Period>,
    /// How long it opens after its successor became active. By default what the settings say.
    pub overlap: Option<Period>,
    /// Labels. `kind` is `encryption`, `signing` or `credential`, see [`Preset`](super::Preset).
    pub labels: BTreeMap<String, String>,
    /// Why.
    pub reason: String,
}

impl NewKey {
    /// A key of this scope, with defaults for everything else.
    #[must_use]
    pub fn new(scope: Scope, source: KeySource) -> Self {
        Self {
            scope,
            slot: Slot::default(),
            source,
            cadence: None,
            overlap: None,
            labels: BTreeMap::new(),
            reason: "created".to_owned(),
        }
    }

    /// Takes another slot than `default`.
    #[must_use]
    pub fn in_slot(mut self, slot: Slot) -> Self {
        self.slot = slot;
        self
    }

    fn periods(&self, settings: &Settings) -> Result<(Period, Period)> {
        periods(self.cadence, self.overlap, &self.labels, settings)
    }
}

fn periods(
    cadence: Option<Period>,
    overlap: Option<Period>,
    labels: &Labels,
    settings: &Settings,
) -> Result<(Period, Period)> {
    let kind = KeyKind::of(labels)?;
    let cadence = match (cadence, settings.preset) {
        (Some(cadence), _) if cadence.is_zero() => {
            return Err(Error::argument(
                "a cadence must be longer than nothing, for example P90D",
            ));
        }
        (Some(cadence), _) => cadence,
        (None, Some(preset)) => preset.cadence(kind)?,
        (None, None) => settings.cadence,
    };
    Ok((cadence, overlap.unwrap_or(settings.overlap)))
}

impl RingAdmin {
    /// Creates a key. In a scope and slot that have no active key it becomes active, after it has wrapped and unwrapped a probe, and
    /// without waiting for readers, if a [gate](super::Gate) agrees; else it stays pending until it is [promoted](Self::promote).
    ///
    /// # Errors
    /// `LifecycleRefused` if the ring has a key of the same KEK in this scope, or has revoked or destroys one in any, or if another one is being made there; `InvalidArgument`
    /// for a URI, label or period that is wrong, and for a parent scope that is the one of a context; `Unsupported` if no KEK can be made at that
    /// place; `NoKeyForScope` if the parent scope of a branch key has no active key; the kinds of the backend.
    pub async fn create(&self, new: &NewKey) -> Result<Moved> {
        let deed = self.deed(Operation::Create).in_scope(&new.scope);
        self.witnessed(deed, self.do_create(new)).await
    }

    pub(super) async fn do_create(&self, new: &NewKey) -> Result<Moved> {
        self.check_scope(&new.scope).await?;
        match &new.source {
            KeySource::Existing(uri) => {
                let id = RecordId::new(self.inventory().now().await?)?;
                let of = Probed {
                    key: Some(id),
                    scope: &new.scope,
                };
                let resolved = self.resolve(uri, of).await?;
                self.register(new, id, &resolved).await
            }
            KeySource::MadeBeside(uri) => {
                let id = RecordId::new(self.inventory().now().await?)?;
                let step = IntentStep::NewKek { name: name_of(id) };
                self.make_new(new, id, (uri.clone(), step)).await
            }
            KeySource::Branch { parent } => {
                let id = RecordId::new(self.inventory().now().await?)?;
                let parent = self.parent_scope(parent.as_ref(), &new.scope).await?;
                let uri = Provenance::branch(id).uri;
                self.make_new(new, id, (uri, IntentStep::NewBranch { parent }))
                    .await
            }
        }
    }

    /// Makes a key, and promotes it if it is the first one of its scope and slot.
    async fn make_new(&self, new: &NewKey, id: RecordId, (uri, step): (String, IntentStep)) -> Result<Moved> {
        let settings = self.read(&[]).await?.settings().clone();
        let plan = Plan {
            key: id,
            scope: new.scope.clone(),
            slot: new.slot.clone(),
            uri,
            step,
            rollout: Rollout::AtOnce,
            reason: new.reason.clone(),
            labels: new.labels.clone(),
            predecessor: None,
            periods: new.periods(&settings)?,
        };
        let claim = self.begin(std::slice::from_ref(&plan)).await?.pop();
        let claim = claim.ok_or_else(|| refused("nothing was begun"))?;
        let made = self.finish(&claim).await?.key;
        if made.staged {
            return Ok(self.done(&made).await);
        }
        self.promote_pending(made.id, &new.reason).await
    }

    /// Refuses a scope that was shredded, before a backend is called.
    async fn check_scope(&self, scope: &Scope) -> Result<()> {
        let view = self.read(std::slice::from_ref(scope)).await?;
        view.check_not_shredded(scope)
    }

    /// Registers a KEK that is there.
    async fn register(&self, new: &NewKey, id: RecordId, resolved: &Resolved) -> Result<Moved> {
        let first = {
            let view = self.read(std::slice::from_ref(&new.scope)).await?;
            view.active(&new.scope, &new.slot).is_none()
        };
        if first {
            // Somebody may veto what is not in the ring yet.
            let key = self.draft_of(new, resolved).await?;
            self.ask_before_promote(&key, None).await?;
        }
        self.check_kek(&new.scope, &resolved.provenance).await?;
        let is_gated = self.has_gates();
        let key = self
            .change(std::slice::from_ref(&new.scope), |view, draft| {
                check_not_there(view.keys(&new.scope), &resolved.provenance)?;
                check_not_ending(view, &resolved.provenance)?;
                check_not_compromised(view, &new.scope, &resolved.provenance)?;
                let active = view.active(&new.scope, &new.slot);
                if active.is_none() && !first {
                    return Err(refused(
                        "the active key of the scope and slot is gone meanwhile; try again",
                    ));
                }
                let said = Said::new(draft, &new.reason);
                let mut key = KeyRecord::new(
                    id,
                    new.scope.clone(),
                    new.slot.clone(),
                    resolved.provenance.clone(),
                    resolved.algorithm,
                    resolved.protection,
                    new.periods(view.settings())?,
                    said.at,
                );
                key.labels.clone_from(&new.labels);
                key.in_ring_since = draft.revision();
                key.record_move(said.entry(None, State::Pending))?;
                if let Some(active) = active {
                    key.staged = true;
                    key.predecessor = Some(active.id);
                    key.revision = 1;
                    draft.put(&key)?;
                    return Ok(key);
                }
                if is_gated {
                    key.awaits_gate = true;
                    key.revision = 1;
                    draft.put(&key)?;
                    return Ok(key);
                }
                let key = moved(&key, State::Active, &said)?;
                draft.put(&key)?;
                filled(view, &key, draft)?;
                Ok(key)
            })
            .await?;
        if key.awaits_gate {
            return self.promote_pending(key.id, &new.reason).await;
        }
        Ok(self.done(&key).await)
    }

    /// The key as it would be, for those who are asked before it is there.
    async fn draft_of(&self, new: &NewKey, resolved: &Resolved) -> Result<KeyRecord> {
        let now = self.inventory().now().await?;
        let settings = self.read(&[]).await?.settings().clone();
        let mut key = KeyRecord::new(
            RecordId::new(now)?,
            new.scope.clone(),
            new.slot.clone(),
            resolved.provenance.clone(),
            resolved.algorithm,
            resolved.protection,
            new.periods(&settings)?,
            now,
        );
        key.labels.clone_from(&new.labels);
        Ok(key)
    }

    /// Registers a KEK that wraps data already. If unwraps prove which version did it, each version that the backend lists
    /// becomes a key: the newest in the `state` that is asked for, the older ones deprecated. Returns the newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for another state than active and deprecated; `LifecycleRefused` if the scope and slot have an active key and
    /// another one is to be active, or if the ring has a key of the same KEK in this scope, or has revoked or destroys one in any; the kinds of the backend.
    pub async fn adopt(&self, new: &NewKey, state: State) -> Result<Vec<Arc<KeyRecord>>> {
        let deed = self.deed(Operation::Adopt).in_scope(&new.scope);
        self.witnessed(deed, self.do_adopt(new, state)).await
    }

    pub(super) async fn do_adopt(&self, new: &NewKey, state: State) -> Result<Vec<Arc<KeyRecord>>> {
        if !matches!(state, State::Active | State::Deprecated) {
            return Err(Error::argument(
                "a KEK that wraps data already is adopted as active or deprecated",
            ));
        }
        let KeySource::Existing(uri) = &new.source else {
            return Err(Error::argument("only a KEK that is there can be adopted"));
        };
        self.check_scope(&new.scope).await?;
        // How many keys it becomes is known afterwards, and so are their ids.
        let of = Probed {
            key: None,
            scope: &new.scope,
        };
        let resolved = self.resolve(uri, of).await?;
        // The newest first: it is the one that the probe was wrapped under.
        let mut keks = vec![resolved.provenance.clone()];
        if let (Versions::Proven, Some(admin)) = (resolved.versions, &resolved.admin) {
            let all =
                crate::envelope::KekRef::new(&resolved.provenance.provider, &resolved.provenance.id, "")?;
            for version in self.call(admin.describe_versions(&all)).await? {
                // What cannot open anymore is nobody's key.
                let gone = version.state == KekState::Destroyed;
                let kek = Provenance::new(uri, &named(&version.kek, resolved.versions)?)?.one_version(true);
                if !gone && !keks.contains(&kek) {
                    check_adoptable(&version)?;
                    keks.push(kek);
                }
            }
        }
        for kek in &keks {
            self.check_kek(&new.scope, kek).await?;
        }
        let now = self.inventory().now().await?;
        // In the order of their age.
        let mut ids = Vec::new();
        for _ in &keks {
            ids.push(RecordId::new(now)?);
        }
        ids.sort();
        ids.reverse();
        let keys = self
            .change(std::slice::from_ref(&new.scope), |view, draft| {
                if state == State::Active
                    && let Some(active) = view.active(&new.scope, &new.slot)
                {
                    return Err(refused(format!(
                        "the scope {} has the active key {} in slot {}; adopt as deprecated, or create a key and promote it",
                        new.scope, active.id, new.slot
                    )));
                }
                let mut keys: Vec<KeyRecord> = Vec::new();
                for (kek, id) in keks.iter().zip(&ids) {
                    check_not_there(view.keys(&new.scope), kek)?;
                    check_not_ending(view, kek)?;
                    check_not_compromised(view, &new.scope, kek)?;
                    let state = if keys.is_empty() { state } else { State::Deprecated };
                    let mut key = adopted(new, &resolved, kek, *id, state, view.settings(), draft)?;
                    if let Some(newer) = keys.last_mut() {
                        newer.predecessor = Some(*id);
                        key.successor = Some(newer.id);
                    }
                    keys.push(key);
                }
                for key in &keys {
                    draft.put(key)?;
                    if key.state == State::Active {
                        filled(view, key, draft)?;
                    }
                }
                Ok(keys)
            })
            .await?;
        Ok(keys.into_iter().map(Arc::new).collect())
    }
}

/// A disabled version may be enabled again, so it belongs into the ring.
fn check_adoptable(version: &crate::key::KekDescription) -> Result<()> {
    match version.state {
        KekState::Disabled => Ok(()),
        _ => check_enabled(version),
    }
}

fn adopted(
    new: &NewKey,
    resolved: &Resolved,
    kek: &Provenance,
    id: RecordId,
    state: State,
    settings: &Settings,
    draft: &Draft<'_>,
) -> Result<KeyRecord> {
    let said = Said::new(draft, &new.reason);
    let mut key = KeyRecord::new(
        id,
        new.scope.clone(),
        new.slot.clone(),
        kek.clone(),
        resolved.algorithm,
        resolved.protection,
        new.periods(settings)?,
        said.at,
    );
    key.labels.clone_from(&new.labels);
    key.in_ring_since = draft.revision();
    key.record_move(said.entry(None, state))?;
    key.state = state;
    key.has_wrapped = true;
    match state {
        State::Active => {
            key.activated = Some(said.at);
            key.next_rotation = Some(key.cadence.after(said.at)?);
        }
        _ => {
            key.deprecated = Some(said.at);
            key.retirement_due = Some(key.overlap.after(said.at)?);
        }
    }
    Ok(linked(&key))
}

/// Refuses a second key of one KEK in one scope: which of them would a wrap be under?
pub(super) fn check_not_there(keys: &[Arc<KeyRecord>], kek: &Provenance) -> Result<()> {
    let is_same = |key: &&Arc<KeyRecord>| {
        let there = &key.provenance;
        !key.taken_back
            && (&there.provider, &there.id, &there.version) == (&kek.provider, &kek.id, &kek.version)
    };
    match keys.iter().find(is_same) {
        None => Ok(()),
        Some(key) => Err(refused(format!(
            "the key {} of this scope is that KEK, and is {}",
            key.id, key.state
        ))),
    }
}

/// Refuses a KEK that is being destroyed as a key of another scope: what is sealed under it would be lost. The head names those, so
/// that this holds for the whole ring at the revision that the change follows.
pub(super) fn check_not_ending(view: &View, kek: &Provenance) -> Result<()> {
    match view.ending(kek) {
        None => Ok(()),
        Some(key) => Err(refused(format!(
            "the KEK is being destroyed, as the key {key} of this ring: cancel that, or take another KEK"
        ))),
    }
}

/// The name of a KEK that is made for a key.
pub(super) fn name_of(key: RecordId) -> String {
    format!("waxseal-{key}")
}
