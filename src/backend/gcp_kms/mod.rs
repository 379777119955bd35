//! Google Cloud KMS: KEKs are symmetric keys in a key ring, in software or in an HSM.
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
//! Wrap algorithm 17: `Encrypt` and `Decrypt` with a key of purpose `ENCRYPT_DECRYPT`. This crate generates the DEKs. The service binds
//! a wrap to its context: `additionalAuthenticatedData` is [`wrap_aad`](crate::key::Request::wrap_aad), a label and a digest. So no
//! context value reaches the service or its logs.
//!
//! Plaintext, ciphertext and AAD are sent with their CRC-32C. An answer is accepted only if it reports that the service verified these
//! checksums, and if its bytes agree with its own checksum. With [`Auth::Anonymous`], which Google's own service refuses, an answer
//! without checksums is accepted too, for emulators; an answer with a wrong checksum is refused.
//!
//! # The KEK
//! Its id is the name of the key, `projects/P/locations/L/keyRings/R/cryptoKeys/K`, and its version is the number of the version that
//! the service reports for an encryption. An answer that names another key is refused. A project has an id and a number: use one of
//! them everywhere, because readers see two ids. An unwrap asks the *configured* key. The service finds the version in the
//! ciphertext, and does not report it: so answers do not prove versions, and a successor that must be told apart is another key.
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
//! `cloudkms.cryptoKeys.get` and `cloudkms.cryptoKeyVersions.get` (`roles/cloudkms.viewer`) too, this crate distinguishes a destroyed
//! version from a disabled version if the service's error does not.
//!
//! [`GcpAdmin`] needs on the key ring `cloudkms.cryptoKeys.create`, `.get` and `.update`,
//! `cloudkms.cryptoKeyVersions.create`, `.get`, `.list`, `.update` and `.destroy`: `roles/cloudkms.admin` has them, and does not
//! have the right to encrypt or decrypt.
//!
//! # Cost
//! Each wrap and each unwrap is one call. The service has no batches, no data keys and no re-wrap. If a wrap or unwrap is refused for
//! the state of its version, one more call asks for the state.
//!
//! # Credentials
//! [`Auth::ApplicationDefault`] by default, which covers service accounts, workload identity federation, GKE and Compute Engine, and
//! `gcloud`. The first call looks for them. Google's client renews tokens, and asks again if that fails for a reason that may pass,
//! within the time of the call.
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
//! This backend does not retry calls, and follows no redirect. Errors contain codes, and no text of the service.
//!
//! # TLS
//! The CAs of `SSL_CERT_FILE` and `SSL_CERT_DIR` are trusted if one of them is set, else the system's.
//!
//! # Proxies
//! HTTPS uses the proxy of `HTTPS_PROXY`, except to the hosts of `NO_PROXY` and to this machine. Plain HTTP never uses a proxy, and
//! `ALL_PROXY` and `HTTP_PROXY` are ignored. Google's own client gets the tokens, and follows these two variables.
//!
//! # What stays in memory
//! This crate wipes DEKs before and after a call. Copies in the JSON of Google's client and in the buffers of the HTTP and TLS libraries
//! are not wiped.

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
