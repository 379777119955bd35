//! drongo, an emulator that nobody here wrote. Its ciphertext is text, neither encrypted nor authenticated, so the suite's
//! checks for altered bytes are beyond it; what comes before them passes, and what comes after them is here.

use std::sync::atomic::{AtomicU32, Ordering};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use waxseal::backend::gcp_kms::{Auth, Config, GcpKey};
use waxseal::testing::conformance::{Subject, run};
use waxseal::{EncryptionContext, ErrorKind, KeyManager, Sealer, key::Request};

use super::{acme, opens, wrapped};

pub(crate) struct Drongo {
    pub(crate) address: String,
}

/// The emulator, or `None` (with the reason printed) where there is none and none is demanded.
pub(crate) fn drongo() -> Option<Drongo> {
    let variable = |name| std::env::var(name).ok();
    let Some(address) = variable("WAXSEAL_TEST_DRONGO") else {
        assert_ne!(
            variable("CI").as_deref(),
            Some("true"),
            "WAXSEAL_TEST_DRONGO is not set"
        );
        println!("skipped: WAXSEAL_TEST_DRONGO is not set; run scripts/services up drongo");
        return None;
    };
    let version = variable("WAXSEAL_TEST_DRONGO_VERSION").unwrap_or_default();
    println!("drongo {version} at {address}");
    Some(Drongo { address })
}

impl Drongo {
    /// A call without the crate's client.
    fn raw(&self, target: &str, body: &Value) -> (u16, Value) {
        use std::io::{Read, Write};
        let host = self.address.trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "POST /v1/{target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: \
             close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    pub(crate) fn key(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let (ring, id) = (format!("r-{}-{now}", std::process::id()), format!("k-{next}"));
        let key = format!("projects/p/locations/global/keyRings/{ring}/cryptoKeys/{id}");
        self.make(&key);
        key
    }

    /// Makes a key of this name, and its ring.
    pub(crate) fn make(&self, key: &str) {
        let (ring, id) = key.split_once("/cryptoKeys/").unwrap();
        let (rings, ring_id) = ring.rsplit_once('/').unwrap();
        self.raw(&format!("{rings}?keyRingId={ring_id}"), &json!({}));
        let purpose = json!({"purpose": "ENCRYPT_DECRYPT"});
        let (status, made) = self.raw(&format!("{ring}/cryptoKeys?cryptoKeyId={id}"), &purpose);
        assert_eq!((status, made["name"].as_str()), (200, Some(key)), "{made}");
    }

    pub(crate) fn keys(&self, key: &str) -> GcpKey {
        let config = Config::new()
            .with_endpoint(&self.address)
            .with_auth(Auth::Anonymous);
        super::connect(config).unwrap().key(key).unwrap()
    }
}

#[tokio::test]
async fn the_suite_passes_up_to_the_checks_for_altered_bytes() {
    let Some(drongo) = drongo() else { return };
    let subject = Subject::new(drongo.keys(&drongo.key()))
        .against(drongo.keys(&drongo.key()))
        // Two encryptions of one plaintext are equal there.
        .wrapping_deterministically();
    match run(&subject).await {
        Ok(report) => println!("{report}"),
        Err(failure) => {
            println!("drongo: {failure}");
            let about_bytes = [
                "no_altered_byte_opens",
                "no_other_length_opens",
                "no_spliced_wrap_opens",
            ];
            assert!(failure.checks().contains(&about_bytes[0]), "{failure}");
            assert!(
                failure.checks().iter().all(|check| about_bytes.contains(check)),
                "{failure}"
            );
        }
    }
}

#[tokio::test]
async fn what_it_wraps_opens_in_its_context_under_its_key_only() {
    let Some(drongo) = drongo() else { return };
    let (key, other) = (drongo.key(), drongo.key());
    let (keys, others) = (drongo.keys(&key), drongo.keys(&other));
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    assert_eq!((wrap.kek().id(), wrap.kek().version()), (key.as_str(), "1"));
    opens(&keys, &dek, &wrap).await.unwrap();

    // What the service saw: it opens with the AAD, and gives the DEK.
    let context = acme();
    let request = Request::new(&context);
    let ciphertext = Base64::encode_string(wrap.wrapped());
    let body = json!({"ciphertext": ciphertext, "additionalAuthenticatedData": Base64::encode_string(&request.wrap_aad())});
    let (status, opened) = drongo.raw(&format!("{key}:decrypt"), &body);
    assert_eq!(
        (status, &opened["plaintext"]),
        (200, &json!(Base64::encode_string(dek.expose_bytes())))
    );
    let (status, _) = drongo.raw(&format!("{key}:decrypt"), &json!({"ciphertext": ciphertext}));
    assert_eq!(status, 400);

    let elsewhere = EncryptionContext::new([("tenant", "umbrella")]).unwrap();
    let error = keys
        .unwrap(wrap.as_wrap_ref(), &Request::new(&elsewhere))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotOpen);
    let hidden = wrap.clone().with_hidden_id();
    let error = others.unwrap(hidden.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotOpen);
    let mut stanza = wrap.as_wrap_ref();
    stanza.wrapped = b"no ciphertext at all";
    assert_eq!(
        keys.unwrap(stanza, &request).await.unwrap_err().kind(),
        ErrorKind::CannotOpen
    );
}

#[tokio::test]
async fn an_unknown_key_is_not_found() {
    let Some(drongo) = drongo() else { return };
    let key = drongo.key() + "-none";
    let error = wrapped(&drongo.keys(&key)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotFound);
}

#[tokio::test]
async fn batches_answer_as_single_calls_do() {
    let Some(drongo) = drongo() else { return };
    let keys = drongo.keys(&drongo.key());
    let context = acme();
    let request = Request::new(&context);
    let deks: Vec<_> = (1..4)
        .map(|fill| waxseal::value::Dek::from_bytes(&[fill; 32]))
        .collect();
    let items: Vec<_> = deks.iter().map(|dek| (dek, &request)).collect();
    let wraps: Vec<_> = keys
        .wrap_batch(&items)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let items: Vec<_> = wraps.iter().map(|wrap| (wrap.as_wrap_ref(), &request)).collect();
    let opened = keys.unwrap_batch(&items).await;
    assert_eq!(opened.len(), 3);
    for (dek, opened) in deks.iter().zip(opened) {
        assert!(opened.unwrap().dek.ct_eq(dek));
    }
}

/// Envelope and body are authenticated here, whatever the service does.
#[tokio::test]
async fn a_sealed_value_opens_and_an_altered_wrap_does_not() {
    let Some(drongo) = drongo() else { return };
    let sealer = Sealer::new(drongo.keys(&drongo.key()));
    let sealed = sealer.seal(b"under drongo", &acme()).await.unwrap();
    assert_eq!(sealer.open(&sealed, &acme()).await.unwrap(), b"under drongo");
    let wraps = 8 + u32::from_be_bytes([0, sealed[5], sealed[6], sealed[7]]) as usize;
    for place in (wraps - 60..wraps).step_by(7) {
        let mut altered = sealed.clone();
        altered[place] ^= 2;
        assert!(sealer.open(&altered, &acme()).await.is_err(), "byte {place}");
    }
}
