//! The files of a log as objects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{
    Error as Fault, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion,
};
use waxseal::audit::TileStore;
use waxseal::runtime::{Door, Kept};
use waxseal::{Error, ErrorKind, Result};

use crate::fault::fault;
use crate::url;

/// The most that one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of an object that is read: a bundle of 256 records as long as they can be.
const MAX: u64 = 256 * 65_537;

/// A copy of an audit log in a store of objects, for [`waxseal::audit::publish`].
pub struct ObjectTiles {
    // Before the runtime that its connections need.
    store: Kept<Arc<dyn ObjectStore>>,
    prefix: Path,
    door: Door,
}

impl ObjectTiles {
    /// Uses the objects of this store whose names begin with `prefix` and `/`.
    ///
    /// # Errors
    /// `InvalidArgument` if the prefix cannot be one; `Unavailable` if the process cannot have another thread.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        Ok(Self {
            store: Kept::new(store),
            prefix: url::prefix(prefix)?,
            door: Door::new(TIMEOUT, "the object store")?,
        })
    }

    /// Uses the objects of a URL: `s3://BUCKET/PREFIX` (feature `aws`), `gs://BUCKET/PREFIX` (`gcp`), `az://CONTAINER/PREFIX` (`azure`). Credentials, region and
    /// endpoint come from the variables of the service's own tools: `AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`,
    /// `AZURE_STORAGE_ACCOUNT_NAME` and so on, as [`object_store`] documents, and from where the service hands them to its machines.
    ///
    /// # Errors
    /// `InvalidArgument` if the URL is none of these, or has more than a name and a prefix; `Configuration` if the feature is off, or a variable is wrong;
    /// those of [`new`](Self::new).
    pub fn from_url(url: &str) -> Result<Self> {
        let (store, prefix) = url::open(url)?;
        Self::new(store, prefix)
    }

    /// Sets how long one call may take, what is tried again included. 30 seconds by default.
    ///
    /// # Errors
    /// `Unavailable` if the process cannot have another thread.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self> {
        Ok(Self {
            door: Door::new(timeout, "the object store")?,
            ..self
        })
    }

    async fn call<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce(Arc<dyn ObjectStore>, Path) -> F,
    ) -> Result<T> {
        let name = match self.prefix.as_ref() {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        };
        let path = Path::parse(&name).map_err(|error| {
            Error::new(ErrorKind::InvalidArgument)
                .with_detail("an object cannot have that name")
                .with_source(error)
        })?;
        let work = work(Arc::clone(self.store.get()?), path);
        let done = self.door.run(Duration::ZERO, work).await;
        done.map_err(|error| match error.detail() {
            Some(detail) => {
                let detail = format!("{name}: {detail}");
                error.with_detail(detail)
            }
            None => error,
        })
    }
}

/// An object and its version.
struct Seen {
    bytes: Vec<u8>,
    version: UpdateVersion,
}

async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Option<Seen>> {
    let found = match store.get(path).await {
        Ok(found) => found,
        Err(Fault::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    let too_long = || {
        Error::new(ErrorKind::OverLimit {
            limit: "bytes of an object",
            max: MAX,
        })
    };
    let version = UpdateVersion {
        e_tag: found.meta.e_tag.clone(),
        version: found.meta.version.clone(),
    };
    if found.meta.size > MAX {
        return Err(too_long());
    }
    let (mut bytes, mut stream) = (Vec::new(), found.into_stream());
    while let Some(part) = stream.next().await {
        let part = part.map_err(fault)?;
        if bytes.len() as u64 + part.len() as u64 > MAX {
            return Err(too_long());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Some(Seen { bytes, version }))
}

async fn write(store: &dyn ObjectStore, path: &Path, bytes: Vec<u8>, mode: PutMode) -> Result<bool> {
    let options = PutOptions {
        mode,
        ..PutOptions::default()
    };
    match store.put_opts(path, PutPayload::from(bytes), options).await {
        Ok(_) => Ok(true),
        Err(Fault::AlreadyExists { .. } | Fault::Precondition { .. }) => Ok(false),
        Err(error) => Err(fault(error)),
    }
}

#[async_trait]
impl TileStore for ObjectTiles {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let found = self.call(path, |store, path| async move { read(&*store, &path).await });
        Ok(found.await?.map(|seen| seen.bytes))
    }

    async fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let bytes = bytes.to_vec();
        let put = self.call(path, |store, path| async move {
            write(&*store, &path, bytes, PutMode::Overwrite).await
        });
        put.await.map(drop)
    }

    async fn replace(&self, path: &str, seen: Option<&[u8]>, bytes: &[u8]) -> Result<bool> {
        let (seen, bytes) = (seen.map(<[u8]>::to_vec), bytes.to_vec());
        self.call(path, |store, path| async move {
            let mode = match seen {
                None => PutMode::Create,
                Some(seen) => match read(&*store, &path).await? {
                    Some(there) if there.bytes == seen => PutMode::Update(there.version),
                    _ => return Ok(false),
                },
            };
            write(&*store, &path, bytes, mode).await
        })
        .await
    }
}

impl fmt::Debug for ObjectTiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectTiles")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
