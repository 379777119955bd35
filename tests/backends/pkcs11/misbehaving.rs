//! A module that misbehaves on command (`shim/shim.c`), in front of the real one.
//!
//! Each test has a process of its own with a token of its own: what it does, it does to everybody in its process.

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

#[test]
fn an_iv_of_its_own_that_a_token_keeps_to_itself_seals_nothing() {
    alone(
        "an_iv_of_its_own_that_a_token_keeps_to_itself_seals_nothing",
        |scene| {
            scene.tell(&["iv=silent"]);
            for keys in [scene.keys(), scene.keys()] {
                for _ in 0..2 {
                    let error = block_on(keys.generate(&scene.request())).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
                    says(&error, &["IV", "nothing was sealed"]);
                }
            }
            scene.tell(&["iv=zero-kept"]);
            let error = block_on(scene.keys().generate(&scene.request())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
            scene.heal();
            scene.works(&scene.keys()).unwrap();
        },
    );
}

#[test]
fn an_iv_of_its_own_that_a_token_tells_is_the_one_that_is_kept() {
    alone(
        "an_iv_of_its_own_that_a_token_tells_is_the_one_that_is_kept",
        |scene| {
            for (how, iv) in [("told", 0), ("appended", 0), ("zero-told", 0)] {
                scene.tell(&[&format!("iv={how}")]);
                let keys = scene.keys();
                scene
                    .works(&keys)
                    .unwrap_or_else(|error| panic!("{how}: {error}"));
                let (dek, wrapped) = block_on(keys.generate(&scene.request())).unwrap();
                assert_eq!(wrapped.wrapped()[iv..8], [0xa5; 8], "{how}");
                // A token that takes the caller's IVs opens it too.
                scene.heal();
                let opened = block_on(scene.keys().unwrap(wrapped.as_wrap_ref(), &scene.request())).unwrap();
                assert!(opened.dek.ct_eq(&dek));
            }
            scene.tell(&["iv=appended-16"]);
            let error = block_on(scene.keys().generate(&scene.request())).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
            says(&error, &["64 bytes", "48"]);
        },
    );
}

#[test]
fn what_only_a_restart_helps_says_so() {
    alone("what_only_a_restart_helps_says_so", |scene| {
        for code in ["0x30", "0xb3"] {
            scene.heal();
            let keys = scene.keys();
            scene.works(&keys).unwrap();
            scene.tell(&[&format!("wedged-for-good={code}")]);
            let errors: Vec<_> = (0..6)
                .map(|_| block_on(keys.generate(&scene.request())).unwrap_err())
                .collect();
            assert!(errors.iter().all(|error| error.kind() == ErrorKind::Unavailable));
            // It may pass by itself, and in the end it does not.
            assert!(errors[0].is_retryable(), "{}", errors[0]);
            assert!(!errors[5].is_retryable(), "{}", errors[5]);
            let name = if code == "0x30" {
                "CKR_DEVICE_ERROR"
            } else {
                "CKR_SESSION_HANDLE_INVALID"
            };
            says(&errors[0], &[name]);
            says(&errors[5], &[name, "restart this process"]);
            // Each call tries all the same: a token that comes back is used at once.
            scene.heal();
            scene.works(&keys).unwrap();
        }
    });
}

#[test]
fn a_module_may_be_started_anew_where_that_is_allowed() {
    alone("a_module_may_be_started_anew_where_that_is_allowed", |scene| {
        let restarting = || {
            let config = scene.token.config().with_module_restart(true);
            connect(config).key("kek").unwrap()
        };
        let (keys, others) = (restarting(), scene.keys());
        // Those of the test are not this crate's: it has not started the module.
        scene.works(&keys).unwrap();
        scene.tell(&["wedged-for-good=0x30"]);
        let errors: Vec<_> = (0..6)
            .map(|_| block_on(keys.generate(&scene.request())).unwrap_err())
            .collect();
        says(&errors[5], &["restart this process"]);
        assert_eq!(scene.calls("C_Finalize"), 0, "a module of others was shut down");
        scene.heal();
        drop((keys, others));

        // From here on it has: the test shuts the module down, and the crate starts it again.
        scene.token.raw.clone().finalize().unwrap();
        let (keys, others) = (restarting(), scene.keys());
        scene.works(&keys).unwrap();
        scene.works(&others).unwrap();
        scene.forget_calls();
        scene.tell(&["wedged=0x30"]);
        let mut failed = 0;
        while let Err(error) = scene.works(&keys) {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            failed += 1;
            assert!(failed < 10, "{error}");
        }
        assert_eq!(scene.calls("C_Finalize"), 1);
        // The sessions of the other client went with it; it opens its own anew, and closes none that is another's.
        scene.works(&others).unwrap();
        scene.works(&keys).unwrap();
    });
}

#[test]
fn a_token_with_few_sessions_serves_many_calls() {
    alone("a_token_with_few_sessions_serves_many_calls", |scene| {
        // The test has one of its own that logs the process in, and lets go of it.
        for most in [1, 2, 3] {
            scene.tell(&[&format!("sessions={most}")]);
            let keys = scene.client(8, LONG).key("kek").unwrap();
            std::thread::scope(|scope| {
                for _ in 0..16 {
                    let keys = keys.clone();
                    scope.spawn(move || {
                        for _ in 0..4 {
                            scene
                                .works(&keys)
                                .unwrap_or_else(|error| panic!("{most}: {error}"));
                        }
                    });
                }
            });
            // A second client gets along with what the first one does not need.
            if most > 1 {
                scene.works(&scene.keys()).unwrap();
                scene.works(&keys).unwrap();
            }
            drop(keys);
            assert!(!scene.token.stays_in_use());
        }
        // If all are others', a later try may succeed.
        scene.tell(&["sessions=0"]);
        let error = block_on(scene.keys().check()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert!(error.is_retryable());
        says(&error, &["CKR_SESSION_COUNT"]);
    });
}

#[test]
fn a_wrong_pin_is_tried_once_by_a_process_and_works_for_nobody() {
    alone(
        "a_wrong_pin_is_tried_once_by_a_process_and_works_for_nobody",
        |scene| {
            let with = |pin: &str| {
                let config = scene.token.config().with_pin(pin.to_owned().into());
                connect(config).key("kek").unwrap()
            };
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..2 {
                            let error = block_on(with("CANARY-wrong").check()).unwrap_err();
                            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
                            assert!(!error.is_retryable());
                            says(&error, &["CKR_PIN_INCORRECT"]);
                            assert!(!format!("{error} {error:?}").contains("CANARY"));
                        }
                    });
                }
            });
            assert_eq!(scene.calls("C_Login"), 1, "one wrong PIN is one try");
            // Another one is tried, once.
            for _ in 0..3 {
                block_on(with("another").check()).unwrap_err();
            }
            assert_eq!(scene.calls("C_Login"), 2);
            // While the right one is logged in, a wrong one is refused although the token would not ask.
            let right = scene.keys();
            scene.works(&right).unwrap();
            assert_eq!(scene.calls("C_Login"), 3);
            for pin in ["CANARY-wrong", "new"] {
                let error = block_on(with(pin).check()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
                says(&error, &["another client of this process"]);
            }
            let config = scene.token.config_without_pin();
            let error = block_on(connect(config).key("kek").unwrap().check()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
            scene.works(&with(PIN)).unwrap();
            assert_eq!(scene.calls("C_Login"), 3, "the right PIN was asked for again");
            drop(right);
        },
    );
}

