//! Values: keys, contexts, suites, limits, errors, randomness.

pub(crate) mod aad;
pub(crate) mod aead;
pub(crate) mod context;
pub mod entropy;
pub mod error;
pub mod limits;
pub(crate) mod place;
pub(crate) mod secret;
pub(crate) mod suite;

pub use aad::Aad;
pub use context::{Binding, EncryptionContext};
pub use error::{Attempt, Error, ErrorKind, Operation, Result};
pub use secret::{Dek, KEY_LEN, Kek, Plaintext};
pub use suite::Suite;
