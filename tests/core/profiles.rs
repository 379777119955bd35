//! Profiles as others see them: their laws, the example, and key managers without a ring.

use std::collections::BTreeSet;
use std::time::Duration;

use pollster::block_on;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use waxseal::envelope::{AlgorithmClass, WrapAlgorithm};
use waxseal::key::RewrapRules;
use waxseal::ring::Slot;
use waxseal::ring::profile::{Profiles, Requirements, StoredContext, Wraps};
use waxseal::source::Caching;
use waxseal::testing::{FakeKeyManager, Method};
use waxseal::{Builder, EncryptionContext, Envelope, ErrorKind, Result, Sealer};

const CLASSES: [AlgorithmClass; 4] = [
    AlgorithmClass::Symmetric,
    AlgorithmClass::Classical,
    AlgorithmClass::Hybrid,
    AlgorithmClass::PostQuantum,
];

fn slots(names: &BTreeSet<String>) -> impl Iterator<Item = Slot> {
    names.iter().map(|name| name.parse().unwrap())
}

prop_compose! {
    fn requirements()(
        classes in proptest::option::of(vec(0..4_usize, 0..4)),
        hardware in any::<bool>(),
        wraps in vec((btree_set("[a-c]", 0..3), 1..4_usize), 0..3),
        context in btree_set("[a-d]", 0..3),
        dek_age in proptest::option::of(0..5_u64),
        cache in any::<bool>(),
        stored in 0..3_u8,
        refuse in any::<bool>(),
        name in proptest::option::of("[a-c]"),
    ) -> Requirements {
        let mut all = Requirements::new();
        if let Some(name) = name {
            all = all.named(&name);
        }
        if let Some(classes) = classes {
            all = all.allowing(classes.into_iter().map(|at| CLASSES[at]));
        }
        if hardware {
            all = all.in_hardware();
        }
        for (names, count) in wraps {
            let count = if names.is_empty() { count } else { count.min(names.len()) };
            all = all.with_wraps(Wraps::in_slots(slots(&names), count).unwrap());
        }
        for key in context {
            all = all.with_context_key(&key);
        }
        if let Some(age) = dek_age {
            all = all.with_dek_age(Duration::from_secs(age + 1));
        }
        if !cache {
            all = all.without_cache();
        }
        all = all.with_stored_context(match stored {
            0 => StoredContext::Allowed,
            1 => StoredContext::Required,
            _ => StoredContext::Forbidden,
        });
        if refuse {
            all = all.refusing_exposed();
        }
        all
    }
}

/// A sealer of key managers of these classes, under these demands.
fn sealer(managers: &[AlgorithmClass], demands: &Requirements, stores: bool) -> Builder {
    let profiles = Profiles::new().define("p", demands.clone()).unwrap();
    let mut builder = Sealer::builder().profiles(profiles).profile("p");
    for (place, class) in managers.iter().enumerate() {
        builder = builder.wrap_with(FakeKeyManager::new(&format!("kek-{place}")).of_class(*class));
    }
    if stores { builder.store_context() } else { builder }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_stricter_of_two_is_a_meet(a in requirements(), b in requirements(), c in requirements()) {
        prop_assert_eq!(a.stricter(&b), b.stricter(&a));
        prop_assert_eq!(a.stricter(&b).stricter(&c), a.stricter(&b.stricter(&c)));
        prop_assert_eq!(a.stricter(&a), a.clone());
        prop_assert_eq!(a.stricter(&Requirements::new()), a.clone());
        // It is below both.
        let both = a.stricter(&b);
        prop_assert_eq!(both.stricter(&a), both.clone());
        prop_assert_eq!(both.stricter(&b), both);
    }

    #[test]
    fn what_passes_the_meet_passes_both_and_the_other_way_around(
        a in requirements(),
        b in requirements(),
        managers in vec(0..4_usize, 1..4),
        pairs in btree_set("[a-d]", 0..4),
        stores in any::<bool>(),
    ) {
        let managers: Vec<_> = managers.into_iter().map(|at| CLASSES[at]).collect();
        let pairs = pairs.iter().map(String::as_str).chain(["other"]);
        let context = EncryptionContext::new(pairs.map(|key| (key, "x"))).unwrap();
        let passes = |demands: &Requirements| {
            let sealer = sealer(&managers, demands, stores).build().unwrap();
            block_on(sealer.seal(b"", &context)).is_ok()
        };
        prop_assert_eq!(passes(&a.stricter(&b)), passes(&a) && passes(&b));
    }
}

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().copied()).unwrap()
}

fn acme() -> EncryptionContext {
    context(&[("tenant", "acme")])
}

fn requirement<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    match result.unwrap_err().kind() {
        ErrorKind::ProfileRefused { requirement } => requirement,
        kind => panic!("{kind:?}"),
    }
}

