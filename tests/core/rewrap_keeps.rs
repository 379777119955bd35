//! A re-wrap takes nothing from an envelope that it is not told to take: what is only perhaps ours stays, a shortcut
//! that fails falls through, and neither fewer wraps nor a weaker class is left.

use std::sync::Arc;
use std::time::Duration;

use waxseal::blocking::Sealer;
use waxseal::envelope::AlgorithmClass;
use waxseal::envelope::{KekRef, WrappedDek};
use waxseal::key::RewrapRules;
use waxseal::source::{Fate, Rewrapped};
use waxseal::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use waxseal::value::limits;
use waxseal::{Builder, EncryptionContext, Envelope, Error, ErrorKind};

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

fn build(builder: Builder) -> Sealer {
    builder.build().unwrap().into()
}

fn builder() -> Builder {
    waxseal::Sealer::builder()
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.err().unwrap().kind()
}

fn opens(key_manager: &FakeKeyManager, envelope: &[u8]) -> bool {
    let opened = Sealer::new(key_manager.clone()).open(envelope, &context());
    opened.is_ok_and(|opened| opened == *b"payload")
}

fn seal(key_managers: &[&FakeKeyManager], hidden: bool) -> Vec<u8> {
    let mut builder = builder();
    for key_manager in key_managers {
        builder = builder.wrap_with((*key_manager).clone());
    }
    if hidden {
        builder = builder.hide_kek_ids();
    }
    build(builder).seal(b"payload", &context()).unwrap()
}

/// The ids, in order.
fn ids(envelope: &[u8]) -> Vec<String> {
    let envelope = Envelope::parse(envelope).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    section.stanzas().map(|stanza| stanza.kek_id.to_owned()).collect()
}

// spec: REWRAP-7
/// Two tokens that share a label, two Vault clusters with one mount and key: each id fits the other's stanza.
#[test]
fn a_stanza_whose_id_fits_and_that_is_foreign_is_kept() {
    let ours = FakeKeyManager::new("label").with_ambiguous_id();
    let theirs = ours.elsewhere("their token");
    let new = FakeKeyManager::new("new");
    for (order, hidden) in [(0, false), (1, false), (0, true), (1, true)] {
        let keys = if order == 0 {
            [&ours, &theirs]
        } else {
            [&theirs, &ours]
        };
        let sealed = seal(&keys, hidden);
        let mover = build(builder().wrap_with(new.clone()).open_with(ours.clone()));
        let moved = mover.rewrap(&sealed, &context()).unwrap();
        let fates: Vec<Fate> = moved.stanzas().iter().map(|stanza| stanza.fate).collect();
        let expected = if order == 0 {
            [Fate::Replaced, Fate::Kept]
        } else {
            [Fate::Kept, Fate::Replaced]
        };
        assert_eq!(fates, expected, "{order} {hidden}");
        assert!(moved.is_verified() && moved.is_changed());
        let moved = moved.splice(&sealed).unwrap();
        assert!(opens(&theirs, &moved), "they lost access: {order} {hidden}");
        assert!(opens(&new, &moved) && !opens(&ours, &moved), "{order} {hidden}");
    }
}

/// The same where the wrap of the other stands beside one that opened first, and nobody has asked for it yet.
#[test]
fn an_ambiguous_stanza_is_replaced_only_if_it_unwraps_to_the_same_dek() {
    let local = FakeKeyManager::new("local");
    let ours = FakeKeyManager::new("label").with_ambiguous_id();
    let theirs = ours.elsewhere("their cluster");
    let new = [FakeKeyManager::new("new-0"), FakeKeyManager::new("new-1")];
    let mover = build(
        builder()
            .wrap_with(new[0].clone())
            .wrap_with(new[1].clone())
            .open_with(local.clone())
            .open_with(ours.clone()),
    );
    for (beside, stays) in [(&ours, false), (&theirs, true)] {
        let sealed = seal(&[&local, beside], false);
        let moved = mover
            .rewrap(&sealed, &context())
            .unwrap()
            .splice(&sealed)
            .unwrap();
        assert_eq!(opens(beside, &moved), stays);
        assert_eq!(ids(&moved).len(), if stays { 3 } else { 2 });
    }
    // An outage of who could tell is an error that may pass, and no lost and no stale wrap.
    let sealed = seal(&[&local, &ours], false);
    ours.script_for(Method::Unwrap, Fault::Fails(ErrorKind::Unavailable));
    let error = mover.rewrap(&sealed, &context()).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    // A refusal is no proof, and says which key has to be allowed.
    for refusal in [
        ErrorKind::Denied,
        ErrorKind::KeyDisabled,
        ErrorKind::Unauthenticated,
        ErrorKind::InvalidAnswer,
    ] {
        ours.script_for(Method::Unwrap, Fault::Fails(refusal));
        let error = mover.rewrap(&sealed, &context()).unwrap_err();
        assert_eq!(error.kind(), refusal);
        assert!(error.to_string().contains("label"), "{error}");
    }
    // Nobody can open it any more, and nobody could lose it.
    ours.script_for(Method::Unwrap, Fault::Fails(ErrorKind::KeyDestroyed));
    let kept = mover.rewrap(&sealed, &context()).unwrap();
    assert_eq!(kept.stanzas()[1].fate, Fate::Kept);
}

