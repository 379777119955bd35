//! What each kind of error means, who is to blame, and what to do.
//!
//! Every fallible function gives an [`Error`](crate::Error). Decide by [`kind`](crate::Error::kind) and
//! [`is_retryable`](crate::Error::is_retryable), never by text. What an error prints holds no plaintext, no key,
//! no passphrase and no context value, so it can be logged; it may name KEK ids, files and variables. A cause
//! (`source`) is a library's own text and is printed only by those who ask for it.
//!
//! ```
//! use waxseal::{Error, ErrorKind};
//!
//! /// What a reader of rows does with an error.
//! enum Then { Retry, SkipAndReport, Stop }
//!
//! fn decide(error: &Error) -> Then {
//!     match error.kind() {
//!         _ if error.is_retryable() => Then::Retry, // not before error.retry_after(), where it says so
//!         ErrorKind::CannotOpen | ErrorKind::ContextMismatch | ErrorKind::Malformed { .. } => Then::SkipAndReport,
//!         _ => Then::Stop,
//!     }
//! }
//! # assert!(matches!(decide(&Error::new(ErrorKind::Throttled)), Then::Retry));
//! # assert!(matches!(decide(&Error::new(ErrorKind::Denied)), Then::Stop));
//! ```
//!
//! Some kinds are there for key managers and sources that stand on this crate, and nothing in it gives them yet:
//! `KeyRetired`, `KeyDestroyed`, `PolicyRefused`, `Store`, `Audit` and the kinds of a remote key manager.
//!
//! # The bytes
//! Found without any key and before any key manager is called. Trying again does not help.
//!
//! | kind | means | do |
//! |---|---|---|
//! | `Malformed` | not an envelope, or a damaged one; says which field, and at which byte | look at how it was stored: cut off, a text encoding, another column |
//! | `UnsupportedVersion` | made by a later version of the format | update this crate in the reader first, then in writers |
//! | `Unsupported` | well formed, and this version or call does not do it (an unknown suite, several keys needed, detached without a store) | use what does |
//! | `OverLimit` | a length, count or cost outside the [limits](crate::value::limits) | from an envelope: treat as `Malformed`; from a call: pass less |
//!
//! # The cryptography
//!
//! | kind | means | do |
//! |---|---|---|
//! | `CannotOpen`, "the key or the encryption context is wrong, or the envelope's header was altered" | no wrap led to the key that the envelope commits to; which of these it was is not told, on purpose | check that reader and writer build the context alike and use the same KEK; then treat it as tampering |
//! | `CannotOpen`, "key and context are right; …" | a wrap opened and the commitment held; a chunk did not authenticate | check that reader and writer build the AAD alike; then treat it as tampering, or a copy that was cut off |
//! | `ContextMismatch` | the context stored in the envelope is not the caller's | the row is in the wrong place, or the caller in the wrong tenant |
//! | `Entropy` | the operating system gave no randomness; nothing was sealed | stop: a machine in that state must not make keys |
//!
//! # The wraps
//!
//! | kind | means | do |
//! |---|---|---|
//! | `NoUsableKey` | none of its KEKs is configured here; [`attempts`](crate::Error::attempts) names them | add the KEK with `open_with`, or re-wrap where it is known |
//! | `NoRoom` | the new wraps are longer than the room for them, so they cannot be written [in place](crate::in_place) | write the whole envelope anew, with more [room](crate::Builder::padding) |
//! | `KeyRetired`, `KeyRevoked`, `KeyDestroyed` | the KEK, or for `KeyRevoked` the lease of a data key, was taken out of use | deliberate somewhere: find out by whom before working around it |
//!
//! # The key manager
//! What the KMS, HSM or local backend says; the message names the provider.
//!
//! | kind | retryable | do |
//! |---|---|---|
//! | `Denied` | no | grant the right, or look for a context that a policy demands |
//! | `Unauthenticated` | no | renew the credentials |
//! | `KeyNotFound` | no | check id, region and account |
//! | `KeyDisabled` | no | enable the key, or configure its successor |
//! | `Throttled` | yes | slow down; use [data keys](crate::manual::operating#data-keys-and-budgets) and coarser contexts |
//! | `Unavailable` | yes | wait |
//! | `TimedOut` | yes | wait; nothing was stored by the call that timed out |
//! | `InvalidAnswer` | no | report to whoever wrote the key manager |
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
//! | `Store` | a store failed | retry where it says so |
//! | `Audit` | the record could not be kept, so the operation was refused | mend the sink; nothing was done unrecorded |
//! | `Io` | the reader or writer behind a stream failed | begin the stream again; a stream is not resumed |
//!
//! # The caller
//!
//! | kind | means | do |
//! |---|---|---|
//! | `InvalidArgument` | a bug in the calling code | mend the call |
//! | `OutOfRange` | a range that ends behind the plaintext; the length is as whoever holds the object says | ask for less |
//! | `Configuration` | a variable, file or setting is missing or not acceptable; the message says what is expected | mend the configuration |
//!
//! # Several keys
//! Where an envelope has several wraps and none opens, one error stands for all attempts: one that may pass by
//! itself first, then one that somebody can mend, then `CannotOpen`. It is retryable if any attempt was, so an
//! outage of one KMS is not taken for tampering. `CannotOpen` says which wraps were tried and nothing of why they did not open.
//!
//! # Streams
//! [`OpenReader`](crate::message::OpenReader) and [`SealWriter`](crate::message::SealWriter) speak [`std::io`], so their errors are
//! [`std::io::Error`]s around an [`Error`](crate::Error). `downcast` gives it back:
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
