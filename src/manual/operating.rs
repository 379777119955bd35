//! Daily use: contexts, data keys, the cache, rotation, streams, what to log.
//!
//! # Context or AAD
//! A reader must pass the same context and the same AAD as the writer. The two differ in cost and in who sees them.
//!
//! | | [encryption context](crate::EncryptionContext) | AAD |
//! |---|---|---|
//! | says | who owns the value and what it is for: tenant, table, purpose | where the value is: row id, column, version |
//! | how many | few; each context has its own DEKs | one for each value |
//! | is sent to the KMS | yes; the KMS may log it, and its policy may require it | no; it never leaves the process |
//! | is stored | only if you ask for it, in the clear | no |
//! | costs | a call to the key manager for each context | nothing |
//! | error if it is wrong | `CannotOpen`, or `ContextMismatch` if the context is stored | `CannotOpen` |
//!
//! With a row id in the context, every row costs a KMS call. Without an AAD, anybody who can write to the store can
//! swap values of one context. Neither is secret, and neither is normalized: `Acme` and `acme` are two
//! tenants. Build both in one function that writer and reader share.
//!
//! ```
//! use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
//!
//! let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
//! let users = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
//! let sealed = sealer.seal(b"alice@example.com", users.with_aad(b"row 7, email"))?;
//! assert!(sealer.open(&sealed, users.with_aad(b"row 8, email")).is_err());
//! # Ok::<(), waxseal::Error>(())
//! ```
//!
//! # Data keys and budgets
//! [`Sealer::seal`](crate::Sealer::seal) takes a fresh DEK from its source each time: one call to the key manager
//! for each value. To seal many values of one context, take a [`DataKey`](crate::DataKey): it costs one call, and everything
//! after that is synchronous and local. [`Sealer::opener`](crate::Sealer::opener) does the same for opening: an opener opens every
//! envelope of one DEK.
//!
//! ```
//! # use waxseal::{Aad, EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
//! # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
//! # let users = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
//! let key = sealer.data_key(&users)?;
//! let rows: Vec<Vec<u8>> = (0..1000)
//!     .map(|row: u32| key.seal(b"value", Aad::new(&row.to_be_bytes())))
//!     .collect::<Result<_, _>>()?;
//! assert_eq!(key.open(&rows[7], Aad::new(&7u32.to_be_bytes()))?, b"value");
//! # Ok::<(), waxseal::Error>(())
//! ```
//!
//! A data key ends with its age ([`data_key_age`](crate::Builder::data_key_age), one hour by default), with its
//! lease, or with its budget: 2^24 sessions of 2^20 messages ([`limits`](crate::value::limits)), which no program reaches
//! in an hour. After that the data key seals nothing and returns `LeaseExpired`, `KeyRevoked` or `BudgetExhausted`; ask the
//! sealer for another data key. With a shorter age fewer values depend on one DEK, and the only cost is more calls.
//!
//! # The cache
//! If single values come from many places, a data key for each context is hard to pass around. A cache (feature `cache`) keeps the
//! DEKs instead, for sealing and for opening: most calls then ask no key manager. `Builder::cache` sets it, and
//! [`Sealer::builder_from_env`](crate::Sealer::builder_from_env) returns a builder with the key managers that environment variables name.
//! ([`Sealer::from_env`](crate::Sealer::from_env) itself has no cache.)
//!
//! ```
//! # #[cfg(feature = "cache")]
//! # fn main() -> waxseal::Result<()> {
//! # use waxseal::{EncryptionContext, Kek, Sealer, blocking, backend::local::LocalKey};
//! use std::time::Duration;
//! use waxseal::source::Caching;
//!
//! # let key = LocalKey::new(&Kek::generate()?);
//! # let users = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
//! let caching = Caching { open_age: Duration::from_secs(60), ..Caching::default() };
//! let sealer = blocking::Sealer::from(Sealer::builder().wrap_with(key).cache(caching).build()?);
//! let rows = [sealer.seal(b"a", &users)?, sealer.seal(b"b", &users)?]; // one DEK, one wrap
//! # assert_eq!(sealer.open(&rows[1], &users)?, b"b");
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "cache"))]
//! # fn main() {}
//! ```
//!
//! The ages of the cache bound how long a permission that the KMS has taken away still works in this process. See
//! [performance](crate::manual::performance#the-cache) for its settings.
//!
//! # Rotation by hand
//! With a KEK in an environment variable:
//!
//! 1. Make a key (`waxseal keygen`), and give it to every process in a *second* variable.
//! 2. Deploy readers and writers with the new KEK to wrap and the old one to open. If readers and writers
//!    deploy apart, deploy readers first, with the new KEK in `open_with`.
//! 3. [Re-wrap](#re-wrapping-what-is-stored) everything that is stored. Only the wrap section of each value changes.
//! 4. When [nothing is under the old KEK](#which-kek-a-row-is-under) anymore, also in backups, remove the old
//!    variable.
//!
//! ```no_run
//! use waxseal::{Sealer, backend::local::LocalKey};
//! # fn main() -> waxseal::Result<()> {
//! let sealer = Sealer::builder()
//!     .wrap_with(LocalKey::from_env("WAXSEAL_KEK_2027")?)
//!     .open_with(LocalKey::from_env("WAXSEAL_KEK_2026")?)
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! To move to another backend, do the same with another key manager in `wrap_with`. A rotation does not help
//! against somebody who has the old KEK and an old copy of the data; see
//! [what is not promised](crate::manual::threat_model#what-is-not-promised).
//!
//! # Re-wrapping what is stored
//! Use a [`Rewrapper`](crate::sealer::Rewrapper) to re-wrap the rows of a table. It gives values of one data key the same new wraps, so
//! that reading them costs no more calls than before. It leaves values alone that are wrapped as configured, and it counts what it did. If
//! a job was interrupted, run it again. ([`Sealer::rewrap`](crate::Sealer::rewrap) is for a single value: in a loop, it would give each value
//! its own wraps.)
//!
//! ```
//! # use waxseal::{Aad, EncryptionContext, Kek, Sealer, blocking, backend::local::LocalKey};
//! # let (old, new) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
//! # let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
//! # let data_key = blocking::Sealer::new(old.clone()).data_key(&context)?;
//! # let mut rows = vec![data_key.seal(b"a", Aad::new(b"row 1"))?, data_key.seal(b"b", Aad::new(b"row 2"))?];
//! let sealer = Sealer::builder().wrap_with(new).open_with(old).build()?;
//! let mut rewrapper = blocking::Sealer::from(sealer).rewrapper();
//! for row in &mut rows {
//!     if let Some(wraps) = rewrapper.rewrap(row, &context)? {
//!         // Store it only if the row has not changed since it was read.
//!         *row = wraps.splice(row)?;
//!     }
//! }
//! println!("{:?}", rewrapper.counts());
//! # Ok::<(), waxseal::Error>(())
//! ```
//!
//! A re-wrap replaces a wrap only if the wrap is proven to be under a KEK of this sealer: its id is unique in the world and resolved, or
//! the wrap unwrapped to the same DEK. Every other wrap stays, so that nobody else loses access. A re-wrap never leaves fewer wraps than it
//! found, or weaker wraps, unless [`RewrapRules`](crate::key::RewrapRules) allow it.
//!
//! There are three ways to store [`NewWraps`](crate::sealer::NewWraps):
//!
//! - [`splice`](crate::sealer::NewWraps::splice) returns a whole new value, for a row.
//! - [`prefix`](crate::sealer::NewWraps::prefix) returns only what stands before the body, for a store that can concatenate it with the
//!   stored bytes after the first [`replaces`](crate::sealer::NewWraps::replaces).
//! - [`in_place`](crate::sealer::NewWraps::in_place) returns the same at its old length, for a store that replaces bytes atomically.
//!
//! Writing in place is safe only if all of these bytes are replaced at once, or through a journal: a reader refuses an envelope with half
//! of the new wraps, and the DEK is then lost. For files, [`blocking::Sealer::rewrap_file`](crate::sealer::blocking::Sealer::rewrap_file)
//! uses a journal; see [`in_place`](crate::in_place). The sealer's padding applies to the new wraps, not the padding of the old ones:
//! [`Builder::padding`](crate::Builder::padding) leaves room for the next re-wrap of a large object.
//!
//! # Streams
//! [`blocking::Sealer::writer`](crate::sealer::blocking::Sealer::writer) and
//! [`reader`](crate::sealer::blocking::Sealer::reader) hold one chunk in memory, 64 KiB by default. Three rules apply:
//!
//! - Call [`finish`](crate::message::SealWriter::finish). A writer that is dropped without it leaves an envelope that
//!   does not open.
//! - A reader returns verified chunks before it has seen the end. Until the reader has returned the end of the stream,
//!   do nothing that cannot be undone: write to a temporary name and rename the file at the end.
//! - A reader reads its source to the end. If an envelope is inside a longer file, store its length elsewhere and limit the source
//!   with [`Read::take`](std::io::Read::take).
//!
//! Asynchronous code has the same streams over the traits of `futures-io` and tokio: `AsyncSealWriter`, which finishes when it is
//! closed (or shut down), and `AsyncOpenReader`.
//!
//! # Parts of a large payload
//! - [`blocking::Sealer::range_reader`](crate::sealer::blocking::Sealer::range_reader) returns a reader that can seek. It opens only the
//!   chunks that a read touches. It verifies the end when it is made, so its length is authentic.
//! - [`RangePlan`](crate::message::RangePlan) computes without a key which bytes of a stored object to fetch.
//!   [`Opener::open_range`](crate::Opener::open_range) opens them. They include the final chunk, so an object that was cut off is noticed.
//!
//! A smaller chunk size makes small parts cheaper. Each chunk costs 16 bytes.
//!
//! # Leases and revocation
//! Each data key, opener and stream uses a [`DekLease`](crate::source::DekLease).
//! After [`DekLease::revoke`](crate::source::DekLease::revoke) all of them return `KeyRevoked`: data keys and openers
//! at the next call, streams at the next chunk. After expiry, data keys, openers and readers of parts return `LeaseExpired` at the next
//! call; a stream that has begun may finish.
//!
//! ```
//! # use waxseal::{Aad, EncryptionContext, ErrorKind, Kek, blocking::Sealer, backend::local::LocalKey};
//! # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
//! # let context = EncryptionContext::new([("tenant", "acme")])?;
//! let key = sealer.data_key(&context)?;
//! key.lease().revoke();
//! assert_eq!(key.seal(b"too late", Aad::none()).unwrap_err().kind(), ErrorKind::KeyRevoked);
//! # Ok::<(), waxseal::Error>(())
//! ```
//!
//! A [cache](#the-cache) keeps the leases that it hands out: its methods `invalidate_kek`, `invalidate_contexts` and `invalidate_all`
//! revoke them, also in handles and streams that are in use.
//!
//! # Which KEK a row is under
//! The header of an envelope names its KEKs. Reading them needs no key and no payload:
//!
//! ```
//! # use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
//! # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
//! # let sealed = sealer.seal(b"row", &EncryptionContext::empty())?;
//! use waxseal::{envelope::Header, envelope::WrapsRef};
//!
//! match Header::parse(&sealed)?.wraps() {
//!     WrapsRef::Attached(section) => {
//!         for wrap in section.stanzas() {
//!             println!("{} {} {} {}", wrap.algorithm, wrap.provider, wrap.kek_id, wrap.kek_version);
//!         }
//!     }
//!     WrapsRef::Detached(id) => println!("in the DEK store: {id:?}"),
//!     _ => {}
//! }
//! # Ok::<(), waxseal::Error>(())
//! ```
//!
//! For a local KEK the id is a fingerprint. [`LocalKey::kek_id`](crate::backend::local::LocalKey::kek_id) returns it for
//! a key that you have. The names in an envelope are a claim until the envelope has opened. To find out what you would *lose* with a KEK,
//! open envelopes and do not rely on names. If ids are hidden, the envelope does not name its KEKs.
//!
//! # What to log, and when to alert somebody
//!
//! | observation | likely reason |
//! |---|---|
//! | `CannotOpen` on data that opened before | tampering or damage; never a reason to try another context |
//! | `CannotOpen` on everything since a deployment | reader and writer build context or AAD differently |
//! | `NoUsableKey` since a deployment | a KEK was removed too early: restore it |
//! | `ContextMismatch` | a row in the wrong place, or code of one tenant on data of another |
//! | new `KeyDisabled`, `KeyDestroyed` or `Denied` | somebody changed the key or its policy |
//! | `Throttled` | too many contexts, or `seal` without a data key or a cache |
//! | the warning that a local KEK is in use | a production process on a development configuration |
//!
//! Errors are safe to log. The KEK ids in [`attempts`](crate::Error::attempts) come from the envelope, so
//! anybody who can write to the store chooses them: up to 2,048 bytes each. Characters that would break or rearrange a line are escaped.
