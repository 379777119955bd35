//! New local KEKs, as files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::PROVIDER;
use super::key::fingerprint;
use super::text::kek_from_file;
use crate::envelope::{KekRef, WrapAlgorithm};
use crate::key::{KekAdmin, KekDescription, KekState, KekTemplate, Protection};
use crate::runtime::{ThreadRuntime, run_blocking};
use crate::value::error::{Error, ErrorKind, Operation, Result};
use crate::value::secret::Kek;

/// The most files of a folder that are looked at.
const FILES: usize = 4096;
/// The greatest file that can hold a key.
const LARGEST: u64 = 1024;
/// What follows the name of a key in the name of the file that notes who made the key.
const CREATED: &str = ".created";

/// Makes and describes the local KEKs of one folder: each KEK is a file that only its owner can read (mode 0600), in the form that
/// [`LocalKey::from_file`](super::LocalKey::from_file) and `file:` key URIs read.
///
/// [`create`](KekAdmin::create) makes the file `NAME` and, beside it, `NAME.created`, which notes the idempotency key (as a digest) and
/// the fingerprint of the KEK. It never overwrites a file. The folder must exist, on a file system with hard links.
///
/// A local KEK has no versions and no states: a successor is another file, and rotating, disabling, enabling and scheduled destruction
/// return `Unsupported`. To destroy a KEK, remove its file and every copy of it.
///
/// ```
/// use waxseal::backend::local::{LocalAdmin, LocalKey};
/// use waxseal::key::{KekAdmin, KekTemplate};
///
/// # let dir = tempfile::tempdir()?;
/// # let folder = dir.path();
/// let admin = LocalAdmin::new(folder);
/// let made = pollster::block_on(admin.create(&KekTemplate::new("kek-2"), "rotation 7"))?;
/// let key = LocalKey::from_file(folder.join("kek-2"))?;
/// assert_eq!(key.kek_id(), made.kek.id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LocalAdmin {
    folder: PathBuf,
}

impl LocalAdmin {
    /// Administers the KEKs of this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Runs `work` on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let folder = self.folder.clone();
        let done = run_blocking(&ThreadRuntime, move || work(&folder)).await;
        done.and_then(|done| done).map_err(named)
    }
}

#[async_trait]
impl KekAdmin for LocalAdmin {
    fn provider(&self) -> &str {
        PROVIDER
    }

    async fn create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription> {
        if template.hardware {
            return Err(named(Error::unsupported("a local KEK in hardware")));
        }
        if !template.labels.is_empty() {
            return Err(named(Error::unsupported("a label on a local KEK")));
        }
        check_name(&template.name).map_err(named)?;
        let (name, digest) = (template.name.clone(), Sha256::digest(idempotency_key));
        let digest = base16ct::lower::encode_string(&digest);
        self.run(move |folder| create(folder, &name, &digest)).await
    }

    async fn describe(&self, kek: &KekRef) -> Result<KekDescription> {
        let kek = kek.clone();
        self.run(move |folder| find(folder, &kek)).await
    }

    async fn rotate(&self, _: &KekRef, _: &str) -> Result<KekDescription> {
        let error = Error::unsupported("a new version of a local KEK");
        Err(named(
            error.with_detail("a local KEK has no versions: create another KEK"),
        ))
    }

    async fn disable(&self, _: &KekRef) -> Result<()> {
        Err(named(Error::unsupported("disabling a local KEK")))
    }

    async fn schedule_destroy(&self, _: &KekRef, _: Duration) -> Result<SystemTime> {
        let error = Error::unsupported("scheduled destruction of a local KEK");
        Err(named(
            error.with_detail("remove the file of the KEK, and every copy of it"),
        ))
    }
}

fn named(error: Error) -> Error {
    error
        .with_provider(PROVIDER)
        .with_operation(Operation::Administer)
}

/// Accepts the names of new key files: nothing in them can lead elsewhere.
pub(super) fn check_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= 100 && name.bytes().all(allowed) && !name.ends_with(CREATED) {
        return Ok(());
    }
    Err(Error::argument(
        "the name of a local KEK must have 1 to 100 of A-Z a-z 0-9 . _ -, begin with a letter or digit, and not end with .created",
    ))
}

/// What `NAME.created` notes.
struct Note {
    /// The digest of the idempotency key, in hexadecimal.
    digest: String,
    /// The fingerprint of the KEK.
    id: String,
}

impl Note {
    fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", path, error)),
        };
        let note = text.trim_end().split_once(' ').map(|(digest, id)| Self {
            digest: digest.to_owned(),
            id: id.to_owned(),
        });
        let garbled =
            || Error::configuration(format!("the file {} is not a note of this crate", path.display()));
        note.map(Some).ok_or_else(garbled)
    }
}

