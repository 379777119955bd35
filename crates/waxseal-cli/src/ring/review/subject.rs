//! The key of a review, and what an event has to do with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use waxseal::ring::{KeyRecord, RecordId, Time, View};

use super::event::{Event, NamedKek};

/// What a key has to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// It wrapped or unwrapped.
    Used,
    /// A branch key under it wrapped or unwrapped.
    Branch,
    /// Something was done to it in the ring.
    Administered,
    /// It was asked, or the envelope names it: whoever wrote the envelope claims that.
    Named,
    /// Its KEK wrapped or unwrapped, and no key of the ring is named.
    Kek,
    /// The envelope names its KEK, and no key of the ring.
    KekNamed,
}

impl Part {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Used | Self::Kek => "used",
            Self::Branch => "branch",
            Self::Administered => "administered",
            Self::Named | Self::KekNamed => "named",
        }
    }

    /// Whether the event names the KEK alone.
    pub(super) const fn is_of_kek_alone(self) -> bool {
        matches!(self, Self::Kek | Self::KekNamed)
    }

    /// The same of an event that has released something under the key: a re-wrap names the KEKs that wrap now, and what it has opened stands in
    /// the envelope.
    pub(super) const fn of_release(self) -> Self {
        match self {
            Self::Named => Self::Used,
            Self::KekNamed => Self::Kek,
            other => other,
        }
    }

    /// Whether it, or what is under it, has wrapped or unwrapped.
    pub(super) const fn did_it(self) -> bool {
        matches!(self, Self::Used | Self::Branch | Self::Kek)
    }
}

/// A branch key and the reviewed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Under {
    /// It is wrapped under it.
    Now,
    /// It was, and is wrapped under another one.
    Before,
}

/// What was revoked, and in which revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revoked {
    pub(super) revision: u64,
    /// The key itself, or the key that it is wrapped under.
    pub(super) key: RecordId,
    /// By the clock of whoever revoked it.
    pub(super) at: Time,
}

/// The key of a review.
pub(super) struct Subject {
    pub(super) id: String,
    pub(super) ring: String,
    provider: String,
    kek: String,
    version: String,
    pub(super) branches: BTreeMap<String, Under>,
    /// Other keys of the ring that are the same KEK, or some of it.
    pub(super) same_kek: BTreeSet<String>,
    pub(super) revoked: Option<Revoked>,
    /// The revisions of the moves in its signed history.
    pub(super) history: BTreeSet<u64>,
    /// For how long a process opens without news of the ring.
    pub(super) max_stale_open: Duration,
}

impl Subject {
    /// `parent` is what a branch key is wrapped under, or was until it was destroyed.
    pub(super) fn of(key: &KeyRecord, parent: Option<&KeyRecord>, view: &View) -> Self {
        let revoked = |key: &KeyRecord| {
            key.revocation().map(|made| Revoked {
                revision: made.revision,
                key: key.id,
                at: made.at,
            })
        };
        let of_parent = parent.and_then(revoked);
        let all = revoked(key).into_iter().chain(of_parent);
        Self {
            id: key.id.to_string(),
            ring: view.ring().to_string(),
            provider: key.provenance.provider.clone(),
            kek: key.provenance.id.clone(),
            version: key.provenance.version.clone(),
            branches: BTreeMap::new(),
            same_kek: BTreeSet::new(),
            // Since one of the two it is out of use.
            revoked: all.min_by_key(|revoked| revoked.revision),
            history: key.history.iter().map(|made| made.revision).collect(),
            max_stale_open: view.settings().max_stale_open.at_most(),
        }
    }

    /// Takes down whether another key is the same KEK as `key`, of which this was made, or a branch key under it.
    pub(super) fn meet(&mut self, key: &KeyRecord, other: &KeyRecord) {
        if other.id != key.id && other.provenance.overlaps(&key.provenance) {
            self.same_kek.insert(other.id.to_string());
        }
        let Some(branch) = &other.branch else { return };
        let is_it = |id: RecordId| id.to_string() == self.id;
        let under = if is_it(branch.parent) {
            Under::Now
        } else if branch.former.iter().any(|former| is_it(former.parent)) {
            Under::Before
        } else {
            return;
        };
        self.branches.insert(other.id.to_string(), under);
    }

