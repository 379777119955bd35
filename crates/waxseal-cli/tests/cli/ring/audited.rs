//! `--log` of the commands that administer a ring.

use super::*;

/// What a log tells: the name without `waxseal.`, the outcome, and who.
fn told(ring: &Ring) -> Vec<(String, String, String)> {
    let shown = ring.json(&["audit", "show", "log"]);
    let events = shown["events"].as_array().unwrap().iter();
    let of = |event: &Value, name: &str| event["event"][name].as_str().unwrap_or_default().to_owned();
    let told = events.map(|event| {
        let name = of(event, "event.name").trim_start_matches("waxseal.").to_owned();
        (name, of(event, "waxseal.outcome"), of(event, "user.id"))
    });
    told.collect()
}

#[test]
fn each_move_is_in_the_log_and_a_refused_one_too() {
    let (ring, id) = Ring::with_key();
    ring.json(&[
        "ring",
        "set",
        "--overlap",
        "PT25H",
        "--log",
        "log",
        "--actor",
        "alice",
    ]);
    ring.json(&[
        "keys", "rotate", &id, "--reason", "a drill", "--log", "log", "--actor", "alice",
    ]);
    ring.fails(8, &["keys", "promote", &id, "--log", "log", "--actor", "bob"]);
    let told = told(&ring);
    let is_there = |name: &str, outcome: &str, actor: &str| {
        let wanted = (name.to_owned(), outcome.to_owned(), actor.to_owned());
        assert!(told.contains(&wanted), "{wanted:?}: {told:?}");
    };
    is_there("ring.set", "success", "alice");
    is_there("ring.change", "intended", "alice");
    is_there("ring.change", "success", "alice");
    is_there("ring.rotate", "success", "alice");
    is_there("ring.promote", "refused", "bob");
    // A key of the ring finds what was done to it.
    let of_key = ring.json(&["audit", "show", "log", "--key", &id]);
    assert!(of_key["events"].as_array().unwrap().len() >= 2, "{of_key}");
    let text = ring.run(&["audit", "show", "log"]).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("active -> deprecated"), "{text}");
    let vkey = String::from_utf8(ring.0.read("log/vkey")).unwrap();
    let verified = ring.json(&["audit", "verify", "log", "--key", vkey.trim()]);
    assert!(verified["sound"].as_bool().unwrap());
}

#[test]
fn what_only_reads_a_ring_opens_no_log() {
    let (ring, _) = Ring::with_key();
    ring.json(&["ring", "status", "--log", "log"]);
    ring.json(&["keys", "list", "--log", "log"]);
    assert!(!ring.0.listing().contains(&"log".to_owned()));
}

#[test]
fn a_census_is_a_job_in_the_log() {
    let (ring, _) = Ring::with_key();
    ring.seal("a.wax", "alice");
    ring.json(&[
        "census",
        "a.wax",
        "--receipt",
        "receipt.json",
        "--log",
        "log",
        "--actor",
        "alice",
    ]);
    let told = told(&ring);
    let outcomes: Vec<_> = told
        .iter()
        .map(|(name, outcome, _)| (&**name, &**outcome))
        .collect();
    assert_eq!(
        outcomes,
        [("ring.census", "intended"), ("ring.census", "success")]
    );
}
