//! Parent and child of a `fork` never draw the same randomness, and never seal in the same session; a cache of DEKs goes
//! on in both.
//!
//! A forked copy of a process with threads may do next to nothing, so there is one thread.
#![allow(unsafe_code, reason = "the standard library has no fork without exec")]

use std::io::{PipeReader, PipeWriter, Read, Write};

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use waxseal::runtime::{BoxFuture, Runtime};
use waxseal::source::{Cached, Caching};
use waxseal::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use waxseal::{
    Aad, EncryptionContext, Envelope, blocking::Sealer, sealer::SealedBatch, source::AnyOf, value::entropy,
};

pub(crate) const TESTS: &[crate::Test] = &[
    (
        "fork::parent_and_child_share_neither_randomness_nor_sessions",
        parent_and_child_share_neither_randomness_nor_sessions,
    ),
    (
        "fork::a_cache_goes_on_in_parent_and_child",
        a_cache_goes_on_in_parent_and_child,
    ),
];

const SEALS: usize = 3;

/// What one side makes: random bytes of each length, then envelopes of the key from before the fork.
struct Made {
    random: Vec<[u8; 32]>,
    envelopes: Vec<Vec<u8>>,
}

fn make(key: &waxseal::DataKey) -> Made {
    Made {
        random: (0..SEALS).map(|_| entropy::array().unwrap()).collect(),
        envelopes: (0..SEALS)
            .map(|_| key.seal(b"hello", Aad::new("row 7")).unwrap())
            .collect(),
    }
}

fn send(made: &Made, mut pipe: PipeWriter) {
    for random in &made.random {
        pipe.write_all(random).unwrap();
    }
    for envelope in &made.envelopes {
        pipe.write_all(&u32::try_from(envelope.len()).unwrap().to_be_bytes())
            .unwrap();
        pipe.write_all(envelope).unwrap();
    }
}

fn receive(mut pipe: impl Read) -> Made {
    let mut made = Made {
        random: Vec::new(),
        envelopes: Vec::new(),
    };
    for _ in 0..SEALS {
        let mut random = [0; 32];
        pipe.read_exact(&mut random).unwrap();
        made.random.push(random);
    }
    for _ in 0..SEALS {
        let mut len = [0; 4];
        pipe.read_exact(&mut len).unwrap();
        let mut envelope = vec![0; u32::from_be_bytes(len) as usize];
        pipe.read_exact(&mut envelope).unwrap();
        made.envelopes.push(envelope);
    }
    made
}

/// What a forked copy of this process makes.
fn in_child<T>(
    make: impl FnOnce() -> T,
    send: impl FnOnce(&T, PipeWriter),
    receive: impl FnOnce(PipeReader) -> T,
) -> T {
    let (reader, writer) = std::io::pipe().unwrap();
    let child = fork();
    if child == 0 {
        drop(reader);
        end_child(|| send(&make(), writer));
    }
    drop(writer);
    let made = receive(reader);
    wait_for(child);
    made
}

/// 0 in the child, which has to end by [`end_child`].
fn fork() -> libc::pid_t {
    // SAFETY: this process has one thread (see `main`), so the child may do anything. It ends by
    // `_exit` and never returns into the parent's code.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    child
}

fn end_child(work: impl FnOnce()) -> ! {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    // SAFETY: ends this process and does nothing else.
    unsafe { libc::_exit(i32::from(done.is_err())) }
}

fn wait_for(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: `child` is a child of this process that nobody waits for elsewhere; `status` outlives the call.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "the child failed");
}

/// Nonces were drawn for both when the caller's code forks in the middle of a batch.
fn fork_inside_a_batch(key: &waxseal::DataKey) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = None;
    let mut sealed = SealedBatch::new();
    let aad = |row: usize| {
        if row == 1 {
            child = Some(fork());
        }
        b"row 7"
    };
    key.seal_batch([b"hello"; 1 + SEALS], aad, &mut sealed).unwrap();
    let made = Made {
        random: vec![[0; 32]; SEALS],
        envelopes: sealed.iter().skip(1).map(<[u8]>::to_vec).collect(),
    };
    let child = child.unwrap();
    if child == 0 {
        drop(reader);
        end_child(|| send(&made, writer));
    }
    drop(writer);
    let theirs = receive(reader);
    wait_for(child);
    let session = |envelope: &[u8]| *Envelope::parse(envelope).unwrap().header().body().session_id();
    let first = session(sealed.get(0).unwrap());
    assert!(made.envelopes.iter().all(|envelope| session(envelope) == first));
    assert!(theirs.envelopes.iter().all(|envelope| session(envelope) != first));
    for envelope in &theirs.envelopes {
        assert_eq!(key.open(envelope, Aad::new("row 7")).unwrap(), b"hello");
    }
}

