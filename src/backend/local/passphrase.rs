//! KEKs derived from a passphrase.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::PROVIDER;
use super::text::required_var;
use super::warning::warn_once;
use super::xaes::{WRAPPED, Xaes};
use crate::entropy;
use crate::envelope::{KekRef, WrapAlgorithm, WrapRef, WrappedDek};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::key_manager::{Binds, Capabilities, KeyManager, Request, not_recognized};
use crate::limits::{self, Limit};
use crate::runtime::{Environment, ProcessEnvironment, Runtime, ThreadRuntime, run_blocking};
use crate::secret::{Dek, Kek};

const SALT: usize = 16;
/// Derived KEKs that are kept: one for each salt that was met.
const DERIVED_KEPT: usize = 16;

/// How a KEK is derived from a passphrase, and at what cost.
///
/// The cost is part of each wrap, so it can be raised later without losing what was sealed before. Costs
/// outside the limits are refused before any work, in configuration and in envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kdf {
    /// PBKDF2-HMAC-SHA256 (RFC 8018).
    Pbkdf2 {
        /// 600,000 to 10,000,000.
        iterations: u32,
    },
    /// Argon2id version 0x13 (RFC 9106).
    Argon2id {
        /// KiB: 19,456 to 1,048,576.
        memory: u32,
        /// 2 to 16.
        passes: u32,
        /// 1 to 16. Not run in parallel here.
        lanes: u32,
    },
}

impl Kdf {
    /// PBKDF2 with 600,000 iterations (OWASP Password Storage Cheat Sheet): 60 to 80 ms. The default.
    pub const PBKDF2: Self = Self::Pbkdf2 {
        iterations: limits::PBKDF2_ITERATIONS_MIN,
    };
    /// Argon2id with 64 MiB, 3 passes and 4 lanes (RFC 9106, second recommended option).
    pub const ARGON2ID: Self = Self::Argon2id {
        memory: 65_536,
        passes: 3,
        lanes: 4,
    };

    fn algorithm(self) -> WrapAlgorithm {
        match self {
            Self::Pbkdf2 { .. } => WrapAlgorithm::PBKDF2_XAES_256_GCM,
            Self::Argon2id { .. } => WrapAlgorithm::ARGON2ID_XAES_256_GCM,
        }
    }

    fn check(self) -> Result<()> {
        match self {
            Self::Pbkdf2 { iterations } => within(
                iterations,
                limits::PBKDF2_ITERATIONS_MIN,
                &limits::PBKDF2_ITERATIONS,
            ),
            Self::Argon2id {
                memory,
                passes,
                lanes,
            } => {
                within(memory, limits::ARGON2_MEMORY_MIN, &limits::ARGON2_MEMORY)?;
                within(passes, limits::ARGON2_PASSES_MIN, &limits::ARGON2_PASSES)?;
                within(lanes, 1, &limits::ARGON2_LANES)
            }
        }
    }

