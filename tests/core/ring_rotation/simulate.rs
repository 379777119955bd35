//! Moves that are thought through: told as they would be made, and nothing is changed.

use waxseal::ErrorKind;
use waxseal::ring::inventory::Heartbeat;
use waxseal::ring::{
    Affected, Grounds, Inventory, KeySource, NamedReader, NewKey, RecordId, RetireBy, Revocation, Rollout,
    Simulated, Simulation, State, Target,
};

use super::bench::{Bench, DAY, PLAIN};
use super::retire::{nothing, refused};
use super::shred::{SCOPE, calm, erasure, scope, shred};

const OTHER: &str = "vault-transit:plain-other";

/// Everything that an inventory holds.
fn whole(bench: &Bench) -> Vec<u8> {
    bench.run(bench.reader(false).export()).unwrap().1
}

/// Simulates, and looks that nothing was changed and no backend was called.
fn simulate(bench: &Bench, of: &Simulation) -> Simulated {
    let before = whole(bench);
    bench.fakes.plain.forget_calls();
    bench.fakes.versioned.forget_calls();
    let simulated = bench.run(bench.reader(false).simulate(of, &[])).unwrap();
    assert_eq!(whole(bench), before);
    assert_eq!((bench.fakes.plain.total(), bench.fakes.versioned.total()), (0, 0));
    simulated
}

fn moves(simulated: &Simulated) -> Vec<(Option<RecordId>, State)> {
    simulated.moves.iter().map(|made| (made.key, made.to)).collect()
}

#[test]
fn each_move_is_told_as_it_is_then_made() {
    let bench = calm();
    let first = bench.key(SCOPE, PLAIN);
    bench.key("tenant/other", OTHER);

    let rotation = simulate(&bench, &Simulation::Rotate(first));
    assert!(rotation.refused.is_empty(), "{rotation:?}");
    assert_eq!(
        moves(&rotation),
        [(None, State::Active), (Some(first), State::Deprecated)]
    );
    assert!(
        rotation.unreadable[0].contains("not without a census receipt"),
        "{rotation:?}"
    );
    assert_eq!(rotation.due, bench.record(first).next_rotation);
    let second = bench.rotate(&Target::Key(first), Rollout::AtOnce);

    // In its overlap, and without evidence.
    let retirement = simulate(&bench, &Simulation::Retire(first));
    assert_eq!(retirement.refused.len(), 1);
    assert!(
        retirement.refused[0].contains("in its overlap until"),
        "{retirement:?}"
    );
    assert_eq!(retirement.due, bench.record(first).retirement_due);
    let words = refused(bench.run(bench.admin().retire(first, Grounds::OverlapEnd, "x")));
    assert!(words.contains(&retirement.refused[0]), "{words}");
    bench.runtime.advance(2 * DAY);
    let retirement = simulate(&bench, &Simulation::Retire(first));
    assert!(
        retirement.refused[0].contains("demand a census receipt"),
        "{retirement:?}"
    );
    let not = simulate(&bench, &Simulation::Retire(second));
    assert!(not.refused[0].contains("only a deprecated key"), "{not:?}");

    let destruction = simulate(&bench, &Simulation::Destroy(first));
    assert!(
        destruction.refused[0].contains("does not become destroying"),
        "{destruction:?}"
    );
    bench
        .run(bench.admin().retire(first, Grounds::Force, "x"))
        .unwrap();
    let destruction = simulate(&bench, &Simulation::Destroy(first));
    assert_eq!(destruction.refused.len(), 1, "{destruction:?}");
    assert!(destruction.refused[0].contains("none was given"));
    assert_eq!(
        moves(&destruction),
        [(Some(first), State::Destroying), (Some(first), State::Destroyed)]
    );
    let good = nothing(&bench, first, bench.now());
    bench.run(bench.admin().destroy(first, &good, "x")).unwrap();
    assert_eq!(bench.record(first).destruction_due, destruction.due);
    bench.run(bench.admin().cancel_destroy(first, "x")).unwrap();

    let revocation = simulate(&bench, &Simulation::Revoke(second));
    assert!(revocation.refused.is_empty());
    assert_eq!(
        moves(&revocation),
        [(Some(second), State::Compromised), (None, State::Active)]
    );

    let shredding = simulate(&bench, &Simulation::Shred(scope()));
    assert!(shredding.refused.is_empty(), "{shredding:?}");
    assert_eq!(shredding.scopes.len(), 1);
    assert_eq!(
        (
            &shredding.scopes[0].scope,
            shredding.scopes[0].why,
            shredding.scopes[0].keys.as_slice()
        ),
        (&scope(), Affected::Own, &[first, second][..])
    );
    assert_eq!(
        moves(&shredding),
        [
            (Some(first), State::Destroyed),
            (Some(second), State::Retired),
            (Some(second), State::Destroyed)
        ]
    );
    let shredded = shred(&bench);
    assert_eq!(shredding.due, Some(shredded.tombstone.due));
    let again = simulate(&bench, &Simulation::Shred(scope()));
    assert!(again.refused[0].contains("nothing would be done"), "{again:?}");
    let late = simulate(&bench, &Simulation::Rotate(second));
    assert!(late.refused[0].contains("was shredded on"), "{late:?}");
    let late = simulate(&bench, &Simulation::Destroy(second));
    assert!(
        late.refused.iter().any(|why| why.contains("goes with its scope")),
        "{late:?}"
    );
}

