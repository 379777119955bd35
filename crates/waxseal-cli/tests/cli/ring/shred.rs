//! `keys shred` and `keys shred-receipt`.

use super::aged::age;
use super::*;

const SHRED: [&str; 10] = [
    "keys",
    "shred",
    "--scope",
    "tenant/acme",
    "--ticket",
    "GDPR-17",
    "--reason",
    "acme has left",
    "--approver",
    "dana",
];

/// A ring of tenants, with one that leaves and one that stays, and an envelope of each.
fn tenants(cooling_off: &str) -> (Ring, String) {
    let ring = Ring::none();
    ring.json(&[
        "ring",
        "init",
        "--scope-template",
        "tenant/{tenant}",
        "--cooling-off",
        cooling_off,
    ]);
    let made = ring.json(&["keys", "create", "--scope", "tenant/acme", "--kek", "local"]);
    ring.json(&["keys", "create", "--scope", "tenant/other", "--kek", "local"]);
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.seal("data/acme.wax", "of acme");
    ring.0.write("plain", "of other");
    let other = [
        "seal",
        "--ring",
        "ring.toml",
        "--context",
        "tenant=other",
        "-o",
        "data/other.wax",
        "plain",
    ];
    assert_eq!(ring.run(&other).code, 0);
    (ring, text(&made["moves"][0]["key"]))
}

fn opens_other(ring: &Ring) {
    let run = ring.run(&[
        "open",
        "--ring",
        "ring.toml",
        "--context",
        "tenant=other",
        "data/other.wax",
    ]);
    assert_eq!(
        (run.code, run.stdout.as_slice()),
        (0, &b"of other"[..]),
        "{}",
        run.stderr
    );
}

#[test]
fn a_tenant_that_leaves_is_out_of_use_at_once_and_comes_back_if_that_is_cancelled() {
    let (ring, key) = tenants("P7D");
    let census = ring.json(&["census", "data", "--receipt", "census.json"]);
    assert_eq!(census["items"], 2);
    let with = [
        &SHRED[..],
        &["--census", "census.json", "--receipt", "pending.json"],
    ]
    .concat();
    let said = ring.fails(2, &with);
    assert!(
        said.contains("1 key of scope tenant/acme")
            && said.contains("found 1 envelope under them")
            && said.contains("--yes"),
        "{said}"
    );
    assert_eq!(ring.state_of(&key), "active");
    let said = ring.fails(2, &SHRED);
    assert!(said.contains("only a census tells"), "{said}");
    let done = ring.json(&[&with[..], &["--yes"]].concat());
    assert_eq!(
        (
            &done["command"],
            &done["ticket"],
            &done["approver"],
            &done["counted"][0]["items"]
        ),
        (&"keys shred".into(), &"GDPR-17".into(), &"dana".into(), &1.into())
    );
    assert_eq!(
        done["moves"][0],
        serde_json::json!({"key": key, "from": "active", "to": "retired"})
    );
    let run = ring.open("data/acme.wax");
    assert_eq!(run.code, 14, "{}", run.stderr);
    assert!(
        run.stderr.contains("the scope tenant/acme was shredded on"),
        "{}",
        run.stderr
    );
    ring.0.write("plain", "more");
    let seal = [
        &["seal", "--ring", "ring.toml"],
        &CONTEXT[..],
        &["-o", "more.wax", "plain"],
    ]
    .concat();
    let said = ring.fails(14, &seal);
    assert!(said.contains("was shredded"), "{said}");
    opens_other(&ring);

    let receipt = ring.json(&["keys", "shred-receipt", "--check", "pending.json"]);
    assert_eq!(
        (&receipt["stage"], &receipt["scope"]),
        (&"pending".into(), &"tenant/acme".into())
    );
    assert_eq!(receipt["keys"][0]["counted"][0]["sole"], 1);
    let left: Vec<_> = receipt["does_not_reach"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| text(&left["what"]))
        .collect();
    assert_eq!(left, ["processes", "inventory-backups", "key-files", "plaintext"]);
    let status = ring.json(&["ring", "status"]);
    assert_eq!(
        (&status["tombstones"], &status["shredded"][0]["scope"]),
        (&1.into(), &"tenant/acme".into())
    );
    assert_eq!(status["shredded"][0]["due"], done["due"]);
    let shown = ring.json(&["keys", "show", &key]);
    assert_eq!(shown["key"]["shredded"]["from"], "active");
    assert!(
        String::from_utf8_lossy(&ring.run(&["ring", "status"]).stdout)
            .contains("ticket GDPR-17: acme has left")
    );

    for (arguments, what) in [
        (
            &["keys", "create", "--scope", "tenant/acme", "--kek", "local"][..],
            "--cancel",
        ),
        (
            &["keys", "rotate", "--scope", "tenant/acme", "--reason", "x"],
            "--cancel",
        ),
        (&["keys", "reinstate", &key, "--reason", "x"], "--cancel"),
    ] {
        let said = ring.fails(8, arguments);
        assert!(said.contains("was shredded on") && said.contains(what), "{said}");
    }
    ring.fails(11, &["keys", "tick"]);
    // Once more says so.
    let again = ring.json(&SHRED);
    assert_eq!(again["moves"].as_array().unwrap().len(), 0);

    let back = ring.json(&[
        "keys",
        "shred",
        "--scope",
        "tenant/acme",
        "--cancel",
        "--reason",
        "they pay again",
    ]);
    assert_eq!(
        back["moves"][0],
        serde_json::json!({"key": key, "from": "retired", "to": "active"})
    );
    assert_eq!(ring.open("data/acme.wax").stdout, b"of acme");
    ring.fails(
        8,
        &[
            "keys",
            "shred",
            "--scope",
            "tenant/acme",
            "--cancel",
            "--reason",
            "again",
        ],
    );
    ring.fails(8, &["keys", "shred-receipt", "--scope", "tenant/acme"]);
    assert_eq!(ring.json(&["ring", "check"])["good"], true);
}