    /// The cost as it stands in front of a wrap.
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Pbkdf2 { iterations } => out.extend_from_slice(&iterations.to_be_bytes()),
            Self::Argon2id {
                memory,
                passes,
                lanes,
            } => {
                for cost in [memory, passes, lanes] {
                    out.extend_from_slice(&cost.to_be_bytes());
                }
            }
        }
    }

    /// The cost of a wrap of this kind, within the limits, and the bytes after it.
    fn read(self, wrapped: &[u8]) -> Result<(Self, &[u8])> {
        let malformed = || Error::malformed("wrapped DEK", 0);
        let u32_of = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
        let (kdf, rest) = match self {
            Self::Pbkdf2 { .. } => {
                let (iterations, rest) = wrapped.split_first_chunk().ok_or_else(malformed)?;
                (
                    Self::Pbkdf2 {
                        iterations: u32_of(iterations),
                    },
                    rest,
                )
            }
            Self::Argon2id { .. } => {
                let (memory, rest) = wrapped.split_first_chunk().ok_or_else(malformed)?;
                let (passes, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
                let (lanes, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
                let (memory, passes, lanes) = (u32_of(memory), u32_of(passes), u32_of(lanes));
                (
                    Self::Argon2id {
                        memory,
                        passes,
                        lanes,
                    },
                    rest,
                )
            }
        };
        kdf.check()?;
        Ok((kdf, rest))
    }

    fn derive(self, passphrase: &SecretString, salt: &[u8; SALT]) -> Result<Kek> {
        let passphrase = passphrase.expose_secret().as_bytes();
        let mut key = Zeroizing::new([0; 32]);
        match self {
            Self::Pbkdf2 { iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha256>(passphrase, salt, iterations, key.as_mut_slice());
            }
            Self::Argon2id {
                memory,
                passes,
                lanes,
            } => {
                let failed =
                    |error: argon2::Error| Error::argument("Argon2id refused its cost").with_source(error);
                let params = Params::new(memory, passes, lanes, Some(32)).map_err(failed)?;
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(passphrase, salt, key.as_mut_slice())
                    .map_err(failed)?;
            }
        }
        Ok(Kek::from_bytes(&key))
    }
}

impl Default for Kdf {
    fn default() -> Self {
        Self::PBKDF2
    }
}

fn within(value: u32, least: u32, most: &Limit) -> Result<()> {
    if value < least {
        return Err(Error::new(ErrorKind::OverLimit {
            limit: most.name,
            max: most.max,
        })
        .with_detail(format!("{value} is below the least that is accepted, {least}")));
    }
    most.check(value as usize)
}

/// A KEK from a passphrase.
///
/// Each manager draws one salt when it first wraps, and keeps the KEKs it has derived (at most 16, wiped when
/// dropped), so a derivation is paid once for each salt and not for each seal. Derivations run where they may
/// block, see [`Runtime::spawn_blocking`].
///
/// The KEK's id in an envelope is a name that is given here, `passphrase` by default. It opens wraps of its
/// own kind of [`Kdf`] only, at any cost within the limits. The cost is the envelope's, and is paid before
/// anything is verified: up to 10,000,000 iterations, or 1 GiB and 16 passes, for each of up to two wraps.
#[derive(Clone)]
pub struct PassphraseKeys(Arc<Inner>);

struct Inner {
    passphrase: Arc<SecretString>,
    kek: KekRef,
    kdf: Kdf,
    runtime: Arc<dyn Runtime>,
    salt: OnceLock<[u8; SALT]>,
    derived: Mutex<Vec<(Derivation, Arc<OnceLock<Derived>>)>>,
}

type Derivation = (Kdf, [u8; SALT]);
type Derived = Option<Xaes>;

impl PassphraseKeys {
    /// A key manager of this passphrase, with PBKDF2 at 600,000 iterations.
    ///
    /// # Errors
    /// `Configuration` for an empty passphrase.
    pub fn new(passphrase: SecretString) -> Result<Self> {
        Self::with_environment(passphrase, &ProcessEnvironment)
    }

    fn with_environment(passphrase: SecretString, environment: &dyn Environment) -> Result<Self> {
        if passphrase.expose_secret().is_empty() {
            return Err(Error::configuration("the passphrase is empty"));
        }
        warn_once(environment);
        Ok(Self(Arc::new(Inner {
            passphrase: Arc::new(passphrase),
            kek: KekRef::trusted(PROVIDER, "passphrase", ""),
            kdf: Kdf::default(),
            runtime: Arc::new(ThreadRuntime),
            salt: OnceLock::new(),
            derived: Mutex::new(Vec::new()),
        })))
    }

    /// The passphrase in an environment variable, every byte of it.
    ///
    /// # Errors
    /// `Configuration` where the variable is not set or empty.
    pub fn from_env(name: &str) -> Result<Self> {
        Self::from_environment(&ProcessEnvironment, name)
    }

    /// The passphrase in a variable of this environment.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_environment(environment: &dyn Environment, name: &str) -> Result<Self> {
        Self::with_environment(required_var(environment, name)?, environment)
    }

    fn rebuild(self, change: impl FnOnce(&mut Inner)) -> Self {
        // A setter starts a manager of its own: no salt and no derived KEK is shared with another.
        let mut inner = Inner {
            passphrase: Arc::clone(&self.0.passphrase),
            kek: self.0.kek.clone(),
            kdf: self.0.kdf,
            runtime: Arc::clone(&self.0.runtime),
            salt: OnceLock::new(),
            derived: Mutex::new(Vec::new()),
        };
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Names the passphrase in envelopes, so that several can be told apart.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name or control characters; `OverLimit` above 2,048 bytes.
    pub fn with_name(self, name: &str) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::argument("the name of a passphrase is empty"));
        }
        let kek = KekRef::new(PROVIDER, name, "")?;
        Ok(self.rebuild(|inner| inner.kek = kek))
    }

    /// Sets how KEKs are derived, and at what cost.
    ///
    /// # Errors
    /// `OverLimit` for a cost outside the limits.
    pub fn with_kdf(self, kdf: Kdf) -> Result<Self> {
        kdf.check()?;
        Ok(self.rebuild(|inner| inner.kdf = kdf))
    }

    /// Sets where derivations run. By default each has a thread of its own.
    #[must_use]
    pub fn with_runtime(self, runtime: Arc<dyn Runtime>) -> Self {
        self.rebuild(|inner| inner.runtime = runtime)
    }

    /// The slot of a derivation, made if it is not there. The least recently used makes room.
    fn slot(&self, derivation: Derivation) -> Arc<OnceLock<Derived>> {
        let mut derived = self.0.derived.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match derived.iter().position(|(kept, _)| *kept == derivation) {
            Some(at) => derived.remove(at),
            None => {
                if derived.len() >= DERIVED_KEPT {
                    derived.remove(0);
                }
                (derivation, Arc::new(OnceLock::new()))
            }
        };
        let slot = Arc::clone(&entry.1);
        derived.push(entry);
        slot
    }

    /// The KEK of a derivation. Derived at most once at a time, however many ask.
    async fn derived<T>(&self, derivation: Derivation, then: impl FnOnce(&Xaes) -> Result<T>) -> Result<T> {
        let slot = self.slot(derivation);
        if slot.get().is_none() {
            let (kdf, salt) = derivation;
            let (passphrase, slot) = (Arc::clone(&self.0.passphrase), Arc::clone(&slot));
            run_blocking(&*self.0.runtime, move || {
                slot.get_or_init(|| kdf.derive(&passphrase, &salt).ok().map(|kek| Xaes::new(&kek)));
            })
            .await?;
        }
        match slot.get() {
            Some(Some(xaes)) => then(xaes),
            _ => Err(Error::argument("the key could not be derived: out of memory?")),
        }
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
        self.derived((kdf, salt), |xaes| xaes.wrap_to(dek, request, &mut wrapped))
            .await?;
        WrappedDek::new(kdf.algorithm(), self.0.kek.clone(), wrapped)
    }

    async fn unwrap_inner(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Dek> {
        if !self.recognizes(wrapped) {
            return Err(not_recognized(&wrapped));
        }
        let (kdf, rest) = self.0.kdf.read(wrapped.checked_wrapped()?)?;
        let (salt, rest) = rest
            .split_first_chunk()
            .ok_or_else(|| Error::malformed("wrapped DEK", 0))?;
        self.derived((kdf, *salt), |xaes| xaes.unwrap(rest, request))
            .await
    }
}

#[async_trait]
impl KeyManager for PassphraseKeys {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.0.kdf.algorithm(), Binds::Aad)
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> bool {
        wrapped.is_under(self.0.kdf.algorithm(), PROVIDER, self.0.kek.id())
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let result = self.wrap_inner(dek, request).await;
        result.map_err(|error| error.with_operation(Operation::Wrap).with_provider(PROVIDER))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Dek> {
        let result = self.unwrap_inner(wrapped, request).await;
        result.map_err(|error| error.with_operation(Operation::Unwrap).with_provider(PROVIDER))
    }
}

impl fmt::Debug for PassphraseKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassphraseKeys")
            .field("name", &self.0.kek.id())
            .field("kdf", &self.0.kdf)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
