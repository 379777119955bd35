//! A log on a disk that fails, under a process that ends, in hands that change it.

mod recovery;
mod tampering;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

pub(super) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub(super) fn key() -> LogKey {
        LogKey::from_seed("log.example/audit", &[7; 32]).unwrap()
    }

    pub(super) fn open(&self) -> Result<Log> {
        Log::with_key(self.path(), Self::key())
    }

    /// A closed log of so many records.
    pub(super) fn of(count: u64) -> Self {
        let bench = Self::new();
        let log = bench.open().unwrap();
        for first in (0..count).step_by(100) {
            let batch = (first..count.min(first + 100)).map(record);
            log.append(batch.collect()).unwrap();
        }
        log.checkpoint().unwrap();
        bench
    }

    pub(super) fn reader(&self) -> LogReader {
        LogReader::open(self.path()).unwrap()
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.reader().verify(&Self::key().verifier(), None).unwrap()
    }

    pub(super) fn records(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let each = |index, record: &[u8]| {
            assert_eq!(index, records.len() as u64);
            records.push(record.to_vec());
            Ok(())
        };
        self.reader().each_record(each).unwrap();
        records
    }
}

/// A record as an auditor writes it.
pub(super) fn record(number: u64) -> Vec<u8> {
    format!(r#"{{"waxseal.sequence":{number},"service.instance.id":"one","pad":"{number:040}"}}"#)
        .into_bytes()
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
}

#[test]
fn a_log_is_read_as_it_was_written() {
    for count in [0, 1, 255, 256, 257, 700] {
        let bench = Bench::of(count);
        let expected: Vec<_> = (0..count).map(record).collect();
        assert_eq!(bench.records(), expected, "{count}");
        let verdict = bench.verdict();
        assert!(verdict.is_sound(), "{:?}", verdict.findings);
        assert_eq!((verdict.size, verdict.uncovered, verdict.torn), (count, 0, 0));
        // Partial tiles go when the full one is there.
        assert!(!bench.path().join("tile/entries/000.p").exists() || count < 256);
    }
}

#[test]
fn each_record_has_a_proof_that_fits_no_other() {
    let bench = Bench::of(700);
    let (reader, key) = (bench.reader(), Bench::key().verifier());
    for index in [0, 1, 255, 256, 511, 512, 698, 699] {
        let proof = reader.prove(index).unwrap();
        let proven = Checkpoint::verify_proof(&proof, &record(index), &key).unwrap();
        assert_eq!(proven, index);
        assert!(Checkpoint::verify_proof(&proof, &record(index + 1), &key).is_err());
        let other = proof.replacen(&format!("index {index}\n"), "index 2\n", 1);
        assert!(Checkpoint::verify_proof(&other, &record(index), &key).is_err());
        let stranger = LogKey::from_seed("log.example/audit", &[8; 32]).unwrap();
        assert!(Checkpoint::verify_proof(&proof, &record(index), &stranger.verifier()).is_err());
    }
    let error = reader.prove(700).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_log_that_grew_proves_that_it_is_the_same() {
    let (small, large) = (Bench::of(300), Bench::of(700));
    let (older, reader) = (small.reader().checkpoint().clone(), large.reader());
    let proof = reader.prove_consistency(300).unwrap();
    reader.checkpoint().verify_consistency(&older, &proof).unwrap();
    let other = Bench::of(299).reader().checkpoint().clone();
    assert!(reader.checkpoint().verify_consistency(&other, &proof).is_err());
    assert!(reader.prove_consistency(0).is_err() && reader.prove_consistency(701).is_err());
}

#[test]
fn a_record_that_no_bundle_can_hold_is_refused_and_the_log_goes_on() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    log.append(vec![record(0)]).unwrap();
    let error = log.append(vec![record(1), vec![b'x'; 65_536]]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit);
    log.append(vec![vec![b'x'; 65_535]]).unwrap();
    assert_eq!(log.checkpoint().unwrap().size(), 2);
    assert_eq!(bench.records()[0], record(0));
}

#[test]
fn a_log_that_grows_while_it_is_read_verifies() {
    let bench = Bench::of(10);
    let before = bench.reader();
    let log = bench.open().unwrap();
    log.append((10..300).map(record).collect()).unwrap();
    log.checkpoint().unwrap();
    let verdict = before.verify(&Bench::key().verifier(), None).unwrap();
    assert!(verdict.is_sound() && verdict.size == 300, "{verdict:?}");
    // What a reader began with it ends with.
    let mut count = 0;
    let each = |index: u64, read: &[u8]| {
        count += 1;
        assert_eq!(read, record(index));
        Ok(())
    };
    before.each_record(each).unwrap();
    assert_eq!(count, 10);
}

#[test]
fn a_second_opener_is_refused_and_so_is_another_key() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    let error = bench.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(
        error.is_retryable() && error.to_string().contains("another process"),
        "{error}"
    );
    drop(log);
    let other = LogKey::from_seed("log.example/audit", &[8; 32]).unwrap();
    let error = Log::with_key(bench.path(), other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    drop(bench.open().unwrap());
}

#[test]
fn a_folder_with_something_else_is_refused_and_left_alone() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path()).unwrap();
    fs::write(bench.path().join("precious"), "x").unwrap();
    let error = bench.open().unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
    assert_eq!(fs::read(bench.path().join("precious")).unwrap(), b"x");
    assert_refused(&bench);
    // A file is no place for a log, either.
    let bench = Bench::new();
    fs::write(bench.path(), "x").unwrap();
    let error = assert_refused(&bench);
    assert!(error.to_string().contains("is no directory"), "{error}");
    // Records without a checkpoint are not begun anew.
    let bench = Bench::of(5);
    fs::remove_file(bench.path().join("checkpoint")).unwrap();
    let error = bench.open().unwrap_err();
    assert!(error.to_string().contains("no checkpoint"), "{error}");
}

