//! Waiting for a future on the caller's thread.

use std::cell::Cell;
use std::future::Future;

thread_local! {
    static BLOCKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread waits in [`block_on`].
#[cfg(feature = "tokio")]
pub(crate) fn is_blocking() -> bool {
    BLOCKING.get()
}

/// Waits for `work` on this thread, in an async context or not.
///
/// In a task of tokio, tokio's own primitives yield after a while and become ready again only after the task returns,
/// which it does not do while this function waits. So they are told not to yield.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            BLOCKING.set(self.0);
        }
    }
    let _reset = Reset(BLOCKING.replace(true));
    #[cfg(feature = "tokio")]
    let work = ::tokio::task::unconstrained(work);
    pollster::block_on(work)
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use std::sync::Arc;

    /// More than tokio lets one task do before it yields.
    const MORE_THAN_A_BUDGET: usize = 1_000;

    #[tokio::test]
    async fn tokios_budget_is_no_end() {
        let lock = Arc::new(tokio::sync::Semaphore::new(1));
        for _ in 0..MORE_THAN_A_BUDGET {
            super::block_on(async { lock.acquire().await.map(drop) }).unwrap();
        }
    }
}
