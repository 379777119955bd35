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
use crate::key::{Binds, Capabilities, KeyManager, Recognition, Request, Unwrapped, not_recognized};
use crate::runtime::{Environment, ProcessEnvironment};
use crate::value::error::{Error, Operation, Result};
use crate::value::secret::{Dek, Kek};

/// One local KEK that wraps and opens, and any number of former ones that only open.
///
/// A KEK's id is a fingerprint of it: the first 16 bytes of its SHA-256, in base64url. So the id in an
/// envelope tells which key wrapped it, and a former key needs no name.
///
/// Using one logs a warning once, through `tracing`, unless the environment variable `WAXSEAL_ENVIRONMENT` is
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
#[derive(Clone)]
pub struct LocalKey {
    active: Arc<Prepared>,
    former: Vec<Arc<Prepared>>,
}

struct Prepared {
    kek: KekRef,
    xaes: Xaes,
}

impl Prepared {
    fn new(kek: &Kek) -> Arc<Self> {
        let digest: [u8; 32] = Sha256::digest(kek.expose_bytes()).into();
        let id = Base64UrlUnpadded::encode_string(&digest[..16]);
        Arc::new(Self {
            kek: KekRef::trusted(PROVIDER, &id, ""),
            xaes: Xaes::new(kek),
        })
    }
}

impl LocalKey {
    /// A key manager of this KEK.
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

    /// The KEK in an environment variable: 32 random bytes as base64 or hex.
    ///
    /// # Errors
    /// `Configuration` where the variable is not set, or holds anything else.
    pub fn from_env(name: &str) -> Result<Self> {
        Self::from_environment(&ProcessEnvironment, name)
    }

    /// The KEK in a variable of this environment.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_environment(environment: &dyn Environment, name: &str) -> Result<Self> {
        Ok(Self::with_environment(
            &kek_from_var(environment, name)?,
            environment,
        ))
    }

    /// The KEK in a file: 32 random bytes as base64 or hex.
    ///
    /// # Errors
    /// `Configuration` where the path is no regular file or cannot be read, holds anything else, or, on Unix,
    /// gives the group or others any right.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(&kek_from_file(path.as_ref(), false)?))
    }

    /// The KEK in a file that the group or others may read.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file), without the check of the mode.
    pub fn from_shared_file(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::new(&kek_from_file(path.as_ref(), true)?))
    }

    /// Opens what this former KEK wrapped, too. It never wraps.
    #[must_use]
    pub fn also_opening(mut self, kek: &Kek) -> Self {
        self.former.push(Prepared::new(kek));
        self
    }

    /// The id of the KEK that wraps.
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
        generate().map_err(|error| context(error, Operation::Generate))
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
        // Fingerprints. The former ones open too, so they belong to it.
        let ids: Vec<&str> = self.prepared().map(|key| key.kek.id()).collect();
        Some(format!("{PROVIDER} {}", ids.join(" ")))
    }

    // As the default does, without a second future.
    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        self.generate_now(request)
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        self.active
            .xaes
            .wrap(dek, request, &self.active.kek)
            .map_err(|error| context(error, Operation::Wrap))
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
        result.map_err(|error| context(error, Operation::Unwrap))
    }
}

fn context(error: Error, operation: Operation) -> Error {
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
