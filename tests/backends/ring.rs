//! What is sealed under one KMS moves to every other and back, and its body never changes: the example, with a real key
//! at each stop.
#![cfg(all(
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "pkcs11",
    feature = "vault-transit"
))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[allow(dead_code, reason = "its main is not called")]
#[path = "../../examples/switch_kms.rs"]
mod switch_kms;

use std::sync::Arc;

use crate::fake_azure_key_vault::{CLIENT_SECRET, FakeKeyVault, TENANT};
use crate::live::{address, unique, variable};
use serde_json::json;
use switch_kms::{Stop, travel};
use waxseal::backend::aws_kms::ContextForm;
use waxseal::backend::local::{LocalKey, PassphraseKey};
use waxseal::{
    EncryptionContext, Kek, KeyManager, backend::aws_kms, backend::azure_key_vault, backend::gcp_kms,
    backend::pkcs11, backend::vault_transit, key::KekAdmin, key::KekTemplate,
};

fn stop(name: &str, manager: impl KeyManager + 'static) -> Stop {
    (name.to_owned(), Arc::new(manager))
}

async fn post(url: &str, token: &str, body: serde_json::Value) -> u16 {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http
        .post(url)
        .bearer_auth(token)
        .header("content-type", "application/json");
    request
        .body(body.to_string())
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

async fn vault(stops: &mut Vec<Stop>) -> Option<()> {
    let address = address("openbao")?;
    let token = variable("WAXSEAL_TEST_OPENBAO_TOKEN").unwrap();
    // Refused where it is mounted already.
    let mount = format!("{address}/v1/sys/mounts/transit");
    post(&mount, &token, json!({"type": "transit"})).await;
    let auth = vault_transit::Auth::token(token);
    let client = vault_transit::Client::connect(vault_transit::Config::new(address, auth))
        .await
        .unwrap();
    for (name, mode) in [
        ("Vault, encrypting", vault_transit::Mode::Encrypt),
        ("Vault, derived", vault_transit::Mode::DataKey),
    ] {
        let key = unique("ring");
        let admin = client.admin().with_mode(mode);
        admin.create(&KekTemplate::new(&key), &key).await.unwrap();
        let keys = client.key(&key).unwrap().with_mode(mode);
        stops.push(stop(name, keys));
    }
    Some(())
}

async fn aws(stops: &mut Vec<Stop>) -> Option<()> {
    let config = aws_kms::Config::new()
        .with_region("eu-central-1")
        .with_endpoint(address("moto")?)
        .with_credentials("test", "test".into(), None);
    let client = aws_kms::Client::connect(config).await.unwrap();
    for (name, form) in [
        ("AWS, pairs", ContextForm::Pairs),
        ("AWS, digest", ContextForm::Digest),
    ] {
        let key = unique("ring");
        client
            .admin()
            .create(&KekTemplate::new(&key), &key)
            .await
            .unwrap();
        let keys = client.key(&format!("alias/{key}")).unwrap();
        stops.push(stop(name, keys.with_context_form(form)));
    }
    Some(())
}

async fn google(stops: &mut Vec<Stop>) -> Option<()> {
    let endpoint = address("drongo")?;
    let (rings, ring) = ("projects/p/locations/global/keyRings", unique("ring"));
    let make = |target: String| {
        let url = format!("{endpoint}/v1/{target}");
        async move { post(&url, "", json!({"purpose": "ENCRYPT_DECRYPT"})).await }
    };
    assert_eq!(make(format!("{rings}?keyRingId={ring}")).await, 200);
    let keys = format!("{rings}/{ring}/cryptoKeys");
    assert_eq!(make(format!("{keys}?cryptoKeyId=k")).await, 200);
    let config = gcp_kms::Config::new()
        .with_endpoint(&endpoint)
        .with_auth(gcp_kms::Auth::Anonymous);
    let client = gcp_kms::Client::connect(config).await.unwrap();
    let manager = client.key(&format!("{keys}/k")).unwrap();
    stops.push(stop("Google Cloud", manager));
    Some(())
}

/// Fakes of our own, for as long as they are kept.
fn azure(stops: &mut Vec<Stop>) -> Vec<FakeKeyVault> {
    use azure_key_vault::{Algorithm, Auth, Client, Config};
    let fakes = [
        (
            "Azure, RSA (a fake)",
            Algorithm::RsaOaep256,
            FakeKeyVault::start(),
        ),
        (
            "Azure, HSM (a fake)",
            Algorithm::A256Kw,
            FakeKeyVault::start_hsm(),
        ),
    ];
    fakes
        .into_iter()
        .map(|(name, algorithm, fake)| {
            let auth = Auth::ClientSecret {
                tenant_id: TENANT.to_owned(),
                client_id: "app".to_owned(),
                secret: CLIENT_SECRET.into(),
            };
            let config = Config::new(fake.url(), auth)
                .with_authority_host(fake.url())
                .with_ca_pem(fake.ca())
                .without_challenge_check();
            let client = pollster::block_on(Client::connect(config)).unwrap();
            stops.push(stop(
                name,
                client.key(&fake.key("ring")).unwrap().with_algorithm(algorithm),
            ));
            fake
        })
        .collect()
}

async fn token(stops: &mut Vec<Stop>) -> Option<()> {
    let module = address("softhsm")?;
    let token = pkcs11::TokenMatch::labeled(variable("WAXSEAL_TEST_SOFTHSM_TOKEN").unwrap());
    let pin = variable("WAXSEAL_TEST_SOFTHSM_PIN").unwrap();
    let client = pkcs11::Client::connect(pkcs11::Config::new(module, token).with_pin(pin.into()))
        .await
        .unwrap();
    for (name, mechanism) in [
        ("token, GCM", pkcs11::Mechanism::AesGcm),
        ("token, key wrap", pkcs11::Mechanism::AesKeyWrapPad),
    ] {
        let key = unique("ring");
        let admin = client.admin().with_mechanism(mechanism);
        admin.create(&KekTemplate::new(&key), &key).await.unwrap();
        let keys = client.key(&key).unwrap().with_mechanism(mechanism);
        stops.push(stop(name, keys));
    }
    Some(())
}

/// Every kind of key, or `None` where a server is missing.
async fn all() -> Option<(Vec<Stop>, Vec<FakeKeyVault>)> {
    let mut stops = vec![stop("local", LocalKey::new(&Kek::generate().unwrap()))];
    vault(&mut stops).await?;
    aws(&mut stops).await?;
    google(&mut stops).await?;
    let fakes = azure(&mut stops);
    token(&mut stops).await?;
    let passphrase = PassphraseKey::new("correct horse battery staple".into()).unwrap();
    stops.push(stop("passphrase", passphrase));
    Some((stops, fakes))
}

/// From each kind of key in turn, through all others and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_through_every_backend_changes_no_byte_of_a_body() {
    let Some((mut stops, _fakes)) = all().await else {
        return;
    };
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "orders")]).unwrap();
    let payload = vec![0x5a; 200_000];
    for _ in 0..stops.len() {
        let seen = travel(&stops, &context, &payload).await.unwrap();
        let way: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
        println!("{}", way.join(" -> "));
        assert_eq!(seen.len(), stops.len() + 1);
        assert_eq!(way.first(), way.last());
        stops.rotate_left(1);
    }
}
