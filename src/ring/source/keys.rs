//! The keys of one scope at one revision, and what their states permit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::key::{Key, Usage};
use crate::envelope::{KekRef, WrapAlgorithm, WrapRef};
use crate::message::Pulse;
use crate::ring::{Branch, KeyRecord, RecordId, Scope, Slot, State, Tombstone, View};
use crate::value::error::{Error, ErrorKind, Result};

/// The keys of one scope, as a verified view showed them.
#[derive(Debug)]
pub(super) struct ScopeKeys {
    pub(super) scope: Scope,
    /// All keys, by KEK.
    pub(super) keks: Vec<Arc<Kek>>,
    slots: Vec<SlotKeys>,
    /// Whether the scope was shredded: then none of these is used.
    shredded: Option<Arc<Tombstone>>,
    /// Whether the scope has no key and never had one.
    pub(super) is_vacant: bool,
    /// The scopes of the keys that its branch keys are wrapped under, or were: what changes there changes this one.
    pub(super) parents: BTreeSet<Scope>,
    /// Stops if it is not known for too long that these are still the keys: for sealing, and for opening.
    pub(super) seals: Pulse,
    pub(super) opens: Pulse,
}

/// One KEK, and the keys of the scope that are versions of it.
#[derive(Debug)]
pub(super) struct Kek {
    pub(super) keys: Vec<Arc<Key>>,
}

/// What wraps in one slot.
#[derive(Clone, Debug)]
struct SlotKeys {
    slot: Slot,
    /// `None` if the slot lost its key and nothing followed.
    active: Option<Arc<Key>>,
    /// The last key that was active in it.
    last: Option<Arc<Key>>,
    canaries: Vec<Arc<Key>>,
}

impl ScopeKeys {
    pub(super) fn new(view: &View, scope: &Scope, seals: Pulse, opens: Pulse) -> Self {
        // What was taken back is no key of the ring any more; its KEK may be registered again.
        let keys = view.keys(scope).iter().filter(|key| !key.taken_back);
        let keys: Vec<Arc<Key>> = keys.map(|key| Arc::new(Key::new(view, key))).collect();
        let parents = keys.iter().filter_map(|key| key.branch.as_ref());
        let parents = parents.flat_map(Branch::parents);
        let parents = parents.map(|parent| parent.parent_scope).collect();
        let mut keks: Vec<Kek> = Vec::new();
        let mut slots: BTreeMap<&Slot, Vec<&Arc<Key>>> = BTreeMap::new();
        for key in &keys {
            slots.entry(&key.slot).or_default().push(key);
            let is_its = |kek: &&mut Kek| kek.is_of(key);
            match keks.iter_mut().find(is_its) {
                Some(kek) => kek.keys.push(Arc::clone(key)),
                None => keks.push(Kek {
                    keys: vec![Arc::clone(key)],
                }),
            }
        }
        let mut slots: Vec<SlotKeys> = slots
            .into_iter()
            .filter_map(|(slot, keys)| SlotKeys::new(slot, &keys))
            .collect();
        // The default slot first, as in an envelope that has no other.
        slots.sort_by_key(|slot| slot.slot != Slot::default());
        Self {
            scope: scope.clone(),
            keks: keks.into_iter().map(Arc::new).collect(),
            slots,
            shredded: view.tombstone(scope).cloned(),
            is_vacant: view.is_vacant(scope),
            parents,
            seals,
            opens,
        }
    }

    /// Whether the keys of a wider scope may serve this one beside its own: it has never had a key, or it has one that seals in each of its slots.
    /// Nothing serves a scope that lost its keys.
    pub(super) fn may_be_served(&self) -> bool {
        self.is_vacant
            || (self.shredded.is_none()
                && !self.slots.is_empty()
                && self.slots.iter().all(|slot| slot.active.is_some()))
    }

