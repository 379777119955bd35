//! What a ring signs: its head, its settings, which authority has followed which, its keys, and what a rotation is about
//! to do.

mod branch;
mod intent;
mod key;
mod parents;
mod report;
mod settings;
mod summary;
mod tombstone;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::authority::{Authority, AuthorityKey};
use super::inventory::{RecordKind, Row, Signed};
use super::{RecordId, Scope, Slot, State, Time};
use crate::envelope::KekRef;
use crate::value::error::{Error, ErrorKind, Result};

pub(crate) use branch::{ALGORITHM as BRANCH_ALGORITHM, PROVIDER as BRANCH};
pub use branch::{Branch, FormerParent, WrappedKey};
pub use intent::{Intent, IntentStep};
pub use key::{Canary, Cancelled, KeyRecord, Move, Protection, Provenance, Telling};
pub use parents::Exported;
pub(crate) use parents::{Hangs, Parent, after as parents_after};
pub use report::NamedReader;
pub use settings::{ClockCorrection, Provisioning, RetireBy, Settings};
pub use summary::NextMove;
pub(crate) use tombstone::ShreddedBy;
pub use tombstone::{BeforeShred, Tombstone};

/// The version of records that this library writes and understands.
pub(crate) const READER: u32 = BRANCHES;
/// The version that every reader understands.
pub(crate) const BASE: u32 = 1;
/// The version that understands branch keys, settings that let them be provisioned, and scopes that were shredded.
pub(crate) const BRANCHES: u32 = 2;

/// The kinds of signed bodies beside those that are rows.
pub(crate) const HEAD: &str = "head";
pub(crate) const SETTINGS: &str = "settings";
pub(crate) const SUCCESSION: &str = "succession";
/// The kind of a key's record that a provisioner has signed.
pub(crate) const PROVISIONED: &str = "provisioned";

/// The head of a ring: it signs everything else, through digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) min_reader: u32,
    pub(crate) ring: RecordId,
    pub(crate) revision: u64,
    /// SHA-256 of the body of the settings, in hexadecimal digits.
    pub(crate) settings: String,
    /// The root of the tree of digests, in hexadecimal digits.
    pub(crate) root: String,
    /// How often an authority has followed another.
    pub(crate) successions: u32,
    /// When, by the inventory's clock.
    pub(crate) at: Time,
    /// Who changed the ring to this revision.
    pub(crate) actor: String,
    /// The keys that are being destroyed, in all scopes, in the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) destroying: Vec<Ending>,
    /// The keys that branch keys are wrapped under, or were, in the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parents: Vec<Parent>,
    /// The newest export of a ring with branch keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exported: Option<Exported>,
}

impl Head {
    /// The oldest reader that loses nothing of it when it writes the next one.
    pub(crate) fn min_reader_of(parents: &[Parent], exported: Option<&Exported>) -> u32 {
        match parents.is_empty() && exported.is_none() {
            true => BASE,
            false => BRANCHES,
        }
    }
}

/// A key that is being destroyed, as the head names it: whoever registers a KEK sees it without reading its scope. Short, since the
/// head is written with each change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) key: RecordId,
    /// The first 16 hexadecimal digits of SHA-256 of the provider, a zero byte and the id.
    kek: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    nameless: bool,
}

impl Ending {
    fn new(key: RecordId, kek: &Provenance) -> Self {
        Self {
            key,
            kek: kek.short(),
            version: kek.version.clone(),
            nameless: kek.nameless,
        }
    }

    /// Whether the key is this KEK, or some of it.
    pub(crate) fn is_of(&self, kek: &Provenance) -> bool {
        let is_whole = self.version.is_empty() && !self.nameless;
        self.kek == kek.short() && (is_whole || kek.is_whole() || self.version == kek.version)
    }
}

/// One authority names the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Succession {
    pub(crate) min_reader: u32,
    pub(crate) ring: RecordId,
    /// Which succession it is, from 1.
    pub(crate) number: u32,
    pub(crate) next: AuthorityKey,
    pub(crate) at: Time,
    pub(crate) actor: String,
}

