//! KEKs on a PKCS#11 token: an HSM, a smart card, or SoftHSM.
//!
//! A [`Client`] is one token: its module, its connections, its PIN. A [`TokenKey`] is a KEK on the token: all keys of one label, as
//! versions. A [`TokenAdmin`] makes and rotates KEKs. A [`Uri`] (RFC 7512) names all of these in one line:
//!
//! ```no_run
//! # async fn example() -> waxseal::Result<()> {
//! use waxseal::backend::pkcs11::{Client, Config, Uri};
//!
//! let uri = Uri::parse("pkcs11:token=payments;object=kek?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=env:PIN")?;
//! let client = Client::connect(Config::from_uri(&uri)?).await?;
//! let key = client.key(uri.object())?.with_mechanism(uri.mechanism());
//! println!("wraps under {}", key.check().await?);
//! # Ok(())
//! # }
//! ```
//!
//! # KEK id and version
//! The id is the label (`CKA_LABEL`), and the version is the `CKA_ID` in lower-case hexadecimal. Among the keys of one class,
//! label and id must name exactly one object: two are refused, because nobody could know which of them wrapped. The
//! pinned version wraps. If no version is pinned, the version whose id is the greatest number wraps. Every version of the
//! label opens. The version in a stanza is a claim, and only decides which version is tried first.
//!
//! # Mechanisms
//! | [`Mechanism`] | wrap algorithm | key | rights | the context is bound as |
//! |---|---|---|---|---|
//! | `AesGcm` | 32 | AES-256 | `CKA_ENCRYPT`, `CKA_DECRYPT` | AAD: the token authenticates it |
//! | `AesKeyWrapPad` | 33 | AES-256 | `CKA_WRAP`, `CKA_UNWRAP` | part of the wrapped bytes: this crate compares it |
//! | `RsaOaep256` | 34 | RSA, 2048 bits or more | `CKA_ENCRYPT` of the public key, `CKA_DECRYPT` of the private key | the same |
//!
//! Use each key with one mechanism only, so that nobody can open a wrap of one mechanism through another. With `AesGcm` a version makes
//! at most 2^32 wraps, because its IVs are random (NIST SP 800-38D, 8.3). Each process counts only its own wraps: if many
//! processes wrap under one key, rotate the key long before. `AesKeyWrapPad` and `RsaOaep256` have no such bound.
//!
//! `AesKeyWrapPad` uses `C_WrapKey`, because all tokens with this mechanism have that function: during the call the DEK is a session
//! object of the token. Tokens in FIPS mode often refuse this, because it imports a secret from outside.
//!
//! # What the user of the token needs
//! To wrap and open, the user must be able to log in as the normal user (`CKU_USER`), to open read-only sessions of the token, and to use
//! the keys with the rights above. With `AesKeyWrapPad` the user must also be able to make and destroy session objects. For
//! [`TokenAdmin`], the user must be able to open read-write sessions of the token, to make keys and private data objects, and to change the
//! rights of keys. Most tokens have only one user. If an HSM has several users, give the application a user who cannot make keys.
//!
//! # What it costs
//! A wrap or unwrap with `AesGcm` or `RsaOaep256` is one encryption or decryption (two module calls). With
//! `AesKeyWrapPad` it is three module calls. The client opens the first wrap under each version in a process before it returns the wrap: so
//! a token that encrypts with another IV, or that does not decrypt, is found before anything is sealed. Finding keys
//! costs more. The client keeps handles and searches again every five minutes, after a loss, or when a stanza claims an unknown
//! version, at most once a second. If a wrap does not open, the client tries it under every version, and takes a call from the envelope's
//! budget for each version beyond the first.
//!
//! # IVs
//! With `AesGcm` this crate draws the IV. Some tokens make the IV themselves. They are supported if they write the IV into the parameter of
//! the mechanism (also if they accept only an IV of zeros there, like AWS CloudHSM) or append 12 bytes to the ciphertext
//! (like Luna in FIPS mode). If the output has another length, the error is `Unsupported`. If the token does not return its IV, the
//! error is `InvalidAnswer`.
//!
//! # Losses
//! If a connection, login, key handle or module was lost, the call logs in, finds its key again and tries once more. If that fails, the
//! error is `Unavailable`, and the next call tries again. After six recoveries in a row without success the
//! error is not retryable and asks for a restart of the process, because some modules recover only then. With
//! [`Config::with_module_restart`] the client shuts the module down and starts it again instead. If the token has no
//! connection left, a call waits for a connection of this client, or takes one that another client of the process does not use.
//!
//! # Errors
//! Only the return code decides the kind. The message names the code: `C_Login: CKR_PIN_INCORRECT`.
//!
//! | kind | condition |
//! |---|---|
//! | `Unauthenticated` | the PIN is wrong |
//! | `Denied` | the PIN is locked (`CKR_PIN_LOCKED`), or the token refuses |
//! | `KeyDisabled` | `CKR_KEY_FUNCTION_NOT_PERMITTED`, or a key that may not wrap or may not open (`CKA_ENCRYPT`, `CKA_DECRYPT`, `CKA_WRAP`, `CKA_UNWRAP`), before anything is sealed |
//! | `KeyNotFound` | the token has no such key |
//! | `Unavailable` | the token or device is gone or fails |
//! | `Throttled` | `CKR_SESSION_COUNT` |
//! | `Unsupported` | the token does not have the mechanism |
//! | `Configuration` | the module, the token or the kind of key is wrong. If no token matches, the error names the tokens that were skipped |
//! | `CannotOpen` | a decryption fails because of its bytes |
//!
//! Tokens report a failed decryption with different codes. SoftHSM reports a wrong tag as a general error, so `CKR_GENERAL_ERROR` *from a
//! decryption or unwrapping* is `CannotOpen`. kryoptic reports a failed RSA decryption as a device error. After such an error the
//! client wraps a test value with the public key. If the private key opens it, the device works, and the error is `CannotOpen`. If
//! not, or without the public key, the error is `Unavailable`.

mod admin;
mod budget;
mod cipher;
mod client;
mod codes;
mod config;
mod connection;
mod crew;
mod key;
mod login;
mod map;
mod mechanism;
mod objects;
mod pin;
mod raw;
mod registry;
pub(in crate::backend) mod scheme;
mod slots;
mod uri;

pub use admin::TokenAdmin;
pub use client::Client;
pub use config::Config;
pub use key::TokenKey;
pub use mechanism::Mechanism;
pub use pin::PinSource;
pub use uri::{TokenMatch, Uri};

const PROVIDER: &str = "pkcs11";
