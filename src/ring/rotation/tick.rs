//! Doing what is due.

use std::collections::HashSet;
use std::sync::Arc;

use super::RingAdmin;
use super::evidence::{EvidenceSource, Grounds};
use super::orphans::Orphan;
use super::readers::{Heard, NAMED};
use super::retire::retirement_grounds;
use super::revoke::awaits_successor;
use super::rotate::Rollout;
use super::telling::Progress;
use super::verdict::{Action, Due, Seen, due_in, held_in};
use crate::ring::record::{KeyRecord, Record};
use crate::ring::witness::Operation;
use crate::ring::{RecordId, Scope, State, Time};
use crate::value::error::{Error, ErrorKind, Result};

/// How often a scope is looked at in one tick: each time something was done, or was tried.
const TURNS: usize = 256;
/// How many keys of provisioners one tick takes over.
const TAKEN: usize = 10_000;
/// For how many branch keys of revoked keys one tick makes the rotation due.
const EXPOSED: usize = 1_000;
const SCHEDULED: &str = "scheduled";

/// Something that a tick did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Done {
    /// The key.
    pub key: RecordId,
    /// What was done.
    pub action: Action,
    /// The state before. `None` if it was made.
    pub from: Option<State>,
    /// The state after.
    pub to: State,
}

/// Something that is due, and was not done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The key.
    pub key: RecordId,
    /// What is due.
    pub action: Action,
    /// Why it was not done.
    pub reason: String,
    /// How many items would be left under the key, if a census says so.
    pub left: Option<u64>,
}

/// What a tick did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Tick {
    /// What was done, in order.
    pub done: Vec<Done>,
    /// What is due and was not done.
    pub refused: Vec<Refused>,
    /// How many keys of provisioners were taken over.
    pub taken_over: usize,
    /// How many branch keys were found whose rotation is due, since a key that they are or were wrapped under was revoked. A tick makes the rotation of 1,000 of
    /// them due at most, for each key that was revoked; the next one goes on.
    pub exposed: usize,
    /// What was due, and somebody else has done or is doing. If that process is dead, a tick goes on with it after [`Due::held_until`].
    pub by_others: Vec<Due>,
    /// What was found at backends and is no key of the ring.
    pub orphans: Vec<Orphan>,
    /// Scopes that could not be read or changed, and why: what is due there was not done.
    pub problems: Vec<(Scope, Error)>,
    /// What hinders nothing: hooks that failed after something was done, and rows that are no heartbeats.
    pub warnings: Vec<Error>,
    /// When to tick again. `None` if nothing will ever be due.
    pub next: Option<Time>,
    /// Whether something was left for the next tick.
    is_stopped: bool,
}

impl RingAdmin {
    /// Does what is due by the inventory's clock: goes on with what others have begun, rotates each key once however many periods have
    /// passed, and once in a tick however short they are, promotes, retires and destroys. Any number of processes can tick at once: each
    /// move happens once, and who was not the one to make it finds it in [`Tick::by_others`].
    ///
    /// What fails for one key is in [`Tick::refused`], what fails for a whole scope in [`Tick::problems`], and neither keeps the tick from
    /// the others.
    ///
    /// # Errors
    /// As the [type](Self) says, if the settings cannot be read, or the inventory does not say in which scopes something is due;
    /// `ClocksDisagree`.
    pub async fn tick(&self, evidence: Option<&dyn EvidenceSource>) -> Result<Tick> {
        let deed = self.deed(Operation::Tick);
        self.witnessed(deed, self.do_tick(evidence)).await
    }

    pub(super) async fn do_tick(&self, evidence: Option<&dyn EvidenceSource>) -> Result<Tick> {
        let at = self.reader.time(&self.read(&[]).await?).await?;
        let mut tick = Tick::default();
        let mut seen = Seen::default();
        let mut beats = None;
        while let Some(scopes) = self.next_scopes(at, &mut seen).await? {
            for scope in scopes {
                let ticked = self.tick_scope(&scope, evidence, &mut beats, &mut tick);
                if let Err(error) = ticked.await {
                    tick.problems.push((scope, error));
                }
            }
        }
        match self.do_take_over_provisioned(TAKEN).await {
            Ok(taken) => {
                tick.taken_over = taken.keys;
                tick.problems.extend(taken.problems);
            }
            Err(error) => tick.warnings.push(error),
        }
        tick.next = match tick.taken_over {
            TAKEN => Some(at),
            _ if tick.is_stopped => Some(at),
            _ => self.next(at).await?,
        };
        Ok(tick)
    }

