//! A KEK on a token.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::PROVIDER;
use super::admin::TokenAdmin;
use super::cipher::{Unwrapping, Wrapping, bare_dek};
use super::client::{Client, Token};
use super::config::Config;
use super::map::Fault;
use super::mechanism::Mechanism;
use super::objects::{Version, find, version_of};
use super::uri::Uri;
use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::failure::worse;
use crate::key::{
    Binds, CallBudget, Capabilities, KeyManager, Recognition, Request, Unwrapped, Versions, not_recognized,
    not_this_kek,
};
use crate::runtime::{Environment, Monotonic, ProcessEnvironment};
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::limits;
use crate::value::secret::Dek;

/// A KEK on a token: all keys of one label, as versions.
///
/// The id of the KEK is the label, and its version is the key's `CKA_ID` in lower-case hexadecimal. The
/// [pinned](Self::pinned) version wraps; if no version is pinned, the greatest version wraps. Every version opens.
///
/// ```no_run
/// # async fn example() -> waxseal::Result<()> {
/// use waxseal::{EncryptionContext, Sealer, backend::pkcs11::{TokenKey, Uri}};
///
/// let uri = Uri::parse("pkcs11:token=payments;object=kek?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=env:PIN")?;
/// let sealer = Sealer::new(TokenKey::from_uri(&uri)?);
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let sealed = sealer.seal(b"alice@example.com", &context).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TokenKey(Arc<Inner>);

struct Inner {
    client: Client,
    label: String,
    mechanism: Mechanism,
    pinned: Option<Vec<u8>>,
    found: Mutex<Option<Found>>,
    /// When a search was made because of a version that an envelope claims.
    looked_again: Mutex<Option<Monotonic>>,
}

/// The keys that were found on the token.
struct Found {
    versions: Arc<Vec<Version>>,
    generation: u64,
    at: Monotonic,
}

impl TokenKey {
    /// Names the keys of this label.
    ///
    /// # Errors
    /// `Configuration` if the label is empty; `InvalidArgument` if it has control characters; `OverLimit` if it has more than
    /// 2,048 bytes.
    pub(super) fn new(client: Client, label: &str, mechanism: Mechanism) -> Result<Self> {
        if label.is_empty() {
            return Err(Error::configuration(
                "the label of a key on a token must not be empty",
            ));
        }
        KekRef::new(PROVIDER, label, "")?;
        Ok(Self(Arc::new(Inner {
            client,
            label: label.to_owned(),
            mechanism,
            pinned: None,
            found: Mutex::default(),
            looked_again: Mutex::default(),
        })))
    }

    /// Makes a client, and names the keys of a URI.
    ///
    /// # Errors
    /// `Configuration` if the PIN is not in the place that the URI names; the same kinds as [`Client::key`], under the same conditions.
    pub fn from_uri(uri: &Uri) -> Result<Self> {
        Self::from_uri_in(uri, &ProcessEnvironment)
    }

    /// Makes a client, and names the keys of a URI, with variables of this environment.
    ///
    /// # Errors
    /// The same kinds as [`from_uri`](Self::from_uri), under the same conditions.
    pub fn from_uri_in(uri: &Uri, environment: &dyn Environment) -> Result<Self> {
        let client = Client::new(Config::from_uri_in(uri, environment)?)?;
        let keys = Self::new(client, uri.object(), uri.mechanism())?;
        Ok(match uri.id() {
            Some(id) => keys.pinned(id),
            None => keys,
        })
    }

    /// Returns the administration of keys like this KEK, with the same client: it can describe keys, and change what the client's
    /// user may change.
    #[must_use]
    pub fn admin(&self) -> TokenAdmin {
        TokenAdmin::new(self.0.client.clone(), self.0.mechanism)
    }

    /// Wraps only under the version with this `CKA_ID`.
    #[must_use]
    pub fn pinned(self, id: &[u8]) -> Self {
        self.changed(self.0.mechanism, Some(id.to_vec()))
    }

    /// Wraps and unwraps with this mechanism.
    #[must_use]
    pub fn with_mechanism(self, mechanism: Mechanism) -> Self {
        self.changed(mechanism, self.0.pinned.clone())
    }

    fn changed(&self, mechanism: Mechanism, pinned: Option<Vec<u8>>) -> Self {
        Self(Arc::new(Inner {
            client: self.0.client.clone(),
            label: self.0.label.clone(),
            mechanism,
            pinned,
            found: Mutex::default(),
            looked_again: Mutex::default(),
        }))
    }

