//! The runtime of the caller.

use std::time::{Duration, SystemTime};

use super::{BoxFuture, Monotonic, Runtime, ThreadRuntime};

/// The runtime of the caller: the tokio runtime that the caller runs in (feature `tokio`), else the threads of
/// [`ThreadRuntime`]. It is the default wherever no runtime is given.
///
/// It looks for the runtime at each call, so that a value works that was made before a runtime was started, or that
/// outlives it.
#[derive(Clone, Copy, Debug, Default)]
pub struct AmbientRuntime;

impl Runtime for AmbientRuntime {
    fn now(&self) -> Monotonic {
        ThreadRuntime.now()
    }

    fn wall_clock(&self) -> SystemTime {
        ThreadRuntime.wall_clock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        ThreadRuntime.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        #[cfg(feature = "tokio")]
        if let Some(handle) = current() {
            handle.spawn(task);
            return;
        }
        ThreadRuntime.spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        #[cfg(feature = "tokio")]
        if let Some(handle) = current() {
            handle.spawn_blocking(work);
            return;
        }
        ThreadRuntime.spawn_blocking(work);
    }
}

/// Returns the tokio runtime that the caller runs in, unless the caller blocks it: then it may never get to a task.
#[cfg(feature = "tokio")]
fn current() -> Option<tokio::runtime::Handle> {
    match super::blocking::is_blocking() {
        true => None,
        false => tokio::runtime::Handle::try_current().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread_of_a_task() -> Option<String> {
        let (done, name) = std::sync::mpsc::channel();
        AmbientRuntime.spawn(Box::pin(async move {
            let name = std::thread::current().name().map(str::to_owned);
            done.send(name).unwrap();
        }));
        name.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn tasks_run_on_threads_where_there_is_nothing_else() {
        assert_eq!(thread_of_a_task().as_deref(), Some("waxseal-task"));
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn tasks_run_on_the_callers_tokio_runtime() {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("its-own")
            .build()
            .unwrap();
        let _inside = tokio.enter();
        assert_eq!(thread_of_a_task().as_deref(), Some("its-own"));
        let (done, name) = std::sync::mpsc::channel();
        AmbientRuntime.spawn_blocking(Box::new(move || {
            let name = std::thread::current().name().map(str::to_owned);
            done.send(name).unwrap();
        }));
        let name = name.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(name.as_deref(), Some("its-own"));
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn a_caller_that_blocks_its_runtime_does_not_wait_for_it() {
        let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let done = tokio.block_on(async {
            crate::runtime::blocking::block_on(async {
                let (done, answer) = futures_channel::oneshot::channel();
                AmbientRuntime.spawn(Box::pin(async move { done.send(7).unwrap() }));
                crate::runtime::with_timeout(&AmbientRuntime, Some(Duration::from_secs(60)), async {
                    Ok(answer.await)
                })
                .await
            })
        });
        assert_eq!(done.unwrap(), Ok(7));
    }
}
