//! What a move does to a record.

use super::refused;
use crate::ring::draft::Draft;
use crate::ring::record::{KeyRecord, Move};
use crate::ring::{RecordId, State, Time, Wraps};
use crate::value::error::{Error, Result};

/// A move that was made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Moved {
    /// The key.
    pub key: RecordId,
    /// Its state before.
    pub from: State,
    /// Its state after.
    pub to: State,
    /// What went wrong after it was done: hooks that failed.
    pub warnings: Vec<Error>,
}

impl Moved {
    pub(super) fn new(key: RecordId, from: State, to: State) -> Self {
        Self {
            key,
            from,
            to,
            warnings: Vec::new(),
        }
    }
}

/// What the history will say of a move.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) at: Time,
    revision: u64,
    pub(super) actor: String,
    pub(super) reason: String,
    pub(super) evidence: Option<String>,
    pub(super) ticket: Option<String>,
    pub(super) approver: Option<String>,
    /// The time of the ring, if it is ahead of what the clocks say, and what they say.
    ahead: Option<(Time, Time)>,
}

impl Said {
    /// A move of this change.
    pub(super) fn new(draft: &Draft<'_>, reason: impl Into<String>) -> Self {
        Self {
            at: draft.at(),
            revision: draft.revision(),
            actor: draft.actor().to_owned(),
            reason: reason.into(),
            evidence: None,
            ticket: None,
            approver: None,
            ahead: draft.ahead(),
        }
    }

    /// In the name of whoever began it.
    pub(super) fn by(mut self, actor: &str) -> Self {
        actor.clone_into(&mut self.actor);
        self
    }

    pub(super) fn with_evidence(mut self, digest: Option<String>) -> Self {
        self.evidence = digest;
        self
    }

    pub(super) fn entry(&self, from: Option<State>, to: State) -> Move {
        Move {
            at: self.at,
            revision: self.revision,
            from,
            to,
            actor: self.actor.clone(),
            reason: self.reason.clone(),
            evidence: self.evidence.clone(),
            ticket: self.ticket.clone(),
            approver: self.approver.clone(),
        }
    }
}

/// The key after a move that the table allows, with the times that follow from it. Everything else that a move takes is the
/// caller's to check.
pub(super) fn moved(key: &KeyRecord, to: State, said: &Said) -> Result<KeyRecord> {
    key.state.check_move(to).map_err(|error| {
        let detail = error.detail().unwrap_or_default().to_owned();
        error.with_detail(format!("the key {}: {detail}", key.id))
    })?;
    check_clock(key, to, said)?;
    let mut next = linked(key);
    next.record_move(said.entry(Some(key.state), to))?;
    next.state = to;
    next.canary = None;
    next.staged = false;
    next.awaits_gate = false;
    next.next_rotation = None;
    next.retirement_due = None;
    next.destruction_due = None;
    next.destruction_telling = None;
    next.destruction_told = false;
    next.destruction_cancelled = None;
    match to {
        State::Active => {
            next.has_wrapped = true;
            next.activated = Some(said.at);
            next.next_rotation = Some(key.cadence.after(said.at)?);
        }
        State::Deprecated => {
            next.deprecated = Some(said.at);
            next.retirement_due = Some(key.overlap.after(said.at)?);
        }
        State::Destroyed => {
            next.destroyed = Some(said.at);
            // A branch key is nowhere else, but in backups of the inventory.
            next.remove_wrap();
        }
        _ => {}
    }
    Ok(next)
}

/// Refuses to stop a key while the ring's time is ahead: if that is so because the clock of whoever does it is behind, the key would seem to have
/// stopped earlier than it did, and evidence would count too early. A revocation waits for nothing.
fn check_clock(key: &KeyRecord, to: State, said: &Said) -> Result<()> {
    let stops = key.has_wrapped && key.state.row().wraps != Wraps::No && to.row().wraps == Wraps::No;
    match said.ahead {
        Some((ring, now)) if stops && to != State::Compromised => Err(refused(format!(
            "the key {} would be {to}, but the time of the ring is {ring}, and it is {now}: either this clock is behind, or a change was signed by \
             one that was ahead; look which, and set this clock right, or correct the time of the ring (`waxseal ring clock --correct`)",
            key.id
        ))),
        _ => Ok(()),
    }
}

/// The key with an entry in its history, and in the state that it has.
pub(super) fn noted(key: &KeyRecord, said: &Said) -> Result<KeyRecord> {
    let mut next = linked(key);
    next.record_move(said.entry(Some(key.state), key.state))?;
    Ok(next)
}

/// The next revision of a key, with nothing changed yet.
pub(super) fn linked(key: &KeyRecord) -> KeyRecord {
    let mut next = key.clone();
    next.revision += 1;
    next
}

/// The last move after which it wraps nothing anymore, as its history says. `None` if it wraps, or never did.
pub(super) fn stopped_wrapping(key: &KeyRecord) -> Option<&Move> {
    if key.state.row().wraps != Wraps::No {
        return None;
    }
    let stops = |entry: &&Move| {
        let wrapped = entry.from.is_none_or(|from| from.row().wraps != Wraps::No);
        wrapped && entry.to.row().wraps == Wraps::No
    };
    key.history.iter().rev().find(stops)
}
