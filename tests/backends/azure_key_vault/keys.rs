//! What it does, and what the service saw of it.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;
use waxseal::testing::conformance::{Subject, run};
use waxseal::{ErrorKind, KeyManager, Sealer, blocking, envelope::KekRef, key::Request, value::Dek};

use super::{acme, client, config, keys, opens, wrapped};
use crate::fake_azure_key_vault::{FakeKeyVault, Fault, Setup};

const NOT_REWRAPPING: [&str; 2] = [
    "a_manager_that_only_wraps_refuses_to_unwrap",
    "a_rewrap_keeps_dek_and_binding",
];

/// Rotates a key, and names its version from before.
async fn rotated(fake: &FakeKeyVault, key: &str) -> KekRef {
    let older = wrapped(&keys(fake, &fake.key(key))).await.unwrap().1;
    fake.call("POST", &format!("/keys/{key}/rotate"), &json!(null));
    older.kek().clone()
}

#[tokio::test]
async fn the_suite_passes_with_rsa_oaep_256_against_our_fake() {
    let fake = FakeKeyVault::start();
    println!("a fake of our own at {}", fake.url());
    let older = rotated(&fake, "own").await;
    let subject = Subject::new(keys(&fake, "own"))
        .with_older_version(older)
        .against(keys(&fake, &fake.key("other")))
        .with_canary("CANARY");
    let report = run(&subject).await.unwrap_or_else(|failure| panic!("{failure}"));
    let skipped: Vec<_> = report.skipped().into_iter().map(|(name, _)| name).collect();
    assert_eq!(skipped, NOT_REWRAPPING, "{report}");
}

#[tokio::test]
async fn the_suite_passes_with_a256kw_against_our_fake() {
    let fake = FakeKeyVault::start_hsm();
    println!("a fake of our own at {}", fake.url());
    let older = rotated(&fake, "own").await;
    let subject = Subject::new(keys(&fake, "own"))
        .with_older_version(older)
        .against(keys(&fake, &fake.key("other")))
        .wrapping_deterministically()
        .with_canary("CANARY");
    let report = run(&subject).await.unwrap_or_else(|failure| panic!("{failure}"));
    for name in report.skipped().into_iter().map(|(name, _)| name) {
        assert!(
            NOT_REWRAPPING.contains(&name) || name == "wraps_are_randomized",
            "{report}"
        );
    }
}

#[tokio::test]
async fn the_service_sees_a_challenge_first_then_key_version_algorithm_and_value() {
    let fake = FakeKeyVault::start();
    let keys = keys(&fake, &fake.key("k"));
    let version = fake.version("k");
    let context = acme();
    let request = Request::new(&context);
    let dek = Dek::from_bytes(&[7; 32]);
    let wrap = keys.wrap(&dek, &request).await.unwrap();
    opens(&keys, &dek, &wrap).await.unwrap();
    assert_eq!(
        wrap.kek().id(),
        "https://fake.vault.azure.net/keys/k",
        "the vault's own name"
    );
    assert_eq!(wrap.kek().version(), version);
    assert_eq!(wrap.wrapped().len(), 256);

    let seen = fake.seen();
    let paths: Vec<&str> = seen.iter().map(|seen| seen.path()).collect();
    let (wrapkey, unwrapkey) = (
        format!("/keys/k/{version}/wrapkey"),
        format!("/keys/k/{version}/unwrapkey"),
    );
    assert_eq!(
        paths,
        ["/keys/k/", "/keys/k/", wrapkey.as_str(), unwrapkey.as_str()]
    );
    assert!(
        seen[0].text.is_empty() && !seen[0].headers.contains_key("authorization"),
        "{:?}",
        seen[0]
    );
    for seen in &seen[1..] {
        assert!(seen.headers["authorization"].starts_with("Bearer eyJ.CANARY-"));
    }
    assert_eq!(seen[2].body["alg"], "RSA-OAEP-256");
    let value = Base64UrlUnpadded::decode_vec(seen[2].body["value"].as_str().unwrap()).unwrap();
    assert_eq!(
        value,
        [&[7; 32][..], request.binding()].concat(),
        "DEK and digest"
    );
    assert_eq!(seen[3].body["alg"], "RSA-OAEP-256");
    assert_eq!(
        seen[3].body["value"],
        Base64UrlUnpadded::encode_string(wrap.wrapped())
    );
    assert_eq!(fake.tokens_given(), 1);
}

