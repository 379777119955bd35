//! Rotation: a successor is made, recorded, probed and promoted.

use std::fmt;
use std::sync::Arc;

use super::intents::{Claim, under_way};
use super::moves::{Said, noted};
use super::orphans::Orphan;
use super::revoke::{awaits_key, awaits_successor, is_lost};
use super::{RingAdmin, refused};
use crate::ring::record::KeyRecord;
use crate::ring::view::{View, no_such_key};
use crate::ring::witness::Operation;
use crate::ring::{RecordId, Scope, Slot, State};
use crate::value::error::{Error, ErrorKind, Result};

/// Which keys are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The active key of this id.
    Key(RecordId),
    /// The active key of a scope and slot.
    Slot(Scope, Slot),
    /// The active keys of a scope, in every slot.
    Scope(Scope),
}

/// How a successor comes into use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rollout {
    /// It is promoted as soon as readers can use it.
    #[default]
    AtOnce,
    /// It waits until somebody promotes it.
    Staged,
    /// It wraps for this share of the contexts, in percent, until somebody promotes it.
    Canary(u8),
}

/// Something that happened, and after which keys are rotated without waiting for their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Somebody else may have seen a key, or could use it.
    SuspectedExposure,
    /// Somebody who had access has none anymore.
    Personnel,
    /// A policy was changed.
    Policy,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SuspectedExposure => "suspected exposure",
            Self::Personnel => "personnel",
            Self::Policy => "policy",
        })
    }
}

/// What a rotation has done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rotated {
    /// The new key.
    pub key: RecordId,
    /// The key that was rotated.
    pub predecessor: RecordId,
    /// The state of the new key.
    pub state: State,
    /// Why it is not active yet, if that is not how it was asked for. A tick promotes it when nothing hinders it anymore.
    pub hindered: Option<Error>,
    /// Versions that somebody else has made at the backend meanwhile. They are no keys of the ring.
    pub orphans: Vec<Orphan>,
    /// What went wrong after it was done: hooks that failed.
    pub warnings: Vec<Error>,
}

/// What the rotation of several keys has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Rotation {
    /// Keys whose successor is in the ring.
    pub rotated: Vec<Rotated>,
    /// Keys whose successor is not there yet. It was begun, and a tick goes on with it after the lease.
    pub unfinished: Vec<Unfinished>,
}

/// A rotation that was begun, and that a tick goes on with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unfinished {
    /// The new key, as it will be.
    pub key: RecordId,
    /// The key that is rotated.
    pub predecessor: RecordId,
    /// Its scope.
    pub scope: Scope,
    /// Why its successor is not there yet.
    pub error: Error,
}

impl RingAdmin {
    /// Rotates keys. A successor is made at the backend: a new version where an unwrap proves which version did it, else a new KEK
    /// beside the old one. A key that was active when it was revoked, and that no other key has followed, is rotated as well.
    ///
    /// # Errors
    /// `NoKeyForScope` if the scope has no active key; `LifecycleRefused` if the key is not active, or its successor waits already;
    /// `Conflict` while another process rotates it; `Unsupported` if the backend cannot make a successor; the kinds of the backend. If a call
    /// of the backend fails, a tick goes on with the rotation after the lease.
    pub async fn rotate(&self, target: &Target, rollout: Rollout, reason: &str) -> Result<Vec<Rotated>> {
        let deed = self.on_targets(Operation::Rotate, std::slice::from_ref(target));
        self.witnessed(deed, self.do_rotate(target, rollout, reason))
            .await
    }

    pub(super) async fn do_rotate(
        &self,
        target: &Target,
        rollout: Rollout,
        reason: &str,
    ) -> Result<Vec<Rotated>> {
        let mut rotation = self
            .do_rotate_all(std::slice::from_ref(target), rollout, reason)
            .await?;
        match rotation.unfinished.pop() {
            None => Ok(rotation.rotated),
            Some(unfinished) => Err(unfinished.error),
        }
    }

    /// Rotates the keys of several targets. All of them are begun in one change of the ring, or none: so nothing is done if one of them
    /// cannot be rotated. What is begun is then done one after the other; if that fails for one, the others go on, and
    /// [`Rotation::unfinished`] names it.
    ///
    /// # Errors
    /// Before anything was begun: as [`rotate`](Self::rotate).
    pub async fn rotate_all(&self, targets: &[Target], rollout: Rollout, reason: &str) -> Result<Rotation> {
        let deed = self.on_targets(Operation::Rotate, targets);
        self.witnessed(deed, self.do_rotate_all(targets, rollout, reason))
            .await
    }

    pub(super) async fn do_rotate_all(
        &self,
        targets: &[Target],
        rollout: Rollout,
        reason: &str,
    ) -> Result<Rotation> {
        if let Rollout::Canary(percent) = rollout
            && !(1..=100).contains(&percent)
        {
            return Err(Error::argument(format!(
                "a canary share is 1 to 100 percent, got {percent}"
            )));
        }
        let mut keys: Vec<Arc<KeyRecord>> = Vec::new();
        for target in targets {
            let found = self.targets(target).await?;
            let new = |key: &Arc<KeyRecord>| !keys.iter().any(|other| other.id == key.id);
            let new: Vec<_> = found.into_iter().filter(new).collect();
            keys.extend(new);
        }
        self.rotate_keys(&keys, rollout, reason).await
    }

