//! Runs `waxseal` in a directory and an environment of its own.
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The KEK in the variable `K`.
pub(crate) const KEY: &str = "3f9a1c5be07d42886615bb0f93c2ade4718259fc06e1d3b7a84c90257ef6413d";
/// The KEK in the variable `NEW`.
pub(crate) const NEW_KEY: &str = "c1d2e3f405162738495a6b7c8d9eafb0c2d4e6f80a1b2c3d4e5f60718293a4b5";
/// The passphrase in the variable `P`.
pub(crate) const PASSPHRASE: &str = "CANARY of three words";
/// That passphrase at the least cost there is. PBKDF2 at its least takes seconds in a debug build.
pub(crate) const CHEAP: &str = "passphrase-env:P?kdf=argon2id&memory=19456&passes=2&lanes=1";
/// A context pair with a value that must not show.
pub(crate) const PAIR: &str = "tenant=CANARY-value";
/// An AAD that must not show.
pub(crate) const AAD: &str = "CANARY-aad";

/// What must never stand on standard error.
const SECRETS: &[&str] = &["CANARY", KEY, NEW_KEY, KEY_BASE64];
const KEY_BASE64: &str = "P5ocW+B9QohmFbsPk8Kt5HGCWfwG4dO3qEyQJX72QT0";

/// How the lines begin that tell what a re-wrap did.
const REPORTS: [&str; 6] = [
    "waxseal: wrapped under ",
    "waxseal: replaced ",
    "waxseal: kept ",
    "waxseal: dropped ",
    "waxseal: still misses ",
    "waxseal: used the key ",
];

/// A directory, and the tool in it. Its environment has `K`, `NEW` and `P`, and nothing else.
pub(crate) struct Tool {
    dir: TempDir,
}

/// How a run ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Tool {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    #[cfg(any(feature = "fleet", feature = "ring"))]
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// A file that only its owner can read.
    pub(crate) fn write_private(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.write(name, bytes);
        self.set_mode(name, 0o600);
    }

    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        #[cfg(not(unix))]
        let _ = (name, mode);
    }

    /// The names of all files, hidden ones too.
    pub(crate) fn listing(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(self.dir.path()).unwrap().map(name).collect();
        names.sort();
        names
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waxseal"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("K", KEY)
            .env("NEW", NEW_KEY)
            .env("P", PASSPHRASE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it, and checks what holds of every run: silence on standard error after success, else one line
    /// without secrets.
    pub(crate) fn run(&self, arguments: &[&str], stdin: &[u8]) -> Run {
        end(self.command(arguments).spawn().unwrap(), stdin).checked(arguments)
    }

    /// Runs it with more variables in its environment.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str], stdin: &[u8]) -> Run {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        end(command.spawn().unwrap(), stdin).checked(arguments)
    }

    /// Runs it, which must succeed, and gives its standard output.
    pub(crate) fn done(&self, arguments: &[&str], stdin: &[u8]) -> Vec<u8> {
        let run = self.run(arguments, stdin);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        run.stdout
    }

    /// Runs it, which must fail, not for its command line, and leave the directory as it is. Gives the line.
    pub(crate) fn refused(&self, arguments: &[&str], stdin: &[u8]) -> String {
        let (code, line) = self.failing(arguments, stdin);
        assert!(code == 1 || code > 2, "{arguments:?}: {code}: {line}");
        line
    }

    /// Runs it, which must fail with this code and leave the directory as it is. Gives the line.
    pub(crate) fn fails_with(&self, code: i32, arguments: &[&str], stdin: &[u8]) -> String {
        let (found, line) = self.failing(arguments, stdin);
        assert_eq!(found, code, "{arguments:?}: {line}");
        line
    }

    fn failing(&self, arguments: &[&str], stdin: &[u8]) -> (i32, String) {
        let before = self.contents();
        let run = self.run(arguments, stdin);
        assert_ne!(run.code, 0, "{arguments:?}");
        assert!(self.contents() == before, "{arguments:?} left something behind");
        (run.code, run.stderr)
    }

    /// Runs a script of `/bin/sh` in the directory, in which `$W` is the tool.
    #[cfg(unix)]
    pub(crate) fn shell(&self, script: &str) -> Run {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script])
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("W", env!("CARGO_BIN_EXE_waxseal"))
            .env("K", KEY)
            .env("NEW", NEW_KEY)
            .env("P", PASSPHRASE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        end(command.spawn().unwrap(), b"")
    }

    fn contents(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let read = |name: String| {
            let bytes = fs::read(self.path(&name)).ok();
            (name, bytes)
        };
        self.listing().into_iter().map(read).collect()
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }
}

impl Run {
    fn checked(self, arguments: &[&str]) -> Self {
        let Self { code, stderr, .. } = &self;
        // Warnings come on lines of their own.
        let stderr: String = stderr
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("waxseal: warning: "))
            .filter(|line| !REPORTS.iter().any(|report| line.starts_with(report)))
            .collect();
        let asks_for_id = arguments.contains(&"--print-id");
        if *code == 0 && !asks_for_id {
            assert_eq!(stderr, "", "{arguments:?}");
        } else {
            assert_eq!(stderr.matches('\n').count(), 1, "{arguments:?}: {stderr}");
            assert!(stderr.ends_with('\n'), "{arguments:?}: {stderr}");
            assert!(
                asks_for_id || stderr.starts_with("waxseal: "),
                "{arguments:?}: {stderr}"
            );
        }
        for secret in SECRETS {
            assert!(!stderr.contains(secret), "{arguments:?}: {stderr}");
        }
        self
    }
}

/// Feeds a process and waits for it. One that stops reading is no failure of the feeding.
pub(crate) fn end(mut child: Child, stdin: &[u8]) -> Run {
    let mut pipe = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = pipe.write_all(stdin);
        });
        child.wait_with_output().unwrap()
    });
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Bytes that differ from chunk to chunk.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let byte = |index: usize| u8::try_from((index * 7 + index / 251) % 251).unwrap();
    (0..len).map(byte).collect()
}

/// The sizes at the borders of the default chunk size, and a long one.
pub(crate) const SIZES: [usize; 6] = [0, 1, 65_535, 65_536, 65_537, 10 << 20];

/// The variables of an object store that is moto at this URL.
#[cfg(feature = "object-store")]
pub(crate) fn of_moto(url: &str) -> [(&str, &str); 5] {
    [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
    ]
}
