//! What errors say.

use serde_json::json;
use waxseal::ErrorKind;
use waxseal::backend::vault_transit::{Auth, Config, Mode};

use super::server::{round_trip, server};
use crate::fault_proxy::{Fault, FaultProxy};

/// What to do is in the words: unseal, which address, which right, which scheme.
#[tokio::test]
async fn the_words_say_what_to_do() {
    let Some(server) = server().await else { return };
    let name = server.key("words", Mode::Encrypt).await;
    let proxy = FaultProxy::new(&server.address);
    let config = Config::new(proxy.url(), Auth::token(server.root.clone()));
    let keys = super::connect(config).unwrap().key(&name).unwrap();
    round_trip(&keys).await.unwrap();
    let sealed = |sealed: bool| {
        move |seen: &crate::fault_proxy::Seen| match seen.path().ends_with("sys/seal-status") {
            true => Fault::Answer(200, "", format!(r#"{{"type":"shamir","sealed":{sealed}}}"#)),
            false => Fault::Answer(503, "", r#"{"errors":["CANARY"]}"#.to_owned()),
        }
    };
    proxy.set_rule(sealed(true));
    let error = round_trip(&keys).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    assert!(error.to_string().contains("sealed; unseal it"), "{error}");
    proxy.set_rule(sealed(false));
    let error = round_trip(&keys).await.unwrap_err();
    assert!(!error.to_string().contains("sealed"), "{error}");

    proxy.set(Fault::Answer(
        307,
        "Location: https://10.9.8.7:8200/v1/transit/CANARY?x=CANARY\r\n",
        String::new(),
    ));
    let error = round_trip(&keys).await.unwrap_err().to_string();
    assert!(
        error.contains("https://10.9.8.7:8200,") && !error.contains("CANARY"),
        "{error}"
    );

    proxy.set(Fault::Answer(
        400,
        "",
        "Client sent an HTTP request to an HTTPS server.\n".to_owned(),
    ));
    let fresh = super::connect(Config::new(proxy.url(), Auth::token(server.root.clone()))).unwrap();
    let fresh = fresh.key(&name).unwrap();
    for keys in [&keys, &fresh] {
        let error = round_trip(keys).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains("https://"), "{error}");
    }

    // Reading is allowed, and nothing else.
    let policy = format!(r#"path "transit/keys/{name}" {{ capabilities = ["read"] }}"#);
    let token = server.token(&policy, json!({})).await;
    let client = super::connect(server.config(Auth::token(token))).unwrap();
    let keys = client.key(&name).unwrap();
    let error = round_trip(&keys).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let right = format!("update on transit/encrypt/{name}");
    assert!(error.to_string().contains(&right), "{error}");
}
