//! First keys that nobody believes, and a provisioner that is removed because its key was stolen.

use super::evidence::{READER, python};
use super::*;

/// Adds rows of other scopes to the inventory, as whoever may insert there can: copies of the first key of this scope.
const INSERT: &str = r#"
import sqlite3, sys
name, of, *scopes = sys.argv[1:]
base = sqlite3.connect(name)
base.row_factory = sqlite3.Row
# Older versions of SQLite do not have it.
length = lambda value: None if value is None else len(value.encode() if isinstance(value, str) else value)
base.create_function("octet_length", 1, length, deterministic=True)
row = dict(base.execute("select * from waxseal_provisioned where scope = ?", (of,)).fetchone())
for number, scope in enumerate(scopes):
    row["scope"], row["id"] = scope, row["id"][:-2] + "%02x" % number
    columns = ", ".join(row)
    marks = ", ".join("?" for _ in row)
    base.execute(f"insert into waxseal_provisioned ({columns}) values ({marks})", tuple(row.values()))
base.commit()
"#;

/// A ring with a provisioner, and one tenant with a first key.
fn with_first_key() -> (Ring, String) {
    let (ring, _) = Ring::of_branches(&[]);
    let public = text(&ring.json(&["ring", "provisioner-key", "provisioner.key"])["provisioner"]);
    ring.json(&[
        "ring",
        "set",
        "--provision",
        "on-first-use",
        "--provisioner",
        &public,
    ]);
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    let config = config.replace("schema = 1", "schema = 1\nprovisioner-key = \"provisioner.key\"");
    ring.0.write("ring.toml", config);
    assert_eq!(ring.seal_for("acme", "data/a.wax").code, 0);
    (ring, public)
}

/// The same, and two rows that nobody believes. `None` if there is no Python.
fn with_junk() -> Option<(Ring, String)> {
    let python = python()?;
    let (ring, public) = with_first_key();
    let base = ring.0.path("ring.db");
    let arguments = [
        "-c",
        INSERT,
        base.to_str().unwrap(),
        "tenant/acme",
        "tenant/one",
        "tenant/two",
    ];
    let inserted = python(&arguments, b"");
    assert_eq!(inserted.code, 0, "{}", inserted.stderr);
    Some((ring, public))
}

impl Ring {
    pub(super) fn seal_for(&self, tenant: &str, to: &str) -> Run {
        let context = format!("tenant={tenant}");
        self.run(&[
            "seal",
            "--ring",
            "ring.toml",
            "--context",
            &context,
            "-o",
            to,
            "plain",
        ])
    }
}

#[test]
fn rows_that_nobody_believes_are_named_saved_and_deleted() {
    let Some((ring, _)) = with_junk() else { return };
    // Their scopes are blocked, and no other.
    let said = ring.seal_for("one", "data/one.wax");
    assert_eq!(said.code, 10, "{}", said.stderr);
    assert!(said.stderr.contains("drop-unbelieved"), "{}", said.stderr);
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");
    let check = ring.run(&["ring", "check"]);
    assert_eq!(check.code, 10);
    let check = String::from_utf8(check.stdout).unwrap();
    assert!(
        check.contains("tenant/one") && check.contains("tenant/two"),
        "{check}"
    );
    let export = ring.run(&["ring", "export", "export.json"]);
    assert_eq!(export.code, 0);
    assert!(export.stderr.contains("of 2 scopes"), "{}", export.stderr);
    let dropped = ring.json(&[
        "ring",
        "drop-unbelieved",
        "--save",
        "one.jsonl",
        "--scope",
        "tenant/one",
        "--yes",
    ]);
    assert_eq!(
        (&dropped["dropped"], &dropped["undecided"]),
        (&1.into(), &serde_json::json!([]))
    );
    let saved = fs::read_to_string(ring.0.path("one.jsonl")).unwrap();
    let saved: Value = serde_json::from_str(saved.trim_end()).unwrap();
    assert_eq!(saved["scope"], "tenant/one");
    let said = ring.fails(8, &["ring", "drop-unbelieved", "--save", "one.jsonl", "--yes"]);
    assert!(said.contains("one.jsonl"), "{said}");
    let dropped = ring.json(&["ring", "drop-unbelieved", "--save", "two.jsonl", "--yes"]);
    assert_eq!(dropped["dropped"], 1);
    for tenant in ["one", "two"] {
        let sealed = ring.seal_for(tenant, &format!("data/{tenant}.wax"));
        assert_eq!(sealed.code, 0, "{}", sealed.stderr);
    }
    assert_eq!(ring.json(&["ring", "check"])["good"], true);
}

#[test]
fn a_provisioner_whose_key_was_stolen_is_removed() {
    let Some((ring, public)) = with_junk() else {
        return;
    };
    let remove = [
        "ring",
        "set",
        "--remove-provisioner",
        &public,
        "--give-up-later-keys",
    ];
    let said = ring.fails(8, &remove);
    assert!(said.contains("--provision never"), "{said}");
    let said = ring.fails(2, &["ring", "set", "--give-up-later-keys"]);
    assert!(said.contains("--remove-provisioner"), "{said}");
    ring.json(&["ring", "set", "--provision", "never"]);
    let set = ring.json(&remove);
    assert_eq!(
        (&set["settings"]["provision"], &set["given_up"]),
        (&Value::Null, &0.into())
    );
    // What was made before was taken over.
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");
    ring.json(&["ring", "drop-unbelieved", "--save", "rows.jsonl", "--yes"]);
    let check = ring.json(&["ring", "check"]);
    assert_eq!((&check["provisioned"], &check["good"]), (&0.into(), &true.into()));
}

#[test]
fn an_export_with_first_keys_verifies_from_the_specification_alone() {
    let Some(python) = python() else { return };
    let (ring, _) = with_first_key();
    ring.json(&["ring", "export", "export.json"]);
    let status = ring.json(&["ring", "status"]);
    let verify = |export: &Value| {
        let arguments = [READER, &text(&status["ring"]), &text(&status["authority"])];
        python(&arguments, export.to_string().as_bytes())
    };
    let export: Value = serde_json::from_slice(&ring.0.read("export.json")).unwrap();
    let id = text(&export["provisioned"][0]["id"]);
    let run = verify(&export);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines = String::from_utf8(run.stdout).unwrap();
    assert!(
        lines.contains(&format!("{id} tenant/acme default active")),
        "{lines}"
    );
    let mut changed = export.clone();
    let body = text(&changed["provisioned"][0]["signed"]["body"]);
    changed["provisioned"][0]["signed"]["body"] = body.replacen("P90D", "P99D", 1).into();
    let run = verify(&changed);
    assert_eq!(run.code, 1, "{}", String::from_utf8_lossy(&run.stdout));
}

#[test]
fn settings_without_effect_are_warned_of() {
    let (ring, _) = with_first_key();
    let other = text(&ring.json(&["ring", "provisioner-key", "other.key"])["provisioner"]);
    let set = |more: &[&str]| {
        let run = ring.run(&[&["ring", "set"], more].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stderr
    };
    for good in [["--cadence", "P30D"], ["--provision", "never"]] {
        assert_eq!(set(&good), "");
    }
    assert!(set(&["--provisioner", &other]).contains("--provision on-first-use"));
    assert_eq!(set(&["--preset", "baseline-prod"]), "");
    assert!(set(&["--cadence", "P20D"]).contains("--preset none"));
    assert!(set(&["--otherwise", "/"]).contains("does not seal"));
}
