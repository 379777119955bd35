//! This project: one-off through a `Sealer`, and under a data key that is held.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;

use waxseal::source::Cached;
use waxseal::backend::local::LocalKey;
use waxseal::{Aad, source::AnyOf, EncryptionContext, Kek, blocking::Sealer};

use super::verify;
use crate::case::{Pair, Work};

/// One-off, a DEK for each value.
pub const FRESH: &str = "waxseal, one-off, fresh DEK";
/// One-off, with a cache of DEKs that is warm.
pub const CACHED: &str = "waxseal, one-off, warm cache";
/// A data key is held; a new vector for each value.
pub const HELD: &str = "waxseal, data key";
/// A data key is held; the caller's vector, used again.
pub const INTO: &str = "waxseal, data key, into a buffer";

const AAD: &[u8] = b"row 7";

pub fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme"), ("table", "users")]).expect("within the limits")
}

pub fn local() -> Sealer {
    Sealer::new(LocalKey::new(
        &Kek::generate().expect("the system gives randomness"),
    ))
}

fn cached() -> Sealer {
    let keys = LocalKey::new(&Kek::generate().expect("the system gives randomness"));
    let source = Cached::new(AnyOf::new(keys));
    waxseal::Sealer::builder()
        .source(source)
        .build()
        .expect("a source")
        .into()
}

pub fn all(plaintext: &Rc<[u8]>) -> Vec<Pair> {
    vec![
        one_off(FRESH, local(), plaintext),
        one_off(CACHED, cached(), plaintext),
        held(plaintext),
        into(plaintext),
    ]
}

/// `seal` and `open` of a sealer. Where its DEKs come from is the sealer's affair.
fn one_off(name: &'static str, sealer: Sealer, plaintext: &Rc<[u8]>) -> Pair {
    let (sealer, context) = (Rc::new(sealer), context());
    let (opener, opened_under) = (Rc::clone(&sealer), context.clone());
    super::pair(
        name,
        plaintext,
        move |plaintext| sealer.seal(plaintext, context.with_aad(AAD)).expect("seals"),
        move |sealed: &Vec<u8>| opener.open(sealed, opened_under.with_aad(AAD)).expect("opens"),
        Vec::len,
    )
}

fn held(plaintext: &Rc<[u8]>) -> Pair {
    let key = Rc::new(local().data_key(&context()).expect("a data key"));
    let opener = Rc::clone(&key);
    super::pair(
        HELD,
        plaintext,
        move |plaintext| key.seal(plaintext, Aad::new(AAD)).expect("seals"),
        move |sealed: &Vec<u8>| opener.open(sealed, Aad::new(AAD)).expect("opens"),
        Vec::len,
    )
}

fn into(plaintext: &Rc<[u8]>) -> Pair {
    let key = Rc::new(local().data_key(&context()).expect("a data key"));
    let sealed = key.seal(plaintext, Aad::new(AAD)).expect("seals");
    let added = sealed.len() - plaintext.len();
    let opened = RefCell::new(Vec::with_capacity(plaintext.len()));
    key.open_into(&sealed, Aad::new(AAD), &mut opened.borrow_mut())
        .expect("opens");
    verify(INTO, &opened.borrow(), plaintext);
    let (opener, plaintext) = (Rc::clone(&key), Rc::clone(plaintext));
    let mut out = Vec::with_capacity(sealed.len());
    Pair {
        name: INTO,
        added,
        seal: Work::new(move || {
            out.clear();
            key.seal_into(black_box(&plaintext), Aad::new(AAD), &mut out)
                .expect("seals");
        }),
        open: Work::new(move || {
            let mut opened = opened.borrow_mut();
            opened.clear();
            opener
                .open_into(black_box(&sealed), Aad::new(AAD), &mut opened)
                .expect("opens");
        }),
    }
}
