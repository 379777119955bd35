//! Local 256-bit KEKs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use super::PROVIDER;
use super::text::{kek_from_file, kek_from_var};
use super::warning::warn_once;
use super::xaes::Xaes;
use crate::envelope::{KekRef, WrapAlgorithm, WrapRef, WrappedDek};
use crate::key::{
    Binds, Capabilities, KeyManager, Recognition, Request, Unwrapped, not_recognized, not_this_kek,
};
use crate::runtime::{Environment, ProcessEnvironment};
use crate::value::error::{Error, Operation, Result};
use crate::value::secret::{Dek, Kek};

/// One local KEK that wraps and opens, and any number of older KEKs that only open.
///
/// The id of a KEK is its fingerprint: the first 16 bytes of its SHA-256, in base64url. So the id in an
/// envelope shows which key wrapped it, and an older key needs no name.
///
/// The first use in a process logs a warning, through `tracing`, unless the environment variable `WAXSEAL_ENVIRONMENT` is
/// `development`.
///
/// ```
/// use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
///
/// let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let sealed = sealer.seal(b"hello", &context)?;
/// assert_eq!(sealer.open(&sealed, &context)?, b"hello");
/// # Ok::<(), waxseal::Error>(())
/// ```
///
/// In production the KEK comes from the environment:
///
/// ```no_run
/// use waxseal::backend::local::LocalKey;
///
/// let key = LocalKey::from_env("WAXSEAL_KEK")?;
/// # drop(key);
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone)]
pub struct LocalKey {
    active: Arc<Prepared>,
    former: Vec<Arc<Prepared>>,
}

struct Prepared {
    kek: KekRef,
    xaes: Xaes,
}

/// Returns the id of a KEK.
pub(super) fn fingerprint(kek: &Kek) -> String {
    let digest: [u8; 32] = Sha256::digest(kek.expose_bytes()).into();
    Base64UrlUnpadded::encode_string(&digest[..16])
}

impl Prepared {
    fn new(kek: &Kek) -> Arc<Self> {
        Arc::new(Self {
            kek: KekRef::trusted(PROVIDER, &fingerprint(kek), ""),
            xaes: Xaes::new(kek),
        })
    }
}

impl LocalKey {
    /// Makes a key manager from this KEK.
    #[must_use]
    pub fn new(kek: &Kek) -> Self {
        Self::with_environment(kek, &ProcessEnvironment)
    }

    pub(super) fn with_environment(kek: &Kek, environment: &dyn Environment) -> Self {
        warn_once(environment);
        Self {
            active: Prepared::new(kek),
            former: Vec::new(),
        }
    }

    /// Reads the KEK from an environment variable: 32 random bytes as base64 or hex.
    ///
    /// # Errors
    /// `Configuration` if the variable is not set or contains anything else.
    pub fn from_env(name: &str) -> Result<Self> {
        Self::from_environment(&ProcessEnvironment, name)
    }

    /// Reads the KEK from a variable of this environment.
    ///
    /// # Errors
    /// `Configuration` if the variable is not set or contains anything else.
    pub fn from_environment(environment: &dyn Environment, name: &str) -> Result<Self> {
        Ok(Self::with_environment(
            &kek_from_var(environment, name)?,
            environment,
        ))
    }

    /// Reads the KEK from a file: 32 random bytes as base64 or hex.
    ///
    /// # Errors
    /// `Configuration` if the path is not a regular file, cannot be read or contains anything else, or, on Unix, if its group
    /// or others have any right to it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(&kek_from_file(path.as_ref(), false)?))
    }

    /// Reads the KEK from a file that its group or others may read.
    ///
    /// # Errors
    /// `Configuration` if the path is not a regular file, cannot be read or contains anything else.
    pub fn from_shared_file(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(&kek_from_file(path.as_ref(), true)?))
    }

    /// Also opens what this older KEK wrapped. The older KEK never wraps.
    #[must_use]
    pub fn also_opening(mut self, kek: &Kek) -> Self {
        self.former.push(Prepared::new(kek));
        self
    }

    /// Returns the id of the KEK that wraps.
    #[must_use]
    pub fn kek_id(&self) -> &str {
        self.active.kek.id()
    }

    pub(super) fn generate_now(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let generate = || {
            let dek = Dek::generate()?;
            let wrapped = self.active.xaes.wrap(&dek, request, &self.active.kek)?;
            Ok((dek, wrapped))
        };
        generate().map_err(|error| named(error, Operation::Generate))
    }

    fn prepared(&self) -> impl Iterator<Item = &Arc<Prepared>> {
        std::iter::once(&self.active).chain(&self.former)
    }
}

#[async_trait]
impl KeyManager for LocalKey {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(WrapAlgorithm::XAES_256_GCM, Binds::Aad).local()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        let by_id = |key: &Arc<Prepared>| {
            Recognition::by_id(wrapped, WrapAlgorithm::XAES_256_GCM, PROVIDER, key.kek.id())
        };
        self.prepared().map(by_id).max().unwrap_or(Recognition::No)
    }

    fn identity(&self) -> Option<String> {
        // Fingerprints. The older KEKs open too, so the identity includes them.
        let ids: Vec<&str> = self.prepared().map(|key| key.kek.id()).collect();
        Some(format!("{PROVIDER} {}", ids.join(" ")))
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        if *kek == self.active.kek {
            Ok(Arc::new(self.clone()))
        } else {
            Err(not_this_kek(PROVIDER))
        }
    }

    // Like the default, without a second future.
    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        self.generate_now(request)
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        self.active
            .xaes
            .wrap(dek, request, &self.active.kek)
            .map_err(|error| named(error, Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let mut result = Err(not_recognized(&wrapped));
        for key in self.prepared() {
            if wrapped.is_under(WrapAlgorithm::XAES_256_GCM, PROVIDER, key.kek.id()) {
                let dek = key.xaes.unwrap(wrapped.wrapped, request);
                result = dek.map(|dek| Unwrapped::new(dek, key.kek.clone()));
                if result.is_ok() {
                    break;
                }
            }
        }
        result.map_err(|error| named(error, Operation::Unwrap))
    }
}

fn named(error: Error, operation: Operation) -> Error {
    error.with_operation(operation).with_provider(PROVIDER)
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey")
            .field("active", &self.active.kek.id())
            .field(
                "former",
                &self.former.iter().map(|key| key.kek.id()).collect::<Vec<_>>(),
            )
            .finish()
    }
}
