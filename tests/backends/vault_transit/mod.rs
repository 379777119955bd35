//! Vault Transit, live, against the server that `scripts/services up openbao` starts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod admin;
mod cluster;
mod faults;
mod keys;
mod login;
mod namespace;
mod recovery;
mod refused;
mod rewrap;
mod server;
mod standby;
mod tls;
mod words;

/// A client, made from whatever context this is called in.
pub(crate) fn connect(
    config: waxseal::backend::vault_transit::Config,
) -> waxseal::Result<waxseal::backend::vault_transit::Client> {
    pollster::block_on(waxseal::backend::vault_transit::Client::connect(config))
}
