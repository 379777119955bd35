//! What each kind of error means, who is to blame, and what to do.
//!
//! Every function that can fail returns an [`Error`](crate::Error). Decide by [`kind`](crate::Error::kind) and
//! [`is_retryable`](crate::Error::is_retryable), never by text. An error prints no plaintext, no key, no passphrase and no context
//! value, so you can log it. An error may name KEK ids, hosts, files and variables. A cause (`source`) is another library's text, and
//! prints only if you ask for it.
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
//! `PolicyRefused` is for sources and layers outside this crate. Nothing in this crate returns it yet.
//!
//! # The bytes
//! The crate finds these without any key, before it calls a key manager. Trying again does not help.
//!
//! | kind | means | do |
//! |---|---|---|
//! | `Malformed` | not an envelope, or a damaged one; the error names the field and its offset | check how it was stored: cut off, a text encoding, another column |
//! | `UnsupportedVersion` | a later version of the format made it | update this crate in readers first, then in writers |
//! | `Unsupported` | well formed, but this version or this call does not support it (an unknown suite, several keys needed, detached without a store) | use a version or a call that supports it |
//! | `OverLimit` | a length, count or cost above the [limits](crate::value::limits) | from an envelope: treat as `Malformed`; from a call: pass less |
//!
//! # The cryptography
//!
//! | kind | means | do |
//! |---|---|---|
//! | `CannotOpen` | the envelope does not open; there are two messages, [see below](#why-it-does-not-open) | check that reader and writer build context and AAD in the same way; if they do, treat it as tampering |
//! | `ContextMismatch` | the context stored in the envelope is not the caller's | the row is in the wrong place, or the caller works for the wrong tenant |
//! | `Entropy` | the operating system returned no randomness; nothing was sealed | stop: a machine in that state must not make keys |
//!
//! # The wraps
//!
//! | kind | means | do |
//! |---|---|---|
//! | `NoUsableKey` | no KEK of the envelope is configured here; [`attempts`](crate::Error::attempts) names its KEKs | add the KEK with `open_with`, or re-wrap in a process that has the KEK |
//! | `NoRoom` | the new wraps are longer than the room for them, so they do not fit [in place](crate::in_place) | write the whole envelope again, with more [padding](crate::Builder::padding) |
//! | `KeyRetired`, `KeyRevoked`, `KeyDestroyed` | the KEK, or for `KeyRevoked` the lease of a data key, was taken out of use; `KeyDestroyed` also for all of a scope that was shredded | somebody did this on purpose: find out who before you work around it |
//! | `NoKeyForScope` | a key ring has no key for the scope of this context | create a key for the scope, or correct the context |
//! | `LifecycleRefused` | a key of a ring cannot make this move now | the message says why; for a retirement, what would become unreadable |
//!
//! # The key manager
//! These come from the KMS, the HSM or the local backend. The message names the provider and, if nobody answered, the address and the
//! step that failed (resolve, connect, TLS, HTTP).
//!
//! | kind | retryable | do |
//! |---|---|---|
//! | `Denied` | no | grant the right, or look for a context that a policy requires |
//! | `Unauthenticated` | no | renew the credentials |
//! | `KeyNotFound` | no | check id, region and account |
//! | `KeyDisabled` | no | enable the key, or configure the key that replaces it |
//! | `KeyNotReady` | no | wait until the key is made, or import its key material |
//! | `KeyPendingDestruction` | no | cancel the destruction if data is still under the key |
//! | `Throttled` | yes | slow down; use [data keys](crate::manual::operating#data-keys-and-budgets), a cache and coarser contexts |
//! | `Unavailable` | yes | wait |
//! | `TimedOut` | yes | wait; the call that timed out stored nothing |
//! | `InvalidAnswer` | no | report it to the author of the key manager |
//!
//! # Policy and budgets
//!
//! | kind | means | do |
//! |---|---|---|
//! | `WouldWeaken` | a re-wrap would leave fewer or weaker wraps; nothing was changed | configure the missing KEK, or allow it with [`RewrapRules`](crate::key::RewrapRules) |
//! | `ProfileRefused` | a requirement of a [profile](#profiles) is not met; the message names the requirement and the key | use a key that has what is demanded, or ask the owner of the profile |
//! | `PolicyRefused` | a policy forbids it | ask the owner of the policy |
//! | `BudgetExhausted` | the DEK has no session left, or the envelope needs more calls to key managers than one envelope may cause; the message names the budget | ask the sealer for another data key; remove wraps that nobody needs |
//! | `LeaseExpired` | the data key or its lease is too old | ask the sealer for another data key |
//!
//! ## Profiles
//! A profile (feature `ring`) says what data of a class demands: which algorithm classes may wrap it, how many wraps there must be and
//! in which slots, hardware, context keys, the age of a data key, no cache, no stored context, no key that was ever
//! compromised. A key ring or a set of key managers enforces profiles whenever something is sealed, opened or re-wrapped, before it asks a
//! backend. [`ErrorKind::ProfileRefused`](crate::ErrorKind::ProfileRefused) has the name of the requirement; the message names the key
//! or the context key, and never a value.
//!
//! # Stores, audit, input and output
//!
//! | kind | means | do |
//! |---|---|---|
//! | `Store` | a store failed, or an audit log cannot be read | retry if the error is retryable |
//! | `InventoryStale` | a key ring has not been able to read its inventory for longer than its settings allow; retryable | repair the database or the way to it |
//! | `InventoryInvalid` | a record was changed, deleted, copied or taken back to an older version, or the ring of another authority is configured; the message names the record | find out who wrote to the database; restore it from an export |
//! | `Conflict` | somebody else changed the ring meanwhile; retryable | look at the ring again, and decide again |
//! | `ClocksDisagree` | the clock of a ring's inventory and that of this machine are too far apart for anything to be signed; the message says both times | set the clock that is wrong; see [`key_ring`](crate::manual::key_ring#clocks) |
//! | `Audit` | the record could not be kept, so nothing was released; retryable if there may be room later | repair the sink, or make room on its disk; a key manager may have been asked |
//! | `Io` | the reader or writer behind a stream failed | begin the stream again; a stream cannot be resumed |
//!
//! # The caller
//!
//! | kind | means | do |
//! |---|---|---|
//! | `InvalidArgument` | a bug in the calling code | correct the call |
//! | `OutOfRange` | a range ends after the end of the plaintext | ask for less |
//! | `Configuration` | a variable, file or setting is missing or invalid; the message says what is expected | correct the configuration |
//!
//! # Why it does not open
//! An envelope does not open under a wrong key, in a wrong context, with a wrong AAD, or if it was altered. Up to the commitment
//! all of these have one and the same message, so that nobody can use a reader to test guesses. If a wrap opened and the commitment
//! matched, key and context are right: then the message says that the AAD is wrong or the data was altered. That reveals nothing new, because
//! the commitment is public.
//!
//! # Several keys
//! If an envelope has several wraps and none opens, one error stands for all attempts. An error that may pass by itself comes
//! first, then an error that somebody can repair, then `CannotOpen`. The error is retryable if any attempt was, so that nobody takes
//! an outage of one KMS for tampering. `CannotOpen` lists the wraps that were tried, but not why each of them did not open.
//!
//! # Streams
//! [`OpenReader`](crate::message::OpenReader) and [`SealWriter`](crate::message::SealWriter) implement the traits of [`std::io`], so their errors are
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
