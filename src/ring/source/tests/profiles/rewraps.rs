//! The floor of a re-wrap, and what a job may leave for later.

use State::{Active, Deprecated};

use super::*;
use crate::key::RewrapRules;
use crate::sealer::Rewrapper;
use crate::source::Currency;
use crate::testing::Method;

const JOB: RewrapRules<'static> = RewrapRules::new().falling_short();

/// What was sealed under the first key, which the second has followed.
fn moved(bench: &Bench, from: Kind, to: Kind) -> (Vec<u8>, FakeKeyManager, FakeKeyManager) {
    let (mut old, before) = bench.made("old", from, &[Active]);
    let sealed = seal(&bench.plain(), "a");
    let after = bench.fake_of("new", to);
    let mut new = bench.record_of(&after, to);
    bench.promote(&mut old, &mut new);
    before.forget_calls();
    (sealed, before, after)
}

#[test]
fn what_opened_is_the_floor_though_the_profile_demands_less() {
    let bench = Bench::new();
    let (sealed, _, _) = moved(&bench, GOOD, SOFTWARE);
    let lax = bench.strict(&Requirements::new());
    for rules in [RewrapRules::new(), JOB] {
        let error = rewrap(&lax.with_rewrap_rules(rules), &sealed).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldWeaken { .. }), "{error:?}");
    }
    let weakening = lax.with_rewrap_rules(RewrapRules::new().weakening());
    assert_eq!(keks(&rewrap(&weakening, &sealed).unwrap()), ["new"]);
    // And to be allowed to weaken lowers no profile.
    let strict = bench.strict(&Requirements::new().in_hardware());
    let weakening = strict.with_rewrap_rules(RewrapRules::new().weakening());
    assert_eq!(refused(rewrap(&weakening, &sealed)).0, "hardware");
}

#[test]
fn a_wrap_that_only_stands_there_raises_no_floor() {
    let bench = Bench::new();
    let (sealed, _, _) = moved(&bench, SOFTWARE, SOFTWARE);
    // Somebody writes the name of a key in hardware beside it.
    let (_, hard) = bench.made("hard", GOOD, &[Active, Deprecated]);
    let envelope = Envelope::parse(&sealed).unwrap();
    let section = envelope.header().wrap_section().unwrap();
    let real = crate::envelope::WrappedDek::from_ref(&section.stanzas().next().unwrap());
    let claimed = crate::envelope::WrappedDek::new(GOOD.algorithm, hard.kek(), vec![7; 60]).unwrap();
    let forged = crate::envelope::WrapSet::any_of(vec![claimed, real]).unwrap();
    let front = forged.prefix(0, 0).unwrap().into_owned();
    let forged = [front.as_slice(), &sealed[envelope.header().body_offset()..]].concat();
    let lax = bench.strict(&Requirements::new());
    let rewrapped = rewrap(&lax, &forged);
    // Two keys of the ring are named, and one wraps.
    let fewer = lax.with_rewrap_rules(RewrapRules::new().leaving_fewer_wraps());
    assert!(
        matches!(rewrapped.unwrap_err().kind(), ErrorKind::WouldWeaken { what } if what.contains("fewer"))
    );
    assert_eq!(keks(&rewrap(&fewer, &forged).unwrap()), ["new"]);
}

