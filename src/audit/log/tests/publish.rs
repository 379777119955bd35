//! Copies of a log: they grow, survive an end half-way, and find out what was taken away.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use pollster::block_on;

use super::*;

/// Files in memory. It refuses to write after so many writes.
#[derive(Debug, Default)]
struct Memory {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    left: Mutex<Option<usize>>,
}

impl Memory {
    fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        if let Some(left) = self.left.lock().unwrap().as_mut() {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| Error::new(ErrorKind::Store).with_detail("no more writes"))?;
        }
        self.files.lock().unwrap().insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn allow(&self, writes: Option<usize>) {
        *self.left.lock().unwrap() = writes;
    }

    /// As a directory that is read.
    fn verdict(&self) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in &*self.files.lock().unwrap() {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let reader = LogReader::open(folder.path()).unwrap();
        assert_eq!(reader.named_key().unwrap(), key());
        reader.verify(&key(), None).unwrap()
    }
}

#[async_trait]
impl TileStore for Memory {
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.files.lock().unwrap().get(path).cloned())
    }

    async fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.write(path, bytes)
    }

    async fn replace(&self, path: &str, seen: Option<&[u8]>, bytes: &[u8]) -> Result<bool> {
        if self.get(path).await?.as_deref() != seen {
            return Ok(false);
        }
        self.write(path, bytes)?;
        Ok(true)
    }
}

fn key() -> VerifierKey {
    Bench::key().verifier()
}

fn grow(bench: &Bench, from: u64, to: u64) {
    let log = bench.open().unwrap();
    log.append((from..to).map(record).collect()).unwrap();
    log.checkpoint().unwrap();
}

fn published(bench: &Bench, store: &dyn TileStore) -> Result<Published> {
    block_on(publish(&bench.reader(), &key(), store))
}

#[test]
fn a_copy_grows_with_its_log_and_is_made_of_what_is_new() {
    let (bench, copy) = (Bench::of(0), Memory::default());
    let folder = tempfile::tempdir().unwrap();
    let of_files = TileFolder::new(folder.path().join("copy"));
    let mut before = 0;
    for to in [0, 1, 255, 256, 257, 700, 5_000, 5_120] {
        grow(&bench, before, to);
        let done = published(&bench, &copy).unwrap();
        assert_eq!((done.added, done.size), (to - before, to));
        assert_eq!(published(&bench, &of_files).unwrap().added, to - before);
        let verdict = copy.verdict();
        assert!(verdict.is_sound(), "{to}: {verdict:?}");
        assert_eq!(verdict.size, to);
        // Nothing new, nothing written.
        let again = published(&bench, &copy).unwrap();
        assert_eq!((again.added, again.files), (0, 0));
        before = to;
    }
    // The same bytes as the log has, and those of full tiles alone were written with what filled them.
    let of_log = bench.path();
    for (path, bytes) in &*copy.files.lock().unwrap() {
        assert_eq!(
            &fs::read(folder.path().join("copy").join(path)).unwrap(),
            bytes,
            "{path}"
        );
        if !path.contains(".p/") {
            assert_eq!(&fs::read(of_log.join(path)).unwrap(), bytes, "{path}");
        }
    }
    let copied = LogReader::open(folder.path().join("copy")).unwrap();
    assert!(
        copied
            .verify(&key(), Some(bench.reader().checkpoint()))
            .unwrap()
            .is_sound()
    );
}

#[test]
fn a_copy_that_ended_half_way_is_whole_and_goes_on() {
    let bench = Bench::of(300);
    let copy = Memory::default();
    published(&bench, &copy).unwrap();
    grow(&bench, 300, 5_000);
    for writes in 0.. {
        copy.allow(Some(writes));
        let done = published(&bench, &copy);
        let verdict = copy.verdict();
        assert!(verdict.is_sound(), "after {writes}: {verdict:?}");
        match done {
            Ok(done) => {
                assert_eq!((done.added, verdict.size), (4_700, 5_000));
                break;
            }
            Err(_) => assert_eq!(verdict.size, 300),
        }
    }
}