/// A place that is refused is left as it is, and gets no key.
fn assert_refused(bench: &Bench) -> Error {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let folder = bench.path().parent().unwrap().to_owned();
    let before = (names(&folder), names(&bench.path()));
    let error = Log::open(bench.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Audit, "{error}");
    assert_eq!((names(&folder), names(&bench.path())), before);
    error
}

/// An envelope and a caller can say much. What a log cannot hold is cut down, and nothing else is lost for it.
#[test]
fn an_event_that_is_too_long_is_shortened() {
    use crate::envelope::KekRef;
    let bench = Bench::new();
    let log = bench.open().unwrap();
    let long = Arc::new(crate::audit::event::tests::long(&KekRef::trusted(
        "nobody",
        &"\"".repeat(2_048),
        &"\"".repeat(255),
    )));
    assert!(long.to_json().len() > 65_535);
    pollster::block_on(log.keep(&[Arc::clone(&long), long])).unwrap();
    log.checkpoint().unwrap();
    let records = bench.records();
    assert_eq!(records.len(), 2);
    let record: serde_json::Value = serde_json::from_slice(&records[0]).unwrap();
    assert_eq!(record["waxseal.shortened"], true);
    assert_eq!(record["event.name"], "waxseal.unwrap");
    assert_eq!(record.get("waxseal.envelope.keks"), None);
}

#[test]
fn a_log_in_the_folder_where_it_is_called_has_its_key_beside_it() {
    let bench = Bench::new();
    let log = bench.path().join("log");
    fs::create_dir_all(&log).unwrap();
    drop(Log::open(log.join(".")).unwrap());
    assert!(bench.path().join("log.key").exists());
    let names: Vec<_> = fs::read_dir(bench.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_log_makes_its_key_beside_itself() {
    let bench = Bench::new();
    let log = Log::open(bench.path()).unwrap();
    let key = log.verifier().clone();
    drop(log);
    assert_eq!(bench.reader().named_key().unwrap(), key);
    assert_eq!(Log::open(bench.path()).unwrap().verifier(), &key);
    let beside = bench.path().with_file_name("log.key");
    assert!(beside.exists() && !bench.path().join("log.key").exists());
    fs::remove_file(beside).unwrap();
    let error = Log::open(bench.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[test]
fn a_range_of_records_is_what_a_whole_reading_has_there() {
    let bench = Bench::of(600);
    let log = bench.open().unwrap();
    log.append((600..640).map(record).collect()).unwrap();
    let (reader, all) = (bench.reader(), bench.records());
    assert_eq!((all.len(), reader.count_uncovered().unwrap()), (640, 40));
    for first in [0, 1, 255, 256, 511, 599, 600, 639, 640, u64::MAX] {
        for count in [0, 1, 2, 256, 300, u64::MAX] {
            let mut seen = Vec::new();
            let each = |index, record: &[u8]| {
                seen.push((index, record.to_vec()));
                Ok(())
            };
            reader.each_record_from(first, count, each).unwrap();
            let numbered = (0_u64..).zip(all.clone());
            let end = first.saturating_add(count);
            let expected: Vec<_> = numbered
                .filter(|(index, _)| (first..end).contains(index))
                .collect();
            assert_eq!(seen, expected, "{count} from {first}");
        }
    }
}

mod publish;
