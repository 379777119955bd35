//! Each requirement fails alone: when something is sealed, opened and re-wrapped, before anybody is asked.

use State::{Active, Compromised, Deprecated};

use super::*;
use crate::key::RewrapRules;
use crate::ring::profile::StoredContext;
use crate::testing::Method;

#[test]
fn a_classical_key_neither_seals_nor_opens_nor_takes_over() {
    let bench = Bench::new();
    let (key, rsa) = bench.made("rsa", CLASSICAL, &[Active]);
    let sealed = seal(&bench.plain(), "a");
    rsa.forget_calls();
    let strict = bench.strict(&quantum_safe());
    let (requirement, text) = refused(try_seal(&strict));
    assert_eq!(requirement, "classes");
    assert!(
        text.contains(&key.id.to_string())
            && text.contains("is classical")
            && text.contains("profile strict"),
        "{text}"
    );
    let error = open(&strict, &sealed, "a").unwrap_err();
    assert_eq!(error.attempts().len(), 1);
    assert_eq!(refused(Err::<(), _>(error)).0, "classes");
    assert_eq!(refused(rewrap(&strict, &sealed)).0, "classes");
    assert_eq!(rsa.total(), 0);
}

#[test]
fn a_rewrap_to_a_classical_key_is_refused_and_one_away_from_it_is_not() {
    let bench = Bench::new();
    let (mut good, kms) = bench.made("kms", GOOD, &[Active]);
    let sealed = seal(&bench.plain(), "a");
    let rsa = bench.fake_of("rsa", CLASSICAL);
    let mut key = bench.record_of(&rsa, CLASSICAL);
    bench.promote(&mut good, &mut key);
    kms.forget_calls();
    let strict = bench.strict(&quantum_safe());
    assert_eq!(refused(rewrap(&strict, &sealed)).0, "classes");
    assert_eq!((kms.total(), rsa.total()), (0, 0));
    // What was sealed before still opens: the key that opens it is good.
    assert_eq!(open(&strict, &sealed, "a").unwrap(), b"hello");

    let bench = Bench::new();
    let (mut key, _rsa) = bench.made("rsa", CLASSICAL, &[Active]);
    let sealed = seal(&bench.plain(), "a");
    let kms = bench.fake_of("kms", GOOD);
    let mut good = bench.record_of(&kms, GOOD);
    bench.promote(&mut key, &mut good);
    let strict = bench.strict(&quantum_safe());
    assert_eq!(refused(open(&strict, &sealed, "a")).0, "classes");
    let raised = rewrap(&strict, &sealed).unwrap();
    assert_eq!(keks(&raised), ["kms"]);
    assert_eq!(open(&strict, &raised, "a").unwrap(), b"hello");
}

#[test]
fn of_two_wraps_the_weaker_one_decides_for_sealing_and_the_one_that_opens_for_opening() {
    let bench = Bench::new();
    let (_, rsa) = bench.made("rsa", CLASSICAL, &[Active]);
    let (_, kms) = bench.made("kms", RECOVERY, &[Active]);
    let sealed = seal(&bench.plain(), "a");
    assert_eq!(keks(&sealed), ["rsa", "kms"]);
    let strict = bench.strict(&quantum_safe());
    assert_eq!(refused(try_seal(&strict)).0, "classes");
    rsa.forget_calls();
    assert_eq!(open(&strict, &sealed, "a").unwrap(), b"hello");
    assert_eq!(rsa.total(), 0, "a key that may not open is not asked");
    // The good wrap is only named, and opens nothing: what an envelope claims counts for nothing.
    kms.script_always(crate::testing::Fault::Fails(ErrorKind::CannotOpen));
    assert_eq!(refused(open(&strict, &sealed, "a")).0, "classes");
}