#[test]
fn the_example_has_three_profiles_and_each_is_stricter_than_the_next() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/profiles.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let profiles = Profiles::parse(&text, "profiles.toml").unwrap();
    let [restricted, confidential, internal] =
        ["restricted", "confidential", "internal"].map(|name| profiles.get(name).unwrap());
    assert_eq!(*internal, Requirements::new().named("internal"));
    let both = restricted.stricter(confidential);
    assert_eq!(both.classes(), restricted.classes());
    assert_eq!(both.dek_age(), restricted.dek_age());
    assert!(!restricted.classes().unwrap().contains(&AlgorithmClass::Classical));
    assert!(restricted.is_in_hardware() && restricted.refuses_exposed() && !restricted.allows_cache());
    // Which holds: the value of `classification`, or what is for contexts without it, and what the scope demands.
    let names = |scope: &str, pairs: &[(&str, &str)]| {
        let scope = scope.parse().unwrap();
        let chosen = profiles
            .requirements(None, Some(&scope), &context(pairs))
            .unwrap();
        chosen.names().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names("/", &[("tenant", "acme")]), ["internal"]);
    assert_eq!(names("/", &[("classification", "restricted")]), ["restricted"]);
    assert_eq!(
        names("hr/payroll", &[("tenant", "acme")]),
        ["confidential", "internal"]
    );
    let unknown = context(&[("classification", "Restricted")]);
    assert_eq!(
        requirement(profiles.requirements(None, None, &unknown)),
        "profile"
    );
}

fn kms(name: &str) -> FakeKeyManager {
    FakeKeyManager::new(name).with_algorithm(WrapAlgorithm::AWS_KMS)
}

fn rsa(name: &str) -> FakeKeyManager {
    let fake = FakeKeyManager::new(name).with_algorithm(WrapAlgorithm::AZURE_RSA_OAEP_256);
    fake.of_class(AlgorithmClass::Classical)
}

fn strict(builder: Builder, demands: Requirements) -> Builder {
    let profiles = Profiles::new().define("strict", demands).unwrap();
    builder.profiles(profiles).profile("strict")
}

fn quantum_safe() -> Requirements {
    Requirements::new().allowing([AlgorithmClass::Symmetric, AlgorithmClass::Hybrid])
}

#[test]
fn key_managers_alone_obey_by_what_they_say_of_themselves() {
    let (weak, good) = (rsa("weak"), kms("good"));
    let seal = |builder: Builder| {
        let sealer = builder.build().unwrap();
        block_on(sealer.seal(b"hello", &acme())).unwrap()
    };
    let by_weak = seal(Sealer::builder().wrap_with(weak.clone()));
    let by_both = seal(Sealer::builder().wrap_with(weak.clone()).wrap_with(good.clone()));
    weak.forget_calls();
    let to_weak = Sealer::builder().wrap_with(weak.clone()).open_with(good.clone());
    let to_weak = strict(to_weak, quantum_safe()).build().unwrap();
    assert_eq!(requirement(block_on(to_weak.seal(b"", &acme()))), "classes");
    assert_eq!(requirement(block_on(to_weak.open(&by_weak, &acme()))), "classes");
    assert_eq!(
        requirement(block_on(to_weak.rewrap(&by_weak, &acme()))),
        "classes"
    );
    // The other wrap opens it; and a stranger's wrap that only names a good algorithm does not count.
    assert_eq!(block_on(to_weak.open(&by_both, &acme())).unwrap(), b"hello");
    assert_eq!(weak.total(), 0);
    let to_good = Sealer::builder().wrap_with(good.clone()).open_with(weak.clone());
    let to_good = strict(to_good, quantum_safe()).build().unwrap();
    let raised = block_on(to_good.rewrap(&by_weak, &acme())).unwrap();
    let raised = raised.splice(&by_weak).unwrap();
    assert_eq!(block_on(to_good.open(&raised, &acme())).unwrap(), b"hello");
    let section = Envelope::parse(&raised).unwrap();
    let section = section.header().wrap_section().unwrap();
    assert_eq!(
        section.stanzas().map(|stanza| stanza.kek_id).collect::<Vec<_>>(),
        ["good"]
    );
    // A stranger's wrap stays and has no class, unless it is dropped or reported.
    let with_stranger = seal(
        Sealer::builder()
            .wrap_with(good.clone())
            .wrap_with(kms("stranger")),
    );
    assert_eq!(
        requirement(block_on(to_good.rewrap(&with_stranger, &acme()))),
        "classes"
    );
    let job = to_good.with_rewrap_rules(RewrapRules::new().falling_short());
    let wraps = block_on(job.rewrap(&with_stranger, &acme())).unwrap();
    assert_eq!(wraps.unmet()[0].requirement, "classes");
    assert!(wraps.unmet()[0].to_string().contains("wrap 2"));
}

