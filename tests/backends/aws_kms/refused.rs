//! What is refused here, before AWS is asked anything.

use std::time::Duration;

use waxseal::backend::aws_kms::{Client, Config};
use waxseal::runtime::Monotonic;
use waxseal::{
    EncryptionContext, ErrorKind, KeyManager, envelope::KekRef, envelope::WrapAlgorithm,
    envelope::WrappedDek, key::Request, value::Dek,
};

use super::server::config;
use super::wire::aws;
use crate::fault_proxy::FaultProxy;

const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn stanza(algorithm: WrapAlgorithm) -> WrappedDek {
    let kek = KekRef::new("aws-kms", ARN, "").unwrap();
    WrappedDek::new(algorithm, kek, vec![1; 64]).unwrap()
}

async fn client(proxy: &FaultProxy) -> Client {
    Client::connect(config(&proxy.url())).await.unwrap()
}

#[tokio::test]
async fn what_pairs_cannot_say() {
    let proxy = FaultProxy::answering(aws(500, ""));
    let keys = client(&proxy).await.key(ARN).unwrap();
    let context = EncryptionContext::new([("tenant", "acme"), ("waxseal-context", "x")]).unwrap();
    let plain = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let (look_alike, share) = (Request::new(&context), Request::new(&plain).with_binding([1; 32]));
    let dek = Dek::generate().unwrap();
    let stanza = stanza(WrapAlgorithm::AWS_KMS);
    for request in [&look_alike, &share] {
        for error in [
            keys.generate(request).await.unwrap_err(),
            keys.wrap(&dek, request).await.unwrap_err(),
            keys.rewrap(stanza.as_wrap_ref(), request).await.unwrap_err(),
        ] {
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
            assert!(!error.is_retryable());
        }
        let error = keys.unwrap(stanza.as_wrap_ref(), request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen);
    }
    assert!(proxy.seen().is_empty(), "a call was made");
}

#[tokio::test]
async fn stanzas_of_others_and_of_no_possible_length() {
    let proxy = FaultProxy::answering(aws(500, ""));
    let keys = client(&proxy).await.key(ARN).unwrap();
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let made = stanza(WrapAlgorithm::AWS_KMS);
    let own = made.as_wrap_ref();
    assert!(!keys.recognizes(own).is_no());
    for wrapped in [&[][..], &[1; 6_145]] {
        let mut bad = own;
        bad.wrapped = wrapped;
        let error = keys.unwrap(bad, &request).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Malformed { .. }), "{error}");
    }
    let other = ARN.replace("1234abcd", "00000000");
    let region = ARN.replace("eu-central-1", "eu-west-1");
    let mut foreign = [own; 5];
    foreign[0].kek_id = &other;
    foreign[1].kek_id = &region;
    foreign[2].kek_id = "alias/a";
    foreign[3].provider = "local";
    foreign[4].algorithm = WrapAlgorithm::AWS_KMS_DIGEST;
    for foreign in foreign {
        assert!(keys.recognizes(foreign).is_no(), "{foreign:?}");
        let error = keys.unwrap(foreign, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoUsableKey);
        assert!(keys.rewrap(foreign, &request).await.unwrap().is_none());
    }
    assert!(proxy.seen().is_empty());
}

#[tokio::test]
async fn a_deadline_that_is_over() {
    let proxy = FaultProxy::answering(aws(500, ""));
    let keys = client(&proxy).await.key(ARN).unwrap();
    let context = EncryptionContext::empty();
    let request = Request::new(&context).with_deadline(Monotonic(Duration::ZERO));
    let error = keys.generate(&request).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TimedOut, true));
    assert!(proxy.seen().is_empty());
}

