//! Values of one data key stay values of one data key, a second run changes nothing, and no planted body passes.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use waxseal::blocking::{Rewrapper, Sealer};
use waxseal::envelope::{BodyHead, WrapSection, WrapSet};
use waxseal::key::{KekState, Request};
use waxseal::runtime::{Monotonic, Runtime};
use waxseal::source::{AnyOf, Cached, Caching, Currency, DekLease, DekSource, Rewrapped};
use waxseal::testing::{FakeKeyManager, Fault, Method, SimulatedRuntime};
use waxseal::{Aad, EncryptionContext, Envelope, ErrorKind};

const KEYS: usize = 20;
const VALUES: usize = 400;

fn context() -> EncryptionContext {
    EncryptionContext::new([("table", "users")]).unwrap()
}

/// 400 values of 20 data keys, mixed.
fn rows(key_manager: &FakeKeyManager) -> Vec<Vec<u8>> {
    let sealer = Sealer::new(key_manager.clone());
    let keys: Vec<_> = (0..KEYS).map(|_| sealer.data_key(&context()).unwrap()).collect();
    (0..VALUES)
        .map(|i| {
            keys[i % KEYS]
                .seal(format!("value {i}").as_bytes(), Aad::none())
                .unwrap()
        })
        .collect()
}

fn mover(new: &FakeKeyManager, old: &FakeKeyManager) -> Sealer {
    let builder = waxseal::Sealer::builder()
        .wrap_with(new.clone())
        .open_with(old.clone());
    builder.build().unwrap().into()
}

/// Re-wraps every row, and gives how many have changed.
fn run(rewrapper: &mut Rewrapper, rows: &mut [Vec<u8>]) -> usize {
    let mut changed = 0;
    for row in rows {
        if let Some(new) = rewrapper.rewrap(row, &context()).unwrap() {
            *row = new.splice(row).unwrap();
            changed += 1;
        }
    }
    changed
}

fn sections(rows: &[Vec<u8>]) -> usize {
    let front = |row: &Vec<u8>| row[..Envelope::parse(row).unwrap().header().body_offset()].to_vec();
    rows.iter().map(front).collect::<HashSet<_>>().len()
}

fn all_open(key_manager: &FakeKeyManager, rows: &[Vec<u8>]) {
    let sealer = Sealer::new(key_manager.clone());
    for (i, row) in rows.iter().enumerate() {
        let opened = sealer.open(row, &context()).unwrap();
        assert_eq!(opened, *format!("value {i}").as_bytes());
    }
}

#[test]
fn siblings_stay_siblings_and_a_second_run_changes_nothing() {
    for ambiguous in [false, true] {
        let [old, new] = ["old", "new"].map(FakeKeyManager::new);
        let new = if ambiguous { new.with_ambiguous_id() } else { new };
        let mut rows = rows(&old);
        let sealer = mover(&new, &old);
        old.forget_calls();
        let mut rewrapper = sealer.rewrapper();
        assert_eq!(run(&mut rewrapper, &mut rows), VALUES);
        assert_eq!((old.total(), old.count(Method::Unwrap)), (KEYS, KEYS));
        assert_eq!((new.total(), new.count(Method::Wrap)), (KEYS, KEYS));
        let counts = rewrapper.counts();
        assert_eq!((counts.examined, counts.rewrapped, counts.reused), (400, 20, 380));
        assert_eq!((counts.skipped, counts.failed, counts.unverified), (0, 0, 0));
        // And cost as many calls to read as before.
        assert_eq!(sections(&rows), KEYS);
        all_open(&new, &rows);

        // Once more, by the same: nothing to do, and nobody asked.
        new.forget_calls();
        assert_eq!(run(&mut rewrapper, &mut rows), 0);
        assert_eq!((new.total(), old.total()), (0, KEYS));
        // And by another process, which has to learn first which version wraps.
        let before = rows.clone();
        let mut rewrapper = sealer.rewrapper();
        assert_eq!(
            rewrapper.is_current(&rows[0], &context()).unwrap(),
            Currency::Unknown
        );
        assert_eq!(run(&mut rewrapper, &mut rows), 0);
        assert!(rows == before);
        let unwraps = if ambiguous { KEYS } else { 1 };
        assert_eq!((new.count(Method::Unwrap), new.count(Method::Wrap)), (unwraps, 1));
        let counts = rewrapper.counts();
        assert_eq!((counts.examined, counts.skipped, counts.rewrapped), (400, 400, 0));
        assert_eq!(
            rewrapper.is_current(&rows[0], &context()).unwrap(),
            Currency::Current
        );
        // After a rotation it is all done again.
        new.rotate_now();
        assert_eq!(run(&mut sealer.rewrapper(), &mut rows), VALUES);
        assert_eq!(sections(&rows), KEYS);
        all_open(&new, &rows);
    }
}

