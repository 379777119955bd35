//! A KEK as a ring lets it be used.

use std::sync::Arc;

use async_trait::async_trait;

use super::approved::Approved;
use super::key::{Key, Usage};
use super::keys::{Kek, to_kek};
use super::managers::Managers;
use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::{self, Binds, Capabilities, KeyManager, Purpose, Recognition, Request, Unwrapped, Versions};
use crate::ring::record::BRANCH_ALGORITHM;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::Dek;

/// A KEK that may be used here. It wraps as one key, and unwraps as those of its versions whose states permit it.
#[derive(Debug)]
pub(super) struct RingKey {
    kek: Arc<Kek>,
    key: Arc<Key>,
    reach: Reach,
    /// What approvals of a re-wrap allow.
    approved: Option<Arc<Approved>>,
}

/// How its backend is reached.
#[derive(Debug)]
enum Reach {
    /// Pinned to the key.
    Open(Arc<dyn KeyManager>),
    /// Opened when it is asked to unwrap, in the time that it has for that.
    Later(Arc<Managers>),
}

impl RingKey {
    /// `manager` is pinned to `key`, one of the KEK's.
    pub(super) fn open(kek: Arc<Kek>, key: Arc<Key>, manager: Arc<dyn KeyManager>) -> Self {
        let reach = Reach::Open(manager);
        Self {
            kek,
            key,
            reach,
            approved: None,
        }
    }

    /// Only to unwrap: what it recognizes goes by what the record says.
    pub(super) fn later(kek: Arc<Kek>, key: Arc<Key>, managers: Arc<Managers>) -> Self {
        let reach = Reach::Later(managers);
        Self {
            kek,
            key,
            reach,
            approved: None,
        }
    }

    /// The same, for a re-wrap with approvals.
    pub(super) fn under(self, approved: Option<&Arc<Approved>>) -> Self {
        Self {
            approved: approved.cloned(),
            ..self
        }
    }

    fn usage(&self, request: &Request<'_>) -> Usage<'_> {
        usage(request, self.approved.as_ref())
    }

    fn at_hand(&self) -> Option<&Arc<dyn KeyManager>> {
        match &self.reach {
            Reach::Open(manager) => Some(manager),
            Reach::Later(_) => None,
        }
    }

    async fn manager(&self, request: &Request<'_>) -> Result<Arc<dyn KeyManager>> {
        match &self.reach {
            Reach::Open(manager) => Ok(Arc::clone(manager)),
            Reach::Later(managers) => managers.of(&self.key, request).await,
        }
    }

    /// Refuses a wrap under another key than the ring has chosen: its state decides, never the backend's primary.
    fn pinned(&self, wrapped: WrappedDek) -> Result<WrappedDek> {
        let (by, key) = (wrapped.kek(), to_kek(&self.key));
        let is_it = by.is_same_key(&key) && (!self.proves_versions() || by.version() == key.version());
        if is_it && wrapped.algorithm() != self.key.wrap_algorithm() {
            return Err(Error::new(ErrorKind::InvalidAnswer)
                .with_provider(self.provider().to_owned())
                .with_detail(format!(
                    "the ring has {key} with the algorithm {}, and it has wrapped with {}",
                    self.key.algorithm,
                    wrapped.algorithm()
                )));
        }
        if is_it {
            return Ok(wrapped);
        }
        Err(Error::new(ErrorKind::InvalidAnswer)
            .with_provider(self.provider().to_owned())
            .with_detail(format!("it was to wrap under {key}, and has wrapped under {by}")))
    }

    /// Whether the backend's answers tell which version it was.
    fn proves_versions(&self) -> bool {
        let manager = self.at_hand();
        manager.is_some_and(|manager| manager.capabilities().versions == Versions::Proven)
    }

    /// What a stanza names has to be permitted before anybody is asked.
    fn check(&self, stanza: WrapRef<'_>, request: &Request<'_>) -> Result<()> {
        let version = match stanza.kek_id.is_empty() {
            true => "",
            false => stanza.kek_version,
        };
        self.kek.verdict(version, self.usage(request))
    }

    /// Remembers under which approvals something was unwrapped: by one of these keys, so under none if one of them needs none.
    fn note_use<'k>(&self, keys: impl Iterator<Item = &'k Arc<Key>>) {
        let Some(approved) = &self.approved else { return };
        let keys: Vec<_> = keys.collect();
        if keys.iter().all(|key| key.needs_approval()) {
            keys.iter().for_each(|key| approved.note_use(key));
        }
    }

    /// What has unwrapped has to be permitted, whatever the stanza named.
    fn proven(&self, unwrapped: Unwrapped, versions: Versions, request: &Request<'_>) -> Result<Unwrapped> {
        if !unwrapped.kek.is_same_key(&to_kek(&self.key)) {
            return Err(Error::new(ErrorKind::InvalidAnswer)
                .with_provider(self.provider().to_owned())
                .with_detail("another key has unwrapped than was asked"));
        }
        let (version, usage) = (unwrapped.kek.version(), self.usage(request));
        match versions {
            Versions::Proven => {
                self.kek.verdict_of_proven(version, usage)?;
                self.note_use(self.kek.proven(version));
            }
            _ if version.is_empty() => {
                self.kek.verdict(version, usage)?;
                self.note_use(self.kek.keys.iter());
            }
            _ => {
                self.kek.verdict(version, usage)?;
                self.note_use(self.kek.versions(version));
            }
        }
        Ok(unwrapped)
    }
}

