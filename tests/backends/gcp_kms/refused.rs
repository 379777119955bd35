//! What the service refuses, and what is refused of its answers.

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use waxseal::backend::gcp_kms::Auth;
use waxseal::{EncryptionContext, Error, ErrorKind, KeyManager, key::Request};

use super::{TOKEN, acme, client, config, keys, opens, wrapped};
use crate::fake_gcp_kms::{FakeGcpKms, Fault};

fn check(error: &Error, kind: ErrorKind, retryable: bool) {
    assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("CANARY"), "{shown}");
    assert_eq!(error.provider(), Some("gcp-kms"));
    assert!(error.operation().is_some());
}

#[tokio::test]
async fn another_context_key_or_byte_does_not_open() {
    let fake = FakeGcpKms::start();
    let (mine, other) = (keys(&fake, &fake.key("mine")), keys(&fake, &fake.key("other")));
    let (_, wrap) = wrapped(&mine).await.unwrap();

    let elsewhere = EncryptionContext::new([("tenant", "umbrella")]).unwrap();
    let error = mine
        .unwrap(wrap.as_wrap_ref(), &Request::new(&elsewhere))
        .await
        .unwrap_err();
    check(&error, ErrorKind::CannotOpen, false);

    let context = acme();
    let request = Request::new(&context);
    fake.seen();
    let error = other.unwrap(wrap.as_wrap_ref(), &request).await.unwrap_err();
    check(&error, ErrorKind::NoUsableKey, false);
    assert!(fake.seen().is_empty(), "no call for what is another's");
    let hidden = wrap.clone().with_hidden_id();
    let error = other.unwrap(hidden.as_wrap_ref(), &request).await.unwrap_err();
    check(&error, ErrorKind::CannotOpen, false);

    let mut altered = wrap.wrapped().to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let mut stanza = wrap.as_wrap_ref();
    stanza.wrapped = &altered;
    check(
        &mine.unwrap(stanza, &request).await.unwrap_err(),
        ErrorKind::CannotOpen,
        false,
    );
}

#[tokio::test]
async fn what_is_no_dek_does_not_open() {
    let fake = FakeGcpKms::start();
    let key = fake.key("k");
    let keys = keys(&fake, &key);
    let (_, wrap) = wrapped(&keys).await.unwrap();
    fake.set(Fault::ChangeRequest(|body| {
        if body.get("plaintext").is_some() {
            // Somebody who may encrypt encrypts 3 bytes, with their right checksum.
            body["plaintext"] = json!("AAAA");
            body.as_object_mut().unwrap().remove("plaintextCrc32c");
        }
    }));
    let error = wrapped(&keys).await.unwrap_err();
    check(&error, ErrorKind::InvalidAnswer, true);
    fake.set(Fault::None);
    let context = acme();
    let planted = fake.post(
        &format!("{key}:encrypt"),
        &json!({
            "plaintext": "AAAA",
            "additionalAuthenticatedData": Base64::encode_string(&Request::new(&context).wrap_aad()),
        }),
    );
    let bytes = Base64::decode_vec(planted["ciphertext"].as_str().unwrap()).unwrap();
    let mut stanza = wrap.as_wrap_ref();
    stanza.wrapped = &bytes;
    let error = keys.unwrap(stanza, &Request::new(&context)).await.unwrap_err();
    check(&error, ErrorKind::CannotOpen, false);
}

/// Once with details in the service's error, once without: then the state is asked.
#[tokio::test]
async fn disabled_and_destroyed_versions_are_told_apart() {
    for explains in [false, true] {
        let fake = FakeGcpKms::start();
        if explains {
            fake.explain_preconditions();
        }
        let key = fake.key("k");
        let keys = keys(&fake, &key);
        let (dek, wrap) = wrapped(&keys).await.unwrap();
        let version = format!("{key}/cryptoKeyVersions/1");

        fake.patch(
            &format!("{version}?updateMask=state"),
            &json!({"state": "DISABLED"}),
        );
        check(
            &opens(&keys, &dek, &wrap).await.unwrap_err(),
            ErrorKind::KeyDisabled,
            false,
        );
        check(&wrapped(&keys).await.unwrap_err(), ErrorKind::KeyDisabled, false);

        fake.post(&format!("{version}:destroy"), &Value::Null);
        let error = opens(&keys, &dek, &wrap).await.unwrap_err();
        check(&error, ErrorKind::KeyPendingDestruction, false);
        assert!(error.to_string().contains("versions restore"), "{error}");

        fake.post(&format!("{version}:restore"), &Value::Null);
        fake.patch(
            &format!("{version}?updateMask=state"),
            &json!({"state": "ENABLED"}),
        );
        opens(&keys, &dek, &wrap).await.unwrap();

        fake.post(&format!("{version}:destroy"), &Value::Null);
        fake.finish_destruction();
        check(
            &opens(&keys, &dek, &wrap).await.unwrap_err(),
            ErrorKind::KeyDestroyed,
            false,
        );
        check(&wrapped(&keys).await.unwrap_err(), ErrorKind::KeyDestroyed, false);
    }
}

#[tokio::test]
async fn what_a_stanza_claims_chooses_no_path() {
    let fake = FakeGcpKms::start();
    let key = fake.key("k");
    let keys = keys(&fake, &key);
    let (_, wrap) = wrapped(&keys).await.unwrap();
    fake.patch(
        &format!("{key}/cryptoKeyVersions/1?updateMask=state"),
        &json!({"state": "DISABLED"}),
    );
    fake.seen();
    let context = acme();
    for claimed in ["../other", "1:destroy", "1?x=y", "", "007"] {
        let mut stanza = wrap.as_wrap_ref();
        stanza.kek_version = claimed;
        let error = keys.unwrap(stanza, &Request::new(&context)).await.unwrap_err();
        check(&error, ErrorKind::KeyDisabled, false);
        assert_eq!(fake.seen().len(), 1, "{claimed}");
    }
}

