//! Files of the operating system, and processes that are killed for good (`kill -9`) at every step.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::disk::FileDisk;
use super::protocol::{self, Disk};
use super::{Recovery, Stamp, recover, rewrap_file, rewrap_unchanged_file};
use crate::backend::local::LocalKey;
use crate::value::error::{ErrorKind, Result};
use crate::{EncryptionContext, Kek, Sealer, blocking, envelope::ChunkSize};

/// Steps of a re-wrap, and one more: past its end.
const STEPS: usize = 12;

fn keys(fill: u8) -> LocalKey {
    LocalKey::new(&Kek::from_bytes(&[fill; 32]))
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("purpose", "backup")]).unwrap()
}

fn payload() -> Vec<u8> {
    (0..5000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// Wraps under key 2 and opens with key 1 too.
fn mover() -> blocking::Sealer {
    let builder = Sealer::builder().wrap_with(keys(2)).open_with(keys(1));
    builder.build().unwrap().into()
}

struct Directory {
    dir: tempfile::TempDir,
    sealed: Vec<u8>,
    body: usize,
}

impl Directory {
    fn new(padding: usize) -> Self {
        let builder = Sealer::builder().wrap_with(keys(1)).padding(padding);
        let sealer = blocking::Sealer::from(builder.chunk_size(ChunkSize::MIN).build().unwrap());
        let sealed = sealer.seal(&payload(), &context()).unwrap();
        let body = crate::envelope::Header::parse(&sealed).unwrap().body_offset();
        let dir = tempfile::tempdir().unwrap();
        let directory = Self { dir, sealed, body };
        fs::write(directory.path(), &directory.sealed).unwrap();
        directory
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("f")
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("f.waxseal-journal")
    }

    fn names(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(name).collect();
        names.sort();
        names
    }

    /// The file opens under one of the keys, alone; its body is as it was. Gives the key.
    fn opens_under(&self) -> u8 {
        let bytes = fs::read(self.path()).unwrap();
        assert!(bytes[self.body..] == self.sealed[self.body..]);
        let opens = |fill: &u8| {
            let opened = blocking::Sealer::new(keys(*fill)).open(&bytes, &context());
            opened.is_ok_and(|opened| opened == payload())
        };
        let under: Vec<u8> = [1, 2].into_iter().filter(opens).collect();
        assert_eq!(under.len(), 1);
        under[0]
    }

    /// A process that re-wraps or recovers the file, and waits to be killed after some steps: the next is done up to
    /// `torn` bytes. `None` where it has ended by itself before.
    fn process(&self, work: &str, steps: usize, torn: usize) -> Option<Child> {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "in_place::tests::a_process_to_be_killed",
                "--ignored",
                "--nocapture",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let path = self.path();
        writeln!(stdin, "{work}\n{steps}\n{torn}\n{}", path.to_str().unwrap()).unwrap();
        drop(stdin);
        let said = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(|line| line.ok());
        for line in said {
            if line.ends_with("stopped") {
                return Some(child);
            }
        }
        assert!(child.wait().unwrap().success(), "{work} {steps} {torn}");
        None
    }

    /// Whether there was something to kill.
    fn kill(&self, work: &str, steps: usize, torn: usize) -> bool {
        let child = self.process(work, steps, torn);
        child.is_some_and(|mut child| {
            child.kill().unwrap();
            assert!(!child.wait().unwrap().success());
            true
        })
    }
}

/// A file whose process stops for good after some steps.
struct Stopping {
    disk: FileDisk,
    left: usize,
    torn: usize,
}

impl Stopping {
    /// Does a step, or the first part of it and nothing more.
    fn step(&mut self, whole: usize, work: impl FnOnce(&mut FileDisk, usize) -> Result<()>) -> Result<()> {
        if self.left > 0 {
            self.left -= 1;
            return work(&mut self.disk, whole);
        }
        if whole > 0 {
            work(&mut self.disk, self.torn.min(whole))?;
        }
        println!("stopped");
        loop {
            std::thread::park();
        }
    }
}

impl Disk for Stopping {
    fn file_len(&self) -> Result<u64> {
        self.disk.file_len()
    }

    fn front(&mut self, len: usize) -> Result<Vec<u8>> {
        self.disk.front(len)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.step(bytes.len(), |disk, len| disk.write_at(offset, &bytes[..len]))
    }

    fn sync_file(&mut self) -> Result<()> {
        self.step(0, |disk, _| disk.sync_file())
    }

    fn journal(&mut self) -> Result<Option<Vec<u8>>> {
        self.disk.journal()
    }

    fn create_journal(&mut self, bytes: &[u8]) -> Result<()> {
        self.step(bytes.len(), |disk, len| disk.create_journal(&bytes[..len]))
    }

    fn sync_journal(&mut self) -> Result<()> {
        self.step(0, |disk, _| disk.sync_journal())
    }

    fn remove_journal(&mut self) -> Result<()> {
        self.step(0, |disk, _| disk.remove_journal())
    }

    fn sync_directory(&mut self) -> Result<()> {
        self.step(0, |disk, _| disk.sync_directory())
    }
}

#[test]
#[ignore = "the other tests start it as a process of its own"]
fn a_process_to_be_killed() {
    let lines: Vec<String> = std::io::stdin().lines().map(|line| line.unwrap()).collect();
    let [work, steps, torn, path] = lines.as_slice() else {
        panic!("to be started by the other tests")
    };
    let mut disk = Stopping {
        disk: FileDisk::open(Path::new(path)).unwrap(),
        left: steps.parse().unwrap(),
        torn: torn.parse().unwrap(),
    };
    match work.as_str() {
        "recover" => drop(protocol::recover(&mut disk).unwrap()),
        _ => {
            let front = fs::read(path).unwrap();
            let wraps = mover().rewrap(&front, &context()).unwrap();
            protocol::rewrite(&mut disk, &wraps).unwrap();
        }
    }
}

// spec: REWRAP-6
#[test]
fn a_process_that_is_killed_anywhere_leaves_a_file_that_opens() {
    let mut under = [0, 0];
    for steps in 0..STEPS {
        for torn in [0, 40, 100, usize::MAX] {
            let directory = Directory::new(100);
            let killed = directory.kill("rewrap", steps, torn);
            assert_eq!(killed, steps < STEPS - 1, "{steps}");
            let before = recover(directory.path()).unwrap();
            let key = directory.opens_under();
            under[usize::from(key - 1)] += 1;
            assert_eq!(directory.names(), ["f"]);
            // Step 3 writes the mark, step 5 the rest, step 7 the magic.
            let is_torn = (steps == 3 && torn > 0) || (4..7).contains(&steps) || (steps == 7 && torn == 0);
            assert_eq!(before == Recovery::Restored, is_torn, "{steps} {torn} {before:?}");
            let is_new = steps > 7 || (steps == 7 && torn > 0);
            assert_eq!(key, if is_new { 2 } else { 1 }, "{steps} {torn}");
            assert_eq!(recover(directory.path()).unwrap(), Recovery::Clean);
        }
    }
    assert!(under[0] > 3 && under[1] > 3, "{under:?}");
}

#[test]
fn a_recovery_that_is_killed_anywhere_is_done_again() {
    for steps in 0..11 {
        for torn in [0, 70] {
            let directory = Directory::new(100);
            assert!(directory.kill("rewrap", 5, 100));
            let torn_front = fs::read(directory.path()).unwrap();
            assert!(torn_front != directory.sealed && directory.journal().exists());
            let killed = directory.kill("recover", steps, torn);
            assert_eq!(killed, steps < 9, "{steps}");
            // The same re-wrap again does all there is to do.
            mover().rewrap_file(directory.path(), &context()).unwrap();
            assert_eq!(directory.opens_under(), 2);
            assert_eq!(directory.names(), ["f"]);
        }
    }
}

#[test]
fn two_processes_do_not_meet() {
    let directory = Directory::new(100);
    let wraps = mover().rewrap(&directory.sealed, &context()).unwrap();
    // It has written half of the front, and holds the lock.
    let mut child = directory.process("rewrap", 5, 100).unwrap();
    let before = fs::read(directory.path()).unwrap();
    for result in [
        rewrap_file(directory.path(), &wraps),
        recover(directory.path()).map(drop),
        mover().rewrap_file(directory.path(), &context()).map(drop),
    ] {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Io, true),
            "{error}"
        );
    }
    assert!(fs::read(directory.path()).unwrap() == before);
    child.kill().unwrap();
    child.wait().unwrap();
    rewrap_file(directory.path(), &wraps).unwrap();
    assert_eq!(directory.opens_under(), 2);
}