/// Where nobody is told which version wrapped, a value may be on an old one, and is moved. Once in a run.
#[test]
fn values_of_a_key_that_tells_no_versions_are_moved_to_the_new_one() {
    for rewraps in [false, true] {
        let kms = FakeKeyManager::new("aws").hiding_versions();
        let kms = if rewraps { kms.rewrapping() } else { kms };
        let mut rows = rows(&kms);
        let sealer = Sealer::new(kms.clone());
        kms.rotate_now();
        let mut rewrapper = sealer.rewrapper();
        assert_eq!(run(&mut rewrapper, &mut rows), VALUES);
        // And by itself again: what it has just made is current.
        assert_eq!(run(&mut rewrapper, &mut rows), 0);
        assert_eq!(sections(&rows), KEYS);
        let (unwraps, asked) = (kms.count(Method::Unwrap), kms.count(Method::Rewrap));
        assert_eq!((unwraps, asked), if rewraps { (1, KEYS - 1) } else { (KEYS, 0) });
        // The old version is not needed any more.
        kms.set_state(1, KekState::Destroyed);
        all_open(&kms, &rows);
        let current = sealer.rewrapper().is_current(&rows[0], &context()).unwrap();
        assert_eq!(current, Currency::Unknown);
        let other = Sealer::new(kms.clone()).seal(b"x", &context()).unwrap();
        assert_eq!(
            rewrapper.is_current(&other, &context()).unwrap(),
            Currency::Unknown
        );
    }
}

#[test]
fn hidden_ids_and_kms_that_rewrap_on_their_side() {
    let old = FakeKeyManager::new("old");
    let new = old.sibling("new").rewrapping_from(&old);
    for hidden in [false, true] {
        let mut rows = rows(&old);
        let builder = waxseal::Sealer::builder()
            .wrap_with(new.clone())
            .open_with(old.clone());
        let builder = if hidden { builder.hide_kek_ids() } else { builder };
        let sealer = Sealer::from(builder.build().unwrap());
        old.forget_calls();
        let mut rewrapper = sealer.rewrapper();
        assert_eq!(run(&mut rewrapper, &mut rows), VALUES);
        // The first shows which version wraps; the others are done by the KMS.
        assert_eq!((old.count(Method::Unwrap), old.count(Method::Wrap)), (1, 1));
        assert_eq!(old.count(Method::Rewrap), KEYS - 1);
        let counts = rewrapper.counts();
        assert_eq!((counts.rewrapped, counts.reused), (20, 380));
        assert_eq!(counts.unverified, 380);
        assert_eq!(sections(&rows), KEYS);
        all_open(&new, &rows);
        let before = rows.clone();
        assert_eq!(run(&mut sealer.rewrapper(), &mut rows), 0);
        assert!(rows == before, "{hidden}");
    }
}

#[test]
fn a_body_that_was_planted_behind_copied_wraps_fails_alone() {
    let [old, new] = ["old", "new"].map(FakeKeyManager::new);
    let mut rows = rows(&old);
    let stranger = Sealer::new(FakeKeyManager::new("stranger"))
        .seal(b"evil", &context())
        .unwrap();
    let body = |row: &[u8]| Envelope::parse(row).unwrap().header().body_offset();
    let planted = [&rows[0][..body(&rows[0])], &stranger[body(&stranger)..]].concat();
    let mut rewrapper = mover(&new, &old).rewrapper();
    run(&mut rewrapper, &mut rows);
    let error = rewrapper.rewrap(&planted, &context()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotOpen);
    let other = EncryptionContext::empty();
    assert!(rewrapper.rewrap(&rows[1], &other).is_err());
    assert!(rewrapper.rewrap(b"no envelope", &context()).is_err());
    let counts = rewrapper.counts();
    assert_eq!((counts.examined, counts.failed), (403, 3));
    // One that fails is tried again, and spoils nothing.
    let fresh = Sealer::new(old.clone()).seal(b"x", &context()).unwrap();
    old.script(Fault::Fails(ErrorKind::Unavailable));
    assert!(rewrapper.rewrap(&fresh, &context()).unwrap_err().is_retryable());
    assert!(rewrapper.rewrap(&fresh, &context()).unwrap().is_some());
}

#[test]
fn memory_is_bounded_and_what_is_forgotten_is_asked_for_again() {
    let [old, new] = ["old", "new"].map(FakeKeyManager::new);
    let mut rows = rows(&old);
    old.forget_calls();
    let rewrapper = mover(&new, &old).rewrapper();
    let mut rewrapper = rewrapper.remembering(NonZeroUsize::new(2).unwrap());
    assert_eq!(run(&mut rewrapper, &mut rows), VALUES);
    assert_eq!(old.count(Method::Unwrap), VALUES);
    all_open(&new, &rows);
    assert!(!format!("{rewrapper:?}").contains("users"));
}

