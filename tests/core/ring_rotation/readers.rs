//! Readers delay a promotion until they can use the new key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use waxseal::Result;
use waxseal::ring::inventory::{Heartbeat, MemoryInventory};
use waxseal::ring::{
    Authority, Inventory, KeyRing, NamedReader, Reader, RecordId, RingAdmin, Rollout, Scope, State, Target,
    Time, Trust, set_settings,
};
use waxseal::testing::InventoryLayer;

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

fn named(names: &[&str]) -> Vec<NamedReader> {
    names.iter().map(|name| NamedReader::new(*name)).collect()
}

/// A process of a reader, which signs with this key.
fn process(bench: &Bench, reader: &str, key: &Arc<Authority>) -> KeyRing {
    let trust = Trust::new(bench.ring, bench.authority.public());
    let inventory = Arc::new(bench.inventory.clone());
    let ring = KeyRing::builder(trust, inventory, Arc::new(bench.fakes.clone()))
        .runtime(Arc::new(bench.runtime.clone()))
        .without_watching()
        .reader(reader)
        .reader_key(Arc::clone(key));
    bench.run(ring.open()).unwrap()
}

fn reason(bench: &Bench) -> String {
    let ticked = tick(bench);
    assert_eq!(ticked.done.len(), 0);
    ticked.refused[0].reason.clone()
}

fn tick(bench: &Bench) -> waxseal::ring::Tick {
    bench.run(bench.admin().tick(None)).unwrap()
}

