//! A file that is replaced: what it had stays, what would be lost is refused before anything is done, and so is what
//! somebody else has changed meanwhile.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use crate::tool::{CHEAP, Tool, bytes, end};

const OPEN: [&str; 5] = ["open", "--kek", "env:K", "sealed", "-o"];

fn tool_with_sealed() -> Tool {
    let tool = Tool::new();
    tool.write("sealed", tool.done(&["seal", "--kek", "env:K"], b"hello"));
    tool
}

fn is_root(tool: &Tool) -> bool {
    let is_root = fs::metadata(tool.path("sealed")).unwrap().uid() == 0;
    if !is_root {
        println!("skipped: needs root");
    }
    is_root
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let ran = Command::new(program).args(arguments).output();
    let works = ran.as_ref().is_ok_and(|ran| ran.status.success());
    if !works {
        println!("skipped: {program} {arguments:?}: {ran:?}");
    }
    works
}

#[test]
fn another_name_is_not_left_behind_unless_told() {
    let tool = tool_with_sealed();
    let rewrap = ["rewrap", "-q", "--kek", "env:K", "--to", "env:NEW", "a"];
    for (command, content) in [
        (&["seal", "--kek", "env:K", "a", "-o", "a"][..], b"plain".to_vec()),
        (&["open", "--kek", "env:K", "a", "-o", "a"], tool.read("sealed")),
        (&[&rewrap[..], &["-o", "a"]].concat(), tool.read("sealed")),
        (&[&rewrap[..], &["--in-place"]].concat(), tool.read("sealed")),
    ] {
        tool.write("a", &content);
        fs::hard_link(tool.path("a"), tool.path("b")).unwrap();
        let line = tool.fails_with(8, command, b"");
        assert!(
            line.contains("2 names") && line.contains("--break-links"),
            "{line}"
        );
        let ino = |name: &str| fs::metadata(tool.path(name)).unwrap().ino();
        assert_eq!(ino("a"), ino("b"));
        tool.done(&[command, &["--break-links"]].concat(), b"");
        assert_ne!(tool.read("a"), content);
        assert_eq!(tool.read("b"), content);
        fs::remove_file(tool.path("b")).unwrap();
    }
}

#[test]
fn owner_mode_attributes_and_access_lists_stay() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let tool = tool_with_sealed();
    tool.write("out", "before");
    let path = tool.path("out");
    // user::rw- user:1234:r-- group::r-- mask::r-- other::---, as the kernel keeps it.
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (1_u16, 6_u16, u32::MAX),
        (2, 4, 1234),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let attributes: Vec<(&str, Vec<u8>)> =
        [("user.note", b"mine".to_vec()), ("system.posix_acl_access", list)]
            .into_iter()
            .filter(|(name, value)| setxattr(&path, *name, value, XattrFlags::empty()).is_ok())
            .collect();
    if is_root(&tool) {
        chown(&path, Some(12_345), Some(23_456)).unwrap();
    }
    let before = fs::metadata(&path).unwrap();
    tool.done(&[&OPEN[..], &["out"]].concat(), b"");
    let after = fs::metadata(&path).unwrap();
    assert_eq!(tool.read("out"), b"hello");
    assert_ne!(before.ino(), after.ino());
    assert_eq!(
        (before.uid(), before.gid(), before.mode()),
        (after.uid(), after.gid(), after.mode())
    );
    println!("attributes that this file system has: {}", attributes.len());
    for (name, value) in attributes {
        let mut now = vec![0; 1024];
        let len = getxattr(&path, name, now.as_mut_slice()).unwrap();
        assert_eq!(&now[..len], value, "{name}");
    }
}

#[test]
fn a_directory_whose_new_files_let_others_in_does_not_open_an_old_one() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let tool = tool_with_sealed();
    fs::create_dir(tool.path("dir")).unwrap();
    tool.write("dir/out", "before");
    tool.set_mode("dir/out", 0o640);
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (1_u16, 7_u16, u32::MAX),
        (2, 7, 1234),
        (4, 7, u32::MAX),
        (16, 7, u32::MAX),
        (32, 7, u32::MAX),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    if let Err(error) = setxattr(
        tool.path("dir"),
        "system.posix_acl_default",
        &list,
        XattrFlags::empty(),
    ) {
        println!("skipped: no access control lists: {error}");
        return;
    }
    tool.write("dir/usual", "");
    let has_list = |name: &str| {
        let mut value = [0; 256];
        getxattr(tool.path(name), "system.posix_acl_access", value.as_mut_slice()).is_ok()
    };
    assert!(has_list("dir/usual"));
    tool.done(&[&OPEN[..], &["dir/out"]].concat(), b"");
    assert_eq!(fs::metadata(tool.path("dir/out")).unwrap().mode() & 0o777, 0o640);
    assert!(!has_list("dir/out"));
    // A new one is for its owner, whatever the directory says.
    tool.done(&[&OPEN[..], &["dir/new"]].concat(), b"");
    assert_eq!(fs::metadata(tool.path("dir/new")).unwrap().mode() & 0o077, 0);
}

