//! Standard streams and other descriptors, as shells and scripts hand them over. After exit code 0 the output is there;
//! what was there before is never lost.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use crate::tool::{CHEAP, KEY, Tool};

fn inode(tool: &Tool, name: &str) -> u64 {
    fs::metadata(tool.path(name)).unwrap().ino()
}

fn opens(tool: &Tool, sealed: &[u8]) {
    assert_eq!(tool.done(&["open", "--kek", "env:K"], sealed), b"hello");
}

/// Runs a script that must end with this code, and say this.
fn ends(tool: &Tool, script: &str, code: i32, says: &str) {
    let run = tool.shell(script);
    assert_eq!(run.code, code, "{script}: {}", run.stderr);
    assert!(run.stderr.contains(says), "{script}: {}", run.stderr);
}

#[test]
fn what_the_shell_has_opened_is_written_to_and_never_replaced() {
    let tool = Tool::new();
    symlink("/dev/stdout", tool.path("link")).unwrap();
    symlink("/proc/self/fd", tool.path("folder")).unwrap();
    for output in [
        "-o -",
        "",
        "-o /dev/stdout",
        "-o /dev/fd/1",
        "-o /proc/self/fd/1",
        "-o /proc/thread-self/fd/1",
        "-o /dev/./fd/1",
        "-o link",
        "-o folder/1",
        "-o /dev/fd/3 3>&1",
        "-o /dev/stderr 2>&1",
    ] {
        tool.write("log", "earlier\n");
        let before = inode(&tool, "log");
        let run = tool.shell(&format!("printf hello | $W seal --kek env:K >> log {output}"));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{output}");
        let log = tool.read("log");
        opens(&tool, log.strip_prefix(b"earlier\n").expect(output));
        assert_eq!(inode(&tool, "log"), before, "{output}");

        // Between other programs that write to the same file.
        let run = tool.shell(&format!(
            "{{ echo one; printf hello | $W seal --kek env:K {output}; echo two; }} > log"
        ));
        assert_eq!(run.code, 0, "{output}: {}", run.stderr);
        let log = tool.read("log");
        let sealed = log
            .strip_prefix(b"one\n")
            .and_then(|log| log.strip_suffix(b"two\n"));
        opens(&tool, sealed.expect(output));
        assert_eq!(inode(&tool, "log"), before, "{output}");
    }
    // The same of what is opened, re-wrapped and made.
    tool.write("sealed", tool.done(&["seal", "--kek", "env:K"], b"hello"));
    for (command, expected) in [
        ("open --kek env:K sealed", Some(&b"hello"[..])),
        ("rewrap -q --kek env:K sealed", None),
        ("keygen --format hex", None),
    ] {
        tool.write("log", "earlier\n");
        let output = if command.starts_with("keygen") {
            ""
        } else {
            "-o /dev/stdout"
        };
        let run = tool.shell(&format!("$W {command} {output} >> log"));
        assert_eq!(run.code, 0, "{command}: {}", run.stderr);
        let log = tool.read("log");
        let added = log.strip_prefix(b"earlier\n").expect(command);
        assert!(!added.is_empty());
        if let Some(expected) = expected {
            assert_eq!(added, expected, "{command}");
        }
    }
    // A key is made in a new file, and a descriptor is none.
    ends(&tool, "$W keygen -o /dev/stdout >> log", 8, "exists");
}

