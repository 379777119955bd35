//! `review`: the report after an incident, held against what was done.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use waxseal::audit::{Auditor, Checkpoint, Event, Log, LogReader, Sink, VerifierKey};
use waxseal::backend::local::LocalKey;
use waxseal::{EncryptionContext, Kek, Sealer};

use super::*;

/// A ring whose key was used, revoked, and asked for afterwards; with a log of its administration and one of its use.
struct Incident {
    ring: Ring,
    key: String,
}

const SCRIPT: &str = "<script>alert(1)</script>";

impl Incident {
    /// The key is active, and was used by three people: sealed twice, opened once.
    fn begun() -> Self {
        let (ring, key) = Ring::with_key();
        let incident = Self { ring, key };
        incident.seal("a.wax", "used", "alice");
        incident.seal("b.wax", "used", "bob");
        assert_eq!(incident.open("a.wax", "used", SCRIPT).code, 0);
        incident
    }

    /// The key is revoked; an open was refused; a re-wrap was approved.
    fn over() -> Self {
        let incident = Self::begun();
        incident.revoke();
        assert_eq!(incident.open("a.wax", "used", "mallory").code, 13);
        incident
    }

    fn revoke(&self) {
        let made = self.ring.json(&["ring", "approver-key", "carol.key"]);
        let approver = text(&made["approver"]);
        self.ring
            .json(&["ring", "set", "--approver", &approver, "--log", "admin"]);
        let revoke = [
            "keys",
            "revoke",
            &self.key,
            "--ticket",
            "INC-7",
            "--approver",
            "dave",
        ];
        let more = ["--reason", "a laptop | lost", "--yes", "--log", "admin"];
        self.ring.json(&[&revoke[..], &more].concat());
    }

