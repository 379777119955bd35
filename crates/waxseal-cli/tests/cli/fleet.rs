//! `waxseal rewrap` over directories and stores.

use std::fs;

use serde_json::Value;

use crate::tool::{Tool, bytes};

const TO_NEW: [&str; 5] = ["rewrap", "--kek", "env:K", "--to", "env:NEW"];

fn put(tool: &Tool, name: &str, options: &[&str], len: usize) {
    let path = tool.folder().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let sealed = tool.done(&[&["seal", "--kek", "env:K"], options].concat(), &bytes(len));
    fs::write(path, sealed).unwrap();
}

fn json(tool: &Tool, options: &[&str]) -> (i32, Value) {
    let run = tool.run(&[&["--json"], &TO_NEW[..], options].concat(), &[]);
    (run.code, serde_json::from_slice(&run.stdout).unwrap_or_default())
}

fn opens(tool: &Tool, name: &str, options: &[&str], len: usize) {
    let sealed = fs::read(tool.folder().join(name)).unwrap();
    let opened = tool.done(&[&["open", "--kek", "env:NEW"], options].concat(), &sealed);
    assert_eq!(opened, bytes(len), "{name}");
}

#[test]
fn a_directory_is_moved_and_a_second_run_finds_nothing_to_do() {
    let tool = Tool::new();
    for (number, name) in ["data/a", "data/b/c", "data/b/d"].iter().enumerate() {
        put(&tool, name, &["--context", "table=users"], number * 1000);
    }
    put(
        &tool,
        "data/roomy",
        &["--context", "table=users", "--padding", "512"],
        7,
    );
    fs::write(tool.folder().join("data/readme"), "not sealed").unwrap();
    let options = ["--context", "table=users", "data"];

    let (code, dry) = json(&tool, &[&["--dry-run"], &options[..]].concat());
    assert_eq!(
        (code, &dry["dry_run"], &dry["moved"]),
        (0, &true.into(), &4.into())
    );
    let before = fs::read(tool.folder().join("data/a")).unwrap();
    let (code, run) = json(&tool, &[&["--verify", "all"], &options[..]].concat());
    assert_eq!((code, &run["whole"], &run["moved"]), (0, &true.into(), &4.into()));
    assert_eq!(run["counts"]["read_back"], 4);
    for count in ["examined", "rewrapped", "foreign", "tampered"] {
        assert_eq!(run["counts"][count], dry["counts"][count], "{count}");
    }
    assert_ne!(fs::read(tool.folder().join("data/a")).unwrap(), before);
    for (number, name) in ["data/a", "data/b/c", "data/b/d"].iter().enumerate() {
        opens(&tool, name, &["--context", "table=users"], number * 1000);
    }
    opens(&tool, "data/roomy", &["--context", "table=users"], 7);
    let (code, again) = json(&tool, &options);
    assert_eq!(
        (code, &again["moved"], &again["counts"]["written"]),
        (0, &0.into(), &0.into())
    );
    assert_eq!(again["counts"]["current"], 4);
}

#[test]
fn what_cannot_be_moved_is_told_and_the_others_are_moved() {
    let tool = Tool::new();
    put(&tool, "data/good", &[], 5);
    put(&tool, "data/other", &["--context", "tenant=CANARY"], 5);
    fs::write(tool.folder().join("data/cut"), b"WAX\x01cut").unwrap();
    let options = ["--report", "report.md", "data"];
    let run = tool.run(&[&TO_NEW[..], &options].concat(), &[]);
    assert_eq!(run.code, 10, "{}", run.stderr);
    assert!(
        run.stderr.contains("2 items could not be moved"),
        "{}",
        run.stderr
    );
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        text.contains("tampered: cut:") && text.contains("tampered: other:"),
        "{text}"
    );
    assert!(!text.contains("CANARY"), "{text}");
    let written = fs::read_to_string(tool.folder().join("report.md")).unwrap();
    assert!(written.contains("| `cut` | tampered |"), "{written}");
    opens(&tool, "data/good", &[], 5);
}

