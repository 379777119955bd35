//! The tool and the independent reader in `tests/interop`, which was written from the specification alone:
//! each opens what the other seals.
//!
//! Needs Python with `cryptography`; `WAXSEAL_PYTHON` names an interpreter other than `python3`. Where there is
//! none the tests say so and pass, except in CI (`CI=true`), where they fail.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::tool::{AAD, CHEAP, KEY, NEW_KEY, PAIR, PASSPHRASE, SIZES, Tool, bytes};

/// The interpreter, if it has what is needed.
fn python() -> Option<OsString> {
    let python = std::env::var_os("WAXSEAL_PYTHON").unwrap_or_else(|| "python3".into());
    let needed = "from cryptography.hazmat.primitives.kdf.argon2 import Argon2id";
    let reason = match Command::new(&python).args(["-c", needed]).output() {
        Ok(output) if output.status.success() => return Some(python),
        Ok(output) => String::from_utf8_lossy(&output.stderr)
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned(),
        Err(error) => error.to_string(),
    };
    let reason = format!("{} cannot run the reader: {reason}", python.to_string_lossy());
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{reason}");
    println!("skipped: {reason}");
    None
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/interop")
        .join(name)
}

/// The tool and the reader, in one directory.
struct Pair {
    tool: Tool,
    python: OsString,
}

impl Pair {
    fn new() -> Option<Self> {
        let python = python()?;
        let tool = Tool::new();
        tool.write("aad", AAD);
        Some(Self { tool, python })
    }

    /// Runs the reader on the file `in`. What it writes is the file `out`.
    fn reader(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.python);
        command
            .arg(script("waxseal_reader.py"))
            .args(arguments)
            .args(["in", "out"])
            .current_dir(self.tool.root())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("P", PASSPHRASE);
        command.output().unwrap()
    }

    fn reader_done(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        self.tool.write("in", input);
        let output = self.reader(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        self.tool.read("out")
    }

    /// Seals with each, opens with the other, and sees that the other refuses an AAD where there was none.
    /// Each list of options is one for the tool and one for the reader.
    fn both_ways(&self, len: usize, seal: [&[&str]; 2], open: [&[&str]; 2]) {
        let plaintext = bytes(len);
        let [tool_seal, reader_seal] = seal;
        let [tool_open, reader_open] = open;

        let sealed = self.tool.done(&[&["seal"], tool_seal].concat(), &plaintext);
        let opened = self.reader_done(&[&["open"], reader_open].concat(), &sealed);
        assert!(opened == plaintext, "{len} bytes, {tool_seal:?}");
        if !reader_open.contains(&"--aad-file") {
            let refused = self.reader(&[&["open"], reader_open, &["--aad", "another"]].concat());
            assert_eq!(refused.status.code(), Some(1), "{tool_seal:?}");
            assert_eq!(refused.stderr, b"error: cannot-open\n", "{tool_seal:?}");
        }

        let sealed = self.reader_done(&[&["seal"], reader_seal].concat(), &plaintext);
        let opened = self.tool.done(&[&["open"], tool_open].concat(), &sealed);
        assert!(opened == plaintext, "{len} bytes, {reader_seal:?}");
        if !tool_open.contains(&"--aad") {
            let line = self.tool.refused(
                &[&["open"], tool_open, &["--aad", "another", "-o", "new"]].concat(),
                &sealed,
            );
            assert!(line.contains("does not open"), "{line}");
        }
    }
}

#[test]
fn every_size_in_both_suites_with_and_without_stored_context_and_aad() {
    let Some(pair) = Pair::new() else { return };
    for (suite, number) in [("aes-256-gcm", "1"), ("chacha20-poly1305", "2")] {
        for len in SIZES {
            for is_stored in [false, true] {
                for has_aad in [false, true] {
                    let mut tool = vec!["--kek", "env:K", "--context", "a=b", "--context", PAIR];
                    let mut reader = vec!["--kek-hex", KEY, "--context", PAIR, "--context", "a=b"];
                    if has_aad {
                        tool.extend(["--aad", "@aad"]);
                        reader.extend(["--aad-file", "aad"]);
                    }
                    let mut tool_seal = [&tool[..], &["--suite", suite]].concat();
                    let mut reader_seal = [&reader[..], &["--suite", number]].concat();
                    if is_stored {
                        tool_seal.push("--store-context");
                        reader_seal.push("--store-context");
                    }
                    pair.both_ways(len, [&tool_seal, &reader_seal], [&tool, &reader]);
                }
            }
        }
    }
}

