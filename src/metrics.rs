//! What a monitoring system sees, through the facade [`metrics`](https://docs.rs/metrics): with whichever exporter the program installs.
//!
//! ```
//! # fn example() -> waxseal::Result<()> {
//! use waxseal::audit::Auditor;
//! use waxseal::metrics::{self, Metrics};
//!
//! // Once, after an exporter was installed.
//! metrics::describe();
//! let auditor = Auditor::builder().best_effort(Metrics).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! Events become counters and histograms. Everything else is published whenever somebody calls the function for it, such as `of_ring` every few
//! seconds: a cached open counts what it counts anyway, and does no more for a metric. Labels are names of actions, outcomes, kinds of errors,
//! outage policies and states of keys: their number is bounded, and none holds a tenant, a key or an actor.
//! `extras/prometheus/waxseal.rules.yml` has alerts on them.
//!
//! | metric | kind | labels | what |
//! |---|---|---|---|
//! | `waxseal_operations_total` | counter | `action`, `outcome` | accesses to KEKs and operations on rings |
//! | `waxseal_errors_total` | counter | `action`, `kind` | those that failed, by [`ErrorKind::name`](crate::ErrorKind::name) |
//! | `waxseal_operation_duration_seconds` | histogram | `action` | how long they took |
//! | `waxseal_audit_lag_seconds` | histogram | | how long after its time an event came here |
//! | `waxseal_audit_lost_total` | counter | | events that this sink has lost |
//! | `waxseal_exposed_total` | counter | `action` | events of envelopes that a key names that was compromised once |
//! | `waxseal_outage_uses_total` | counter | `policy` | DEKs released under an [outage policy](crate::audit::Outage) |
//! | `waxseal_audit_queue` | gauge | | events that wait in the longest queue of an auditor (`of_auditor`) |
//! | `waxseal_cache_hits_total` | counter | | requests that a cache has answered from an entry (`of_cache`) |
//! | `waxseal_cache_misses_total` | counter | | requests for which it had none |
//! | `waxseal_cache_entries` | gauge | `for` | entries that it holds for `sealing` or `opening` |
//! | `waxseal_inventory_age_seconds` | gauge | | since when the inventory was not found to be as it is known |
//! | `waxseal_inventory_stale` | gauge | `for` | 1 if that is too long ago for `sealing` or `opening` |
//! | `waxseal_ring_revision` | gauge | | the newest revision that was verified |
//! | `waxseal_bad_scopes` | gauge | | scopes whose records do not verify |
//! | `waxseal_branch_keys` | gauge | | branch keys that are open in this process |
//! | `waxseal_keys` | gauge | `state` | keys of a view |
//! | `waxseal_key_age_seconds` | gauge | | how long the oldest active key has been active |
//! | `waxseal_rotation_due_seconds` | gauge | | until the next rotation; below zero if it is late, `+Inf` if there is none |
//! | `waxseal_retirement_due_seconds` | gauge | | until the next deprecated key may be retired; `+Inf` if there is none |
//! | `waxseal_census_items` | gauge | `state` | envelopes under keys in this state, by a census (`of_receipt`) |
//! | `waxseal_census_bytes` | gauge | `state` | their length in bytes |
//! | `waxseal_census_age_seconds` | gauge | | how long ago that census ended |

use std::sync::Arc;
use std::time::SystemTime;

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use async_trait::async_trait;

use crate::audit::{Action, Auditor, Event, Outcome, Sink};
#[cfg(feature = "ring")]
use crate::ring::evidence::VerifiedReceipt;
#[cfg(feature = "ring")]
use crate::ring::{KeyRing, Operation, STATES, State, Time, View};
#[cfg(feature = "cache")]
use crate::source::Cached;
use crate::value::error::{ErrorKind, Result};

/// Describes every metric, with its unit, to the exporter that is installed, and begins the counters of rare events at zero: a counter that appears
/// with its first event has not increased, and no alert sees that event.
pub fn describe() {
    describe_all();
    begin();
}

