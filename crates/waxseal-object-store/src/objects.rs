//! The objects below a prefix, for re-wraps.

mod conditions;
mod cuts;
mod front;
mod listing;
mod place;
mod swap;

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_lock::{OnceCell, Semaphore};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use object_store::ObjectStore;
use waxseal::fleet::{Change, Item, Page, Range, Replaced, Scanned, Store};
use waxseal::runtime::{Door, Kept};
use waxseal::{EncryptionContext, Error, ErrorKind, Result};

use crate::url;
use conditions::Conditions;
use front::Read;
use listing::{Listed, Listing};
use place::Place;

type Contexts = Arc<dyn Fn(&str) -> Result<Option<EncryptionContext>> + Send + Sync>;

/// The most that one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Of a service that is slow, a second more for each so many bytes that are copied.
const BYTES_A_SECOND: u64 = 1 << 20;
/// The most bytes of an object that is replaced.
const MAX_OBJECT: u64 = 64 << 20;
/// How many are replaced at once.
const REPLACES: usize = 4;
/// How many are read at once.
const READS: usize = 32;
/// How many are listed in one call. It is the page of the services themselves.
const LISTED: usize = 1000;
/// How many listings are kept: those of the parts of a job.
const MOST_STOPPED: usize = 256;

/// The objects below a prefix, for [`RewrapJob`](waxseal::fleet::RewrapJob). The id of an object is its name behind the prefix and `/`.
///
/// ```
/// # use std::sync::Arc;
/// # use object_store::{ObjectStoreExt as _, memory::InMemory};
/// # use waxseal::{EncryptionContext, Kek, Sealer, backend::local::LocalKey};
/// use waxseal::fleet::RewrapJob;
/// use waxseal_object_store::Objects;
///
/// # fn main() -> waxseal::Result<()> { pollster::block_on(async {
/// # let (old, new) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
/// # let of = |id: &str| EncryptionContext::new([("document", id)]);
/// # let sealed = Sealer::new(old.clone()).seal(b"hello", &of("2026/7.pdf")?).await?;
/// # let service = InMemory::new();
/// # service.put(&"documents/2026/7.pdf".into(), sealed.into()).await.unwrap();
/// // Or `Objects::from_url("s3://BUCKET/documents")?`.
/// let objects = Objects::new(Arc::new(service), "documents")?
///     .sealed_by(|id| EncryptionContext::new([("document", id)]).map(Some));
/// let sealer = Sealer::builder().wrap_with(new).open_with(old).build()?;
/// let report = RewrapJob::new(sealer, Arc::new(objects)).run().await?;
/// assert_eq!((report.counts.moved(), report.counts.faults()), (1, 0));
/// # Ok(()) }) }
/// ```
///
/// # How it replaces
/// No service changes the front of an object alone. So the object is read under the condition that it is the one that was seen, and put with its new front
/// under the same condition: by `ETag` on S3 and Azure, by generation on Google Cloud Storage. If somebody else has written it meanwhile, nothing is put, and
/// the job decides anew.
///
/// - *S3's `ETag` is the MD5 of the content*, unless the object is encrypted with SSE-KMS or was put in parts. So an object that was changed to other bytes
///   and back passes the condition. What is put then has the same body as what is there. A change of metadata alone passes, too, if it comes between the
///   read and the put, and is undone.
/// - *An object above [`with_most_bytes`](Self::with_most_bytes)* (64 MiB by default) is a fault of the class `too-large`: it would have to be put in parts, and
///   no service completes these under a condition that [`object_store`] can ask for.
/// - *A service that has no conditions*, or ignores them, is found before the first object is replaced, by a put that must be refused; if it is not refused,
///   nothing is replaced. [`check_conditions`](Self::check_conditions) looks more closely. For files there is
///   [`DirectoryStore`](waxseal::fleet::DirectoryStore).
/// - *Kept*: content type, encoding, language and disposition, cache control, and user metadata. **Not kept**, since the answers of a service do not contain it:
///   tags, storage class or tier, access control lists, retention and legal holds, encryption settings, S3's `Expires` and redirects, and the time. The new
///   object has what the bucket, or the client's configuration, gives to new ones. If a lease, a hold or a policy forbids to replace an object, it is a fault.
/// - *In a versioned bucket* the version before stays, under its old keys: do not destroy a key before the bucket has let its old versions go.
///
/// # How it reads
/// Names come in the order of their UTF-8 bytes, as S3, Google Cloud Storage and Azure list them. A listing goes on from page to page, and is begun anew behind
/// the last id after a break: services do that on their side. Where [`object_store`] does it on this side (Azurite, and implementations of others), each new
/// beginning lists all. A listing in another order (S3's directory buckets) ends the job.
///
/// The first 4 KiB of each object are read, 32 objects at once; so a job costs a request for each object, and two more for each that it moves. An empty object
/// costs none. What is no [`Path`](object_store::path::Path) cannot be asked for: a name that begins or ends with `/` is a fault, unless the object is empty, as
/// those are that stand for folders; one with an empty part, `.`, `..` or a control character ends the job, and the error names it.
///
/// # Bounds
/// A call takes no longer than 30 seconds ([`with_timeout`](Self::with_timeout)), and a second more for each MiB that is copied. [`object_store`] makes requests
/// again within that time, by its own `RetryConfig`; then the job does, more slowly from time to time. A put whose answer is lost is not lost: the job reads the
/// object again, and finds the new front.
///
/// Memory: what is read of a page (about 4 KiB for each object), a page of the listing for each worker, and [`with_most_bytes`](Self::with_most_bytes) for each object that
/// is replaced at the same time, four of them by default ([`with_replaces_at_once`](Self::with_replaces_at_once)).
///
/// Calls may come from any runtime, or from a thread without one.
pub struct Objects {
    name: String,
    // Before the runtime that their connections need.
    stopped: Kept<Mutex<VecDeque<Stopped>>>,
    place: Kept<Place>,
    contexts: Option<Contexts>,
    most_bytes: u64,
    reads: Semaphore,
    replaces: Semaphore,
    conditions: OnceCell<Conditions>,
    door: Door,
}

