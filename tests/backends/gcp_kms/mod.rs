//! `gcp_kms` against drongo, an independent emulator, and against a fake of our own that has what drongo lacks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod admin;
mod credentials;
mod drongo;
mod faults;
mod keys;
mod recovery;
mod refused;

use crate::fake_gcp_kms::FakeGcpKms;
use waxseal::backend::gcp_kms::{Auth, Client, Config, GcpKey};
use waxseal::{EncryptionContext, KeyManager, envelope::WrappedDek, key::Request, value::Dek};

pub(crate) const TOKEN: &str = "ya29.CANARY-token";

pub(crate) fn acme() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

/// As Google's own service is asked: with a token, so that checksums are demanded.
pub(crate) fn config(fake: &FakeGcpKms) -> Config {
    Config::new()
        .with_endpoint(fake.endpoint())
        .with_auth(Auth::AccessToken(TOKEN.into()))
}

/// A client, made from whatever context this is called in.
pub(crate) fn connect(config: Config) -> waxseal::Result<Client> {
    pollster::block_on(Client::connect(config))
}

pub(crate) fn client(fake: &FakeGcpKms) -> Client {
    connect(config(fake)).unwrap()
}

pub(crate) fn keys(fake: &FakeGcpKms, key: &str) -> GcpKey {
    client(fake).key(key).unwrap()
}

pub(crate) async fn wrapped(keys: &GcpKey) -> waxseal::Result<(Dek, WrappedDek)> {
    keys.generate(&Request::new(&acme())).await
}

/// Unwraps, and says which kind of error there was.
pub(crate) async fn opens(keys: &GcpKey, dek: &Dek, wrapped: &WrappedDek) -> waxseal::Result<()> {
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &Request::new(&acme())).await?;
    assert!(opened.dek.ct_eq(dek));
    assert_eq!((opened.kek.id(), opened.kek.version()), (keys.kek_id(), ""));
    Ok(())
}