    /// What the key has to do with an event, if it has.
    pub(super) fn part(&self, event: Event<'_>) -> Option<Part> {
        let is_it = |id: &str| id == self.id;
        let moves = || event.moves(&self.id);
        if event.is_of_ring() {
            return (event.keys().any(is_it) || moves()).then_some(Part::Administered);
        }
        if event.keks().any(|kek| kek.keys().any(is_it)) {
            return Some(Part::Used);
        }
        if event.keks().any(|kek| kek.keys().any(|key| self.has_branch(key))) {
            return Some(Part::Branch);
        }
        if event.keks().any(|kek| self.is_kek_alone(kek)) {
            // Whoever registers a KEK probes it before the ring has a key of it.
            let is_probe = event.action() == "probe" && event.ring() == Some(self.ring.as_str());
            return Some(if is_probe { Part::Used } else { Part::Kek });
        }
        let is_named = event.envelope_keks().any(|kek| self.names(kek))
            || event.keys().any(is_it)
            || event.exposed().any(is_it)
            || event.branch().is_some_and(is_it);
        if is_named {
            return Some(Part::Named);
        }
        let mut named = event.envelope_keks();
        named.any(|kek| self.is_kek_alone(kek)).then_some(Part::KekNamed)
    }

    fn has_branch(&self, id: &str) -> bool {
        self.branches.contains_key(id)
    }

    /// Whether it is the key or one under it.
    pub(super) fn covers(&self, id: &str) -> bool {
        id == self.id || self.has_branch(id)
    }

    fn names(&self, kek: NamedKek<'_>) -> bool {
        kek.keys().any(|key| self.covers(key))
    }

    /// Whether all wraps of the envelope are under it: nothing else can have opened it.
    pub(super) fn is_only_wrap(&self, event: Event<'_>) -> bool {
        let mut wraps = event.envelope_keks().peekable();
        wraps.peek().is_some() && wraps.all(|kek| self.names(kek) || self.is_kek_alone(kek))
    }

    /// Whether a branch key that is under another key by now did it, and none that is still under this one.
    pub(super) fn is_by_moved_branch(&self, event: Event<'_>) -> bool {
        let keys = || event.keks().flat_map(NamedKek::keys);
        let is_under = |key: &str, under| self.branches.get(key) == Some(&under);
        let is_now = |key: &str| key == self.id || is_under(key, Under::Now);
        keys().any(|key| is_under(key, Under::Before)) && !keys().any(is_now)
    }

    /// Whether it is the KEK, and no key of a ring is named for it.
    fn is_kek_alone(&self, kek: NamedKek<'_>) -> bool {
        let is_version = [kek.version(), &self.version].contains(&"") || kek.version() == self.version;
        !self.kek.is_empty()
            && (kek.provider(), kek.id()) == (&*self.provider, &*self.kek)
            && is_version
            && kek.keys().next().is_none()
    }

