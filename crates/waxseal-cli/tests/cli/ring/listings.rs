//! What is printed, and what is refused before anything is done.

use super::*;

#[test]
fn listings_have_the_documented_fields() {
    let (ring, id) = Ring::with_key();
    let list = ring.json(&["keys", "list"]);
    assert_eq!(fields(&list), ["keys", "schema"]);
    let key = &list["keys"][0];
    let expected = [
        "activated",
        "algorithm",
        "branch",
        "class",
        "created",
        "exposed_by",
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
            "compared",
            "findings",
            "good",
            "keys",
            "mark",
            "provisioned",
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
fn what_makes_no_sense_is_refused_before_anything_is_done() {
    let (ring, id) = Ring::with_key();
    let wrong: &[&[&str]] = &[
        &["ring"],
        &["keys"],
        &["ring", "set"],
        &["ring", "set", "--max-stale", "60"],
        &["ring", "set", "--scope-template", "{"],
        &["ring", "set", "--census-key", "x"],
        &["ring", "set", "--approver", "x"],
        &["ring", "approve"],
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
        &["keys", "take-back", &id],
        &["keys", "take-back", &id, "--reason", "x"],
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

/// The names of all fields, but those that are data.
fn in_depth(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                found.push(name.clone());
                let is_data = match name.as_str() {
                    "settings" | "labels" => true,
                    "keys" => value.is_object(),
                    _ => false,
                };
                if !is_data {
                    in_depth(value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| in_depth(value, found)),
        _ => {}
    }
}

/// The fields that the row of a command has at the top of its object.
fn documented_top(documented: &str, command: &str) -> Vec<String> {
    let row = documented
        .lines()
        .find(|line| line.starts_with(&format!("| `{command}`")))
        .unwrap();
    let object = row.split("| `{").nth(1).unwrap();
    let (mut depth, mut names, mut name) = (0, Vec::new(), None);
    for character in object.chars() {
        match (character, &mut name) {
            ('"', Some(text)) => {
                names.push(std::mem::take(text));
                name = None;
            }
            ('"', None) if depth == 0 => name = Some(String::new()),
            (_, Some(text)) => text.push(character),
            ('{' | '[', None) => depth += 1,
            ('}' | ']', None) if depth == 0 => break,
            ('}' | ']', None) => depth -= 1,
            _ => {}
        }
    }
    names
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
        // And those of a KEK.
        let shared = ["schema", "provider", "id", "version"].map(str::to_owned);
        names.chain(shared).collect()
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
            ring.json_and(8, &["keys", "tick", "--dry-run", "--now", "2199-01-01T00:00:00Z"])
                .0,
        ),
        ("keys tick", of_json(&ring.tick().stdout)),
        (
            "ring census-key",
            ring.json(&["ring", "census-key", "census.key"]),
        ),
        (
            "ring approver-key",
            ring.json(&["ring", "approver-key", "approver.key"]),
        ),
        ("ring import", {
            ring.json(&["ring", "export", "export.json"]);
            fs::remove_file(ring.0.path("ring.db")).unwrap();
            ring.json(&["ring", "import", "export.json", "--yes"])
        }),
    ];
    for (command, object) in objects {
        let names = of_docs(command);
        let mut found = Vec::new();
        in_depth(&object, &mut found);
        for field in &found {
            assert!(
                names.contains(field),
                "{command}: {field} is not in docs/cli.md: {names:?}"
            );
        }
        // What the documentation promises at the top is there.
        let top: Vec<String> = documented_top(&documented, command);
        for name in top {
            assert!(object.get(&name).is_some(), "{command} lacks {name}: {object}");
        }
    }
    let shown = ring.json(&["keys", "show", &id]);
    let names = [of_docs("keys show"), of_docs("keys list")].concat();
    for field in fields(&shown["key"]) {
        assert!(names.contains(&field), "keys show: {field} is not in docs/cli.md");
    }
}
