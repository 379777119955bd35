use std::time::Duration;

use super::*;
use crate::key::{KekAdmin, KekTemplate, KeyManager, Purpose, Request};
use crate::value::context::EncryptionContext;
use crate::value::error::ErrorKind;
use crate::value::secret::Dek;
use pollster::block_on;

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "CANARY")]).unwrap()
}

#[test]
fn records_everything_that_it_was_sent_and_hides_values() {
    let fake = FakeKeyManager::new("a");
    let (context, runtime) = (context(), SimulatedRuntime::new());
    let request = Request::new(&context)
        .with_actor("alice")
        .with_profile("strict")
        .with_request_id("r-1")
        .with_purpose(Purpose::Probe)
        .with_deadline(runtime.now() + Duration::from_secs(3))
        .with_binding([9; 32]);
    let dek = Dek::generate().unwrap();
    block_on(fake.wrap(&dek, &request)).unwrap();
    let calls = fake.calls();
    let [call] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    assert_eq!(call.method, Method::Wrap);
    assert_eq!(call.context.get("tenant"), Some("CANARY"));
    assert_eq!((call.binding, call.purpose), ([9; 32], Purpose::Probe));
    assert_eq!(call.actor.as_deref(), Some("alice"));
    assert_eq!(call.profile.as_deref(), Some("strict"));
    assert_eq!(call.request_id.as_deref(), Some("r-1"));
    assert_eq!(call.deadline, request.deadline());
    assert_eq!(call.kek.to_string(), "fake a version 1");
    assert!(!format!("{fake:?} {calls:?}").contains("CANARY"));
    fake.forget_calls();
    assert_eq!((fake.total(), fake.calls().len()), (0, 0));
}

#[test]
fn is_the_same_in_every_run_and_never_the_same_twice() {
    let context = context();
    let request = Request::new(&context);
    let run = || {
        let fake = FakeKeyManager::new("a").generating();
        let (dek, first) = block_on(fake.generate(&request)).unwrap();
        let (other, second) = block_on(fake.generate(&request)).unwrap();
        assert!(!dek.ct_eq(&other));
        assert_ne!(first, second);
        (first, second)
    };
    assert_eq!(run(), run());
}

#[test]
fn faults_happen_once_in_order_and_to_their_method() {
    let fake = FakeKeyManager::new("a");
    let context = context();
    let request = Request::new(&context);
    let dek = Dek::generate().unwrap();
    fake.script_for(Method::Unwrap, Fault::WrongDek);
    fake.script(Fault::Fails(ErrorKind::Denied));
    fake.script(Fault::LosesAnswer(ErrorKind::Unavailable));
    for kind in [ErrorKind::Denied, ErrorKind::Unavailable] {
        assert_eq!(block_on(fake.wrap(&dek, &request)).unwrap_err().kind(), kind);
    }
    let good = block_on(fake.wrap(&dek, &request)).unwrap();
    let unwrap = || block_on(fake.unwrap(good.as_wrap_ref(), &request)).unwrap();
    assert!(!unwrap().dek.ct_eq(&dek));
    assert!(unwrap().dek.ct_eq(&dek));

    fake.script(Fault::GarbageWrap);
    let garbage = block_on(fake.wrap(&dek, &request)).unwrap();
    assert_eq!(garbage.wrapped().len(), good.wrapped().len());
    assert!(!fake.recognizes(garbage.as_wrap_ref()).is_no());
    assert!(block_on(fake.unwrap(garbage.as_wrap_ref(), &request)).is_err());

    fake.script(Fault::OtherKek("b".into()));
    let other = block_on(fake.wrap(&dek, &request)).unwrap();
    assert!(fake.recognizes(other.as_wrap_ref()).is_no());
    assert_eq!(other.kek().id(), "b");

    fake.script_always(Fault::Fails(ErrorKind::Throttled));
    for _ in 0..3 {
        assert!(block_on(fake.generate(&request)).is_err());
    }
    fake.heal();
    assert!(block_on(fake.generate(&request)).is_ok());
    assert_eq!(fake.count(Method::Generate), 4);
}

#[test]
fn what_hangs_ends_at_its_deadline_or_goes_on() {
    let runtime = SimulatedRuntime::new();
    let shared: Arc<dyn Runtime> = Arc::new(runtime.clone());
    let fake = FakeKeyManager::new("a");
    let context = context();
    let seconds = Duration::from_secs;
    let hang = || fake.script(Fault::Hangs(Arc::clone(&shared), seconds(10)));
    let request = Request::new(&context);

    hang();
    assert!(runtime.run(fake.generate(&request)).unwrap().is_ok());
    assert_eq!(runtime.elapsed(), seconds(10));

    hang();
    let hurried = request.clone().with_deadline(runtime.now() + seconds(3));
    let error = runtime.run(fake.generate(&hurried)).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(runtime.elapsed(), seconds(13));
}

#[test]
fn a_panic_leaves_nothing_locked() {
    let fake = FakeKeyManager::new("a");
    let context = context();
    fake.script(Fault::Panics);
    let run = || block_on(fake.generate(&Request::new(&context))).map(|_| ());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    run().unwrap();
}