#[test]
fn contexts_come_from_paths_or_from_the_envelopes() {
    let tool = Tool::new();
    for tenant in ["acme", "globex"] {
        put(
            &tool,
            &format!("data/{tenant}/x"),
            &["--context", &format!("tenant={tenant}")],
            3,
        );
    }
    fs::write(
        tool.folder().join("store.toml"),
        "kind = \"dir\"\npath = \"data\"\n\n[context]\ntenant = \"{1}\"\n",
    )
    .unwrap();
    let (code, run) = json(&tool, &["store.toml"]);
    assert_eq!((code, &run["moved"]), (0, &2.into()), "{run}");
    opens(&tool, "data/acme/x", &["--context", "tenant=acme"], 3);

    put(
        &tool,
        "own/x",
        &["--context", "tenant=acme", "--store-context"],
        3,
    );
    let (code, run) = json(&tool, &["--use-stored-context", "own"]);
    assert_eq!((code, &run["moved"]), (0, &1.into()), "{run}");
}

#[test]
fn a_ledger_is_of_one_job() {
    let tool = Tool::new();
    put(&tool, "data/a", &[], 3);
    let options = ["--ledger", "job.json", "data"];
    let (code, run) = json(&tool, &options);
    assert_eq!((code, &run["moved"]), (0, &1.into()));
    // It is done, and says so again.
    let (code, run) = json(&tool, &options);
    assert_eq!((code, &run["moved"], &run["whole"]), (0, &1.into(), &true.into()));
    let line = tool.fails_with(
        4,
        &[&["rewrap", "--kek", "env:NEW", "--to", "env:K"], &options[..]].concat(),
        &[],
    );
    assert!(line.contains("another job") && line.contains("env:NEW"), "{line}");
}

#[test]
fn options_go_with_what_they_are_for() {
    let tool = Tool::new();
    put(&tool, "data/a", &[], 3);
    fs::write(
        tool.folder().join("store.toml"),
        "kind = \"dir\"\npath = \"data\"\n",
    )
    .unwrap();
    for (options, says) in [
        (&["--dry-run", "data/a"][..], "--dry-run is for a store"),
        (&["--workers", "2", "data/a"], "--workers is for a store"),
        (&["-o", "out", "data"], "--output is for a single envelope"),
        (&["--in-place", "data"], "--in-place is for a single envelope"),
        (&["--context", "a=b", "store.toml"], "[context]"),
    ] {
        let line = tool.fails_with(2, &[&TO_NEW[..], options].concat(), &[]);
        assert!(line.contains(says), "{line}");
    }
    for (text, says) in [
        ("", "kind"),
        ("kind = \"moon\"", "moon"),
        ("kind = \"dir\"", "path"),
        ("kind = \"dir\"\npath = \"data\"\ntint = 1", "tint"),
        ("kind = \"sqlite\"\ntable = \"t\"\nenvelope = \"e\"", "path"),
        (
            "kind = \"postgres\"\ntable = \"t\"\nenvelope = \"e\"",
            "url_variable",
        ),
        ("kind = \"dir\"\npath = \"data\"\n[context]\na = \"{\"", "brace"),
        ("kind = \"s3\"\nprefix = \"p\"", "bucket"),
        ("kind = \"s3\"\nbucket = \"a/b\"", "prefix"),
        ("kind = \"azure-blob\"\nbucket = \"b\"", "container"),
    ] {
        fs::write(tool.folder().join("bad.toml"), text).unwrap();
        let line = tool.fails_with(2, &[&TO_NEW[..], &["bad.toml"]].concat(), &[]);
        assert!(line.contains("bad.toml") && line.contains(says), "{line}");
    }
    fs::write(
        tool.folder().join("gone.toml"),
        "kind = \"dir\"\npath = \"nowhere\"\n",
    )
    .unwrap();
    let line = tool.fails_with(9, &[&TO_NEW[..], &["gone.toml"]].concat(), &[]);
    assert!(line.contains("nowhere"), "{line}");
}

