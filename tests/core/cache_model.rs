//! The cache's state machine under a model checker: the very files, compiled with the checker's locks and atomics, run
//! in thousands of schedules. A deadlock, a task that nobody wakes, or a broken promise fails with its schedule.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    missing_docs,
    unreachable_pub
)]

#[path = "../../src/source/cache/flight.rs"]
mod flight;
#[path = "../../src/source/cache/shard.rs"]
mod shard;
#[path = "../../src/source/cache/table.rs"]
mod table;

mod sync {
    pub(crate) use shuttle::sync::Mutex;
    pub(crate) use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
}

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use shuttle::future::{block_on, yield_now};
use shuttle::thread;
use sync::{AtomicUsize, Ordering};
use table::{Entered, Table};

/// Schedules of each kind.
const SCHEDULES: usize = 1500;

/// What the key manager answered, as it was when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Landing {
    Given(usize),
    Overtaken,
}

/// A cache of numbers, over a key manager that changes its answer.
#[derive(Clone)]
struct Model {
    table: Arc<Table<u64, usize, Landing>>,
    answer: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

type Ticket = table::Ticket<u64, usize, Landing>;

impl Model {
    fn new(most: usize) -> Self {
        Self {
            table: Table::new(most, |work| drop(shuttle::future::spawn(work))),
            answer: Arc::default(),
            calls: Arc::default(),
        }
    }

    fn enter(&self, key: u64) -> Entered<usize, u64, usize, Landing> {
        let begin = |id| {
            let model = self.clone();
            let work = async move {
                model.calls.fetch_add(1, Ordering::SeqCst);
                let answer = model.answer.load(Ordering::SeqCst);
                yield_now().await;
                match model.table.land(id, Arc::new(key), answer) {
                    Ok(_) => Landing::Given(answer),
                    Err(_) => Landing::Overtaken,
                }
            };
            (Arc::new(key), Box::pin(work) as flight::Work<Landing>)
        };
        self.table
            .enter(key, 0, |other| *other == key, |value| Some(*value), begin)
    }

    async fn get(&self, key: u64) -> usize {
        loop {
            match self.enter(key) {
                Entered::Found(value) => return value,
                Entered::Boarded { ticket, .. } => {
                    if let Landing::Given(value) = ticket.await.unwrap() {
                        return value;
                    }
                }
            }
        }
    }

    fn ticket(&self, key: u64) -> Option<Ticket> {
        match self.enter(key) {
            Entered::Found(_) => None,
            Entered::Boarded { ticket, .. } => Some(ticket),
        }
    }

