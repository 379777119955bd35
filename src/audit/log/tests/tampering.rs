//! Ten ways to change a log, each of which shows.

use std::fs;

use super::*;
use crate::audit::log::hash::{leaf, root};
use crate::audit::log::tile::{Kind, path, tiles};

const SIZE: u64 = 600;
const OFF: usize = 300;

/// Which tiles of hashes are written, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tiles {
    None,
    Lowest,
    All,
}

/// Writes records in the place of those of a log, with the tiles that fit.
fn rewrite(bench: &Bench, records: &[Vec<u8>], with: Tiles) {
    let folder = bench.path();
    for (index, width) in tiles(0, SIZE) {
        let first = usize::try_from(index).unwrap() * 256;
        let Some(part) = records.get(first..(first + width).min(records.len())) else {
            continue;
        };
        let bundle = journal::bundle(part).unwrap();
        fs::write(folder.join(path(Kind::Entries, index, width)), bundle).unwrap();
        if with >= Tiles::Lowest {
            let hashes: Vec<_> = part.iter().map(|record| leaf(record)).collect();
            fs::write(folder.join(path(Kind::Hashes(0), index, width)), hashes.concat()).unwrap();
        }
    }
    if with == Tiles::All {
        let hashes: Vec<_> = records.iter().map(|record| leaf(record)).collect();
        let (full, _) = hashes.as_chunks::<256>();
        let above: Vec<_> = full.iter().map(|tile| root(tile)).collect();
        fs::write(folder.join("tile/1/000.p/2"), above.concat()).unwrap();
    }
}

fn changed(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<Vec<u8>> {
    let mut records: Vec<_> = (0..SIZE).map(record).collect();
    change(&mut records);
    records.resize(usize::try_from(SIZE).unwrap(), record(SIZE));
    records
}

/// The first finding of a log of these records.
fn finding(records: &[Vec<u8>], with: Tiles) -> Finding {
    let bench = Bench::of(SIZE);
    rewrite(&bench, records, with);
    let verdict = bench.verdict();
    verdict.findings.first().expect("nothing was found").clone()
}

fn found(records: &[Vec<u8>], with: Tiles) -> (Wrong, Option<u64>) {
    let finding = finding(records, with);
    (finding.what, finding.record)
}

#[test]
fn an_edit_a_drop_a_swap_and_an_insertion_name_the_first_record_that_is_off() {
    let at = Some(OFF as u64);
    let edit = changed(|records| records[OFF][2] ^= 1);
    let drop = changed(|records| drop(records.remove(OFF)));
    let swap = changed(|records| records.swap(OFF, OFF + 7));
    let insertion = changed(|records| records.insert(OFF, record(9_999)));
    for records in [&edit, &drop, &swap, &insertion] {
        assert_eq!(found(records, Tiles::None), (Wrong::Altered, at));
    }
    // With tiles that fit, the numbers of the events tell.
    for records in [&drop, &swap, &insertion] {
        assert_eq!(found(records, Tiles::All), (Wrong::Rewritten, at));
    }
    // An edit that keeps the number does not show where it is.
    let quiet = changed(|records| *records[OFF].last_mut().unwrap() = b' ');
    assert_eq!(
        found(&quiet, Tiles::All),
        (Wrong::Rewritten, at),
        "it is no JSON any more"
    );
    let quiet = changed(|records| {
        let text = String::from_utf8(records[OFF].clone()).unwrap();
        records[OFF] = text.replace("pad", "dap").into_bytes();
    });
    assert_eq!(found(&quiet, Tiles::All), (Wrong::Rewritten, None));
}

#[test]
fn under_tiles_that_are_left_as_they_were_the_numbers_of_the_events_tell_which_record_is_off() {
    let at = Some(OFF as u64);
    let drop = changed(|records| drop(records.remove(OFF)));
    let early = changed(|records| std::mem::drop(records.remove(100)));
    let swap = changed(|records| records.swap(OFF, OFF + 7));
    assert_eq!(found(&drop, Tiles::Lowest), (Wrong::Altered, at));
    assert_eq!(found(&swap, Tiles::Lowest), (Wrong::Altered, at));
    assert_eq!(found(&early, Tiles::Lowest), (Wrong::Altered, Some(100)));
    // If they tell nothing, the records that it can be are named, and none of them.
    let quiet = changed(|records| {
        let text = String::from_utf8(records[OFF].clone()).unwrap();
        records[OFF] = text.replace("pad", "dap").into_bytes();
    });
    let finding = finding(&quiet, Tiles::Lowest);
    assert_eq!((finding.what, finding.record), (Wrong::Altered, None));
    assert!(finding.detail.contains("the records 256 to 511"), "{finding}");
}

#[test]
fn a_full_bundle_stands_for_a_partial_one_whatever_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<_> = (0..256).map(record).collect();
    let bundle = journal::bundle(&records).unwrap();
    fs::create_dir_all(folder.path().join("tile/entries")).unwrap();
    for index in [7, 100] {
        fs::write(folder.path().join(path(Kind::Entries, index, 256)), &bundle).unwrap();
        let read = LogReader::bundle_at(folder.path(), index, 100).unwrap();
        assert_eq!(read, records[..100]);
    }
    // One whose name says that it is partial holds no more and no less.
    fs::create_dir_all(folder.path().join("tile/entries/008.p")).unwrap();
    fs::write(folder.path().join(path(Kind::Entries, 8, 100)), &bundle).unwrap();
    assert!(LogReader::bundle_at(folder.path(), 8, 100).is_err());
}

