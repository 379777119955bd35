//! `ring`, `keys`, `census` and `--ring`, as a person uses them.

mod administration;
pub(crate) mod aged;
mod approvals;
#[cfg(feature = "audit")]
mod audited;
#[cfg(feature = "audit")]
mod audited_keys;
mod branches;
mod evidence;
mod exposed;
mod first_keys;
#[cfg(unix)]
mod gates;
mod init;
mod listings;
mod moves;
mod otherwise;
#[cfg(all(feature = "page", unix))]
mod page;
mod profiles;
mod receipts;
mod refused;
mod reports;
#[cfg(feature = "audit")]
mod review;
#[cfg(any(feature = "postgres", feature = "vault-transit"))]
mod servers;
mod shred;
mod simulate;

use std::fs;

use serde_json::Value;

use crate::tool::{KEY, Run, Tool, end};

const CONTEXT: [&str; 2] = ["--context", "tenant=acme"];

/// A directory with a ring.
struct Ring(Tool);

impl Ring {
    /// What is not made yet.
    fn none() -> Self {
        Self(Tool::new())
    }

    fn new() -> Self {
        let ring = Self::none();
        ring.json(&["ring", "init"]);
        ring
    }

    /// A ring with an active key file in the scope `/`.
    fn with_key() -> (Self, String) {
        let ring = Self::new();
        let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
        assert_eq!(made["moves"][0]["to"], "active", "{made}");
        let id = text(&made["moves"][0]["key"]);
        (ring, id)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.0.run_with(&[("WAXSEAL_ACTOR", "tests")], arguments, b"")
    }

