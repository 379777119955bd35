//! Bringing a KMS or HSM of your own.
//!
//! A [`KeyManager`](crate::KeyManager) is one KEK, wherever it is kept, together with the versions of it that
//! still open. It wraps 32 bytes and unwraps them, bound to a [`Request`](crate::key::Request); it knows nothing of
//! envelopes and payloads. Which key managers wrap, and how many, is the business of a
//! [`DekSource`](crate::DekSource), and [`Sealer`](crate::Sealer) takes either.
//!
//! # What it must do
//!
//! 1. *Bind.* A wrap made under one [`binding`](crate::key::Request::binding) must not unwrap under another. Where the
//!    backend authenticates extra data, give it [`wrap_aad`](crate::key::Request::wrap_aad). Where it does not, wrap
//!    what [`embed`](crate::key::Request::embed) gives and unwrap with [`extract`](crate::key::Request::extract).
//! 2. *Recognize.* Say from algorithm, provider and id alone whether a stanza is yours;
//!    [`WrapRef::is_under`](crate::envelope::WrapRef::is_under) does it. No network. A KEK that cannot unwrap still
//!    recognizes its own, and says so in its [`Capabilities`](crate::key::Capabilities).
//! 3. *Use what is configured.* Nothing in a stanza may choose a key, a host or an algorithm.
//! 4. *Say what went wrong by kind*, from the backend's codes and never from its text. A wrap that does not open
//!    is `CannotOpen`, whatever the backend calls it; an outage is never `CannotOpen`.
//! 5. *Be droppable.* Any future may be dropped at any await; no lock stays held and no secret stays behind.
//! 6. *Keep secrets.* No key, response body or context value in an error, in `Debug` or in a log. Wipe every copy
//!    of the DEK that you make.
//! 7. *Name the KEK as the backend resolved it*, with its exact version: an ARN and not an alias, so that an old
//!    row tells which key wrapped it.
//! 8. *Answer by the deadline* of the request, where it has one; nobody else enforces it.
//!
//! Wrap algorithms 224 to 255 are for private use. A number and a provider name stand in every envelope, so they
//! are chosen once.
//!
//! # An example
//! A device that encrypts 32 bytes with AES-256-GCM, stood in for by a key in memory. With a real one the two
//! calls to `cipher` are calls to it.
//!
//! ```
//! use std::fmt;
//!
//! use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
//! use async_trait::async_trait;
//! use waxseal::envelope::{AlgorithmClass, KekRef, WrapAlgorithm, WrapRef, WrappedDek};
//! use waxseal::key::{Binds, Capabilities, Recognition, Request, Unwrapped};
//! use waxseal::value::{Dek, Operation, entropy};
//! use waxseal::{Error, ErrorKind, KeyManager, Result};
//! use zeroize::Zeroizing;
//!
//! const PROVIDER: &str = "example-device";
//! const ALGORITHM: WrapAlgorithm = WrapAlgorithm::from_id(224);
//!
//! struct Device {
//!     kek: KekRef,
//!     cipher: Aes256Gcm,
//! }
//!
//! impl Device {
//!     fn new(key: &[u8; 32], id: &str, version: &str) -> Result<Self> {
//!         let kek = KekRef::new(PROVIDER, id, version)?;
//!         Ok(Self { kek, cipher: Aes256Gcm::new(key.into()) })
//!     }
//!
//!     /// The bytes of a wrap: `nonce(12) || ciphertext(32) || tag(16)`.
//!     fn try_wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
//!         let nonce: [u8; 12] = entropy::array()?;
//!         let mut secret = Zeroizing::new(*dek.expose_bytes());
//!         let tag = self
//!             .cipher
//!             .encrypt_inout_detached(&nonce.into(), &request.wrap_aad(), secret.as_mut_slice().into())
//!             .map_err(|_| Error::new(ErrorKind::InvalidAnswer))?;
//!         WrappedDek::new(ALGORITHM, self.kek.clone(), [&nonce, secret.as_slice(), &tag].concat())
//!     }
//!
//!     fn try_unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
//!         if self.recognizes(wrapped).is_no() {
//!             return Err(Error::new(ErrorKind::NoUsableKey));
//!         }
//!         // The length is checked before any work: the format fixes none for private algorithms.
//!         let wrapped: &[u8; 60] = wrapped
//!             .wrapped
//!             .try_into()
//!             .map_err(|_| Error::new(ErrorKind::Malformed { field: "wrapped DEK", offset: 0 }))?;
//!         let cannot_open = || Error::new(ErrorKind::CannotOpen);
//!         let (nonce, rest) = wrapped.split_first_chunk::<12>().ok_or_else(cannot_open)?;
//!         let (secret, tag) = rest.split_first_chunk::<32>().ok_or_else(cannot_open)?;
//!         let tag: &[u8; 16] = tag.try_into().map_err(|_| cannot_open())?;
//!         let mut secret = Zeroizing::new(*secret);
//!         self.cipher
//!             .decrypt_inout_detached(nonce.into(), &request.wrap_aad(), secret.as_mut_slice().into(), tag.into())
//!             .map_err(|_| cannot_open())?;
//!         Ok(Unwrapped::new(Dek::from_bytes(&secret), self.kek.clone()))
//!     }
//! }
//!
//! #[async_trait]
//! impl KeyManager for Device {
//!     fn provider(&self) -> &str {
//!         PROVIDER
//!     }
//!
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities::new(ALGORITHM, Binds::Aad).of_class(AlgorithmClass::Symmetric)
//!     }
//!
//!     fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
//!         // Id and not version: a stanza of a former version is this KEK's too.
//!         // A name like this is not unique in the world: the same may stand in another device.
//!         Recognition::by_id(wrapped, ALGORITHM, PROVIDER, self.kek.id()).min(Recognition::Perhaps)
//!     }
//!
//!     async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
//!         self.try_wrap(dek, request)
//!             .map_err(|error| error.with_operation(Operation::Wrap).with_provider(PROVIDER))
//!     }
//!
//!     async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
//!         self.try_unwrap(wrapped, request)
//!             .map_err(|error| error.with_operation(Operation::Unwrap).with_provider(PROVIDER))
//!     }
//! }
//!
//! impl fmt::Debug for Device {
//!     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
//!         f.debug_struct("Device").field("kek", &self.kek).finish_non_exhaustive()
//!     }
//! }
//!
//! use waxseal::{EncryptionContext, blocking::Sealer};
//!
//! let sealer = Sealer::new(Device::new(&[7; 32], "slot 4", "1")?);
//! let context = EncryptionContext::new([("tenant", "acme")])?;
//! let sealed = sealer.seal(b"under a device", &context)?;
//! assert_eq!(sealer.open(&sealed, &context)?, b"under a device");
//! let other = EncryptionContext::new([("tenant", "umbrella")])?;
//! assert_eq!(sealer.open(&sealed, &other).unwrap_err().kind(), ErrorKind::CannotOpen);
//! # Ok::<(), Error>(())
//! ```
//!
//! With 96-bit random nonces a KEK like this one must be replaced before 2^32 wraps (NIST SP 800-38D, 8.3).
//!
//! # What has a default
//! [`generate`](crate::KeyManager::generate) draws a DEK here and wraps it; override it where the KMS makes data
//! keys in one call. [`rewrap`](crate::KeyManager::rewrap) gives `None`, and the caller unwraps and wraps;
//! override it where the KMS can do both without the DEK leaving it, and say so with
//! [`rewrapping`](crate::key::Capabilities::rewrapping). The `…_batch` methods go one by one.
//!
//! A decorator (retry, audit, a limit) implements the trait by forwarding *every* method, those with a default
//! too: a decorator that forgets `generate` quietly turns one KMS call into two.
//!
//! # Testing it
//! Feature `testing` has a conformance suite, `testing::conformance`, which holds a key manager against the
//! contract of [`KeyManager`](crate::KeyManager); call it from a test of your crate. What no suite can see is what
//! the backend *itself* was asked: look at one request on the wire, and check that the binding is in it.
