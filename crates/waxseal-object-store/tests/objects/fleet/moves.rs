//! What is moved, in memory: and what becomes of objects that others change meanwhile.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::{ObjectStoreExt as _, PutMode, PutOptions};
use pollster::block_on;
use waxseal::fleet::{Change, FaultClass, Item, Replaced, Store as _, Verify};
use waxseal::{ErrorKind, Sealer};
use waxseal_object_store::Objects;

use super::unruly::{Call, Conditions, Fault, Unruly};
use super::{Bench, context, leaves_what_others_write, moves_everything, on_tokio};

#[test]
fn a_thousand_objects_are_moved_and_a_second_run_writes_nothing() {
    moves_everything(&Bench::in_memory(), 1000);
    // All of a bucket.
    let bench = Bench {
        prefix: "x".to_owned(),
        ..Bench::in_memory()
    };
    let sealed = bench.seal("x/1", b"1", 0);
    bench.put("1", sealed);
    let all = Objects::new(Arc::clone(&bench.service), "").unwrap();
    let all = all.sealed_by(|id| Ok(Some(context(id))));
    assert_eq!(block_on(bench.job(all).run()).unwrap().counts.moved(), 1);
}

#[test]
fn a_thousand_objects_that_others_write_keep_what_they_wrote() {
    leaves_what_others_write(&Bench::in_memory(), 1000);
}

/// A change of an object, as a job would make it.
fn change(bench: &Bench, objects: &Objects, id: &str) -> Change {
    let item: Item = block_on(objects.front(id)).unwrap().unwrap();
    let mut rewrapper = bench.sealer().rewrapper();
    let wraps = block_on(rewrapper.rewrap(item.front(), &context(id))).unwrap();
    Change::new(item, wraps.unwrap()).unwrap()
}

fn replace(objects: &Objects, change: &Change) -> waxseal::Result<Replaced> {
    let mut answers = block_on(objects.replace(std::slice::from_ref(change)));
    answers.pop().unwrap()
}

#[test]
fn an_object_that_changes_meanwhile_is_never_overwritten() {
    let bench = Bench::in_memory();
    let objects = bench.objects();
    bench.put("a", bench.seal("a", b"1", 0));
    let stale = change(&bench, &objects, "a");
    // To bytes of the same length, and to the very same bytes.
    for other in [bench.seal("a", b"2", 0), bench.get("a").unwrap()] {
        bench.put("a", other.clone());
        assert_eq!(replace(&objects, &stale).unwrap(), Replaced::Changed);
        assert_eq!(bench.get("a").unwrap(), other);
    }
    let fresh = change(&bench, &objects, "a");
    assert_eq!(replace(&objects, &fresh).unwrap(), Replaced::Done);
    assert_eq!(replace(&objects, &fresh).unwrap(), Replaced::Changed);
    on_tokio(bench.service.delete(&bench.path("a"))).unwrap();
    assert_eq!(replace(&objects, &fresh).unwrap(), Replaced::Gone);
    assert_eq!(bench.get("a"), None);
}

#[test]
fn an_object_that_changes_between_the_copy_and_the_put_is_never_overwritten() {
    let bench = Bench::in_memory();
    bench.put("a", bench.seal("a", b"1", 0));
    let (service, path) = (Arc::clone(&bench.service), bench.path("a"));
    let other = bench.seal("a", b"other", 0);
    let late = other.clone();
    let unruly = Unruly::new(&bench.service, move |call, at, _| {
        if call == Call::Put && *at == path {
            block_on(service.put(&path, late.clone().into())).unwrap();
        }
        Fault::None
    });
    let bench = Bench {
        service: Arc::new(unruly),
        ..bench
    };
    let objects = bench.objects();
    assert_eq!(
        replace(&objects, &change(&bench, &objects, "a")).unwrap(),
        Replaced::Changed
    );
    assert_eq!(bench.get("a").unwrap(), other);
}

#[test]
fn an_object_that_may_not_be_replaced_is_a_fault_that_says_so() {
    let bench = Bench::in_memory();
    bench.put("a", bench.seal("a", b"1", 0));
    let before = bench.get("a");
    let held = Unruly::new(&bench.service, |call, _, _| match call {
        Call::Put => Fault::Changed,
        _ => Fault::None,
    });
    let bench = Bench {
        service: Arc::new(held),
        ..bench
    };
    let report = bench.run();
    assert_eq!(report.counts.faults(), 1);
    assert_eq!(report.faults[0].class, FaultClass::Denied);
    assert!(report.faults[0].reason.contains("lease"), "{report:?}");
    assert_eq!(bench.get("a"), before);
}