/// A listing that goes on when the page behind it is asked for.
struct Stopped {
    rest: Range,
    listing: Listing,
}

impl Objects {
    /// Takes the objects of this store whose names begin with `prefix` and `/`. All of them if it is empty.
    ///
    /// Give it a client that nobody else uses: connections that are made for a job end with the thread that does its I/O, and another user of the same client
    /// could meet one that has ended.
    ///
    /// # Errors
    /// `InvalidArgument` if the prefix cannot be one; `Unavailable` if the process cannot have another thread.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        let prefix = url::prefix(prefix)?;
        let name = format!("objects:{store}/{prefix}");
        Self::named(name, Place::new(store, prefix))
    }

    /// Takes the objects of a URL: `s3://BUCKET/PREFIX` (feature `aws`), `gs://BUCKET/PREFIX` (`gcp`), `az://CONTAINER/PREFIX` (`azure`), with what the environment says
    /// as for [`ObjectTiles::from_url`](crate::ObjectTiles::from_url).
    ///
    /// # Errors
    /// `InvalidArgument` if the URL is none of these, or has more than a name and a prefix; `Configuration` if the feature is off, or a variable is wrong;
    /// those of [`new`](Self::new).
    pub fn from_url(url: &str) -> Result<Self> {
        let (store, prefix) = url::open(url)?;
        let place = Place::new(store, url::prefix(prefix)?);
        Self::named(url.trim_end_matches('/').to_owned(), place)
    }

    fn named(name: String, place: Place) -> Result<Self> {
        Ok(Self {
            name,
            stopped: Kept::new(Mutex::default()),
            place: Kept::new(place),
            contexts: None,
            most_bytes: MAX_OBJECT,
            reads: Semaphore::new(READS),
            replaces: Semaphore::new(REPLACES),
            conditions: OnceCell::new(),
            door: Door::new(TIMEOUT, "the object store")?,
        })
    }

    /// Says that all objects are sealed in one context. Without this and [`sealed_by`](Self::sealed_by), each envelope must store its context.
    #[must_use]
    pub fn sealed_in(self, context: EncryptionContext) -> Self {
        self.sealed_by(move |_| Ok(Some(context.clone())))
    }

    /// Says in which context each object is sealed, by its id. `None` if the envelope stores it.
    #[must_use]
    pub fn sealed_by(
        mut self,
        context: impl Fn(&str) -> Result<Option<EncryptionContext>> + Send + Sync + 'static,
    ) -> Self {
        self.contexts = Some(Arc::new(context));
        self
    }

    /// Sets how many bytes an object may have that is replaced, 64 MiB by default. One that is replaced is in memory as a whole.
    #[must_use]
    pub fn with_most_bytes(mut self, bytes: u64) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// Sets how many objects are replaced at once, by all workers together. 4 by default.
    #[must_use]
    pub fn with_replaces_at_once(mut self, objects: NonZeroUsize) -> Self {
        self.replaces = Semaphore::new(objects.get());
        self
    }

    /// Sets how long one call may take, what is tried again included, apart from the time for copies. 30 seconds by default.
    ///
    /// # Errors
    /// `Unavailable` if the process cannot have another thread.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self> {
        Ok(Self {
            door: Door::new(timeout, "the object store")?,
            ..self
        })
    }

    /// Finds out whether the service keeps conditions, with a small object of its own below the prefix (`.waxseal-conditions-…`): it is made, replaced, must
    /// not be made again, must not be replaced as what it was before, and is removed.
    ///
    /// # Errors
    /// `Configuration` if the service has no conditions or ignores them: a job would overwrite what others write. Those of the store.
    pub async fn check_conditions(&self) -> Result<()> {
        let place = self.place.get()?.clone();
        self.door
            .run(Duration::ZERO, conditions::check(place))
            .await?
            .held()
    }

    /// Looks once, before anything is replaced, without leaving anything.
    async fn hold_conditions(&self) -> Result<()> {
        let found = self.conditions.get_or_try_init(|| async {
            let place = self.place.get()?.clone();
            self.door.run(Duration::ZERO, conditions::look(place)).await
        });
        found.await?.held()
    }

    async fn read(&self, id: &str) -> Result<Option<Item>> {
        let place = self.place.get()?.clone();
        let path = place.path(id)?;
        let read = {
            let _permit = self.reads.acquire().await;
            let read = async move { front::read(&*place.store, &path).await };
            self.door.run(Duration::ZERO, read).await?
        };
        read.map(|read| self.item(id, read)).transpose()
    }

    fn item(&self, id: &str, read: Read) -> Result<Item> {
        let item = Item::new(id, read.front, read.len)?.with_seen(read.seen.to_bytes());
        let context = match &self.contexts {
            Some(contexts) => contexts(id)?,
            None => None,
        };
        Ok(match context {
            Some(context) => item.with_context(context),
            None => item,
        })
    }

    /// What stands at an entry of a listing. `None` if nothing does any more.
    async fn found(&self, listed: Listed, range: &Range) -> Option<Scanned> {
        let (id, before, meta) = match listed {
            Listed::Nameless(id) => return Some(Scanned::faulty(id, nameless())),
            Listed::Object { id, before, meta } => (id, before, meta),
        };
        let item = match meta.size {
            0 => self.item(&id, Read::nothing(&meta)).map(Some),
            _ => self.read(&id).await,
        };
        match item {
            Ok(Some(item)) => Some(Scanned::read(item)),
            Ok(None) => {
                let is_listed = async {
                    let place = self.place.get()?.clone();
                    let work = async move { listing::is_first(&place, before.as_deref(), &meta).await };
                    self.door.run(Duration::ZERO, work).await
                };
                match is_listed.await {
                    // It went.
                    Ok(false) => None,
                    // It is listed by its slash, where the range may have ended.
                    Ok(true) => Some(format!("{id}/"))
                        .filter(|id| range.until().is_none_or(|until| id.as_str() <= until))
                        .map(|id| Scanned::faulty(id, nameless())),
                    Err(error) => Some(Scanned::faulty(id, error)),
                }
            }
            Err(error) => Some(Scanned::faulty(id, error)),
        }
    }

    /// Takes so many entries of a listing.
    async fn listed(&self, mut listing: Listing, most: usize) -> Result<(Listing, Vec<Listed>)> {
        let work = async move {
            let listed = listing.take(most).await?;
            Ok((listing, listed))
        };
        self.door.run(Duration::ZERO, work).await
    }

    /// The listing that has stopped there, or a new one.
    fn listing(&self, range: &Range) -> Result<Listing> {
        let mut stopped = self.stopped()?;
        let at = stopped.iter().position(|stopped| stopped.rest == *range);
        if let Some(stopped) = at.and_then(|at| stopped.remove(at)) {
            return Ok(stopped.listing);
        }
        drop(stopped);
        Listing::of(self.place.get()?, range)
    }

    fn stopped(&self) -> Result<MutexGuard<'_, VecDeque<Stopped>>> {
        // Each change is whole before anything can panic.
        Ok(self.stopped.get()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn replace_one(&self, change: &Change) -> Result<Replaced> {
        self.check(change)?;
        self.hold_conditions().await?;
        let place = self.place.get()?.clone();
        let path = place.path(change.item().id())?;
        let longer = Duration::from_secs(2 * change.new_len() / BYTES_A_SECOND);
        let change = change.clone();
        let _permit = self.replaces.acquire().await;
        let work = async move { swap::replace(&*place.store, &path, &change).await };
        self.door.run(longer, work).await
    }
}

