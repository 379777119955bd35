//! A scope is shredded: all of its keys go, and nobody revives it.

mod cancel;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use waxseal::envelope::KekRef;
use waxseal::key::{KekAdmin, KekState};
use waxseal::ring::inventory::RecordKind;
use waxseal::ring::{
    Action, Grounds, Hook, Inventory, KeyRecord, KeySource, Move, NewKey, Protection, RecordId, Revocation,
    Rollout, Scope, ShredStage, Shredded, Shredding, State, Target,
};
use waxseal::testing::{Fault, Method};
use waxseal::{Error, ErrorKind, Result};

use super::bench::{Bench, DAY, MINUTE, PLAIN, VERSIONED, path};
use super::destroy::at_backend;
use super::retire::{nothing, refused};

/// The scope that is shredded.
pub(super) const SCOPE: &str = "tenant/acme";
/// The KEK of its neighbor.
const OTHER: &str = "vault-transit:plain-other";

pub(super) fn scope() -> Scope {
    SCOPE.parse().unwrap()
}

pub(super) fn erasure() -> Shredding {
    Shredding::new("GDPR-17", "acme has left").approved_by("dana")
}

/// A ring whose keys are not rotated by themselves.
pub(super) fn calm() -> Bench {
    Bench::with(|settings| settings.cadence = "P900D".parse().unwrap())
}

pub(super) fn shred(bench: &Bench) -> Shredded {
    bench.run(bench.admin().shred(&scope(), &erasure())).unwrap()
}

fn moves(shredded: &Shredded) -> Vec<(State, State)> {
    shredded
        .moved
        .iter()
        .map(|moved| (moved.from, moved.to))
        .collect()
}

#[test]
fn every_key_goes_out_of_use_at_once_and_nothing_takes_its_place() {
    let bench = calm();
    let first = bench.key(SCOPE, PLAIN);
    let second = bench.rotate(&Target::Key(first), Rollout::AtOnce);
    let canary = bench.rotate(&Target::Key(second), Rollout::Canary(5));
    let new =
        NewKey::new(scope(), KeySource::Existing(VERSIONED.to_owned())).in_slot("second".parse().unwrap());
    let leaked = bench.run(bench.admin().create(&new)).unwrap().key;
    let mut alone = Revocation::new("INC-1", "carol", "it was in a log");
    alone.successor = false;
    bench.run(bench.admin().revoke(leaked, &alone)).unwrap();
    bench.key("tenant/other", OTHER);
    let admin = bench.admin();
    let before = bench.now();

    let shredded = shred(&bench);
    assert_eq!(
        moves(&shredded),
        [
            (State::Deprecated, State::Retired),
            (State::Active, State::Retired),
            (State::Pending, State::Retired)
        ]
    );
    assert!(shredded.warnings.is_empty());
    assert_eq!(bench.state(leaked), State::Compromised);
    let view = bench.view(SCOPE);
    let tombstone = view.tombstone(&scope()).unwrap();
    assert_eq!(**tombstone, *shredded.tombstone);
    let mut keys = tombstone.keys.clone();
    keys.sort();
    let mut all = vec![first, second, canary, leaked];
    all.sort();
    assert_eq!(keys, all);
    assert_eq!(
        (
            tombstone.actor.as_str(),
            tombstone.ticket.as_str(),
            tombstone.approver.as_deref(),
            tombstone.reason.as_str(),
        ),
        ("alice", "GDPR-17", Some("dana"), "acme has left")
    );
    assert_eq!(tombstone.at, before);
    assert_eq!(tombstone.due, before.saturating_add(7 * DAY));
    for key in [first, second, canary, leaked] {
        let last = bench.record(key).history.last().unwrap().clone();
        assert_eq!(
            (
                last.ticket.as_deref(),
                last.approver.as_deref(),
                last.reason.as_str()
            ),
            (Some("GDPR-17"), Some("dana"), "acme has left")
        );
    }
    // Nobody brings any of them, or another key, into use.
    let revision = view.revision();
    let refusals = [
        refused(bench.run(admin.create(&NewKey::new(scope(), KeySource::Existing(OTHER.to_owned()))))),
        refused(bench.run(admin.create(&NewKey::new(scope(), KeySource::MadeBeside(PLAIN.to_owned()))))),
        refused(bench.run(admin.adopt(
            &NewKey::new(scope(), KeySource::Existing(OTHER.to_owned())),
            State::Active,
        ))),
        refused(bench.run(admin.rotate(&Target::Scope(scope()), Rollout::AtOnce, "x"))),
        refused(bench.run(admin.rotate(&Target::Key(second), Rollout::AtOnce, "x"))),
        refused(bench.run(admin.reinstate(first, "x"))),
    ];
    for words in refusals {
        assert!(
            words.contains("the scope tenant/acme was shredded on") && words.contains("--cancel"),
            "{words}"
        );
    }
    let good = nothing(&bench, first, bench.now());
    let words = refused(bench.run(admin.destroy(first, &good, "x")));
    assert!(words.contains("goes with its scope"), "{words}");
    refused(bench.run(admin.retire(first, Grounds::Force, "x")));
    refused(bench.run(admin.promote(canary, "x")));
    refused(bench.run(admin.take_back(canary, "x")));
    assert_eq!(bench.view(SCOPE).revision(), revision);
    assert_eq!(
        bench.fakes.made.lock().unwrap().len(),
        2,
        "the successors of before"
    );
    // Once more does nothing.
    let again = shred(&bench);
    assert!(again.moved.is_empty());
    assert_eq!(again.tombstone.id, shredded.tombstone.id);
    assert_eq!(bench.view(SCOPE).revision(), revision);
    // Nothing happens before the cooling-off is over, and nobody else takes the KEK.
    bench.runtime.advance(7 * DAY - MINUTE);
    assert!(bench.run(admin.tick(None)).unwrap().done.is_empty());
    assert_eq!(bench.fakes.plain.count(Method::ScheduleDestroy), 0);
    let elsewhere = NewKey::new(
        "tenant/new".parse().unwrap(),
        KeySource::Existing(PLAIN.to_owned()),
    );
    let words = refused(bench.run(admin.create(&elsewhere)));
    assert!(words.contains("is being destroyed"), "{words}");
    assert_eq!(bench.states("tenant/other"), [State::Active]);
    assert!(bench.run(admin.reader().check()).unwrap().is_good());
}