#[test]
fn a_stream_that_is_closed_is_an_error_and_not_dev_null() {
    let tool = Tool::new();
    tool.write("sealed", tool.done(&["seal", "--kek", "env:K"], b"hello"));
    for (script, says) in [
        ("$W seal --kek env:K -o new <&-", "standard input: it is closed"),
        (
            "$W seal --kek env:K <&- > /dev/null",
            "standard input: it is closed",
        ),
        ("$W open --kek env:K -o new <&-", "standard input: it is closed"),
        ("$W seal --kek env:K sealed >&-", "standard output: it is closed"),
        ("$W open --kek env:K sealed >&-", "standard output: it is closed"),
        (
            "$W open --kek env:K sealed -o - >&-",
            "standard output: it is closed",
        ),
        (
            "$W rewrap --kek env:K sealed >&-",
            "standard output: it is closed",
        ),
        ("$W keygen >&-", "standard output: it is closed"),
        ("$W inspect sealed >&-", "standard output: it is closed"),
        ("$W doctor --kek env:K >&-", "standard output: it is closed"),
        (
            "$W open --kek env:K sealed -o /dev/stdout >&-",
            "/dev/stdout: it is closed",
        ),
        (
            "$W open --kek env:K sealed -o /dev/fd/7",
            "/dev/fd/7: it is closed",
        ),
        (
            "$W open --kek env:K sealed -o /dev/fd/7 <&-",
            "/dev/fd/7: it is closed",
        ),
        ("$W open --kek env:K /dev/fd/7 -o new", "/dev/fd/7: it is closed"),
        ("$W seal --kek env:K --aad @- sealed -o new <&-", "it is closed"),
        ("$W seal --kek env:K sealed 1<sealed", "open for reading only"),
        (
            "$W seal --kek env:K sealed -o /dev/fd/3 3<sealed",
            "open for reading only",
        ),
    ] {
        ends(&tool, script, 9, says);
        assert_eq!(tool.listing(), ["sealed"], "{script}");
    }
    // Nobody needs the others.
    for script in [
        "$W open --kek env:K sealed -o new <&-",
        "$W open --kek env:K sealed -o new >&-",
        "$W open --kek env:K sealed -o new 2>&-",
        "$W open --kek env:K sealed -o new <&- >&- 2>&-",
        "$W open --kek env:K sealed 2>&- > new",
    ] {
        let run = tool.shell(script);
        assert_eq!(run.code, 0, "{script}: {}", run.stderr);
        assert_eq!(tool.read("new"), b"hello", "{script}");
        fs::remove_file(tool.path("new")).unwrap();
    }
    // What goes to /dev/null on purpose does.
    ends(&tool, "$W open --kek env:K sealed > /dev/null", 0, "");
    ends(&tool, "$W open --kek env:K sealed 1<> /dev/null", 0, "");
    ends(&tool, "$W seal --kek env:K < /dev/null > /dev/null", 0, "");
}

#[test]
fn a_full_device_is_an_error_of_every_command() {
    let tool = Tool::new();
    tool.write("sealed", tool.done(&["seal", "--kek", "env:K"], b"hello"));
    for command in [
        "seal --kek env:K sealed",
        "open --kek env:K sealed",
        "rewrap -q --kek env:K sealed",
        "inspect sealed",
        "inspect --json sealed",
        "doctor --kek env:K",
        "keygen",
        "--help",
        "--version",
        "keygen --json -o new",
    ] {
        ends(&tool, &format!("$W {command} > /dev/full"), 9, "");
    }
}

#[test]
fn no_input_is_read_twice() {
    let tool = Tool::new();
    tool.write("f", "hello");
    let fifo = Command::new("mkfifo").arg(tool.path("fifo")).status().unwrap();
    assert!(fifo.success());
    tool.write_private("key", KEY);
    let listing = tool.listing();
    for script in [
        "printf x | $W seal --kek env:K --aad @- -o new",
        "printf x | $W seal --kek env:K --aad @/dev/stdin -o new",
        "printf x | $W seal --kek env:K --aad @/dev/fd/0 - -o new",
        "printf x | $W seal --kek env:K --aad @/proc/self/fd/0 /dev/stdin -o new",
        "$W seal --kek env:K --aad @/dev/stdin -o new < f",
        "$W seal --kek env:K --aad @- /dev/fd/0 -o new < f",
        "$W seal --kek env:K --aad @/dev/fd/3 -o new < f 3<&0",
        "$W seal --kek env:K --aad @fifo fifo -o new",
        "$W open --kek env:K --aad @fifo -o new < f 0<> fifo",
        "printf x | $W seal --kek passphrase-fd:0 -o new",
        "printf x | $W open --kek passphrase-fd:0 -o new",
        "printf x | $W seal --kek passphrase-file:/dev/stdin -o new",
        "printf x | $W seal --kek file:/dev/stdin?allow-shared=true -o new",
        "printf x | $W rewrap --kek env:K --to passphrase-fd:0 -o new",
        "printf x | $W seal --kek passphrase-fd:0 --aad @- f -o new",
        "$W open --kek passphrase-fd:3 --kek passphrase-fd:4 f -o new 3< f 4<&3",
        "printf x | $W doctor --kek passphrase-fd:0 --kek passphrase-fd:0",
        "printf x | WAXSEAL_KMS_URI=passphrase-fd:0 $W seal -o new",
    ] {
        let script = script.replace("< f 0<> fifo", "0<> fifo");
        ends(&tool, &script, 2, "would both read");
        assert_eq!(tool.listing(), listing, "{script}");
    }
    // Each of these reads all of it.
    for script in [
        "$W seal --kek env:K --aad @f f",
        "$W seal --kek env:K --aad @f < f",
        "$W seal --kek env:K --aad @- f < f",
        "$W seal --kek env:K --aad @/dev/null < /dev/null",
        "$W seal --kek file:key --aad @key f",
    ] {
        ends(&tool, &format!("{script} > sealed"), 0, "");
    }
    let sealed = tool
        .shell("printf hello | $W seal --kek env:K --aad @f > sealed; cat sealed")
        .stdout;
    assert_eq!(
        tool.done(&["open", "--kek", "env:K", "--aad", "hello"], &sealed),
        b"hello"
    );
}

