//! KEKs that this process holds: from an environment variable, a file, or a passphrase.
//!
//! The way to begin: no server and no account. What it lacks against a KMS is that whoever reads the memory
//! or the configuration of the process has the KEK. When it is time to move, a re-wrap moves what is stored
//! to any other backend; the payloads are not touched.
//!
//! | manager | wrap algorithm | cost of a wrap or unwrap |
//! |---|---|---|
//! | [`LocalKey`] | 1: XAES-256-GCM | under a microsecond |
//! | [`PassphraseKey`] | 2: PBKDF2-HMAC-SHA256, or 3: Argon2id, then 1 | tens of milliseconds for each new salt, then as 1 |
//!
//! Both bind a wrap to its context as AAD.

mod derived;
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

pub use kdf::Kdf;
pub use key::LocalKey;
pub use passphrase::PassphraseKey;
pub use text::kek_from_text;

use crate::envelope::WrappedDek;
use crate::key::{KeyManager, Request};
use crate::value::error::Result;
use crate::value::secret::Dek;

/// A fresh DEK and its wrap, if the KEK is a [`LocalKey`]: it answers without a future. A key manager around one is another
/// type, and is asked.
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
