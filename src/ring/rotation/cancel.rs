//! Calling off a destruction.

use super::destroy::{check_not_shredding, words};
use super::moves::{Said, linked, moved};
use super::promote::in_state;
use super::same_kek::others;
use super::telling::check_free;
use super::{Moved, RingAdmin, refused};
use crate::key::{KekAdmin, KekState};
use crate::ring::record::{Cancelled, KeyRecord};
use crate::ring::witness::Operation;
use crate::ring::{RecordId, State};
use crate::value::error::{Error, ErrorKind, Result};

impl RingAdmin {
    /// Takes back [`destroy`](Self::destroy): the key is what it was before. If the backend was told, or may have been, the
    /// backend calls the destruction off, and enables the KEK if it was enabled before.
    ///
    /// Once this has begun, nobody tells the backend anew, also if this fails: a [`tick`](Self::tick) or another call goes on with it.
    ///
    /// # Errors
    /// `LifecycleRefused` if it is not being destroyed, or if the backend has destroyed the KEK or cannot call it off: cancel it there by
    /// its own means, and then here. `Conflict` if somebody is telling the backend at that time, or was interrupted while telling: the
    /// cancellation is recorded, and goes on after that. The kinds of the backend.
    pub async fn cancel_destroy(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let deed = self.deed(Operation::CancelDestroy).of_key(id);
        self.witnessed(deed, self.do_cancel_destroy(id, reason)).await
    }

    pub(super) async fn do_cancel_destroy(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let (_, key) = self.find(id).await?;
        let scope = [key.scope.clone()];
        let done = self
            .change(&scope, |view, draft| {
                let key = in_state(view, id, State::Destroying)?;
                check_not_shredding(view, key)?;
                let said = Said::new(draft, reason);
                if key.destruction_telling.is_none() && !key.destruction_told {
                    let key = moved(key, before(key), &said)?;
                    draft.put(&key)?;
                    return Ok(Some(key));
                }
                if key.destruction_cancelled.is_none() {
                    // Room for this move, and whoever is telling the backend at this time notes it.
                    if key.room() < 5 {
                        return Err(refused(format!(
                            "the destruction of the key {id} cannot be cancelled anymore: its history is full"
                        )));
                    }
                    let mut next = linked(key);
                    next.destruction_cancelled = Some(Cancelled {
                        actor: said.actor,
                        reason: said.reason,
                    });
                    draft.put(&next)?;
                }
                Ok::<Option<KeyRecord>, Error>(None)
            })
            .await?;
        match done {
            Some(key) => Ok(self.done(&key).await),
            None => self.call_off(id).await,
        }
    }

    /// Asks the backend to call off what was cancelled here, and then makes the key what it was.
    pub(super) async fn call_off(&self, id: RecordId) -> Result<Moved> {
        let (view, key) = self.find(id).await?;
        check_free(&key, self.reader.time(&view).await?).map_err(|error| {
            let detail = error.detail().unwrap_or_default().to_owned();
            error.with_detail(format!(
                "the cancellation is recorded, and nobody tells the backend anew; but {detail}: cancel again after that, or let a tick do it"
            ))
        })?;
        self.save(&key).await?;
        let kek = &key.provenance;
        // Whom the index does not name finds that this key is kept when it looks at the whole ring.
        let scopes = self.scopes_sharing(&key.scope, &kek.provider, &kek.id).await?;
        let key = self
            .change(&scopes, |view, draft| {
                let key = in_state(view, id, State::Destroying)?;
                let Some(cancelled) = &key.destruction_cancelled else {
                    return Err(Error::new(ErrorKind::Conflict)
                        .with_detail(format!("the destruction of the key {id} began anew meanwhile")));
                };
                // In the name of whoever has decided it.
                let said = Said::new(draft, cancelled.reason.as_str()).by(&cancelled.actor);
                let next = moved(key, before(key), &said)?;
                draft.put(&next)?;
                // The backend knows nothing of the destruction of the others anymore, either.
                for other in others(view, key).filter(|other| other.state == State::Destroying) {
                    let mut other = linked(other);
                    other.destruction_telling = None;
                    other.destruction_told = false;
                    if let Some(due) = &mut other.destruction_due {
                        *due = draft.now().min(*due);
                    }
                    draft.put(&other)?;
                }
                Ok::<KeyRecord, Error>(next)
            })
            .await?;
        Ok(self.done(&key).await)
    }

    /// Has the backend keep the KEK, as it was before it was told.
    async fn save(&self, key: &KeyRecord) -> Result<()> {
        let was_disabled = key
            .destruction_telling
            .as_ref()
            .is_some_and(|telling| telling.was_disabled);
        let admin = self.call(self.backends.admin(&key.provenance.uri)).await?;
        match self.keep(&*admin, key, was_disabled).await? {
            KekState::Enabled => Ok(()),
            KekState::Disabled if was_disabled => Ok(()),
            KekState::Destroyed => {
                self.too_late(key).await?;
                Err(refused(format!(
                    "the backend has destroyed the KEK of the key {} already",
                    key.id
                )))
            }
            state => Err(Error::new(ErrorKind::InvalidAnswer)
                .with_provider(key.provenance.provider.clone())
                .with_retryable(true)
                .with_detail(format!(
                    "the backend was asked to keep the KEK, and says that it is {}",
                    words(state)
                ))),
        }
    }

    /// Calls off what is scheduled, and enables what the backend leaves disabled. Returns the state after it.
    pub(super) async fn keep(
        &self,
        admin: &dyn KekAdmin,
        key: &KeyRecord,
        was_disabled: bool,
    ) -> Result<KekState> {
        let kek = key.provenance.kek()?;
        let mut state = self.describe(key).await?.state;
        if state == KekState::PendingDestruction {
            self.call(admin.cancel_destroy(&kek))
                .await
                .map_err(|error| by_own_means(key, "call off its destruction there", error))?;
            state = self.describe(key).await?.state;
        }
        if state == KekState::Disabled && !was_disabled {
            self.call(admin.enable(&kek))
                .await
                .map_err(|error| by_own_means(key, "enable it there", error))?;
            state = self.describe(key).await?.state;
        }
        Ok(state)
    }

    /// Gives up a cancellation, so that a tick records what has happened.
    async fn too_late(&self, key: &KeyRecord) -> Result<()> {
        let (id, scope) = (key.id, [key.scope.clone()]);
        self.change(&scope, |view, draft| {
            let mut next = linked(in_state(view, id, State::Destroying)?);
            next.destruction_cancelled = None;
            draft.put(&next)
        })
        .await
    }
}

/// What somebody has to do at the backend.
fn by_own_means(key: &KeyRecord, what: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unsupported { .. } => refused(format!(
            "the backend was told to destroy the key {}, and the ring cannot undo that: {what}, by the backend's own means, and then \
             cancel here again",
            key.id
        )),
        _ => error,
    }
}

/// The state from which the destruction began.
pub(super) fn before(key: &KeyRecord) -> State {
    let mut history = key.history.iter().rev();
    let began = history.find(|made| made.to == State::Destroying && made.from != Some(State::Destroying));
    began.and_then(|made| made.from).unwrap_or(State::Retired)
}
