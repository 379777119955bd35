//! What each move would do, by the checks that the moves themselves make.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Affected, AffectedScope, Simulated, SimulatedCount, SimulatedMove};
use crate::ring::clock::Agreed;
use crate::ring::evidence::VerifiedReceipt;
use crate::ring::record::{Branch, KeyRecord, RetireBy};
use crate::ring::rotation::destroy::{check_not_shredding, check_unneeded, waits_for};
use crate::ring::rotation::exposed::is_exposed_by;
use crate::ring::rotation::intents::under_way;
use crate::ring::rotation::parents::{Branches, check_exported};
use crate::ring::rotation::readers::{Heard, Reports};
use crate::ring::rotation::retire::{check_retirement, retirement_grounds};
use crate::ring::rotation::revoke::is_lost;
use crate::ring::rotation::same_kek::others;
use crate::ring::rotation::shred::{check_alone, never_wrapped, nothing_to_shred};
use crate::ring::rotation::verdict::{Hindered, rotation_hindered};
use crate::ring::view::View;
use crate::ring::{Evidence, EvidenceSource, Grounds, RecordId, Scope, State, Time};
use crate::value::error::{Error, Result};

/// What a move does to those who rely on a key.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Somebody else may have it.
    Revocation,
    Other,
}

/// What a move is thought through with.
pub(super) struct Looks<'l> {
    pub(super) view: &'l View,
    pub(super) agreed: Agreed,
    pub(super) censuses: &'l [VerifiedReceipt<'l>],
    pub(super) heard: &'l [Heard],
    pub(super) into: &'l mut Simulated,
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

    fn would_make(&mut self, beside: &KeyRecord, to: State) {
        self.into.moves.push(SimulatedMove {
            key: None,
            scope: beside.scope.clone(),
            from: None,
            to,
            at: None,
        });
    }

    /// Which readers a successor of a key would wait for. Nobody has probed a key that is not there yet.
    fn waits_for_readers(&self, key: &KeyRecord) -> Result<Option<String>> {
        let mut successor = key.clone();
        successor.id = RecordId::new(self.agreed.now)?;
        successor.in_ring_since = self.view.revision().saturating_add(1);
        let reports = Reports::of(&successor, self.view.settings(), self.heard, &BTreeSet::new());
        Ok(reports.hindrance())
    }

    pub(super) fn retire(&mut self, key: &'l KeyRecord) -> Result<Vec<&'l KeyRecord>> {
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
            self.refuse(Branches::in_whole(self.view, key).check_none(self.view, key));
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

    pub(super) fn revoke(&mut self, key: &'l KeyRecord) -> Vec<&'l KeyRecord> {
        if matches!(key.state, State::Destroying | State::Destroyed) {
            let is_not = format!("the key {} is {}, and opens nothing", key.id, key.state);
            self.into.refused.push(is_not);
        }
        self.would_move(key, State::Compromised, None);
        let is_vacated = key.state == State::Active || is_lost(self.view, key);
        if is_vacated && self.view.tombstone(&key.scope).is_none() {
            let waits = |other: &&Arc<KeyRecord>| {
                other.slot == key.slot && other.state == State::Pending && other.id != key.id
            };
            let keys = self.view.keys(&key.scope).iter().filter(waits);
            match keys.max_by_key(|next| (key.successor == Some(next.id), next.id)) {
                Some(next) => self.would_move(next, State::Active, None),
                None => self.would_make(key, State::Active),
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

    pub(super) fn destroy(&mut self, key: &'l KeyRecord) -> Result<Vec<&'l KeyRecord>> {
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
        self.refuse(Branches::in_whole(self.view, key).check_none(self.view, key));
        self.refuse(check_exported(self.view, key));
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
        let text = match key.branch {
            None => format!(
                "everything under the KEK of the key {} is unreadable for good, in backups, too, when its backend has destroyed it",
                key.id
            ),
            Some(_) => format!(
                "everything under the branch key {} is unreadable for good, in backups of the data, too, from {due} on",
                key.id
            ),
        };
        self.into.unreadable.push(text);
        self.tell_copies(&[key]);
        Ok(vec![key])
    }

    pub(super) fn rotate(&mut self, key: &'l KeyRecord) -> Result<Vec<&'l KeyRecord>> {
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
        // Where nothing seals, nobody is waited for.
        let waits = match key.state {
            State::Active => self.waits_for_readers(key)?,
            _ => None,
        };
        if let Some(waits) = waits {
            self.would_make(key, State::Pending);
            self.into.refused.push(format!(
                "the new key would be pending, and {} stay active, until a tick or a person promotes it: {waits}",
                key.id
            ));
            return Ok(vec![key]);
        }
        self.would_make(key, State::Active);
        if key.state == State::Active {
            self.would_move(key, State::Deprecated, None);
            let retired = key.overlap.after(self.agreed.latest)?;
            match self.view.settings().retire {
                RetireBy::OverlapEnd => self.would_move(key, State::Retired, Some(retired)),
                RetireBy::Evidence => self.into.unreadable.push(format!(
                    "the key {} goes on opening, until it is retired: from {retired} on, and not without a census receipt that finds nothing under it",
                    key.id
                )),
            }
        }
        Ok(vec![key])
    }

    /// What is left of branch keys that are destroyed: copies in backups of the inventory.
    fn tell_copies(&mut self, keys: &[&KeyRecord]) {
        for key in keys {
            let parents = key.branch.iter().flat_map(Branch::parents);
            let of_ring = parents.filter_map(|parent| self.view.key(parent.parent));
            let open = of_ring.filter(|parent| parent.state != State::Destroyed);
            let open: Vec<String> = open
                .map(|parent| format!("{} of scope {}", parent.id, parent.scope))
                .collect();
            if !open.is_empty() {
                self.into.unreadable.push(format!(
                    "not so in backups of the inventory from before, which have copies of the branch key {}: whoever has one of them and the use of the \
                     key {} opens what is under it, until that one is destroyed, too",
                    key.id,
                    open.join(", or of the key ")
                ));
            }
        }
    }

    pub(super) fn shred(&mut self, scope: &Scope) -> Result<Vec<&'l KeyRecord>> {
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
            return Err(nothing_to_shred(scope));
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
             good, in backups of the data, too"
        );
        self.into.unreadable.push(text);
        self.tell_copies(&keys);
        Ok(keys)
    }

    /// What becomes of branch keys that are or were wrapped under what would move.
    fn tell_of_branches(&mut self, kind: Kind) {
        let count = |why: Affected| -> usize {
            let of_kind = self.into.scopes.iter().filter(|affected| affected.why == why);
            of_kind.map(|affected| affected.keys.len()).sum()
        };
        let (under, before) = (count(Affected::Branch), count(Affected::FormerBranch));
        if under > 0 {
            self.into.unreadable.push(format!(
                "{under} branch keys of other scopes are wrapped under it: they open only while it does"
            ));
        }
        if under > 0 && matches!(kind, Kind::Revocation) {
            let text = "nothing is sealed in those scopes until their branch keys are rotated, and what is under them does not open anymore: `waxseal keys tick` \
                        rotates them as soon as another key is active in its place";
            self.into.unreadable.push(text.to_owned());
        }
        if before > 0 {
            self.into.unreadable.push(format!(
                "{before} branch keys were wrapped under it before: they open and seal all the same, but whoever has it and a backup of the inventory has them; \
                 `waxseal keys tick` rotates those that are active, and what they have sealed is to be re-wrapped"
            ));
        }
    }

    /// Which scopes are affected when these keys move, and what was counted under them.
    pub(super) fn affect(&mut self, moved: &[&KeyRecord], kind: Kind) {
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
            let is_revoked = matches!(kind, Kind::Revocation);
            let living = self
                .view
                .all_keys()
                .filter(|other| is_exposed_by(other, key.id) && !moved.iter().any(|key| key.id == other.id));
            for other in living {
                match other.is_branch_of(key.id) {
                    true => add(other, Affected::Branch),
                    // What it was wrapped under before matters only if somebody has that.
                    false if is_revoked => add(other, Affected::FormerBranch),
                    false => {}
                }
            }
        }
        self.tell_of_branches(kind);
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