/// Makes the key, or finishes what an earlier call began.
///
/// The key is complete in a file of a hidden name before the note names it, and gets its own name by a hard link, which never replaces
/// a file. So a call that was cut off anywhere is finished by the next call, and of two calls at once both return the same key.
fn create(folder: &Path, name: &str, digest: &str) -> Result<KekDescription> {
    let (path, noted) = (folder.join(name), folder.join(format!("{name}{CREATED}")));
    if Note::read(&noted)?.is_none() {
        if fs::symlink_metadata(&path).is_ok() {
            return Err(taken(name));
        }
        begin(folder, name, digest, &noted)?;
    }
    // Of this call or of another call, which may have been made at the same time.
    let note = Note::read(&noted)?.ok_or_else(|| Error::new(ErrorKind::InvalidAnswer))?;
    if note.digest != digest {
        return Err(taken(name));
    }
    let hidden = hidden(folder, name, &note.id);
    match fs::hard_link(&hidden, &path) {
        Ok(()) => sync(folder)?,
        // It has its name already.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
            ) => {}
        Err(error) => return Err(failed("make", &path, error)),
    }
    let made = describe(&path)?;
    if made.kek.id() != note.id {
        return Err(taken(name));
    }
    // If this fails, a second name of the same file is left behind.
    let _ = fs::remove_file(&hidden);
    Ok(made)
}

/// Makes a key under a hidden name, and the note that names it.
fn begin(folder: &Path, name: &str, digest: &str, noted: &Path) -> Result<()> {
    let kek = Kek::generate()?;
    let id = fingerprint(&kek);
    let hidden = hidden(folder, name, &id);
    let text = Zeroizing::new(Base64::encode_string(kek.expose_bytes()));
    write_new(&hidden, &[text.as_bytes(), b"\n"])?;
    let draft = folder.join(format!(".{name}.{id}{CREATED}"));
    write_new(&draft, &[digest.as_bytes(), b" ", id.as_bytes(), b"\n"])?;
    let linked = fs::hard_link(&draft, noted);
    let _ = fs::remove_file(&draft);
    match linked {
        Ok(()) => sync(folder),
        Err(error) => {
            // Nothing was ever wrapped under the key.
            let _ = fs::remove_file(&hidden);
            match error.kind() {
                // Another call was faster.
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(failed("make", noted, error)),
            }
        }
    }
}

fn hidden(folder: &Path, name: &str, id: &str) -> PathBuf {
    folder.join(format!(".{name}.{id}"))
}

/// Writes a file that does not exist yet, for its owner alone, down to the disk.
fn write_new(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let write = || {
        let mut file = options.open(path)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()
    };
    write().map_err(|error| failed("write", path, error))
}

/// Makes new names in a folder last.
fn sync(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| failed("write", folder, error))?;
    }
    Ok(())
}

/// Finds the file of a KEK by its fingerprint.
fn find(folder: &Path, kek: &KekRef) -> Result<KekDescription> {
    if kek.provider() != PROVIDER {
        return Err(Error::argument(
            "the KEK belongs to another provider, and this is local",
        ));
    }
    let not_found = || Error::new(ErrorKind::KeyNotFound);
    if !kek.version().is_empty() {
        return Err(not_found().with_detail("a local KEK has no versions"));
    }
    let entries = fs::read_dir(folder).map_err(|error| failed("read", folder, error))?;
    for (seen, entry) in entries.enumerate() {
        if seen >= FILES {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "files of a folder of local KEKs",
                max: FILES as u64,
            }));
        }
        let entry = entry.map_err(|error| failed("read", folder, error))?;
        let is_one = entry
            .file_name()
            .to_str()
            .is_some_and(|name| check_name(name).is_ok())
            && fs::metadata(entry.path()).is_ok_and(|of| of.is_file() && of.len() <= LARGEST);
        // What is no key, or can be read by others, is none of this folder's KEKs.
        if is_one
            && let Ok(found) = describe(&entry.path())
            && found.kek == *kek
        {
            return Ok(found);
        }
    }
    Err(not_found())
}

fn describe(path: &Path) -> Result<KekDescription> {
    let kek = KekRef::new(PROVIDER, &fingerprint(&kek_from_file(path, false)?), "")?;
    let mut description = KekDescription::new(kek, KekState::Enabled, WrapAlgorithm::XAES_256_GCM)
        .with_protection(Protection::Software);
    description.created = fs::metadata(path).and_then(|of| of.modified()).ok();
    Ok(description)
}