#[test]
fn the_same_file_with_the_same_body_and_mode() {
    for padding in [0, 100] {
        let directory = Directory::new(padding);
        #[cfg(unix)]
        let of = {
            use std::os::unix::fs::{MetadataExt, PermissionsExt};
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o640)).unwrap();
            |path: PathBuf| {
                let metadata = fs::metadata(path).unwrap();
                (metadata.ino(), metadata.mode(), metadata.len())
            }
        };
        #[cfg(not(unix))]
        let of = |path: PathBuf| fs::metadata(path).unwrap().len();
        let before = of(directory.path());
        mover().rewrap_file(directory.path(), &context()).unwrap();
        assert_eq!(directory.opens_under(), 2);
        assert_eq!(of(directory.path()), before);
        assert_eq!(directory.names(), ["f"]);
    }
}

#[test]
fn what_does_not_fit_or_is_no_file_is_refused_and_left() {
    let directory = Directory::new(0);
    let two = Sealer::builder()
        .wrap_with(keys(2))
        .wrap_with(keys(3))
        .open_with(keys(1));
    let two = blocking::Sealer::from(two.build().unwrap());
    let error = two.rewrap_file(directory.path(), &context()).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::NoRoom { needed, room } if needed > room),
        "{error}"
    );
    assert_eq!(error.operation(), Some(crate::value::Operation::Rewrap));
    assert!(fs::read(directory.path()).unwrap() == directory.sealed);
    let wraps = mover().rewrap(&directory.sealed, &context()).unwrap();
    let error = rewrap_file(directory.dir.path(), &wraps).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    let missing = directory.dir.path().join("missing");
    for error in [
        rewrap_file(&missing, &wraps).unwrap_err(),
        recover(&missing).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Io);
    }
    let wrong = mover()
        .rewrap_file(directory.path(), &EncryptionContext::empty())
        .unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::CannotOpen);
    assert_eq!(directory.names(), ["f"]);
}

