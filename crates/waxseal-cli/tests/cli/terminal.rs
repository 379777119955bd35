//! What a person at a terminal sees, and is asked.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::tool::{AAD, KEY, Tool, bytes};

/// A terminal, with what is shown on it.
struct Terminal {
    person: File,
    shown: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    side: File,
}

impl Terminal {
    fn new() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let path = ptsname(&person, Vec::new()).unwrap();
        let side = rustix::fs::open(
            &path,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        let person = File::from(person);
        let (send, shown) = channel();
        let mut reader = person.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(got @ 1..) = reader.read(&mut buffer) {
                let _ = send.send(buffer[..got].to_vec());
            }
        });
        Self {
            person,
            shown,
            seen: Vec::new(),
            side: File::from(side),
        }
    }

    fn stream(&self) -> Stdio {
        Stdio::from(OwnedFd::from(self.side.try_clone().unwrap()))
    }

    /// Waits until this is shown.
    fn expect(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            let more = self.shown.recv_timeout(Duration::from_secs(60));
            let more = more.unwrap_or_else(|_| panic!("{text:?} is not shown: {:?}", self.shown()));
            self.seen.extend(more);
        }
    }

    fn answer(&mut self, text: &str) {
        self.seen.clear();
        self.person.write_all(text.as_bytes()).unwrap();
    }

    fn shown(&mut self) -> String {
        while let Ok(more) = self.shown.recv_timeout(Duration::from_millis(200)) {
            self.seen.extend(more);
        }
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.side)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO)
    }
}

/// Runs the tool with its output on a terminal. Gives its exit code, what was shown and its standard error.
fn on_terminal(tool: &Tool, arguments: &[&str], stdin: &[u8]) -> (i32, String, String) {
    let mut terminal = Terminal::new();
    let mut command = tool.command(arguments);
    let child = command.stdout(terminal.stream()).spawn().unwrap();
    let run = crate::tool::end(child, stdin);
    (run.code, terminal.shown(), run.stderr)
}

#[test]
fn a_terminal_is_shown_text_only_unless_told() {
    let tool = Tool::new();
    let text = "a line\nä\tß\n";
    tool.write("text", tool.done(&["seal", "--kek", "env:K"], text.as_bytes()));
    tool.write("binary", tool.done(&["seal", "--kek", "env:K"], &bytes(1_000)));
    tool.write(
        "escape",
        tool.done(&["seal", "--kek", "env:K"], b"text\x1b[2Jmore"),
    );
    let (code, shown, _) = on_terminal(&tool, &["open", "--kek", "env:K", "text"], b"");
    assert_eq!((code, shown.replace("\r\n", "\n").as_str()), (0, text));
    for arguments in [
        &["open", "--kek", "env:K", "binary"][..],
        &["open", "--kek", "env:K", "escape"],
        &["seal", "--kek", "env:K", "text"],
        &["rewrap", "--kek", "env:K", "text"],
    ] {
        let (code, shown, stderr) = on_terminal(&tool, arguments, b"");
        assert_eq!(code, 8, "{arguments:?}: {stderr}");
        assert!(stderr.contains("not text") && stderr.contains("-o -"), "{stderr}");
        assert_eq!(shown, "", "{arguments:?}");
        let (code, shown, _) = on_terminal(&tool, &[arguments, &["-o", "-"]].concat(), b"");
        assert_eq!(code, 0, "{arguments:?}");
        assert!(!shown.is_empty());
    }
    // What is for a person is shown to one.
    for arguments in [
        &["inspect", "text"][..],
        &["doctor", "--kek", "env:K"],
        &["keygen"],
    ] {
        let (code, shown, _) = on_terminal(&tool, arguments, b"");
        assert!(code == 0 && !shown.is_empty(), "{arguments:?}");
    }
}

/// Starts the tool in a session whose terminal this is, with other standard streams.
fn at(terminal: &Terminal, tool: &Tool, arguments: &[&str]) -> Option<Child> {
    let mut command = Command::new("setsid");
    // It takes the terminal from its standard input; the tool gets another one.
    let script = "exec \"$0\" \"$@\" < /dev/null";
    let child = command
        // A test run in the background has signals ignored, which its children inherit.
        .args(["--ctty", "env", "--default-signal=INT,QUIT"])
        .args(["/bin/sh", "-c", script, env!("CARGO_BIN_EXE_waxseal")])
        .args(arguments)
        .current_dir(tool.root())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("K", KEY)
        .stdin(terminal.stream())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    if let Err(error) = &child {
        println!("skipped: setsid: {error}");
    }
    child.ok()
}