/// What is done with a KEK.
const OF_KEKS: [Action; 6] = [
    Action::Generate,
    Action::Unwrap,
    Action::Rewrap,
    Action::Release,
    Action::Wrap,
    Action::Probe,
];

/// Begins the counters that alerts look at whenever they increase.
fn begin() {
    let _ = counter!("waxseal_audit_lost_total");
    for outage in crate::key::sighting::Outages::ALL {
        let _ = counter!("waxseal_outage_uses_total", "policy" => outage.name());
    }
    let audit = ErrorKind::Audit.name();
    let denied = Outcome::Denied(ErrorKind::Denied).name();
    for action in OF_KEKS {
        let _ = counter!("waxseal_operations_total", "action" => action.name(), "outcome" => denied);
        let _ = counter!("waxseal_exposed_total", "action" => action.name());
        let _ = counter!("waxseal_errors_total", "action" => action.name(), "kind" => audit);
    }
    #[cfg(feature = "ring")]
    for action in [Operation::Change, Operation::Revoke] {
        let _ = counter!("waxseal_operations_total", "action" => action.name(), "outcome" => denied);
        let _ = counter!("waxseal_errors_total", "action" => action.name(), "kind" => audit);
    }
    #[cfg(feature = "ring")]
    for outcome in [
        Outcome::Intended,
        Outcome::Success,
        Outcome::Refused(ErrorKind::LifecycleRefused),
        Outcome::Failed(ErrorKind::Unavailable),
        Outcome::Abandoned,
    ] {
        let revoke = Operation::Revoke.name();
        let _ = counter!("waxseal_operations_total", "action" => revoke, "outcome" => outcome.name());
    }
}

fn describe_all() {
    describe_counter!(
        "waxseal_operations_total",
        Unit::Count,
        "Accesses to KEKs and operations on rings"
    );
    describe_counter!(
        "waxseal_errors_total",
        Unit::Count,
        "Accesses and operations that failed, by kind"
    );
    describe_histogram!(
        "waxseal_operation_duration_seconds",
        Unit::Seconds,
        "How long they took"
    );
    describe_histogram!(
        "waxseal_audit_lag_seconds",
        Unit::Seconds,
        "How long after its time an event came to the metrics"
    );
    describe_counter!(
        "waxseal_audit_lost_total",
        Unit::Count,
        "Events that the metrics have lost"
    );
    describe_counter!(
        "waxseal_exposed_total",
        Unit::Count,
        "Envelopes that name a key that was compromised once"
    );
    describe_counter!(
        "waxseal_outage_uses_total",
        Unit::Count,
        "DEKs released under an outage policy"
    );
    describe_gauge!(
        "waxseal_audit_queue",
        Unit::Count,
        "Events that wait in the longest queue of an auditor"
    );
    describe_counter!(
        "waxseal_cache_hits_total",
        Unit::Count,
        "Requests that a cache has answered from an entry"
    );
    describe_counter!(
        "waxseal_cache_misses_total",
        Unit::Count,
        "Requests for which a cache had no entry"
    );
    describe_gauge!("waxseal_cache_entries", Unit::Count, "Entries that a cache holds");
    describe_gauge!(
        "waxseal_inventory_age_seconds",
        Unit::Seconds,
        "Since when the inventory was not confirmed"
    );
    describe_gauge!(
        "waxseal_inventory_stale",
        Unit::Count,
        "1 if the inventory was not confirmed for too long"
    );
    describe_gauge!(
        "waxseal_ring_revision",
        Unit::Count,
        "The newest revision that was verified"
    );
    describe_gauge!(
        "waxseal_bad_scopes",
        Unit::Count,
        "Scopes whose records do not verify"
    );
    describe_gauge!("waxseal_branch_keys", Unit::Count, "Branch keys that are open");
    describe_gauge!("waxseal_keys", Unit::Count, "Keys by state");
    describe_gauge!(
        "waxseal_key_age_seconds",
        Unit::Seconds,
        "How long the oldest active key has been active"
    );
    describe_gauge!(
        "waxseal_rotation_due_seconds",
        Unit::Seconds,
        "Until the next rotation; below zero if it is late"
    );
    describe_gauge!(
        "waxseal_retirement_due_seconds",
        Unit::Seconds,
        "Until the next deprecated key may be retired"
    );
    describe_gauge!(
        "waxseal_census_items",
        Unit::Count,
        "Envelopes under keys in this state, by a census"
    );
    describe_gauge!(
        "waxseal_census_bytes",
        Unit::Bytes,
        "Length of the envelopes under keys in this state, by a census"
    );
    describe_gauge!(
        "waxseal_census_age_seconds",
        Unit::Seconds,
        "How long ago that census ended"
    );
}

