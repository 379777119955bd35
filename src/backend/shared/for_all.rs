//! What one call makes for all.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_channel::oneshot;

use super::door::Place;
use crate::runtime::{Runtime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// A value that the first call makes, and all other calls wait for.
///
/// The work goes on if the call that began it gives up: a value that takes longer than any caller waits would otherwise never be made.
pub(in crate::backend) struct ForAll<T> {
    made: Arc<OnceLock<T>>,
    /// Held while the value is made.
    making: Arc<tokio::sync::Mutex<()>>,
}

impl<T: Clone + Send + Sync + 'static> ForAll<T> {
    pub(in crate::backend) fn new() -> Self {
        Self {
            made: Arc::new(OnceLock::new()),
            making: Arc::default(),
        }
    }

    /// Returns the value, or makes it in `place` within `limit`. After a failure, the next call tries again.
    ///
    /// # Errors
    /// Those of `make`; `TimedOut`; `Unavailable` if `place` was shut down.
    pub(in crate::backend) async fn get_or_make(
        &self,
        place: &Place,
        limit: Duration,
        make: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if let Some(made) = self.made.get() {
            return Ok(made.clone());
        }
        let one = Arc::clone(&self.making).lock_owned().await;
        // Another call has made it meanwhile.
        if let Some(made) = self.made.get() {
            return Ok(made.clone());
        }
        let (made, own) = (Arc::clone(&self.made), place.clone());
        let (done, answer) = oneshot::channel();
        place.spawn(Box::pin(async move {
            let _one = one;
            let value = with_timeout(&own, Some(limit), make).await;
            if let Ok(value) = &value {
                // Only the holder of the lock sets it.
                let _ = made.set(value.clone());
            }
            // If this fails, nobody waits anymore.
            let _ = done.send(value);
        }));
        answer.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unavailable).with_detail("the runtime of the client was shut down"))
        })
    }
}

impl<T> fmt::Debug for ForAll<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForAll")
            .field("is_made", &self.made.get().is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::backend::shared::door::Door;

    #[test]
    fn a_hasty_caller_ends_nobody_elses_work() {
        const LIMIT: Duration = Duration::from_secs(60);
        let door = Door::new(None, LIMIT, String::new()).unwrap();
        let place = door.place();
        let (gate, begun) = (
            Arc::new(tokio::sync::Semaphore::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        let value: ForAll<usize> = ForAll::new();
        let make = || {
            let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
            async move {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                gate.acquire().await.unwrap().forget();
                match number {
                    1 => Err(Error::new(ErrorKind::Denied)),
                    number => Ok(number),
                }
            }
        };
        let hasty = || {
            let asked = async { Ok(value.get_or_make(place, LIMIT, make()).await) };
            let answer = pollster::block_on(with_timeout(place, Some(Duration::from_millis(50)), asked));
            assert!(answer.is_err(), "the gate is closed");
        };
        let patient = || pollster::block_on(value.get_or_make(place, LIMIT, make()));
        // A failure is nobody's value: the next call tries again.
        gate.add_permits(1);
        assert_eq!(patient().unwrap_err().kind(), ErrorKind::Denied);
        hasty();
        hasty();
        gate.add_permits(1);
        assert_eq!(patient().unwrap(), 2);
        assert_eq!(patient().unwrap(), 2);
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn work_that_never_ends_is_given_up() {
        let limit = Duration::from_millis(20);
        let door = Door::new(None, limit, String::new()).unwrap();
        let value: ForAll<()> = ForAll::new();
        let never = std::future::pending();
        let error = pollster::block_on(value.get_or_make(door.place(), limit, never)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // And the next call has its turn.
        pollster::block_on(value.get_or_make(door.place(), Duration::from_secs(60), async { Ok(()) }))
            .unwrap();
    }
}
