//! kms-aead on AWS-LC: a DEK for each value, and one that is used again and cached.

use std::rc::Rc;

use kms_aead::backends::AwsLc;
use kms_aead::formats::Envelope;
use kms_aead::providers::{LocalKekId, LocalKmsProvider};
use kms_aead::{DekReusePolicy, Encrypted, KmsAeadEnvelope, KmsAeadEnvelopeOptions};

use crate::case::Pair;

pub type Sealer = KmsAeadEnvelope<LocalKmsProvider<AwsLc>, AwsLc>;

const AAD: &[u8] = b"row 7";

pub fn all(plaintext: &Rc<[u8]>) -> Vec<Pair> {
    vec![
        pair(
            "kms-aead 0.31, AWS-LC, cached DEK",
            KmsAeadEnvelopeOptions::new().with_dek_reuse(DekReusePolicy::new()),
            plaintext,
        ),
        pair(
            "kms-aead 0.31, AWS-LC, fresh DEK",
            KmsAeadEnvelopeOptions::new(),
            plaintext,
        ),
    ]
}

pub fn sealer(options: KmsAeadEnvelopeOptions) -> Sealer {
    let id = LocalKekId::try_from("local".to_string()).expect("a valid id");
    let provider = LocalKmsProvider::ephemeral(id).expect("the system gives randomness");
    KmsAeadEnvelope::with_options(provider, options).expect("valid options")
}

fn pair(name: &'static str, options: KmsAeadEnvelopeOptions, plaintext: &Rc<[u8]>) -> Pair {
    let sealer = Rc::new(sealer(options));
    let opener = Rc::clone(&sealer);
    // It takes a type of its own traits, so what it is given is a vector that is there already.
    let value = plaintext.to_vec();
    super::pair(
        name,
        plaintext,
        move |_| pollster::block_on(sealer.encrypt(AAD, &value)).expect("seals"),
        move |sealed: &Encrypted<Vec<u8>, Envelope>| {
            pollster::block_on(opener.decrypt(AAD, sealed)).expect("opens")
        },
        |sealed| sealed.value().len(),
    )
}
