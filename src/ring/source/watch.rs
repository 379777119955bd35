//! The thread of a ring: it notices what changes in the inventory, and says that this process is there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::beat::Beating;
use super::core::{Core, READ};
use crate::runtime::blocking::block_on;
use crate::runtime::{Runtime as _, ThreadRuntime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// How long one look at the inventory may take, by the clock of the machine: it reads in several steps.
const LOOK: Duration = READ.saturating_mul(12);
/// How often a heartbeat is written, though nothing changes.
const BEAT: Duration = Duration::from_secs(30);

/// The thread of a ring, until this is dropped. It holds the ring weakly, and ends with it.
#[derive(Debug)]
pub(super) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: Thread,
}

impl Watcher {
    /// Begins to look at the inventory, every so often.
    pub(super) fn start(core: &Arc<Core>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (every, weak, stopped) = (core.options.every, Arc::downgrade(core), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("waxseal-ring".to_owned())
            .spawn(move || watch(every, &weak, &stopped))
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable)
                    .with_detail("the ring needs a thread of its own, and there is none to be had")
                    .with_source(error)
            })?;
        Ok(Self {
            stop,
            thread: thread.thread().clone(),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Nobody waits for it: it may be in the middle of a read.
        self.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Writes a heartbeat beside the thread, which a key manager that hangs must not keep from its reads. Not if the one before is
/// still on its way.
fn begin_to_beat(core: &Arc<Core>) -> bool {
    if core.probes.beating.swap(true, Ordering::SeqCst) {
        return false;
    }
    let beating = Beating(Arc::clone(core));
    ThreadRuntime.spawn(Box::pin(async move {
        let beating = beating;
        if let Err(error) = with_timeout(&ThreadRuntime, Some(LOOK), beating.0.beat()).await {
            tracing::warn!(%error, "a heartbeat of the ring could not be written");
        }
    }));
    true
}

fn watch(every: Duration, core: &Weak<Core>, stop: &AtomicBool) {
    let mut beat: Option<(Instant, u64)> = None;
    loop {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Some(core) = core.upgrade() else { return };
        // A panic of the inventory or of a key manager ends one look, and no more.
        let looked = catch_unwind(AssertUnwindSafe(|| {
            let look = with_timeout(&ThreadRuntime, Some(LOOK), core.check());
            // What went wrong is remembered and logged.
            let _ = block_on(look);
            core.revision()
        }));
        if let Ok(revision) = looked {
            let is_due = beat.is_none_or(|(at, of)| of != revision || at.elapsed() >= BEAT);
            if core.options.reader.is_some() && is_due && begin_to_beat(&core) {
                beat = Some((Instant::now(), revision));
            }
        }
        drop(core);
        if !wait(every, stop) {
            return;
        }
    }
}

/// Waits for so long, however long that is. Returns whether to go on.
fn wait(every: Duration, stop: &AtomicBool) -> bool {
    let begun = Instant::now();
    // Whoever woke the last look may have left a token, with which a thread does not park at all.
    while let Some(left) = every.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        if stop.load(Ordering::SeqCst) {
            return false;
        }
        std::thread::park_timeout(left);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_period_is_waited_for_and_ends_when_it_is_told_to() {
        let stop = Arc::new(AtomicBool::new(false));
        let waits = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || wait(Duration::MAX, &stop)
        });
        stop.store(true, Ordering::SeqCst);
        waits.thread().unpark();
        assert!(!waits.join().unwrap());
        assert!(wait(Duration::ZERO, &stop));
    }
}
