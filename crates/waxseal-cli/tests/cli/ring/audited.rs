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

/// The names and outcomes alone.
fn ended(ring: &Ring) -> Vec<(String, String)> {
    let told = told(ring).into_iter();
    told.map(|(name, outcome, _)| (name, outcome)).collect()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    let owned = |(name, outcome): (&str, &str)| (name.to_owned(), outcome.to_owned());
    pairs.into_iter().map(owned).collect()
}

#[test]
fn a_ring_is_in_the_log_from_its_first_change_on() {
    let ring = Ring::none();
    let made = ring.json(&["ring", "init", "--log", "log"]);
    assert_eq!(
        ended(&ring),
        pairs([
            ("ring.change", "intended"),
            ("ring.change", "success"),
            ("ring.init", "success"),
        ])
    );
    let shown = ring.json(&["audit", "show", "log"]);
    let mark = text(&ring.json(&["ring", "check"])["mark"]);
    for event in shown["events"].as_array().unwrap() {
        let event = &event["event"];
        assert_eq!(event["waxseal.ring.id"], made["ring"]);
        assert_eq!(event["waxseal.ring.revision"], 1);
        assert_eq!(event["user.id"], "tests");
    }
    let change = &shown["events"][0]["event"];
    assert_eq!(change["waxseal.ring.settings"], true);
    let head = text(&change["waxseal.ring.head"]);
    assert!(mark.contains(&head), "{mark} {head}");
}

#[test]
fn a_rewrap_is_a_job_in_the_log_and_one_that_fails_is_not_done() {
    let (ring, _) = Ring::with_key();
    ring.seal("a.wax", "alice");
    let rewrap = |to: &'static str| {
        let options = ["rewrap", "--ring", "ring.toml", "--log", "log", "-o", to, "a.wax"];
        [&options[..], &CONTEXT[..]].concat()
    };
    ring.json(&rewrap("b.wax"));
    assert_eq!(
        ended(&ring),
        pairs([
            ("ring.rewrap_job", "intended"),
            ("rewrap", "success"),
            ("ring.rewrap_job", "success"),
        ])
    );
    let shown = ring.json(&["audit", "show", "log"]);
    let id = ring.json(&["ring", "status"])["ring"].clone();
    assert!(id.is_string());
    for event in shown["events"].as_array().unwrap() {
        assert_eq!(event["event"]["waxseal.ring.id"], id);
        assert_eq!(event["event"]["user.id"], "tests");
    }
    // The context is another one.
    let wrong = [
        "rewrap",
        "--ring",
        "ring.toml",
        "--log",
        "log",
        "-o",
        "c.wax",
        "a.wax",
    ];
    let run = ring.run(&[&wrong[..], &["--context", "tenant=other"]].concat());
    assert_ne!(run.code, 0);
    let told = ended(&ring);
    assert_eq!(told[3], pairs([("ring.rewrap_job", "intended")])[0]);
    assert_eq!(told[5], pairs([("ring.rewrap_job", "incomplete")])[0]);
}
