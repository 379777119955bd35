//! The files below a directory.

mod attributes;
mod exchange;
mod leftover;
mod record;
mod walk;

use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::memory::divided;
use super::{Change, Item, Page, Range, Replaced, Scanned, Store, read_front};
use crate::in_place;
use crate::runtime::{AmbientRuntime, Runtime, run_blocking};
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};
use walk::{Walk, Walked};

type Contexts = Arc<dyn Fn(&str) -> Result<Option<EncryptionContext>> + Send + Sync>;

/// The files below a directory. The id of a file is its path from there, with `/` between the names.
///
/// If the new front is as long as the old one, it is overwritten through a journal, see [`in_place`](crate::in_place). If not, the file is written anew
/// beside it, with its owner, mode and extended attributes (access control lists are among them), and takes its name.
///
/// *Writers.* A file that another program replaces (by a rename) or writes while it is re-wrapped is recognized by its number, length and times, and stays as
/// that program left it. On Linux this holds to the end: the two files exchange their names, what has left the place is looked at once more, and
/// comes back if it is not what was read. On other systems, and on file systems without that exchange (`renameat2`), the last look is right before the
/// rename. A program that goes on writing into a file that it has opened before can write into the old one, unless it holds a lock (`flock`) on it as
/// long as it writes: a file that is locked is left alone.
///
/// *What it leaves out.* Links are not followed. What is no regular file, or has several names, is not replaced, and is a fault. So is a file with an extended
/// attribute that a new file cannot have. A directory that cannot be listed is a fault, too, and the job is not whole.
///
/// *What a kill leaves.* Of a file that was written anew, two files beside it with a dot before its name: `.waxseal-move` behind it is a record, and
/// `.waxseal-new` the other file. Of one that was overwritten, a journal. The next run that is no dry run settles each of them. If it cannot tell which
/// of two files is the newer one, both stay, and the file is a fault.
///
/// *Memory.* The names in the directories on the way, as far as they are in the range. *Names* have 241 bytes at most, if the file is to be written anew.
#[derive(Clone)]
pub struct DirectoryStore {
    name: String,
    root: PathBuf,
    contexts: Option<Contexts>,
    runtime: Arc<dyn Runtime>,
    walks: Arc<Mutex<VecDeque<Stopped>>>,
}

/// A walk that goes on when the page behind it is asked for, so that large directories are not listed for each page.
struct Stopped {
    rest: Range,
    walk: Peekable<Walk>,
}

/// How many of them are kept: those of the parts of a job.
const MOST_STOPPED: usize = 256;

