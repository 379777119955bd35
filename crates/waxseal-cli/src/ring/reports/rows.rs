//! The keys of a report, each with what other keys of the ring have to do with it.

use std::collections::HashMap;
use std::sync::Arc;

use waxseal::ring::evidence::Total;
use waxseal::ring::{KeyRecord, RecordId, State, Time};

/// A key and what is known of it.
pub(super) struct Reported {
    pub(super) key: Arc<KeyRecord>,
    /// Its own state, or that of its parent if the parent stops it.
    pub(super) state: State,
    /// `None` if no census was given.
    pub(super) objects: Option<Total>,
    /// The same of the branch keys that are wrapped under it.
    pub(super) through: Option<Total>,
    pub(super) due: Option<Due>,
    /// Other keys of the ring that are the same KEK, or some of it.
    pub(super) same_kek: Vec<RecordId>,
}

/// What happens to a key next, by its dates.
#[derive(Clone, Copy)]
pub(super) struct Due {
    pub(super) what: &'static str,
    pub(super) at: Time,
    pub(super) is_overdue: bool,
}

impl Due {
    fn of(key: &KeyRecord, parent: Option<&KeyRecord>, now: Time) -> Option<Self> {
        let (next, at) = key.next_move_under(parent)?;
        Some(Self {
            what: next.name(),
            at,
            is_overdue: at <= now,
        })
    }
}

/// All keys of a ring, in their order.
pub(super) fn of(keys: Vec<(Arc<KeyRecord>, Option<Total>)>, now: Time) -> Vec<Reported> {
    let known: HashMap<RecordId, Arc<KeyRecord>> =
        keys.iter().map(|(key, _)| (key.id, Arc::clone(key))).collect();
    let mut through: HashMap<RecordId, Total> = HashMap::new();
    let mut of_kek: HashMap<(String, String), Vec<Arc<KeyRecord>>> = HashMap::new();
    for (key, objects) in &keys {
        if let (Some(branch), Some(objects)) = (&key.branch, objects) {
            through.entry(branch.parent).or_default().add(*objects);
        }
        let kek = (key.provenance.provider.clone(), key.provenance.id.clone());
        of_kek.entry(kek).or_default().push(Arc::clone(key));
    }
    let same_kek = |key: &KeyRecord| {
        let kek = (key.provenance.provider.clone(), key.provenance.id.clone());
        let all = of_kek.get(&kek).into_iter().flatten();
        let others = all.filter(|other| other.id != key.id && other.provenance.overlaps(&key.provenance));
        others.map(|other| other.id).collect()
    };
    let each = keys.into_iter().map(|(key, objects)| {
        let parent = key.branch.as_ref().and_then(|branch| known.get(&branch.parent));
        Reported {
            state: parent.map_or(key.state, |parent| key.state.under(parent.state)),
            objects,
            through: objects.map(|_| through.get(&key.id).copied().unwrap_or_default()),
            due: Due::of(&key, parent.map(|parent| &**parent), now),
            same_kek: same_kek(&key),
            key,
        }
    });
    each.collect()
}
