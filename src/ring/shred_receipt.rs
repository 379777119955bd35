//! The receipt of a shredding: what opens nowhere anymore, and what the shredding does not reach.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::evidence::{NamedKek, VerifiedReceipt};
use super::line::{Line, LineKind};
use super::record::{BRANCH, KeyRecord, Tombstone};
use super::view::{View, hex};
use super::{Authority, AuthorityKey, Protection, RecordId, Scope, Slot, State, Time};
use crate::value::error::{Error, ErrorKind, Result};

/// The version of these receipts that this library writes and reads.
const SCHEMA: u32 = 1;
const KIND: LineKind = LineKind {
    kind: "shred-receipt",
    max: 16 << 20,
    limit: "the length of a shred receipt in bytes",
};
/// The provider of local keys.
const LOCAL: &str = "local";

/// How far the shredding of a scope has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ShredStage {
    /// The keys are out of use, and in their cooling-off: it can be cancelled.
    Pending,
    /// The keys are being destroyed. Not all of them are gone.
    Destroying,
    /// Every key is destroyed.
    Destroyed,
}

impl fmt::Display for ShredStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
        })
    }
}

/// What a census has counted under a key of a scope that was shredded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ShredCount {
    /// SHA-256 of the receipt of the census, in hexadecimal digits.
    pub census: String,
    /// When its scan began.
    pub started: Time,
    /// How many envelopes have a wrap under the KEK of the key.
    pub items: u64,
    /// How many of those no other key of the scope opens.
    pub sole: u64,
    /// How many envelopes may be under it, and do not say so.
    pub unknown: u64,
}

/// A key under which copies of a destroyed key may be, in backups of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ParentCopy {
    /// The key.
    pub parent: RecordId,
    /// Its scope.
    pub scope: Scope,
    /// Its KEK.
    pub kek: NamedKek,
    /// The state that it has.
    pub state: State,
    /// Whether whoever has such a backup and the use of this KEK has the destroyed key: until the parent is destroyed.
    pub opens: bool,
}

/// A key of a scope that was shredded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ShredKey {
    /// The key.
    pub key: RecordId,
    /// Its slot.
    pub slot: Slot,
    /// Its KEK.
    pub kek: NamedKek,
    /// Where the KEK is kept.
    pub protection: Protection,
    /// Its state.
    pub state: State,
    /// Whether it left the ring before it wrapped anything. Its KEK was not touched.
    pub taken_back: bool,
    /// Whether its backend was told to destroy the KEK.
    pub told: bool,
    /// When the backend destroys the KEK, or is told to.
    pub destruction_due: Option<Time>,
    /// When it was destroyed.
    pub destroyed: Option<Time>,
    /// By whom that was recorded, and why: what the backend said, or what an operator attested.
    pub how: Option<String>,
    /// What censuses have counted under it.
    pub counted: Vec<ShredCount>,
    /// For a branch key: under what copies of it are in backups of the inventory that were made before.
    pub copies: Vec<ParentCopy>,
}

/// Something that a shredding does not reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Unreached {
    /// What: `processes`, `inventory-backups`, `backends`, `key-files`, `other-wraps` or `plaintext`.
    pub what: String,
    /// Which keys it is about. Empty: all.
    pub keys: Vec<RecordId>,
    /// Until when, if that is known.
    pub until: Option<Time>,
    /// The same in words.
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    schema: u32,
    ring: RecordId,
    revision: u64,
    head: String,
    scope: Scope,
    stage: ShredStage,
    issued: Time,
    issuer: String,
    tombstone: RecordId,
    shredded: Time,
    actor: String,
    ticket: String,
    approver: Option<String>,
    reason: String,
    due: Time,
    keys: Vec<ShredKey>,
    does_not_reach: Vec<Unreached>,
}

/// What can be opened no longer because a scope was shredded, and what that does not reach, as the ring knew it when this was issued. Signed by the
/// ring's authority. As text it is one JSON object on one line, and must not be formatted anew: the signature is over its exact bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShredReceipt {
    line: Line,
    body: Body,
}

/// What a receipt is made of.
pub(super) struct Issue<'i> {
    pub(super) view: &'i View,
    pub(super) tombstone: &'i Tombstone,
    pub(super) censuses: &'i [VerifiedReceipt<'i>],
    pub(super) at: Time,
    pub(super) issuer: &'i str,
}

impl ShredReceipt {
    pub(super) fn issue(of: &Issue<'_>, signer: &Authority) -> Result<Self> {
        let (view, tombstone) = (of.view, of.tombstone);
        if tombstone.cancelled.is_some() {
            return Err(tombstone.no_new_key());
        }
        let mut keys = Vec::with_capacity(tombstone.keys.len());
        for id in &tombstone.keys {
            let key = view.key(*id).ok_or_else(|| {
                Error::new(ErrorKind::InventoryInvalid).with_detail(format!(
                    "the key {id} of the scope {} that was shredded is missing",
                    tombstone.scope
                ))
            })?;
            keys.push(key_of(view, key, of.censuses));
        }
        let stage = stage_of(&keys);
        let body = Body {
            schema: SCHEMA,
            ring: view.ring(),
            revision: view.revision(),
            head: hex(&view.mark().head),
            scope: tombstone.scope.clone(),
            stage,
            issued: of.at,
            issuer: of.issuer.to_owned(),
            tombstone: tombstone.id,
            shredded: tombstone.at,
            actor: tombstone.actor.clone(),
            ticket: tombstone.ticket.clone(),
            approver: tombstone.approver.clone(),
            reason: tombstone.reason.clone(),
            due: tombstone.due,
            does_not_reach: unreached(view, tombstone, &keys),
            keys,
        };
        let line = Line::sign(KIND, body.ring, &body, signer)?;
        Ok(Self { line, body })
    }