#[test]
fn sharing_scopes_and_what_is_under_way_are_named() {
    let bench = calm();
    let key = bench.key(SCOPE, PLAIN);
    let other = bench.key("tenant/other", PLAIN);
    let shredding = simulate(&bench, &Simulation::Shred(scope()));
    assert!(shredding.refused[0].contains("tenant/other"), "{shredding:?}");
    let shared = &shredding.scopes[1];
    assert_eq!(
        (shared.why, shared.keys.as_slice()),
        (Affected::SameKek, &[other][..])
    );
    let words = refused(bench.run(bench.admin().shred(&scope(), &erasure())));
    assert!(words.contains(&shredding.refused[0]), "{words}");
    let revocation = simulate(&bench, &Simulation::Revoke(key));
    assert_eq!(revocation.scopes[1].why, Affected::SameKek);
    // A staged successor hinders the next one, and takes over when the key is revoked.
    let staged = bench.rotate(&Target::Key(key), Rollout::Staged);
    let rotation = simulate(&bench, &Simulation::Rotate(key));
    assert!(rotation.refused[0].contains(&staged.to_string()), "{rotation:?}");
    let revocation = simulate(&bench, &Simulation::Revoke(key));
    assert_eq!(
        moves(&revocation),
        [(Some(key), State::Compromised), (Some(staged), State::Active)]
    );
    let revoked = bench
        .run(bench.admin().revoke(key, &Revocation::new("a", "b", "c")))
        .unwrap();
    assert_eq!(revoked.successor, Some(staged));
}

#[test]
fn readers_that_lag_or_are_silent_are_named() {
    let bench = Bench::with(|settings| {
        settings.cadence = "P900D".parse().unwrap();
        settings.readers = vec![
            NamedReader::new("billing"),
            NamedReader::new("web").with_scopes(["tenant/other".parse().unwrap()]),
        ];
    });
    let key = bench.key(SCOPE, PLAIN);
    let revision = bench.run(bench.inventory.revision()).unwrap();
    let beat = |name: &str, revision| {
        let beat = Heartbeat::new(name.to_owned(), "p1".to_owned(), revision, Vec::new());
        bench.run(bench.inventory.beat(&beat)).unwrap();
    };
    let names = |simulated: &Simulated| -> Vec<(String, Option<u64>)> {
        let readers = simulated.readers.iter();
        readers.map(|lags| (lags.reader.clone(), lags.revision)).collect()
    };
    let of = Simulation::Rotate(key);
    assert_eq!(names(&simulate(&bench, &of)), [("billing".to_owned(), None)]);
    beat("billing", revision - 1);
    beat("batch", revision - 1);
    let mut lagging = names(&simulate(&bench, &of));
    lagging.sort();
    assert_eq!(
        lagging,
        [
            ("batch".to_owned(), Some(revision - 1)),
            ("billing".to_owned(), Some(revision - 1))
        ]
    );
    beat("billing", revision);
    beat("batch", revision);
    assert!(names(&simulate(&bench, &of)).is_empty());
}

#[test]
fn a_successor_that_would_wait_for_readers_is_told_as_pending() {
    let bench = Bench::with(|settings| {
        settings.cadence = "P900D".parse().unwrap();
        settings.retire = RetireBy::OverlapEnd;
        settings.readers = vec![NamedReader::new("web").with_scopes([scope()])];
    });
    let key = bench.key(SCOPE, PLAIN);
    let other = bench.key("tenant/other", OTHER);
    let rotation = simulate(&bench, &Simulation::Rotate(key));
    assert_eq!(moves(&rotation), [(None, State::Pending)]);
    let why = "the reader web has not reported";
    assert!(rotation.refused[0].contains(why), "{rotation:?}");
    // Nobody is waited for in a scope that no listed reader serves.
    let free = simulate(&bench, &Simulation::Rotate(other));
    assert!(free.refused.is_empty(), "{free:?}");
    assert_eq!(
        moves(&free),
        [
            (None, State::Active),
            (Some(other), State::Deprecated),
            (Some(other), State::Retired)
        ]
    );
    let rotated = bench.run(bench.admin().rotate(&Target::Key(key), Rollout::AtOnce, "x"));
    let rotated = rotated.unwrap().remove(0);
    assert_eq!(rotated.state, State::Pending);
    assert!(rotated.hindered.unwrap().to_string().contains(why));
    // What is revoked has a successor at once, whoever has not reported.
    let revocation = simulate(&bench, &Simulation::Revoke(other));
    assert_eq!(
        moves(&revocation),
        [(Some(other), State::Compromised), (None, State::Active)]
    );
}

#[test]
fn what_is_not_there_is_an_error() {
    let bench = calm();
    bench.key(SCOPE, PLAIN);
    let nobody = RecordId::new(bench.now()).unwrap();
    let reader = bench.reader(false);
    let error = bench
        .run(reader.simulate(&Simulation::Revoke(nobody), &[]))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let none = Simulation::Shred("tenant/none".parse().unwrap());
    let error = bench.run(reader.simulate(&none, &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKeyForScope);
    let new = NewKey::new(scope(), KeySource::Existing(OTHER.to_owned()));
    bench.run(bench.admin().create(&new)).unwrap();
}
