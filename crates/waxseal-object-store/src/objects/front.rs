//! Fronts of objects.

use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{
    Error as Fault, GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload,
};
use waxseal::envelope::Header;
use waxseal::{Error, ErrorKind, Result};

use super::place::Seen;
use crate::fault::fault;

/// Contains most headers.
const FRONT: usize = 4096;
/// How often an object is read again that is another one behind its first bytes.
const TRIES: usize = 3;

/// The front of an object, as long as its header.
pub(super) struct Read {
    pub(super) front: Vec<u8>,
    pub(super) len: u64,
    pub(super) seen: Seen,
}

impl Read {
    /// Of an object without bytes.
    pub(super) fn nothing(meta: &ObjectMeta) -> Self {
        Self {
            front: Vec::new(),
            len: 0,
            seen: Seen::of(meta),
        }
    }
}

/// Some bytes of an object.
enum Part {
    Read(Read),
    Changed,
    Gone,
}

/// Reads the front of an object. `None` if there is no such object.
pub(super) async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Option<Read>> {
    for _ in 0..TRIES {
        match whole_front(store, path).await? {
            Part::Read(read) => return Ok(Some(read)),
            Part::Gone => return Ok(None),
            Part::Changed => {}
        }
    }
    Err(Error::new(ErrorKind::Conflict)
        .with_detail("somebody writes the object again and again")
        .with_retryable(true))
}

async fn whole_front(store: &dyn ObjectStore, path: &Path) -> Result<Part> {
    let mut read = match part(store, path, 0..FRONT, None).await? {
        Part::Read(read) => read,
        other => return Ok(other),
    };
    loop {
        let have = read.front.len();
        let whole = match Header::missing(&read.front) {
            Ok(Some(whole)) if whole > have && (have as u64) < read.len => whole,
            // Whoever parses it says what is wrong with it.
            _ => return Ok(Part::Read(read)),
        };
        match part(store, path, have..whole, Some(&read.seen)).await? {
            Part::Read(more) if more.seen == read.seen && !more.front.is_empty() => {
                read.front.extend_from_slice(&more.front);
            }
            Part::Read(_) => return Ok(Part::Changed),
            other => return Ok(other),
        }
    }
}

async fn part(
    store: &dyn ObjectStore,
    path: &Path,
    range: std::ops::Range<usize>,
    seen: Option<&Seen>,
) -> Result<Part> {
    let options = GetOptions {
        range: Some((range.start as u64..range.end as u64).into()),
        if_match: seen.and_then(Seen::e_tag),
        ..GetOptions::default()
    };
    let found = match store.get_opts(path, options).await {
        Ok(found) => found,
        Err(Fault::NotFound { .. }) => return Ok(Part::Gone),
        // S3 says 409 of what somebody is writing.
        Err(Fault::Precondition { .. } | Fault::AlreadyExists { .. }) => return Ok(Part::Changed),
        // So comes a range of what has no bytes, among others.
        Err(error @ Fault::Generic { .. }) => match store.head(path).await {
            Ok(meta) if meta.size == 0 => return Ok(Part::Read(Read::nothing(&meta))),
            _ => return Err(fault(error)),
        },
        Err(error) => return Err(fault(error)),
    };
    let (len, seen) = (found.meta.size, Seen::of(&found.meta));
    let bytes = whole(found, range.len() as u64).await?;
    let front = bytes.iter().flatten().copied().collect();
    Ok(Part::Read(Read { front, len, seen }))
}

/// Reads an answer to its end, which has as many bytes as it says, and no more than these.
pub(super) async fn whole(found: GetResult, most: u64) -> Result<PutPayload> {
    let len = found.range.end.saturating_sub(found.range.start);
    let too_long =
        || Error::new(ErrorKind::Store).with_detail("the answer is longer than what was asked for");
    if len > most {
        return Err(too_long());
    }
    let (mut parts, mut read, mut stream) = (Vec::new(), 0, found.into_stream());
    while let Some(part) = stream.next().await {
        let part = part.map_err(fault)?;
        read += part.len() as u64;
        if read > len {
            return Err(too_long());
        }
        parts.push(part);
    }
    if read < len {
        return Err(Error::new(ErrorKind::Unavailable).with_detail("the answer was cut off"));
    }
    Ok(parts.into_iter().collect())
}
