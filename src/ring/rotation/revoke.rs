//! Keys that somebody else may have: out of use at once, and for good.

use std::sync::Arc;

use super::moves::{Said, moved};
use super::rotate::Rollout;
use super::same_kek::others;
use super::{Moved, RingAdmin, refused};
use crate::ring::record::KeyRecord;
use crate::ring::view::no_such_key;
use crate::ring::{RecordId, State};
use crate::value::error::{Error, Result};

/// Why a key is revoked, and what else happens. Ticket and approver are claims: they stand in the history, and nobody verifies them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revocation {
    /// The ticket or the incident.
    pub ticket: String,
    /// Who has approved it.
    pub approver: String,
    /// Why.
    pub reason: String,
    /// Whether a successor takes the place of an active key. `true` by default; otherwise nothing can be sealed in its scope and slot
    /// until somebody creates a key.
    pub successor: bool,
    /// Whether the backend disables the KEK, too. `false` by default: what is under a disabled KEK cannot be re-wrapped.
    pub disable_at_backend: bool,
}

impl Revocation {
    /// A revocation with a successor, that disables nothing at the backend.
    #[must_use]
    pub fn new(ticket: &str, approver: &str, reason: &str) -> Self {
        Self {
            ticket: ticket.to_owned(),
            approver: approver.to_owned(),
            reason: reason.to_owned(),
            successor: true,
            disable_at_backend: false,
        }
    }
}

/// What a revocation has done. The key is compromised, whatever else failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Revoked {
    /// The move.
    pub moved: Moved,
    /// The key that took its place, if it was active and one did.
    pub successor: Option<RecordId>,
    /// Why no successor took its place, although one was to: a tick goes on with what was begun.
    pub without_successor: Option<Error>,
    /// Whether the backend has disabled the KEK.
    pub disabled: bool,
    /// Why the backend has not disabled the KEK, although it was to.
    pub not_disabled: Option<Error>,
    /// Other keys of the ring that are the same KEK, and that are not revoked by this. They are found by the inventory's index.
    pub same_kek: Vec<RecordId>,
}

impl RingAdmin {
    /// Revokes a key: it becomes compromised at once and for good. Nobody is asked, and no evidence is needed. Every process that
    /// reads the ring ends what it has cached under the key as soon as it sees this; an envelope that needs the key is
    /// `KeyRevoked` from then on.
    ///
    /// If the key was active, a successor takes its place: the pending key of its scope and slot if there is one, and else a new one. It is
    /// probed, but waits for no reader and no hook, since without it nothing can be sealed there.
    ///
    /// # Errors
    /// `LifecycleRefused` if the key is being destroyed, is destroyed, or is revoked already. What fails after that is in [`Revoked`].
    pub async fn revoke(&self, id: RecordId, revocation: &Revocation) -> Result<Revoked> {
        let (_, key) = self.find(id).await?;
        let scopes = self.index_of(&key).await;
        let (before, key, same_kek) = self
            .change(&scopes, |view, draft| {
                let key = view.key(id).ok_or_else(|| no_such_key(id))?;
                let mut said = Said::new(draft, revocation.reason.as_str());
                said.ticket = Some(revocation.ticket.clone());
                said.approver = Some(revocation.approver.clone());
                let next = moved(key, State::Compromised, &said)?;
                draft.put(&next)?;
                let same = others(view, key).filter(|other| other.state != State::Compromised);
                let same: Vec<_> = same.map(|other| other.id).collect();
                Ok::<(State, KeyRecord, Vec<RecordId>), Error>((key.state, next, same))
            })
            .await?;
        let mut revoked = Revoked {
            moved: self.done(&key).await,
            successor: None,
            without_successor: None,
            disabled: false,
            not_disabled: None,
            same_kek,
        };
        if before == State::Active && revocation.successor {
            match self.succeed(&key, &revocation.reason).await {
                Ok(moved) => {
                    revoked.successor = Some(moved.key);
                    revoked.moved.warnings.extend(moved.warnings);
                }
                Err(error) => revoked.without_successor = Some(error),
            }
        }
        if revocation.disable_at_backend {
            match self.disable(&key).await {
                Ok(()) => revoked.disabled = true,
                Err(error) => revoked.not_disabled = Some(error),
            }
        }
        Ok(revoked)
    }

    /// The scopes that share a KEK. A revocation does not wait for an index that fails.
    async fn index_of(&self, key: &KeyRecord) -> Vec<crate::ring::Scope> {
        let kek = &key.provenance;
        match self.scopes_sharing(&key.scope, &kek.provider, &kek.id).await {
            Ok(scopes) if self.read(&scopes).await.is_ok() => scopes,
            _ => vec![key.scope.clone()],
        }
    }

    /// Puts another key in the place of one that was revoked.
    async fn succeed(&self, key: &KeyRecord, reason: &str) -> Result<Moved> {
        let (view, _) = self.find(key.id).await?;
        let is_next = |other: &&Arc<KeyRecord>| other.slot == key.slot && other.state == State::Pending;
        if let Some(next) = view.keys(&key.scope).iter().find(is_next) {
            return self.take_over_slot(next.id, reason).await;
        }
        let key = view.key(key.id).ok_or_else(|| no_such_key(key.id))?;
        let plan = self.plan(key, Rollout::AtOnce, reason).await?;
        let claim = self.begin(std::slice::from_ref(&plan)).await?.pop();
        let claim = claim.ok_or_else(|| refused("nothing was begun"))?;
        let made = self.finish(&claim).await?.key;
        self.take_over_slot(made.id, reason).await
    }

    async fn disable(&self, key: &KeyRecord) -> Result<()> {
        let admin = self.call(self.backends.admin(&key.provenance.uri)).await?;
        self.call(admin.disable(&key.provenance.kek()?)).await
    }
}
