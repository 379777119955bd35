//! HashiCorp Vault and OpenBao: KEKs in a Transit secrets engine.
//!
//! ```no_run
//! use waxseal::{EncryptionContext, Sealer};
//! use waxseal::backend::vault_transit::{Client, Config};
//!
//! # async fn example() -> waxseal::Result<()> {
//! let client = Client::connect(Config::from_env()?).await?;
//! let sealer = Sealer::new(client.key("orders")?);
//!
//! let context = EncryptionContext::new([("tenant", "acme")])?;
//! let sealed = sealer.seal(b"hello", &context).await?;
//! assert_eq!(sealer.open(&sealed, &context).await?, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Two modes
//! | | [`Mode::Encrypt`] | [`Mode::DataKey`] |
//! |---|---|---|
//! | wrap algorithm | 20 | 21 |
//! | key | `aes256-gcm96`, not derived | `aes256-gcm96`, derived, not convergent |
//! | DEK comes from | the operating system here | the server's `datakey/plaintext` |
//! | what is wrapped | the DEK and the context's digest, 64 bytes | the DEK, 32 bytes |
//! | bound to the context | by that digest, compared here | by the server: `context` is the base64 of [`wrap_aad`](crate::key::Request::wrap_aad), so each context has a key of its own |
//! | items of one batch call; with a pinned version | 499; 249 | 249; 166 |
//!
//! A key of another type or derivation is refused before anything is wrapped: on a key that is not derived the
//! server ignores `context` without a word. What a key is like is read before the first call and again every five
//! minutes. It is never chosen by what stands in an envelope.
//!
//! # The KEK
//! Its id is `MOUNT/keys/NAME`, with the namespace and a slash in front if there is one; its version is the number N in
//! the `vault:vN:…` text that is stored as the wrapped DEK. The version
//! beside the text in a stanza is a claim that is not compared: an unwrap answers with the N of the text. Text that decodes to the same bytes and is not the same text is refused, too.
//!
//! *Pinned versions.* A manager that is [pinned](crate::key::KeyManager::pinned_to) to a version sends the version as `key_version` with
//! every encrypt and rewrap. With [`Mode::DataKey`] the DEK then comes from the operating system, because the server generates data keys
//! under the newest version only. An answer of another version is refused.
//!
//! *Namespaces.* A server that does not know them, such as the community edition of Vault, ignores the header in silence and uses the
//! key of the root. So before anything is wrapped a client that has a namespace reads the key once more, in a namespace that there is
//! not: a server that answers is refused with `Configuration`.
//!
//! # Permissions
//! A policy for a service that seals and opens, without the right to make, rotate, export or delete a key:
//!
//! ```hcl
//! path "transit/keys/orders"              { capabilities = ["read"] }
//! path "transit/encrypt/orders"           { capabilities = ["update"] }
//! path "transit/decrypt/orders"           { capabilities = ["update"] }
//! path "transit/rewrap/orders"            { capabilities = ["update"] }
//! path "transit/datakey/plaintext/orders" { capabilities = ["update"] }   # Mode::DataKey alone
//! ```
//!
//! Do not add `create`: with it, encrypting under a name that is not there makes a key of that name. (Set
//! `disable_upsert` in `transit/config/keys` to switch that off for the mount.) The token also needs the policy
//! `default`, or `read` on `auth/token/lookup-self` and `update` on `auth/token/renew-self`; without the first, a
//! denied call of a token is taken for one that is over.
//!
//! [`TransitAdmin`] needs `create`, `read` and `update` on `transit/keys/NAME`, `update` on `…/rotate`, `…/config` and
//! `…/soft-delete-restore`, and `delete` on `…/soft-delete`.
//!
//! # Cost
//! One call for each wrap, unwrap, generate and re-wrap, and for each batch of as many as the table says. A call to read
//! the key every five minutes. An unwrap that is refused costs one more, which finds out why. Batches of any
//! length are taken, and cut.
//!
//! # Logging in
//! By token, AppRole, Kubernetes or JWT ([`Auth`]). Renewing is done by the call that finds two thirds of the time
//! over; the other calls go on meanwhile. What cannot be renewed any longer is replaced by a new login; so are
//! batch tokens, which cannot be renewed at all. After a 403 the token is looked up: one that is alive was denied,
//! for one that is not there is one new login and one more try.
//!
//! # Variables
//! [`Config::from_env`] and [`Config::from_environment`] read `VAULT_ADDR`, `VAULT_TOKEN`, `VAULT_NAMESPACE` and `VAULT_CACERT`,
//! and no other `VAULT_*` variable; [`Config::from_environment_with`] the same without the token. A
//! [key URI](crate::backend::kek_uri) reads `VAULT_SECRET_ID` or `VAULT_JWT` too where it logs in with one. `VAULT_SKIP_VERIFY` is not
//! read: certificates are always verified. Without `VAULT_CACERT` the CAs of `SSL_CERT_FILE` and `SSL_CERT_DIR`
//! are trusted if one of them is set, else the system's.
//!
//! # Proxies
//! HTTPS goes by the proxy of `HTTPS_PROXY`, except to what `NO_PROXY` names and to this machine; plain HTTP never does, and
//! `ALL_PROXY` and `HTTP_PROXY` are not followed.
//!
//! # Errors
//! | the server says | kind |
//! |---|---|
//! | 400 to a decrypt or rewrap | `CannotOpen`; or, as the key then reads, `KeyNotFound`, or `KeyDisabled` where it is soft-deleted or `min_decryption_version` is above the version |
//! | 403 with a token that is alive, or is new | `Denied` |
//! | 403 with one that is not, a refused login | `Unauthenticated` |
//! | 404 | `KeyNotFound` |
//! | 429 | `Throttled`, with `Retry-After` where it is sent |
//! | 412, 500, 502, 503, 504, a redirect, no connection, half an answer | `Unavailable` |
//! | no answer by the deadline | `TimedOut` |
//! | a certificate that is not trusted | `Unavailable`, not retryable |
//! | a key of the wrong type or derivation, a namespace that is ignored, 400 in text from a port that speaks TLS | `Configuration` |
//! | anything else, a re-wrap to a lower version, a warning about a call whose parameters bind | `InvalidAnswer` |
//!
//! Nothing is retried here, and no redirect is followed.
//!
//! # Clusters
//! A standby answers by itself or asks the active server, and any address will do. One that is a moment behind does not know
//! a key that was just made, and says so (`KeyNotFound`), except to the client that made it: OpenBao is told how far its
//! storage has to be, and asks the active server where it is not. (Vault is told so as well where it says how far it is; if
//! it refuses to be told, it is asked again without, and not told any more.) While nobody is active, what changes a key or makes a token is
//! `Unavailable`, and wrapping and unwrapping go on at the standbys that can.
//!
//! # What stays in memory
//! DEKs are wiped here, in requests and answers. What the HTTP and TLS libraries copy into buffers of their own is not.

