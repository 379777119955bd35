//! What goes wrong, and what the command says of it: the code, who is to blame, and what to do.

use super::*;

/// What an operator meets at the file of an inventory.
#[test]
fn an_inventory_that_cannot_be_used_says_why_and_which_one_it_is() {
    let (ring, _) = Ring::with_key();
    let good = ring.0.read("ring.db");
    let status = |code: i32, says: &[&str]| {
        for command in [
            &["ring", "status"][..],
            &["keys", "list"],
            &["ring", "check"],
            &["keys", "tick"],
        ] {
            let said = ring.fails(code, command);
            for words in [says, &["(the ring's inventory is sqlite:", "ring.db"]].concat() {
                assert!(said.contains(words), "{command:?}: {words}: {said}");
            }
            assert!(!said.contains("key manager"), "{said}");
        }
        let seal = [
            &["seal", "--ring", "ring.toml"],
            &CONTEXT[..],
            &["-o", "a.wax", "ring.toml"],
        ]
        .concat();
        let said = ring.fails(code, &seal);
        assert!(
            said.contains("ring.db") && !ring.0.path("a.wax").exists(),
            "{said}"
        );
    };
    fs::remove_file(ring.0.path("ring.db")).unwrap();
    status(4, &["no such file", "restore it from an export"]);
    ring.0.write_private("ring.db", "");
    status(4, &["holds no inventory", "make a ring there"]);
    ring.0.write_private(
        "ring.db",
        "this is a text and no database, and long enough to be looked at. ".repeat(80),
    );
    status(10, &["no SQLite database", "backup"]);
    fs::remove_file(ring.0.path("ring.db")).unwrap();
    fs::create_dir(ring.0.path("ring.db")).unwrap();
    status(4, &["no regular file"]);
    fs::remove_dir(ring.0.path("ring.db")).unwrap();
    ring.0.write("ring.db", &good);
    ring.0.set_mode("ring.db", 0o666);
    status(4, &["others may write this file", "chmod go-w"]);
    // Whoever may only read it reads, and is told when that is not enough.
    ring.0.set_mode("ring.db", 0o400);
    assert_eq!(ring.run(&["ring", "status"]).code, 0);
    let said = ring.fails(5, &["keys", "rotate", "--scope", "/", "--reason", "test"]);
    assert!(
        said.contains("may not be written") && !said.contains("key manager"),
        "{said}"
    );
    let error = ring
        .0
        .command(&["keys", "rotate", "--scope", "/", "--reason", "x", "--json"]);
    let error = of_json(end_of(error).stderr.as_bytes());
    assert_eq!(
        (&error["error"]["provider"], &error["error"]["kind"]),
        (&"sqlite".into(), &"denied".into())
    );
}

/// What another account meets, which may read the configuration and not the rest.
#[cfg(target_os = "linux")]
#[test]
fn what_an_account_may_not_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::getuid().as_raw() != 0 {
        println!("skipped: only root can become another account");
        return;
    }
    let (ring, _) = Ring::with_key();
    fs::set_permissions(ring.0.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    // The folder that the program was built in may be closed to others.
    fs::copy(env!("CARGO_BIN_EXE_waxseal"), ring.0.path("program")).unwrap();
    ring.0.set_mode("program", 0o755);
    let config = fs::read_to_string(ring.0.path("ring.toml")).unwrap();
    let reader = config.split("# Only where keys").next().unwrap();
    ring.0
        .write("reader.toml", reader.replace("mark = \"ring.mark\"\n", ""));
    let fails = |code: i32, arguments: &[&str], says: &str| {
        let run = std::process::Command::new("setpriv")
            .args([
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "./program",
            ])
            .args(arguments)
            .current_dir(ring.0.path("."))
            .output()
            .unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    };
    fails(
        5,
        &["ring", "status", "--ring", "reader.toml"],
        "this account may not read",
    );
    ring.0.set_mode("ring.db", 0o644);
    fails(
        4,
        &["ring", "status"],
        "ring.mark: cannot be read: permission denied",
    );
    ring.0.set_mode("ring.mark", 0o644);
    fails(
        4,
        &["keys", "rotate", "--scope", "/", "--reason", "x"],
        "ring.authority",
    );
    fails(
        4,
        &["census", "reader.toml", "--receipt", "r.json"],
        "or sign with a census key: --key",
    );
    ring.0.set_mode("ring.toml", 0o600);
    fails(4, &["ring", "status"], "ring.toml: permission denied");
}

