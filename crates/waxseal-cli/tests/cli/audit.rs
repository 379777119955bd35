//! `--log` and `audit`.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::tool::{AAD, PAIR, Tool, end};

const SEAL: [&str; 7] = ["seal", "--kek", "env:K", "--context", PAIR, "--log", "log"];
const OPEN: [&str; 7] = ["open", "--kek", "env:K", "--context", PAIR, "--log", "log"];

/// Events before and after a re-wrap: its job is one of the schema of rings.
const JOB: usize = if cfg!(feature = "ring") { 1 } else { 0 };
/// The number of the event of the re-wrap.
const REWRAP: usize = 4 + JOB;
/// How many events there are.
const ALL: usize = 5 + 2 * JOB;

/// A tool with a log of a seal, an open, an open that was refused, and a re-wrap.
fn used() -> Tool {
    let tool = Tool::new();
    let sealed = tool.done(&[&SEAL[..], &["--aad", AAD]].concat(), b"CANARY plaintext");
    tool.write("sealed", &sealed);
    tool.done(&[&OPEN[..], &["--aad", AAD, "sealed"]].concat(), b"");
    // The key opens it, and the AAD is wrong: a release all the same.
    let run = tool.run(&[&OPEN[..], &["sealed"]].concat(), b"");
    assert_eq!(run.code, 3, "{}", run.stderr);
    let wrong = [
        "open",
        "--kek",
        "env:NEW",
        "--context",
        PAIR,
        "--log",
        "log",
        "sealed",
    ];
    assert_eq!(tool.run(&wrong, b"").code, 4);
    let rewrap = [
        "rewrap",
        "--kek",
        "env:K",
        "--to",
        "env:NEW",
        "--context",
        PAIR,
        "--log",
        "log",
        "--quiet",
        "sealed",
        "-o",
        "moved",
    ];
    tool.done(&rewrap, b"");
    tool
}

/// The JSON of a command, whether it finds something or warns.
fn json(tool: &Tool, arguments: &[&str]) -> Value {
    let command = tool.command(&[arguments, &["--json"]].concat()).spawn();
    let run = end(command.unwrap(), b"");
    serde_json::from_slice(&run.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", run.stderr))
}

fn vkey(tool: &Tool) -> String {
    String::from_utf8(tool.read("log/vkey"))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn each_command_that_uses_a_key_is_in_the_log() {
    let tool = used();
    let shown = json(&tool, &["audit", "show", "log"]);
    let events = shown["events"].as_array().unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|it| {
            let text = |name: &str| it["event"][name].as_str().unwrap_or_default().to_owned();
            (text("event.name"), text("waxseal.outcome"), text("error.type"))
        })
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()))
        .collect();
    let is_there = |expected: &&(&str, &str, &str)| JOB == 1 || expected.0 != "waxseal.ring.rewrap_job";
    let expected = [
        ("waxseal.generate", "success", ""),
        ("waxseal.unwrap", "success", ""),
        ("waxseal.unwrap", "success", ""),
        ("waxseal.unwrap", "failed", "no_usable_key"),
        ("waxseal.ring.rewrap_job", "intended", ""),
        ("waxseal.rewrap", "success", ""),
        ("waxseal.ring.rewrap_job", "success", ""),
    ];
    let expected: Vec<_> = expected.iter().filter(is_there).copied().collect();
    assert_eq!(told, expected);
    let text = shown.to_string();
    assert!(!text.contains("CANARY"), "{text}");
    assert_eq!(events[REWRAP]["record"], REWRAP);
    #[cfg(feature = "ring")]
    assert!(
        events.iter().all(|it| it["event"]["user.id"].is_string()),
        "{text}"
    );
    // Nothing of the private key is in the directory that is given away.
    let key = tool.read("log.key");
    let seed = String::from_utf8(key).unwrap();
    // The key itself may hold a `+`.
    let seed = seed.trim().splitn(5, '+').last().unwrap().to_owned();
    for name in ["vkey", "checkpoint", "journal", "lock"] {
        assert!(
            !String::from_utf8_lossy(&tool.read(&format!("log/{name}"))).contains(&seed),
            "{name}"
        );
    }
}