#[test]
fn a_key_in_software_neither_seals_nor_opens_nor_takes_over() {
    let bench = Bench::new();
    let (_, soft) = bench.made("soft", SOFTWARE, &[Active]);
    let sealed = seal(&bench.plain(), "a");
    soft.forget_calls();
    let strict = bench.strict(&Requirements::new().in_hardware());
    assert_eq!(refused(try_seal(&strict)).0, "hardware");
    assert_eq!(refused(open(&strict, &sealed, "a")).0, "hardware");
    assert_eq!(refused(rewrap(&strict, &sealed)).0, "hardware");
    assert_eq!(soft.total(), 0);
    // Neither does one of which nobody says where it is.
    let bench = Bench::new();
    let unknown = Kind {
        protection: Protection::Unknown,
        ..GOOD
    };
    bench.made("unknown", unknown, &[Active]);
    let strict = bench.strict(&Requirements::new().in_hardware());
    assert!(refused(try_seal(&strict)).1.contains("not known"));
}

#[test]
fn which_version_of_a_kek_has_opened_decides() {
    let bench = Bench::new();
    let fake = bench.fake_of("kek", SOFTWARE);
    let mut old = bench.went(bench.record_of(&fake, SOFTWARE), &[Active]);
    bench.put(&[&old]);
    let sealed = seal(&bench.plain(), "a");
    fake.rotate_now();
    let mut new = bench.record_of(&fake, GOOD);
    bench.promote(&mut old, &mut new);
    let strict = bench.strict(&Requirements::new().in_hardware());
    assert_eq!(refused(open(&strict, &sealed, "a")).0, "hardware");
    let sealed = rewrap(&strict, &sealed).unwrap();
    assert_eq!(open(&strict, &sealed, "a").unwrap(), b"hello");
}

#[test]
fn a_slot_without_a_wrap_is_missed() {
    let bench = Bench::new();
    let (_, only) = bench.made("only", GOOD, &[Active]);
    let sealed = seal(&bench.plain(), "a");
    only.forget_calls();
    let slots = || ["default", "recovery"].map(|slot| slot.parse().unwrap());
    let both = Requirements::new().with_wraps(Wraps::in_slots(slots(), 2).unwrap());
    for demands in [
        both.clone(),
        Requirements::new().with_wraps(Wraps::at_least(2).unwrap()),
    ] {
        let strict = bench.strict(&demands);
        assert_eq!(refused(try_seal(&strict)).0, "wraps");
        assert_eq!(refused(open(&strict, &sealed, "a")).0, "wraps");
        assert_eq!(refused(rewrap(&strict, &sealed)).0, "wraps");
    }
    assert_eq!(only.total(), 0);
    let one = Requirements::new().with_wraps(Wraps::in_slots(slots(), 1).unwrap());
    assert_eq!(open(&bench.strict(&one), &sealed, "a").unwrap(), b"hello");
    // With a key in the other slot, a re-wrap mends it.
    bench.made("other", RECOVERY, &[Active]);
    let strict = bench.strict(&both);
    let sealed = rewrap(&strict, &sealed).unwrap();
    assert_eq!(keks(&sealed), ["only", "other"]);
    assert_eq!(open(&strict, &sealed, "a").unwrap(), b"hello");
    assert_eq!(keks(&try_seal(&strict).unwrap()).len(), 2);
}

#[test]
fn a_context_key_that_is_missing_is_missed_and_no_value_is_named() {
    let bench = Bench::new();
    let (_, fake) = bench.made("kek", GOOD, &[Active]);
    let context = |pairs: &[(&str, &str)]| EncryptionContext::new(pairs.iter().copied()).unwrap();
    let strict = bench.strict(&Requirements::new().with_context_key("purpose"));
    for bad in [&[("tenant", "a")][..], &[("tenant", "a"), ("purpose", "")]] {
        let bad = context(bad);
        let sealed = block_on(bench.plain().seal(b"hello", &bad)).unwrap();
        fake.forget_calls();
        assert_eq!(refused(block_on(strict.seal(b"", &bad))).0, "context");
        assert_eq!(refused(block_on(strict.open(&sealed, &bad))).0, "context");
        assert_eq!(refused(block_on(strict.rewrap(&sealed, &bad))).0, "context");
        assert_eq!(fake.total(), 0);
    }
    let good = context(&[("tenant", "a"), ("purpose", "CANARY")]);
    let sealed = block_on(strict.seal(b"hello", &good)).unwrap();
    assert_eq!(block_on(strict.open(&sealed, &good)).unwrap(), b"hello");
    assert!(block_on(strict.rewrap(&sealed, &good)).is_ok());
    let both = Requirements::new()
        .with_context_key("purpose")
        .with_context_key("owner");
    let (_, text) = refused(block_on(bench.strict(&both).open(&sealed, &good)));
    assert!(text.contains("owner") && !text.contains("CANARY"), "{text}");
}