#[test]
fn a_job_raises_what_it_can_and_reports_the_rest() {
    // From classical in software to symmetric in software, where hardware is demanded as well.
    let bench = Bench::new();
    let from = Kind {
        protection: Protection::Software,
        ..CLASSICAL
    };
    let (sealed, old, new) = moved(&bench, from, SOFTWARE);
    let strict = bench.strict(&quantum_safe().in_hardware());
    assert_eq!(refused(rewrap(&strict, &sealed)).0, "hardware");
    assert_eq!((old.total(), new.total()), (0, 0));

    let job = strict.with_rewrap_rules(JOB);
    let wraps = block_on(job.rewrap(&sealed, &context("a"))).unwrap();
    let unmet: Vec<_> = wraps.unmet().iter().map(|unmet| unmet.requirement).collect();
    assert_eq!(unmet, ["hardware"]);
    let raised = wraps.splice(&sealed).unwrap();
    assert_eq!(keks(&raised), ["new"]);

    // Each run reports it, whether it finds something to do or not.
    let mut rewrapper = job.rewrapper();
    let run = |rewrapper: &mut Rewrapper, value: &[u8]| {
        block_on(rewrapper.rewrap(value, &context("a")))
            .unwrap()
            .is_some()
    };
    assert!(run(&mut rewrapper, &sealed) && run(&mut rewrapper, &sealed));
    assert!(!run(&mut rewrapper, &raised) && !run(&mut rewrapper, &raised));
    assert_eq!((rewrapper.counts().short, rewrapper.counts().failed), (4, 0));
    let is_current = job.rewrapper().is_current(&raised, &context("a")).unwrap();
    assert_ne!(is_current, Currency::Current, "it still misses the profile");
    // One that may not fall short finds it as well, though nothing would change.
    let mut careful = strict.rewrapper();
    assert_eq!(
        refused(block_on(careful.rewrap(&raised, &context("a")))).0,
        "hardware"
    );

    // To move to a classical key is no raise.
    let bench = Bench::new();
    let (sealed, _, _) = moved(&bench, SOFTWARE, from);
    let job = bench.strict(&quantum_safe().in_hardware()).with_rewrap_rules(JOB);
    let error = rewrap(&job, &sealed).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldWeaken { .. }), "{error:?}");
}

#[test]
fn a_strangers_wrap_that_stays_is_missed_before_anybody_is_asked() {
    let bench = Bench::new();
    let (_, fake) = bench.made("kek", GOOD, &[Active]);
    let stranger = FakeKeyManager::new("stranger").with_provider("elsewhere");
    let both = Sealer::builder().wrap_with(fake.clone()).wrap_with(stranger);
    let sealed = seal(&both.build().unwrap(), "a");
    fake.forget_calls();
    let strict = bench.strict(&quantum_safe());
    let (requirement, text) = refused(rewrap(&strict, &sealed));
    assert_eq!(requirement, "classes");
    assert!(text.contains("wrap 2 (elsewhere)"), "{text}");
    assert_eq!(fake.total(), 0);
    // It opens, since the wrap that opens is good; and without the stranger's wrap it moves.
    assert_eq!(open(&strict, &sealed, "a").unwrap(), b"hello");
    let dropping = strict.with_rewrap_rules(RewrapRules::new().dropping_unknown());
    assert_eq!(keks(&rewrap(&dropping, &sealed).unwrap()), ["kek"]);
    let job = strict.with_rewrap_rules(JOB);
    let wraps = block_on(job.rewrap(&sealed, &context("a"))).unwrap();
    assert_eq!(wraps.unmet().len(), 1);
    assert_eq!(fake.count(Method::Unwrap), 3);
}

#[test]
fn a_rewrap_at_the_kms_obeys_as_well() {
    let bench = Bench::new();
    let kms = bench.fake_of("old", GOOD).rewrapping();
    let other = kms.sibling("new");
    let other = other.rewrapping_from(&kms);
    bench.reach("old", &kms);
    bench.reach("new", &other);
    let mut old = bench.went(bench.record_of(&kms, GOOD), &[Active]);
    bench.put(&[&old]);
    let sealed = seal(&bench.plain(), "a");
    let mut new = bench.record_of(&other, SOFTWARE);
    bench.promote(&mut old, &mut new);
    let lax = bench.strict(&Requirements::new());
    let error = rewrap(&lax, &sealed).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldWeaken { .. }), "{error:?}");
    let strict = bench.strict(&Requirements::new().in_hardware());
    kms.forget_calls();
    assert_eq!(refused(rewrap(&strict, &sealed)).0, "hardware");
    assert_eq!(kms.total(), 0);
}
