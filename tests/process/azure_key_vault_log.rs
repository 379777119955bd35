//! What ends up in a log that takes everything. The log is the process's, so this is a program of its own.

use std::time::Duration;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use waxseal::backend::azure_key_vault::{Auth, Client, Config};
use waxseal::{EncryptionContext, KeyManager, key::Request};

use crate::fake_azure_key_vault::{CLIENT_SECRET, FakeKeyVault, TENANT};
use crate::log::Log;

pub(crate) const TESTS: &[crate::Test] = &[(
    "azure_key_vault_log::no_dek_no_token_and_no_secret_at_any_level_and_a_warning_of_the_unchecked",
    no_dek_no_token_and_no_secret_at_any_level_and_a_warning_of_the_unchecked,
)];

#[tokio::main(flavor = "current_thread")]
async fn no_dek_no_token_and_no_secret_at_any_level_and_a_warning_of_the_unchecked() {
    let fake = FakeKeyVault::start();
    fake.key("k");
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let auth = Auth::ClientSecret {
        tenant_id: TENANT.to_owned(),
        client_id: "app".to_owned(),
        secret: CLIENT_SECRET.into(),
    };
    let config = Config::new(fake.url(), auth)
        .with_authority_host(fake.url())
        .with_ca_pem(fake.ca())
        .with_refresh(Duration::ZERO)
        .without_challenge_check();
    let keys = Client::connect(config).await.unwrap().key("k").unwrap();
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (dek, wrapped) = keys.generate(&request).await.unwrap();
    keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
    fake.call("POST", "/keys/k/rotate", &serde_json::Value::Null);
    keys.wrap(&dek, &request).await.unwrap();
    fake.end_tokens();
    keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
    // An error with a body.
    let mut unknown = wrapped.as_wrap_ref();
    unknown.kek_version = "0";
    keys.unwrap(unknown, &request).await.unwrap_err();

    let text = log.text();
    if std::env::var_os("SHOW").is_some() {
        println!("{text}");
    }
    // It does take everything: what the HTTP library does is in it.
    assert!(text.contains("hyper"), "the log of the HTTP library is not seen");
    assert!(text.contains("what the vault asks a token for is not checked"));
    assert!(text.contains("an Azure key has a new version"));
    let embedded = request.embed(&dek);
    let bytes: [&[u8]; 2] = [dek.expose_bytes(), embedded.as_slice()];
    for bytes in bytes {
        for encoded in [
            Base64::encode_string(bytes),
            Base64UrlUnpadded::encode_string(bytes),
            hex::encode(bytes),
        ] {
            // The front: bodies may be cut, and DEK and digest are encoded together.
            let encoded = &encoded[..40];
            assert!(!text.contains(encoded), "a DEK is in the log");
            let shown = format!("{:?}", encoded.as_bytes());
            assert!(
                !text.contains(shown.trim_matches(['[', ']'])),
                "a DEK is in the log"
            );
        }
        let shown = format!("{bytes:?}");
        assert!(
            !text.contains(shown.trim_matches(['[', ']'])),
            "a DEK is in the log"
        );
    }
    let canary = text.lines().find(|line| line.contains("CANARY"));
    assert_eq!(canary, None, "a token, a secret or a body is in the log");
}
