//! `--log`: each key that a command asks, and each thing that it signs.

use super::*;

/// The events of a log.
fn events(ring: &Ring, more: &[&str]) -> Vec<Value> {
    let shown = ring.json(&[&["audit", "show", "log"], more].concat());
    let events = shown["events"].as_array().unwrap().iter();
    events.map(|shown| shown["event"].clone()).collect()
}

fn ended(events: &[Value]) -> Vec<(String, String)> {
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let name = |event: &Value| {
        text(event, "event.name")
            .trim_start_matches("waxseal.")
            .to_owned()
    };
    let ended = events
        .iter()
        .map(|event| (name(event), text(event, "waxseal.outcome")));
    ended.collect()
}

fn of<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events
        .iter()
        .filter(|event| event["event.name"] == name)
        .collect()
}

/// A directory that holds something else, so that no log is made there.
fn occupy(ring: &Ring) {
    fs::create_dir(ring.0.path("occupied")).unwrap();
    ring.0.write("occupied/file", "x");
}

const LOG: [&str; 2] = ["--log", "log"];

#[test]
fn the_key_that_seals_the_authority_is_in_the_log_each_time_it_is_asked() {
    let ring = Ring::none();
    let init = [&["ring", "init", "--authority-kek", "env:K"], &LOG[..]].concat();
    let made = ring.json(&init);
    let sealed = &events(&ring, &[])[0];
    assert_eq!(sealed["event.name"], "waxseal.generate");
    let id = text(&sealed["waxseal.keks"][0]["id"]);
    let of_key = ["--key", &id];
    let is_by_tests = |event: &Value| event["user.id"] == "tests";
    fs::create_dir(ring.0.path("data")).unwrap();
    for command in [
        &["ring", "set", "--overlap", "PT25H"][..],
        &["keys", "create", "--scope", "/", "--kek", "local"],
        &["census", "data", "--receipt", "r.json"],
    ] {
        let before = events(&ring, &of_key).len();
        ring.json(&[command, &LOG].concat());
        let asked = events(&ring, &of_key);
        assert_eq!(asked.len(), before + 1, "{command:?}");
        let last = &asked[before];
        assert_eq!(
            (&last["event.name"], &last["waxseal.outcome"]),
            (&"waxseal.unwrap".into(), &"success".into())
        );
        assert_eq!(last["waxseal.ring.id"], made["ring"]);
        assert!(asked.iter().all(is_by_tests), "{asked:?}");
    }
    let before = events(&ring, &of_key).len();
    ring.json(&[&["ring", "authority", "rotate", "--yes"], &LOG[..]].concat());
    let asked = events(&ring, &of_key);
    assert_eq!(
        ended(&asked[before..]),
        [("unwrap", "success"), ("generate", "success")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    assert!(asked.iter().all(is_by_tests), "{asked:?}");
    // Another key does not open it, which is in the log, too.
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    ring.0
        .write("ring.toml", config.replace("\"env:K\"", "\"env:NEW\""));
    ring.fails(4, &[&["ring", "set", "--overlap", "PT26H"], &LOG[..]].concat());
    let all = events(&ring, &of_key);
    let last = all.last().unwrap();
    assert_eq!(
        (&last["event.name"], &last["waxseal.outcome"]),
        (&"waxseal.unwrap".into(), &"failed".into())
    );
}

#[test]
fn an_authority_is_not_opened_where_that_cannot_be_written_down() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--authority-kek", "env:K"]);
    occupy(&ring);
    ring.fails(9, &["ring", "set", "--overlap", "PT25H", "--log", "occupied"]);
    let revision = ring.json(&["ring", "status"])["revision"].clone();
    assert_eq!(revision, 1);
}

#[test]
fn doctor_writes_down_each_key_that_it_asks() {
    let (ring, key) = Ring::with_key();
    let doctor = ["doctor", "--kek", "env:K", "--actor", "alice"];
    let run = ring.run(&[&doctor[..], &LOG].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let asked = events(&ring, &[]);
    assert_eq!(ended(&asked), [("probe".to_owned(), "success".to_owned())]);
    assert_eq!(
        (&asked[0]["waxseal.purpose"], &asked[0]["user.id"]),
        (&"probe".into(), &"alice".into())
    );
    let kek = text(&asked[0]["waxseal.keks"][0]["id"]);
    assert_eq!(events(&ring, &["--key", &kek]).len(), 1);
    // A key of a ring is found by its id there, and the variable names the log, too.
    let variables = [("WAXSEAL_AUDIT_LOG", "log"), ("WAXSEAL_ACTOR", "bob")];
    let run = ring
        .0
        .run_with(&variables, &["doctor", "--ring", "ring.toml"], b"");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let of_ring = events(&ring, &["--key", &key]);
    assert_eq!(of_ring.len(), 1, "{of_ring:?}");
    let id = ring.json(&["ring", "status"])["ring"].clone();
    assert_eq!(
        (&of_ring[0]["waxseal.ring.id"], &of_ring[0]["user.id"]),
        (&id, &"bob".into())
    );
    // One that does not open wraps and unwraps nothing.
    ring.run(&[&["doctor", "--kek", "env:NOBODY_SETS_THIS"], &LOG[..]].concat());
    assert_eq!(events(&ring, &[]).len(), 2);
    occupy(&ring);
    ring.fails(9, &["doctor", "--kek", "env:K", "--log", "occupied"]);
}

#[test]
fn an_import_is_a_job_in_the_log_and_one_that_is_refused_is_not_done() {
    let (ring, _) = Ring::with_key();
    ring.json(&["ring", "export", "export.json"]);
    let import = ["ring", "import", "export.json", "--yes", "--actor", "alice"];
    ring.fails(8, &[&import[..], &LOG].concat());
    fs::remove_file(ring.0.path("ring.db")).unwrap();
    ring.json(&[&import[..], &LOG].concat());
    let told = events(&ring, &[]);
    let expected = ["intended", "incomplete", "intended", "success"];
    assert_eq!(
        ended(&told),
        expected.map(|outcome| ("ring.import".to_owned(), outcome.to_owned()))
    );
    let id = ring.json(&["ring", "status"])["ring"].clone();
    for event in &told {
        assert_eq!(
            (&event["user.id"], &event["waxseal.ring.id"]),
            (&"alice".into(), &id)
        );
    }
    // Nothing is filled where that cannot be written down.
    fs::remove_file(ring.0.path("ring.db")).unwrap();
    occupy(&ring);
    ring.fails(9, &[&import[..], &["--log", "occupied"]].concat());
    assert!(!ring.0.path("ring.db").exists());
}

#[test]
fn a_receipt_of_a_shredding_is_in_the_log_and_its_refusal_too() {
    let ring = Ring::new();
    ring.json(&["ring", "set", "--scope-template", "tenant/{tenant}"]);
    let made = ring.json(&["keys", "create", "--scope", "tenant/acme", "--kek", "local"]);
    let key = text(&made["moves"][0]["key"]);
    let receipt = ["keys", "shred-receipt", "--scope", "tenant/acme", "-o", "o.json"];
    ring.fails(8, &[&receipt[..], &LOG].concat());
    let shred = ["keys", "shred", "--scope", "tenant/acme", "--ticket", "T-1"];
    let more = ["--reason", "gone", "--yes", "--receipt", "first.json"];
    ring.json(&[&shred[..], &more, &LOG].concat());
    ring.json(&[&receipt[..], &LOG].concat());
    let all = events(&ring, &[]);
    let told = of(&all, "waxseal.ring.shred_receipt");
    let outcomes: Vec<_> = told.iter().map(|event| text(&event["waxseal.outcome"])).collect();
    assert_eq!(outcomes, ["refused", "success", "success"]);
    for event in &told {
        assert_eq!(event["user.id"], "tests");
        assert!(event["waxseal.scope.digest"].is_string(), "{event}");
    }
    assert_eq!(told[2]["waxseal.keys"], serde_json::json!([key]));
    // Another one's is only read.
    let check = ["keys", "shred-receipt", "--check", "o.json", "--log", "other"];
    ring.json(&check);
    assert!(!ring.0.path("other").exists());
}

#[test]
fn a_probe_by_an_administrator_names_its_key_and_goes_through_the_ring() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--allow", "env:K", "--allow", "env:NEW"]);
    let create = |kek: &str, scope: &str| {
        let made = ring.json(&[&["keys", "create", "--kek", kek, "--scope", scope], &LOG[..]].concat());
        text(&made["moves"][0]["key"])
    };
    ring.json(&["ring", "set", "--scope-template", "t/{t}"]);
    let keys = [
        create("local", "/"),
        create("env:K", "t/a"),
        create("branch", "t/b"),
    ];
    for key in &keys {
        let of_key = events(&ring, &["--key", key]);
        let probes = of(&of_key, "waxseal.probe");
        assert_eq!(probes.len(), 1, "{of_key:?}");
        assert!(probes[0]["waxseal.scope.digest"].is_string(), "{probes:?}");
        assert_eq!(probes[0]["waxseal.keks"][0]["keys"], serde_json::json!([key]));
    }
    // Whoever adopts a KEK probes it before it has an id.
    let adopt = [
        "keys", "adopt", "--kek", "env:NEW", "--scope", "t/c", "--state", "active",
    ];
    let made = ring.json(&[&adopt[..], &LOG].concat());
    let adopted = text(&made["moves"][0]["key"]);
    for key in keys.iter().take(2).chain([&adopted]) {
        let review = ["review", "--ring", "ring.toml", "--key", key, "--log", "log"];
        let (review, _) = ring.json_and_warnings(0, &review);
        assert_eq!(review["kek_alone"]["counts"], serde_json::json!([]), "{review}");
        let counts = review["counts"].as_array().unwrap();
        let probed = counts
            .iter()
            .filter(|row| row["action"] == "probe" && row["part"] == "used");
        assert_eq!(probed.count(), 1, "{counts:?}");
    }
}

#[test]
fn a_branch_key_is_unwrapped_for_somebody_and_for_something() {
    let (ring, parent) = Ring::of_branches(&[]);
    let branch = ring.branch("tenant/acme");
    let run = |arguments: &[&str], actor: &str| {
        let more = ["--ring", "ring.toml", "--actor", actor];
        let run = ring.run(&[arguments, &CONTEXT, &LOG, &more].concat());
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    };
    run(&["seal", "-o", "data/a.wax", "plain"], "alice");
    run(&["open", "data/a.wax"], "bob");
    run(&["rewrap", "--quiet", "-o", "data/b.wax", "data/a.wax"], "carol");
    let asked = events(&ring, &["--key", &parent]);
    let asked: Vec<_> = asked
        .iter()
        .map(|event| {
            assert_eq!(event["waxseal.branch"], branch.as_str(), "{event}");
            (text(&event["user.id"]), text(&event["waxseal.purpose"]))
        })
        .collect();
    let expected = [("alice", "seal"), ("bob", "open"), ("carol", "rewrap")];
    assert_eq!(
        asked,
        expected.map(|(who, what)| (who.to_owned(), what.to_owned()))
    );
}

#[test]
fn who_approves_is_the_actor_of_the_approval() {
    let (ring, key) = Ring::with_key();
    let made = ring.json(&["ring", "approver-key", "carol.key"]);
    ring.json(&["ring", "set", "--approver", made["approver"].as_str().unwrap()]);
    let revoke = ["keys", "revoke", &key, "--ticket", "INC-7", "--approver", "dave"];
    ring.json(&[&revoke[..], &["--reason", "lost", "--yes"]].concat());
    let approve = [
        "ring",
        "approve",
        "--key",
        &key,
        "--ticket",
        "INC-8",
        "--expires",
        "PT8H",
    ];
    let more = ["--signer", "carol.key", "--actor", "carol", "-o", "approval.json"];
    ring.json(&[&approve[..], &more, &LOG].concat());
    let all = events(&ring, &[]);
    assert_eq!(ended(&all), [("ring.approve".to_owned(), "success".to_owned())]);
    assert_eq!(all[0]["user.id"], "carol");
}

/// The record of the change of each move of a key, by the report of an incident.
fn changes_of(ring: &Ring, key: &str) -> Vec<(String, bool)> {
    let review = ["review", "--ring", "ring.toml", "--key", key, "--log", "log"];
    let (review, _) = ring.json_and_warnings(0, &review);
    let history = review["key"]["history"].as_array().unwrap().iter();
    history
        .map(|made| (text(&made["to"]), made["change"].is_object()))
        .collect()
}

#[test]
fn a_review_finds_the_record_of_a_move_that_keeps_the_state() {
    let (ring, parent) = Ring::of_branches(&[]);
    let create = ["keys", "create", "--scope", "tenant/acme", "--kek", "branch"];
    let made = ring.json(&[&create[..], &LOG].concat());
    let branch = text(&made["moves"][0]["key"]);
    ring.json(&[&["keys", "rotate", &parent, "--reason", "test"], &LOG[..]].concat());
    ring.json(&[&["ring", "rewrap-branches"], &LOG[..]].concat());
    let of_branch = changes_of(&ring, &branch);
    assert_eq!(
        of_branch,
        ["pending", "active", "active"].map(|state| (state.to_owned(), true))
    );
    // What is out of use is shredded all the same.
    let revoke = ["keys", "revoke", &branch, "--ticket", "T-1", "--approver", "dave"];
    ring.json(&[&revoke[..], &["--reason", "lost", "--yes"], &LOG].concat());
    let shred = ["keys", "shred", "--scope", "tenant/acme", "--ticket", "T-2"];
    ring.json(&[&shred[..], &["--reason", "gone", "--yes"], &LOG].concat());
    let of_branch = changes_of(&ring, &branch);
    assert!(of_branch.iter().all(|(_, is_found)| *is_found), "{of_branch:?}");
    assert_eq!(of_branch.len(), 5, "{of_branch:?}");
}