/// What a process saw of the KMS once it had sealed and opened: calls to generate and to unwrap.
fn use_cache(
    sealer: &Sealer,
    kms: &FakeKeyManager,
    sealed: &[u8],
    waiting: &[u8],
    context: &EncryptionContext,
) -> [u8; 2] {
    kms.forget_calls();
    kms.heal();
    for _ in 0..3 {
        assert_eq!(sealer.open(sealed, context).unwrap(), b"hello");
        // A request about this one was under way when the process forked.
        assert_eq!(sealer.open(waiting, context).unwrap(), b"hello");
        sealer.seal(b"hello", context).unwrap();
    }
    [Method::Generate, Method::Unwrap].map(|method| u8::try_from(kms.count(method)).unwrap())
}

fn a_cache_goes_on_in_parent_and_child() {
    let (kms, runtime) = (FakeKeyManager::new("kek"), Arc::new(SimulatedRuntime::new()));
    let shared: Arc<dyn Runtime> = runtime.clone();
    let cache = Cached::with_policy(AnyOf::new(kms.clone()), Caching::default(), Arc::clone(&shared));
    let builder = waxseal::Sealer::builder().source(cache).runtime(shared);
    let inner = builder.build().unwrap();
    let sealer = Sealer::from(inner.clone());
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let waiting = Sealer::new(kms.clone()).seal(b"hello", &context).unwrap();
    let sealed = sealer.seal(b"hello", &context).unwrap();
    sealer.open(&sealed, &context).unwrap();

    kms.script_always(Fault::Hangs(runtime.clone(), Duration::from_secs(1)));
    let mut opens: BoxFuture<'_, _> = Box::pin(inner.open(&waiting, &context));
    assert!(
        opens
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    let child = in_child(
        || use_cache(&sealer, &kms, &sealed, &waiting, &context),
        |calls, mut pipe| pipe.write_all(calls).unwrap(),
        |mut pipe| {
            let mut calls = [0; 2];
            pipe.read_exact(&mut calls).unwrap();
            calls
        },
    );
    // Its own DEK for sealing; what it opens with it has, but for what was under way.
    assert_eq!(child, [1, 1]);
    assert_eq!(runtime.run(opens).unwrap().unwrap(), b"hello");
    assert_eq!(use_cache(&sealer, &kms, &sealed, &waiting, &context), [0, 0]);
}

fn parent_and_child_share_neither_randomness_nor_sessions() {
    let kms = FakeKeyManager::new("kek");
    let sealer = Sealer::new(kms.clone());
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let key = sealer.data_key(&context).unwrap();
    // The buffer of randomness and the session are there before the fork.
    let before = make(&key);
    let left = key.lease().sessions_left();
    let children = [(), ()].map(|()| in_child(|| make(&key), send, receive));
    let parent = make(&key);
    let all = [&before, &children[0], &children[1], &parent];

    let mut random: Vec<_> = all.iter().flat_map(|made| &made.random).collect();
    let count = random.len();
    random.sort();
    random.dedup();
    assert_eq!(random.len(), count, "the same random bytes came twice");

    let sealed = || all.iter().flat_map(|made| &made.envelopes);
    let mut nonces: Vec<_> = sealed()
        .map(|envelope| *Envelope::parse(envelope).unwrap().header().nonce())
        .collect();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), all.len() * SEALS, "the same nonce came twice");

    let session_of = |made: &Made| {
        let mut ids: Vec<_> = made
            .envelopes
            .iter()
            .map(|envelope| *Envelope::parse(envelope).unwrap().header().body().session_id())
            .collect();
        ids.dedup();
        let [id] = ids.try_into().unwrap();
        id
    };
    // The parent goes on in its session; each child has begun one of its own.
    let [first, a, b, last] = all.map(session_of);
    assert_eq!(first, last);
    assert!(
        a != first && b != first && a != b,
        "a child sealed in another's session"
    );
    assert_eq!(key.lease().sessions_left(), left);

    fork_inside_a_batch(&key);

    for envelope in sealed() {
        assert_eq!(
            sealer.open(envelope, context.with_aad(b"row 7")).unwrap(),
            b"hello"
        );
    }
    assert_eq!(kms.calls().len(), 1 + all.len() * SEALS);
}