/// A key file is removed by hand: the ring does not do it, and says so.
#[test]
fn a_tenant_is_gone_when_its_keys_are() {
    let (ring, key) = tenants("PT0S");
    let uri = text(&ring.json(&["keys", "show", &key])["key"]["uri"]);
    ring.json(&[&SHRED[..], &["--yes"]].concat());
    let (tick, said) = ring.json_and(8, &["keys", "tick"]);
    assert_eq!(tick["done"][0]["action"], "shred");
    assert!(said.contains("remove the file"), "{said}");
    let receipt = ring.json(&[
        "keys",
        "shred-receipt",
        "--scope",
        "tenant/acme",
        "-o",
        "begun.json",
    ]);
    assert_eq!(receipt["stage"], "destroying");
    // A copy that somebody kept opens what is under it: so says the receipt.
    let file = uri
        .strip_prefix("file:")
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    fs::copy(ring.0.path(&file), ring.0.path("kept.key")).unwrap();
    ring.fails(
        8,
        &[
            "keys", "destroy", &key, "--attest", "--reason", "removed", "--yes",
        ],
    );
    fs::remove_file(ring.0.path(&file)).unwrap();
    ring.json(&[
        "keys",
        "destroy",
        &key,
        "--attest",
        "--reason",
        "removed, and the disk is overwritten",
        "--yes",
    ]);
    let receipt = ring.json(&[
        "keys",
        "shred-receipt",
        "--scope",
        "tenant/acme",
        "-o",
        "end.json",
    ]);
    assert_eq!(
        (&receipt["stage"], &receipt["keys"][0]["state"]),
        (&"destroyed".into(), &"destroyed".into())
    );
    assert!(
        text(&receipt["keys"][0]["how"]).contains("the disk is overwritten"),
        "{receipt}"
    );
    let left: Vec<_> = receipt["does_not_reach"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| text(&left["what"]))
        .collect();
    assert_eq!(left, ["processes", "key-files", "plaintext"]);
    let kept = format!("file:{}", ring.0.path("kept.key").display());
    let run = ring.run(&[&["open", "--kek", &kept], &CONTEXT[..], &["data/acme.wax"]].concat());
    assert_eq!(run.stdout, b"of acme", "{}", run.stderr);
    assert_eq!(ring.open("data/acme.wax").code, 14);
    opens_other(&ring);
    let said = ring.fails(8, &["keys", "create", "--scope", "tenant/acme", "--kek", "local"]);
    assert!(said.contains("takes another scope"), "{said}");
    let said = ring.fails(
        8,
        &[
            "keys",
            "shred",
            "--scope",
            "tenant/acme",
            "--cancel",
            "--reason",
            "late",
        ],
    );
    assert!(said.contains("stays shredded"), "{said}");
    assert_eq!(
        ring.json(&["ring", "status"])["shredded"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    // On standard output, it is the receipt and nothing else.
    let run = ring.run(&["keys", "shred-receipt", "--scope", "tenant/acme"]);
    assert_eq!(of_json(&run.stdout)["stage"], "destroyed");
    // A receipt that was changed is refused.
    let changed = fs::read_to_string(ring.0.path("end.json"))
        .unwrap()
        .replace("GDPR-17", "GDPR-18");
    ring.0.write("changed.json", &changed);
    let said = ring.fails(10, &["keys", "shred-receipt", "--check", "changed.json"]);
    assert!(said.contains("was changed"), "{said}");
    ring.0.write("none.json", "{}");
    let said = ring.fails(2, &["keys", "shred-receipt", "--check", "none.json"]);
    assert!(said.contains("no shred receipt"), "{said}");
}

#[test]
fn a_receipt_that_cannot_be_written_hinders_the_shredding_and_a_late_failure_hides_nothing() {
    let (ring, key) = tenants("P7D");
    let into = |file: &'static str| [&SHRED[..], &["--yes", "--receipt", file]].concat();
    let said = ring.fails(9, &into("nowhere/receipt.json"));
    assert!(said.contains("nowhere/receipt.json"), "{said}");
    assert_eq!(ring.state_of(&key), "active");
    // What fails after the shredding comes after its result. A full disk shows when the receipt is written.
    #[cfg(target_os = "linux")]
    {
        let run = end(
            ring.0
                .command(&[&into("/dev/full")[..], &["--json"]].concat())
                .spawn()
                .unwrap(),
            b"",
        );
        assert_eq!(run.code, 9, "{}", run.stderr);
        // The receipt was to be on a stream, so the result is beside it.
        let (done, said) = run.stderr.split_once('\n').unwrap();
        let done = of_json(done.as_bytes());
        assert_eq!(
            (&done["moves"][0]["to"], &done["output"]),
            (&"retired".into(), &Value::Null)
        );
        assert!(said.contains("is shredded all the same"), "{said}");
        assert_eq!(ring.state_of(&key), "retired");
    }
    // On standard output, it is the receipt and nothing else.
    let run = ring.run(&into("-"));
    assert_eq!(of_json(&run.stdout)["scope"], "tenant/acme", "{}", run.stderr);
}

#[test]
fn a_scope_whose_keys_move_no_more_is_shredded_once() {
    let (ring, key) = tenants("P7D");
    let revoke = ["keys", "revoke", &key, "--ticket", "INC-7", "--approver", "dave"];
    let revoke = [&revoke[..], &["--reason", "x", "--no-successor", "--yes"]].concat();
    ring.json(&revoke);
    let shred = || {
        let run = ring.run(&[&SHRED[..], &["--yes"]].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        String::from_utf8(run.stdout).unwrap()
    };
    let said = shred();
    assert!(
        said.starts_with("tenant/acme is shredded, and nothing is sealed"),
        "{said}"
    );
    let said = shred();
    assert!(said.starts_with("tenant/acme was shredded already"), "{said}");
}

#[test]
fn a_receipt_names_the_wider_scopes_that_may_have_served_the_tenant() {
    let (ring, _) = tenants("P7D");
    ring.json(&["ring", "set", "--otherwise", "/", "--otherwise", "shared"]);
    ring.json(&[&SHRED[..], &["--yes", "--receipt", "pending.json"]].concat());
    let receipt = ring.json(&["keys", "shred-receipt", "--check", "pending.json"]);
    let left = receipt["does_not_reach"].as_array().unwrap().iter();
    let wider: Vec<_> = left.filter(|left| left["what"] == "wider-scope").collect();
    assert_eq!(wider.len(), 1, "{receipt}");
    assert!(text(&wider[0]["detail"]).contains("(/, shared)"), "{receipt}");
}

#[test]
fn what_is_shared_or_missing_is_refused_before_anything_is_done() {
    let (ring, key) = tenants("P7D");
    let uri = text(&ring.json(&["keys", "show", &key])["key"]["uri"]);
    ring.json(&["keys", "create", "--scope", "tenant/third", "--kek", &uri]);
    let said = ring.fails(8, &[&SHRED[..], &["--yes"]].concat());
    assert!(
        said.contains("tenant/third") && said.contains("nothing was done"),
        "{said}"
    );
    assert_eq!(ring.state_of(&key), "active");
    let mut missing = SHRED;
    missing[3] = "tenant/acne";
    let said = ring.fails(4, &[&missing[..], &["--yes"]].concat());
    assert!(said.contains("nothing to shred"), "{said}");
    for wrong in [
        &["keys", "shred", "--scope", "tenant/acme", "--reason", "x"][..],
        &["keys", "shred", "--scope", "tenant/acme", "--ticket", "T"],
        &[
            "keys",
            "shred",
            "--scope",
            "tenant/acme",
            "--ticket",
            "",
            "--reason",
            "x",
        ],
        &[
            "keys",
            "shred",
            "--scope",
            "tenant/acme",
            "--ticket",
            "T",
            "--cancel",
            "--reason",
            "x",
        ],
        &["keys", "shred-receipt"],
        &["keys", "shred-receipt", "--scope", "a", "--check", "b"],
    ] {
        ring.fails(2, wrong);
    }
    // A census of before the keys that it counts is of another ring, or was changed: it says nothing.
    ring.json(&["census", "data", "--receipt", "census.json"]);
    age(ring.0.folder());
    let changed =
        fs::read_to_string(ring.0.path("census.json"))
            .unwrap()
            .replacen("\"items\":2", "\"items\":3", 1);
    ring.0.write("census.json", &changed);
    ring.fails(10, &[&SHRED[..], &["--census", "census.json", "--yes"]].concat());
    assert_eq!(ring.state_of(&key), "active");
}