#[test]
fn no_output_destroys_what_is_read() {
    let tool = Tool::new();
    tool.write("f", "hello");
    tool.write("sealed", tool.done(&["seal", "--kek", "env:K"], b"hello"));
    tool.write_private("key", KEY);
    for (script, says) in [
        ("$W seal --kek env:K < f >> f", "is the input, too"),
        ("$W seal --kek env:K f >> f", "is the input, too"),
        ("$W seal --kek env:K < f 1<> f", "is the input, too"),
        ("$W seal --kek env:K -o /dev/fd/3 3>> f < f", "is the input, too"),
        ("$W open --kek env:K sealed >> sealed", "is the input, too"),
        ("$W rewrap --kek env:K sealed 1<> sealed", "is the input, too"),
        ("$W seal --kek file:key f -o key", "the key of --kek is read from"),
        ("$W seal --kek file:key f >> key", "the key of --kek is read from"),
        (
            "$W seal --kek file:./key f -o ../$(basename $PWD)/key",
            "the key of --kek",
        ),
        (
            "$W rewrap --kek env:K --to file:key sealed -o key",
            "the key of --to",
        ),
        // Open twice: what goes to one of them would be lost.
        ("$W seal --kek env:K f -o sealed >> sealed", "descriptor 1, too"),
        ("$W seal --kek env:K f -o sealed 2>> sealed", ""),
        ("$W seal --kek env:K f -o sealed 9>> sealed", "descriptor 9, too"),
    ] {
        let before = ["f", "sealed", "key"].map(|name| (tool.read(name), inode(&tool, name)));
        let run = tool.shell(script);
        assert_eq!(run.code, 2, "{script}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{script}: {}", run.stderr);
        let after = ["f", "sealed", "key"].map(|name| (tool.read(name), inode(&tool, name)));
        if !script.contains("2>>") {
            assert!(before == after, "{script}");
        } else {
            assert!(after[1].0.starts_with(&before[1].0) && after[1].1 == before[1].1);
            tool.write("sealed", &before[1].0);
        }
    }
    // What is only read by somebody else, or by the shell, is replaced.
    ends(&tool, "$W seal --kek env:K < f -o f", 0, "");
    ends(&tool, "$W open --kek env:K f -o f 9< f", 0, "");
    assert_eq!(tool.read("f"), b"hello");
}

#[test]
fn warnings_never_stand_in_the_output() {
    let tool = Tool::new();
    let seal = format!("P='two words ' $W seal --kek '{CHEAP}'");
    let warned = tool.shell(&format!("printf hello | {seal} > sealed"));
    assert_eq!(warned.code, 0);
    assert!(warned.stderr.contains("white space"), "{}", warned.stderr);
    for redirection in ["> sealed 2>&1", "2> sealed >&2", "-o /dev/stderr 2> sealed"] {
        let run = tool.shell(&format!("printf hello | {seal} {redirection}"));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{redirection}");
        let opened = tool.run_with(&[("P", "two words ")], &["open", "--kek", CHEAP, "sealed"], b"");
        assert_eq!(
            (opened.code, opened.stdout.as_slice()),
            (0, &b"hello"[..]),
            "{redirection}"
        );
        assert!(opened.stderr.contains("waxseal: warning: "), "{}", opened.stderr);
    }
}

