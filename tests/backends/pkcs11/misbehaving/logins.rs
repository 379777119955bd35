//! Restarts, PINs, and tokens that are passed over.

use super::*;

#[test]
fn what_only_a_restart_helps_says_so() {
    alone("logins::what_only_a_restart_helps_says_so", |scene| {
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
    alone(
        "logins::a_module_may_be_started_anew_where_that_is_allowed",
        |scene| {
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
        },
    );
}

#[test]
fn a_wrong_pin_is_tried_once_by_a_process_and_works_for_nobody() {
    alone(
        "logins::a_wrong_pin_is_tried_once_by_a_process_and_works_for_nobody",
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
    alone(
        "logins::a_locked_pin_is_no_wrong_pin_and_the_last_try_is_kept",
        |scene| {
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
        },
    );
}

#[test]
fn tokens_that_were_passed_over_are_told() {
    alone("logins::tokens_that_were_passed_over_are_told", |scene| {
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
