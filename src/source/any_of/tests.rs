use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use crate::blocking::Sealer;
use crate::envelope::{Envelope, WrapRef, WrappedDek, Wraps};
use crate::key_manager::{Capabilities, KeyManager, Request, Unwrapped};
use crate::local::{LocalKeys, PassphraseKeys};
use crate::{AnyOf, Dek, EncryptionContext, Error, ErrorKind, Kek, NewWraps, Operation, Result};

fn kek(byte: u8) -> Kek {
    Kek::from_bytes(&std::array::from_fn(|i| byte ^ u8::try_from(i).unwrap()))
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

fn stanzas(new: &NewWraps) -> usize {
    match new.wraps() {
        Wraps::Attached(set) => set.wraps().len(),
        Wraps::Detached(_) => 0,
    }
}

/// A local KEK that counts what it is asked, and perhaps only wraps.
#[derive(Clone, Debug)]
struct Counting {
    keys: LocalKeys,
    wrap_only: bool,
    unwraps: Arc<AtomicUsize>,
}

impl Counting {
    fn new(byte: u8, wrap_only: bool) -> Self {
        Self {
            keys: LocalKeys::new(&kek(byte)),
            wrap_only,
            unwraps: Arc::default(),
        }
    }
}

#[async_trait]
impl KeyManager for Counting {
    fn provider(&self) -> &str {
        self.keys.provider()
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = self.keys.capabilities();
        if self.wrap_only {
            capabilities.wrap_only()
        } else {
            capabilities
        }
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> bool {
        self.keys.recognizes(wrapped)
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        self.keys.wrap(dek, request).await
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        self.unwraps.fetch_add(1, Ordering::Relaxed);
        if self.wrap_only {
            return Err(Error::new(ErrorKind::Denied));
        }
        self.keys.unwrap(wrapped, request).await
    }
}

#[test]
fn nothing_tells_a_failed_unwrap_from_a_failed_commitment() {
    let sealer = Sealer::new(LocalKeys::new(&kek(1)));
    let context = context();
    let one = sealer.seal(b"one", &context).unwrap();
    let two = sealer.seal(b"two", &context).unwrap();
    let body = Envelope::parse(&one).unwrap().header().body_offset();

    let mut altered_wrap = one.clone();
    altered_wrap[body - 1] ^= 1;
    let wrap_of_another_dek = [&two[..body], &one[body..]].concat();

    let errors = [altered_wrap, wrap_of_another_dek].map(|envelope| {
        let error = sealer.open(&envelope, &context).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen);
        assert_eq!(error.operation(), Some(Operation::Open));
        assert_eq!(error.attempts().len(), 1);
        format!("{error:?} {error}")
    });
    assert_eq!(errors[0], errors[1]);
}

#[test]
fn a_rewrap_keeps_the_hidden_wrap_of_another_recipient() {
    let source = AnyOf::new(LocalKeys::new(&kek(1)))
        .wrap_with(LocalKeys::new(&kek(2)))
        .hiding_ids();
    let (context, plaintext) = (context(), b"for two");
    let sealed = Sealer::from_source(source).seal(plaintext, &context).unwrap();

    let source = |new| AnyOf::new(LocalKeys::new(&kek(new))).open_with(LocalKeys::new(&kek(1)));
    let moved = Sealer::from_source(source(3)).rewrap(&sealed, &context).unwrap();
    assert_eq!(stanzas(&moved), 2);
    let moved = moved.splice(&sealed).unwrap();
    for (byte, opens) in [(1, false), (2, true), (3, true)] {
        let result = Sealer::new(LocalKeys::new(&kek(byte))).open(&moved, &context);
        assert_eq!(result.is_ok(), opens, "{byte}");
    }

    let source = source(3).dropping_unknown();
    let alone = Sealer::from_source(source).rewrap(&sealed, &context).unwrap();
    assert_eq!(stanzas(&alone), 1);
}

#[test]
fn what_cannot_unwrap_is_not_asked_to() {
    let manager = Counting::new(1, true);
    let sealer = Sealer::new(manager.clone());
    let sealed = sealer.seal(b"a", &context()).unwrap();
    let error = sealer.open(&sealed, &context()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoUsableKey);
    assert_eq!(manager.unwraps.load(Ordering::Relaxed), 0);
}

#[test]
fn a_rewrap_without_a_destination_is_refused_before_any_work() {
    let manager = Counting::new(1, false);
    let sealed = Sealer::new(manager.clone()).seal(b"a", &context()).unwrap();
    let sealer = Sealer::from_source(AnyOf::default().open_with(manager.clone()));
    let error = sealer.rewrap(&sealed, &context()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(manager.unwraps.load(Ordering::Relaxed), 0);
}

#[test]
fn a_rewrap_keeps_the_wrap_of_another_passphrase_of_the_same_name() {
    let passphrase = |text: &str| PassphraseKeys::new(text.into()).unwrap();
    let context = context();
    let both = AnyOf::new(passphrase("ours")).wrap_with(passphrase("theirs"));
    let sealed = Sealer::from_source(both).seal(b"hello", &context).unwrap();

    let rewrapping = AnyOf::new(LocalKeys::new(&kek(1))).open_with(passphrase("ours"));
    let new = Sealer::from_source(rewrapping)
        .rewrap(&sealed, &context)
        .unwrap()
        .splice(&sealed)
        .unwrap();
    let opens = |source: AnyOf| Sealer::from_source(source).open(&new, &context).is_ok();
    assert!(opens(AnyOf::new(passphrase("theirs"))), "they lost access");
    assert!(opens(AnyOf::new(LocalKeys::new(&kek(1)))));
    assert!(
        !opens(AnyOf::new(passphrase("ours"))),
        "the wrap of the old key is replaced"
    );
}
