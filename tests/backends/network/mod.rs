//! What all network backends do alike: where they do their I/O, how they reach a server, whom they trust, and what they say
//! when that fails. One table for all four.

mod anywhere;
mod connections;
mod proxies;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use waxseal::backend::{aws_kms, azure_key_vault, gcp_kms, vault_transit};
use waxseal::{EncryptionContext, Error, KeyManager, Result, key::Request};

/// Generous: only to fail instead of hanging.
const BOUND: Duration = Duration::from_secs(30);

const BACKENDS: [&str; 4] = ["aws", "azure", "gcp", "vault"];

type Manager = Arc<dyn KeyManager>;

/// A key of this backend, whose server is at this URL.
fn at(backend: &str, url: &str) -> Result<Manager> {
    connect(backend, url, BOUND)
}

fn connect(backend: &str, url: &str, timeout: Duration) -> Result<Manager> {
    Ok(match backend {
        "aws" => {
            let config = aws_kms::Config::new()
                .with_region("eu-central-1")
                .with_endpoint(url)
                .with_connect_timeout(timeout)
                .with_read_timeout(timeout)
                .with_operation_timeout(timeout)
                .with_credentials("test", "test".into(), None);
            Arc::new(
                pollster::block_on(aws_kms::Client::connect(config))?
                    .key("12345678-1234-1234-1234-123456789012")?,
            )
        }
        "azure" => {
            let auth = azure_key_vault::Auth::ClientSecret {
                tenant_id: "tenant".to_owned(),
                client_id: "app".to_owned(),
                secret: "CANARY-secret".into(),
            };
            let config = azure_key_vault::Config::new(url, auth)
                .with_authority_host(url)
                .with_timeout(timeout)
                .with_connect_timeout(timeout)
                .without_challenge_check();
            Arc::new(pollster::block_on(azure_key_vault::Client::connect(config))?.key("k")?)
        }
        "gcp" => {
            let config = gcp_kms::Config::new()
                .with_endpoint(url)
                .with_timeout(timeout)
                .with_auth(gcp_kms::Auth::AccessToken("CANARY-token".into()));
            let key = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
            Arc::new(pollster::block_on(gcp_kms::Client::connect(config))?.key(key)?)
        }
        "vault" => {
            let auth = vault_transit::Auth::token("CANARY-token");
            let config = vault_transit::Config::new(url, auth)
                .with_timeout(timeout)
                .with_connect_timeout(timeout);
            Arc::new(pollster::block_on(vault_transit::Client::connect(config))?.key("k")?)
        }
        other => panic!("{other} is no backend"),
    })
}

/// The error of a call, which must not work.
fn refused(manager: &Manager) -> Error {
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let error = pollster::block_on(manager.generate(&Request::new(&context))).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("CANARY"), "{error:?}");
    error
}
