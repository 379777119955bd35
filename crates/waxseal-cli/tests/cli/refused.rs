//! What is refused: exit codes, the one line, and that nothing secret is on it. [`Tool`] checks the line of
//! every run.

use std::io::Read;
use std::process::Stdio;

use crate::tool::{AAD, CHEAP, KEY, PAIR, Tool, bytes, end};

const SEAL: [&str; 3] = ["seal", "--kek", "env:K"];
const OPEN: [&str; 3] = ["open", "--kek", "env:K"];

#[test]
fn usage_is_2_and_says_what_to_write() {
    let tool = Tool::new();
    let key = format!("env:{KEY}");
    let long = format!("a={}", "CANARY".repeat(2_000));
    let long_aad = "CANARY".repeat(11_000);
    let cases: &[(&[&str], &str)] = &[
        (&[], "name a command"),
        (&["CANARY"], "name a command"),
        (&["seal"], "--kek"),
        (&["open"], "--kek"),
        (&["rewrap", "--to", "env:NEW"], "--kek"),
        (&["seal", "--kek"], "--kek <URI> needs a value"),
        (&["seal", "--kek", "CANARY"], "env:NAME"),
        (&["seal", "--kek", "vault:CANARY"], "vault:"),
        (&["seal", "--kek", "env:CANARY=="], "letters"),
        (&["seal", "--kek", &key], "a key itself"),
        (
            &["seal", "--kek", "passphrase-env:P?kdf=CANARY"],
            "pbkdf2 or argon2id",
        ),
        (&["seal", "--kek", "passphrase-env:P?iterations=599999"], "600000"),
        (
            &["seal", "--kek", "passphrase-env:P?iterations=10000001"],
            "10000000",
        ),
        (
            &["seal", "--kek", "passphrase-env:P?kdf=argon2id&memory=19455"],
            "19456",
        ),
        (
            &["seal", "--kek", "passphrase-env:P?kdf=argon2id&passes=17"],
            "16",
        ),
        (
            &["seal", "--kek", "passphrase-env:P?name="],
            "name of a passphrase",
        ),
        (&["seal", "--kek", "env:K", "--kek", "CANARY"], "env:NAME"),
        (&["rewrap", "--kek", "env:K", "--to", "CANARY"], "--to"),
        (&["seal", "--kek", "env:K", "--context"], "--context <KEY=VALUE>"),
        (
            &["seal", "--kek", "env:K", "--context", "CANARY"],
            "--context KEY=VALUE",
        ),
        (&["seal", "--kek", "env:K", "--context", "=CANARY"], "empty key"),
        (
            &[
                "seal",
                "--kek",
                "env:K",
                "--context",
                PAIR,
                "--context",
                "tenant=CANARY",
            ],
            "twice",
        ),
        (&["seal", "--kek", "env:K", "--context", &long], "context length"),
        (
            &["seal", "--kek", "env:K", "--context", PAIR, "x", "y=CANARY"],
            "argument 7",
        ),
        (&["seal", "--kek", "env:K", "--aad"], "--aad"),
        (&["seal", "--kek", "env:K", "--aad", "--CANARY"], "argument 5"),
        (&["seal", "--kek", "env:K", "--aad", "-CANARY"], ""),
        (
            &["seal", "--kek", "env:K", "--aad", AAD, "--aad", AAD],
            "once only",
        ),
        (&["seal", "--kek", "env:K", "--aad", &long_aad], "AAD length"),
        (
            &["seal", "--kek", "env:K", "--contexts=CANARY=CANARY"],
            "did you mean --context",
        ),
        (
            &["seal", "--kek", "env:K", "--suite", "CANARY"],
            "chacha20-poly1305",
        ),
        (
            &["seal", "--kek", "env:K", "--chunk-size", "1000"],
            "power of two",
        ),
        (&["seal", "--kek", "env:K", "--threads", "0"], "from 1 to 1024"),
        (
            &["open", "--kek", "env:K", "--threads", "CANARY"],
            "from 1 to 1024",
        ),
        (&["open", "--kek", "env:K", "--threads", "1025"], "from 1 to 1024"),
        (&["seal", "--kek", "env:K", "--chunk-size", "512"], "power of two"),
        (
            &["seal", "--kek", "env:K", "--chunk-size", "33554432"],
            "power of two",
        ),
        (
            &["seal", "--kek", "env:K", "--chunk-size", "CANARY"],
            "power of two",
        ),
        (
            &["seal", "--kek", "env:K", "--padding", "CANARY"],
            "number of bytes",
        ),
        (&["seal", "--kek", "env:K", "--padding", "65537"], "65536"),
        (&["open", "--kek", "env:K", "--store-context"], "argument 4"),
        (&["rewrap", "--kek", "env:K", "--in-place"], "INPUT"),
        (&["rewrap", "--kek", "env:K", "--in-place", "-"], "INPUT"),
        (
            &["rewrap", "--kek", "env:K", "--in-place", "e", "-o", "f"],
            "--in-place",
        ),
        (
            &[
                "rewrap",
                "--kek",
                "env:K",
                "--context",
                PAIR,
                "--use-stored-context",
            ],
            "--use-stored-context",
        ),
        (&["keygen", "--format", "CANARY"], "base64, hex"),
        (&["keygen", "CANARY"], "argument 2"),
        (&["inspect", "--kek", "CANARY"], "argument 2"),
    ];
    for (arguments, says) in cases {
        let line = tool.fails_with(2, arguments, b"hello");
        assert!(line.contains(says), "{arguments:?}: {line}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    let tool = Tool::new();
    let help = String::from_utf8(tool.done(&["seal", "--help"], b"")).unwrap();
    for promised in [
        "passphrase-env:NAME",
        "the context is empty",
        "?allow-shared=true",
        "passphrase-prompt:",
        "One line end at the end",
        "Exit codes",
    ] {
        assert!(help.contains(promised), "{help}");
    }
    let version = String::from_utf8(tool.done(&["--version"], b"")).unwrap();
    let (first, features) = version.split_once('\n').unwrap();
    assert_eq!(first, format!("waxseal {}", env!("CARGO_PKG_VERSION")));
    assert!(features.starts_with("features: "), "{version}");
    for (feature, is_in) in [
        ("aws-kms", cfg!(feature = "aws-kms")),
        ("azure-key-vault", cfg!(feature = "azure-key-vault")),
        ("gcp-kms", cfg!(feature = "gcp-kms")),
        ("vault-transit", cfg!(feature = "vault-transit")),
        ("pkcs11", cfg!(feature = "pkcs11")),
    ] {
        assert_eq!(features.contains(feature), is_in, "{version}");
        assert_eq!(help.contains(&format!("\n  {feature}:")), is_in, "{help}");
    }
}

#[test]
fn a_missing_key_says_what_to_set() {
    let tool = Tool::new();
    let line = tool.refused(&["seal", "--kek", "env:MISSING"], b"hello");
    assert!(
        line.contains("MISSING is not set") && line.contains("waxseal keygen"),
        "{line}"
    );
    let line = tool.refused(&["open", "--kek", "passphrase-env:MISSING"], b"hello");
    assert!(
        line.contains("MISSING is not set") && line.contains("passphrase"),
        "{line}"
    );
    // Each of several is looked at, and not the first alone.
    tool.refused(&["seal", "--kek", "env:K", "--kek", "env:MISSING"], b"hello");
    tool.refused(&["rewrap", "--kek", "env:K", "--to", "env:MISSING"], b"hello");

    for value in [
        "",
        "CANARY",
        "CANARY CANARY CANARY CANARY CANARY CANARY 44.",
        &"00".repeat(32),
    ] {
        let child = tool.command(&SEAL).env("K", value).spawn().unwrap();
        let run = end(child, b"hello");
        assert_eq!((run.code, run.stdout.len()), (4, 0));
        assert!(
            !run.stderr.contains("CANARY") && run.stderr.contains(" K "),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_key_file_that_is_no_secret_is_refused() {
    let tool = Tool::new();
    tool.write("key", KEY);
    for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
        tool.set_mode("key", mode);
        let arguments = ["seal", "--kek", "file:key"];
        if good || cfg!(not(unix)) {
            tool.done(&arguments, b"hello");
        } else {
            let line = tool.refused(&arguments, b"hello");
            assert!(
                line.contains("key file key") && line.contains("chmod 600"),
                "{line}"
            );
        }
    }
    tool.write_private("no-key", "CANARY");
    let line = tool.refused(&["seal", "--kek", "file:no-key"], b"hello");
    assert!(line.contains("no-key holds no key"), "{line}");
    tool.refused(&["seal", "--kek", "file:missing"], b"hello");
    tool.refused(&["seal", "--kek", "file:."], b"hello");
}

#[test]
fn wrong_keys_do_not_open() {
    let tool = Tool::new();
    let sealed = tool.done(&SEAL, b"hello");
    let line = tool.refused(&["open", "--kek", "env:NEW"], &sealed);
    assert!(
        line.contains("no configured key") && line.contains("not configured"),
        "{line}"
    );
    let hidden = tool.done(&[&SEAL[..], &["--hide-kek-id"]].concat(), b"hello");
    let line = tool.refused(&["open", "--kek", "env:NEW"], &hidden);
    assert!(line.contains("does not open"), "{line}");

    let sealed = tool.done(&["seal", "--kek", CHEAP], b"hello");
    let mut command = tool.command(&["open", "--kek", CHEAP]);
    let run = end(
        command.env("P", "CANARY of other words").spawn().unwrap(),
        &sealed,
    );
    assert_eq!((run.code, run.stdout.len()), (3, 0));
    assert!(
        run.stderr.contains("does not open") && !run.stderr.contains("CANARY"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_wrong_aad_is_told_from_a_wrong_key() {
    let tool = Tool::new();
    let sealed = tool.done(&[&SEAL[..], &["--aad", "row 7"]].concat(), b"hello");
    for aad in [&["--aad", "row 8"][..], &[]] {
        let line = tool.refused(&[&OPEN[..], aad].concat(), &sealed);
        assert!(
            line.contains("key and context are right") && line.contains("--aad"),
            "{line}"
        );
        assert!(!line.contains("--kek"), "{line}");
    }
    let line = tool.refused(
        &[&OPEN[..], &["--aad", "row 7", "--context", "a=b"]].concat(),
        &sealed,
    );
    assert!(
        !line.contains("are right;") && line.contains("--context"),
        "{line}"
    );
}

#[test]
fn what_is_no_envelope_is_refused_by_all_who_read_one() {
    let tool = Tool::new();
    for command in [&OPEN[..], &["rewrap", "--kek", "env:K"], &["inspect"]] {
        for (stdin, says) in [
            (&b""[..], "magic"),
            (b"W", "magic"),
            (
                b"CANARY in clear text, and more of it than a header",
                "no waxseal envelope",
            ),
            (b"WAX\x02\x01\0\0\0", "version 2"),
            (b"WAX\x01\x09\0\0\0", "not supported"),
            (b"WAX\x01\x01\xff\xff\xff", "wrap section length"),
        ] {
            let line = tool.refused(command, stdin);
            assert!(line.contains(says), "{command:?}: {line}");
        }
    }
}

#[test]
fn every_part_that_is_missing_is_missed() {
    let tool = Tool::new();
    let sealed = tool.done(&[&SEAL[..], &["--chunk-size", "1024"]].concat(), &bytes(2_500));
    let header = waxseal::Envelope::parse(&sealed).unwrap().header().len();
    let chunk = 1024 + 16;
    let cuts = [
        3,
        8,
        header - 1,
        header,
        header + 15,
        header + 16,
        header + chunk - 1,
        header + chunk,
        header + chunk + 16,
        header + 2 * chunk,
        header + 2 * chunk + 17,
        sealed.len() - 1,
    ];
    tool.write("there", "before");
    for cut in cuts {
        let cut = &sealed[..cut];
        // Neither a new file nor one that is there is touched.
        tool.refused(&[&OPEN[..], &["-o", "new"]].concat(), cut);
        tool.refused(&[&OPEN[..], &["-o", "there"]].concat(), cut);
        tool.write("cut", cut);
        tool.refused(&[&OPEN[..], &["cut", "-o", "there"]].concat(), b"");
        std::fs::remove_file(tool.path("cut")).unwrap();
    }
    assert_eq!(tool.listing(), ["there"]);
    let longer = [sealed.as_slice(), b"!"].concat();
    tool.refused(&[&OPEN[..], &["-o", "new"]].concat(), &longer);
}

#[test]
fn a_pipe_gets_what_was_verified_and_then_the_exit_code() {
    let tool = Tool::new();
    let plaintext = bytes(2_500);
    let mut sealed = tool.done(&[&SEAL[..], &["--chunk-size", "1024"]].concat(), &plaintext);
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    let run = tool.run(&OPEN, &sealed);
    assert_eq!(run.code, 3);
    assert_eq!(run.stdout, &plaintext[..2_048]);
    assert!(run.stderr.contains("does not open"), "{}", run.stderr);
}

#[test]
fn altered_bytes_leave_no_file() {
    let tool = Tool::new();
    let sealed = tool.done(&[&SEAL[..], &["--context", PAIR]].concat(), &bytes(100));
    for at in (0..sealed.len()).step_by(7) {
        let mut altered = sealed.clone();
        altered[at] ^= 0x40;
        tool.refused(
            &[&OPEN[..], &["--context", PAIR, "-o", "opened"]].concat(),
            &altered,
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_a_failure() {
    let tool = Tool::new();
    let sealed = tool.done(&SEAL, &bytes(1 << 20));
    let mut child = tool.command(&OPEN).spawn().unwrap();
    drop(child.stdout.take());
    let run = end(child, &sealed);
    assert_eq!(run.code, 9);
    assert!(
        run.stderr.contains("cannot write standard output"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_standard_error_that_is_closed_changes_no_exit_code() {
    let tool = Tool::new();
    let mut child = tool.command(&OPEN).stdin(Stdio::null()).spawn().unwrap();
    drop(child.stderr.take());
    let mut stdout = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert!(stdout.is_empty());
}
