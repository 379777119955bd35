//! What a key manager can do.

use crate::envelope::{AlgorithmClass, WrapAlgorithm};

/// How a key manager binds a wrap to its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Binds {
    /// As additional data that the backend authenticates.
    Aad,
    /// Together with the DEK, inside the wrap.
    Embedded,
}

/// What the answers of a backend prove about the versions of a KEK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Versions {
    /// The KEK has no versions.
    None,
    /// The KEK has versions, and the answer to an unwrap does not prove which version did it. So a successor that must be told
    /// apart from the KEK is another KEK. [`pinned_to`](super::KeyManager::pinned_to) pins the KEK, and the backend chooses the version.
    Unproven,
    /// Every answer proves which version wrapped or unwrapped. [`pinned_to`](super::KeyManager::pinned_to) pins one version.
    Proven,
}

/// What a key manager can do. This says nothing about permissions: only a call shows whether it is permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The wrap algorithm it makes. It opens stanzas of this algorithm only.
    pub algorithm: WrapAlgorithm,
    /// The class of its algorithm. A re-wrap never moves an envelope to a weaker class by itself, nor from a known class
    /// to an unknown class, so a manager with a private algorithm declares its class with [`of_class`](Self::of_class).
    pub class: Option<AlgorithmClass>,
    /// How it binds a wrap to its context.
    pub binds: Binds,
    /// Whether the backend generates the DEK. Otherwise the operating system does, in this process.
    pub generates: bool,
    /// Whether it can re-wrap without the DEK leaving the backend.
    pub rewraps: bool,
    /// Whether it can unwrap. A public key cannot: it recognizes its stanzas, so that a re-wrap replaces them, but
    /// no source asks it to open a stanza.
    pub unwraps: bool,
    /// Whether it answers without a network or device, in under a millisecond.
    pub is_local: bool,
    /// Whether some of its wraps have no version although its KEKs have versions. For such a wrap nobody knows whether it is current, so
    /// a [`Rewrapper`](crate::sealer::Rewrapper) wraps it again. `false` if every wrap names its version, or if there are no versions.
    pub hides_versions: bool,
    /// What its answers prove about the versions of its KEK.
    pub versions: Versions,
    /// The maximum number of items in one batch call; 1 if the backend has no batches.
    pub batch: usize,
}

impl Capabilities {
    /// Describes a key manager that only wraps and unwraps, one DEK at a time.
    #[must_use]
    pub const fn new(algorithm: WrapAlgorithm, binds: Binds) -> Self {
        Self {
            algorithm,
            class: algorithm.class(),
            binds,
            generates: false,
            rewraps: false,
            unwraps: true,
            is_local: false,
            hides_versions: false,
            versions: Versions::None,
            batch: 1,
        }
    }

    /// Sets the class of its wraps, for algorithms that the format's registry does not know.
    #[must_use]
    pub const fn of_class(mut self, class: AlgorithmClass) -> Self {
        self.class = Some(class);
        self
    }

    /// Declares that the backend generates the DEK.
    #[must_use]
    pub const fn generating(mut self) -> Self {
        self.generates = true;
        self
    }

    /// Declares that it can re-wrap without the DEK leaving the backend.
    #[must_use]
    pub const fn rewrapping(mut self) -> Self {
        self.rewraps = true;
        self
    }

    /// Declares that it can wrap but not unwrap.
    #[must_use]
    pub const fn wrap_only(mut self) -> Self {
        self.unwraps = false;
        self
    }

    /// Declares that it answers without a network or device.
    #[must_use]
    pub const fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// Declares that its KEKs have versions, and that some of its wraps do not name one.
    #[must_use]
    pub const fn hiding_versions(mut self) -> Self {
        self.hides_versions = true;
        self
    }

    /// Declares what its answers prove about the versions of its KEK.
    #[must_use]
    pub const fn with_versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    /// Declares that it takes up to `items` in one call.
    #[must_use]
    pub const fn batching(mut self, items: usize) -> Self {
        self.batch = items;
        self
    }
}
