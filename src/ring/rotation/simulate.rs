//! What a move would do. Nothing is changed, and no backend is asked.

use super::destroy::{check_not_shredding, check_unneeded, waits_for};
use super::intents::under_way;
use super::readers::{LaggingReader, fresh_beats, lagging};
use super::retire::{check_retirement, retirement_grounds};
use super::revoke::is_lost;
use super::same_kek::others;
use super::shred::{check_alone, never_wrapped};
use super::verdict::{Hindered, rotation_hindered};
use crate::ring::clock::Agreed;
use crate::ring::evidence::VerifiedReceipt;
use crate::ring::record::KeyRecord;
use crate::ring::view::{View, no_such_key};
use crate::ring::{Evidence, EvidenceSource, Grounds, Reader, RecordId, Scope, State, Time};
use crate::value::error::{Error, Result};

/// A move that is thought through.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Simulation {
    /// [`RingAdmin::retire`](super::RingAdmin::retire).
    Retire(RecordId),
    /// [`RingAdmin::revoke`](super::RingAdmin::revoke), with a successor.
    Revoke(RecordId),
    /// [`RingAdmin::shred`](super::RingAdmin::shred).
    Shred(Scope),
    /// [`RingAdmin::destroy`](super::RingAdmin::destroy).
    Destroy(RecordId),
    /// [`RingAdmin::rotate`](super::RingAdmin::rotate).
    Rotate(RecordId),
}

/// A move of a key that would be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulatedMove {
    /// The key. `None` for one that would be made.
    pub key: Option<RecordId>,
    /// Its scope.
    pub scope: Scope,
    /// Its state. `None` for one that would be made.
    pub from: Option<State>,
    /// The state that it would have.
    pub to: State,
    /// When, if not at once.
    pub at: Option<Time>,
}

/// Why a scope is affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Affected {
    /// Its own keys would move.
    Own,
    /// It has a key of the same KEK.
    SameKek,
    /// It has a branch key that is wrapped under a key that would move.
    Branch,
}

impl Affected {
    /// Returns its name, as the command writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::SameKek => "same-kek",
            Self::Branch => "branch",
        }
    }
}

/// A scope that a move would affect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AffectedScope {
    /// The scope.
    pub scope: Scope,
    /// Why.
    pub why: Affected,
    /// The keys of it that are meant.
    pub keys: Vec<RecordId>,
}

/// What a census has found under a key that would move.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulatedCount {
    /// The key.
    pub key: RecordId,
    /// SHA-256 of the receipt, in hexadecimal digits.
    pub census: String,
    /// When the scan of the census began.
    pub started: Time,
    /// How many envelopes have a wrap under the KEK of the key.
    pub items: u64,
    /// How many of those no other key opens.
    pub sole: u64,
    /// How many envelopes may be under it, and do not say so.
    pub unknown: u64,
}

/// What a move would do, by the revision that was read and the heartbeats and receipts that were there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Simulated {
    /// The revision of the ring.
    pub revision: u64,
    /// The time that it is about.
    pub at: Time,
    /// The moves, in order. Also if the move would be refused: what it would do then.
    pub moves: Vec<SimulatedMove>,
    /// The scopes that it affects, the own one first.
    pub scopes: Vec<AffectedScope>,
    /// What the receipts say of the keys that would move.
    pub counted: Vec<SimulatedCount>,
    /// Readers that have not read the newest revision, or have not reported.
    pub readers: Vec<LaggingReader>,
    /// Why it would be refused now. Empty if nothing is known that hinders it: backends and hooks were not asked.
    pub refused: Vec<String>,
    /// When the move, or the first that is refused for its time alone, would be possible or done.
    pub due: Option<Time>,
    /// What would be unreadable, or would not work anymore, in words.
    pub unreadable: Vec<String>,
}

impl Reader {
    /// Tells what a move would do: which scopes it affects, what these censuses have counted under its keys, which readers lag, what would refuse it, when it
    /// would be due, and what would become unreadable. Changes nothing, asks no backend, and needs no authority. This reads the whole ring.
    ///
    /// # Errors
    /// `InvalidArgument` if the ring has no such key; `NoKeyForScope` if it has none of the scope; `ClocksDisagree`; as [`Trust::read`](crate::ring::Trust::read).
    pub async fn simulate(&self, of: &Simulation, censuses: &[VerifiedReceipt<'_>]) -> Result<Simulated> {
        let view = self.whole().await?;
        let agreed = self.agreed(&view).await?;
        let heard = fresh_beats(self, &view).await?;
        let mut simulated = Simulated {
            revision: view.revision(),
            at: agreed.now,
            moves: Vec::new(),
            scopes: Vec::new(),
            counted: Vec::new(),
            readers: Vec::new(),
            refused: Vec::new(),
            due: None,
            unreadable: Vec::new(),
        };
        let of_id = |id: &RecordId| view.key(*id).ok_or_else(|| no_such_key(*id));
        let mut looks = Looks {
            view: &view,
            agreed,
            censuses,
            into: &mut simulated,
        };
        let moved: Vec<&KeyRecord> = match of {
            Simulation::Retire(id) => looks.retire(of_id(id)?)?,
            Simulation::Revoke(id) => looks.revoke(of_id(id)?),
            Simulation::Destroy(id) => looks.destroy(of_id(id)?)?,
            Simulation::Rotate(id) => looks.rotate(of_id(id)?)?,
            Simulation::Shred(scope) => looks.shred(scope)?,
        };
        looks.affect(&moved);
        let scopes: Vec<&Scope> = simulated.scopes.iter().map(|affected| &affected.scope).collect();
        let readers = lagging(&view, &heard, &scopes);
        simulated.readers = readers;
        Ok(simulated)
    }
}

/// What a move is thought through with.
struct Looks<'l> {
    view: &'l View,
    agreed: Agreed,
    censuses: &'l [VerifiedReceipt<'l>],
    into: &'l mut Simulated,
}