    /// Does what is due in one scope.
    async fn tick_scope(
        &self,
        scope: &Scope,
        evidence: Option<&dyn EvidenceSource>,
        beats: &mut Option<Vec<Heard>>,
        tick: &mut Tick,
    ) -> Result<()> {
        // What was refused once is not tried again in this tick.
        let mut tried = HashSet::new();
        // A cadence can be shorter than a tick takes.
        let mut fresh = HashSet::new();
        for turn in 0..TURNS {
            let view = self.read(std::slice::from_ref(scope)).await?;
            let at = self.reader.time(&view).await?;
            if turn == 0 {
                // Before this tick begins something itself.
                tick.by_others.extend(held_in(&view, scope, at));
            }
            let beats = self.beats(&view, beats).await?;
            tick.name_malformed(beats);
            let mut next = None;
            for due in due_in(&view, scope, at, beats, self, evidence) {
                let is_fresh = due.action == Action::Rotate && fresh.contains(&due.key);
                if next.is_some() || is_fresh || !tried.insert((due.key, due.action)) {
                    continue;
                }
                match &due.hindered {
                    Some(reason) => tick.refuse(&due, reason.clone()),
                    None => next = Some(due),
                }
            }
            let Some(due) = next else { return Ok(()) };
            let before = tick.done.len();
            let acted = self.act_witnessed((&view, at), &due, evidence, tick).await;
            if let Err(failure) = acted {
                match self.is_others(&due, &failure, evidence).await {
                    true => tick.by_others.push(due),
                    false => tick.refuse(&due, said(&failure.error)),
                }
            }
            fresh.extend(tick.done.iter().skip(before).map(|done| done.key));
        }
        Ok(())
    }

    /// Whether something failed because somebody else has done it, or is doing it.
    async fn is_others(&self, due: &Due, failure: &Failure, evidence: Option<&dyn EvidenceSource>) -> bool {
        let Ok(view) = self.read(std::slice::from_ref(&due.scope)).await else {
            return false;
        };
        let key = view.key(due.key);
        let is_done = match due.action {
            Action::Recover => key.is_some(),
            Action::Rotate => key.is_none_or(|key| key.state != State::Active && !awaits_successor(key)),
            Action::Promote => key.is_none_or(|key| key.state != State::Pending),
            Action::Branches => key.is_none_or(|key| key.branches_due.is_none()),
            Action::Retire => key.is_none_or(|key| key.state != State::Deprecated),
            Action::Destroy => key.is_none_or(|key| key.state != State::Destroying),
            Action::Shred => view
                .tombstone(&due.scope)
                .is_none_or(|tombstone| tombstone.due().is_none()),
        };
        let lost = match failure.error.kind() {
            ErrorKind::Conflict => true,
            // What this process has begun itself keeps it from being due, too.
            ErrorKind::LifecycleRefused => !failure.had_begun,
            _ => false,
        };
        if is_done || !lost {
            return is_done;
        }
        let mut beats = None;
        let (Ok(at), Ok(beats)) = (self.reader.time(&view).await, self.beats(&view, &mut beats).await) else {
            return false;
        };
        let mut now = due_in(&view, &due.scope, at, beats, self, evidence).into_iter();
        !now.any(|now| (now.key, now.action) == (due.key, due.action))
    }

    /// Does what is due, and says how it ended.
    async fn act_witnessed(
        &self,
        seen: (&crate::ring::View, Time),
        due: &Due,
        evidence: Option<&dyn EvidenceSource>,
        tick: &mut Tick,
    ) -> std::result::Result<(), Failure> {
        let deed = self
            .deed(due.action.operation())
            .of_key(due.key)
            .in_scope(&due.scope);
        let mut had_begun = false;
        let work = async {
            let acted = self.act(seen, due, evidence, tick).await;
            acted.map_err(|failure| {
                had_begun = failure.had_begun;
                failure.error
            })
        };
        let ended = self.witnessed(deed, work).await;
        ended.map_err(|error| Failure { error, had_begun })
    }

