//! What must not work.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use waxseal::backend::vault_transit::{Auth, Config, Mode};
use waxseal::testing::FakeEnvironment;
use waxseal::{ErrorKind, KeyManager, key::Request, value::Dek};

use super::server::{acme, policy_for, round_trip, server, unique, unwrap_kind};

// spec: ALG-12
#[tokio::test]
async fn a_key_that_would_not_bind_is_not_used() {
    let Some(server) = server().await else { return };
    let plain = server.key("plain", Mode::Encrypt).await;
    let derived = server.key("derived", Mode::DataKey).await;
    let (chacha, convergent) = (unique("chacha"), unique("convergent"));
    server
        .post(
            &format!("transit/keys/{chacha}"),
            json!({"type": "chacha20-poly1305"}),
        )
        .await;
    let body = json!({"type": "aes256-gcm96", "derived": true, "convergent_encryption": true});
    server.post(&format!("transit/keys/{convergent}"), body).await;
    for (name, mode) in [
        (&plain, Mode::DataKey),
        (&derived, Mode::Encrypt),
        (&chacha, Mode::Encrypt),
        (&convergent, Mode::DataKey),
    ] {
        let keys = server.keys(name, mode);
        assert_eq!(keys.check().await.unwrap_err().kind(), ErrorKind::Configuration);
        let context = acme();
        let request = Request::new(&context);
        let dek = Dek::generate().unwrap();
        assert_eq!(
            keys.wrap(&dek, &request).await.unwrap_err().kind(),
            ErrorKind::Configuration
        );
        assert_eq!(
            keys.generate(&request).await.unwrap_err().kind(),
            ErrorKind::Configuration
        );
        let results = keys.wrap_batch(&[(&dek, &request)]).await;
        assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::Configuration);
    }
}

#[tokio::test]
async fn an_unknown_key_is_an_error_and_is_not_made() {
    let Some(server) = server().await else { return };
    // Even where the token might make it.
    let all = server
        .token(
            "path \"transit/*\" { capabilities = [\"create\", \"read\", \"update\"] }",
            json!({}),
        )
        .await;
    let name = unique("unknown");
    let own = server.token(&policy_for(&name), json!({})).await;
    for token in [all, own.clone()] {
        let client = super::connect(server.config(Auth::token(token))).unwrap();
        for mode in [Mode::Encrypt, Mode::DataKey] {
            let keys = client.key(&name).unwrap().with_mode(mode);
            assert_eq!(
                round_trip(&keys).await.unwrap_err().kind(),
                ErrorKind::KeyNotFound
            );
        }
    }
    // The server alone, asked with the policy that is documented, does not make it either.
    let path = format!("transit/encrypt/{name}");
    let (status, _) = server
        .raw_as(&own, None, Method::POST, &path, json!({"plaintext": "AAAA"}))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = server
        .raw(Method::GET, &format!("transit/keys/{name}"), Value::Null)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_key_that_is_deleted_or_disabled_later() {
    let Some(server) = server().await else { return };
    let name = server.key("deleted", Mode::Encrypt).await;
    let keys = server.keys(&name, Mode::Encrypt);
    let wrapped = round_trip(&keys).await.unwrap();
    let path = format!("transit/keys/{name}");
    server
        .raw(Method::DELETE, &format!("{path}/soft-delete"), Value::Null)
        .await;
    assert_eq!(
        round_trip(&keys).await.unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );
    assert_eq!(
        unwrap_kind(&keys, wrapped.as_wrap_ref()).await,
        ErrorKind::KeyDisabled
    );
    server
        .post(&format!("{path}/soft-delete-restore"), json!({}))
        .await;
    round_trip(&keys).await.unwrap();
    server
        .post(&format!("{path}/config"), json!({"deletion_allowed": true}))
        .await;
    assert!(
        server
            .raw(Method::DELETE, &path, Value::Null)
            .await
            .0
            .is_success()
    );
    assert_eq!(
        unwrap_kind(&keys, wrapped.as_wrap_ref()).await,
        ErrorKind::KeyNotFound
    );
    let context = acme();
    let request = Request::new(&context);
    let results = keys.unwrap_batch(&[(wrapped.as_wrap_ref(), &request)]).await;
    assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::KeyNotFound);
}