#[test]
fn what_a_key_manager_does_not_tell_is_not_met() {
    let good = kms("good");
    let slot = ["default".parse().unwrap()];
    for (demands, name) in [
        (Requirements::new().in_hardware(), "hardware"),
        (Requirements::new().refusing_exposed(), "refuse-exposed"),
        (
            Requirements::new().with_wraps(Wraps::in_slots(slot, 1).unwrap()),
            "wraps",
        ),
        (
            Requirements::new().with_wraps(Wraps::at_least(2).unwrap()),
            "wraps",
        ),
        (Requirements::new().with_context_key("owner"), "context"),
        (
            Requirements::new().with_stored_context(StoredContext::Required),
            "stored-context",
        ),
    ] {
        let plain = Sealer::builder().wrap_with(good.clone()).build().unwrap();
        let sealed = block_on(plain.seal(b"hello", &acme())).unwrap();
        good.forget_calls();
        let sealer = strict(Sealer::builder().wrap_with(good.clone()), demands)
            .build()
            .unwrap();
        assert_eq!(requirement(block_on(sealer.seal(b"", &acme()))), name);
        assert_eq!(requirement(block_on(sealer.open(&sealed, &acme()))), name);
        assert_eq!(requirement(block_on(sealer.rewrap(&sealed, &acme()))), name);
        assert_eq!(good.total(), 0, "{name}");
    }
    // Two keys are two wraps.
    let two = Requirements::new().with_wraps(Wraps::at_least(2).unwrap());
    let builder = Sealer::builder().wrap_with(good).wrap_with(kms("other"));
    let sealer = strict(builder, two).build().unwrap();
    let sealed = block_on(sealer.seal(b"hello", &acme())).unwrap();
    assert_eq!(block_on(sealer.open(&sealed, &acme())).unwrap(), b"hello");
}

#[test]
fn a_profile_keeps_a_cache_from_keeping() {
    for (demands, calls) in [
        (Requirements::new(), (1, 1)),
        (Requirements::new().without_cache(), (3, 3)),
    ] {
        let good = kms("good");
        let builder = Sealer::builder()
            .wrap_with(good.clone())
            .cache(Caching::default());
        let sealer = strict(builder, demands).build().unwrap();
        let sealed = block_on(sealer.seal(b"hello", &acme())).unwrap();
        for _ in 0..2 {
            block_on(sealer.seal(b"", &acme())).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(block_on(sealer.open(&sealed, &acme())).unwrap(), b"hello");
        }
        assert_eq!((good.count(Method::Generate), good.count(Method::Unwrap)), calls);
    }
}

#[test]
fn a_configuration_that_enforces_nothing_is_refused() {
    let profiles = || Profiles::new().define("strict", quantum_safe()).unwrap();
    let builder = || Sealer::builder().wrap_with(kms("good")).profiles(profiles());
    let kind = |builder: Builder| builder.build().unwrap_err().kind();
    assert_eq!(kind(builder().profile("sticrt")), ErrorKind::Configuration);
    let source = waxseal::source::AnyOf::new(kms("good"));
    assert_eq!(
        kind(Sealer::builder().source(source).profiles(profiles())),
        ErrorKind::Configuration
    );
    assert!(builder().profile("strict").build().is_ok());
}

#[test]
fn errors_and_explanations_show_no_value() {
    let canary = context(&[("tenant", "CANARY"), ("classification", "CANARY")]);
    let profiles = Profiles::new()
        .define(
            "strict",
            Requirements::new().with_context_key("owner").in_hardware(),
        )
        .and_then(|profiles| profiles.everywhere("strict"))
        .unwrap();
    let choosing = profiles.clone().by_context_key("classification", None).unwrap();
    for profiles in [profiles, choosing] {
        let builder = Sealer::builder().wrap_with(kms("good")).profiles(profiles);
        let error = block_on(builder.build().unwrap().seal(b"CANARY", &canary)).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}

#[test]
fn a_ring_opened_as_its_configuration_says_has_the_profiles_of_its_file() {
    use std::sync::Arc;
    use waxseal::ring::config::{RingConfig, StoreAt};
    let ring = crate::ring_support::Ring::new(|_| {});
    ring.key("/", "ROOT");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profiles.toml");
    std::fs::write(
        &file,
        "schema = 1\neverywhere = \"hard\"\n[profile.hard]\nhardware = true\n",
    )
    .unwrap();
    let store = StoreAt::parse("sqlite:ring.db", folder.path()).unwrap();
    let mut config = RingConfig::new(ring.id, ring.authority.public(), store);
    config.allow = vec!["env".to_owned()];
    let open = |config: &RingConfig| {
        let builder = config.builder(
            Arc::new(ring.inventory.clone()),
            Arc::new(ring.environment.clone()),
        )?;
        block_on(builder.without_watching().open())
    };
    let seal = |config: &RingConfig| {
        let sealer = open(config).unwrap().sealer().build().unwrap();
        block_on(sealer.seal(b"hello", &acme()))
    };
    assert!(seal(&config).is_ok());
    config.profiles = Some(file.clone());
    assert_eq!(requirement(seal(&config)), "hardware");
    // The file's own text names the file, and is read as the same.
    let text = config.to_toml(folder.path()).unwrap();
    assert!(text.contains("profiles = \"profiles.toml\""), "{text}");
    assert_eq!(
        RingConfig::parse(&text, folder.path(), "ring.toml").unwrap(),
        config
    );
    // One that others can write is refused, and so is none.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        let error = open(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("can be written by others"), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(open(&config).unwrap_err().kind(), ErrorKind::Configuration);
}
