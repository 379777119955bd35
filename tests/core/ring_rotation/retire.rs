//! Keys are retired, and never too early.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use waxseal::ring::evidence::Covered;
use waxseal::ring::{
    Evidence, EvidenceSource, Grounds, Hook, Inventory, KeyRecord, Move, RecordId, RetireBy, Rollout, State,
    Target, Time,
};
use waxseal::{Error, ErrorKind, Result};

use super::bench::{Bench, DAY, MINUTE, PLAIN, VERSIONED};

/// A ring with a key that was deprecated just now, and that key.
pub(super) fn rotated(bench: &Bench, uri: &str) -> RecordId {
    let first = bench.key("/", uri);
    bench
        .run(bench.admin().rotate(&Target::Key(first), Rollout::AtOnce, "x"))
        .unwrap();
    first
}

pub(super) fn nothing(bench: &Bench, key: RecordId, began: Time) -> Evidence {
    let revision = bench.run(bench.inventory.revision()).unwrap();
    Evidence::nothing_under(key, (revision, began), 1, "00".repeat(32))
}

pub(super) fn refused<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused, "{error}");
    error.to_string()
}

#[test]
fn only_a_census_that_began_late_enough_counts() {
    let bench = Bench::with(|settings| {
        settings.max_stale = "PT1M".parse().unwrap();
        settings.max_stale_open = "PT10M".parse().unwrap();
        settings.lease_age = "PT5M".parse().unwrap();
        settings.stream_age = "PT30M".parse().unwrap();
        settings.store_delay = "PT2M".parse().unwrap();
        settings.clock_tolerance = "PT3M".parse().unwrap();
    });
    let key = rotated(&bench, VERSIONED);
    let deprecated = bench.record(key).deprecated.unwrap();
    bench.runtime.advance(2 * DAY);
    let retire =
        |evidence: &Evidence| bench.run(bench.admin().retire(key, Grounds::Evidence(evidence), "empty"));
    // How long somebody may seal, the age of leases and of streams, the delay of stores: 38 minutes, and 6 seconds for the change.
    let last = deprecated.saturating_add(38 * MINUTE + MINUTE / 10);
    let words = refused(retire(&nothing(&bench, key, last)));
    let parts = "max_stale PT1M + lease_age PT5M + stream_age PT30M + store_delay PT2M + 6 s for the change";
    assert!(
        words.contains(&last.to_string()) && words.contains(parts),
        "{words}"
    );
    let after = last.saturating_add(Duration::from_micros(1));
    let good = nothing(&bench, key, after);

    let mut partial = good.clone();
    partial.whole = false;
    let mut other = good.clone();
    other.key = RecordId::new(bench.now()).unwrap();
    for bad in [partial, other] {
        refused(retire(&bad));
    }
    for (field, word) in [
        ("sole", "would become unreadable"),
        ("shared", "lose a wrap"),
        ("unknown", "nobody knows"),
        ("failed", "could not be read"),
    ] {
        let mut bad = good.clone();
        *match field {
            "sole" => &mut bad.sole,
            "shared" => &mut bad.shared,
            "unknown" => &mut bad.unknown,
            _ => &mut bad.failed,
        } = 3;
        bad.seen = vec!["orders.db row 7".to_owned()];
        let words = refused(retire(&bad));
        assert!(
            words.contains(word) && words.contains("3 items") && words.contains("row 7"),
            "{words}"
        );
    }
    assert_eq!(bench.state(key), State::Deprecated);
    retire(&good).unwrap();
    let record = bench.record(key);
    assert_eq!(record.state, State::Retired);
    assert_eq!(
        record.history.last().unwrap().evidence.as_deref(),
        Some("00".repeat(32).as_str())
    );
    // It comes back, and the census of before still counts: nothing was wrapped under it meanwhile.
    assert_eq!(
        bench.run(bench.admin().reinstate(key, "x")).unwrap().to,
        State::Deprecated
    );
    refused(retire(&good));
    bench.runtime.advance(DAY);
    retire(&good).unwrap();
}

#[test]
fn a_key_that_wrapped_again_needs_a_newer_census() {
    let bench = Bench::new();
    let key = rotated(&bench, VERSIONED);
    bench.runtime.advance(DAY);
    let good = nothing(&bench, key, bench.now());
    let second = bench.active("/").id;
    bench.run(bench.admin().reinstate(key, "x")).unwrap();
    refused(bench.run(bench.admin().retire(key, Grounds::Force, "it is active")));
    bench.run(bench.admin().reinstate(second, "x")).unwrap();
    bench.runtime.advance(2 * DAY);
    let words = refused(bench.run(bench.admin().retire(key, Grounds::Evidence(&good), "x")));
    assert!(words.contains("began"), "{words}");
}