#[async_trait]
impl KeyManager for RingKey {
    fn provider(&self) -> &str {
        &self.key.provenance.provider
    }

    fn capabilities(&self) -> Capabilities {
        let Some(manager) = self.at_hand() else {
            return Capabilities::new(self.kek.algorithm(), Binds::Aad);
        };
        let mut capabilities = manager.capabilities();
        // Where versions are told apart, only an unwrap shows which one it was. And the use of an approval is noted at an unwrap.
        capabilities.rewraps &= !self.proves_versions() && self.approved.is_none();
        capabilities
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        if !self.kek.may_have_wrapped(wrapped) {
            return Recognition::No;
        }
        self.at_hand()
            .map_or(Recognition::Perhaps, |manager| manager.recognizes(wrapped))
    }

    fn identity(&self) -> Option<String> {
        self.at_hand()?.identity()
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let (dek, wrapped) = self.manager(request).await?.as_ref().generate(request).await?;
        Ok((dek, self.pinned(wrapped)?))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        self.pinned(self.manager(request).await?.as_ref().wrap(dek, request).await?)
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        self.check(wrapped, request)?;
        let manager = self.manager(request).await?;
        if manager.recognizes(wrapped).is_no() {
            return Err(key::not_recognized(&wrapped));
        }
        let unwrapped = manager.as_ref().unwrap(wrapped, request).await?;
        self.proven(unwrapped, manager.capabilities().versions, request)
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        if !self.capabilities().rewraps || !self.kek.may_have_wrapped(wrapped) {
            return Ok(None);
        }
        self.check(wrapped, request)?;
        match self
            .manager(request)
            .await?
            .as_ref()
            .rewrap(wrapped, request)
            .await?
        {
            Some(wrapped) => self.pinned(wrapped).map(Some),
            None => Ok(None),
        }
    }
}

/// A KEK that nobody asks here: the states of its keys forbid it, or it could not be opened. It refuses each of its stanzas,
/// so that the error names it.
#[derive(Debug)]
pub(super) struct Closed {
    kek: Arc<Kek>,
    provider: String,
    error: Error,
    /// What approvals of a re-wrap allow.
    approved: Option<Arc<Approved>>,
    /// For a re-wrap: tells whether a stanza is certainly its own, and is asked nothing else.
    manager: Option<Arc<dyn KeyManager>>,
}

impl Closed {
    pub(super) fn new(kek: Arc<Kek>, error: Error, manager: Option<Arc<dyn KeyManager>>) -> Self {
        let provider = kek.keys.first().map(|key| key.provenance.provider.clone());
        Self {
            kek,
            provider: provider.unwrap_or_default(),
            error,
            approved: None,
            manager,
        }
    }

    /// The same, for a re-wrap with approvals.
    pub(super) fn under(self, approved: Option<&Arc<Approved>>) -> Self {
        Self {
            approved: approved.cloned(),
            ..self
        }
    }
}

fn usage<'a>(request: &Request<'_>, approved: Option<&'a Arc<Approved>>) -> Usage<'a> {
    match request.purpose() {
        Purpose::Rewrap => Usage::Rewrap(approved.map(|approved| &**approved)),
        _ => Usage::Open,
    }
}

#[async_trait]
impl KeyManager for Closed {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn capabilities(&self) -> Capabilities {
        // No call is made, and none is counted.
        let algorithm = self.kek.algorithm();
        Capabilities::new(algorithm, Binds::Aad).local()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        // Of a hidden id nobody knows.
        if wrapped.kek_id.is_empty() || !self.kek.may_have_wrapped(wrapped) {
            return Recognition::No;
        }
        // Whether an id is unique in the world, only its backend knows.
        let manager = self.manager.as_ref();
        manager.map_or(Recognition::Perhaps, |manager| manager.recognizes(wrapped))
    }

    async fn wrap(&self, _: &Dek, _: &Request<'_>) -> Result<WrappedDek> {
        Err(self.error.copy())
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        // The state of the very key that it names, if it names one.
        self.kek
            .verdict(wrapped.kek_version, usage(request, self.approved.as_ref()))?;
        Err(self.error.copy())
    }
}

/// A branch key that nobody opens: it knows its stanzas, and is asked nothing else.
#[derive(Debug)]
pub(super) struct Named(KekRef);

impl Named {
    pub(super) fn of(key: &Key) -> Arc<dyn KeyManager> {
        Arc::new(Self(to_kek(key)))
    }
}

#[async_trait]
impl KeyManager for Named {
    fn provider(&self) -> &str {
        self.0.provider()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(BRANCH_ALGORITHM, Binds::Aad).local()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        Recognition::by_id(wrapped, BRANCH_ALGORITHM, self.provider(), self.0.id())
    }

    async fn wrap(&self, _: &Dek, _: &Request<'_>) -> Result<WrappedDek> {
        Err(Error::new(ErrorKind::NoUsableKey))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, _: &Request<'_>) -> Result<Unwrapped> {
        Err(key::not_recognized(&wrapped))
    }
}
