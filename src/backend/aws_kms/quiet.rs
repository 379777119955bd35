//! Work without a log.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::LazyLock;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher};

/// Takes nothing. Known to `tracing` as a subscriber beside the application's: the empty dispatcher is not, and what
/// is first logged under that stays silent for good.
struct Quiet;

static QUIET: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Quiet));

impl Subscriber for Quiet {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::never()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Polls without a log.
pub(super) async fn unlogged<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|task| dispatcher::with_default(&QUIET, || work.as_mut().poll(task))).await
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<usize>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            *self.0.lock().unwrap() += 1;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_silent_inside_is_logged_outside() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let log = || tracing::error!("one place in the program");
            let count = || *lines.0.lock().unwrap();
            pollster::block_on(unlogged(async { log() }));
            assert_eq!(count(), 0);
            log();
            assert!(count() > 0);
            let before = count();
            pollster::block_on(unlogged(async { log() }));
            assert_eq!(count(), before);
        });
    }
}
