//! What a cache hands out again.

use pollster::block_on;
use waxseal::audit::{Action, Outcome};
use waxseal::key::Purpose;
use waxseal::source::Caching;
use waxseal::testing::Method;
use waxseal::{Sealer, blocking};

use super::{Memory, context, sealer_with};

const OPENS: usize = 200;

fn use_it(sealer: &Sealer) -> Vec<u8> {
    let sealed = block_on(sealer.seal(b"hello", &context())).unwrap();
    for _ in 0..OPENS {
        block_on(sealer.open(&sealed, &context())).unwrap();
        block_on(sealer.seal(b"hello", &context())).unwrap();
    }
    sealed
}

#[test]
fn without_releases_only_what_asks_the_kms_is_an_event() {
    let sink = Memory::default();
    let (sealer, kms, _) = sealer_with(
        |auditor| auditor.required(sink.clone()),
        |builder| builder.cache(Caching::default()),
    );
    use_it(&sealer);
    assert_eq!((kms.count(Method::Generate), kms.count(Method::Unwrap)), (1, 1));
    assert_eq!(
        sink.told(),
        [
            (Action::Generate, Purpose::Seal, Outcome::Success),
            (Action::Unwrap, Purpose::Open, Outcome::Success),
        ]
    );
}

#[test]
fn with_releases_no_fast_path_goes_past_the_auditor() {
    let sink = Memory::default();
    let (sealer, kms, _) = sealer_with(
        |auditor| auditor.required(sink.clone()).releases(),
        |builder| builder.cache(Caching::default()),
    );
    let sealed = use_it(&sealer);
    let count = |action, purpose| {
        let told = sink.told();
        let is_it = |it: &&(Action, Purpose, Outcome)| (it.0, it.1) == (action, purpose);
        told.iter().filter(is_it).count()
    };
    assert_eq!(kms.total(), 2);
    assert_eq!(count(Action::Generate, Purpose::Seal), 1);
    assert_eq!(count(Action::Unwrap, Purpose::Open), 1);
    assert_eq!(count(Action::Release, Purpose::Open), OPENS);
    assert_eq!(count(Action::Release, Purpose::Seal), OPENS + 1);
    // Whatever asks for a DEK: a handle, a stream, the blocking sealer.
    block_on(sealer.data_key(&context())).unwrap();
    assert_eq!(count(Action::Release, Purpose::Seal), OPENS + 2);
    let blocking = blocking::Sealer::from(sealer.clone());
    let mut reader = blocking.reader(&sealed[..], &context()).unwrap();
    std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    blocking.open(&sealed, &context()).unwrap();
    assert_eq!(count(Action::Release, Purpose::Open), OPENS + 2);
    // A re-wrap asks the KMS, and is one event.
    block_on(sealer.rewrap(&sealed, &context())).unwrap();
    assert_eq!(count(Action::Rewrap, Purpose::Rewrap), 1);
    assert_eq!(count(Action::Release, Purpose::Rewrap), 0);
    // What is kept is not released either, if it cannot be told.
    sink.fail(true);
    let error = block_on(sealer.open(&sealed, &context())).unwrap_err();
    assert_eq!(error.kind(), waxseal::ErrorKind::Audit);
}