impl fmt::Debug for DirectoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryStore")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl DirectoryStore {
    /// Opens a directory whose files store their contexts.
    ///
    /// # Errors
    /// `Io` if there is no such directory; `Configuration` if its path is not UTF-8.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let root = std::fs::canonicalize(path).map_err(Error::io)?;
        if !root.is_dir() {
            return Err(Error::io(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        let Some(text) = root.to_str() else {
            return Err(Error::configuration("the path of the directory is not UTF-8"));
        };
        Ok(Self {
            name: format!("files:{text}"),
            root,
            contexts: None,
            runtime: Arc::new(AmbientRuntime),
            walks: Arc::default(),
        })
    }

    /// Says that all files are sealed in one context.
    #[must_use]
    pub fn sealed_in(self, context: EncryptionContext) -> Self {
        self.sealed_by(move |_| Ok(Some(context.clone())))
    }

    /// Says in which context each file is sealed, by its id. `None` if the file stores it.
    #[must_use]
    pub fn sealed_by(
        mut self,
        context: impl Fn(&str) -> Result<Option<EncryptionContext>> + Send + Sync + 'static,
    ) -> Self {
        self.contexts = Some(Arc::new(context));
        self
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> Result<T> {
        let store = self.clone();
        run_blocking(&*self.runtime, move || work(&store)).await
    }

    fn read(&self, id: &str) -> Result<Option<Item>> {
        let path = self.root.join(id);
        for beside in [leftover::journal(&path), leftover::record(&path)] {
            if beside.symlink_metadata().is_ok() {
                return Err(leftover::unsettled());
            }
        }
        let Some(mut file) = open(&path)? else {
            return Ok(None);
        };
        let metadata = file.metadata().map_err(Error::io)?;
        if !metadata.is_file() {
            return Err(Error::unsupported(
                "re-wrapping something other than a regular file",
            ));
        }
        let mut front = Vec::new();
        let front = read_front(|len| {
            let more = len.saturating_sub(front.len()) as u64;
            std::io::Read::by_ref(&mut file)
                .take(more)
                .read_to_end(&mut front)
                .map_err(Error::io)?;
            Ok(front.clone())
        })?;
        if in_place::is_marked(&front) {
            return Err(leftover::unsettled());
        }
        let item = Item::new(id, front, metadata.len())?.with_seen(seen(&metadata));
        let context = match &self.contexts {
            Some(contexts) => contexts(id)?,
            None => None,
        };
        Ok(Some(match context {
            Some(context) => item.with_context(context),
            None => item,
        }))
    }

    fn page(&self, range: &Range, limit: usize) -> Result<Page> {
        let mut walk = self.walk(range)?;
        let mut found: Vec<Scanned> = Vec::new();
        while found.len() < limit {
            found.push(match walk.next() {
                None => break,
                Some(Walked::Unlisted(id, error)) => Scanned::unlisted(id, error),
                Some(Walked::Faulty(id, error)) => Scanned::faulty(id, error),
                Some(Walked::File(id)) => match self.read(&id) {
                    // It went since the directory was read.
                    Ok(None) => continue,
                    Ok(Some(item)) => Scanned::read(item),
                    Err(error) => Scanned::faulty(id, error),
                },
            });
        }
        let is_last = walk.peek().is_none();
        if let Some(last) = found.last().filter(|_| !is_last) {
            let mut walks = self.walks();
            if walks.len() == MOST_STOPPED {
                walks.pop_front();
            }
            let rest = range.clone().from_after(&last.id);
            walks.push_back(Stopped { rest, walk });
        }
        Ok(Page { is_last, found })
    }

    /// The walk that has stopped there, or a new one.
    fn walk(&self, range: &Range) -> Result<Peekable<Walk>> {
        let mut walks = self.walks();
        let stopped = walks.iter().position(|stopped| stopped.rest == *range);
        if let Some(stopped) = stopped.and_then(|at| walks.remove(at)) {
            return Ok(stopped.walk);
        }
        drop(walks);
        Ok(Walk::of(&self.root, range)?.peekable())
    }

    fn walks(&self) -> MutexGuard<'_, VecDeque<Stopped>> {
        // Each change is whole before anything can panic.
        self.walks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ranges(&self, range: &Range, parts: usize) -> Result<Vec<Range>> {
        let parts = parts.max(1);
        let each = Walk::of(&self.root, range)?.count().div_ceil(parts).max(1);
        let ends: Vec<String> = Walk::of(&self.root, range)?
            .enumerate()
            .filter(|(number, walked)| (number + 1) % each == 0 && matches!(walked, Walked::File(_)))
            .map(|(_, walked)| walked.id().to_owned())
            .take(parts - 1)
            .collect();
        Ok(divided(range, ends.iter().map(String::as_str)))
    }

    fn settle_one(&self, id: &str) -> Result<()> {
        let path = self.root.join(id);
        match exchange::settle(&path).and_then(|()| in_place::recover(&path).map(|_| ())) {
            Err(error) if is_missing(&error) => Ok(()),
            // Somebody has it, perhaps one that was killed and is not gone yet.
            Err(error) if error.kind() == ErrorKind::Io && error.is_retryable() => Err(leftover::unsettled()),
            settled => settled,
        }
    }

    fn replace_one(&self, change: &Change) -> Result<Replaced> {
        let path = self.root.join(change.item().id());
        let Some(file) = open(&path)? else {
            return Ok(Replaced::Gone);
        };
        if seen(&file.metadata().map_err(Error::io)?) != change.item().seen() {
            return Ok(Replaced::Changed);
        }
        let replaced = if change.front().len() == change.replaces() {
            in_place::rewrap_unchanged_file(&path, change.wraps(), &in_place::Stamp::of(&file)?)
                .map(|()| Replaced::Done)
        } else {
            exchange::replace(&path, file, change)
        };
        match replaced {
            // Another header than was read, or another file: it was changed meanwhile.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => Ok(Replaced::Changed),
            // Another process has it, or had it and was cut off.
            Err(error)
                if error.is_retryable() && matches!(error.kind(), ErrorKind::Io | ErrorKind::Conflict) =>
            {
                Ok(Replaced::Changed)
            }
            Err(error) if is_missing(&error) => Ok(Replaced::Gone),
            other => other,
        }
    }
}

/// What shows that a file is still the one that was read, and nothing about it was changed since.
fn seen(metadata: &Metadata) -> Vec<u8> {
    let mut seen = metadata.len().to_be_bytes().to_vec();
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        for number in [metadata.dev(), metadata.ino()] {
            seen.extend_from_slice(&number.to_be_bytes());
        }
        let times = [
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ];
        for number in times {
            seen.extend_from_slice(&number.to_be_bytes());
        }
    }
    #[cfg(not(unix))]
    if let Ok(modified) = metadata.modified() {
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        seen.extend_from_slice(&since.as_nanos().to_be_bytes());
    }
    seen
}

/// Opens a file and follows no link at its end. `None` if it is gone.
fn open(path: &Path) -> Result<Option<File>> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(error)),
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(error)),
        _ => Ok(()),
    }
}

fn is_missing(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::NotFound)
}

#[async_trait]
impl Store for DirectoryStore {
    fn name(&self) -> &str {
        &self.name
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Page> {
        let range = range.clone();
        self.blocking(move |store| store.page(&range, limit)).await?
    }

    async fn front(&self, id: &str) -> Result<Option<Item>> {
        let id = id.to_owned();
        self.blocking(move |store| store.read(&id)).await?
    }

    async fn replace(&self, changes: &[Change]) -> Vec<Result<Replaced>> {
        let mut answers = Vec::with_capacity(changes.len());
        for change in changes {
            let change = change.clone();
            let answer = self.blocking(move |store| store.replace_one(&change)).await;
            answers.push(answer.and_then(|answer| answer));
        }
        answers
    }

    async fn settle(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.blocking(move |store| store.settle_one(&id)).await?
    }

    async fn split(&self, range: &Range, parts: usize) -> Result<Vec<Range>> {
        let range = range.clone();
        self.blocking(move |store| store.ranges(&range, parts)).await?
    }
}
