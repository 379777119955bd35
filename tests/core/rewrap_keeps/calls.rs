//! In which order wraps are tried, and how many calls one envelope may cost.

use super::*;

// spec: ANY-6
#[test]
fn an_envelope_has_a_budget_of_calls() {
    // Sixteen hidden wraps of a stranger, and six keys that each of them may be under.
    let stranger = FakeKeyManager::new("stranger");
    let mut sealing = builder().hide_kek_ids();
    for i in 0..16 {
        sealing = sealing.wrap_with(stranger.sibling(&format!("stranger-{i}")));
    }
    let sealed = build(sealing).seal(b"payload", &context()).unwrap();
    let kms = FakeKeyManager::new("ours-0");
    let mut opening = builder();
    for i in 0..6 {
        opening = opening.open_with(kms.sibling(&format!("ours-{i}")));
    }
    let opening = build(opening.wrap_with(kms.sibling("new")));
    let most = usize::try_from(limits::BACKEND_CALLS.max).unwrap();
    let exhausted = ErrorKind::BudgetExhausted {
        budget: limits::BACKEND_CALLS.name,
    };
    for rewraps in [false, true] {
        kms.forget_calls();
        let error = if rewraps {
            opening.rewrap(&sealed, &context()).map(drop).unwrap_err()
        } else {
            opening.open(&sealed, &context()).map(drop).unwrap_err()
        };
        assert_eq!(error.kind(), exhausted);
        assert_eq!(kms.total(), most);
        // What was left untried is told.
        assert_eq!(error.attempts().len(), 16 * 7);
        let untried = error
            .attempts()
            .iter()
            .filter(|attempt| attempt.kind == Some(exhausted));
        assert_eq!(untried.count(), 16 * 7 - most);
    }
    // One of ours among them, named, is found at once.
    let mut sealing = builder().wrap_with(kms.sibling("ours-3"));
    for i in 0..15 {
        sealing = sealing.wrap_with(stranger.sibling(&format!("stranger-{i}")));
    }
    let sealed = build(sealing).seal(b"payload", &context()).unwrap();
    kms.forget_calls();
    assert!(opening.open(&sealed, &context()).is_ok());
    assert_eq!(kms.total(), 1);
}

/// Of wraps that may be anybody's each is tried with the key that wraps before any is tried with a former key.
#[test]
fn the_likeliest_wrap_is_tried_first() {
    let kms = FakeKeyManager::new("ours").with_ambiguous_id();
    let stranger = FakeKeyManager::new("stranger");
    let opening = build(builder().wrap_with(kms.clone()).open_with(kms.sibling("former")));
    let mut sealing = builder().hide_kek_ids();
    for i in 0..15 {
        sealing = sealing.wrap_with(stranger.sibling(&format!("stranger-{i}")));
    }
    let sealed = build(sealing.wrap_with(kms.clone()))
        .seal(b"payload", &context())
        .unwrap();
    kms.forget_calls();
    assert!(opening.open(&sealed, &context()).is_ok());
    // Sixteen with the key that wraps, and none with the former one.
    assert_eq!(kms.total(), 16);
}

// spec: ANY-3
/// One KEK that is configured twice is asked once for each stanza; a replica with other credentials is asked all the
/// same where the first may not.
#[test]
fn one_kek_listed_twice_is_asked_once() {
    let kms = FakeKeyManager::new("kek");
    let sealed = seal(&[&kms], false);
    let other = EncryptionContext::empty();
    for ambiguous in [false, true] {
        let listed = if ambiguous {
            kms.clone().with_ambiguous_id()
        } else {
            kms.clone()
        };
        let twice = build(
            builder()
                .wrap_with(listed.clone())
                .open_with(listed.clone())
                .open_with(listed),
        );
        kms.forget_calls();
        let error = twice.open(&sealed, &other).unwrap_err();
        assert_eq!((error.kind(), error.attempts().len()), (ErrorKind::CannotOpen, 1));
        assert_eq!(kms.total(), 1);
        kms.script(Fault::Fails(ErrorKind::Denied));
        assert!(twice.open(&sealed, &context()).is_ok());
        assert_eq!(kms.total(), 3);
    }
    let twice = builder().wrap_with(kms.clone()).wrap_with(kms.clone()).build();
    assert_eq!(kind(twice.map(drop)), ErrorKind::Configuration);
    // The same name elsewhere is another key.
    assert!(
        builder()
            .wrap_with(kms.clone())
            .wrap_with(kms.elsewhere("b"))
            .build()
            .is_ok()
    );
}

/// What is certainly ours is tried before what only may be, and one that hangs does not use up the deadline.
#[test]
fn one_that_hangs_leaves_time_for_the_others() {
    let runtime = SimulatedRuntime::new();
    let clock: Arc<SimulatedRuntime> = Arc::new(runtime.clone());
    let far = FakeKeyManager::new("far").with_runtime(clock.clone());
    let near = FakeKeyManager::new("near").with_runtime(clock.clone());
    let sealed = seal(&[&far, &near], false);
    let sealer = builder()
        .wrap_with(far.clone())
        .open_with(near.clone())
        .runtime(clock.clone())
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    far.script_always(Fault::Hangs(clock.clone(), Duration::from_secs(3600)));
    let context = context();
    let opened = runtime.run(sealer.open(&sealed, &context)).unwrap();
    assert_eq!(opened.unwrap(), *b"payload");
    // An ambiguous one comes last, whatever its place.
    let ambiguous = far.clone().with_ambiguous_id();
    let sealer = builder()
        .wrap_with(ambiguous)
        .open_with(near.clone())
        .build()
        .unwrap();
    far.forget_calls();
    assert!(runtime.run(sealer.open(&sealed, &context)).unwrap().is_ok());
    assert_eq!(far.total(), 0);
}
