//! One token, shared by every key on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_lock::Semaphore;

use super::PROVIDER;
use super::config::Config;
use super::connection::{Connection, Loan};
use super::map::{self, Fault};
use super::mechanism::Mechanism;
use crate::runtime::{Monotonic, Runtime, run_blocking, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// One token: its module, its sessions and the PIN. Cheap to clone; each key on the token takes one.
///
/// Nothing is loaded or opened before the first call.
///
/// # Blocking
/// PKCS#11 blocks. Calls run through [`Runtime::spawn_blocking`], no more of them at once than there are
/// [sessions](Config::with_sessions). A call that ends by its timeout goes on in its thread, since nothing can
/// interrupt a module, and keeps its turn until it returns.
///
/// # One login for a process
/// PKCS#11 logs in a *process*: once any part of it has logged in to a token, every other part is too, whatever
/// PIN it has. A PIN that the token has refused is not tried a second time by the same client.
///
/// # Fork
/// A module must not be used on both sides of a `fork`: make clients after it.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    connection: Connection,
    turns: Arc<Semaphore>,
}

impl Client {
    /// A client of this token.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Inner {
            turns: Arc::new(Semaphore::new(config.sessions)),
            connection: Connection::new(config),
        }))
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.0.connection.config().runtime
    }

    pub(super) fn refresh(&self) -> Duration {
        self.0.connection.config().refresh
    }

    /// Runs `work` with a session, where it may block; a second time where session, login or key was lost.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        deadline: Option<Monotonic>,
        mechanism: Mechanism,
        work: impl Fn(&Token<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let config = self.0.connection.config();
        let runtime = &*config.runtime;
        let mut timeout = config.timeout;
        if let Some(deadline) = deadline {
            timeout = timeout.min(deadline.0.saturating_sub(runtime.now().0));
            if timeout.is_zero() {
                return Err(Error::new(ErrorKind::TimedOut).with_provider(PROVIDER));
            }
        }
        with_timeout(runtime, Some(timeout), async {
            let turn = self.0.turns.acquire_arc().await;
            let inner = Arc::clone(&self.0);
            run_blocking(runtime, move || {
                let result = inner.connection.run(mechanism, work);
                // Only now: the caller may be gone.
                drop(turn);
                result
            })
            .await?
        })
        .await
        .map_err(|error| error.with_provider(PROVIDER))
    }
}

/// A token with a session that is logged in, for as long as one piece of work takes.
pub(super) struct Token<'a> {
    connection: &'a Connection,
    pub(super) loan: &'a Loan,
}

impl Token<'_> {
    /// Makes sure of the login: without it a token shows only some of its keys.
    pub(super) fn log_in(&self) -> Result<(), Fault> {
        self.connection.log_in(self.loan)
    }
}

impl Connection {
    fn run<T>(&self, mechanism: Mechanism, work: impl Fn(&Token<'_>) -> Result<T, Fault>) -> Result<T> {
        let mut is_second = false;
        loop {
            let (loan, result) = match self.lend() {
                Ok(loan) => {
                    let result = work(&Token {
                        connection: self,
                        loan: &loan,
                    });
                    (Some(loan), result)
                }
                Err(fault) => (None, Err(fault)),
            };
            let fault = match result {
                Ok(value) => {
                    if let Some(loan) = loan {
                        self.take_back(loan, true);
                    }
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            let recovery = match &fault {
                Fault::Token(error) => map::recovery(error),
                Fault::Ours(_) => None,
            };
            match recovery {
                Some(recovery) => self.recover(loan, recovery),
                None => {
                    if let Some(loan) = loan {
                        self.take_back(loan, false);
                    }
                }
            }
            if recovery.is_none() || is_second {
                return Err(match fault {
                    Fault::Token(error) => map::error(error, Some(mechanism)),
                    Fault::Ours(error) => error,
                });
            }
            is_second = true;
        }
    }
}

impl Client {
    /// The module and the token behind it.
    pub(super) fn place(&self) -> String {
        let config = self.0.connection.config();
        format!("{} {:?}", config.module.display(), config.token)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(self.0.connection.config()).finish()
    }
}