    /// These keys and those of a wider scope: the latter open, and wrap if this scope has never had a key.
    pub(super) fn served_by(&self, wider: &Self) -> Self {
        let mut keks = self.keks.clone();
        for kek in &wider.keks {
            let same = keks
                .iter_mut()
                .find(|own| kek.keys.first().is_some_and(|key| own.is_of(key)));
            match same {
                // What the records of either forbid is forbidden.
                Some(own) => {
                    let keys = own.keys.iter().chain(&kek.keys).cloned().collect();
                    *own = Arc::new(Kek { keys });
                }
                None => keks.push(Arc::clone(kek)),
            }
        }
        Self {
            scope: self.scope.clone(),
            keks,
            slots: if self.is_vacant {
                wider.slots.clone()
            } else {
                self.slots.clone()
            },
            shredded: None,
            is_vacant: self.is_vacant,
            parents: self.parents.union(&wider.parents).cloned().collect(),
            seals: self.seals.with(&wider.seals),
            opens: self.opens.with(&wider.opens),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keks.is_empty() && self.shredded.is_none()
    }

    /// Refuses a scope that was shredded.
    ///
    /// # Errors
    /// `KeyDestroyed`, also while that can be cancelled.
    pub(super) fn check_not_shredded(&self) -> Result<()> {
        match &self.shredded {
            None => Ok(()),
            Some(tombstone) => Err(tombstone.no_key()),
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keks.iter().flat_map(|kek| &kek.keys)
    }

    /// The branch keys that are used: they unwrap, or wait to become active.
    pub(super) fn branch_keys(&self) -> Vec<RecordId> {
        let keys = self.keys().filter(|key| key.branch.is_some());
        let used = keys.filter(|key| key.unwraps() || key.state == State::Pending);
        match self.shredded {
            Some(_) => Vec::new(),
            None => used.map(|key| key.id).collect(),
        }
    }

    /// The keys that wait to become active.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys().filter(|key| key.state == State::Pending)
    }

    /// The keys that wrap in a context with this digest: one for each slot.
    ///
    /// # Errors
    /// `NoKeyForScope` if there is none, or a slot has lost its own.
    pub(super) fn to_wrap(&self, digest: &[u8; 32]) -> Result<Vec<&Arc<Key>>> {
        if self.slots.is_empty() {
            return Err(Error::new(ErrorKind::NoKeyForScope)
                .with_detail(format!("no key of scope {} is active", self.scope)));
        }
        let mut chosen = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let Some(active) = &slot.active else {
                // One wrap less than the scope demands would be a silent fallback.
                return Err(Error::new(ErrorKind::NoKeyForScope).with_detail(self.lost(slot)));
            };
            let mut canaries = slot.canaries.iter();
            let key = canaries
                .find(|key| wraps_as_canary(key, digest))
                .unwrap_or(active);
            // What is sealed must open.
            if let Some(kek) = self.keks.iter().find(|kek| kek.is_of(key)) {
                kek.verdict(&key.provenance.version, Usage::Open)?;
            }
            chosen.push(key);
        }
        Ok(chosen)
    }

    /// Why nothing wraps in a slot, and what to do. Its keys may be those of a wider scope.
    fn lost(&self, slot: &SlotKeys) -> String {
        let Some(last) = &slot.last else {
            return format!("no key of scope {} is active in slot {}", self.scope, slot.slot);
        };
        let (id, scope) = (last.id, &last.scope);
        let of_whom = match *scope == self.scope {
            true => String::new(),
            false => format!(", which serves scope {}", self.scope),
        };
        let stopped_by = last.parent().filter(|_| last.own_state() == State::Active);
        match stopped_by {
            Some(parent) => format!(
                "nothing is sealed in slot {} of scope {scope}{of_whom}: its active key {id} is wrapped under the key {} of scope {}, which is {}. Rotate the                  branch key: `waxseal keys tick`, or `waxseal keys rotate {id}`",
                slot.slot, parent.id, parent.scope, parent.state
            ),
            None if last.own_state() == State::Compromised => format!(
                "no key of scope {scope} is active in slot {}{of_whom}, since the key {id} was revoked: put another one in its place with `waxseal keys rotate \
                 {id}`, or promote one that waits (`waxseal keys promote`)",
                slot.slot
            ),
            None => format!(
                "no key of scope {scope} is active in slot {}{of_whom}, and its last one, {id}, is {}: create one (`waxseal keys create --scope {scope} --slot \
                 {}`), or promote one that waits (`waxseal keys promote`)",
                slot.slot,
                last.own_state(),
                slot.slot
            ),
        }
    }

    /// The active keys to which somebody else may have come through a key that was revoked.
    pub(super) fn exposed_active(&self) -> impl Iterator<Item = (&Arc<Key>, &Arc<KeyRecord>)> {
        let active = self.slots.iter().filter_map(|slot| slot.active.as_ref());
        active.filter_map(|key| Some((key, key.exposed_by()?)))
    }

