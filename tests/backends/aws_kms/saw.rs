//! What AWS was asked, seen from its side: by a raw client, and on the wire.

use std::collections::HashMap;

use aws_sdk_kms::primitives::Blob;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;
use waxseal::backend::aws_kms::{Client, ContextForm};
use waxseal::{EncryptionContext, KeyManager, envelope::WrappedDek, key::Request, value::Dek};

use super::server::{Server, config, moto};
use super::wire::calls;
use crate::fault_proxy::FaultProxy;

/// What a raw client gets for a wrap, if anything.
async fn decrypt(server: &Server, wrapped: &WrappedDek, pairs: &[(&str, &str)]) -> Option<Vec<u8>> {
    let pairs: HashMap<_, _> = pairs
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    let raw = server.raw();
    let call = raw
        .decrypt()
        .ciphertext_blob(Blob::new(wrapped.wrapped()))
        .key_id(wrapped.kek().id())
        .set_encryption_context((!pairs.is_empty()).then_some(pairs));
    let answer = call.send().await.ok()?;
    Some(answer.plaintext.unwrap().into_inner())
}

#[tokio::test]
async fn pairs_are_the_encryption_context() {
    let Some(moto) = moto() else { return };
    let (keys, arn) = moto.keys().await;
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")]).unwrap();
    let request = Request::new(&context);
    let dek = Dek::generate().unwrap();
    let wrapped = keys.wrap(&dek, &request).await.unwrap();
    let rewrapped = keys
        .rewrap(wrapped.as_wrap_ref(), &request)
        .await
        .unwrap()
        .unwrap();
    let (generated, wrapped_too) = keys.generate(&request).await.unwrap();
    for (dek, wrapped) in [(&dek, &wrapped), (&dek, &rewrapped), (&generated, &wrapped_too)] {
        assert_eq!(wrapped.kek().id(), arn);
        let right = [("table", "users"), ("tenant", "acme")];
        assert_eq!(decrypt(&moto, wrapped, &right).await.unwrap(), dek.expose_bytes());
        for wrong in [
            &[("table", "users"), ("tenant", "umbrella")][..],
            &[("tenant", "acme")],
            &[],
        ] {
            assert_eq!(decrypt(&moto, wrapped, wrong).await, None, "{wrong:?}");
        }
    }
}

#[tokio::test]
async fn the_empty_context_is_no_pair_and_matches_no_other() {
    let Some(moto) = moto() else { return };
    let (keys, _) = moto.keys().await;
    let context = EncryptionContext::empty();
    let (dek, wrapped) = keys.generate(&Request::new(&context)).await.unwrap();
    assert_eq!(decrypt(&moto, &wrapped, &[]).await.unwrap(), dek.expose_bytes());
    assert_eq!(decrypt(&moto, &wrapped, &[("tenant", "acme")]).await, None);
}

#[tokio::test]
async fn the_digest_is_one_pair() {
    let Some(moto) = moto() else { return };
    let keys = moto.keys().await.0.with_context_form(ContextForm::Digest);
    let context = EncryptionContext::new([("tenant", "acme"), ("note", "")]).unwrap();
    let (dek, wrapped) = keys.generate(&Request::new(&context)).await.unwrap();
    let digest = Base64UrlUnpadded::encode_string(context.digest());
    assert_eq!(digest.len(), 43);
    let pair = [("waxseal-context", digest.as_str())];
    assert_eq!(decrypt(&moto, &wrapped, &pair).await.unwrap(), dek.expose_bytes());
    assert_eq!(
        decrypt(&moto, &wrapped, &[("tenant", "acme"), ("note", "")]).await,
        None
    );

    let share = Request::new(&context).with_binding([9; 32]);
    let (dek, wrapped) = keys.generate(&share).await.unwrap();
    let digest = Base64UrlUnpadded::encode_string(&[9; 32]);
    let pair = [("waxseal-context", digest.as_str())];
    assert_eq!(decrypt(&moto, &wrapped, &pair).await.unwrap(), dek.expose_bytes());
}

// spec: BIND-4
#[tokio::test]
async fn every_call_names_key_context_and_grant_tokens_and_is_made_once() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::new(&moto.url);
    let client = Client::connect(config(&proxy.url())).await.unwrap();
    let (old, new) = (moto.key().await, moto.key().await);
    let keys = client
        .key(&old)
        .unwrap()
        .with_grant_tokens(["token-1", "token-2"]);
    assert!(!format!("{keys:?}").contains("token-1"));
    let successor = client.key(&new).unwrap().also_opening(&old).unwrap();
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let request = Request::new(&context).with_actor("alice").with_request_id("r-1");
    let (dek, wrapped) = keys.generate(&request).await.unwrap();
    keys.wrap(&dek, &request).await.unwrap();
    keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
    successor
        .rewrap(wrapped.as_wrap_ref(), &request)
        .await
        .unwrap()
        .unwrap();

    let seen = calls(&proxy);
    let operations: Vec<_> = seen.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(operations, ["GenerateDataKey", "Encrypt", "Decrypt", "ReEncrypt"]);
    let pairs = json!({"tenant": "acme"});
    for (operation, parameters) in &seen[..3] {
        assert_eq!(parameters["KeyId"], json!(old), "{operation}");
        assert_eq!(parameters["EncryptionContext"], pairs, "{operation}");
        assert_eq!(
            parameters["GrantTokens"],
            json!(["token-1", "token-2"]),
            "{operation}"
        );
    }
    assert_eq!(seen[0].1["KeySpec"], json!("AES_256"));
    let rewrap = &seen[3].1;
    assert_eq!(rewrap["SourceKeyId"], json!(old));
    assert_eq!(rewrap["DestinationKeyId"], json!(new));
    assert_eq!(rewrap["SourceEncryptionContext"], pairs);
    assert_eq!(rewrap["DestinationEncryptionContext"], pairs);
    // Who asked is for the audit here.
    assert!(!format!("{seen:?}").contains("alice"));
}