/// The first call has a body, which is not sent before a token is.
#[tokio::test]
async fn no_dek_is_sent_without_a_token() {
    let fake = FakeKeyVault::start();
    fake.key("k");
    let pinned = format!("k/{}", fake.version("k"));
    let (dek, wrap) = wrapped(&keys(&fake, &pinned)).await.unwrap();
    // The state of the version is read before; so the first call of a client that unwraps is made with one.
    let unwraps = keys(&fake, &pinned);
    fake.seen();
    opens(&unwraps, &dek, &wrap).await.unwrap();
    let seen = fake.seen();
    assert_eq!(seen.len(), 2);
    assert!(
        seen[0].text.is_empty() && seen[0].path().ends_with("/unwrapkey"),
        "{:?}",
        seen[0]
    );
    assert!(!seen[1].text.is_empty());
    opens(&keys(&fake, "k"), &dek, &wrap).await.unwrap();
}

#[tokio::test]
async fn the_version_of_the_interface_can_be_chosen() {
    let fake = FakeKeyVault::start();
    let client = super::connect(config(&fake).with_api_version("7.4")).unwrap();
    let keys = client.key(&fake.key("k")).unwrap();
    wrapped(&keys).await.unwrap();
    wrapped(&super::keys(&fake, "k")).await.unwrap();
    let targets: Vec<String> = fake.seen().into_iter().map(|seen| seen.target).collect();
    let (chosen, usual) = targets.split_at(3);
    assert!(
        chosen.iter().all(|target| target.ends_with("?api-version=7.4")),
        "{chosen:?}"
    );
    assert!(
        usual
            .iter()
            .all(|target| target.ends_with("?api-version=2025-07-01")),
        "{usual:?}"
    );
}

#[tokio::test]
async fn versions_are_asked_for_again_and_old_ones_open() {
    let fake = FakeKeyVault::start();
    fake.key("k");
    let first = fake.version("k");
    let often = super::connect(config(&fake).with_refresh(std::time::Duration::ZERO)).unwrap();
    let often = often.key("k").unwrap();
    let seldom = keys(&fake, "k");
    let pinned = keys(&fake, &format!("k/{first}"));
    let (dek, old) = wrapped(&often).await.unwrap();
    wrapped(&seldom).await.unwrap();
    fake.call("POST", "/keys/k/rotate", &json!(null));
    let second = fake.version("k");
    assert_ne!(first, second);
    let version = |wrap: &waxseal::envelope::WrappedDek| wrap.kek().version().to_owned();
    let (new_dek, new) = wrapped(&often).await.unwrap();
    assert_eq!(version(&new), second);
    assert_eq!(
        version(&wrapped(&seldom).await.unwrap().1),
        first,
        "for five minutes"
    );
    assert_eq!(version(&wrapped(&pinned).await.unwrap().1), first, "for good");
    // Each opens what any version of the key has wrapped.
    for keys in [&often, &seldom, &pinned] {
        opens(keys, &dek, &old).await.unwrap();
        opens(keys, &new_dek, &new).await.unwrap();
    }
    // Out of use: what is not pinned moves on at once.
    fake.set_enabled("k", &first, false);
    assert_eq!(version(&wrapped(&seldom).await.unwrap().1), second);
    assert_eq!(wrapped(&pinned).await.unwrap_err().kind(), ErrorKind::KeyDisabled);
}

