//! Who chooses a profile.

use super::*;

fn three() -> Profiles {
    Profiles::new()
        .define("strict", quantum_safe().in_hardware())
        .and_then(|profiles| profiles.define("middle", quantum_safe()))
        .and_then(|profiles| profiles.define("lax", Requirements::new()))
        .unwrap()
}

fn sealer(bench: &Bench, profiles: Profiles, caller: Option<&str>) -> Sealer {
    let ring = block_on(bench.builder().profiles(profiles).open()).unwrap();
    let builder = without_cache(&ring);
    match caller {
        Some(profile) => builder.profile(profile).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

#[test]
fn the_caller_the_scope_and_the_context_choose_and_the_stricter_wins() {
    let bench = Bench::new();
    bench.made("soft", SOFTWARE, &[State::Active]);
    let seals = |profiles: &Profiles, caller, class: Option<&str>| {
        let pairs = [("tenant", "a")]
            .into_iter()
            .chain(class.map(|class| ("class", class)));
        let context = EncryptionContext::new(pairs).unwrap();
        let sealer = sealer(&bench, profiles.clone(), caller);
        match block_on(sealer.seal(b"", &context)) {
            Ok(_) => None,
            Err(error) => Some(refused(Err::<(), _>(error)).0),
        }
    };
    let (free, hard) = (None, Some("hardware"));
    // Nobody has chosen, or the caller.
    assert_eq!(seals(&three(), None, None), free);
    assert_eq!(seals(&three(), Some("middle"), None), free);
    assert_eq!(seals(&three(), Some("strict"), None), hard);
    // A scope, and no caller gets it off.
    for pattern in ["tenant/a", "tenant/*", "*"] {
        let scoped = three().for_scopes(pattern.parse().unwrap(), "strict").unwrap();
        for caller in [None, Some("lax"), Some("middle"), Some("strict")] {
            assert_eq!(seals(&scoped, caller, None), hard, "{pattern} {caller:?}");
        }
    }
    for pattern in ["tenant/b", "tenant/a/*", "/", "tenan/*"] {
        let scoped = three().for_scopes(pattern.parse().unwrap(), "strict").unwrap();
        assert_eq!(seals(&scoped, None, None), free, "{pattern}");
    }
    // A context key.
    let by_key = three().by_context_key("class", Some("lax")).unwrap();
    assert_eq!(seals(&by_key, None, Some("strict")), hard);
    assert_eq!(seals(&by_key, Some("lax"), Some("strict")), hard);
    assert_eq!(seals(&by_key, Some("strict"), Some("lax")), hard);
    assert_eq!(seals(&by_key, None, Some("middle")), free);
    assert_eq!(seals(&by_key, None, None), free);
    let otherwise = three().by_context_key("class", Some("strict")).unwrap();
    assert_eq!(seals(&otherwise, None, None), hard);
    // A value that names none is refused, and so is none where one has to be.
    assert_eq!(seals(&by_key, None, Some("CANARY")), Some("profile"));
    let must = three().by_context_key("class", None).unwrap();
    assert_eq!(seals(&must, Some("lax"), None), Some("profile"));
    assert_eq!(seals(&must, None, Some("lax")), free);
}

#[test]
fn no_error_names_a_value_of_the_context() {
    let bench = Bench::new();
    let (_, fake) = bench.made("soft", SOFTWARE, &[State::Active]);
    let context = EncryptionContext::new([("tenant", "a"), ("class", "CANARY")]).unwrap();
    let sealed = block_on(bench.plain().seal(b"", &context)).unwrap();
    fake.forget_calls();
    let sealer = sealer(
        &bench,
        three().by_context_key("class", Some("lax")).unwrap(),
        None,
    );
    for error in [
        block_on(sealer.seal(b"", &context)).unwrap_err(),
        block_on(sealer.open(&sealed, &context)).unwrap_err(),
        block_on(sealer.rewrap(&sealed, &context)).unwrap_err(),
    ] {
        let text = format!("{error} {error:?}");
        assert!(text.contains("class") && !text.contains("CANARY"), "{text}");
        assert_eq!(refused(Err::<(), _>(error)).0, "profile");
    }
    assert_eq!(fake.total(), 0);
}

#[test]
fn a_profile_that_nobody_enforces_is_refused() {
    let bench = Bench::new();
    let (_, fake) = bench.made("kek", GOOD, &[State::Active]);
    let sealed = seal(&bench.plain(), "a");
    fake.forget_calls();
    // The ring has none, or not this one.
    let none = without_cache(&bench.open()).profile("strict").build().unwrap();
    let other = sealer(&bench, three(), Some("sticrt"));
    for sealer in [none, other] {
        assert_eq!(kind(try_seal(&sealer)), ErrorKind::Configuration);
        assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::Configuration);
        assert_eq!(kind(rewrap(&sealer, &sealed)), ErrorKind::Configuration);
    }
    assert_eq!(fake.total(), 0);
}