#[test]
fn a_log_that_does_not_continue_its_copy_is_not_published() {
    let bench = Bench::of(300);
    let copy = Memory::default();
    published(&bench, &copy).unwrap();
    let files = copy.files.lock().unwrap().clone();
    let refused = |bench: &Bench, what: &str| {
        let error = published(bench, &copy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Audit, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(*copy.files.lock().unwrap(), files);
    };
    refused(&Bench::of(299), "the log has 299 records, and its copy has 300");
    // Another history of the same key.
    let other = Bench::new();
    let log = other.open().unwrap();
    log.append((1..400).map(record).collect()).unwrap();
    log.checkpoint().unwrap();
    drop(log);
    refused(&other, "no continuation of its copy");
    // Its own records, one of which was edited.
    grow(&bench, 300, 400);
    let entries = bench.path().join("tile/entries/001.p/144");
    let mut bytes = fs::read(&entries).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(&entries, bytes).unwrap();
    refused(&bench, "not those of its checkpoint");
}

/// A log that gives another record when it is read again.
#[derive(Debug)]
struct Changing {
    reader: LogReader,
    reads: Mutex<usize>,
}

#[async_trait]
impl LogSource for Changing {
    fn checkpoint(&self) -> &Checkpoint {
        self.reader.checkpoint()
    }

    async fn records(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>> {
        let mut records = LogSource::records(&self.reader, first, count).await?;
        let mut reads = self.reads.lock().unwrap();
        *reads += 1;
        if *reads > 1 {
            records[0].push(b' ');
        }
        Ok(records)
    }
}

#[test]
fn records_that_change_while_they_are_published_get_no_checkpoint() {
    let bench = Bench::of(10);
    let copy = Memory::default();
    let log = Changing {
        reader: bench.reader(),
        reads: Mutex::new(0),
    };
    let error = block_on(publish(&log, &key(), &copy)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit, "{error}");
    assert!(!copy.files.lock().unwrap().contains_key("checkpoint"));
    // What was written is replaced by what is right.
    assert_eq!(published(&bench, &copy).unwrap().added, 10);
    assert!(copy.verdict().is_sound());
}

#[test]
fn what_is_no_copy_of_this_log_is_left_alone() {
    let bench = Bench::of(10);
    let stranger = LogKey::from_seed("other.example/audit", &[8; 32]).unwrap();
    let copy = Memory::default();
    let error = block_on(publish(&bench.reader(), &stranger.verifier(), &copy)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit);
    assert!(copy.files.lock().unwrap().is_empty());
    for note in ["no note", LogEnd::begin(&stranger).checkpoint().as_note()] {
        copy.put_note(note);
        let error = published(&bench, &copy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert_eq!(copy.files.lock().unwrap().len(), 1);
    }
    // The directory of a log that is written.
    let other = Bench::of(5);
    let error = published(&bench, &TileFolder::new(other.path())).unwrap_err();
    assert!(
        error.to_string().contains("no continuation of its copy") || error.kind() == ErrorKind::Configuration,
        "{error}"
    );
    assert_eq!(other.reader().checkpoint().size(), 5);
    // A tile of the copy that is gone or was changed.
    let copy = Memory::default();
    published(&bench, &copy).unwrap();
    grow(&bench, 10, 20);
    copy.files.lock().unwrap().get_mut("tile/0/000.p/10").unwrap()[0] ^= 1;
    assert_eq!(published(&bench, &copy).unwrap_err().kind(), ErrorKind::Store);
    copy.files.lock().unwrap().remove("tile/0/000.p/10");
    assert_eq!(published(&bench, &copy).unwrap_err().kind(), ErrorKind::Store);
}

impl Memory {
    fn put_note(&self, note: &str) {
        self.files
            .lock()
            .unwrap()
            .insert("checkpoint".to_owned(), note.as_bytes().to_vec());
    }
}