/// A journal that was left behind, in a directory that was copied, or beside a name that another file has now.
#[test]
fn a_journal_that_was_left_behind_overwrites_no_newer_front() {
    let directory = Directory::new(100);
    // The new front is whole, and the journal still there.
    assert!(directory.kill("rewrap", 9, 0));
    let journal = fs::read(directory.journal()).unwrap();
    // `cp` writes into the same inode: the number of the file does not change.
    let third = Sealer::builder().wrap_with(keys(1)).open_with(keys(2));
    let third = blocking::Sealer::from(third.build().unwrap());
    let newer = third
        .rewrap(&fs::read(directory.path()).unwrap(), &context())
        .unwrap();
    let front = newer.in_place().unwrap();
    let newer = [front.as_slice(), &directory.sealed[directory.body..]].concat();
    fs::write(directory.path(), &newer).unwrap();
    assert_eq!(recover(directory.path()).unwrap(), Recovery::Removed);
    assert!(fs::read(directory.path()).unwrap() == newer);
    // In another file under that name, the journal does no harm either.
    fs::remove_file(directory.path()).unwrap();
    let other = Directory::new(100).sealed;
    fs::write(directory.path(), &other).unwrap();
    fs::write(directory.journal(), &journal).unwrap();
    assert_eq!(recover(directory.path()).unwrap(), Recovery::Removed);
    assert!(fs::read(directory.path()).unwrap() == other);
    assert_eq!(directory.names(), ["f"]);
}