/// A recovery cluster that may be encrypted for and not decrypted with: neither is its wrap lost, nor does it become
/// one more with each re-wrap.
#[test]
fn a_destination_that_may_not_unwrap_does_not_multiply_its_wraps() {
    let primary = FakeKeyManager::new("primary");
    let recovery = FakeKeyManager::new("recovery").with_ambiguous_id();
    for hidden in [false, true] {
        let sealed = seal(&[&primary, &recovery], hidden);
        let mover = || builder().wrap_with(primary.clone()).wrap_with(recovery.clone());
        recovery.script_always(Fault::Fails(ErrorKind::Denied));
        let error = build(mover()).rewrap(&sealed, &context()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.to_string().contains("allow it to unwrap"), "{error}");
        assert_eq!(error.attempts().len(), 1);
        // Who only opens with it does not drop it by a rule: nothing would stand in its place.
        recovery.heal();
        let dropping = RewrapRules::new().dropping_unknown();
        let source = build(
            builder()
                .wrap_with(primary.clone())
                .open_with(recovery.clone())
                .rewrap_rules(dropping),
        );
        recovery.script_for(Method::Unwrap, Fault::Fails(ErrorKind::Denied));
        assert_eq!(kind(source.rewrap(&sealed, &context())), ErrorKind::Denied);
        // Its new wrap takes the old one's place if that is asked for, again and again.
        let dropping = build(mover().rewrap_rules(dropping));
        let mut moved = sealed;
        for _ in 0..4 {
            recovery.script_for(Method::Unwrap, Fault::Fails(ErrorKind::Denied));
            let new = dropping.rewrap(&moved, &context()).unwrap();
            assert_eq!(new.stanzas()[1].fate, Fate::Dropped);
            moved = new.splice(&moved).unwrap();
            assert_eq!(ids(&moved).len(), 2);
            recovery.heal();
            assert!(opens(&recovery, &moved) && opens(&primary, &moved));
        }
    }
}

/// A public key that does not know whose a wrap is cannot prove it, so it does not add one each time either.
#[test]
fn a_destination_that_only_wraps_does_not_multiply_its_wraps() {
    let primary = FakeKeyManager::new("primary");
    let recovery = FakeKeyManager::new("recovery");
    let public = recovery.clone().wrap_only();
    let mover = |public: &FakeKeyManager| builder().wrap_with(primary.clone()).wrap_with(public.clone());
    let sealed = seal(&[&primary, &recovery], true);
    let refused = build(mover(&public)).rewrap(&sealed, &context());
    assert_eq!(kind(refused), ErrorKind::Configuration);
    let ambiguous = seal(&[&primary, &recovery], false);
    let refused = build(mover(&public.clone().with_ambiguous_id())).rewrap(&ambiguous, &context());
    assert_eq!(kind(refused), ErrorKind::Configuration);
    let dropping = mover(&public).rewrap_rules(RewrapRules::new().dropping_unknown());
    let moved = build(dropping).rewrap(&sealed, &context()).unwrap();
    assert_eq!(ids(&moved.splice(&sealed).unwrap()).len(), 2);
    // Where its private key is here too, that tells what is another's.
    let stranger = FakeKeyManager::new("stranger");
    let three = seal(&[&primary, &recovery, &stranger], true);
    let knows = build(mover(&public).open_with(recovery.clone()));
    let moved = knows.rewrap(&three, &context()).unwrap();
    let fates: Vec<Fate> = moved.stanzas().iter().map(|stanza| stanza.fate).collect();
    assert_eq!(fates, [Fate::Replaced, Fate::Replaced, Fate::Kept]);
    // Nobody writes what could not be told apart later.
    let hiding = mover(&public).hide_kek_ids();
    assert_eq!(kind(hiding.build().map(drop)), ErrorKind::Configuration);
    let knows = mover(&public).open_with(recovery).hide_kek_ids();
    assert!(knows.build().is_ok());
}

