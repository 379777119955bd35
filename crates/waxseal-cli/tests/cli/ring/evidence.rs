//! Censuses, receipts, and what they permit.

use super::aged::age;
use super::*;

#[test]
fn a_key_without_overlap_is_retired_with_a_receipt_and_destroyed_for_good() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--overlap", "PT0S", "--cooling-off", "PT0S"]);
    let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.seal("data/a.wax", "alice");
    ring.json(&["keys", "rotate", "--scope", "/", "--reason", "test"]);
    let retire = ["keys", "retire", &first, "--receipt", "receipt.json"];
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let said = ring.fails(8, &retire);
    assert!(said.contains("the census began"), "{said}");
    age(ring.0.folder());
    // What is still under it is named, with where it was seen.
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let said = ring.fails(8, &retire);
    assert!(said.contains("1 item would become unreadable"), "{said}");
    assert!(said.contains("a.wax"), "{said}");
    fs::remove_file(ring.0.path("data/a.wax")).unwrap();
    // An empty folder shows nothing, unless somebody says that it should be empty.
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let destroy = ["keys", "destroy", &first, "--receipt", "receipt.json", "--yes"];
    let said = ring.fails(8, &retire);
    assert!(said.contains("--allow-empty") && said.contains("/data"), "{said}");
    assert_eq!(ring.run(&[&retire[..], &["--allow-empty"]].concat()).code, 0);
    assert_eq!(ring.state_of(&first), "retired");
    let said = ring.fails(8, &destroy);
    assert!(said.contains("--allow-empty"), "{said}");
    assert_eq!(ring.run(&[&destroy[..], &["--allow-empty"]].concat()).code, 0);
    let attest = [
        "keys",
        "destroy",
        &first,
        "--attest",
        "--reason",
        "the file is shredded",
        "--yes",
    ];
    // It is plainly there.
    let said = ring.fails(8, &attest);
    assert!(said.contains("the KEK is enabled"), "{said}");
    assert_eq!(ring.state_of(&first), "destroying");
    let uri = text(&ring.json(&["keys", "show", &first])["key"]["uri"]);
    fs::remove_file(uri.strip_prefix("file:").unwrap()).unwrap();
    assert_eq!(ring.run(&attest).code, 0);
    assert_eq!(ring.state_of(&first), "destroyed");
}

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
        ["by_others", "done", "next", "orphans", "refused", "schema"]
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
    let said = ring.fails(2, &retire);
    assert!(
        said.contains("--receipt: receipt.json: this is no census receipt"),
        "{said}"
    );
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

/// Runs a program of Python, if there is one with `cryptography`.
fn python() -> Option<impl Fn(&[&str], &[u8]) -> Run> {
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
        return None;
    }
    Some(move |arguments: &[&str], stdin: &[u8]| {
        let child = Command::new(&python)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        end(child, stdin)
    })
}