#[test]
fn a_variable_names_the_log_for_all_commands() {
    let tool = Tool::new();
    let variables = [("WAXSEAL_AUDIT_LOG", "by-variable")];
    let run = tool.run_with(&variables, &["seal", "--kek", "env:K"], b"x");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        json(&tool, &["audit", "show", "by-variable"])["events"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Without it, none is made.
    tool.done(&["seal", "--kek", "env:K"], b"x");
    assert_eq!(tool.listing(), ["by-variable", "by-variable.key"]);
}

#[test]
fn a_log_is_verified_and_what_is_off_is_named() {
    let tool = used();
    let vkey = vkey(&tool);
    let verify = ["audit", "verify", "log", "--key", &vkey];
    let text = String::from_utf8(tool.done(&verify, b"")).unwrap();
    assert!(
        text.contains(&format!("{ALL} records")) && text.contains("whole and unchanged"),
        "{text}"
    );
    let verdict = json(&tool, &verify);
    assert_eq!((&verdict["size"], &verdict["sound"]), (&ALL.into(), &true.into()));
    assert_eq!(
        (&verdict["key_from"], &verdict["uncovered"]),
        (&"option".into(), &0.into())
    );
    // Without a key the log's own is used, and that is said.
    let run = tool.run(&["audit", "verify", "log"], b"");
    assert!(
        run.code == 0 && run.stderr.contains("give --key"),
        "{}",
        run.stderr
    );
    let note = tool.done(&["audit", "checkpoint", "log"], b"");
    assert_eq!(note, tool.read("log/checkpoint"));
    tool.write("kept", &note);
    let sealed = tool.done(&SEAL, b"more");
    assert!(!sealed.is_empty());
    let kept = [&verify[..], &["--checkpoint", "kept"]].concat();
    let text = String::from_utf8(tool.done(&kept, b"")).unwrap();
    assert!(text.contains("continues the checkpoint"), "{text}");
    // An edit, in the first record that has one.
    let entries = format!("log/tile/entries/000.p/{}", ALL + 1);
    let mut bytes = tool.read(&entries);
    let second = 2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    bytes[second + 30] ^= 1;
    tool.write(&entries, &bytes);
    let line = tool.fails_with(10, &verify, b"");
    assert!(line.contains("altered at record 1"), "{line}");
    let verdict = json(&tool, &verify);
    assert_eq!(
        (&verdict["sound"], &verdict["findings"][0]["record"]),
        (&false.into(), &1.into())
    );
    // An older copy in its place.
    fs::remove_dir_all(tool.path("log")).unwrap();
    let run = tool.run(&["audit", "verify", "log"], b"");
    assert_eq!(run.code, 9, "{}", run.stderr);
}

#[test]
fn a_truncation_shows_by_the_checkpoint_that_was_kept() {
    let tool = used();
    let vkey = vkey(&tool);
    copy(&tool.path("log"), &tool.path("old"));
    tool.done(&SEAL, b"more");
    let note = tool.done(&["audit", "checkpoint", "log"], b"");
    tool.write("kept", &note);
    let verify = ["audit", "verify", "old", "--key", &vkey, "--checkpoint", "kept"];
    let line = tool.fails_with(10, &verify, b"");
    assert!(line.contains(&format!("truncated at record {ALL}")), "{line}");
    // A checkpoint of another log, and a file that is none.
    let variables = [("WAXSEAL_AUDIT_LOG", "other")];
    tool.run_with(&variables, &["seal", "--kek", "env:K"], b"x");
    let note = tool.done(&["audit", "checkpoint", "other"], b"");
    tool.write("kept", &note);
    assert!(tool.fails_with(2, &verify, b"").contains("--checkpoint"));
    tool.write("kept", "no note");
    assert!(tool.fails_with(2, &verify, b"").contains("--checkpoint"));
    let wrong = ["audit", "verify", "log", "--key", "no key"];
    assert!(tool.fails_with(2, &wrong, b"").contains("--key"));
}

/// A log of the same name under another key, in the place of the one that a checkpoint was kept of.
#[test]
fn a_log_that_was_exchanged_with_its_key_is_found() {
    let tool = used();
    tool.done(&["audit", "publish", "log", "--to", "copy"], b"");
    let note = tool.done(&["audit", "checkpoint", "log"], b"");
    tool.write("kept", &note);
    let (folder, vkey) = (tool.path("log"), vkey(&tool));
    let origin = vkey.split('+').next().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    fs::remove_file(tool.path("log.key")).unwrap();
    let key = waxseal::audit::LogKey::generate(origin).unwrap();
    key.write_new(&tool.path("log.key")).unwrap();
    tool.done(&SEAL, b"x");
    let verify = ["audit", "verify", "log", "--checkpoint", "kept"];
    let run = tool.run(&verify, b"");
    assert_eq!(run.code, 10, "{}", run.stderr);
    assert!(run.stderr.contains("names another key"), "{}", run.stderr);
    let verdict = json(&tool, &verify);
    assert_eq!(verdict["findings"][0]["what"], "signature");
    let run = tool.run(&["audit", "publish", "log", "--to", "copy"], b"");
    assert_eq!(run.code, 10, "{}", run.stderr);
    tool.fails_with(10, &["audit", "verify", "log", "--key", &vkey], b"");
}

#[test]
fn a_log_that_is_refused_leaves_nothing_behind() {
    let tool = Tool::new();
    tool.write("file", "x");
    fs::create_dir(tool.path("occupied")).unwrap();
    tool.write("occupied/file", "x");
    let seal = |log: &str| tool.run(&["seal", "--kek", "env:K", "--log", log], b"x").code;
    assert_eq!((seal("."), seal("file"), seal("occupied")), (9, 9, 9));
    tool.fails_with(9, &["audit", "init", "occupied"], b"");
    assert_eq!(tool.listing(), ["file", "occupied"]);
    let inside = fs::read_dir(tool.path("occupied")).unwrap().count();
    assert_eq!(inside, 1);
    // The key of a log that is `.` would be beside the directory.
    let beside = tool.path("x").parent().unwrap().with_extension("key");
    assert!(!beside.exists());
}

/// The daily job of the manual, word for word.
#[cfg(unix)]
#[test]
fn the_daily_job_keeps_the_last_checkpoint_that_verified() {
    let manual = include_str!("../../../../src/manual/evidence.rs");
    let job = manual.split("```sh\n").nth(1).unwrap();
    let job = job.split("//! ```").next().unwrap();
    let job: Vec<_> = job
        .lines()
        .map(|line| line.trim_start_matches("//!").trim())
        .collect();
    assert!(job.iter().any(|line| line.contains("kept.note")), "{job:?}");
    let tool = Tool::new();
    let seal = ["seal", "--kek", "env:K", "--log", "audit-log"];
    tool.done(&seal, b"x");
    tool.write("kept.note", tool.done(&["audit", "checkpoint", "audit-log"], b""));
    let vkey = String::from_utf8(tool.read("audit-log/vkey")).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_waxseal"));
    let run = || {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &job.join("\n")]).current_dir(tool.path("."));
        shell.env("VKEY", vkey.trim());
        shell.env(
            "PATH",
            format!("{}:/usr/bin:/bin", program.parent().unwrap().display()),
        );
        shell.output().unwrap().status.code()
    };
    assert_eq!(run(), Some(0));
    copy(&tool.path("audit-log"), &tool.path("older"));
    tool.done(&seal, b"x");
    let before = tool.read("kept.note");
    assert_eq!(run(), Some(0));
    let kept = tool.read("kept.note");
    assert_ne!(kept, before);
    // An older state in its place: found on this day, and on the next one.
    fs::remove_dir_all(tool.path("audit-log")).unwrap();
    copy(&tool.path("older"), &tool.path("audit-log"));
    for _ in 0..2 {
        assert_eq!(run(), Some(10));
        assert_eq!(tool.read("kept.note"), kept);
    }
}