fn taken(name: &str) -> Error {
    Error::argument(format!(
        "a file {name} exists already and was not made for this idempotency key: choose another name"
    ))
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::configuration(format!("cannot {what} {}: {}", path.display(), error.kind())).with_source(error)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn made(folder: &Path, name: &str, idempotency_key: &str) -> Result<KekDescription> {
        pollster::block_on(LocalAdmin::new(folder).create(&KekTemplate::new(name), idempotency_key))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_is_described() {
        let dir = tempfile::tempdir().unwrap();
        let first = made(dir.path(), "kek", "one").unwrap();
        assert_eq!(names(dir.path()), ["kek", "kek.created"]);
        for name in ["kek", "kek.created"] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let text = fs::read_to_string(dir.path().join("kek")).unwrap();
        let again = made(dir.path(), "kek", "one").unwrap();
        assert_eq!(first, again);
        assert_eq!(fs::read_to_string(dir.path().join("kek")).unwrap(), text);
        let key = super::super::LocalKey::from_file(dir.path().join("kek")).unwrap();
        assert_eq!(key.kek_id(), first.kek.id());
        let second = made(dir.path(), "kek-2", "two").unwrap();
        assert_ne!(first.kek, second.kek);

        let admin = LocalAdmin::new(dir.path());
        for known in [&first, &second] {
            assert_eq!(pollster::block_on(admin.describe(&known.kek)).unwrap(), *known);
        }
        fs::write(dir.path().join("garbage"), "CANARY").unwrap();
        let unknown = KekRef::new(PROVIDER, "AAAAAAAAAAAAAAAAAAAAAA", "").unwrap();
        let error = pollster::block_on(admin.describe(&unknown)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyNotFound);
        let error = pollster::block_on(admin.rotate(&first.kek, "three")).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    }

    #[test]
    fn no_file_is_ever_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("theirs"), "data").unwrap();
        made(dir.path(), "kek", "one").unwrap();
        let text = fs::read_to_string(dir.path().join("kek")).unwrap();
        for (name, key) in [("theirs", "one"), ("kek", "two"), ("kek", "")] {
            let error = made(dir.path(), name, key).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
        // Somebody put another key into the place of the one that was made.
        fs::remove_file(dir.path().join("kek")).unwrap();
        let other = Base64::encode_string(&std::array::from_fn::<u8, 32, _>(|i| u8::try_from(i).unwrap()));
        fs::write(dir.path().join("kek"), &other).unwrap();
        fs::set_permissions(dir.path().join("kek"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(
            made(dir.path(), "kek", "one").unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
        assert_eq!(fs::read_to_string(dir.path().join("kek")).unwrap(), other);
        assert_ne!(other, text.trim_end());
        assert_eq!(fs::read_to_string(dir.path().join("theirs")).unwrap(), "data");
    }

    /// Each place where a call can be cut off.
    #[test]
    fn what_was_begun_is_finished_by_the_next_call() {
        let dir = tempfile::tempdir().unwrap();
        let digest = base16ct::lower::encode_string(&Sha256::digest("one"));
        let noted = dir.path().join("kek.created");
        begin(dir.path(), "kek", &digest, &noted).unwrap();
        let note = Note::read(&noted).unwrap().unwrap();
        // Cut off before the key has its name.
        assert!(!dir.path().join("kek").exists());
        let finished = made(dir.path(), "kek", "one").unwrap();
        assert_eq!(finished.kek.id(), note.id);
        assert_eq!(names(dir.path()), ["kek", "kek.created"]);

        // Cut off before the second name is removed.
        fs::hard_link(dir.path().join("kek"), hidden(dir.path(), "kek", &note.id)).unwrap();
        assert_eq!(made(dir.path(), "kek", "one").unwrap(), finished);
        assert_eq!(names(dir.path()), ["kek", "kek.created"]);

        // Cut off before the note: a hidden file is left, and the next call makes a key of its own.
        fs::write(dir.path().join(".kek-2.x"), "").unwrap();
        assert_ne!(made(dir.path(), "kek-2", "one").unwrap().kek, finished.kek);
    }

    #[test]
    fn calls_at_once_return_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let made: Vec<KekDescription> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| made(dir.path(), "kek", "one")))
                .collect();
            calls
                .into_iter()
                .map(|call| call.join().unwrap().unwrap())
                .collect()
        });
        assert!(made.windows(2).all(|pair| pair[0].kek == pair[1].kek));
        assert_eq!(names(dir.path()), ["kek", "kek.created"]);
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let long = "a".repeat(101);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "/a",
            ".a",
            "-a",
            "a b",
            "a?b",
            "é",
            "kek.created",
            &long,
        ] {
            let error = made(dir.path(), bad, "one").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
        }
        assert!(names(dir.path()).is_empty());
        let error = made(&dir.path().join("missing"), "kek", "one").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    }
}
