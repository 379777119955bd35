//! KEKs in the memory of this process: from an environment variable, a file, or a passphrase.
//!
//! Begin with this backend: it needs no server and no account. Its weakness, compared with a KMS: anybody who can read the memory
//! or the configuration of the process has the KEK. Later, a re-wrap moves what is stored
//! to any other backend, without touching the payloads.
//!
//! | manager | wrap algorithm | cost of a wrap or unwrap |
//! |---|---|---|
//! | [`LocalKey`] | 1: XAES-256-GCM | under a microsecond |
//! | [`PassphraseKey`] | 2: PBKDF2-HMAC-SHA256, or 3: Argon2id, then 1 | tens of milliseconds for each new salt, then the same as 1 |
//!
//! Both bind a wrap to its context by AAD. [`LocalAdmin`] makes new KEKs as files.

mod admin;
mod derived;
#[cfg(feature = "ring")]
mod held;
mod kdf;
mod key;
mod passphrase;
mod source;
mod text;
pub(in crate::backend) mod uri;
mod warning;
mod xaes;

use std::any::Any;
use std::sync::Arc;

pub use admin::LocalAdmin;
#[cfg(feature = "ring")]
pub(crate) use held::HeldKey;
pub use kdf::Kdf;
pub use key::LocalKey;
pub use passphrase::PassphraseKey;
pub use text::kek_from_text;

use crate::envelope::WrappedDek;
use crate::key::{KeyManager, Request};
use crate::value::error::Result;
use crate::value::secret::Dek;

/// Returns a new DEK and its wrap, if the key manager is a [`LocalKey`], which needs no future. A decorator around a `LocalKey` is
/// another type, and is called as usual.
pub(crate) fn generate_now(
    key_manager: &dyn KeyManager,
    request: &Request<'_>,
) -> Option<Result<(Dek, WrappedDek)>> {
    let any: &dyn Any = key_manager;
    match any.downcast_ref::<LocalKey>() {
        Some(key) => Some(key.generate_now(request)),
        None => generate_now(&**any.downcast_ref::<Arc<dyn KeyManager>>()?, request),
    }
}

/// The provider name in stanzas.
pub const PROVIDER: &str = "local";