#[test]
fn overlap_force_and_settings_decide_what_else_retires() {
    for retire in [RetireBy::Evidence, RetireBy::OverlapEnd] {
        let bench = Bench::with(|settings| settings.retire = retire);
        let key = rotated(&bench, VERSIONED);
        let admin = bench.admin();
        refused(bench.run(admin.retire(key, Grounds::OverlapEnd, "x")));
        bench.runtime.advance(DAY);
        let tick = bench.run(admin.tick(None)).unwrap();
        match retire {
            RetireBy::OverlapEnd => {
                assert_eq!((tick.done.len(), tick.done[0].to), (1, State::Retired));
            }
            _ => {
                assert!(
                    tick.done.is_empty() && tick.refused[0].reason.contains("census"),
                    "{tick:?}"
                );
                refused(bench.run(admin.retire(key, Grounds::OverlapEnd, "x")));
                bench.run(admin.retire(key, Grounds::Force, "I know")).unwrap();
            }
        }
        assert_eq!(bench.state(key), State::Retired);
    }
    // By force even in the overlap.
    let bench = Bench::new();
    let key = rotated(&bench, VERSIONED);
    bench
        .run(bench.admin().retire(key, Grounds::Force, "I know"))
        .unwrap();
    assert_eq!(bench.state(key), State::Retired);
}

/// By the end of the overlap alone, and yet a census that has found something is heard.
#[test]
fn the_end_of_an_overlap_retires_nothing_that_a_census_has_found() {
    let bench = Bench::with(|settings| settings.retire = RetireBy::OverlapEnd);
    let key = rotated(&bench, VERSIONED);
    let early = bench.now();
    bench.runtime.advance(2 * DAY);
    let tick = bench
        .run(bench.admin().tick(Some(&Census(bench.now(), 7))))
        .unwrap();
    assert_eq!((tick.done.len(), tick.refused[0].left), (0, Some(7)), "{tick:?}");
    // This one says nothing of today.
    let tick = bench.run(bench.admin().tick(Some(&Census(early, 7)))).unwrap();
    assert_eq!(
        (tick.done.len(), bench.state(key)),
        (1, State::Retired),
        "{tick:?}"
    );
}

struct Census(Time, u64);

impl EvidenceSource for Census {
    fn about(&self, key: &KeyRecord) -> Option<Evidence> {
        let mut evidence = Evidence::nothing_under(key.id, (1_000, self.0), 1, "11".repeat(32));
        evidence.sole = self.1;
        Some(evidence)
    }
}

#[test]
fn a_tick_with_a_receipt_retires_and_says_what_is_left() {
    let bench = Bench::new();
    let key = rotated(&bench, VERSIONED);
    bench.runtime.advance(2 * DAY);
    let tick = bench
        .run(bench.admin().tick(Some(&Census(bench.now(), 7))))
        .unwrap();
    assert_eq!((tick.done.len(), tick.refused[0].left), (0, Some(7)), "{tick:?}");
    let verdict = bench
        .run(bench.admin().verdict(None, Some(&Census(bench.now(), 0))))
        .unwrap();
    assert_eq!(verdict.due[0].hindered, None);
    let tick = bench
        .run(bench.admin().tick(Some(&Census(bench.now(), 0))))
        .unwrap();
    assert_eq!((tick.done.len(), bench.state(key)), (1, State::Retired));
}

/// Agrees, vetoes or hangs, and writes down what it was told.
#[derive(Debug, Default)]
struct Opinion {
    vetoes: bool,
    hangs: bool,
    told: Mutex<Vec<(RecordId, State)>>,
}

