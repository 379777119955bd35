//! The record of a key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::branch::{self, Branch};
use super::{BASE, BRANCHES, BeforeShred, Ending, Record, invalid, is_short};
use crate::backend::kek_uri::KekUri;
use crate::envelope::{KekRef, WrapAlgorithm};
pub use crate::key::Protection;
use crate::ring::inventory::RecordKind;
use crate::ring::{Period, RecordId, Scope, Slot, State, Time, Wraps};
use crate::value::error::{Error, ErrorKind, Result};

/// The greatest number of moves in a history.
pub(crate) const MAX_MOVES: usize = 500;
/// How many of those are kept for the moves that end a key. From pending to destroyed takes eight, and a destruction can be cancelled.
const RESERVED: usize = 20;
/// What it takes from a cancelled destruction to the end: destroying, told, destroyed.
const TO_THE_END: usize = 3;
const MAX_LABELS: usize = 64;

/// How a KEK is reached, and which one it is. Without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Provenance {
    /// The KEK URI. No URI holds a secret.
    pub uri: String,
    /// The provider name in stanzas.
    pub provider: String,
    /// The id, resolved: an alias or a name is no id.
    pub id: String,
    /// The version, where an unwrap proves which version did it. Else empty.
    pub version: String,
    /// Whether an empty version is one version, and not the whole KEK: a PKCS#11 key without `CKA_ID`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nameless: bool,
}

impl Provenance {
    /// Says how a KEK is reached, and which one it is.
    ///
    /// # Errors
    /// `InvalidArgument` if the URI is none.
    pub fn new(uri: &str, kek: &KekRef) -> Result<Self> {
        // A scheme that was not compiled in is a KEK of somebody else's process.
        match uri.parse::<KekUri>() {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            uri: uri.to_owned(),
            provider: kek.provider().to_owned(),
            id: kek.id().to_owned(),
            version: kek.version().to_owned(),
            nameless: false,
        })
    }

    /// Says that an empty version is one version, as the key manager tells versions apart.
    pub(crate) fn one_version(mut self, is_one: bool) -> Self {
        self.nameless = is_one && self.version.is_empty();
        self
    }

    /// Returns whether it is the whole KEK, in all of its versions.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.version.is_empty() && !self.nameless
    }

    /// Returns whether destroying this KEK destroys the other, or some of it.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        (&self.provider, &self.id) == (&other.provider, &other.id)
            && (self.is_whole() || other.is_whole() || self.version == other.version)
    }

    /// Returns whether the other is gone when this KEK is.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.overlaps(other) && (self.is_whole() || !other.is_whole())
    }

    /// A short name of its provider and id.
    pub(super) fn short(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.provider.as_bytes());
        hash.update([0]);
        hash.update(self.id.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let short = digest.first_chunk::<8>().copied().unwrap_or_default();
        base16ct::lower::encode_string(&short)
    }

    /// Returns the KEK.
    ///
    /// # Errors
    /// `InventoryInvalid` if the names have a wrong form.
    pub fn kek(&self) -> Result<KekRef> {
        KekRef::new(&self.provider, &self.id, &self.version)
            .map_err(|error| invalid(error.detail().unwrap_or("the KEK has a wrong name").to_owned()))
    }
}

/// Which share of the contexts a pending key wraps for already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Canary {
    /// The share in percent: 1 to 100.
    pub percent: u8,
    /// Since when.
    pub since: Time,
}

/// Who tells the backend to destroy a KEK. It is committed before the backend is called, in the records of all keys of that KEK, so
/// that whoever cancels the destruction knows that the backend has to be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Telling {
    /// The revision of the ring that began with it: no other telling has the same.
    pub fence: u64,
    /// Who.
    pub owner: String,
    /// Until when nobody else tells the backend, or calls the destruction off there.
    pub until: Time,
    /// Whether the backend had disabled the KEK before.
    pub was_disabled: bool,
}

/// A cancellation that the backend has to hear of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cancelled {
    /// Who has cancelled.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// One move of a key, or another change of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Move {
    /// When, by the inventory's clock.
    pub at: Time,
    /// The revision of the ring that it made: a process that has not read this one does not know of it.
    pub revision: u64,
    /// The state before. `None` if it was made by this.
    pub from: Option<State>,
    /// The state after.
    pub to: State,
    /// Who moved it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The digest of the evidence, if there is any: SHA-256 of a receipt, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The ticket of a revocation: a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Who has approved a revocation: a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
}

