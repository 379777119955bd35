//! Telling a backend to destroy a KEK, and asking whether it has.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::destroy::{check_cooled, waits_for, words};
use super::moves::{Said, linked, noted};
use super::promote::in_state;
use super::same_kek::others;
use super::{Moved, RingAdmin, refused};
use crate::key::KekState;
use crate::ring::draft::Draft;
use crate::ring::record::{KeyRecord, Telling};
use crate::ring::view::View;
use crate::ring::{RecordId, Scope, State, Time};
use crate::value::error::{Error, ErrorKind, Result};

impl RingAdmin {
    /// Goes on with a destruction that is due: tells the backend, or asks whether it is done; or goes on with calling it off.
    pub(super) async fn go_on_destroying(&self, key: &KeyRecord) -> Result<Progress> {
        if key.destruction_cancelled.is_some() {
            return self.call_off(key.id).await.map(Progress::Moved);
        }
        if key.branch.is_some() {
            // It is nowhere but in the ring: its bytes go with this change.
            let reason = "its wrap was deleted from the ring";
            check_cooled(key, self.reader.time(&self.read(&[]).await?).await?)?;
            return self.destroyed(key, reason, false).await.map(Progress::Moved);
        }
        let state = match self.describe(key).await {
            Ok(described) if described.state == KekState::Destroyed => {
                let reason = "the backend says that it is destroyed";
                return self.destroyed(key, reason, true).await.map(Progress::Moved);
            }
            // A KEK that is not there may be one that these credentials do not see: so only after it was told.
            Err(error) if error.kind() == ErrorKind::KeyNotFound && key.destruction_told => {
                let reason = "the backend was told to destroy it, and has it no longer";
                return self.destroyed(key, reason, true).await.map(Progress::Moved);
            }
            Ok(described) if described.state == KekState::PendingDestruction => {
                let due = described.destroyed_at.and_then(|at| Time::try_from(at).ok());
                if key.destruction_told && due.is_none_or(|due| Some(due) == key.destruction_due) {
                    return Ok(Progress::Waits);
                }
                let told = |view: &View, draft: &mut Draft<'_>| told(view, draft, key.id, None, due);
                self.change_same_kek(key.id, told).await?;
                return Ok(Progress::Told);
            }
            Ok(described) => described.state,
            Err(error) => return Err(error),
        };
        if key.destruction_told {
            // Whoever has saved it there meant it.
            return Err(refused(format!(
                "the backend was told to destroy the key {}, and says that the KEK is {}: somebody has called it off there. \
                 Cancel the destruction here, too; it can be begun anew",
                key.id,
                words(state)
            )));
        }
        self.tell_backend(key, state == KekState::Disabled).await?;
        Ok(Progress::Told)
    }

