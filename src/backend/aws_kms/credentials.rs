//! Credentials that one call gets for all calls.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use futures_channel::oneshot;

use crate::backend::shared::door::Place;
use crate::runtime::{Monotonic, Runtime, with_timeout};

/// How long credentials are handed out again after they came. From then on the SDK's own cache has them, or asks for new ones.
const FRESH: Duration = Duration::from_secs(30);

/// Gets credentials in a task that goes on if the call that began it gives up. The SDK ends its request for credentials together with
/// the call: credentials that take longer than any caller waits would never be had.
#[derive(Clone)]
pub(super) struct ForAllCalls(Arc<Inner>);

struct Inner {
    provider: SharedCredentialsProvider,
    place: Place,
    limit: Duration,
    /// Held while credentials are asked for.
    asking: Arc<tokio::sync::Mutex<()>>,
    last: Mutex<Option<(Monotonic, Credentials)>>,
}

impl ForAllCalls {
    pub(super) fn new(provider: SharedCredentialsProvider, place: Place, limit: Duration) -> Self {
        Self(Arc::new(Inner {
            provider,
            place,
            limit,
            asking: Arc::default(),
            last: Mutex::new(None),
        }))
    }

    async fn get(&self) -> Result<Credentials, CredentialsError> {
        if let Some(fresh) = self.0.fresh() {
            return Ok(fresh);
        }
        let one = Arc::clone(&self.0.asking).lock_owned().await;
        // Another call has asked meanwhile.
        if let Some(fresh) = self.0.fresh() {
            return Ok(fresh);
        }
        let inner = Arc::clone(&self.0);
        let (done, answer) = oneshot::channel();
        self.0.place.spawn(Box::pin(async move {
            let _one = one;
            let asked = async { Ok(inner.provider.provide_credentials().await) };
            let answer = match with_timeout(&inner.place, Some(inner.limit), asked).await {
                Ok(answer) => answer,
                Err(_) => Err(CredentialsError::provider_timed_out(inner.limit)),
            };
            if let Ok(credentials) = &answer {
                *inner.last() = Some((inner.place.now(), credentials.clone()));
            }
            // If this fails, nobody waits anymore.
            let _ = done.send(answer);
        }));
        let lost = |_| {
            Err(CredentialsError::provider_error(
                "the runtime of the client was shut down",
            ))
        };
        answer.await.unwrap_or_else(lost)
    }
}

impl Inner {
    fn last(&self) -> MutexGuard<'_, Option<(Monotonic, Credentials)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> Option<Credentials> {
        let now = self.place.now();
        let last = self.last();
        last.as_ref()
            .filter(|(came, _)| is_fresh(*came, now))
            .map(|(_, credentials)| credentials.clone())
    }
}

fn is_fresh(came: Monotonic, now: Monotonic) -> bool {
    now < came + FRESH
}

impl ProvideCredentials for ForAllCalls {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.0.provider.fallback_on_interrupt()
    }
}

impl fmt::Debug for ForAllCalls {
    // Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForAllCalls").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::backend::shared::door::Door;

    /// Answers when it is let, and counts how often it was asked.
    #[derive(Clone, Debug)]
    struct Slow(Arc<Gate>);

    #[derive(Debug)]
    struct Gate {
        open: tokio::sync::Semaphore,
        asked: AtomicUsize,
    }

    impl Slow {
        async fn answer(&self) -> Result<Credentials, CredentialsError> {
            let asked = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.open.acquire().await.unwrap().forget();
            match asked {
                1 => Err(CredentialsError::not_loaded_no_source()),
                asked => Ok(Credentials::new(
                    format!("id {asked}"),
                    "CANARY",
                    None,
                    None,
                    "test",
                )),
            }
        }
    }

    impl ProvideCredentials for Slow {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(self.answer())
        }
    }

    #[test]
    fn a_hasty_caller_ends_nobody_elses_request_for_credentials() {
        let door = Door::new(None, Duration::from_secs(60), String::new()).unwrap();
        let slow = Slow(Arc::new(Gate {
            open: tokio::sync::Semaphore::new(0),
            asked: AtomicUsize::new(0),
        }));
        let provider = SharedCredentialsProvider::new(slow.clone());
        let own = ForAllCalls::new(provider, door.place().clone(), door.timeout());
        let hasty = || {
            let asked = async { Ok(own.provide_credentials().await) };
            let answer =
                pollster::block_on(with_timeout(door.place(), Some(Duration::from_millis(50)), asked));
            assert!(answer.is_err(), "the gate is closed");
        };
        // A failure is kept for nobody.
        slow.0.open.add_permits(1);
        assert!(pollster::block_on(own.provide_credentials()).is_err());
        hasty();
        hasty();
        slow.0.open.add_permits(1);
        let got = pollster::block_on(own.provide_credentials()).unwrap();
        assert_eq!(got.access_key_id(), "id 2");
        assert_eq!(slow.0.asked.load(Ordering::SeqCst), 2);
        assert!(!format!("{own:?}").contains("CANARY"));
        // Later the SDK asks because its own are about to end, and needs new ones.
        let at = |seconds| Monotonic(Duration::from_secs(seconds));
        assert!(is_fresh(at(100), at(129)) && !is_fresh(at(100), at(130)));
    }
}
