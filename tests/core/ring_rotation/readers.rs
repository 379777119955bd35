//! Readers delay a promotion until they can use the new key.

use waxseal::ring::inventory::Heartbeat;
use waxseal::ring::{Inventory, RecordId, Rollout, State, Target};

use super::bench::{Bench, MINUTE, VERSIONED};

fn beat(bench: &Bench, reader: &str, revision: u64, probed: &[RecordId], failed: &[RecordId]) {
    let beat = Heartbeat::new(reader.to_owned(), "p".to_owned(), revision, probed.to_vec());
    bench
        .run(bench.inventory.beat(&beat.with_failed(failed.to_vec())))
        .unwrap();
}

fn revision(bench: &Bench) -> u64 {
    bench.run(bench.inventory.revision()).unwrap()
}

/// Begins a rotation that readers hinder.
fn hindered(bench: &Bench, first: RecordId) -> RecordId {
    let rotated = bench
        .run(bench.admin().rotate(&Target::Key(first), Rollout::AtOnce, "x"))
        .unwrap();
    let rotated = &rotated[0];
    assert_eq!(rotated.state, State::Pending);
    assert!(rotated.hindered.is_some());
    rotated.key
}

fn tick(bench: &Bench) -> waxseal::ring::Tick {
    bench.run(bench.admin().tick(None)).unwrap()
}

#[test]
fn a_reader_that_the_settings_name_must_report() {
    let bench = Bench::with(|settings| settings.readers = vec!["api".to_owned(), "batch".to_owned()]);
    // The first one waits for nobody.
    let first = bench.key("/", VERSIONED);
    let next = hindered(&bench, first);
    beat(&bench, "api", revision(&bench), &[next], &[]);
    // It knows the key and says nothing of it.
    beat(&bench, "batch", revision(&bench), &[], &[]);
    let refused = tick(&bench).refused;
    assert!(
        refused[0].reason.contains("batch") && !refused[0].reason.contains("api"),
        "{refused:?}"
    );
    beat(&bench, "batch", revision(&bench), &[next], &[]);
    // A report that is too old says nothing.
    bench.runtime.advance(6 * MINUTE);
    assert_eq!(tick(&bench).done.len(), 0);
    for reader in ["api", "batch"] {
        beat(&bench, reader, revision(&bench), &[next], &[]);
    }
    assert_eq!(tick(&bench).done.len(), 1);
    assert_eq!(bench.state(next), State::Active);
}

#[test]
fn any_other_reader_that_lives_must_not_be_behind_or_fail() {
    let bench = Bench::new();
    let first = bench.key("/", VERSIONED);
    beat(&bench, "some", revision(&bench), &[], &[]);
    let next = hindered(&bench, first);
    assert!(tick(&bench).refused[0].reason.contains("does not know it yet"));
    beat(&bench, "some", revision(&bench), &[], &[next]);
    assert!(tick(&bench).refused[0].reason.contains("cannot use it"));
    // It has seen the key, and does not use its scope.
    beat(&bench, "some", revision(&bench), &[], &[]);
    assert_eq!(tick(&bench).done.len(), 1);

    // One that is gone hinders nobody for long.
    beat(&bench, "some", 1, &[], &[]);
    let third = hindered(&bench, next);
    bench.runtime.advance(6 * MINUTE);
    assert_eq!(tick(&bench).done.len(), 1);
    assert_eq!(bench.state(third), State::Active);
}

#[test]
fn a_reader_that_is_skipped_is_in_the_history() {
    let bench = Bench::with(|settings| settings.readers = vec!["api".to_owned()]);
    let first = bench.key("/", VERSIONED);
    let next = hindered(&bench, first);
    beat(&bench, "api", revision(&bench), &[], &[next]);
    let error = bench.run(bench.admin().promote(next, "now")).unwrap_err();
    assert!(error.to_string().contains("api"), "{error}");
    let admin = bench.admin().skipping_reader("api");
    bench.run(admin.promote(next, "now")).unwrap();
    let record = bench.record(next);
    assert_eq!(
        record.history.last().unwrap().reason,
        "now (without the report of: api)"
    );
}