/// Counts events: a sink for [`AuditorBuilder::best_effort`](crate::audit::AuditorBuilder::best_effort).
#[derive(Clone, Copy, Debug, Default)]
pub struct Metrics;

#[async_trait]
impl Sink for Metrics {
    async fn keep(&self, events: &[Arc<Event>]) -> Result<()> {
        events.iter().for_each(|event| count(event));
        Ok(())
    }
}

fn count(event: &Event) {
    if event.action() == Action::Gap {
        counter!("waxseal_audit_lost_total").increment(event.lost());
        return;
    }
    let action = event.action().name();
    let outcome = event.outcome();
    counter!("waxseal_operations_total", "action" => action, "outcome" => outcome.name()).increment(1);
    if let Some(kind) = outcome.error() {
        counter!("waxseal_errors_total", "action" => action, "kind" => kind.name()).increment(1);
    }
    if let Some(latency) = event.latency() {
        histogram!("waxseal_operation_duration_seconds", "action" => action).record(latency.as_secs_f64());
    }
    if !event.exposed().is_empty() {
        counter!("waxseal_exposed_total", "action" => action).increment(1);
    }
    for outage in event.outages() {
        counter!("waxseal_outage_uses_total", "policy" => outage.name()).increment(1);
    }
    if let Ok(lag) = SystemTime::now().duration_since(event.time()) {
        histogram!("waxseal_audit_lag_seconds").record(lag.as_secs_f64());
    }
}

/// Sets the gauge of the events that wait for the sinks of an auditor. Call it every few seconds.
#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
pub fn of_auditor(auditor: &Auditor) {
    gauge!("waxseal_audit_queue").set(auditor.waiting() as f64);
}

/// Publishes what a cache has counted since it was made, and how much it holds. Call it every few seconds, for one cache of the process: that of a
/// sealer is [`Sealer::cache`](crate::Sealer::cache).
#[cfg(feature = "cache")]
#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
pub fn of_cache(cache: &Cached) {
    let stats = cache.stats();
    counter!("waxseal_cache_hits_total").absolute(stats.hits);
    counter!("waxseal_cache_misses_total").absolute(stats.misses);
    gauge!("waxseal_cache_entries", "for" => "sealing").set(stats.seal_entries as f64);
    gauge!("waxseal_cache_entries", "for" => "opening").set(stats.open_entries as f64);
}

/// Sets the gauges of what a ring knows of its inventory. Call it every few seconds.
///
/// # Errors
/// `Configuration` in a forked process.
#[cfg(feature = "ring")]
#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
pub fn of_ring(ring: &KeyRing) -> Result<()> {
    let status = ring.status()?;
    let is = |stale: bool| if stale { 1.0 } else { 0.0 };
    gauge!("waxseal_inventory_age_seconds").set(status.confirmed.as_secs_f64());
    gauge!("waxseal_inventory_stale", "for" => "sealing").set(is(status.is_stale_for_sealing));
    gauge!("waxseal_inventory_stale", "for" => "opening").set(is(status.is_stale_for_opening));
    gauge!("waxseal_ring_revision").set(status.mark.revision as f64);
    gauge!("waxseal_bad_scopes").set(status.bad_scopes.len() as f64);
    gauge!("waxseal_branch_keys").set(status.branch_keys as f64);
    Ok(())
}