#[test]
fn a_proof_verifies_with_the_public_key_alone() {
    let tool = used();
    let proof = String::from_utf8(tool.done(&["audit", "prove", "log", "2"], b"")).unwrap();
    let key: waxseal::audit::VerifierKey = vkey(&tool).parse().unwrap();
    let shown = json(&tool, &["audit", "prove", "log", "2"]);
    assert_eq!(shown["proof"], proof);
    let log = waxseal::audit::LogReader::open(tool.path("log")).unwrap();
    let record = log.record(2).unwrap();
    assert_eq!(shown["event"], serde_json::from_slice::<Value>(&record).unwrap());
    let proven = waxseal::audit::Checkpoint::verify_proof(&proof, &record, &key).unwrap();
    assert_eq!(proven, 2);
    for wrong in [&ALL.to_string(), "-1", "x"] {
        let line = tool.fails_with(2, &["audit", "prove", "log", "--", wrong], b"");
        assert!(line.contains("SEQ"), "{line}");
    }
}

#[test]
fn events_are_shown_by_key_actor_and_time() {
    let tool = used();
    let shown = |more: &[&str]| {
        let shown = json(&tool, &[&["audit", "show", "log"], more].concat());
        let events = shown["events"].as_array().unwrap().clone();
        events
            .iter()
            .map(|it| usize::try_from(it["record"].as_u64().unwrap()).unwrap())
            .collect::<Vec<_>>()
    };
    let all = json(&tool, &["audit", "show", "log"]);
    let id = |event: usize| {
        all["events"][event]["event"]["waxseal.keks"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    // The envelope of the refused open names the first key, and the re-wrap replaces a wrap under it.
    assert_eq!(shown(&["--key", &id(0)]), [0, 1, 2, 3, REWRAP]);
    assert_eq!(shown(&["--key", &id(REWRAP)]), [REWRAP]);
    assert_eq!(shown(&["--key", "none"]), [0_usize; 0]);
    assert_eq!(
        shown(&["--from", "2020-01-01", "--to", "2020-01-02"]),
        [0_usize; 0]
    );
    let time = all["events"][2]["event"]["time"].as_str().unwrap();
    assert_eq!(shown(&["--from", time]), (2..ALL).collect::<Vec<_>>());
    assert_eq!(shown(&["--to", time]), [0, 1]);
    #[cfg(feature = "ring")]
    {
        tool.done(&[&SEAL[..], &["--actor", "alice"]].concat(), b"x");
        assert_eq!(shown(&["--actor", "alice"]), [ALL]);
    }
    let text = String::from_utf8(tool.done(&["audit", "show", "log"], b"")).unwrap();
    assert!(
        text.starts_with("0  20") && text.contains("failed (no_usable_key)"),
        "{text}"
    );
    assert!(
        tool.fails_with(2, &["audit", "show", "log", "--from", "noon"], b"")
            .contains("--from")
    );
}

#[test]
fn several_logs_are_shown_as_one_by_time() {
    let tool = Tool::new();
    let order = ["one", "two", "one", "one", "two"];
    for log in order {
        tool.done(&["seal", "--kek", "env:K", "--context", PAIR, "--log", log], b"x");
    }
    let shown = json(&tool, &["audit", "show", "two", "one"]);
    assert_eq!(shown["logs"], serde_json::json!(["two", "one"]));
    let events = shown["events"].as_array().unwrap().iter();
    let told: Vec<_> = events
        .map(|it| (it["log"].as_str().unwrap(), it["record"].as_u64().unwrap()))
        .collect();
    assert_eq!(told, [("one", 0), ("two", 0), ("one", 1), ("one", 2), ("two", 1)]);
    let text = String::from_utf8(tool.done(&["audit", "show", "two", "one"], b"")).unwrap();
    let logs: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(logs, order);
}

#[test]
fn nothing_is_released_if_the_log_cannot_be_written() {
    let tool = Tool::new();
    let sealed = tool.done(&["seal", "--kek", "env:K", "--context", PAIR], b"secret");
    tool.write("sealed", &sealed);
    // Not a log.
    fs::create_dir(tool.path("full")).unwrap();
    tool.write("full/precious", "x");
    let open = [
        "open",
        "--kek",
        "env:K",
        "--context",
        PAIR,
        "sealed",
        "-o",
        "out",
        "--log",
        "full",
    ];
    // A key is made for a log before it is seen that none can be there.
    let run = tool.run(&open, b"");
    assert_eq!(run.code, 9, "{}", run.stderr);
    assert!(!tool.path("out").exists() && tool.read("full/precious") == b"x");
    // The key of the log is gone.
    tool.done(&SEAL, b"x");
    fs::remove_file(tool.path("log.key")).unwrap();
    let run = tool.run(&[&OPEN[..], &["sealed", "-o", "out"]].concat(), b"");
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(
        run.stderr.contains("log.key") && !tool.path("out").exists(),
        "{}",
        run.stderr
    );
}

/// `RLIMIT_FSIZE` stands for a disk that is full from some byte on.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_releases_nothing_and_loses_nothing() {
    let tool = Tool::new();
    let sealed = tool.done(&SEAL, b"secret");
    tool.write("sealed", &sealed);
    // No block of 512 bytes: neither the event nor the plaintext fits, and the event comes first.
    let run = tool.shell("ulimit -f 0; trap '' XFSZ; \"$W\" open --kek env:K --context tenant=CANARY-value --log log sealed | cat");
    assert!(
        run.stdout.is_empty() && run.stderr.contains("audit"),
        "{}",
        run.stderr
    );
    let verdict = json(&tool, &["audit", "verify", "log"]);
    assert_eq!((&verdict["size"], &verdict["sound"]), (&1.into(), &true.into()));
    let opened = tool.done(&[&OPEN[..], &["sealed"]].concat(), b"");
    assert_eq!(opened, b"secret");
    assert_eq!(json(&tool, &["audit", "verify", "log"])["size"], 2);
}

#[test]
fn commands_at_the_same_time_take_turns() {
    let tool = Tool::new();
    let spawn = |_| {
        let mut command = tool.command(&SEAL);
        command.stdin(Stdio::null()).spawn().unwrap()
    };
    let running: Vec<_> = (0..6).map(spawn).collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let verdict = json(&tool, &["audit", "verify", "log"]);
    assert_eq!((&verdict["size"], &verdict["sound"]), (&6.into(), &true.into()));
}

#[cfg(unix)]
#[test]
fn a_pipeline_writes_one_log_and_a_command_that_waits_keeps_nobody_out() {
    let tool = Tool::new();
    let body = crate::tool::bytes(3_000_000);
    tool.write("big", &body);
    let run = tool.shell(
        "export WAXSEAL_AUDIT_LOG=log; seal=\"$W seal --context tenant=acme\"\n\
         $seal --kek env:K -o one big && \"$W\" open --kek env:K --context tenant=acme one | $seal --kek env:NEW -o two || exit 1\n\
         \"$W\" open --kek env:NEW --context tenant=acme -o again two && cmp big again",
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    // One waits for its input, longer than others would wait for it.
    let mut waiting = tool.command(&SEAL).spawn().unwrap();
    let kept = || {
        let verdict = json(&tool, &["audit", "verify", "log"]);
        verdict["size"].as_u64().unwrap() + verdict["uncovered"].as_u64().unwrap()
    };
    while kept() < 5 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    tool.done(&SEAL, b"another");
    assert!(waiting.try_wait().unwrap().is_none());
    let run = end(waiting, b"late");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let verdict = json(&tool, &["audit", "verify", "log"]);
    assert_eq!((&verdict["size"], &verdict["sound"]), (&6.into(), &true.into()));
}

/// What does not pass by itself is no reason to try again.
#[cfg(unix)]
#[test]
fn a_log_that_cannot_be_written_is_told_apart_from_one_that_others_have() {
    let tool = Tool::new();
    tool.done(&SEAL, b"x");
    fs::remove_file(tool.path("log/journal")).unwrap();
    let run = tool.run(&SEAL, b"x");
    assert_eq!((run.code, run.stdout.as_slice()), (9, &b""[..]), "{}", run.stderr);
    let lock = fs::File::open(tool.path("log/lock")).unwrap();
    lock.lock().unwrap();
    let run = tool.run(&SEAL, b"x");
    assert_eq!((run.code, run.stdout.as_slice()), (6, &b""[..]), "{}", run.stderr);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }
}