#[test]
fn two_wraps_of_one_key_are_not_two_recipients() {
    let [primary, recovery, new] = ["primary", "recovery", "new"].map(FakeKeyManager::new);
    let sealed = seal(&[&primary, &recovery], false);
    // By a source that no builder has looked at.
    let twice = waxseal::source::AnyOf::new(new.clone())
        .wrap_with(new.clone())
        .open_with(primary.clone())
        .open_with(recovery.clone());
    let sealer = Sealer::from_source(twice);
    assert_eq!(
        kind(sealer.seal(b"payload", &context())),
        ErrorKind::Configuration
    );
    assert_eq!(kind(sealer.rewrap(&sealed, &context())), ErrorKind::Configuration);
    assert_eq!(new.total(), 0);
    // And where a source has made two of one key all the same.
    let envelope = Envelope::parse(&sealed).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    let made = section.stanzas().take(1).map(|stanza| {
        let kek = KekRef::new(stanza.provider, "new", "").unwrap();
        WrappedDek::new(stanza.algorithm, kek, stanza.wrapped.to_vec()).unwrap()
    });
    let made: Vec<_> = made.flat_map(|wrap| [wrap.clone(), wrap]).collect();
    let rewrapped = Rewrapped::new(&section, made, &[Fate::Replaced; 2]).unwrap();
    let error = rewrapped.check(RewrapRules::new()).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::WouldWeaken {
            what: "fewer wraps than it found"
        }
    );
    // Two replicas of one key are one key, and losing one of them is no loss.
    let arn =
        |region: &str| format!("arn:aws:kms:{region}:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab");
    let replica = |region: &str| {
        let stanza = section.stanzas().next().unwrap();
        let kek = KekRef::new("aws-kms", &arn(region), "").unwrap();
        WrappedDek::new(stanza.algorithm, kek, stanza.wrapped.to_vec()).unwrap()
    };
    let rewrapped = Rewrapped::new(&section, vec![replica("us-east-1")], &[Fate::Replaced; 2]).unwrap();
    let rewrapped = rewrapped
        .unwrapped_by(0, replica("eu-west-1").kek().clone())
        .unwrapped_by(1, replica("us-east-1").kek().clone());
    rewrapped.check(RewrapRules::new()).unwrap();
}

/// Two clusters of one mount and key name are two keys, though the names in their stanzas are equal.
#[test]
fn namesakes_do_not_become_one_key() {
    let here = FakeKeyManager::new("transit/keys/orders").with_ambiguous_id();
    let there = here.elsewhere("there");
    let new = FakeKeyManager::new("new");
    for hidden in [false, true] {
        let sealed = seal(&[&here, &there], hidden);
        new.forget_calls();
        let mover = || {
            builder()
                .wrap_with(new.clone())
                .open_with(here.clone())
                .open_with(there.clone())
        };
        let error = build(mover()).rewrap(&sealed, &context()).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::WouldWeaken {
                what: "fewer wraps than it found"
            }
        );
        assert_eq!(new.count(Method::Wrap), 0);
        let rules = RewrapRules::new().leaving_fewer_wraps();
        let moved = build(mover().rewrap_rules(rules))
            .rewrap(&sealed, &context())
            .unwrap();
        assert_eq!(ids(&moved.splice(&sealed).unwrap()), ["new"]);
        let both = build(builder().wrap_with(here.clone()).wrap_with(there.clone()));
        assert!(both.rewrap(&sealed, &context()).is_ok());
    }
}

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