/// What ends data keys, and what turns them over, reaches those that a re-wrapper remembers.
#[test]
fn remembered_data_keys_are_in_the_registry() {
    let [old, new] = ["old", "new"].map(FakeKeyManager::new);
    let mut rows = rows(&old);
    let builder = || {
        waxseal::Sealer::builder()
            .wrap_with(new.clone())
            .open_with(old.clone())
    };
    for cached in [false, true] {
        let builder = if cached {
            builder().cache(Caching::default())
        } else {
            builder()
        };
        let sealer = builder.build().unwrap();
        let leases = sealer.leases().clone();
        let mut rewrapper = Sealer::from(sealer).rewrapper();
        let mut asked = 0;
        let mut rewrap = |rewrapper: &mut Rewrapper| {
            old.forget_calls();
            assert!(rewrapper.rewrap(&rows[0], &context()).unwrap().is_some());
            asked += old.count(Method::Unwrap);
            old.count(Method::Unwrap)
        };
        assert_eq!((rewrap(&mut rewrapper), rewrap(&mut rewrapper)), (1, 0));
        assert_eq!(leases.in_use(), 1);
        assert_eq!(leases.end_kek(&old.kek()), 1);
        assert_eq!((rewrap(&mut rewrapper), rewrap(&mut rewrapper)), (1, 0));
        leases.turn_over_all();
        assert_eq!((rewrap(&mut rewrapper), rewrap(&mut rewrapper)), (1, 0));
        assert_eq!(asked, 3);
    }
    let mut rewrapper = mover(&new, &old).rewrapper();
    run(&mut rewrapper, &mut rows);
    all_open(&new, &rows);
}

/// Lets every lease of a re-wrap end at a time, and is otherwise what it is around.
#[derive(Debug)]
struct Ending(Arc<dyn DekSource>, Monotonic);

#[async_trait]
impl DekSource for Ending {
    async fn seal_dek(&self, request: &Request<'_>) -> waxseal::Result<(Arc<DekLease>, WrapSet)> {
        self.0.seal_dek(request).await
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> waxseal::Result<Arc<DekLease>> {
        self.0.open_dek(wraps, body, request).await
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> waxseal::Result<Rewrapped> {
        let rewrapped = self.0.rewrap(wraps, body, request).await?;
        if let Some(lease) = rewrapped.lease() {
            lease.end_by(self.1);
        }
        Ok(rewrapped)
    }

    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        self.0.is_current(wraps, request)
    }
}

#[test]
fn a_remembered_data_key_whose_lease_is_over_is_asked_for_again() {
    let [old, new] = ["old", "new"].map(FakeKeyManager::new);
    let row = Sealer::new(old.clone()).seal(b"x", &context()).unwrap();
    let runtime = SimulatedRuntime::new();
    let minute = Duration::from_secs(60);
    let end = runtime.now() + minute;
    let sealer = waxseal::Sealer::builder()
        .wrap_with(new)
        .open_with(old.clone())
        .layer(move |inner| Ending(inner, end))
        .runtime(Arc::new(runtime.clone()))
        .build()
        .unwrap();
    let mut rewrapper = Sealer::from(sealer).rewrapper();
    let mut unwraps = || {
        old.forget_calls();
        assert!(rewrapper.rewrap(&row, &context()).unwrap().is_some());
        old.count(Method::Unwrap)
    };
    assert_eq!((unwraps(), unwraps()), (1, 0));
    runtime.advance(minute);
    assert_eq!(unwraps(), 1);
}

/// Whether a value is current is known without a call, through whatever stands around the source.
#[test]
fn a_second_run_is_cheap_through_a_cache_and_a_layer() {
    let [old, new] = ["old", "new"].map(FakeKeyManager::new);
    let plain = || Arc::new(AnyOf::new(new.clone()).open_with(old.clone()));
    let runtime = SimulatedRuntime::new();
    let never = runtime.now() + Duration::from_secs(1 << 30);
    let builder = || {
        waxseal::Sealer::builder()
            .wrap_with(new.clone())
            .open_with(old.clone())
            .runtime(Arc::new(runtime.clone()))
    };
    let sealers = [
        ("Arc", waxseal::Sealer::from_source(plain())),
        ("Arc of Arc", waxseal::Sealer::from_source(Arc::new(plain()))),
        ("cache", builder().cache(Caching::default()).build().unwrap()),
        (
            "cache around an Arc",
            waxseal::Sealer::from_source(Arc::new(Cached::new(plain()))),
        ),
        (
            "layer",
            builder()
                .layer(move |inner| Ending(inner, never))
                .build()
                .unwrap(),
        ),
    ];
    for (what, sealer) in sealers {
        let sealer = Sealer::from(sealer);
        let mut rows = rows(&old);
        assert_eq!(run(&mut sealer.rewrapper(), &mut rows), VALUES, "{what}");
        new.forget_calls();
        let mut second = sealer.rewrapper();
        assert_eq!(run(&mut second, &mut rows), 0, "{what}");
        assert_eq!(new.count(Method::Unwrap), 1, "{what}");
        assert_eq!(
            second.is_current(&rows[0], &context()).unwrap(),
            Currency::Current,
            "{what}"
        );
    }
}
