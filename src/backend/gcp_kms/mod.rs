//! Google Cloud KMS: KEKs as symmetric keys in a key ring, in software or in an HSM.
//!
//! ```no_run
//! use waxseal::{EncryptionContext, Sealer};
//! use waxseal::backend::gcp_kms::{Client, Config};
//!
//! # async fn example() -> waxseal::Result<()> {
//! let client = Client::connect(Config::new()).await?;
//! let key = "projects/shop/locations/europe-west3/keyRings/apps/cryptoKeys/orders";
//! let sealer = Sealer::new(client.key(key)?);
//!
//! let context = EncryptionContext::new([("tenant", "acme")])?;
//! let sealed = sealer.seal(b"hello", &context).await?;
//! assert_eq!(sealer.open(&sealed, &context).await?, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Wrapping
//! Wrap algorithm 17: `Encrypt` and `Decrypt` with a key of purpose `ENCRYPT_DECRYPT`. DEKs come from the operating system
//! here. A wrap is bound to its context by the service: `additionalAuthenticatedData` is
//! [`wrap_aad`](crate::key::Request::wrap_aad), a label and a digest, so no context value reaches the service or its logs.
//!
//! Plaintext, ciphertext and AAD are sent with their CRC-32C. An answer is taken only if the service says that it verified
//! them, and if what came agrees with the checksum that came with it. With [`Auth::Anonymous`], which Google's own service
//! refuses, an answer that says neither is taken as well, for emulators; one with a wrong checksum is not.
//!
//! # The KEK
//! Its id is the name of the key, `projects/P/locations/L/keyRings/R/cryptoKeys/K`; its version is the number of the
//! version that the service says it encrypted with. An answer that names another key is refused. A project has an
//! id and a number: use one of them everywhere, since to readers they are two ids. An unwrap asks the *configured*
//! key; the service finds the version in the ciphertext, and does not say which it was.
//!
//! # Permissions
//! For a service that seals and opens, the role `roles/cloudkms.cryptoKeyEncrypterDecrypter` on the key and no wider:
//!
//! ```text
//! gcloud kms keys add-iam-policy-binding orders --location europe-west3 --keyring apps \
//!     --member serviceAccount:shop@shop.iam.gserviceaccount.com \
//!     --role roles/cloudkms.cryptoKeyEncrypterDecrypter
//! ```
//!
//! That is `cloudkms.cryptoKeyVersions.useToEncrypt` and `cloudkms.cryptoKeyVersions.useToDecrypt`. With
//! `cloudkms.cryptoKeys.get` and `cloudkms.cryptoKeyVersions.get` (`roles/cloudkms.viewer`) too, a destroyed version is told from a
//! disabled one where the service's error does not tell.
//!
//! [`GcpAdmin`] needs on the key ring `cloudkms.cryptoKeys.create`, `.get` and `.update`,
//! `cloudkms.cryptoKeyVersions.create`, `.get`, `.list`, `.update` and `.destroy`: `roles/cloudkms.admin` has them, and does not
//! have the right to encrypt or decrypt.
//!
//! # Cost
//! One call for each wrap and each unwrap; there are no batches, no data keys and no re-wraps at the service. A wrap or unwrap that
//! is refused for the state of its version costs one more, which asks for the state.
//!
//! # Credentials
//! [`Auth::ApplicationDefault`] by default, which covers service accounts, workload identity federation, GKE and Compute Engine, and
//! `gcloud`. They are looked for at the first call, and tokens are renewed by Google's client, which asks for one again where
//! that fails for now, within the time of the call.
//!
//! # Errors
//! | the service says | kind |
//! |---|---|
//! | `INVALID_ARGUMENT` to a decrypt | `CannotOpen` |
//! | `FAILED_PRECONDITION` to an encrypt or decrypt | `KeyDisabled`; or `KeyDestroyed`, `KeyPendingDestruction` or `KeyNotReady`, as its details or the version's state say |
//! | `PERMISSION_DENIED` | `Denied` |
//! | `UNAUTHENTICATED`, or no token to be had | `Unauthenticated` |
//! | `NOT_FOUND` | `KeyNotFound` |
//! | `RESOURCE_EXHAUSTED`, 429 | `Throttled`, with what `Retry-After` or the details ask for |
//! | `UNAVAILABLE`, `INTERNAL`, `ABORTED`, `CANCELLED`, `DATA_LOSS`, another 5xx, a redirect, no connection, half an answer, no token for now | `Unavailable` |
//! | `DEADLINE_EXCEEDED`, no answer by the deadline | `TimedOut` |
//! | a certificate that is not trusted | `Unavailable`, not retryable |
//! | a checksum that is missing or wrong, an answer that is not JSON | `InvalidAnswer`, retryable |
//! | another key's name, an answer that is not the service's | `InvalidAnswer` |
//! | `INVALID_ARGUMENT`, `ALREADY_EXISTS`, `OUT_OF_RANGE` to another call, `FAILED_PRECONDITION` to administration | `InvalidArgument` |
//!
//! No call to the service is retried here, and no redirect of it is followed. Errors carry codes and no text of the service.
//!
//! # TLS
//! The CAs of `SSL_CERT_FILE` and `SSL_CERT_DIR` are trusted if one of them is set, else the system's.
//!
//! # Proxies
//! HTTPS goes by the proxy of `HTTPS_PROXY`, except to what `NO_PROXY` names and to this machine; plain HTTP never does, and
//! `ALL_PROXY` and `HTTP_PROXY` are not followed. What gives tokens is asked by Google's own client, which does follow these two.
//!
//! # What stays in memory
//! DEKs are wiped here, before and after a call. What Google's client copies into JSON, and the HTTP and TLS libraries into buffers,
//! is not.

mod admin;
mod client;
mod config;
mod credentials;
mod key;
mod map;
mod names;
mod rotate;
mod transport;
pub(in crate::backend) mod uri;

pub use admin::GcpAdmin;
pub use client::Client;
pub use config::{Auth, Config};
pub use key::GcpKey;

/// The provider name in stanzas.
pub const PROVIDER: &str = "gcp-kms";