impl<'l> Looks<'l> {
    fn refuse(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.into.refused.push(said(&error));
        }
    }

    /// What the receipts say of a key together.
    fn about(&self, key: &KeyRecord) -> Option<Evidence> {
        let said = self.censuses.iter().filter_map(|census| census.about(key));
        said.reduce(Evidence::and)
    }

    fn would_move(&mut self, key: &KeyRecord, to: State, at: Option<Time>) {
        self.into.moves.push(SimulatedMove {
            key: Some(key.id),
            scope: key.scope.clone(),
            from: Some(key.state),
            to,
            at,
        });
    }

    fn would_make(&mut self, beside: &KeyRecord) {
        self.into.moves.push(SimulatedMove {
            key: None,
            scope: beside.scope.clone(),
            from: None,
            to: State::Active,
            at: None,
        });
    }

    fn retire(&mut self, key: &'l KeyRecord) -> Result<Vec<&'l KeyRecord>> {
        let settings = self.view.settings();
        self.would_move(key, State::Retired, None);
        if key.state == State::Deprecated {
            self.into.due = key.retirement_due;
            let about = self.about(key);
            let grounds = match &about {
                // What was given is what it would be retired by.
                Some(about) => Grounds::Evidence(about),
                None => retirement_grounds(key, settings, None, self.agreed.now),
            };
            self.refuse(check_retirement(key, settings, grounds, self.agreed));
        } else {
            let is_not = format!(
                "the key {} is {}, and only a deprecated key is retired",
                key.id, key.state
            );
            self.into.refused.push(is_not);
        }
        let text = format!(
            "what is under the key {} alone does not open, until it is reinstated",
            key.id
        );
        self.into.unreadable.push(text);
        Ok(vec![key])
    }

    fn revoke(&mut self, key: &'l KeyRecord) -> Vec<&'l KeyRecord> {
        if matches!(key.state, State::Destroying | State::Destroyed) {
            let is_not = format!("the key {} is {}, and opens nothing", key.id, key.state);
            self.into.refused.push(is_not);
        }
        self.would_move(key, State::Compromised, None);
        let is_vacated = key.state == State::Active || is_lost(self.view, key);
        if is_vacated && self.view.tombstone(&key.scope).is_none() {
            let waits = |other: &&std::sync::Arc<KeyRecord>| {
                other.slot == key.slot && other.state == State::Pending && other.id != key.id
            };
            let keys = self.view.keys(&key.scope).iter().filter(waits);
            match keys.max_by_key(|next| (key.successor == Some(next.id), next.id)) {
                Some(next) => self.would_move(next, State::Active, None),
                None => self.would_make(key),
            }
            let text = format!(
                "nothing is sealed in slot {} of scope {} until a successor is active",
                key.slot, key.scope
            );
            self.into.unreadable.push(text);
        }
        let text = format!(
            "what is under the key {} alone does not open anymore, for good; processes that do not reach the inventory go on for {}",
            key.id,
            self.view.settings().max_stale_open
        );
        self.into.unreadable.push(text);
        vec![key]
    }

    fn destroy(&mut self, key: &'l KeyRecord) -> Result<Vec<&'l KeyRecord>> {
        let settings = self.view.settings();
        let due = settings
            .cooling_off
            .after(self.agreed.latest.max(self.view.changed()))?;
        self.would_move(key, State::Destroying, None);
        self.would_move(key, State::Destroyed, Some(due));
        self.into.due = Some(due);
        self.refuse(key.state.check_move(State::Destroying));
        self.refuse(check_not_shredding(self.view, key));
        self.refuse(check_unneeded(self.view, key));
        match self.about(key) {
            Some(evidence) => self.refuse(evidence.check(key, settings, self.agreed.now)),
            None => {
                let text = "it takes a census receipt that finds nothing under the key, and none was given";
                self.into.refused.push(text.to_owned());
            }
        }
        let waits = others(self.view, key).filter_map(|other| waits_for(key, other));
        self.into
            .unreadable
            .extend(waits.map(|why| format!("its backend would not be told yet: {why}")));
        let text = format!(
            "everything under the KEK of the key {} is unreadable for good, in backups, too, when its backend has destroyed it",
            key.id
        );
        self.into.unreadable.push(text);
        Ok(vec![key])
    }

    fn rotate(&mut self, key: &'l KeyRecord) -> Result<Vec<&'l KeyRecord>> {
        self.refuse(self.view.check_not_shredded(&key.scope));
        self.into.due = key.next_rotation;
        let begun = self.view.intents(&key.scope).iter();
        let mut begun = begun.filter(|intent| intent.slot == key.slot && intent.abandoned.is_none());
        match (key.state, rotation_hindered(self.view, key)) {
            (State::Active, Hindered::No) => {}
            (State::Active, Hindered::Yes(why)) => self.into.refused.push(why),
            (State::Active, Hindered::Busy) => {
                let why = match begun.next() {
                    Some(intent) => said(&under_way(intent, self.agreed.now)),
                    None => "a successor of the key waits already".to_owned(),
                };
                self.into.refused.push(why);
            }
            _ if is_lost(self.view, key) => {}
            (state, _) => {
                let why = format!("the key {} is {state}, and only an active key is rotated", key.id);
                self.into.refused.push(why);
            }
        }
        self.would_make(key);
        if key.state == State::Active {
            self.would_move(key, State::Deprecated, None);
            let retired = key.overlap.after(self.agreed.latest)?;
            self.would_move(key, State::Retired, Some(retired));
        }
        Ok(vec![key])
    }

    fn shred(&mut self, scope: &Scope) -> Result<Vec<&'l KeyRecord>> {
        let view = self.view;
        let due = view
            .settings()
            .cooling_off
            .after(self.agreed.latest.max(view.changed()))?;
        if let Some(tombstone) = view.tombstone(scope) {
            self.into
                .refused
                .push(format!("{} already: nothing would be done", tombstone.words()));
        }
        let keys = view
            .keys(scope)
            .iter()
            .filter(|key| key.state != State::Destroyed);
        let keys: Vec<&KeyRecord> = keys.map(|key| &**key).collect();
        if keys.is_empty() && view.tombstone(scope).is_none() {
            return Err(super::shred::nothing_to_shred(scope));
        }
        self.refuse(check_alone(view, scope));
        self.into.due = Some(due);
        for key in &keys {
            match key.state {
                State::Pending if never_wrapped(key) => self.would_move(key, State::Destroyed, None),
                State::Pending | State::Active | State::Deprecated => {
                    self.would_move(key, State::Retired, None);
                    self.would_move(key, State::Destroyed, Some(due));
                }
                _ => self.would_move(key, State::Destroyed, Some(due)),
            }
        }
        let text = format!(
            "nothing is sealed or opened in scope {scope} anymore, at once; from {due} on its keys are destroyed, and everything under them is unreadable for \
             good, in backups, too"
        );
        self.into.unreadable.push(text);
        Ok(keys)
    }

    /// Which scopes are affected when these keys move, and what was counted under them.
    fn affect(&mut self, moved: &[&KeyRecord]) {
        let mut add = |key: &KeyRecord, why: Affected| {
            let scopes = &mut self.into.scopes;
            let there = scopes
                .iter_mut()
                .find(|affected| affected.scope == key.scope && affected.why == why);
            match there {
                Some(affected) if affected.keys.contains(&key.id) => {}
                Some(affected) => affected.keys.push(key.id),
                None => scopes.push(AffectedScope {
                    scope: key.scope.clone(),
                    why,
                    keys: vec![key.id],
                }),
            }
        };
        for key in moved {
            add(key, Affected::Own);
        }
        for key in moved {
            for other in others(self.view, key).filter(|other| !moved.iter().any(|key| key.id == other.id)) {
                add(other, Affected::SameKek);
            }
        }
        for key in moved {
            let under = self.view.all_keys().filter(|other| {
                other.state != State::Destroyed
                    && other.is_branch_of(key.id)
                    && !moved.iter().any(|key| key.id == other.id)
            });
            for other in under {
                add(other, Affected::Branch);
            }
        }
        let branches: usize = self
            .into
            .scopes
            .iter()
            .filter(|affected| affected.why == Affected::Branch)
            .map(|affected| affected.keys.len())
            .sum();
        if branches > 0 {
            let text = format!(
                "{branches} branch keys of other scopes are wrapped under it: they open only while it does"
            );
            self.into.unreadable.push(text);
        }
        for key in moved {
            for census in self.censuses {
                let found = census.finds(key);
                self.into.counted.push(SimulatedCount {
                    key: key.id,
                    census: census.receipt().digest().to_owned(),
                    started: census.receipt().started(),
                    items: found.items,
                    sole: found.sole,
                    unknown: found.unknown,
                });
            }
        }
    }
}

fn said(error: &Error) -> String {
    error.detail().map_or_else(|| error.to_string(), str::to_owned)
}
