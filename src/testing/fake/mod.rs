//! A key manager that does what a test says, and records what it was sent.

mod admin;
mod cipher;
mod kms;
mod manager;
mod script;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use script::{Call, Fault, Method};

use crate::envelope::{AlgorithmClass, KekRef, WrapAlgorithm};
use crate::key::{Binds, Capabilities, KekState, Protection, Recognition, Versions};
use crate::runtime::Runtime;
use crate::testing::SimulatedRuntime;
use kms::Kms;

/// One KEK of a KMS that exists in memory only.
///
/// It keeps the contract of [`KeyManager`](crate::KeyManager) with real cryptography: a wrap opens under its
/// KEK, in its context and unaltered only. All else is as a test needs it:
///
/// - *Deterministic.* Everything comes from the name and from counters, so two runs give the same bytes, and
///   one fake gives no two equal wraps.
/// - *It records* what reached it, see [`calls`](Self::calls) and [`count`](Self::count). Never a DEK.
/// - *It fails on demand*, see [`script`](Self::script) and [`Fault`].
/// - *It has versions and states*, see [`rotate_now`](Self::rotate_now) and [`set_state`](Self::set_state),
///   and is administered through [`KekAdmin`](crate::key::KekAdmin).
///
/// Clones are the same manager: a test keeps one and gives the other away. [`sibling`](Self::sibling) is
/// another KEK of the same KMS.
///
/// ```
/// use waxseal::{EncryptionContext, ErrorKind, blocking::Sealer};
/// use waxseal::testing::{FakeKeyManager, Fault, Method};
///
/// let kms = FakeKeyManager::new("orders");
/// let sealer = Sealer::new(kms.clone());
/// let context = EncryptionContext::new([("tenant", "acme")])?;
///
/// kms.script(Fault::Fails(ErrorKind::Throttled));
/// assert!(sealer.seal(b"hello", &context).unwrap_err().is_retryable());
/// let sealed = sealer.seal(b"hello", &context)?;
/// assert_eq!(kms.count(Method::Generate), 2);
/// assert_eq!(kms.calls()[1].context.get("tenant"), Some("acme"));
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone)]
pub struct FakeKeyManager {
    kms: Arc<Mutex<Kms>>,
    provider: Arc<str>,
    id: Arc<str>,
    capabilities: Capabilities,
    protection: Protection,
    /// The version that wraps; by default the newest.
    pinned: Option<u32>,
    /// The most that it says of a stanza.
    certainty: Recognition,
    /// Ids of other KEKs of this KMS whose wraps it re-wraps.
    sources: Vec<Arc<str>>,
    runtime: Arc<dyn Runtime>,
}

impl FakeKeyManager {
    /// The provider name in stanzas, unless another is given.
    pub const PROVIDER: &'static str = "fake";
    /// The wrap algorithm, unless another is given: the first number for private use.
    pub const ALGORITHM: WrapAlgorithm = WrapAlgorithm::from_id(224);

    /// The KEK `id`, version 1, in a KMS of its own. It wraps and unwraps, one at a time.
    #[must_use]
    pub fn new(id: &str) -> Self {
        let mut kms = Kms::default();
        kms.add(id);
        Self {
            kms: Arc::new(Mutex::new(kms)),
            provider: Self::PROVIDER.into(),
            id: id.into(),
            capabilities: Capabilities::new(Self::ALGORITHM, Binds::Aad)
                .of_class(AlgorithmClass::Symmetric)
                .with_versions(Versions::Proven),
            protection: Protection::Software,
            pinned: None,
            certainty: Recognition::Mine,
            sources: Vec::new(),
            runtime: Arc::new(SimulatedRuntime::new()),
        }
    }

    /// A manager of the KEK `id` of the same KMS, made if it is not there, with this one's settings. Calls and
    /// faults are the KMS's, so both see the same.
    #[must_use]
    pub fn sibling(&self, id: &str) -> Self {
        self.lock().add(id);
        Self {
            id: id.into(),
            pinned: None,
            sources: Vec::new(),
            ..self.clone()
        }
    }

    /// A manager of the KEK of the same id in another KMS, with this one's settings: other bytes, other records. So do two
    /// tokens that share a label, or two Vault clusters with the same mount and key; see
    /// [`with_ambiguous_id`](Self::with_ambiguous_id).
    #[must_use]
    pub fn elsewhere(&self, place: &str) -> Self {
        let mut kms = Kms::at(place);
        kms.add(&self.id);
        Self {
            kms: Arc::new(Mutex::new(kms)),
            sources: Vec::new(),
            ..self.clone()
        }
    }

    /// Stands under this provider name in stanzas.
    #[must_use]
    pub fn with_provider(mut self, provider: &str) -> Self {
        self.provider = provider.into();
        self
    }

