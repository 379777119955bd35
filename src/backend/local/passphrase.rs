//! KEKs derived from a passphrase.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::PROVIDER;
use super::derived::{Derivation, DerivedKeks, Salt};
use super::kdf::{Kdf, SALT};
use super::warning::warn_once;
use super::xaes::{WRAPPED, Xaes};
use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::{
    Binds, Capabilities, KeyManager, Recognition, Request, Unwrapped, not_recognized, not_this_kek,
};
use crate::runtime::{AmbientRuntime, Environment, ProcessEnvironment, Runtime, required_var};
use crate::value::entropy;
use crate::value::error::{Error, Operation, Result};
use crate::value::secret::Dek;

/// A KEK from a passphrase.
///
/// ```
/// use waxseal::{EncryptionContext, backend::local::PassphraseKey, blocking::Sealer};
/// use waxseal::secrecy::SecretString;
///
/// let key = PassphraseKey::new(SecretString::from("six random words are a good passphrase"))?;
/// let sealer = Sealer::new(key);
/// let context = EncryptionContext::new([("purpose", "backup")])?;
/// let sealed = sealer.seal(b"hello", &context)?;
/// assert_eq!(sealer.open(&sealed, &context)?, b"hello");
/// # Ok::<(), waxseal::Error>(())
/// ```
///
/// Each manager draws one salt when it first wraps. It keeps the KEK of this salt and the KEKs of the 16 other salts that
/// were used last (wiped when they are dropped), so a derivation costs once for each salt and not for each seal. Derivations
/// run on a thread that may block, see [`Runtime::spawn_blocking`], and one at a time, because each may take a gigabyte. If
/// nobody waits for a derivation anymore when its turn comes, it does not run. If 64 derivations wait, the manager refuses another salt with
/// `Throttled`; its own salt is always next.
///
/// The KEK's id in an envelope is a [name](Self::with_name), `passphrase` by default. A manager opens only wraps of its
/// own kind of [`Kdf`], at any cost within the limits. The envelope chooses the cost, and the reader pays it before
/// anything is verified: up to 10,000,000 iterations, or 1 GiB and 16 passes, for each of up to two wraps.
#[derive(Clone)]
pub struct PassphraseKey(Arc<Inner>);

struct Inner {
    kek: KekRef,
    kdf: Kdf,
    runtime: Arc<dyn Runtime>,
    salt: OnceLock<[u8; SALT]>,
    derived: Arc<DerivedKeks>,
}

impl PassphraseKey {
    /// Makes a key manager from this passphrase, with PBKDF2 at 600,000 iterations.
    ///
    /// # Errors
    /// `Configuration` if the passphrase is empty.
    pub fn new(passphrase: SecretString) -> Result<Self> {
        Self::with_environment(passphrase, &ProcessEnvironment)
    }

    pub(super) fn with_environment(passphrase: SecretString, environment: &dyn Environment) -> Result<Self> {
        let text = passphrase.expose_secret();
        if text.is_empty() {
            return Err(Error::configuration("the passphrase is empty"));
        }
        if text.ends_with(char::is_whitespace) {
            tracing::warn!("a passphrase ends in white space, which is taken as a part of it");
        }
        warn_once(environment);
        Ok(Self(Arc::new(Inner {
            kek: KekRef::trusted(PROVIDER, "passphrase", ""),
            kdf: Kdf::default(),
            runtime: Arc::new(AmbientRuntime),
            salt: OnceLock::new(),
            derived: Arc::new(DerivedKeks::new(Arc::new(passphrase))),
        })))
    }

    /// Reads the passphrase from an environment variable, without one line end at its end.
    ///
    /// # Errors
    /// `Configuration` if the variable is not set or is empty.
    pub fn from_env(name: &str) -> Result<Self> {
        Self::from_environment(&ProcessEnvironment, name)
    }

    /// Reads the passphrase from a variable of this environment.
    ///
    /// # Errors
    /// `Configuration` if the variable is not set or is empty.
    pub fn from_environment(environment: &dyn Environment, name: &str) -> Result<Self> {
        Self::with_environment(required_var(environment, name, "the passphrase")?, environment)
    }