fn end_of(mut command: std::process::Command) -> Run {
    end(command.spawn().unwrap(), b"")
}

#[test]
fn a_configuration_that_is_not_there_says_what_to_do() {
    let ring = Ring::none();
    for command in [
        &["ring", "status"][..],
        &["keys", "list"],
        &["ring", "import", "x"],
    ] {
        let said = ring.fails(4, command);
        assert!(
            said.contains("ring.toml") && said.contains("waxseal ring init"),
            "{said}"
        );
    }
}

/// One rule: what a command line says wrongly ends with 2, whoever notices it.
#[test]
fn values_that_are_not_possible_are_usage_errors() {
    let (ring, id) = Ring::with_key();
    let other = "0193c5a0-7c1e-7d3a-9f00-0123456789ab";
    let wrong: &[&[&str]] = &[
        &["keys", "show", other],
        &["keys", "show", "0193c5a0"],
        &["keys", "rotate", other, "--reason", "x"],
        &["keys", "promote", other],
        &["keys", "rotate", &id, "--reason", ""],
        &["keys", "retire", &id, "--force", "--reason", "", "--yes"],
        &["keys", "reinstate", other, "--reason", "x"],
        &["keys", "retire", other, "--force", "--reason", "x", "--yes"],
        &["keys", "destroy", other, "--cancel", "--reason", "x"],
        &[
            "keys",
            "create",
            "--scope",
            "/",
            "--kek",
            "local",
            "--cadence",
            "PT0S",
        ],
        &[
            "keys",
            "create",
            "--scope",
            "/",
            "--kek",
            "local",
            "--cadence",
            "P9999Y",
        ],
        &[
            "keys", "create", "--scope", "/", "--kek", "local", "--slot", "A B",
        ],
        &[
            "keys", "create", "--scope", "x", "--kek", "local", "--label", "=x",
        ],
        &["keys", "create", "--scope", "/", "--kek", "passphrase-fd:3"],
        &["keys", "list", "--scope", "a//b"],
        &["keys", "tick", "--dry-run", "--now", "2026-13-01T00:00:00Z"],
        &["ring", "set", "--max-stale", "PT0S"],
        &["ring", "set", "--max-stale", "PT2H"],
        &["ring", "set", "--max-stale-open", "PT10S"],
        &["ring", "set", "--readers", "a\nb"],
        &["ring", "set", "--remove-census-key", "x"],
        &["ring", "check", "--mark", "7"],
        &[
            "ring",
            "init",
            "--ring",
            "new.toml",
            "--max-stale",
            "PT10S",
            "--max-stale-open",
            "PT5S",
        ],
        &["ring", "init", "--ring", "new.toml", "--lease-age", "PT0S"],
        &["ring", "init", "--ring", "new.toml", "--reader", "a\nb"],
        &["ring", "init", "--ring", "new.toml", "--adopt", "file:relative"],
        &["ring", "init", "--ring", "new.toml", "--allow", "A:b"],
        &[
            "ring",
            "init",
            "--ring",
            "new.toml",
            "--store",
            "postgres-env:A-B",
        ],
    ];
    for arguments in wrong {
        let run = end_of(ring.0.command(&[arguments, &["--json"][..]].concat()));
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        let error = of_json(run.stderr.as_bytes());
        assert_eq!(error["error"]["kind"], "usage", "{arguments:?}: {error}");
        assert!(run.stdout.is_empty());
    }
    assert_eq!(ring.state_of(&id), "active");
    assert!(!ring.0.listing().iter().any(|name| name.starts_with("new")));
}

