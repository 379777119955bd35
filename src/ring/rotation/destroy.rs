//! Keys that are destroyed: slowly, and never without evidence.

use std::time::Duration;

use super::evidence::Evidence;
use super::moves::{Said, linked, moved, noted};
use super::promote::in_state;
use super::{Moved, RingAdmin, refused};
use crate::key::{KekDescription, KekState};
use crate::ring::record::KeyRecord;
use crate::ring::view::{View, no_such_key};
use crate::ring::{RecordId, State, Time};
use crate::value::error::{ErrorKind, Result};

impl RingAdmin {
    /// Begins to destroy a retired or compromised key. For as long as the setting `cooling_off` says, nothing happens at the backend,
    /// and [`cancel_destroy`](Self::cancel_destroy) takes it back. Then a [`tick`](Self::tick) tells the backend.
    ///
    /// # Errors
    /// `LifecycleRefused` if it is neither retired nor compromised, another key of the ring is the same KEK, or the evidence does
    /// not count or finds something under it.
    pub async fn destroy(&self, id: RecordId, evidence: &Evidence, reason: &str) -> Result<Moved> {
        let (_, key) = self.find(id).await?;
        let kek = &key.provenance;
        let scopes = self.scopes_sharing(&key.scope, &kek.provider, &kek.id).await?;
        let key = self
            .change(&scopes, |view, draft| {
                let key = view.key(id).ok_or_else(|| no_such_key(id))?;
                // The table comes first: what it does not allow needs no evidence.
                key.state.check_move(State::Destroying)?;
                evidence.check(key, view.settings(), draft.now())?;
                check_alone(view, key)?;
                let said = Said::new(draft, reason);
                let said = said.with_evidence(Some(evidence.digest.clone()));
                let mut key = moved(key, State::Destroying, &said)?;
                key.destruction_due = Some(view.settings().cooling_off.after(said.at)?);
                draft.put(&key)?;
                Ok(key)
            })
            .await?;
        Ok(self.done(&key).await)
    }

    /// Takes back [`destroy`](Self::destroy): the key is what it was before.
    ///
    /// # Errors
    /// `LifecycleRefused` if it is not being destroyed, or if the backend was told and does not say that it has the KEK: cancel it
    /// there first, by its own means.
    pub async fn cancel_destroy(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let (_, key) = self.find(id).await?;
        let mut is_alive = false;
        if key.state == State::Destroying && key.destruction_told {
            let state = self.describe(&key).await?.state;
            is_alive = matches!(state, KekState::Enabled | KekState::Disabled);
            if !is_alive {
                return Err(refused(format!(
                    "the backend was told to destroy the key {id}; cancel it there first, by its own means"
                )));
            }
        }
        let scope = [key.scope.clone()];
        let key = self
            .change(&scope, |view, draft| {
                let key = in_state(view, id, State::Destroying)?;
                if key.destruction_told && !is_alive {
                    return Err(refused(format!(
                        "the backend was told to destroy the key {id} meanwhile; look again"
                    )));
                }
                let said = Said::new(draft, reason);
                let before = key
                    .history
                    .iter()
                    .rev()
                    .find(|made| made.to == State::Destroying && made.from != Some(State::Destroying));
                let before = before.and_then(|made| made.from);
                let key = moved(key, before.unwrap_or(State::Retired), &said)?;
                draft.put(&key)?;
                Ok(key)
            })
            .await?;
        Ok(self.done(&key).await)
    }

    /// Records that a key was destroyed by the backend's own means, where the backend cannot say so.
    ///
    /// # Errors
    /// `LifecycleRefused` if it is not being destroyed, or its cooling-off is not over.
    pub async fn attest_destroyed(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let (_, key) = self.find(id).await?;
        self.destroyed(&key, reason).await
    }

    async fn destroyed(&self, key: &KeyRecord, reason: &str) -> Result<Moved> {
        let (id, scope) = (key.id, [key.scope.clone()]);
        let key = self
            .change(&scope, |view, draft| {
                let key = in_state(view, id, State::Destroying)?;
                check_cooled(key, draft.now())?;
                let said = Said::new(draft, reason);
                let key = moved(key, State::Destroyed, &said)?;
                draft.put(&key)?;
                Ok(key)
            })
            .await?;
        Ok(self.done(&key).await)
    }