#[test]
fn an_export_verifies_from_the_specification_alone() {
    let Some(python) = python() else { return };
    let (ring, id) = Ring::with_key();
    ring.json(&["ring", "export", "before.json"]);
    let rotated = ring.json(&["keys", "rotate", &id, "--reason", "test"]);
    let successor = text(&rotated["rotated"][0]["key"]);
    let authority = text(&ring.json(&["ring", "authority", "rotate", "--yes"])["previous"]);
    ring.json(&["keys", "create", "--scope", "tenant/a", "--kek", "local"]);
    ring.json(&["ring", "export", "export.json"]);
    let status = ring.json(&["ring", "status"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/ring_reader.py");
    let verify = |export: &Value| {
        let arguments = [script, &text(&status["ring"]), &authority];
        python(&arguments, export.to_string().as_bytes())
    };
    let read = |name: &str| -> Value { serde_json::from_slice(&ring.0.read(name)).unwrap() };
    let (before, export) = (read("before.json"), read("export.json"));
    let run = verify(&export);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let mut lines: Vec<String> = String::from_utf8(run.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in [
        format!("{id} / default deprecated"),
        format!("{successor} / default active"),
    ] {
        assert!(lines.contains(&line), "{lines:?}");
    }

    // What was changed is named.
    let refused = |export: &Value, says: &[&str]| {
        let run = verify(export);
        assert_eq!(run.code, 1, "{}", String::from_utf8_lossy(&run.stdout));
        for words in says {
            assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
        }
    };
    let row_of = |export: &Value, id: &str| {
        let rows = export["rows"].as_array().unwrap();
        rows.iter().position(|row| row["id"] == id).unwrap()
    };
    let mut changed = export.clone();
    let at = row_of(&export, &id);
    let body = text(&changed["rows"][at]["signed"]["body"]);
    changed["rows"][at]["signed"]["body"] = body.replacen("deprecated", "Deprecated", 1).into();
    refused(&changed, &[&id, "not the one that the head signs"]);
    // A row, also the only one of its scope.
    for missing in [
        &id,
        &text(&export["rows"][row_of_scope(&export, "tenant/a")]["id"]),
    ] {
        let mut without = export.clone();
        let at = row_of(&export, missing);
        without["rows"].as_array_mut().unwrap().remove(at);
        refused(&without, &[missing, "missing"]);
    }
    // The state of another revision, whole and in parts.
    let mut older = export.clone();
    let (at, then) = (row_of(&export, &id), row_of(&before, &id));
    older["rows"][at] = before["rows"][then].clone();
    refused(&older, &[&id, "not the one that the head signs"]);
    let mut older = export.clone();
    older["head"] = before["head"].clone();
    refused(&older, &["head"]);
    let mut later = export.clone();
    later["revision"] = (export["revision"].as_u64().unwrap() + 1).into();
    refused(&later, &["the head is of another ring or revision"]);
}

fn row_of_scope(export: &Value, scope: &str) -> usize {
    let rows = export["rows"].as_array().unwrap();
    rows.iter().position(|row| row["scope"] == scope).unwrap()
}

/// A machine that counts needs no authority, and what it has signed counts for as long as the settings list its key.
#[test]
fn a_census_key_signs_for_as_long_as_it_is_listed() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--overlap", "PT0S"]);
    let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    ring.json(&["keys", "rotate", &first, "--reason", "test"]);
    fs::create_dir(ring.0.path("data")).unwrap();
    let made = ring.json(&["ring", "census-key", "census.key"]);
    assert_eq!(made["output"], "census.key");
    let public = text(&made["census_key"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(ring.0.path("census.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let said = ring.fails(8, &["ring", "census-key", "census.key"]);
    assert!(said.contains("never overwritten"), "{said}");

    // The machine that counts: a configuration without the authority.
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    ring.0
        .write("reader.toml", config.split("# Only where keys").next().unwrap());
    let census = |more: &[&str]| {
        let census = [
            "census",
            "data",
            "--receipt",
            "receipt.json",
            "--ring",
            "reader.toml",
        ];
        ring.run(&[&census[..], more].concat())
    };
    let run = census(&[]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(
        run.stderr.contains("--key") && run.stderr.contains("census-key"),
        "{}",
        run.stderr
    );
    let by_key = ["--key", "census.key"];
    let run = census(&by_key);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("ring set --census-key"), "{}", run.stderr);

    let set = ring.json(&["ring", "set", "--census-key", &public]);
    assert_eq!(set["settings"]["census_keys"], serde_json::json!([public]));
    // Another one is added, and one that is there is not there twice.
    let other = text(&ring.json(&["ring", "census-key", "other.key"])["census_key"]);
    let set = ring.json(&["ring", "set", "--census-key", &public, "--census-key", &other]);
    assert_eq!(set["settings"]["census_keys"], serde_json::json!([public, other]));
    age(ring.0.folder());
    let retire = ["keys", "retire", &first, "--receipt", "receipt.json"];
    assert_eq!(census(&by_key).code, 0);
    let tick = ["keys", "tick", "--receipt", "receipt.json", "--allow-empty"];
    let tick = ring.run(&tick);
    assert_eq!(tick.code, 0, "{}", tick.stderr);
    assert_eq!(ring.state_of(&first), "retired");
    ring.json(&["keys", "reinstate", &first, "--reason", "again"]);

    let said = ring.fails(
        2,
        &[
            "ring",
            "set",
            "--census-key",
            &public,
            "--remove-census-key",
            &public,
        ],
    );
    assert!(said.contains("the same key"), "{said}");
    let set = ring.json(&["ring", "set", "--remove-census-key", &public]);
    assert_eq!(set["settings"]["census_keys"], serde_json::json!([other]));
    let said = ring.fails(10, &retire);
    assert!(said.contains("neither by the authority"), "{said}");
    assert_eq!(census(&by_key).code, 4);
    let said = ring.fails(2, &["ring", "set", "--remove-census-key", &public]);
    assert!(said.contains("is no census key"), "{said}");
}

#[test]
fn a_receipt_verifies_from_the_specification_alone() {
    let Some(python) = python() else { return };
    let (ring, id) = Ring::with_key();
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.seal("data/a.wax", "alice");
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let status = ring.json(&["ring", "status"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/ring_receipt.py");
    let verify = |receipt: &[u8]| {
        let (ring, authority) = (text(&status["ring"]), text(&status["authority"]));
        python(
            &[script, &ring, &status["revision"].to_string(), &authority],
            receipt,
        )
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

#[test]
fn no_output_takes_the_place_of_what_the_ring_needs() {
    let (ring, _) = Ring::with_key();
    std::fs::create_dir(ring.0.path("data")).unwrap();
    ring.seal("data/a.wax", "alice");
    let keys = std::fs::read_dir(ring.0.path("ring.keys")).unwrap();
    let mut needed: Vec<String> = keys
        .map(|entry| format!("ring.keys/{}", entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    assert!(!needed.is_empty());
    needed.extend(["ring.toml", "ring.db", "ring.authority", "ring.mark"].map(str::to_owned));
    let content = || -> Vec<Vec<u8>> {
        needed
            .iter()
            .map(|name| std::fs::read(ring.0.path(name)).unwrap())
            .collect()
    };
    let before = content();
    for name in &needed {
        ring.fails(2, &["ring", "export", name]);
        let code = ring.run(&["census", "data", "--receipt", name]).code;
        assert!(code == 2 || code == 8, "{name}: {code}");
        let seal = [
            &["seal", "--ring", "ring.toml"],
            &CONTEXT[..],
            &["-o", name, "plain"],
        ]
        .concat();
        ring.fails(2, &seal);
    }
    assert_eq!(content(), before);
    // Nor does a receipt take the place of what it counts, but of an earlier receipt.
    let sealed = std::fs::read(ring.0.path("data/a.wax")).unwrap();
    let said = ring.fails(8, &["census", "data", "--receipt", "data/a.wax"]);
    assert!(said.contains("no census receipt"), "{said}");
    assert_eq!(std::fs::read(ring.0.path("data/a.wax")).unwrap(), sealed);
    for _ in 0..2 {
        assert_eq!(ring.run(&["census", "data", "--receipt", "r.json"]).code, 0);
    }
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
            "actor", "approver", "kek", "key", "reason", "replaced", "scope", "since", "slot", "state",
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
fn what_must_be_covered_is_named_if_it_was_not() {
    let ring = Ring::none();
    for folder in ["data", "data/sub", "other"] {
        fs::create_dir(ring.0.path(folder)).unwrap();
    }
    let wrong = ["files:nowhere", "files:", "folder:data", "store:"];
    for place in wrong {
        assert_eq!(
            ring.run(&["ring", "init", "--must-cover", place]).code,
            2,
            "{place}"
        );
    }
    let init = [
        "ring",
        "init",
        "--overlap",
        "PT0S",
        "--must-cover",
        "files:data/sub",
        "--must-cover",
        "store:users.key",
    ];
    ring.json(&init);
    let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    ring.json(&["keys", "rotate", "--scope", "/", "--reason", "test"]);
    ring.seal("data/a.wax", "alice");
    ring.seal("other/a.wax", "alice");
    age(ring.0.folder());
    let retire = ["keys", "retire", &first, "--receipt", "receipt.json"];
    ring.json(&["census", "other", "--receipt", "receipt.json"]);
    let said = ring.fails(8, &retire);
    assert!(
        said.contains("has not scanned files:/") && said.contains("data/sub"),
        "{said}"
    );
    // The folder above has it, the store is missing.
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let said = ring.fails(8, &retire);
    assert!(said.contains("has not scanned store:users.key"), "{said}");
    let set = ring.json(&["ring", "set", "--must-cover", "files:data/sub"]);
    assert_eq!(set["settings"]["must_cover"].as_array().unwrap().len(), 1);
    // As if it were a disk that is not mounted.
    fs::remove_dir(ring.0.path("data/sub")).unwrap();
    let (_, said) = ring.json_and(10, &["census", "data", "--receipt", "receipt.json"]);
    assert!(said.contains("must be covered"), "{said}");
    fs::create_dir(ring.0.path("data/sub")).unwrap();
    ring.retire(&first);
    let set = ring.json(&["ring", "set", "--must-cover", ""]);
    assert!(set["settings"]["must_cover"].as_array().unwrap().is_empty());
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
