//! Several KEKs, any one of which opens.

mod failures;
mod open;
mod owner;
mod rewrap;

use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::local;
use crate::envelope::{BodyHead, WrapRef, WrapSection, WrapSet, WrappedDek};
use crate::key::{CallBudget, KeyManager, Request};
use crate::runtime::{AmbientRuntime, Runtime};
use crate::source::lease::DekLease;
use crate::source::{Currency, DekSource, Rewrapped};
use crate::value::error::{Error, ErrorKind, Result};

/// Wraps each DEK under every KEK of one list, and opens with any KEK of that list or of another.
///
/// It rotates by hand: the new KEK wraps, the old KEK only opens, and a re-wrap moves what is stored.
///
/// ```
/// use waxseal::backend::local::LocalKey;
/// use waxseal::source::AnyOf;
/// use waxseal::{EncryptionContext, Kek, Sealer, blocking};
///
/// let (old, new) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let sealed = blocking::Sealer::new(old.clone()).seal(b"hello", &context)?;
///
/// let source = AnyOf::new(new.clone()).open_with(old);
/// let sealer = blocking::Sealer::from(Sealer::from_source(source));
/// let moved = sealer.rewrap(&sealed, &context)?.splice(&sealed)?;
/// assert_eq!(blocking::Sealer::new(new).open(&moved, &context)?, b"hello");
/// # Ok::<(), waxseal::Error>(())
/// ```
///
/// *Opening* tries local KEKs first, then stanzas that are certainly under a configured KEK, then stanzas that may be.
/// Each stanza is tried once with each KEK, however often that KEK is configured, and an envelope causes at most
/// [`BACKEND_CALLS`](crate::value::limits::BACKEND_CALLS) calls. A request's deadline is shared among what is left to
/// try, so that one key manager that hangs does not use it up.
///
/// *Re-wrap* replaces the stanzas that are proven to be under a KEK configured here: its id is
/// [`Mine`](crate::key::Recognition::Mine), or it unwraps to the same DEK. It keeps every other stanza, so that no other
/// recipient loses access, and never leaves fewer wraps or a weaker class than it found.
/// [`RewrapRules`](crate::key::RewrapRules) say what it may do beyond that.
///
/// Only an unwrap proves a stanza whose id is not unique in the world (a hidden id, the label of a token, the path of a
/// Vault). If the key manager that could tell refuses (`Denied`, `KeyDisabled`) or only wraps, the re-wrap fails with
/// that error and changes nothing: such a stanza, kept beside the new wrap of the same key, would be one more with each
/// re-wrap, and replaced, it might be another recipient's. So a key manager of such ids that wraps must be allowed to
/// unwrap for a re-wrap. The alternative is [`RewrapRules::dropping_unknown`](crate::key::RewrapRules::dropping_unknown),
/// by which its new wrap takes the place of the stanzas that nobody can prove.
#[derive(Clone, Debug)]
pub struct AnyOf {
    wrap_with: Vec<Arc<dyn KeyManager>>,
    open_with: Vec<Arc<dyn KeyManager>>,
    hide_ids: bool,
    runtime: Arc<dyn Runtime>,
}

impl Default for AnyOf {
    fn default() -> Self {
        Self {
            wrap_with: Vec::new(),
            open_with: Vec::new(),
            hide_ids: false,
            runtime: Arc::new(AmbientRuntime),
        }
    }
}

impl AnyOf {
    /// Makes a source that wraps under `key_manager`, and opens with it.
    #[must_use]
    pub fn new(key_manager: impl KeyManager + 'static) -> Self {
        Self::default().wrap_with(key_manager)
    }

    /// Wraps under this key manager too. If any wrap fails, sealing fails.
    #[must_use]
    pub fn wrap_with(mut self, key_manager: impl KeyManager + 'static) -> Self {
        self.wrap_with.push(Arc::new(key_manager));
        self
    }

    /// Opens with this key manager too, and never wraps under it.
    #[must_use]
    pub fn open_with(mut self, key_manager: impl KeyManager + 'static) -> Self {
        self.open_with.push(Arc::new(key_manager));
        self
    }

    /// Leaves KEK ids and versions out of what is written. Readers then try each of their KEKs of the same provider and
    /// algorithm, and an inspection does not show which KEK wrapped.
    #[must_use]
    pub fn hiding_ids(mut self) -> Self {
        self.hide_ids = true;
        self
    }

