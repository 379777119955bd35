//! Which counts of a receipt may be about a key: a report asks for every key of a ring.

use std::collections::HashMap;

use super::receipt::{KeyCount, NamedKek, UnknownCount};
use crate::ring::{KeyRecord, RecordId};

/// Places of counts in a receipt.
type Places = Vec<usize>;

/// The places of the counts of a receipt, by what they name. What it returns is more than what is about a key: the caller looks at each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    of_key: HashMap<RecordId, Places>,
    of_kek: ByKek,
    unknown: ByKek,
}

impl Index {
    pub(super) fn of(keys: &[KeyCount], unknown: &[UnknownCount]) -> Self {
        let mut of_key: HashMap<RecordId, Places> = HashMap::new();
        for (place, count) in keys.iter().enumerate() {
            of_key.entry(count.key).or_default().push(place);
        }
        Self {
            of_key,
            of_kek: ByKek::of(keys.iter().map(|count| &count.kek)),
            unknown: ByKek::of(unknown.iter().map(|count| &count.kek)),
        }
    }

    /// The counts of keys that may be about this key, in the receipt's order.
    pub(super) fn keys<'c>(&self, key: &KeyRecord, counts: &'c [KeyCount]) -> Vec<&'c KeyCount> {
        let own = self.of_key.get(&key.id).into_iter().flatten();
        self.of_kek.pick(key, own, counts)
    }

    /// The counts of KEKs that are none of the ring's and may be this key.
    pub(super) fn unknown<'c>(&self, key: &KeyRecord, counts: &'c [UnknownCount]) -> Vec<&'c UnknownCount> {
        self.unknown.pick(key, std::iter::empty(), counts)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ByKek {
    /// By provider and name.
    named: HashMap<(String, String), Places>,
    /// Those without a name that can be compared: each may be any.
    any: Places,
}

impl ByKek {
    fn of<'k>(keks: impl Iterator<Item = &'k NamedKek>) -> Self {
        let mut index = Self::default();
        for (place, kek) in keks.enumerate() {
            match kek.to_ref() {
                Ok(kek) if !kek.id().is_empty() => {
                    let name = (kek.provider().to_owned(), kek.common_id().to_owned());
                    index.named.entry(name).or_default().push(place);
                }
                _ => index.any.push(place),
            }
        }
        index
    }

    fn pick<'i, 'c, C>(
        &'i self,
        key: &KeyRecord,
        more: impl Iterator<Item = &'i usize>,
        counts: &'c [C],
    ) -> Vec<&'c C> {
        let Ok(kek) = key.provenance.kek() else {
            return counts.iter().collect();
        };
        let name = (kek.provider().to_owned(), kek.common_id().to_owned());
        let named = self.named.get(&name).into_iter().flatten();
        let mut places: Places = more.chain(named).chain(&self.any).copied().collect();
        places.sort_unstable();
        places.dedup();
        places.iter().filter_map(|place| counts.get(*place)).collect()
    }
}
