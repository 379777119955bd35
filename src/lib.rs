#![cfg_attr(docsrs, feature(doc_cfg))]
//! Envelope encryption for what applications store.
//!
//! waxseal seals each value under a data key (DEK). A key encryption key (KEK) wraps the DEK, and the KEK never leaves its
//! backend: AWS KMS, Google Cloud KMS, Azure Key Vault, HashiCorp Vault or OpenBao, a PKCS#11 token, or, to begin with, an
//! environment variable, a file or a passphrase. Your application stores the sealed value with the wrapped DEK in front of it,
//! and nothing else.
//!
//! ```
//! use waxseal::backend::local::LocalKey;
//! use waxseal::{EncryptionContext, Kek, blocking::Sealer};
//!
//! // In an application: LocalKey::from_env("WAXSEAL_KEK")?
//! let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
//!
//! let users = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
//! let sealed = sealer.seal(b"alice@example.com", users.with_aad(b"row 7, email"))?;
//! let opened = sealer.open(&sealed, users.with_aad(b"row 7, email"))?;
//! assert_eq!(opened, b"alice@example.com");
//! # Ok::<(), waxseal::Error>(())
//! ```
//!
//! [`Sealer`] is the same for async code. It depends on no runtime.
//!
//! # Context and AAD
//! Both must be the same to open a value as to seal it. The [*encryption context*](EncryptionContext) is coarse: it says whose value it
//! is and what for (tenant, table, purpose). The KMS sees it, and each context costs a data key and so a call to the KMS. The
//! [*AAD*](Aad) is fine: it says where the value belongs (row, column, version). It costs nothing and never leaves the process. A row id
//! belongs in the AAD: in the context it means one KMS call for each row. Neither is secret.
//!
//! # What you store
//! ```text
//! "WAX" 1 | who can get the DEK: one wrap for each KEK | session, commitment, nonce | ciphertext and tags
//!           ------- replaced by a re-wrap -----------   -------------- never touched ------------------
//! ```
//! One value grows by 197 bytes under one local KEK. A small column value and a large object have the same format, which
//! [`manual::envelope_format`] specifies. [`Envelope::parse`] tells without a key which KEKs an envelope is wrapped under.
//!
//! # What a rotation does
//! A new KEK wraps from now on, and the old one only opens. A *re-wrap* then moves what is stored: it replaces a few hundred bytes in
//! front of each value, and reads and writes nothing of the payload. When nothing is under the old KEK any more, the old KEK
//! goes. Moving from one KMS to another is the same, by configuration: [`Sealer::from_env`]. [`manual::operating`] goes through it.
//! A re-wrap is not a revocation: whoever had the DEK still has it.
//!
//! # How to test code that uses a sealer
//! A sealer over `LocalKey::new(&Kek::generate()?)` needs no server and does all that the one in production does. To see what your code
//! does when the KMS fails, take the feature `testing`: `testing::FakeKeyManager` records what it is asked, and fails on demand.
//!
//! # Where to look
//! | to | see |
//! |---|---|
//! | seal and open | [`Sealer`], [`blocking::Sealer`] |
//! | keep KEKs in a KMS or an HSM, by configuration | [`Sealer::from_env`], [`backend::kek_uri`] |
//! | seal many values of one context, fast | [`Sealer::data_key`], [`DataKey`] |
//! | seal and open a column at once | [`DataKey::seal_batch`] |
//! | seal and open streams | [`blocking::Sealer::writer`], [`blocking::Sealer::reader`], async: `message::AsyncSealWriter`, `message::AsyncOpenReader` |
//! | read a part of a large payload | [`blocking::Sealer::range_reader`], [`message::RangePlan`] |
//! | use several threads for large payloads | [`message::Parallel`] |
//! | ask the KMS less often | [`source`] |
//! | go on when the KMS is slow or down | [`layer`] |
//! | rotate | [`Sealer::builder`], [`Sealer::rewrap`] |
//! | re-wrap a large file where it is | [`in_place`] |
//! | re-wrap all that is stored | `fleet` (feature `fleet`) |
//! | know what an envelope is wrapped under | [`Envelope::parse`] |
//! | bring a KMS of your own | [`KeyManager`], [`manual::key_manager`] |
//! | know what it protects from and what not | [`manual::threat_model`] |
//! | know what an error means | [`ErrorKind`], [`manual::errors`] |

#[cfg(target_family = "wasm")]
compile_error!(
    "waxseal does not support WebAssembly: leases and deadlines need a clock that goes on while the program waits, and a wasm \
     target has none without its host"
);

#[cfg(feature = "audit")]
pub mod audit;
pub mod backend;
pub mod envelope;
#[cfg(feature = "fleet")]
pub mod fleet;
#[cfg(all(feature = "hardening", target_os = "linux"))]
pub mod hardening;
pub mod in_place;
pub mod key;
pub mod layer;
pub mod manual;
pub mod message;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "ring")]
pub mod ring;
pub mod runtime;
pub mod sealer;
pub mod source;
#[cfg(feature = "testing")]
pub mod testing;
pub mod value;

pub use envelope::Envelope;
pub use key::KeyManager;
pub use sealer::{Builder, DataKey, Opener, Sealer, blocking};
/// The secrets of this crate's configuration, and what [`Plaintext`] can be moved into.
pub use secrecy;
pub use source::DekSource;
pub use value::{Aad, Binding, EncryptionContext, Error, ErrorKind, Kek, Plaintext, Result, Suite};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