    /// Reads a receipt. Nothing of it can be believed before [`verify`](Self::verify).
    ///
    /// # Errors
    /// `InvalidArgument` if it is no shred receipt, or was formatted anew; `Unsupported` if a newer version wrote it; `OverLimit` if it has more than
    /// 16 MiB.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        KIND.check_len(bytes.len())?;
        let wrong = || {
            Error::argument(
                "this is no shred receipt: it is one line of JSON that ends with its signature, exactly as `waxseal keys shred-receipt` wrote it",
            )
        };
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
            #[serde(rename = "tombstone")]
            _tombstone: RecordId,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|_| wrong())?;
        if version.schema != SCHEMA {
            return Err(
                Error::unsupported("this version of shred receipts").with_detail(format!(
                    "the receipt has schema {}, and this library reads schema {SCHEMA}",
                    version.schema
                )),
            );
        }
        let (line, text) = Line::parse(bytes).ok_or_else(wrong)?;
        let body: Body = serde_json::from_slice(&text)
            .map_err(|error| Error::argument(format!("the shred receipt has a wrong form: {error}")))?;
        Ok(Self { line, body })
    }

    /// Refuses a receipt that none of these authorities has signed for this ring: those of the settings
    /// ([`Settings::authorities`](super::Settings::authorities)), or one that the ring had before.
    ///
    /// # Errors
    /// `InventoryInvalid` if it is of another ring, was changed, or none of these has signed it.
    pub fn verify(&self, ring: RecordId, authorities: &[AuthorityKey]) -> Result<()> {
        let refused = |detail: &str| {
            Error::new(ErrorKind::InventoryInvalid).with_detail(format!("the shred receipt {detail}"))
        };
        if self.body.ring != ring {
            return Err(refused(&format!(
                "is one of the ring {}, and this is the ring {ring}",
                self.body.ring
            )));
        }
        let signer = self.line.signer(authorities.iter().copied());
        let signer = signer.ok_or_else(|| refused("is signed by none of the authorities of the ring"))?;
        self.line
            .verify(KIND, ring, &signer)
            .map_err(|_| refused("was changed: its signature is wrong"))
    }

    /// Returns the receipt as it is kept: one line of JSON.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.line.as_bytes()
    }

    /// Returns the revision of the ring that it speaks of.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.body.revision
    }

    /// Returns the scope.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.body.scope
    }

    /// Returns how far the shredding had come.
    #[must_use]
    pub fn stage(&self) -> ShredStage {
        self.body.stage
    }

    /// Returns when it was issued.
    #[must_use]
    pub fn issued(&self) -> Time {
        self.body.issued
    }

    /// Returns when the scope was shredded.
    #[must_use]
    pub fn shredded(&self) -> Time {
        self.body.shredded
    }

    /// Returns who has shredded the scope.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.body.actor
    }

    /// Returns the ticket that was claimed.
    #[must_use]
    pub fn ticket(&self) -> &str {
        &self.body.ticket
    }

    /// Returns when the cooling-off ends, or ended.
    #[must_use]
    pub fn due(&self) -> Time {
        self.body.due
    }

    /// Returns the keys that the scope had.
    #[must_use]
    pub fn keys(&self) -> &[ShredKey] {
        &self.body.keys
    }

    /// Returns what the shredding does not reach.
    #[must_use]
    pub fn does_not_reach(&self) -> &[Unreached] {
        &self.body.does_not_reach
    }
}

