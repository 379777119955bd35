//! What an application sees: seal, open, inspect, re-wrap.

mod batch;
pub mod blocking;
mod builder;
mod data_key;
mod new_wraps;
mod opener;
mod ranges;
mod rewrapper;
mod sessions;
#[cfg(any(feature = "futures-io", feature = "tokio"))]
mod streams;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use batch::{OpenedBatch, SealedBatch};
pub use builder::Builder;
pub use data_key::DataKey;
pub use new_wraps::NewWraps;
pub use opener::Opener;
pub(crate) use ranges::rewound;
pub use rewrapper::{RewrapCounts, Rewrapper};

use crate::backend::kek_uri::open_from_environment;
use crate::envelope::{Envelope, Header, WrapSection};
use crate::key::{Authorization, KeyManager, Purpose, Request, RewrapRules};
use crate::message::parallel::Parallel;
use crate::message::{InContext, Layout, Sealing, Session};
use crate::runtime::{ProcessEnvironment, Runtime, with_timeout};
#[cfg(feature = "cache")]
use crate::source::Cached;
use crate::source::at_hand::{self, ToOpen, ToSeal};
use crate::source::lease::{DekLease, Rounds};
use crate::source::{AnyOf, DekSource, Leases};
use crate::value::context::{Binding, EncryptionContext};
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::limits;
use crate::value::secret::Plaintext;

/// A plaintext of up to this many bytes, sealed under a DEK of its own, is written behind the envelope's front. Larger
/// buffers come from the system as zeroed pages, which cost less than zeroing what is about to be overwritten.
const SMALL: usize = 16 * 1024;

/// Seals and opens values under keys that it does not hold.
///
/// A sealer is cheap to clone. [`Sealer::new`] takes one key manager. [`Sealer::builder`] takes several, and settings.
/// [`Sealer::from_source`] takes any source of DEKs. [`blocking::Sealer`] is the same for code without an async runtime.
///
/// A message is bound to an [`EncryptionContext`] and, with [`EncryptionContext::with_aad`], to an AAD. The context is
/// coarse (tenant, table), and each context costs a call to the key manager. The AAD is fine (row, column), costs
/// nothing, and never leaves the process.
///
/// ```
/// # use waxseal::{EncryptionContext, Kek, Sealer, backend::local::LocalKey};
/// # async fn example() -> waxseal::Result<()> {
/// let sealer = Sealer::new(LocalKey::from_env("WAXSEAL_KEK")?);
///
/// let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
/// let sealed = sealer.seal(b"alice@example.com", context.with_aad(b"row 7")).await?;
/// let opened = sealer.open(&sealed, context.with_aad(b"row 7")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sealer {
    source: Arc<dyn DekSource>,
    #[cfg(feature = "cache")]
    cache: Option<Cached>,
    leases: Leases,
    settings: Settings,
}

#[derive(Clone, Debug)]
struct Settings {
    sealing: Sealing,
    padding: usize,
    runtime: Arc<dyn Runtime>,
    data_key_age: Duration,
    timeout: Option<Duration>,
    profile: Option<Arc<str>>,
    actor: Option<Arc<str>>,
    request_id: Option<Arc<str>>,
    rules: RewrapRules<'static>,
    authorizations: Arc<[Authorization]>,
    parallel: Option<Parallel>,
}

impl Sealer {
    /// Makes a sealer under one key manager, with the default settings.
    #[must_use]
    pub fn new(key_manager: impl KeyManager + 'static) -> Self {
        Self::from_source(AnyOf::new(key_manager))
    }

