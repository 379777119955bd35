//! envelopers: AES-256-GCM for the value and its `SimpleKeyProvider`. Its record is left as it is, not written as CBOR.

use std::rc::Rc;

use envelopers::{Aes256Gcm, EncryptedRecord, EnvelopeCipher, SimpleKeyProvider};

use crate::case::Pair;

const AAD: &str = "row 7";

pub fn pair(plaintext: &Rc<[u8]>) -> Pair {
    let provider: SimpleKeyProvider<Aes256Gcm> = SimpleKeyProvider::init([7; 16]);
    let sealer: Rc<EnvelopeCipher<_>> = Rc::new(EnvelopeCipher::init(provider));
    let opener = Rc::clone(&sealer);
    super::pair(
        "envelopers 0.8",
        plaintext,
        move |plaintext| {
            let record = pollster::block_on(sealer.encrypt_with(plaintext).aad(AAD).encrypt());
            record.expect("seals")
        },
        move |record: &EncryptedRecord| {
            let opened = pollster::block_on(opener.decrypt_with(record).aad(AAD).decrypt());
            opened.expect("opens")
        },
        |record| record.to_vec().expect("writes CBOR").len(),
    )
}
