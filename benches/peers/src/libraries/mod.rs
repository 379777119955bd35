//! The libraries, one file each. Each checks its round trip before it returns what is to be timed.

mod age;
mod asherah;
mod aws_esdk;
mod envelopers;
mod kms_aead;
mod tink;
mod waxseal;

use std::rc::Rc;

use crate::case::{Pair, Work};

pub use self::asherah::NAME as ASHERAH;
pub use self::kms_aead::sealer as kms_aead_sealer;
pub use self::waxseal::{CACHED, HELD, INTO, context as waxseal_context, local as waxseal_local};

/// All of them, at the length of `plaintext`.
pub fn all(plaintext: &Rc<[u8]>) -> Vec<Pair> {
    let mut pairs = waxseal::all(plaintext);
    pairs.push(asherah::pair(plaintext));
    pairs.extend(kms_aead::all(plaintext));
    pairs.push(tink::pair(plaintext));
    pairs.push(envelopers::pair(plaintext));
    pairs.push(age::pair(plaintext));
    pairs.push(aws_esdk::pair(plaintext));
    pairs
}

/// A pair out of two functions that return something new each time; `added` counts what a sealed value has more.
fn pair<S: 'static, O: AsRef<[u8]>>(
    name: &'static str,
    plaintext: &Rc<[u8]>,
    seal: impl Fn(&[u8]) -> S + 'static,
    open: impl Fn(&S) -> O + 'static,
    len: impl Fn(&S) -> usize,
) -> Pair {
    let sealed = seal(plaintext);
    verify(name, open(&sealed).as_ref(), plaintext);
    let added = len(&sealed) - plaintext.len();
    let plaintext = Rc::clone(plaintext);
    Pair {
        name,
        added,
        seal: Work::new(move || {
            std::hint::black_box(seal(std::hint::black_box(&plaintext)));
        }),
        open: Work::new(move || {
            std::hint::black_box(open(std::hint::black_box(&sealed)));
        }),
    }
}

fn verify(name: &str, opened: &[u8], plaintext: &[u8]) {
    assert!(opened == plaintext, "{name} did not open what it sealed");
}
