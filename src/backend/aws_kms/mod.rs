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
//! A [`Client`] is one region of one account: credentials, connections, timeouts. [`AwsKey`] is one KEK, cheap to
//! make from it, and [`AwsAdmin`] makes, rotates and ends KEKs, meant for other credentials. Region and credentials
//! come from where every AWS program looks for them: the `AWS_*` variables, the shared configuration files and
//! their profiles (with `role_arn`), web identity (IRSA), the container and the instance role. Profiles that sign
//! on by SSO or by an outside process are not compiled in.
//!
//! # What is recorded
//! The KEK's id in a stanza is the key's ARN as AWS answered it, even where an alias or an id was configured. Its
//! version is the id of the key material where the answer has one (`GenerateDataKey`, `ReEncrypt`, `Decrypt`), and
//! empty where not (`Encrypt`): AWS finds the material of a ciphertext by itself. Nothing in a stanza is followed;
//! each call names the configured key, and the key that AWS says it used is checked.
//!
//! An alias is resolved by `DescribeKey` when it is first needed, and again every five minutes
//! ([`Config::with_refresh`]). While that fails for a reason that may pass, what it stood for before is used. Once
//! it has moved, what was wrapped under its former target opens where that is named by [`AwsKey::also_opening`]:
//! name it before the alias is moved.
//!
//! A multi-region key (`mrk-…`) is the same key in each of its regions: a wrap made in one opens in another.
//!
//! # What a wrap is bound to
//! | [`ContextForm`] | wrap algorithm | `EncryptionContext` that AWS gets |
//! |---|---|---|
//! | `Pairs` (default) | 16 | the context's pairs, none for the empty context; seen in CloudTrail, usable in policies |
//! | `Digest` | 22 | `waxseal-context`: base64url of the 32 bytes that the wrap is bound to |
//!
//! AWS authenticates it beside the DEK and demands an exact match. Without pairs that is a match too: a wrap of the
//! empty context opens in the empty context only. Pairs cannot say to which share of a DEK a
//! wrap belongs, and the key `waxseal-context` would look like the other form: with `Pairs`, wrapping for either is
//! refused as `Unsupported` before any call. An empty value is sent as it is.
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
//! There are no batches. The SDK's retries are off. Where `ReEncrypt` is not known at the endpoint, a re-wrap is a
//! `Decrypt` and a wrap.
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
//! What only seals needs `kms:GenerateDataKey`, what only opens `kms:Decrypt`; both `kms:DescribeKey` under an
//! alias, and to tell what a key's state is if that does not allow a call. With `Pairs`, a condition such as `"StringEquals": {"kms:EncryptionContext:tenant": "acme"}` ties a role
//! to a tenant.
//!
//! For [`AwsAdmin`], and for no application that seals:
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
//! | an answer that is none, or about another key | `InvalidAnswer` |
//!
//! # TLS
//! The CAs of `AWS_CA_BUNDLE` are trusted if it is set, else those of `SSL_CERT_FILE` and `SSL_CERT_DIR` if one of them is
//! set, else the system's.
//!
//! # Proxies
//! HTTPS goes by the proxy of `HTTPS_PROXY`, except to what `NO_PROXY` names and to this machine; plain HTTP never does, and
//! `ALL_PROXY` and `HTTP_PROXY` are not followed. This holds for the services that give
//! credentials, too.
//!
//! # What stays in memory
//! DEKs that come from AWS are wiped here. The SDK and the TLS library keep copies of a request or answer in
//! buffers that nobody wipes, and free them after the call. No level of the SDK's log shows a DEK, unless the variable
//! `LOG_SENSITIVE_BODIES` is `true`, which has it print whole answers at `TRACE`: never set it.

mod admin;
mod bind;
mod client;
mod config;
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