    /// Asks the token for the version that wraps now, checks it and returns it.
    ///
    /// # Errors
    /// `KeyNotFound` if there is no such key; `Configuration` if the key has another kind or exists twice; and the kinds of the
    /// [backend](super#errors), by the token's return code.
    pub async fn check(&self) -> Result<KekRef> {
        let inner = Arc::clone(&self.0);
        let work = move |token: &Token<'_>| {
            inner.forget();
            let versions = inner.versions(token)?;
            Ok(inner.active(&versions)?.checked()?.kek.clone())
        };
        let checked = self.0.client.call(None, self.0.mechanism, work).await;
        checked.map_err(|error| named(error, Operation::Configure))
    }

    /// Searches for the keys again before the next call, and not only after the client's refresh time.
    pub fn refresh(&self) {
        self.0.forget();
    }

    async fn wrap_inner(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let inner = Arc::clone(&self.0);
        let wrapping = Wrapping {
            mechanism: inner.mechanism,
            aad: request.wrap_aad(),
            secret: match inner.mechanism.binds() {
                Binds::Aad => Zeroizing::new(dek.expose_bytes().to_vec()),
                Binds::Embedded => Zeroizing::new(request.embed(dek).to_vec()),
            },
        };
        let work = move |token: &Token<'_>| {
            let mut versions = inner.versions(token)?;
            let is_ready = inner.active(&versions).is_ok_and(|version| !version.is_barred());
            if !is_ready && inner.may_look_again() {
                // The key may be there by now, or have its rights again.
                versions = inner.find(token, inner.client.now())?;
            }
            let version = inner.active(&versions)?;
            let wrapped = wrapping.run(token.loan, version)?;
            Ok(WrappedDek::new(
                inner.mechanism.algorithm(),
                version.kek.clone(),
                wrapped,
            )?)
        };
        self.0
            .client
            .call(request.deadline(), self.0.mechanism, work)
            .await
    }

    async fn unwrap_inner(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        if self.recognizes(wrapped).is_no() {
            return Err(not_recognized(&wrapped));
        }
        let inner = Arc::clone(&self.0);
        let unwrapping = Unwrapping {
            mechanism: inner.mechanism,
            aad: request.wrap_aad(),
            wrapped: wrapped.checked_wrapped()?.to_vec(),
        };
        // A claim: it only decides which version to try first.
        let claimed = wrapped.kek_version.to_owned();
        let calls = Calls::of(request);
        let further = calls.clone();
        let work = move |token: &Token<'_>| inner.open(token, &unwrapping, &claimed, &further);
        let opened = self
            .0
            .client
            .call(request.deadline(), self.0.mechanism, work)
            .await;
        calls.account(request);
        let (secret, kek) = opened?;
        let dek = match self.0.mechanism.binds() {
            Binds::Aad => bare_dek(&secret)?,
            Binds::Embedded => request.extract(&secret)?,
        };
        Ok(Unwrapped::new(dek, kek))
    }
}

/// The further calls that one unwrap may make, one for each version beyond the first.
///
/// The calls are made on another thread, which has no budget: they are counted there, and taken from the budget afterwards.
#[derive(Clone)]
struct Calls {
    allowed: u32,
    made: Arc<AtomicU32>,
}

impl Calls {
    fn of(request: &Request<'_>) -> Self {
        Self {
            allowed: request.call_budget().map_or(u32::MAX, CallBudget::left_further),
            made: Arc::default(),
        }
    }

    fn take(&self) -> Result<()> {
        if self.made.fetch_add(1, Ordering::Relaxed) < self.allowed {
            return Ok(());
        }
        self.made.fetch_sub(1, Ordering::Relaxed);
        Err(Error::new(ErrorKind::BudgetExhausted {
            budget: limits::BACKEND_CALLS.name,
        })
        .with_detail(
            "the envelope has many wraps that may be of this label: not every version of the key was tried",
        ))
    }

    /// Takes what was used from the budget.
    fn account(&self, request: &Request<'_>) {
        for _ in 0..self.made.load(Ordering::Relaxed).min(self.allowed) {
            if request.take_call().is_err() {
                return;
            }
        }
    }
}

/// An unwrapped DEK, and the version that unwrapped it.
type Opened = (Zeroizing<Vec<u8>>, KekRef);

impl Inner {
    fn forget(&self) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the versions, as they were found earlier or as they are found now.
    fn versions(&self, token: &Token<'_>) -> Result<Arc<Vec<Version>>, Fault> {
        let now = self.client.now();
        if let Some(found) = &*self.found.lock().unwrap_or_else(PoisonError::into_inner)
            && found.generation == token.loan.generation
            && now < found.at + self.client.refresh()
        {
            return Ok(Arc::clone(&found.versions));
        }
        self.find(token, now)
    }

    fn find(&self, token: &Token<'_>, now: Monotonic) -> Result<Arc<Vec<Version>>, Fault> {
        let versions = Arc::new(find(token, &self.label, self.mechanism)?);
        // A key that does not exist yet may exist at the next call.
        let found = (!versions.is_empty()).then(|| Found {
            versions: Arc::clone(&versions),
            generation: token.loan.generation,
            at: now,
        });
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(versions)
    }

