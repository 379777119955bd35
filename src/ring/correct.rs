//! Setting the time of a ring back, after somebody has signed a change by a clock that was ahead.

use std::time::Duration;

use super::authority::Authority;
use super::draft::Pen;
use super::reader::Reader;
use super::record::{ClockCorrection, Intent, KeyRecord, Move, is_short};
use super::view::is_about_records;
use super::witness::{Operation, told};
use super::{Scope, State, Time};
use crate::value::error::{Error, ErrorKind, Result};

/// How many scopes are looked at in one change.
const AT_ONCE: usize = 50;
/// The longest reason in bytes: the histories of keys say more around it.
const MAX_REASON: usize = 900;
/// How long an intent of the future may be held by whoever works on it.
const HELD: Duration = Duration::from_secs(3600);

/// What a correction of a ring's clock has done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Corrected {
    /// The time that the ring had.
    pub from: Time,
    /// The time that it is.
    pub to: Time,
    /// How many keys had dates of the future, and have others now.
    pub keys: u64,
    /// Scopes that could not be read or changed, and why: their dates are as they were. Call it again once they can be read.
    pub problems: Vec<(Scope, Error)>,
}

/// Sets the time of a ring back to that of the inventory, if a change was signed by a clock that was ahead: a ring's time never goes
/// back by itself, so everything would be due late, and no census would count, until the right time has come there.
///
/// The signed settings [keep](super::Settings::clock_corrections) who has done it and why. Keys whose dates lie in the future have them counted
/// anew from now: the next rotation by the cadence, the retirement by the overlap, the destruction by the cooling-off, unless the
/// backend was told already. Their histories keep the wrong times and say that they are wrong. Evidence of before counts no more if it claims a
/// time after this one.
///
/// Be sure that the clocks are right when you call this: what stopped before the correction counts as stopped at the time of the correction, so
/// a clock that is behind lets evidence count too early.
///
/// If it was interrupted, call it again.
///
/// # Errors
/// `InvalidArgument` if the reason is more than one line, or more than 900 bytes; `LifecycleRefused` if the ring's time is not ahead, and was not corrected before; `ClocksDisagree` if the inventory's clock and that
/// of this machine differ: correct those first; `Configuration` if the authority is not that of the ring; those of
/// [`Trust::read`](super::Trust::read) and [`Inventory::commit`](super::Inventory::commit).
pub async fn correct_clock(
    reader: &Reader,
    authority: &Authority,
    actor: &str,
    reason: &str,
) -> Result<Corrected> {
    let work = do_correct_clock(reader, authority, actor, reason);
    told(reader, Operation::CorrectClock, actor, work).await
}