    /// Makes and opens stanzas of this algorithm. The bytes stay this fake's own, so one for private use.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: WrapAlgorithm) -> Self {
        self.capabilities.algorithm = algorithm;
        self
    }

    /// Says that its KEKs are kept in this way. By default in software.
    #[must_use]
    pub fn with_protection(mut self, protection: Protection) -> Self {
        self.protection = protection;
        self
    }

    /// Wraps the binding with the DEK, as backends do that authenticate nothing beside it.
    #[must_use]
    pub fn embedding(mut self) -> Self {
        self.capabilities.binds = Binds::Embedded;
        self
    }

    /// Generates DEKs itself, out of its name and a counter.
    #[must_use]
    pub fn generating(mut self) -> Self {
        self.capabilities = self.capabilities.generating();
        self
    }

    /// Re-wraps on its own side what it recognizes.
    #[must_use]
    pub fn rewrapping(mut self) -> Self {
        self.capabilities = self.capabilities.rewrapping();
        self
    }

    /// Re-wraps on its own side what `source`, a KEK of the same KMS, wrapped, too.
    #[must_use]
    pub fn rewrapping_from(mut self, source: &Self) -> Self {
        self.sources.push(Arc::clone(&source.id));
        self.rewrapping()
    }

    /// Its id is not unique in the world, as a token label or a Vault path: it never says `Mine`.
    #[must_use]
    pub fn with_ambiguous_id(mut self) -> Self {
        self.certainty = Recognition::Perhaps;
        self
    }

    /// Its wraps are of this class. Symmetric by default.
    #[must_use]
    pub fn of_class(mut self, class: AlgorithmClass) -> Self {
        self.capabilities = self.capabilities.of_class(class);
        self
    }

    /// Takes up to `items` in one call.
    #[must_use]
    pub fn batching(mut self, items: usize) -> Self {
        self.capabilities = self.capabilities.batching(items);
        self
    }

    /// Its answers do not tell which version wrapped or unwrapped.
    #[must_use]
    pub fn hiding_versions(mut self) -> Self {
        self.capabilities = self
            .capabilities
            .hiding_versions()
            .with_versions(Versions::Unproven);
        self
    }

    /// It says that it answers without a network.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.capabilities = self.capabilities.local();
        self
    }

    /// Wraps and never unwraps, as the holder of a public key does.
    #[must_use]
    pub fn wrap_only(mut self) -> Self {
        self.capabilities = self.capabilities.wrap_only();
        self
    }

    /// Takes deadlines and destruction dates by this runtime's clocks. By default by clocks that stand still.
    #[must_use]
    pub fn with_runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    /// Everything that reached the KMS, in order: one for each item of a batch. Not what was refused before it
    /// was sent.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// How many calls of this method reached the KMS. A batch is one call.
    #[must_use]
    pub fn count(&self, method: Method) -> usize {
        let kms = self.lock();
        kms.requests.iter().filter(|made| **made == method).count()
    }

    /// How many calls reached the KMS at all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.lock().requests.len()
    }

    /// Forgets what was recorded.
    pub fn forget_calls(&self) {
        let mut kms = self.lock();
        kms.calls.clear();
        kms.requests.clear();
    }

    /// Lets a coming call go wrong, whatever its method. Faults wait in a queue; each call (each item of a batch)
    /// takes the first that is for it.
    pub fn script(&self, fault: Fault) {
        self.lock().script.push_back((None, fault));
    }

    /// Lets a coming call of this method go wrong.
    pub fn script_for(&self, method: Method, fault: Fault) {
        self.lock().script.push_back((Some(method), fault));
    }

    /// Lets every call go wrong for which nothing is in the queue, until [`heal`](Self::heal).
    pub fn script_always(&self, fault: Fault) {
        self.lock().always = Some(fault);
    }

    /// Forgets every fault that has not happened.
    pub fn heal(&self) {
        let mut kms = self.lock();
        kms.script.clear();
        kms.always = None;
    }

    /// Adds a version and makes it the active one. Gives its number.
    pub fn rotate_now(&self) -> u32 {
        self.lock().kek(&self.id).map_or(0, kms::FakeKek::rotate)
    }

    /// Puts a version into a state: disabled or destroyed, or enabled again.
    pub fn set_state(&self, version: u32, state: KekState) {
        if let Some(kek) = self.lock().kek(&self.id) {
            kek.set_state(version, state);
        }
    }

    /// The KEK with its active version, or the one that this manager is pinned to.
    #[must_use]
    pub fn kek(&self) -> KekRef {
        let active = || self.lock().kek(&self.id).map_or(0, |kek| kek.active());
        let version = self.pinned.unwrap_or_else(active);
        KekRef::trusted(&self.provider, &self.id, &version.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Kms> {
        self.kms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FakeKeyManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeKeyManager")
            .field("kek", &self.kek())
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