#[tokio::test]
async fn an_unknown_key_is_not_found() {
    let fake = FakeGcpKms::start();
    let keys = keys(&fake, "projects/p/locations/global/keyRings/r/cryptoKeys/none");
    check(&wrapped(&keys).await.unwrap_err(), ErrorKind::KeyNotFound, false);
}

#[tokio::test]
async fn wrong_credentials_and_missing_rights_are_told_apart() {
    let fake = FakeGcpKms::start();
    fake.demand_token(TOKEN);
    let key = fake.key("k");
    for (auth, kind) in [
        (
            Auth::AccessToken("CANARY-wrong".into()),
            ErrorKind::Unauthenticated,
        ),
        (Auth::AccessToken("denied-CANARY".into()), ErrorKind::Denied),
        (Auth::Anonymous, ErrorKind::Unauthenticated),
    ] {
        let client = super::connect(config(&fake).with_auth(auth)).unwrap();
        let error = wrapped(&client.key(&key).unwrap()).await.unwrap_err();
        check(&error, kind, false);
    }
}

#[tokio::test]
async fn a_checksum_that_does_not_agree_is_no_answer() {
    let fake = FakeGcpKms::start();
    let key = fake.key("k");
    let keys = keys(&fake, &key);
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    let wrapping: [fn(&mut Value); 6] = [
        |body| body["ciphertextCrc32c"] = json!("1"),
        |body| body["ciphertextCrc32c"] = Value::Null,
        |body| body["ciphertext"] = json!("AAAA"),
        |body| body["verifiedPlaintextCrc32c"] = json!(false),
        |body| body["verifiedAdditionalAuthenticatedDataCrc32c"] = json!(false),
        |body| body["ciphertext"] = json!("CANARY%"),
    ];
    for lie in wrapping {
        fake.set(Fault::Change(lie));
        check(&wrapped(&keys).await.unwrap_err(), ErrorKind::InvalidAnswer, true);
    }
    let opening: [fn(&mut Value); 5] = [
        |body| body["plaintextCrc32c"] = json!("1"),
        |body| body["plaintextCrc32c"] = Value::Null,
        |body| body["plaintext"] = json!("AAAA"),
        |body| body["plaintext"] = Value::Null,
        |body| body["plaintext"] = json!("CANARY%"),
    ];
    for lie in opening {
        fake.set(Fault::Change(lie));
        check(
            &opens(&keys, &dek, &wrap).await.unwrap_err(),
            ErrorKind::InvalidAnswer,
            true,
        );
    }
    fake.set(Fault::None);
    opens(&keys, &dek, &wrap).await.unwrap();
}

/// Nobody's credentials are an emulator's. One without checksums will do; one whose checksums are wrong will not.
#[tokio::test]
async fn an_emulator_may_lack_checksums_but_not_have_wrong_ones() {
    let fake = FakeGcpKms::start();
    let anonymous = super::connect(config(&fake).with_auth(Auth::Anonymous)).unwrap();
    let key = fake.key("k");
    let keys = anonymous.key(&key).unwrap();
    fake.set(Fault::Change(|body| {
        for field in [
            "ciphertextCrc32c",
            "plaintextCrc32c",
            "verifiedPlaintextCrc32c",
            "verifiedAdditionalAuthenticatedDataCrc32c",
        ] {
            body.as_object_mut().unwrap().remove(field);
        }
    }));
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    opens(&keys, &dek, &wrap).await.unwrap();
    // Some verify the plaintext only, and some say nothing of it.
    let silent: [fn(&mut Value); 2] = [
        |body| {
            body.as_object_mut()
                .unwrap()
                .remove("verifiedAdditionalAuthenticatedDataCrc32c");
        },
        |body| {
            body.as_object_mut()
                .unwrap()
                .retain(|field, _| !field.starts_with("verified"));
        },
    ];
    for answer in silent {
        fake.set(Fault::Change(answer));
        let (dek, wrap) = wrapped(&keys).await.unwrap();
        opens(&keys, &dek, &wrap).await.unwrap();
    }
    fake.set(Fault::Change(|body| body["ciphertextCrc32c"] = json!("1")));
    check(&wrapped(&keys).await.unwrap_err(), ErrorKind::InvalidAnswer, true);
    fake.set(Fault::Change(|body| body["plaintextCrc32c"] = json!("1")));
    check(
        &opens(&keys, &dek, &wrap).await.unwrap_err(),
        ErrorKind::InvalidAnswer,
        true,
    );
}

#[tokio::test]
async fn a_request_that_is_damaged_on_the_way_wraps_nothing() {
    let fake = FakeGcpKms::start();
    let keys = keys(&fake, &fake.key("k"));
    fake.set(Fault::ChangeRequest(|body| body["plaintext"] = json!("AAAA")));
    check(
        &wrapped(&keys).await.unwrap_err(),
        ErrorKind::InvalidArgument,
        false,
    );
}

#[tokio::test]
async fn an_answer_about_another_key_is_none() {
    let fake = FakeGcpKms::start();
    let key = fake.key("k");
    let keys = client(&fake).key(&key).unwrap();
    let names: [fn(&mut Value); 3] = [
        |body| {
            body["name"] =
                json!("projects/p/locations/global/keyRings/r/cryptoKeys/other/cryptoKeyVersions/1");
        },
        |body| {
            body["name"] = json!("projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/x");
        },
        |body| body["name"] = json!("k"),
    ];
    for name in names {
        fake.set(Fault::Change(name));
        check(
            &wrapped(&keys).await.unwrap_err(),
            ErrorKind::InvalidAnswer,
            false,
        );
    }
}
