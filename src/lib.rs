#![cfg_attr(docsrs, feature(doc_cfg))]
//! Envelope encryption for what applications store.
//!
//! Each value is sealed under a data key (DEK). The DEK is wrapped by a key (KEK) that stays where it is kept:
//! a KMS, an HSM, or, to begin with, an environment variable or a passphrase. Only the wrapped DEK is stored,
//! beside the ciphertext. Moving to another KEK or another KMS is a *re-wrap*: it replaces a few hundred bytes
//! and never touches a payload.
//!
//! ```
//! use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
//!
//! // In an application: LocalKey::from_env("WAXSEAL_KEK")?
//! let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
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
//! | keep KEKs in a KMS or an HSM, by configuration | [`Sealer::from_env`], [`backend::kek_uri`] |
//! | seal many values of one kind, fast | [`Sealer::data_key`], [`DataKey`] |
//! | seal and open a column at once | [`DataKey::seal_batch`] |
//! | seal and open streams | [`blocking::Sealer::writer`], [`blocking::Sealer::reader`], async: `AsyncSealWriter`, `AsyncOpenReader` |
//! | read a part of a large payload | [`blocking::Sealer::range_reader`], [`message::RangePlan`] |
//! | use several threads for large payloads | [`message::Parallel`] |
//! | ask the KMS less, or when it is slow or down | [`layer`] |
//! | rotate | [`Sealer::builder`], [`Sealer::rewrap`] |
//! | re-wrap a large file where it is | [`in_place`] |
//! | know what an envelope is wrapped under | [`Envelope::parse`] |
//! | bring a KMS of your own | [`KeyManager`], `testing::conformance` |
//! | know what it protects from and what not | [`manual`] |

pub mod backend;
pub mod envelope;
#[cfg(all(feature = "hardening", target_os = "linux"))]
pub mod hardening;
pub mod in_place;
pub mod key;
pub mod layer;
pub mod manual;
pub mod message;
pub mod runtime;
pub mod sealer;
pub mod source;
#[cfg(feature = "testing")]
pub mod testing;
pub mod value;

pub use envelope::Envelope;
pub use key::KeyManager;
pub use sealer::{Builder, DataKey, Opener, Sealer, blocking};
pub use source::DekSource;
pub use value::{Aad, Binding, EncryptionContext, Error, ErrorKind, Kek, Plaintext, Result, Suite};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
