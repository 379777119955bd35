//! `ring`, `keys`, `census` and `--ring`, as a person uses them.

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

    /// A key can be let go of without waiting for minutes.
    fn hurry(&self) {
        self.json(&[
            "ring",
            "set",
            "--max-stale",
            "PT0.01S",
            "--max-stale-open",
            "PT0.01S",
            "--lease-age",
            "PT0.01S",
        ]);
    }

    /// Processes are given time to read the inventory again.
    fn no_hurry(&self) {
        self.json(&["ring", "set", "--max-stale", "PT60S", "--max-stale-open", "PT60S"]);
    }

    /// Counts what is in `data`, until the receipt counts for retiring the key.
    fn retire(&self, id: &str) {
        for _ in 0..200 {
            self.json(&["census", "data", "--receipt", "receipt.json"]);
            let run = self.run(&["keys", "retire", id, "--receipt", "receipt.json"]);
            if run.code == 0 {
                return;
            }
            assert!(run.stderr.contains("the census began"), "{}", run.stderr);
        }
        panic!("no census counted");
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

    ring.hurry();
    let destroy = ["keys", "destroy", &first, "--receipt", "receipt.json", "--yes"];
    let said = ring.fails(8, &destroy);
    assert!(said.contains("2 items would become unreadable"), "{said}");
    for _ in 0..200 {
        ring.json(&["census", "data", "--receipt", "receipt.json"]);
        let run = ring.run(&destroy);
        if run.code == 0 {
            break;
        }
        assert!(run.stderr.contains("the census began"), "{}", run.stderr);
    }
    ring.no_hurry();
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
fn a_key_without_overlap_is_retired_with_a_receipt_and_destroyed_for_good() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--overlap", "PT0S", "--cooling-off", "PT0S"]);
    let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.seal("data/a.wax", "alice");
    ring.json(&["keys", "rotate", "--scope", "/", "--reason", "test"]);
    ring.hurry();
    // What is still under it is named, with where it was seen.
    let mut said = String::new();
    for _ in 0..200 {
        ring.json(&["census", "data", "--receipt", "receipt.json"]);
        said = ring.fails(8, &["keys", "retire", &first, "--receipt", "receipt.json"]);
        if !said.contains("the census began") {
            break;
        }
    }
    assert!(said.contains("1 item would become unreadable"), "{said}");
    assert!(said.contains("a.wax"), "{said}");
    fs::remove_file(ring.0.path("data/a.wax")).unwrap();
    ring.retire(&first);
    assert_eq!(ring.state_of(&first), "retired");
    let destroy = ["keys", "destroy", &first, "--receipt", "receipt.json", "--yes"];
    assert_eq!(ring.run(&destroy).code, 0);
    let attest = [
        "keys",
        "destroy",
        &first,
        "--attest",
        "--reason",
        "the file is shredded",
        "--yes",
    ];
    assert_eq!(ring.run(&attest).code, 0);
    assert_eq!(ring.state_of(&first), "destroyed");
}