    /// Goes on with a destruction that is due: tells the backend, or asks whether it is done. `None` if it was only told.
    pub(super) async fn go_on_destroying(&self, key: &KeyRecord) -> Result<Option<Moved>> {
        match self.describe(key).await {
            Ok(described) if described.state == KekState::Destroyed => {
                return self
                    .destroyed(key, "the backend says that it is destroyed")
                    .await
                    .map(Some);
            }
            // A KEK that is not there may be one that these credentials do not see: so only after it was told.
            Err(error) if error.kind() == ErrorKind::KeyNotFound && key.destruction_told => {
                let reason = "the backend was told to destroy it, and has it no longer";
                return self.destroyed(key, reason).await.map(Some);
            }
            Ok(described) if described.state == KekState::PendingDestruction => {
                let due = described.destroyed_at.and_then(|at| Time::try_from(at).ok());
                self.told(key.id, due).await?;
                return Ok(None);
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        // Cancelled meanwhile, or shared: the last look before nothing can be undone.
        let kek = key.provenance.kek()?;
        let scopes = self.scopes_sharing(&key.scope, kek.provider(), kek.id()).await?;
        let view = self.read(&scopes).await?;
        let current = in_state(&view, key.id, State::Destroying)?;
        check_cooled(current, self.reader.time(&view).await?)?;
        check_alone(&view, current)?;
        let admin = self.call(self.backends.admin(&key.provenance.uri)).await?;
        let at = self
            .call(admin.schedule_destroy(&kek, Duration::ZERO))
            .await
            .map_err(|error| match error.kind() {
                ErrorKind::Unsupported { .. } => {
                    let detail = error.detail().unwrap_or("the backend cannot be told").to_owned();
                    error.with_detail(format!("{detail}; destroy it there, and attest it here"))
                }
                _ => error,
            })?;
        self.told(key.id, Time::try_from(at).ok()).await?;
        Ok(None)
    }

    /// Notes that the backend was told, and when it will destroy the key.
    async fn told(&self, id: RecordId, due: Option<Time>) -> Result<()> {
        let (_, key) = self.find(id).await?;
        let scope = [key.scope.clone()];
        self.change(&scope, |view, draft| {
            let key = in_state(view, id, State::Destroying)?;
            let due = due.or(key.destruction_due);
            if key.destruction_told && due == key.destruction_due {
                return Ok(());
            }
            let mut next = match key.destruction_told {
                true => linked(key),
                false => noted(key, &Said::new(draft, "the backend was told to destroy it"))?,
            };
            next.destruction_told = true;
            next.destruction_due = due;
            draft.put(&next)
        })
        .await
    }

    async fn describe(&self, key: &KeyRecord) -> Result<KekDescription> {
        let admin = self.call(self.backends.admin(&key.provenance.uri)).await?;
        self.call(admin.describe(&key.provenance.kek()?)).await
    }
}

/// Refuses to destroy a KEK that is another key, too.
fn check_alone(view: &View, key: &KeyRecord) -> Result<()> {
    let kek = &key.provenance;
    let is_same = |other: &KeyRecord| {
        let there = &other.provenance;
        // Without a version it is the whole KEK.
        let overlaps = kek.version.is_empty() || there.version.is_empty() || kek.version == there.version;
        (&there.provider, &there.id) == (&kek.provider, &kek.id) && overlaps
    };
    let mut others = view.all_keys().filter(|other| {
        other.id != key.id && !matches!(other.state, State::Destroying | State::Destroyed) && is_same(other)
    });
    match others.next() {
        None => Ok(()),
        Some(other) => Err(refused(format!(
            "the key {} is the same KEK as the key {} of scope {}, which is {}",
            key.id, other.id, other.scope, other.state
        ))),
    }
}

/// Refuses to destroy before its time.
fn check_cooled(key: &KeyRecord, now: Time) -> Result<()> {
    match key.destruction_due {
        Some(due) if due > now => Err(refused(format!(
            "the key {} is not to be destroyed before {due}",
            key.id
        ))),
        _ => Ok(()),
    }
}
