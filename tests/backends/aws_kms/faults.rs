//! Answers that no well server gives, and none at all: a typed error, in bounded time, and no wrong key.

use std::future::Future;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use waxseal::backend::aws_kms::{AwsKey, Client};
use waxseal::{EncryptionContext, Error, ErrorKind, KeyManager, Sealer, key::Request};

use super::server::{SECRET, config, moto};
use super::wire::{aws, calls, only};
use crate::fault_proxy::{Certified, Fault, FaultProxy};

const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

const UNKNOWN: ErrorKind = ErrorKind::Unsupported {
    feature: "this call to what answers at the AWS KMS endpoint",
};

/// For answers that come, if late: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// For answers that never come.
const IMPATIENCE: Duration = Duration::from_secs(1);

async fn keys(proxy: &FaultProxy, arn: &str, timeout: Duration) -> AwsKey {
    let config = config(&proxy.url())
        .with_connect_timeout(timeout)
        .with_read_timeout(timeout)
        .with_operation_timeout(3 * timeout);
    Client::connect(config).await.unwrap().key(arn).unwrap()
}

/// What comes, however long the machine takes; not for ever.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let most = Duration::from_secs(60);
    tokio::time::timeout(most, work)
        .await
        .expect("the call does not end")
}

async fn fails(keys: &AwsKey) -> Error {
    let context = EncryptionContext::new([("tenant", "c4n4ry-c0nt3xt")]).unwrap();
    let error = in_time(keys.generate(&Request::new(&context))).await.unwrap_err();
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(" {error} {error:?}");
        cause = error.source();
    }
    for canary in [SECRET, "c4n4ry-c0nt3xt", "c4n4ry-b0dy"] {
        assert!(!text.contains(canary), "{error}");
    }
    assert_eq!(error.provider(), Some("aws-kms"));
    error
}

