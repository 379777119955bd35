//! Ten ways to change a log, each of which shows.

use std::fs;

use super::*;
use crate::audit::log::hash::{leaf, root};
use crate::audit::log::tile::{Kind, path, tiles};

const SIZE: u64 = 600;
const OFF: usize = 300;

/// Writes records in the place of those of a log, with or without the tiles that fit.
fn rewrite(bench: &Bench, records: &[Vec<u8>], with_tiles: bool) {
    let folder = bench.path();
    for (index, width) in tiles(0, SIZE) {
        let first = usize::try_from(index).unwrap() * 256;
        let Some(part) = records.get(first..(first + width).min(records.len())) else {
            continue;
        };
        let bundle = journal::bundle(part).unwrap();
        fs::write(folder.join(path(Kind::Entries, index, width)), bundle).unwrap();
        if with_tiles {
            let hashes: Vec<_> = part.iter().map(|record| leaf(record)).collect();
            fs::write(folder.join(path(Kind::Hashes(0), index, width)), hashes.concat()).unwrap();
        }
    }
    if with_tiles {
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
fn found(records: &[Vec<u8>], with_tiles: bool) -> (Wrong, Option<u64>) {
    let bench = Bench::of(SIZE);
    rewrite(&bench, records, with_tiles);
    let verdict = bench.verdict();
    let finding = verdict.findings.first().expect("nothing was found");
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
        assert_eq!(found(records, false), (Wrong::Altered, at));
    }
    // With tiles that fit, the numbers of the events tell.
    for records in [&drop, &swap, &insertion] {
        assert_eq!(found(records, true), (Wrong::Rewritten, at));
    }
    // An edit that keeps the number does not show where it is.
    let quiet = changed(|records| *records[OFF].last_mut().unwrap() = b' ');
    assert_eq!(
        found(&quiet, true),
        (Wrong::Rewritten, at),
        "it is no JSON any more"
    );
    let quiet = changed(|records| {
        let text = String::from_utf8(records[OFF].clone()).unwrap();
        records[OFF] = text.replace("pad", "dap").into_bytes();
    });
    assert_eq!(found(&quiet, true), (Wrong::Rewritten, None));
}

#[test]
fn a_tile_that_is_changed_or_missing_shows() {
    for (name, first) in [
        ("tile/0/001", 256),
        ("tile/1/000.p/2", 0),
        ("tile/entries/001", 256),
    ] {
        let bench = Bench::of(SIZE);
        let file = bench.path().join(name);
        let mut bytes = fs::read(&file).unwrap();
        // The first byte of a bundle is the length of a record.
        bytes[1] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let finding = bench.verdict().findings[0].clone();
        assert_eq!(finding.record, Some(first), "{name}: {finding}");
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert!(!bench.verdict().is_sound(), "{name}");
        fs::remove_file(&file).unwrap();
        let finding = bench.verdict().findings[0].clone();
        assert_eq!(
            (finding.what, finding.record),
            (Wrong::Missing, Some(first)),
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