    /// Sets the clock for deadlines, which must be the clock of those who make the requests. [`AmbientRuntime`] by
    /// default. A [`Builder`](crate::Builder) sets its own.
    #[must_use]
    pub fn with_runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.managers().next().is_none()
    }

    /// Whether nothing was configured at all.
    pub(crate) fn is_default(&self) -> bool {
        self.is_empty() && !self.hide_ids
    }

    /// How many KEKs wrap each DEK.
    pub(crate) fn wraps(&self) -> usize {
        self.wrap_with.len()
    }

    /// Refuses hidden ids of a KEK that only wraps here. A re-wrap could not tell its wraps from those of others, and
    /// would add one each time.
    pub(crate) fn check_hidden(&self) -> Result<()> {
        let is_blind = |manager: &&Arc<dyn KeyManager>| self.is_blind(manager);
        match self.wrap_with.iter().find(is_blind).filter(|_| self.hide_ids) {
            None => Ok(()),
            Some(manager) => Err(Error::configuration(
                "a key manager that only wraps could not tell its wraps with hidden ids from those of others; \
                 open with its key too, or do not hide ids",
            )
            .with_provider(manager.provider().to_owned())),
        }
    }

    /// Whether a manager only wraps, and nobody here is known to unwrap with the same KEK.
    fn is_blind(&self, manager: &Arc<dyn KeyManager>) -> bool {
        let unwraps = |other: &Arc<dyn KeyManager>| {
            other.capabilities().unwraps
                && other
                    .identity()
                    .is_some_and(|other| Some(other) == manager.identity())
        };
        !manager.capabilities().unwraps && !self.managers().any(unwraps)
    }

    /// Refuses a KEK that would wrap each DEK twice: what looks like two recipients would be one.
    pub(crate) fn check_twice(&self) -> Result<()> {
        if self.wrap_with.len() < 2 {
            return Ok(());
        }
        let mut seen: Vec<String> = Vec::with_capacity(self.wrap_with.len());
        for manager in &self.wrap_with {
            let Some(identity) = manager.identity() else {
                continue;
            };
            if seen.contains(&identity) {
                return Err(Error::configuration(
                    "two key managers to wrap with are the same key; a second wrap under it would let nobody else open",
                )
                .with_provider(manager.provider().to_owned()));
            }
            seen.push(identity);
        }
        Ok(())
    }

    /// The key managers that wrap each DEK.
    #[cfg(feature = "ring")]
    pub(crate) fn wrapping(&self) -> &[Arc<dyn KeyManager>] {
        &self.wrap_with
    }

    #[cfg(feature = "ring")]
    pub(crate) fn clock(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// The same, with another in the place of each key manager for which there is one.
    #[cfg(feature = "ring")]
    pub(crate) fn replacing(
        &self,
        other: impl Fn(usize, &Arc<dyn KeyManager>) -> Option<Arc<dyn KeyManager>>,
    ) -> Self {
        let (mut all, count) = (self.clone(), self.wrap_with.len());
        for (place, manager) in all.wrap_with.iter_mut().enumerate() {
            if let Some(other) = other(place, manager) {
                *manager = other;
            }
        }
        for (place, manager) in all.open_with.iter_mut().enumerate() {
            if let Some(other) = other(count + place, manager) {
                *manager = other;
            }
        }
        all
    }

    pub(crate) fn managers(&self) -> impl Iterator<Item = &Arc<dyn KeyManager>> {
        self.wrap_with.iter().chain(&self.open_with)
    }

    fn shown(&self, wrapped: WrappedDek) -> WrappedDek {
        if self.hide_ids {
            wrapped.with_hidden_id()
        } else {
            wrapped
        }
    }

    /// Returns a DEK if the only KEK is in this process, because then nobody has to be asked or told. An error is left to
    /// those who ask.
    pub(super) fn at_hand_to_seal(&self, request: &Request<'_>) -> Option<(Arc<DekLease>, WrapSet)> {
        let [manager] = self.wrap_with.as_slice() else {
            return None;
        };
        let (dek, wrapped) = local::generate_now(manager.as_ref(), request)?.ok()?;
        let wrapped = own(manager, wrapped).ok()?;
        let lease = DekLease::for_sealing_under(dek, wrapped.kek().clone(), request.context());
        Some((Arc::new(lease), WrapSet::of_one(self.shown(wrapped)).ok()?))
    }

    fn set_of(&self, wraps: Vec<WrappedDek>) -> Result<WrapSet> {
        WrapSet::any_of(wraps.into_iter().map(|wrapped| self.shown(wrapped)).collect())
    }
}

#[async_trait]
impl DekSource for AnyOf {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let (first, others) = self.wrap_with.split_first().ok_or_else(nothing_to_wrap_with)?;
        self.check_twice()?;
        let (dek, wrapped) = first.as_ref().generate(request).await?;
        let wrapped = own(first, wrapped)?;
        let mut keks = Vec::with_capacity(self.wrap_with.len());
        let mut wraps = Vec::with_capacity(self.wrap_with.len());
        keks.push(wrapped.kek().clone());
        wraps.push(wrapped);
        for manager in others {
            let wrapped = own(manager, manager.as_ref().wrap(&dek, request).await?)?;
            keks.push(wrapped.kek().clone());
            wraps.push(wrapped);
        }
        Ok((
            Arc::new(DekLease::for_sealing(dek, keks, request.context())),
            self.set_of(wraps)?,
        ))
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        let calls = CallBudget::new();
        let request = request
            .clone()
            .with_call_budget(request.call_budget().unwrap_or(&calls));
        self.open(wraps, body, &request).await.map(|opened| opened.lease)
    }

    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        self.currency(wraps, request.rewrap_rules())
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        let calls = CallBudget::new();
        let request = request
            .clone()
            .with_call_budget(request.call_budget().unwrap_or(&calls));
        let rewrapped = self.rewrap_section(wraps, body, &request).await?;
        rewrapped.check(request.rewrap_rules())?;
        Ok(rewrapped)
    }
}

/// Refuses a wrap that its own maker does not recognize. Under another name nobody would ever try it.
fn own(manager: &Arc<dyn KeyManager>, wrapped: WrappedDek) -> Result<WrappedDek> {
    let stanza: WrapRef<'_> = wrapped.as_wrap_ref();
    if !manager.recognizes(stanza).is_no() && stanza.share_index == 0 {
        return Ok(wrapped);
    }
    Err(Error::new(ErrorKind::InvalidAnswer)
        .with_provider(manager.provider().to_owned())
        .with_detail("it does not recognize the wrap that it made"))
}

fn nothing_to_wrap_with() -> Error {
    Error::configuration("no key manager is configured to wrap with")
}

#[cfg(test)]
mod tests;