#[tokio::test]
async fn keys_and_configurations_that_are_none() {
    let proxy = FaultProxy::answering(aws(500, ""));
    let client = client(&proxy).await;
    let abroad = ARN.replace("eu-central-1", "eu-west-1");
    for bad in ["", "alias/", "a key", &abroad, "arn:aws:s3:::bucket"] {
        let error = client.key(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
        assert!(client.key(ARN).unwrap().also_opening(bad).is_err(), "{bad}");
    }
    for bad in [
        config("kms.example.com"),
        config(&proxy.url()).with_operation_timeout(Duration::ZERO),
        config(&proxy.url()).with_connect_timeout(Duration::from_secs(3_600)),
    ] {
        let error = Client::connect(bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(error.provider(), Some("aws-kms"));
    }
    let shown = format!("{client:?} {:?} {:?}", client.key(ARN), config(&proxy.url()));
    assert!(shown.contains("eu-central-1") && !shown.contains(super::server::SECRET));
    assert!(format!("{:?}", Config::default()).contains("300s"));
}

/// Where the test runs as one that looks for its region.
const LOOKS: &str = "WAXSEAL_TEST_AWS_KMS_REGION";

/// The metadata service is asked for the region by the same rule as all else: never by `HTTP_PROXY`, which would see the
/// tokens of that service.
#[tokio::test]
async fn looking_for_the_region_follows_no_http_proxy() {
    let uri = "aws-kms:arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab";
    if std::env::var_os(LOOKS).is_some() {
        waxseal::backend::kek_uri::open_key_manager(uri).await.unwrap();
        return;
    }
    let (proxy, machine) = (FaultProxy::new(""), FaultProxy::new(""));
    for proxy in [&proxy, &machine] {
        proxy.set(crate::fault_proxy::Fault::Answer(404, "", String::new()));
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    for (name, _) in std::env::vars_os() {
        let is_said = name
            .to_str()
            .is_some_and(|name| name.starts_with("AWS_") || name.to_ascii_lowercase().ends_with("_proxy"));
        if is_said {
            child.env_remove(name);
        }
    }
    let done = child
        .args([
            "--exact",
            "aws_kms::refused::looking_for_the_region_follows_no_http_proxy",
        ])
        .env(LOOKS, "1")
        .env("HTTP_PROXY", proxy.url())
        .env("http_proxy", proxy.url())
        .env("AWS_CONFIG_FILE", "/nowhere")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", machine.url())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && out.contains("1 passed"), "{out}");
    assert!(!machine.seen().is_empty(), "the machine was not asked");
    assert!(proxy.seen().is_empty(), "{:?}", proxy.seen());
}

/// Where the test runs as one that finds its endpoint in a variable.
const FINDS: &str = "WAXSEAL_TEST_AWS_KMS_ENDPOINT";

/// What the SDK finds follows the same rule as what is configured here: it is checked, and it is the address in errors.
#[tokio::test]
async fn an_endpoint_in_a_variable_is_checked_like_any_other() {
    if let Ok(expected) = std::env::var(FINDS) {
        let config = Config::new()
            .with_region("eu-central-1")
            .with_credentials("test", "test".into(), None);
        let found = match Client::connect(config).await {
            Ok(client) => {
                let context = EncryptionContext::empty();
                let answer = client.key(ARN).unwrap().generate(&Request::new(&context)).await;
                format!("{} {client:?}", answer.unwrap_err())
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
                format!("{error} {error:?}")
            }
        };
        assert!(found.contains(&expected) && !found.contains("CANARY"), "{found}");
        return;
    }
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let good = format!("http://{closed}");
    for (variable, value, expected) in [
        (
            "AWS_ENDPOINT_URL_KMS",
            "https://u:CANARY@kms.example.com",
            "has credentials in it",
        ),
        (
            "AWS_ENDPOINT_URL",
            "https://CANARY@kms.example.com",
            "AWS_ENDPOINT_URL",
        ),
        (
            "AWS_ENDPOINT_URL_KMS",
            "kms.CANARY.example.com",
            "is not an address",
        ),
        ("AWS_ENDPOINT_URL_KMS", "ftp://CANARY", "is not an address"),
        ("AWS_ENDPOINT_URL", "https://h?x=CANARY", "is not an address"),
        ("AWS_ENDPOINT_URL_KMS", good.as_str(), closed.as_str()),
        ("AWS_ENDPOINT_URL", good.as_str(), "AWS_ENDPOINT_URL"),
    ] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("AWS_")) {
                child.env_remove(name);
            }
        }
        let done = child
            .args([
                "--exact",
                "aws_kms::refused::an_endpoint_in_a_variable_is_checked_like_any_other",
            ])
            .env(FINDS, expected)
            .env("AWS_CONFIG_FILE", "/nowhere")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
            .env(variable, value)
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success() && out.contains("1 passed"),
            "{variable}={value}: {out}"
        );
    }
}
