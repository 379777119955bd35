//! Break-glass: approvals, and each way in which one is refused.

use std::fs;

use super::*;

/// A ring with an approver, and an envelope under a key that was revoked.
struct Leak {
    ring: Ring,
    key: String,
    approver: String,
}

impl Leak {
    fn new() -> Self {
        let (ring, key) = Ring::with_key();
        ring.seal("a.wax", "alice");
        let made = ring.json(&["ring", "approver-key", "carol.key"]);
        let approver = text(&made["approver"]);
        ring.json(&["ring", "set", "--approver", &approver]);
        let revoke = ["keys", "revoke", &key, "--ticket", "INC-7", "--approver", "dave"];
        ring.json(&[&revoke[..], &["--reason", "a laptop was lost", "--yes"]].concat());
        Self { ring, key, approver }
    }

    fn approve(&self, output: &str, expires: &str) -> Value {
        self.ring.json(&self.approving(&self.key, output, expires))
    }

    fn approving<'a>(&'a self, key: &'a str, output: &'a str, expires: &'a str) -> Vec<&'a str> {
        vec![
            "ring",
            "approve",
            "--key",
            key,
            "--ticket",
            "INC-7",
            "--expires",
            expires,
            "--signer",
            "carol.key",
            "--actor",
            "carol",
            "-o",
            output,
        ]
    }

    fn rewrap(&self, approvals: &[&str]) -> Run {
        let mut arguments = vec!["rewrap", "--ring", "ring.toml", "--json", "-o", "moved.wax"];
        arguments.extend(CONTEXT);
        for approval in approvals {
            arguments.extend(["--approval", approval]);
        }
        arguments.push("a.wax");
        end(self.ring.0.command(&arguments).spawn().unwrap(), b"")
    }

    /// What a re-wrap is refused with. It writes nothing.
    fn refused(&self, approvals: &[&str]) -> Value {
        let run = self.rewrap(approvals);
        assert_ne!(run.code, 0);
        assert!(!self.ring.0.path("moved.wax").exists(), "{approvals:?}");
        let error = of_json(run.stderr.lines().last().unwrap().as_bytes())["error"].clone();
        assert_eq!(error["exit_code"], run.code);
        error
    }
}

