//! Moves of keys: rotations, canaries, revocations, and ticks.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};

use waxseal::ring::config::{RingConfig, StoreAt};
use waxseal::ring::{Inventory, Reader, Revocation, RingAdmin, Scope};
use waxseal::runtime::ProcessEnvironment;
use waxseal_sql::{SqliteConfig, SqliteInventory};

use super::aged::age;
use super::*;

#[test]
fn a_pending_key_is_taken_back_and_makes_room() {
    let (ring, first) = Ring::with_key();
    let staged = ring.json(&["keys", "rotate", &first, "--stage", "--reason", "test"]);
    let staged = text(&staged["rotated"][0]["key"]);
    ring.fails(8, &["keys", "rotate", &first, "--reason", "test"]);
    let back = ["keys", "take-back", &staged, "--reason", "not this one"];
    let said = ring.fails(2, &back);
    assert!(
        said.contains("not be a key of the ring anymore") && said.contains("--yes"),
        "{said}"
    );
    let back = ring.json(&[&back[..], &["--yes"]].concat());
    assert_eq!(back["command"], "keys take-back");
    let moved = &back["moves"][0];
    assert_eq!(
        (&moved["from"], &moved["to"]),
        (&"pending".into(), &"destroyed".into())
    );
    let shown = ring.json(&["keys", "show", &staged]);
    assert_eq!(shown["key"]["taken_back"], true);
    let uri = text(&shown["key"]["uri"]);
    assert!(String::from_utf8_lossy(&ring.run(&["keys", "list"]).stdout).contains("taken back"));
    // Its key file is there, and can be registered again.
    let again = ring.json(&["keys", "create", "--scope", "/", "--kek", &uri]);
    assert_eq!(again["moves"][0]["to"], "pending");
    let again = text(&again["moves"][0]["key"]);
    ring.json(&["keys", "take-back", &again, "--reason", "nor this", "--yes"]);
    ring.json(&["keys", "rotate", &first, "--canary", "20%", "--reason", "test"]);
    let canary = ring.json(&["keys", "list", "--state", "pending"]);
    let canary = text(&canary["keys"][0]["id"]);
    let back = ring.json(&["keys", "take-back", &canary, "--reason", "slow", "--yes"]);
    assert_eq!(back["moves"][0]["to"], "deprecated");
    let said = ring.fails(8, &["keys", "take-back", &canary, "--reason", "again", "--yes"]);
    assert!(said.contains("deprecated, and not pending"), "{said}");
}

/// The successor is there and waits for a reader: that is not what was asked for, and says so.
#[test]
fn a_rotation_that_a_reader_hinders_has_an_exit_code_of_its_own() {
    let (ring, first) = Ring::with_key();
    ring.json(&["ring", "set", "--readers", "billing"]);
    let (done, said) = ring.json_and(8, &["keys", "rotate", &first, "--reason", "test"]);
    let rotated = &done["rotated"][0];
    assert_eq!(rotated["state"], "pending");
    assert!(text(&rotated["hindered"]).contains("billing"), "{rotated}");
    assert!(
        said.contains("billing") && said.contains("not promoted yet"),
        "{said}"
    );
    assert_eq!(ring.state_of(&first), "active");
    // Only refusals: as a tick that is no rehearsal.
    let (due, _) = ring.json_and(8, &["keys", "tick", "--dry-run"]);
    assert_eq!(due["due"].as_array().unwrap().len(), 0);
    ring.json_and(8, &["keys", "tick"]);
}

/// Scopes are rotated together, or none of them.
#[test]
fn a_canary_of_scopes_is_begun_in_all_of_them_or_in_none() {
    let (ring, _) = Ring::with_key();
    let both = ["keys", "rotate", "--canary", "/,b", "--reason", "test"];
    ring.fails(4, &both);
    let keys = ring.json(&["keys", "list"]);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    ring.json(&["keys", "create", "--scope", "b", "--kek", "local"]);
    let done = ring.json(&both);
    assert_eq!(done["rotated"].as_array().unwrap().len(), 2);
    assert_eq!(done["unfinished"].as_array().unwrap().len(), 0);
}

