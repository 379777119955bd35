//! AWS Encryption SDK: a raw AES keyring, the committing suite without signatures, no encryption context.

use std::rc::Rc;

use aws_esdk::client::Client;
use aws_esdk::material_providers::client::Client as Providers;
use aws_esdk::material_providers::types::AesWrappingAlg;
use aws_esdk::material_providers::types::EsdkAlgorithmSuiteId::AlgAes256GcmHkdfSha512CommitKey;
use aws_esdk::material_providers::types::material_providers_config::MaterialProvidersConfig;
use aws_esdk::types::aws_encryption_sdk_config::AwsEncryptionSdkConfig;

use crate::case::Pair;

pub fn pair(plaintext: &Rc<[u8]>) -> Pair {
    let config = AwsEncryptionSdkConfig::builder()
        .build()
        .expect("a valid configuration");
    let client = Rc::new(Client::from_conf(config).expect("a client"));
    let config = MaterialProvidersConfig::builder()
        .build()
        .expect("a valid configuration");
    let providers = Providers::from_conf(config).expect("a client");
    let keyring = providers
        .create_raw_aes_keyring()
        .key_namespace("waxseal")
        .key_name("peers")
        .wrapping_key(vec![7; 32])
        .wrapping_alg(AesWrappingAlg::AlgAes256GcmIv12Tag16)
        .send();
    let keyring = pollster::block_on(keyring).expect("a keyring");
    let (opener, opens_with) = (Rc::clone(&client), keyring.clone());
    super::pair(
        "aws-esdk 1.2.4",
        plaintext,
        move |plaintext| {
            let sealed = client
                .encrypt()
                .plaintext(plaintext)
                .keyring(keyring.clone())
                .algorithm_suite_id(AlgAes256GcmHkdfSha512CommitKey)
                .send();
            let sealed = pollster::block_on(sealed).expect("seals");
            sealed.ciphertext.expect("a ciphertext")
        },
        move |sealed| {
            let opened = opener
                .decrypt()
                .ciphertext(sealed.clone())
                .keyring(opens_with.clone())
                .send();
            let opened = pollster::block_on(opened).expect("opens");
            opened.plaintext.expect("a plaintext")
        },
        |sealed| sealed.as_ref().len(),
    )
}