#[test]
fn the_keys_are_destroyed_after_the_cooling_off_without_evidence() {
    let bench = calm();
    let first = bench.key(SCOPE, PLAIN);
    let second = bench.rotate(&Target::Key(first), Rollout::AtOnce);
    bench.key("tenant/other", OTHER);
    shred(&bench);
    let admin = bench.admin();
    let receipt = |stage| {
        let receipt = bench.run(admin.shred_receipt(&scope(), &[])).unwrap();
        assert_eq!(receipt.stage(), stage);
        receipt
    };
    receipt(ShredStage::Pending);
    bench.runtime.advance(7 * DAY);
    let verdict = bench.run(admin.verdict(None, None)).unwrap();
    assert_eq!(verdict.due.len(), 1, "{verdict:?}");
    assert_eq!(verdict.due[0].action, Action::Shred);
    let tick = bench.run(admin.tick(None)).unwrap();
    assert!(tick.refused.is_empty() && tick.problems.is_empty(), "{tick:?}");
    // Begun, and told.
    assert_eq!(tick.done.len(), 4, "{tick:?}");
    assert_eq!(bench.states(SCOPE), [State::Destroying; 2]);
    assert_eq!(at_backend(&bench), KekState::PendingDestruction);
    let told = receipt(ShredStage::Destroying);
    assert!(told.keys().iter().all(|key| key.told && key.destroyed.is_none()));
    bench.runtime.advance(DAY);
    bench.run(admin.tick(None)).unwrap();
    assert_eq!(bench.states(SCOPE), [State::Destroyed; 2]);
    assert_eq!(at_backend(&bench), KekState::Destroyed);
    assert_eq!(bench.fakes.plain.count(Method::ScheduleDestroy), 2);
    let end = receipt(ShredStage::Destroyed);
    for key in end.keys() {
        assert!(key.destroyed.is_some() && key.state == State::Destroyed);
        assert_eq!(
            key.how.as_deref(),
            Some("the backend says that it is destroyed, by alice")
        );
    }
    let last = bench.record(first);
    assert_eq!(
        path(&last),
        [
            State::Pending,
            State::Active,
            State::Deprecated,
            State::Retired,
            State::Destroying,
            State::Destroying,
            State::Destroyed
        ]
    );
    let begun = last
        .history
        .iter()
        .find(|made| made.to == State::Destroying)
        .unwrap();
    assert_eq!(
        (begun.ticket.as_deref(), begun.evidence.as_deref()),
        (Some("GDPR-17"), None)
    );
    // For good. The neighbor is as it was.
    let words = refused(bench.run(admin.cancel_shred(&scope(), "too late")));
    assert!(
        words.contains("is destroyed") && words.contains("stays shredded"),
        "{words}"
    );
    let words =
        refused(bench.run(admin.create(&NewKey::new(scope(), KeySource::Existing(OTHER.to_owned())))));
    assert!(words.contains("another scope"), "{words}");
    assert_eq!(bench.states("tenant/other"), [State::Active]);
    bench.runtime.advance(30 * DAY);
    assert!(bench.run(admin.tick(None)).unwrap().done.is_empty());
    let check = bench.run(admin.reader().check()).unwrap();
    assert!(check.is_good() && check.findings.is_empty(), "{check:?}");
    assert_ne!(second, first);
}