    /// The KEK that a key is a version of.
    pub(super) fn kek_of(&self, key: &Key) -> Option<&Arc<Kek>> {
        self.keks.iter().find(|kek| kek.is_of(key))
    }

    /// Whether the same keys wrap, for the same shares of the contexts.
    fn wraps_like(&self, other: &Self) -> bool {
        let of = |keys: &Self| -> Vec<_> {
            let slots = keys.slots.iter();
            slots
                .map(|slot| {
                    let share = |key: &Arc<Key>| (key.id, key.canary.map(|canary| canary.percent));
                    let canaries: Vec<_> = slot.canaries.iter().map(share).collect();
                    let active = slot.active.as_ref().map(|key| (key.id, key.provenance.clone()));
                    (slot.slot.clone(), active, canaries)
                })
                .collect()
        };
        of(self) == of(other)
    }

    /// What has to happen to leases because these keys follow `former`.
    pub(super) fn changes_since(&self, former: &Self) -> Changes {
        let mut changes = Changes {
            turn_over: !self.wraps_like(former),
            end: Vec::new(),
            end_scope: self.shredded.is_some() && former.shredded.is_none(),
        };
        for key in former.keys() {
            let now = self.keys().find(|now| now.id == key.id);
            let was_revoked = now.is_some_and(|now| now.revocation().is_some()) && key.revocation().is_none();
            if was_revoked {
                // Whatever it was before, and whatever it has become: what names another version may be under it.
                changes.end.push(Ended {
                    key: key.id,
                    kek: to_kek(key),
                    any_version: true,
                });
                continue;
            }
            if !key.unwraps() {
                continue;
            }
            let goes_on = |now: &Arc<Key>| now.unwraps() && now.provenance == key.provenance;
            if self.shredded.is_none() && now.is_some_and(goes_on) {
                continue;
            }
            // Retired, all versions but this one go on. A version that an envelope names is a claim, so nobody who
            // may have the key is let off by one.
            let is_orderly = now.is_some_and(|now| now.state == State::Retired);
            changes.end.push(Ended {
                key: key.id,
                kek: to_kek(key),
                any_version: !is_orderly,
            });
        }
        changes
    }
}

/// What has to happen to leases.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Other keys wrap than before.
    pub(super) turn_over: bool,
    /// Keys that unwrapped and do not any more.
    pub(super) end: Vec<Ended>,
    /// The scope was shredded.
    pub(super) end_scope: bool,
}

#[derive(Debug)]
pub(super) struct Ended {
    pub(super) key: RecordId,
    pub(super) kek: KekRef,
    pub(super) any_version: bool,
}

pub(super) fn to_kek(key: &Key) -> KekRef {
    let provenance = &key.provenance;
    KekRef::trusted(&provenance.provider, &provenance.id, &provenance.version)
}

impl SlotKeys {
    /// `None` if the slot demands no wrap: none of its keys was ever active, or it was closed.
    fn new(slot: &Slot, keys: &[&Arc<Key>]) -> Option<Self> {
        let active = keys.iter().find(|key| key.state == State::Active);
        let last = keys.iter().filter(|key| key.activated.is_some());
        let last = last.max_by_key(|key| (key.activated, key.id));
        if active.is_none() && last.is_none_or(|last| was_closed(last)) {
            return None;
        }
        let is_canary = |key: &&&Arc<Key>| key.state == State::Pending && key.canary.is_some();
        Some(Self {
            slot: slot.clone(),
            active: active.map(|key| Arc::clone(key)),
            last: last.map(|key| Arc::clone(key)),
            canaries: keys.iter().filter(is_canary).map(|key| Arc::clone(key)).collect(),
        })
    }
}

/// Whether the last key of a slot went out of use because the slot was closed, and not because it was lost.
fn was_closed(key: &Key) -> bool {
    let mut history = key.history.iter().rev();
    let left = history.find(|entry| entry.from == Some(State::Active) && entry.to != State::Active);
    left.is_some_and(|entry| entry.to == State::Retired)
}

