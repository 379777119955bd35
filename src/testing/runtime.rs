//! A runtime whose clock a test moves.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use crate::runtime::{BoxFuture, Monotonic, Runtime};

/// A [`Runtime`] in which time passes only when a test says so.
///
/// Both clocks stand still until [`advance`](Self::advance). A sleep completes when the clock reaches its
/// end, and is forgotten when it is dropped. Spawned tasks run in [`run_until_idle`](Self::run_until_idle),
/// in `advance` and in [`run`](Self::run), on the thread that calls; blocking work runs at once, inside
/// `spawn_blocking`. Clones share clock and tasks.
///
/// ```
/// use std::time::Duration;
/// use waxseal::{runtime::Runtime, testing::SimulatedRuntime};
///
/// let runtime = SimulatedRuntime::new();
/// let before = runtime.now();
/// // A day, in no time.
/// runtime.run(runtime.sleep(Duration::from_secs(86_400)));
/// assert_eq!(runtime.now(), before + Duration::from_secs(86_400));
/// ```
#[derive(Clone)]
pub struct SimulatedRuntime(Arc<Inner>);

struct Inner {
    clock: Mutex<Clock>,
    tasks: Mutex<Tasks>,
}

struct Clock {
    elapsed: Duration,
    /// What the calendar says at elapsed zero.
    origin: SystemTime,
    /// By end and number, so that those of one end wake in the order they were made.
    sleeps: BTreeMap<(Duration, u64), Option<Waker>>,
    next: u64,
}

#[derive(Default)]
struct Tasks {
    all: BTreeMap<u64, Arc<Task>>,
    ready: VecDeque<Arc<Task>>,
    next: u64,
}

struct Task {
    number: u64,
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    runtime: Weak<Inner>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if let Some(runtime) = self.runtime.upgrade() {
            lock(&runtime.tasks).ready.push_back(self);
        }
    }
}

