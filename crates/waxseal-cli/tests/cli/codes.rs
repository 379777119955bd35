//! Exit codes and errors as data: what a script must be able to tell apart.

use serde_json::Value;

use crate::tool::{CHEAP, Run, Tool};

/// The object of the last line on standard error.
fn error(run: &Run) -> Value {
    let line = run.stderr.lines().last().unwrap_or_default();
    let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{}", run.stderr));
    assert_eq!(object["schema"], 1, "{object}");
    let error = &object["error"];
    assert_eq!(error["exit_code"], run.code, "{object}");
    for key in ["kind", "message"] {
        assert!(error[key].is_string(), "{object}");
    }
    for key in [
        "detail",
        "operation",
        "provider",
        "retryable",
        "retry_after_ms",
        "attempts",
    ] {
        assert!(error.get(key).is_some(), "{object}");
    }
    error.clone()
}

#[test]
fn every_code_has_its_case_and_its_kind() {
    let tool = Tool::new();
    let sealed = tool.done(&["seal", "--kek", "env:K", "--context", "a=b"], b"hello");
    let hidden = tool.done(&["seal", "--kek", "env:K", "--hide-kek-id"], b"hello");
    let stored = tool.done(
        &["seal", "--kek", "env:K", "--store-context", "--context", "a=b"],
        b"x",
    );
    tool.write("held", "before");
    let held = std::fs::File::open(tool.path("held")).unwrap();
    held.lock().unwrap();
    tool.write("key", "there");
    let mut altered = sealed.clone();
    *altered.last_mut().unwrap() ^= 1;
    let open = ["open", "--kek", "env:K"];
    let context = ["open", "--kek", "env:K", "--context", "a=b"];
    let cases: &[(i32, &str, &[&str], &[u8])] = &[
        (2, "usage", &["open", "--kek", "env:K", "--CANARY"], b""),
        (2, "usage", &["open"], b""),
        (2, "usage", &["open", "--kek", "nothing:K"], b""),
        (2, "usage", &["seal", "--kek", "env:K", "--timeout", "soon"], b""),
        (2, "usage", &["doctor", "--kek", "env:K", "--within", "soon"], b""),
        (3, "cannot_open", &open, &sealed),
        (3, "cannot_open", &["open", "--kek", "env:NEW"], &hidden),
        (3, "cannot_open", &context, &altered),
        (3, "context_mismatch", &open, &stored),
        (
            4,
            "no_usable_key",
            &["open", "--kek", "env:NEW", "--context", "a=b"],
            &sealed,
        ),
        (4, "configuration", &["open", "--kek", "env:MISSING"], &sealed),
        (4, "configuration", &["seal", "--kek", "file:missing"], b"x"),
        (6, "busy", &["seal", "--kek", "env:K", "-o", "held"], b"x"),
        (7, "malformed", &context, b"plain text and more of it"),
        (7, "malformed", &["inspect"], b""),
        (7, "malformed", &["rewrap", "--kek", "env:K"], &sealed[..20]),
        (7, "unsupported_version", &context, b"WAX\x02\x01\0\0\0"),
        (8, "refused", &["keygen", "-o", "key"], b""),
        (9, "io", &["seal", "--kek", "env:K", "missing"], b""),
        (9, "io", &["seal", "--kek", "env:K", "-o", "missing/out"], b""),
        (10, "doctor", &["doctor", "--kek", "env:MISSING"], b""),
    ];
    for (code, kind, arguments, stdin) in cases {
        let plain = end(&tool, arguments, stdin);
        assert_eq!(plain.code, *code, "{arguments:?}: {}", plain.stderr);
        assert!(plain.stderr.starts_with("waxseal: "), "{}", plain.stderr);
        for json in [
            [&["--json"], *arguments].concat(),
            [*arguments, &["--json"]].concat(),
        ] {
            let run = end(&tool, &json, stdin);
            assert_eq!(run.code, *code, "{arguments:?}: {}", run.stderr);
            let error = error(&run);
            assert_eq!(error["kind"], *kind, "{error}");
            assert_eq!(error["retryable"], *code == 6, "{error}");
            for secret in ["CANARY", crate::tool::KEY] {
                assert!(!run.stderr.contains(secret), "{}", run.stderr);
            }
        }
    }
}