#[test]
fn an_object_above_the_limit_is_a_fault_that_names_the_setting_in_a_dry_run_too() {
    let bench = Bench::in_memory();
    bench.put("large", bench.seal("large", &[7; 5000], 0));
    bench.put("small", bench.seal("small", &[7; 50], 0));
    let before = bench.get("large");
    let job = || {
        let job = bench.job(bench.objects().with_most_bytes(4000));
        job.verify(Verify::None)
    };
    let dry = block_on(job().dry_run().run()).unwrap();
    let run = block_on(job().run()).unwrap();
    assert_eq!((dry.counts, &dry.faults), (run.counts, &run.faults));
    assert_eq!((run.counts.moved(), run.counts.too_large), (1, 1));
    assert!(
        run.faults[0].reason.contains("Objects::with_most_bytes"),
        "{run:?}"
    );
    assert_eq!(bench.get("large"), before);
    // What is current already is no fault.
    bench.run();
    assert_eq!(block_on(job().run()).unwrap().counts.current, 2);
}

#[test]
fn no_more_objects_are_in_memory_at_once_than_was_set() {
    for (objects, most) in [(1, 1), (3, 3)] {
        let bench = Bench::in_memory();
        let filled = bench.fill(60);
        let unruly = Unruly::new(&bench.service, |_, _, _| Fault::None);
        let puts = Arc::clone(&unruly.puts);
        let slow = Bench {
            service: Arc::new(unruly),
            ..bench.clone()
        };
        // Each of the four workers has a batch of its own.
        let at_once = NonZeroUsize::new(objects).unwrap();
        let job = slow.job(slow.objects().with_replaces_at_once(at_once));
        assert_eq!(block_on(job.run()).unwrap().counts.moved(), 60);
        let seen = puts.1.load(Ordering::SeqCst);
        assert!((1..=most).contains(&seen), "{seen} of {most}");
        bench.check_moved(&filled);
    }
}

#[test]
fn a_url_says_where_objects_are() {
    for url in ["", "s3://", "file:///x", "s3://u:c4n4ry@b/x"] {
        let error = Objects::from_url(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url}");
        assert!(!format!("{error} {error:?}").contains("c4n4ry"));
    }
    #[cfg(feature = "aws")]
    assert_eq!(
        Objects::from_url("s3://bucket/documents/").unwrap().name(),
        "s3://bucket/documents"
    );
}

#[test]
fn a_service_that_has_no_conditions_or_ignores_them_replaces_nothing() {
    for (conditions, what) in [
        (Conditions::Missing, "DirectoryStore"),
        (Conditions::Ignored, "ignores conditions"),
    ] {
        let bench = Bench::in_memory();
        bench.put("a", bench.seal("a", b"1", 0));
        let before = bench.listed();
        let mut unruly = Unruly::new(&bench.service, |_, _, _| Fault::None);
        unruly.conditions = conditions;
        let bench = Bench {
            service: Arc::new(unruly),
            ..bench
        };
        let error = block_on(bench.objects().check_conditions()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        let report = bench.run();
        assert_eq!((report.counts.moved(), report.counts.denied), (0, 1));
        assert!(report.faults[0].reason.contains(what), "{report:?}");
        assert_eq!(bench.listed(), before);
    }
    let bench = Bench::in_memory();
    block_on(bench.objects().check_conditions()).unwrap();
    assert!(bench.listed().is_empty());
}

#[test]
fn objects_whose_contexts_are_stored_or_all_the_same_are_moved() {
    let bench = Bench::in_memory();
    let storing = Sealer::builder().wrap_with(bench.old.clone()).store_context();
    let sealed = block_on(storing.build().unwrap().seal(b"a", &context("own"))).unwrap();
    let options = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    on_tokio(bench.service.put_opts(&bench.path("a"), sealed.into(), options)).unwrap();
    bench.put("without", bench.seal("without", b"b", 0));
    let plain = || Objects::new(Arc::clone(&bench.service), &bench.prefix).unwrap();
    let report = block_on(bench.job(plain()).run()).unwrap();
    assert_eq!((report.counts.moved(), report.counts.faults()), (1, 1));
    let report = block_on(bench.job(plain().sealed_in(context("without"))).run()).unwrap();
    // The other one says that it is of another context.
    assert_eq!((report.counts.moved(), report.counts.faults()), (1, 1));
    let sealer = Sealer::new(bench.new.clone());
    assert_eq!(
        block_on(sealer.open(&bench.get("a").unwrap(), &context("own"))).unwrap(),
        b"a"
    );
}

#[test]
fn neither_contexts_nor_envelopes_are_in_what_is_printed() {
    let bench = Bench::in_memory();
    let objects = bench.objects().sealed_in(context("c4n4ry"));
    assert!(!format!("{objects:?}").contains("c4n4ry"));
    assert_eq!(objects.name(), "objects:InMemory/tenants/documents");
}
