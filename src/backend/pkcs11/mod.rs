//! KEKs on a PKCS#11 token: an HSM, a smart card, or SoftHSM.
//!
//! A [`Client`] is one token: its module, its sessions, its PIN. A [`TokenKey`] is a KEK on it, the keys of one label with
//! their versions; [`TokenAdmin`] makes and rotates them. A [`Uri`] (RFC 7512) names all of it in one line:
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
//! The id is the label (`CKA_LABEL`), the version the `CKA_ID` in lower-case hexadecimal. Among the keys of one class,
//! label and id have to name exactly one object: two are refused, since nobody could tell which of them wrapped. The
//! version that wraps is the one that is pinned, else the one whose id is the greatest number. Every version of the
//! label opens. The version in a stanza is a claim that says which one is tried first.
//!
//! # Mechanisms
//! | [`Mechanism`] | wrap algorithm | key | rights | the context is bound as |
//! |---|---|---|---|---|
//! | `AesGcm` | 32 | AES-256 | `CKA_ENCRYPT`, `CKA_DECRYPT` | AAD: the token authenticates it |
//! | `AesKeyWrapPad` | 33 | AES-256 | `CKA_WRAP`, `CKA_UNWRAP` | wrapped with the DEK, compared here |
//! | `RsaOaep256` | 34 | RSA, 2048 bits or more | `CKA_ENCRYPT` of the public, `CKA_DECRYPT` of the private half | the same |
//!
//! A key serves one mechanism: what opens under one must not be had under another. With `AesGcm` a version makes at
//! most 2^32 wraps, since its IVs are random (NIST SP 800-38D, 8.3). They are counted for each process, which a process
//! cannot do for others: rotate long before, wherever many processes wrap under one key. `AesKeyWrapPad` and
//! `RsaOaep256` have no such bound.
//!
//! `AesKeyWrapPad` goes through `C_WrapKey`, the one way to it that tokens share: the DEK becomes a session object for
//! the length of a call. Tokens in FIPS mode often refuse `AesKeyWrapPad` here, since it brings in a secret from outside.
//!
//! # What the user of the token needs
//! To wrap and open: to log in as the normal user (`CKU_USER`), to open read-only sessions, and the rights above on
//! the keys. `AesKeyWrapPad` also makes and destroys session objects. For [`TokenAdmin`]: read-write sessions, making keys
//! and private data objects on the token, changing the rights of keys. Most tokens have one user only; where an HSM has
//! several, give the application one that cannot make keys.
//!
//! # What it costs
//! A wrap or unwrap with `AesGcm` or `RsaOaep256` is one encryption or decryption (two module calls), with
//! `AesKeyWrapPad` three. The first wrap under each version in a process is opened again before it is returned: a
//! token that encrypts with an IV of its own, or that does not decrypt, is found before anything is sealed. Finding keys
//! costs more: handles are kept and looked for again every five minutes, after a loss, or when a stanza claims a version
//! that is not known, at most once a second. A wrap that does not open is tried under every version.
//!
//! # IVs
//! With `AesGcm` this crate draws the IV. A token that makes its own is supported if it writes it into the parameter of
//! the mechanism (also if it takes only an IV of zeros there, as AWS CloudHSM does) or appends 12 bytes to the ciphertext
//! (as Luna does in FIPS mode). Another length is `Unsupported`; an IV that the token does not tell is `InvalidAnswer`.
//!
//! # Losses
//! After a lost session, login, key handle or module a call logs in, finds its key again and tries once more. What is
//! gone for longer is `Unavailable`, and the next call tries anew. After six recoveries in a row that helped nothing the
//! error is not retryable and asks for a restart of the process, since some modules recover by nothing else; with
//! [`Config::with_module_restart`] the client shuts the module down and starts it again instead. If the token has no
//! session left, a call waits for one of the client's own, or takes one that another client of the process does not use.
//!
//! # Errors
//! By return code alone, which the message names: `C_Login: CKR_PIN_INCORRECT`. A wrong PIN is `Unauthenticated`, a locked
//! one (`CKR_PIN_LOCKED`) `Denied`. `CKR_KEY_FUNCTION_NOT_PERMITTED` is `KeyDisabled`, as is a key that may not wrap or may
//! not open (`CKA_ENCRYPT`, `CKA_DECRYPT`, `CKA_WRAP`, `CKA_UNWRAP`), before anything is sealed. No such key is `KeyNotFound`;
//! tokens and devices that are gone or fail are `Unavailable`; `CKR_SESSION_COUNT` is `Throttled`; a mechanism that the token
//! does not have is `Unsupported`; a wrong module, token or kind of key is `Configuration`; refusals are `Denied`. If no
//! token matches, the error names those that were passed over. A decryption that fails for its bytes is `CannotOpen`,
//! whichever way the token puts it: SoftHSM calls a wrong tag a general error, so `CKR_GENERAL_ERROR` *from a decryption or
//! unwrapping* is taken for one. kryoptic calls an RSA decryption that fails a device error: after one the key pair has to
//! open something that its public half wraps then and there, and if it does, it was the bytes. Without the public half it
//! is `Unavailable`.

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