    #[cfg(test)]
    pub(super) fn for_tests(revoked: Option<u64>) -> Self {
        let key = "01a21e93-b0b9-71a6-9136-e70841870001";
        let branch = |last: u8| format!("01a21e93-b0b9-71a6-9136-e7084187000{last}");
        Self {
            id: key.to_owned(),
            ring: "ring-1".to_owned(),
            provider: "local".to_owned(),
            kek: "kek-1".to_owned(),
            version: "2".to_owned(),
            branches: BTreeMap::from([(branch(2), Under::Now), (branch(3), Under::Before)]),
            same_kek: BTreeSet::new(),
            revoked: revoked.map(|revision| Revoked {
                revision,
                key: key.parse().unwrap(),
                at: "2026-11-27T00:00:00Z".parse().unwrap(),
            }),
            history: BTreeSet::from([5, 6]),
            max_stale_open: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn part(event: &Value) -> Option<Part> {
        Subject::for_tests(None).part(Event(event))
    }

    const KEY: &str = "01a21e93-b0b9-71a6-9136-e70841870001";
    const BRANCH: &str = "01a21e93-b0b9-71a6-9136-e70841870002";

    #[test]
    fn what_did_it_is_told_from_what_an_envelope_claims() {
        let keks = |of: Value| part(&json!({ "event.name": "waxseal.unwrap", "waxseal.keks": [of] }));
        assert_eq!(keks(json!({ "keys": ["other", KEY] })), Some(Part::Used));
        assert_eq!(keks(json!({ "keys": [BRANCH] })), Some(Part::Branch));
        assert_eq!(keks(json!({ "keys": ["other"] })), None);
        let named =
            |of: Value| part(&json!({ "event.name": "waxseal.unwrap", "waxseal.envelope.keks": [of] }));
        assert_eq!(named(json!({ "keys": [KEY] })), Some(Part::Named));
        assert_eq!(named(json!({ "keys": [BRANCH] })), Some(Part::Named));
        // Another key has opened it.
        let both = json!({
            "event.name": "waxseal.unwrap",
            "waxseal.keks": [{ "keys": ["other"] }],
            "waxseal.envelope.keks": [{ "keys": ["other"] }, { "keys": [KEY] }],
        });
        assert_eq!(part(&both), Some(Part::Named));
        let exposed = json!({ "event.name": "waxseal.unwrap", "waxseal.exposed": [KEY] });
        assert_eq!(part(&exposed), Some(Part::Named));
    }

    #[test]
    fn a_kek_without_a_key_of_the_ring_counts_apart() {
        let keks = |of: Value| part(&json!({ "event.name": "waxseal.unwrap", "waxseal.keks": [of] }));
        let kek = |id: &str, version: &str| json!({ "provider": "local", "id": id, "version": version });
        assert_eq!(keks(kek("kek-1", "2")), Some(Part::Kek));
        assert_eq!(keks(kek("kek-1", "")), Some(Part::Kek));
        assert_eq!(keks(kek("kek-1", "3")), None);
        assert_eq!(keks(kek("kek-2", "2")), None);
        assert_eq!(keks(kek("", "2")), None);
        let other = json!({ "provider": "local", "id": "kek-1", "version": "2", "keys": ["other"] });
        assert_eq!(keks(other), None);
        let named = json!({ "event.name": "waxseal.unwrap", "waxseal.envelope.keks": [kek("kek-1", "2")] });
        assert_eq!(part(&named), Some(Part::KekNamed));
    }

    #[test]
    fn other_keys_are_branch_keys_the_same_kek_or_nothing() {
        let record = |last: u8, kek: &str, branch: Value| -> KeyRecord {
            let mut record = json!({
                "min_reader": 1,
                "id": format!("01a21e93-b0b9-71a6-9136-e7084187000{last}"),
                "scope": "/",
                "slot": "default",
                "revision": 1,
                "state": "active",
                "provenance": { "uri": "env:K", "provider": "local", "id": kek, "version": "" },
                "algorithm": "xaes-256-gcm",
                "protection": "software",
                "has_wrapped": true,
                "cadence": "P90D",
                "overlap": "PT24H",
                "created": "2026-01-01T00:00:00Z",
                "history": [],
            });
            if branch.is_object() {
                record["branch"] = branch;
            }
            serde_json::from_value(record).unwrap()
        };
        let branch = |parent: &str, former: &str| {
            let wrapped =
                json!({ "provider": "local", "id": "kek-1", "algorithm": "xaes-256-gcm", "bytes": "" });
            let former = json!([{ "parent": former, "parent_scope": "/", "algorithm": "xaes-256-gcm" }]);
            json!({ "parent": parent, "parent_scope": "/", "wrapped": wrapped, "commitment": "", "former": former })
        };
        let other = "01a21e93-b0b9-71a6-9136-e70841870009";
        let mut subject = Subject::for_tests(None);
        subject.branches.clear();
        let key = record(1, "kek-1", Value::Null);
        for met in [
            record(1, "kek-1", Value::Null),
            record(4, "kek-1", Value::Null),
            record(5, "kek-5", Value::Null),
            record(6, "b-6", branch(KEY, other)),
            record(7, "b-7", branch(other, KEY)),
            record(8, "b-8", branch(other, other)),
        ] {
            subject.meet(&key, &met);
        }
        let last = |id: &String| id.chars().last().unwrap();
        let same: Vec<char> = subject.same_kek.iter().map(last).collect();
        assert_eq!(same, ['4']);
        let branches: Vec<_> = subject
            .branches
            .iter()
            .map(|(id, under)| (last(id), *under))
            .collect();
        assert_eq!(branches, [('6', Under::Now), ('7', Under::Before)]);
    }

    #[test]
    fn what_is_done_to_the_key_in_the_ring_is_administration() {
        let of = |name: &str, key: &str| {
            part(&json!({ "event.name": name, "waxseal.keys": [key], "waxseal.outcome": "refused" }))
        };
        assert_eq!(of("waxseal.ring.revoke", KEY), Some(Part::Administered));
        assert_eq!(of("waxseal.ring.revoke", "other"), None);
        // The parent of a branch key was asked, and did nothing.
        assert_eq!(of("waxseal.unwrap", KEY), Some(Part::Named));
        let change = json!({ "event.name": "waxseal.ring.change", "waxseal.moves": [{ "id": KEY }] });
        assert_eq!(part(&change), Some(Part::Administered));
    }
}