#[test]
fn settings_change_alone_and_contradictions_are_refused() {
    let ring = Ring::new();
    let stale = |settings: &Value| (text(&settings["max_stale"]), text(&settings["max_stale_open"]));
    let said = ring.fails(2, &["ring", "set", "--max-stale", "PT2H"]);
    assert!(
        said.contains("max_stale_open (PT60S)")
            && said.contains("max_stale (PT2H)")
            && said.contains("set both"),
        "{said}"
    );
    let set = ring.json(&["ring", "set", "--max-stale", "PT2H", "--max-stale-open", "PT3H"]);
    assert_eq!(stale(&set["settings"]), ("PT2H".into(), "PT3H".into()));
    let set = ring.json(&["ring", "set", "--max-stale", "PT60S"]);
    assert_eq!(stale(&set["settings"]), ("PT60S".into(), "PT3H".into()));
    let set = ring.json(&["ring", "set", "--max-stale-open", "PT60S"]);
    assert_eq!(stale(&set["settings"]), ("PT60S".into(), "PT60S".into()));
    // A new ring opens for as long as it seals, if nothing else is said.
    ring.json(&["ring", "init", "--ring", "other.toml", "--max-stale", "PT5M"]);
    let status = ring.json(&["ring", "status", "--ring", "other.toml"]);
    assert_eq!(stale(&status["settings"]), ("PT5M".into(), "PT5M".into()));
    ring.json(&["ring", "init", "--ring", "brief.toml", "--max-stale", "PT2S"]);
    let status = ring.json(&["ring", "status", "--ring", "brief.toml"]);
    assert_eq!(stale(&status["settings"]), ("PT2S".into(), "PT2S".into()));
}

#[test]
fn a_ring_hides_no_ids() {
    let (ring, _) = Ring::with_key();
    ring.seal("a.wax", "alice");
    for command in [
        &["seal", "--hide-kek-id", "-o", "b.wax", "plain"][..],
        &["rewrap", "--hide-kek-id", "-o", "b.wax", "a.wax"],
    ] {
        let said = ring.fails(2, &[command, &["--ring", "ring.toml"], &CONTEXT].concat());
        assert!(said.contains("a census could not tell"), "{said}");
        assert!(!ring.0.path("b.wax").exists());
    }
}

#[test]
fn a_look_without_a_mark_says_so() {
    let (ring, id) = Ring::with_key();
    let check = ring.json(&["ring", "check"]);
    assert!(
        check["compared"].is_string() && check["findings"].as_array().unwrap().is_empty(),
        "{check}"
    );
    ring.0.write_private("old.db", ring.0.read("ring.db"));
    ring.json(&["keys", "rotate", &id, "--reason", "test"]);
    let newer = text(&ring.json(&["ring", "check"])["mark"]);

    // The older dump, on a machine that knows nothing.
    fs::rename(ring.0.path("old.db"), ring.0.path("ring.db")).unwrap();
    fs::remove_file(ring.0.path("ring.mark")).unwrap();
    let check = ring.json(&["ring", "check"]);
    assert_eq!((&check["good"], &check["compared"]), (&true.into(), &Value::Null));
    let finding = &check["findings"][0];
    assert!(
        text(&finding["what"]).contains("--mark") && finding["error"] == false,
        "{check}"
    );
    fs::remove_file(ring.0.path("ring.mark")).unwrap();
    let said = String::from_utf8(ring.run(&["ring", "check"]).stdout).unwrap();
    assert!(
        said.contains("note: nothing newer was known to compare with"),
        "{said}"
    );
    // With the mark of another machine.
    let said = ring.fails(10, &["ring", "check", "--mark", &newer]);
    assert!(said.contains("older state"), "{said}");
    // And from now on with its own.
    let said = String::from_utf8(ring.run(&["ring", "check"]).stdout).unwrap();
    assert!(
        said.contains("not older than revision") && !said.contains("note:"),
        "{said}"
    );
}

