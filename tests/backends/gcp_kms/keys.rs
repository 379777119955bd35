//! What it does, and what the service saw of it.

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use waxseal::backend::gcp_kms::Config;
use waxseal::testing::conformance::{Subject, run};
use waxseal::{ErrorKind, KeyManager, Sealer, blocking, key::Request, value::Dek};

use super::{TOKEN, acme, config, keys, opens, wrapped};
use crate::fake_gcp_kms::FakeGcpKms;

const SKIPPED: [&str; 3] = [
    "a_manager_that_only_wraps_refuses_to_unwrap",
    "a_rewrap_keeps_dek_and_binding",
    "a_pinned_older_version_wraps_and_is_named",
];

#[tokio::test]
async fn the_suite_passes_against_our_fake() {
    let fake = FakeGcpKms::start();
    println!("a fake of our own at {}", fake.endpoint());
    let subject = Subject::new(keys(&fake, &fake.key("own")))
        .against(keys(&fake, &fake.key("other")))
        .with_canary(TOKEN)
        .with_canary("CANARY-BODY");
    let report = run(&subject).await.unwrap_or_else(|failure| panic!("{failure}"));
    let skipped: Vec<_> = report.skipped().into_iter().map(|(name, _)| name).collect();
    assert_eq!(skipped, SKIPPED, "{report}");
}

/// By hand, so that the crate's checksum and encoding are not compared with themselves.
#[tokio::test]
async fn the_service_sees_name_aad_checksums_and_token() {
    let fake = FakeGcpKms::start();
    fake.demand_token(TOKEN);
    let key = fake.key("k");
    let keys = keys(&fake, &key);
    let context = acme();
    let request = Request::new(&context);
    let dek = Dek::from_bytes(&[0; 32]);
    let wrapped = keys.wrap(&dek, &request).await.unwrap();
    opens(&keys, &dek, &wrapped).await.unwrap();

    let seen = fake.seen();
    assert_eq!(seen.len(), 2, "one call each");
    let (encrypt, decrypt) = (&seen[0], &seen[1]);
    let aad = Base64::encode_string(&request.wrap_aad());
    assert_eq!(encrypt.method, "POST");
    assert_eq!(path(&encrypt.target), format!("/v1/{key}:encrypt"));
    assert_eq!(
        encrypt.authorization.as_deref(),
        Some(format!("Bearer {TOKEN}").as_str())
    );
    assert_eq!(encrypt.body["additionalAuthenticatedData"], aad);
    // CRC-32C of 32 zero bytes, from RFC 3720 B.4.
    assert_eq!(encrypt.body["plaintextCrc32c"], 0x8a91_36aa_u32.to_string());
    assert!(encrypt.body["additionalAuthenticatedDataCrc32c"].is_string());
    assert_eq!(path(&decrypt.target), format!("/v1/{key}:decrypt"));
    assert_eq!(decrypt.body["additionalAuthenticatedData"], aad);
    assert_eq!(
        decrypt.body["ciphertext"],
        Base64::encode_string(wrapped.wrapped())
    );
    assert!(decrypt.body["ciphertextCrc32c"].is_string());
    // The service itself opens it in this context, and in no other.
    let body =
        json!({"ciphertext": Base64::encode_string(wrapped.wrapped()), "additionalAuthenticatedData": aad});
    let opened = fake.post(&format!("{key}:decrypt"), &body);
    assert_eq!(opened["plaintext"], Base64::encode_string(&[0; 32]));
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap()
}

#[tokio::test]
async fn a_wrap_names_the_version_that_made_it_and_opens_after_a_switch() {
    let fake = FakeGcpKms::start();
    let key = fake.key("k");
    let keys = keys(&fake, &key);
    let (dek, first) = wrapped(&keys).await.unwrap();
    assert_eq!((first.kek().id(), first.kek().version()), (key.as_str(), "1"));
    fake.post(&format!("{key}/cryptoKeyVersions"), &json!({}));
    assert_eq!(
        wrapped(&keys).await.unwrap().1.kek().version(),
        "1",
        "not the primary one yet"
    );
    fake.post(
        &format!("{key}:updatePrimaryVersion"),
        &json!({"cryptoKeyVersionId": "2"}),
    );
    assert_eq!(wrapped(&keys).await.unwrap().1.kek().version(), "2");
    opens(&keys, &dek, &first).await.unwrap();
}

#[tokio::test]
async fn an_emulator_without_versions_gives_an_empty_one() {
    let fake = FakeGcpKms::start();
    let key = fake.key("k");
    let keys = keys(&fake, &key);
    fake.set(crate::fake_gcp_kms::Fault::Change(|body| {
        let name = body["name"]
            .as_str()
            .map(|name| name.split("/cryptoKeyVersions").next().unwrap().to_owned());
        if let Some(name) = name {
            body["name"] = Value::from(name);
        }
    }));
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    assert_eq!(wrap.kek().version(), "");
    opens(&keys, &dek, &wrap).await.unwrap();
}

#[tokio::test]
async fn a_sealer_seals_and_opens() {
    let fake = FakeGcpKms::start();
    let sealer = Sealer::new(keys(&fake, &fake.key("k")));
    let sealed = sealer.seal(b"under a fake", &acme()).await.unwrap();
    assert_eq!(sealer.open(&sealed, &acme()).await.unwrap(), b"under a fake");
}

/// The client's calls run on the runtime that it was given.
#[test]
fn no_runtime_is_needed_where_it_is_used() {
    let fake = FakeGcpKms::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = super::connect(config(&fake).with_handle(runtime.handle().clone())).unwrap();
    let sealer = blocking::Sealer::new(client.key(&fake.key("k")).unwrap());
    let sealed = sealer.seal(b"x", &acme()).unwrap();
    assert_eq!(sealer.open(&sealed, &acme()).unwrap(), b"x");
}

#[tokio::test]
async fn nothing_printed_shows_the_token() {
    let fake = FakeGcpKms::start();
    let (config, keys) = (config(&fake), keys(&fake, &fake.key("k")));
    let shown = format!("{config:?} {keys:?}");
    assert!(!shown.contains("CANARY"), "{shown}");
    assert!(shown.contains("cryptoKeys/k"), "{shown}");
}

#[tokio::test]
async fn a_name_that_is_none_is_refused() {
    let client = super::connect(Config::new()).unwrap();
    for name in [
        "",
        "k",
        "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
    ] {
        let error = client.key(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{name}");
    }
}
