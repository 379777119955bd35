//! Tink: `KmsEnvelopeAead` with AES-256-GCM below and above.

use std::rc::Rc;

use tink_core::Aead;

use crate::case::Pair;

const AAD: &[u8] = b"row 7";

pub fn pair(plaintext: &Rc<[u8]>) -> Pair {
    tink_aead::init();
    let kek = tink_aead::subtle::AesGcm::new(&[7; 32]).expect("32 bytes are a key");
    let sealer = Rc::new(tink_aead::KmsEnvelopeAead::new(
        tink_aead::aes256_gcm_key_template(),
        Box::new(kek),
    ));
    let opener = Rc::clone(&sealer);
    super::pair(
        "tink-aead 0.3",
        plaintext,
        move |plaintext| sealer.encrypt(plaintext, AAD).expect("seals"),
        move |sealed: &Vec<u8>| opener.decrypt(sealed, AAD).expect("opens"),
        Vec::len,
    )
}
