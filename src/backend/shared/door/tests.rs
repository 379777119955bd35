use super::*;

/// So long that nothing here reaches it, and short enough to fail instead of hanging.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

fn current_thread() -> Tokio {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Needs a timer and another task of the runtime that it runs in.
async fn work() -> Result<u8> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(tokio::spawn(async { 7 }).await.unwrap())
}

fn call(door: &Door) -> Result<u8> {
    crate::runtime::blocking::block_on(door.run_by(door.deadline(None), work()))
}

#[test]
fn works_from_a_thread_a_runtime_a_task_and_more_often_than_tokio_yields() {
    let own = Door::new(None, LONG, "h:1".to_owned()).unwrap();
    assert_eq!(call(&own).unwrap(), 7);
    let single = current_thread();
    for _ in 0..300 {
        assert_eq!(single.block_on(async { call(&own) }).unwrap(), 7);
    }
    let tokio = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let own = std::sync::Arc::new(own);
    let task = tokio.spawn(async move {
        for _ in 0..300 {
            assert_eq!(call(&own).unwrap(), 7);
        }
        own.run_by(own.deadline(None), work()).await
    });
    assert_eq!(tokio.block_on(task).unwrap().unwrap(), 7);
}

#[test]
fn outlives_the_runtime_that_it_was_made_in() {
    let tokio = current_thread();
    let door = tokio.block_on(async { Door::new(None, LONG, "h:1".to_owned()).unwrap() });
    drop(tokio);
    assert_eq!(call(&door).unwrap(), 7);
}

#[test]
fn a_given_runtime_does_the_work() {
    let tokio = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("given")
        .enable_all()
        .build()
        .unwrap();
    let door = Door::new(Some(tokio.handle().clone()), LONG, "h:1".to_owned()).unwrap();
    let name = async { Ok(std::thread::current().name().map(ToOwned::to_owned)) };
    let name = pollster::block_on(door.run_by(door.deadline(None), name)).unwrap();
    assert_eq!(name.as_deref(), Some("given"));
}

#[test]
fn a_runtime_that_stands_still_is_a_timeout() {
    let idle = current_thread();
    let door = Door::new(Some(idle.handle().clone()), SHORT, "h:1".to_owned()).unwrap();
    assert_eq!(call(&door).unwrap_err().kind(), ErrorKind::TimedOut);
    let busy = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (free, blocked) = std::sync::mpsc::channel::<()>();
    busy.spawn(async move { blocked.recv().is_ok() });
    let door = Door::new(Some(busy.handle().clone()), SHORT, "h:1".to_owned()).unwrap();
    let error = call(&door).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("h:1"), "{error}");
    drop(free);
}

#[test]
fn a_runtime_that_was_shut_down_is_said_to_be() {
    let gone = current_thread();
    let door = Door::new(Some(gone.handle().clone()), LONG, "h:1".to_owned()).unwrap();
    drop(gone);
    let error = call(&door).unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Configuration, false)
    );
    assert!(error.to_string().contains("shut down"), "{error}");
}

#[test]
fn a_runtime_that_is_shut_down_meanwhile_is_said_to_be() {
    let going = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let door = Door::new(Some(going.handle().clone()), LONG, "h:1".to_owned()).unwrap();
    let (begun, waited) = std::sync::mpsc::channel();
    let caller = std::thread::spawn(move || {
        let work = async move {
            begun.send(()).unwrap();
            std::future::pending::<Result<u8>>().await
        };
        pollster::block_on(door.run_by(door.deadline(None), work))
    });
    waited.recv().unwrap();
    going.shutdown_background();
    assert_eq!(
        caller.join().unwrap().unwrap_err().kind(),
        ErrorKind::Configuration
    );
}

#[test]
fn blocking_the_thread_that_drives_the_given_runtime_is_refused() {
    let tokio = current_thread();
    let door = Door::new(Some(tokio.handle().clone()), LONG, "h:1".to_owned()).unwrap();
    let error = tokio.block_on(async { call(&door) }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("with_handle"), "{error}");
    // Awaited it works.
    assert_eq!(
        tokio.block_on(door.run_by(door.deadline(None), work())).unwrap(),
        7
    );
}

#[test]
fn a_panic_of_a_library_is_an_error() {
    let door = Door::new(None, LONG, "h:1".to_owned()).unwrap();
    let work = async {
        // The hook of the test program would print it.
        std::panic::resume_unwind(Box::new("a library's"))
    };
    let done: Result<()> = pollster::block_on(door.run_by(door.deadline(None), work));
    let error = done.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, false)
    );
}

#[test]
fn a_dropped_call_ends() {
    struct Dropped(Option<oneshot::Sender<()>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.take().unwrap().send(()).unwrap();
        }
    }
    let door = Door::new(None, LONG, "h:1".to_owned()).unwrap();
    let (tell, told) = oneshot::channel();
    let dropped = Dropped(Some(tell));
    let work = async move {
        let _dropped = dropped;
        std::future::pending::<Result<()>>().await
    };
    let mut call = Box::pin(door.run_by(door.deadline(None), work));
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(&mut task).is_pending());
    drop(call);
    pollster::block_on(told).unwrap();
}

#[test]
fn a_deadline_that_is_over_begins_nothing() {
    let door = Door::new(None, LONG, "h:1".to_owned()).unwrap();
    let over = Monotonic(Duration::from_nanos(1));
    let work = async { unreachable!("the work was begun") };
    let done: Result<()> = pollster::block_on(door.run_by(over, work));
    assert_eq!(done.unwrap_err().kind(), ErrorKind::TimedOut);
}

/// A blocking call in a task of the runtime that does the work.
fn call_in_a_task(workers: usize, timeout: Duration) -> Result<u8> {
    let tokio = Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap();
    let door = Door::new(Some(tokio.handle().clone()), timeout, "h:1".to_owned()).unwrap();
    let answer = tokio.block_on(tokio.spawn(async move { call(&door) })).unwrap();
    tokio.shutdown_background();
    answer
}

#[test]
fn blocking_a_worker_of_the_given_runtime_leaves_the_work_to_another() {
    assert_eq!(call_in_a_task(4, LONG).unwrap(), 7);
}

#[test]
fn blocking_the_only_worker_of_the_given_runtime_is_a_timeout_that_says_why() {
    let error = call_in_a_task(1, SHORT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("with_handle"), "{error}");
}