    async fn act(
        &self,
        (view, at): (&crate::ring::View, Time),
        due: &Due,
        evidence: Option<&dyn EvidenceSource>,
        tick: &mut Tick,
    ) -> std::result::Result<(), Failure> {
        match due.action {
            Action::Recover => {
                let mut intents = view.intents(&due.scope).iter();
                let Some(found) = intents.find(|intent| intent.key == due.key) else {
                    return Ok(());
                };
                let Some(claim) = self.take_over(found).await? else {
                    tick.by_others.push(due.clone());
                    return Ok(());
                };
                let finished = self.finish(&claim).await.map_err(Failure::after)?;
                tick.orphans.extend(finished.orphans);
                tick.warnings.extend(self.tell(&finished.key).await);
                tick.did(due, None, finished.key.state);
            }
            Action::Rotate => {
                let Some(key) = view.key(due.key) else {
                    return Ok(());
                };
                if key.state == State::Compromised {
                    let said = key.history.iter().rev().find(|made| made.ticket.is_some());
                    let reason = said.map_or(SCHEDULED, |made| made.reason.as_str());
                    let moved = self.succeed(key, reason).await.map_err(Failure::after)?;
                    tick.warnings.extend(moved.warnings);
                    tick.done.push(Done {
                        key: moved.key,
                        action: Action::Rotate,
                        from: None,
                        to: moved.to,
                    });
                    return Ok(());
                }
                let keys = std::slice::from_ref(key);
                let rotation = self.rotate_keys(keys, Rollout::AtOnce, &scheduled(key)).await?;
                if let Some(unfinished) = rotation.unfinished.into_iter().next() {
                    return Err(Failure::after(unfinished.error));
                }
                let Some(rotated) = rotation.rotated.into_iter().next() else {
                    return Ok(());
                };
                tick.orphans.extend(rotated.orphans);
                tick.warnings.extend(rotated.warnings);
                tick.done.push(Done {
                    key: rotated.key,
                    action: Action::Rotate,
                    from: None,
                    to: rotated.state,
                });
                if let Some(error) = rotated.hindered {
                    tick.refused.push(Refused {
                        key: rotated.key,
                        action: Action::Promote,
                        reason: said(&error),
                        left: None,
                    });
                }
            }
            Action::Promote => {
                let reason = view.key(due.key).and_then(|key| key.history.first());
                let reason = reason.map_or(SCHEDULED, |made| made.reason.as_str()).to_owned();
                let moved = self.promote_pending(due.key, &reason).await?;
                tick.warnings.extend(moved.warnings);
                tick.did(due, Some(moved.from), moved.to);
            }
            Action::Branches => {
                let Some(key) = view.key(due.key) else {
                    return Ok(());
                };
                let found = self.let_exposed_rotate(key, EXPOSED).await?;
                tick.exposed += found.keys;
                tick.is_stopped |= found.is_stopped;
                tick.problems.extend(found.problems);
                tick.warnings.extend(found.warnings);
                if found.keys > 0 {
                    tick.did(due, Some(key.state), key.state);
                }
            }
            Action::Retire => {
                let Some(key) = view.key(due.key) else {
                    return Ok(());
                };
                let about = evidence.and_then(|evidence| evidence.about(key));
                let (grounds, reason) = match retirement_grounds(key, view.settings(), about.as_ref(), at) {
                    grounds @ Grounds::Evidence(_) => (grounds, "nothing is under it"),
                    grounds => (grounds, "its overlap is over"),
                };
                let moved = self.do_retire(due.key, grounds, reason).await?;
                tick.warnings.extend(moved.warnings);
                tick.did(due, Some(moved.from), moved.to);
            }
            Action::Destroy => {
                let Some(key) = view.key(due.key) else {
                    return Ok(());
                };
                match self.go_on_destroying(key).await? {
                    Progress::Moved(moved) => {
                        tick.warnings.extend(moved.warnings);
                        tick.did(due, Some(moved.from), moved.to);
                    }
                    Progress::Told => tick.did(due, Some(State::Destroying), State::Destroying),
                    Progress::Waits => {}
                }
            }
            Action::Shred => {
                for moved in self.go_on_shredding(&due.scope).await? {
                    tick.warnings.extend(moved.warnings);
                    tick.done.push(Done {
                        key: moved.key,
                        action: Action::Shred,
                        from: Some(moved.from),
                        to: moved.to,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Why something was not done.
struct Failure {
    error: Error,
    /// Whether this process had begun with it.
    had_begun: bool,
}

impl Failure {
    fn after(error: Error) -> Self {
        Self {
            error,
            had_begun: true,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            had_begun: false,
        }
    }
}

impl Tick {
    /// Names rows that are no heartbeats, each once.
    fn name_malformed(&mut self, beats: &[Heard]) {
        for error in beats.iter().filter_map(Heard::malformed).take(NAMED) {
            if !self.warnings.iter().any(|there| there.detail() == error.detail()) {
                self.warnings.push(error);
            }
        }
    }

    fn refuse(&mut self, due: &Due, reason: String) {
        self.refused.push(Refused {
            key: due.key,
            action: due.action,
            reason,
            left: due.left,
        });
    }

    fn did(&mut self, due: &Due, from: Option<State>, to: State) {
        self.done.push(Done {
            key: due.key,
            action: due.action,
            from,
            to,
        });
    }
}

fn said(error: &Error) -> String {
    error.to_string()
}

/// Why a rotation was due: its time, or an event that was reported.
fn scheduled(key: &Arc<KeyRecord>) -> String {
    let reported = key
        .history
        .last()
        .filter(|made| made.from == Some(State::Active) && made.to == State::Active);
    reported.map_or_else(|| SCHEDULED.to_owned(), |made| made.reason.clone())
}
