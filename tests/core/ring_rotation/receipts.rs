//! Several receipts for one move.

use sha2::{Digest as _, Sha256};
use waxseal::ring::evidence::{Covered, PlaceCount};
use waxseal::ring::{Evidence, EvidenceSource, Grounds, KeyRecord, RecordId, State};

use super::bench::{Bench, DAY, VERSIONED};
use super::retire::{nothing, refused, rotated};

const PLACES: [&str; 2] = ["files:/srv/data", "store:users.key"];

fn covered(text: &str) -> Covered {
    text.parse().unwrap()
}

/// A ring that demands two places, and a key that was deprecated two days ago.
fn demanding() -> (Bench, RecordId) {
    let bench = Bench::with(|settings| settings.must_cover = PLACES.map(covered).to_vec());
    let key = rotated(&bench, VERSIONED);
    bench.runtime.advance(2 * DAY);
    (bench, key)
}

/// What a census of one of them says, which has found nothing under the key.
fn of(bench: &Bench, key: RecordId, place: &str, digest: &str) -> Evidence {
    let mut evidence = nothing(bench, key, bench.now());
    evidence.covers = vec![PlaceCount::new(covered(place), 7)];
    evidence.digest = digest.repeat(32);
    evidence
}

#[test]
fn together_receipts_cover_what_none_covers_alone() {
    let (bench, key) = demanding();
    let (one, other) = (of(&bench, key, PLACES[0], "bb"), of(&bench, key, PLACES[1], "aa"));
    let retire = |evidence: &Evidence| bench.run(bench.admin().retire(key, Grounds::Evidence(evidence), "x"));
    for (alone, missing) in [(&one, PLACES[1]), (&other, PLACES[0])] {
        let words = refused(retire(alone));
        assert!(words.contains(&format!("has not scanned {missing}")), "{words}");
        // The same one twice is one.
        let words = refused(retire(&alone.clone().and(alone.clone())));
        assert!(words.contains(&format!("has not scanned {missing}")), "{words}");
    }
    let third = of(&bench, key, "store:other", "cc");
    let words = refused(retire(&one.clone().and(third)));
    assert!(
        words.contains("none of the censuses has scanned store:users.key"),
        "{words}"
    );
    retire(&one.clone().and(other)).unwrap();
    // In the order of the digests, whoever came first.
    let lines = format!(
        "waxseal ring receipts v1\n{}\n{}\n",
        "aa".repeat(32),
        "bb".repeat(32)
    );
    let digest = hex::encode(Sha256::digest(lines));
    let record = bench.record(key);
    assert_eq!(record.state, State::Retired);
    assert_eq!(
        record.history.last().unwrap().evidence.as_deref(),
        Some(digest.as_str())
    );
}

/// Each of them has to count by itself, whichever it is, however well the other covers everything.
#[test]
fn one_bad_receipt_among_good_ones_refuses_the_move() {
    let (bench, key) = demanding();
    let mut all = of(&bench, key, PLACES[0], "aa");
    all.covers.push(PlaceCount::new(covered(PLACES[1]), 7));
    let good = of(&bench, key, PLACES[1], "bb");
    let stopped = bench.record(key).deprecated.unwrap();
    type Spoil = fn(&mut Evidence, RecordId);
    let spoiled: [(&str, Spoil); 6] = [
        ("did not scan everything", |bad, _| bad.whole = false),
        ("would become unreadable", |bad, _| bad.sole = 1),
        ("lose a wrap", |bad, _| bad.shared = 1),
        ("nobody knows", |bad, _| bad.unknown = 1),
        ("the evidence is about the key", |bad, other| bad.key = other),
        ("wrapped until revision", |bad, _| bad.revision = 1),
    ];
    let other = bench.active("/").id;
    let mut bad_ones: Vec<(&str, Evidence)> = spoiled
        .iter()
        .map(|(words, spoil)| {
            let mut bad = good.clone();
            spoil(&mut bad, other);
            (*words, bad)
        })
        .collect();
    let mut early = good.clone();
    early.began = stopped;
    bad_ones.push(("only one that began after", early));
    let stranger = waxseal::ring::Authority::generate().unwrap().public();
    let mut unlisted = good.clone();
    unlisted.signer = Some(stranger);
    bad_ones.push(("neither an authority", unlisted));
    for (words, bad) in bad_ones {
        for evidence in [all.clone().and(bad.clone()), bad.and(all.clone())] {
            let said = refused(bench.run(bench.admin().retire(key, Grounds::Evidence(&evidence), "x")));
            assert!(said.contains(words) && said.contains(&"bb".repeat(32)), "{said}");
            let said = refused(bench.run(bench.admin().destroy(other, &evidence, "x")));
            assert!(said.contains("active"), "{said}");
        }
    }
    assert_eq!(bench.state(key), State::Deprecated);
    let retired = bench.run(bench.admin().retire(key, Grounds::Evidence(&all.and(good)), "x"));
    assert_eq!(retired.unwrap().to, State::Retired);
}

/// A place that one of them found empty needs another that did not, or somebody who knows that it is.
#[test]
fn an_empty_place_is_empty_in_all_of_them() {
    let (bench, key) = demanding();
    let one = of(&bench, key, PLACES[0], "aa");
    let mut empty = of(&bench, key, PLACES[1], "bb");
    empty.covers[0].items = 0;
    let retire = |evidence: &Evidence| bench.run(bench.admin().retire(key, Grounds::Evidence(evidence), "x"));
    let words = refused(retire(&one.clone().and(empty.clone())));
    assert!(words.contains("not one envelope in store:users.key"), "{words}");
    // One that allows it speaks for itself alone.
    let words = refused(retire(&one.clone().and(empty.clone().allowing_empty())));
    assert!(words.contains("not one envelope in store:users.key"), "{words}");
    retire(&one.and(empty).allowing_empty()).unwrap();
}

#[test]
fn a_tick_takes_several_and_says_what_each_has_found() {
    struct Says(Evidence);
    impl EvidenceSource for Says {
        fn about(&self, key: &KeyRecord) -> Option<Evidence> {
            let mut evidence = self.0.clone();
            evidence.key = key.id;
            Some(evidence)
        }
    }
    let (bench, key) = demanding();
    let one = of(&bench, key, PLACES[0], "aa");
    let mut found = of(&bench, key, PLACES[1], "bb");
    (found.sole, found.seen) = (3, vec!["row 7".to_owned()]);
    let tick = bench
        .run(
            bench
                .admin()
                .tick(Some(&vec![Says(one.clone()), Says(found.clone())])),
        )
        .unwrap();
    assert_eq!(tick.refused[0].left, Some(3), "{tick:?}");
    assert!(tick.refused[0].reason.contains("row 7"), "{tick:?}");
    found.sole = 0;
    let tick = bench.run(bench.admin().tick(Some(&vec![Says(one)]))).unwrap();
    assert!(tick.refused[0].reason.contains("store:users.key"), "{tick:?}");
    let one = of(&bench, key, PLACES[0], "aa");
    bench
        .run(bench.admin().tick(Some(&vec![Says(one), Says(found)])))
        .unwrap();
    assert_eq!(bench.state(key), State::Retired);
    // None at all says nothing.
    assert!(Vec::<Says>::new().about(&bench.record(key)).is_none());
}
