//! Branch keys that somebody else may have, since a key that they are or were wrapped under was revoked.

use std::sync::Arc;

use super::moves::{Said, linked};
use super::parents::is_parent_of_first_keys;
use super::take_over::by_bucket;
use super::{RingAdmin, refused};
use crate::ring::record::KeyRecord;
use crate::ring::view::{View, is_about_records, no_such_key};
use crate::ring::{RecordId, Scope, Slot, State};
use crate::value::error::{Error, Result};

/// How many branch keys are named.
const NAMED: usize = 100;
/// How many scopes are read, and at most how many of their keys are committed, at once.
const BATCH: usize = 64;
/// How many entries of a history are left for others: why a rotation is due stands in none then.
const ROOM: usize = 100;
/// How many scopes are named that could not be read.
const PROBLEMS: usize = 100;

/// The branch keys that are or were wrapped under a key, and are not destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExposedBranches {
    /// How many.
    pub keys: u64,
    /// How many of them are active: a tick rotates them.
    pub active: u64,
    /// How many of those are wrapped under the key now: until they are rotated, nothing is sealed in their slots.
    pub stopped: u64,
    /// The first 100 of them, those that are active first.
    pub named: Vec<ExposedBranch>,
    /// How many scopes could not be read: what is there is not known.
    pub unread: u64,
}

/// A branch key that somebody else may have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExposedBranch {
    /// The key.
    pub key: RecordId,
    /// Its scope.
    pub scope: Scope,
    /// Its state.
    pub state: State,
    /// Whether it is wrapped under the key now, and not only before.
    pub is_under: bool,
}

impl ExposedBranches {
    fn add(&mut self, key: &KeyRecord, parent: RecordId) {
        let is_under = key.is_branch_of(parent);
        let is_active = key.state == State::Active;
        self.keys += 1;
        self.active += u64::from(is_active);
        self.stopped += u64::from(is_active && is_under);
        let found = ExposedBranch {
            key: key.id,
            scope: key.scope.clone(),
            state: key.state,
            is_under,
        };
        if self.named.len() < NAMED {
            self.named.push(found);
        } else if let Some(other) = self.named.iter_mut().find(|other| other.state != State::Active)
            && is_active
        {
            *other = found;
        }
    }
}

/// What was found in the scopes of a ring.
#[derive(Default)]
pub(super) struct Found {
    /// How many rotations are due by now.
    pub(super) keys: usize,
    /// Whether there was more to do.
    pub(super) is_stopped: bool,
    /// Scopes that could not be read or changed, and why: the first 100.
    pub(super) problems: Vec<(Scope, Error)>,
    pub(super) warnings: Vec<Error>,
    /// Whether each scope could be read.
    is_partial: bool,
}

impl Found {
    fn fail(&mut self, scope: &Scope, error: Error) {
        self.is_partial = true;
        if self.problems.len() < PROBLEMS {
            self.problems.push((scope.clone(), error));
        }
    }
}

impl RingAdmin {
    /// Looks for the branch keys that are or were wrapped under a key. This reads the whole ring.
    pub(super) async fn exposed_branches(&self, parent: RecordId) -> Result<ExposedBranches> {
        let mut found = ExposedBranches::default();
        for part in self.parts().await? {
            for batch in self.names(part).await?.0.chunks(BATCH) {
                let mut problems = Found::default();
                for view in self.readable(batch, &mut problems).await? {
                    for key in view.all_keys().filter(|key| is_exposed_by(key, parent)) {
                        found.add(key, parent);
                    }
                }
                found.unread += problems.problems.len() as u64;
            }
        }
        found.named.sort_by_key(|found| found.state != State::Active);
        Ok(found)
    }

