//! Several futures at once, without a runtime.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::runtime::BoxFuture;

/// Polls every future that is not ready whenever any of them wakes, and gives all results in order.
pub(crate) struct Join<'a, T>(Vec<Slot<'a, T>>);

enum Slot<'a, T> {
    Running(BoxFuture<'a, T>),
    Ready(Option<T>),
}

pub(crate) fn join<'a, T>(futures: impl IntoIterator<Item = BoxFuture<'a, T>>) -> Join<'a, T> {
    Join(futures.into_iter().map(Slot::Running).collect())
}

// Nothing is pinned but what is in a box of its own.
impl<T> Unpin for Join<'_, T> {}

impl<T> Future for Join<'_, T> {
    type Output = Vec<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<T>> {
        let mut pending = false;
        for slot in &mut self.0 {
            if let Slot::Running(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *slot = Slot::Ready(Some(value)),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        let take = |slot: &mut Slot<'_, T>| match slot {
            Slot::Ready(value) => value.take(),
            Slot::Running(_) => None,
        };
        Poll::Ready(self.0.iter_mut().filter_map(take).collect())
    }
}

/// Polls a future once and drops it. Whether it was ready.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn poll_once_and_drop<T>(mut future: BoxFuture<'_, T>) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    future.as_mut().poll(&mut context).is_ready()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Runtime;
    use crate::testing::SimulatedRuntime;
    use std::time::Duration;

    #[test]
    fn gives_results_in_the_order_of_the_futures() {
        let runtime = SimulatedRuntime::new();
        let after = |seconds| {
            let sleep = runtime.sleep(Duration::from_secs(seconds));
            Box::pin(async move {
                sleep.await;
                seconds
            }) as BoxFuture<'_, u64>
        };
        let all = runtime.run(join([after(3), after(1), after(2)]));
        assert_eq!(all, Some(vec![3, 1, 2]));
        assert_eq!(runtime.elapsed(), Duration::from_secs(3));
        assert!(!poll_once_and_drop(after(1)));
        assert!(poll_once_and_drop(after(0)));
    }
}
