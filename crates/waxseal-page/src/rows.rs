//! What is kept of each key, and in which order it is shown.

use std::cmp::Ordering;

use waxseal::envelope::AlgorithmClass;
use waxseal::ring::evidence::{Total, VerifiedReceipt};
use waxseal::ring::{KeyRecord, NextMove, RecordId, Scope, Slot, State, Time};

/// What is kept of a key.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: RecordId,
    pub(crate) scope: Scope,
    pub(crate) slot: Slot,
    pub(crate) state: State,
    pub(crate) algorithm: Box<str>,
    pub(crate) class: &'static str,
    pub(crate) since: Option<Time>,
    pub(crate) next: Option<(NextMove, Time)>,
    pub(crate) objects: Option<Total>,
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
            algorithm: key.protecting_algorithm().into(),
            class: key.class().map_or("unknown", AlgorithmClass::name),
            since: key.activated,
            next: key.next_move(),
            objects: (!receipts.is_empty()).then(|| Total::of(receipts, key)),
            is_first,
        }
    }

    /// Whether nothing more is sealed under it, and something still is.
    pub(crate) fn left(&self) -> Option<Total> {
        let is_out_of_use = matches!(
            self.state,
            State::Deprecated | State::Retired | State::Compromised | State::Destroying
        );
        let objects = self.objects.filter(|_| is_out_of_use)?;
        (objects.items > 0 || objects.unknown > 0).then_some(objects)
    }
}

/// What keys are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Scope,
    State,
    Algorithm,
    Since,
    Next,
    Objects,
}

impl Order {
    pub(crate) const ALL: [(Self, &str, &str); 6] = [
        (Self::Scope, "scope", "Scope"),
        (Self::State, "state", "State"),
        (Self::Algorithm, "algorithm", "Algorithm"),
        (Self::Since, "since", "Active since"),
        (Self::Next, "next", "Next"),
        (Self::Objects, "objects", "Envelopes"),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|(_, known, _)| *known == name)
            .map(|(order, _, _)| order)
    }

    /// What is absent comes last.
    fn compare(self, one: &Row, other: &Row) -> Ordering {
        let rest = |order: Ordering| {
            order
                .then_with(|| one.scope.cmp(&other.scope))
                .then_with(|| one.id.cmp(&other.id))
        };
        rest(match self {
            Self::Scope => Ordering::Equal,
            Self::State => one.state.cmp(&other.state),
            Self::Algorithm => one.algorithm.cmp(&other.algorithm),
            Self::Since => absent_last(one.since, other.since),
            Self::Next => absent_last(one.next.map(|next| next.1), other.next.map(|next| next.1)),
            Self::Objects => {
                let items = |row: &Row| row.objects.map_or(0, |objects| objects.items);
                items(other).cmp(&items(one))
            }
        })
    }

    pub(crate) fn sort(self, rows: &mut [&Row], is_reversed: bool) {
        rows.sort_unstable_by(|one, other| {
            let order = self.compare(one, other);
            if is_reversed { order.reverse() } else { order }
        });
    }
}

fn absent_last<T: Ord>(one: Option<T>, other: Option<T>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => one.cmp(&other),
        (one, other) => other.is_some().cmp(&one.is_some()),
    }
}
