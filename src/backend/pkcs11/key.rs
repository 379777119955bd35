//! A KEK on a token.

use std::fmt;
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
use crate::key::{Binds, Capabilities, KeyManager, Recognition, Request, Unwrapped, not_recognized};
use crate::runtime::{Environment, Monotonic, ProcessEnvironment};
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::secret::Dek;

/// A KEK on a token: every key of one label, its versions.
///
/// The KEK's id is the label, its version the key's `CKA_ID` in lower-case hexadecimal. The version that wraps is
/// the one that was [pinned](Self::pinned), else the greatest. Every version opens.
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
}

/// What was found on the token.
struct Found {
    versions: Arc<Vec<Version>>,
    generation: u64,
    at: Monotonic,
}

impl TokenKey {
    /// The keys of this label.
    ///
    /// # Errors
    /// `Configuration` for a label that is empty; `InvalidArgument` or `OverLimit` for one that no envelope can name.
    pub(super) fn new(client: Client, label: &str, mechanism: Mechanism) -> Result<Self> {
        if label.is_empty() {
            return Err(Error::configuration("the label of a key on a token is empty"));
        }
        KekRef::new(PROVIDER, label, "")?;
        Ok(Self(Arc::new(Inner {
            client,
            label: label.to_owned(),
            mechanism,
            pinned: None,
            found: Mutex::default(),
        })))
    }

    /// The keys that a URI names, with a client of their own.
    ///
    /// # Errors
    /// `Configuration` if the PIN is not where the URI says, and as [`Client::key`].
    pub fn from_uri(uri: &Uri) -> Result<Self> {
        Self::from_uri_in(uri, &ProcessEnvironment)
    }

    /// The same, with variables of this environment.
    ///
    /// # Errors
    /// As [`from_uri`](Self::from_uri).
    pub fn from_uri_in(uri: &Uri, environment: &dyn Environment) -> Result<Self> {
        let client = Client::new(Config::from_uri_in(uri, environment)?)?;
        let keys = Self::new(client, uri.object(), uri.mechanism())?;
        Ok(match uri.id() {
            Some(id) => keys.pinned(id),
            None => keys,
        })
    }

    /// The administration of keys like this one, with the same client: it can describe, and change what the client's
    /// user may change.
    #[must_use]
    pub fn admin(&self) -> TokenAdmin {
        TokenAdmin::new(self.0.client.clone(), self.0.mechanism)
    }

    /// Wraps under the version of this `CKA_ID` and no other.
    #[must_use]
    pub fn pinned(self, id: &[u8]) -> Self {
        self.changed(self.0.mechanism, Some(id.to_vec()))
    }

    /// Wraps and unwraps by this mechanism.
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
        }))
    }

    /// The KEK that wraps now, asked of the token: whether it is there, is one, and is what it should be.
    ///
    /// # Errors
    /// `KeyNotFound`, `Configuration` for a key of another kind or one that is there twice, and what the token says.
    pub async fn check(&self) -> Result<KekRef> {
        let inner = Arc::clone(&self.0);
        let work = move |token: &Token<'_>| {
            inner.forget();
            let versions = inner.versions(token)?;
            Ok(inner.active(&versions)?.checked()?.kek.clone())
        };
        let checked = self.0.client.call(None, self.0.mechanism, work).await;
        checked.map_err(|error| context(error, Operation::Configure))
    }

    /// Looks for the keys again before the next call, instead of after the client's refresh time.
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
            if inner.active(&versions)?.is_barred() && inner.may_look_again() {
                // It may have got its rights back meanwhile.
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
        // A claim: it says which version to try first, and nothing more.
        let claimed = wrapped.kek_version.to_owned();
        let work = move |token: &Token<'_>| inner.open(token, &unwrapping, &claimed);
        let (secret, kek) = self
            .0
            .client
            .call(request.deadline(), self.0.mechanism, work)
            .await?;
        let dek = match self.0.mechanism.binds() {
            Binds::Aad => bare_dek(&secret)?,
            Binds::Embedded => request.extract(&secret)?,
        };
        Ok(Unwrapped::new(dek, kek))
    }
}

/// What was unwrapped, and under which version.
type Opened = (Zeroizing<Vec<u8>>, KekRef);

