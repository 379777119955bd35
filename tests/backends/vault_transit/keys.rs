//! Wrapping and unwrapping, and what the server saw of it.

use base64ct::{Base64, Encoding};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use waxseal::backend::vault_transit::{Auth, Mode};
use waxseal::testing::conformance::{self, Subject};
use waxseal::{EncryptionContext, ErrorKind, KeyManager, Sealer, key::Request, value::Dek};

use super::server::{acme, kek, policy_for, round_trip, server, unwrap_kind};

async fn conforms(mode: Mode) {
    let Some(server) = server().await else { return };
    let (own, other) = (server.key("own", mode).await, server.key("other", mode).await);
    // With the policy of the documentation, and nothing more.
    let token = server.token(&policy_for(&own), json!({})).await;
    let client = super::connect(server.config(Auth::token(token.clone()))).unwrap();
    server
        .post(&format!("transit/keys/{own}/rotate"), json!({}))
        .await;
    let subject = Subject::new(client.key(&own).unwrap().with_mode(mode))
        .against(server.keys(&other, mode))
        .with_older_version(kek(&own, "1"))
        .with_canary(token);
    let report = conformance::run(&subject)
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    let skipped: Vec<_> = report.skipped().into_iter().map(|(name, _)| name).collect();
    assert_eq!(skipped, ["a_manager_that_only_wraps_refuses_to_unwrap"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypting_conforms() {
    conforms(Mode::Encrypt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_keys_conform() {
    conforms(Mode::DataKey).await;
}

fn text(wrapped: &waxseal::envelope::WrappedDek) -> &str {
    std::str::from_utf8(wrapped.wrapped()).unwrap()
}

// spec: BIND-1
#[tokio::test]
async fn what_is_wrapped_is_the_dek_and_the_digest() {
    let Some(server) = server().await else { return };
    let name = server.key("seen", Mode::Encrypt).await;
    let keys = server.keys(&name, Mode::Encrypt);
    let context = acme();
    let dek = Dek::generate().unwrap();
    let wrapped = keys.wrap(&dek, &Request::new(&context)).await.unwrap();
    assert_eq!(wrapped.kek().id(), format!("transit/keys/{name}"));
    assert_eq!(wrapped.kek().version(), "1");
    assert_eq!(wrapped.algorithm().id(), 20);
    assert!(text(&wrapped).starts_with("vault:v1:"));
    let answer = server
        .post(
            &format!("transit/decrypt/{name}"),
            json!({"ciphertext": text(&wrapped)}),
        )
        .await;
    let seen = Base64::decode_vec(answer["data"]["plaintext"].as_str().unwrap()).unwrap();
    assert_eq!(seen, [dek.expose_bytes().as_slice(), context.digest()].concat());
}

#[tokio::test]
async fn a_data_key_is_bound_by_the_server() {
    let Some(server) = server().await else { return };
    let name = server.key("bound", Mode::DataKey).await;
    let keys = server.keys(&name, Mode::DataKey);
    let context = acme();
    let request = Request::new(&context);
    let (generated, from_server) = keys.generate(&request).await.unwrap();
    let wrapped_here = Dek::generate().unwrap();
    let wrapped = keys.wrap(&wrapped_here, &request).await.unwrap();
    for (dek, wrapped) in [(generated, from_server), (wrapped_here, wrapped)] {
        assert_eq!(wrapped.algorithm().id(), 21);
        let path = format!("transit/decrypt/{name}");
        let aad = Base64::encode_string(&request.wrap_aad());
        let answer = server
            .post(&path, json!({"ciphertext": text(&wrapped), "context": aad}))
            .await;
        let seen = Base64::decode_vec(answer["data"]["plaintext"].as_str().unwrap()).unwrap();
        assert_eq!(seen, dek.expose_bytes());
        // In another context it is the server that refuses.
        let other = EncryptionContext::new([("tenant", "umbrella")]).unwrap();
        let aad = Base64::encode_string(&Request::new(&other).wrap_aad());
        let body = json!({"ciphertext": text(&wrapped), "context": aad});
        assert_eq!(
            server.raw(Method::POST, &path, body).await.0,
            StatusCode::BAD_REQUEST
        );
        let refused = keys
            .rewrap(wrapped.as_wrap_ref(), &Request::new(&other))
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CannotOpen);
    }
}

async fn rotates(mode: Mode) {
    let Some(server) = server().await else { return };
    let name = server.key("rotated", mode).await;
    let keys = server.keys(&name, mode);
    let context = acme();
    let request = Request::new(&context);
    let (dek, old) = keys.generate(&request).await.unwrap();
    server
        .post(&format!("transit/keys/{name}/rotate"), json!({}))
        .await;
    let new = keys.rewrap(old.as_wrap_ref(), &request).await.unwrap().unwrap();
    assert_eq!((old.kek().version(), new.kek().version()), ("1", "2"));
    for wrapped in [&old, &new] {
        let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
        assert!(opened.dek.ct_eq(&dek));
        assert_eq!(opened.kek, *wrapped.kek());
    }
    // The version beside the text is a claim, whatever it says: the text's own opens, and is what the answer names.
    for claimed in ["2", "", "99", "x"] {
        let mut claim = old.as_wrap_ref();
        claim.kek_version = claimed;
        let opened = keys.unwrap(claim, &request).await.unwrap();
        assert!(opened.dek.ct_eq(&dek));
        assert_eq!(opened.kek.version(), "1", "{claimed}");
        let batch = keys.unwrap_batch(&[(claim, &request)]).await;
        assert_eq!(batch[0].as_ref().unwrap().kek.version(), "1", "{claimed}");
    }

    // Too old, by the server's own configuration.
    server
        .post(
            &format!("transit/keys/{name}/config"),
            json!({"min_decryption_version": 2}),
        )
        .await;
    assert_eq!(
        unwrap_kind(&keys, old.as_wrap_ref()).await,
        ErrorKind::KeyDisabled
    );
    let results = keys
        .unwrap_batch(&[(old.as_wrap_ref(), &request), (new.as_wrap_ref(), &request)])
        .await;
    assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::KeyDisabled);
    assert!(results[1].as_ref().unwrap().dek.ct_eq(&dek));
    let error = keys.rewrap(old.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled);
}

#[tokio::test]
async fn versions_of_an_encrypting_key() {
    rotates(Mode::Encrypt).await;
}

#[tokio::test]
async fn versions_of_a_derived_key() {
    rotates(Mode::DataKey).await;
}

async fn batches(mode: Mode) {
    let Some(server) = server().await else { return };
    let name = server.key("batch", mode).await;
    let keys = server.keys(&name, mode);
    let count = keys.capabilities().batch + 3;
    let context = acme();
    let request = Request::new(&context);
    let deks: Vec<Dek> = (0..count).map(|_| Dek::generate().unwrap()).collect();
    let items: Vec<_> = deks.iter().map(|dek| (dek, &request)).collect();
    let wraps: Vec<_> = keys
        .wrap_batch(&items)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(wraps.len(), count);
    server
        .post(&format!("transit/keys/{name}/rotate"), json!({}))
        .await;

    // One that is altered and one of nobody's do no harm to the others.
    let mut altered = wraps[1].wrapped().to_vec();
    altered[20] = if altered[20] == b'A' { b'B' } else { b'A' };
    let mut stanzas: Vec<_> = wraps
        .iter()
        .map(|wrapped| (wrapped.as_wrap_ref(), &request))
        .collect();
    stanzas[1].0.wrapped = &altered;
    stanzas[2].0.provider = "nobody";
    let opened = keys.unwrap_batch(&stanzas).await;
    let rewrapped = keys.rewrap_batch(&stanzas).await;
    assert_eq!((opened.len(), rewrapped.len()), (count, count));
    for (index, (opened, rewrapped)) in opened.into_iter().zip(rewrapped).enumerate() {
        match index {
            1 => {
                assert_eq!(opened.unwrap_err().kind(), ErrorKind::CannotOpen);
                assert_eq!(rewrapped.unwrap_err().kind(), ErrorKind::CannotOpen);
            }
            2 => {
                assert_eq!(opened.unwrap_err().kind(), ErrorKind::NoUsableKey);
                assert!(rewrapped.unwrap().is_none());
            }
            _ => {
                assert!(opened.unwrap().dek.ct_eq(&deks[index]), "{index}");
                assert_eq!(rewrapped.unwrap().unwrap().kek().version(), "2");
            }
        }
    }
}

#[tokio::test]
async fn batches_beyond_the_limit_of_encrypting() {
    batches(Mode::Encrypt).await;
}

#[tokio::test]
async fn batches_beyond_the_limit_of_derived_keys() {
    batches(Mode::DataKey).await;
}

#[tokio::test]
async fn the_mount_and_namespace_are_those_of_the_configuration() {
    let Some(server) = server().await else { return };
    let namespace = super::server::unique("team");
    server
        .post(&format!("sys/namespaces/{namespace}"), json!({}))
        .await;
    let inside = |path: &'static str, body: Value| {
        let (server, namespace) = (&server, namespace.clone());
        async move {
            let (status, answer) = server
                .raw_as(&server.root, Some(&namespace), Method::POST, path, body)
                .await;
            assert!(status.is_success(), "{answer}");
        }
    };
    inside("sys/mounts/keys/transit", json!({"type": "transit"})).await;
    inside("keys/transit/keys/orders", json!({"type": "aes256-gcm96"})).await;
    let config = server
        .config(Auth::token(server.root.clone()))
        .with_namespace(&format!("/{namespace}/"));
    let client = super::connect(config).unwrap();
    let keys = client
        .key("orders")
        .and_then(|key| key.with_mount("keys/transit/"))
        .unwrap();
    let wrapped = round_trip(&keys).await.unwrap();
    assert_eq!(
        wrapped.kek().id(),
        format!("{namespace}/keys/transit/keys/orders")
    );
    // Outside there is no such thing.
    let outside = server
        .root()
        .key("orders")
        .and_then(|key| key.with_mount("keys/transit"))
        .unwrap();
    assert_eq!(
        round_trip(&outside).await.unwrap_err().kind(),
        ErrorKind::KeyNotFound
    );
}

#[test]
fn callers_without_a_runtime_are_served_by_the_clients_own() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some((server, name)) = runtime.block_on(async {
        let server = server().await?;
        let name = server.key("blocking", Mode::DataKey).await;
        Some((server, name))
    }) else {
        return;
    };
    let config = server.config(Auth::token(server.root.clone()));
    let client = super::connect(config.with_handle(runtime.handle().clone())).unwrap();
    let keys = client.key(&name).unwrap().with_mode(Mode::DataKey);
    let sealer = waxseal::blocking::Sealer::from(Sealer::new(keys));
    let sealed = sealer.seal(b"hello", &acme()).unwrap();
    assert_eq!(sealer.open(&sealed, &acme()).unwrap(), b"hello");
}

/// The server sees the version in every way of wrapping, and what it refuses has its kind.
async fn pins(mode: Mode) {
    let Some(server) = server().await else { return };
    let name = server.key("pinned", mode).await;
    let rotate = format!("transit/keys/{name}/rotate");
    let config = format!("transit/keys/{name}/config");
    let keys = server.keys(&name, mode);
    let pinned = |version: &str| keys.pinned_to(&kek(&name, version)).unwrap();
    let (first, third) = (pinned("1"), pinned("3"));
    let context = acme();
    let request = Request::new(&context);
    // There is no such version yet; and once there is, it wraps without being made anew.
    for _ in 0..2 {
        let dek = Dek::generate().unwrap();
        let error = third.wrap(&dek, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
        let error = third.wrap_batch(&[(&dek, &request)]).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
    }
    server.post(&rotate, json!({})).await;
    server.post(&rotate, json!({})).await;
    let (dek, old) = first.generate(&request).await.unwrap();
    let (_, new) = third.generate(&request).await.unwrap();
    assert_eq!((old.kek().version(), new.kek().version()), ("1", "3"));
    assert!(text(&old).starts_with("vault:v1:"));
    assert_eq!(keys.wrap(&dek, &request).await.unwrap().kek().version(), "3");

    // A whole batch, with one item more than one call takes.
    let most = first.capabilities().batch;
    let items: Vec<_> = (0..=most).map(|_| (&dek, &request)).collect();
    let wraps = first.wrap_batch(&items).await;
    let wraps: Vec<_> = wraps.into_iter().map(Result::unwrap).collect();
    assert!(wraps.len() == most + 1 && wraps.iter().all(|wrap| wrap.kek().version() == "1"));
    let stanzas: Vec<_> = wraps.iter().map(|wrap| (wrap.as_wrap_ref(), &request)).collect();
    let moved = third.rewrap_batch(&stanzas).await;
    assert!(
        moved
            .iter()
            .all(|new| new.as_ref().unwrap().as_ref().unwrap().kek().version() == "3")
    );
    // Backwards, if the ring says so.
    let back = first.rewrap(new.as_wrap_ref(), &request).await.unwrap().unwrap();
    assert_eq!(back.kek().version(), "1");

    server.post(&config, json!({"min_encryption_version": 2})).await;
    let error = first.wrap(&dek, &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled, "{error}");
    let error = first.rewrap(new.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled, "{error}");
    let error = first
        .rewrap_batch(&[(new.as_wrap_ref(), &request)])
        .await
        .remove(0)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled, "{error}");
    // It still unwraps.
    assert_eq!(
        first.unwrap(old.as_wrap_ref(), &request).await.unwrap().kek,
        *old.kek()
    );
    server
        .post(
            &config,
            json!({"min_encryption_version": 0, "min_decryption_version": 2}),
        )
        .await;
    let error = first.wrap(&dek, &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled, "{error}");
    for version in ["", "0", "01", "x", "-1"] {
        let error = keys.pinned_to(&kek(&name, version)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{version}");
    }
}

#[tokio::test]
async fn a_pinned_version_is_sent_and_never_replaced() {
    pins(Mode::Encrypt).await;
}

#[tokio::test]
async fn a_pinned_version_of_a_derived_key_is_sent_and_never_replaced() {
    pins(Mode::DataKey).await;
}