/// The header is the same, and the file is not as it was read.
#[test]
fn a_file_that_is_changed_meanwhile_is_left_alone() {
    let directory = Directory::new(100);
    let wraps = mover().rewrap(&directory.sealed, &context()).unwrap();
    let stamp = Stamp::of(&fs::File::open(directory.path()).unwrap()).unwrap();
    let longer = [directory.sealed.as_slice(), b"more"].concat();
    fs::write(directory.path(), &longer).unwrap();
    let error = rewrap_unchanged_file(&directory.path(), &wraps, &stamp).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(fs::read(directory.path()).unwrap() == longer);
    // The same bytes in another file.
    fs::rename(directory.path(), directory.dir.path().join("moved")).unwrap();
    fs::write(directory.path(), &directory.sealed).unwrap();
    assert!(rewrap_unchanged_file(&directory.path(), &wraps, &stamp).is_err());
    let stamp = Stamp::of(&fs::File::open(directory.path()).unwrap()).unwrap();
    rewrap_unchanged_file(&directory.path(), &wraps, &stamp).unwrap();
    assert_eq!(directory.opens_under(), 2);
}

#[cfg(unix)]
#[test]
fn links_and_names() {
    use std::os::unix::fs::symlink;
    let directory = Directory::new(100);
    // Through a symbolic link from elsewhere the file itself is meant, and its journal.
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    symlink(directory.path(), &link).unwrap();
    assert!(directory.kill("rewrap", 5, 100));
    assert_eq!(recover(&link).unwrap(), Recovery::Restored);
    mover().rewrap_file(&link, &context()).unwrap();
    assert_eq!(directory.opens_under(), 2);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);

    // Several names: refused, and a recovery still works.
    let directory = Directory::new(100);
    let second = directory.dir.path().join("second");
    fs::hard_link(directory.path(), &second).unwrap();
    let error = mover().rewrap_file(directory.path(), &context()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    assert_eq!(directory.names(), ["f", "second"]);
    fs::remove_file(&second).unwrap();
    assert!(directory.kill("rewrap", 5, 100));
    fs::hard_link(directory.path(), &second).unwrap();
    assert_eq!(recover(directory.path()).unwrap(), Recovery::Restored);
    assert_eq!(directory.opens_under(), 1);
}

#[cfg(unix)]
#[test]
fn a_journal_that_is_a_link_is_not_believed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let directory = Directory::new(100);
    assert!(directory.kill("rewrap", 5, 100));
    let torn = fs::read(directory.path()).unwrap();
    let mode = fs::metadata(directory.journal()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let moved = directory.dir.path().join("moved");
    fs::rename(directory.journal(), &moved).unwrap();
    symlink(&moved, directory.journal()).unwrap();
    let error = recover(directory.path()).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Malformed { field: "journal", .. }),
        "{error}"
    );
    assert!(fs::read(directory.path()).unwrap() == torn);
    fs::remove_file(directory.journal()).unwrap();
    // Of another owner, where this process can make one.
    fs::copy(&moved, directory.journal()).unwrap();
    if std::os::unix::fs::chown(directory.journal(), Some(65_534), None).is_ok() {
        assert!(recover(directory.path()).is_err());
        assert!(fs::read(directory.path()).unwrap() == torn);
        std::os::unix::fs::chown(directory.journal(), Some(0), None).unwrap();
    } else {
        println!("not the superuser: no journal of another owner");
    }
    assert_eq!(recover(directory.path()).unwrap(), Recovery::Restored);
    assert_eq!(directory.opens_under(), 1);
}

/// The superuser re-wraps a file of somebody else: the journal is that owner's, who can recover.
#[cfg(unix)]
#[test]
fn the_journal_belongs_to_the_owner_of_the_file() {
    use std::os::unix::fs::MetadataExt;
    let directory = Directory::new(100);
    if std::os::unix::fs::chown(directory.path(), Some(65_534), Some(65_534)).is_err() {
        println!("not the superuser: no file of another owner");
        return;
    }
    assert!(directory.kill("rewrap", 5, 100));
    assert_eq!(fs::metadata(directory.journal()).unwrap().uid(), 65_534);
    assert_eq!(recover(directory.path()).unwrap(), Recovery::Restored);
    mover().rewrap_file(directory.path(), &context()).unwrap();
    assert_eq!(fs::metadata(directory.path()).unwrap().uid(), 65_534);
    assert_eq!(directory.opens_under(), 2);
}