/// As another user, who may write the directory and not the file's owner.
#[test]
fn what_cannot_be_kept_or_replaced_is_refused_with_its_reason() {
    let tool = tool_with_sealed();
    if !is_root(&tool)
        || !works(
            "setpriv",
            &["--reuid=4242", "--regid=4242", "--clear-groups", "true"],
        )
    {
        return;
    }
    // The program has to be reached by the other user, too.
    let program = tool.path("program");
    fs::copy(env!("CARGO_BIN_EXE_waxseal"), &program).unwrap();
    tool.set_mode("program", 0o755);
    tool.set_mode("sealed", 0o644);
    let as_user = "setpriv --reuid=4242 --regid=4242 --clear-groups ./program open --kek env:K sealed -o";
    for (name, mode) in [("dir", 0o777), ("sticky", 0o1777), ("locked", 0o755)] {
        fs::create_dir(tool.path(name)).unwrap();
        tool.set_mode(name, mode);
    }
    tool.set_mode("", 0o755);
    for (file, owner, says) in [
        ("dir/others", (0, 0), "its owner (user 0, group 0) cannot be kept"),
        (
            "dir/group",
            (4242, 99),
            "its owner (user 4242, group 99) cannot be kept",
        ),
        ("sticky/others", (0, 0), "mode +t"),
        (
            "locked/mine",
            (4242, 4242),
            "its directory, and that cannot be written",
        ),
    ] {
        tool.write(file, "before");
        tool.set_mode(file, 0o666);
        chown(tool.path(file), Some(owner.0), Some(owner.1)).unwrap();
        let run = tool.shell(&format!("{as_user} {file}"));
        assert_eq!(run.code, 9, "{file}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{file}: {}", run.stderr);
        assert_eq!(tool.read(file), b"before");
    }
    tool.write("dir/mine", "before");
    chown(tool.path("dir/mine"), Some(4242), Some(4242)).unwrap();
    assert_eq!(tool.shell(&format!("{as_user} dir/mine")).code, 0);
    assert_eq!(tool.read("dir/mine"), b"hello");
}

#[test]
fn flags_and_mounts_that_forbid_it_are_found_before_the_work() {
    let tool = tool_with_sealed();
    if !is_root(&tool) {
        return;
    }
    let path = tool.path("out").display().to_string();
    for (flag, says) in [("i", "immutable"), ("a", "appended")] {
        tool.write("out", "before");
        if works("chattr", &[&format!("+{flag}"), &path]) {
            let line = tool.fails_with(9, &[&OPEN[..], &["out"]].concat(), b"");
            assert!(works("chattr", &[&format!("-{flag}"), &path]));
            assert!(line.contains(says), "{line}");
        }
    }
    if works("unshare", &["-m", "true"]) {
        tool.write("other", "mounted");
        let run = tool
            .shell("unshare -m sh -c 'mount --bind other out && exec \"$W\" open --kek env:K sealed -o out'");
        assert_eq!(run.code, 9, "{}", run.stderr);
        assert!(run.stderr.contains("mount point"), "{}", run.stderr);
        assert_eq!(
            (tool.read("out"), tool.read("other")),
            (b"before".to_vec(), b"mounted".to_vec())
        );
        // A program in the place of the output's directory that cannot be written to.
        let run = tool.shell(
            "mkdir ro; unshare -m sh -c 'mount -t tmpfs -o ro none ro && exec \"$W\" open --kek env:K sealed -o ro/x'",
        );
        assert_eq!(run.code, 9, "{}", run.stderr);
        assert!(run.stderr.contains("directory"), "{}", run.stderr);
    }
}

/// Runs the tool with a pipe as its input, changes something when it is under way, and lets it end.
fn meanwhile(tool: &Tool, arguments: &[&str], change: impl FnOnce()) -> (i32, String) {
    let mut child = tool.command(arguments).spawn().unwrap();
    // More than the pipe holds: it has read of it, and so has looked at its output.
    child.stdin.as_mut().unwrap().write_all(&bytes(1 << 20)).unwrap();
    change();
    let run = end(child, b"");
    (run.code, run.stderr)
}