impl Inner {
    fn forget(&self) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The versions, as they were found a while ago or as they are found now.
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
        // What is not there yet may be there at the next call.
        let found = (!versions.is_empty()).then(|| Found {
            versions: Arc::clone(&versions),
            generation: token.loan.generation,
            at: now,
        });
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(versions)
    }

    /// The version that wraps.
    fn active<'a>(&self, versions: &'a [Version]) -> Result<&'a Version, Fault> {
        let active = match &self.pinned {
            Some(id) => versions.iter().find(|version| version.id == *id),
            // Public keys alone do not make a version that opens, and private ones none that wraps.
            None => versions.iter().find(|version| version.wraps.is_some()),
        };
        active.ok_or_else(|| Error::new(ErrorKind::KeyNotFound).into())
    }

    /// Tries the version that is claimed, then the others. Those that were made since the last look, too.
    fn open(&self, token: &Token<'_>, unwrapping: &Unwrapping, claimed: &str) -> Result<Opened, Fault> {
        let versions = self.versions(token)?;
        if versions.is_empty() {
            return Err(Error::new(ErrorKind::KeyNotFound).into());
        }
        let tried = try_each(token, &versions, unwrapping, claimed);
        let is_unknown =
            !claimed.is_empty() && versions.iter().all(|version| version_of(&version.id) != claimed);
        if tried.is_ok() || !is_unknown || !self.may_look_again() {
            return tried;
        }
        let now = self.client.now();
        let again = self.find(token, now)?;
        if again.iter().any(|version| version_of(&version.id) == claimed) {
            try_each(token, &again, unwrapping, claimed)
        } else {
            tried
        }
    }

    /// Whether the last look was a second ago. Envelopes can claim any version, and must not make a token search
    /// as often as they like.
    fn may_look_again(&self) -> bool {
        let now = self.client.now();
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.as_ref().is_none_or(|found| {
            let at = found.at;
            now >= at + std::time::Duration::from_secs(1)
        })
    }
}

fn try_each(
    token: &Token<'_>,
    versions: &[Version],
    unwrapping: &Unwrapping,
    claimed: &str,
) -> Result<Opened, Fault> {
    let is_claimed = |version: &&Version| version.kek.version() == claimed;
    let first = versions.iter().filter(is_claimed);
    let rest = versions.iter().filter(|version| !is_claimed(version));
    let mut failed = None;
    for version in first.chain(rest) {
        match unwrapping.run(token.loan, version) {
            Ok(secret) => return Ok((secret, version.kek.clone())),
            Err(Fault::Ours(error)) => {
                if failed.as_ref().is_none_or(|failed| tells(&error) > tells(failed)) {
                    failed = Some(error);
                }
            }
            Err(Fault::Token(error)) if super::map::recovery(&error).is_some() => return Err(error.into()),
            Err(Fault::Token(error)) => failed = Some(super::map::error(error, Some(unwrapping.mechanism))),
        }
    }
    Err(failed.unwrap_or_else(Error::cannot_open).into())
}

/// How much an error tells: a key that could not be asked more than one that did not open, and that more than one whose
/// wraps have another length, as those of RSA keys of another size have.
fn tells(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Malformed { .. } => 0,
        ErrorKind::CannotOpen => 1,
        _ => 2,
    }
}

#[async_trait]
impl KeyManager for TokenKey {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.0.mechanism.algorithm(), self.0.mechanism.binds())
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        // A label is not unique in the world, and not even among the tokens of one machine.
        let algorithm = self.0.mechanism.algorithm();
        Recognition::by_id(wrapped, algorithm, PROVIDER, &self.0.label).min(Recognition::Perhaps)
    }

    fn identity(&self) -> Option<String> {
        let Inner {
            client,
            label,
            mechanism,
            pinned,
            ..
        } = &*self.0;
        Some(format!("{} {mechanism:?} {pinned:?} {label}", client.place()))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let result = self.wrap_inner(dek, request).await;
        result.map_err(|error| context(error, Operation::Wrap))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let result = self.unwrap_inner(wrapped, request).await;
        result.map_err(|error| context(error, Operation::Unwrap))
    }
}

fn context(error: Error, operation: Operation) -> Error {
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