/// A key of a ring: one KEK (one version of it, where an unwrap proves which version did it), with its scope, slot and state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyRecord {
    pub(crate) min_reader: u32,
    /// Its id.
    pub id: RecordId,
    /// Whose key it is.
    pub scope: Scope,
    /// Which place of the wrap section it fills.
    pub slot: Slot,
    /// How often the record was written.
    pub revision: u64,
    /// Its state.
    pub state: State,
    /// The KEK.
    pub provenance: Provenance,
    /// The wrap algorithm, by its name.
    pub algorithm: String,
    /// What makes it a branch key: the wrap of its 32 bytes under a key of a wider scope. `None` for a KEK that a backend keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Branch>,
    /// Where the KEK is kept.
    pub protection: Protection,
    /// Its canary share, while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Whether it stays pending until somebody promotes it.
    #[serde(default)]
    pub staged: bool,
    /// Whether a [`Gate`](crate::ring::Gate) decides about it, while it is pending: whoever made it, or asked about it, had one. Until one agrees, or
    /// somebody promotes it by hand, nobody without a gate makes it active. Of a key that was revoked: whether one decides about its successor.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_gate: bool,
    /// Whether it has ever been allowed to wrap.
    pub has_wrapped: bool,
    /// The key that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<RecordId>,
    /// The key that follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<RecordId>,
    /// The revision of the ring that it came with: a process that has not read this one does not know the key.
    #[serde(default)]
    pub in_ring_since: u64,
    /// How long it is active before it is rotated.
    pub cadence: Period,
    /// How long it opens after its successor became active, before it may be retired.
    pub overlap: Period,
    /// When it was made.
    pub created: Time,
    /// When it last became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<Time>,
    /// When it is to be rotated. Of a key that was revoked: since when a successor is to take its place, until one has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
    /// Of a key that was revoked, and that branch keys are wrapped under or were: since when those that are active are to be rotated, until the
    /// rotation of each of them is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches_due: Option<Time>,
    /// When it was last deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Time>,
    /// When it may be retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retirement_due: Option<Time>,
    /// When the backend will be told to destroy it, or destroys it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destruction_due: Option<Time>,
    /// Who is about to tell the backend to destroy it, or has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destruction_telling: Option<Telling>,
    /// Whether the backend was told to destroy it.
    #[serde(default)]
    pub destruction_told: bool,
    /// Who has cancelled its destruction, until the backend has called it off and the key is what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destruction_cancelled: Option<Cancelled>,
    /// What it was before its scope was shredded. `None` if that has not happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shredded: Option<BeforeShred>,
    /// Whether it was taken back before it wrapped anything. The ring does not have it anymore, and its KEK was not touched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_back: bool,
    /// When it was destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<Time>,
    /// Every move, the oldest first.
    pub history: Vec<Move>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl KeyRecord {
    /// A key that was just made, and has no history yet.
    #[expect(clippy::too_many_arguments, reason = "nothing of it has a default")]
    pub(crate) fn new(
        id: RecordId,
        scope: Scope,
        slot: Slot,
        provenance: Provenance,
        algorithm: WrapAlgorithm,
        protection: Protection,
        (cadence, overlap): (Period, Period),
        created: Time,
    ) -> Self {
        Self {
            min_reader: BASE,
            id,
            scope,
            slot,
            revision: 0,
            state: State::Pending,
            provenance,
            algorithm: algorithm.to_string(),
            branch: None,
            protection,
            canary: None,
            staged: false,
            awaits_gate: false,
            has_wrapped: false,
            predecessor: None,
            successor: None,
            in_ring_since: 0,
            cadence,
            overlap,
            created,
            activated: None,
            next_rotation: None,
            branches_due: None,
            deprecated: None,
            retirement_due: None,
            destruction_due: None,
            destruction_telling: None,
            destruction_told: false,
            destruction_cancelled: None,
            shredded: None,
            taken_back: false,
            destroyed: None,
            history: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    /// Makes it a branch key, which older readers refuse.
    pub(crate) fn with_branch(mut self, branch: Branch) -> Self {
        self.min_reader = BRANCHES;
        self.branch = Some(branch);
        self
    }

    /// The key that it is wrapped under, if it is a branch key that is not destroyed.
    pub(crate) fn parent_key(&self) -> Option<RecordId> {
        let branch = self.branch.as_ref().filter(|_| self.state != State::Destroyed);
        branch.map(|branch| branch.parent)
    }

    /// Returns whether it has the state that permits this, and is not hindered by anything else in the record.
    #[must_use]
    pub fn unwraps(&self) -> bool {
        self.state.row().unwraps
    }

    /// How many entries its history still takes.
    pub(crate) fn room(&self) -> usize {
        MAX_MOVES.saturating_sub(self.history.len())
    }

    /// Returns the move by which it was revoked, with the ticket and the approver, if it ever was.
    #[must_use]
    pub fn revocation(&self) -> Option<&Move> {
        let mut moves = self.history.iter();
        moves.find(|made| made.to == State::Compromised && made.from != Some(State::Compromised))
    }

    /// The state that it had at this revision of the ring, if it was there.
    pub(crate) fn state_at(&self, revision: u64) -> Option<State> {
        let mut until = self.history.iter().rev();
        until.find(|made| made.revision <= revision).map(|made| made.to)
    }

    /// The wrap algorithm: the highest number for private use if the record names none.
    pub(crate) fn wrap_algorithm(&self) -> WrapAlgorithm {
        algorithm_of(&self.algorithm)
    }

    /// Adds to the history. Its last entries are kept for the moves that end a key, so that no key has to live for ever.
    pub(crate) fn record_move(&mut self, entry: Move) -> Result<()> {
        use State::{Active, Compromised, Deprecated, Destroyed, Destroying, Retired};
        let needed = match (entry.from, entry.to) {
            (Some(_), Destroyed) => 1,
            // The backend was told.
            (Some(Destroying), Destroying) => 2,
            (Some(from), Destroying) if from < Destroying => TO_THE_END,
            // What was cancelled can be begun again.
            (Some(Destroying), _) => TO_THE_END + 1,
            (Some(from), to @ (Retired | Compromised)) if from < to => TO_THE_END + 1,
            (Some(from), Deprecated) if from <= Active => TO_THE_END + 2,
            _ => RESERVED + 1,
        };
        if self.room() < needed {
            let limit = "the number of moves of a key";
            let max = MAX_MOVES as u64;
            return Err(Error::new(ErrorKind::OverLimit { limit, max }).with_detail(format!(
                "the history of the key {} has {} entries, and the rest is kept for the moves that end a key: let a successor take its place",
                self.id,
                self.history.len()
            )));
        }
        self.history.push(entry);
        Ok(())
    }
}

/// The wrap algorithm of this name: the highest number for private use if there is none.
pub(super) fn algorithm_of(name: &str) -> WrapAlgorithm {
    let number = name.parse().ok().map(WrapAlgorithm::from_id);
    let mut all = (0..=u8::MAX).map(WrapAlgorithm::from_id);
    number
        .or_else(|| all.find(|algorithm| algorithm.name() == Some(name)))
        .unwrap_or(WrapAlgorithm::from_id(u8::MAX))
}

impl Record for KeyRecord {
    const KIND: RecordKind = RecordKind::Key;

    fn min_reader(&self) -> u32 {
        self.min_reader
    }

    fn id(&self) -> RecordId {
        self.id
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn slot(&self) -> &Slot {
        &self.slot
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn state(&self) -> Option<State> {
        Some(self.state)
    }

    fn kek(&self) -> Option<KekRef> {
        self.provenance.kek().ok()
    }

    fn parent(&self) -> Option<RecordId> {
        self.parent_key()
    }

    fn ending(&self) -> Option<Ending> {
        // What will be destroyed is not registered elsewhere meanwhile.
        let is_ending = match self.state {
            State::Destroying => true,
            // Nobody registers a branch key elsewhere.
            State::Retired | State::Compromised => self.shredded.is_some() && self.branch.is_none(),
            _ => false,
        };
        is_ending.then(|| Ending::new(self.id, &self.provenance))
    }

    fn is_in_use(&self) -> bool {
        let row = self.state.row();
        row.unwraps || row.wraps != Wraps::No
    }

    fn due(&self) -> Option<Time> {
        match self.state {
            State::Pending if !self.staged => Some(self.created),
            State::Active => self.next_rotation,
            // What was revoked while it was active is due for a successor, and what is under it, too.
            State::Compromised => [self.next_rotation, self.branches_due]
                .into_iter()
                .flatten()
                .min(),
            State::Deprecated => self.retirement_due,
            State::Destroying => match &self.destruction_telling {
                Some(telling) if self.destruction_cancelled.is_some() || !self.destruction_told => {
                    Some(telling.until)
                }
                None if self.destruction_cancelled.is_some() => Some(self.created),
                _ => self.destruction_due,
            },
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        self.provenance.kek()?;
        branch::check(self)?;
        let moves = self.history.iter();
        if let Some(cancelled) = &self.destruction_cancelled
            && !(is_short(&cancelled.actor) && is_short(&cancelled.reason))
        {
            return Err(Error::argument(
                "an actor and a reason have at most 1,024 bytes and no control characters",
            ));
        }
        let is_good = |entry: &Move| {
            let claims = entry.ticket.iter().chain(&entry.approver);
            claims
                .chain([&entry.actor, &entry.reason])
                .all(|text| is_short(text))
        };
        if !moves.clone().all(is_good) {
            return Err(Error::argument(
                "an actor, a reason, a ticket and an approver have at most 1,024 bytes and no control characters",
            ));
        }
        let is_label = |text: &String| !text.is_empty() && text.len() <= 255 && is_short(text);
        let labels = &self.labels;
        if labels.len() > MAX_LABELS
            || !labels
                .iter()
                .all(|(name, value)| is_label(name) && is_short(value))
        {
            return Err(Error::argument(format!(
                "a key has at most {MAX_LABELS} labels, each a name of 1 to 255 bytes and a value of at most 1,024, without control characters"
            )));
        }
        if self
            .canary
            .is_some_and(|canary| !(1..=100).contains(&canary.percent))
        {
            return Err(Error::argument("a canary share is 1 to 100 percent"));
        }
        if self.taken_back && self.state != State::Destroyed {
            return Err(invalid("it was taken back, and is not out of the ring"));
        }
        let mut state = None;
        for entry in moves {
            let follows = match (state, entry.from) {
                (None, None) => true,
                (Some(state), Some(from)) if state == from => {
                    from == entry.to || from.check_move(entry.to).is_ok()
                }
                _ => false,
            };
            if !follows {
                return Err(invalid("its history is no legal path"));
            }
            state = Some(entry.to);
        }
        match state {
            Some(state) if state == self.state => Ok(()),
            _ => Err(invalid("its history does not end in its state")),
        }
    }
}
