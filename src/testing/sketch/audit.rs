//! Who did what to which KEK.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::envelope::{BodyHead, KekRef, WrapRef, WrapSection, WrapSet, WrappedDek};
use crate::key::{Capabilities, KeyManager, Purpose, Recognition, Request, Unwrapped};
use crate::source::lease::DekLease;
use crate::source::{Currency, DekSource, Rewrapped};
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::secret::Dek;

/// One access to a key. No plaintext, no key, no context value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditRecord {
    /// What was done, or tried.
    pub operation: Operation,
    /// What for.
    pub purpose: Purpose,
    /// Who asked, as the sealer was told.
    pub actor: Option<String>,
    /// The id that ties log lines together.
    pub request_id: Option<String>,
    /// The digest of the context: tells contexts apart and tells nothing of them.
    pub context_digest: [u8; 32],
    /// The KEKs: those that were used, or, where none was, those the stanzas claim.
    pub keks: Vec<KekRef>,
    /// What went wrong; `None` for a success.
    pub failure: Option<ErrorKind>,
}

impl AuditRecord {
    fn new(operation: Operation, request: &Request<'_>, keks: Vec<KekRef>, failure: Option<&Error>) -> Self {
        Self {
            operation,
            purpose: request.purpose(),
            actor: request.actor().map(str::to_owned),
            request_id: request.request_id().map(str::to_owned),
            context_digest: *request.context().digest(),
            keks,
            failure: failure.map(Error::kind),
        }
    }
}

/// Where records are kept.
pub trait AuditSink: Debug + Send + Sync {
    /// Keeps a record.
    ///
    /// # Errors
    /// Whatever keeps it from being kept.
    fn keep(&self, record: AuditRecord) -> Result<()>;
}

/// What happens where a record cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditMode {
    /// The operation goes on.
    BestEffort,
    /// The operation fails with [`ErrorKind::Audit`], and nothing it gave is released.
    Required,
}

/// Keeps records in memory, and fails on demand.
#[derive(Clone, Debug, Default)]
pub struct MemorySink(Arc<Sink>);

#[derive(Debug, Default)]
struct Sink {
    records: Mutex<Vec<AuditRecord>>,
    failing: AtomicBool,
}

impl MemorySink {
    /// An empty sink.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was kept, in order.
    #[must_use]
    pub fn records(&self) -> Vec<AuditRecord> {
        let records = self.0.records.lock();
        records.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on keeps nothing and says so, or keeps again.
    pub fn set_failing(&self, failing: bool) {
        self.0.failing.store(failing, Ordering::SeqCst);
    }
}

impl AuditSink for MemorySink {
    fn keep(&self, record: AuditRecord) -> Result<()> {
        if self.0.failing.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Store));
        }
        let records = self.0.records.lock();
        records.unwrap_or_else(PoisonError::into_inner).push(record);
        Ok(())
    }
}

/// Where records go, and how much depends on it.
#[derive(Clone, Debug)]
struct Audit {
    sink: Arc<dyn AuditSink>,
    mode: AuditMode,
}

impl Audit {
    /// Records a result before it is released.
    fn release<T>(
        &self,
        operation: Operation,
        request: &Request<'_>,
        result: Result<T>,
        keks: impl FnOnce(Option<&T>) -> Vec<KekRef>,
    ) -> Result<T> {
        let keks = keks(result.as_ref().ok());
        let record = AuditRecord::new(operation, request, keks, result.as_ref().err());
        match (self.sink.keep(record), self.mode) {
            (Ok(()), _) | (Err(_), AuditMode::BestEffort) => result,
            // An operation that failed gave nothing that could be held back: its own error says more.
            (Err(cause), AuditMode::Required) => {
                result.and(Err(Error::new(ErrorKind::Audit).with_source(cause)))
            }
        }
    }
}

fn claimed(stanza: WrapRef<'_>) -> Option<KekRef> {
    KekRef::new(stanza.provider, stanza.kek_id, stanza.kek_version).ok()
}

fn of_wraps(wraps: &[WrappedDek]) -> Vec<KekRef> {
    wraps.iter().map(|wrapped| wrapped.kek().clone()).collect()
}

/// Records every DEK that a source gives out, with the actor: a sketch.
///
/// Around a cache it sees what is answered from memory too.
#[derive(Clone, Debug)]
pub struct AuditedSource<S> {
    inner: S,
    audit: Audit,
}