impl Opinion {
    async fn answer(&self) -> Result<()> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        match self.vetoes {
            true => Err(Error::new(ErrorKind::PolicyRefused).with_detail("change freeze")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Hook for Opinion {
    async fn before_promote(&self, _: &KeyRecord, _: Option<&KeyRecord>) -> Result<()> {
        self.answer().await
    }

    async fn before_retire(&self, _: &KeyRecord) -> Result<()> {
        self.answer().await
    }

    async fn after_move(&self, key: &KeyRecord, made: &Move) -> Result<()> {
        self.told.lock().unwrap().push((key.id, made.to));
        self.answer().await
    }
}

#[test]
fn hooks_veto_and_a_hook_that_hangs_has_vetoed() {
    for hangs in [false, true] {
        let bench = Bench::new();
        let key = rotated(&bench, VERSIONED);
        let active = bench.active("/").id;
        let hook = Arc::new(Opinion {
            vetoes: !hangs,
            hangs,
            ..Opinion::default()
        });
        let admin = || bench.admin().with_hook(Arc::clone(&hook) as Arc<dyn Hook>);
        let word = if hangs { "within 30s" } else { "change freeze" };
        let words = refused(bench.run(admin().retire(key, Grounds::Force, "x")));
        assert!(words.contains(word), "{words}");
        let words = refused(bench.run(admin().reinstate(key, "x")));
        assert!(words.contains(word), "{words}");
        let rotated = bench
            .run(admin().rotate(&Target::Key(active), Rollout::AtOnce, "x"))
            .unwrap();
        let error = rotated[0].hindered.as_ref().expect("it is hindered");
        assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
        assert_eq!(
            (bench.state(key), bench.state(active)),
            (State::Deprecated, State::Active)
        );
        // It was told that the key is pending. It could not undo that, and its failure was reported.
        assert_eq!(*hook.told.lock().unwrap(), [(rotated[0].key, State::Pending)]);
        assert_eq!(rotated[0].warnings.len(), 1);
        // Without the hook, the tick goes on.
        bench.run(bench.admin().tick(None)).unwrap();
        assert_eq!(bench.state(rotated[0].key), State::Active);
    }
}

#[test]
fn hooks_are_told_of_both_sides_of_a_promotion() {
    let bench = Bench::new();
    let first = bench.key("/", VERSIONED);
    let hook = Arc::new(Opinion::default());
    let admin = bench.admin().with_hook(Arc::clone(&hook) as Arc<dyn Hook>);
    let rotated = bench
        .run(admin.rotate(&Target::Key(first), Rollout::AtOnce, "x"))
        .unwrap();
    let new = rotated[0].key;
    assert_eq!(
        *hook.told.lock().unwrap(),
        [
            (new, State::Pending),
            (first, State::Deprecated),
            (new, State::Active)
        ]
    );
}

#[test]
fn a_census_that_lacks_what_must_be_covered_or_saw_nothing_at_all_shows_nothing() {
    let places = [
        "files:/srv/data",
        "store:users.key",
        "dek-store:deks",
        "branch-keys",
    ];
    let covered = |text: &str| text.parse::<Covered>().unwrap();
    let bench = Bench::with(|settings| {
        settings.must_cover = places.map(covered).to_vec();
    });
    let key = rotated(&bench, PLAIN);
    bench.runtime.advance(2 * DAY);
    let mut good = nothing(&bench, key, bench.now());
    good.covers = vec![
        covered("files:/srv"),
        covered("store:users.key"),
        covered("dek-store:deks"),
        Covered::BranchKeys,
    ];
    let retire =
        |evidence: &Evidence| bench.run(bench.admin().retire(key, Grounds::Evidence(evidence), "empty"));
    for (index, place) in places.iter().enumerate() {
        let mut bad = good.clone();
        bad.covers.remove(index);
        let words = refused(retire(&bad.clone().allowing_empty()));
        assert!(words.contains(&format!("has not scanned {place}")), "{words}");
        struct This(Evidence);
        impl EvidenceSource for This {
            fn about(&self, _: &KeyRecord) -> Option<Evidence> {
                Some(self.0.clone())
            }
        }
        let tick = bench.run(bench.admin().tick(Some(&This(bad)))).unwrap();
        assert!(tick.refused[0].reason.contains(place), "{tick:?}");
    }
    let mut beside = good.clone();
    beside.covers[0] = covered("files:/srv/database");
    refused(retire(&beside));
    let mut empty = good.clone();
    (empty.items, empty.foreign) = (0, 12);
    let words = refused(retire(&empty));
    assert!(
        words.contains("--allow-empty") && words.contains("files:/srv") && words.contains("12 other"),
        "{words}"
    );
    retire(&good).unwrap();
    let admin = bench.admin();
    let words = refused(bench.run(admin.destroy(key, &empty, "x")));
    assert!(words.contains("--allow-empty"), "{words}");
    refused(bench.run(admin.destroy(key, &beside, "x")));
    bench
        .run(admin.destroy(key, &empty.allowing_empty(), "x"))
        .unwrap();
}

/// Where the end of the overlap suffices, a census that shows nothing is none.
#[test]
fn an_empty_census_hinders_no_retirement_by_the_end_of_the_overlap() {
    let bench = Bench::with(|settings| settings.retire = RetireBy::OverlapEnd);
    let key = rotated(&bench, VERSIONED);
    bench.runtime.advance(2 * DAY);
    struct Empty(Time);
    impl EvidenceSource for Empty {
        fn about(&self, key: &KeyRecord) -> Option<Evidence> {
            Some(Evidence::nothing_under(
                key.id,
                (1_000, self.0),
                0,
                "22".repeat(32),
            ))
        }
    }
    bench.run(bench.admin().tick(Some(&Empty(bench.now())))).unwrap();
    let record = bench.record(key);
    assert_eq!(
        (record.state, record.history.last().unwrap().evidence.as_deref()),
        (State::Retired, None)
    );
}
