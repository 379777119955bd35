//! Servers that know namespaces, and those that ignore them.

use reqwest::Method;
use serde_json::{Value, json};
use waxseal::backend::vault_transit::{Auth, Config, Mode};
use waxseal::envelope::KekRef;
use waxseal::key::{KekAdmin, KekTemplate, Request};
use waxseal::{Error, ErrorKind, KeyManager, value::Dek};

use super::server::{acme, round_trip, server, unique};
use crate::fault_proxy::{Fault, FaultProxy};

/// As the community edition of Vault does.
#[tokio::test]
async fn a_server_that_ignores_the_namespace_is_refused_before_anything_is_sealed() {
    let Some(server) = server().await else { return };
    for mode in [Mode::Encrypt, Mode::DataKey] {
        let name = server.key("of-the-root", mode).await;
        let proxy = FaultProxy::new(&server.address);
        proxy.set(Fault::Without("x-vault-namespace"));
        let config = Config::new(proxy.url(), Auth::token(server.root.clone())).with_namespace("team");
        let client = super::connect(config).unwrap();
        let keys = client.key(&name).unwrap().with_mode(mode);
        let (dek, context) = (Dek::generate().unwrap(), acme());
        let request = Request::new(&context);
        let refused = |what: &str, error: Error| {
            assert_eq!(error.kind(), ErrorKind::Configuration, "{what}: {error}");
            assert!(
                error.to_string().contains("ignores namespaces"),
                "{what}: {error}"
            );
        };
        refused("check", keys.check().await.unwrap_err());
        refused("wrap", keys.wrap(&dek, &request).await.unwrap_err());
        refused("generate", keys.generate(&request).await.unwrap_err());
        let batch = keys.wrap_batch(&[(&dek, &request)]).await;
        refused("batch", batch.into_iter().next().unwrap().unwrap_err());
        let own = server.root().key(&name).unwrap().with_mode(mode);
        let wrapped = own.wrap(&dek, &request).await.unwrap();
        let mut claimed = wrapped.as_wrap_ref();
        claimed.kek_id = keys.kek_id();
        refused("unwrap", keys.unwrap(claimed, &request).await.unwrap_err());

        let admin = client.admin().with_mode(mode);
        let kek = KekRef::new("vault-transit", keys.kek_id(), "").unwrap();
        refused("describe", admin.describe(&kek).await.unwrap_err());
        refused("rotate", admin.rotate(&kek, "once").await.unwrap_err());
        refused("disable", admin.disable(&kek).await.unwrap_err());
        let new = KekTemplate::new(unique("nobodys"));
        refused("create", admin.create(&new, "once").await.unwrap_err());
        let (status, _) = server
            .raw(Method::GET, &format!("transit/keys/{}", new.name), Value::Null)
            .await;
        assert_eq!(status, 404, "a key was made in the root");
        for seen in proxy.seen() {
            assert!(seen.head.starts_with("GET "), "{}", seen.head);
        }
        // Without a namespace it is the root's key that is meant.
        let config = Config::new(proxy.url(), Auth::token(server.root.clone()));
        let keys = super::connect(config)
            .unwrap()
            .key(&name)
            .unwrap()
            .with_mode(mode);
        keys.wrap(&dek, &request).await.unwrap();
    }
}

/// The server is asked once whether it heeds the namespace, and an outage decides nothing.
#[tokio::test]
async fn the_namespace_is_checked_once_for_a_client() {
    let Some(server) = server().await else { return };
    let namespace = unique("team");
    server
        .post(&format!("sys/namespaces/{namespace}"), json!({}))
        .await;
    for (path, body) in [
        ("sys/mounts/transit", json!({"type": "transit"})),
        ("transit/keys/a", json!({})),
        ("transit/keys/b", json!({})),
    ] {
        let (status, answer) = server
            .raw_as(&server.root, Some(&namespace), Method::POST, path, body)
            .await;
        assert!(status.is_success(), "{answer}");
    }
    let proxy = FaultProxy::new(&server.address);
    let config = Config::new(proxy.url(), Auth::token(server.root.clone())).with_namespace(&namespace);
    let client = super::connect(config).unwrap();
    let is_probe = |seen: &crate::fault_proxy::Seen| {
        seen.header("x-vault-namespace")
            .is_some_and(|value| value.ends_with("waxseal-no-such-namespace"))
    };
    proxy.set_rule(move |seen| match is_probe(seen) {
        true => Fault::Answer(502, "", String::new()),
        false => Fault::Forward,
    });
    let key = |name: &str| client.key(name).unwrap();
    let error = round_trip(&key("a")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    proxy.set(Fault::Forward);
    proxy.seen();
    round_trip(&key("a")).await.unwrap();
    round_trip(&key("b")).await.unwrap();
    assert_eq!(proxy.seen().iter().filter(|seen| is_probe(seen)).count(), 1);
}
