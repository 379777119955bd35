//! `--gate`: a program decides whether a successor is used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::*;

/// A script beside the ring. Returns its path.
fn script(ring: &Ring, name: &str, body: &str) -> String {
    ring.0.write(name, format!("#!/bin/sh\n{body}\n"));
    let path = ring.0.path(name);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// A gate that seals and opens under the key that it is asked about, with the tool itself.
fn round_trip(ring: &Ring) -> String {
    let tool = env!("CARGO_BIN_EXE_waxseal");
    let body = format!(
        "set -e\ncd '{}'\necho \"$WAXSEAL_GATE_KEY $WAXSEAL_GATE_SCOPE $WAXSEAL_GATE_SLOT $WAXSEAL_GATE_RING $WAXSEAL_GATE_PREDECESSOR\" > asked\n\
         printf probe > probe\n'{tool}' seal --kek \"$WAXSEAL_GATE_KEK\" --context purpose=gate -o probe.wax probe\n\
         '{tool}' open --kek \"$WAXSEAL_GATE_KEK\" --context purpose=gate probe.wax | grep -q '^probe$'",
        ring.0.folder().display()
    );
    script(ring, "gate.sh", &body)
}

fn revoke<'a>(key: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["keys", "revoke", key, "--ticket", "INC-7", "--approver", "dave"];
    all.extend(["--reason", "test", "--yes"]);
    all.extend(more);
    all
}

#[test]
fn a_gate_seals_and_opens_under_the_successor_and_lets_it_through() {
    let (ring, first) = Ring::with_key();
    let gate = round_trip(&ring);
    let rotated = ring.json(&["keys", "rotate", &first, "--reason", "test", "--gate", &gate]);
    let second = text(&rotated["rotated"][0]["key"]);
    assert_eq!(rotated["rotated"][0]["state"], "active", "{rotated}");
    let id = text(&ring.json(&["ring", "status"])["ring"]);
    let asked = fs::read_to_string(ring.0.path("asked")).unwrap();
    assert_eq!(asked, format!("{second} / default {id} {first}\n"));
    // And in the place of one that was revoked.
    fs::remove_file(ring.0.path("asked")).unwrap();
    let revoked = ring.json(&revoke(&second, &["--gate", &gate]));
    let third = text(&revoked["successor"]);
    let asked = fs::read_to_string(ring.0.path("asked")).unwrap();
    assert!(
        asked.starts_with(&third) && asked.ends_with(&format!("{second}\n")),
        "{asked}"
    );
    assert_eq!(ring.state_of(&third), "active");
}

#[cfg(feature = "audit")]
#[test]
fn a_gate_may_write_the_log_of_the_command_that_asks_it() {
    let (ring, first) = Ring::with_key();
    let log = ring.0.path("log").display().to_string();
    let gate = script(
        &ring,
        "logged.sh",
        &format!("export WAXSEAL_AUDIT_LOG='{log}'\nexec '{}'", round_trip(&ring)),
    );
    let rotated = ring.json(&[
        "keys", "rotate", &first, "--reason", "test", "--gate", &gate, "--log", &log,
    ]);
    assert_eq!(rotated["rotated"][0]["state"], "active", "{rotated}");
    let shown = ring.0.done(&["audit", "show", &log], b"");
    let shown = String::from_utf8(shown).unwrap();
    let has = |what: &str| shown.contains(what);
    assert!(
        has("  generate  ") && has("  unwrap  ") && has("  ring.rotate  "),
        "{shown}"
    );
}

#[test]
fn a_gate_that_says_no_keeps_the_successor_and_shows_why() {
    let (ring, first) = Ring::with_key();
    let no = script(&ring, "no.sh", "echo 'the canary sings' >&2; exit 3");
    let rotate = ["keys", "rotate", &first, "--reason", "test", "--gate", &no];
    let (rotated, said) = ring.json_and(8, &rotate);
    let second = text(&rotated["rotated"][0]["key"]);
    assert_eq!(rotated["rotated"][0]["state"], "pending");
    assert!(
        said.contains("the canary sings") && said.contains("keys promote"),
        "{said}"
    );
    assert_eq!(ring.state_of(&first), "active");
    assert_eq!(ring.json(&["keys", "show", &second])["key"]["awaits_gate"], true);
    let tick = ring.tick();
    assert_eq!(tick.code, 8, "{}", tick.stderr);
    assert_eq!(ring.state_of(&second), "pending");
    let said = ring.fails(8, &["keys", "promote", &second, "--gate", &no]);
    assert!(said.contains("the canary sings"), "{said}");
    // A tick with a gate that agrees goes on.
    let yes = script(&ring, "yes.sh", "exit 0");
    ring.json(&["keys", "tick", "--gate", &yes]);
    assert_eq!(ring.state_of(&second), "active");
}

