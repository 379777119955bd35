//! Signals, at any moment: the old file or the new one, nothing beside it, and the exit code that shells know.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;

use crate::tool::{Tool, bytes, end};

fn signal(child: &Child, name: &str) {
    let status = std::process::Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Starts sealing to `out`, and waits until it is under way.
fn start(tool: &Tool, program: &[&str]) -> Child {
    // A test run in the background has some signals ignored, which its children inherit.
    let mut command = std::process::Command::new("env");
    command
        .arg("--default-signal=HUP,INT,QUIT,TERM")
        .args(program)
        .args(["seal", "--kek", "env:K", "-o", "out"])
        .current_dir(tool.root())
        .env("K", crate::tool::KEY)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&bytes(1 << 20)).unwrap();
    child
}

const TOOL: &str = env!("CARGO_BIN_EXE_waxseal");

#[test]
fn a_signal_leaves_nothing_behind_and_ends_as_shells_know() {
    let tool = Tool::new();
    for (name, number) in [("-INT", 2), ("-TERM", 15), ("-HUP", 1), ("-QUIT", 3)] {
        for before in [None, Some("before")] {
            let _ = fs::remove_file(tool.path("out"));
            if let Some(before) = before {
                tool.write("out", before);
            }
            let mut child = start(&tool, &[TOOL]);
            // The end of its input would be another reason to end.
            let _open = child.stdin.take();
            signal(&child, name);
            let status = child.wait().unwrap();
            assert_eq!(status.signal(), Some(number), "{name}");
            let listing: &[&str] = if before.is_some() { &["out"] } else { &[] };
            assert_eq!(tool.listing(), listing, "{name}");
        }
    }
}

#[test]
fn a_shell_sees_130_and_143() {
    let tool = Tool::new();
    for (name, code) in [("-INT", "130"), ("-TERM", "143")] {
        let script = "sh -c 'echo $$ > pid; exec \"$0\" seal --kek env:K -o new' \"$0\"; echo $?";
        let mut shell = std::process::Command::new("env")
            .args(["--default-signal=INT,TERM", "/bin/sh", "-c", script, TOOL])
            .current_dir(tool.root())
            .env("K", crate::tool::KEY)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = shell.stdin.take().unwrap();
        // More than the pipe holds, so that the tool is there.
        (&stdin).write_all(&bytes(1 << 20)).unwrap();
        let pid = String::from_utf8(tool.read("pid")).unwrap();
        let killed = std::process::Command::new("kill")
            .args([name, pid.trim()])
            .status();
        assert!(killed.unwrap().success());
        drop(stdin);
        let output = shell.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), code, "{name}");
        assert_eq!(tool.listing(), ["pid"]);
    }
}

#[test]
fn a_signal_that_was_ignored_stays_so() {
    let tool = Tool::new();
    let mut child = start(
        &tool,
        &["/bin/sh", "-c", "trap '' HUP INT; exec \"$0\" \"$@\"", TOOL],
    );
    signal(&child, "-HUP");
    signal(&child, "-INT");
    child.stdin.as_mut().unwrap().write_all(b"the end").unwrap();
    let run = end(child, b"");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(tool.listing(), ["out"]);
}

/// Where files without a name cannot be had, as without `/proc`, one with a name is removed.
#[test]
fn a_file_with_a_name_is_removed_by_a_signal_and_after_a_kill_by_the_next_run() {
    let tool = Tool::new();
    let script = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    let without_proc = ["unshare", "-m", "/bin/sh", "-c", script, TOOL];
    let can = std::process::Command::new("unshare")
        .args(["-m", "mount", "-t", "tmpfs", "none", "/proc"])
        .output();
    if !can.as_ref().is_ok_and(|can| can.status.success()) {
        println!("skipped: cannot hide /proc: {can:?}");
        return;
    }
    for name in ["-INT", "-TERM"] {
        let mut child = start(&tool, &without_proc);
        let _open = child.stdin.take();
        assert_eq!(tool.listing(), [".out.waxseal-new"]);
        signal(&child, name);
        child.wait().unwrap();
        assert!(tool.listing().is_empty(), "{name}: {:?}", tool.listing());
    }
    let mut child = start(&tool, &without_proc);
    signal(&child, "-KILL");
    child.wait().unwrap();
    assert_eq!(tool.listing(), [".out.waxseal-new"]);
    for before in [false, true] {
        assert_eq!(tool.path("out").exists(), before);
        let run = end(start(&tool, &without_proc), b"");
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        assert_eq!(tool.listing(), ["out"]);
        assert!(tool.done(&["open", "--kek", "env:K", "out"], b"") == bytes(1 << 20));
    }
}

/// Killed at every call that changes a file: the old file or the new one, never half of one, and the next run ends well.
#[test]
fn killed_at_any_step_nothing_is_lost_and_the_next_run_is_as_ever() {
    const STEPS: [&str; 12] = [
        "write",
        "pwrite64",
        "fsync",
        "fdatasync",
        "linkat",
        "link",
        "rename",
        "renameat2",
        "unlink",
        "fchown",
        "fchmod",
        "fsetxattr",
    ];
    let traced = std::process::Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    if !traced.as_ref().is_ok_and(|traced| traced.status.success()) {
        println!("skipped: strace: {traced:?}");
        return;
    }
    let tool = Tool::new();
    let old = tool.done(&["seal", "--kek", "env:K", "--padding", "100"], b"hello");
    let mut killed = 0;
    for output in [&["-o", "x"][..], &["-o", "new"], &["--in-place"]] {
        let rewrap = [
            "rewrap", "-q", "--kek", "env:K", "--kek", "env:NEW", "--to", "env:NEW", "x",
        ];
        let rewrap = [&rewrap[..], output].concat();
        for step in STEPS {
            for count in 1..40 {
                for name in tool.listing() {
                    fs::remove_file(tool.path(&name)).unwrap();
                }
                tool.write("x", &old);
                let inject = format!("inject={step}:signal=KILL:when={count}");
                let trace = format!("trace={step}");
                let run = std::process::Command::new("strace")
                    .args(["-f", "-o", "/dev/null", "-e", &trace, "-e", &inject, TOOL])
                    .args(&rewrap)
                    .current_dir(tool.root())
                    .env("K", crate::tool::KEY)
                    .env("NEW", crate::tool::NEW_KEY)
                    .output()
                    .unwrap();
                let ended = run.status.success();
                killed += usize::from(!ended);
                let is_whole = |name: &str| {
                    ["env:K", "env:NEW"].iter().any(|key| {
                        let run = tool.run(&["open", "--kek", key, name], b"");
                        run.code == 0 && run.stdout == b"hello"
                    })
                };
                // In place it may be the next run that makes it whole.
                let is_recoverable = tool.path("x.waxseal-journal").exists();
                assert!(is_whole("x") || is_recoverable, "{output:?} {step} {count}");
                assert!(
                    !tool.path("new").exists() || is_whole("new"),
                    "{output:?} {step} {count}"
                );
                tool.done(&rewrap, b"");
                let written = if output.contains(&"new") { "new" } else { "x" };
                assert_eq!(tool.done(&["open", "--kek", "env:NEW", written], b""), b"hello");
                let expected: &[&str] = if written == "new" { &["new", "x"] } else { &["x"] };
                assert_eq!(tool.listing(), expected, "{output:?} {step} {count}");
                if ended {
                    break;
                }
            }
        }
    }
    assert!(killed > 20, "{killed}");
}