#[tokio::test]
async fn while_the_version_cannot_be_asked_for_the_one_before_is_used() {
    let fake = FakeKeyVault::start();
    let client = super::connect(config(&fake).with_refresh(std::time::Duration::ZERO)).unwrap();
    let keys = client.key(&fake.key("k")).unwrap();
    let (_, wrap) = wrapped(&keys).await.unwrap();
    fake.set_rule(|seen| match seen.method.as_str() {
        "GET" => Fault::Answer(503, String::new(), "{}".to_owned()),
        _ => Fault::None,
    });
    assert_eq!(wrapped(&keys).await.unwrap().1.kek(), wrap.kek());
    // Never known: no wrap without a version.
    let fresh = super::keys(&fake, "k");
    assert_eq!(wrapped(&fresh).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// The version is hidden with the id; five versions are more than the fake puts on two pages, whose links lead to
/// the vault's own name, where nobody listens.
#[tokio::test]
async fn a_hidden_old_version_is_found() {
    let fake = FakeKeyVault::start();
    let keys = keys(&fake, &fake.key("k"));
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    for _ in 0..4 {
        fake.call("POST", "/keys/k/rotate", &json!(null));
    }
    let fresh = super::keys(&fake, "k");
    let hidden = wrap.clone().with_hidden_id();
    let opened = fresh
        .unwrap(hidden.as_wrap_ref(), &Request::new(&acme()))
        .await
        .unwrap();
    assert!(opened.dek.ct_eq(&dek));
    assert_eq!(opened.kek, *wrap.kek());
}

/// A proxy or an emulator: the id is what the vault calls itself, and a stanza of another vault's key of the same name
/// is not ours once that is known.
#[tokio::test]
async fn the_vaults_own_name_is_learnt_and_kept() {
    let fake = FakeKeyVault::start();
    let other = FakeKeyVault::start_with(Setup {
        public: None,
        ..Setup::default()
    });
    let (mine, theirs) = (keys(&fake, &fake.key("k")), keys(&other, &other.key("k")));
    let (dek, wrap) = wrapped(&mine).await.unwrap();
    let (_, foreign) = wrapped(&theirs).await.unwrap();
    assert_eq!(
        foreign.kek().id(),
        format!("{}/keys/k", other.url()),
        "an address is a name, too"
    );
    assert!(mine.recognizes(foreign.as_wrap_ref()).is_no() && theirs.recognizes(wrap.as_wrap_ref()).is_no());

    // Nothing was asked yet: it may be.
    let fresh = keys(&fake, "k");
    assert!(!fresh.recognizes(wrap.as_wrap_ref()).is_no());
    opens(&fresh, &dek, &wrap).await.unwrap();
    let fresh = keys(&fake, "k");
    let context = acme();
    let mut claimed = wrap.as_wrap_ref();
    claimed.kek_id = foreign.kek().id();
    let error = fresh.unwrap(claimed, &Request::new(&context)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoUsableKey, "{error}");
    assert!(fresh.recognizes(claimed).is_no());
}

#[tokio::test]
async fn a_sealer_seals_and_opens_under_both_algorithms() {
    for fake in [FakeKeyVault::start(), FakeKeyVault::start_hsm()] {
        let sealer = Sealer::new(keys(&fake, &fake.key("k")));
        let sealed = sealer.seal(b"under a fake", &acme()).await.unwrap();
        assert_eq!(sealer.open(&sealed, &acme()).await.unwrap(), b"under a fake");
    }
}

/// The client's calls run on the runtime that it was given.
#[test]
fn no_runtime_is_needed_where_it_is_used() {
    let fake = FakeKeyVault::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = super::connect(config(&fake).with_handle(runtime.handle().clone())).unwrap();
    let keys = client.key(&fake.key("k")).unwrap();
    let sealer = blocking::Sealer::new(keys);
    let sealed = sealer.seal(b"x", &acme()).unwrap();
    assert_eq!(sealer.open(&sealed, &acme()).unwrap(), b"x");
}

#[tokio::test]
async fn nothing_printed_shows_a_secret() {
    let fake = FakeKeyVault::start();
    let keys = keys(&fake, &fake.key("k"));
    wrapped(&keys).await.unwrap();
    let config = config(&fake).with_proxy("http://u:CANARY@proxy:1", "");
    let shown = format!("{config:?} {keys:?} {:?}", client(&fake));
    assert!(!shown.contains("CANARY"), "{shown}");
    assert!(
        shown.contains("keys/k") && shown.contains("ClientSecret"),
        "{shown}"
    );
}

/// A pinned version that is out of use is not replaced, and an answer of another version is refused.
#[tokio::test]
async fn a_pinned_version_is_never_replaced() {
    let fake = FakeKeyVault::start();
    let keys = keys(&fake, &fake.key("k"));
    let (_, current) = wrapped(&keys).await.unwrap();
    let older = current.kek().clone();
    fake.call("POST", "/keys/k/rotate", &json!(null));
    let pinned = keys.pinned_to(&older).unwrap();
    let context = acme();
    let request = Request::new(&context);
    assert_eq!(*pinned.generate(&request).await.unwrap().1.kek(), older);

    let newer = fake.version("k");
    let other = newer.clone();
    fake.set(Fault::Change(move |body| {
        if let Some(kid) = body["kid"].as_str() {
            let origin = kid.rsplit_once('/').unwrap().0.to_owned();
            body["kid"] = json!(format!("{origin}/0123456789abcdef0123456789abcdef"));
        }
    }));
    let error = pinned.generate(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
    fake.set(Fault::None);
    assert_ne!(other, older.version());

    fake.set_enabled("k", older.version(), false);
    let error = pinned.generate(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled, "{error}");
    let missing = KekRef::new("azure-key-vault", older.id(), "0123456789abcdef0123456789abcdef").unwrap();
    let error = keys
        .pinned_to(&missing)
        .unwrap()
        .generate(&request)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
    // Another vault that the same address would lead to is not the one that was recorded.
    let elsewhere = KekRef::new("azure-key-vault", "https://other.vault.azure.net/keys/k", &newer).unwrap();
    let fresh = super::keys(&fake, "k").pinned_to(&elsewhere).unwrap();
    let error = fresh.generate(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
    for version in ["", "a/b", ".."] {
        let odd = KekRef::new("azure-key-vault", older.id(), version).unwrap();
        assert!(keys.pinned_to(&odd).is_err(), "{version}");
    }
}
