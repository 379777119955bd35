//! `waxseal doctor`.

use crate::tool::{CHEAP, PAIR, Tool};

#[test]
fn keys_that_work_are_shown_with_their_id() {
    let tool = Tool::new();
    let table = tool.done(
        &["doctor", "--kek", "env:K", "--kek", CHEAP, "--context", PAIR],
        b"",
    );
    let table = String::from_utf8(table).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("KEY"), "{table}");
    for line in &lines[1..] {
        assert_eq!(line.matches("works").count(), 2, "{line}");
        assert!(line.contains(" local "), "{line}");
    }
}

#[test]
fn a_key_that_does_not_work_is_named_and_the_exit_code_says_so() {
    let tool = Tool::new();
    let run = tool.run(
        &["doctor", "--kek", "env:K", "--kek", "env:NOBODY_SETS_THIS"],
        b"",
    );
    assert_eq!(run.code, 10);
    let table = String::from_utf8(run.stdout).unwrap();
    assert!(table.lines().nth(1).unwrap().contains("works"), "{table}");
    let bad = table.lines().nth(2).unwrap();
    assert!(bad.contains("fails") && !bad.contains("works"), "{table}");
    assert!(table.contains("variable NOBODY_SETS_THIS is not set"), "{table}");
    assert!(
        run.stderr.contains("1 of 2 keys needs attention"),
        "{}",
        run.stderr
    );
    tool.fails_with(2, &["doctor", "--kek", "what:K"], b"");
    tool.fails_with(2, &["doctor"], b"");

    let variables = [("WAXSEAL_KMS_URI", "env:K"), ("WAXSEAL_KMS_ALSO_OPEN", "env:NEW")];
    let run = tool.run_with(&variables, &["doctor"], b"");
    let table = String::from_utf8(run.stdout).unwrap();
    assert_eq!(run.code, 0, "{table}");
    assert_eq!(table.matches("works").count(), 4, "{table}");
}