#[test]
fn a_tick_does_what_is_due_and_says_so_by_its_exit_code() {
    let (ring, id) = Ring::with_key();
    let said = ring.fails(11, &["keys", "tick"]);
    assert!(said.contains("nothing is due before "), "{said}");
    let (tick, _) = ring.json_and(11, &["keys", "tick"]);
    assert_eq!(
        fields(&tick),
        [
            "by_others",
            "done",
            "exposed",
            "next",
            "orphans",
            "refused",
            "schema",
            "taken_over"
        ]
    );

    let far = "2199-01-01T00:00:00Z";
    let due = ring.json(&["keys", "tick", "--dry-run", "--now", far]);
    assert_eq!(fields(&due), ["at", "due", "next", "refused", "schema"]);
    assert_eq!(
        (&due["due"][0]["action"], &due["due"][0]["key"]),
        (&"rotate".into(), &id.as_str().into())
    );
    assert_eq!(due["at"], far);
    assert_eq!(ring.state_of(&id), "active");
    ring.fails(11, &["keys", "tick", "--dry-run"]);

    // A retirement that is due needs evidence.
    let ring = Ring::none();
    ring.json(&["ring", "init", "--overlap", "PT0S"]);
    let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.json(&["keys", "rotate", &first, "--reason", "test"]);
    let (tick, _) = ring.json_and(8, &["keys", "tick"]);
    let refused = tick["refused"].as_array().unwrap();
    assert_eq!(
        (&refused[0]["key"], &refused[0]["action"]),
        (&first.as_str().into(), &"retire".into())
    );
    assert_eq!(fields(&refused[0]), ["action", "key", "left", "reason"]);
    age(ring.0.folder());
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let tick = ["keys", "tick", "--receipt", "receipt.json"];
    let said = ring.fails(8, &tick);
    assert!(said.contains("--allow-empty"), "{said}");
    let tick = [&tick[..], &["--allow-empty", "--json"]].concat();
    let run = end(ring.0.command(&tick).spawn().unwrap(), b"");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let done = &of_json(&run.stdout)["done"][0];
    assert_eq!(fields(done), ["action", "from", "key", "to"]);
    assert_eq!(
        (&done["action"], &done["to"]),
        (&"retire".into(), &"retired".into())
    );
    assert_eq!(ring.state_of(&first), "retired");
}

