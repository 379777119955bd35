//! KEKs on a PKCS#11 token.

mod admin;
mod budget;
mod cipher;
mod client;
mod config;
mod connection;
mod keys;
mod map;
mod mechanism;
mod objects;
mod pin;
mod registry;
mod semaphore;
mod uri;

pub use admin::TokenAdmin;
pub use client::Client;
pub use config::Config;
pub use keys::TokenKeys;
pub use mechanism::Mechanism;
pub use pin::PinSource;
pub use uri::{TokenMatch, Uri};

const PROVIDER: &str = "pkcs11";