#[async_trait]
impl Store for Objects {
    fn name(&self) -> &str {
        &self.name
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Page> {
        let mut listing = self.listing(range)?;
        let mut found: Vec<Scanned> = Vec::new();
        while found.len() < limit && !listing.is_done() {
            let most = LISTED.min(limit - found.len());
            let (rest, listed) = self.listed(listing, most).await?;
            listing = rest;
            let reads = stream::iter(listed).map(|listed| self.found(listed, range));
            let read: Vec<Option<Scanned>> = reads.buffered(READS).collect().await;
            found.extend(read.into_iter().flatten());
        }
        if let Some(error) = outage(&mut found) {
            return Err(error);
        }
        let is_last = listing.is_done();
        if let Some(last) = found.last().filter(|_| !is_last) {
            let rest = range.clone().from_after(&last.id);
            let mut stopped = self.stopped()?;
            if stopped.len() == MOST_STOPPED {
                stopped.pop_front();
            }
            stopped.push_back(Stopped { rest, listing });
        }
        Ok(Page { found, is_last })
    }

    async fn front(&self, id: &str) -> Result<Option<Item>> {
        self.read(id).await
    }

    async fn replace(&self, changes: &[Change]) -> Vec<Result<Replaced>> {
        let replaces: Vec<_> = changes.iter().map(|change| self.replace_one(change)).collect();
        // The semaphore says how many of them are at work.
        stream::iter(replaces).buffered(READS).collect().await
    }

    fn check(&self, change: &Change) -> Result<()> {
        let len = change.item().len().max(change.new_len());
        if len <= self.most_bytes {
            return Ok(());
        }
        let limit = Error::new(ErrorKind::OverLimit {
            limit: "bytes of an object that is replaced",
            max: self.most_bytes,
        });
        Err(limit.with_detail(format!(
            "the object has {len} bytes, and is in memory as a whole when it is replaced: raise `Objects::with_most_bytes`"
        )))
    }

    async fn split(&self, range: &Range, parts: usize) -> Result<Vec<Range>> {
        self.divided(range, parts).await
    }
}

/// The error of the store, if none of several objects could be read.
fn outage(found: &mut Vec<Scanned>) -> Option<Error> {
    let is_away = |scanned: &Scanned| {
        let away = [ErrorKind::Unavailable, ErrorKind::TimedOut, ErrorKind::Throttled];
        scanned
            .item
            .as_ref()
            .is_err_and(|error| error.is_retryable() && away.contains(&error.kind()))
    };
    match found.len() > 1 && found.iter().all(is_away) {
        true => found.pop()?.item.err(),
        false => None,
    }
}

fn nameless() -> Error {
    Error::new(ErrorKind::InvalidArgument).with_detail(
        "its name begins or ends with `/`, and cannot be asked for: give the object another name",
    )
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("name", &self.name)
            .field("most_bytes", &self.most_bytes)
            .finish_non_exhaustive()
    }
}