    fn rebuild(self, change: impl FnOnce(&mut Inner)) -> Self {
        // A setter makes a new manager, which shares no salt and no derived KEK with another.
        let mut inner = Inner {
            kek: self.0.kek.clone(),
            kdf: self.0.kdf,
            runtime: Arc::clone(&self.0.runtime),
            salt: OnceLock::new(),
            derived: Arc::new(DerivedKeks::new(Arc::clone(self.0.derived.passphrase()))),
        };
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Names the passphrase in envelopes, to distinguish several passphrases.
    ///
    /// # Errors
    /// `InvalidArgument` if the name is empty or has control characters; `OverLimit` if it has more than 2,048 bytes.
    pub fn with_name(self, name: &str) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::argument("the name of a passphrase must not be empty"));
        }
        let kek = KekRef::new(PROVIDER, name, "")?;
        Ok(self.rebuild(|inner| inner.kek = kek))
    }

    /// Sets how KEKs are derived, and at what cost.
    ///
    /// # Errors
    /// `OverLimit` if the cost is outside the limits.
    pub fn with_kdf(self, kdf: Kdf) -> Result<Self> {
        kdf.check()?;
        Ok(self.rebuild(|inner| inner.kdf = kdf))
    }

    /// Sets the runtime on which derivations run, on a thread that may block. [`AmbientRuntime`] by default.
    #[must_use]
    pub fn with_runtime(self, runtime: Arc<dyn Runtime>) -> Self {
        self.rebuild(|inner| inner.runtime = runtime)
    }

    async fn derived(&self, derivation: Derivation) -> Result<Arc<Xaes>> {
        let salt = if self.0.salt.get() == Some(&derivation.1) {
            Salt::Own
        } else {
            Salt::Foreign
        };
        self.0
            .derived
            .find_or_derive(derivation, salt, &self.0.runtime)
            .await
    }

    async fn wrap_inner(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let salt = match self.0.salt.get() {
            Some(salt) => *salt,
            None => {
                let salt = entropy::array()?;
                *self.0.salt.get_or_init(|| salt)
            }
        };
        let kdf = self.0.kdf;
        let mut wrapped = Vec::with_capacity(12 + SALT + WRAPPED);
        kdf.write(&mut wrapped);
        wrapped.extend_from_slice(&salt);
        self.derived((kdf, salt))
            .await?
            .wrap_to(dek, request, &mut wrapped)?;
        WrappedDek::new(kdf.algorithm(), self.0.kek.clone(), wrapped)
    }

    async fn unwrap_inner(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        if self.recognizes(wrapped).is_no() {
            return Err(not_recognized(&wrapped));
        }
        let (kdf, rest) = self.0.kdf.read(wrapped.checked_wrapped()?)?;
        let (salt, rest) = rest
            .split_first_chunk()
            .ok_or_else(|| Error::malformed("wrapped DEK", 0))?;
        let dek = self.derived((kdf, *salt)).await?.unwrap(rest, request)?;
        Ok(Unwrapped::new(dek, self.0.kek.clone()))
    }
}

#[async_trait]
impl KeyManager for PassphraseKey {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.0.kdf.algorithm(), Binds::Aad)
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        // A name is not a fingerprint: two recipients may have chosen the same name.
        Recognition::by_id(wrapped, self.0.kdf.algorithm(), PROVIDER, self.0.kek.id())
            .min(Recognition::Perhaps)
    }

    fn identity(&self) -> Option<String> {
        // Clones share what was derived. Others have no identity: a fingerprint would help to guess the passphrase.
        Some(format!("{PROVIDER} passphrase at {:p}", Arc::as_ptr(&self.0)))
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        if *kek == self.0.kek {
            Ok(Arc::new(self.clone()))
        } else {
            Err(not_this_kek(PROVIDER))
        }
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let result = self.wrap_inner(dek, request).await;
        result.map_err(|error| error.with_operation(Operation::Wrap).with_provider(PROVIDER))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let result = self.unwrap_inner(wrapped, request).await;
        result.map_err(|error| error.with_operation(Operation::Unwrap).with_provider(PROVIDER))
    }
}

impl fmt::Debug for PassphraseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassphraseKey")
            .field("name", &self.0.kek.id())
            .field("kdf", &self.0.kdf)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
