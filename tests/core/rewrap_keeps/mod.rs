//! A re-wrap takes nothing from an envelope that it is not told to take: what is only perhaps ours stays, a shortcut
//! that fails falls through, and neither fewer wraps nor a weaker class is left.

mod calls;
mod shortcuts;

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
