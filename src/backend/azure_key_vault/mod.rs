//! Azure Key Vault and Managed HSM: KEKs as RSA keys, or in a managed HSM as symmetric ones.
//!
//! ```no_run
//! use waxseal::{EncryptionContext, Sealer};
//! use waxseal::backend::azure_key_vault::{Client, Config};
//!
//! # async fn example() -> waxseal::Result<()> {
//! let client = Client::connect(Config::from_env("https://shop.vault.azure.net")?).await?;
//! let sealer = Sealer::new(client.key("orders")?);
//!
//! let context = EncryptionContext::new([("tenant", "acme")])?;
//! let sealed = sealer.seal(b"hello", &context).await?;
//! assert_eq!(sealer.open(&sealed, &context).await?, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Wrapping
//! | | [`Algorithm::RsaOaep256`] | [`Algorithm::A256Kw`] |
//! |---|---|---|
//! | wrap algorithm | 18 | 19 |
//! | key | RSA of 2048 bits or more, in a vault or a managed HSM | 256 bits, symmetric, in a managed HSM |
//! | call | `wrapkey`, `unwrapkey` with `RSA-OAEP-256` | the same with `A256KW` |
//! | a wrap is | as long as the modulus | 72 bytes; equal for equal DEK and context |
//! | anyone with the public key can wrap | yes | no |
//!
//! DEKs come from the operating system here. The service has no input to bind a wrap to a context by, so what is wrapped is
//! the DEK and the context's digest, 64 bytes, and the digest is compared here. No context value reaches the service.
//!
//! # The KEK
//! Its id is `https://HOST/keys/NAME`, its version what follows the name in `kid`. *The version is always pinned*: a
//! call names one, the answer must name the same, and it is what the stanza records. Without a version in the configuration
//! the vault is asked which is current, at the first wrap and then every [`Config::with_refresh`]; while that fails for a
//! reason that may pass, the one before is used. Once it has a new version and the old one is disabled, the next wrap asks at
//! once.
//!
//! *A version that is disabled, has expired or is not valid yet does not wrap*, whatever the service would do: it is reported
//! to wrap under such a version and to refuse to unwrap. The attributes that come with the answer decide, as old as
//! [`Config::with_refresh`] allows; while the vault does not answer, at most twice as old (or a minute), and then nothing is wrapped. A version
//! that is disabled may so go on wrapping for that long. A pinned version is read as often; without the right to read it, the service decides.
//!
//! An unwrap asks the *configured* vault for the *configured* key; of the stanza it takes the version alone. Where the writer
//! hid the version with the id, the current version is tried, then the others, each a call of the envelope's budget
//! ([`BACKEND_CALLS`](crate::value::limits::BACKEND_CALLS)); they are listed once for an envelope. Nothing that an answer names leads elsewhere either: every
//! call goes to the configured host.
//!
//! The host in the id is the one in `kid`, the vault's own name. Below Azure's own domains it must be the configured one.
//! Elsewhere (a proxy, an emulator) it is learnt from the first answer; until then a stanza of a key of that name is taken
//! for ours, and refused with `NoUsableKey` once the answer shows that it is not.
//!
//! # Permissions
//! For a service that seals and opens, the role *Key Vault Crypto Service Encryption User* on the key and no wider:
//!
//! ```text
//! az role assignment create --role "Key Vault Crypto Service Encryption User" \
//!     --assignee-object-id "$PRINCIPAL" --assignee-principal-type ServicePrincipal \
//!     --scope "$(az keyvault show --name shop --query id --output tsv)/keys/orders"
//! ```
//!
//! That is the data actions `Microsoft.KeyVault/vaults/keys/read`, `…/wrap/action` and `…/unwrap/action`. On a managed HSM the
//! same is `az keyvault role assignment create --hsm-name shop --role "Managed HSM Crypto Service Encryption User"
//! --assignee "$PRINCIPAL" --scope /keys/orders`. In a vault with access policies instead of roles:
//! `az keyvault set-policy --name shop --object-id "$PRINCIPAL" --key-permissions get wrapKey unwrapKey`.
//!
//! `read` (`get`) is needed where no version is pinned, to refuse to wrap under a version that is out of use, to find versions that the writer hid (with `list`), and to tell a
//! disabled key from a denied caller where the service's error does not.
//!
//! [`AzureAdmin`] needs `get`, `list`, `create`, `rotate`, `update` and `delete` on keys: the role *Key Vault Crypto Officer*
//! (*Managed HSM Crypto Officer*), which for a vault has the right to wrap and unwrap, too. A role without it has the data
//! actions `Microsoft.KeyVault/vaults/keys/` `read`, `create/action`, `rotate/action`, `update/action` and `delete`.
//!
//! # Cost
//! One call for each wrap and each unwrap; batches are made of single calls; there are no data keys and no re-wraps at
//! the service. One call every [`Config::with_refresh`] for the current version. A client's first call is made twice, first without token
//! and body: the vault answers whose token it wants. A wrap or unwrap that is denied without saying why costs one more, which
//! asks for the key's state.
//!
//! # Credentials
//! [`Auth`]: workload identity, managed identity, a client secret, developer tools; [`Auth::from_environment`] for the one that
//! the environment says. Tokens are got by Microsoft's client and renewed five minutes before their end. Where the vault
//! refuses one before, it is asked for anew and the call made again, once.
//!
//! A token is asked for and shown only where the challenge names a host that the vault is below (`vault.azure.net`). For an
//! address outside Azure's domains [`Config::without_challenge_check`] turns that off, and a warning is logged.
//!
//! # Errors
//! | the service says | kind |
//! |---|---|
//! | 400 to an unwrap | `CannotOpen` |
//! | 400 to a wrap, a key of the wrong type or without the operation `unwrapKey`, a challenge for another host | `Configuration` |
//! | 400 or 409 to another call, except 409 to a read | `InvalidArgument` |
//! | 401 to a fresh token, no token for these credentials | `Unauthenticated` |
//! | 403 with `KeyDisabled`, `KeyExpired` or `KeyNotYetValid`, or where the key then reads as disabled, over or not yet valid; a wrap where it read so before | `KeyDisabled` |
//! | 403 | `Denied` |
//! | 404 | `KeyNotFound` |
//! | 429, of vault or Entra ID | `Throttled`, with `Retry-After` where it is sent |
//! | 409 to a wrap, unwrap or read, 5xx, a redirect, no connection, half an answer, no token for now | `Unavailable` |
//! | 408, 504, no answer by the deadline | `TimedOut` |
//! | a certificate that is not trusted | `Unavailable`, not retryable |
//! | another key's or version's `kid`, no wrap, an answer that is too long | `InvalidAnswer` |
//! | an answer that is not the service's | `InvalidAnswer`, retryable |
//!
//! No call to the vault is retried here, and no redirect is followed. The one exception is not ours: the metadata service of a
//! machine is asked again by Microsoft's client while it answers with 404, 410, 429 or 5xx, within the time of the call. Errors
//! carry codes and no text of the service.
//!
//! # What stays in memory
//! DEKs are wiped here: in requests, answers and their JSON. What Microsoft's client copies on the way, and the HTTP
//! and TLS libraries into buffers of their own, is not.
//!
//! # Proxies
//! HTTPS goes by the proxy of `HTTPS_PROXY`, except to what `NO_PROXY` names and to this machine; plain HTTP never does, and
//! `ALL_PROXY` and `HTTP_PROXY` are not followed. This holds for Entra ID, too. Managed identity is
//! asked without a proxy; developer tools follow rules of their own.

mod admin;
mod client;
mod config;
mod credentials;
mod key;
mod map;
mod names;
mod resolve;
mod rotate;
mod times;
mod transport;
pub(in crate::backend) mod uri;
mod versions;

pub use admin::AzureAdmin;
pub use client::Client;
pub use config::{Auth, Config};
pub use key::AzureKey;

use crate::envelope::WrapAlgorithm;

/// The provider name in stanzas.
pub const PROVIDER: &str = "azure-key-vault";

/// What the vault wraps with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Wrap algorithm 18: an RSA key of 2048 bits or more, in a vault or a managed HSM.
    #[default]
    RsaOaep256,
    /// Wrap algorithm 19: a symmetric key of 256 bits, which only a managed HSM has.
    A256Kw,
}

impl Algorithm {
    /// The wrap algorithm.
    #[must_use]
    pub const fn wrap_algorithm(self) -> WrapAlgorithm {
        match self {
            Self::RsaOaep256 => WrapAlgorithm::AZURE_RSA_OAEP_256,
            Self::A256Kw => WrapAlgorithm::AZURE_A256KW,
        }
    }

    /// As the service calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::A256Kw => "A256KW",
        }
    }
}