/// Says whether the future of [`SimulatedRuntime::run`] was woken.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl SimulatedRuntime {
    /// A runtime with a clock at zero, on the 1st of January 2025, 00:00 UTC.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_735_689_600))
    }

    /// A runtime with a clock at zero and this calendar.
    #[must_use]
    pub fn starting_at(wall_clock: SystemTime) -> Self {
        let clock = Clock {
            elapsed: Duration::ZERO,
            origin: wall_clock,
            sleeps: BTreeMap::new(),
            next: 0,
        };
        Self(Arc::new(Inner {
            clock: Mutex::new(clock),
            tasks: Mutex::default(),
        }))
    }

    /// Moves both clocks. Sleeps that end on the way complete at their time and in their order, and tasks that
    /// they wake run before the clock moves on.
    pub fn advance(&self, by: Duration) {
        let target = self.elapsed().saturating_add(by);
        self.run_until_idle();
        while self.step(target) {
            self.run_until_idle();
        }
        lock(&self.0.clock).elapsed = target;
    }

    /// Moves the calendar alone, as an operator or a time server does. The monotonic clock stays.
    pub fn set_wall_clock(&self, now: SystemTime) {
        let mut clock = lock(&self.0.clock);
        clock.origin = now.checked_sub(clock.elapsed).unwrap_or(SystemTime::UNIX_EPOCH);
    }

    /// How far the monotonic clock was moved.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        lock(&self.0.clock).elapsed
    }

    /// How many sleeps have not ended.
    #[must_use]
    pub fn sleeping(&self) -> usize {
        lock(&self.0.clock).sleeps.len()
    }

    /// How many spawned tasks have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        lock(&self.0.tasks).all.len()
    }

    /// Runs spawned tasks until none can go on. The clock stays where it is.
    pub fn run_until_idle(&self) {
        loop {
            let next = lock(&self.0.tasks).ready.pop_front();
            let Some(task) = next else { return };
            // Out of its lock while it runs: a task may wake itself, and be woken by another thread.
            let Some(mut future) = lock(&task.future).take() else {
                continue;
            };
            let waker = Waker::from(Arc::clone(&task));
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => *lock(&task.future) = Some(future),
                Poll::Ready(()) => {
                    lock(&self.0.tasks).all.remove(&task.number);
                }
            }
        }
    }

    /// Runs a future to its end beside the spawned tasks, and moves the clock to the next sleep whenever
    /// nothing else can go on. `None` where it waits for something that nothing in this runtime will do.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            if woken.0.swap(false, Ordering::SeqCst)
                && let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return Some(value);
            }
            self.run_until_idle();
            if !woken.0.load(Ordering::SeqCst) && !self.step(Duration::MAX) {
                return None;
            }
        }
    }

    /// Moves the clock to the end of the next sleep, if that is not after `target`, and wakes it.
    fn step(&self, target: Duration) -> bool {
        let waker = {
            let mut clock = lock(&self.0.clock);
            // A sleep that nobody has polled, or that has woken, waits for nothing.
            let next = clock.sleeps.iter().find(|(_, waker)| waker.is_some());
            let Some((&key, _)) = next.filter(|((end, _), _)| *end <= target) else {
                return false;
            };
            clock.elapsed = clock.elapsed.max(key.0);
            clock.sleeps.get_mut(&key).and_then(Option::take)
        };
        // Outside the lock: a waker may do anything.
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

impl Default for SimulatedRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for SimulatedRuntime {
    fn now(&self) -> Monotonic {
        Monotonic(self.elapsed())
    }

    fn wall_clock(&self) -> SystemTime {
        let clock = lock(&self.0.clock);
        clock.origin.checked_add(clock.elapsed).unwrap_or(clock.origin)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut clock = lock(&self.0.clock);
        let key = (clock.elapsed.saturating_add(duration), clock.next);
        clock.next += 1;
        clock.sleeps.insert(key, None);
        drop(clock);
        let runtime = Arc::downgrade(&self.0);
        Box::pin(Sleep { runtime, key })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let mut tasks = lock(&self.0.tasks);
        let number = tasks.next;
        tasks.next += 1;
        let task = Arc::new(Task {
            number,
            future: Mutex::new(Some(task)),
            runtime: Arc::downgrade(&self.0),
        });
        tasks.all.insert(number, Arc::clone(&task));
        tasks.ready.push_back(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

impl fmt::Debug for SimulatedRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedRuntime")
            .field("elapsed", &self.elapsed())
            .field("sleeping", &self.sleeping())
            .field("tasks", &self.tasks())
            .finish()
    }
}

/// Weak, since a task of the runtime may hold it: a sleep never keeps its runtime alive, and one that has
/// outlived it never ends.
struct Sleep {
    runtime: Weak<Inner>,
    key: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(runtime) = self.runtime.upgrade() else {
            return Poll::Pending;
        };
        let mut clock = lock(&runtime.clock);
        if clock.elapsed >= self.key.0 {
            clock.sleeps.remove(&self.key);
            return Poll::Ready(());
        }
        clock.sleeps.insert(self.key, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.upgrade() {
            // The waker is dropped outside the lock: it may be the last that holds a task.
            let waker = lock(&runtime.clock).sleeps.remove(&self.key);
            drop(waker);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::run_blocking;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn clocks_stand_until_they_are_moved() {
        let runtime = SimulatedRuntime::new();
        let (now, wall) = (runtime.now(), runtime.wall_clock());
        assert_eq!((runtime.now(), runtime.wall_clock()), (now, wall));
        runtime.advance(SECOND);
        assert_eq!(runtime.now(), now + SECOND);
        assert_eq!(runtime.wall_clock(), wall + SECOND);
        runtime.set_wall_clock(SystemTime::UNIX_EPOCH + 5 * SECOND);
        assert_eq!(runtime.now(), now + SECOND);
        assert_eq!(runtime.wall_clock(), SystemTime::UNIX_EPOCH + 5 * SECOND);
    }

    #[test]
    fn tasks_sleep_and_wake_in_the_order_of_time() {
        let runtime = SimulatedRuntime::new();
        let log = Arc::new(Mutex::new(Vec::new()));
        for (name, seconds) in [("slow", 3), ("fast", 1)] {
            let (inner, log) = (runtime.clone(), Arc::clone(&log));
            runtime.spawn(Box::pin(async move {
                for _ in 0..2 {
                    inner.sleep(SECOND * seconds).await;
                    log.lock().unwrap().push((name, inner.elapsed()));
                }
            }));
        }
        assert_eq!(runtime.tasks(), 2);
        runtime.advance(SECOND / 2);
        assert!(log.lock().unwrap().is_empty());
        runtime.advance(SECOND * 10);
        let expected = [("fast", 1), ("fast", 2), ("slow", 3), ("slow", 6)];
        assert_eq!(*log.lock().unwrap(), expected.map(|(name, s)| (name, SECOND * s)));
        assert_eq!((runtime.tasks(), runtime.sleeping()), (0, 0));
    }

    #[test]
    fn a_dropped_sleep_is_cancelled() {
        let runtime = SimulatedRuntime::new();
        let mut sleep = runtime.sleep(SECOND);
        assert_eq!(runtime.sleeping(), 1);
        let mut context = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut context).is_pending());
        drop(sleep);
        assert_eq!(runtime.sleeping(), 0);
        runtime.advance(SECOND);
    }

    #[test]
    fn what_waits_for_nobody_is_told() {
        let runtime = SimulatedRuntime::new();
        assert_eq!(runtime.run(std::future::pending::<()>()), None);
        let (done, result) = futures_channel::oneshot::channel();
        let inner = runtime.clone();
        runtime.spawn(Box::pin(async move {
            inner.sleep(SECOND).await;
            done.send(7).unwrap();
        }));
        assert_eq!(runtime.run(result), Some(Ok(7)));
        assert_eq!(runtime.run(run_blocking(&runtime, || 8)).unwrap().unwrap(), 8);
    }

    #[test]
    fn a_runtime_that_is_gone_takes_its_tasks_along() {
        let alive = Arc::new(());
        let runtime = SimulatedRuntime::new();
        let (held, inner) = (Arc::clone(&alive), runtime.sleep(SECOND));
        runtime.spawn(Box::pin(async move {
            inner.await;
            drop(held);
        }));
        runtime.run_until_idle();
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(runtime);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