/// The table is made and looked at by Python's own SQLite.
#[cfg(feature = "ring")]
#[test]
fn rows_of_a_table_are_moved_where_they_are() {
    let tool = Tool::new();
    for tenant in ["acme", "globex"] {
        put(&tool, tenant, &["--context", &format!("tenant={tenant}")], 300);
    }
    let python = |script: &str| {
        let run = std::process::Command::new("python3")
            .args(["-c", script])
            .current_dir(tool.folder())
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    python(
        "import sqlite3; d = sqlite3.connect('app.db')\n\
         d.execute('create table users (id integer primary key, tenant_id text, email blob)')\n\
         [d.execute('insert into users (tenant_id, email) values (?, ?)', (t, open(t, 'rb').read())) for t in ('acme', 'globex') for _ in range(5)]\n\
         d.commit()",
    );
    fs::set_permissions(
        tool.folder().join("app.db"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    fs::write(
        tool.folder().join("users.toml"),
        "kind = \"sqlite\"\npath = \"app.db\"\ntable = \"users\"\nenvelope = \"email\"\n[context]\ntenant = \"{tenant_id}\"\n",
    )
    .unwrap();
    let (code, dry) = json(&tool, &["--dry-run", "users.toml"]);
    assert_eq!((code, &dry["moved"]), (0, &10.into()), "{dry}");
    let (code, run) = json(&tool, &["users.toml"]);
    assert_eq!((code, &run["moved"]), (0, &10.into()), "{run}");
    // Five rows share a data key, and do afterwards.
    assert_eq!(run["counts"]["rewrapped"], 2);
    python(
        "import sqlite3; d = sqlite3.connect('app.db')\n\
         [open(f'row-{i}', 'wb').write(e) for i, e in d.execute('select id, email from users')]",
    );
    for row in 1..=10 {
        let tenant = if row <= 5 { "acme" } else { "globex" };
        opens(
            &tool,
            &format!("row-{row}"),
            &["--context", &format!("tenant={tenant}")],
            300,
        );
    }
}

/// The objects are put and fetched without the command.
#[cfg(feature = "object-store")]
#[test]
fn objects_of_a_bucket_are_moved_where_they_are() {
    use crate::buckets::{ask, create_bucket};

    let Some(url) = crate::servers::address("moto") else {
        return;
    };
    let tool = Tool::new();
    let bucket = format!("waxseal-cli-fleet-{}", std::process::id());
    create_bucket(&url, &bucket);
    for tenant in ["acme", "globex"] {
        put(&tool, tenant, &["--context", &format!("tenant={tenant}")], 300);
        let sealed = fs::read(tool.folder().join(tenant)).unwrap();
        for name in ["documents", "elsewhere"] {
            let answer = ask(&url, "PUT", &format!("{bucket}/{name}/{tenant}/1.pdf"), &sealed);
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        }
    }
    fs::write(
        tool.folder().join("documents.toml"),
        format!(
            "kind = \"s3\"\nbucket = \"{bucket}\"\nprefix = \"documents\"\n[context]\ntenant = \"{{1}}\"\n"
        ),
    )
    .unwrap();
    let variables = crate::tool::of_moto(&url);
    for (options, moved) in [(&["--dry-run"][..], 2), (&[], 2), (&[], 0)] {
        let run = tool.run_with(
            &variables,
            &[&["--json"], &TO_NEW[..], options, &["documents.toml"]].concat(),
            &[],
        );
        assert_eq!(run.code, 0, "{}", run.stderr);
        let run: Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(run["moved"], moved, "{run}");
    }
    for tenant in ["acme", "globex"] {
        let context = ["--context", &format!("tenant={tenant}")];
        for (name, key) in [("documents", "env:NEW"), ("elsewhere", "env:K")] {
            let answer = ask(&url, "GET", &format!("{bucket}/{name}/{tenant}/1.pdf"), b"");
            let body = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            let opened = tool.done(&[&["open", "--kek", key], &context[..]].concat(), &answer[body..]);
            assert_eq!(opened, bytes(300), "{name}");
        }
    }
}

#[cfg(not(feature = "object-store"))]
#[test]
fn objects_are_said_not_to_be_compiled_in() {
    let tool = Tool::new();
    fs::write(
        tool.folder().join("documents.toml"),
        "kind = \"s3\"\nbucket = \"b\"\n",
    )
    .unwrap();
    let line = tool.refused(&[&TO_NEW[..], &["documents.toml"]].concat(), &[]);
    assert!(line.contains("feature `object-store`"), "{line}");
}