#[test]
fn versions_go_on_opening_until_they_are_disabled_or_destroyed() {
    let fake = FakeKeyManager::new("a");
    let context = context();
    let request = Request::new(&context);
    let dek = Dek::generate().unwrap();
    let old = block_on(fake.wrap(&dek, &request)).unwrap();
    assert_eq!(fake.rotate_now(), 2);
    let new = block_on(fake.wrap(&dek, &request)).unwrap();
    assert_eq!((old.kek().version(), new.kek().version()), ("1", "2"));
    let unwrap = |wrap: &crate::envelope::WrappedDek| block_on(fake.unwrap(wrap.as_wrap_ref(), &request));
    assert!(unwrap(&old).unwrap().dek.ct_eq(&dek));
    for (state, kind) in [
        (KekState::Disabled, ErrorKind::KeyDisabled),
        (KekState::PendingDestruction, ErrorKind::KeyPendingDestruction),
        (KekState::Destroyed, ErrorKind::KeyDestroyed),
    ] {
        fake.set_state(1, state);
        assert_eq!(unwrap(&old).unwrap_err().kind(), kind);
        assert!(unwrap(&new).unwrap().dek.ct_eq(&dek));
    }
    fake.set_state(2, KekState::Disabled);
    assert_eq!(
        block_on(fake.wrap(&dek, &request)).unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );
}

#[test]
fn administration_is_idempotent_and_seen_by_the_key_manager() {
    let runtime = SimulatedRuntime::new();
    let kms = FakeKeyManager::new("a").with_runtime(Arc::new(runtime.clone()));
    // The first answer is lost: the caller asks again with the same key.
    kms.script(Fault::LosesAnswer(ErrorKind::Unavailable));
    let template = KekTemplate::new("b");
    assert!(
        block_on(kms.create(&template, "once"))
            .unwrap_err()
            .is_retryable()
    );
    let made = block_on(kms.create(&template, "once")).unwrap();
    assert_eq!(made.kek.to_string(), "fake b version 1");
    assert_eq!(made.created, Some(runtime.wall_clock()));
    assert!(block_on(kms.create(&template, "again")).is_err());

    let rotated = block_on(kms.rotate(&made.kek, "r1")).unwrap();
    assert_eq!(block_on(kms.rotate(&made.kek, "r1")).unwrap(), rotated);
    assert_eq!(rotated.kek.version(), "2");
    assert_eq!(block_on(kms.rotate(&made.kek, "r2")).unwrap().kek.version(), "3");

    let manager = kms.sibling("b");
    assert_eq!(manager.kek().version(), "3");
    let context = context();
    let request = Request::new(&context);
    let (_, wrapped) = block_on(manager.generate(&request)).unwrap();
    let all = KekRef::new("fake", "b", "").unwrap();
    block_on(kms.disable(&all)).unwrap();
    block_on(kms.disable(&all)).unwrap();
    let refused = || {
        block_on(manager.unwrap(wrapped.as_wrap_ref(), &request))
            .unwrap_err()
            .kind()
    };
    assert_eq!(refused(), ErrorKind::KeyDisabled);
    assert_eq!(
        block_on(kms.describe(&made.kek)).unwrap().state,
        KekState::Disabled
    );

    block_on(kms.enable(&all)).unwrap();
    block_on(kms.enable(&all)).unwrap();
    block_on(manager.unwrap(wrapped.as_wrap_ref(), &request)).unwrap();

    let at = block_on(kms.schedule_destroy(&all, Duration::from_secs(1))).unwrap();
    assert_eq!(at, runtime.wall_clock() + Duration::from_secs(86_400));
    assert_eq!(refused(), ErrorKind::KeyPendingDestruction);
    assert_eq!(
        block_on(kms.describe(&all)).unwrap().state,
        KekState::PendingDestruction
    );
    runtime.advance(Duration::from_secs(86_400));
    assert_eq!(refused(), ErrorKind::KeyDestroyed);
    assert_eq!(block_on(kms.describe(&all)).unwrap().state, KekState::Destroyed);

    for unknown in [
        ("fake", "c", ""),
        ("fake", "b", "4"),
        ("fake", "b", "x"),
        ("other", "b", ""),
    ] {
        let unknown = KekRef::new(unknown.0, unknown.1, unknown.2).unwrap();
        let error = block_on(kms.describe(&unknown)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyNotFound);
    }
    assert_eq!(kms.count(Method::Rotate), 3);
}

#[test]
fn rewraps_what_it_was_configured_for_and_nothing_else() {
    let old = FakeKeyManager::new("old");
    let new = old.sibling("new").rewrapping_from(&old);
    let stranger = old.sibling("stranger");
    let context = context();
    let request = Request::new(&context);
    let (dek, wrapped) = block_on(old.generate(&request)).unwrap();
    let moved = block_on(new.rewrap(wrapped.as_wrap_ref(), &request))
        .unwrap()
        .unwrap();
    assert!(
        block_on(new.unwrap(moved.as_wrap_ref(), &request))
            .unwrap()
            .dek
            .ct_eq(&dek)
    );
    let (_, foreign) = block_on(stranger.generate(&request)).unwrap();
    assert!(
        block_on(new.rewrap(foreign.as_wrap_ref(), &request))
            .unwrap()
            .is_none()
    );
    assert!(
        block_on(old.rewrap(wrapped.as_wrap_ref(), &request))
            .unwrap()
            .is_none()
    );
}
