//! `azure_key_vault` against a fake of our own: no emulator of Azure Key Vault is to be had from a package registry, and
//! Azure itself was never asked. Microsoft's own clients, in Rust (under the backend) and in Python, drive the fake.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod admin;
mod credentials;
mod faults;
mod keys;
mod others;
mod refused;
mod rewrap;

use crate::fake_azure_key_vault::{CLIENT_SECRET, FakeKeyVault, TENANT};
use waxseal::backend::azure_key_vault::{Algorithm, Auth, AzureKey, Client, Config};
use waxseal::{EncryptionContext, KeyManager, envelope::WrappedDek, key::Request, value::Dek};

pub(crate) fn acme() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

pub(crate) fn auth(client_id: &str) -> Auth {
    Auth::ClientSecret {
        tenant_id: TENANT.to_owned(),
        client_id: client_id.to_owned(),
        secret: CLIENT_SECRET.into(),
    }
}

/// By a client secret that the fake knows.
pub(crate) fn config(fake: &FakeKeyVault) -> Config {
    Config::new(fake.url(), auth("app"))
        .with_authority_host(fake.url())
        .with_ca_pem(fake.ca())
        .without_challenge_check()
}

/// A client, made from whatever context this is called in.
pub(crate) fn connect(config: Config) -> waxseal::Result<Client> {
    pollster::block_on(Client::connect(config))
}

pub(crate) fn client(fake: &FakeKeyVault) -> Client {
    connect(config(fake)).unwrap()
}

pub(crate) fn keys(fake: &FakeKeyVault, key: &str) -> AzureKey {
    let algorithm = match fake.shared().state.is_hsm() {
        true => Algorithm::A256Kw,
        false => Algorithm::RsaOaep256,
    };
    client(fake).key(key).unwrap().with_algorithm(algorithm)
}

pub(crate) async fn wrapped(keys: &AzureKey) -> waxseal::Result<(Dek, WrappedDek)> {
    keys.generate(&Request::new(&acme())).await
}

/// Unwraps, and says which kind of error there was.
pub(crate) async fn opens(keys: &AzureKey, dek: &Dek, wrapped: &WrappedDek) -> waxseal::Result<()> {
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &Request::new(&acme())).await?;
    assert!(opened.dek.ct_eq(dek));
    assert_eq!(opened.kek, *wrapped.kek());
    Ok(())
}
