//! The fake, and what the backend makes of it, held against code that is not ours.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;
use waxseal::key::Request;

use super::{acme, keys, wrapped};
use crate::fake_azure_key_vault::{
    ASSERTION, CLIENT_SECRET, FakeKeyVault, IDENTITY_HEADER, Material, Setup, TENANT,
};
use base64ct::{Base64UrlUnpadded, Encoding};

/// A wrap of the backend's, with the private key that no vault would give.
#[tokio::test]
async fn openssl_opens_a_wrap_by_rsa_oaep_256_to_dek_and_digest() {
    let fake = FakeKeyVault::start();
    let (dek, wrap) = wrapped(&keys(&fake, &fake.key("k"))).await.unwrap();
    let Material::Rsa(pkcs8) = fake.material("k", wrap.kek().version()) else {
        panic!("an RSA key");
    };
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key.der");
    std::fs::write(&key, pkcs8).unwrap();
    let mut openssl = Command::new("openssl")
        .args(["pkeyutl", "-decrypt", "-keyform", "DER", "-inkey"])
        .arg(&key)
        .args([
            "-pkeyopt",
            "rsa_padding_mode:oaep",
            "-pkeyopt",
            "rsa_oaep_md:sha256",
        ])
        .args(["-pkeyopt", "rsa_mgf1_md:sha256"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(wrap.wrapped()).unwrap();
    let output = openssl.wait_with_output().unwrap();
    assert!(output.status.success());
    let context = acme();
    let expected = [dek.expose_bytes().as_slice(), Request::new(&context).binding()].concat();
    assert!(output.stdout == expected, "{} bytes", output.stdout.len());
}

/// RFC 3394, 4.6: 256 bits of key data with a 256-bit KEK; and 4.5: 192 bits.
#[test]
fn the_fakes_a256kw_is_that_of_rfc_3394() {
    let kek = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F";
    let fake = FakeKeyVault::start_hsm();
    let material = Material::Aes(hex::decode(kek).unwrap().try_into().unwrap());
    fake.shared().state.import("k", material);
    let version = fake.version("k");
    for (data, wrapped) in [
        (
            "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
            "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
        ),
        (
            "00112233445566778899AABBCCDDEEFF0001020304050607",
            "A8F9BC1612C68B3FF6E6F4FBE30E71E4769C8B80A32CB8958CD5D17D6B254DA1",
        ),
    ] {
        let text = |hex: &str| Base64UrlUnpadded::encode_string(&hex::decode(hex).unwrap());
        let body = json!({"alg": "A256KW", "value": text(data)});
        let done = fake.call("POST", &format!("/keys/k/{version}/wrapkey"), &body);
        assert_eq!(done["value"], text(wrapped));
        let body = json!({"alg": "A256KW", "value": text(wrapped)});
        let done = fake.call("POST", &format!("/keys/k/{version}/unwrapkey"), &body);
        assert_eq!(done["value"], text(data));
    }
}

/// So that the fake does not only agree with ourselves.
#[test]
fn microsofts_own_client_gets_from_the_fake_what_it_expects() {
    let variable = |name| std::env::var(name).ok();
    let Some(python) = variable("WAXSEAL_TEST_AZURE_PYTHON") else {
        assert_ne!(
            variable("CI").as_deref(),
            Some("true"),
            "WAXSEAL_TEST_AZURE_PYTHON is not set"
        );
        println!(
            "skipped: WAXSEAL_TEST_AZURE_PYTHON is not set; run scripts/services up azure-key-vault-client"
        );
        return;
    };
    println!(
        "azure-keyvault-keys {}",
        variable("WAXSEAL_TEST_AZURE_PYTHON_VERSION").unwrap_or_default()
    );
    // It follows the addresses that it is given.
    let fake = FakeKeyVault::start_with(Setup {
        public: None,
        ..Setup::default()
    });
    let dir = tempfile::tempdir().unwrap();
    let (ca, assertion) = (dir.path().join("ca.pem"), dir.path().join("assertion"));
    std::fs::write(&ca, fake.ca()).unwrap();
    std::fs::write(&assertion, ASSERTION).unwrap();
    let output = Command::new(python)
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/azure_fake_check.py"))
        .args([fake.url().as_str(), TENANT, CLIENT_SECRET])
        .arg(&assertion)
        .env("REQUESTS_CA_BUNDLE", &ca)
        .env("IDENTITY_ENDPOINT", fake.identity_endpoint())
        .env("IDENTITY_HEADER", IDENTITY_HEADER)
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

/// For trying things by hand: `cargo test --features azure-key-vault,testing --test azure_key_vault -- --ignored
/// others::serve --nocapture`. Prints what a client is to have, and ends with its standard input.
#[test]
#[ignore = "serves until its standard input ends"]
fn serve() {
    let (vault, hsm) = (FakeKeyVault::start(), FakeKeyVault::start_hsm());
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, [vault.ca(), hsm.ca()].concat()).unwrap();
    for (fake, algorithm) in [(&vault, "RSA-OAEP-256"), (&hsm, "A256KW")] {
        fake.key("k");
        println!(
            "azure-key-vault:{}/keys/k?algorithm={algorithm}&verify-challenge=off",
            fake.url()
        );
    }
    println!("export SSL_CERT_FILE={}", ca.display());
    println!(
        "export AZURE_AUTHORITY_HOST={} # the vault's; the HSM has its own",
        vault.url()
    );
    println!("export AZURE_TENANT_ID={TENANT} AZURE_CLIENT_ID=app AZURE_CLIENT_SECRET={CLIENT_SECRET}");
    println!(
        "or: export IDENTITY_ENDPOINT={} IDENTITY_HEADER={IDENTITY_HEADER}",
        vault.identity_endpoint()
    );
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}