    /// Makes the rotation of the active branch keys due that are or were wrapped under a key that was revoked, of at most so many of them. When all are, the
    /// key says so.
    pub(super) async fn let_exposed_rotate(&self, parent: &KeyRecord, limit: usize) -> Result<Found> {
        let mut found = Found::default();
        for part in self.parts().await? {
            for batch in by_bucket(self.names(part).await?.0).chunks(BATCH) {
                let room = limit.saturating_sub(found.keys);
                self.let_batch_rotate(batch, parent, room, &mut found).await?;
                if found.is_stopped {
                    return Ok(found);
                }
            }
        }
        // What could not be read is looked at again.
        if !found.is_partial {
            self.forget_branches(parent).await?;
        }
        Ok(found)
    }

    async fn let_batch_rotate(
        &self,
        batch: &[Scope],
        parent: &KeyRecord,
        room: usize,
        found: &mut Found,
    ) -> Result<()> {
        let mut scopes = Vec::new();
        for view in self.readable(batch, found).await? {
            for key in view.all_keys().filter(|key| is_exposed_by(key, parent.id)) {
                if is_in_the_way(key) {
                    let reason = why(&view, key, parent);
                    match self.do_take_back(key.id, &reason).await {
                        Ok(moved) => found.warnings.extend(moved.warnings),
                        Err(error) => found.fail(&key.scope, error),
                    }
                }
            }
            let waiting = view.all_keys().filter(|key| is_waiting(&view, key, parent.id));
            scopes.extend(waiting.map(|key| key.scope.clone()));
        }
        scopes.sort();
        scopes.dedup();
        let left = scopes.len().saturating_sub(room);
        scopes.truncate(room);
        found.is_stopped |= left > 0;
        if scopes.is_empty() {
            return Ok(());
        }
        match self.make_due(&scopes, parent).await {
            Ok(keys) => found.keys += keys,
            Err(error) if is_about_records(&error) => {
                for scope in &scopes {
                    match self.make_due(std::slice::from_ref(scope), parent).await {
                        Ok(keys) => found.keys += keys,
                        Err(error) if is_about_records(&error) => found.fail(scope, error),
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn make_due(&self, scopes: &[Scope], parent: &KeyRecord) -> Result<usize> {
        self.change(scopes, |view, draft| {
            let mut keys = 0;
            for key in view.all_keys().filter(|key| is_waiting(view, key, parent.id)) {
                let said = Said::new(draft, why(view, key, parent));
                let mut next = match view.is_provisioned(key.id) {
                    true => draft.taken_over(key)?,
                    false => linked(key),
                };
                if next.room() > ROOM {
                    next.record_move(said.entry(Some(key.state), key.state))?;
                }
                // So that the tick that finds it rotates it, too.
                let since = parent.branches_due.unwrap_or(said.at);
                next.next_rotation = Some(since.min(said.at).min(draft.now()));
                draft.put(&next)?;
                keys += 1;
            }
            Ok(keys)
        })
        .await
    }

    /// Nothing that is active is left under a key that was revoked, or all of that is due.
    async fn forget_branches(&self, parent: &KeyRecord) -> Result<()> {
        let (id, scope) = (parent.id, [parent.scope.clone()]);
        self.change(&scope, |view, draft| {
            let key = view.key(id).ok_or_else(|| no_such_key(id))?;
            if key.branches_due != parent.branches_due {
                // Somebody wants it to be looked at again.
                return Ok(());
            }
            let mut next = linked(key);
            next.branches_due = None;
            draft.put(&next)
        })
        .await
    }

    /// Reads scopes together, or each by itself if they do not all verify.
    pub(super) async fn readable(&self, scopes: &[Scope], found: &mut Found) -> Result<Vec<View>> {
        match self.read(scopes).await {
            Ok(view) => return Ok(vec![view]),
            Err(error) if !is_about_records(&error) => return Err(error),
            Err(_) => {}
        }
        let mut views = Vec::new();
        for scope in scopes {
            match self.read(std::slice::from_ref(scope)).await {
                Ok(view) => views.push(view),
                Err(error) if is_about_records(&error) => found.fail(scope, error),
                Err(error) => return Err(error),
            }
        }
        Ok(views)
    }
}

/// Whether a branch key is or was wrapped under a key, and is not destroyed.
pub(super) fn is_exposed_by(key: &KeyRecord, parent: RecordId) -> bool {
    let parents = key.branch.iter().flat_map(crate::ring::Branch::parents);
    key.state != State::Destroyed && parents.map(|parent| parent.parent).any(|id| id == parent)
}

/// Whether an active branch key is to be rotated, and nobody knows it yet.
fn is_waiting(view: &View, key: &KeyRecord, parent: RecordId) -> bool {
    let is_due = key.next_rotation.is_some_and(|due| due <= view.changed());
    key.state == State::Active && !is_due && is_exposed_by(key, parent)
}

/// Whether it waits to become active, by itself, and never may: another one takes its place.
fn is_in_the_way(key: &KeyRecord) -> bool {
    key.state == State::Pending && !key.staged && !key.awaits_gate
}

fn why(view: &View, key: &KeyRecord, parent: &KeyRecord) -> String {
    let made = parent.revocation();
    let ticket = made.and_then(|made| made.ticket.as_deref());
    let (is, ticket) = (
        if key.is_branch_of(parent.id) { "is" } else { "was" },
        ticket.unwrap_or("none"),
    );
    let named = view
        .known(&parent.scope, parent.id)
        .map_or(parent, |known| &**known);
    // Each text of a history has its limit, and a ticket is as long as that.
    let text = format!(
        "the key {} of scope {}, which it {is} wrapped under, was revoked",
        named.id, named.scope
    );
    match text.len() + ticket.len() < 900 {
        true => format!("{text} (ticket {ticket})"),
        false => text,
    }
}

/// Whether branch keys are or were wrapped under a key, as far as the head says; of the parent of first keys nobody knows.
pub(super) fn has_branches(view: &View, key: &KeyRecord) -> bool {
    key.branch.is_none()
        && (view.branches_under(key.id) > 0
            || view.branch_left(key.id).is_some()
            || is_parent_of_first_keys(view, key))
}

/// Why no branch key can be rotated onto another key of this scope.
pub(super) fn branches_hindered(view: &View, parent: &KeyRecord) -> Option<String> {
    let has_next = view.active(&parent.scope, &Slot::default()).is_some();
    (!has_next && view.tombstone(&parent.scope).is_none()).then(|| {
        format!(
            "branch keys are or were wrapped under the key {}, and are to be rotated; but scope {} has no active key in slot {} that would wrap new ones: put \
             one in its place first (`waxseal keys rotate`, `waxseal keys create`)",
            parent.id,
            parent.scope,
            Slot::default()
        )
    })
}

/// Refuses to let a branch key seal that somebody else may have.
pub(super) fn check_not_exposed(view: &View, key: &Arc<KeyRecord>) -> Result<()> {
    let exposing = view.exposed_by(key);
    let Some(parent) = exposing.first() else {
        return Ok(());
    };
    let what_then = match key.state {
        State::Pending => format!("take it back (`waxseal keys take-back {}`)", key.id),
        _ => "leave the key active that is".to_owned(),
    };
    Err(refused(format!(
        "the branch key {} of scope {} is exposed, since the key {} of scope {}, which it is or was wrapped under, was revoked: {what_then}, and rotate the scope \
         (`waxseal keys rotate --scope {}`)",
        key.id, key.scope, parent.id, parent.scope, key.scope
    )))
}

/// What is said if the branch keys of a revoked key could not be looked for.
pub(super) fn not_looked_for(error: &Error) -> Error {
    let why = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    Error::new(error.kind()).with_detail(format!(
        "branch keys that are or were wrapped under the key are exposed with it, and they could not be looked for: {why}; `waxseal ring status` names them, \
         and `waxseal keys tick` rotates them"
    ))
}
