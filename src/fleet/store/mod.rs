//! Where sealed values are stored.

mod directory;
mod memory;

use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use directory::DirectoryStore;
pub use memory::MemoryStore;

use crate::envelope::Header;
use crate::sealer::NewWraps;
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};

/// The most bytes of an item's id.
pub const MAX_ID: usize = 4096;

/// A place where sealed values are stored, each under an id: rows of a table, files below a directory, objects of a bucket.
///
/// A store reads fronts and replaces fronts. It knows no keys, and decides nothing about them.
///
/// # What an implementation must hold
/// - Ids have an order that does not change, and [`scan`](Self::scan) returns each of them once, in it. An item that is there all the time is
///   in exactly one page of a scan from the first to the last; one that comes or goes meanwhile may be in one. A job ends if an id comes
///   again.
/// - [`scan`](Self::scan) and [`front`](Self::front) change nothing.
/// - [`replace`](Self::replace) is atomic for each item, and only done if the value is still the one that was read: not if it has other
///   bytes of the same length, nor if it was changed and changed back. A store that exchanges the front alone, and leaves whatever is behind it where it
///   is, may go by all that was read and the length instead, if nothing tells versions apart.
/// - What `replace` says is replaced survives an end of the machine.
///
/// # Errors
/// An error of a call is about the store: `Unavailable`, `TimedOut` and `Throttled` are tried again, everything else ends the job. What is wrong
/// with one item stands in that item's place, or is the error of [`front`](Self::front) for it. There, `Conflict` that is retryable means that somebody
/// is replacing the item, or was cut off: see [`settle`](Self::settle).
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Its name, for people and for reports: `files:/srv/data`, `store:users.email`.
    fn name(&self) -> &str;

    /// Returns the items of a range, from its beginning on, in the order of their ids, `limit` of them at most.
    ///
    /// # Errors
    /// See [`Store`].
    async fn scan(&self, range: &Range, limit: usize) -> Result<Page>;

    /// Reads one item again. `None` if it is gone.
    ///
    /// # Errors
    /// See [`Store`], and whatever is wrong with this item.
    async fn front(&self, id: &str) -> Result<Option<Item>>;

    /// Puts new fronts in the place of the old ones, each if its item is still the one that was read. Returns as many answers, in the same order.
    async fn replace(&self, changes: &[Change]) -> Vec<Result<Replaced>>;

    /// Says whether it would make a change, as far as it knows without looking: not if the item is above a limit of the store. A dry run asks, too. By default
    /// it would.
    ///
    /// # Errors
    /// Why it would not.
    fn check(&self, change: &Change) -> Result<()> {
        let _ = change;
        Ok(())
    }

    /// Ends a replacement of this item that was cut off, by a kill for example, and of which [`front`](Self::front) has told with a
    /// retryable `Conflict`. A run calls it before it reads the item again; a dry run does not. By default there is nothing to do.
    ///
    /// # Errors
    /// See [`Store`], and whatever is wrong with this item. A retryable `Conflict` if somebody else is replacing it now.
    async fn settle(&self, id: &str) -> Result<()> {
        let _ = id;
        Ok(())
    }

    /// Divides a range into about equal ones, `parts` of them at most, in order and without gaps. By default it stays whole.
    ///
    /// # Errors
    /// See [`Store`].
    async fn split(&self, range: &Range, parts: usize) -> Result<Vec<Range>> {
        let _ = parts;
        Ok(vec![range.clone()])
    }
}

/// Items from behind one id up to another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    after: Option<String>,
    until: Option<String>,
}

impl Range {
    /// All items.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those behind this id.
    #[must_use]
    pub fn from_after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// Only those up to this id, which is in it.
    #[must_use]
    pub fn up_to(mut self, id: impl Into<String>) -> Self {
        self.until = Some(id.into());
        self
    }

    /// The id behind which it begins.
    #[must_use]
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The last id that is in it.
    #[must_use]
    pub fn until(&self) -> Option<&str> {
        self.until.as_deref()
    }
}

/// One value, as a store has read it.
#[derive(Clone, Debug)]
pub struct Item {
    id: String,
    front: Vec<u8>,
    len: u64,
    seen: Vec<u8>,
    context: Option<EncryptionContext>,
}

impl Item {
    /// Makes an item of its id, of the first bytes of the value, and of the length of the whole value.
    ///
    /// If the value begins as an envelope does, the first bytes contain its header ([`Header::missing`] tells what to read). Of other values a few
    /// bytes are enough.
    ///
    /// # Errors
    /// `OverLimit` if the id is longer than [`MAX_ID`].
    pub fn new(id: impl Into<String>, front: Vec<u8>, len: u64) -> Result<Self> {
        let id = id.into();
        check_id(&id)?;
        Ok(Self {
            id,
            front,
            len,
            seen: Vec::new(),
            context: None,
        })
    }

    /// Notes what the store needs to know this value again: an `ETag`, a version, a time. No job looks at it.
    #[must_use]
    pub fn with_seen(mut self, seen: impl Into<Vec<u8>>) -> Self {
        self.seen = seen.into();
        self
    }