#[tokio::test]
async fn every_code_has_its_kind() {
    use ErrorKind as Kind;
    let proxy = FaultProxy::answering(aws(500, ""));
    let keys = keys(&proxy, ARN, PATIENCE).await;
    for (status, code, kind, retryable) in [
        (400, "ThrottlingException", Kind::Throttled, true),
        (400, "AccessDeniedException", Kind::Denied, false),
        (400, "UnrecognizedClientException", Kind::Unauthenticated, false),
        (403, "InvalidSignatureException", Kind::Unauthenticated, false),
        (400, "ExpiredTokenException", Kind::Unauthenticated, false),
        (400, "NotFoundException", Kind::KeyNotFound, false),
        (400, "DisabledException", Kind::KeyDisabled, false),
        (400, "KMSInvalidStateException", Kind::KeyNotReady, false),
        (400, "ValidationException", Kind::InvalidArgument, false),
        (400, "InvalidKeyUsageException", Kind::Configuration, false),
        (400, "InvalidGrantTokenException", Kind::Configuration, false),
        (500, "KMSInternalException", Kind::Unavailable, true),
        (500, "KeyUnavailableException", Kind::Unavailable, true),
        (500, "DependencyTimeoutException", Kind::Unavailable, true),
        (503, "ServiceUnavailableException", Kind::Unavailable, true),
        (502, "", Kind::Unavailable, true),
        (429, "", Kind::Throttled, true),
        (403, "", Kind::Denied, false),
        (418, "", Kind::InvalidAnswer, false),
        (501, "InternalFailure", UNKNOWN, false),
        (400, "UnknownOperationException", UNKNOWN, false),
    ] {
        let body = format!(r#"{{"__type":"{code}","message":"c4n4ry-b0dy {SECRET}"}}"#);
        proxy.set(aws(status, if code.is_empty() { "c4n4ry-b0dy" } else { &body }));
        proxy.seen();
        let error = fails(&keys).await;
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (kind, retryable),
            "{status} {code}: {error}"
        );
        assert!(
            error.to_string().contains(code) && error.to_string().contains("test-request"),
            "{error}"
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        // No retry of the SDK's; of a state the key is asked.
        let calls = 1 + usize::from(code == "KMSInvalidStateException");
        assert_eq!(proxy.seen().len(), calls, "{status} {code}");
    }
}

/// As emulators without it answer.
#[tokio::test]
async fn where_there_is_no_re_encryption_a_rewrap_is_left_to_the_caller() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::new(&moto.url);
    let client = Client::connect(config(&proxy.url())).await.unwrap();
    let (first, second) = (moto.key().await, moto.key().await);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let request = Request::new(&context);
    let former = client.key(&first).unwrap();
    let (_, wrapped) = former.generate(&request).await.unwrap();
    let keys = client.key(&second).unwrap().also_opening(&first).unwrap();
    let sealed = Sealer::new(former).seal(b"hello", &context).await.unwrap();
    let sealer = Sealer::new(keys.clone());
    for (status, code) in [(501, "InternalFailure"), (400, "UnknownOperationException")] {
        let body = format!(r#"{{"__type":"{code}"}}"#);
        proxy.set_rule(only("ReEncrypt", aws(status, &body)));
        calls(&proxy);
        let rewrapped = keys.rewrap(wrapped.as_wrap_ref(), &request).await.unwrap();
        assert!(rewrapped.is_none(), "{code}");
        assert_eq!(calls(&proxy).len(), 1);
        let rewrapped = sealer.rewrap(&sealed, &context).await.unwrap();
        let rewrapped = rewrapped.splice(&sealed).unwrap();
        proxy.set(Fault::Forward);
        let reader = Sealer::new(client.key(&second).unwrap());
        assert_eq!(
            reader.open(&rewrapped, &context).await.unwrap(),
            b"hello",
            "{code}"
        );
    }
    // What is there and refuses is no reason to do it otherwise.
    proxy.set_rule(only(
        "ReEncrypt",
        aws(400, r#"{"__type":"AccessDeniedException"}"#),
    ));
    let error = keys.rewrap(wrapped.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn answers_that_are_none() {
    let proxy = FaultProxy::answering(aws(200, ""));
    let keys = keys(&proxy, ARN, PATIENCE).await;
    let answer = |key: &str, dek: &[u8], blob: &str| {
        let dek = Base64::encode_string(dek);
        format!(r#"{{"KeyId":"{key}","Plaintext":"{dek}","CiphertextBlob":"{blob}"}}"#)
    };
    proxy.set(aws(200, &answer(ARN, &[7; 32], "AQID")));
    let context = EncryptionContext::empty();
    let (dek, wrapped) = keys.generate(&Request::new(&context)).await.unwrap();
    assert_eq!(
        (dek.expose_bytes(), wrapped.wrapped()),
        (&[7; 32], &[1, 2, 3][..])
    );

    let other = ARN.replace("1234abcd", "00000000");
    for bad in [
        String::new(),
        "{}".into(),
        "<html>c4n4ry-b0dy</html>".into(),
        r#"{"Plaintext":"c4n4ry-b0dy"#.into(),
        answer(ARN, &[7; 31], "AQID"),
        answer(ARN, &[7; 33], "AQID"),
        answer(ARN, &[7; 32], ""),
        answer(ARN, &[7; 32], &"AQID".repeat(2_049)),
        answer(&other, &[7; 32], "AQID"),
        answer("alias/a", &[7; 32], "AQID"),
        answer("", &[7; 32], "AQID"),
    ] {
        proxy.set(aws(200, &bad));
        let error = fails(&keys).await;
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::InvalidAnswer, false),
            "{bad}"
        );
    }
    // An unwrap by another key than was asked for is no unwrap, and no DEK has another length.
    for (bad, kind) in [
        (answer(&other, &[7; 32], "AQID"), ErrorKind::InvalidAnswer),
        (answer(ARN, &[7; 31], "AQID"), ErrorKind::CannotOpen),
    ] {
        proxy.set(aws(200, &bad));
        let error = keys
            .unwrap(wrapped.as_wrap_ref(), &Request::new(&context))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    // A re-wrap from or to another key is no re-wrap.
    for (source, key, good) in [(ARN, ARN, true), (&other, ARN, false), (ARN, &*other, false)] {
        let body = format!(r#"{{"KeyId":"{key}","SourceKeyId":"{source}","CiphertextBlob":"AQID"}}"#);
        proxy.set(aws(200, &body));
        let answer = keys.rewrap(wrapped.as_wrap_ref(), &Request::new(&context)).await;
        assert_eq!(answer.is_ok(), good, "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_or_breaks_off_and_is_well_again() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::new(&moto.url);
    let arn = moto.key().await;
    let patient = keys(&proxy, &arn, PATIENCE).await;
    let impatient = keys(&proxy, &arn, IMPATIENCE).await;
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (dek, wrapped) = patient.generate(&request).await.unwrap();
    for (mode, kind) in [
        (Fault::Hang, ErrorKind::TimedOut),
        (Fault::Stall(5), ErrorKind::TimedOut),
        // Never still for long, and never at an end.
        (Fault::Drip(Duration::from_millis(100)), ErrorKind::TimedOut),
        (Fault::Close, ErrorKind::Unavailable),
        (Fault::Cut(1), ErrorKind::Unavailable),
        (Fault::Cut(200), ErrorKind::Unavailable),
        (Fault::Cut(usize::MAX), ErrorKind::Unavailable),
    ] {
        let keys = match kind {
            ErrorKind::TimedOut => &impatient,
            _ => &patient,
        };
        proxy.set(mode.clone());
        let error = fails(keys).await;
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (kind, true),
            "{mode:?}: {error}"
        );
        let error = in_time(keys.unwrap(wrapped.as_wrap_ref(), &request))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (kind, true),
            "{mode:?}: {error}"
        );
        proxy.set(Fault::Forward);
        // The timeout may be short, and the machine busy: one good answer is enough.
        let mut tries = 0;
        let opened = loop {
            tries += 1;
            match in_time(keys.unwrap(wrapped.as_wrap_ref(), &request)).await {
                Err(error) if error.kind() == ErrorKind::TimedOut && tries < 50 => {}
                opened => break opened.unwrap(),
            }
        };
        assert!(opened.dek.ct_eq(&dek));
    }
}

#[tokio::test]
async fn a_server_that_is_down_and_back() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::new(&moto.url);
    let keys = keys(&proxy, &moto.key().await, PATIENCE).await;
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (dek, wrapped) = keys.generate(&request).await.unwrap();
    proxy.take_down();
    let error = fails(&keys).await;
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true),
        "{error}"
    );
    let error = in_time(keys.unwrap(wrapped.as_wrap_ref(), &request))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    proxy.bring_up();
    let opened = in_time(keys.unwrap(wrapped.as_wrap_ref(), &request))
        .await
        .unwrap();
    assert!(opened.dek.ct_eq(&dek));
}

#[tokio::test]
async fn a_deadline_ends_a_call_before_its_timeout() {
    let proxy = FaultProxy::new("");
    proxy.set(Fault::Hang);
    let most = Duration::from_secs(300);
    let config = config(&proxy.url())
        .with_read_timeout(most)
        .with_operation_timeout(most);
    let keys = Client::connect(config).await.unwrap().key(ARN).unwrap();
    let context = EncryptionContext::empty();
    use waxseal::runtime::{Runtime, ThreadRuntime};
    let soon = ThreadRuntime.now() + Duration::from_millis(200);
    let request = Request::new(&context).with_deadline(soon);
    let error = in_time(keys.generate(&request)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TimedOut, true));
}

/// Where the test runs as one that trusts a CA of its own: what to ask.
const TLS: &str = "WAXSEAL_TEST_AWS_KMS_TLS";

#[tokio::test]
async fn a_certificate_that_is_not_to_be_trusted_is_not_tried_again() {
    if let Ok(urls) = std::env::var(TLS) {
        let context = EncryptionContext::empty();
        for (number, url) in urls.split(' ').enumerate() {
            let keys = Client::connect(config(url)).await.unwrap().key(ARN).unwrap();
            let answer = in_time(keys.generate(&Request::new(&context))).await;
            if number == 0 {
                // Trusted, and asked: moto does not know the key.
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::KeyNotFound);
                continue;
            }
            let error = answer.unwrap_err();
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (ErrorKind::Unavailable, false),
                "{number}: {error}"
            );
            assert!(error.to_string().contains("certificate"), "{error}");
        }
        return;
    }
    let Some(moto) = moto() else { return };
    Certified::new(&moto.url).run_trusting(
        "aws_kms::faults::a_certificate_that_is_not_to_be_trusted_is_not_tried_again",
        TLS,
    );
}
