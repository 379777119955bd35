//! KEKs in AWS KMS (feature `aws-kms`).
//!
//! ```no_run
//! use waxseal::{EncryptionContext, Sealer, backend::aws_kms::{Client, Config}};
//!
//! # async fn example() -> waxseal::Result<()> {
//! let client = Client::connect(Config::new()).await?;
//! let sealer = Sealer::new(client.key("alias/payments")?);
//! let context = EncryptionContext::new([("tenant", "acme")])?;
//! let sealed = sealer.seal(b"hello", &context).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is one region of one account: credentials, connections, timeouts. An [`AwsKey`] is one KEK, and cheap to make from the
//! client. An [`AwsAdmin`] creates, rotates and destroys KEKs; give it other credentials. Region and credentials come from the places
//! where every AWS program looks for them: the `AWS_*` variables, the shared configuration files and their profiles (with `role_arn`),
//! web identity (IRSA), the container and the instance role. Profiles that sign on by SSO or by another process are not supported.
//!
//! # What is recorded
//! The KEK's id in a stanza is the ARN of the key in AWS's answer, even if an alias or an id was configured. Its version is the id of
//! the key material if the answer has one (`GenerateDataKey`, `ReEncrypt`, `Decrypt`), and empty if not (`Encrypt`): AWS finds the
//! material of a ciphertext. So answers do not prove versions, and a successor that must be told apart is another key. Nothing in a
//! stanza is followed: each call names the configured key, and this crate checks the key in AWS's answer.
//!
//! An alias is resolved by `DescribeKey` when it is first needed, and again every five minutes ([`Config::with_refresh`]). If that
//! fails for a reason that may pass, the key that was found before is used. After an alias has moved, wraps under its former target
//! open only if [`AwsKey::also_opening`] names that target: name it before the alias moves. A manager that is
//! [pinned](crate::key::KeyManager::pinned_to) to a key does not follow the alias anymore.
//!
//! A multi-region key (`mrk-…`) is the same key in each of its regions: a wrap made in one opens in another.
//!
//! # What a wrap is bound to
//! | [`ContextForm`] | wrap algorithm | `EncryptionContext` that AWS gets |
//! |---|---|---|
//! | `Pairs` (default) | 16 | the context's pairs, none for the empty context; seen in CloudTrail, usable in policies |
//! | `Digest` | 22 | `waxseal-context`: base64url of the 32 bytes that the wrap is bound to |
//!
//! AWS authenticates the context together with the DEK, and demands an exact match, also for no pairs: a wrap of the empty context opens
//! only in the empty context. Pairs cannot name the share of a DEK that a wrap is for, and the key `waxseal-context` would look like
//! the other form: with `Pairs`, both are `Unsupported` before any call. An empty value is sent as it is.
//!
//! # Calls
//! | what | calls |
//! |---|---|
//! | sealing under a fresh DEK | 1 `GenerateDataKey` |
//! | opening | 1 `Decrypt`; with a hidden id, one for each configured key until one opens |
//! | re-wrapping inside AWS | 1 `ReEncrypt` |
//! | wrapping a DEK from elsewhere | 1 `Encrypt` |
//! | an alias | 1 `DescribeKey` every five minutes |
//!
//! There are no batches. The SDK's retries are off. If the endpoint does not know `ReEncrypt`, a re-wrap is a `Decrypt` and a wrap.
//!
//! # Permissions
//! For [`AwsKey`]:
//!
//! ```json
//! {
//!   "Version": "2012-10-17",
//!   "Statement": [{
//!     "Effect": "Allow",
//!     "Action": ["kms:GenerateDataKey", "kms:Encrypt", "kms:Decrypt",
//!                "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:DescribeKey"],
//!     "Resource": "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
//!   }]
//! }
//! ```
//!
//! A program that only seals needs `kms:GenerateDataKey`; a program that only opens needs `kms:Decrypt`. Both need `kms:DescribeKey`
//! with an alias, and to report the state of a key that does not allow a call. With `Pairs`, a condition such as `"StringEquals": {"kms:EncryptionContext:tenant": "acme"}` ties a role
//! to a tenant.
//!
//! For [`AwsAdmin`], and not for an application that seals:
//!
//! ```json
//! {
//!   "Version": "2012-10-17",
//!   "Statement": [{
//!     "Effect": "Allow",
//!     "Action": ["kms:CreateKey", "kms:CreateAlias", "kms:TagResource", "kms:ListKeys", "kms:ListResourceTags",
//!                "kms:DescribeKey", "kms:RotateKeyOnDemand", "kms:GetKeyRotationStatus", "kms:ListKeyRotations",
//!                "kms:DisableKey", "kms:EnableKey", "kms:ScheduleKeyDeletion"],
//!     "Resource": "*"
//!   }]
//! }
//! ```
//!
//! # Errors
//! | AWS says | kind |
//! |---|---|
//! | `InvalidCiphertextException`, `IncorrectKeyException` | `CannotOpen` |
//! | `AccessDeniedException` | `Denied` |
//! | signature, token or access key not accepted; no credentials found | `Unauthenticated` |
//! | `NotFoundException` | `KeyNotFound` |
//! | `DisabledException` | `KeyDisabled` |
//! | `KMSInvalidStateException` | as the key then describes itself: `KeyPendingDestruction`, `KeyDisabled`, `Unavailable` if its key store is away; else `KeyNotReady` |
//! | `ThrottlingException` and the like, HTTP 429 | `Throttled` |
//! | `KMSInternalException`, `KeyUnavailableException`, `DependencyTimeoutException`, another HTTP 5xx, no connection | `Unavailable` |
//! | no answer in time | `TimedOut` |
//! | `ValidationException` | `InvalidArgument` |
//! | `UnsupportedOperationException`, `UnknownOperationException`, HTTP 501 | `Unsupported` |
//! | a key of another kind or region, a bad ARN or grant token | `Configuration` |
//! | an answer that is not AWS's, or about another key | `InvalidAnswer` |
//!
//! # Endpoint
//! [`Config::with_endpoint`] names the service's address; else `AWS_ENDPOINT_URL_KMS`, `AWS_ENDPOINT_URL` and the profile's
//! `endpoint_url` do, as for every AWS program. Each is `https://HOST[:PORT][/PATH]`, without credentials; `http://` to another
//! machine is logged as a warning.
//!
//! # TLS
//! The client trusts the CAs of `AWS_CA_BUNDLE` if it is set, else the CAs of `SSL_CERT_FILE` and `SSL_CERT_DIR` if one of them is set,
//! else the system's CAs.
//!
//! # Proxies
//! HTTPS uses the proxy of `HTTPS_PROXY`, except to the hosts of `NO_PROXY` and to this machine. Plain HTTP never uses a proxy, and
//! `ALL_PROXY` and `HTTP_PROXY` are ignored. This holds for the services that give
//! credentials, too.
//!
//! # What stays in memory
//! This crate wipes the DEKs that come from AWS. The SDK and the TLS library keep copies of a request or answer in buffers that nobody
//! wipes, and free them after the call. The SDK's log shows no DEK at any level, unless the variable `LOG_SENSITIVE_BODIES` is `true`:
//! then the SDK logs whole answers at `TRACE`. Never set it.

mod admin;
mod bind;
mod client;
mod config;
mod credentials;
mod http;
mod key;
mod map;
mod names;
mod once;
mod resolve;
pub(in crate::backend) mod uri;

pub use admin::{AwsAdmin, RotationStatus};
pub use bind::ContextForm;
pub use client::Client;
pub use config::Config;
pub use key::AwsKey;

/// The provider name in stanzas.
const PROVIDER: &str = "aws-kms";
