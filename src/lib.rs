//! Envelope encryption for what applications store.
//!
//! Each value is sealed under a data key (DEK). The DEK is wrapped by a key (KEK) that stays where it is kept:
//! a KMS, an HSM, or, to begin with, an environment variable or a passphrase. Only the wrapped DEK is stored,
//! beside the ciphertext. Moving to another KEK or another KMS is a *re-wrap*: it replaces a few hundred bytes
//! and never touches a payload.
//!
//! ```
//! use waxseal::{EncryptionContext, Kek, blocking::Sealer, local::LocalKeys};
//!
//! // In an application: LocalKeys::from_env("WAXSEAL_KEK")?
//! let sealer = Sealer::new(LocalKeys::new(&Kek::generate()?));
//!
//! let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
//! let sealed = sealer.seal(b"alice@example.com", &context)?;
//! let opened = sealer.open(&sealed, &context)?;
//! assert_eq!(opened, b"alice@example.com");
//! # Ok::<(), waxseal::Error>(())
//! ```
//!
//! # Where to look
//! | to | see |
//! |---|---|
//! | seal and open | [`Sealer`], [`blocking::Sealer`] |
//! | keep KEKs in a KMS or an HSM, by configuration | [`Sealer::from_env`], [`kek_uri`] |
//! | seal many values of one kind, fast | [`Sealer::data_key`], [`DataKey`] |
//! | seal and open a column at once | [`DataKey::seal_batch`] |
//! | seal and open streams | [`blocking::Sealer::writer`], [`blocking::Sealer::reader`], async: `AsyncSealWriter`, `AsyncOpenReader` |
//! | read a part of a large payload | [`blocking::Sealer::range_reader`], [`RangePlan`] |
//! | use several threads for large payloads | [`Parallel`] |
//! | ask the KMS less, or when it is slow or down | [`layer`] |
//! | rotate | [`Sealer::builder`], [`Sealer::rewrap`] |
//! | re-wrap a large file where it is | [`in_place`] |
//! | know what an envelope is wrapped under | [`Envelope::parse`] |
//! | bring a KMS of your own | [`KeyManager`], `testing::conformance` |
//! | know what it protects from and what not | [`manual`] |

mod aead;
mod backend;
pub mod blocking;
mod context;
mod dek_lease;
mod dek_source;
pub mod entropy;
pub mod envelope;
mod error;
mod few;
#[cfg(all(feature = "hardening", target_os = "linux"))]
pub mod hardening;
pub mod in_place;
pub mod kek_uri;
mod key_manager;
pub mod layer;
pub mod limits;
pub mod manual;
mod message;
mod parallel;
pub mod runtime;
mod sealer;
mod secret;
mod source;
mod suite;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "aws-kms")]
pub use backend::aws_kms;
#[cfg(feature = "azure-key-vault")]
pub use backend::azure_key_vault;
#[cfg(feature = "gcp-kms")]
pub use backend::gcp_kms;
pub use backend::local;
#[cfg(feature = "pkcs11")]
pub use backend::pkcs11;
#[cfg(feature = "vault-transit")]
pub use backend::vault_transit;
pub use context::{Binding, EncryptionContext};
pub use dek_lease::DekLease;
pub use dek_source::DekSource;
pub use envelope::{
    BodyHead, ChunkSize, Envelope, Header, HeaderBuf, KekRef, WrapAlgorithm, WrapRef, WrapSection, WrapSet,
    WrappedDek, Wraps,
};
pub use error::{Attempt, Error, ErrorKind, Operation, Result};
pub use key_manager::{
    Authorisation, Binds, Capabilities, KekAdmin, KekDescription, KekState, KekTemplate, KeyManager, Purpose,
    Request, Unwrapped,
};
#[cfg(any(feature = "futures-io", feature = "tokio"))]
pub use message::{AsyncOpenReader, AsyncSealWriter};
pub use message::{Layout, OpenReader, OpenedInPlace, RangePlan, RangeReader, SealWriter};
pub use parallel::{Parallel, Pool};
pub use sealer::{Builder, DataKey, NewWraps, OpenedBatch, Opener, SealedBatch, Sealer};
pub use secret::{Dek, KEY_LEN, Kek, Plaintext};
pub use source::AnyOf;
pub use suite::Suite;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
