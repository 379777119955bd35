//! Receipts that counted once, and do not anymore.

use std::time::Duration;

use waxseal::ring::evidence::{Census, CensusReceipt, Covered};
use waxseal::ring::{
    Authority, AuthorityKey, Evidence, EvidenceSource, Grounds, RecordId, Revocation, Rollout, Scope, State,
    Target, import, set_settings,
};

use super::bench::{Bench, DAY, MINUTE, PLAIN, VERSIONED};
use super::retire::{nothing, refused, rotated};

fn census(bench: &Bench, signer: &Authority) -> CensusReceipt {
    let reader = bench.reader(false);
    let covers = vec![Covered::Store("values".into())];
    let census = bench.run(Census::begin(&reader, signer, "nightly", covers));
    census.unwrap().finish().unwrap()
}

fn about(bench: &Bench, receipt: &CensusReceipt, key: RecordId) -> Evidence {
    let view = bench.view("/");
    let evidence = receipt.verify(&view).unwrap().about(view.key(key).unwrap());
    evidence.unwrap().allowing_empty()
}

fn list(bench: &Bench, keys: &[AuthorityKey]) {
    let reader = bench.reader(false);
    let set = set_settings(&reader, &bench.authority, "x", |settings| {
        settings.census_keys = keys.to_vec();
    });
    bench.run(set).unwrap();
}

/// What a key opened before it was retired is known by a census of before. What is destroyed is gone, so it takes one of after.
#[test]
fn destroying_takes_a_census_that_began_after_the_key_stopped_to_open() {
    for compromised in [false, true] {
        let bench = Bench::new();
        let key = rotated(&bench, VERSIONED);
        bench.runtime.advance(2 * DAY);
        let early = nothing(&bench, key, bench.now());
        let word = match compromised {
            false => {
                let admin = bench.admin();
                bench
                    .run(admin.retire(key, Grounds::Evidence(&early), "x"))
                    .unwrap();
                "was retired"
            }
            true => {
                let why = Revocation::new("T-1", "bob", "leaked");
                bench.run(bench.admin().revoke(key, &why)).unwrap();
                "was revoked"
            }
        };
        let words = refused(bench.run(bench.admin().destroy(key, &early, "x")));
        assert!(words.contains(word), "{words}");
        let late = nothing(&bench, key, bench.now());
        bench.run(bench.admin().destroy(key, &late, "x")).unwrap();
        assert_eq!(bench.state(key), State::Destroying);
    }
}

/// A process that ticks may have verified the receipt long ago: what the settings say in the change itself counts.
#[test]
fn evidence_of_a_census_key_that_was_removed_counts_for_nothing_however_long_ago_it_was_verified() {
    let bench = Bench::new();
    let counter = Authority::generate().unwrap();
    list(&bench, &[counter.public()]);
    let key = rotated(&bench, VERSIONED);
    bench.runtime.advance(2 * DAY);
    let receipt = census(&bench, &counter);
    let evidence = about(&bench, &receipt, key);
    list(&bench, &[]);
    let words = refused(bench.run(bench.admin().retire(key, Grounds::Evidence(&evidence), "x")));
    assert!(words.contains(&counter.public().to_string()), "{words}");
    struct Verified(Evidence);
    impl EvidenceSource for Verified {
        fn about(&self, key: &waxseal::ring::KeyRecord) -> Option<Evidence> {
            (key.id == self.0.key).then(|| self.0.clone())
        }
    }
    let tick = bench
        .run(bench.admin().tick(Some(&Verified(evidence.clone()))))
        .unwrap();
    assert_eq!((tick.done.len(), tick.refused.len()), (0, 1), "{tick:?}");
    assert_eq!(bench.state(key), State::Deprecated);
    list(&bench, &[counter.public()]);
    bench
        .run(bench.admin().retire(key, Grounds::Evidence(&evidence), "x"))
        .unwrap();
}