    /// Asks, is polled so many times, and leaves.
    fn leave_after(&self, polls: usize) {
        let Some(ticket) = self.ticket(1) else { return };
        let mut ticket = pin!(ticket);
        for _ in 0..polls {
            let mut context = Context::from_waker(Waker::noop());
            if ticket.as_mut().poll(&mut context).is_ready() {
                return;
            }
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Runs a model in many schedules: at random, and with few changes of thread, which finds what random does not.
fn check(model: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(model, SCHEDULES);
    shuttle::check_pct(model, SCHEDULES, 3);
}

fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::spawn(work)
}

#[test]
fn those_who_ask_at_once_make_one_call() {
    check(|| {
        let model = Model::new(4);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let model = model.clone();
                spawn(move || block_on(model.get(1)))
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 0);
        }
        assert_eq!(model.calls(), 1);
        assert_eq!(model.table.len(), 1);
    });
}

#[test]
fn who_leaves_holds_up_nobody() {
    check(|| {
        let model = Model::new(4);
        let leavers: Vec<_> = (0..2)
            .map(|polls| {
                let model = model.clone();
                spawn(move || model.leave_after(polls))
            })
            .collect();
        let stayers: Vec<_> = (0..2)
            .map(|_| {
                let model = model.clone();
                spawn(move || block_on(model.get(1)))
            })
            .collect();
        for thread in stayers {
            assert_eq!(thread.join().unwrap(), 0);
        }
        leavers.into_iter().for_each(|thread| thread.join().unwrap());
        // What those began who left is carried on for those who come.
        assert_eq!(model.calls(), 1);
        assert_eq!(model.table.len(), 1);
        assert!(model.ticket(1).is_none(), "the entry is gone");
    });
}

#[test]
fn what_all_have_left_is_carried_on_and_kept() {
    check(|| {
        let model = Model::new(4);
        let leavers: Vec<_> = (1..3)
            .map(|polls| {
                let model = model.clone();
                spawn(move || model.leave_after(polls))
            })
            .collect();
        leavers.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(block_on(model.get(1)), 0);
        assert_eq!((model.calls(), model.table.len()), (1, 1));
    });
}

#[test]
fn who_is_not_polled_any_more_holds_up_nobody() {
    check(|| {
        let model = Model::new(4);
        let mut ticket = Box::pin(model.ticket(1).unwrap());
        let mut context = Context::from_waker(Waker::noop());
        assert!(ticket.as_mut().poll(&mut context).is_pending());
        let others: Vec<_> = (0..2)
            .map(|_| {
                let model = model.clone();
                spawn(move || block_on(model.get(1)))
            })
            .collect();
        for thread in others {
            assert_eq!(thread.join().unwrap(), 0);
        }
        assert_eq!(model.calls(), 1);
        drop(ticket);
    });
}

#[test]
fn an_invalidation_beats_what_was_asked_for_before_it() {
    check(|| {
        let model = Model::new(4);
        let early: Vec<_> = (0..2)
            .map(|_| {
                let model = model.clone();
                spawn(move || block_on(model.get(1)))
            })
            .collect();
        let invalidating = {
            let model = model.clone();
            spawn(move || {
                // Access is taken away, then the cache is told.
                model.answer.store(1, Ordering::SeqCst);
                model.table.clear(|_, _| false, |_| false);
                block_on(model.get(1))
            })
        };
        assert_eq!(
            invalidating.join().unwrap(),
            1,
            "an old answer after the invalidation"
        );
        for thread in early {
            thread.join().unwrap();
        }
        assert_eq!(block_on(model.get(1)), 1, "an old answer was kept");
    });
}

#[test]
fn what_an_invalidation_does_not_mean_is_left_alone() {
    check(|| {
        let model = Model::new(4);
        let asking = {
            let model = model.clone();
            spawn(move || block_on(model.get(1)))
        };
        let clearing = {
            let model = model.clone();
            spawn(move || model.table.clear(|key, _| *key == 1, |key| *key == 1).len())
        };
        assert_eq!(asking.join().unwrap(), 0);
        assert_eq!(clearing.join().unwrap(), 0);
        assert_eq!((model.calls(), model.table.len()), (1, 1));
    });
}

#[test]
fn the_count_of_entries_is_true_and_bounded() {
    check(|| {
        let model = Model::new(1);
        let threads: Vec<_> = (0..3)
            .map(|key| {
                let model = model.clone();
                spawn(move || block_on(model.get(key)))
            })
            .collect();
        let clearing = {
            let model = model.clone();
            spawn(move || drop(model.table.clear(|key, _| *key == 1, |_| true)))
        };
        for thread in threads {
            thread.join().unwrap();
        }
        clearing.join().unwrap();
        assert!(model.table.len() <= 1);
        assert_eq!(model.table.keys().len(), model.table.len());
    });
}

#[test]
fn all_who_wait_are_told_of_a_failure_and_the_next_asks_again() {
    check(|| {
        let model = Model::new(4);
        let begin = |model: &Model| {
            let (table, calls) = (Arc::clone(&model.table), Arc::clone(&model.calls));
            move |id: table::FlightId| {
                let work = async move {
                    calls.fetch_add(1, Ordering::SeqCst);
                    yield_now().await;
                    table.fail(id, |key| *key == 1, |_| true).unwrap();
                    Landing::Overtaken
                };
                (Arc::new(1), Box::pin(work) as flight::Work<Landing>)
            }
        };
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let model = model.clone();
                spawn(move || {
                    let entered = model
                        .table
                        .enter(1, 0, |key| *key == 1, |_| None::<()>, begin(&model));
                    let Entered::Boarded { ticket, .. } = entered else {
                        panic!("an entry")
                    };
                    assert_eq!(block_on(ticket), Some(Landing::Overtaken));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!((1..=2).contains(&model.calls()));
        assert_eq!(block_on(model.get(1)), 0);
    });
}