/// An unchanged set of recipients is no weakening, whoever may prove it.
#[test]
fn a_weaker_recipient_that_stands_there_already_is_not_refused() {
    let strong = FakeKeyManager::new("strong");
    let weak = FakeKeyManager::new("weak").of_class(AlgorithmClass::Classical);
    let sealed = seal(&[&strong, &weak], false);
    let both = || builder().wrap_with(strong.clone());
    // It only wraps, or may not unwrap: its certain id is believed.
    let public = build(both().wrap_with(weak.clone().wrap_only()));
    assert!(public.rewrap(&sealed, &context()).is_ok());
    let mover = build(both().wrap_with(weak.clone()));
    weak.script_for(Method::Unwrap, Fault::Fails(ErrorKind::Denied));
    assert!(mover.rewrap(&sealed, &context()).is_ok());
    // A denial that is the reason is told as one.
    let ambiguous = build(both().wrap_with(weak.clone().with_ambiguous_id()));
    weak.script_for(Method::Unwrap, Fault::Fails(ErrorKind::Denied));
    assert_eq!(kind(ambiguous.rewrap(&sealed, &context())), ErrorKind::Denied);
    // What is current is left alone, whatever stands there: here nobody can prove the weak one.
    let mut rewrapper = public.rewrapper();
    assert!(rewrapper.rewrap(&sealed, &context()).unwrap().is_none());
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

// spec: REWRAP-5
#[test]
fn primary_and_recovery_do_not_become_one_unless_that_is_asked_for() {
    let [primary, recovery, new] = ["primary", "recovery", "new"].map(FakeKeyManager::new);
    let sealed = seal(&[&primary, &recovery], false);
    let mover = || {
        builder()
            .wrap_with(new.clone())
            .open_with(primary.clone())
            .open_with(recovery.clone())
    };
    let error = build(mover()).rewrap(&sealed, &context()).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::WouldWeaken {
            what: "fewer wraps than it found"
        }
    );
    assert!(error.to_string().contains("leaving_fewer_wraps"), "{error}");
    // By the builder, and for one call.
    let rules = RewrapRules::new().leaving_fewer_wraps();
    for allowed in [
        build(mover().rewrap_rules(rules)),
        build(mover()).with_rewrap_rules(rules),
    ] {
        let moved = allowed.rewrap(&sealed, &context()).unwrap();
        assert!(moved.stanzas().iter().all(|stanza| stanza.fate == Fate::Replaced));
        assert_eq!(ids(&moved.splice(&sealed).unwrap()), ["new"]);
    }
    // As many as there were are no loss, and one that is not ours counts for nothing.
    let both = build(mover().wrap_with(recovery.clone()));
    assert_eq!(
        ids(&both.rewrap(&sealed, &context()).unwrap().splice(&sealed).unwrap()),
        ["new", "recovery"]
    );
    let one = build(builder().wrap_with(new.clone()).open_with(primary.clone()));
    let moved = one.rewrap(&sealed, &context()).unwrap().splice(&sealed).unwrap();
    assert_eq!(ids(&moved), ["new", "recovery"]);
    // Two versions of one key are one key.
    let twice = seal(&[&primary], false);
    primary.rotate_now();
    let again = Sealer::new(primary.clone()).rewrap(&twice, &context()).unwrap();
    assert_eq!(ids(&again.splice(&twice).unwrap()), ["primary"]);
}

#[test]
fn a_weaker_class_is_refused_unless_it_is_there_already_or_asked_for() {
    let strong = FakeKeyManager::new("strong");
    let weak = FakeKeyManager::new("weak").of_class(AlgorithmClass::Classical);
    let weaker = ErrorKind::WouldWeaken {
        what: "a wrap of a weaker class than opened it",
    };
    let sealed = seal(&[&strong], false);
    let mover = || builder().wrap_with(weak.clone()).open_with(strong.clone());
    assert_eq!(kind(build(mover()).rewrap(&sealed, &context())), weaker);
    assert_eq!(weak.total(), 0);
    let rules = RewrapRules::new().weakening();
    assert!(
        build(mover().rewrap_rules(rules))
            .rewrap(&sealed, &context())
            .is_ok()
    );
    // To the same class, and to one that lacks nothing.
    let hybrid = FakeKeyManager::new("hybrid").of_class(AlgorithmClass::Hybrid);
    for (from, to, is_refused) in [
        (&weak, &weak, false),
        (&weak, &strong, false),
        (&weak, &hybrid, false),
        (&strong, &hybrid, false),
        (&hybrid, &weak, true),
    ] {
        let sealed = seal(&[from], false);
        let result =
            build(builder().wrap_with(to.clone()).open_with(from.clone())).rewrap(&sealed, &context());
        assert_eq!(result.is_err(), is_refused, "{from:?} {to:?}");
    }
    // What was sealed under both stays under both. What only claims to be there is no reason.
    let both = build(builder().wrap_with(strong.clone()).wrap_with(weak.clone()));
    let sealed = both.seal(b"payload", &context()).unwrap();
    assert!(both.rewrap(&sealed, &context()).is_ok());
    weak.script_always(Fault::Fails(ErrorKind::CannotOpen));
    weak.script_for(Method::Wrap, Fault::Fails(ErrorKind::Denied));
    assert_eq!(kind(both.rewrap(&sealed, &context())), weaker);
}

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
