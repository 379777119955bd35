//! Ends at any point, and disks that are full.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;

use super::*;

/// Appends without a roll, and ends as a killed process does.
fn appended(bench: &Bench, batches: &[(u64, u64)]) {
    let log = bench.open().unwrap();
    for (from, to) in batches {
        log.append((*from..*to).map(record).collect()).unwrap();
    }
}

#[test]
fn what_was_kept_is_there_after_an_end_without_a_checkpoint() {
    let bench = Bench::new();
    appended(&bench, &[(0, 3), (3, 5)]);
    let verdict = bench.verdict();
    assert!(verdict.is_sound(), "{:?}", verdict.findings);
    assert_eq!((verdict.size, verdict.uncovered), (0, 5));
    appended(&bench, &[(5, 6)]);
    let log = bench.open().unwrap();
    assert_eq!(log.checkpoint().unwrap().size(), 6);
    assert_eq!(bench.records(), (0..6).map(record).collect::<Vec<_>>());
}

#[test]
fn a_batch_that_was_torn_at_any_byte_is_cut_off_and_nothing_else() {
    let bench = Bench::of(300);
    appended(&bench, &[(300, 302)]);
    let journal = bench.path().join("journal");
    let whole = fs::metadata(&journal).unwrap().len();
    // Without a roll: the journal of the first batch and the one after it.
    let log = bench.open().unwrap();
    drop(log);
    let bench = Bench::of(300);
    appended(&bench, &[(300, 302), (302, 304)]);
    let bytes = fs::read(bench.path().join("journal")).unwrap();
    let whole = usize::try_from(whole).unwrap();
    assert!(bytes.len() > whole);
    for cut in whole..bytes.len() {
        let torn = Bench::new();
        copy(&bench.path(), &torn.path());
        fs::write(torn.path().join("journal"), &bytes[..cut]).unwrap();
        let verdict = torn.verdict();
        assert!(verdict.is_sound(), "{cut}: {:?}", verdict.findings);
        assert_eq!((verdict.uncovered, verdict.torn), (2, (cut - whole) as u64));
        let log = torn.open().unwrap();
        assert_eq!(log.cut_off(), (cut - whole) as u64);
        assert_eq!(log.checkpoint().unwrap().size(), 302);
        log.append(vec![record(302)]).unwrap();
        drop(log);
        assert_eq!(torn.records(), (0..303).map(record).collect::<Vec<_>>());
    }
}

#[test]
fn damage_before_the_last_batch_is_not_taken_for_an_unfinished_one() {
    let bench = Bench::of(300);
    appended(&bench, &[(300, 302), (302, 304), (304, 305)]);
    let journal = bench.path().join("journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[100] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let error = bench.open().unwrap_err();
    assert!(error.to_string().contains("damaged at record 300"), "{error}");
    assert_eq!(fs::read(&journal).unwrap(), bytes);
    let verdict = bench.verdict();
    assert_eq!(verdict.findings[0].what, Wrong::Journal);
    assert_eq!(verdict.findings[0].record, Some(300));
}

/// Each state that an end within a roll can leave: what was there before it, with any of the files that it writes first.
#[test]
fn an_end_at_any_point_of_a_roll_loses_and_doubles_nothing() {
    let before = Bench::of(250);
    appended(&before, &[(250, 300), (300, 600)]);
    let after = Bench::new();
    copy(&before.path(), &after.path());
    drop(after.open().unwrap());
    assert_eq!(after.reader().checkpoint().size(), 600);
    let mut tiles = Vec::new();
    walk(&after.path().join("tile"), &mut tiles);
    tiles.sort();
    assert!(tiles.len() > 4, "{tiles:?}");
    let ends = 0..=tiles.len() + 2;
    for end in ends {
        for half in [false, true] {
            let bench = Bench::new();
            copy(&before.path(), &bench.path());
            let put = |name: &std::path::Path, half: bool| {
                let to = bench.path().join(name);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                let bytes = fs::read(after.path().join(name)).unwrap();
                let len = if half { bytes.len() / 2 } else { bytes.len() };
                fs::write(to, &bytes[..len]).unwrap();
            };
            for (at, tile) in tiles.iter().take(end).enumerate() {
                put(tile.strip_prefix(after.path()).unwrap(), half && at + 1 == end);
            }
            if end > tiles.len() {
                put("checkpoint".as_ref(), false);
            }
            if end > tiles.len() + 1 {
                put("journal".as_ref(), false);
            }
            if end <= tiles.len() && half {
                fs::write(bench.path().join("checkpoint.new"), "half").unwrap();
                fs::write(bench.path().join("journal.new"), "half").unwrap();
            }
            let log = bench.open().unwrap();
            log.append(vec![record(600)]).unwrap();
            log.checkpoint().unwrap();
            drop(log);
            assert_eq!(bench.records(), (0..601).map(record).collect::<Vec<_>>(), "{end}");
            let verdict = bench.verdict();
            assert!(verdict.is_sound(), "{end}: {:?}", verdict.findings);
        }
    }
}

fn walk(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, files),
            false => files.push(path),
        }
    }
}

#[test]
fn a_checkpoint_without_its_tiles_is_not_written_on() {
    let bench = Bench::of(300);
    fs::remove_file(bench.path().join("tile/0/001.p/44")).unwrap();
    let error = bench.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    let bench = Bench::of(300);
    let tile = bench.path().join("tile/0/001.p/44");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[5] ^= 1;
    fs::write(&tile, bytes).unwrap();
    let error = bench.open().unwrap_err();
    assert!(error.to_string().contains("audit verify"), "{error}");
    // A journal that begins too late: the records between are lost.
    let bench = Bench::of(300);
    let journal = bench.path().join("journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[31] ^= 1;
    fs::write(&journal, bytes).unwrap();
    assert_eq!(bench.open().unwrap_err().kind(), ErrorKind::Audit);
}

/// `/dev/full` takes nothing, as a full disk does.
#[cfg(target_os = "linux")]
#[test]
fn a_checkpoint_that_cannot_be_written_loses_nothing() {
    let bench = Bench::of(10);
    let log = bench.open().unwrap();
    std::os::unix::fs::symlink("/dev/full", bench.path().join("checkpoint.new")).unwrap();
    log.append((10..20).map(record).collect()).unwrap();
    let error = log.checkpoint().unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("checkpoint"),
        "{error}"
    );
    log.append((20..30).map(record).collect()).unwrap();
    assert_eq!(bench.verdict().uncovered, 20);
    fs::remove_file(bench.path().join("checkpoint.new")).unwrap();
    assert_eq!(log.checkpoint().unwrap().size(), 30);
    assert!(bench.verdict().is_sound());
}

#[test]
fn what_stands_behind_the_last_batch_is_written_over() {
    let bench = Bench::of(10);
    let journal = bench.path().join("journal");
    OpenOptions::new()
        .append(true)
        .open(&journal)
        .unwrap()
        .write_all(&[0; 4096])
        .unwrap();
    let log = bench.open().unwrap();
    assert_eq!(log.cut_off(), 4096);
    log.append(vec![record(10)]).unwrap();
    drop(log);
    assert_eq!(bench.records().len(), 11);
    // A file that is no journal is not taken for an empty one.
    File::create(&journal)
        .unwrap()
        .write_all(b"something else that is no journal")
        .unwrap();
    assert_eq!(bench.open().unwrap_err().kind(), ErrorKind::Audit);
}