#[test]
fn a_kek_that_another_scope_has_is_refused_before_anything_is_done() {
    let bench = calm();
    bench.key(SCOPE, PLAIN);
    let other = bench.key("tenant/other", PLAIN);
    let revision = bench.view("/").revision();
    bench.fakes.plain.forget_calls();
    for admin in [bench.admin(), bench.with_lying_index()] {
        let words = refused(bench.run(admin.shred(&scope(), &erasure())));
        assert!(
            words.contains(&other.to_string())
                && words.contains("tenant/other")
                && words.contains("nothing was done"),
            "{words}"
        );
    }
    assert_eq!(bench.view("/").revision(), revision);
    assert_eq!(bench.fakes.plain.total(), 0);
    // Versions are apart.
    let bench = calm();
    bench.key(SCOPE, VERSIONED);
    let view = bench.view(SCOPE);
    assert_eq!(view.keys(&scope())[0].provenance.version, "1");
    assert_eq!(view.keys(&scope())[0].protection, Protection::Software);
    shred(&bench);
}

#[test]
fn what_is_not_there_or_says_nothing_is_refused() {
    let bench = calm();
    bench.key(SCOPE, PLAIN);
    let admin = bench.admin();
    let none = bench.run(admin.shred(&"tenant/acne".parse().unwrap(), &erasure()));
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NoKeyForScope);
    let long = "x".repeat(1025);
    let wrong = [
        Shredding::new("", "why"),
        Shredding::new("T", " "),
        Shredding::new("T", "why").approved_by(""),
        Shredding::new("T", "two\nlines"),
        Shredding::new(&long, "why"),
    ];
    let revision = bench.view("/").revision();
    for shredding in wrong {
        let error = bench.run(admin.shred(&scope(), &shredding)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{shredding:?}");
    }
    assert_eq!(bench.view("/").revision(), revision);
    assert_eq!(bench.states(SCOPE), [State::Active]);
}

/// A rotation that was begun is given up, and makes no key of the scope.
#[test]
fn what_somebody_has_begun_to_make_is_given_up() {
    let bench = calm();
    let key = bench.key(SCOPE, PLAIN);
    bench
        .fakes
        .plain
        .script_for(Method::Create, Fault::Fails(ErrorKind::Unavailable));
    let target = Target::Key(key);
    bench
        .run(bench.admin().rotate(&target, Rollout::AtOnce, "x"))
        .unwrap_err();
    assert_eq!(bench.view(SCOPE).intents(&scope()).len(), 1);
    shred(&bench);
    let view = bench.view(SCOPE);
    assert_eq!(
        view.intents(&scope())[0].abandoned.as_deref(),
        Some("its scope was shredded")
    );
    bench.runtime.advance(8 * DAY);
    bench.run(bench.admin().tick(None)).unwrap();
    bench.runtime.advance(DAY);
    bench.run(bench.admin().tick(None)).unwrap();
    assert_eq!(bench.states(SCOPE), [State::Destroyed]);
    assert!(bench.fakes.made.lock().unwrap().is_empty());
}

