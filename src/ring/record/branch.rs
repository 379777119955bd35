//! What makes a key a branch key.

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use super::key::algorithm_of;
use super::{BRANCHES, KeyRecord, Provenance, invalid};
use crate::envelope::{KekRef, WrapAlgorithm, WrappedDek};
use crate::ring::view::of_hex;
use crate::ring::{RecordId, Scope, State};
use crate::value::error::Result;

/// The provider of branch keys in stanzas.
pub(crate) const PROVIDER: &str = "branch";
/// The URI of every branch key: it is in the ring, and nowhere else.
const URI: &str = "branch:";
/// What a branch key wraps with.
pub(crate) const ALGORITHM: WrapAlgorithm = WrapAlgorithm::XAES_256_GCM;

/// The wrap of a branch key: a KEK of 32 random bytes that the ring keeps, wrapped under a key of a wider scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Branch {
    /// The key that it is wrapped under. That one is no branch key.
    pub parent: RecordId,
    /// The scope of that key.
    pub parent_scope: Scope,
    /// The wrap. Its context is the ring, the scope and the id of the branch key. Without its bytes, if the key is destroyed.
    pub wrapped: WrappedKey,
    /// A hash of the ring, the id and the 32 bytes, in hexadecimal digits: whatever a KMS answers, no other bytes are taken for the branch key.
    pub commitment: String,
    /// The keys that it was wrapped under before: whoever has a backup of the inventory from then, and one of those, has the branch key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<FormerParent>,
}

/// A key that a branch key was wrapped under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FormerParent {
    /// The key.
    pub parent: RecordId,
    /// Its scope.
    pub parent_scope: Scope,
    /// The algorithm of that wrap, by its name.
    pub algorithm: String,
}

/// The wrap of a key, as it stands in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WrappedKey {
    /// The provider of the KEK that has wrapped it.
    pub provider: String,
    /// The id of that KEK.
    pub id: String,
    /// Its version, or nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The wrap algorithm, by its name.
    pub algorithm: String,
    /// The bytes, in base64. Empty if the branch key is destroyed: then nothing opens with it anymore.
    pub bytes: String,
}

impl WrappedKey {
    /// Writes a wrap down.
    pub(crate) fn new(wrapped: &WrappedDek) -> Self {
        Self {
            provider: wrapped.kek().provider().to_owned(),
            id: wrapped.kek().id().to_owned(),
            version: wrapped.kek().version().to_owned(),
            algorithm: wrapped.algorithm().to_string(),
            bytes: Base64::encode_string(wrapped.wrapped()),
        }
    }

    /// The wrap algorithm: the highest number for private use if there is none of this name.
    pub(crate) fn wrap_algorithm(&self) -> WrapAlgorithm {
        algorithm_of(&self.algorithm)
    }

    /// Returns the wrap.
    ///
    /// # Errors
    /// `InventoryInvalid` if it has not the form of one.
    pub(crate) fn to_wrapped(&self) -> Result<WrappedDek> {
        let wrong = || invalid("the wrap of the branch key has a wrong form");
        let bytes = Base64::decode_vec(&self.bytes).map_err(|_| wrong())?;
        let kek = KekRef::new(&self.provider, &self.id, &self.version).map_err(|_| wrong())?;
        WrappedDek::new(self.wrap_algorithm(), kek, bytes).map_err(|_| wrong())
    }

    /// Whether the wrap names this KEK.
    pub(crate) fn is_under(&self, kek: &Provenance) -> bool {
        let own = KekRef::trusted(&self.provider, &self.id, "");
        let version = [&self.version, &kek.version];
        own.is_same_key(&KekRef::trusted(&kek.provider, &kek.id, ""))
            && (version[0] == version[1] || version.iter().any(|version| version.is_empty()))
    }
}

impl Branch {
    /// Says what a branch key is wrapped under.
    pub(crate) fn new(parent: &KeyRecord, wrapped: &WrappedDek, commitment: String) -> Self {
        Self {
            parent: parent.id,
            parent_scope: parent.scope.clone(),
            wrapped: WrappedKey::new(wrapped),
            commitment,
            former: Vec::new(),
        }
    }

    /// The same in the place of an older wrap of the key, whose parents are remembered.
    pub(crate) fn following(mut self, older: &Self) -> Self {
        let last = older.last();
        self.former.clone_from(&older.former);
        if !self.former.contains(&last) {
            self.former.push(last);
        }
        self
    }

    /// The keys that copies of the branch key are wrapped under, here or in backups: each once, the last one first.
    pub(crate) fn parents(&self) -> Vec<FormerParent> {
        let mut all = vec![self.last()];
        for former in self.former.iter().rev() {
            if !all.contains(former) {
                all.push(former.clone());
            }
        }
        all
    }

    fn last(&self) -> FormerParent {
        FormerParent {
            parent: self.parent,
            parent_scope: self.parent_scope.clone(),
            algorithm: self.wrapped.algorithm.clone(),
        }
    }

    /// The algorithms of the wraps before the last one. Copies of them may still be somewhere, and the branch key is no better than the weakest.
    pub(crate) fn former_algorithms(&self) -> impl Iterator<Item = WrapAlgorithm> {
        self.former.iter().map(|former| algorithm_of(&former.algorithm))
    }
}

impl KeyRecord {
    /// Returns whether it is a branch key that is wrapped under this key now, and not only before.
    #[must_use]
    pub fn is_branch_of(&self, parent: RecordId) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.parent == parent)
    }

    /// Removes the bytes of a branch key that is destroyed. What it was wrapped under stays.
    pub(crate) fn remove_wrap(&mut self) {
        if let Some(branch) = &mut self.branch {
            branch.wrapped.bytes.clear();
        }
    }
}

impl Provenance {
    /// Returns the provenance of the branch key with this id.
    pub(crate) fn branch(key: RecordId) -> Self {
        Self {
            uri: URI.to_owned(),
            provider: PROVIDER.to_owned(),
            id: key.to_string(),
            version: String::new(),
            nameless: false,
        }
    }
}

/// Refuses a record of which only one half says that it is a branch key.
pub(super) fn check(key: &KeyRecord) -> Result<()> {
    let Some(branch) = &key.branch else {
        return match key.provenance.provider == PROVIDER {
            true => Err(invalid("it is a branch key without a wrap")),
            false => Ok(()),
        };
    };
    if key.provenance != Provenance::branch(key.id) {
        return Err(invalid("the KEK of a branch key has the id of the key"));
    }
    if key.wrap_algorithm() != ALGORITHM {
        return Err(invalid(format!("a branch key wraps with {ALGORITHM}")));
    }
    if key.min_reader < BRANCHES {
        return Err(invalid("a branch key needs a reader that knows branch keys"));
    }
    if branch.parent == key.id || branch.parent_scope == key.scope || branch.wrapped.provider == PROVIDER {
        return Err(invalid(
            "the parent of a branch key is a key of another scope, and no branch key",
        ));
    }
    if of_hex(&branch.commitment).is_none() {
        return Err(invalid("the commitment of the branch key is no hash"));
    }
    match (key.state, branch.wrapped.bytes.is_empty()) {
        (State::Destroyed, true) => Ok(()),
        (State::Destroyed, false) => Err(invalid("a branch key that is destroyed has no wrap")),
        _ => branch.wrapped.to_wrapped().map(drop),
    }
}
