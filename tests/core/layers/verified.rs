//! Wraps that are read back.

use pollster::block_on;
use waxseal::envelope::{WrapRef, WrappedDek};
use waxseal::layer::Verified;
use waxseal::testing::{FakeKeyManager, Fault, Method};
use waxseal::{ErrorKind, KeyManager, key::Request, value::Dek};

use super::Bench;

#[test]
fn a_key_that_wraps_and_does_not_unwrap_is_found_before_anything_is_sealed() {
    let bench = Bench::new();
    let request = Request::new(&bench.context);
    let layer = Verified::new(bench.kms.clone());
    bench
        .kms
        .script_for(Method::Unwrap, Fault::Fails(ErrorKind::Denied));
    let error = block_on(layer.generate(&request)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("read back"), "{error}");
    // What the backend says stays.
    let worded = Verified::new(Worded(bench.kms.clone()));
    let error = block_on(worded.generate(&request)).unwrap_err().to_string();
    assert!(
        error.contains("the role lacks kms:Decrypt") && error.contains("read back"),
        "{error}"
    );
    // It is not remembered as good: the next is read back, and those after it are not.
    for _ in 0..3 {
        block_on(layer.generate(&request)).unwrap();
    }
    assert_eq!(bench.kms.count(Method::Unwrap), 2);
    // A new version is.
    bench.kms.rotate_now();
    block_on(layer.generate(&request)).unwrap();
    block_on(layer.generate(&request)).unwrap();
    assert_eq!(bench.kms.count(Method::Unwrap), 3);
}

/// Refuses to unwrap, in words.
#[derive(Debug)]
struct Worded(FakeKeyManager);

#[async_trait::async_trait]
impl KeyManager for Worded {
    fn provider(&self) -> &str {
        self.0.provider()
    }

    fn capabilities(&self) -> waxseal::key::Capabilities {
        self.0.capabilities()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> waxseal::key::Recognition {
        self.0.recognizes(wrapped)
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> waxseal::Result<WrappedDek> {
        self.0.wrap(dek, request).await
    }

    async fn unwrap(&self, _: WrapRef<'_>, _: &Request<'_>) -> waxseal::Result<waxseal::key::Unwrapped> {
        Err(waxseal::Error::new(ErrorKind::Denied).with_detail("the role lacks kms:Decrypt"))
    }
}

#[test]
fn a_manager_that_wraps_another_dek_is_found() {
    let bench = Bench::new();
    let layer = Verified::new(bench.kms.clone());
    bench.kms.script_for(Method::Wrap, Fault::WrongDek);
    let error = block_on(layer.wrap(&Dek::generate().unwrap(), &Request::new(&bench.context))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
}
