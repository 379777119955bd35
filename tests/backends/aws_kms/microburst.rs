//! Faults as AWS gives them, by microburst, which nobody here wrote, in front of moto; alone and with `Resilient` around.

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use waxseal::backend::aws_kms::{AwsKey, Client};
use waxseal::layer::{Resilience, Resilient};
use waxseal::runtime::TokioRuntime;
use waxseal::{EncryptionContext, ErrorKind, KeyManager, envelope::WrappedDek, key::Request, value::Dek};

use super::server::{config, moto, server};

/// The proxy, for one test at a time: its rules and its counts are everybody's.
struct Microburst {
    url: String,
    moto: super::server::Server,
    _one: MutexGuard<'static, ()>,
}

async fn microburst() -> Option<Microburst> {
    static ONE: Mutex<()> = Mutex::const_new(());
    let (moto, proxy) = (moto()?, server("microburst")?);
    let microburst = Microburst {
        url: proxy.url,
        moto,
        _one: ONE.lock().await,
    };
    microburst.set(&json!([]));
    Some(microburst)
}

impl Drop for Microburst {
    fn drop(&mut self) {
        self.set(&json!([]));
    }
}

impl Microburst {
    fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let host = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "{method} /_microburst/{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// These rules in the place of all others, and nothing fired yet.
    fn set(&self, rules: &Value) {
        self.control("DELETE", "fired", &Value::Null);
        self.control("POST", "rules", rules);
    }

    /// What fired since the rules were set: operation and action.
    fn fired(&self) -> Vec<(String, String)> {
        let fired = self.control("GET", "fired", &Value::Null);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let one = |event: &Value| (text(&event["operation"]), text(&event["action"]));
        fired.as_array().unwrap().iter().map(one).collect()
    }

    /// Requests so far, those that came to harm and those that did not.
    fn requests(&self) -> u64 {
        self.control("GET", "health", &Value::Null)["requests_seen"]
            .as_u64()
            .unwrap()
    }

    async fn keys(&self) -> AwsKey {
        let config = config(&self.url)
            .with_read_timeout(Duration::from_secs(2))
            .with_operation_timeout(Duration::from_secs(4));
        let arn = self.moto.key().await;
        Client::connect(config).await.unwrap().key(&arn).unwrap()
    }
}

/// What comes, however long the machine takes; not for ever.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .expect("the call does not end")
}

/// An operation, a fault for it, how it is called where it fired, and what it means here.
type Case = (&'static str, Value, &'static str, ErrorKind, bool);

fn cases() -> Vec<Case> {
    use ErrorKind as Kind;
    let code = |code: &str, status: u16| json!({"error": {"code": code, "status": status}});
    let faults = [
        (code("ThrottlingException", 400), "error:", Kind::Throttled, true),
        (
            code("KMSInternalException", 500),
            "error:",
            Kind::Unavailable,
            true,
        ),
        (code("ServiceUnavailable", 503), "error:", Kind::Unavailable, true),
        (
            code("DependencyTimeoutException", 503),
            "error:",
            Kind::Unavailable,
            true,
        ),
        (code("AccessDeniedException", 400), "error:", Kind::Denied, false),
        (code("DisabledException", 409), "error:", Kind::KeyDisabled, false),
        (json!({"latency": 5_000}), "latency:", Kind::TimedOut, true),
        (json!({"timeout_ms": 5_000}), "timeout:", Kind::TimedOut, true),
        (json!({"reset": true}), "reset", Kind::Unavailable, true),
        (
            json!({"response": {"abort_frac": 0.5}}),
            "response:",
            Kind::Unavailable,
            true,
        ),
        (
            json!({"response": {"truncate_frac": 0.5}}),
            "response:",
            Kind::InvalidAnswer,
            false,
        ),
        (
            json!({"response": {"corrupt_bytes": 1_001}}),
            "response:",
            Kind::InvalidAnswer,
            false,
        ),
    ];
    ["GenerateDataKey", "Decrypt"]
        .into_iter()
        .flat_map(|operation| {
            faults
                .iter()
                .cloned()
                .map(move |(fault, action, kind, retryable)| (operation, fault, action, kind, retryable))
        })
        .collect()
}

