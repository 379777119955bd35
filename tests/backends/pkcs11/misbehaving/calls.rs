//! Calls that hang, and sessions that run out.

use super::*;

#[test]
fn a_token_with_few_sessions_serves_many_calls() {
    alone("calls::a_token_with_few_sessions_serves_many_calls", |scene| {
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

/// A token that has said that it has no more sessions is not asked for one with each call.
#[test]
fn a_token_without_more_sessions_is_not_asked_again_and_again() {
    alone(
        "calls::a_token_without_more_sessions_is_not_asked_again_and_again",
        |scene| {
            scene.tell(&["sessions=1"]);
            let keys = scene.client(8, LONG).key("kek").unwrap();
            scene.works(&keys).unwrap();
            scene.forget_calls();
            for _ in 0..10 {
                scene.works(&keys).unwrap();
            }
            assert_eq!(scene.calls("C_OpenSession"), 0);
            // What was remembered is of the sessions that were lost: afterwards there may be more.
            scene.tell(&["C_EncryptInit=0xb3"]);
            assert!(scene.works(&keys).is_err());
            scene.heal();
            scene.forget_calls();
            scene.works(&keys).unwrap();
            assert!(scene.calls("C_OpenSession") > 0);
        },
    );
}

/// Each version of a key is a call of the envelope's budget, and every wrap is tried at least once.
#[test]
fn planted_wraps_and_versions_do_not_multiply() {
    alone("calls::planted_wraps_and_versions_do_not_multiply", |scene| {
        for version in 2..=4 {
            scene.token.make_key("kek", &[version]);
        }
        let client = scene.client(2, LONG);
        let keys = client.key("kek").unwrap();
        let mut sealing = waxseal::Sealer::builder().hide_kek_ids();
        for other in 1..16 {
            let label = format!("other-{other}");
            scene.token.make_key(&label, &[1]);
            sealing = sealing.wrap_with(client.key(&label).unwrap());
        }
        let sealer = sealing.wrap_with(keys.clone()).build().unwrap();
        let sealed = block_on(sealer.seal(b"hello", &scene.context)).unwrap();
        let opener = waxseal::Sealer::new(keys);
        scene.forget_calls();
        assert_eq!(block_on(opener.open(&sealed, &scene.context)).unwrap(), b"hello");
        let most = usize::try_from(waxseal::value::limits::BACKEND_CALLS.max).unwrap();
        let made = scene.calls("C_Decrypt");
        assert!((16..=most).contains(&made), "{made}");
    });
}

#[test]
fn a_call_that_hangs_ends_by_its_deadline_and_others_go_on() {
    alone(
        "calls::a_call_that_hangs_ends_by_its_deadline_and_others_go_on",
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
        "calls::no_more_calls_are_in_the_module_than_there_are_sessions",
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
    alone("calls::a_blocking_sealer_works_in_any_context", |scene| {
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