#[test]
fn what_somebody_else_writes_meanwhile_is_not_lost() {
    let tool = tool_with_sealed();
    let seal = ["seal", "--kek", "env:K", "-o", "out"];
    let append = || {
        let mut file = fs::File::options().append(true).open(tool.path("out")).unwrap();
        file.write_all(b" and more").unwrap();
    };
    let same_length = || {
        let mut file = fs::File::options().write(true).open(tool.path("out")).unwrap();
        file.write_all(b"BEFORE").unwrap();
    };
    let replace = || {
        tool.write("other", "replaced");
        fs::rename(tool.path("other"), tool.path("out")).unwrap();
    };
    let rights = || tool.set_mode("out", 0o644);
    let changes: [(&dyn Fn(), &str); 4] = [
        (&append, "before and more"),
        (&same_length, "BEFORE"),
        (&replace, "replaced"),
        (&rights, "before"),
    ];
    for (change, expected) in changes {
        tool.write_private("out", "before");
        let (code, line) = meanwhile(&tool, &seal, change);
        assert_eq!(code, 6, "{line}");
        assert!(line.contains("changed by somebody else"), "{line}");
        assert_eq!(tool.read("out"), expected.as_bytes());
    }
    // It was not there, and now is; it was there, and now is not.
    fs::remove_file(tool.path("out")).unwrap();
    let (code, line) = meanwhile(&tool, &seal, || tool.write("out", "new"));
    assert_eq!((code, tool.read("out")), (6, b"new".to_vec()), "{line}");
    let (code, line) = meanwhile(&tool, &seal, || fs::remove_file(tool.path("out")).unwrap());
    assert_eq!((code, tool.path("out").exists()), (6, false), "{line}");
    let listing = tool.listing();
    assert_eq!(listing, ["sealed"]);
}

/// The command that gives the passphrase runs after the file was read, and changes it.
#[test]
fn a_rewrap_onto_its_input_does_not_undo_what_came_meanwhile() {
    let tool = Tool::new();
    let first = tool.done(&["seal", "--kek", "env:K"], &bytes(100_000));
    let second = tool.done(&["rewrap", "-q", "--kek", "env:K", "--to", "env:NEW"], &first);
    let third = tool.done(&["seal", "--kek", "env:K"], b"another");
    tool.write("second", &second);
    tool.write("third", &third);
    for (change, expected) in [
        ("cp second x", &second),
        ("cp third x", &third),
        ("cp third y; mv y x", &third),
    ] {
        tool.write("change", format!("#!/bin/sh\n{change}\necho some words\n"));
        tool.set_mode("change", 0o755);
        for output in [&["-o", "x"][..], &["-o", "./x"], &["--in-place"]] {
            tool.write("x", &first);
            let to = CHEAP.replace("passphrase-env:P", "passphrase-command:./change");
            let mut command =
                tool.command(&[&["rewrap", "-q", "--kek", "env:K", "--to", &to, "x"], output].concat());
            command.env("PATH", "/usr/bin:/bin");
            let run = end(command.spawn().unwrap(), b"");
            assert_ne!(run.code, 0, "{change} {output:?}");
            assert!(
                tool.read("x") == **expected,
                "{change} {output:?}: {}",
                run.stderr
            );
        }
    }
}

#[test]
fn a_file_that_another_process_has_locked_is_left_alone() {
    let tool = tool_with_sealed();
    tool.write("out", "before");
    let held = fs::File::open(tool.path("out")).unwrap();
    held.lock().unwrap();
    let line = tool.fails_with(6, &[&OPEN[..], &["out"]].concat(), b"");
    assert!(line.contains("lock"), "{line}");
    drop(held);
    tool.done(&[&OPEN[..], &["out"]].concat(), b"");
}

#[test]
fn what_a_killed_run_has_left_is_cleared_and_what_goes_on_is_not() {
    let tool = tool_with_sealed();
    tool.write("out", "before");
    tool.write(".out.waxseal-new", "half of it");
    let held = fs::File::open(tool.path(".out.waxseal-new")).unwrap();
    held.lock().unwrap();
    let line = tool.fails_with(6, &[&OPEN[..], &["out"]].concat(), b"");
    assert!(line.contains("another process is writing it"), "{line}");
    drop(held);
    tool.done(&[&OPEN[..], &["out"]].concat(), b"");
    assert_eq!(tool.listing(), ["out", "sealed"]);
    assert_eq!(tool.read("out"), b"hello");
    // Not what only has the name.
    fs::create_dir(tool.path(".out.waxseal-new")).unwrap();
    let line = tool.fails_with(9, &[&OPEN[..], &["out"]].concat(), b"");
    assert!(line.contains("is in the way"), "{line}");
}

#[test]
fn a_name_as_long_as_names_can_be_is_written() {
    let tool = tool_with_sealed();
    let name = "n".repeat(255);
    for _ in 0..2 {
        tool.done(&[&OPEN[..], &[&name]].concat(), b"");
        assert_eq!(tool.read(&name), b"hello");
    }
    let mode = fs::metadata(tool.path(&name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