async fn do_correct_clock(
    reader: &Reader,
    authority: &Authority,
    actor: &str,
    reason: &str,
) -> Result<Corrected> {
    // Before anything is signed: each history must take it.
    if reason.len() > MAX_REASON || !is_short(reason) {
        return Err(Error::argument(format!(
            "the reason of a correction is one line of at most {MAX_REASON} bytes, got {}",
            reason.len()
        )));
    }
    let pen = reader.pen(authority, actor);
    let (from, to) = pen
        .change(&[], |view, draft| {
            let (from, to) = (view.changed(), draft.now());
            if from <= to.saturating_add(view.settings().clock_tolerance.at_most()) {
                // Perhaps the rest of a correction is to be done.
                return match view.settings().clock_corrections().last() {
                    Some(_) => Ok((from, to)),
                    None => Err(Error::new(ErrorKind::LifecycleRefused).with_detail(format!(
                        "the time of the ring is {from}, and it is {to}: there is nothing to correct"
                    ))),
                };
            }
            let mut settings = view.settings().as_ref().clone();
            settings.note_correction(ClockCorrection {
                revision: draft.revision(),
                from,
                to,
                actor: draft.actor().to_owned(),
                reason: reason.to_owned(),
            });
            draft.set_back();
            draft.set_settings(settings)?;
            Ok((from, to))
        })
        .await?;
    let mut corrected = Corrected {
        from,
        to,
        keys: 0,
        problems: Vec::new(),
    };
    // What comes meanwhile has the right time.
    for scopes in reader.listed().await?.chunks(AT_ONCE) {
        match correct_scopes(&pen, scopes, reason).await {
            Ok(keys) => corrected.keys += keys,
            Err(error) if is_about_one(&error) => {
                for scope in scopes {
                    match correct_scopes(&pen, std::slice::from_ref(scope), reason).await {
                        Ok(keys) => corrected.keys += keys,
                        Err(error) if is_about_one(&error) => {
                            // If not even the head verifies, no scope does.
                            reader.scopes(&[]).await?;
                            corrected.problems.push((scope.clone(), error));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(corrected)
}

/// Whether an error is about some scope, and the others can be corrected all the same.
fn is_about_one(error: &Error) -> bool {
    is_about_records(error) || error.kind() == ErrorKind::InvalidArgument
}

/// Corrects the dates of these scopes. Returns of how many keys.
async fn correct_scopes(pen: &Pen<'_>, scopes: &[Scope], reason: &str) -> Result<u64> {
    pen.change(scopes, |view, draft| {
        let (now, revision, mut keys) = (draft.at(), draft.revision(), 0);
        for key in view.all_keys() {
            let cooling_off = view.settings().cooling_off.after(now)?;
            if let Some(next) = key_of_now(key, now, cooling_off)? {
                let note = Move {
                    at: now,
                    revision,
                    from: Some(key.state),
                    to: key.state,
                    actor: draft.actor().to_owned(),
                    reason: format!("dates after {now} are by a wrong clock: {reason}"),
                    evidence: None,
                    ticket: None,
                    approver: None,
                };
                let mut next = next;
                // The settings tell of it, too, if a history is full.
                let _ = next.record_move(note);
                draft.put(&next)?;
                keys += 1;
            }
        }
        for intent in view.all_intents() {
            if let Some(next) = intent_of_now(intent, now) {
                draft.put(&next)?;
            }
        }
        let cooling_off = view.settings().cooling_off.after(now)?;
        for scope in scopes {
            if let Some(tombstone) = view.tombstone(scope).filter(|tombstone| tombstone.at > now) {
                let mut next = tombstone.next();
                next.at = now;
                next.due = next.due.min(cooling_off);
                next.begun = next.begun.map(|begun| begun.min(now));
                draft.put(&next)?;
            }
        }
        Ok(keys)
    })
    .await
}

/// The key without dates that cannot have been, counted from now instead. `None` if it has none.
fn key_of_now(key: &KeyRecord, now: Time, cooling_off: Time) -> Result<Option<KeyRecord>> {
    let mut next = key.clone();
    let is_late = |date: Option<Time>| date.is_some_and(|date| date > now);
    next.created = next.created.min(now);
    if let Some(canary) = &mut next.canary {
        canary.since = canary.since.min(now);
    }
    if key.state == State::Compromised {
        next.next_rotation = next.next_rotation.map(|date| date.min(now));
        next.branches_due = next.branches_due.map(|date| date.min(now));
    }
    if is_late(next.activated) {
        next.activated = Some(now);
        let due = key.cadence.after(now)?;
        next.next_rotation = next.next_rotation.map(|date| date.min(due));
    }
    if is_late(next.deprecated) {
        next.deprecated = Some(now);
        let due = key.overlap.after(now)?;
        next.retirement_due = next.retirement_due.map(|date| date.min(due));
    }
    let begun = key.history.iter().rev().find(|made| made.to == State::Destroying);
    if key.state == State::Destroying && !key.destruction_told && is_late(begun.map(|made| made.at)) {
        next.destruction_due = next.destruction_due.map(|date| date.min(cooling_off));
    }
    if let Some(telling) = &mut next.destruction_telling {
        telling.until = telling.until.min(now.saturating_add(HELD));
    }
    if is_late(next.destroyed) {
        next.destroyed = Some(now);
    }
    if next == *key {
        return Ok(None);
    }
    next.revision += 1;
    Ok(Some(next))
}

fn intent_of_now(intent: &Intent, now: Time) -> Option<Intent> {
    if intent.begun <= now && intent.lease_until <= now.saturating_add(HELD) {
        return None;
    }
    let mut next = intent.clone();
    next.begun = intent.begun.min(now);
    next.lease_until = intent.lease_until.min(now.saturating_add(HELD));
    next.revision += 1;
    Some(next)
}