    /// Says in which context the value is sealed. Without, its header must store the context.
    #[must_use]
    pub fn with_context(mut self, context: EncryptionContext) -> Self {
        self.context = Some(context);
        self
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The first bytes of the value.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        &self.front
    }

    /// The length of the whole value, in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an empty value is an item, too")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// What the store needs to know it again.
    #[must_use]
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// The context that the store knows.
    #[must_use]
    pub fn context(&self) -> Option<&EncryptionContext> {
        self.context.as_ref()
    }
}

fn check_id(id: &str) -> Result<()> {
    if id.len() > MAX_ID {
        return Err(Error::new(ErrorKind::OverLimit {
            limit: "id of an item",
            max: MAX_ID as u64,
        }));
    }
    Ok(())
}

/// What a scan has found under one id.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scanned {
    /// The id.
    pub id: String,
    /// The item, or why it could not be read.
    pub item: Result<Item>,
    /// Whether more items than this one are behind it, which could not be listed: a job that meets one is not whole.
    pub hides_items: bool,
}

impl Scanned {
    /// An item that was read.
    #[must_use]
    pub fn read(item: Item) -> Self {
        Self {
            id: item.id.clone(),
            item: Ok(item),
            hides_items: false,
        }
    }

    /// An item that could not be read.
    #[must_use]
    pub fn faulty(id: impl Into<String>, error: Error) -> Self {
        Self {
            id: id.into(),
            item: Err(error),
            hides_items: false,
        }
    }

    /// A place that could not be listed: a directory that nobody may read.
    #[must_use]
    pub fn unlisted(id: impl Into<String>, error: Error) -> Self {
        Self {
            hides_items: true,
            ..Self::faulty(id, error)
        }
    }
}

/// What a scan returns.
#[derive(Debug, Default)]
pub struct Page {
    /// What was found, in the order of the ids.
    pub found: Vec<Scanned>,
    /// Whether nothing of the range comes behind it.
    pub is_last: bool,
}

impl Page {
    /// Refuses a page of this range that would be read again and again.
    pub(crate) fn check(&self, range: &Range) -> Result<()> {
        let store = |what| Err(Error::new(ErrorKind::Store).with_detail(what));
        if self.found.is_empty() && !self.is_last {
            return store("the store returned an empty page that is not the last one");
        }
        let mut before = range.after();
        for found in &self.found {
            if before == Some(&found.id) {
                return store("the store returned an id again");
            }
            before = Some(&found.id);
        }
        Ok(())
    }
}

/// New wraps for an item.
#[derive(Clone, Debug)]
pub struct Change {
    item: Item,
    wraps: NewWraps,
    front: Vec<u8>,
}

impl Change {
    /// Makes a change of an item and its new wraps. If there was room in the front, and the new wraps fit into it, the length stays.
    ///
    /// # Errors
    /// Those of [`Header::parse`].
    pub fn new(item: Item, wraps: NewWraps) -> Result<Self> {
        let had_room = Header::parse(&item.front)?.wrap_section()?.padding() > 0;
        let front = match wraps.in_place().filter(|_| had_room) {
            Some(front) => front,
            None => wraps.prefix().to_vec(),
        };
        Ok(Self { item, wraps, front })
    }

    /// The item as it was read.
    #[must_use]
    pub fn item(&self) -> &Item {
        &self.item
    }

    /// The new wraps.
    #[must_use]
    pub fn wraps(&self) -> &NewWraps {
        &self.wraps
    }

    /// The bytes that come in the place of the first [`replaces`](Self::replaces) bytes.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        &self.front
    }

    /// How many bytes at the beginning of the value are replaced. The bytes behind them stay.
    #[must_use]
    pub fn replaces(&self) -> usize {
        self.wraps.replaces()
    }

    /// The length of the value afterwards.
    #[must_use]
    pub fn new_len(&self) -> u64 {
        (self.item.len + self.front.len() as u64).saturating_sub(self.replaces() as u64)
    }

    /// What an item has to be afterwards.
    pub(super) fn is_done(&self, now: &Item) -> bool {
        let kept = self.item.front.get(self.replaces()..).unwrap_or_default();
        let body = now.front.strip_prefix(self.front.as_slice());
        now.len == self.new_len() && body.is_some_and(|body| body.starts_with(kept) || kept.starts_with(body))
    }
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replaced {
    /// The value has the new front.
    Done,
    /// The value is another one than was read. Nothing was done.
    Changed,
    /// The value is gone.
    Gone,
}

/// Reads the first bytes of a value: its header, if it begins as an envelope does. `more` reads so many bytes from the beginning.
pub(super) fn read_front(mut more: impl FnMut(usize) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut want = FRONT;
    loop {
        let front = more(want)?;
        match Header::missing(&front) {
            Ok(Some(whole)) if front.len() >= want && whole > want => want = whole,
            // Whoever parses it says what is wrong with it.
            _ => return Ok(front),
        }
    }
}

/// Contains most headers.
const FRONT: usize = 4096;
