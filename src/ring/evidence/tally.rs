//! Counting: which keys of the ring a stanza can be under, and what an envelope loses without one of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::receipt::{KeyCount, NamedKek, UnknownCount};
use crate::envelope::{KekRef, WrapRef, WrapSection};
use crate::ring::{Branch, KeyRecord, View};
use crate::value::error::{Error, Result};

/// How many items are named for each KEK.
const SEEN: usize = 5;
/// How many KEKs that the ring does not name are told apart.
const MAX_UNKNOWN: usize = 10_000;
/// How many KEKs are remembered with what they match.
const MAX_REMEMBERED: usize = 100_000;

/// What a stanza is under.
#[derive(Clone)]
enum Match {
    /// One of these keys: more than one if the ring has the same KEK in several scopes.
    Keys(Arc<[usize]>),
    /// None that the ring names, or one that cannot be told.
    Unknown(NamedKek),
}

struct Counted {
    record: Arc<KeyRecord>,
    /// Whether it unwraps, and so does the key that it is wrapped under.
    unwraps: bool,
    kek: KekRef,
    items: u64,
    sole: u64,
    bytes: u64,
    branches: u64,
    branch_bytes: u64,
    lost: Vec<String>,
    shared: Vec<String>,
}

#[derive(Default)]
struct Other {
    items: u64,
    bytes: u64,
    seen: Vec<String>,
}

pub(super) struct Tally {
    keys: Vec<Counted>,
    by_id: HashMap<(String, String), Vec<usize>>,
    matches: HashMap<NamedKek, Match>,
    unknown: BTreeMap<NamedKek, Other>,
}

impl Tally {
    pub(super) fn new(view: &View) -> Result<Self> {
        let mut keys = Vec::new();
        let mut by_id: HashMap<_, Vec<usize>> = HashMap::new();
        for record in view.all_keys() {
            let kek = record.provenance.kek()?;
            by_id
                .entry((kek.provider().to_owned(), kek.id().to_owned()))
                .or_default()
                .push(keys.len());
            keys.push(Counted {
                record: Arc::clone(record),
                unwraps: unwraps(view, record),
                kek,
                items: 0,
                sole: 0,
                bytes: 0,
                branches: 0,
                branch_bytes: 0,
                lost: Vec::new(),
                shared: Vec::new(),
            });
        }
        Ok(Self {
            keys,
            by_id,
            matches: HashMap::new(),
            unknown: BTreeMap::new(),
        })
    }

    /// Counts one envelope of `bytes` bytes.
    pub(super) fn count(&mut self, item: &str, section: &WrapSection<'_>, bytes: u64) -> Result<()> {
        let mut matched = Vec::with_capacity(section.count());
        for stanza in section.stanzas() {
            matched.push(self.match_of(&stanza)?);
        }
        let mut unknown = HashSet::new();
        let mut keys = HashSet::new();
        for one in &matched {
            match one {
                Match::Keys(indices) => keys.extend(indices.iter().copied()),
                Match::Unknown(kek) => {
                    unknown.insert(kek.clone());
                }
            }
        }
        // Before anything is counted: an item is counted entirely, or fails.
        let new = unknown
            .iter()
            .filter(|kek| !self.unknown.contains_key(*kek))
            .count();
        if self.unknown.len() + new > 2 * MAX_UNKNOWN {
            return Err(Error::argument(
                "the items before it are under more KEKs, which the ring does not name, than a receipt can list",
            ));
        }
        for kek in unknown {
            let other = self.unknown.entry(kek).or_default();
            other.items += 1;
            other.bytes = other.bytes.saturating_add(bytes);
            push(&mut other.seen, item);
        }
        for index in keys {
            let is_sole = self.is_sole(index, &matched, usize::from(section.threshold()));
            let Some(counted) = self.keys.get_mut(index) else {
                continue;
            };
            counted.items += 1;
            counted.bytes = counted.bytes.saturating_add(bytes);
            counted.sole += u64::from(is_sole);
            push(
                if is_sole {
                    &mut counted.lost
                } else {
                    &mut counted.shared
                },
                item,
            );
        }
        Ok(())
    }

