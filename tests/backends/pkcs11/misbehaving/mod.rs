//! A module that misbehaves on command (`shim/shim.c`), in front of the real one.
//!
//! Each test has a process of its own with a token of its own: what it does, it does to everybody in its process.

mod calls;
mod logins;
mod wraps;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use pollster::block_on;
use waxseal::backend::pkcs11::{Client, Mechanism, TokenKey, TokenMatch};
use waxseal::runtime::{Monotonic, Runtime, ThreadRuntime};
use waxseal::{EncryptionContext, Error, ErrorKind, KeyManager, blocking, key::Request};

use super::support::{self, PIN, Token, connect};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// What a test has in its process.
pub(super) struct Scene {
    pub(super) token: Token,
    control: PathBuf,
    context: EncryptionContext,
}

/// Runs a test in a process of its own.
fn alone(name: &str, test: fn(&Scene)) {
    let Some(real) = support::module() else { return };
    let name = format!("misbehaving::{name}");
    alone_in_front_of(&name, &real, &[], |_| {
        let scene = Scene {
            token: Token::fresh("shim").unwrap(),
            control: std::env::var_os("WAXSEAL_SHIM_CONTROL").unwrap().into(),
            context: EncryptionContext::new([("tenant", "acme")]).unwrap(),
        };
        scene.token.make_key("kek", &[1]);
        scene.forget_calls();
        test(&scene);
    });
}

/// Runs a test in a process of its own, with the path of a module that stands in front of the real one.
pub(super) fn alone_in_front_of(
    name: &str,
    real: &Path,
    variables: &[(&str, &str)],
    test: impl FnOnce(&Path),
) {
    const CHILD: &str = "WAXSEAL_TEST_PKCS11_ALONE";
    if let Some(shim) = std::env::var_os(CHILD) {
        test(Path::new(&shim));
        println!("{name}: done");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let shim = support::shim(dir.path());
    let tokens = dir.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = dir.path().join("token.conf");
    let (variable, text) = support::configuration(&tokens);
    std::fs::write(&conf, text).unwrap();
    let control = dir.path().join("control");
    std::fs::write(&control, "").unwrap();
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("pkcs11::{name}"), "--nocapture"])
        .env(variable, &conf)
        .env(support::module_variable(), &shim)
        .env("WAXSEAL_SHIM_REAL", real)
        .env("WAXSEAL_SHIM_CONTROL", &control)
        .env(CHILD, &shim)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    println!("{out}{}", String::from_utf8_lossy(&done.stderr));
    assert!(
        done.status.success() && out.contains(&format!("{name}: done")),
        "{:?}",
        done.status
    );
}

impl Scene {
    /// How the module misbehaves from now on.
    fn tell(&self, lines: &[&str]) {
        let next = self.control.with_extension("next");
        std::fs::write(&next, lines.join("\n") + "\n").unwrap();
        std::fs::rename(&next, &self.control).unwrap();
    }

    fn heal(&self) {
        self.tell(&[]);
    }

    fn log(&self) -> PathBuf {
        let mut log = self.control.clone().into_os_string();
        log.push(".log");
        log.into()
    }

    fn forget_calls(&self) {
        let _ = std::fs::remove_file(self.log());
    }

    /// How often a function was called since then.
    fn calls(&self, function: &str) -> usize {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| *line == function).count()
    }

    fn client(&self, sessions: usize, timeout: Duration) -> Client {
        let config = self.token.config().with_sessions(sessions).unwrap();
        connect(config.with_timeout(timeout))
    }

    fn keys(&self) -> TokenKey {
        self.client(8, LONG).key("kek").unwrap()
    }

    fn request(&self) -> Request<'_> {
        Request::new(&self.context)
    }

    /// Wraps, and what it wrapped opens.
    fn works(&self, keys: &TokenKey) -> Result<(), Error> {
        let (dek, wrapped) = block_on(keys.generate(&self.request()))?;
        let opened = block_on(keys.unwrap(wrapped.as_wrap_ref(), &self.request()))?;
        assert!(opened.dek.ct_eq(&dek));
        Ok(())
    }
}

/// Waits for it.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

/// Threads of this name.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|of| of.trim_end() == name).count()
}

fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert!(!format!("{error:?}").contains(PIN), "{error:?}");
}
