//! `audit init` and `audit publish`, and logs in a database.

use std::fs;

use serde_json::Value;

use crate::tool::{PAIR, Tool};

const PUBLISH: [&str; 5] = ["audit", "publish", "log", "--to", "copy"];

fn seal(tool: &Tool, log: &str) {
    tool.done(&["seal", "--kek", "env:K", "--context", PAIR, "--log", log], b"x");
}

fn json(tool: &Tool, arguments: &[&str]) -> Value {
    let out = tool.done(&[arguments, &["--json"]].concat(), b"");
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_copy_grows_and_verifies_like_its_log() {
    let tool = Tool::new();
    let key = String::from_utf8(tool.done(&["audit", "init", "log"], b"")).unwrap();
    let key = key.trim();
    assert_eq!(tool.read("log/vkey"), format!("{key}\n").as_bytes());
    seal(&tool, "log");
    seal(&tool, "log");
    let to_copy = [&PUBLISH[..], &["--key", key]].concat();
    let done = json(&tool, &to_copy);
    assert_eq!((&done["size"], &done["added"]), (&2.into(), &2.into()), "{done}");
    seal(&tool, "log");
    let done = json(&tool, &to_copy);
    assert_eq!((&done["size"], &done["added"]), (&3.into(), &1.into()), "{done}");
    let said = String::from_utf8(tool.done(&to_copy, b"")).unwrap();
    assert!(
        said.starts_with("3 records of ") && said.contains(", 0 of them new"),
        "{said}"
    );
    tool.done(&["audit", "verify", "copy", "--key", key], b"");
    assert_eq!(
        json(&tool, &["audit", "show", "copy"])["events"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    // Made again, it is the same log.
    let again = json(&tool, &["audit", "init", "log"]);
    assert_eq!((&again["key"], &again["new_key"]), (&key.into(), &false.into()));
    // Only what others read is there.
    let mut names: Vec<_> = fs::read_dir(tool.path("copy"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["checkpoint", "lock", "tile", "vkey"]);
}

#[test]
fn a_log_that_does_not_continue_its_copy_is_refused() {
    let tool = Tool::new();
    seal(&tool, "log");
    tool.done(&["audit", "publish", "log", "--to", "before"], b"");
    seal(&tool, "log");
    tool.done(&PUBLISH, b"");
    // The older state, as from a backup. It is a copy itself, which can be copied.
    let stderr = tool.fails_with(10, &["audit", "publish", "before", "--to", "copy"], b"");
    assert!(stderr.contains("has 1 records, and its copy has 2"), "{stderr}");
    seal(&tool, "other");
    let stderr = tool.fails_with(4, &["audit", "publish", "other", "--to", "copy"], b"");
    assert!(stderr.contains("no copy of the log"), "{stderr}");
    let stderr = tool.fails_with(4, &["audit", "publish", "other", "--to", "log"], b"");
    assert!(stderr.contains("no copy of the log"), "{stderr}");
    let usage = |arguments: &[&str], what: &str| {
        let stderr = tool.fails_with(2, arguments, b"");
        assert!(stderr.contains(what), "{stderr}");
    };
    usage(
        &["audit", "publish", "log", "--to", "copy", "--key", "x"],
        "NAME+ID+KEY",
    );
    usage(&["audit", "init", "log", "--origin", "a/b"], "--origin");
    let in_database = "postgres-env:URL?key=log.key";
    usage(&["audit", "prove", in_database, "0"], "audit publish");
    usage(
        &["audit", "show", "postgres-env:URL"],
        "postgres-env:VARIABLE?key=FILE",
    );
    usage(
        &["seal", "--kek", "env:K", "--log", "postgres-env:URL/x?key=k"],
        "postgres-env:VARIABLE?key=FILE",
    );
}

#[cfg(not(feature = "postgres"))]
#[test]
fn a_database_is_said_not_to_be_compiled_in() {
    let tool = Tool::new();
    tool.done(&["audit", "init", "log"], b"");
    let log = "postgres-env:URL?key=log.key";
    for arguments in [
        &["audit", "init", log][..],
        &["audit", "publish", log, "--to", "copy"],
        &["seal", "--kek", "env:K", "--log", log],
    ] {
        let run = tool.run(arguments, b"x");
        assert!(
            run.code != 0 && run.stderr.contains("feature `postgres`"),
            "{}",
            run.stderr
        );
    }
}

#[cfg(feature = "postgres")]
#[test]
fn commands_at_the_same_time_share_a_log_in_postgresql() {
    use std::thread;

    let Some(url) = crate::servers::address("postgres") else {
        return;
    };
    let tool = Tool::new();
    let log = "postgres-env:URL?key=audit.key";
    let with_url = |arguments: &[&str]| {
        let run = tool.run_with(&[("URL", &url)], arguments, b"x");
        (run.code, run.stdout, run.stderr)
    };
    let done = |arguments: &[&str]| {
        let (code, stdout, stderr) = with_url(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        String::from_utf8_lossy(&stdout).into_owned()
    };
    let seal = ["seal", "--kek", "env:K", "--context", PAIR, "--log", log];
    let (_, _, stderr) = with_url(&seal);
    assert!(stderr.contains("audit.key"), "{stderr}");
    let (code, _, stderr) = with_url(&["audit", "init", log]);
    assert!(code == 2 && stderr.contains("--origin"), "{stderr}");
    let origin = format!("cli.example/{}", std::process::id());
    let key = done(&["audit", "init", log, "--origin", &origin]);
    assert!(key.starts_with(&format!("{origin}+")), "{key}");
    assert_eq!(done(&["audit", "init", log]), key);
    let (code, _, stderr) = with_url(&["audit", "init", log, "--origin", "other.example/x"]);
    assert!(code == 2 && stderr.contains("is that of the log"), "{stderr}");
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| done(&seal));
        }
    });
    // Whoever reads needs the public half only.
    tool.write("audit.pub", &key);
    let public = "postgres-env:URL?key=audit.pub";
    let said = done(&["audit", "verify", public]);
    assert!(
        said.contains("6 records") && said.contains("whole and unchanged"),
        "{said}"
    );
    assert_eq!(done(&["audit", "show", public]).lines().count(), 6);
    tool.write("kept.note", done(&["audit", "checkpoint", public]));
    let said = done(&["audit", "publish", public, "--to", "copy"]);
    assert_eq!(said, format!("6 records of {origin}, 6 of them new\n"));
    done(&["audit", "verify", "copy", "--key", key.trim()]);
    done(&[
        "audit",
        "verify",
        public,
        "--checkpoint",
        "kept.note",
        "--key",
        key.trim(),
    ]);
    let (_, _, stderr) = with_url(&["seal", "--kek", "env:K", "--log", public]);
    assert!(stderr.contains("audit.pub"), "{stderr}");
    // What is wrong says which variable, and nothing of a URL.
    let run = tool.run_with(&[("URL", "postgres://u:c4n4ry@/")], &seal, b"x");
    assert!(run.code != 0 && !run.stderr.contains("c4n4ry"), "{}", run.stderr);
    let run = tool.run(&seal, b"x");
    assert!(
        run.code != 0 && run.stderr.contains("variable URL"),
        "{}",
        run.stderr
    );
    // A key of a log that is not there.
    done(&["audit", "init", "elsewhere"]);
    let (_, _, stderr) = with_url(&[
        "seal",
        "--kek",
        "env:K",
        "--log",
        "postgres-env:URL?key=elsewhere.key",
    ]);
    assert!(stderr.contains("audit init"), "{stderr}");
}

#[cfg(feature = "postgres")]
#[test]
fn a_log_in_postgresql_of_which_a_record_was_changed_is_looked_at_as_it_is() {
    use sqlx::Connection as _;

    let Some(url) = crate::servers::address("postgres") else {
        return;
    };
    let tool = Tool::new();
    let log = "postgres-env:URL?key=audit.key";
    let run = |arguments: &[&str]| tool.run_with(&[("URL", &url)], arguments, b"x");
    let origin = format!("cli.example/changed-{}", std::process::id());
    assert_eq!(run(&["audit", "init", log, "--origin", &origin]).code, 0);
    for _ in 0..4 {
        assert_eq!(run(&["seal", "--kek", "env:K", "--log", log]).code, 0);
    }
    let sql =
        format!("update waxseal_log_record set record = '{{}}' where origin = '{origin}' and number = 3");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        let changed = sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut connection)
            .await;
        assert_eq!(changed.unwrap().rows_affected(), 1);
    });
    let verified = run(&["audit", "verify", log]);
    assert_eq!(verified.code, 10, "{}", verified.stderr);
    assert!(
        verified.stderr.contains("altered at record 3"),
        "{}",
        verified.stderr
    );
    let published = run(&["audit", "publish", log, "--to", "copy"]);
    assert_eq!(published.code, 10, "{}", published.stderr);
    assert!(published.stderr.contains("record 3"), "{}", published.stderr);
    let shown = run(&["audit", "show", log]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert_eq!(String::from_utf8(shown.stdout).unwrap().lines().count(), 4);
}