#[test]
fn listings_have_the_documented_fields() {
    let (ring, id) = Ring::with_key();
    let list = ring.json(&["keys", "list"]);
    assert_eq!(fields(&list), ["keys", "schema"]);
    let key = &list["keys"][0];
    let expected = [
        "activated",
        "algorithm",
        "class",
        "created",
        "id",
        "kek",
        "labels",
        "next_rotation",
        "predecessor",
        "protection",
        "retirement_due",
        "scope",
        "slot",
        "state",
        "successor",
    ];
    assert_eq!(fields(key), expected);
    assert_eq!(fields(&key["kek"]), ["id", "provider", "version"]);
    assert_eq!(key["id"], id);
    assert_eq!(
        (&key["scope"], &key["slot"], &key["state"]),
        (&"/".into(), &"default".into(), &"active".into())
    );
    assert_eq!(
        (&key["class"], &key["kek"]["provider"]),
        (&"symmetric".into(), &"local".into())
    );
    for time in ["created", "activated", "next_rotation"] {
        text(&key[time]).parse::<waxseal::ring::Time>().unwrap();
    }
    assert_eq!(
        ring.json(&["keys", "list", "--scope", "/", "--state", "active"])["keys"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for none in [["--state", "retired"], ["--scope", "tenant/x"]] {
        assert!(
            ring.json(&[&["keys", "list"], &none[..]].concat())["keys"]
                .as_array()
                .unwrap()
                .is_empty()
        );
    }
    let shown = ring.json(&["keys", "show", &id]);
    assert!(text(&shown["key"]["uri"]).starts_with("file:/"));
    assert_eq!(shown["key"]["nist"], "active");

    let status = ring.json(&["ring", "status"]);
    assert_eq!(
        (&status["keys"]["active"], &status["settings"]["cadence"]),
        (&1.into(), &"P90D".into())
    );
    assert_eq!(status["next"], key["next_rotation"]);
    let check = ring.json(&["ring", "check"]);
    assert_eq!(
        fields(&check),
        [
            "authority",
            "findings",
            "good",
            "keys",
            "mark",
            "revision",
            "schema",
            "scopes"
        ]
    );

    // The tables say the same.
    let run = ring.run(&["keys", "list"]);
    let table = String::from_utf8(run.stdout).unwrap();
    assert!(
        table.starts_with("KEY") && table.contains(&id) && table.contains("active"),
        "{table}"
    );
    for arguments in [
        &["keys", "show", &id][..],
        &["ring", "status"],
        &["ring", "check"],
    ] {
        let run = ring.run(arguments);
        assert_eq!(run.code, 0);
        assert!(!run.stdout.is_empty());
    }
}

#[test]
fn a_tick_does_what_is_due_and_says_so_by_its_exit_code() {
    let (ring, id) = Ring::with_key();
    let said = ring.fails(11, &["keys", "tick"]);
    assert!(said.contains("nothing is due before "), "{said}");
    let (tick, _) = ring.json_and(11, &["keys", "tick"]);
    assert_eq!(fields(&tick), ["done", "next", "orphans", "refused", "schema"]);

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
    ring.hurry();
    let mut run = ring.run(&["keys", "tick"]);
    for _ in 0..200 {
        ring.json(&["census", "data", "--receipt", "receipt.json"]);
        run = end(
            ring.0
                .command(&["keys", "tick", "--receipt", "receipt.json", "--json"])
                .spawn()
                .unwrap(),
            b"",
        );
        if run.code == 0 {
            break;
        }
    }
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
fn nothing_is_overwritten_and_an_interrupted_init_goes_on() {
    let ring = Ring::new();
    let said = ring.fails(8, &["ring", "init"]);
    assert!(said.contains("never overwritten"), "{said}");
    let before = ring.json(&["ring", "status"]);
    // As if the run had ended before the configuration was written.
    fs::remove_file(ring.0.path("ring.toml")).unwrap();
    let again = ring.json(&["ring", "init"]);
    assert_eq!(again["ring"], before["ring"]);
    assert_eq!(again["authority"], before["authority"]);
    // With another authority it is somebody else's ring.
    fs::remove_file(ring.0.path("ring.toml")).unwrap();
    fs::remove_file(ring.0.path("ring.authority")).unwrap();
    let said = ring.fails(8, &["ring", "init"]);
    assert!(said.contains("another authority"), "{said}");
}

#[test]
fn an_export_fills_another_inventory_and_an_older_one_is_refused() {
    let (ring, id) = Ring::with_key();
    ring.seal("a.wax", "alice");
    ring.json(&["ring", "export", "old.json"]);
    ring.json(&["keys", "rotate", &id, "--reason", "test"]);
    let exported = ring.json(&["ring", "export", "new.json"]);
    assert!(text(&exported["mark"]).contains(':'));
    let said = ring.fails(2, &["ring", "import", "new.json"]);
    assert!(said.contains("--yes"), "{said}");
    let said = ring.fails(6, &["ring", "import", "new.json", "--yes"]);
    assert!(!said.is_empty());
    fs::remove_file(ring.0.path("ring.db")).unwrap();
    // The mark file has seen a newer one.
    let said = ring.fails(10, &["ring", "import", "old.json", "--yes"]);
    assert!(said.contains("older state"), "{said}");
    ring.json(&["ring", "import", "new.json", "--yes"]);
    assert_eq!(ring.open("a.wax").stdout, b"alice");
    assert!(ring.json(&["ring", "check"])["good"].as_bool().unwrap());
}

#[test]
fn an_authority_follows_and_the_old_private_half_is_gone() {
    let (ring, id) = Ring::with_key();
    let before = fs::read(ring.0.path("ring.authority")).unwrap();
    let said = ring.fails(2, &["ring", "authority", "rotate"]);
    assert!(said.contains("--yes"), "{said}");
    let rotated = ring.json(&["ring", "authority", "rotate", "--yes"]);
    assert_ne!(rotated["previous"], rotated["authority"]);
    assert_ne!(fs::read(ring.0.path("ring.authority")).unwrap(), before);
    assert!(!ring.0.listing().contains(&"ring.authority.next".to_owned()));
    // Who trusts the old public key follows.
    ring.json(&["keys", "rotate", &id, "--reason", "test"]);
    let check = ring.json(&["ring", "check"]);
    assert!(
        check["findings"].to_string().contains("put that in its place"),
        "{check}"
    );
    // The old private half signs nothing anymore.
    ring.0.write_private("ring.authority", before);
    let said = ring.fails(4, &["keys", "rotate", "--scope", "/", "--reason", "test"]);
    assert!(said.contains("the ring's authority is"), "{said}");
}

#[test]
fn a_private_half_is_sealed_under_a_key() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--authority-kek", "env:K"]);
    let sealed = fs::read(ring.0.path("ring.authority")).unwrap();
    assert!(waxseal::Envelope::is_envelope(&sealed));
    ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let mut command = ring.0.command(&["keys", "tick"]);
    command.env_remove("K");
    assert_eq!(end(command.spawn().unwrap(), b"").code, 4);
}

#[test]
fn a_reader_needs_no_private_half_and_changes_nothing() {
    let (ring, id) = Ring::with_key();
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    let reader = config.split("# Only where keys").next().unwrap();
    ring.0.write("reader.toml", reader);
    fs::remove_file(ring.0.path("ring.authority")).unwrap();
    ring.0.write("plain", "alice");
    let with = ["--ring", "reader.toml"];
    let seal = [&["seal"], &with[..], &CONTEXT, &["-o", "a.wax", "plain"]].concat();
    assert_eq!(ring.run(&seal).code, 0);
    let open = [&["open"], &with[..], &CONTEXT, &["a.wax"]].concat();
    assert_eq!(ring.run(&open).stdout, b"alice");
    ring.json(&[&["keys", "list"], &with[..]].concat());
    let said = ring.fails(
        4,
        &[&["keys", "rotate", &id, "--reason", "x"], &with[..]].concat(),
    );
    assert!(said.contains("[administration]"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_census_counts_each_file_once_and_names_what_it_cannot_read() {
    let (ring, id) = Ring::with_key();
    fs::create_dir_all(ring.0.path("data/sub")).unwrap();
    ring.seal("data/sub/a.wax", "alice");
    ring.0.write("data/readme.txt", "no envelope");
    std::os::unix::fs::symlink("sub/a.wax", ring.0.path("data/link.wax")).unwrap();
    let census = ring.json(&["census", "data", "data/sub", "--receipt", "data/receipt.json"]);
    assert_eq!(
        (&census["items"], &census["foreign"]),
        (&1.into(), &1.into()),
        "{census}"
    );
    assert_eq!(census["keys"][0]["key"], id);
    assert_eq!(
        (&census["keys"][0]["items"], &census["keys"][0]["sole"]),
        (&1.into(), &1.into())
    );
    assert_eq!(census["not_covered"][0], "backups");
    // The receipt of the run before is no item.
    let again = ring.json(&["census", "data", "--receipt", "data/receipt.json"]);
    assert_eq!((&again["items"], &again["foreign"]), (&1.into(), &1.into()));
    let receipt: Value = serde_json::from_slice(&ring.0.read("data/receipt.json")).unwrap();
    assert_eq!(receipt["covers"][0]["kind"], "files");

    ring.seal("elsewhere.wax", "bob");
    std::os::unix::fs::symlink("../elsewhere.wax", ring.0.path("data/out.wax")).unwrap();
    let cut = ring.0.read("data/sub/a.wax");
    ring.0.write("data/cut.wax", &cut[..20]);
    let (_, said) = ring.json_and(10, &["census", "data", "--receipt", "receipt.json"]);
    assert!(said.contains("2 items could not be read"), "{said}");
    let receipt: Value = serde_json::from_slice(&ring.0.read("receipt.json")).unwrap();
    assert_eq!(receipt["whole"], false);
    assert_eq!(receipt["failed"].as_array().unwrap().len(), 2);
    assert_eq!(
        ring.fails(9, &["census", "nowhere", "--receipt", "r"])
            .lines()
            .count(),
        1
    );
}

#[test]
fn receipts_of_others_and_changed_ones_are_refused() {
    let (ring, id) = Ring::with_key();
    let (other, _) = Ring::with_key();
    fs::create_dir(other.0.path("data")).unwrap();
    other.json(&["census", "data", "--receipt", "receipt.json"]);
    ring.0.write("receipt.json", other.0.read("receipt.json"));
    let retire = ["keys", "retire", &id, "--receipt", "receipt.json"];
    let said = ring.fails(10, &retire);
    assert!(said.contains("is one of the ring"), "{said}");
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let receipt = String::from_utf8(ring.0.read("receipt.json")).unwrap();
    ring.0
        .write("receipt.json", receipt.replace("\"items\":0", "\"items\":1"));
    let said = ring.fails(10, &retire);
    assert!(said.contains("was changed"), "{said}");
    ring.0.write("receipt.json", "{}");
    ring.fails(1, &retire);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_done() {
    let (ring, id) = Ring::with_key();
    let wrong: &[&[&str]] = &[
        &["ring"],
        &["keys"],
        &["ring", "set"],
        &["ring", "set", "--max-stale", "60"],
        &["ring", "set", "--scope-template", "{"],
        &["ring", "set", "--census-key", "x"],
        &["ring", "set", "--preset", "x"],
        &["open", "--ring", "ring.toml", "--actor", "a\nb", "ring.toml"],
        &["ring", "init", "--store", "mysql:x", "--ring", "other.toml"],
        &["ring", "init", "--adopt", "nothing:x", "--ring", "other.toml"],
        &["keys", "create", "--scope", "/"],
        &["keys", "create", "--scope", "a//b", "--kek", "local"],
        &["keys", "create", "--scope", "/", "--kek", "file:relative"],
        &["keys", "create", "--scope", "/", "--kek", "local", "--label", "x"],
        &[
            "keys",
            "create",
            "--scope",
            "/",
            "--kek",
            "local",
            "--cadence",
            "90",
        ],
        &[
            "keys", "adopt", "--scope", "/", "--kek", "env:K", "--state", "retired",
        ],
        &["keys", "show", "x"],
        &["keys", "list", "--state", "gone"],
        &["keys", "rotate", "--reason", "x"],
        &["keys", "rotate", &id],
        &["keys", "rotate", &id, "--canary", "0%", "--reason", "x"],
        &["keys", "rotate", &id, "--canary", "a,b", "--reason", "x"],
        &[
            "keys", "rotate", &id, "--canary", "5%", "--stage", "--reason", "x",
        ],
        &["keys", "retire", &id],
        &["keys", "retire", &id, "--force"],
        &["keys", "retire", &id, "--force", "--reason", "x"],
        &["keys", "destroy", &id],
        &["keys", "destroy", &id, "--cancel"],
        &["keys", "tick", "--now", "2026-01-01T00:00:00Z"],
        &["keys", "tick", "--dry-run", "--now", "soon"],
        &["census", "--receipt", "r"],
        &["census", "data"],
        &["seal", "--ring", "ring.toml", "--kek", "env:K"],
        &["rewrap", "--ring", "ring.toml", "--to", "env:K"],
        &["keys", "list", "--actor"],
    ];
    for arguments in wrong {
        let run = ring.run(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{arguments:?}: {}", run.stderr);
    }
    assert_eq!(ring.state_of(&id), "active");
    ring.fails(4, &["ring", "status", "--ring", "none.toml"]);
    ring.0.write("bad.toml", "schema = 1\nstock = 2\n");
    let said = ring.fails(4, &["ring", "status", "--ring", "bad.toml"]);
    assert!(said.contains("bad.toml:2:1: unknown field `stock`"), "{said}");
    // Nobody made anything on the way.
    assert!(
        !ring.0.listing().iter().any(|name| name.starts_with("other")),
        "{:?}",
        ring.0.listing()
    );
}

#[test]
fn whoever_does_it_is_named_by_option_variable_or_login() {
    let ring = Ring::new();
    let actor = |arguments: &[&str], variables: &[(&str, &str)]| {
        let new = ["keys", "create", "--kek", "local", "--json", "--scope"];
        let run = ring.0.run_with(variables, &[&new[..], arguments].concat(), b"");
        assert_eq!(run.code, 0, "{}", run.stderr);
        let id = text(&of_json(&run.stdout)["moves"][0]["key"]);
        text(&ring.json(&["keys", "show", &id])["key"]["history"][0]["actor"])
    };
    let variable = [("WAXSEAL_ACTOR", "variable")];
    assert_eq!(actor(&["a", "--actor", "option"], &variable), "option");
    assert_eq!(actor(&["b"], &variable), "variable");
    let login = actor(&["c"], &[]);
    assert!(!login.is_empty() && login != "variable", "{login}");
}

#[test]
fn a_changed_record_is_named_and_seals_nothing() {
    let (ring, _) = Ring::with_key();
    ring.seal("a.wax", "alice");
    let path = ring.0.path("ring.db");
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"\"state\":\"active\"";
    let places: Vec<usize> = (0..bytes.len() - needle.len())
        .filter(|at| bytes[*at..].starts_with(needle))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + needle.len()].copy_from_slice(b"\"state\":\"Active\"");
    }
    fs::write(&path, bytes).unwrap();
    ring.0.write("plain", "x");
    let seal = [
        &["seal", "--ring", "ring.toml"],
        &CONTEXT[..],
        &["-o", "b.wax", "plain"],
    ]
    .concat();
    let said = ring.fails(10, &seal);
    assert!(said.contains("of scope /"), "{said}");
    let (check, _) = ring.json_and(10, &["ring", "check"]);
    assert_eq!(check["good"], false);
    assert!(
        check["findings"][0]["what"].as_str().unwrap().contains("changed"),
        "{check}"
    );
}

#[test]
fn every_object_has_the_documented_fields() {
    let documented = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md")).unwrap();
    // The names in the row of a command, in whatever depth.
    let of_docs = |command: &str| -> Vec<String> {
        let row = documented
            .lines()
            .find(|line| line.starts_with(&format!("| `{command}`")))
            .unwrap();
        let names = row.split('"').skip(1).step_by(2).map(str::to_owned);
        names.chain(["schema".to_owned()]).collect()
    };
    let ring = Ring::none();
    fs::create_dir(ring.0.path("data")).unwrap();
    let init = ring.json(&["ring", "init"]);
    let create = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let id = text(&create["moves"][0]["key"]);
    ring.seal("data/a.wax", "alice");
    let objects = [
        ("ring init", init),
        ("keys create", create),
        (
            "keys rotate",
            ring.json(&["keys", "rotate", &id, "--stage", "--reason", "test"]),
        ),
        ("ring set", ring.json(&["ring", "set", "--cadence", "P30D"])),
        ("ring status", ring.json(&["ring", "status"])),
        ("ring check", ring.json(&["ring", "check"])),
        ("ring export", ring.json(&["ring", "export", "export.json"])),
        (
            "ring authority rotate",
            ring.json(&["ring", "authority", "rotate", "--yes"]),
        ),
        (
            "census",
            ring.json(&["census", "data", "--receipt", "receipt.json"]),
        ),
        (
            "keys tick --dry-run",
            ring.json(&["keys", "tick", "--dry-run", "--now", "2199-01-01T00:00:00Z"]),
        ),
        ("keys tick", of_json(&ring.tick().stdout)),
    ];
    for (command, object) in objects {
        let names = of_docs(command);
        for field in fields(&object) {
            assert!(
                names.contains(&field),
                "{command}: {field} is not in docs/cli.md: {names:?}"
            );
        }
    }
    let shown = ring.json(&["keys", "show", &id]);
    let names = [of_docs("keys show"), of_docs("keys list")].concat();
    for field in fields(&shown["key"]) {
        assert!(names.contains(&field), "keys show: {field} is not in docs/cli.md");
    }
}

#[test]
fn settings_are_changed_one_by_one() {
    let ring = Ring::new();
    let before = ring.json(&["ring", "status"])["settings"].clone();
    let set = ring.json(&[
        "ring",
        "set",
        "--preset",
        "baseline-prod",
        "--readers",
        "web",
        "--readers",
        "batch",
    ]);
    let settings = &set["settings"];
    assert_eq!(
        (&settings["preset"], &settings["readers"]),
        (&"baseline-prod".into(), &serde_json::json!(["web", "batch"]))
    );
    // A successor is not promoted before its readers have tried it, unless somebody takes the blame.
    let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    assert_eq!(ring.json(&["keys", "show", &first])["key"]["cadence"], "P1Y");
    let rotated = ring.json(&["keys", "rotate", &first, "--reason", "test"]);
    assert_eq!(rotated["rotated"][0]["state"], "pending", "{rotated}");
    let second = text(&rotated["rotated"][0]["key"]);
    let said = ring.fails(8, &["keys", "promote", &second, "--skip-reader", "web"]);
    assert!(said.contains("batch") && !said.contains("web"), "{said}");
    assert_eq!(
        ring.run(&[
            "keys",
            "promote",
            &second,
            "--skip-reader",
            "web",
            "--skip-reader",
            "batch"
        ])
        .code,
        0
    );
    let set = ring.json(&["ring", "set", "--preset", "none", "--readers", ""]);
    assert_eq!(set["settings"], before);
    // A template cannot change while keys have sealed under it.
    let said = ring.fails(8, &["ring", "set", "--scope-template", "tenant/{tenant}"]);
    assert!(said.contains("another ring"), "{said}");
}

#[test]
fn scopes_by_a_template() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--scope-template", "tenant/{tenant}"]);
    ring.0.write("plain", "alice");
    let seal = |tenant: &str| {
        ring.run(&[
            "seal",
            "--ring",
            "ring.toml",
            "--context",
            tenant,
            "-o",
            "a.wax",
            "plain",
        ])
    };
    let run = seal("tenant=acme");
    assert_eq!(run.code, 4, "{}", run.stderr);
    ring.json(&["keys", "create", "--scope", "tenant/acme", "--kek", "local"]);
    assert_eq!(seal("tenant=acme").code, 0);
    // A key of another tenant, or a wider one, is never used in its place.
    ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    assert_eq!(seal("tenant=globex").code, 4);
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

#[test]
fn a_receipt_verifies_from_the_specification_alone() {
    use std::process::{Command, Stdio};
    let python = std::env::var_os("WAXSEAL_PYTHON").unwrap_or_else(|| "python3".into());
    let can = Command::new(&python).args(["-c", "import cryptography"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "python with cryptography is needed"
        );
        println!("skipped: no python with cryptography");
        return;
    }
    let (ring, id) = Ring::with_key();
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.seal("data/a.wax", "alice");
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let status = ring.json(&["ring", "status"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/ring_receipt.py");
    let verify = |receipt: &[u8]| {
        let (ring, authority) = (text(&status["ring"]), text(&status["authority"]));
        let child = Command::new(&python)
            .args([script, &ring, &status["revision"].to_string(), &authority])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        end(child, receipt)
    };
    let receipt = ring.0.read("receipt.json");
    let run = verify(&receipt);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(String::from_utf8(run.stdout).unwrap(), format!("{id} 1 1\n"));
    let changed = String::from_utf8(receipt)
        .unwrap()
        .replace("\"items\":1", "\"items\":0");
    assert!(
        verify(changed.as_bytes())
            .stderr
            .contains("the signature is wrong")
    );
}

/// In an OpenBao server: versions are proven there, so a successor is a version of the same key.
#[cfg(feature = "vault-transit")]
#[test]
fn a_key_of_a_server_is_rotated_by_versions() {
    use crate::servers::{address, unique, variable};
    let Some(address) = address("openbao") else { return };
    let token = variable("WAXSEAL_TEST_OPENBAO_TOKEN").unwrap();
    let host = address.strip_prefix("http://").unwrap();
    let post = |path: &str, body: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        write!(
            stream,
            "POST /v1/{path} HTTP/1.1\r\nHost: {host}\r\nX-Vault-Token: {token}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
    };
    // Refused where the server has it already.
    post("sys/mounts/transit", r#"{"type":"transit"}"#);
    let name = unique("ring");
    post(&format!("transit/keys/{name}"), "{}");
    let uri = format!("vault-transit:{name}");
    let ring = Ring::none();
    let variables = [("VAULT_ADDR", address.as_str()), ("VAULT_TOKEN", &token)];
    let json = |arguments: &[&str]| {
        let run = ring
            .0
            .run_with(&variables, &[arguments, &["--json"]].concat(), b"");
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        of_json(&run.stdout)
    };
    json(&["ring", "init", "--overlap", "PT0S", "--allow", &uri]);
    let made = json(&["keys", "create", "--scope", "/", "--kek", &uri]);
    let first = text(&made["moves"][0]["key"]);
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.0.write("plain", "alice");
    let seal = [
        &["seal", "--ring", "ring.toml"],
        &CONTEXT[..],
        &["-o", "data/a.wax", "plain"],
    ]
    .concat();
    assert_eq!(ring.0.run_with(&variables, &seal, b"").code, 0);
    let rotated = json(&["keys", "rotate", &first, "--reason", "test"]);
    assert_eq!(rotated["rotated"][0]["state"], "active", "{rotated}");
    let list = json(&["keys", "list"]);
    let versions: Vec<String> = list["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| text(&key["kek"]["version"]))
        .collect();
    assert_eq!(versions, ["1", "2"]);
    let rewrap = [
        &["rewrap", "--ring", "ring.toml", "--in-place"],
        &CONTEXT[..],
        &["data/a.wax"],
    ]
    .concat();
    assert_eq!(ring.0.run_with(&variables, &rewrap, b"").code, 0);
    let census = json(&["census", "data", "--receipt", "receipt.json"]);
    let counts: Vec<u64> = census["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|count| count["items"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [0, 1]);
    let open = [&["open", "--ring", "ring.toml"], &CONTEXT[..], &["data/a.wax"]].concat();
    assert_eq!(ring.0.run_with(&variables, &open, b"").stdout, b"alice");
    assert_eq!(json(&["ring", "check"])["good"], true);
}

/// In PostgreSQL, with two rings in one database.
#[cfg(feature = "postgres")]
#[test]
fn a_ring_in_postgresql() {
    use crate::servers::{address, unique};
    let Some(url) = address("postgres") else { return };
    let ring = Ring::none();
    let variables = [("DATABASE_URL", url.as_str())];
    let run = |arguments: &[&str]| ring.0.run_with(&variables, arguments, b"");
    for name in ["one.toml", "two.toml"] {
        let store = format!("postgres-env:DATABASE_URL/{}", unique("cli"));
        let init = run(&["ring", "init", "--ring", name, "--store", &store]);
        assert_eq!(init.code, 0, "{}", init.stderr);
        let create = run(&["keys", "create", "--ring", name, "--scope", "/", "--kek", "local"]);
        assert_eq!(create.code, 0, "{}", create.stderr);
        ring.0.write("plain", "alice");
        let seal = [&["seal", "--ring", name], &CONTEXT[..], &["-o", "a.wax", "plain"]].concat();
        assert_eq!(run(&seal).code, 0);
        let open = [&["open", "--ring", name], &CONTEXT[..], &["a.wax"]].concat();
        assert_eq!(run(&open).stdout, b"alice");
        assert_eq!(run(&["ring", "check", "--ring", name]).code, 0);
        assert!(
            !fs::read_to_string(ring.0.path(name))
                .unwrap()
                .contains("postgres://")
        );
    }
    // The variable is not set.
    let said = ring.fails(4, &["ring", "status", "--ring", "one.toml"]);
    assert!(said.contains("DATABASE_URL"), "{said}");
}