    /// Rotates keys that are active.
    pub(super) async fn rotate_keys(
        &self,
        keys: &[Arc<KeyRecord>],
        rollout: Rollout,
        reason: &str,
    ) -> Result<Rotation> {
        let mut plans = Vec::with_capacity(keys.len());
        for key in keys {
            plans.push(self.plan(key, rollout, reason).await?);
        }
        let claims = self.begin(&plans).await?;
        let mut rotation = Rotation::default();
        for (key, claim) in keys.iter().zip(&claims) {
            match self.rotate_claimed(key, claim, reason).await {
                Ok(rotated) => rotation.rotated.push(rotated),
                Err(error) => rotation.unfinished.push(Unfinished {
                    key: claim.intent.key,
                    predecessor: key.id,
                    scope: key.scope.clone(),
                    error,
                }),
            }
        }
        Ok(rotation)
    }

    async fn rotate_claimed(&self, key: &KeyRecord, claim: &Claim, reason: &str) -> Result<Rotated> {
        let finished = self.finish(claim).await?;
        let mut rotated = Rotated {
            key: finished.key.id,
            predecessor: key.id,
            state: finished.key.state,
            hindered: None,
            orphans: finished.orphans,
            warnings: self.tell(&finished.key).await,
        };
        if finished.key.state != State::Pending || finished.key.staged {
            return Ok(rotated);
        }
        match self.promote_pending(finished.key.id, reason).await {
            Ok(moved) => {
                rotated.state = moved.to;
                rotated.warnings.extend(moved.warnings);
            }
            Err(error) => match self.find(finished.key.id).await {
                // Somebody else was faster.
                Ok((_, now)) if now.state != State::Pending => rotated.state = now.state,
                _ => rotated.hindered = Some(error),
            },
        }
        Ok(rotated)
    }

    /// The active keys that are meant.
    async fn targets(&self, target: &Target) -> Result<Vec<Arc<KeyRecord>>> {
        let none = |scope: &Scope| {
            Error::new(ErrorKind::NoKeyForScope)
                .with_detail(format!("the scope {scope} has no active key there"))
        };
        match target {
            Target::Key(id) => {
                let (view, key) = self.find(*id).await?;
                view.check_not_shredded(&key.scope)?;
                check_active(&view, &key)?;
                Ok(vec![key])
            }
            Target::Slot(scope, slot) => {
                let view = self.read(std::slice::from_ref(scope)).await?;
                view.check_not_shredded(scope)?;
                let mut lost = view.keys(scope).iter();
                let lost = lost.find(|key| key.slot == *slot && awaits_successor(key));
                let key = view.active(scope, slot).or(lost).ok_or_else(|| none(scope))?;
                Ok(vec![Arc::clone(key)])
            }
            Target::Scope(scope) => {
                let view = self.read(std::slice::from_ref(scope)).await?;
                view.check_not_shredded(scope)?;
                let is_meant = |key: &&Arc<KeyRecord>| {
                    key.state == State::Active || awaits_successor(key) && awaits_key(&view, key)
                };
                let active: Vec<_> = view.keys(scope).iter().filter(is_meant).cloned().collect();
                match active.is_empty() {
                    true => Err(none(scope)),
                    false => Ok(active),
                }
            }
        }
    }

    /// Makes the rotation of keys due now, since something happened: a tick does it. Does nothing to keys that are due already. Returns the
    /// keys.
    ///
    /// # Errors
    /// `NoKeyForScope` if the scope has no active key; `LifecycleRefused` if the key is not active.
    pub async fn report(&self, event: Event, target: &Target, reason: &str) -> Result<Vec<RecordId>> {
        let deed = self.on_targets(Operation::Report, std::slice::from_ref(target));
        self.witnessed(deed, self.do_report(event, target, reason)).await
    }

    pub(super) async fn do_report(
        &self,
        event: Event,
        target: &Target,
        reason: &str,
    ) -> Result<Vec<RecordId>> {
        let mut due = Vec::new();
        for key in self.targets(target).await? {
            let (id, scope) = (key.id, [key.scope.clone()]);
            self.change(&scope, |view, draft| {
                let key = view.key(id).ok_or_else(|| no_such_key(id))?;
                if key.state != State::Active {
                    return Err(refused(format!("the key {id} is {}, and not active", key.state)));
                }
                if key.next_rotation.is_some_and(|due| due <= draft.now()) {
                    // It is due already, and its history is not endless.
                    return Ok(());
                }
                let said = Said::new(draft, format!("{event}: {reason}"));
                let mut key = noted(key, &said)?;
                key.next_rotation = Some(key.next_rotation.map_or(said.at, |due| due.min(said.at)));
                draft.put(&key)
            })
            .await?;
            due.push(id);
        }
        Ok(due)
    }
}

/// Refuses a key that neither is active nor was when it was revoked, and says who is at work on its successor.
fn check_active(view: &View, key: &KeyRecord) -> Result<()> {
    if key.state == State::Active {
        return Ok(());
    }
    let mut intents = view.intents(&key.scope).iter();
    match intents.find(|intent| intent.predecessor == Some(key.id) && intent.abandoned.is_none()) {
        Some(intent) => Err(under_way(intent, view.changed())),
        None if is_lost(view, key) => Ok(()),
        None => Err(refused(format!(
            "the key {} is {}, and only an active key is rotated",
            key.id, key.state
        ))),
    }
}
