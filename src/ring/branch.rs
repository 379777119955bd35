//! Branch keys: how they are made, wrapped anew and unwrapped under their parents.

use sha2::{Digest as _, Sha256};

use super::record::{BRANCH_ALGORITHM, Branch, KeyRecord, Provenance};
use super::view::hex;
use super::{Period, RecordId, Scope, Slot, Time};
use crate::backend::local::HeldKey;
use crate::envelope::KekRef;
use crate::key::{KeyManager, Purpose, Request, Versions};
use crate::runtime::Monotonic;
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::{Dek, Kek};

/// What the commitment of a branch key begins with.
const COMMITMENT: &[u8] = b"waxseal branch key v1\0";

/// The 32 bytes of a branch key. Wiped when the last owner is dropped.
#[derive(Debug)]
pub(crate) struct BranchKek(Dek);

/// Which branch key it is: the context of its wrap. So one that is exchanged for another does not unwrap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'p> {
    pub(crate) ring: RecordId,
    pub(crate) scope: &'p Scope,
    pub(crate) key: RecordId,
}

impl Place<'_> {
    fn context(&self) -> Result<EncryptionContext> {
        let (ring, key) = (self.ring.to_string(), self.key.to_string());
        EncryptionContext::new([
            ("waxseal-ring", ring.as_str()),
            ("waxseal-scope", self.scope.as_str()),
            ("waxseal-key", key.as_str()),
        ])
    }
}

/// How a parent is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'p> {
    pub(crate) parent: &'p KeyRecord,
    /// Pinned to the parent.
    pub(crate) manager: &'p dyn KeyManager,
    pub(crate) purpose: Purpose,
    pub(crate) deadline: Option<Monotonic>,
}

impl Asking<'_> {
    fn request<'c>(&self, context: &'c EncryptionContext) -> Request<'c> {
        let request = Request::new(context).with_purpose(self.purpose);
        match self.deadline {
            Some(deadline) => request.with_deadline(deadline),
            None => request,
        }
    }

    fn wrong_answer(&self, what: String) -> Error {
        Error::new(ErrorKind::InvalidAnswer)
            .with_provider(self.parent.provenance.provider.clone())
            .with_detail(what)
    }

    /// Wraps a branch key under the parent: one call.
    pub(crate) async fn wrap(&self, kek: &BranchKek, place: Place<'_>) -> Result<Branch> {
        let context = place.context()?;
        let wrapped = self.manager.wrap(&kek.0, &self.request(&context)).await?;
        let branch = Branch::new(self.parent, &wrapped, kek.commitment(place));
        let is_its = branch.wrapped.is_under(&self.parent.provenance);
        if !is_its || wrapped.algorithm() != self.parent.wrap_algorithm() {
            return Err(self.wrong_answer(format!(
                "the branch key {} was to be wrapped under {} with {}, and was under {} with {}",
                place.key,
                self.parent.id,
                self.parent.algorithm,
                wrapped.kek(),
                wrapped.algorithm()
            )));
        }
        Ok(branch)
    }

    /// Makes a branch key of 32 random bytes, and wraps it under the parent.
    pub(crate) async fn make(&self, place: Place<'_>) -> Result<(BranchKek, Branch)> {
        let kek = BranchKek(Dek::generate()?);
        let branch = self.wrap(&kek, place).await?;
        Ok((kek, branch))
    }

    /// Unwraps a branch key under the parent: one call.
    pub(crate) async fn unwrap(&self, branch: &Branch, place: Place<'_>) -> Result<BranchKek> {
        let (context, wrapped) = (place.context()?, branch.wrapped.to_wrapped()?);
        let unwrapped = self
            .manager
            .unwrap(wrapped.as_wrap_ref(), &self.request(&context))
            .await?;
        let own = &self.parent.provenance;
        let is_its = unwrapped
            .kek
            .is_same_key(&KekRef::trusted(&own.provider, &own.id, ""));
        let proves = self.manager.capabilities().versions == Versions::Proven;
        if !is_its || proves && unwrapped.kek.version() != own.version {
            return Err(self.wrong_answer(format!(
                "the branch key {} is wrapped under {}, and {} has unwrapped it",
                place.key, self.parent.id, unwrapped.kek
            )));
        }
        let kek = BranchKek(unwrapped.dek);
        // What is sealed under other bytes would open nowhere.
        if kek.commitment(place) != branch.commitment {
            return Err(self.wrong_answer(format!(
                "what {} has unwrapped is not the branch key {}",
                self.parent.id, place.key
            )));
        }
        Ok(kek)
    }
}

impl BranchKek {
    /// What a record keeps of the key beside its wrap.
    fn commitment(&self, place: Place<'_>) -> String {
        let mut hash = Sha256::new();
        hash.update(COMMITMENT);
        hash.update(place.ring.as_bytes());
        hash.update(place.key.as_bytes());
        hash.update(self.0.expose_bytes());
        hex(&hash.finalize().into())
    }

    /// Whether both are the same key, in constant time.
    pub(crate) fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0)
    }

    /// What wraps and unwraps with it, under the id of its record.
    pub(crate) fn manager(&self, key: RecordId) -> HeldKey {
        let name = Provenance::branch(key);
        let kek = Kek::from_bytes(self.0.expose_bytes());
        HeldKey::new(&kek, KekRef::trusted(&name.provider, &name.id, ""))
    }
}

/// The record of a branch key that was just made, without a history.
pub(crate) fn record(
    place: Place<'_>,
    slot: Slot,
    parent: &KeyRecord,
    branch: Branch,
    periods: (Period, Period),
    created: Time,
) -> KeyRecord {
    KeyRecord::new(
        place.key,
        place.scope.clone(),
        slot,
        Provenance::branch(place.key),
        BRANCH_ALGORITHM,
        parent.protection,
        periods,
        created,
    )
    .with_branch(branch)
}
