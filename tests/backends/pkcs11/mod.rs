//! Keys on a real token: SoftHSM, by its own module; and where that is chosen (`scripts/services env kryoptic`), kryoptic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod admin;
mod errors;
mod oaep;
mod recovery;
mod support;
mod versions;

use cryptoki::mechanism::Mechanism as Call;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use support::{PIN, Token, has_key_wrap_pad};
use waxseal::backend::pkcs11::{Client, Mechanism, TokenKey};
use waxseal::runtime::{BoxFuture, Monotonic, Runtime, TokioRuntime};
use waxseal::testing::conformance::{self, Subject};
use waxseal::{EncryptionContext, ErrorKind, KeyManager, Sealer, key::Request, value::Dek};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aes_gcm_conforms() {
    let Some(token) = Token::fresh("conform-gcm") else {
        return;
    };
    token.make_key("a", &[1]);
    token.make_key("a", &[2]);
    token.make_key("b", &[1]);
    let subject = Subject::new(token.keys("a", Mechanism::AesGcm))
        .against(token.keys("b", Mechanism::AesGcm))
        .with_canary(PIN);
    let report = conformance::run(&subject)
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    assert_eq!(report.skipped().len(), 2, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aes_key_wrap_pad_conforms() {
    if !has_key_wrap_pad("the suite for key wrap with padding") {
        return;
    }
    let Some(token) = Token::fresh("conform-kwp") else {
        return;
    };
    token.make_key("a", &[1]);
    token.make_key("b", &[1]);
    let subject = Subject::new(token.keys("a", Mechanism::AesKeyWrapPad))
        .against(token.keys("b", Mechanism::AesKeyWrapPad))
        .wrapping_deterministically()
        .with_canary(PIN);
    let report = conformance::run(&subject)
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    assert_eq!(report.skipped().len(), 3, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_wrapping_leaves_no_secret_on_the_token() {
    if !has_key_wrap_pad("what key wrapping leaves") {
        return;
    }
    let Some(token) = Token::fresh("left") else {
        return;
    };
    token.make_key("kek", &[1]);
    token.make_key("kek", &[2]);
    let keys = token.keys("kek", Mechanism::AesKeyWrapPad);
    let (here, there) = (
        EncryptionContext::empty(),
        EncryptionContext::new([("a", "b")]).unwrap(),
    );
    for _ in 0..8 {
        let (_, wrapped) = keys.generate(&Request::new(&here)).await.unwrap();
        keys.unwrap(wrapped.as_wrap_ref(), &Request::new(&here))
            .await
            .unwrap();
        let moved = keys.unwrap(wrapped.as_wrap_ref(), &Request::new(&there)).await;
        assert_eq!(moved.unwrap_err().kind(), ErrorKind::CannotOpen);
        let mut bytes = wrapped.wrapped().to_vec();
        bytes[40] ^= 1;
        let mut altered = wrapped.as_wrap_ref();
        altered.wrapped = &bytes;
        let altered = keys.unwrap(altered, &Request::new(&here)).await;
        assert_eq!(altered.unwrap_err().kind(), ErrorKind::CannotOpen);
    }
    let session = token.session();
    let left = session
        .find_objects(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
        ])
        .unwrap();
    assert!(left.is_empty(), "{} objects are left", left.len());
    // They would have been seen.
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Private(true),
        Attribute::Value(vec![7; 64]),
    ];
    let other = token.session();
    other.create_object(&template).unwrap();
    assert_eq!(session.find_objects(&template[..2]).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_itself_opens_a_gcm_wrap_and_its_iv_is_the_one_in_front() {
    let Some(token) = Token::fresh("raw-gcm") else {
        return;
    };
    token.make_key("kek", &[1]);
    let keys = token.keys("kek", Mechanism::AesGcm);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let request = Request::new(&context);
    let dek = Dek::generate().unwrap();
    let wrapped = keys.wrap(&dek, &request).await.unwrap();
    assert_eq!(wrapped.wrapped().len(), 60);
    assert_eq!((wrapped.kek().id(), wrapped.kek().version()), ("kek", "01"));

    let session = token.session();
    let key = token.find(&session, "kek")[0];
    let mut iv: [u8; 12] = wrapped.wrapped()[..12].try_into().unwrap();
    let aad = [b"waxseal v1 wrap".as_slice(), context.digest()].concat();
    let params = GcmParams::new(&mut iv, &aad, 128.into()).unwrap();
    let opened = session
        .decrypt(&Call::AesGcm(params), key, &wrapped.wrapped()[12..])
        .unwrap();
    assert!(dek.ct_eq(&Dek::from_bytes(opened.as_slice().try_into().unwrap())));
    let params = GcmParams::new(&mut iv, b"another", 128.into()).unwrap();
    assert!(
        session
            .decrypt(&Call::AesGcm(params), key, &wrapped.wrapped()[12..])
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_itself_unwraps_what_was_key_wrapped() {
    if !has_key_wrap_pad("unwrapping without the crate") {
        return;
    }
    let Some(token) = Token::fresh("raw-kwp") else {
        return;
    };
    token.make_key("kek", &[1]);
    let keys = token.keys("kek", Mechanism::AesKeyWrapPad);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let dek = Dek::generate().unwrap();
    let wrapped = keys.wrap(&dek, &Request::new(&context)).await.unwrap();
    assert_eq!(wrapped.wrapped().len(), 72);

    let session = token.session();
    let key = token.find(&session, "kek")[0];
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ];
    let object = session
        .unwrap_key(&Call::AesKeyWrapPad, key, wrapped.wrapped(), &template)
        .unwrap();
    let value = session.get_attributes(object, &[AttributeType::Value]).unwrap();
    let [Attribute::Value(value)] = value.as_slice() else {
        panic!("{}", value.len())
    };
    assert_eq!(value[..32], *dek.expose_bytes());
    assert_eq!(value[32..], *context.digest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_at_once_share_few_sessions() {
    let Some(token) = Token::fresh("many") else { return };
    token.make_key("kek", &[1]);
    let config = token.config().with_sessions(3).unwrap();
    let keys = TokenKey::new(Client::new(config), "kek", Mechanism::AesGcm).unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|i| {
            let keys = keys.clone();
            tokio::spawn(async move {
                let context = EncryptionContext::new([("row", i.to_string())]).unwrap();
                let request = Request::new(&context);
                let (dek, wrapped) = keys.generate(&request).await.unwrap();
                let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
                assert!(opened.dek.ct_eq(&dek));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(token.is_in_use());
    drop(keys);
    assert!(!token.is_in_use(), "a session was left open");
}

/// Turns that are given back at the very moment when somebody gives up waiting for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_are_given_up_leave_their_turn_to_others() {
    let Some(token) = Token::fresh("given-up") else {
        return;
    };
    token.make_key("kek", &[1]);
    let config = token.config().with_sessions(2).unwrap();
    let keys = TokenKey::new(Client::new(config), "kek", Mechanism::AesGcm).unwrap();
    let context = EncryptionContext::empty();
    let (_, wrapped) = keys.generate(&Request::new(&context)).await.unwrap();
    let tasks: Vec<_> = (0..10_000_u32)
        .map(|i| {
            let (keys, wrapped) = (keys.clone(), wrapped.clone());
            tokio::spawn(async move {
                let context = EncryptionContext::empty();
                let request = Request::new(&context);
                let patience = Duration::from_micros(u64::from(i % 97) * 20);
                let unwrap = keys.unwrap(wrapped.as_wrap_ref(), &request);
                let _ = tokio::time::timeout(patience, unwrap).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &Request::new(&context)).await;
    opened.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_blocks_at_once_than_there_are_sessions() {
    let Some(token) = Token::fresh("turns") else {
        return;
    };
    token.make_key("kek", &[1]);
    let runtime = Arc::new(Holding(TokioRuntime::current(), Mutex::default()));
    let config = token
        .config()
        .with_sessions(3)
        .unwrap()
        .with_runtime(runtime.clone());
    let keys = TokenKey::new(Client::new(config), "kek", Mechanism::AesGcm).unwrap();
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let mut task = Context::from_waker(Waker::noop());
    let mut calls: Vec<_> = (0..64).map(|_| keys.generate(&request)).collect();
    for call in &mut calls {
        assert!(call.as_mut().poll(&mut task).is_pending());
    }
    assert_eq!(runtime.held().len(), 3);
    // Those that gave up had their turn, or lost their place; neither is missing afterwards.
    drop(calls);
    let held = std::mem::take(&mut *runtime.held());
    held.into_iter().for_each(|work| work());
    let mut calls: Vec<_> = (0..64).map(|_| keys.generate(&request)).collect();
    let mut done = 0;
    while done < 64 {
        calls.retain_mut(|call| match call.as_mut().poll(&mut task) {
            Poll::Ready(result) => {
                result.unwrap();
                done += 1;
                false
            }
            Poll::Pending => true,
        });
        let held = std::mem::take(&mut *runtime.held());
        assert!(held.len() <= 3, "{}", held.len());
        assert!(!held.is_empty() || done == 64, "nothing goes on after {done}");
        held.into_iter().for_each(|work| work());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_does_not_return_ends_by_the_timeout() {
    let Some(token) = Token::fresh("hang") else {
        return;
    };
    token.make_key("kek", &[1]);
    let runtime = Arc::new(Holding(TokioRuntime::current(), Mutex::default()));
    let config = token
        .config()
        .with_sessions(1)
        .unwrap()
        .with_runtime(runtime.clone());
    let client = Client::new(config.with_timeout(Duration::from_millis(50)));
    let keys = TokenKey::new(client, "kek", Mechanism::AesGcm).unwrap();
    let context = EncryptionContext::empty();
    // The first one hangs in the module, the second one waits for its turn.
    for _ in 0..2 {
        let error = keys.generate(&Request::new(&context)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.is_retryable());
    }
    assert_eq!(runtime.held().len(), 1);
}

/// Keeps what blocks until it is told to run.
struct Holding(TokioRuntime, Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl Holding {
    fn held(&self) -> MutexGuard<'_, Vec<Box<dyn FnOnce() + Send>>> {
        self.1.lock().unwrap()
    }
}

impl std::fmt::Debug for Holding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Holding")
    }
}

impl Runtime for Holding {
    fn now(&self) -> Monotonic {
        self.0.now()
    }

    fn wall_clock(&self) -> SystemTime {
        self.0.wall_clock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.held().push(work);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_is_sealed_and_opened() {
    let Some(token) = Token::fresh("payload") else {
        return;
    };
    token.make_key("kek", &[1]);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let sealed = Sealer::new(token.keys("kek", Mechanism::AesGcm))
        .seal(b"alice@example.com", &context)
        .await
        .unwrap();
    let opened = Sealer::new(token.keys("kek", Mechanism::AesGcm))
        .open(&sealed, &context)
        .await
        .unwrap();
    assert_eq!(opened, b"alice@example.com");
}