/// A key that is revoked meanwhile stays so, whether the shredding is cancelled or not, and gets no successor.
#[test]
fn a_key_that_leaks_meanwhile_is_compromised() {
    for cancels in [false, true] {
        let bench = calm();
        let key = bench.key(SCOPE, PLAIN);
        shred(&bench);
        let leak = Revocation::new("INC-2", "carol", "in a log");
        let revoked = bench.run(bench.admin().revoke(key, &leak)).unwrap();
        assert_eq!(
            (revoked.moved.from, revoked.moved.to),
            (State::Retired, State::Compromised)
        );
        let again = bench.run(bench.admin().revoke(key, &leak)).unwrap();
        assert!(
            again.successor.is_none() && again.without_successor.is_none(),
            "{again:?}"
        );
        if cancels {
            bench.run(bench.admin().cancel_shred(&scope(), "x")).unwrap();
            assert_eq!(bench.states(SCOPE), [State::Compromised]);
            // Nobody waits for the dead: now somebody can rotate it.
            let target = Target::Key(key);
            bench
                .run(bench.admin().rotate(&target, Rollout::AtOnce, "x"))
                .unwrap();
            continue;
        }
        bench.runtime.advance(7 * DAY);
        bench.run(bench.admin().tick(None)).unwrap();
        bench.runtime.advance(DAY);
        bench.run(bench.admin().tick(None)).unwrap();
        assert_eq!(bench.states(SCOPE), [State::Destroyed]);
    }
}

#[derive(Debug, Default)]
struct Watches {
    vetoes: bool,
    asked: Mutex<Vec<RecordId>>,
    told: Mutex<Vec<(RecordId, State)>>,
}

#[async_trait]
impl Hook for Watches {
    async fn before_retire(&self, key: &KeyRecord) -> Result<()> {
        self.asked.lock().unwrap().push(key.id);
        match self.vetoes {
            true => Err(Error::new(ErrorKind::Denied).with_detail("a legal hold")),
            false => Ok(()),
        }
    }

    async fn after_move(&self, key: &KeyRecord, made: &Move) -> Result<()> {
        self.told.lock().unwrap().push((key.id, made.to));
        Ok(())
    }
}

#[test]
fn hooks_are_asked_and_told() {
    let bench = calm();
    let key = bench.key(SCOPE, PLAIN);
    let hook = Arc::new(Watches {
        vetoes: true,
        ..Watches::default()
    });
    let words = refused(bench.run(bench.admin().with_hook(hook).shred(&scope(), &erasure())));
    assert!(words.contains("a legal hold"), "{words}");
    assert_eq!(bench.states(SCOPE), [State::Active]);
    let hook = Arc::new(Watches::default());
    bench
        .run(bench.admin().with_hook(hook.clone()).shred(&scope(), &erasure()))
        .unwrap();
    assert_eq!(*hook.asked.lock().unwrap(), [key]);
    assert_eq!(*hook.told.lock().unwrap(), [(key, State::Retired)]);
}

/// A backend that cannot destroy is attested, key by key.
#[test]
fn what_a_backend_cannot_destroy_is_attested() {
    let bench = calm();
    let key = bench.key(SCOPE, PLAIN);
    shred(&bench);
    let unsupported = ErrorKind::Unsupported { feature: "that" };
    bench
        .fakes
        .plain
        .script_for(Method::ScheduleDestroy, Fault::Fails(unsupported));
    refused(bench.run(bench.admin().attest_destroyed(key, "too early")));
    bench.runtime.advance(7 * DAY);
    let tick = bench.run(bench.admin().tick(None)).unwrap();
    assert!(tick.refused[0].reason.contains("attest here"), "{tick:?}");
    let denied = Fault::Fails(ErrorKind::Unsupported { feature: "asking" });
    bench.fakes.plain.script_for(Method::Describe, denied);
    bench
        .run(bench.admin().attest_destroyed(key, "the disk was shredded"))
        .unwrap();
    let receipt = bench.run(bench.admin().shred_receipt(&scope(), &[])).unwrap();
    assert_eq!(receipt.stage(), ShredStage::Destroyed);
    let how = receipt.keys()[0].how.clone().unwrap();
    assert!(
        how.contains("the disk was shredded") && how.contains("attested"),
        "{how}"
    );
}

