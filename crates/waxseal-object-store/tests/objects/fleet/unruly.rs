//! A service that fails as services do, and one that does what none should.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Refused: it is another object.
    Changed,
    /// Nothing is done.
    Fails,
    /// It is done, and nobody learns it.
    LosesAnswer,
    /// It ends before its end.
    Cut,
    /// It ends before its end, with an error.
    Breaks,
    /// No answer ever comes.
    Hangs,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    /// Of the whole object.
    Get,
    Put,
}

type Rule = Box<dyn FnMut(Call, &Path, u64) -> Fault + Send>;
type Names = Box<dyn Fn(Vec<ObjectMeta>) -> Vec<ObjectMeta> + Send + Sync>;

/// Around another service. The rule knows what is asked, of which object, and how many calls there were before.
pub(super) struct Unruly {
    inner: Arc<dyn ObjectStore>,
    rule: Mutex<Rule>,
    calls: AtomicU64,
    /// How many objects are being put, and were at most.
    pub(super) puts: Arc<(AtomicU64, AtomicU64)>,
    /// How it replaces.
    pub(super) conditions: Conditions,
    /// What it makes of a listing.
    pub(super) names: Option<Names>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conditions {
    Held,
    Ignored,
    Missing,
}

impl Unruly {
    pub(super) fn new(
        inner: &Arc<dyn ObjectStore>,
        rule: impl FnMut(Call, &Path, u64) -> Fault + Send + 'static,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            rule: Mutex::new(Box::new(rule)),
            calls: AtomicU64::new(0),
            puts: Arc::default(),
            conditions: Conditions::Held,
            names: None,
        }
    }

    fn fault(&self, call: Call, path: &Path) -> Fault {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        (self.rule.lock().unwrap())(call, path, before)
    }

    fn named(
        &self,
        listed: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let Some(names) = &self.names else { return listed };
        let metas = futures_util::FutureExt::now_or_never(listed.collect::<Vec<_>>()).unwrap();
        let metas = names(metas.into_iter().map(Result::unwrap).collect());
        stream::iter(metas.into_iter().map(Ok)).boxed()
    }
}

fn generic(text: &str) -> Error {
    Error::Generic {
        store: "Unruly",
        source: text.into(),
    }
}

impl fmt::Debug for Unruly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unruly")
    }
}

impl fmt::Display for Unruly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unruly")
    }
}

#[async_trait]
impl ObjectStore for Unruly {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        match (self.conditions, &options.mode) {
            (Conditions::Missing, PutMode::Update(_)) => {
                return Err(Error::NotImplemented {
                    operation: "PutMode::Update".into(),
                    implementer: "Unruly".into(),
                });
            }
            (Conditions::Ignored, _) => options.mode = PutMode::Overwrite,
            _ => {}
        }
        let (now, most) = &*self.puts;
        most.fetch_max(1 + now.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        now.fetch_sub(1, Ordering::SeqCst);
        let changed = Error::Precondition {
            path: path.to_string(),
            source: "412".into(),
        };
        match self.fault(Call::Put, path) {
            Fault::Changed => Err(changed),
            Fault::Fails => Err(generic("503")),
            Fault::Hangs => std::future::pending().await,
            Fault::LosesAnswer => {
                self.inner.put_opts(path, payload, options).await?;
                Err(generic("connection reset"))
            }
            _ => self.inner.put_opts(path, payload, options).await,
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        panic!("nothing is put without a condition")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let call = if options.range.is_some() || options.head {
            Call::Read
        } else {
            Call::Get
        };
        let fault = self.fault(call, path);
        match fault {
            Fault::Changed => {
                return Err(Error::Precondition {
                    path: path.to_string(),
                    source: "412".into(),
                });
            }
            Fault::Fails | Fault::LosesAnswer => return Err(generic("429")),
            Fault::Hangs => std::future::pending().await,
            _ => {}
        }
        let mut found = self.inner.get_opts(path, options).await?;
        if matches!(fault, Fault::Cut | Fault::Breaks) {
            let end = match fault {
                Fault::Cut => Vec::new(),
                _ => vec![Err(generic("connection reset"))],
            };
            let GetResultPayload::Stream(parts) = found.payload;
            let half = parts.map(|part| part.map(|part| part.slice(..part.len() / 2)));
            found.payload = GetResultPayload::Stream(half.chain(stream::iter(end)).boxed());
        }
        Ok(found)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.named(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.named(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