fn end(tool: &Tool, arguments: &[&str], stdin: &[u8]) -> Run {
    crate::tool::end(tool.command(arguments).spawn().unwrap(), stdin)
}

#[test]
fn an_error_lists_what_was_tried() {
    let tool = Tool::new();
    let sealed = tool.done(&["seal", "--kek", "env:K"], b"hello");
    let run = end(&tool, &["--json", "open", "--kek", "env:NEW"], &sealed);
    let error = error(&run);
    assert_eq!(error["operation"], "open", "{error}");
    let attempt = &error["attempts"][0];
    assert_eq!(attempt["provider"], "local", "{error}");
    assert!(
        attempt["kek_id"].is_string() && attempt["kind"].is_null(),
        "{error}"
    );
}

#[test]
fn results_are_one_object_and_stand_where_the_payload_does_not() {
    let tool = Tool::new();
    let object = |text: &[u8]| -> Value {
        let value: Value =
            serde_json::from_slice(text).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(text)));
        assert_eq!(value["schema"], 1);
        value
    };
    let run = end(
        &tool,
        &["--json", "seal", "--kek", "env:K", "-o", "sealed"],
        b"hello",
    );
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let result = object(&run.stdout);
    assert_eq!(result["command"], "seal");
    assert_eq!(
        (&result["output"], &result["plaintext_len"]),
        (&"sealed".into(), &5.into())
    );
    let run = end(&tool, &["--json", "open", "--kek", "env:K", "sealed"], b"");
    assert_eq!((run.code, run.stdout.as_slice()), (0, &b"hello"[..]));
    assert_eq!(object(run.stderr.as_bytes())["plaintext_len"], 5);
    let run = end(&tool, &["--json", "keygen", "-o", "key"], b"");
    let id = object(&run.stdout)["kek_id"].clone();
    tool.done(&["seal", "--kek", "file:key", "-o", "by-key"], b"");
    let shown = object(&end(&tool, &["inspect", "--json", "by-key"], b"").stdout);
    assert_eq!(shown["wraps"][0]["kek_id"], id);
    let run = end(
        &tool,
        &["doctor", "--json", "--kek", "env:K", "--kek", "env:MISSING"],
        b"",
    );
    assert_eq!(run.code, 10);
    let found = object(&run.stdout);
    assert_eq!(found["ok"], false);
    assert_eq!(
        (&found["keys"][0]["wraps"], &found["keys"][0]["unwraps"]),
        (&true.into(), &true.into())
    );
    assert_eq!(found["keys"][1]["wraps"], false);
    assert_eq!(error(&run)["kind"], "doctor");
    // Warnings are objects of their own, so every line is one.
    let mut command = tool.command(&["--json", "seal", "--kek", CHEAP, "-o", "warned"]);
    let run = crate::tool::end(command.env("P", "two words ").spawn().unwrap(), b"x");
    let warning = object(run.stderr.as_bytes());
    assert!(
        warning["warning"]["message"]
            .as_str()
            .unwrap()
            .contains("white space")
    );
}

#[test]
fn the_help_and_the_documentation_have_the_same_table() {
    let tool = Tool::new();
    let help = String::from_utf8(tool.done(&["--help"], b"")).unwrap();
    let documented = include_str!("../../../../docs/cli.md");
    let codes = help.split_once("Exit codes:\n").unwrap().1;
    let mut rows = 0;
    for line in codes.lines() {
        let Some((code, meaning)) = line.trim().split_once("  ") else {
            continue;
        };
        rows += 1;
        let row = format!("| {} | {} |", code.trim(), meaning.trim());
        assert!(documented.contains(&row), "docs/cli.md lacks {row}");
    }
    assert_eq!(rows, 16, "{codes}");
}
