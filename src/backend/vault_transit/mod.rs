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
//! | bound to the context | by that digest, which this crate compares | by the server: `context` is the base64 of [`wrap_aad`](crate::key::Request::wrap_aad), so each context has a separate key |
//! | items of one batch call; with a pinned version | 499; 249 | 249; 166 |
//!
//! A key of another type or derivation is refused before anything is wrapped: on a key that is not derived, the server silently ignores
//! `context`. The key is read before the first call, and again every five minutes. An envelope never chooses the key or the mode.
//!
//! # The KEK
//! Its id is `MOUNT/keys/NAME`, after the namespace and a slash if there is a namespace. Its version is the number N in the
//! `vault:vN:…` text that is stored as the wrapped DEK. The version beside the text in a stanza is a claim that is not compared: an unwrap
//! reports the N of the text. Another text that decodes to the same bytes is refused.
//!
//! *Pinned versions.* A manager that is [pinned](crate::key::KeyManager::pinned_to) to a version sends the version as `key_version` with
//! every encrypt and rewrap. With [`Mode::DataKey`] the DEK then comes from the operating system, because the server generates data keys
//! under the newest version only. An answer of another version is refused.
//!
//! *Namespaces.* A server without namespaces, such as the community edition of Vault, silently ignores the header and uses the key of
//! the root. So a client with a namespace reads the key once more before anything is wrapped, in a namespace that does not exist: if the
//! server answers, the error is `Configuration`.
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
//! Do not add `create`: with it, an encryption under a name without a key makes a key of that name. (Set `disable_upsert` in
//! `transit/config/keys` to turn that off for the mount.) The token also needs the policy `default`, or `read` on
//! `auth/token/lookup-self` and `update` on `auth/token/renew-self`. Without `lookup-self`, a denied call counts as a call with an expired
//! token.
//!
//! [`TransitAdmin`] needs `create`, `read` and `update` on `transit/keys/NAME`, `update` on `…/rotate`, `…/config` and
//! `…/soft-delete-restore`, and `delete` on `…/soft-delete`.
//!
//! # Cost
//! Each wrap, unwrap, generate and re-wrap is one call, and so is each batch of the size in the table; longer batches are cut. Reading
//! the key costs one call every five minutes. If an unwrap is refused, one more call finds out why, once for an envelope and only if its
//! budget has a call that no other wrap of the envelope needs.
//!
//! # Logging in
//! By token, AppRole, Kubernetes or JWT ([`Auth`]). The call that finds two thirds of a token's time over renews the token; other calls
//! go on meanwhile. A token that cannot be renewed (anymore), such as a batch token, is replaced by a new login. After a 403 the token
//! is looked up: if it is alive, the call was denied; if not, the client logs in once and tries once more.
//!
//! # Variables
//! [`Config::from_env`] and [`Config::from_environment`] read `VAULT_ADDR`, `VAULT_TOKEN`, `VAULT_NAMESPACE` and `VAULT_CACERT`,
//! and no other `VAULT_*` variable; [`Config::from_environment_with`] the same without the token. A
//! [key URI](crate::backend::kek_uri) also reads `VAULT_SECRET_ID` or `VAULT_JWT` if it logs in with one. `VAULT_SKIP_VERIFY` is not
//! read: certificates are always verified. Without `VAULT_CACERT` the client trusts the CAs of `SSL_CERT_FILE` and `SSL_CERT_DIR` if one of
//! them is set, else the system's CAs.
//!
//! # Proxies
//! HTTPS uses the proxy of `HTTPS_PROXY`, except to the hosts of `NO_PROXY` and to this machine. Plain HTTP never uses a proxy, and
//! `ALL_PROXY` and `HTTP_PROXY` are ignored.
//!
//! # Errors
//! | the server says | kind |
//! |---|---|
//! | 400 to a decrypt or rewrap | `CannotOpen`; or, as the key then reads, `KeyNotFound`, or `KeyDisabled` if the key is soft-deleted or `min_decryption_version` is above the version |
//! | 403 with a token that is alive, or is new | `Denied` |
//! | 403 with another token, a refused login | `Unauthenticated` |
//! | 404 | `KeyNotFound` |
//! | 429 | `Throttled`, with `Retry-After` if it is sent |
//! | 412, 500, 502, 503, 504, a redirect, no connection, half an answer | `Unavailable` |
//! | no answer by the deadline | `TimedOut` |
//! | a certificate that is not trusted | `Unavailable`, not retryable |
//! | a key of the wrong type or derivation, a namespace that is ignored, 400 in text from a port that speaks TLS | `Configuration` |
//! | anything else, a re-wrap to a lower version, a warning about a call whose parameters bind | `InvalidAnswer` |
//!
//! This backend does not retry calls, and follows no redirect.
//!
//! # Clusters
//! A standby answers or asks the active server, so any address works. A standby that is a moment behind does not know a key that was just
//! made, and answers `KeyNotFound`, except to the client that made the key: the client tells OpenBao how far its storage must be, and a
//! standby that is behind asks the active server. (The client tells Vault the same if Vault reports how far it is. If Vault refuses the
//! header, the client asks again without it, and does not send it anymore.) If no server is active, changing a key and making a token
//! are `Unavailable`; wrapping and unwrapping go on at the standbys that can.
//!
//! # What stays in memory
//! This crate wipes DEKs in requests and answers. Copies in the buffers of the HTTP and TLS libraries are not wiped.

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