/// Whether a pending key wraps in a context with this digest: the same answer in each process, and another share of the
/// contexts for each key.
fn wraps_as_canary(key: &Key, digest: &[u8; 32]) -> bool {
    let Some(canary) = key.canary else { return false };
    let mut hash = Sha256::new();
    hash.update(b"waxseal ring canary v1\0");
    hash.update(key.id.as_bytes());
    hash.update(digest);
    let hash: [u8; 32] = hash.finalize().into();
    let number = hash
        .first_chunk::<8>()
        .map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
    number % 100 < u64::from(canary.percent)
}

impl Kek {
    /// Whether a key is a version of this KEK.
    pub(super) fn is_of(&self, key: &Key) -> bool {
        self.keys.first().is_some_and(|first| {
            let (one, other) = (&first.provenance, &key.provenance);
            one.uri == other.uri && one.provider == other.provider && one.id == other.id
        })
    }

    /// Whether a stanza may be under this KEK, by what it names.
    pub(super) fn may_have_wrapped(&self, stanza: WrapRef<'_>) -> bool {
        let Some(key) = self.keys.first() else {
            return false;
        };
        // A KEK serves one algorithm, and what the ring says of a key goes by that.
        stanza.provider == key.provenance.provider
            && self
                .keys
                .iter()
                .any(|key| key.wrap_algorithm() == stanza.algorithm)
            && (stanza.kek_id.is_empty()
                || KekRef::trusted(stanza.provider, stanza.kek_id, "").is_same_key(&to_kek(key)))
            && (stanza.kek_version.is_empty() || self.has(stanza.kek_version))
    }

    /// Whether a version is a key of the ring.
    fn has(&self, version: &str) -> bool {
        self.versions(version).next().is_some()
    }

    /// The keys that a version is. One without a version is every version: its backend does not tell them apart.
    pub(super) fn versions<'k>(&'k self, version: &'k str) -> impl Iterator<Item = &'k Arc<Key>> {
        self.keys.iter().filter(move |key| {
            let of = &key.provenance;
            of.is_whole() || of.version == version
        })
    }

    /// Whether a version may unwrap for this. An empty one is one that nobody has named.
    ///
    /// # Errors
    /// Those of [`Key::permit`]; `NoUsableKey` if the ring does not have it.
    pub(super) fn verdict(&self, version: &str, usage: Usage<'_>) -> Result<()> {
        if version.is_empty() {
            let mut first = None;
            for key in &self.keys {
                match key.permit(usage) {
                    Ok(()) => return Ok(()),
                    Err(error) => first = first.or(Some(error)),
                }
            }
            return first.map_or(Ok(()), Err);
        }
        if !self.has(version) {
            return Err(unknown_version());
        }
        self.versions(version).try_for_each(|key| key.permit(usage))
    }

    /// The same of a version that its backend has proven: no other record stands for it.
    pub(super) fn verdict_of_proven(&self, version: &str, usage: Usage<'_>) -> Result<()> {
        let mut keys = self.proven(version).peekable();
        if keys.peek().is_none() {
            return Err(unknown_version());
        }
        keys.try_for_each(|key| key.permit(usage))
    }

    /// The keys that a version is which its backend has proven.
    pub(super) fn proven<'k>(&'k self, version: &'k str) -> impl Iterator<Item = &'k Arc<Key>> {
        self.keys
            .iter()
            .filter(move |key| key.provenance.version == version)
    }

    /// The key through which all of its versions are reached, if any may unwrap for this: the one that wraps, or the newest.
    pub(super) fn opener(&self, usage: Usage<'_>) -> Option<&Arc<Key>> {
        let usable = self.keys.iter().filter(|key| key.permit(usage).is_ok());
        usable.max_by_key(|key| (key.state == State::Active, key.id))
    }

    /// The wrap algorithm of its keys.
    pub(super) fn algorithm(&self) -> WrapAlgorithm {
        let first = self.keys.first();
        first.map_or(WrapAlgorithm::from_id(u8::MAX), |key| key.wrap_algorithm())
    }

    /// Why none of its versions may unwrap.
    pub(super) fn refusal(&self, usage: Usage<'_>) -> Error {
        let newest = self.keys.iter().max_by_key(|key| key.id);
        let refused = newest.and_then(|key| key.permit(usage).err());
        refused.unwrap_or_else(|| Error::new(ErrorKind::NoUsableKey))
    }
}

fn unknown_version() -> Error {
    Error::new(ErrorKind::NoUsableKey)
        .with_detail("the ring does not have the version of the key that it is wrapped under")
}
