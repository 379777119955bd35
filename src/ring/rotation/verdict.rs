//! What is due, and what hinders it. Nothing is changed, and no backend is asked.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use super::RingAdmin;
use super::evidence::EvidenceSource;
use super::exposed::{branches_hindered, check_not_exposed};
use super::readers::{Heard, Reports};
use super::retire::{check_retirement, retirement_grounds};
use super::revoke::awaits_key;
use crate::ring::clock::Agreed;
use crate::ring::reader::too_many;
use crate::ring::record::{KeyRecord, Record, Settings};
use crate::ring::view::{View, is_about_records};
use crate::ring::{RecordId, Scope, State, Time};
use crate::value::error::{Error, Result};

/// How many scopes are read first; then twice as many.
const FIRST: u32 = 256;
/// The most scopes in which something is due at once.
const MOST: u32 = 1 << 20;
/// When to look again if something is due and hindered.
pub(super) const AGAIN: Duration = Duration::from_secs(60);

/// What a tick does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Goes on with what another process has begun.
    Recover,
    /// Makes a successor.
    Rotate,
    /// Makes a pending key active.
    Promote,
    /// Makes the rotation of branch keys due, since a key that they are or were wrapped under was revoked.
    Branches,
    /// Retires a deprecated key.
    Retire,
    /// Tells the backend to destroy a key, or asks whether it has.
    Destroy,
    /// Begins to destroy the keys of a scope that was shredded, or goes on with a cancellation of that.
    Shred,
}

impl Action {
    /// Returns its name, as the command writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recover => "recover",
            Self::Rotate => "rotate",
            Self::Promote => "promote",
            Self::Branches => "branches",
            Self::Retire => "retire",
            Self::Destroy => "destroy",
            Self::Shred => "shred",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Due {
    /// The key. For what another process has begun: the key that it will be. For a scope that was shredded: the record that says so.
    pub key: RecordId,
    /// Its scope.
    pub scope: Scope,
    /// What is due.
    pub action: Action,
    /// Since when.
    pub since: Time,
    /// What hinders it, as far as that can be seen without asking a backend or a hook.
    pub hindered: Option<String>,
    /// How many items would be left under the key, if a census says so.
    pub left: Option<u64>,
    /// Of what another process has begun: until when nobody else goes on with it. `None` if it can be gone on with, or is done.
    pub held_until: Option<Time>,
}

/// What is due in a ring.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// The time that it is about.
    pub at: Time,
    /// What is due, the scopes in the order of their need.
    pub due: Vec<Due>,
    /// Scopes that could not be read, and why: what is due there is not known.
    pub problems: Vec<(Scope, Error)>,
    /// When to look again. `None` if nothing will ever be due.
    pub next: Option<Time>,
}

/// Scopes in which something was due.
pub(super) struct Seen {
    scopes: HashSet<Scope>,
    /// How many there can be, as far as that was looked at: no more than the head signs records.
    most: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            scopes: HashSet::new(),
            most: FIRST as usize,
        }
    }
}

impl RingAdmin {
    /// Returns what is due now, or at another time, and what hinders it. Changes nothing, and calls no backend.
    ///
    /// # Errors
    /// As the [type](Self) says; `ClocksDisagree` if no other time is named.
    pub async fn verdict(&self, at: Option<Time>, evidence: Option<&dyn EvidenceSource>) -> Result<Verdict> {
        let at = match at {
            Some(at) => at,
            None => self.reader.time(&self.read(&[]).await?).await?,
        };
        let mut seen = Seen::default();
        let (mut due, mut problems) = (Vec::new(), Vec::new());
        let mut beats = None;
        while let Some(scopes) = self.next_scopes(at, &mut seen).await? {
            for scope in scopes {
                let view = match self.read(std::slice::from_ref(&scope)).await {
                    Ok(view) => view,
                    Err(error) if is_about_records(&error) => {
                        problems.push((scope, error));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let beats = self.beats(&view, &mut beats).await?;
                due.extend(due_in(&view, &scope, at, beats, self, evidence));
            }
        }
        Ok(Verdict {
            at,
            next: self.next(at).await?,
            due,
            problems,
        })
    }

    /// The next scopes in which something is due, and that were not seen yet.
    pub(super) async fn next_scopes(&self, at: Time, seen: &mut Seen) -> Result<Option<Vec<Scope>>> {
        // What is hindered stays due, and in front: so more are asked for until there are new ones.
        let mut limit = FIRST;
        loop {
            let scopes = self.inventory().scopes_due(at, limit).await?;
            let is_all = scopes.len() < limit as usize;
            let new: Vec<_> = scopes
                .into_iter()
                .filter(|scope| seen.scopes.insert(scope.clone()))
                .collect();
            if seen.scopes.len() > seen.most {
                seen.most = self.reader.count_records().await?;
                if seen.scopes.len() > seen.most {
                    return Err(too_many(seen.most));
                }
            }
            if !new.is_empty() {
                return Ok(Some(new));
            }
            if is_all || limit >= MOST {
                return Ok(None);
            }
            limit = limit.saturating_mul(2);
        }
    }

    /// When to look again.
    pub(super) async fn next(&self, at: Time) -> Result<Option<Time>> {
        let due = self.inventory().next_due().await?;
        Ok(due.map(|due| match due <= at {
            true => at.saturating_add(AGAIN),
            false => due,
        }))
    }

    /// The heartbeats, if any of the scopes needs them: read once for all of them. Before a promotion they are read anew.
    pub(super) async fn beats<'b>(
        &self,
        view: &View,
        kept: &'b mut Option<Vec<Heard>>,
    ) -> Result<&'b [Heard]> {
        if kept.is_none() && view.all_keys().any(|key| key.state == State::Pending) {
            *kept = Some(self.fresh_beats(view).await?);
        }
        Ok(kept.as_deref().unwrap_or_default())
    }
}

