//! Ends at any point, and disks that are full.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;

use super::*;

/// The journal without the zeros behind the last batch.
fn used(bench: &Bench) -> Vec<u8> {
    let mut bytes = fs::read(bench.path().join("journal")).unwrap();
    let len = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(len);
    bytes
}

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
    let whole = used(&bench).len();
    let bench = Bench::of(300);
    appended(&bench, &[(300, 302), (302, 304)]);
    let bytes = used(&bench);
    assert!(bytes.len() > whole);
    // With and without the zeros that were written ahead.
    let cuts = (whole..bytes.len()).map(|cut| (cut, 0));
    let with_zeros = (whole..bytes.len()).step_by(16).map(|cut| (cut, 5_000));
    for (cut, ahead) in cuts.chain(with_zeros) {
        let torn = Bench::new();
        copy(&bench.path(), &torn.path());
        let mut left = bytes[..cut].to_vec();
        let expected = left[whole..]
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at as u64 + 1);
        left.resize(cut + ahead, 0);
        fs::write(torn.path().join("journal"), left).unwrap();
        let verdict = torn.verdict();
        assert!(verdict.is_sound(), "{cut}: {:?}", verdict.findings);
        assert_eq!((verdict.uncovered, verdict.torn), (2, expected));
        let log = torn.open().unwrap();
        assert_eq!(log.cut_off(), expected);
        assert_eq!(log.checkpoint().unwrap().size(), 302);
        log.append(vec![record(302)]).unwrap();
        drop(log);
        assert_eq!(torn.records(), (0..303).map(record).collect::<Vec<_>>());
    }
}

/// The pages of a batch may reach the disk in any order.
#[test]
fn a_batch_of_which_only_the_end_was_written_is_cut_off() {
    let bench = Bench::of(300);
    appended(&bench, &[(300, 302)]);
    let whole = used(&bench).len();
    let bench = Bench::of(300);
    appended(&bench, &[(300, 302), (302, 340)]);
    let mut bytes = used(&bench);
    bytes[whole..whole + 2_000].fill(0);
    let torn = (bytes.len() - whole) as u64;
    bytes.resize(bytes.len() + 5_000, 0);
    fs::write(bench.path().join("journal"), bytes).unwrap();
    let verdict = bench.verdict();
    assert!(verdict.is_sound(), "{:?}", verdict.findings);
    assert_eq!((verdict.uncovered, verdict.torn), (2, torn));
    assert_eq!(bench.open().unwrap().checkpoint().unwrap().size(), 302);
}

/// Once the file has the room, syncing a batch changes no length of it.
#[test]
fn room_is_made_ahead_of_the_batches() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = journal::Journal::create(folder.path(), 0).unwrap();
    let len = || fs::metadata(folder.path().join("journal")).unwrap().len();
    let mut lens = vec![len()];
    for number in 0..200 {
        journal.append(number, &[vec![b'x'; 2_500]]).unwrap();
        if lens.last() != Some(&len()) {
            lens.push(len());
        }
    }
    assert!((4..8).contains(&lens.len()), "{lens:?}");
    assert!(lens.last().is_some_and(|len| *len < 1_200_000), "{lens:?}");
    drop(journal);
    let (mut journal, held) = journal::Journal::open(folder.path()).unwrap();
    assert_eq!((held.records.len(), held.torn), (200, 0));
    journal.append(200, &[b"last".to_vec()]).unwrap();
    assert_eq!(lens.last(), Some(&len()));
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

#[test]
fn a_roll_writes_nothing_that_the_checkpoint_before_it_needs() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::of(300);
    // One full tile is below it, before and after.
    let above = bench.path().join("tile/1/000.p/1");
    let before = fs::metadata(&above).unwrap();
    let log = bench.open().unwrap();
    log.append((300..305).map(record).collect()).unwrap();
    log.checkpoint().unwrap();
    let after = fs::metadata(&above).unwrap();
    let of = |it: &fs::Metadata| (it.ino(), it.mtime_nsec(), it.ctime_nsec());
    assert_eq!(of(&before), of(&after));
    // What has another width is whole as soon as it has its name.
    let mut tiles = Vec::new();
    walk(&bench.path().join("tile"), &mut tiles);
    assert!(
        tiles
            .iter()
            .all(|path| path.extension().is_none_or(|it| it != "new")),
        "{tiles:?}"
    );
    drop(log);
    // Not so if the disk is full in the middle.
    let unfinished = bench.path().join("tile/0/001.p/55.new");
    std::os::unix::fs::symlink("/dev/full", &unfinished).unwrap();
    let log = bench.open().unwrap();
    log.append((305..311).map(record).collect()).unwrap();
    assert!(log.checkpoint().unwrap_err().is_retryable());
    drop(log);
    assert!(bench.open().is_err());
    fs::remove_file(&unfinished).unwrap();
    assert_eq!(bench.open().unwrap().checkpoint().unwrap().size(), 311);
    assert!(bench.verdict().is_sound());
}