#[test]
fn a_tile_that_is_changed_or_missing_shows() {
    for (name, first) in [
        ("tile/0/001", Some(256)),
        // The records are those of the checkpoint.
        ("tile/1/000.p/2", None),
        ("tile/entries/001", Some(256)),
    ] {
        let bench = Bench::of(SIZE);
        let file = bench.path().join(name);
        let mut bytes = fs::read(&file).unwrap();
        // The first byte of a bundle is the length of a record.
        bytes[1] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let finding = bench.verdict().findings[0].clone();
        assert_eq!(finding.record, first, "{name}: {finding}");
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert!(!bench.verdict().is_sound(), "{name}");
        fs::remove_file(&file).unwrap();
        let finding = bench.verdict().findings[0].clone();
        assert_eq!(
            (finding.what, finding.record),
            (Wrong::Missing, first.or(Some(0))),
            "{name}"
        );
    }
}

#[test]
fn a_checkpoint_of_another_size_root_or_key_shows() {
    let bench = Bench::of(SIZE);
    let file = bench.path().join("checkpoint");
    let note = fs::read_to_string(&file).unwrap();
    fs::write(&file, note.replacen("\n600\n", "\n599\n", 1)).unwrap();
    assert_eq!(bench.verdict().findings[0].what, Wrong::Signature);
    let stranger = LogKey::from_seed("log.example/audit", &[8; 32]).unwrap();
    let root = *Checkpoint::parse(&note).unwrap().root();
    fs::write(&file, Checkpoint::sign(SIZE, root, &stranger).as_note()).unwrap();
    assert_eq!(bench.verdict().findings[0].what, Wrong::Signature);
}

