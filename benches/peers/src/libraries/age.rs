//! age: one X25519 recipient.

use std::rc::Rc;

use age::x25519::Identity;

use crate::case::Pair;

pub fn pair(plaintext: &Rc<[u8]>) -> Pair {
    let identity = Identity::generate();
    let recipient = identity.to_public();
    super::pair(
        "age 0.12, X25519",
        plaintext,
        move |plaintext| age::encrypt(&recipient, plaintext).expect("seals"),
        move |sealed: &Vec<u8>| age::decrypt(&identity, sealed).expect("opens"),
        Vec::len,
    )
}