/// Each state that an end within a roll can leave: what was there before it, with any of the files that it writes first.
#[test]
fn an_end_at_any_point_of_a_roll_loses_and_doubles_nothing() {
    ends_of_a_roll(250);
    ends_of_a_roll(270);
}

fn ends_of_a_roll(first: u64) {
    let before = Bench::of(first);
    appended(&before, &[(first, 300), (300, 600)]);
    let after = Bench::new();
    copy(&before.path(), &after.path());
    drop(after.open().unwrap());
    assert_eq!(after.reader().checkpoint().size(), 600);
    let mut tiles = Vec::new();
    walk(&after.path().join("tile"), &mut tiles);
    tiles.sort();
    assert!(tiles.len() > 4, "{tiles:?}");
    let ends = 0..=tiles.len() + 2;
    let old = |name: &std::path::Path| before.path().join(name).exists();
    for end in ends {
        for half in [false, true] {
            let bench = Bench::new();
            copy(&before.path(), &bench.path());
            let put = |name: &std::path::Path, half: bool| {
                let to = bench.path().join(name);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                let bytes = fs::read(after.path().join(name)).unwrap();
                // Half of a file stands under another name.
                match half {
                    true => fs::write(to.with_extension("new"), &bytes[..bytes.len() / 2]).unwrap(),
                    false if old(name) && name.starts_with("tile") => {
                        assert_eq!(fs::read(to).unwrap(), bytes, "{}", name.display());
                    }
                    false => fs::write(to, bytes).unwrap(),
                }
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
        .write_all(&[1; 4096])
        .unwrap();
    let log = bench.open().unwrap();
    assert_eq!(log.cut_off(), 4096);
    log.append(vec![record(10)]).unwrap();
    drop(log);
    assert_eq!(bench.records().len(), 11);
    // A file that is no journal is not taken for an empty one, nor for none.
    File::create(&journal)
        .unwrap()
        .write_all(b"something else that is no journal")
        .unwrap();
    let finding = |bench: &Bench| {
        let verdict = bench.verdict();
        (verdict.findings[0].what, verdict.findings[0].record)
    };
    assert_eq!(finding(&bench), (Wrong::Journal, Some(10)));
    assert!(bench.reader().each_record(|_, _| Ok(())).is_err());
    fs::write(&journal, "").unwrap();
    assert_eq!(finding(&bench), (Wrong::Journal, Some(10)));
    fs::remove_file(bench.path().join("checkpoint")).unwrap();
    assert!(bench.open().unwrap_err().to_string().contains("no checkpoint"));
}

/// What a file says of itself costs no more than reading it.
#[test]
fn a_journal_full_of_what_looks_like_batches_is_read_in_time() {
    let bench = Bench::of(1);
    let mut bytes = b"waxseal audit journal 1\n".to_vec();
    bytes.extend_from_slice(&u64::MAX.to_be_bytes());
    bytes.extend(std::iter::repeat_n(1, 200_000));
    let journal = bench.path().join("journal");
    fs::write(&journal, &bytes).unwrap();
    assert_eq!(bench.verdict().findings[0].what, Wrong::Journal);
    bytes[24..32].copy_from_slice(&0x0101_0101_0101_0100_u64.to_be_bytes());
    fs::write(&journal, &bytes).unwrap();
    assert_eq!(bench.verdict().findings[0].what, Wrong::Journal);
}

#[test]
fn files_without_end_are_refused() {
    let bench = Bench::of(3);
    let tile = bench.path().join("tile/entries/000.p/3");
    File::options()
        .write(true)
        .open(&tile)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let verdict = bench.verdict();
    assert_eq!(verdict.findings[0].what, Wrong::Missing);
    assert!(
        verdict.findings[0].detail.contains("more than"),
        "{:?}",
        verdict.findings
    );
    let checkpoint = bench.path().join("checkpoint");
    File::options()
        .write(true)
        .open(&checkpoint)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert_eq!(
        LogReader::open(bench.path()).unwrap_err().kind(),
        ErrorKind::Store
    );
}
