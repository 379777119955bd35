//! Using it day by day: contexts, data keys, rotation, streams, what to log.
//!
//! # Context or AAD
//! Both have to be the same when opening. They differ in cost and in who sees them.
//!
//! | | [encryption context](crate::EncryptionContext) | AAD |
//! |---|---|---|
//! | says | whose it is and what for: tenant, table, purpose | where it is: row id, column, version |
//! | how many | few; each has DEKs of its own | one for each value |
//! | goes to the KMS | yes; it may show in its log and be demanded by its policy | never leaves the process |
//! | is stored | on request, in the clear | no |
//! | costs | a call to the key manager for each | nothing |
//! | wrong | `CannotOpen`, or `ContextMismatch` where it is stored | `CannotOpen` |
//!
//! A row id in the context means a KMS call for every row. No AAD at all means that values of one context can be
//! swapped by whoever can write to the store. Neither is secret, neither is normalized: `Acme` and `acme` are two
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
//! for each value. To seal many values of one context, take a [`DataKey`](crate::DataKey): one call, and from
//! then on everything is synchronous and local. [`Sealer::opener`](crate::Sealer::opener) does the same for opening: it opens every
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
//! in an hour. After that it seals nothing and returns `LeaseExpired`, `KeyRevoked` or `BudgetExhausted`; ask the
//! sealer for another one. With a shorter age fewer values depend on one DEK. It costs calls and nothing else.
//!
//! # Rotation by hand
//! With a KEK in an environment variable:
//!
//! 1. Make a key (`waxseal keygen`), and give it to every process in a *second* variable.
//! 2. Deploy readers and writers with the new KEK to wrap and the old one to open. If readers and writers
//!    deploy apart, deploy readers first, with the new KEK in `open_with`.
//! 3. Re-wrap everything that is stored. Only the front of each value changes.
//! 4. When [nothing is under the old KEK](#which-kek-a-row-is-under) any more, in backups too, take the old
//!    variable away.
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
//! against someone who has the old KEK and an old copy of the data, see
//! [what is not promised](crate::manual::threat_model#what-is-not-promised).
//!
//! # Re-wrapping what is stored
//! A [`Rewrapper`](crate::sealer::Rewrapper) goes over the rows of a table. It gives values of one data key the same new wraps, so that
//! they cost no more calls to read than before; it leaves alone what is current; and it counts what it did. A job that was cut off is
//! simply run again.
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
//! A re-wrap replaces a wrap only if it is proven to be under a KEK of this sealer: its id is unique in the world and resolved, or it
//! unwrapped to the same DEK. Every other wrap stays, so that nobody else loses access. A re-wrap never leaves fewer wraps, or weaker ones,
//! than it found, unless you ask for that by name.
//!
//! Store [`NewWraps`](crate::sealer::NewWraps) in one of three ways: [`splice`](crate::sealer::NewWraps::splice) makes a whole new value,
//! for a row; [`prefix`](crate::sealer::NewWraps::prefix) is the front alone, for a store that can concatenate it with the body behind
//! [`replaces`](crate::sealer::NewWraps::replaces) bytes; and [`in_place`](crate::sealer::NewWraps::in_place) is the front at its old length,
//! for a store that replaces bytes atomically.
//!
//! To write in place is safe only if all of the front is replaced at once, or through a journal: a reader refuses half a front,
//! and the DEK is then lost. For files [`blocking::Sealer::rewrap_file`](crate::sealer::blocking::Sealer::rewrap_file) does it through a
//! journal, see [`in_place`](crate::in_place). A new front is padded as the sealer says, not as the old one was:
//! [`Builder::padding`](crate::Builder::padding) leaves room for the next re-wrap of a large object.
//!
//! # Streams
//! [`blocking::Sealer::writer`](crate::sealer::blocking::Sealer::writer) and
//! [`reader`](crate::sealer::blocking::Sealer::reader) hold one chunk in memory, 64 KiB by default. Three things to know:
//!
//! - [`finish`](crate::message::SealWriter::finish) must be called. A writer that is merely dropped leaves an envelope that
//!   does not open.
//! - A reader gives out verified chunks before it has seen the end. Until it has said that the stream is over,
//!   hold back whatever cannot be taken back: write to a temporary name and rename at the end.
//! - A reader reads to the end of what is under it: an envelope inside something longer needs its length from
//!   elsewhere ([`Read::take`](std::io::Read::take)).
//!
//! Asynchronous code has the same over the traits of `futures-io` and tokio: `AsyncSealWriter`, where closing (or
//! shutting down) finishes, and `AsyncOpenReader`.
//!
//! # Parts of a large payload
//! - [`blocking::Sealer::range_reader`](crate::sealer::blocking::Sealer::range_reader) reads a file from anywhere and opens the
//!   chunks that it touches. It verifies the end when it is made, so its length is authentic.
//! - [`RangePlan`](crate::message::RangePlan) tells without a key which bytes of a stored object to fetch; its pieces open through
//!   [`Opener::open_range`](crate::Opener::open_range). The pieces include the final chunk, so that an object that was cut off is noticed.
//!
//! A small chunk size makes small parts cheap, at 16 bytes for each chunk.
//!
//! # Leases and revocation
//! A [`DekLease`](crate::source::DekLease) stands behind each data key, opener and stream.
//! [`DekLease::revoke`](crate::source::DekLease::revoke) makes all of them refuse with `KeyRevoked`: data keys and openers
//! at the next call, streams at the next chunk. Expiry reaches data keys, openers and readers of parts at the next
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
//! A cache (`source::Cached`, feature `cache`) holds the leases that it hands out: `invalidate_kek` and its siblings
//! revoke all that are in use anywhere in the process, and its ages bound how long a permission that was taken away at the
//! KMS is in use here.
//!
//! # Which KEK a row is under
//! The envelope names them, without any key and without the payload:
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
//! For a local KEK the id is a fingerprint, which [`LocalKey::kek_id`](crate::backend::local::LocalKey::kek_id) gives for
//! the key at hand. What an envelope says here is a claim until it has opened; to find out what is *lost* if a KEK
//! goes, open, do not read labels. Where ids are hidden the envelope does not say.
//!
//! # What to log, and when to wake someone
//!
//! | see | take it for |
//! |---|---|
//! | `CannotOpen` on data that opened before | tampering or damage; never a reason to try another context |
//! | `CannotOpen` on everything since a deployment | reader and writer build context or AAD differently |
//! | `NoUsableKey` since a deployment | a KEK was taken away too early: put it back |
//! | `ContextMismatch` | a row in the wrong place, or one tenant's code at another's data |
//! | `KeyDisabled`, `KeyDestroyed`, `Denied` that is new | someone changed the key or its policy |
//! | `Throttled` | contexts too fine, or `seal` where a data key belongs |
//! | the warning that a local KEK is in use | a production process on a development configuration |
//!
//! Errors are safe to log. The KEK ids in [`attempts`](crate::Error::attempts) are taken from the envelope, so
//! whoever writes to the store chooses them: up to 2,048 bytes each. What would break or rearrange a line is escaped.
