use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;

/// Threads of its own for each call, and faults.
#[derive(Debug)]
struct Threads {
    count: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Makes no call at all.
    Idle,
    /// Its threads panic, and it says nothing of that.
    Swallows,
    /// Calls long after there is nothing left.
    Twice,
}

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.count
    }

    fn run(&self, helpers: usize, work: &(dyn Fn() + Sync)) {
        if self.fault == Fault::Idle {
            return;
        }
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
            if self.fault != Fault::Swallows {
                work();
            }
            for helper in helpers {
                let ended = helper.join();
                assert!(ended.is_ok() || self.fault == Fault::Swallows);
            }
        });
        if self.fault == Fault::Twice {
            work();
        }
    }

    fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
        std::thread::spawn(work);
    }
}

fn pool(count: usize, fault: Fault) -> Parallel {
    Parallel::new(Arc::new(Threads { count, fault })).above(0)
}

fn numbers(parallel: &Parallel, count: usize) -> (Result<()>, Vec<usize>) {
    let mut cells = vec![0; count];
    let pieces = cells.iter_mut().enumerate();
    let result = each(Some(parallel), count, pieces, |(index, cell)| {
        *cell += index + 1;
        Ok(())
    });
    (result, cells)
}

#[test]
fn every_piece_is_done_once_whatever_the_pool_does() {
    for fault in [Fault::None, Fault::Idle, Fault::Twice] {
        for threads in [0, 1, 2, 7, 33] {
            for count in [0, 1, 2, 3, 64, 1000] {
                let (result, cells) = numbers(&pool(threads, fault), count);
                result.unwrap();
                assert!(cells.into_iter().eq(1..=count), "{fault:?} {threads} {count}");
            }
        }
    }
}

#[test]
fn the_first_error_ends_it_and_comes_back() {
    let done = AtomicUsize::new(0);
    let result = each(Some(&pool(3, Fault::None)), 1, 0..100_000, |index| {
        if index == 20 {
            return Err(Error::cannot_open());
        }
        done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::CannotOpen);
    assert!(done.into_inner() < 99_999);
}

#[test]
fn a_piece_that_was_begun_and_lost_is_an_error_and_not_success() {
    let has_panicked = AtomicBool::new(false);
    let result = each(Some(&pool(2, Fault::Swallows)), 1, 0..50, |index| {
        if index == 7 {
            has_panicked.store(true, Ordering::SeqCst);
            std::panic::resume_unwind(Box::new("lost"));
        }
        Ok(())
    });
    assert!(has_panicked.into_inner());
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn small_payloads_and_forked_processes_stay_on_their_thread() {
    let here = std::thread::current().id();
    let stays = |parallel: &Parallel, len, waits: bool| {
        let stayed = AtomicBool::new(true);
        let start = std::time::Instant::now();
        each(Some(parallel), len, 0..64, |_| {
            stayed.fetch_and(std::thread::current().id() == here, Ordering::SeqCst);
            // Another thread that is on its way gets a piece before this one takes them all.
            while waits && stayed.load(Ordering::SeqCst) && start.elapsed() < Duration::from_secs(60) {
                std::thread::yield_now();
            }
            Ok(())
        })
        .unwrap();
        stayed.into_inner()
    };
    let parallel = pool(2, Fault::None).above(10);
    assert!(stays(&parallel, 10, false));
    assert!(!stays(&parallel, 11, true));
    let mut forked = parallel;
    forked.pretend_to_have_forked();
    assert!(stays(&forked, 11, false));
}

#[test]
fn a_stream_has_a_bounded_number_of_units_in_flight() {
    let unit = 256 * 1024;
    assert_eq!(pool(1, Fault::None).units(unit), 4);
    assert_eq!(pool(2, Fault::None).units(unit), 8);
    assert_eq!(pool(2, Fault::None).in_flight(0).units(unit), 3);
    assert_eq!(pool(1, Fault::None).units(1 << 24), 2);
    assert_eq!(pool(1, Fault::None).in_flight(1 << 20).units(1 << 10), 1024);
}