#[test]
fn passphrases() {
    let Some(pair) = Pair::new() else { return };
    let cases: &[[&[&str]; 4]] = &[
        [
            &["--kek", "passphrase-env:P"],
            &["--passphrase-env", "P"],
            &["--kek", "passphrase-env:P?kdf=pbkdf2"],
            &["--passphrase-env", "P", "--kdf", "pbkdf2"],
        ],
        [
            &["--kek", "passphrase-env:P?iterations=600001&name=ops"],
            &[
                "--passphrase-env",
                "P",
                "--passphrase-name",
                "ops",
                "--pbkdf2-iterations",
                "600001",
            ],
            &["--kek", "passphrase-env:P?kdf=pbkdf2&name=ops"],
            &[
                "--passphrase-env",
                "P",
                "--passphrase-name",
                "ops",
                "--kdf",
                "pbkdf2",
            ],
        ],
        [
            &["--kek", CHEAP],
            &["--passphrase-env", "P", "--kdf", "argon2id"],
            &["--kek", "passphrase-env:P"],
            &["--passphrase-env", "P"],
        ],
        [
            // Costs of more than one lane and pass, and memory that is no multiple of 4 lanes.
            &[
                "--kek",
                "passphrase-env:P?kdf=argon2id&memory=20001&passes=3&lanes=4",
            ],
            &["--passphrase-env", "P", "--kdf", "argon2id"],
            &["--kek", "passphrase-env:P?kdf=argon2id"],
            &["--passphrase-env", "P", "--kdf", "argon2id"],
        ],
    ];
    for [tool_seal, reader_seal, tool_open, reader_open] in cases {
        pair.both_ways(5, [tool_seal, reader_seal], [tool_open, reader_open]);
    }
}

#[test]
fn chunk_sizes_padding_and_hidden_ids() {
    let Some(pair) = Pair::new() else { return };
    let (tool, reader) = (["--kek", "env:K"], ["--kek-hex", KEY]);
    for (tool_options, reader_options) in [
        (&["--padding", "1000"], &["--padding", "1000"][..]),
        (&["--chunk-size", "1024"], &["--chunk-exponent", "10"]),
        (&["--chunk-size", "16777216"], &["--chunk-exponent", "24"]),
    ] {
        let seal = [&tool[..], tool_options].concat();
        let reader_seal = [&reader[..], reader_options].concat();
        for len in [0, 1024, 1025, 70_000] {
            pair.both_ways(len, [&seal, &reader_seal], [&tool, &reader]);
        }
    }
    // Under a hidden id each tries the keys it has, the right one last.
    let tool_open = ["--kek", "env:NEW", "--kek", "env:K"];
    let reader_open = ["--kek-hex", NEW_KEY, "--kek-hex", KEY];
    let tool_seal = [&tool[..], &["--hide-kek-id"]].concat();
    let reader_seal = [&reader[..], &["--hide-id"]].concat();
    pair.both_ways(5, [&tool_seal, &reader_seal], [&tool_open, &reader_open]);
}

#[test]
fn what_several_threads_seal_and_open() {
    let Some(pair) = Pair::new() else { return };
    let (tool, reader) = (["--kek", "env:K", "--threads", "3"], ["--kek-hex", KEY]);
    for len in [0, 65_536, 65_537, 262_144, 262_145, 1_500_000] {
        pair.both_ways(len, [&tool, &reader], [&tool, &reader]);
    }
    let (tool_seal, reader_seal) = (
        [&tool[..], &["--chunk-size", "1024"]].concat(),
        ["--chunk-exponent", "10"],
    );
    let reader_seal = [&reader[..], &reader_seal].concat();
    pair.both_ways(600_001, [&tool_seal, &reader_seal], [&tool, &reader]);
}

#[test]
fn what_either_seals_is_rewrapped_for_the_other() {
    let Some(pair) = Pair::new() else { return };
    let plaintext = bytes(200_000);
    let rewrap = ["rewrap", "--kek", "env:K", "--to", "env:NEW", "--context", "a=b"];
    let to_both = [&rewrap[..], &["--to", CHEAP]].concat();
    let by_reader = ["seal", "--kek-hex", KEY, "--context", "a=b"];
    let by_reader = pair.reader_done(&by_reader, &plaintext);
    let by_tool = ["seal", "--kek", "env:K", "--context", "a=b"];
    let by_tool = pair.tool.done(&by_tool, &plaintext);
    for sealed in [by_reader, by_tool] {
        let new = pair.tool.done(&to_both, &sealed);
        for key in [["--kek-hex", NEW_KEY], ["--passphrase-env", "P"]] {
            let open = [&["open", "--context", "a=b"][..], &key].concat();
            assert!(pair.reader_done(&open, &new) == plaintext, "{key:?}");
        }
        pair.tool.write("in", &new);
        let refused = pair.reader(&["open", "--context", "a=b", "--kek-hex", KEY]);
        assert_eq!(refused.stderr, b"error: no-usable-key\n");
    }
}

// spec: REWRAP-2
#[test]
fn another_context_is_refused_by_both() {
    let Some(pair) = Pair::new() else { return };
    for (stored, kind, says) in [
        (&[][..], "cannot-open", "does not open"),
        (&["--store-context"], "context-mismatch", "the context stored"),
    ] {
        let seal = [&["seal", "--kek", "env:K", "--context", "a=b"][..], stored].concat();
        pair.tool.write("in", pair.tool.done(&seal, b"hello"));
        let refused = pair.reader(&["open", "--kek-hex", KEY, "--context", "a=c"]);
        assert_eq!(refused.stderr, format!("error: {kind}\n").as_bytes());

        let seal = [&["seal", "--kek-hex", KEY, "--context", "a=b"][..], stored].concat();
        let sealed = pair.reader_done(&seal, b"hello");
        let line = pair
            .tool
            .refused(&["open", "--kek", "env:K", "--context", "a=c"], &sealed);
        assert!(line.contains(says), "{line}");
    }
}

#[test]
fn the_reader_passes_its_own_tests() {
    let Some(python) = python() else { return };
    let output = Command::new(python)
        .arg(script("test_reader.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Ran ") && !said.contains("Ran 0 tests"), "{said}");
}
