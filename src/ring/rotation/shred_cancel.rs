//! Calling off the shredding of a scope.

use std::sync::Arc;

use super::cancel::before;
use super::moves::{Said, moved};
use super::{Moved, RingAdmin, refused};
use crate::ring::draft::Draft;
use crate::ring::record::{BeforeShred, Cancelled, KeyRecord, Tombstone};
use crate::ring::view::View;
use crate::ring::witness::Operation;
use crate::ring::{RecordId, Scope, State};
use crate::value::error::{Error, ErrorKind, Result};

/// How often it is decided anew because a backend had to be asked first.
const TURNS: usize = 8;
/// How much room a history needs, so that a key can become what it was: a destruction that is called off, and then two moves that are not the last.
const ROOM: usize = 30;

/// What a step of a cancellation has found.
enum Step {
    /// The keys are what they were. With the states before.
    Done(Vec<(State, KeyRecord)>),
    /// Backends know of the destruction of these keys, or may.
    Told(Vec<RecordId>),
    /// A key is destroyed.
    TooLate(RecordId),
}

impl RingAdmin {
    /// Takes back [`shred`](Self::shred): the keys of the scope become what they were before, and the tombstone goes. A canary becomes deprecated: it opens, and
    /// wraps nothing. A pending key that never wrapped anything stays out of the ring. A key that was revoked meanwhile stays compromised.
    ///
    /// If a backend was told to destroy a KEK, or may have been, the backend calls that off first. Once this has begun, nobody tells a backend anew,
    /// also if this fails: a [`tick`](Self::tick) or another call goes on with it.
    ///
    /// # Errors
    /// `LifecycleRefused` if the scope was not shredded, if a key of it is destroyed by that, or if a backend cannot call a destruction off: cancel it there by
    /// its own means, and then here; `Conflict` if somebody is telling a backend at that time: the cancellation is recorded, and goes on after that. The
    /// kinds of the backends.
    pub async fn cancel_shred(&self, scope: &Scope, reason: &str) -> Result<Vec<Moved>> {
        let deed = self.deed(Operation::CancelShred).in_scope(scope);
        self.witnessed(deed, self.do_cancel_shred(scope, reason)).await
    }

    pub(super) async fn do_cancel_shred(&self, scope: &Scope, reason: &str) -> Result<Vec<Moved>> {
        if reason.trim().is_empty() {
            return Err(Error::argument(
                "a cancellation names its reason, and this one is empty",
            ));
        }
        self.cancel_by(scope, Some(reason)).await
    }

    /// Goes on with what somebody else has begun to cancel.
    pub(super) async fn go_on_canceling(&self, scope: &Scope) -> Result<Vec<Moved>> {
        self.cancel_by(scope, None).await
    }

    async fn cancel_by(&self, scope: &Scope, reason: Option<&str>) -> Result<Vec<Moved>> {
        let scopes = std::slice::from_ref(scope);
        for turn in 0..TURNS {
            let step = self
                .change(scopes, |view, draft| match view.tombstone(scope) {
                    Some(tombstone) => step(view, draft, tombstone, reason),
                    // Somebody else has gone on with it.
                    None if turn > 0 || reason.is_none() => Ok(Step::Done(Vec::new())),
                    None => Err(refused(format!("the scope {scope} was not shredded"))),
                })
                .await?;
            match step {
                Step::Done(keys) => {
                    let mut all = Vec::new();
                    for (from, key) in &keys {
                        let mut done = Moved::new(key.id, *from, key.state);
                        done.warnings = self.tell(key).await;
                        all.push(done);
                    }
                    return Ok(all);
                }
                Step::TooLate(key) => {
                    return Err(refused(format!(
                        "the key {key} of scope {scope} is destroyed: what is under it is gone, and the scope stays shredded"
                    )));
                }
                Step::Told(keys) => {
                    for key in keys {
                        self.call_off(key).await?;
                    }
                }
            }
        }
        Err(Error::new(ErrorKind::Conflict).with_detail(format!(
            "the cancellation of the shredding of scope {scope} is recorded, and others change its keys all the time: a tick goes on with it"
        )))
    }
}