/// Sets the gauges of the keys that a view shows, at this time. For a whole ring, read it in one view: `Reader::scopes` of all that are
/// `Reader::listed`.
#[cfg(feature = "ring")]
#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
pub fn of_view(view: &View, now: Time) {
    for row in &STATES {
        let count = view.all_keys().filter(|key| key.state == row.state).count();
        gauge!("waxseal_keys", "state" => row.state.name()).set(count as f64);
    }
    let active = || view.all_keys().filter(|key| key.state == State::Active);
    let oldest = active().filter_map(|key| key.activated).min();
    gauge!("waxseal_key_age_seconds").set(oldest.map_or(0.0, |oldest| seconds(oldest, now)));
    // A gauge that is not set keeps what it had: what is not due anymore would stay late.
    let until = |next: Option<Time>| next.map_or(f64::INFINITY, |next| seconds(now, next));
    let rotation = active().filter_map(|key| key.next_rotation).min();
    gauge!("waxseal_rotation_due_seconds").set(until(rotation));
    let deprecated = view.all_keys().filter(|key| key.state == State::Deprecated);
    let retirement = deprecated.filter_map(|key| key.retirement_due).min();
    gauge!("waxseal_retirement_due_seconds").set(until(retirement));
}

/// The label of KEKs that are no keys of the view.
#[cfg(feature = "ring")]
const UNKNOWN: &str = "unknown";

/// Sets the gauges of what a census has found, by the states that the keys have in this view, at this time: of what lies under `deprecated` keys,
/// something is still to be re-wrapped before they can retire. An envelope counts once for each key that it names. `unknown` is what lies
/// under KEKs that are no keys of the view.
#[cfg(feature = "ring")]
#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
pub fn of_receipt(receipt: &VerifiedReceipt<'_>, view: &View, now: Time) {
    let receipt = receipt.receipt();
    let state = |id| view.key(id).map_or(UNKNOWN, |key| key.state.name());
    let known = receipt.keys().iter();
    let known = known.map(|count| (state(count.key), count.items, count.bytes));
    let unknown = receipt.unknown().iter();
    let unknown = unknown.map(|count| (UNKNOWN, count.items, count.bytes));
    let counts: Vec<_> = known.chain(unknown).collect();
    // A state under which nothing lies anymore is said to be empty.
    let names = STATES.iter().map(|row| row.state.name()).chain([UNKNOWN]);
    for name in names {
        let of_it = counts.iter().filter(|(state, ..)| *state == name);
        let (items, bytes) = of_it.fold((0, 0), |(items, bytes), count| (items + count.1, bytes + count.2));
        gauge!("waxseal_census_items", "state" => name).set(items as f64);
        gauge!("waxseal_census_bytes", "state" => name).set(bytes as f64);
    }
    gauge!("waxseal_census_age_seconds").set(seconds(receipt.finished(), now));
}

