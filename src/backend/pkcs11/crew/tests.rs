use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::runtime::with_timeout;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn hung() -> Arc<AtomicUsize> {
    Arc::default()
}

/// A call that is in the module until it is told to return.
fn hanging(crew: &Crew, hung: &Arc<AtomicUsize>) -> (Answer<u8>, Receiver<()>, Sender<()>) {
    let (began, begun) = channel();
    let (go, told) = channel::<()>();
    let work = move || {
        began.send(()).unwrap();
        let _ = told.recv();
        Ok(7)
    };
    (crew.run(hung, work).unwrap(), begun, go)
}

fn eventually(holds: impl Fn() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came to hold");
}

#[test]
fn work_is_done_on_other_threads_and_a_panic_is_an_error() {
    let crew = Crew::new(2, LONG);
    let here = std::thread::current().id();
    let there = crew.run(&hung(), || Ok(std::thread::current().id())).unwrap();
    assert_ne!(pollster::block_on(there).unwrap(), here);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let panics = crew.run(&hung(), || -> Result<()> { panic!("CANARY") }).unwrap();
    let error = pollster::block_on(panics).unwrap_err();
    std::panic::set_hook(hook);
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
    assert!(!format!("{error} {error:?}").contains("CANARY"));
    // Its thread goes on.
    for number in 0..100 {
        let answer = crew.run(&hung(), move || Ok(number)).unwrap();
        assert_eq!(pollster::block_on(answer).unwrap(), number);
    }
}

#[test]
fn no_more_run_at_once_than_there_are_places_and_what_nobody_awaits_never_begins() {
    let crew = Crew::new(2, LONG);
    let hung = hung();
    let (first, first_began, go_first) = hanging(&crew, &hung);
    let (second, second_began, go_second) = hanging(&crew, &hung);
    first_began.recv_timeout(LONG).unwrap();
    second_began.recv_timeout(LONG).unwrap();
    let (ran, runs) = channel();
    let third = crew
        .run(&hung, move || {
            ran.send(()).unwrap();
            Ok(())
        })
        .unwrap();
    assert_eq!(crew.0.state().queue.len(), 1);
    drop(third);
    // The sender went with it.
    assert!(runs.recv_timeout(LONG).is_err());
    assert!(crew.0.state().queue.is_empty());
    go_first.send(()).unwrap();
    go_second.send(()).unwrap();
    assert_eq!(pollster::block_on(first).unwrap(), 7);
    assert_eq!(pollster::block_on(second).unwrap(), 7);
    assert_eq!(hung.load(Ordering::SeqCst), 0);
}

#[test]
fn calls_that_hang_are_given_up_and_bounded_and_one_that_returns_counts_no_more() {
    let crew = Crew::new(1, Duration::from_millis(20));
    let hung = hung();
    let mut hanging_calls = Vec::new();
    for number in 0..HUNG_MAX {
        let (answer, begun, go) = hanging(&crew, &hung);
        // With one place each begins only after the one before it was given up.
        begun.recv_timeout(LONG).unwrap();
        let timed_out = pollster::block_on(with_timeout(
            &ThreadRuntime,
            Some(Duration::from_millis(1)),
            answer,
        ));
        assert_eq!(timed_out.unwrap_err().kind(), ErrorKind::TimedOut);
        eventually(|| hung.load(Ordering::SeqCst) == number + 1);
        hanging_calls.push(go);
    }
    let error = crew.run(&hung, || Ok(())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        !error.is_retryable() && error.to_string().contains("restart"),
        "{error}"
    );
    drop(hanging_calls.pop());
    eventually(|| hung.load(Ordering::SeqCst) == HUNG_MAX - 1);
    pollster::block_on(crew.run(&hung, || Ok(())).unwrap()).unwrap();
}

#[test]
fn threads_end_with_their_client() {
    let crew = Crew::new(4, LONG);
    let shared = Arc::clone(&crew.0);
    for _ in 0..20 {
        pollster::block_on(crew.run(&hung(), || Ok(())).unwrap()).unwrap();
    }
    drop(crew);
    eventually(|| shared.state().threads == 0);
}