    /// Makes a sealer under the key managers that environment variables name, see [`open_from_environment`].
    ///
    /// # Errors
    /// The errors of [`open_from_environment`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn from_env() -> Result<Self> {
        Self::builder_from_env().await?.build()
    }

    /// Returns a builder with the key managers that environment variables name, to add settings such as a cache.
    ///
    /// # Errors
    /// The errors of [`open_from_environment`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn builder_from_env() -> Result<Builder> {
        let opened = open_from_environment(&ProcessEnvironment).await?;
        let builder = Self::builder().wrap_with(opened.active);
        Ok(opened.also_open.into_iter().fold(builder, Builder::open_with))
    }

    /// Returns a builder, for several key managers and for settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Makes a sealer over a source of DEKs, with the default settings.
    #[must_use]
    pub fn from_source(source: impl DekSource + 'static) -> Self {
        Self::of(Arc::new(source), Leases::new(), Settings::default())
    }

    /// A cache brings its own registry.
    fn of(source: Arc<dyn DekSource>, leases: Leases, settings: Settings) -> Self {
        #[cfg(feature = "cache")]
        let cache = at_hand::cache(source.as_ref()).cloned();
        #[cfg(feature = "cache")]
        let leases = cache.as_ref().map_or(leases, |cache| cache.leases().clone());
        Self {
            source,
            #[cfg(feature = "cache")]
            cache,
            leases,
            settings,
        }
    }

    /// Returns the cache, to read its counters or to warm it.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn cache(&self) -> Option<&Cached> {
        self.cache.as_ref()
    }

    #[cfg(feature = "fleet")]
    pub(crate) fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(&self.settings.runtime)
    }

    /// Returns the registry of the data keys in use: those of this sealer's handles and streams, and those that its cache
    /// keeps. The registry ends data keys or turns them over.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Returns the same sealer on behalf of `actor`. Audit and policies see the actor, and no KMS does.
    #[must_use]
    pub fn acting_as(&self, actor: &str) -> Self {
        let mut sealer = self.clone();
        sealer.settings.actor = Some(actor.into());
        sealer
    }

    /// Returns the same sealer for one request of the application. Key managers see the id, which connects log lines.
    #[must_use]
    pub fn with_request_id(&self, id: &str) -> Self {
        let mut sealer = self.clone();
        sealer.settings.request_id = Some(id.into());
        sealer
    }

    /// Returns the same sealer with other rules for [`rewrap`](Self::rewrap), for a call that may do more than others.
    ///
    /// ```
    /// # use waxseal::{EncryptionContext, Sealer, key::RewrapRules};
    /// # async fn example(sealer: Sealer, sealed: &[u8], context: EncryptionContext) -> waxseal::Result<()> {
    /// let rules = RewrapRules::new().leaving_fewer_wraps();
    /// let new = sealer.with_rewrap_rules(rules).rewrap(sealed, &context).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_rewrap_rules(&self, rules: RewrapRules<'static>) -> Self {
        let mut sealer = self.clone();
        sealer.settings.rules = rules;
        sealer
    }

    /// Returns the same sealer with these authorizations for each [`rewrap`](Self::rewrap), in the place of those that it had. They serve
    /// no other operation. A key ring re-wraps from a key that was revoked or retired only under a signed approval.
    #[must_use]
    pub fn authorized_by(&self, authorizations: impl IntoIterator<Item = Authorization>) -> Self {
        let mut sealer = self.clone();
        sealer.settings.authorizations = authorizations.into_iter().collect();
        sealer
    }

    /// Seals `plaintext` to an envelope under a DEK of the source.
    ///
    /// If the source has only key managers, each value gets a fresh DEK and costs a call to each key manager that wraps.
    /// To seal many values of one context, ask for a [`data_key`](Self::data_key).
    ///
    /// # Errors
    /// - `OverLimit` for an AAD above 65,536 bytes or a payload above 2^46 bytes, before any key manager is called
    /// - `Configuration` if nothing is configured to wrap with
    /// - the errors of the key managers, and `TimedOut` after the sealer's timeout
    ///
    /// # Cancel safety
    /// Dropping the future seals nothing and leaves nothing behind.
    pub async fn seal<'a>(&self, plaintext: &[u8], binding: impl Into<Binding<'a>>) -> Result<Vec<u8>> {
        let binding = binding.into();
        self.seal_inner(plaintext, binding)
            .await
            .map_err(|error| error.with_operation(Operation::Seal))
    }

    async fn seal_inner(&self, plaintext: &[u8], binding: Binding<'_>) -> Result<Vec<u8>> {
        binding.aad().check()?;
        let (sealing, context) = (self.settings.sealing, binding.context());
        let rest = Layout::new(sealing, context, 0, plaintext.len())?.envelope_len();
        let found = self.seal_dek(context, Some(plaintext.len())).await?;
        let is_small = plaintext.len() <= SMALL;
        let mut prefix = found.prefix(self.settings.padding, if is_small { rest } else { 0 })?;
        let mut out = Vec::new();
        if is_small && let Cow::Owned(front) = &mut prefix {
            // `out` has room for all that follows, so nothing is copied or allocated again.
            std::mem::swap(front, &mut out);
        }
        let parallel = self.settings.parallel.as_ref();
        let mut seal = |session: &Arc<Session>| {
            session.seal_to_vec(&prefix, plaintext, binding.aad(), &mut out, parallel)
        };
        if let Some(session) = found.session(sealing, context)? {
            match seal(session) {
                Err(error) if is_session_over(&error) => {}
                sealed => return sealed.map(|()| out),
            }
        }
        in_session(found.lease(), sealing, context, seal)?;
        Ok(out)
    }

    /// Opens an envelope. Plaintext is released only after all of it was verified.
    ///
    /// The caller passes the context and the AAD. Nothing is taken from the envelope on trust.
    ///
    /// # Errors
    /// Before any key manager is called:
    /// - `Malformed`, `Unsupported`, `UnsupportedVersion` or `OverLimit` for bytes that are not an envelope that this
    ///   crate reads
    /// - `ContextMismatch` if another context is stored in the envelope
    ///
    /// After that:
    /// - `NoUsableKey` if none of its wraps is under a configured KEK
    /// - `CannotOpen` for a wrong key, a wrong context, a wrong AAD, or altered bytes
    /// - the errors of the key managers, and `TimedOut` after the sealer's timeout
    ///
    /// If no wrap opened, the error lists every [attempt](Error::attempts).
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn open<'a>(&self, envelope: &[u8], binding: impl Into<Binding<'a>>) -> Result<Plaintext> {
        let binding = binding.into();
        self.open_inner(envelope, binding)
            .await
            .map_err(|error| error.with_operation(Operation::Open))
    }

    async fn open_inner(&self, envelope: &[u8], binding: Binding<'_>) -> Result<Plaintext> {
        binding.aad().check()?;
        let envelope = Envelope::parse(envelope)?;
        let header = InContext::check(envelope.header(), binding.context())?;
        let found = self.open_dek(envelope.header(), binding.context(), false).await?;
        let verified = found.lease().verify_header(header)?;
        let message = verified
            .message(binding.aad())?
            .on(self.settings.parallel.as_ref());
        let mut out = Vec::new();
        message.open_to_vec(envelope.chunks(), envelope.cut(), &mut out)?;
        Ok(Plaintext::new(out))
    }

    /// Parses an envelope: who can open it, how it was sealed, how long it is. Uses no key and no network.
    ///
    /// Nothing that the envelope says is authenticated until the envelope is opened.
    ///
    /// # Errors
    /// The errors of [`Envelope::parse`].
    pub fn inspect<'b>(&self, envelope: &'b [u8]) -> Result<Envelope<'b>> {
        Envelope::parse(envelope)
    }

    /// Makes new wraps for an envelope, under the KEKs that wrap here. The DEK stays the same, and so does every byte of
    /// the body. The body is not even read: `prefix` needs only to hold the envelope's header (see [`Header::missing`]),
    /// so the cost does not grow with the payload.
    ///
    /// A re-wrap is not a revocation: whoever had the DEK still has it.
    ///
    /// A wrap that is proven to be under a configured KEK is replaced. Every other wrap is kept. [`NewWraps::stanzas`]
    /// tells what became of each wrap. A re-wrap that would leave fewer wraps than it found, or a wrap of a weaker class,
    /// is refused unless the [rules](Self::with_rewrap_rules) allow it.
    ///
    /// # Errors
    /// - the errors of [`open`](Self::open) for the old wraps, and of [`seal`](Self::seal) for the new wraps
    /// - `WouldWeaken` if the rules do not allow what would be left
    /// - `OverLimit` if the kept wraps and the new wraps together are more than 16
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing. The new wraps take effect when the caller stores them.
    pub async fn rewrap(&self, prefix: &[u8], context: &EncryptionContext) -> Result<NewWraps> {
        self.rewrap_inner(prefix, context)
            .await
            .map_err(|error| error.with_operation(Operation::Rewrap))
    }

    async fn rewrap_inner(&self, prefix: &[u8], context: &EncryptionContext) -> Result<NewWraps> {
        let header = Header::parse(prefix)?;
        header.check_stored_context(context.digest())?;
        let section = header.wrap_section()?;
        let request = self
            .request(context, Purpose::Rewrap)
            .with_stored_context(header.body().has_stored_context());
        let wraps = self
            .bounded(self.source.as_ref().rewrap(section, header.body(), &request))
            .await?;
        wraps.check(request.rewrap_rules())?;
        NewWraps::new(&header, &wraps, self.settings.padding)
    }

    /// Returns a [`Rewrapper`], which re-wraps many values.
    #[must_use]
    pub fn rewrapper(&self) -> Rewrapper {
        Rewrapper::new(self.clone())
    }

    /// Returns a data key, to seal many values of one context. Only this call asks the key manager; everything after it
    /// is synchronous. All envelopes of the data key have the same wraps.
    ///
    /// # Errors
    /// - `Configuration` if nothing is configured to wrap with
    /// - the errors of the key managers, and `TimedOut` after the sealer's timeout
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn data_key(&self, context: &EncryptionContext) -> Result<DataKey> {
        self.data_key_inner(context)
            .await
            .map_err(|error| error.with_operation(Operation::Generate))
    }

    async fn data_key_inner(&self, context: &EncryptionContext) -> Result<DataKey> {
        let found = self.seal_dek(context, None).await?;
        let prefix = found.prefix(self.settings.padding, 0)?.into_owned();
        let lease = found.into_lease();
        let runtime = Arc::clone(&self.settings.runtime);
        let end = runtime.now() + self.settings.data_key_age;
        DataKey::new(
            Opener::new(lease, context.clone(), runtime).with_parallel(self.settings.parallel.clone()),
            prefix,
            self.settings.sealing,
            end,
        )
    }

    /// Returns the key of one envelope, and of others of the same DEK, to open them synchronously: in place, or as a
    /// stream behind the header.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open), except those of the AAD and the payload, which are not read yet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn opener(&self, header: &Header<'_>, context: &EncryptionContext) -> Result<Opener> {
        let found = self
            .open_dek(header, context, true)
            .await
            .map_err(|error| error.with_operation(Operation::Open))?;
        let lease = found.into_lease();
        let runtime = Arc::clone(&self.settings.runtime);
        let end = runtime.now() + self.settings.data_key_age;
        let opener = Opener::new(lease, context.clone(), runtime).ending(end);
        Ok(opener.with_parallel(self.settings.parallel.clone()))
    }

    /// Whether nothing was ended or turned over since `epoch`, when the lease was asked for. Otherwise the caller asks
    /// for it again. A lease is put into the registry before it is handed out. For a lease that is in the registry
    /// already, a cache or an earlier call has done both.
    fn is_current(
        &self,
        epoch: u64,
        lease: &Arc<DekLease>,
        wraps: Option<WrapSection<'_>>,
        handed_out: Option<&EncryptionContext>,
    ) -> bool {
        if self.leases.has(lease) {
            return true;
        }
        if let Some(context) = handed_out {
            self.leases.remember(lease, wraps, context);
        }
        epoch == self.leases.epoch()
    }

    fn request<'r>(&'r self, context: &'r EncryptionContext, purpose: Purpose) -> Request<'r> {
        let mut request = Request::new(context).with_purpose(purpose);
        if let Some(timeout) = self.settings.timeout {
            request = request.with_deadline(self.settings.runtime.now() + timeout);
        }
        if let Some(profile) = self.settings.profile.as_deref() {
            request = request.with_profile(profile);
        }
        if purpose == Purpose::Rewrap {
            request = request
                .with_rewrap_rules(self.settings.rules)
                .with_authorizations(&self.settings.authorizations);
        }
        if let Some(actor) = self.settings.actor.as_deref() {
            request = request.with_actor(actor);
        }
        if let Some(id) = self.settings.request_id.as_deref() {
            request = request.with_request_id(id);
        }
        request
    }

    /// Holds a source to the timeout, whatever the source makes of the request's deadline.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        with_timeout(&*self.settings.runtime, self.settings.timeout, work).await
    }

    /// Returns a DEK for a message of so many bytes, or for a data key.
    async fn seal_dek(&self, context: &EncryptionContext, message: Option<usize>) -> Result<ToSeal> {
        let mut request = self
            .request(context, Purpose::Seal)
            .with_stored_context(self.settings.sealing.store_context);
        if let Some(bytes) = message {
            request = request.with_message_len(bytes as u64);
        }
        let handed_out = message.is_none().then_some(context);
        let source = self.source.as_ref();
        let epoch = self.leases.epoch();
        // This avoids a future, which costs as much as sealing a small value.
        if let Some(found) = at_hand::to_seal(source, &request)
            && self.is_live(found.lease())?
            && self.is_current(epoch, found.lease(), None, handed_out)
        {
            return Ok(found);
        }
        self.bounded(async {
            let (mut rounds, mut ended) = (Rounds::default(), false);
            loop {
                let epoch = self.leases.epoch();
                let (lease, wraps) = source.seal_dek(&request).await?;
                if self.is_live_or_again(&lease, &mut ended)? {
                    if self.is_current(epoch, &lease, None, handed_out) {
                        return Ok(ToSeal::Given(lease, wraps));
                    }
                    rounds.again()?;
                }
            }
        })
        .await
    }

    /// Returns the DEK of an envelope, for a message or to be handed out.
    async fn open_dek(
        &self,
        header: &Header<'_>,
        context: &EncryptionContext,
        is_handed_out: bool,
    ) -> Result<ToOpen> {
        header.check_stored_context(context.digest())?;
        let section = header.wrap_section()?;
        let request = self
            .request(context, Purpose::Open)
            .with_stored_context(header.body().has_stored_context());
        let handed_out = is_handed_out.then_some(context);
        let source = self.source.as_ref();
        let epoch = self.leases.epoch();
        if let Some(found) = at_hand::to_open(source, section, header.body(), &request)
            && self.is_live(found.lease())?
            && self.is_current(epoch, found.lease(), Some(section), handed_out)
        {
            return Ok(found);
        }
        self.bounded(async {
            let (mut rounds, mut ended) = (Rounds::default(), false);
            loop {
                let epoch = self.leases.epoch();
                let lease = source.open_dek(section, header.body(), &request).await?;
                if self.is_live_or_again(&lease, &mut ended)? {
                    if self.is_current(epoch, &lease, Some(section), handed_out) {
                        return Ok(ToOpen::Given(lease));
                    }
                    rounds.again()?;
                }
            }
        })
        .await
    }

    /// The same, and an error for the second lease that has ended.
    fn is_live_or_again(&self, lease: &DekLease, ended: &mut bool) -> Result<bool> {
        if std::mem::replace(ended, !self.is_live(lease)?) && *ended {
            lease.check(self.settings.runtime.now())?;
        }
        Ok(!*ended)
    }

    /// Whether a lease can be used. A lease that a source has kept may end on its way here, and is then asked for once
    /// more.
    fn is_live(&self, lease: &DekLease) -> Result<bool> {
        match lease.check(self.settings.runtime.now()) {
            Err(error) if error.kind() == ErrorKind::LeaseExpired => Ok(false),
            checked => checked.map(|()| true),
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Runs `work` in an open session of a lease, or in the next session if others have used up this one meanwhile.
fn in_session<T>(
    lease: &DekLease,
    sealing: Sealing,
    context: &EncryptionContext,
    mut work: impl FnMut(&Arc<Session>) -> Result<T>,
) -> Result<T> {
    loop {
        let session = lease.seal_session(sealing, context)?;
        match work(&session) {
            // Ends when the lease's own budget does, with that error.
            Err(error) if is_session_over(&error) => {}
            result => return result,
        }
    }
}

fn is_session_over(error: &Error) -> bool {
    error.kind()
        == ErrorKind::BudgetExhausted {
            budget: limits::SESSION_MESSAGES.name,
        }
}

fn during<T>(operation: Operation, work: impl FnOnce() -> Result<T>) -> Result<T> {
    work().map_err(|error| error.with_operation(operation))
}
