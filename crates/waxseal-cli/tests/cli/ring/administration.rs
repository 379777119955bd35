//! Settings, the authority, exports, and who may do what.

use super::*;

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
    let said = ring.fails(8, &["ring", "import", "new.json", "--yes"]);
    assert!(
        said.contains("ring.db holds a ring already, at revision")
            && said.contains("move the inventory away"),
        "{said}"
    );
    fs::remove_file(ring.0.path("ring.db")).unwrap();
    // The mark file has seen a newer one.
    let said = ring.fails(10, &["ring", "import", "old.json", "--yes"]);
    assert!(said.contains("older state"), "{said}");
    // What is refused leaves nothing behind.
    assert!(!ring.0.path("ring.db").exists());
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
    let (rotated, _) = ring.json_and(8, &["keys", "rotate", &first, "--reason", "test"]);
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