#[cfg(feature = "object-store")]
#[test]
fn a_copy_is_made_of_objects() {
    let Some(url) = crate::servers::address("moto") else {
        return;
    };
    let tool = Tool::new();
    let bucket = format!("waxseal-cli-{}", std::process::id());
    crate::buckets::create_bucket(&url, &bucket);
    let to = format!("s3://{bucket}/logs/one");
    let variables = crate::tool::of_moto(&url);
    for added in [2, 1] {
        for _ in 0..added {
            seal(&tool, "log");
        }
        let run = tool.run_with(&variables, &["audit", "publish", "log", "--to", &to], b"");
        assert_eq!(run.code, 0, "{}", run.stderr);
        let said = String::from_utf8(run.stdout).unwrap();
        assert!(said.contains(&format!(", {added} of them new")), "{said}");
    }
    let stderr = tool.fails_with(2, &["audit", "publish", "log", "--to", "ftp://x/y"], b"");
    assert!(stderr.contains("s3://BUCKET/PREFIX"), "{stderr}");
    let missing = format!("s3://{bucket}-not-there/x");
    let run = tool.run_with(&variables, &["audit", "publish", "log", "--to", &missing], b"");
    assert!(run.code != 0 && run.stderr.contains("bucket"), "{}", run.stderr);
}

#[cfg(not(feature = "object-store"))]
#[test]
fn objects_are_said_not_to_be_compiled_in() {
    let tool = Tool::new();
    seal(&tool, "log");
    let run = tool.run(&["audit", "publish", "log", "--to", "s3://b/x"], b"");
    assert!(
        run.code != 0 && run.stderr.contains("feature `object-store`"),
        "{}",
        run.stderr
    );
}