/// A tombstone is a record like others: whoever deletes it, or puts an older row in its place, is found out.
#[test]
fn a_tombstone_that_is_taken_away_is_noticed() {
    let bench = calm();
    bench.key(SCOPE, PLAIN);
    shred(&bench);
    let whole = |snapshot: &waxseal::ring::inventory::Snapshot| snapshot.clone();
    let trust = || waxseal::ring::Trust::new(bench.ring, bench.authority.public());
    let nodes: Vec<String> = {
        let hex = "0123456789abcdef";
        let mut all = vec![String::new()];
        let mut level = all.clone();
        for _ in 0..3 {
            level = level
                .iter()
                .flat_map(|path| hex.chars().map(move |digit| format!("{path}{digit}")))
                .collect();
            all.extend(level.clone());
        }
        all
    };
    let snapshot = whole(&bench.run(bench.inventory.read(&[scope()], &nodes)).unwrap());
    let is_tombstone = |row: &waxseal::ring::inventory::Row| row.kind == RecordKind::Tombstone;
    assert_eq!(snapshot.rows.iter().filter(|row| is_tombstone(row)).count(), 1);
    let mut without = snapshot.clone();
    without.rows.retain(|row| !is_tombstone(row));
    let fake = waxseal::ring::inventory::MemoryInventory::with_runtime(Arc::new(bench.runtime.clone()));
    bench.run(fake.restore(&without)).unwrap();
    let error = bench.run(trust().read(&fake, &[scope()])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
    assert!(
        error.to_string().contains("the tombstone") && error.to_string().contains("missing"),
        "{error}"
    );
    // An export and an import have it.
    let (_, export) = bench.run(bench.reader(false).export()).unwrap();
    let copy = waxseal::ring::inventory::MemoryInventory::with_runtime(Arc::new(bench.runtime.clone()));
    bench
        .run(waxseal::ring::import(&trust(), &copy, &export))
        .unwrap();
    let view = bench.run(trust().read(&copy, &[scope()])).unwrap();
    assert_eq!(view.tombstone(&scope()).unwrap().ticket, "GDPR-17");
    // The next authority signs it, too.
    let next = waxseal::ring::Authority::generate().unwrap();
    let reader = bench.reader(false);
    bench
        .run(waxseal::ring::rotate_authority(
            &reader,
            &bench.authority,
            &next,
            "alice",
        ))
        .unwrap();
    assert_eq!(bench.view(SCOPE).settings().authorities(), [next.public()]);
    assert!(bench.view(SCOPE).tombstone(&scope()).is_some());
}

/// A receipt is believed as it was signed, and no other.
#[test]
fn a_receipt_says_what_it_does_not_reach_and_is_not_to_be_changed() {
    let bench = Bench::with(|settings| {
        settings.cadence = "P900D".parse().unwrap();
        settings.max_stale_open = "PT3H".parse().unwrap();
    });
    bench.key(SCOPE, PLAIN);
    let shredded = shred(&bench).tombstone.at;
    let receipt = bench.run(bench.admin().shred_receipt(&scope(), &[])).unwrap();
    let authorities = [bench.authority.public()];
    let again = waxseal::ring::ShredReceipt::from_bytes(receipt.as_bytes()).unwrap();
    assert_eq!(again, receipt);
    again.verify(bench.ring, &authorities).unwrap();
    let what: Vec<_> = again
        .does_not_reach()
        .iter()
        .map(|left| left.what.as_str())
        .collect();
    assert_eq!(what, ["processes", "inventory-backups", "backends", "plaintext"]);
    // max_stale_open is longer than all that evidence waits for.
    let until = shredded.saturating_add(Duration::from_secs(3 * 3600 + 6));
    assert_eq!(again.does_not_reach()[0].until, Some(until));
    let text = String::from_utf8(receipt.as_bytes().to_vec()).unwrap();
    let refused = |text: &str, ring, authorities: &[waxseal::ring::AuthorityKey]| {
        let read = waxseal::ring::ShredReceipt::from_bytes(text.as_bytes()).unwrap();
        let error = read.verify(ring, authorities).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
        error.to_string()
    };
    let changed = refused(&text.replace("GDPR-17", "GDPR-18"), bench.ring, &authorities);
    assert!(changed.contains("was changed"), "{changed}");
    let other = waxseal::ring::Authority::generate().unwrap();
    assert!(refused(&text, bench.ring, &[other.public()]).contains("none of the authorities"));
    let ring = RecordId::new(bench.now()).unwrap();
    assert!(refused(&text, ring, &authorities).contains("is one of the ring"));
    for bad in [
        "",
        "{}",
        text.trim_end().strip_suffix('}').unwrap(),
        &format!(" {text}")[1..].replace(":", ": "),
    ] {
        let error = waxseal::ring::ShredReceipt::from_bytes(bad.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
    }
    // A census receipt is none, and the other way round.
    let error = waxseal::ring::evidence::CensusReceipt::from_bytes(text.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