#[test]
fn the_terminal_by_its_name_is_one_too() {
    let tool = Tool::new();
    tool.write("text", tool.done(&["seal", "--kek", "env:K"], b"for a person\n"));
    let mut terminal = Terminal::new();
    let open = ["open", "--kek", "env:K", "text", "-o", "/dev/tty"];
    let Some(child) = at(&terminal, &tool, &open) else {
        return;
    };
    terminal.expect("for a person");
    assert!(child.wait_with_output().unwrap().status.success());
    let mut terminal = Terminal::new();
    let seal = ["seal", "--kek", "env:K", "text", "-o", "/dev/tty"];
    let output = at(&terminal, &tool, &seal).unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert_eq!(terminal.shown(), "");
}

const PROMPT: &str = "passphrase-prompt:?kdf=argon2id&memory=19456&passes=2&lanes=1";

#[test]
fn a_passphrase_is_asked_for_twice_to_seal_and_once_to_open() {
    let tool = Tool::new();
    tool.write("plain", "hello");
    let mut terminal = Terminal::new();
    let Some(child) = at(
        &terminal,
        &tool,
        &["seal", "--kek", PROMPT, "plain", "-o", "sealed"],
    ) else {
        return;
    };
    terminal.expect("passphrase: ");
    assert!(!terminal.echoes());
    terminal.answer("CANARY words\n");
    terminal.expect("once more: ");
    assert!(!terminal.echoes());
    terminal.answer("CANARY words\n");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(terminal.echoes());
    assert!(!terminal.shown().contains("CANARY"));

    let open = ["open", "--kek", PROMPT, "sealed"];
    for (answer, code, says) in [
        ("CANARY words\n", 0, ""),
        ("CANARY word\n", 3, "does not open"),
        ("\n", 2, "empty"),
    ] {
        let mut terminal = Terminal::new();
        let child = at(&terminal, &tool, &open).unwrap();
        terminal.expect("passphrase: ");
        terminal.answer(answer);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(says) && !stderr.contains("CANARY"), "{stderr}");
        if code == 0 {
            assert_eq!(output.stdout, b"hello");
        }
        assert!(terminal.echoes());
    }

    let mut terminal = Terminal::new();
    let child = at(
        &terminal,
        &tool,
        &["seal", "--kek", PROMPT, "plain", "-o", "new", "--aad", AAD],
    )
    .unwrap();
    terminal.expect("passphrase: ");
    terminal.answer("CANARY words\n");
    terminal.expect("once more: ");
    terminal.answer("CANARY wrods\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("not the same"));
    assert!(!tool.path("new").exists());
}

#[test]
fn an_interrupted_prompt_leaves_the_terminal_as_it_was() {
    let tool = Tool::new();
    tool.write("plain", "hello");
    for interrupt in ["\x03", "\x1c"] {
        let mut terminal = Terminal::new();
        let seal = ["seal", "--kek", PROMPT, "plain", "-o", "sealed"];
        let Some(child) = at(&terminal, &tool, &seal) else {
            return;
        };
        terminal.expect("passphrase: ");
        assert!(!terminal.echoes());
        terminal.answer("half of i");
        terminal.answer(interrupt);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), None, "{output:?}");
        assert!(terminal.echoes(), "{interrupt:?}");
        assert_eq!(tool.listing(), ["plain"]);
    }
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let tool = Tool::new();
    let mut command = Command::new("setsid");
    let output = command
        .args([
            "-w",
            env!("CARGO_BIN_EXE_waxseal"),
            "seal",
            "--kek",
            PROMPT,
            "-o",
            "new",
        ])
        .current_dir(tool.root())
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        println!("skipped: setsid: {output:?}");
        return;
    };
    assert_eq!(output.status.code(), Some(4));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("passphrase-file:") && stderr.contains("needs a terminal"),
        "{stderr}"
    );
    assert!(tool.listing().is_empty());
}

#[cfg(feature = "ring")]
#[test]
fn what_cannot_be_taken_back_is_asked_for() {
    let tool = Tool::new();
    tool.done(&["ring", "init"], b"");
    let create = ["keys", "create", "--scope", "/", "--kek", "local", "--json"];
    let made: serde_json::Value = serde_json::from_slice(&tool.done(&create, b"")).unwrap();
    let id = made["moves"][0]["key"].as_str().unwrap();
    tool.done(&["keys", "rotate", id, "--reason", "test"], b"");
    let retire = ["keys", "retire", id, "--force", "--reason", "test"];
    for (answer, code) in [("no\n", 8), ("\n", 8), ("yes\n", 0)] {
        let mut terminal = Terminal::new();
        let mut child = tool
            .command(&retire)
            .stdin(terminal.stream())
            .stderr(terminal.stream())
            .spawn()
            .unwrap();
        terminal.expect("will not open until it is reinstated");
        terminal.expect("Type yes");
        terminal.answer(answer);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{answer:?}");
    }
    let shown = tool.done(&["keys", "show", id, "--json"], b"");
    let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    assert_eq!(shown["key"]["state"], "retired");
}