#[test]
fn a_stored_context_is_demanded_or_forbidden() {
    let bench = Bench::new();
    let (_, fake) = bench.made("kek", GOOD, &[Active]);
    let without = seal(&bench.plain(), "a");
    let storing = without_cache(&bench.open()).store_context().build().unwrap();
    let with = seal(&storing, "a");
    for (stored, good, bad) in [
        (StoredContext::Required, &with, &without),
        (StoredContext::Forbidden, &without, &with),
    ] {
        let demands = Requirements::new().with_stored_context(stored);
        let plain = bench.strict(&demands);
        let storing = bench.strict_builder(&demands).store_context().build().unwrap();
        let (right, wrong) = match stored {
            StoredContext::Required => (&storing, &plain),
            _ => (&plain, &storing),
        };
        fake.forget_calls();
        assert_eq!(refused(try_seal(wrong)).0, "stored-context");
        assert_eq!(refused(open(right, bad, "a")).0, "stored-context");
        assert_eq!(refused(rewrap(right, bad)).0, "stored-context");
        assert_eq!(fake.total(), 0);
        assert!(try_seal(right).is_ok() && rewrap(right, good).is_ok());
        assert_eq!(open(right, good, "a").unwrap(), b"hello");
    }
    let allowed = bench.strict(&Requirements::new().with_stored_context(StoredContext::Allowed));
    assert!(open(&allowed, &with, "a").is_ok() && open(&allowed, &without, "a").is_ok());
}

#[test]
fn an_envelope_that_names_a_compromised_key_is_not_opened() {
    let bench = Bench::new();
    let (mut bad, leaked) = bench.made("leaked", GOOD, &[Active]);
    let (_, good) = bench.made("good", RECOVERY, &[Active]);
    let sealed = seal(&bench.plain(), "a");
    let strict = bench.strict(&Requirements::new().refusing_exposed());
    assert_eq!(open(&strict, &sealed, "a").unwrap(), b"hello");
    leaked.forget_calls();
    // Another key follows in its slot, and it is compromised: destroyed or not, it stays so.
    let next = bench.fake_of("next", GOOD);
    let mut successor = bench.record_of(&next, GOOD);
    bench.promote(&mut bad, &mut successor);
    for state in [Compromised, State::Destroying, State::Destroyed] {
        bench.go(&mut bad, state);
        bench.put(&[&bad]);
        good.forget_calls();
        let strict = bench.strict(&Requirements::new().refusing_exposed());
        let (requirement, text) = refused(open(&strict, &sealed, "a"));
        assert_eq!(requirement, "refuse-exposed");
        assert!(text.contains(&bad.id.to_string()), "{text}");
        assert_eq!(good.total(), 0);
        // Without the demand the other wrap opens it; a re-wrap takes the compromised key out.
        assert_eq!(open(&bench.plain(), &sealed, "a").unwrap(), b"hello");
        let clean = rewrap(&strict, &sealed).unwrap();
        assert_eq!(keks(&clean), ["next", "good"]);
        assert_eq!(open(&strict, &clean, "a").unwrap(), b"hello");
    }
    assert_eq!(leaked.count(Method::Unwrap), 0);
}

