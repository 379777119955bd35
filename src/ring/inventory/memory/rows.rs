//! Rows, found by id and by scope.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::super::Row;
use crate::ring::{RecordId, Scope};

#[derive(Clone, Default)]
pub(super) struct Rows {
    by_id: BTreeMap<RecordId, Row>,
    by_scope: BTreeMap<Scope, BTreeSet<RecordId>>,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, id: &RecordId) -> Option<&Row> {
        self.by_id.get(id)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Row> {
        self.by_id.values()
    }

    pub(super) fn of<'r>(&'r self, scope: &Scope) -> impl Iterator<Item = &'r Row> {
        let ids = self.by_scope.get(scope).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id))
    }

    /// The scopes after this one, in the order of their bytes.
    pub(super) fn scopes_after(&self, after: Option<&Scope>) -> impl Iterator<Item = &Scope> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.by_scope.range::<Scope, _>((from, Bound::Unbounded));
        after.map(|(scope, _)| scope)
    }

    pub(super) fn insert(&mut self, row: Row) {
        self.remove(&row.id);
        self.by_scope.entry(row.scope.clone()).or_default().insert(row.id);
        self.by_id.insert(row.id, row);
    }

    pub(super) fn remove(&mut self, id: &RecordId) {
        let Some(row) = self.by_id.remove(id) else { return };
        if let Some(ids) = self.by_scope.get_mut(&row.scope) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_scope.remove(&row.scope);
            }
        }
    }
}

impl FromIterator<Row> for Rows {
    fn from_iter<I: IntoIterator<Item = Row>>(rows: I) -> Self {
        let mut all = Self::default();
        rows.into_iter().for_each(|row| all.insert(row));
        all
    }
}