impl<S: DekSource> AuditedSource<S> {
    /// Records what `inner` does.
    #[must_use]
    pub fn new(inner: S, sink: Arc<dyn AuditSink>, mode: AuditMode) -> Self {
        let audit = Audit { sink, mode };
        Self { inner, audit }
    }
}

#[async_trait]
impl<S: DekSource> DekSource for AuditedSource<S> {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let result = self.inner.seal_dek(request).await;
        self.audit.release(Operation::Generate, request, result, |given| {
            given
                .map(|(_, wraps)| of_wraps(wraps.wraps()))
                .unwrap_or_default()
        })
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        let result = self.inner.open_dek(wraps, body, request).await;
        self.audit
            .release(Operation::Unwrap, request, result, |given| match given {
                Some(lease) => lease.keks().to_vec(),
                None => wraps.stanzas().filter_map(claimed).collect(),
            })
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        let result = self.inner.rewrap(wraps, body, request).await;
        self.audit
            .release(Operation::Rewrap, request, result, |given| match given {
                Some(new) => of_wraps(new.wraps().wraps()),
                None => wraps.stanzas().filter_map(claimed).collect(),
            })
    }

    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        self.inner.is_current(wraps, request)
    }
}

/// Records every call to one key manager, each item of a batch on its own: a sketch.
#[derive(Clone, Debug)]
pub struct AuditedKeys<K> {
    inner: K,
    audit: Audit,
}

impl<K: KeyManager> AuditedKeys<K> {
    /// Records what `inner` does.
    #[must_use]
    pub fn new(inner: K, sink: Arc<dyn AuditSink>, mode: AuditMode) -> Self {
        let audit = Audit { sink, mode };
        Self { inner, audit }
    }

    fn wrapped(&self, request: &Request<'_>, result: Result<WrappedDek>) -> Result<WrappedDek> {
        self.audit.release(Operation::Wrap, request, result, |given| {
            given.map(|wrapped| wrapped.kek().clone()).into_iter().collect()
        })
    }

    fn unwrapped(
        &self,
        stanza: WrapRef<'_>,
        request: &Request<'_>,
        result: Result<Unwrapped>,
    ) -> Result<Unwrapped> {
        self.audit.release(Operation::Unwrap, request, result, |given| {
            // Who did it, where somebody did; else what the stanza claims.
            let kek = given.map(|unwrapped| unwrapped.kek.clone());
            kek.or_else(|| claimed(stanza)).into_iter().collect()
        })
    }

    fn rewrapped(
        &self,
        stanza: WrapRef<'_>,
        request: &Request<'_>,
        result: Result<Option<WrappedDek>>,
    ) -> Result<Option<WrappedDek>> {
        self.audit.release(Operation::Rewrap, request, result, |given| {
            let new = given.and_then(Option::as_ref).map(|new| new.kek().clone());
            claimed(stanza).into_iter().chain(new).collect()
        })
    }
}

#[async_trait]
impl<K: KeyManager> KeyManager for AuditedKeys<K> {
    fn provider(&self) -> &str {
        self.inner.provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        self.inner.recognizes(wrapped)
    }

    fn identity(&self) -> Option<String> {
        self.inner.identity()
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let result = self.inner.generate(request).await;
        self.audit.release(Operation::Generate, request, result, |given| {
            given
                .map(|(_, wrapped)| wrapped.kek().clone())
                .into_iter()
                .collect()
        })
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let result = self.inner.wrap(dek, request).await;
        self.wrapped(request, result)
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let result = self.inner.unwrap(wrapped, request).await;
        self.unwrapped(wrapped, request, result)
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        let result = self.inner.rewrap(wrapped, request).await;
        self.rewrapped(wrapped, request, result)
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        let results = self.inner.wrap_batch(items).await;
        let both = results.into_iter().zip(items);
        both.map(|(result, (_, request))| self.wrapped(request, result))
            .collect()
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        let results = self.inner.unwrap_batch(items).await;
        let both = results.into_iter().zip(items);
        both.map(|(result, (stanza, request))| self.unwrapped(*stanza, request, result))
            .collect()
    }

    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        let results = self.inner.rewrap_batch(items).await;
        let both = results.into_iter().zip(items);
        both.map(|(result, (stanza, request))| self.rewrapped(*stanza, request, result))
            .collect()
    }
}