#[test]
fn a_rewrap_that_would_keep_a_compromised_wrap_is_refused() {
    // Its id is not unique in the world, and it may not unwrap anymore: nobody can tell whether the wrap is its.
    let bench = Bench::new();
    let leaked = bench.fake_of("leaked", GOOD).with_ambiguous_id();
    bench.reach("leaked", &leaked);
    let key = bench.went(bench.record_of(&leaked, GOOD), &[Active, Deprecated, Compromised]);
    bench.put(&[&key]);
    let (_, good) = bench.made("good", GOOD, &[Active]);
    let both = Sealer::builder().wrap_with(good).wrap_with(leaked);
    let sealed = seal(&both.build().unwrap(), "a");
    assert_eq!(
        keks(&rewrap(&bench.plain(), &sealed).unwrap()),
        ["good", "leaked"]
    );
    let strict = bench.strict(&Requirements::new().refusing_exposed());
    assert_eq!(refused(rewrap(&strict, &sealed)).0, "refuse-exposed");
    let dropping = strict.with_rewrap_rules(RewrapRules::new().dropping_unknown());
    assert_eq!(keks(&rewrap(&dropping, &sealed).unwrap()), ["good"]);
}

#[test]
fn the_restricted_profile_of_the_example_refuses_classical_keys() {
    let text = include_str!("../../../../../examples/profiles.toml");
    let profiles = Profiles::parse(text, "profiles.toml").unwrap();
    let pairs = [
        ("tenant", "a"),
        ("purpose", "payroll"),
        ("classification", "restricted"),
    ];
    let context = EncryptionContext::new(pairs).unwrap();
    let classical = Kind {
        slot: "recovery",
        ..CLASSICAL
    };
    for (kinds, is_good) in [
        ([CLASSICAL, classical], false),
        ([GOOD, classical], false),
        ([GOOD, RECOVERY], true),
    ] {
        let bench = Bench::new();
        let keys = ["one", "other"].map(|name| name.to_owned());
        let fakes = [0, 1].map(|at| bench.made(&keys[at], kinds[at], &[Active]).1);
        let sealed = block_on(bench.plain().seal(b"hello", &context)).unwrap();
        let ring = block_on(bench.builder().profiles(profiles.clone()).open()).unwrap();
        let sealer = without_cache(&ring).build().unwrap();
        if is_good {
            assert!(block_on(sealer.seal(b"", &context)).is_ok());
            assert_eq!(block_on(sealer.open(&sealed, &context)).unwrap(), b"hello");
            assert!(block_on(sealer.rewrap(&sealed, &context)).is_ok());
            continue;
        }
        fakes.iter().for_each(FakeKeyManager::forget_calls);
        let mut results = vec![
            block_on(sealer.seal(b"", &context)).map(drop),
            block_on(sealer.rewrap(&sealed, &context)).map(drop),
        ];
        if kinds[0].algorithm == RSA {
            results.push(block_on(sealer.open(&sealed, &context)).map(drop));
        }
        for result in results {
            let (requirement, text) = refused(result);
            assert_eq!(requirement, "classes");
            assert!(
                text.contains("restricted") && text.contains("is classical"),
                "{text}"
            );
            for other in ["hardware: ", "wraps: ", "context: ", "stored-context: "] {
                assert!(!text.contains(other), "{text}");
            }
        }
        assert!(fakes.iter().all(|fake| fake.total() == 0));
    }
}

#[test]
fn a_key_that_is_not_as_its_record_says_neither_seals_nor_opens() {
    // The ring says that it is symmetric, and its backend wraps with RSA.
    let bench = Bench::new();
    let rsa = bench.fake_of("kek", CLASSICAL);
    let key = bench.went(bench.record_of(&rsa, GOOD), &[Active]);
    bench.put(&[&key]);
    let alone = Sealer::new(rsa.clone());
    let sealed = seal(&alone, "a");
    rsa.forget_calls();
    let strict = bench.strict(&quantum_safe());
    let error = try_seal(&strict).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
    assert!(
        error.to_string().contains("has wrapped with azure-rsa-oaep-256"),
        "{error}"
    );
    assert_eq!(kind(open(&strict, &sealed, "a")), ErrorKind::NoUsableKey);
    assert_eq!(rsa.count(Method::Unwrap), 0);
}
