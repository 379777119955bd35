//! asherah: a session whose intermediate key is cached, a static master key, keys in memory. Its record is left as
//! it is, not written as JSON.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use asherah::aead::AES256GCM;
use asherah::kms::StaticKMS;
use asherah::metastore::InMemoryMetastore;

use super::verify;
use crate::case::{Pair, Work};

pub const NAME: &str = "asherah 1.0, intermediate key cached";

pub fn pair(plaintext: &Rc<[u8]>) -> Pair {
    let crypto = Arc::new(AES256GCM::new());
    let kms = Arc::new(StaticKMS::new(Arc::clone(&crypto), vec![7; 32]).expect("32 bytes are a key"));
    let config = asherah::Config::new("service", "product");
    let factory = asherah::api::new_session_factory(config, Arc::new(InMemoryMetastore::new()), kms, crypto);
    let session = Rc::new(factory.get_session("acme"));

    let sealed = session.encrypt(plaintext).expect("seals");
    let opened = session.decrypt(sealed.clone()).expect("opens");
    verify(NAME, &opened, plaintext);
    let key = sealed.key.as_ref().map_or(0, |key| key.encrypted_key.len());
    let added = sealed.data.len() + key - plaintext.len();

    // Opening consumes the record: the copies are made before the watch starts.
    let spare = Rc::new(RefCell::new(Vec::new()));
    let (opener, copies, plaintext) = (Rc::clone(&session), Rc::clone(&spare), Rc::clone(plaintext));
    Pair {
        name: NAME,
        added,
        seal: Work::new(move || {
            black_box(session.encrypt(black_box(&plaintext)).expect("seals"));
        }),
        open: Work::prepared(
            move |times| spare.borrow_mut().resize(times as usize, sealed.clone()),
            move |_| {
                for sealed in copies.borrow_mut().drain(..) {
                    black_box(opener.decrypt(sealed).expect("opens"));
                }
            },
        ),
    }
}
