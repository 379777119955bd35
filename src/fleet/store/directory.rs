//! The files below a directory.

mod beside;
mod walk;

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::memory::divided;
use super::{Change, Item, Page, Range, Replaced, Scanned, Store, read_front};
use crate::in_place;
use crate::runtime::{AmbientRuntime, Runtime, run_blocking};
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};
use walk::Walk;

type Contexts = Arc<dyn Fn(&str) -> Result<Option<EncryptionContext>> + Send + Sync>;

/// The files below a directory. The id of a file is its path from there, with `/` between the names.
///
/// If the new front is as long as the old one, it is overwritten through a journal, see [`in_place`](crate::in_place). If not, the file is written anew
/// beside it, with its owner and mode, and takes its name.
///
/// *Writers.* A file that another program replaces (by a rename) or writes while it is re-wrapped is recognized by its inode, length and time, and stays as
/// that program left it. On Linux this holds to the end, because the two files exchange their names and are looked at once more. On other systems, and
/// on file systems without that exchange, the last look is right before the rename. A program that writes into a file where it is, without a
/// lock (`flock`), can always be read and replaced in the middle of its work.
///
/// *What it leaves out.* Links are not followed. What is no regular file, or has several names, is not replaced, and is a fault. Extended attributes
/// are not kept by a file that is written anew.
///
/// *What a kill leaves.* A file beside the one that was being re-wrapped, named as that one with a dot before it and `.waxseal-new` or `.waxseal-swap` behind
/// it. The next run removes it, unless its body is another one than that of the file: then both stay, and the file is a fault.
#[derive(Clone)]
pub struct DirectoryStore {
    name: String,
    root: PathBuf,
    contexts: Option<Contexts>,
    runtime: Arc<dyn Runtime>,
}

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
        let tidied = in_place::recover(&path).and_then(|_| beside::tidy(&path));
        match tidied {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
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

    fn page(&self, range: &Range, limit: usize) -> Page {
        let mut walk = Walk::of(&self.root, range);
        let mut found = Vec::new();
        for walked in walk.by_ref() {
            let item = match walked.fault {
                Some(error) => Err(error),
                None => match self.read(&walked.id) {
                    // It went since the directory was read.
                    Ok(None) => continue,
                    Ok(Some(item)) => Ok(item),
                    Err(error) => Err(error),
                },
            };
            found.push(Scanned { id: walked.id, item });
            if found.len() == limit {
                break;
            }
        }
        Page {
            is_last: walk.next().is_none(),
            found,
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
            beside::replace(&path, file, change)
        };
        match replaced {
            // Another header than was read, or another file: it was changed meanwhile.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => Ok(Replaced::Changed),
            Err(error) if error.kind() == ErrorKind::Io && error.is_retryable() => Ok(Replaced::Changed),
            Err(error) if is_missing(&error) => Ok(Replaced::Gone),
            other => other,
        }
    }
}

/// What shows that a file is still the one that was read, and was not written since.
fn seen(metadata: &Metadata) -> Vec<u8> {
    let mut seen = metadata.len().to_be_bytes().to_vec();
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        for number in [metadata.dev(), metadata.ino()] {
            seen.extend_from_slice(&number.to_be_bytes());
        }
        for number in [metadata.mtime(), metadata.mtime_nsec()] {
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
        self.blocking(move |store| store.page(&range, limit)).await
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

    async fn split(&self, range: &Range, parts: usize) -> Result<Vec<Range>> {
        let (range, parts) = (range.clone(), parts.max(1));
        self.blocking(move |store| {
            let count = Walk::of(&store.root, &range).count();
            let each = count.div_ceil(parts).max(1);
            let ends: Vec<String> = Walk::of(&store.root, &range)
                .enumerate()
                .filter(|(number, _)| (number + 1) % each == 0 || number + 1 == count)
                .map(|(_, walked)| walked.id)
                .collect();
            divided(&range, ends.iter().map(String::as_str))
        })
        .await
    }
}