#[test]
fn a_descriptor_goes_on_where_it_is() {
    let tool = Tool::new();
    let sealed = tool.done(&["seal", "--kek", "env:K"], b"hello");
    tool.write("both", [&b"first line\n"[..], &sealed].concat());
    for input in ["", "-", "/dev/stdin", "/dev/fd/0"] {
        let run = tool.shell(&format!(
            "{{ read -r line; $W open --kek env:K {input}; }} < both"
        ));
        assert_eq!((run.code, run.stdout.as_slice()), (0, &b"hello"[..]), "{input}");
    }
    // From a socket, which cannot be opened by its name.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut &ours, &sealed).unwrap();
    drop(ours);
    let mut command = tool.command(&["open", "--kek", "env:K", "/dev/stdin"]);
    let output = command
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"hello");
}

#[test]
fn pipes_sockets_and_files_of_other_processes_are_told_apart() {
    let tool = Tool::new();
    assert!(
        Command::new("mkfifo")
            .arg(tool.path("fifo"))
            .status()
            .unwrap()
            .success()
    );
    let run = tool.shell("cat fifo > got & printf hello | $W seal --kek env:K -o fifo; wait");
    assert_eq!(run.code, 0, "{}", run.stderr);
    opens(&tool, &tool.read("got"));
    let kind = fs::metadata(tool.path("fifo")).unwrap().file_type();
    assert!(kind.is_fifo());

    let _listener = UnixListener::bind(tool.path("socket")).unwrap();
    ends(
        &tool,
        "printf x | $W seal --kek env:K -o socket",
        9,
        "cannot write socket",
    );

    tool.write("held", "earlier\n");
    let mut other = Command::new("sleep")
        .arg("600")
        .stdout(fs::File::options().append(true).open(tool.path("held")).unwrap())
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/fd/1", other.id());
    let run = tool.run(&["seal", "--kek", "env:K", "-o", &path], b"hello");
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(run.code, 8, "{}", run.stderr);
    assert_eq!(tool.read("held"), b"earlier\n");

    symlink("nowhere", tool.path("dangling")).unwrap();
    ends(
        &tool,
        "printf x | $W seal --kek env:K -o dangling",
        9,
        "leads nowhere",
    );
    ends(
        &tool,
        "printf x | $W seal --kek env:K -o new/",
        9,
        "cannot write new/",
    );
    assert!(fs::symlink_metadata(tool.path("dangling")).unwrap().is_symlink());
    assert!(!tool.path("nowhere").exists() && !tool.path("new").exists());
}

#[test]
fn a_file_that_grows_over_its_limit_is_an_error() {
    let tool = Tool::new();
    tool.write("out", "before");
    for output in ["-o out", "-o new", "> streamed"] {
        let script = format!("ulimit -f 8; head -c 200000 /dev/zero | $W seal --kek env:K {output}");
        ends(&tool, &script, 9, "File too large");
        assert_eq!(tool.read("out"), b"before");
        assert!(!tool.path("new").exists());
    }
}

/// As other programs that share a pipe leave it.
#[test]
fn a_stream_that_does_not_wait_is_waited_for() {
    use rustix::fs::{OFlags, fcntl_setfl};
    let tool = Tool::new();
    let plaintext = crate::tool::bytes(1 << 20);
    let (input, mut feed) = std::io::pipe().unwrap();
    let (mut drain, output) = std::io::pipe().unwrap();
    for stream in [
        input.try_clone().map(std::os::fd::OwnedFd::from),
        output.try_clone().map(Into::into),
    ] {
        fcntl_setfl(stream.unwrap(), OFlags::NONBLOCK).unwrap();
    }
    let mut command = tool.command(&["seal", "--kek", "env:K"]);
    let mut child = command.stdin(input).stdout(output).spawn().unwrap();
    drop(command);
    let sealed = std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in plaintext.chunks(300_000) {
                std::thread::sleep(std::time::Duration::from_millis(20));
                std::io::Write::write_all(&mut feed, piece).unwrap();
            }
            drop(feed);
        });
        let mut sealed = Vec::new();
        std::io::Read::read_to_end(&mut drain, &mut sealed).unwrap();
        sealed
    });
    assert!(child.wait().unwrap().success());
    assert!(tool.done(&["open", "--kek", "env:K"], &sealed) == plaintext);
}
