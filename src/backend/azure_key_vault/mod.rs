//! Azure Key Vault and Managed HSM: KEKs are RSA keys, or symmetric keys in a managed HSM.
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
//! This crate generates the DEKs. The service has no input that binds a wrap to a context, so the DEK is wrapped together with the
//! context's digest, 64 bytes in all, and this crate compares the digest. No context value reaches the service.
//!
//! # The KEK
//! Its id is `https://HOST/keys/NAME`, and its version is the part of `kid` after the name. *Every call names a version*: the answer
//! must name the same version, and the stanza records it. If the configuration names no version, the vault is asked for the current
//! version at the first wrap, and then every [`Config::with_refresh`]. If that fails for a reason that may pass, the version before is
//! used. If that version is disabled and a new version exists, the next wrap asks immediately.
//!
//! *A version that is disabled, has expired or is not valid yet does not wrap*, because the service is reported to wrap under such a
//! version and then to refuse to unwrap. The attributes of the version decide, and they are at most as old as [`Config::with_refresh`]. If the
//! vault does not answer, they may be twice as old (but a minute at least); after that, nothing is wrapped. So a version that was disabled
//! may go on wrapping for that time. A pinned version is read as often. Without the right to read the version, the service decides.
//!
//! An unwrap asks the *configured* vault for the *configured* key, and takes only the version from the stanza. If the writer hid the
//! version with the id, the current version is tried, then the others. Each of them is a call of the envelope's budget
//! ([`BACKEND_CALLS`](crate::value::limits::BACKEND_CALLS)); the versions are listed once for an envelope. Nothing that an answer names
//! leads to another host: every call goes to the configured host.
//!
//! The host in the id is the host in `kid`, which is the vault's own name. In Azure's own domains this must be the configured host.
//! Elsewhere (a proxy, an emulator) the first answer shows the name. Until then, a stanza of a key of the same name counts as one of
//! this key, and is refused with `NoUsableKey` after the answer has shown that it is not.
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
//! `read` (`get`) is needed if no version is pinned, to refuse to wrap under a version that is out of use, to find versions that the
//! writer hid (with `list`), and to distinguish a disabled key from a denied caller if the service's error does not.
//!
//! [`AzureAdmin`] needs `get`, `list`, `create`, `rotate`, `update` and `delete` on keys: the role *Key Vault Crypto Officer*
//! (*Managed HSM Crypto Officer*), which for a vault has the right to wrap and unwrap, too. A role without it has the data
//! actions `Microsoft.KeyVault/vaults/keys/` `read`, `create/action`, `rotate/action`, `update/action` and `delete`.
//!
//! # Cost
//! Each wrap and each unwrap is one call, also in a batch. The service has no data keys and no re-wrap. The current version costs one
//! call every [`Config::with_refresh`]. A client makes its first call twice, first without token and body: the vault's answer names
//! the token that it wants. If a wrap or unwrap is denied without a reason, one more call asks for the state of the key.
//!
//! # Credentials
//! [`Auth`] is a workload identity, a managed identity, a client secret or developer tools; [`Auth::from_environment`] chooses by the
//! environment. Microsoft's client gets the tokens, and renews a token five minutes before its end. One request for a token serves all
//! calls that wait for it, and goes on if the caller that began it gives up. If the vault refuses a token earlier, a new
//! token is asked for, and the call is made again, once.
//!
//! A token is asked for and sent only if the challenge names a domain of the vault's host (`vault.azure.net`). For an address outside
//! Azure's domains, [`Config::without_challenge_check`] turns this check off and logs a warning.
//!
//! # Errors
//! | the service says | kind |
//! |---|---|
//! | 400 to an unwrap | `CannotOpen` |
//! | 400 to a wrap, a key of the wrong type or without the operation `unwrapKey`, a challenge for another host | `Configuration` |
//! | 400 or 409 to another call, except 409 to a read | `InvalidArgument` |
//! | 401 to a fresh token, no token for these credentials | `Unauthenticated` |
//! | 403 with `KeyDisabled`, `KeyExpired` or `KeyNotYetValid`, or if the key then reads as disabled, expired or not yet valid; a wrap under a version that read like that before | `KeyDisabled` |
//! | 403 | `Denied` |
//! | 404 | `KeyNotFound` |
//! | 429, of vault or Entra ID | `Throttled`, with `Retry-After` if it is sent |
//! | 409 to a wrap, unwrap or read, 5xx, a redirect, no connection, half an answer, no token for now | `Unavailable` |
//! | 408, 504, no answer by the deadline | `TimedOut` |
//! | a certificate that is not trusted | `Unavailable`, not retryable |
//! | another key's or version's `kid`, no wrap, an answer that is too long | `InvalidAnswer` |
//! | an answer that is not the service's | `InvalidAnswer`, retryable |
//!
//! This backend does not retry calls to the vault, and follows no redirect. Microsoft's client asks the metadata service of a machine
//! again if that answers with 404, 410, 429 or 5xx, within the time of the call. Errors contain codes, and no text of the service.
//!
//! # What stays in memory
//! This crate wipes DEKs in requests, answers and their JSON. Copies in the buffers of Microsoft's client and of the HTTP and TLS
//! libraries are not wiped.
//!
//! # Proxies
//! HTTPS uses the proxy of `HTTPS_PROXY`, except to the hosts of `NO_PROXY` and to this machine. Plain HTTP never uses a proxy, and
//! `ALL_PROXY` and `HTTP_PROXY` are ignored. The same holds for Entra ID. Managed
//! identity is asked without a proxy. Developer tools follow their own rules.

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
