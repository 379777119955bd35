//! How to connect another KMS or HSM.
//!
//! A [`KeyManager`](crate::KeyManager) is one KEK, wherever it is kept, together with the versions of the KEK that
//! still open. A key manager wraps 32 bytes and unwraps them, bound to a [`Request`](crate::key::Request). It knows no
//! envelopes and no payloads. A [`DekSource`](crate::DekSource) decides which key managers wrap, and how many. A
//! [`Sealer`](crate::Sealer) takes either.
//!
//! # What it must do
//!
//! 1. *Bind.* A wrap made under one [`binding`](crate::key::Request::binding) must not unwrap under another. If the
//!    backend authenticates extra data, pass it [`wrap_aad`](crate::key::Request::wrap_aad). If it does not, wrap
//!    what [`embed`](crate::key::Request::embed) returns and unwrap with [`extract`](crate::key::Request::extract).
//! 2. *Recognize.* Decide from algorithm, provider and id alone whether a stanza is under this KEK;
//!    [`Recognition::by_id`](crate::key::Recognition::by_id) does this. Call no network. A KEK that cannot unwrap still
//!    recognizes its own stanzas, and says that it cannot unwrap in its [`Capabilities`](crate::key::Capabilities).
//! 3. *Use what is configured.* Nothing in a stanza may choose a key, a host or an algorithm.
//! 4. *Return errors by kind*, from the backend's codes and never from its text. If a wrap does not open, return
//!    `CannotOpen`, whatever the backend calls it. Never return `CannotOpen` for an outage.
//! 5. *Be cancel safe.* A caller may drop any future at any await; no lock stays held and no secret stays behind.
//! 6. *Keep secrets.* Put no key, response body or context value into an error, `Debug` or a log. Wipe every copy
//!    of the DEK that you make.
//! 7. *Name the KEK as the backend resolved it*, with its exact version: an ARN and not an alias, so that an old
//!    row shows which key wrapped it.
//! 8. *Answer by the deadline* of the request, if it has one.
//!
//! Wrap algorithms 224 to 255 are for private use. Every envelope contains the number and the provider name, so
//! choose them once and never change them.
//!
//! # An example
//! In this example a key in memory stands for a device that encrypts 32 bytes with AES-256-GCM. With a real device, replace the two
//! calls to `cipher` with calls to the device.
//!
//! ```
//! use std::fmt;
//! use std::sync::Arc;
//!
//! use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
//! use async_trait::async_trait;
//! use waxseal::envelope::{AlgorithmClass, KekRef, WrapAlgorithm, WrapRef, WrappedDek};
//! use waxseal::key::{Binds, Capabilities, Recognition, Request, Unwrapped, Versions};
//! use waxseal::value::{Dek, Operation, entropy};
//! use waxseal::{Error, ErrorKind, KeyManager, Result};
//! use zeroize::Zeroizing;
//!
//! const PROVIDER: &str = "example-device";
//! const ALGORITHM: WrapAlgorithm = WrapAlgorithm::from_id(224);
//!
//! #[derive(Clone)]
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
//!         Capabilities::new(ALGORITHM, Binds::Aad)
//!             .of_class(AlgorithmClass::Symmetric)
//!             .with_versions(Versions::Proven)
//!     }
//!
//!     fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
//!         // The id decides, not the version: a stanza of an older version is under this KEK too.
//!         // This name is not unique in the world: another device may have the same name.
//!         Recognition::by_id(wrapped, ALGORITHM, PROVIDER, self.kek.id()).min(Recognition::Perhaps)
//!     }
//!
//!     fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
//!         // This device has one version.
//!         if *kek != self.kek {
//!             return Err(Error::new(ErrorKind::InvalidArgument)
//!                 .with_detail("the KEK to pin is not the KEK of this device"));
//!         }
//!         Ok(Arc::new(self.clone()))
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
//! [`generate`](crate::KeyManager::generate) draws a DEK in this process and wraps it; override it if the KMS makes data
//! keys in one call. [`rewrap`](crate::KeyManager::rewrap) returns `None`, and the caller unwraps and wraps;
//! override it if the KMS can do both without the DEK leaving the KMS, and declare that with
//! [`rewrapping`](crate::key::Capabilities::rewrapping). The `…_batch` methods handle one item after the other.
//! [`pinned_to`](crate::KeyManager::pinned_to) returns `Unsupported`; override it so that a key ring can decide which version wraps, and
//! declare with [`with_versions`](crate::key::Capabilities::with_versions) what the answers prove.
//!
//! A decorator (retry, audit, a limit) forwards *every* method of the trait, also the methods with a
//! default: a decorator that does not forward `generate` turns one KMS call into two. It forwards `pinned_to` by decorating what
//! the inner key manager returns.
//!
//! # Testing it
//! Feature `testing` has a conformance suite, `testing::conformance`, which tests a key manager against the
//! contract of [`KeyManager`](crate::KeyManager). Call it from a test of your crate. The suite cannot see what
//! the backend *itself* receives: look at one request on the wire, and check that it contains the wrap binding.