#[tokio::test]
async fn denied_is_not_unauthenticated() {
    let Some(server) = server().await else { return };
    let name = server.key("denied", Mode::Encrypt).await;
    // It may wrap, and not unwrap.
    let policy = format!(
        "path \"transit/keys/{name}\" {{ capabilities = [\"read\"] }}\npath \"transit/encrypt/{name}\" {{ capabilities = [\"update\"] }}"
    );
    let token = server.token(&policy, json!({})).await;
    let client = super::connect(server.config(Auth::token(token.clone()))).unwrap();
    let keys = client.key(&name).unwrap();
    let error = round_trip(&keys).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Denied, false));
    let shown = format!("{error} {error:?} {client:?} {keys:?}");
    assert!(!shown.contains(&token), "{shown}");

    server.post("auth/token/revoke", json!({"token": token})).await;
    assert_eq!(
        round_trip(&keys).await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
    let wrong = super::connect(server.config(Auth::token("s.wrong"))).unwrap();
    let keys = wrong.key(&name).unwrap();
    assert_eq!(
        round_trip(&keys).await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
}

#[tokio::test]
async fn configurations_that_are_none() {
    let token = || Auth::token("CANARY");
    for address in [
        "",
        "vault.example.com",
        "ftp://vault.example.com",
        "https://user:CANARY@vault.example.com",
        "https://vault.example.com/?a=CANARY",
        "https://vault.example.com/#CANARY",
    ] {
        let error = super::connect(Config::new(address, token())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{address}");
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
    let address = "https://vault.example.com";
    for config in [
        Config::new(address, Auth::token("")),
        Config::new(address, Auth::token("CANARY\n")),
        Config::new(address, token()).with_namespace("../sys"),
        Config::new(address, token()).with_ca_pem("CANARY"),
        Config::new(address, token()).with_ca_file("/nowhere/ca.pem"),
        Config::new(address, Auth::approle("r", "CANARY").at("../sys")),
    ] {
        assert!(!format!("{config:?}").contains("CANARY\n"), "{config:?}");
        let error = super::connect(config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(error.provider(), Some("vault-transit"));
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
    let client = super::connect(Config::new(address, token())).unwrap();
    for (mount, name) in [
        ("transit", "../x"),
        ("transit", ""),
        ("", "orders"),
        ("a/../b", "orders"),
        ("transit", "a/b"),
    ] {
        let error = client
            .key(name)
            .and_then(|key| key.with_mount(mount))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{mount} {name}");
    }
}

#[tokio::test]
async fn the_environment_says_where_and_who() {
    let environment = FakeEnvironment::new()
        .with("VAULT_ADDR", "https://vault.example.com")
        .with("VAULT_TOKEN", "CANARY");
    let shown = format!("{:?}", Config::from_environment(&environment).unwrap());
    assert!(
        shown.contains("vault.example.com") && !shown.contains("CANARY"),
        "{shown}"
    );
    let environment = environment
        .with("VAULT_NAMESPACE", "team/a/")
        .with("VAULT_CACERT", "/nowhere/ca.pem");
    let error = super::connect(Config::from_environment(&environment).unwrap()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    environment.unset("VAULT_CACERT");
    let client = super::connect(Config::from_environment(&environment).unwrap()).unwrap();
    let keys = client.key("orders").unwrap();
    assert_eq!(keys.kek_id(), "team/a/transit/keys/orders");
    environment.unset("VAULT_TOKEN");
    let error = Config::from_environment(&environment).unwrap_err();
    assert!(error.to_string().contains("VAULT_TOKEN"), "{error}");
    let kubernetes = Config::from_environment_with(&environment, Auth::kubernetes("app")).unwrap();
    assert!(format!("{kubernetes:?}").contains(Auth::SERVICE_ACCOUNT_TOKEN));
    environment.unset("VAULT_ADDR");
    let error = Config::from_environment_with(&environment, Auth::kubernetes("app")).unwrap_err();
    assert!(error.to_string().contains("VAULT_ADDR"), "{error}");
}

/// Finding out why a wrap was refused costs a call, and an envelope with many such wraps has a budget.
#[tokio::test]
async fn an_envelope_of_many_foreign_wraps_has_a_budget_of_calls() {
    let Some(server) = server().await else { return };
    let proxy = crate::fault_proxy::FaultProxy::new(&server.address);
    let client = super::connect(Config::new(proxy.url(), Auth::token(server.root.clone()))).unwrap();
    let mut sealing = waxseal::Sealer::builder().hide_kek_ids();
    for _ in 0..16 {
        let name = server.key("foreign", Mode::Encrypt).await;
        sealing = sealing.wrap_with(server.root().key(&name).unwrap());
    }
    let sealed = sealing.build().unwrap().seal(b"hello", &acme()).await.unwrap();
    let mine = client.key(&server.key("mine", Mode::Encrypt).await).unwrap();
    mine.check().await.unwrap();
    proxy.seen();
    let error = waxseal::Sealer::new(mine)
        .open(&sealed, &acme())
        .await
        .unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    // One for each wrap, and one for why they do not open, which is the same for all of them.
    assert_eq!(proxy.seen().len(), 17);
    assert_eq!(error.kind(), waxseal::ErrorKind::CannotOpen);
}

/// As many wraps as an envelope can have, each of which may be under either of two keys: the last one under the second key still opens.
#[tokio::test]
async fn finding_out_why_leaves_a_call_for_every_wrap() {
    let Some(server) = server().await else { return };
    let proxy = crate::fault_proxy::FaultProxy::new(&server.address);
    let client = super::connect(Config::new(proxy.url(), Auth::token(server.root.clone()))).unwrap();
    let (other, mine) = (
        server.key("other", Mode::Encrypt).await,
        server.key("mine", Mode::Encrypt).await,
    );
    let mut sealing = waxseal::Sealer::builder().hide_kek_ids();
    for _ in 0..15 {
        let name = server.key("foreign", Mode::Encrypt).await;
        sealing = sealing.wrap_with(server.root().key(&name).unwrap());
    }
    let sealing = sealing.wrap_with(server.root().key(&mine).unwrap());
    let sealed = sealing.build().unwrap().seal(b"hello", &acme()).await.unwrap();
    let (other, mine) = (client.key(&other).unwrap(), client.key(&mine).unwrap());
    for key in [&other, &mine] {
        key.check().await.unwrap();
    }
    for keys in [[&other, &mine], [&mine, &other]] {
        let opener = waxseal::Sealer::builder()
            .wrap_with(keys[0].clone())
            .open_with(keys[1].clone())
            .build()
            .unwrap();
        proxy.seen();
        assert_eq!(opener.open(&sealed, &acme()).await.unwrap(), b"hello");
        let most = usize::try_from(waxseal::value::limits::BACKEND_CALLS.max).unwrap();
        assert!(proxy.seen().len() <= most);
    }
}