#[cfg(feature = "ring")]
fn seconds(from: Time, to: Time) -> f64 {
    let (from, to): (SystemTime, SystemTime) = (from.into(), to.into());
    match to.duration_since(from) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use ::metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
        with_local_recorder,
    };

    use super::*;
    use crate::envelope::KekRef;

    #[derive(Debug, Default)]
    struct Count(Mutex<u64>);

    impl CounterFn for Count {
        fn increment(&self, value: u64) {
            *self.0.lock().unwrap() += value;
        }

        fn absolute(&self, value: u64) {
            *self.0.lock().unwrap() = value;
        }
    }

    #[derive(Debug, Default)]
    struct Level(Mutex<f64>);

    impl GaugeFn for Level {
        fn increment(&self, value: f64) {
            *self.0.lock().unwrap() += value;
        }

        fn decrement(&self, value: f64) {
            *self.0.lock().unwrap() -= value;
        }

        fn set(&self, value: f64) {
            *self.0.lock().unwrap() = value;
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Book {
        gauges: Mutex<BTreeMap<String, Arc<Level>>>,
        counters: Mutex<BTreeMap<String, Arc<Count>>>,
        described: Mutex<BTreeMap<String, Option<Unit>>>,
        used: Mutex<Vec<String>>,
    }

    impl Book {
        fn describe(&self, name: &KeyName, unit: Option<Unit>) {
            self.described
                .lock()
                .unwrap()
                .insert(name.as_str().to_owned(), unit);
        }

        /// Its name, and its labels.
        fn uses(&self, key: &Key) -> String {
            self.used.lock().unwrap().push(key.name().to_owned());
            let labels: Vec<_> = key
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            format!("{} {}", key.name(), labels.join(","))
                .trim_end()
                .to_owned()
        }

        /// What a function publishes, by name and labels.
        pub(crate) fn of(publish: impl FnOnce()) -> BTreeMap<String, f64> {
            let book = Self::default();
            with_local_recorder(&book, || {
                describe_all();
                publish();
            });
            let described = book.described.lock().unwrap();
            for name in book.used.lock().unwrap().iter() {
                assert!(described.contains_key(name), "{name}");
            }
            let counters = book.counters.lock().unwrap();
            #[allow(clippy::cast_precision_loss, reason = "small numbers")]
            let counters = counters
                .iter()
                .map(|(name, count)| (name.clone(), *count.0.lock().unwrap() as f64));
            let gauges = book.gauges.lock().unwrap();
            let gauges = gauges
                .iter()
                .map(|(name, level)| (name.clone(), *level.0.lock().unwrap()));
            counters.chain(gauges).collect()
        }
    }

    impl Recorder for Book {
        fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
            self.describe(&name, unit);
        }

        fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
            self.describe(&name, unit);
        }

        fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
            self.describe(&name, unit);
        }

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let name = self.uses(key);
            let mut counters = self.counters.lock().unwrap();
            Counter::from_arc(Arc::clone(counters.entry(name).or_default()))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let name = self.uses(key);
            let mut gauges = self.gauges.lock().unwrap();
            Gauge::from_arc(Arc::clone(gauges.entry(name).or_default()))
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            self.uses(key);
            Histogram::noop()
        }
    }

    #[test]
    fn events_are_counted_and_every_metric_is_described_with_its_unit() {
        let book = Book::default();
        let kek = KekRef::new("fake", "CANARY-kek", "").unwrap();
        let event = Arc::new(crate::audit::tests_long(&kek));
        with_local_recorder(&book, || {
            describe();
            pollster::block_on(Metrics.keep(&[Arc::clone(&event), event])).unwrap();
        });
        let counters = book.counters.lock().unwrap();
        let count = &counters["waxseal_operations_total action=unwrap,outcome=success"];
        assert_eq!(*count.0.lock().unwrap(), 2);
        assert!(!format!("{counters:?}").contains("CANARY"));
        let described = book.described.lock().unwrap();
        assert_eq!(described.len(), 23);
        assert!(described.values().all(Option::is_some));
        for name in book.used.lock().unwrap().iter() {
            assert!(described.contains_key(name), "{name}");
        }
        // The table of this page has each of them.
        let page = include_str!("metrics.rs");
        for name in described.keys() {
            assert!(page.contains(&format!("//! | `{name}` |")), "{name}");
        }
        // The rules ask for nothing that is not there.
        let rules = include_str!("../extras/prometheus/waxseal.rules.yml");
        let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("waxseal_")) {
            let name = word.trim_end_matches("_bucket");
            assert!(described.contains_key(name), "{word}");
        }
    }

    #[test]
    fn counters_of_rare_events_begin_at_zero() {
        let book = Book::default();
        with_local_recorder(&book, describe);
        let counters = book.counters.lock().unwrap();
        for name in [
            "waxseal_audit_lost_total",
            "waxseal_outage_uses_total policy=cache",
            "waxseal_outage_uses_total policy=failover",
            "waxseal_errors_total action=unwrap,kind=audit",
            "waxseal_operations_total action=generate,outcome=denied",
            "waxseal_exposed_total action=unwrap",
        ] {
            assert_eq!(*counters[name].0.lock().unwrap(), 0, "{name}");
        }
        #[cfg(feature = "ring")]
        for outcome in ["intended", "success", "denied", "refused", "failed", "abandoned"] {
            let name = format!("waxseal_operations_total action=revoke,outcome={outcome}");
            assert!(counters.contains_key(&name), "{name}");
        }
        // Their number is bounded, whatever happens later.
        assert!(counters.len() < 50, "{}", counters.len());
        // And each alert on an increase also sees a counter that was not there before.
        let rules = include_str!("../extras/prometheus/waxseal.rules.yml");
        let rules = rules.split("- alert: ").filter(|rule| rule.contains("increase("));
        for rule in rules {
            assert!(rule.contains(" unless ") && rule.contains(" offset "), "{rule}");
        }
    }

    #[cfg(feature = "cache")]
    #[test]
    fn a_cache_publishes_what_it_has_counted() {
        let sealer = crate::Sealer::builder().wrap_with(crate::testing::FakeKeyManager::new("kek"));
        let sealer = sealer.cache(crate::source::Caching::default()).build().unwrap();
        let context = crate::EncryptionContext::empty();
        let seal = || pollster::block_on(sealer.seal(b"", &context)).unwrap();
        let sealed = seal();
        for _ in 0..3 {
            pollster::block_on(sealer.open(&sealed, &context)).unwrap();
        }
        seal();
        let published = Book::of(|| of_cache(sealer.cache().unwrap()));
        let expected = [
            ("waxseal_cache_entries for=opening", 1.0),
            ("waxseal_cache_entries for=sealing", 1.0),
            ("waxseal_cache_hits_total", 3.0),
            ("waxseal_cache_misses_total", 2.0),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(published, BTreeMap::from(expected));
    }

    /// Stands still until it is told to go on.
    #[derive(Debug)]
    struct Stuck(Arc<Mutex<()>>);

    #[async_trait]
    impl Sink for Stuck {
        async fn keep(&self, _: &[Arc<Event>]) -> Result<()> {
            drop(self.0.lock().unwrap());
            Ok(())
        }
    }

    #[test]
    fn an_auditor_publishes_how_many_events_wait() {
        let gate = Arc::new(Mutex::new(()));
        let stuck = gate.lock().unwrap();
        let builder = Auditor::builder().best_effort(Stuck(Arc::clone(&gate)));
        let auditor = builder.build().unwrap();
        let keys = crate::testing::FakeKeyManager::new("kek");
        let sealer = crate::Sealer::builder().wrap_with(keys).audit(auditor.clone());
        let sealer = sealer.build().unwrap();
        let context = crate::EncryptionContext::empty();
        let seal = || pollster::block_on(sealer.seal(b"", &context)).unwrap();
        seal();
        // The thread of the sink has the first one.
        while auditor.waiting() > 0 {
            std::thread::yield_now();
        }
        (0..3).for_each(|_| drop(seal()));
        let published = Book::of(|| of_auditor(&auditor));
        assert_eq!(published["waxseal_audit_queue"], 3.0);
        drop(stuck);
        pollster::block_on(auditor.close()).unwrap();
        assert_eq!(Book::of(|| of_auditor(&auditor))["waxseal_audit_queue"], 0.0);
    }
}