    fn seal(&self, name: &str, log: &str, actor: &str) {
        self.ring.0.write("plain", "content");
        let seal = ["seal", "--ring", "ring.toml", "--log", log, "--actor", actor];
        let run = self
            .ring
            .run(&[&seal[..], &CONTEXT, &["-o", name, "plain"]].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
    }

    fn open(&self, name: &str, log: &str, actor: &str) -> Run {
        let open = ["open", "--ring", "ring.toml", "--log", log, "--actor", actor];
        self.ring.run(&[&open[..], &CONTEXT, &[name]].concat())
    }

    fn rewrap_under_approval(&self) {
        let approve = ["ring", "approve", "--key", &self.key, "--ticket", "INC-8"];
        let more = ["--expires", "PT8H", "--signer", "carol.key", "--actor", "carol"];
        self.ring
            .json(&[&approve[..], &more, &["-o", "approval.json"]].concat());
        let rewrap = [
            "rewrap",
            "--ring",
            "ring.toml",
            "--approval",
            "approval.json",
            "--quiet",
        ];
        let more = ["--log", "used", "--actor", "erin", "-o", "moved.wax", "b.wax"];
        let run = self.ring.run(&[&rewrap[..], &more, &CONTEXT].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let review = ["review", "--ring", "ring.toml", "--key", &self.key];
        [&review[..], more].concat()
    }

    fn review(&self, more: &[&str]) -> Value {
        self.ring.json_and_warnings(0, &self.arguments(more)).0
    }

    fn review_finds(&self, more: &[&str]) -> (Value, String) {
        self.ring.json_and_warnings(10, &self.arguments(more))
    }

    fn markdown(&self, more: &[&str]) -> String {
        let run = self.ring.run(&self.arguments(more));
        String::from_utf8(run.stdout).unwrap()
    }
}

impl Ring {
    /// Runs a command, which must end with this code after it has printed its JSON, and perhaps warnings.
    pub(super) fn json_and_warnings(&self, code: i32, arguments: &[&str]) -> (Value, String) {
        let mut command = self.0.command(&[arguments, &["--json"]].concat());
        let run = end(command.env("WAXSEAL_ACTOR", "tests").spawn().unwrap(), b"");
        assert_eq!(run.code, code, "{arguments:?}: {}", run.stderr);
        (of_json(&run.stdout), run.stderr)
    }
}

const BOTH: [&str; 4] = ["--log", "used", "--log", "admin"];

/// How many events of an action and outcome an actor has.
fn count(rows: &Value, action: &str, outcome: &str, actor: &str) -> u64 {
    let is_it = |row: &&Value| row["action"] == action && row["outcome"] == outcome && row["actor"] == actor;
    let rows = rows.as_array().unwrap().iter().filter(is_it);
    rows.map(|row| row["events"].as_u64().unwrap()).sum()
}

fn total(rows: &Value) -> u64 {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row["events"].as_u64().unwrap()).sum()
}

#[test]
fn the_numbers_are_those_of_what_was_done() {
    let incident = Incident::over();
    let review = incident.review(&BOTH);
    let counts = &review["counts"];
    assert_eq!(count(counts, "generate", "success", "alice"), 1);
    assert_eq!(count(counts, "generate", "success", "bob"), 1);
    assert_eq!(count(counts, "unwrap", "success", SCRIPT), 1);
    assert_eq!(count(counts, "unwrap", "refused", "mallory"), 1);
    assert_eq!(count(counts, "ring.revoke", "success", "tests"), 1);
    // The log of use has these four events, and no other.
    let used = incident.review(&["--log", "used"]);
    assert_eq!(total(&used["counts"]), 4);
    assert_eq!(used["logs"][0]["records"], 4);
    assert_eq!(
        (&used["first_use"]["record"], &used["last_use"]["record"]),
        (&0.into(), &2.into())
    );
    assert_eq!(used["first_use"]["actor"], "alice");
    // What was refused, by whom and why.
    let denials = used["denials"]["events"].as_array().unwrap();
    assert_eq!(denials.len(), 1);
    assert_eq!(
        (&denials[0]["record"], &denials[0]["actor"], &denials[0]["error"]),
        (&3.into(), &"mallory".into(), &"key_revoked".into())
    );
    // The states, by the ring, with the record of the change.
    let history = review["key"]["history"].as_array().unwrap();
    let last = history.last().unwrap();
    assert_eq!(
        (&last["to"], &last["ticket"], &last["approver"], &last["actor"]),
        (
            &"compromised".into(),
            &"INC-7".into(),
            &"dave".into(),
            &"tests".into()
        )
    );
    assert_eq!(last["change"]["log"], "admin");
    let shown = incident.ring.json(&["audit", "show", "admin"]);
    let change =
        &shown["events"][usize::try_from(last["change"]["record"].as_u64().unwrap()).unwrap()]["event"];
    assert_eq!(change["event.name"], "waxseal.ring.change");
    assert_eq!(change["waxseal.ring.revision"], last["revision"]);
    assert_eq!(change["waxseal.outcome"], "success");
    // The check.
    let releases = &review["releases"];
    assert_eq!(releases["revoked"], last["revision"]);
    assert_eq!(
        (&releases["looked_at"], &releases["at_or_after"]["events"]),
        (&3.into(), &Value::Array(Vec::new()))
    );
    assert!(
        releases["newest"].as_u64() < releases["revoked"].as_u64(),
        "{releases}"
    );
    assert!(
        releases["newest_in_logs"].as_u64() >= releases["revoked"].as_u64(),
        "{releases}"
    );
    assert_eq!(review["findings"], Value::Array(Vec::new()));
    assert_eq!(review["objects"], Value::Null);
    // The key that follows was not used, and never revoked.
    let keys = incident.ring.json(&["keys", "list", "--state", "active"]);
    let next = text(&keys["keys"][0]["id"]);
    let (of_next, _) = incident.ring.json_and_warnings(
        0,
        &[&["review", "--ring", "ring.toml", "--key", &next], &BOTH[..]].concat(),
    );
    assert_eq!(
        (&of_next["releases"]["revoked"], &of_next["first_use"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(of_next["releases"]["looked_at"], 0);
}

#[test]
fn the_report_for_people_says_the_same_and_what_a_log_says_is_text() {
    let incident = Incident::over();
    let text = incident.markdown(&BOTH);
    assert!(!text.contains("<script>"), "{text}");
    for wanted in [
        "| used | unwrap | success | open | &lt;script&gt;alert\\(1\\)&lt;/script&gt; | 1 |",
        "a laptop \\| lost",
        "| INC-7 | dave |",
        "3 releases looked at",
        "at or after it: 0.",
        "key that the log names",
        "Not counted: give the receipts of a census",
        "| used, record 0 | first use | - |",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let object = incident.review(&BOTH);
    let names: Vec<&str> = "at authority censuses command counts denials findings first_use from gaps holes intents kek_alone key last_use logs lost mark objects others proofs releases revision ring same_kek schema through_branch_keys to".split(' ').collect();
    assert_eq!(fields(&object), names);
    let documented = include_str!("../../../../../docs/cli.md");
    let row = documented
        .lines()
        .find(|line| line.starts_with("| `review` |"))
        .unwrap();
    for name in names.into_iter().filter(|name| *name != "schema") {
        assert!(
            row.contains(&format!("\"{name}\"")),
            "{name} is not in docs/cli.md"
        );
    }
    // A key that was never revoked is not checked, and the report says so.
    let fresh = Incident::begun();
    let text = fresh.markdown(&["--log", "used"]);
    assert!(
        text.contains("Not checked: the key was never revoked. 3 releases looked at"),
        "{text}"
    );
    // Logs that end before the revocation say nothing of it.
    fresh.revoke();
    let text = fresh.markdown(&["--log", "used"]);
    assert!(
        text.contains("No event of these logs knows the revocation"),
        "{text}"
    );
}

#[test]
fn an_approved_rewrap_is_listed_apart() {
    let incident = Incident::over();
    incident.rewrap_under_approval();
    let review = incident.review(&BOTH);
    let releases = &review["releases"];
    let approved = releases["approved"]["events"].as_array().unwrap();
    assert_eq!(approved.len(), 1);
    assert_eq!(
        (
            &approved[0]["actor"],
            &approved[0]["approval"]["ticket"],
            &approved[0]["approval"]["approver"]
        ),
        (&"erin".into(), &"INC-8".into(), &"carol".into())
    );
    assert!(
        approved[0]["revision"].as_u64() >= releases["revoked"].as_u64(),
        "{releases}"
    );
    assert_eq!(releases["at_or_after"]["events"], Value::Array(Vec::new()));
    assert_eq!(
        (&releases["looked_at"], &review["last_use"]["actor"]),
        (&4.into(), &"erin".into())
    );
    let text = incident.markdown(&BOTH);
    assert!(
        text.contains("under an approval: 1.")
            && text.contains(&format!(
                "| INC-8 | carol | used, record {} |",
                approved[0]["record"]
            )),
        "{text}"
    );
}

/// A process at another copy of the ring, which never hears of the revocation and has newer revisions all the same.
#[test]
fn a_release_at_or_after_the_revision_is_found() {
    let incident = Incident::begun();
    let copied = [
        ("ring.db", "copy.db"),
        ("ring.authority", "copy.authority"),
        ("ring.toml", "copy.toml"),
    ];
    for (from, to) in copied {
        fs::copy(incident.ring.0.path(from), incident.ring.0.path(to)).unwrap();
    }
    let config = fs::read_to_string(incident.ring.0.path("copy.toml")).unwrap();
    let config = config
        .replace("ring.db", "copy.db")
        .replace("ring.mark", "copy.mark");
    incident.ring.0.write("copy.toml", config);
    incident.revoke();
    let seal = |name: &str| {
        incident.ring.0.write("plain", "content");
        let seal = [
            "seal",
            "--ring",
            "copy.toml",
            "--log",
            "stray",
            "--actor",
            "stray",
        ];
        let run = incident
            .ring
            .run(&[&seal[..], &CONTEXT, &["-o", name, "plain"]].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
    };
    seal("before.wax");
    let before = incident.review(&["--log", "stray"]);
    assert_eq!(
        before["releases"]["at_or_after"]["events"],
        Value::Array(Vec::new())
    );
    let revoked = before["releases"]["revoked"].as_u64().unwrap();
    // The copy goes on to the very revision that revokes the key elsewhere.
    let copy = ["--ring", "copy.toml"];
    let status = || incident.ring.json(&[&["ring", "status"], &copy[..]].concat());
    for days in 30..90 {
        if status()["revision"].as_u64().unwrap() == revoked {
            break;
        }
        let cadence = format!("P{days}D");
        incident
            .ring
            .json(&[&["ring", "set", "--cadence", &cadence], &copy[..]].concat());
    }
    seal("after.wax");
    // The window says nothing of the check.
    for more in [&["--log", "stray"][..], &["--log", "stray", "--to", "2020-01-01"]] {
        let (review, said) = incident.review_finds(more);
        let late = review["releases"]["at_or_after"]["events"].as_array().unwrap();
        assert_eq!(late.len(), 1, "{review}");
        assert_eq!(
            (&late[0]["record"], &late[0]["actor"], &late[0]["revision"]),
            (&1.into(), &"stray".into(), &revoked.into())
        );
        assert!(
            said.contains("1 release under the key at or after revision"),
            "{said}"
        );
    }
    let text = incident.markdown(&["--log", "stray", "--proofs", "proofs"]);
    assert!(text.contains("at or after it: 1."), "{text}");
    assert!(
        text.contains(
            "| stray, record 1 | last use, release at or after the revocation | log-1-record-1.tlog-proof |"
        ),
        "{text}"
    );
}

#[test]
fn a_log_that_does_not_verify_is_named_and_the_report_is_written() {
    let incident = Incident::over();
    let entries = incident.ring.0.path("used/tile/entries/000.p/4");
    let mut bytes = fs::read(&entries).unwrap();
    let at = bytes.windows(5).position(|window| window == b"alice").unwrap();
    bytes[at] = b'm';
    fs::write(&entries, bytes).unwrap();
    let (review, said) = incident.review_finds(&BOTH);
    let log = &review["logs"][0];
    assert_eq!(
        (
            &log["log"],
            &log["sound"],
            &log["findings"][0]["what"],
            &log["findings"][0]["record"]
        ),
        (&"used".into(), &false.into(), &"altered".into(), &0.into())
    );
    assert_eq!(review["logs"][1]["sound"], true);
    assert!(said.contains("the log used: altered at record 0"), "{said}");
    assert_eq!(count(&review["counts"], "generate", "success", "mlice"), 1);
    // What it can no longer prove has no proof.
    let (review, _) = incident.review_finds(&[&BOTH[..], &["--proofs", "proofs"]].concat());
    let first = &review["proofs"]["records"][0];
    assert_eq!(
        (&first["shows"][0], &first["file"]),
        (&"first use".into(), &Value::Null)
    );
    assert!(first["unproven"].is_string(), "{first}");
    // Records that cannot be read are said to be missing.
    fs::remove_file(entries).unwrap();
    let (review, said) = incident.review_finds(&BOTH);
    assert!(
        review["logs"][0]["unreadable"].is_string() && said.contains("the log used: missing"),
        "{said}"
    );
    assert_eq!(review["logs"][0]["records"], 0);
    assert!(review["logs"][1]["records"].as_u64().unwrap() > 0);
}

#[test]
fn each_proof_verifies_with_the_public_key_alone() {
    let incident = Incident::over();
    let review = incident.review(&[&BOTH[..], &["--proofs", "proofs"]].concat());
    let records = review["proofs"]["records"].as_array().unwrap();
    // First and last use, and the move to compromised.
    assert_eq!(records.len(), 3, "{review}");
    let read = |name: &str| fs::read_to_string(incident.ring.0.path(name)).unwrap();
    for proven in records {
        let log = text(&proven["log"]);
        let number = if log == "used" { 1 } else { 2 };
        let key: VerifierKey = read(&format!("proofs/log-{number}.vkey")).parse().unwrap();
        assert_eq!(key.to_string(), read(&format!("{log}/vkey")).trim());
        let proof = read(&format!("proofs/{}", text(&proven["file"])));
        assert!(proof.ends_with(&read(&format!("proofs/log-{number}.checkpoint"))));
        let index = proven["record"].as_u64().unwrap();
        let record = LogReader::open(incident.ring.0.path(&log))
            .unwrap()
            .record(index)
            .unwrap();
        assert_eq!(Checkpoint::verify_proof(&proof, &record, &key).unwrap(), index);
        let mut other = record.clone();
        other[0] ^= 1;
        assert!(Checkpoint::verify_proof(&proof, &other, &key).is_err());
    }
    // No proof is ever overwritten.
    let line = incident.ring.fails(
        8,
        &incident.arguments(&[&BOTH[..], &["--proofs", "proofs"]].concat()),
    );
    assert!(line.contains("not empty"), "{line}");
    // The checkpoint and its root are in the report.
    let log = &review["logs"][0];
    let reader = LogReader::open(incident.ring.0.path("used")).unwrap();
    assert_eq!(
        (&log["size"], &log["root"]),
        (&4.into(), &hex::encode(reader.checkpoint().root()).into())
    );
}

#[test]
fn a_pinned_key_and_a_kept_checkpoint_are_for_the_log_of_their_origin() {
    let incident = Incident::over();
    let run = incident.ring.run(&incident.arguments(&BOTH));
    assert_eq!(
        (run.code, run.stderr.matches("give --log-key").count()),
        (0, 2),
        "{}",
        run.stderr
    );
    let vkey = |log: &str| {
        String::from_utf8(incident.ring.0.read(&format!("{log}/vkey")))
            .unwrap()
            .trim()
            .to_owned()
    };
    let (used, admin) = (vkey("used"), vkey("admin"));
    fs::copy(
        incident.ring.0.path("admin/checkpoint"),
        incident.ring.0.path("kept"),
    )
    .unwrap();
    let pinned = ["--log-key", &admin, "--log-key", &used, "--checkpoint", "kept"];
    let review = incident.review(&[&BOTH[..], &pinned].concat());
    let of = |log: usize| {
        (
            review["logs"][log]["key_from"].clone(),
            review["logs"][log]["kept_checkpoint"].clone(),
        )
    };
    assert_eq!(of(0), ("option".into(), false.into()));
    assert_eq!(of(1), ("option".into(), true.into()));
    // Another key than the one it was signed with.
    let (review, _) = incident.review_finds(&["--log", "used", "--log-key", &admin]);
    assert_eq!(review["logs"][0]["findings"][0]["what"], "signature");
    // An older copy does not continue the checkpoint.
    copy(&incident.ring.0.path("admin"), &incident.ring.0.path("old"));
    incident
        .ring
        .json(&["ring", "set", "--cadence", "P60D", "--log", "admin"]);
    fs::copy(
        incident.ring.0.path("admin/checkpoint"),
        incident.ring.0.path("kept"),
    )
    .unwrap();
    let (review, _) = incident.review_finds(&[
        "--log",
        "old",
        "--log",
        "used",
        "--log-key",
        &admin,
        "--checkpoint",
        "kept",
    ]);
    assert_eq!(review["logs"][0]["findings"][0]["what"], "truncated");
    // What is for none of them, and one log twice.
    let usage = |more: &[&str], words: &str| {
        let line = incident.ring.fails(2, &incident.arguments(more));
        assert!(line.contains(words), "{words}: {line}");
    };
    for (from, to) in [("used", "moved"), ("used.key", "moved.key")] {
        fs::rename(incident.ring.0.path(from), incident.ring.0.path(to)).unwrap();
    }
    incident.seal("c.wax", "used", "alice");
    usage(
        &["--log", "moved", "--log", "admin", "--log-key", &vkey("used")],
        "none of the logs has the origin",
    );
    usage(
        &["--log", "old", "--log", "admin"],
        "two of the logs have the origin",
    );
    usage(&["--log", "admin", "--log-key", "no key"], "--log-key");
}

#[test]
fn what_is_given_wrongly_is_told() {
    let incident = Incident::over();
    let usage = |more: &[&str], words: &str| {
        let line = incident
            .ring
            .fails(2, &incident.arguments(&[&BOTH[..], more].concat()));
        assert!(line.contains(words), "{words}: {line}");
    };
    usage(
        &["--from", "2026-11-28", "--to", "2026-11-27"],
        "--from must be before --to",
    );
    usage(&["--from", "noon"], "--from: a time is RFC 3339");
    usage(&["--to", "2026-13-01"], "--to: a time is RFC 3339");
    let nobody = "01900000-0000-7000-8000-000000000000";
    let of = |key: &str, log: &str| {
        let arguments = ["review", "--ring", "ring.toml", "--key", key, "--log", log];
        incident.ring.run(&arguments)
    };
    let run = of(nobody, "used");
    assert!(run.code == 2 && run.stderr.contains(nobody), "{}", run.stderr);
    assert_eq!(of("no id", "used").code, 2);
    let run = of(&incident.key, "nowhere");
    assert!(run.code == 9 && run.stderr.contains("nowhere"), "{}", run.stderr);
    let run = incident
        .ring
        .run(&["review", "--ring", "ring.toml", "--key", &incident.key]);
    assert!(run.code == 2 && run.stderr.contains("--log"), "{}", run.stderr);
}

#[test]
fn a_window_has_what_was_done_in_it() {
    let incident = Incident::over();
    let shown = incident.ring.json(&["audit", "show", "used"]);
    let time = |record: usize| text(&shown["events"][record]["event"]["time"]);
    let (from, to) = (time(1), time(3));
    let review = incident.review(&["--log", "used", "--from", &from, "--to", &to]);
    assert_eq!(total(&review["counts"]), 2);
    assert_eq!(count(&review["counts"], "generate", "success", "bob"), 1);
    assert_eq!(review["denials"]["events"], Value::Array(Vec::new()));
    assert_eq!(
        (&review["first_use"]["record"], &review["last_use"]["record"]),
        (&1.into(), &2.into())
    );
    // The check is of the whole log.
    assert_eq!(review["releases"]["looked_at"], 3);
    let is_time = |name: &str, wanted: &str| {
        let parsed = |text: &str| text.parse::<waxseal::ring::Time>().unwrap();
        assert_eq!(parsed(review[name].as_str().unwrap()), parsed(wanted));
    };
    is_time("from", &from);
    is_time("to", &to);
}

#[test]
fn what_a_census_found_is_in_the_report() {
    let incident = Incident::over();
    let census = incident
        .ring
        .json(&["census", "a.wax", "b.wax", "--receipt", "receipt.json"]);
    let review = incident.review(&["--log", "used", "--receipt", "receipt.json"]);
    let objects = &review["objects"];
    assert_eq!(
        (&objects["items"], &objects["sole"], &objects["unknown"]),
        (&2.into(), &2.into(), &0.into())
    );
    let keys = census["keys"].as_array().unwrap();
    let of_key = keys
        .iter()
        .find(|count| count["key"] == incident.key.as_str())
        .unwrap();
    assert_eq!(objects["bytes"], of_key["bytes"]);
    assert_eq!(review["censuses"][0]["census"], census["digest"]);
    // The same place twice.
    incident
        .ring
        .json(&["census", "a.wax", "b.wax", "--receipt", "again.json"]);
    let twice = [
        "--log",
        "used",
        "--receipt",
        "receipt.json",
        "--receipt",
        "again.json",
    ];
    assert!(
        incident
            .ring
            .fails(2, &incident.arguments(&twice))
            .contains("counted the same place")
    );
}

#[test]
fn the_kek_alone_counts_apart_and_cannot_be_decided() {
    let incident = Incident::over();
    let shown = incident.ring.json(&["keys", "show", &incident.key]);
    let uri = text(&shown["key"]["uri"]);
    incident.ring.0.write("plain", "content");
    let seal = [
        "seal", "--kek", &uri, "--log", "used", "--actor", "frank", "-o", "x.wax", "plain",
    ];
    let run = incident.ring.run(&seal);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let review = incident.review(&["--log", "used"]);
    assert_eq!(
        count(&review["kek_alone"]["counts"], "generate", "success", "frank"),
        1
    );
    assert_eq!(total(&review["kek_alone"]["counts"]), 1);
    assert_eq!(
        (total(&review["counts"]), &review["last_use"]["record"]),
        (4, &2.into())
    );
    let undecided = review["releases"]["undecided"]["events"].as_array().unwrap();
    assert_eq!(undecided.len(), 1);
    assert_eq!(
        (
            &undecided[0]["why"],
            &undecided[0]["actor"],
            &undecided[0]["record"]
        ),
        (&"kek_alone".into(), &"frank".into(), &4.into())
    );
    let text = incident.markdown(&["--log", "used"]);
    assert!(text.contains("Cannot be decided by revisions: 1."), "{text}");
}

#[test]
fn a_rewrap_out_of_a_revoked_key_without_a_ring_is_not_lost() {
    let incident = Incident::over();
    let uri = text(&incident.ring.json(&["keys", "show", &incident.key])["key"]["uri"]);
    incident
        .ring
        .0
        .command(&["keygen", "-o", "other.key"])
        .status()
        .unwrap();
    let other = format!("file:{}", incident.ring.0.path("other.key").display());
    let rewrap = [
        "rewrap", "--to", &other, "--kek", &uri, "--log", "used", "--actor", "frank",
    ];
    let run = incident
        .ring
        .run(&[&rewrap[..], &CONTEXT, &["-o", "stolen.wax", "a.wax"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let review = incident.review(&["--log", "used"]);
    let undecided = review["releases"]["undecided"]["events"].as_array().unwrap();
    let undecided: Vec<_> = undecided
        .iter()
        .map(|event| (text(&event["why"]), text(&event["action"]), text(&event["actor"])))
        .collect();
    let expected = ("kek_alone", "rewrap", "frank");
    assert_eq!(
        undecided,
        [(
            expected.0.to_owned(),
            expected.1.to_owned(),
            expected.2.to_owned()
        )]
    );
}

#[test]
fn what_an_older_copy_of_the_ring_allows_after_the_log_knew_better_is_not_allowed() {
    let incident = Incident::begun();
    let tool = &incident.ring.0;
    fs::copy(tool.path("ring.db"), tool.path("old.db")).unwrap();
    incident.revoke();
    assert_eq!(incident.open("a.wax", "used", "mallory").code, 13);
    let ring = fs::read_to_string(tool.path("ring.toml")).unwrap();
    let ring = ring.replace("ring.db", "old.db").replace("mark = ", "# mark = ");
    tool.write("old.toml", ring);
    let open = [
        "open", "--ring", "old.toml", "--log", "used", "--actor", "mallory",
    ];
    let run = incident.ring.run(&[&open[..], &CONTEXT, &["a.wax"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let review = incident.review(&BOTH);
    let releases = &review["releases"];
    assert_eq!(releases["at_or_after"]["events"], Value::Array(Vec::new()));
    let undecided = releases["undecided"]["events"].as_array().unwrap();
    let undecided: Vec<_> = undecided
        .iter()
        .map(|event| (text(&event["why"]), text(&event["actor"])))
        .collect();
    assert_eq!(undecided, [("older_than_log".to_owned(), "mallory".to_owned())]);
}

#[cfg(unix)]
#[test]
fn a_change_between_the_ring_and_the_logs_is_no_finding() {
    let incident = Incident::begun();
    let checkpoint = incident.ring.0.path("used").join("checkpoint");
    let kept = fs::read(&checkpoint).unwrap();
    fs::remove_file(&checkpoint).unwrap();
    incident.ring.0.shell("mkfifo used/checkpoint");
    // The change of the ring makes this log.
    let arguments = incident.arguments(&["--log", "used", "--log", "admin", "--json"]);
    let review = incident.ring.0.command(&arguments).spawn().unwrap();
    // Opens when the review reads its first log, after it has read the ring.
    let mut pipe = fs::OpenOptions::new().write(true).open(&checkpoint).unwrap();
    incident
        .ring
        .json(&["ring", "set", "--max-stale", "PT20S", "--log", "admin"]);
    fs::remove_file(&checkpoint).unwrap();
    fs::write(&checkpoint, &kept).unwrap();
    std::io::Write::write_all(&mut pipe, &kept).unwrap();
    drop(pipe);
    let run = end(review, b"");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let review = of_json(&run.stdout);
    assert_eq!(review["findings"], Value::Array(Vec::new()));
    assert!(
        review["releases"]["newest_in_logs"].as_u64() > review["revision"].as_u64(),
        "{review}"
    );
}

#[test]
fn what_a_branch_key_does_is_done_under_its_parent() {
    let (ring, parent) = Ring::of_branches(&[]);
    let branch = ring.branch("tenant/acme");
    let incident = Incident { ring, key: parent };
    incident.seal("a.wax", "used", "alice");
    assert_eq!(incident.open("a.wax", "used", "bob").code, 0);
    let part = |review: &Value, part: &str, action: &str| {
        let rows = review["counts"].as_array().unwrap().iter();
        let rows = rows.filter(|row| row["part"] == part && row["action"] == action);
        rows.map(|row| row["events"].as_u64().unwrap()).sum::<u64>()
    };
    let review = incident.review(&["--log", "used"]);
    assert_eq!(part(&review, "branch", "generate"), 1);
    assert_eq!(part(&review, "branch", "unwrap"), 1);
    // Each process has unwrapped the branch key once.
    assert_eq!(part(&review, "used", "unwrap"), 2);
    incident.revoke();
    assert_eq!(incident.open("a.wax", "used", "mallory").code, 13);
    let review = incident.review(&BOTH);
    assert_eq!(
        review["releases"]["at_or_after"]["events"],
        Value::Array(Vec::new())
    );
    assert_eq!(review["releases"]["looked_at"], 4);
    // The branch key is out of use with its parent.
    let of_branch = Incident {
        key: branch,
        ..incident
    };
    let review = of_branch.review(&BOTH);
    let parents = review["key"]["branch"]["parent"].clone();
    assert_eq!(review["releases"]["revoked_key"], parents);
    assert_eq!(part(&review, "used", "generate"), 1);
    assert_eq!(count(&review["counts"], "unwrap", "refused", "mallory"), 1);
    assert_eq!(review["releases"]["looked_at"], 2);
}

#[test]
fn a_branch_key_of_a_shredded_tenant_is_reviewed_and_no_approval_is_issued_for_it() {
    let (ring, _) = Ring::of_branches(&["--cooling-off", "PT0S"]);
    let key = ring.branch("tenant/acme");
    let incident = Incident { ring, key };
    let ring = &incident.ring;
    incident.seal("a.wax", "used", "alice");
    let made = ring.json(&["ring", "approver-key", "carol.key"]);
    ring.json(&["ring", "set", "--approver", &text(&made["approver"])]);
    let shred = [
        "keys",
        "shred",
        "--scope",
        "tenant/acme",
        "--ticket",
        "T",
        "--reason",
        "x",
    ];
    ring.json(&[&shred[..], &["--yes"]].concat());
    let approve = [
        "ring",
        "approve",
        "--key",
        &incident.key,
        "--ticket",
        "T",
        "--expires",
        "PT1H",
    ];
    let approve = [&approve[..], &["--signer", "carol.key", "-o", "approval.json"]].concat();
    let said = ring.fails(8, &approve);
    assert!(said.contains("the scope tenant/acme was shredded"), "{said}");
    ring.json(&["keys", "tick"]);
    let said = ring.fails(8, &approve);
    assert!(said.contains("is destroyed, and no approval helps"), "{said}");
    assert!(!ring.0.path("approval.json").exists());
    let review = incident.review(&["--log", "used"]);
    assert_eq!(review["key"]["state"], "destroyed");
    assert_eq!(count(&review["counts"], "generate", "success", "alice"), 1);
    assert_eq!(ring.json(&["ring", "check"])["good"], true);
}

/// A sink that loses some of what it is given: without a word, or as a disk that is full.
#[derive(Debug)]
struct Losing {
    log: Log,
    seen: AtomicU32,
    loses: u32,
    says_so: bool,
}

#[async_trait::async_trait]
impl Sink for Losing {
    async fn keep(&self, events: &[Arc<Event>]) -> waxseal::Result<()> {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        match (seen == self.loses, self.says_so) {
            (true, true) => Err(waxseal::Error::new(waxseal::ErrorKind::Audit)),
            (true, false) => Ok(()),
            (false, _) => self.log.keep(events).await,
        }
    }

    async fn flush(&self) -> waxseal::Result<()> {
        self.log.flush().await
    }
}

/// Seals four values one after the other, of which the sink loses the third.
fn losing(path: &Path, says_so: bool) {
    let sink = Losing {
        log: Log::open(path).unwrap(),
        seen: AtomicU32::new(0),
        loses: 2,
        says_so,
    };
    let auditor = Auditor::builder().required(sink).build().unwrap();
    let key = LocalKey::new(&Kek::generate().unwrap());
    let sealer = Sealer::builder()
        .wrap_with(key)
        .audit(auditor.clone())
        .build()
        .unwrap();
    pollster::block_on(async {
        for _ in 0..4 {
            let _ = sealer.seal(b"hello", &EncryptionContext::empty()).await;
        }
        auditor.close().await.unwrap();
    });
}

#[test]
fn a_gap_is_told_and_a_hole_is_a_finding() {
    let incident = Incident::over();
    losing(&incident.ring.0.path("gap"), true);
    let review = incident.review(&[&BOTH[..], &["--log", "gap"]].concat());
    assert_eq!(
        (&review["lost"], &review["gaps"]["events"][0]["lost"]),
        (&1.into(), &1.into())
    );
    assert_eq!(review["holes"]["events"], Value::Array(Vec::new()));
    assert_eq!(
        incident.review(&[&BOTH[..], &["--log", "gap", "--to", "2020-01-01"]].concat())["lost"],
        0
    );

    losing(&incident.ring.0.path("hole"), false);
    let (review, said) = incident.review_finds(&["--log", "hole"]);
    let holes = review["holes"]["events"].as_array().unwrap();
    assert_eq!(holes.len(), 1);
    assert_eq!(
        (
            &holes[0]["what"],
            &holes[0]["record"],
            &holes[0]["number"],
            &holes[0]["missing"]
        ),
        (&"hole".into(), &2.into(), &2.into(), &1.into())
    );
    // The log itself is what was signed.
    assert_eq!(
        (&review["logs"][0]["sound"], &review["lost"]),
        (&true.into(), &0.into())
    );
    assert!(said.contains("missing, or out of order, at 1 place"), "{said}");
}

#[test]
fn what_was_begun_and_not_ended_and_what_no_checkpoint_covers_is_named() {
    let incident = Incident::over();
    // The journal of a log whose writer was killed is all that there is of it.
    let ring_id = text(&incident.ring.json(&["ring", "status"])["ring"]);
    let log = Log::open(incident.ring.0.path("job")).unwrap();
    let auditor = Auditor::builder().required(log).build().unwrap();
    let operation = waxseal::ring::Operation::Census;
    let job = pollster::block_on(auditor.begin(
        operation,
        ring_id.parse::<waxseal::ring::RecordId>().unwrap(),
        "grace",
    ))
    .unwrap();
    copy(&incident.ring.0.path("job"), &incident.ring.0.path("killed"));
    pollster::block_on(job.end(true)).unwrap();
    pollster::block_on(auditor.close()).unwrap();
    let review = incident.review(&["--log", "killed"]);
    let intents = review["intents"]["events"].as_array().unwrap();
    assert_eq!(intents.len(), 1);
    assert_eq!(
        (
            &intents[0]["action"],
            &intents[0]["actor"],
            &intents[0]["names_key"]
        ),
        (&"ring.census".into(), &"grace".into(), &false.into())
    );
    assert_eq!(
        (&intents[0]["covered"], &review["logs"][0]["uncovered"]),
        (&false.into(), &1.into())
    );
    let text = incident.markdown(&["--log", "killed"]);
    assert!(
        text.contains("1 record of killed in no checkpoint yet: nothing proves them."),
        "{text}"
    );
    let ended = incident.review(&["--log", "job"]);
    assert_eq!(ended["intents"]["events"], Value::Array(Vec::new()));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}
