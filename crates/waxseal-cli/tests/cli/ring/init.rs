//! `ring init`: what it makes, and what is left when it is interrupted.

use super::*;

#[test]
fn a_wrong_key_to_adopt_leaves_nothing_in_the_way_of_the_right_one() {
    let ring = Ring::none();
    let said = ring.fails(4, &["ring", "init", "--adopt", "env:MISSING"]);
    assert!(
        said.contains("MISSING") && said.contains("run `waxseal ring init` again"),
        "{said}"
    );
    assert!(!ring.0.path("ring.toml").exists());
    // What was asked for counts, whichever run has made the ring.
    let made = ring.json(&["ring", "init", "--adopt", "env:K", "--cadence", "P30D"]);
    assert_eq!(made["resumed"], true, "{made}");
    let status = ring.json(&["ring", "status"]);
    assert_eq!(
        (&status["keys"]["active"], &status["settings"]["cadence"]),
        (&1.into(), &"P30D".into())
    );
    assert_eq!(ring.json(&["ring", "check"])["good"], true);
    ring.seal("a.wax", "alice");
    assert_eq!(ring.open("a.wax").stdout, b"alice");
}

#[test]
fn what_an_interrupted_run_has_adopted_stays() {
    let ring = Ring::none();
    let made = ring.json(&["ring", "init", "--adopt", "env:K"]);
    assert_eq!(made["resumed"], false);
    // As if the run had ended before the configuration was written.
    fs::remove_file(ring.0.path("ring.toml")).unwrap();
    let said = ring.fails(8, &["ring", "init", "--adopt", "env:NEW"]);
    assert!(said.contains("which is env:K"), "{said}");
    // Without it, what seals could not be opened by this configuration.
    let said = ring.fails(8, &["ring", "init"]);
    assert!(
        said.contains("which is env:K") && said.contains("--allow"),
        "{said}"
    );
    let again = ring.json(&["ring", "init", "--adopt", "env:K"]);
    assert_eq!(
        (&again["ring"], &again["adopted"], &again["resumed"]),
        (&made["ring"], &made["adopted"], &true.into())
    );
    assert_eq!(ring.json(&["keys", "list"])["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn two_rings_are_neighbors_in_one_folder() {
    let ring = Ring::new();
    let of_payments = ["--ring", "payments.toml"];
    let made = ring.json(&[&["ring", "init"], &of_payments[..]].concat());
    assert!(text(&made["store"]).ends_with("/payments.db"), "{made}");
    ring.json(
        &[
            &["keys", "create", "--scope", "/", "--kek", "local"],
            &of_payments[..],
        ]
        .concat(),
    );
    let names: Vec<String> = ring.0.listing();
    for name in [
        "payments.authority",
        "payments.db",
        "payments.keys",
        "payments.mark",
    ] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    let count = |with: &[&str]| {
        ring.json(&[&["keys", "list"], with].concat())["keys"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((count(&[]), count(&of_payments)), (0, 1));
    // The variable names one, and the option counts more.
    let run = ring.0.run_with(
        &[("WAXSEAL_RING", "payments.toml")],
        &["keys", "list", "--json"],
        b"",
    );
    assert_eq!(of_json(&run.stdout)["keys"].as_array().unwrap().len(), 1);
    // Two in one inventory, or files that are each other.
    for wrong in [
        &[
            "ring",
            "init",
            "--ring",
            "other.toml",
            "--store",
            "sqlite:other.authority",
        ][..],
        &[
            "ring",
            "init",
            "--ring",
            "other.toml",
            "--store",
            "sqlite:other.toml",
        ],
        &["ring", "init", "--ring", "other.db"],
        &["ring", "init", "--ring", "other.mark"],
    ] {
        let said = ring.fails(2, wrong);
        assert!(said.contains("different files"), "{said}");
    }
    let said = ring.fails(
        8,
        &[
            "ring",
            "init",
            "--ring",
            "other.toml",
            "--store",
            "sqlite:ring.db",
        ],
    );
    assert!(said.contains("another authority"), "{said}");
    assert!(!ring.0.listing().iter().any(|name| name.starts_with("other")));
}

#[test]
fn a_ring_that_is_made_is_named() {
    let ring = Ring::new();
    let id = text(&ring.json(&["ring", "status"])["ring"]);
    let said = ring.fails(8, &["ring", "init"]);
    assert!(
        said.contains(&id) && said.contains("never overwritten") && said.contains("ring set"),
        "{said}"
    );
}

#[test]
fn the_mark_of_a_ring_that_is_gone_is_not_thrown_away() {
    let ring = Ring::new();
    for name in ["ring.toml", "ring.db", "ring.authority"] {
        fs::remove_file(ring.0.path(name)).unwrap();
    }
    let said = ring.fails(8, &["ring", "init"]);
    assert!(
        said.contains("ring.mark is the mark of an earlier ring"),
        "{said}"
    );
    fs::remove_file(ring.0.path("ring.mark")).unwrap();
    ring.json(&["ring", "init"]);
}

#[test]
fn an_authority_that_is_sealed_otherwise_is_said_to_be() {
    let ring = Ring::none();
    ring.fails(
        4,
        &[
            "ring",
            "init",
            "--authority-kek",
            "env:K",
            "--adopt",
            "env:MISSING",
        ],
    );
    let said = ring.fails(4, &["ring", "init"]);
    assert!(
        said.contains("ring.authority is there of an earlier run") && said.contains("--authority-kek"),
        "{said}"
    );
    ring.json(&["ring", "init", "--authority-kek", "env:K"]);
}

/// Killed at every call that changes a file: the next run ends well, and nothing is there twice.
#[cfg(target_os = "linux")]
#[test]
fn killed_at_any_step_the_next_run_makes_the_ring() {
    const STEPS: [&str; 9] = [
        "openat",
        "write",
        "pwrite64",
        "fsync",
        "fdatasync",
        "unlink",
        "mkdir",
        "rename",
        "renameat2",
    ];
    let traced = std::process::Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    if !traced.as_ref().is_ok_and(|traced| traced.status.success()) {
        println!("skipped: strace: {traced:?}");
        return;
    }
    let init = ["ring", "init", "--adopt", "env:K", "--cadence", "P30D"];
    let mut killed = 0;
    for step in STEPS {
        let mut count = 1;
        loop {
            let ring = Ring::none();
            let inject = format!("inject={step}:signal=KILL:when={count}");
            let trace = format!("trace={step}");
            let run = std::process::Command::new("strace")
                .args(["-f", "-o", "/dev/null", "-e", &trace, "-e", &inject])
                .arg(env!("CARGO_BIN_EXE_waxseal"))
                .args(init)
                .current_dir(ring.0.path("."))
                .env("K", KEY)
                .output()
                .unwrap();
            let ended = run.status.success();
            killed += usize::from(!ended);
            let is_made = ring.0.path("ring.toml").exists();
            let again = ring.run(&init);
            let expected = if is_made { 8 } else { 0 };
            assert_eq!(again.code, expected, "{step} {count}: {}", again.stderr);
            let status = ring.json(&["ring", "status"]);
            assert_eq!(status["keys"]["active"], 1, "{step} {count}: {status}");
            assert_eq!(status["settings"]["cadence"], "P30D", "{step} {count}: {status}");
            assert_eq!(ring.json(&["ring", "check"])["good"], true, "{step} {count}");
            // No half of a secret is left.
            let files = ["ring.authority", "ring.db", "ring.keys", "ring.mark", "ring.toml"];
            assert_eq!(ring.0.listing(), files, "{step} {count}");
            if ended {
                break;
            }
            // A database writes the same few pages again and again, and a program opens its libraries first.
            count += if matches!(step, "pwrite64" | "openat") {
                5
            } else {
                1
            };
        }
    }
    assert!(killed > 20, "{killed}");
}
