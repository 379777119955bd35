//! Services that fail for a while, lose answers, or cut them off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pollster::block_on;
use waxseal::ErrorKind;
use waxseal::fleet::{Range, Store as _, Verify};

use super::Bench;
use super::unruly::{Call, Fault, Unruly};

/// A bench whose calls go through a rule from now on.
fn unruly(
    bench: &Bench,
    rule: impl FnMut(Call, &object_store::path::Path, u64) -> Fault + Send + 'static,
) -> Bench {
    Bench {
        service: Arc::new(Unruly::new(&bench.service, rule)),
        ..bench.clone()
    }
}

#[test]
fn whatever_a_service_does_nothing_is_lost_and_nothing_is_overwritten() {
    let bench = Bench::in_memory();
    let filled = bench.fill(1000);
    let bodies = bench.bodies(filled.keys().cloned());
    let faults = [
        Fault::Changed,
        Fault::Fails,
        Fault::LosesAnswer,
        Fault::Cut,
        Fault::Breaks,
    ];
    let fired = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&fired);
    let failing = unruly(&bench, move |_, _, number| {
        if number % 37 != 5 {
            return Fault::None;
        }
        count.fetch_add(1, Ordering::Relaxed);
        faults[usize::try_from(number / 37).unwrap() % faults.len()]
    });
    let job = failing.job(failing.objects()).verify(Verify::All);
    let report = block_on(job.run()).unwrap();
    assert!(report.is_whole);
    assert_eq!(
        (report.counts.moved(), report.counts.faults()),
        (1000, 0),
        "{report:?}"
    );
    assert!(fired.load(Ordering::Relaxed) > 50);
    assert!(report.counts.revisited > 0);
    bench.check_moved(&filled);
    assert_eq!(bench.bodies(filled.keys().cloned()), bodies);
}

#[test]
fn a_put_whose_answer_is_lost_is_found_to_be_done() {
    for fault in [Fault::LosesAnswer, Fault::Fails, Fault::Hangs] {
        let bench = Bench::in_memory();
        let filled = bench.fill(3);
        // The first one is the look at whether there are conditions.
        let mut puts = 0;
        let failing = unruly(&bench, move |call, _, _| {
            puts += u64::from(call == Call::Put);
            match call == Call::Put && puts == 2 {
                true => fault,
                false => Fault::None,
            }
        });
        let objects = failing
            .objects()
            .with_timeout(Duration::from_millis(500))
            .unwrap();
        let report = block_on(failing.job(objects).run()).unwrap();
        assert_eq!(
            (report.counts.moved(), report.counts.faults()),
            (3, 0),
            "{fault:?}"
        );
        assert_eq!(report.counts.revisited, 1, "{fault:?}");
        bench.check_moved(&filled);
    }
}

#[test]
fn a_body_that_is_cut_off_is_never_put() {
    for fault in [Fault::Cut, Fault::Breaks] {
        let bench = Bench::in_memory();
        let filled = bench.fill(5);
        let before = bench.listed();
        let cutting = unruly(&bench, move |call, _, _| match call {
            Call::Get => fault,
            _ => Fault::None,
        });
        let objects = cutting.objects();
        let page = block_on(objects.scan(&Range::all(), 10)).unwrap();
        for found in page.found {
            let mut rewrapper = bench.sealer().rewrapper();
            let item = found.item.unwrap();
            let context = super::context(&found.id);
            let wraps = block_on(rewrapper.rewrap(item.front(), &context))
                .unwrap()
                .unwrap();
            let change = waxseal::fleet::Change::new(item, wraps).unwrap();
            let answers = block_on(objects.replace(&[change]));
            let error = answers[0].as_ref().unwrap_err();
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (ErrorKind::Unavailable, true)
            );
        }
        assert_eq!(bench.listed(), before);
        bench.run();
        bench.check_moved(&filled);
    }
}

#[test]
fn a_service_that_is_away_fails_a_page_and_one_object_that_cannot_be_read_does_not() {
    let bench = Bench::in_memory();
    bench.fill(10);
    let away = unruly(&bench, |_, _, _| Fault::Fails);
    let error = block_on(away.objects().scan(&Range::all(), 10)).unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );

    let one = unruly(&bench, |_, path, _| match path.as_ref().ends_with("00003.bin") {
        true => Fault::Fails,
        false => Fault::None,
    });
    let page = block_on(one.objects().scan(&Range::all(), 10)).unwrap();
    let failed: Vec<_> = page.found.iter().filter(|found| found.item.is_err()).collect();
    assert_eq!((page.found.len(), failed.len()), (10, 1));
    assert_eq!(failed[0].id, "03/00003.bin");
}

#[test]
fn a_call_that_is_never_answered_ends() {
    let bench = Bench::in_memory();
    bench.fill(2);
    let hanging = unruly(&bench, |_, _, _| Fault::Hangs);
    let objects = hanging
        .objects()
        .with_timeout(Duration::from_millis(100))
        .unwrap();
    let error = block_on(objects.scan(&Range::all(), 10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    let error = block_on(objects.front("00/00000.bin")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    let error = block_on(objects.check_conditions()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}

#[test]
fn an_object_that_others_write_while_its_front_is_read_is_read_again() {
    let bench = Bench::in_memory();
    let (first, second) = (bench.seal("a", b"1", 9000), bench.seal("a", b"2", 7000));
    bench.put("a", first);
    let (service, path, late) = (Arc::clone(&bench.service), bench.path("a"), second.clone());
    let writing = unruly(&bench, move |_, _, number| {
        if number == 1 {
            block_on(service.put_opts(&path, late.clone().into(), Default::default())).unwrap();
        }
        Fault::None
    });
    let item = block_on(writing.objects().front("a")).unwrap().unwrap();
    assert_eq!(item.len(), second.len() as u64);
    assert!(second.starts_with(item.front()));
    assert_eq!(waxseal::envelope::Header::missing(item.front()).unwrap(), None);
}
