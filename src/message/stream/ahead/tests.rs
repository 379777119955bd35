use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::message::parallel::Pool;
use crate::value::error::ErrorKind;

/// Adds one to each byte; panics at a unit of ours, waits at another.
#[derive(Default)]
struct AddOne {
    panics_at: Option<u64>,
    done: AtomicUsize,
}

impl Work for AddOne {
    fn work(&self, unit: &mut Unit) {
        if self.panics_at == Some(unit.run.first()) {
            std::panic::resume_unwind(Box::new("here"));
        }
        unit.chunks()
            .iter_mut()
            .for_each(|byte| *byte = byte.wrapping_add(1));
        self.done.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Now,
    Later,
    Dropped,
    Kept,
}

/// Runs what it is given at once, later on a thread, never, or never and keeps it.
#[derive(Debug)]
struct OnePool {
    manner: Manner,
    kept: Mutex<mpsc::Sender<Kept>>,
}

struct Kept(#[allow(dead_code, reason = "kept and not used")] Box<dyn FnOnce() + Send>);

impl Pool for OnePool {
    fn threads(&self) -> usize {
        3
    }

    fn run(&self, _: usize, work: &(dyn Fn() + Sync)) {
        work();
    }

    fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
        match self.manner {
            Manner::Now => {
                std::thread::spawn(work).join().ok();
            }
            Manner::Later => drop(std::thread::spawn(move || {
                std::thread::sleep(Duration::from_micros(300));
                work();
            })),
            Manner::Dropped => drop(work),
            Manner::Kept => self.kept.lock().unwrap().send(Kept(work)).unwrap(),
        }
    }
}

fn ahead(manner: Manner, work: AddOne) -> (Ahead<AddOne>, mpsc::Receiver<Kept>) {
    let (kept, receiver) = mpsc::channel();
    let kept = Mutex::new(kept);
    let parallel = Parallel::new(Arc::new(OnePool { manner, kept })).in_flight(0);
    (Ahead::new(work, Some(&parallel), 1024), receiver)
}

fn unit(first: u64) -> Unit {
    let fill = u8::try_from(first % 200).unwrap();
    Unit {
        bytes: Buffer(vec![fill; 50]),
        len: 40,
        run: Run::of(first, 1, false),
        ..Unit::default()
    }
}

#[test]
fn units_come_back_in_order_and_done_whatever_the_pool_does() {
    for manner in [Manner::Now, Manner::Later, Manner::Dropped, Manner::Kept] {
        let (mut ahead, _kept) = ahead(manner, AddOne::default());
        let (mut pushed, mut taken) = (0, 0);
        while taken < 300 {
            while !ahead.is_full() && pushed < 300 {
                ahead.push(unit(pushed)).unwrap();
                pushed += 1;
            }
            assert!(pushed - taken <= 4, "{manner:?}");
            let mut unit = ahead.next(true).unwrap().unwrap();
            assert_eq!(unit.run.first(), taken, "{manner:?}");
            let fill = u8::try_from(taken % 200).unwrap() + 1;
            assert!(unit.chunks().iter().all(|byte| *byte == fill), "{manner:?}");
            taken += 1;
        }
        assert!(ahead.next(true).unwrap().is_none());
        assert_eq!(ahead.work.done.load(Ordering::SeqCst), 300, "{manner:?}");
    }
}

#[test]
fn who_does_not_wait_gets_what_is_done_and_nothing_else() {
    let (mut ahead, kept) = ahead(Manner::Kept, AddOne::default());
    ahead.push(unit(0)).unwrap();
    ahead.push(unit(1)).unwrap();
    assert!(ahead.next(false).unwrap().is_none());
    let (first, second) = (kept.recv().unwrap(), kept.recv().unwrap());
    (second.0)();
    assert!(
        ahead.next(false).unwrap().is_none(),
        "the second is done, the first is not"
    );
    (first.0)();
    assert_eq!(ahead.next(false).unwrap().unwrap().run.first(), 0);
    assert_eq!(ahead.next(false).unwrap().unwrap().run.first(), 1);
    assert!(ahead.next(true).unwrap().is_none());
}

#[test]
fn a_thread_that_panics_is_an_error_at_its_unit_and_nobody_waits_for_it() {
    let work = AddOne {
        panics_at: Some(2),
        ..AddOne::default()
    };
    let (mut ahead, _kept) = ahead(Manner::Now, work);
    for first in 0..4 {
        ahead.push(unit(first)).unwrap();
    }
    assert_eq!(ahead.next(true).unwrap().unwrap().run.first(), 0);
    assert_eq!(ahead.next(true).unwrap().unwrap().run.first(), 1);
    let error = ahead.next(true).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn who_waits_for_a_unit_that_is_begun_does_others_and_is_woken_by_a_panic() {
    for panics in [false, true] {
        let slot = Arc::new(Slot::new(unit(0)));
        let (began, begun) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let other = Arc::clone(&slot);
        let thread = std::thread::spawn(move || {
            other.run(&Blocking {
                began,
                gone: Mutex::new(gone),
                panics,
            })
        });
        begun.recv().unwrap();
        assert!(!slot.is_settled());
        assert!(!slot.run(&AddOne::default()), "begun by the other");
        let waker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            go.send(()).unwrap();
        });
        let finished = slot.finish(&AddOne::default());
        assert_eq!(finished.is_err(), panics);
        assert_eq!(thread.join().is_err(), panics);
        waker.join().unwrap();
    }
}

struct Blocking {
    began: mpsc::Sender<()>,
    gone: Mutex<mpsc::Receiver<()>>,
    panics: bool,
}

impl Work for Blocking {
    fn work(&self, _: &mut Unit) {
        self.began.send(()).unwrap();
        self.gone.lock().unwrap().recv().unwrap();
        if self.panics {
            std::panic::resume_unwind(Box::new("here"));
        }
    }
}

#[test]
fn a_forked_process_neither_waits_nor_takes_a_lock() {
    let (mut ahead, _kept) = ahead(Manner::Kept, AddOne::default());
    ahead.push(unit(0)).unwrap();
    // As the other half of a fork leaves it: begun, and the lock held.
    let Some(Entry::There(slot)) = ahead.under_way.front().map(|entry| match entry {
        Entry::There(slot) => Entry::There(Arc::clone(slot)),
        Entry::Here(_) => unreachable!(),
    }) else {
        panic!("nothing under way");
    };
    let _held = slot.lock();
    ahead.parallel.as_mut().unwrap().pretend_to_have_forked();
    for _ in 0..2 {
        assert_eq!(ahead.next(true).err().unwrap().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(
        ahead.push(unit(1)).err().unwrap().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn without_threads_it_is_one_chunk_at_a_time_here() {
    let mut ahead = Ahead::new(AddOne::default(), None, 1024);
    assert!(ahead.is_serial() && ahead.chunks() == 1 && !ahead.is_full());
    ahead.push(unit(7)).unwrap();
    assert!(ahead.is_full());
    assert_eq!(ahead.work.done.load(Ordering::SeqCst), 0);
    assert_eq!(ahead.next(false).unwrap().unwrap().chunks(), [8; 40]);
}