    /// Counts a branch key, which nothing opens but what it is wrapped under.
    pub(super) fn count_branch(&mut self, item: &str, branch: &Branch, bytes: u64) -> Result<()> {
        let wrapped = &branch.wrapped;
        let kek = NamedKek::new(&wrapped.provider, &wrapped.id, &wrapped.version);
        match self.find(&kek)? {
            Match::Keys(indices) => {
                for index in indices.iter() {
                    if let Some(counted) = self.keys.get_mut(*index) {
                        counted.items += 1;
                        counted.sole += 1;
                        counted.bytes = counted.bytes.saturating_add(bytes);
                        counted.branches += 1;
                        counted.branch_bytes = counted.branch_bytes.saturating_add(bytes);
                        push(&mut counted.lost, item);
                    }
                }
            }
            Match::Unknown(kek) => {
                let other = self.unknown.entry(kek).or_default();
                other.items += 1;
                other.bytes = other.bytes.saturating_add(bytes);
                push(&mut other.seen, item);
            }
        }
        Ok(())
    }

    /// Whether the other stanzas do not suffice: fewer than the threshold are surely under another key of the same scope that
    /// unwraps. A key of another scope is never used for this envelope, and what is unknown counts for nothing.
    fn is_sole(&self, key: usize, matched: &[Match], threshold: usize) -> bool {
        let Some(this) = self.keys.get(key) else {
            return true;
        };
        let helps = |index: &usize| {
            self.keys
                .get(*index)
                .is_some_and(|other| other.unwraps && other.record.scope == this.record.scope)
        };
        let others = matched.iter().filter(|one| match one {
            Match::Keys(indices) => !indices.contains(&key) && indices.iter().any(helps),
            Match::Unknown(_) => false,
        });
        others.count() < threshold
    }

    fn match_of(&mut self, stanza: &WrapRef<'_>) -> Result<Match> {
        let kek = NamedKek::new(stanza.provider, stanza.kek_id, stanza.kek_version);
        if let Some(known) = self.matches.get(&kek) {
            return Ok(known.clone());
        }
        let found = self.find(&kek)?;
        if self.matches.len() >= MAX_REMEMBERED {
            self.matches.clear();
        }
        self.matches.insert(kek, found.clone());
        Ok(found)
    }

    fn find(&self, kek: &NamedKek) -> Result<Match> {
        if !kek.id.is_empty() {
            let claimed = kek.to_ref()?;
            let same_version = |index: &usize| {
                self.keys.get(*index).is_some_and(|counted| {
                    // Where no unwrap proves a version, a key of the ring has none, and is all of them.
                    counted.record.provenance.is_whole() || counted.kek.version() == kek.version
                })
            };
            let same_id = match self.by_id.get(&(kek.provider.clone(), kek.id.clone())) {
                Some(indices) => indices.clone(),
                // Replicas of one key have several ids.
                None => {
                    let all = self.keys.iter().enumerate();
                    all.filter(|(_, counted)| counted.kek.is_same_key(&claimed))
                        .map(|(index, _)| index)
                        .collect()
                }
            };
            let keys: Arc<[usize]> = same_id.iter().copied().filter(same_version).collect();
            if !keys.is_empty() {
                return Ok(Match::Keys(keys));
            }
        }
        // Whoever writes many names must not fill the receipt: those that come late count as hidden, so against every key of
        // their provider.
        let is_known = self.unknown.contains_key(kek);
        Ok(Match::Unknown(if self.unknown.len() < MAX_UNKNOWN || is_known {
            kek.clone()
        } else {
            NamedKek::new(&kek.provider, "", "")
        }))
    }

    pub(super) fn finish(self) -> (Vec<KeyCount>, Vec<UnknownCount>) {
        let keys = self.keys.into_iter().map(|counted| {
            let mut seen = counted.lost;
            seen.extend(counted.shared);
            seen.truncate(SEEN);
            KeyCount {
                key: counted.record.id,
                kek: NamedKek::new(counted.kek.provider(), counted.kek.id(), counted.kek.version()),
                items: counted.items,
                sole: counted.sole,
                bytes: counted.bytes,
                branches: counted.branches,
                branch_bytes: counted.branch_bytes,
                seen,
            }
        });
        let unknown = self.unknown.into_iter().map(|(kek, other)| UnknownCount {
            kek,
            items: other.items,
            bytes: other.bytes,
            seen: other.seen,
        });
        (keys.collect(), unknown.collect())
    }
}

fn unwraps(view: &View, key: &KeyRecord) -> bool {
    key.unwraps()
        && match view.parent(key) {
            Ok(parent) => parent.is_none_or(|parent| parent.unwraps()),
            // A key that nothing unwraps opens nothing.
            Err(_) => false,
        }
}

fn push(seen: &mut Vec<String>, item: &str) {
    if seen.len() < SEEN {
        seen.push(item.to_owned());
    }
}
