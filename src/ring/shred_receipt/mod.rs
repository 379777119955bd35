//! The receipt of a shredding: what opens nowhere anymore, and what the shredding does not reach.

mod contents;

use std::fmt;

use serde::{Deserialize, Serialize};

use self::contents::{key_of, stage_of, unreached};
use super::evidence::{NamedKek, VerifiedReceipt};
use super::line::{Line, LineKind, Probe};
use super::record::Tombstone;
use super::view::{View, hex};
use super::{Authority, AuthorityKey, Protection, RecordId, Scope, Slot, State, Time};
use crate::value::error::{Error, ErrorKind, Result};

/// The version of these receipts that this library writes and reads.
const SCHEMA: u32 = 1;
const KIND: LineKind = LineKind {
    kind: "shred-receipt",
    max: 16 << 20,
    limit: "the length of a shred receipt in bytes",
    name: "shred receipt",
    versions: "this version of shred receipts",
    written_by: "waxseal keys shred-receipt",
    schema: SCHEMA,
};

/// The receipt of a census has no tombstone.
#[derive(Deserialize)]
struct Shred {
    schema: u32,
    #[serde(rename = "tombstone")]
    _tombstone: RecordId,
}

impl Probe for Shred {
    fn schema(&self) -> u32 {
        self.schema
    }
}

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
    /// What: `processes`, `inventory-backups`, `backends`, `key-files`, `other-wraps`, `wider-scope` or `plaintext`. Later versions may add others.
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
        let (line, body) = KIND.read::<Shred, Body>(bytes)?;
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