    /// Runs a command, which must succeed, and returns its JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        of_json(&run.stdout)
    }

    fn tick(&self) -> Run {
        end(self.0.command(&["keys", "tick", "--json"]).spawn().unwrap(), b"")
    }

    /// Runs a command, which must end with this code after it has printed its JSON.
    fn json_and(&self, code: i32, arguments: &[&str]) -> (Value, String) {
        let run = end(
            self.0
                .command(&[arguments, &["--json"]].concat())
                .spawn()
                .unwrap(),
            b"",
        );
        assert_eq!(run.code, code, "{arguments:?}: {}", run.stderr);
        assert_eq!(of_json(run.stderr.as_bytes())["error"]["exit_code"], code);
        (of_json(&run.stdout), run.stderr)
    }

    /// Runs a command, which must fail with this code, and returns what it says.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}: {}", run.stderr);
        run.stderr
    }

    fn state_of(&self, id: &str) -> String {
        text(&self.json(&["keys", "show", id])["key"]["state"])
    }

    fn seal(&self, name: &str, content: &str) {
        self.0.write("plain", content);
        let arguments = [
            &["seal", "--ring", "ring.toml"],
            &CONTEXT[..],
            &["-o", name, "plain"],
        ];
        assert_eq!(self.run(&arguments.concat()).code, 0);
    }

    fn open(&self, name: &str) -> Run {
        self.run(&[&["open", "--ring", "ring.toml"], &CONTEXT[..], &[name]].concat())
    }

    /// Counts what is in `data`, and retires the key with the receipt.
    fn retire(&self, id: &str) {
        self.json(&["census", "data", "--receipt", "receipt.json"]);
        let run = self.run(&["keys", "retire", id, "--receipt", "receipt.json"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
}

fn of_json(bytes: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(value["schema"], 1, "{value}");
    value
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn fields(value: &Value) -> Vec<String> {
    let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

#[test]
fn a_newcomers_day() {
    let (ring, first) = Ring::with_key();
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.seal("data/a.wax", "alice");
    ring.seal("data/b.wax", "bob");
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");

    let rotated = ring.json(&["keys", "rotate", &first, "--reason", "the first rotation"]);
    let second = text(&rotated["rotated"][0]["key"]);
    assert_eq!(rotated["rotated"][0]["state"], "active", "{rotated}");
    assert_eq!(
        (ring.state_of(&first), ring.state_of(&second)),
        ("deprecated".into(), "active".into())
    );
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");

    // A census says what would be lost, and nothing is retired with that.
    let census = ring.json(&["census", "data", "--receipt", "receipt.json"]);
    assert_eq!((&census["items"], &census["whole"]), (&2.into(), &true.into()));
    let said = ring.fails(8, &["keys", "retire", &first, "--receipt", "receipt.json"]);
    assert!(said.contains("overlap"), "{said}");

    for name in ["data/a.wax", "data/b.wax"] {
        let rewrap = ["rewrap", "--ring", "ring.toml", "--quiet", "-o", name, name];
        assert_eq!(ring.run(&[&rewrap[..], &CONTEXT].concat()).code, 0);
    }
    // Somebody takes the blame for the overlap; the evidence is needed for destroying all the same.
    let force = [
        "keys",
        "retire",
        &first,
        "--force",
        "--reason",
        "no reader had it",
        "--yes",
    ];
    assert_eq!(ring.run(&force).code, 0);
    assert_eq!(ring.open("data/b.wax").stdout, b"bob");

    aged::age(ring.0.folder());
    let destroy = ["keys", "destroy", &first, "--receipt", "receipt.json", "--yes"];
    let said = ring.fails(8, &destroy);
    assert!(said.contains("the census"), "{said}");
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    assert_eq!(ring.run(&destroy).code, 0);
    assert_eq!(ring.open("data/a.wax").stdout, b"alice");
    assert_eq!(ring.state_of(&first), "destroying");
    let said = ring.fails(
        8,
        &[
            "keys", "destroy", &first, "--attest", "--reason", "shredded", "--yes",
        ],
    );
    assert!(said.contains("is not to be destroyed before"), "{said}");
    let cancel = ["keys", "destroy", &first, "--cancel", "--reason", "not yet"];
    assert_eq!(ring.run(&cancel).code, 0);
    assert_eq!(ring.state_of(&first), "retired");
    assert!(ring.json(&["ring", "check"])["good"].as_bool().unwrap());

    // The history names who, why and the evidence.
    let history = ring.json(&["keys", "show", &first])["key"]["history"].clone();
    let moves: Vec<String> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| text(&entry["to"]))
        .collect();
    assert_eq!(moves.last().map(String::as_str), Some("retired"), "{history}");
    assert!(moves.contains(&"destroying".to_owned()), "{history}");
    assert!(
        history
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| entry["actor"] == "tests"),
        "{history}"
    );
    assert!(
        history
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["evidence"].is_string()),
        "{history}"
    );
}

#[test]
fn staged_canary_promoted_and_reinstated() {
    let (ring, first) = Ring::with_key();
    let rotated = ring.json(&["keys", "rotate", "--scope", "/", "--stage", "--reason", "test"]);
    let second = text(&rotated["rotated"][0]["key"]);
    assert_eq!(ring.state_of(&second), "pending");
    assert_eq!(ring.run(&["keys", "promote", &second]).code, 0);
    assert_eq!(ring.state_of(&first), "deprecated");
    assert_eq!(
        ring.run(&["keys", "reinstate", &first, "--reason", "the new one is slow"])
            .code,
        0
    );
    assert_eq!(
        (ring.state_of(&first), ring.state_of(&second)),
        ("active".into(), "deprecated".into())
    );
    let rotated = ring.json(&["keys", "rotate", &first, "--canary", "100%", "--reason", "test"]);
    let third = text(&rotated["rotated"][0]["key"]);
    let shown = ring.json(&["keys", "show", &third]);
    assert_eq!(
        (&shown["key"]["state"], &shown["key"]["canary"]["percent"]),
        (&"pending".into(), &100.into())
    );
    ring.seal("a.wax", "alice");
    assert_eq!(ring.open("a.wax").stdout, b"alice");
    // The canary has wrapped it.
    let census = ring.json(&["census", "a.wax", "--receipt", "r.json"]);
    let keys = census["keys"].as_array().unwrap();
    let count = keys.iter().find(|count| count["key"] == third.as_str()).unwrap();
    assert_eq!((&count["items"], &count["sole"]), (&1.into(), &1.into()));
}

#[test]
fn an_existing_key_is_adopted_and_what_was_sealed_before_opens() {
    let ring = Ring::none();
    ring.0.write("plain", "alice");
    let seal = [
        &["seal", "--kek", "env:K"],
        &CONTEXT[..],
        &["-o", "old.wax", "plain"],
    ]
    .concat();
    assert_eq!(ring.run(&seal).code, 0);
    let made = ring.json(&["ring", "init", "--adopt", "env:K"]);
    assert_eq!(made["adopted"].as_array().unwrap().len(), 1);
    assert_eq!(ring.open("old.wax").stdout, b"alice");
    let status = ring.json(&["ring", "status"]);
    assert_eq!(status["keys"]["active"], 1);
    // Another one, older, by hand: a variable that the configuration does not let a record name is refused.
    let said = ring.fails(
        4,
        &[
            "keys",
            "adopt",
            "--kek",
            "env:NEW",
            "--scope",
            "/",
            "--state",
            "deprecated",
        ],
    );
    assert!(said.contains("may not be named"), "{said}");
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    ring.0
        .write("ring.toml", config.replace("\"env:K\"", "\"env:K\", \"env:NEW\""));
    let adopted = ring.json(&[
        "keys",
        "adopt",
        "--kek",
        "env:NEW",
        "--scope",
        "/",
        "--state",
        "deprecated",
    ]);
    assert_eq!(adopted["moves"][0]["to"], "deprecated");
    // With the variable, without the option.
    let run = ring.0.run_with(
        &[("WAXSEAL_RING", "ring.toml")],
        &[&["open"], &CONTEXT[..], &["old.wax"]].concat(),
        b"",
    );
    assert_eq!(run.stdout, b"alice");
    let run = ring.run(&["doctor", "--ring", "ring.toml", "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!String::from_utf8(run.stdout).unwrap().contains(KEY));
}

#[test]
fn what_is_under_a_retired_key_has_an_exit_code_and_a_way_back() {
    let (ring, first) = Ring::with_key();
    ring.seal("a.wax", "alice");
    ring.json(&["keys", "rotate", &first, "--reason", "test"]);
    ring.json(&["keys", "retire", &first, "--force", "--reason", "test", "--yes"]);
    let run = ring.open("a.wax");
    assert_eq!(run.code, 12, "{}", run.stderr);
    ring.json(&["keys", "reinstate", &first, "--reason", "something was under it"]);
    assert_eq!(ring.state_of(&first), "deprecated");
    assert_eq!(ring.open("a.wax").stdout, b"alice");
}