#[test]
fn a_reader_that_the_settings_name_must_report() {
    let bench = Bench::with(|settings| settings.readers = named(&["api", "batch"]));
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
    let bench = Bench::with(|settings| settings.readers = named(&["api"]));
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

#[test]
fn nothing_but_what_its_key_signed_is_a_report_of_a_reader_with_a_key() {
    let key = Arc::new(Authority::generate().unwrap());
    let api = NamedReader::new("api").with_key(key.public());
    let bench = Bench::with(|settings| settings.readers = vec![api]);
    let first = bench.key("/", VERSIONED);
    let next = hindered(&bench, first);
    // Whoever may write heartbeats writes one in its name.
    beat(&bench, "api", revision(&bench), &[next], &[]);
    assert!(reason(&bench).contains("not signed"), "{}", reason(&bench));
    // Also one that another key has signed.
    let other = process(&bench, "api", &Arc::new(Authority::generate().unwrap()));
    bench.run(other.beat()).unwrap();
    assert!(reason(&bench).contains("not signed"));
    // One of the reader that has not probed it, changed so that it had.
    let own = process(&bench, "api", &key);
    bench.run(own.beat()).unwrap();
    let beats = bench.run(bench.inventory.heartbeats(bench.now())).unwrap();
    let signed = |beat: &&Heartbeat| {
        beat.signed
            .as_ref()
            .is_some_and(|signed| signed.signer == *key.public().as_bytes())
    };
    let good = beats.iter().find(signed).unwrap();
    assert_eq!(good.probed, [next]);
    let mut old = good.clone();
    // Five minutes, and as far as the clocks may be apart.
    bench.runtime.advance(11 * MINUTE);
    bench.run(bench.inventory.beat(&old)).unwrap();
    assert!(reason(&bench).contains("clock"), "{}", reason(&bench));
    old.process = "another".to_owned();
    bench.run(bench.inventory.beat(&old)).unwrap();
    // What others write in its name delays nothing either.
    bench.run(own.beat()).unwrap();
    beat(&bench, "api", 1, &[], &[next]);
    assert_eq!(tick(&bench).done.len(), 1);
    assert_eq!(bench.state(next), State::Active);
}

#[test]
fn a_reader_waits_for_no_scope_that_it_does_not_serve() {
    let api = NamedReader::new("api").with_scopes(["tenant/a".parse().unwrap()]);
    let bench = Bench::with(|settings| {
        settings.scope_template = "tenant/{tenant}".parse().unwrap();
        settings.readers = vec![api];
    });
    let (own, other) = (
        bench.key("tenant/a", VERSIONED),
        bench.key("tenant/b", "vault-transit:b"),
    );
    let own = hindered(&bench, own);
    let rotated = bench.run(bench.admin().rotate(&Target::Key(other), Rollout::AtOnce, "x"));
    assert_eq!(rotated.unwrap()[0].state, State::Active);
    assert!(reason(&bench).contains("api"));
    assert_eq!(bench.state(own), State::Pending);
}

#[test]
fn a_reader_reports_on_scopes_that_nobody_has_asked_it_for() {
    let key = Arc::new(Authority::generate().unwrap());
    let api = NamedReader::new("api").with_key(key.public());
    let bench = Bench::with(|settings| {
        settings.scope_template = "tenant/{tenant}".parse().unwrap();
        settings.readers = vec![api];
    });
    // More than one heartbeat reads of those that nobody uses.
    let pending: Vec<RecordId> = (0..70)
        .map(|number| {
            let first = bench.key(&format!("tenant/{number}"), &format!("vault-transit:k{number}"));
            hindered(&bench, first)
        })
        .collect();
    let ring = process(&bench, "api", &key);
    for _ in 0..2 {
        bench.run(ring.beat()).unwrap();
    }
    let ticked = tick(&bench);
    assert_eq!((ticked.done.len(), ticked.refused.len()), (70, 0));
    assert!(pending.iter().all(|key| bench.state(*key) == State::Active));
}

#[test]
fn the_settings_name_a_reader_once() {
    let bench = Bench::new();
    let reader = bench.admin();
    let set = |readers: Vec<NamedReader>| {
        let edit = |settings: &mut waxseal::ring::Settings| settings.readers.clone_from(&readers);
        bench.run(set_settings(reader.reader(), &bench.authority, "test", edit))
    };
    assert!(set(named(&["a", "b"])).is_ok());
    for bad in [named(&["a", "a"]), named(&["a=b"]), named(&["a,b"]), named(&[""])] {
        assert_eq!(set(bad).unwrap_err().kind(), waxseal::ErrorKind::InvalidArgument);
    }
}

/// Rows that a role with the right to write heartbeats can put there.
#[derive(Debug)]
struct Forged {
    inner: MemoryInventory,
    rows: Vec<Heartbeat>,
    /// How often heartbeats were read.
    read: AtomicUsize,
}

#[async_trait]
impl InventoryLayer for Forged {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn heartbeats(&self, since: Time) -> Result<Vec<Heartbeat>> {
        self.read.fetch_add(1, Ordering::SeqCst);
        let mut beats = self.rows.clone();
        beats.extend(self.inner.heartbeats(since).await?);
        beats.truncate(10_000);
        Ok(beats)
    }

    async fn heartbeats_of(&self, reader: &str, since: Time) -> Result<Vec<Heartbeat>> {
        self.inner.heartbeats_of(reader, since).await
    }
}

fn forged(bench: &Bench, at: Time, many: usize) -> (Arc<Forged>, RingAdmin) {
    let row = |number| {
        let mut beat = Heartbeat::new(format!("ghost {number}"), "p".to_owned(), 0, Vec::new());
        beat.at = Some(at);
        beat
    };
    let forged = Arc::new(Forged {
        inner: bench.inventory.clone(),
        rows: (0..many).map(row).collect(),
        read: AtomicUsize::new(0),
    });
    let trust = Trust::new(bench.ring, bench.authority.public());
    let reader = Reader::new(trust, Arc::clone(&forged) as Arc<dyn Inventory>);
    let backends = Arc::new(bench.fakes.clone());
    let admin = RingAdmin::new(reader, Arc::clone(&bench.authority), backends, "alice");
    (forged, admin.with_runtime(Arc::new(bench.runtime.clone())))
}

#[test]
fn a_heartbeat_of_the_future_hinders_nobody() {
    let bench = Bench::new();
    let first = bench.key("/", VERSIONED);
    let (_, admin) = forged(&bench, "9000-01-01T00:00:00Z".parse().unwrap(), 1);
    let rotated = bench
        .run(admin.rotate(&Target::Key(first), Rollout::AtOnce, "x"))
        .unwrap();
    assert_eq!(rotated[0].state, State::Active);
    // One of now does, and is skipped by name in a tick, too.
    let (_, admin) = forged(&bench, bench.now(), 1);
    let rotated = bench
        .run(admin.rotate(&Target::Key(rotated[0].key), Rollout::AtOnce, "x"))
        .unwrap();
    assert_eq!(rotated[0].state, State::Pending);
    assert_eq!(bench.run(admin.tick(None)).unwrap().done.len(), 0);
    let ticked = bench.run(admin.skipping_reader("ghost 0").tick(None)).unwrap();
    assert_eq!(ticked.done.len(), 1);
    let reason = &bench
        .record(rotated[0].key)
        .history
        .last()
        .unwrap()
        .reason
        .clone();
    assert!(reason.contains("without the report of: ghost 0"), "{reason}");
}

#[test]
fn a_flood_of_heartbeats_neither_hinders_nor_hides_readers_with_keys() {
    let key = Arc::new(Authority::generate().unwrap());
    let api = NamedReader::new("api").with_key(key.public());
    let bench = Bench::with(|settings| {
        settings.scope_template = "tenant/{tenant}".parse().unwrap();
        settings.readers = vec![api];
    });
    let pending: Vec<RecordId> = (0..3)
        .map(|number| {
            let first = bench.key(&format!("tenant/{number}"), &format!("vault-transit:k{number}"));
            hindered(&bench, first)
        })
        .collect();
    let (forged, admin) = forged(&bench, bench.now(), 10_000);
    let refused = bench.run(admin.tick(None)).unwrap().refused;
    assert_eq!((refused.len(), forged.read.load(Ordering::SeqCst)), (3, 1));
    assert!(refused.iter().all(|refused| !refused.reason.contains("ghost")));
    bench.run(process(&bench, "api", &key).beat()).unwrap();
    let ticked = bench.run(admin.tick(None)).unwrap();
    assert_eq!((ticked.done.len(), ticked.refused.len()), (3, 0), "{ticked:?}");
    assert!(pending.iter().all(|key| bench.state(*key) == State::Active));
    assert!(
        ticked
            .warnings
            .iter()
            .any(|warning| warning.to_string().contains("ghost"))
    );
}

/// More is overdue than anybody looks at.
#[derive(Debug)]
struct Overdue(MemoryInventory);

#[async_trait]
impl InventoryLayer for Overdue {
    fn inner(&self) -> &dyn Inventory {
        &self.0
    }

    async fn scopes_due(&self, _: Time, limit: u32) -> Result<Vec<Scope>> {
        let overdue = (0..limit.min(5_000)).map(|number| format!("overdue/{number}").parse());
        overdue.collect()
    }
}

#[test]
fn a_reader_reaches_every_pending_key_however_much_else_is_due() {
    let key = Arc::new(Authority::generate().unwrap());
    let api = NamedReader::new("api").with_key(key.public());
    let bench = Bench::with(|settings| {
        settings.scope_template = "tenant/{tenant}".parse().unwrap();
        settings.readers = vec![api];
    });
    let pending: Vec<RecordId> = (0..150)
        .map(|number| {
            let first = bench.key(&format!("tenant/{number}"), &format!("vault-transit:k{number}"));
            hindered(&bench, first)
        })
        .collect();
    let trust = Trust::new(bench.ring, bench.authority.public());
    let inventory = Arc::new(Overdue(bench.inventory.clone()));
    let ring = KeyRing::builder(trust, inventory, Arc::new(bench.fakes.clone()))
        .runtime(Arc::new(bench.runtime.clone()))
        .without_watching()
        .reader("api")
        .reader_key(Arc::clone(&key));
    let ring = bench.run(ring.open()).unwrap();
    for _ in 0..3 {
        bench.run(ring.beat()).unwrap();
    }
    let ticked = tick(&bench);
    assert_eq!((ticked.done.len(), ticked.refused.len()), (150, 0));
    assert!(pending.iter().all(|key| bench.state(*key) == State::Active));
}
