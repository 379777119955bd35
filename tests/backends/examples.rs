//! The examples of the network backends, against servers.

use crate::live::{address, unique, variable};
use serde_json::json;

#[cfg(feature = "aws-kms")]
#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/aws_kms.rs"]
mod aws;
#[cfg(feature = "azure-key-vault")]
#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/azure_key_vault.rs"]
mod azure;
#[cfg(feature = "gcp-kms")]
#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/gcp_kms.rs"]
mod gcp;
#[cfg(feature = "vault-transit")]
#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/vault_transit.rs"]
mod vault;

async fn post(url: &str, token: &str, body: serde_json::Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http
        .post(url)
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(body.to_string());
    request.send().await.unwrap();
}

#[cfg(feature = "aws-kms")]
#[tokio::test]
async fn aws_kms() {
    let Some(moto) = crate::aws_kms::server::moto() else {
        return;
    };
    aws::run(moto.config(), &moto.key().await).await.unwrap();
}

#[cfg(feature = "azure-key-vault")]
#[tokio::test]
async fn azure_key_vault() {
    let fake = crate::fake_azure_key_vault::FakeKeyVault::start();
    fake.key("orders");
    azure::run(crate::azure_key_vault::config(&fake), "orders")
        .await
        .unwrap();
}

#[cfg(feature = "vault-transit")]
#[tokio::test]
async fn vault_transit() {
    use waxseal::backend::vault_transit::{Auth, Config};
    let Some(address) = address("openbao") else { return };
    let token = variable("WAXSEAL_TEST_OPENBAO_TOKEN").unwrap();
    let key = unique("example");
    // Refused if it is mounted already.
    post(
        &format!("{address}/v1/sys/mounts/transit"),
        &token,
        json!({"type": "transit"}),
    )
    .await;
    post(&format!("{address}/v1/transit/keys/{key}"), &token, json!({})).await;
    vault::run(Config::new(address, Auth::token(token)), &key)
        .await
        .unwrap();
}

#[cfg(feature = "gcp-kms")]
#[tokio::test]
async fn gcp_kms() {
    use waxseal::backend::gcp_kms::{Auth, Config};
    let Some(address) = address("drongo") else { return };
    let (ring, key) = (unique("ring"), "k");
    let parent = "projects/p/locations/l/keyRings";
    post(&format!("{address}/v1/{parent}?keyRingId={ring}"), "", json!({})).await;
    let keys = format!("{address}/v1/{parent}/{ring}/cryptoKeys?cryptoKeyId={key}");
    post(&keys, "", json!({"purpose": "ENCRYPT_DECRYPT"})).await;
    let config = Config::new().with_endpoint(address).with_auth(Auth::Anonymous);
    gcp::run(config, &format!("{parent}/{ring}/cryptoKeys/{key}"))
        .await
        .unwrap();
}
