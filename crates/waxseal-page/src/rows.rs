//! What is kept of each key.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use waxseal::envelope::AlgorithmClass;
use waxseal::ring::evidence::{Total, VerifiedReceipt};
use waxseal::ring::{KeyRecord, NextMove, RecordId, Scope, Slot, State, Time};

/// What is kept of a key.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: RecordId,
    pub(crate) scope: Scope,
    pub(crate) slot: Slot,
    /// Its own state, or that of its parent if the parent stops it.
    pub(crate) state: State,
    /// What a branch key is wrapped under.
    parent: Option<RecordId>,
    /// When it was revoked.
    revoked: Option<Time>,
    /// The same number for every key that is this KEK.
    pub(crate) kek: u64,
    pub(crate) algorithm: Box<str>,
    pub(crate) class: &'static str,
    pub(crate) since: Option<Time>,
    pub(crate) next: Option<(NextMove, Time)>,
    pub(crate) objects: Option<Total>,
    /// The same of the branch keys that are wrapped under it.
    pub(crate) through: Option<Total>,
    /// Whether only a provisioner has signed it.
    pub(crate) is_first: bool,
}

impl Row {
    pub(crate) fn of(key: &KeyRecord, is_first: bool, receipts: &[VerifiedReceipt<'_>]) -> Self {
        Self {
            id: key.id,
            scope: key.scope.clone(),
            slot: key.slot.clone(),
            state: key.state,
            parent: key.branch.as_ref().map(|branch| branch.parent),
            revoked: key.revocation().map(|made| made.at),
            kek: kek(key),
            algorithm: key.protecting_algorithm().into(),
            class: key.class().map_or("unknown", AlgorithmClass::name),
            since: key.activated,
            next: key.next_move(),
            objects: (!receipts.is_empty()).then(|| Total::of(receipts, key)),
            through: None,
            is_first,
        }
    }

    /// The same with what its parent makes of it.
    fn under(&self, parent: &Self) -> Option<Self> {
        let state = self.state.under(parent.state);
        let next = match parent.revoked {
            Some(revoked) if self.state == State::Active => Some((NextMove::Succession, revoked)),
            _ => self.next,
        };
        let is_stopped = state != self.state;
        is_stopped.then(|| Self {
            state,
            next,
            ..self.clone()
        })
    }

    /// Whether nothing more is sealed under it, and something still is.
    pub(crate) fn left(&self) -> Option<Total> {
        let is_out_of_use = matches!(
            self.state,
            State::Deprecated | State::Retired | State::Compromised | State::Destroying
        );
        let objects = self.objects.filter(|_| is_out_of_use)?;
        let through = self.through.unwrap_or_default();
        (objects != Total::default() || through != Total::default()).then_some(objects)
    }
}

fn kek(key: &KeyRecord) -> u64 {
    let provenance = &key.provenance;
    let mut hasher = DefaultHasher::new();
    (&provenance.provider, &provenance.id, &provenance.version).hash(&mut hasher);
    hasher.finish()
}

/// All keys of a ring, each with what its parent, or the branch keys under it, make of it.
pub(crate) fn together(rows: &mut [Arc<Row>]) {
    let mut through: HashMap<RecordId, Total> = HashMap::new();
    for row in rows.iter() {
        if let Some(parent) = row.parent {
            through
                .entry(parent)
                .or_default()
                .add(row.objects.unwrap_or_default());
        }
    }
    let parents = rows.iter().filter(|row| through.contains_key(&row.id));
    let parents: HashMap<RecordId, Arc<Row>> = parents.map(|row| (row.id, Arc::clone(row))).collect();
    for row in rows {
        let parent = row.parent.and_then(|parent| parents.get(&parent));
        if let Some(stopped) = parent.and_then(|parent| row.under(parent)) {
            *row = Arc::new(stopped);
        } else if let Some(total) = through.get(&row.id).filter(|_| row.objects.is_some()) {
            *row = Arc::new(Row {
                through: Some(*total),
                ..Row::clone(row)
            });
        }
    }
}