    /// Returns the version that wraps.
    fn active<'a>(&self, versions: &'a [Version]) -> Result<&'a Version, Fault> {
        let active = match &self.pinned {
            Some(id) => versions.iter().find(|version| version.id == *id),
            // A public key alone does not open, and a private key alone does not wrap.
            None => versions.iter().find(|version| version.wraps.is_some()),
        };
        active.ok_or_else(|| Error::new(ErrorKind::KeyNotFound).into())
    }

    /// Tries the claimed version, then the others, also versions that were made since the last search.
    fn open(
        &self,
        token: &Token<'_>,
        unwrapping: &Unwrapping,
        claimed: &str,
        calls: &Calls,
    ) -> Result<Opened, Fault> {
        let versions = self.versions(token)?;
        if versions.is_empty() {
            return Err(Error::new(ErrorKind::KeyNotFound).into());
        }
        let tried = try_each(token, &versions, unwrapping, claimed, calls);
        let is_unknown =
            !claimed.is_empty() && versions.iter().all(|version| version_of(&version.id) != claimed);
        if tried.is_ok() || !is_unknown || !self.may_look_again() {
            return tried;
        }
        let now = self.client.now();
        let again = self.find(token, now)?;
        if again.iter().any(|version| version_of(&version.id) == claimed) {
            calls.take()?;
            try_each(token, &again, unwrapping, claimed, calls)
        } else {
            tried
        }
    }

    /// Returns whether nobody has looked again in the last second. Envelopes can claim any version, and must not make a token search
    /// as often as they like. The search that any call makes does not count: a version can be made right after it.
    fn may_look_again(&self) -> bool {
        let now = self.client.now();
        let mut looked = self.looked_again.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|at| now < at + std::time::Duration::from_secs(1)) {
            return false;
        }
        *looked = Some(now);
        true
    }
}

fn try_each(
    token: &Token<'_>,
    versions: &[Version],
    unwrapping: &Unwrapping,
    claimed: &str,
    calls: &Calls,
) -> Result<Opened, Fault> {
    let is_claimed = |version: &&Version| version.kek.version() == claimed;
    let first = versions.iter().filter(is_claimed);
    let rest = versions.iter().filter(|version| !is_claimed(version));
    let mut failed: Option<Error> = None;
    for (tried, version) in first.chain(rest).enumerate() {
        // The caller has taken the first call.
        if tried > 0
            && let Err(error) = calls.take()
        {
            failed = Some(error);
            break;
        }
        match unwrapping.run(token.loan, version) {
            Ok(secret) => return Ok((secret, version.kek.clone())),
            Err(Fault::Token(error)) if super::map::recovery(&error).is_some() => return Err(error.into()),
            Err(fault) => {
                let error = match fault {
                    Fault::Ours(error) => error,
                    Fault::Token(error) => super::map::error(error, Some(unwrapping.mechanism)),
                };
                failed = Some(match failed {
                    Some(failed) => worse(failed, error),
                    None => error,
                });
            }
        }
    }
    Err(failed.unwrap_or_else(Error::cannot_open).into())
}

#[async_trait]
impl KeyManager for TokenKey {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.0.mechanism.algorithm(), self.0.mechanism.binds())
            .with_versions(Versions::Proven)
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        // A label is not unique in the world, and not even on one machine.
        let algorithm = self.0.mechanism.algorithm();
        Recognition::by_id(wrapped, algorithm, PROVIDER, &self.0.label).min(Recognition::Perhaps)
    }

    fn identity(&self) -> Option<String> {
        let Inner {
            client,
            label,
            mechanism,
            ..
        } = &*self.0;
        // Whichever version is pinned, every version opens.
        Some(format!("{} {mechanism:?} {label}", client.place()))
    }

    /// An empty version is the key without a `CKA_ID`.
    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        if (kek.provider(), kek.id()) != (PROVIDER, self.0.label.as_str()) {
            return Err(not_this_kek(PROVIDER));
        }
        let id = base16ct::lower::decode_vec(kek.version()).map_err(|_| not_this_kek(PROVIDER))?;
        Ok(Arc::new(self.clone().pinned(&id)))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let result = self.wrap_inner(dek, request).await;
        result.map_err(|error| named(error, Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let result = self.unwrap_inner(wrapped, request).await;
        result.map_err(|error| named(error, Operation::Unwrap))
    }
}

fn named(error: Error, operation: Operation) -> Error {
    error.with_operation(operation).with_provider(PROVIDER)
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("label", &self.0.label)
            .field("mechanism", &self.0.mechanism)
            .field("pinned", &self.0.pinned.as_deref().map(version_of))
            .field("client", &self.0.client)
            .finish_non_exhaustive()
    }
}