#[test]
fn a_locked_pin_is_no_wrong_pin_and_the_last_try_is_kept() {
    alone("a_locked_pin_is_no_wrong_pin_and_the_last_try_is_kept", |scene| {
        scene.tell(&["C_Login=0xa4"]);
        for _ in 0..2 {
            let error = block_on(scene.keys().check()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            says(&error, &["C_Login: CKR_PIN_LOCKED", "locked"]);
        }
        // It was not compared, so it is not taken for a wrong one afterwards.
        scene.heal();
        scene.works(&scene.keys()).unwrap();
        assert!(!scene.token.stays_in_use());

        scene.forget_calls();
        scene.tell(&["token-flags=0x20000"]);
        let error = block_on(scene.keys().check()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        says(&error, &["CKF_USER_PIN_FINAL_TRY", "final-try=true"]);
        assert_eq!(scene.calls("C_Login"), 0);
        let config = scene.token.config().with_final_try(true);
        scene.works(&connect(config).key("kek").unwrap()).unwrap();
    });
}

#[test]
fn tokens_that_were_passed_over_are_told() {
    alone("tokens_that_were_passed_over_are_told", |scene| {
        let nobody = |name: &str| {
            let config = scene.token.config_of(TokenMatch::labeled(name));
            block_on(connect(config).key("kek").unwrap().check()).unwrap_err()
        };
        let error = nobody("nobody");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        says(&error, &["skipped", &scene.token.label, "another label"]);
        // The slot that SoftHSM keeps for the next token has no label; named by slot it is told for what it is.
        if !support::is_kryoptic() {
            let slots = scene.token.raw.get_slots_with_token().unwrap();
            let free = slots.into_iter().find(|slot| *slot != scene.token.slot).unwrap();
            let mut wanted = TokenMatch::default();
            wanted.slot = Some(free.id());
            let config = scene.token.config_of(wanted);
            let error = block_on(connect(config).key("kek").unwrap().check()).unwrap_err();
            says(&error, &["not initialized"]);
        }
        // One that does not say what it is may be the one that is meant.
        scene.tell(&["token-error=0x32"]);
        let error = nobody("nobody");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_retryable());
        says(&error, &["C_GetTokenInfo: CKR_DEVICE_REMOVED"]);
    });
}

#[test]
fn a_key_without_the_right_to_open_seals_nothing() {
    alone("a_key_without_the_right_to_open_seals_nothing", |scene| {
        use cryptoki::object::Attribute;
        let session = scene.token.session();
        let key = scene.token.find(&session, "kek")[0];
        for (right, name) in [
            (Attribute::Decrypt(false), "CKA_DECRYPT"),
            (Attribute::Encrypt(false), "CKA_ENCRYPT"),
        ] {
            let back = match right {
                Attribute::Decrypt(_) => Attribute::Decrypt(true),
                _ => Attribute::Encrypt(true),
            };
            session.update_attributes(key, &[right]).unwrap();
            scene.forget_calls();
            let keys = scene.keys();
            let error = block_on(keys.generate(&scene.request())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::KeyDisabled);
            says(&error, &[name, "false"]);
            assert_eq!(scene.calls("C_EncryptInit"), 0);
            session.update_attributes(key, &[back]).unwrap();
        }
        // A token that does not say what a key may do is asked by doing it.
        scene.tell(&["without=0x105"]);
        scene.works(&scene.keys()).unwrap();
        scene.tell(&["without=0x105", "C_DecryptInit=0x68"]);
        let config = scene.token.config();
        scene.token.make_key("other", &[1]);
        let keys = connect(config).key("other").unwrap();
        let error = block_on(keys.generate(&scene.request())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyDisabled);
        says(&error, &["CKR_KEY_FUNCTION_NOT_PERMITTED"]);
    });
}

#[test]
fn a_call_that_hangs_ends_by_its_deadline_and_others_go_on() {
    alone(
        "a_call_that_hangs_ends_by_its_deadline_and_others_go_on",
        |scene| {
            let client = scene.client(1, Duration::from_millis(400));
            let keys = client.key("kek").unwrap();
            scene.works(&keys).unwrap();
            let (_, wrapped) = block_on(keys.generate(&scene.request())).unwrap();
            scene.tell(&["C_Decrypt=hang"]);
            // The caller's own deadline, outside of any runtime, and inside of one that has one thread.
            let short = scene
                .request()
                .with_deadline(Monotonic(ThreadRuntime.now().0 + Duration::from_millis(50)));
            let error = block_on(keys.unwrap(wrapped.as_wrap_ref(), &short)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let error = tokio
                .block_on(keys.unwrap(wrapped.as_wrap_ref(), &scene.request()))
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            // The place is not lost: what does not hang goes on, one after the other.
            eventually("a call is given up", || {
                block_on(keys.generate(&scene.request())).is_ok()
            });
            // And how many may hang is bounded.
            let mut last = None;
            for _ in 0..40 {
                let error = block_on(keys.unwrap(wrapped.as_wrap_ref(), &scene.request())).unwrap_err();
                let is_over = error.kind() == ErrorKind::Unavailable;
                last = Some(error);
                if is_over {
                    break;
                }
            }
            let last = last.unwrap();
            assert_eq!(last.kind(), ErrorKind::Unavailable);
            assert!(!last.is_retryable());
            says(&last, &["have not returned", "restart"]);
            // Every client of the module is told, at once.
            assert_eq!(
                block_on(scene.keys().check()).unwrap_err().kind(),
                ErrorKind::Unavailable
            );
            // Those that return after all count no more.
            scene.heal();
            eventually("the module is used again", || scene.works(&keys).is_ok());
            // A process that ends while threads are in the module crashes in the module's own cleaning up.
            drop((client, keys));
            eventually("every call has returned", || threads("waxseal-pkcs11") == 0);
        },
    );
}

#[test]
fn no_more_calls_are_in_the_module_than_there_are_sessions() {
    alone(
        "no_more_calls_are_in_the_module_than_there_are_sessions",
        |scene| {
            let keys = scene.client(3, LONG).key("kek").unwrap();
            scene.works(&keys).unwrap();
            scene.forget_calls();
            scene.tell(&["C_EncryptInit=hang"]);
            let (done, ended) = channel();
            for _ in 0..32 {
                let (keys, context, done) = (keys.clone(), scene.context.clone(), done.clone());
                std::thread::spawn(move || {
                    let request = Request::new(&context);
                    done.send(block_on(keys.generate(&request)).map(|_| ())).unwrap();
                });
            }
            eventually("three calls are in it", || scene.calls("C_EncryptInit") == 3);
            // Those that wait have not begun; those that give up never do.
            let short = scene
                .request()
                .with_deadline(Monotonic(ThreadRuntime.now().0 + Duration::from_millis(50)));
            let error = block_on(keys.generate(&short)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(scene.calls("C_EncryptInit"), 3);
            scene.heal();
            for _ in 0..32 {
                ended.recv_timeout(LONG).unwrap().unwrap();
            }
            assert_eq!(scene.calls("C_EncryptInit"), 32);
        },
    );
}

#[test]
fn a_blocking_sealer_works_in_any_context() {
    alone("a_blocking_sealer_works_in_any_context", |scene| {
        let sealer = blocking::Sealer::new(scene.keys());
        let there_and_back = || {
            let sealed = sealer.seal(b"hello", &scene.context).unwrap();
            assert_eq!(sealer.open(&sealed, &scene.context).unwrap(), b"hello");
        };
        there_and_back();
        let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
        single.block_on(async { there_and_back() });
        let many = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        many.block_on(async { there_and_back() });
        let (sealer, context) = (sealer.clone(), scene.context.clone());
        // A spawned task, far more often than there are threads of any pool.
        let task = many.spawn(async move {
            for _ in 0..200 {
                let sealed = sealer.seal(b"hello", &context).unwrap();
                assert_eq!(sealer.open(&sealed, &context).unwrap(), b"hello");
            }
        });
        many.block_on(task).unwrap();
        // A client that was used on a runtime outlives it.
        let keys = scene.keys();
        single.block_on(async { keys.check().await }).unwrap();
        drop((single, many));
        scene.works(&keys).unwrap();
    });
}

#[test]
fn key_wrapping_needs_the_rights_it_uses() {
    alone("key_wrapping_needs_the_rights_it_uses", |scene| {
        if !support::has_key_wrap_pad("rights to wrap") {
            return;
        }
        let keys = scene.keys().with_mechanism(Mechanism::AesKeyWrapPad);
        scene.works(&keys).unwrap();
        let session = scene.token.session();
        let key = scene.token.find(&session, "kek")[0];
        session
            .update_attributes(key, &[cryptoki::object::Attribute::Unwrap(false)])
            .unwrap();
        let error = block_on(
            scene
                .keys()
                .with_mechanism(Mechanism::AesKeyWrapPad)
                .generate(&scene.request()),
        );
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyDisabled);
        says(&error, &["CKA_UNWRAP"]);
        // AES-GCM needs other ones.
        scene.works(&scene.keys()).unwrap();
    });
}

#[test]
fn no_length_is_asked_for_where_it_is_known() {
    alone("no_length_is_asked_for_where_it_is_known", |scene| {
        let mut mechanisms = vec![Mechanism::AesGcm];
        if support::has_key_wrap_pad("the length of a wrapped key") {
            mechanisms.push(Mechanism::AesKeyWrapPad);
        }
        if support::is_kryoptic() {
            scene.token.make_pair("kek", &[1], 2048);
            mechanisms.push(Mechanism::RsaOaep256);
        }
        for size in ["refused", "ends", "small"] {
            scene.tell(&[&format!("size={size}")]);
            for mechanism in &mechanisms {
                let keys = scene.keys().with_mechanism(*mechanism);
                scene
                    .works(&keys)
                    .unwrap_or_else(|error| panic!("{size} {mechanism:?}: {error}"));
            }
        }
        for function in ["C_Encrypt?", "C_Decrypt?", "C_WrapKey?"] {
            assert_eq!(scene.calls(function), 0, "{function}");
        }
        assert!(scene.calls("C_Encrypt") > 0);
    });
}