/// A record that is a row of its own.
pub(crate) trait Record: Serialize + DeserializeOwned {
    const KIND: RecordKind;
    fn min_reader(&self) -> u32;
    fn id(&self) -> RecordId;
    fn scope(&self) -> &Scope;
    fn slot(&self) -> &Slot;
    fn revision(&self) -> u64;
    fn state(&self) -> Option<State>;
    fn kek(&self) -> Option<KekRef>;
    /// The key that it is wrapped under, if it is a branch key that is not gone.
    fn parent(&self) -> Option<RecordId> {
        None
    }
    /// How the head names it while it is being destroyed.
    fn ending(&self) -> Option<Ending> {
        None
    }
    /// Whether it is a key that wraps or unwraps, or says that one is being made.
    fn is_in_use(&self) -> bool {
        false
    }
    /// When something is to be done about it.
    fn due(&self) -> Option<Time>;

    /// Refuses fields that contradict each other.
    fn check(&self) -> Result<()>;

    fn to_row(&self, ring: RecordId, authority: &Authority) -> Result<Row> {
        self.check()?;
        let signed = authority.sign(ring, Self::KIND.name(), to_body(self)?)?;
        Ok(self.row_of(signed))
    }

    fn row_of(&self, signed: Signed) -> Row {
        Row {
            id: self.id(),
            kind: Self::KIND,
            scope: self.scope().clone(),
            slot: self.slot().clone(),
            state: self.state(),
            revision: self.revision(),
            kek: self.kek(),
            due: self.due(),
            signed,
        }
    }

    /// The record of a row, if one of these keys has signed it and the columns beside it are copies of its fields.
    fn of_row(row: &Row, ring: RecordId, authorities: &[AuthorityKey]) -> Result<Self> {
        Self::signed_as(Self::KIND.name(), row, ring, authorities)
    }

    /// The same of a row whose signature is of this kind.
    fn signed_as(kind: &str, row: &Row, ring: RecordId, authorities: &[AuthorityKey]) -> Result<Self> {
        let named = |error: Error| {
            let detail = error.detail().unwrap_or("it is wrong").to_owned();
            Error::new(error.kind()).with_detail(format!(
                "the {} {} of scope {}: {detail}",
                row.kind.name(),
                row.id,
                row.scope
            ))
        };
        verify(&row.signed, ring, kind, authorities).map_err(named)?;
        let record: Self = of_body(&row.signed.body).map_err(named)?;
        if record.min_reader() > READER {
            return Err(named(needs_newer(record.min_reader())));
        }
        record.check().map_err(named)?;
        if record.row_of(row.signed.clone()) == *row {
            Ok(record)
        } else {
            Err(named(invalid("a column is not a copy of the signed field")))
        }
    }
}

/// Whether a text of a record, such as an actor or a reason, is one line of at most 1,024 bytes.
pub(crate) fn is_short(text: &str) -> bool {
    text.len() <= 1024 && !text.chars().any(char::is_control)
}

pub(crate) fn invalid(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InventoryInvalid).with_detail(detail.into())
}

/// A record that only a newer library may use.
pub(crate) fn needs_newer(reader: u32) -> Error {
    Error::unsupported("a newer version of records").with_detail(format!(
        "it needs a reader of version {reader}, and this library is one of version {READER}: update waxseal"
    ))
}

pub(crate) fn to_body(record: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(record)
        .map_err(|error| Error::argument(format!("a record cannot be written: {error}")))
}

pub(crate) fn of_body<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    // The error names a field and a place, and quotes what stands there; all of it was signed.
    serde_json::from_slice(body).map_err(|error| invalid(format!("its body has a wrong form: {error}")))
}

/// Refuses what none of these keys has signed.
pub(crate) fn verify(signed: &Signed, ring: RecordId, kind: &str, keys: &[AuthorityKey]) -> Result<()> {
    let key = keys.iter().find(|key| *key.as_bytes() == signed.signer);
    let key = key.ok_or_else(|| {
        invalid(match kind {
            PROVISIONED => "it is not signed by a provisioner that the settings list".to_owned(),
            _ => format!("the {kind} is not signed by an authority of this ring"),
        })
    })?;
    key.verify(ring, kind, signed)
}