/// What is due in a scope.
pub(super) fn due_in(
    view: &View,
    scope: &Scope,
    at: Time,
    beats: &[Heard],
    admin: &RingAdmin,
    evidence: Option<&dyn EvidenceSource>,
) -> Vec<Due> {
    let mut due = Vec::new();
    let of = |key: RecordId, action, since, hindered, left| Due {
        key,
        scope: scope.clone(),
        action,
        since,
        hindered,
        left,
        held_until: None,
    };
    let intents = || {
        view.intents(scope)
            .iter()
            .filter(|intent| intent.abandoned.is_none())
    };
    for intent in intents().filter(|intent| !intent.is_held(at)) {
        due.push(of(intent.key, Action::Recover, intent.lease_until, None, None));
    }
    if let Some(tombstone) = view.tombstone(scope)
        && let Some(since) = tombstone.due().filter(|since| *since <= at)
    {
        due.push(of(tombstone.id, Action::Shred, since, None, None));
    }
    for key in view.keys(scope) {
        match key.state {
            State::Pending if !key.staged => {
                // Nobody is waited for where nothing can be sealed.
                let is_first = view
                    .active(scope, &key.slot)
                    .is_none_or(|active| view.is_stopped(active));
                let reports = Reports::of(key, view.settings(), beats, &admin.skipped);
                due.push(of(
                    key.id,
                    Action::Promote,
                    key.created,
                    admin
                        .gate_missing(key)
                        .or_else(|| check_not_exposed(view, key).err().map(|error| words_of(&error)))
                        .or_else(|| reports.hindrance().filter(|_| !is_first)),
                    None,
                ));
            }
            State::Active => {
                if let Some(since) = key.next_rotation.filter(|since| *since <= at) {
                    let hindered = rotation_hindered(view, key);
                    match hindered {
                        // Somebody is at work on it, or it is another action that is due.
                        Hindered::Busy => {}
                        Hindered::No => due.push(of(key.id, Action::Rotate, since, None, None)),
                        Hindered::Yes(why) => due.push(of(key.id, Action::Rotate, since, Some(why), None)),
                    }
                }
            }
            State::Deprecated => {
                if let Some(since) = key.retirement_due.filter(|since| *since <= at) {
                    let (hindered, left) = retirement_hindered(key, view.settings(), at, evidence);
                    due.push(of(key.id, Action::Retire, since, hindered, left));
                }
            }
            State::Compromised => {
                if let Some(since) = key.branches_due.filter(|since| *since <= at) {
                    due.push(of(
                        key.id,
                        Action::Branches,
                        since,
                        branches_hindered(view, key),
                        None,
                    ));
                }
                if let Some(since) = key.next_rotation.filter(|since| *since <= at)
                    && awaits_key(view, key)
                    // What waits there takes its place, also if it was staged.
                    && !matches!(rotation_hindered(view, key), Hindered::Busy)
                {
                    due.push(of(
                        key.id,
                        Action::Rotate,
                        since,
                        admin.gate_missing_for(view, key),
                        None,
                    ));
                }
            }
            State::Destroying => {
                if let Some(since) = key.due().filter(|since| *since <= at) {
                    due.push(of(key.id, Action::Destroy, since, None, None));
                }
            }
            _ => {}
        }
    }
    due.sort_by_key(|due| due.action);
    due
}

/// What others have begun in a scope, and nobody else goes on with yet: they may be at work on it, or be dead.
pub(super) fn held_in(view: &View, scope: &Scope, at: Time) -> impl Iterator<Item = Due> {
    let held = view
        .intents(scope)
        .iter()
        .filter(move |intent| intent.is_held(at));
    held.map(|intent| Due {
        key: intent.key,
        scope: intent.scope.clone(),
        action: Action::Recover,
        since: intent.begun,
        hindered: None,
        left: None,
        held_until: Some(intent.lease_until),
    })
}

pub(super) enum Hindered {
    No,
    Busy,
    Yes(String),
}

pub(super) fn rotation_hindered(view: &View, key: &KeyRecord) -> Hindered {
    let mut intents = view.intents(&key.scope).iter();
    if intents.any(|intent| intent.slot == key.slot && intent.abandoned.is_none()) {
        return Hindered::Busy;
    }
    let mut pending = view
        .keys(&key.scope)
        .iter()
        .filter(|other| other.slot == key.slot && other.state == State::Pending);
    match pending.next() {
        None => Hindered::No,
        Some(next) if next.staged => Hindered::Yes(format!(
            "the pending key {} waits for somebody to promote it or take it back",
            next.id
        )),
        Some(_) => Hindered::Busy,
    }
}

fn retirement_hindered(
    key: &KeyRecord,
    settings: &Settings,
    at: Time,
    evidence: Option<&dyn EvidenceSource>,
) -> (Option<String>, Option<u64>) {
    let about = evidence.and_then(|evidence| evidence.about(key));
    let left = about.as_ref().map(super::Evidence::left);
    let grounds = retirement_grounds(key, settings, about.as_ref(), at);
    let why = check_retirement(key, settings, grounds, Agreed::on(at))
        .err()
        .map(|error| words_of(&error));
    (why, left)
}

fn words_of(error: &Error) -> String {
    error.detail().unwrap_or_default().to_owned()
}
