//! Records who used which KEK: a layer around a key manager, and a layer around a source of DEKs.
//!
//! ```text
//! cargo run --example audit
//! ```
//!
//! Around a key manager the layer records each call to the KMS. Around a cache it records each access, answered from memory
//! or not. A layer forwards every method of its trait: one that leaves out `unwrap_batch` works through the trait's default
//! method, and makes a hundred calls in the place of one.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use waxseal::backend::local::LocalKey;
use waxseal::envelope::{BodyHead, KekRef, WrapRef, WrapSection, WrapSet, WrappedDek};
use waxseal::key::{Capabilities, Purpose, Recognition, Request, Unwrapped};
use waxseal::source::{AnyOf, Cached, Currency, DekLease, Rewrapped};
use waxseal::value::{Dek, Operation};
use waxseal::{DekSource, EncryptionContext, Error, ErrorKind, Kek, KeyManager, Result, Sealer, blocking};

fn main() -> Result<()> {
    let (calls, accesses) = (MemorySink::default(), MemorySink::default());
    let key = LocalKey::new(&Kek::generate()?);
    let key = AuditedKeys::new(key, Arc::new(calls.clone()), AuditMode::BestEffort);
    let cache = Cached::new(AnyOf::new(key));
    let source = AuditedSource::new(cache, Arc::new(accesses.clone()), AuditMode::Required);
    let sealer = blocking::Sealer::from(Sealer::from_source(source).acting_as("alice"));

    let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
    let mut sealed = Vec::new();
    for row in ["row 1", "row 2", "row 3"] {
        sealed.push(sealer.seal(row.as_bytes(), context.with_aad(row.as_bytes()))?);
    }
    sealer.open(&sealed[0], context.with_aad(b"row 1"))?;
    for record in accesses.records() {
        let keks: Vec<String> = record.keks.iter().map(ToString::to_string).collect();
        let actor = record.actor.as_deref().unwrap_or("somebody");
        println!("{actor}: {} under {}", record.operation, keks.join(", "));
    }
    println!(
        "{} accesses, {} calls to the key manager",
        accesses.records().len(),
        calls.records().len()
    );

    // What cannot be recorded is not released.
    accesses.set_failing(true);
    match sealer.open(&sealed[1], context.with_aad(b"row 2")) {
        Err(error) if error.kind() == ErrorKind::Audit => println!("refused: {error}"),
        other => println!("not refused: {:?}", other.map(|_| ())),
    }
    Ok(())
}

/// One access to a key. It holds no plaintext, no key and no value of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditRecord {
    /// What was done or tried.
    pub(crate) operation: Operation,
    /// What it was done for.
    pub(crate) purpose: Purpose,
    /// Who asked, as [`Sealer::acting_as`] was told.
    pub(crate) actor: Option<String>,
    /// The id that ties log lines together.
    pub(crate) request_id: Option<String>,
    /// The digest of the context, which tells contexts apart and reveals nothing of them.
    pub(crate) context_digest: [u8; 32],
    /// The KEKs that were used. If none was used, the KEKs that the stanzas claim.
    pub(crate) keks: Vec<KekRef>,
    /// What went wrong, or `None` after a success.
    pub(crate) failure: Option<ErrorKind>,
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
pub(crate) trait AuditSink: Debug + Send + Sync {
    /// Keeps a record, or returns why it cannot.
    fn keep(&self, record: AuditRecord) -> Result<()>;
}

/// What happens if a record cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AuditMode {
    /// The operation goes on.
    BestEffort,
    /// The operation fails with [`ErrorKind::Audit`], and its result is not released.
    Required,
}

/// Keeps records in memory, and fails on demand.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemorySink(Arc<Sink>);

#[derive(Debug, Default)]
struct Sink {
    records: Mutex<Vec<AuditRecord>>,
    failing: AtomicBool,
}

impl MemorySink {
    /// Returns the records, in order.
    pub(crate) fn records(&self) -> Vec<AuditRecord> {
        let records = self.0.records.lock();
        records.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses every record from now on, or keeps records again.
    pub(crate) fn set_failing(&self, failing: bool) {
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

/// Where records go, and what happens if they cannot.
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
            // A failed operation has no result to hold back, and its own error says more.
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

/// Records every DEK that a source hands out. Around a cache this includes what the cache answers from memory.
#[derive(Clone, Debug)]
pub(crate) struct AuditedSource<S> {
    inner: S,
    audit: Audit,
}

impl<S: DekSource> AuditedSource<S> {
    pub(crate) fn new(inner: S, sink: Arc<dyn AuditSink>, mode: AuditMode) -> Self {
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

    fn may_keep(&self, request: &Request<'_>) -> bool {
        self.inner.may_keep(request)
    }
}

/// Records every call to one key manager, and each item of a batch on its own.
#[derive(Clone, Debug)]
pub(crate) struct AuditedKeys<K> {
    inner: K,
    audit: Audit,
}

impl<K: KeyManager> AuditedKeys<K> {
    pub(crate) fn new(inner: K, sink: Arc<dyn AuditSink>, mode: AuditMode) -> Self {
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
            // The KEK that unwrapped, or else the KEK that the stanza claims.
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

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        Ok(Arc::new(AuditedKeys {
            inner: self.inner.pinned_to(kek)?,
            audit: self.audit.clone(),
        }))
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