    /// Commits that the backend is about to be told, tells it, and commits that it was told.
    async fn tell_backend(&self, key: &KeyRecord, was_disabled: bool) -> Result<()> {
        let id = key.id;
        let kek = key.provenance.kek()?;
        let admin = self.call(self.backends.admin(&key.provenance.uri)).await?;
        let started = self.runtime.now();
        // The last look before nothing can be undone.
        let (fence, scopes) = self
            .change_same_kek(id, |view, draft| {
                let own = in_state(view, id, State::Destroying)?;
                if own.destruction_cancelled.is_some() {
                    return Err(refused(format!("the destruction of the key {id} was cancelled")));
                }
                let telling = Telling {
                    fence: draft.revision(),
                    owner: self.owner(),
                    until: self.lease_from(draft.now()),
                    was_disabled,
                };
                let mut scopes = Vec::new();
                for key in std::iter::once(own).chain(others(view, own)) {
                    if let Some(why) = waits_for(own, key) {
                        return Err(refused(why));
                    }
                    check_cooled(key, draft.now())?;
                    check_free(key, draft.now())?;
                    if !own.provenance.covers(&key.provenance) {
                        continue;
                    }
                    let mut next = linked(key);
                    next.destruction_telling = Some(telling.clone());
                    draft.put(&next)?;
                    scopes.push(key.scope.clone());
                }
                scopes.sort();
                scopes.dedup();
                Ok::<(u64, Vec<Scope>), Error>((telling.fence, scopes))
            })
            .await?;
        let late = || {
            Error::new(ErrorKind::TimedOut).with_detail(
                "half of the time for telling the backend is over; a tick begins anew after its end",
            )
        };
        let until = started + self.lease / 2;
        let mut call = pin!(self.call(admin.schedule_destroy(&kek, Duration::ZERO)));
        // Whoever stood still for so long must not go on with it: somebody else may have saved the key.
        let told_backend = poll_fn(|task| match self.runtime.now() > until {
            true => Poll::Ready(Err(late())),
            false => call.as_mut().poll(task),
        });
        match told_backend.await {
            Ok(at) => {
                let due = Time::try_from(at).ok();
                let noted = self
                    .change(&scopes, |view, draft| told(view, draft, id, Some(fence), due))
                    .await;
                match noted {
                    Ok(()) => Ok(()),
                    Err(error) if error.kind() == ErrorKind::LifecycleRefused => {
                        // It was saved all the same, while the call was on its way.
                        self.keep(&*admin, key, was_disabled).await?;
                        Err(error)
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) if was_not_done(&error) => {
                self.change(&scopes, |view, draft| not_told(view, draft, id, fence))
                    .await?;
                Err(match error.kind() {
                    ErrorKind::Unsupported { .. } => {
                        let detail = error.detail().unwrap_or("the backend cannot be told").to_owned();
                        error.with_detail(format!("{detail}; then attest here that it is gone"))
                    }
                    _ => error,
                })
            }
            // It may have been done, so nobody else is let in before the end of the lease.
            Err(error) => Err(error),
        }
    }
}

/// How far a destruction has come.
pub(super) enum Progress {
    Moved(Moved),
    /// The backend knows of it.
    Told,
    /// The backend has not done it yet.
    Waits,
}

/// Whether an error says that nothing was done.
fn was_not_done(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unsupported { .. }
            | ErrorKind::Denied
            | ErrorKind::Unauthenticated
            | ErrorKind::InvalidArgument
            | ErrorKind::KeyNotFound
            | ErrorKind::OverLimit { .. }
    )
}

/// Refuses while somebody else tells the backend.
pub(super) fn check_free(key: &KeyRecord, now: Time) -> Result<()> {
    match &key.destruction_telling {
        Some(telling) if !key.destruction_told && telling.until > now => Err(Error::new(ErrorKind::Conflict)
            .with_detail(format!(
                "{} is telling the backend to destroy the key {}, until {}",
                telling.owner, key.id, telling.until
            ))),
        _ => Ok(()),
    }
}

/// The keys that were told of together with this one: by the fence, or else all of its KEK.
fn told_of(view: &View, id: RecordId, fence: Option<u64>) -> Result<impl Iterator<Item = &KeyRecord>> {
    let key = in_state(view, id, State::Destroying)?;
    let is_meant = move |other: &&KeyRecord| {
        other.state == State::Destroying
            && key.provenance.covers(&other.provenance)
            && fence.is_none_or(|fence| {
                other
                    .destruction_telling
                    .as_ref()
                    .is_some_and(|telling| telling.fence == fence)
            })
    };
    let all = std::iter::once(key).chain(others(view, key));
    Ok(all.map(|key| &**key).filter(is_meant))
}

/// Notes that the backend was told, and when it will destroy the KEK.
fn told(
    view: &View,
    draft: &mut Draft<'_>,
    id: RecordId,
    fence: Option<u64>,
    due: Option<Time>,
) -> Result<()> {
    let now = draft.now();
    let mut all = told_of(view, id, fence)?.peekable();
    if all.peek().is_none() {
        return Err(refused(format!(
            "the destruction of the key {id} was cancelled meanwhile"
        )));
    }
    for key in all {
        let due = due.or(key.destruction_due);
        if key.destruction_told && due == key.destruction_due {
            continue;
        }
        let mut next = match key.destruction_told {
            true => linked(key),
            false => noted(key, &Said::new(draft, "the backend was told to destroy it"))?,
        };
        next.destruction_told = true;
        next.destruction_due = due;
        if let Some(telling) = &mut next.destruction_telling {
            // Whoever calls it off has nobody to wait for.
            telling.until = telling.until.min(now);
        }
        draft.put(&next)?;
    }
    Ok(())
}

/// Notes that the backend was not told.
fn not_told(view: &View, draft: &mut Draft<'_>, id: RecordId, fence: u64) -> Result<()> {
    for key in told_of(view, id, Some(fence))? {
        let mut next = linked(key);
        next.destruction_telling = None;
        draft.put(&next)?;
    }
    Ok(())
}