#[test]
fn a_gate_that_hangs_is_killed_with_what_it_has_started_and_the_revocation_stands() {
    let (ring, first) = Ring::with_key();
    ring.seal("a.wax", "alice");
    let pid = ring.0.path("pid");
    let hangs = script(
        &ring,
        "hangs.sh",
        &format!(
            "echo 'still looking' >&2\nsleep 600 &\necho $! > '{}'\nwait",
            pid.display()
        ),
    );
    let began = Instant::now();
    let (revoked, said) = ring.json_and(8, &revoke(&first, &["--gate", &hangs, "--gate-timeout", "PT2S"]));
    assert!(
        began.elapsed() < Duration::from_secs(120),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(revoked["moves"][0]["to"], "compromised");
    assert!(revoked["successor"].is_null());
    let why = text(&revoked["without_successor"]);
    assert!(
        why.contains("did not end within 2 seconds") && why.contains("still looking"),
        "{why}"
    );
    assert!(said.contains("keys promote"), "{said}");
    assert_eq!(ring.open("a.wax").code, 13);
    let child = fs::read_to_string(&pid).unwrap();
    let status = format!("/proc/{}/stat", child.trim());
    let is_gone = || {
        fs::read_to_string(&status)
            .is_ok_and(|stat| !stat.contains(") Z "))
            .then_some(())
            .is_none()
    };
    let until = Instant::now() + Duration::from_secs(20);
    while !is_gone() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(is_gone(), "what it has started lives on");
    // By hand, past the gate.
    let keys = ring.json(&["keys", "list", "--state", "pending"]);
    let next = text(&keys["keys"][0]["id"]);
    assert_eq!(ring.run(&["keys", "promote", &next]).code, 0);
    ring.seal("b.wax", "bob");
    assert_eq!(ring.open("b.wax").stdout, b"bob");
}

#[test]
fn a_gate_that_cannot_be_started_has_refused() {
    let (ring, first) = Ring::with_key();
    let rotate = [
        "keys",
        "rotate",
        &first,
        "--reason",
        "test",
        "--gate",
        "/nowhere/gate",
    ];
    let (rotated, _) = ring.json_and(8, &rotate);
    assert_eq!(rotated["rotated"][0]["state"], "pending");
    assert!(text(&rotated["rotated"][0]["hindered"]).contains("cannot be started"));
    for wrong in [
        &["keys", "tick", "--gate", " "][..],
        &["keys", "tick", "--gate", "true", "--gate-timeout", "60"],
        &["keys", "tick", "--gate", "true", "--gate-timeout", "PT0S"],
        &["keys", "tick", "--gate-timeout", "PT1S"],
    ] {
        ring.fails(2, wrong);
    }
    // No shell reads it: a word is a word.
    let echo = script(
        &ring,
        "two.sh",
        "[ \"$1\" = ';' ] && [ \"$2\" = '$HOME' ] && [ $# -eq 2 ]",
    );
    ring.json(&["keys", "tick", "--gate", &format!("{echo} ;  $HOME")]);
    assert_eq!(ring.state_of(&first), "deprecated");
}

/// What is said works: with the gate, and by hand without one.
#[test]
fn a_revocation_whose_gate_has_not_agreed_says_what_goes_on_with_it() {
    let (ring, first) = Ring::with_key();
    let no = script(&ring, "no.sh", "exit 3");
    let yes = script(&ring, "yes.sh", "exit 0");
    for command in [revoke(&first, &["--gate", &no]), revoke(&first, &[])] {
        let run = ring.run(&command);
        assert_eq!(run.code, 8, "{}", run.stderr);
        let said = String::from_utf8(run.stdout).unwrap();
        assert!(
            said.contains("`keys tick` with --gate") && said.contains("`keys promote`"),
            "{said}"
        );
    }
    ring.json(&["keys", "tick", "--gate", &yes]);
    let list = ring.json(&["keys", "list", "--state", "active"]);
    assert_eq!(list["keys"].as_array().unwrap().len(), 1, "{list}");
}