mod admin;
mod batch;
mod client;
mod config;
mod key;
mod map;
mod names;
mod session;
mod transit_key;
pub(in crate::backend) mod uri;
mod wire;

pub use admin::TransitAdmin;
pub use client::Client;
pub use config::{Auth, Config, JwtSource};
pub use key::TransitKey;

use crate::envelope::WrapAlgorithm;

/// The provider name in stanzas.
pub const PROVIDER: &str = "vault-transit";

/// Where the engine usually is.
const MOUNT: &str = "transit";

/// How a DEK is wrapped and bound to its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Wrap algorithm 20: a key that is not derived; the context's digest is wrapped with the DEK.
    Encrypt,
    /// Wrap algorithm 21: a derived key; the server binds the context, and generates the DEKs.
    DataKey,
}

impl Mode {
    /// The wrap algorithm.
    #[must_use]
    pub const fn algorithm(self) -> WrapAlgorithm {
        match self {
            Self::Encrypt => WrapAlgorithm::VAULT_TRANSIT,
            Self::DataKey => WrapAlgorithm::VAULT_TRANSIT_DERIVED,
        }
    }

    /// Returns how many items fit into one call, by the server's limit on the strings of one JSON body. A pinned version
    /// is one field more.
    const fn batch(self, is_pinned: bool) -> usize {
        let fields = match self {
            Self::Encrypt => 1,
            Self::DataKey => 2,
        };
        499 / (fields + is_pinned as usize)
    }

    /// Nonce, what is wrapped, tag.
    const fn ciphertext_len(self) -> usize {
        match self {
            Self::Encrypt => 12 + 64 + 16,
            Self::DataKey => 12 + 32 + 16,
        }
    }
}
