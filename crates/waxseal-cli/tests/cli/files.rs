//! Output files: all or nothing, and what becomes of one that is there.
#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::tool::{Tool, bytes, end};

const SEAL: [&str; 3] = ["seal", "--kek", "env:K"];
const OPEN: [&str; 3] = ["open", "--kek", "env:K"];

fn mode(tool: &Tool, name: &str) -> u32 {
    fs::metadata(tool.path(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode() {
    let tool = Tool::new();
    let sealed = tool.done(&SEAL, b"hello");
    for wanted in [0o600, 0o640, 0o644, 0o400, 0o755] {
        tool.write("out", "before, and longer than what comes after");
        tool.set_mode("out", wanted);
        tool.done(&[&OPEN[..], &["-o", "out"]].concat(), &sealed);
        assert_eq!(mode(&tool, "out"), wanted);
        tool.set_mode("out", 0o600);
        assert_eq!(tool.read("out"), b"hello");
    }
}

#[test]
fn a_new_file_of_plaintext_is_for_its_owner() {
    let tool = Tool::new();
    tool.done(&[&SEAL[..], &["-o", "sealed"]].concat(), b"hello");
    tool.done(&[&OPEN[..], &["sealed", "-o", "opened"]].concat(), b"");
    assert_eq!(mode(&tool, "opened"), 0o600);
    // A sealed one is a file like any other.
    fs::write(tool.path("usual"), "").unwrap();
    assert_eq!(mode(&tool, "sealed"), mode(&tool, "usual"));
}

#[test]
fn input_and_output_may_be_the_same_file() {
    let tool = Tool::new();
    let plaintext = bytes(200_000);
    tool.write("file", &plaintext);
    tool.done(&[&SEAL[..], &["file", "-o", "file"]].concat(), b"");
    assert_ne!(tool.read("file"), plaintext);
    tool.refused(&["open", "--kek", "env:NEW", "file", "-o", "file"], b"");
    tool.done(&[&OPEN[..], &["file", "-o", "file"]].concat(), b"");
    assert_eq!(tool.read("file"), plaintext);
    assert_eq!(tool.listing(), ["file"]);
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_replaced() {
    let tool = Tool::new();
    fs::create_dir(tool.path("dir")).unwrap();
    tool.write("dir/target", "before");
    symlink("dir/target", tool.path("link")).unwrap();
    let sealed = tool.done(&SEAL, b"hello");
    tool.done(&[&OPEN[..], &["-o", "link"]].concat(), &sealed);
    assert!(fs::symlink_metadata(tool.path("link")).unwrap().is_symlink());
    assert_eq!(tool.read("dir/target"), b"hello");
    assert_eq!(tool.listing(), ["dir", "link"]);
}

#[test]
fn what_cannot_be_written_is_named() {
    let tool = Tool::new();
    tool.write("file", "");
    for (output, says) in [
        ("missing/out", "missing/out: No such file"),
        (".", "is a directory"),
        ("file/out", "file/out: Not a directory"),
        ("..", "cannot write .."),
        ("odd\nname/out", "odd\\nname/out"),
    ] {
        let line = tool.refused(&[&SEAL[..], &["-o", output]].concat(), b"hello");
        assert!(line.contains(says), "{output}: {line}");
    }
    for (input, says) in [
        ("missing", "cannot read missing: No such file"),
        (".", "cannot read .: is a directory"),
        ("tenant=CANARY", "--context"),
    ] {
        for command in [&SEAL[..], &OPEN, &["rewrap", "--kek", "env:K"], &["inspect"]] {
            // A directory is a store, and everything in it is moved.
            if command[0] == "rewrap" && input == "." {
                continue;
            }
            let line = tool.refused(&[command, &[input]].concat(), b"");
            assert!(line.contains(says), "{input}: {line}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_is_written_to_and_not_replaced() {
    let tool = Tool::new();
    let before = fs::metadata("/dev/full").unwrap();
    for size in [0, 1 << 20] {
        let line = tool.refused(&[&SEAL[..], &["-o", "/dev/full"]].concat(), &bytes(size));
        assert!(line.contains("cannot write /dev/full: No space left"), "{line}");
    }
    tool.done(&[&SEAL[..], &["-o", "/dev/null"]].concat(), b"hello");
    assert_eq!(fs::metadata("/dev/full").unwrap().rdev(), before.rdev());
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_is_killed_leaves_nothing() {
    use std::os::unix::fs::OpenOptionsExt;

    let tool = Tool::new();
    let probe = fs::File::options()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(tool.root());
    if let Err(error) = probe {
        println!(
            "skipped: no files without a name in {}: {error}",
            tool.root().display()
        );
        return;
    }
    tool.write("there", "before");
    for output in ["new", "there"] {
        let mut child = tool
            .command(&[&SEAL[..], &["-o", output]].concat())
            .spawn()
            .unwrap();
        // More than the pipe holds: it has read of it, and so has created its output.
        child.stdin.as_mut().unwrap().write_all(&bytes(1 << 20)).unwrap();
        child.kill().unwrap();
        let run = end(child, b"");
        assert_eq!(run.code, -1, "it was killed");
        assert_eq!(tool.listing(), ["there"]);
        assert_eq!(tool.read("there"), b"before");
    }
}
