//! Ten thousand tasks.

use std::time::Duration;

use waxseal::runtime::Runtime;
use waxseal::source::Caching;

use super::bench::{Bench, SECOND, context};

const TASKS: usize = 10_000;
const WRAPS: usize = 100;

#[test]
fn ten_thousand_tasks_on_a_hundred_wraps_are_a_hundred_calls() {
    let bench = Bench::new();
    let sealed: Vec<_> = (0..WRAPS).map(|i| bench.stored(&i.to_string())).collect();
    bench.takes(SECOND / 5);
    let tasks = (0..TASKS).map(|i| bench.opens(&sealed[i % WRAPS], &(i % WRAPS).to_string()));
    for opened in bench.all(tasks) {
        assert_eq!(opened.unwrap(), b"hello");
    }
    assert_eq!((bench.kms.total(), bench.unwraps()), (WRAPS, WRAPS));
}

#[test]
fn with_entries_that_end_meanwhile_nothing_fails_and_nothing_storms() {
    // Each task opens for more than a second, in which an entry ends a few times.
    let age = Duration::from_millis(400);
    for refresh_ahead in [Duration::ZERO, age / 4] {
        let bench = Bench::with(Caching {
            open_age: age,
            refresh_ahead,
            ..Caching::default()
        });
        let sealed: Vec<_> = (0..WRAPS).map(|i| bench.stored(&i.to_string())).collect();
        bench.takes(Duration::from_millis(20));
        let tasks = (0..TASKS).map(|i| {
            let (sealer, runtime) = (bench.sealer.clone(), bench.runtime.clone());
            let (sealed, context) = (sealed[i % WRAPS].clone(), context(&(i % WRAPS).to_string()));
            Box::pin(async move {
                for round in 0..12 {
                    runtime
                        .sleep(Duration::from_millis(97 + (i as u64 + round) % 7))
                        .await;
                    assert_eq!(sealer.open(&sealed, &context).await.unwrap(), b"hello");
                }
            }) as waxseal::runtime::BoxFuture<'static, ()>
        });
        assert_eq!(bench.all(tasks).len(), TASKS);
        // Each wrap at most once for each time its entry is to be fetched again: all that time, by what is left
        // of the age without margin and refresh, and a quarter of that ahead.
        let elapsed = bench.runtime.elapsed();
        let period = age - age / 8 - refresh_ahead - refresh_ahead / 4;
        let periods = usize::try_from(elapsed.as_millis().div_ceil(period.as_millis())).unwrap() + 1;
        let calls = bench.kms.total();
        assert!(calls > WRAPS * 2, "nothing has ended: {calls}");
        assert!(calls <= WRAPS * periods, "{calls} calls, {periods} periods");
    }
}