#[test]
fn what_a_move_says_is_a_sentence() {
    let ring = Ring::none();
    let said = |arguments: &[&str]| {
        let run = ring.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        String::from_utf8(run.stdout).unwrap()
    };
    said(&["ring", "init"]);
    said(&["keys", "create", "--scope", "/", "--kek", "local"]);
    let second = said(&["keys", "create", "--scope", "/", "--kek", "local"]);
    assert!(second.ends_with(" is pending\n"), "{second}");
    fs::create_dir(ring.0.path("data")).unwrap();
    ring.seal("data/a.wax", "alice");
    let census = said(&["census", "data", "--receipt", "r.json"]);
    assert!(
        census.contains("\n1 envelope, 0 other items, 0 not read"),
        "{census}"
    );
    let status = said(&["ring", "status"]);
    assert!(
        status.contains("  1 key\n") && !status.contains("1 keys"),
        "{status}"
    );
}

/// What an operator meets at a database server.
#[cfg(feature = "postgres")]
#[test]
fn a_database_that_cannot_be_used_says_why() {
    use crate::servers::{address, unique};
    let Some(url) = address("postgres") else { return };
    let ring = Ring::none();
    let name = unique("refused");
    let store = format!("postgres-env:DATABASE_URL/{name}");
    let run = |url: &str, arguments: &[&str]| ring.0.run_with(&[("DATABASE_URL", url)], arguments, b"");
    let init = run(&url, &["ring", "init", "--store", &store]);
    assert_eq!(init.code, 0, "{}", init.stderr);
    let (front, _) = url.split_once('?').unwrap_or((&url, ""));
    let with = |database: &str| format!("{}/{database}", front.rsplit_once('/').unwrap().0);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let cases: &[(String, i32, &str)] = &[
        (
            format!("postgres://nobody:c4n4ry@127.0.0.1:{port}/x"),
            6,
            "the connection to the database failed",
        ),
        (with("there_is_none"), 4, "there is no such database"),
        (
            "mysql://nobody:c4n4ry@127.0.0.1/x".to_owned(),
            4,
            "the URL of a database is postgres://",
        ),
    ];
    for (url, code, says) in cases {
        for command in [&["ring", "status"][..], &["keys", "list"]] {
            let run = run(url, command);
            assert_eq!(run.code, *code, "{}", run.stderr);
            assert!(run.stderr.contains(says), "{says}: {}", run.stderr);
            assert!(
                run.stderr.contains(&format!("(the ring's inventory is {store})"))
                    && !run.stderr.contains("key manager")
                    && !run.stderr.contains("c4n4ry"),
                "{}",
                run.stderr
            );
        }
    }
    // Another ring of the same name, and the way out.
    let run = run(&url, &["ring", "init", "--ring", "two.toml", "--store", &store]);
    assert_eq!(run.code, 8, "{}", run.stderr);
    assert!(
        run.stderr.contains("postgres-env:VARIABLE/NAME"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_scope_that_no_context_has_is_refused_where_it_is_named() {
    let ring = Ring::none();
    ring.json(&["ring", "init", "--scope-template", "tenant/{tenant}"]);
    let create = |scope: &'static str| ["keys", "create", "--scope", scope, "--kek", "local"];
    let said = ring.fails(2, &create("tenant/a%2fb"));
    assert!(said.contains("no context has a scope with a%2fb"), "{said}");
    ring.json(&create("tenant/a%2Fb"));
    ring.0.write("plain", "alice");
    let seal = [
        "seal",
        "--ring",
        "ring.toml",
        "--context",
        "tenant=a/b",
        "-o",
        "a.wax",
        "plain",
    ];
    assert_eq!(ring.run(&seal).code, 0);
    // A rule that would hold for nothing.
    let rule = |scope: &str| {
        let rule = format!(
            "schema = 1\n[[scope]]\nscope = \"{scope}\"\nprofile = \"hard\"\n[profile.hard]\nhardware = true\n"
        );
        ring.0.write("profiles.toml", rule);
        ring.run(&[&seal[..], &["--profiles", "profiles.toml"]].concat())
    };
    let run = rule("tenant/a%2fb");
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("after % come"), "{}", run.stderr);
    assert_eq!(rule("tenant/a%2Fb").code, 8);
}
