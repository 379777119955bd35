//! A bound on how much is done at once, waited for without a thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

use crate::error::{Error, ErrorKind, Result};

/// Hands out permits, in the order in which they were asked for.
pub(super) struct Semaphore(Mutex<State>);

struct State {
    free: usize,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// The right to do one thing; given back when it is dropped.
pub(super) struct Permit(Option<Arc<Semaphore>>);

impl Semaphore {
    pub(super) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free: permits,
            waiting: VecDeque::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A permit, as soon as there is one. Dropping the future gives up the place in the queue.
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Permit> {
        let waiting = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit(Some(Arc::clone(self))));
            }
            let (sender, receiver) = oneshot::channel();
            // Those that no longer wait must not pile up while nothing is given back.
            state.waiting.retain(|sender| !sender.is_canceled());
            state.waiting.push_back(sender);
            receiver
        };
        waiting.await.map_err(|_| Error::new(ErrorKind::Unavailable))
    }

    fn give_back(self: Arc<Self>) {
        let mut state = self.state();
        while let Some(next) = state.waiting.pop_front() {
            match next.send(Permit(Some(Arc::clone(&self)))) {
                Ok(()) => return,
                // Nobody waits there any more. Disarmed, so that dropping it does not come back here.
                Err(mut permit) => permit.0 = None,
            }
        }
        state.free += 1;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(semaphore) = self.0.take() {
            semaphore.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn no_more_permits_than_there_are_and_none_is_lost() {
        let semaphore = Semaphore::new(2);
        let first = block_on(semaphore.acquire()).unwrap();
        let _second = block_on(semaphore.acquire()).unwrap();
        let mut task = Context::from_waker(Waker::noop());
        {
            // One that gives up while it waits, and one that gives up with a permit on its way to it.
            let mut gone = pin!(semaphore.acquire());
            assert!(gone.as_mut().poll(&mut task).is_pending());
        }
        let mut third = Box::pin(semaphore.acquire());
        assert!(third.as_mut().poll(&mut task).is_pending());
        drop(first);
        drop(third);
        let mut fourth = pin!(semaphore.acquire());
        assert!(matches!(fourth.as_mut().poll(&mut task), Poll::Ready(Ok(_))));
    }
}
