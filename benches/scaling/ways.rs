//! What is scaled. A new way of working is one more line in [`WAYS`] and one more function.

use std::hint::black_box;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use waxseal::backend::local::LocalKey;
use waxseal::source::Cached;
use waxseal::{Aad, DataKey, EncryptionContext, Kek, blocking::Sealer, source::AnyOf};

use crate::raw_aead::RawAead;

/// Seals or opens one value in buffers of its own.
pub(crate) type Worker = Box<dyn FnMut() + Send>;

pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// The workers that run at once, for a length and a number of threads: one for each thread, or a single one
    /// that divides a value among that many threads.
    pub(crate) workers: fn(usize, usize) -> Vec<Worker>,
}

pub(crate) const WAYS: &[Way] = &[
    Way {
        name: "raw AEAD, seal",
        workers: raw_seal,
    },
    Way {
        name: "raw AEAD, open",
        workers: raw_open,
    },
    Way {
        name: "one data key shared, seal",
        workers: key_seal,
    },
    Way {
        name: "one data key shared, open",
        workers: key_open,
    },
    Way {
        name: "one sealer shared, one-off seal, fresh DEK",
        workers: one_off_seal,
    },
    Way {
        name: "one sealer shared, one-off open",
        workers: one_off_open,
    },
    Way {
        name: "the same with a warm cache, seal",
        workers: cached_seal,
    },
    Way {
        name: "the same with a warm cache, open",
        workers: cached_open,
    },
];

const AAD: &[u8] = b"row 7";

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme"), ("table", "users")]).unwrap()
}

fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new(LocalKey::new(&Kek::generate().unwrap())))
}

fn data_key() -> Arc<DataKey> {
    Arc::new(sealer().data_key(&context()).unwrap())
}

/// A buffer of one thread. It shares no line of memory with what another thread uses, neither in its bytes nor in the
/// closure that owns it: that would be measured instead.
#[repr(align(128))]
struct Buffer(Vec<u8>);

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

fn bytes(len: usize, of: u8) -> Buffer {
    let mut bytes = Vec::with_capacity(len + 256);
    bytes.resize(len, of);
    Buffer(bytes)
}

/// The same, to be read by all threads.
fn shared(sealed: &[u8]) -> Arc<Buffer> {
    let mut copy = bytes(sealed.len(), 0);
    copy.copy_from_slice(sealed);
    Arc::new(copy)
}

/// One worker for each thread.
fn each(threads: usize, worker: impl Fn() -> Worker) -> Vec<Worker> {
    (0..threads).map(|_| worker()).collect()
}

fn raw_seal(len: usize, threads: usize) -> Vec<Worker> {
    each(threads, || {
        let (raw, plaintext, mut out) = (RawAead::new(), bytes(len, 7), bytes(len, 0));
        Box::new(move || raw.seal_to(&waxseal::value::entropy::array().unwrap(), &plaintext, &mut out))
    })
}

fn raw_open(len: usize, threads: usize) -> Vec<Worker> {
    each(threads, || {
        let raw = RawAead::new();
        let (ciphertext, tag) = raw.seal(&[1; 12], AAD, &vec![7; len]);
        let mut out = bytes(len, 0);
        Box::new(move || raw.open_to(&[1; 12], &ciphertext, &tag, &mut out))
    })
}

fn key_seal(len: usize, threads: usize) -> Vec<Worker> {
    let key = data_key();
    each(threads, || {
        let (key, plaintext) = (Arc::clone(&key), bytes(len, 7));
        let mut out = bytes(key.layout(len).unwrap().envelope_len(), 0);
        Box::new(move || {
            out.clear();
            key.seal_into(black_box(&plaintext), Aad::new(AAD), &mut out)
                .unwrap();
        })
    })
}

fn key_open(len: usize, threads: usize) -> Vec<Worker> {
    let key = data_key();
    let sealed = shared(&key.seal(&vec![7; len], Aad::new(AAD)).unwrap());
    each(threads, || {
        let (key, sealed, mut out) = (Arc::clone(&key), Arc::clone(&sealed), bytes(len, 0));
        Box::new(move || {
            out.clear();
            key.open_into(black_box(&sealed), Aad::new(AAD), &mut out)
                .unwrap();
        })
    })
}

fn one_off_seal(len: usize, threads: usize) -> Vec<Worker> {
    seal_with(&sealer(), len, threads)
}

fn one_off_open(len: usize, threads: usize) -> Vec<Worker> {
    open_with(&sealer(), len, threads)
}

fn cached_seal(len: usize, threads: usize) -> Vec<Worker> {
    seal_with(&cached(), len, threads)
}

fn cached_open(len: usize, threads: usize) -> Vec<Worker> {
    open_with(&cached(), len, threads)
}

fn cached() -> Arc<Sealer> {
    let keys = AnyOf::new(LocalKey::new(&Kek::generate().unwrap()));
    let sealer = waxseal::Sealer::builder().source(Cached::new(keys)).build();
    Arc::new(sealer.unwrap().into())
}

fn seal_with(sealer: &Arc<Sealer>, len: usize, threads: usize) -> Vec<Worker> {
    each(threads, || {
        let (sealer, context, plaintext) = (Arc::clone(sealer), context(), bytes(len, 7));
        Box::new(move || {
            black_box(sealer.seal(black_box(&plaintext), context.with_aad(AAD)).unwrap());
        })
    })
}

fn open_with(sealer: &Arc<Sealer>, len: usize, threads: usize) -> Vec<Worker> {
    let sealed = sealer.seal(&vec![7; len], context().with_aad(AAD)).unwrap();
    let sealed = shared(&sealed);
    each(threads, || {
        let (sealer, context, sealed) = (Arc::clone(sealer), context(), Arc::clone(&sealed));
        Box::new(move || {
            black_box(sealer.open(black_box(&sealed), context.with_aad(AAD)).unwrap());
        })
    })
}
