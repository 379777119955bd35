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
    // What is destroyed is gone: the census of when it still opened does not suffice.
    let said = ring.fails(8, &[&destroy[..], &["--allow-empty"]].concat());
    assert!(said.contains("was retired"), "{said}");
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
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

/// Verifies an export, written from the specification.
pub(super) const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/ring_reader.py");

/// Runs a program of Python, if there is one with `cryptography`.
pub(super) fn python() -> Option<impl Fn(&[&str], &[u8]) -> Run> {
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
    let verify = |export: &Value| {
        let arguments = [READER, &text(&status["ring"]), &authority];
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
    // There, and empty: what else was counted says nothing of it.
    fs::create_dir(ring.0.path("data/sub")).unwrap();
    ring.json(&["census", "data", "--receipt", "receipt.json"]);
    let said = ring.fails(8, &retire);
    assert!(
        said.contains("not one envelope in files:/") && said.contains("data/sub"),
        "{said}"
    );
    ring.seal("data/sub/b.wax", "bob");
    ring.retire(&first);
    let set = ring.json(&["ring", "set", "--must-cover", ""]);
    assert!(set["settings"]["must_cover"].as_array().unwrap().is_empty());
}
