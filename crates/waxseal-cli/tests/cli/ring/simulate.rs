//! `ring simulate`.

use super::aged::age;
use super::*;

/// Every file of the ring but the mark of what was seen.
fn files(ring: &Ring) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for name in ["ring.db", "ring.toml", "ring.authority"] {
        all.push((name.to_owned(), fs::read(ring.0.path(name)).unwrap()));
    }
    for entry in fs::read_dir(ring.0.path("ring.keys")).unwrap() {
        let path = entry.unwrap().path();
        all.push((path.display().to_string(), fs::read(&path).unwrap()));
    }
    all.sort();
    all
}

#[test]
fn a_move_is_told_and_nothing_is_changed() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--overlap", "PT0S"]);
    let made = ring.json(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let first = text(&made["moves"][0]["key"]);
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.seal("data/a.wax", "alice");
    ring.json(&["census", "data", "--receipt", "before.json"]);
    let before = files(&ring);

    let rotation = ring.json(&["ring", "simulate", "--rotate", &first]);
    assert_eq!(
        fields(&rotation),
        [
            "at",
            "command",
            "counted",
            "due",
            "moves",
            "readers",
            "refused",
            "revision",
            "schema",
            "scopes",
            "unreadable"
        ]
    );
    assert_eq!(
        rotation["moves"][0],
        serde_json::json!({"key": null, "scope": "/", "from": null, "to": "active", "at": null})
    );
    let revocation = ring.json(&["ring", "simulate", "--revoke", &first, "--receipt", "before.json"]);
    assert_eq!(
        (
            &revocation["counted"][0]["items"],
            &revocation["counted"][0]["sole"]
        ),
        (&1.into(), &1.into())
    );
    let shredding = ring.json(&["ring", "simulate", "--shred", "/", "--receipt", "before.json"]);
    assert_eq!(
        shredding["scopes"][0],
        serde_json::json!({"scope": "/", "why": "own", "keys": [first]})
    );
    let (retirement, said) = ring.json_and(8, &["ring", "simulate", "--retire", &first]);
    assert!(
        text(&retirement["refused"][0]).contains("only a deprecated key"),
        "{retirement}"
    );
    assert!(said.contains("would be refused now"), "{said}");
    let (destruction, _) = ring.json_and(8, &["ring", "simulate", "--destroy", &first]);
    assert_eq!(destruction["moves"][1]["at"], destruction["due"]);
    for wrong in [
        &["ring", "simulate"][..],
        &["ring", "simulate", "--retire", &first, "--revoke", &first],
        &["ring", "simulate", "--retire", "nobody"],
        &["ring", "simulate", "--shred", "a//b"],
    ] {
        ring.fails(2, wrong);
    }
    ring.fails(4, &["ring", "simulate", "--shred", "nobody"]);
    let plain = ring.run(&["ring", "simulate", "--shred", "/", "--receipt", "before.json"]);
    let plain = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(
        plain.contains("found 1 envelope") && plain.contains("nothing is sealed or opened"),
        "{plain}"
    );
    assert_eq!(files(&ring), before, "nothing was changed");

    // Without the private half of the authority.
    let rotated = ring.json(&["keys", "rotate", &first, "--reason", "x"]);
    assert_eq!(rotated["rotated"][0]["state"], "active");
    age(ring.0.folder());
    ring.json(&["census", "data", "--receipt", "after.json"]);
    fs::rename(ring.0.path("ring.authority"), ring.0.path("away")).unwrap();
    let (found, said) = ring.json_and(
        8,
        &["ring", "simulate", "--retire", &first, "--receipt", "after.json"],
    );
    assert_eq!(found["counted"][0]["items"], 1);
    assert!(said.contains("1 item would become unreadable"), "{said}");
    fs::remove_file(ring.0.path("data/a.wax")).unwrap();
    fs::rename(ring.0.path("away"), ring.0.path("ring.authority")).unwrap();
    ring.seal("data/b.wax", "bob");
    ring.json(&["census", "data", "--receipt", "after.json"]);
    let good = ring.json(&["ring", "simulate", "--retire", &first, "--receipt", "after.json"]);
    assert_eq!(good["refused"].as_array().unwrap().len(), 0);
    let run = ring.run(&["keys", "retire", &first, "--receipt", "after.json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn what_readers_would_hinder_and_backups_would_keep_is_told() {
    let (ring, parent) = Ring::of_branches(&["--cooling-off", "PT0S"]);
    ring.branch("tenant/acme");
    let shredding = ring.json(&["ring", "simulate", "--shred", "tenant/acme"]);
    let said = shredding["unreadable"].to_string();
    assert!(
        said.contains("in backups of the data")
            && said.contains("not so in backups of the inventory")
            && said.contains(&parent),
        "{said}"
    );
    let made = ring.json(&["ring", "simulate", "--rotate", &parent]);
    assert!(
        text(&made["unreadable"][0]).contains("not without a census receipt"),
        "{made}"
    );
    ring.json(&["ring", "set", "--readers", "web"]);
    let (told, said) = ring.json_and(8, &["ring", "simulate", "--rotate", &parent]);
    assert_eq!(told["moves"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["moves"][0]["to"], "pending");
    assert!(said.contains("the reader web has not reported"), "{said}");
    let (rotated, _) = ring.json_and(8, &["keys", "rotate", &parent, "--reason", "x"]);
    assert_eq!(rotated["rotated"][0]["state"], "pending");
    assert_eq!(ring.state_of(&parent), "active");
}