#[test]
fn a_truncation_shows_by_a_later_checkpoint_and_a_fork_by_an_older_one() {
    let (long, short, key) = (Bench::of(SIZE), Bench::of(500), Bench::key().verifier());
    let later = long.reader().checkpoint().clone();
    assert!(short.verdict().is_sound());
    let verdict = short.reader().verify(&key, Some(&later)).unwrap();
    let finding = &verdict.findings[0];
    assert_eq!((finding.what, finding.record), (Wrong::Truncated, Some(500)));
    let older = short.reader().checkpoint().clone();
    assert!(long.reader().verify(&key, Some(&older)).unwrap().is_sound());
    // Another history under the same key.
    let fork = Bench::new();
    let log = fork.open().unwrap();
    log.append((1..700).map(record).collect()).unwrap();
    log.checkpoint().unwrap();
    assert!(fork.verdict().is_sound());
    for kept in [&older, &later] {
        let verdict = fork.reader().verify(&key, Some(kept)).unwrap();
        assert_eq!(verdict.findings[0].what, Wrong::Forked);
    }
    let stranger = LogKey::from_seed("log.example/audit", &[8; 32]).unwrap();
    let foreign = Checkpoint::sign(500, *older.root(), &stranger);
    let error = long.reader().verify(&key, Some(&foreign)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_log_that_was_exchanged_with_its_key_shows_by_what_was_kept() {
    let bench = Bench::of(5);
    let kept = bench.reader().checkpoint().clone();
    assert!(
        bench
            .reader()
            .verify_by_named_key(Some(&kept))
            .unwrap()
            .is_sound()
    );
    let exchanged = |origin: &str| {
        let other = Bench::new();
        let log = Log::with_key(other.path(), LogKey::from_seed(origin, &[8; 32]).unwrap()).unwrap();
        log.append((0..5).map(record).collect()).unwrap();
        log.checkpoint().unwrap();
        other
    };
    for (origin, says) in [
        ("log.example/audit", "names another key"),
        ("log.example/other", "the log is log.example/other"),
    ] {
        let other = exchanged(origin);
        assert!(other.reader().verify_by_named_key(None).unwrap().is_sound());
        let verdict = other.reader().verify_by_named_key(Some(&kept)).unwrap();
        let finding = verdict.findings.first().unwrap();
        assert_eq!(finding.what, Wrong::Signature);
        assert!(finding.detail.contains(says), "{finding}");
        let copy = tempfile::tempdir().unwrap();
        let publish = |bench: &Bench| {
            let (reader, copy) = (bench.reader(), TileFolder::new(copy.path()));
            let key = reader.named_key().unwrap();
            pollster::block_on(super::publish(&reader, &key, &copy))
        };
        publish(&bench).unwrap();
        let error = publish(&other).unwrap_err();
        let is_same_name = origin == "log.example/audit";
        assert_eq!(error.kind() == ErrorKind::Audit, is_same_name, "{error}");
    }
    // What says that it is of the key, and is not, was damaged.
    let note = kept.as_note().replacen("\n5\n", "\n4\n", 1);
    let damaged = Checkpoint::parse(&note).unwrap();
    let error = bench.reader().verify_by_named_key(Some(&damaged)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_log_that_is_read_by_its_records_is_verified_in_the_same_way() {
    let bench = Bench::of(SIZE);
    let by_records = |kept: Option<&Checkpoint>| {
        let (reader, key) = (bench.reader(), Bench::key().verifier());
        pollster::block_on(verify(&reader, &key, kept)).unwrap()
    };
    let first = |verdict: Verdict| {
        verdict
            .findings
            .first()
            .map(|finding| (finding.what, finding.record))
    };
    let older = Bench::of(500).reader().checkpoint().clone();
    assert_eq!(first(by_records(Some(&older))), None);
    let beyond = Bench::of(700).reader().checkpoint().clone();
    assert_eq!(
        first(by_records(Some(&beyond))),
        Some((Wrong::Truncated, Some(SIZE)))
    );
    let edit = changed(|records| records[OFF][2] ^= 1);
    rewrite(&bench, &edit, Tiles::None);
    assert_eq!(first(by_records(None)), Some((Wrong::Altered, Some(OFF as u64))));
    let error = pollster::block_on(super::publish(
        &bench.reader(),
        &Bench::key().verifier(),
        &TileFolder::new(bench.path().with_file_name("copy")),
    ));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("record 300 is the first one"), "{error}");
    let drop = changed(|records| drop(records.remove(OFF)));
    rewrite(&bench, &drop, Tiles::All);
    assert_eq!(
        first(by_records(None)),
        Some((Wrong::Rewritten, Some(OFF as u64)))
    );
    fs::remove_file(bench.path().join("tile/entries/001")).unwrap();
    assert_eq!(first(by_records(None)), Some((Wrong::Missing, Some(256))));
}

#[test]
fn a_later_checkpoint_of_what_is_in_the_journal_fits() {
    let bench = Bench::of(10);
    let log = bench.open().unwrap();
    log.append((10..20).map(record).collect()).unwrap();
    drop(log);
    let later = Bench::of(20).reader().checkpoint().clone();
    let key = Bench::key().verifier();
    let verdict = bench.reader().verify(&key, Some(&later)).unwrap();
    assert!(verdict.is_sound(), "{:?}", verdict.findings);
    let beyond = Bench::of(21).reader().checkpoint().clone();
    let verdict = bench.reader().verify(&key, Some(&beyond)).unwrap();
    assert_eq!(verdict.findings[0].record, Some(20));
}