fn step(view: &View, draft: &mut Draft<'_>, tombstone: &Tombstone, reason: Option<&str>) -> Result<Step> {
    let scope = &tombstone.scope;
    let keys = || view.keys(scope).iter();
    let is_gone = |key: &&Arc<KeyRecord>| key.state == State::Destroyed && key.shredded.is_some();
    if let Some(gone) = keys().find(is_gone) {
        if tombstone.cancelled.is_some() {
            // It goes on with what was saved before.
            let mut next = tombstone.next();
            (next.cancelled, next.begun) = (None, None);
            draft.put(&next)?;
        }
        return Ok(Step::TooLate(gone.id));
    }
    let cancelled = match (&tombstone.cancelled, reason) {
        (Some(cancelled), _) => cancelled.clone(),
        (None, Some(reason)) => Cancelled {
            actor: draft.actor().to_owned(),
            reason: reason.to_owned(),
        },
        // Somebody else has ended it, and another shredding began.
        (None, None) => return Ok(Step::Done(Vec::new())),
    };
    if tombstone.cancelled.is_none()
        && let Some(full) = keys().find(|key| key.shredded.is_some() && key.room() < ROOM)
    {
        return Err(refused(format!(
            "the shredding of scope {scope} cannot be cancelled: the history of the key {} is full",
            full.id
        )));
    }
    // In the name of whoever has decided it.
    let said = Said::new(draft, cancelled.reason.as_str()).by(&cancelled.actor);
    let of_shred = || keys().filter_map(|key| Some((key, key.shredded.as_ref()?)));
    let is_told = |key: &KeyRecord| {
        key.state == State::Destroying && (key.destruction_telling.is_some() || key.destruction_told)
    };
    let told: Vec<_> = of_shred()
        .filter(|(key, _)| is_told(key))
        .map(|(key, _)| key)
        .collect();
    if told.is_empty() {
        let id = tombstone.id;
        draft.delete(tombstone)?;
        let mut done = Vec::new();
        for (key, was) in of_shred().filter(|(_, was)| was.tombstone == id) {
            let next = restored(key, was, &said)?;
            draft.put(&next)?;
            if next.state != key.state {
                done.push((key.state, next));
            }
        }
        return Ok(Step::Done(done));
    }
    if tombstone.cancelled.is_none() {
        let mut next = tombstone.next();
        next.cancelled = Some(cancelled.clone());
        draft.put(&next)?;
    }
    for (key, _) in of_shred().filter(|(key, _)| key.state == State::Destroying) {
        if !is_told(key) {
            // No tick tells its backend meanwhile.
            draft.put(&moved(key, before(key), &said)?)?;
        } else if key.destruction_cancelled.is_none() {
            let mut next = super::moves::linked(key);
            next.destruction_cancelled = Some(cancelled.clone());
            draft.put(&next)?;
        }
    }
    Ok(Step::Told(told.into_iter().map(|key| key.id).collect()))
}

/// The key as it was before its scope was shredded.
fn restored(key: &KeyRecord, was: &BeforeShred, said: &Said) -> Result<KeyRecord> {
    let mut next = key.clone();
    next.shredded = None;
    if next.state == State::Destroying {
        next = moved(&next, before(key), said)?;
    }
    match (next.state, was.from) {
        (State::Retired, State::Active) => {
            next = moved(&moved(&next, State::Deprecated, said)?, State::Active, said)?;
            (next.activated, next.deprecated) = (key.activated, key.deprecated);
            next.next_rotation = was.next_rotation;
        }
        (State::Retired, State::Deprecated) => {
            next = moved(&next, State::Deprecated, said)?;
            next.deprecated = key.deprecated;
            next.retirement_due = was.retirement_due;
        }
        // A canary.
        (State::Retired, State::Pending) => next = moved(&next, State::Deprecated, said)?,
        (State::Compromised, State::Compromised) => next.next_rotation = was.next_rotation,
        _ => {}
    }
    next.revision = key.revision + 1;
    Ok(next)
}