fn key_of(view: &View, key: &KeyRecord, censuses: &[VerifiedReceipt<'_>]) -> ShredKey {
    let kek = &key.provenance;
    let destroyed = key.history.last().filter(|_| key.state == State::Destroyed);
    let counted = censuses.iter().map(|census| {
        let found = census.finds(key);
        ShredCount {
            census: census.receipt().digest().to_owned(),
            started: census.receipt().started(),
            items: found.items,
            sole: found.sole,
            unknown: found.unknown,
        }
    });
    ShredKey {
        key: key.id,
        slot: key.slot.clone(),
        kek: NamedKek::new(&kek.provider, &kek.id, &kek.version),
        protection: key.protection,
        state: key.state,
        taken_back: key.taken_back,
        told: key.destruction_told || key.destroyed.is_some(),
        destruction_due: key.destruction_due,
        destroyed: key.destroyed,
        how: destroyed.map(|made| format!("{}, by {}", made.reason, made.actor)),
        counted: counted.collect(),
        copies: copies_of(view, key),
    }
}

/// Under what copies of a branch key are in backups of the inventory.
fn copies_of(view: &View, key: &KeyRecord) -> Vec<ParentCopy> {
    let parents = key.branch.iter().flat_map(super::record::Branch::parents);
    let of_ring = parents.filter_map(|parent| view.key(parent.parent));
    let copy = |parent: &std::sync::Arc<KeyRecord>| {
        let kek = &parent.provenance;
        ParentCopy {
            parent: parent.id,
            scope: parent.scope.clone(),
            kek: NamedKek::new(&kek.provider, &kek.id, &kek.version),
            state: parent.state,
            opens: parent.state != State::Destroyed,
        }
    };
    of_ring.map(copy).collect()
}

fn stage_of(keys: &[ShredKey]) -> ShredStage {
    let is_gone = |key: &ShredKey| key.state == State::Destroyed;
    let is_begun = |key: &ShredKey| key.state == State::Destroying || is_gone(key) && !key.taken_back;
    match (keys.iter().all(is_gone), keys.iter().any(is_begun)) {
        (true, _) => ShredStage::Destroyed,
        (false, true) => ShredStage::Destroying,
        (false, false) => ShredStage::Pending,
    }
}

/// What is left, by what the ring knows.
fn unreached(view: &View, tombstone: &Tombstone, keys: &[ShredKey]) -> Vec<Unreached> {
    let mut all = Vec::new();
    let mut add = |what: &str, keys: Vec<RecordId>, until: Option<Time>, detail: String| {
        all.push(Unreached {
            what: what.to_owned(),
            keys,
            until,
            detail,
        });
    };
    let ids = |is_meant: &dyn Fn(&ShredKey) -> bool| -> Vec<RecordId> {
        keys.iter()
            .filter(|key| is_meant(key))
            .map(|key| key.key)
            .collect()
    };
    let settings = view.settings();
    let stale = settings
        .max_stale_open
        .at_most()
        .saturating_add(settings.commit_time());
    let until = settings
        .quiet_after(tombstone.at, tombstone.in_ring_since)
        .max(tombstone.at.saturating_add(stale));
    add(
        "processes",
        Vec::new(),
        Some(until),
        format!(
            "a process that could not read the ring since {} may have gone on with data keys that it held, until {until} at the latest",
            tombstone.at
        ),
    );
    // Of a branch key, the parents say it.
    let kept = ids(&|key| key.state != State::Destroyed && key.kek.provider != BRANCH);
    if !kept.is_empty() {
        add(
            "inventory-backups",
            kept,
            None,
            "the KEKs of these keys are not known to be gone: whoever restores an inventory from before, or has the use of the KEK, opens what is under it"
                .to_owned(),
        );
    }
    for key in keys {
        let open: Vec<_> = key.copies.iter().filter(|copy| copy.opens).collect();
        for copy in &open {
            add(
                "inventory-backups",
                vec![key.key],
                None,
                format!(
                    "a backup of the inventory from before has a copy of this key under the key {} of scope {}, which is {}: whoever has such a backup and the \
                     use of {} has the key, until that one is destroyed",
                    copy.parent, copy.scope, copy.state, copy.kek
                ),
            );
        }
    }
    let files = ids(&|key| key.kek.provider == LOCAL);
    if !files.is_empty() {
        add(
            "key-files",
            files,
            None,
            "the ring does not erase key files, and knows nothing of copies and backups of them: whoever has one opens what is under it".to_owned(),
        );
    }
    let at_backends = ids(&|key| key.kek.provider != LOCAL && key.kek.provider != BRANCH && !key.taken_back);
    if !at_backends.is_empty() {
        let due = keys
            .iter()
            .filter(|key| key.told && key.state == State::Destroying);
        add(
            "backends",
            at_backends,
            due.filter_map(|key| key.destruction_due).max(),
            "until a backend has destroyed a KEK, whoever administers it can save it there; and the ring knows nothing of copies that a backend keeps by itself \
             (backups, exports, replicas)"
                .to_owned(),
        );
    }
    let untouched = ids(&|key| key.taken_back && key.kek.provider != BRANCH);
    if !untouched.is_empty() {
        add(
            "backends",
            untouched,
            None,
            "these keys never wrapped anything, and their KEKs were not touched: they are at their backends"
                .to_owned(),
        );
    }
    let is_shared = |key: &ShredKey| key.counted.iter().any(|count| count.items > count.sole);
    let shared = ids(&is_shared);
    if !shared.is_empty() {
        let items = keys.iter().flat_map(|key| &key.counted);
        let items = items.map(|count| count.items.saturating_sub(count.sole)).max();
        add(
            "other-wraps",
            shared,
            None,
            format!(
                "a census found up to {} envelopes under one of these keys that had another wrap, too: what another key opens, opens",
                items.unwrap_or(0)
            ),
        );
    }
    add(
        "plaintext",
        Vec::new(),
        None,
        "whoever has opened something before may have kept it; so may logs, exports and caches of programs"
            .to_owned(),
    );
    all
}