#[test]
fn what_is_under_a_revoked_key_is_moved_under_an_approval() {
    let leak = Leak::new();
    let ring = &leak.ring;
    assert_eq!(ring.open("a.wax").code, 13);
    let explained = ring.run(&[&["explain", "--ring", "ring.toml"], &CONTEXT[..], &["a.wax"]].concat());
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(
        explained.contains("takes an approval: waxseal ring approve --key") && explained.contains(&leak.key),
        "{explained}"
    );
    let error = leak.refused(&[]);
    assert_eq!(
        (&error["kind"], &error["exit_code"]),
        (&"key_revoked".into(), &13.into())
    );
    assert!(text(&error["message"]).contains("ring approve"), "{error}");

    let approval = leak.approve("approval.json", "PT8H");
    assert_eq!(
        (&approval["key"], &approval["approver"]),
        (&leak.key.as_str().into(), &"carol".into())
    );
    assert_eq!(approval["signer"], leak.approver.as_str());
    let run = leak.rewrap(&["approval.json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let moved = of_json(&run.stdout);
    assert_eq!(
        moved["approvals"],
        serde_json::json!([{ "key": leak.key, "ticket": "INC-7", "approver": "carol" }])
    );
    assert_eq!(moved["old_wraps"][0]["fate"], "replaced");
    assert_eq!(ring.open("moved.wax").stdout, b"alice");
    assert_eq!(ring.open("a.wax").code, 13, "an approval opens nothing");
    // For people, and in place.
    let run = ring.run(
        &[
            &[
                "rewrap",
                "--ring",
                "ring.toml",
                "--approval",
                "approval.json",
                "--in-place",
            ],
            &CONTEXT[..],
            &["a.wax"],
        ]
        .concat(),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let said = format!(
        "used the key {} under the approval of ticket INC-7 by carol",
        leak.key
    );
    assert!(run.stderr.contains(&said), "{}", run.stderr);
    assert_eq!(ring.open("a.wax").stdout, b"alice");
    // The census has nothing to find there anymore.
    let census = ring.json(&["census", "a.wax", "--receipt", "receipt.json"]);
    let of_key = census["keys"].as_array().unwrap().iter();
    let of_key: Vec<_> = of_key.filter(|count| count["key"] == leak.key.as_str()).collect();
    assert!(of_key.iter().all(|count| count["items"] == 0), "{census}");
}

#[test]
fn each_refused_attempt_is_named_by_its_cause() {
    let leak = Leak::new();
    let ring = &leak.ring;
    let refused = |approvals: &[&str], words: &str| {
        let error = leak.refused(approvals);
        assert_eq!(
            (&error["kind"], &error["exit_code"]),
            (&"approval_refused".into(), &8.into()),
            "{error}"
        );
        let message = text(&error["message"]);
        assert!(message.contains(words), "{words}: {message}");
    };
    leak.approve("good.json", "PT8H");
    // Altered.
    let good = fs::read_to_string(ring.0.path("good.json")).unwrap();
    ring.0.write("altered.json", good.replace("INC-7", "INC-8"));
    refused(&["altered.json"], "it was altered");
    // Past its end.
    leak.approve("short.json", "PT1S");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    refused(&["short.json"], "it has expired");
    // Of another key.
    let keys = ring.json(&["keys", "list", "--state", "active"]);
    let second = text(&keys["keys"][0]["id"]);
    ring.json(&["keys", "rotate", &second, "--reason", "test"]);
    ring.json(&["keys", "retire", &second, "--force", "--reason", "test", "--yes"]);
    ring.json(&leak.approving(&second, "other.json", "PT8H"));
    refused(&["other.json"], "it is for another key");
    // Of another ring, and of an approver of that.
    let elsewhere = Leak::new();
    elsewhere.approve("foreign.json", "PT8H");
    let foreign = fs::read_to_string(elsewhere.ring.0.path("foreign.json")).unwrap();
    ring.0
        .write("foreign.json", foreign.replace(&elsewhere.key, &leak.key));
    refused(&["foreign.json"], "it is for another ring");
    // Of an approver who was removed.
    let other = text(&ring.json(&["ring", "approver-key", "erin.key"])["approver"]);
    ring.json(&[
        "ring",
        "set",
        "--approver",
        &other,
        "--remove-approver",
        &leak.approver,
    ]);
    refused(&["good.json"], "its signer is no approver");
    let said = ring.fails(8, &leak.approving(&leak.key, "late.json", "PT8H"));
    assert!(said.contains("ring set --approver"), "{said}");
    assert!(!ring.0.path("late.json").exists());
    ring.json(&["ring", "set", "--approver", &leak.approver]);
    assert_eq!(leak.rewrap(&["other.json", "good.json"]).code, 0);
}

#[test]
fn an_approval_that_helps_nobody_is_not_issued() {
    let leak = Leak::new();
    let ring = &leak.ring;
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let said = ring.fails(code, arguments);
        assert!(said.contains(words), "{words}: {said}");
        assert!(!ring.0.path("no.json").exists());
    };
    refused(
        &leak.approving(&leak.key, "no.json", "P8D"),
        8,
        "it lasts too long",
    );
    refused(
        &leak.approving(&leak.key, "no.json", "2026-01-01T00:00:00Z"),
        8,
        "it has expired",
    );
    refused(&leak.approving(&leak.key, "no.json", "soon"), 2, "--expires");
    let keys = ring.json(&["keys", "list", "--state", "active"]);
    let active = text(&keys["keys"][0]["id"]);
    refused(
        &leak.approving(&active, "no.json", "PT8H"),
        8,
        "it needs no approval",
    );
    let nobody = "01900000-0000-7000-8000-000000000000";
    refused(&leak.approving(nobody, "no.json", "PT8H"), 2, nobody);
    // The authority signs none, and is no approver.
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    assert!(config.contains("authority"), "{config}");
    let authority = config.lines().find_map(|line| line.split_once("ed25519:"));
    let authority = format!("ed25519:{}", authority.unwrap().1.trim_matches('"'));
    refused(
        &["ring", "set", "--approver", &authority],
        2,
        "cannot be an approver",
    );
    // A file that is there stays there.
    leak.approve("approval.json", "PT8H");
    let said = ring.fails(8, &leak.approving(&leak.key, "approval.json", "PT8H"));
    assert!(said.contains("never overwritten"), "{said}");
    let said = ring.fails(8, &["ring", "approver-key", "carol.key"]);
    assert!(said.contains("never overwritten"), "{said}");
    // What is no approval is refused before anything is done, and an approval is no output.
    let run = leak.rewrap(&["ring.toml"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let run = ring.run(
        &[
            &[
                "rewrap",
                "--ring",
                "ring.toml",
                "--approval",
                "approval.json",
                "-o",
                "approval.json",
            ],
            &CONTEXT[..],
            &["a.wax"],
        ]
        .concat(),
    );
    assert_ne!(run.code, 0);
    assert!(
        fs::read_to_string(ring.0.path("approval.json"))
            .unwrap()
            .contains("INC-7")
    );
    let run = ring.run(&["rewrap", "--kek", "env:K", "--approval", "approval.json", "a.wax"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
}

#[test]
fn an_approval_that_cannot_be_written_is_not_issued() {
    let leak = Leak::new();
    let approve = leak.approving(&leak.key, "nowhere/approval.json", "PT8H");
    leak.ring.fails(9, &approve);
    // With a log, what is issued is in it.
    #[cfg(feature = "audit")]
    {
        leak.ring.fails(9, &[&approve[..], &["--log", "log"]].concat());
        let shown = leak.ring.run(&["audit", "show", "log"]);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(!shown.contains("approve"), "{shown}");
    }
}
