//! Profiles: what data of each class demands of keys, contexts and caches.
//!
//! A profile is a list of requirements with a name, such as `restricted`. A security officer writes profiles into a file; applications
//! say which one holds, or the data itself does; the library enforces them whenever something is sealed, opened or re-wrapped, before it
//! asks a key manager.
//!
//! # The file
//! This is `examples/profiles.toml`:
//!
//! ```toml
#![doc = include_str!("../../examples/profiles.toml")]
//! ```
//!
//! | requirement | demands | default |
//! |---|---|---|
//! | `classes` | wraps of these classes only: `symmetric` (a KMS key, an AES key), `hybrid` (X25519 with ML-KEM), `post-quantum` (ML-KEM alone), `classical` (RSA, elliptic curves: a quantum computer breaks them) | any class |
//! | `hardware` | keys that the ring's records say are in an HSM | anywhere |
//! | `slots`, `wraps` | wraps in so many of these slots of the scope (in all, without `wraps`); without `slots`, wraps under so many different keys | one wrap |
//! | `context` | context keys with a value that is not empty | none |
//! | `dek-age` | no data key is used for longer, in handles and caches (a stream that was begun may end) | the age of the ring's settings |
//! | `cache` | `false`: no data key is kept by a cache or a `Rewrapper` | `true` |
//! | `stored-context` | `required`, `forbidden` or `allowed` in the envelope | `allowed` |
//! | `refuse-exposed` | `true`: an envelope is not opened if it names a key that was ever compromised, even if another wrap opens it | `false` |
//!
//! An unknown word, a wrong value or a profile that does not exist is an error with line and column. A file that others can write is
//! refused: whoever writes it decides.
//!
//! # Which profile holds
//! Three can choose, and all that are chosen hold together:
//!
//! - *the caller*: [`Builder::profile`](crate::Builder::profile), or `--profile NAME`;
//! - *the scope*: `[[scope]]` in the file, with a scope, all below one (`tenant/*`) or all (`*`); `everywhere = "internal"` is short for
//!   the latter;
//! - *the context*: the value of the context key that `context-key` names. A value that is no profile is refused. A context without the
//!   key has the profile `otherwise`, or is refused if there is none.
//!
//! Together they are [as strict as each of them](crate::ring::profile::Requirements::stricter): fewer classes, the shorter age, the wraps
//! and context keys of both. Profiles have no order, so two may contradict each other, and then nothing passes. The inventory has no say
//! in this: whoever can write to the database weakens nothing.
//!
//! # What is looked at
//! What a key is comes from the ring's signed records, never from the envelope.
//!
//! | | each property (`classes`, `hardware`) | `slots`, `wraps` | `refuse-exposed` |
//! |---|---|---|---|
//! | seal | every key that wraps has it: the weakest wrap counts | the keys that wrap | (a compromised key does not wrap) |
//! | open | the key that opened has it; keys that lack it are not asked | the keys that the envelope names | the keys that the envelope names |
//! | re-wrap | every new wrap has it, and every wrap that stays | the new wraps | the wraps that stay |
//!
//! A wrap that no key of the ring has made has no property, whatever it says. So a re-wrap that keeps the wrap of somebody else misses `classes`
//! and `hardware`; drop such wraps with [`RewrapRules::dropping_unknown`](crate::key::RewrapRules::dropping_unknown). That an envelope names a key
//! proves nothing. So names only refuse: a recovery wrap that is missing is noticed, and one that was forged is not.
//!
//! A private algorithm has no class in a ring's record, so it passes no profile with `classes`.
//!
//! # In an application
//! ```no_run
//! use std::sync::Arc;
//! use waxseal::EncryptionContext;
//! use waxseal::ring::{Inventory, config::RingConfig};
//! use waxseal::runtime::ProcessEnvironment;
//!
//! # async fn run(inventory: Arc<dyn Inventory>) -> waxseal::Result<()> {
//! // ring.toml has the line: profiles = "profiles.toml"
//! let config = RingConfig::read("/etc/app/ring.toml")?;
//! let ring = config.builder(inventory, Arc::new(ProcessEnvironment))?.open().await?;
//! let sealer = ring.sealer().profile("confidential").build()?;
//! let context = EncryptionContext::new([("tenant", "acme"), ("classification", "internal")])?;
//! let sealed = sealer.seal(b"hello", &context).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Whoever builds a ring from parts calls [`KeyRingBuilder::profiles`](crate::ring::KeyRingBuilder::profiles). A ring without profiles
//! refuses a request that names one. A source of your own around a ring forwards [`DekSource::may_keep`](crate::DekSource::may_keep); if it does not,
//! requests that must not be kept are refused.
//!
//! # With key managers alone
//! Without a ring, [`Builder::profiles`](crate::Builder::profiles) restricts key managers. They tell their class, and nothing else: neither a slot, nor
//! hardware, nor what was compromised. What nobody tells is not met.
//!
//! ```
//! use waxseal::backend::local::LocalKey;
//! use waxseal::envelope::AlgorithmClass::{Hybrid, PostQuantum};
//! use waxseal::ring::profile::{Profiles, Requirements};
//! use waxseal::{EncryptionContext, ErrorKind, Kek, Sealer, blocking};
//!
//! let profiles = Profiles::new()
//!     .define("public-key", Requirements::new().allowing([Hybrid, PostQuantum]))?;
//! let builder = Sealer::builder().wrap_with(LocalKey::new(&Kek::generate()?)).profiles(profiles);
//! let sealer = blocking::Sealer::from(builder.profile("public-key").build()?);
//! let error = sealer.seal(b"hello", &EncryptionContext::empty()).unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::ProfileRefused { requirement: "classes" });
//! # Ok::<(), waxseal::Error>(())
//! ```
//!
//! # Raising what is stored
//! A new profile is stricter than what is stored. Look first, which needs no key:
//!
//! ```text
//! waxseal explain a.wax --ring ring.toml --profile restricted --context tenant=acme
//! ```
//!
//! [`KeyRing::explain`](crate::ring::KeyRing::explain) is the same. Both name each requirement that is not met, and the key. Then give the scope keys that
//! have what is demanded, and re-wrap. A re-wrap may start from a key that the profile does not let open: that raises. It never lowers: no new wrap
//! lacks what the wrap that opened has (hardware, an allowed class), even if the profile does not demand it, unless
//! [`RewrapRules::weakening`](crate::key::RewrapRules::weakening) allows that; nothing allows a re-wrap below the profile by itself.
//!
//! A job that cannot reach the profile in one step uses [`RewrapRules::falling_short`](crate::key::RewrapRules::falling_short)
//! (`rewrap --fall-short`): it raises what it can, and [`NewWraps::unmet`](crate::sealer::NewWraps::unmet) and
//! [`RewrapCounts::short`](crate::sealer::RewrapCounts::short) tell what is left.