/// The rule for a fault: as often as said, or always.
fn rule(operation: &str, fault: &Value, times: Option<u32>) -> Value {
    let mut rule = json!({"service": "kms", "operation": operation});
    let fields = rule.as_object_mut().unwrap();
    fields.extend(fault.as_object().unwrap().clone());
    fields.extend(times.map(|times| ("times".to_owned(), json!(times))));
    json!([rule])
}

/// The operation by its name: whether a DEK came of it, and whether it is the right one.
async fn run(
    operation: &str,
    keys: &dyn KeyManager,
    request: &Request<'_>,
    known: &(Dek, WrappedDek),
) -> waxseal::Result<()> {
    if operation == "Decrypt" {
        let opened = in_time(keys.unwrap(known.1.as_wrap_ref(), request)).await?;
        assert!(opened.dek.ct_eq(&known.0), "a wrong DEK");
    } else {
        in_time(keys.generate(request)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn each_fault_has_its_kind_and_one_call_was_made() {
    let Some(microburst) = microburst().await else {
        return;
    };
    let keys = microburst.keys().await;
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let request = Request::new(&context);
    let known = keys.generate(&request).await.unwrap();
    for (operation, fault, action, kind, retryable) in cases() {
        microburst.set(&rule(operation, &fault, None));
        let before = microburst.requests();
        let error = run(operation, &keys, &request, &known).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (kind, retryable),
            "{operation} {fault}: {error}"
        );
        let fired = microburst.fired();
        assert_eq!(fired.len(), 1, "{fault}: {fired:?}");
        assert!(
            fired[0].0 == operation && fired[0].1.starts_with(action),
            "{fault}: {fired:?}"
        );
        // The SDK tries nothing again.
        assert_eq!(microburst.requests() - before, 1, "{operation} {fault}");
    }
    microburst.set(&json!([]));
    run("Decrypt", &keys, &request, &known).await.unwrap();
    // What is slow and not too slow is no fault.
    microburst.set(&rule("Decrypt", &json!({"latency": 20}), None));
    run("Decrypt", &keys, &request, &known).await.unwrap();
    assert_eq!(microburst.fired().len(), 1);
}

#[tokio::test]
async fn a_resilient_one_gets_over_what_passes_and_asks_no_oftener_than_that() {
    let Some(microburst) = microburst().await else {
        return;
    };
    let keys = microburst.keys().await;
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let request = Request::new(&context);
    let known = keys.generate(&request).await.unwrap();
    let policy = Resilience {
        deadline: Duration::from_secs(50),
        retries: 3,
        backoff: Duration::from_millis(10),
        breaker: 0,
        ..Resilience::default()
    };
    let resilient = Resilient::with_policy(keys, policy, Arc::new(TokioRuntime::current()));
    for (operation, fault, action, kind, retryable) in cases() {
        microburst.set(&rule(operation, &fault, Some(2)));
        let before = microburst.requests();
        let answer = run(operation, &resilient, &request, &known).await;
        let (asked, fired) = (microburst.requests() - before, microburst.fired());
        assert!(
            fired
                .iter()
                .all(|(name, what)| name == operation && what.starts_with(action)),
            "{fired:?}"
        );
        if retryable {
            // Twice it failed, and the third call was answered.
            assert!(answer.is_ok(), "{operation} {fault}: {answer:?}");
            assert_eq!((asked, fired.len()), (3, 2), "{operation} {fault}");
        } else {
            assert_eq!(answer.unwrap_err().kind(), kind, "{operation} {fault}");
            assert_eq!((asked, fired.len()), (1, 1), "{operation} {fault}");
        }
    }

    // What does not pass is given up after the last of its tries, with its own kind.
    microburst.set(&rule(
        "Decrypt",
        &json!({"error": {"code": "ThrottlingException"}}),
        None,
    ));
    let before = microburst.requests();
    let error = run("Decrypt", &resilient, &request, &known).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Throttled, true));
    assert_eq!((microburst.requests() - before, microburst.fired().len()), (4, 4));
}