/// A clock that is behind would let a key have stopped before it did. If the ring has seen a later time, nothing is stopped by it.
#[test]
fn no_key_stops_while_the_time_of_the_ring_is_ahead_unless_it_is_revoked() {
    let bench = Bench::new();
    let first = bench.key("/", VERSIONED);
    let other = bench.key("b", PLAIN);
    let right = waxseal::runtime::Runtime::wall_clock(&bench.runtime);
    // One machine with one clock.
    bench.runtime.set_wall_clock(right - 2 * DAY);
    let everything = Target::Scope(Scope::root());
    let rotated = bench
        .run(bench.admin().rotate(&everything, Rollout::AtOnce, "x"))
        .unwrap();
    let hindered = rotated[0]
        .hindered
        .as_ref()
        .expect("it is not promoted")
        .to_string();
    assert!(
        hindered.contains("clock is behind") && hindered.contains("ring clock --correct"),
        "{hindered}"
    );
    assert_eq!(bench.state(first), State::Active);
    let check = bench.run(bench.reader(false).check()).unwrap();
    let what = &check
        .findings
        .iter()
        .find(|finding| finding.what.contains("time of the ring"));
    let what = &what.expect("the ring is ahead").what;
    assert!(
        what.contains("this clock is behind")
            && what.contains("was ahead")
            && what.contains("correct nothing"),
        "{what}"
    );
    // A revocation waits for nothing.
    let mut why = Revocation::new("T-1", "bob", "leaked");
    why.successor = false;
    bench.run(bench.admin().revoke(other, &why)).unwrap();
    assert_eq!(bench.state(other), State::Compromised);
    bench.runtime.set_wall_clock(right + MINUTE);
    bench.run(bench.admin().promote(rotated[0].key, "x")).unwrap();
    assert_eq!(bench.state(first), State::Deprecated);
    bench.runtime.advance(Duration::from_secs(1));
}

/// An older copy was restored, and the ring went on from there: the same number is another revision.
#[test]
fn a_receipt_of_the_history_that_was_lost_does_not_count_for_the_one_that_goes_on() {
    let bench = Bench::new();
    let key = rotated(&bench, VERSIONED);
    let (_, export) = bench.run(bench.reader(false).export()).unwrap();
    let second = bench.active("/").id;
    let canary = |percent| {
        bench.run(
            bench
                .admin()
                .set_canary(staged(&bench, second), Some(percent), "x"),
        )
    };
    canary(5).unwrap();
    bench.runtime.advance(2 * DAY);
    let lost = census(&bench, &bench.authority);
    let clock: std::sync::Arc<dyn waxseal::runtime::Runtime> = std::sync::Arc::new(bench.runtime.clone());
    let restored = Bench {
        inventory: waxseal::ring::inventory::MemoryInventory::with_runtime(clock),
        runtime: bench.runtime.clone(),
        authority: bench.authority.clone(),
        ring: bench.ring,
        fakes: bench.fakes.clone(),
    };
    let trust = waxseal::ring::Trust::new(bench.ring, bench.authority.public());
    bench.run(import(&trust, &restored.inventory, &export)).unwrap();
    // Not yet as far.
    assert!(lost.verify(&restored.view("/")).is_err());
    list(&restored, &[Authority::generate().unwrap().public()]);
    while restored.view("/").revision() < lost.revision() {
        list(&restored, &[Authority::generate().unwrap().public()]);
    }
    let view = restored.view("/");
    assert_eq!(view.revision(), lost.revision());
    assert_ne!(view.mark(), lost.mark().unwrap());
    let error = lost.verify(&view).unwrap_err();
    assert!(error.to_string().contains("another revision"), "{error}");
    assert_eq!(lost.mark().unwrap(), bench.view("/").mark());
    about(&bench, &lost, key);
}

fn staged(bench: &Bench, key: RecordId) -> RecordId {
    let staged = bench.run(bench.admin().rotate(&Target::Key(key), Rollout::Staged, "x"));
    staged.unwrap()[0].key
}
