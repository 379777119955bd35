//! What each kind of error means, who is to blame, and what to do.
//!
//! Every function that can fail returns an [`Error`](crate::Error). Decide by [`kind`](crate::Error::kind) and
//! [`is_retryable`](crate::Error::is_retryable), never by text. An error prints no plaintext, no key, no passphrase and no context
//! value, so you can log it. It may name KEK ids, hosts, files and variables. A cause (`source`) is another library's text, and
//! only prints if you ask for it.
//!
//! ```
//! use waxseal::{Error, ErrorKind};
//!
//! /// What a reader of rows does with an error.
//! enum Then { Retry, SkipAndReport, Stop }
//!
//! fn decide(error: &Error) -> Then {
//!     match error.kind() {
//!         _ if error.is_retryable() => Then::Retry, // after error.retry_after(), if it is there
//!         ErrorKind::CannotOpen | ErrorKind::ContextMismatch | ErrorKind::Malformed { .. } => Then::SkipAndReport,
//!         _ => Then::Stop,
//!     }
//! }
//! # assert!(matches!(decide(&Error::new(ErrorKind::Throttled)), Then::Retry));
//! # assert!(matches!(decide(&Error::new(ErrorKind::Denied)), Then::Stop));
//! ```
//!
//! `KeyRetired`, `PolicyRefused`, `Store` and `Audit` are for sources and layers that stand on this crate. Nothing in this crate returns
//! them yet.
//!
//! # The bytes
//! Found without any key, before any key manager is called. Trying again does not help.
//!
//! | kind | means | do |
//! |---|---|---|
//! | `Malformed` | not an envelope, or a damaged one; the error names the field and its offset | look at how it was stored: cut off, a text encoding, another column |
//! | `UnsupportedVersion` | a later version of the format made it | update this crate in readers first, then in writers |
//! | `Unsupported` | well formed, but this version or this call does not do it (an unknown suite, several keys needed, detached without a store) | use what does |
//! | `OverLimit` | a length, count or cost outside of the [limits](crate::value::limits) | from an envelope: treat as `Malformed`; from a call: pass less |
//!
//! # The cryptography
//!
//! | kind | means | do |
//! |---|---|---|
//! | `CannotOpen` | it does not open; the message is one of two, [see below](#why-it-does-not-open) | check that reader and writer build context and AAD alike; then take it for tampering |
//! | `ContextMismatch` | the context stored in the envelope is not the caller's | the row is in the wrong place, or the caller in the wrong tenant |
//! | `Entropy` | the operating system returned no randomness; nothing was sealed | stop: a machine in that state must not make keys |
//!
//! # The wraps
//!
//! | kind | means | do |
//! |---|---|---|
//! | `NoUsableKey` | none of its KEKs is configured here; [`attempts`](crate::Error::attempts) names them | add the KEK with `open_with`, or re-wrap where the KEK is known |
//! | `NoRoom` | the new wraps are longer than the room for them, so they cannot be written [in place](crate::in_place) | write the whole envelope anew, with more [room](crate::Builder::padding) |
//! | `KeyRetired`, `KeyRevoked`, `KeyDestroyed` | the KEK, or for `KeyRevoked` the lease of a data key, was taken out of use | somebody did that on purpose: find out who before you work around it |
//!
//! # The key manager
//! What the KMS, the HSM or the local backend answers. The message names the provider and, if nobody answered, the address and the
//! step that failed (resolve, connect, TLS, HTTP).
//!
//! | kind | retryable | do |
//! |---|---|---|
//! | `Denied` | no | grant the right, or look for a context that a policy demands |
//! | `Unauthenticated` | no | renew the credentials |
//! | `KeyNotFound` | no | check id, region and account |
//! | `KeyDisabled` | no | enable the key, or configure its successor |
//! | `KeyNotReady` | no | wait until the key is made, or give it its key material |
//! | `KeyPendingDestruction` | no | cancel the destruction, or re-wrap under another key before it |
//! | `Throttled` | yes | slow down; use [data keys](crate::manual::operating#data-keys-and-budgets), a cache and coarser contexts |
//! | `Unavailable` | yes | wait |
//! | `TimedOut` | yes | wait; the call that timed out stored nothing |
//! | `InvalidAnswer` | no | report it to the author of the key manager |
//!
//! # Policy and budgets
//!
//! | kind | means | do |
//! |---|---|---|
//! | `PolicyRefused` | a policy forbids it | ask whoever made the policy |
//! | `BudgetExhausted` | the DEK has started all the sessions it may; nothing was sealed | ask the sealer for another data key |
//! | `LeaseExpired` | the data key or its lease is too old | ask the sealer for another data key |
//!
//! # Stores, audit, input and output
//!
//! | kind | means | do |
//! |---|---|---|
//! | `Store` | a store failed | retry if the error is retryable |
//! | `Audit` | the record could not be kept, so the operation was refused | mend the sink; nothing was done without a record |
//! | `Io` | the reader or writer behind a stream failed | begin the stream again; a stream cannot be resumed |
//!
//! # The caller
//!
//! | kind | means | do |
//! |---|---|---|
//! | `InvalidArgument` | a bug in the calling code | mend the call |
//! | `OutOfRange` | a range ends behind the plaintext | ask for less |
//! | `Configuration` | a variable, file or setting is missing or not acceptable; the message says what is expected | mend the configuration |
//!
//! # Why it does not open
//! An envelope does not open under a wrong key, in a wrong context, with a wrong AAD, or if it was altered. Up to the commitment all of
//! that has one and the same message, so that nobody can use a reader to test guesses. If a wrap opened and the commitment held, key
//! and context are right: then the message says that the AAD is wrong or the data was altered. Whoever can see that message can
//! compare the commitment himself.
//!
//! # Several keys
//! If an envelope has several wraps and none opens, one error stands for all attempts: first one that may pass by
//! itself, then one that somebody can mend, then `CannotOpen`. The error is retryable if any attempt was, so that an
//! outage of one KMS is not taken for tampering. `CannotOpen` lists the wraps that were tried, and not why each of them did not open.
//!
//! # Streams
//! [`OpenReader`](crate::message::OpenReader) and [`SealWriter`](crate::message::SealWriter) speak [`std::io`], so their errors are
//! [`std::io::Error`]s around an [`Error`](crate::Error). `downcast` returns it:
//!
//! ```
//! use std::io::Read;
//! use waxseal::{EncryptionContext, Error, ErrorKind, Kek, blocking::Sealer, backend::local::LocalKey};
//!
//! let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
//! let context = EncryptionContext::new([("purpose", "backup")])?;
//! let mut sealed = sealer.seal(b"to be cut off", &context)?;
//! sealed.truncate(sealed.len() - 1);
//!
//! let mut reader = sealer.reader(sealed.as_slice(), &context)?;
//! let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
//! let error = error.downcast::<Error>().unwrap();
//! assert_eq!(error.kind(), ErrorKind::CannotOpen);
//! # Ok::<(), waxseal::Error>(())
//! ```
