//! What the head remembers of the keys that branch keys are wrapped under.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ring::{RecordId, Time};
use crate::value::error::{Error, ErrorKind, Result};

/// How many keys a head names that branch keys are wrapped under, or were: it is written with each change, and its length is limited.
const MAX_PARENTS: usize = 1_000;

/// A key that wraps branch keys, or has wrapped some. It stands in the head until it is destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) key: RecordId,
    /// How many branch keys of the tree are wrapped under it. Those that only a provisioner has signed are not counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) branches: u64,
    /// The revision with which the last of them was wrapped under another key. What was exported before holds that one under this key alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left: Option<u64>,
}

/// The newest export of the ring that its authority knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exported {
    /// The revision that was exported.
    pub revision: u64,
    /// SHA-256 of the export in hexadecimal digits.
    pub digest: String,
    /// When it was noted, by the inventory's clock.
    pub at: Time,
    /// Who has exported it.
    pub actor: String,
}

/// A branch key in a change: under which key it is after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hangs {
    pub(crate) key: RecordId,
    /// Before the change, as far as the tree knows it.
    pub(crate) before: Option<RecordId>,
    /// Before the change, if only a provisioner has signed it so far: no head counts it there, and an export has it all the same.
    pub(crate) was_provisioned_under: Option<RecordId>,
    pub(crate) after: Option<RecordId>,
    /// Whether the key is gone for good.
    pub(crate) is_gone: bool,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The parents after a change: what hangs on which, and which are gone.
///
/// # Errors
/// `OverLimit` if there is no room for another one. A first key is taken over all the same, since else it could be neither revoked nor shredded:
/// such parents are those of one scope, and few.
pub(crate) fn after(before: &[Parent], changes: &[Hangs], revision: u64) -> Result<Vec<Parent>> {
    let parents = before.iter().map(|parent| (parent.key, parent.clone()));
    let mut parents: BTreeMap<RecordId, Parent> = parents.collect();
    let none = |key| Parent {
        key,
        branches: 0,
        left: None,
    };
    for change in changes.iter().filter(|change| change.before != change.after) {
        if let Some(before) = change.before {
            let parent = parents.entry(before).or_insert_with(|| none(before));
            parent.branches = parent.branches.saturating_sub(1);
            if change.after.is_some() {
                parent.left = Some(revision);
            }
        }
        if let Some(first) = change.was_provisioned_under
            && change.after.is_some_and(|after| after != first)
        {
            parents.entry(first).or_insert_with(|| none(first)).left = Some(revision);
        }
        if let Some(now) = change.after {
            let parent = parents.entry(now).or_insert_with(|| none(now));
            parent.branches = parent.branches.saturating_add(1);
        }
    }
    let gone: BTreeSet<RecordId> = changes
        .iter()
        .filter(|change| change.is_gone)
        .map(|change| change.key)
        .collect();
    // A branch key that was destroyed leaves nothing to remember.
    let mut left: Vec<Parent> = parents.into_values().collect();
    left.retain(|parent| parent.branches > 0 || (parent.left.is_some() && !gone.contains(&parent.key)));
    let is_taken_over = changes
        .iter()
        .any(|change| change.was_provisioned_under.is_some());
    if left.len() > MAX_PARENTS.max(before.len()) && !is_taken_over {
        let limit = "the number of keys that branch keys are wrapped under, or were";
        let max = MAX_PARENTS as u64;
        return Err(Error::new(ErrorKind::OverLimit { limit, max }).with_detail(
            "let the key of one scope be the parent of many branch keys, or export the ring and destroy former parents that nothing is under",
        ));
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<const N: usize>() -> [RecordId; N] {
        [(); N].map(|()| RecordId::new("2026-01-01T00:00:00Z".parse().unwrap()).unwrap())
    }

    fn hangs(key: RecordId, before: Option<RecordId>, after: Option<RecordId>) -> Hangs {
        Hangs {
            key,
            before,
            was_provisioned_under: None,
            after,
            is_gone: false,
        }
    }

    fn after(before: &[Parent], changes: &[Hangs], revision: u64) -> Vec<Parent> {
        super::after(before, changes, revision).unwrap()
    }

    fn of(parents: &[Parent], key: RecordId) -> Option<(u64, Option<u64>)> {
        let parent = parents.iter().find(|parent| parent.key == key);
        parent.map(|parent| (parent.branches, parent.left))
    }

    #[test]
    fn branch_keys_are_counted_where_they_hang_and_remembered_where_they_left() {
        let [old, new, a, b, c] = ids();
        let made = [a, b, c].map(|key| hangs(key, None, Some(old)));
        let parents = after(&[], &made, 5);
        assert_eq!(of(&parents, old), Some((3, None)));
        // What stays changes nothing.
        let parents = after(&parents, &[hangs(a, Some(old), Some(old))], 6);
        assert_eq!((of(&parents, old), of(&parents, new)), (Some((3, None)), None));
        let parents = after(&parents, &[hangs(a, Some(old), Some(new))], 7);
        let parents = after(&parents, &[hangs(b, Some(old), Some(new))], 8);
        assert_eq!(of(&parents, old), Some((1, Some(8))));
        assert_eq!(of(&parents, new), Some((2, None)));
        // One that is destroyed leaves no copy that anybody needs.
        let parents = after(&parents, &[hangs(c, Some(old), None)], 9);
        assert_eq!(of(&parents, old), Some((0, Some(8))));
        let gone = Hangs {
            is_gone: true,
            ..hangs(old, None, None)
        };
        let parents = after(&parents, &[gone], 10);
        assert_eq!((of(&parents, old), of(&parents, new)), (None, Some((2, None))));
        // A first key that was re-wrapped before anybody took it over was not counted where it was.
        let first = Hangs {
            was_provisioned_under: Some(old),
            ..hangs(a, None, Some(new))
        };
        let moved = after(&[], &[hangs(b, None, Some(old))], 5);
        let moved = after(&moved, &[first], 6);
        assert_eq!(of(&moved, old), Some((1, Some(6))));
        assert_eq!(of(&moved, new), Some((1, None)));
        let stays = Hangs {
            after: Some(old),
            ..first
        };
        assert_eq!(of(&after(&[], &[stays], 6), old), Some((1, None)));
        // With branch keys it is not forgotten, whatever the record says.
        let gone = Hangs { key: new, ..gone };
        assert_eq!(of(&after(&parents, &[gone], 11), new), Some((2, None)));
    }

    #[test]
    fn a_head_names_no_more_parents_than_it_has_room_for() {
        let under = |parent| {
            let [key] = ids();
            hangs(key, None, Some(parent))
        };
        let keys: Vec<RecordId> = (0..MAX_PARENTS).map(|_| ids::<1>()[0]).collect();
        let changes: Vec<Hangs> = keys.iter().map(|key| under(*key)).collect();
        let full = after(&[], &changes, 2);
        // What is there already may have more.
        assert_eq!(of(&after(&full, &[under(keys[0])], 3), keys[0]), Some((2, None)));
        let [other] = ids();
        let error = super::after(&full, &[under(other)], 3).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OverLimit { max: 1_000, .. }));
        assert!(error.to_string().contains("destroy former parents"), "{error}");
        // A first key can be taken over, or it could not be revoked.
        let first = Hangs {
            was_provisioned_under: Some(other),
            ..under(other)
        };
        assert_eq!(of(&after(&full, &[first], 3), other), Some((1, None)));
    }
}
