//! A re-wrap at the KMS, and the general way that is left if it fails.

use super::*;

/// The shortcut has half of the time; the other half is for the general way.
#[test]
fn a_shortcut_that_hangs_leaves_time_for_the_general_way() {
    let runtime = SimulatedRuntime::new();
    let clock: Arc<SimulatedRuntime> = Arc::new(runtime.clone());
    let kms = FakeKeyManager::new("kms")
        .rewrapping()
        .with_runtime(clock.clone());
    let sealed = seal(&[&kms], false);
    let sealer = builder()
        .wrap_with(kms.clone())
        .runtime(clock.clone())
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    kms.script_for(
        Method::Rewrap,
        Fault::Hangs(clock.clone(), Duration::from_secs(3600)),
    );
    let context = context();
    let moved = runtime.run(sealer.rewrap(&sealed, &context)).unwrap().unwrap();
    assert!(moved.is_verified());
    assert!(opens(&kms, &moved.splice(&sealed).unwrap()));
}

/// A hidden id × a KMS that re-wraps × the same key or another one: the refusal of the shortcut is not final.
#[test]
fn a_shortcut_that_fails_for_reasons_of_the_stanza_falls_through() {
    for hidden in [false, true] {
        for same in [false, true] {
            for embedding in [false, true] {
                let new = FakeKeyManager::new("new").rewrapping();
                let new = if embedding { new.embedding() } else { new };
                let old = if same { new.clone() } else { new.sibling("old") };
                let sealed = seal(&[&old], hidden);
                let mover = builder().wrap_with(new.clone());
                let mover = if same { mover } else { mover.open_with(old.clone()) };
                let mover = build(if hidden { mover.hide_kek_ids() } else { mover });
                let moved = mover.rewrap(&sealed, &context()).unwrap();
                let what = format!("{hidden} {same} {embedding}");
                // Without the DEK where the KMS can, and else with it.
                assert_eq!(moved.is_verified(), !same, "{what}");
                assert_eq!(moved.stanzas()[0].fate, Fate::Replaced, "{what}");
                let moved = moved.splice(&sealed).unwrap();
                assert!(opens(&new, &moved), "{what}");
                assert_eq!(opens(&old, &moved), same, "{what}");
            }
        }
    }
}

#[test]
fn every_failure_of_a_shortcut_is_told_apart_from_an_outage() {
    let kms = FakeKeyManager::new("kms").rewrapping();
    let sealed = seal(&[&kms], false);
    let sealer = Sealer::new(kms.clone());
    for reason in [
        ErrorKind::CannotOpen,
        ErrorKind::NoUsableKey,
        ErrorKind::Malformed {
            field: "wrapped DEK",
            offset: 0,
        },
        ErrorKind::KeyNotFound,
        ErrorKind::Unsupported { feature: "this" },
        ErrorKind::InvalidAnswer,
        ErrorKind::Denied,
    ] {
        kms.script_for(Method::Rewrap, Fault::Fails(reason));
        let moved = sealer.rewrap(&sealed, &context()).unwrap();
        assert!(moved.is_verified(), "{reason:?}");
        assert!(opens(&kms, &moved.splice(&sealed).unwrap()), "{reason:?}");
    }
    // It says that it re-wrapped, and the wrap is another key's.
    kms.script_for(Method::Rewrap, Fault::OtherKek("stranger".into()));
    assert!(sealer.rewrap(&sealed, &context()).unwrap().is_verified());
    for outage in [ErrorKind::Unavailable, ErrorKind::Throttled, ErrorKind::TimedOut] {
        kms.forget_calls();
        kms.script_for(Method::Rewrap, Fault::Fails(outage));
        let error = sealer.rewrap(&sealed, &context()).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (outage, true));
        assert_eq!(kms.total(), 1);
    }
    // Where the general way fails, too, what can be mended is told, and both attempts are listed.
    kms.script_for(Method::Rewrap, Fault::Fails(ErrorKind::Denied));
    kms.script_for(Method::Unwrap, Fault::Fails(ErrorKind::CannotOpen));
    let error = sealer.rewrap(&sealed, &context()).unwrap_err();
    assert_eq!((error.kind(), error.attempts().len()), (ErrorKind::Denied, 2));
}