#[test]
fn watching_goes_on_after_something_was_refused() {
    use std::io::{BufRead, BufReader};
    let ring = Ring::none();
    ring.json(&["ring", "init", "--overlap", "PT0S"]);
    let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    ring.json(&["keys", "rotate", &first, "--reason", "test"]);
    let mut child = ring.0.command(&["keys", "tick", "--watch"]).spawn().unwrap();
    let output = child.stdout.take().unwrap();
    let (send, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let line = lines.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert!(line.starts_with(&format!("not done: retire {first}")), "{line}");
    // The same run, which would have ended with an exit code.
    let line = lines.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert!(line.starts_with("next: "), "{line}");
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Revokes a key, and ends when the successor is begun and not made yet, as a process does that is killed there.
fn revocation_that_dies(folder: &std::path::Path, key: &str) {
    let config = RingConfig::read(folder.join("ring.toml")).unwrap();
    let StoreAt::Sqlite(file) = &config.store else {
        panic!("it is not in a file")
    };
    let inventory = || -> Arc<dyn Inventory> {
        let opened = SqliteInventory::open(SqliteConfig::new(file));
        Arc::new(pollster::block_on(opened).unwrap())
    };
    let watcher = Reader::new(config.trust().unwrap(), inventory());
    let is_begun = || {
        let view = pollster::block_on(watcher.scopes(&[Scope::root()])).unwrap();
        view.all_intents().next().is_some()
    };
    let authority = config
        .administration()
        .unwrap()
        .authority
        .read(&ProcessEnvironment);
    let authority = Arc::new(pollster::block_on(authority).unwrap());
    let backends = Arc::new(config.backends(Arc::new(ProcessEnvironment)).unwrap());
    let reader = Reader::new(config.trust().unwrap(), inventory());
    let admin = RingAdmin::new(reader, authority, backends, "tests");
    let revocation = Revocation::new("INC-7", "carol", "leaked");
    let mut work = std::pin::pin!(admin.revoke(key.parse().unwrap(), &revocation));
    while !is_begun() {
        let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "it ended before it was seen to begin");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn what_somebody_has_begun_and_left_is_named_with_the_time_from_which_a_tick_goes_on() {
    let (ring, first) = Ring::with_key();
    revocation_that_dies(ring.0.folder(), &first);
    let (tick, said) = ring.json_and(11, &["keys", "tick"]);
    let begun = &tick["by_others"][0];
    assert_eq!(
        (&begun["scope"], &begun["action"]),
        (&"/".into(), &"recover".into()),
        "{tick}"
    );
    let until = text(&begun["until"]);
    assert!(
        said.contains(&format!("is gone on with from {until} on")),
        "{said}"
    );
    age(ring.0.folder());
    let told = ring.json(&["keys", "tick"]);
    assert_eq!(told["by_others"].as_array().unwrap().len(), 0, "{told}");
    assert_eq!(
        ring.json(&["keys", "list", "--state", "active"])["keys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_key_that_has_leaked_is_revoked_and_another_takes_its_place() {
    let (ring, first) = Ring::with_key();
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.seal("data/a.wax", "alice");
    ring.json(&["ring", "set", "--readers", "billing"]);
    let revoke = [
        "keys",
        "revoke",
        &first,
        "--ticket",
        "INC-7",
        "--approver",
        "carol",
        "--reason",
        "leaked",
    ];
    let said = ring.fails(2, &revoke);
    assert!(
        said.contains("out of use, for good") && said.contains("--yes"),
        "{said}"
    );
    let done = ring.json(&[&revoke[..], &["--yes"]].concat());
    assert_eq!(
        fields(&done),
        [
            "branch_keys",
            "command",
            "disabled",
            "moves",
            "not_disabled",
            "same_kek",
            "schema",
            "successor",
            "without_successor"
        ]
    );
    let moved = &done["moves"][0];
    assert_eq!(
        (&moved["from"], &moved["to"]),
        (&"active".into(), &"compromised".into())
    );
    assert_eq!(ring.state_of(&text(&done["successor"])), "active");
    let history = &ring.json(&["keys", "show", &first])["key"]["history"];
    let last = history.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["ticket"], &last["approver"]),
        (&"INC-7".into(), &"carol".into())
    );
    // What is under it does not open, and what is sealed is under the other.
    let run = ring.open("data/a.wax");
    assert_eq!(run.code, 13, "{}", run.stderr);
    ring.seal("data/b.wax", "bob");
    assert_eq!(ring.open("data/b.wax").code, 0);
    // The same once more changes nothing.
    let again = ring.json(&[&revoke[..], &["--yes"]].concat());
    let moved = &again["moves"][0];
    assert_eq!(
        (&moved["from"], &moved["to"]),
        (&"compromised".into(), &"compromised".into())
    );
    let said = ring.fails(8, &["keys", "reinstate", &first, "--reason", "x"]);
    assert!(said.contains("compromised, and stays so"), "{said}");
    // A re-wrap does not use it.
    let rewrap = [
        &["rewrap", "--ring", "ring.toml"],
        &CONTEXT[..],
        &["--in-place", "data/a.wax"],
    ]
    .concat();
    let said = ring.fails(13, &rewrap);
    assert!(said.contains("approval"), "{said}");
    // It is exposed until it is destroyed.
    let exposed = ring.json(&["ring", "status"])["exposed"].clone();
    let one = &exposed.as_array().unwrap()[0];
    assert_eq!(
        fields(one),
        [
            "actor",
            "approver",
            "exposed_by",
            "kek",
            "key",
            "needs_rotation",
            "reason",
            "replaced",
            "same_kek",
            "scope",
            "since",
            "slot",
            "state",
            "stopped",
            "ticket"
        ]
    );
    assert_eq!(
        (&one["key"], &one["replaced"], &one["ticket"]),
        (&first.as_str().into(), &true.into(), &"INC-7".into())
    );
}

/// Nothing can be sealed, and everybody is told so and what to do.
#[test]
fn a_scope_whose_key_was_revoked_without_a_successor_is_named() {
    let (ring, first) = Ring::with_key();
    let revoke = [
        "keys",
        "revoke",
        &first,
        "--ticket",
        "INC-7",
        "--approver",
        "carol",
        "--reason",
        "leaked",
        "--yes",
    ];
    ring.json(&[&revoke[..], &["--no-successor"]].concat());
    fs::write(ring.0.path("plain"), "hello").unwrap();
    let seal = [
        &["seal", "--ring", "ring.toml"],
        &CONTEXT[..],
        &["-o", "x.wax", "plain"],
    ]
    .concat();
    let said = ring.fails(4, &seal);
    assert!(said.contains("revoked"), "{said}");
    assert_eq!(ring.run(&["keys", "tick"]).code, 11);
    assert_eq!(ring.json(&["ring", "status"])["exposed"][0]["replaced"], false);
    let shown = String::from_utf8(ring.run(&["ring", "status"]).stdout).unwrap();
    assert!(shown.contains("nothing can be sealed there"), "{shown}");
    // One after all.
    let done = ring.json(&revoke);
    assert_eq!(ring.state_of(&text(&done["successor"])), "active");
    assert_eq!(ring.json(&["ring", "status"])["exposed"][0]["replaced"], true);
}

#[test]
fn the_time_of_a_ring_is_shown_and_set_back_only_if_it_is_ahead() {
    let (ring, _) = Ring::with_key();
    let clock = ring.json(&["ring", "clock"]);
    assert_eq!(
        fields(&clock),
        [
            "corrections",
            "inventory",
            "machine",
            "ring",
            "schema",
            "tolerance"
        ]
    );
    let correct = ["ring", "clock", "--correct", "--reason", "test"];
    ring.fails(2, &correct);
    let correct = [&correct[..], &["--yes"]].concat();
    let said = ring.fails(8, &correct);
    assert!(said.contains("nothing to correct"), "{said}");
    age(ring.0.folder());
    let clock = ring.json(&["ring", "clock"]);
    assert_eq!(clock["corrections"][0]["reason"], "two days have passed");
    let corrected = ring.json(&correct);
    assert_eq!(
        (&corrected["command"], &corrected["keys"]),
        (&"ring clock".into(), &0.into())
    );
}
