use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use crate::backend::local::{self, LocalKey, PassphraseKey};
use crate::envelope::{Envelope, WrapRef, WrappedDek, Wraps};
use crate::key::{Capabilities, KeyManager, Recognition, Request, RewrapRules, Unwrapped};
use crate::sealer::blocking::Sealer;
use crate::{
    EncryptionContext, Error, ErrorKind, Kek, Result, sealer::NewWraps, source::AnyOf, value::Dek,
    value::Operation,
};

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
    keys: LocalKey,
    wrap_only: bool,
    unwraps: Arc<AtomicUsize>,
}

impl Counting {
    fn new(byte: u8, wrap_only: bool) -> Self {
        Self {
            keys: LocalKey::new(&kek(byte)),
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

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
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

/// Whoever only decorates a local KEK is asked and told each time; the KEK itself is not asked at all.
#[test]
fn one_kek_of_this_process_gives_its_wrap_at_once_and_anything_else_is_asked() {
    let (context, local) = (context(), LocalKey::new(&kek(1)));
    let request = Request::new(&context);
    let shared: Arc<dyn KeyManager> = Arc::new(local.clone());
    assert!(local::generate_now(&shared, &request).unwrap().is_ok());
    assert!(local::generate_now(&Counting::new(1, false), &request).is_none());
    for (source, hidden) in [
        (AnyOf::new(local.clone()), false),
        (AnyOf::new(shared).hiding_ids(), true),
    ] {
        let (lease, set) = source.at_hand_to_seal(&request).unwrap();
        let (other, _) = source.at_hand_to_seal(&request).unwrap();
        assert!(!lease.dek().ct_eq(other.dek()));
        assert!(lease.may_seal());
        assert_eq!(lease.keks()[0].id(), local.kek_id());
        let [wrap] = set.wraps() else { panic!("one wrap") };
        assert_eq!(wrap.kek().id().is_empty(), hidden);
        let unwrapped = pollster::block_on(local.unwrap(wrap.as_wrap_ref(), &request)).unwrap();
        assert!(unwrapped.dek.ct_eq(lease.dek()));
        // Only what is sealed in that context opens.
        let sealer = Sealer::from_source(source);
        let sealed = sealer.seal(b"hello", &context).unwrap();
        assert_eq!(sealer.open(&sealed, &context).unwrap(), b"hello");
        assert!(sealer.open(&sealed, &EncryptionContext::empty()).is_err());
    }
    for source in [
        AnyOf::new(Counting::new(1, false)),
        AnyOf::new(local.clone()).wrap_with(LocalKey::new(&kek(2))),
        AnyOf::default().open_with(local),
    ] {
        assert!(source.at_hand_to_seal(&request).is_none());
    }
}

/// A small envelope is written behind its front, a large one apart from it, padded or not: the same bytes in form.
#[test]
fn one_off_envelopes_have_their_front_once_whatever_their_length() {
    let context = context();
    for padding in [0, 300] {
        let sealer = crate::Sealer::builder().wrap_with(LocalKey::new(&kek(1)));
        let sealer = Sealer::from(sealer.padding(padding).build().unwrap());
        for len in [0, 1, 16_384, 16_385, 65_536, 70_000] {
            let sealed = sealer.seal(&vec![7; len], &context).unwrap();
            let layout = sealer.data_key(&context).unwrap().layout(len).unwrap();
            assert_eq!(sealed.len(), layout.envelope_len(), "{len} {padding}");
            assert_eq!(
                sealer.open(&sealed, &context).unwrap(),
                vec![7; len],
                "{len} {padding}"
            );
        }
    }
}

// spec: ERR-2
#[test]
fn nothing_tells_a_failed_unwrap_from_a_failed_commitment() {
    let sealer = Sealer::new(LocalKey::new(&kek(1)));
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
    let source = AnyOf::new(LocalKey::new(&kek(1)))
        .wrap_with(LocalKey::new(&kek(2)))
        .hiding_ids();
    let (context, plaintext) = (context(), b"for two");
    let sealed = Sealer::from_source(source).seal(plaintext, &context).unwrap();

    let source = |new| AnyOf::new(LocalKey::new(&kek(new))).open_with(LocalKey::new(&kek(1)));
    let moved = Sealer::from_source(source(3)).rewrap(&sealed, &context).unwrap();
    assert_eq!(stanzas(&moved), 2);
    let moved = moved.splice(&sealed).unwrap();
    for (byte, opens) in [(1, false), (2, true), (3, true)] {
        let result = Sealer::new(LocalKey::new(&kek(byte))).open(&moved, &context);
        assert_eq!(result.is_ok(), opens, "{byte}");
    }

    let rules = RewrapRules::new().dropping_unknown();
    let dropping = Sealer::from_source(source(3)).with_rewrap_rules(rules);
    let alone = dropping.rewrap(&sealed, &context).unwrap();
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
    let passphrase = |text: &str| PassphraseKey::new(text.into()).unwrap();
    let context = context();
    let both = AnyOf::new(passphrase("ours")).wrap_with(passphrase("theirs"));
    let sealed = Sealer::from_source(both).seal(b"hello", &context).unwrap();

    let rewrapping = AnyOf::new(LocalKey::new(&kek(1))).open_with(passphrase("ours"));
    let new = Sealer::from_source(rewrapping)
        .rewrap(&sealed, &context)
        .unwrap()
        .splice(&sealed)
        .unwrap();
    let opens = |source: AnyOf| Sealer::from_source(source).open(&new, &context).is_ok();
    assert!(opens(AnyOf::new(passphrase("theirs"))), "they lost access");
    assert!(opens(AnyOf::new(LocalKey::new(&kek(1)))));
    assert!(
        !opens(AnyOf::new(passphrase("ours"))),
        "the wrap of the old key is replaced"
    );
}
