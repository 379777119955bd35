//! One token, shared by every key on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::PROVIDER;
use super::admin::TokenAdmin;
use super::config::Config;
use super::connection::{Connection, Loan};
use super::crew::Crew;
use super::key::TokenKey;
use super::map::{self, Fault};
use super::mechanism::Mechanism;
use super::registry::Module;
use crate::runtime::{Kept, Monotonic, Runtime, ThreadRuntime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// After this many recoveries in a row, without a successful call in between, an error asks for a restart.
const RECOVERIES: u32 = 6;

/// One token: its module, its connections (sessions of PKCS#11) and the PIN. Cloning is cheap; each key on the token uses a clone.
///
/// The client loads and opens nothing before the first call.
///
/// # Threads
/// PKCS#11 blocks. Calls run on threads of the client, at most as many as it has
/// [connections](Config::with_sessions), and never on the caller's thread. So a call works from any async runtime,
/// without a runtime, and through [`blocking::Sealer`](crate::blocking::Sealer) inside a task. A call that has not ended by its deadline
/// returns `TimedOut`, whatever the module does. Nothing can interrupt a module: if a call has not returned after the
/// client's timeout, the client gives up the call and its thread, and another thread takes its place. After 16 of these every call
/// immediately returns `Unavailable`, and the process must be restarted. Dropping the last clone closes the connections, and waits
/// at most a second for that.
///
/// # One login for a process
/// PKCS#11 logs in a *process*: after one part of a process has logged in to a token, the token asks no other part for a PIN.
/// This crate does ask: if the PIN of a client differs from the PIN of the current login, the client returns `Unauthenticated`. (If
/// another library of the process has logged in, there is nothing to compare with.) No client of the process tries a PIN again that the
/// token has refused, so that the token does not lock.
///
/// # Fork
/// In a forked child, a client that was made before the `fork` returns an error immediately. Make a new client in the child: it
/// initializes the module again, as PKCS#11 requires. The parent is not affected.
#[derive(Clone)]
pub struct Client {
    inner: Kept<Arc<Inner>>,
    refresh: Duration,
    place: Arc<str>,
    /// The configuration, for a person.
    shown: Arc<str>,
}

/// The calls end before the connections do.
struct Inner {
    crew: Crew,
    connection: Arc<Connection>,
}

impl Client {
    /// Makes a client of this token. Loads and opens nothing yet.
    ///
    /// # Errors
    /// `Configuration` if the configuration names no module or no token.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    #[allow(clippy::unused_async, reason = "the clients of all backends are made alike")]
    pub async fn connect(config: Config) -> Result<Self> {
        Self::new(config)
    }

    pub(super) fn new(config: Config) -> Result<Self> {
        if config.module.as_os_str().is_empty() {
            return Err(Error::configuration("the path of the PKCS#11 module is empty"));
        }
        if config.token.is_empty() {
            return Err(Error::configuration(
                "no token is named: set its label, serial, model, manufacturer or slot",
            ));
        }
        Ok(Self {
            refresh: config.refresh,
            place: format!("{} {:?}", config.module.display(), config.token).into(),
            shown: format!("{config:?}").into(),
            inner: Kept::new(Arc::new(Inner {
                crew: Crew::new(config.sessions, config.timeout),
                connection: Arc::new(Connection::new(config)),
            })),
        })
    }

    /// Returns the KEK of this label, for [`Mechanism::AesGcm`]; see [`TokenKey::with_mechanism`] for other mechanisms.
    ///
    /// # Errors
    /// `Configuration` if the label is empty; `InvalidArgument` if it has control characters; `OverLimit` if it has more than
    /// 2,048 bytes.
    pub fn key(&self, label: &str) -> Result<TokenKey> {
        TokenKey::new(self.clone(), label, Mechanism::AesGcm)
    }

    /// Returns the administration of KEKs for [`Mechanism::AesGcm`] on this token; see [`TokenAdmin::with_mechanism`] for other
    /// mechanisms.
    #[must_use]
    pub fn admin(&self) -> TokenAdmin {
        TokenAdmin::new(self.clone(), Mechanism::AesGcm)
    }

    /// Names the module and the token, to distinguish this client's keys from keys elsewhere.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn now(&self) -> Monotonic {
        ThreadRuntime.now()
    }

    pub(super) fn refresh(&self) -> Duration {
        self.refresh
    }

    /// Runs `work` with a connection, on a thread that may block. Runs it a second time if connection, login or key was lost.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        deadline: Option<Monotonic>,
        mechanism: Mechanism,
        work: impl Fn(&Token<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.call_inner(deadline, mechanism, work)
            .await
            .map_err(|error| error.with_provider(PROVIDER))
    }

    async fn call_inner<T: Send + 'static>(
        &self,
        deadline: Option<Monotonic>,
        mechanism: Mechanism,
        work: impl Fn(&Token<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        // Before anything else: threads of the parent may hold locks.
        let Inner { crew, connection } = &**self.inner.get()?;
        let now = self.now();
        let until = now + connection.config().timeout;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        if until <= now {
            return Err(Error::new(ErrorKind::TimedOut));
        }
        let module = Arc::clone(connection.module()?);
        let hung = Arc::clone(&module.hung);
        let connection = Arc::clone(connection);
        let work = move || run(&connection, &module, mechanism, until, work);
        let answer = crew.run(&hung, work)?;
        // By the timer of the threads, on any runtime.
        let left = until.0.saturating_sub(now.0);
        with_timeout(&ThreadRuntime, Some(left), answer).await
    }
}

/// A token with a connection that is logged in, for the length of one piece of work.
pub(super) struct Token<'a> {
    connection: &'a Connection,
    pub(super) module: &'a Module,
    pub(super) loan: &'a Loan,
}

impl Token<'_> {
    /// Makes sure of the login: without it a token shows only some of its keys.
    pub(super) fn log_in(&self) -> Result<(), Fault> {
        self.connection.log_in(self.loan)
    }
}

/// Does `work`, and once more after what was lost could be found again.
fn run<T>(
    connection: &Arc<Connection>,
    module: &Module,
    mechanism: Mechanism,
    until: Monotonic,
    work: impl Fn(&Token<'_>) -> Result<T, Fault>,
) -> Result<T> {
    let mut is_second = false;
    let mut has_restarted = false;
    loop {
        let restarts = module.restarts();
        let fault = match attempt(connection, module, until, &work) {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        let error = match fault {
            Fault::Ours(error) => return Err(error),
            Fault::Token(error) => error,
        };
        if map::recovery(&error).is_none() {
            return Err(map::error(error, Some(mechanism)));
        }
        if !is_second {
            is_second = true;
            continue;
        }
        if connection.recoveries() < RECOVERIES {
            return Err(map::error(error, Some(mechanism)));
        }
        if connection.config().module_restart && !has_restarted {
            has_restarted = true;
            match module.restart(restarts, until) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(Fault::Token(error)) => tracing::warn!(
                    provider = PROVIDER,
                    code = map::said(&error),
                    "the PKCS#11 module could not be restarted"
                ),
                Err(Fault::Ours(error)) => return Err(error),
            }
        }
        return Err(worn_out(map::error(error, Some(mechanism))));
    }
}

fn attempt<T>(
    connection: &Arc<Connection>,
    module: &Module,
    until: Monotonic,
    work: impl Fn(&Token<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let _call = module.call();
    let (loan, result) = match connection.lend(module, until) {
        Ok(loan) => {
            let result = work(&Token {
                connection,
                module,
                loan: &loan,
            });
            (Some(loan), result)
        }
        Err(fault) => (None, Err(fault)),
    };
    let recovery = match &result {
        Err(Fault::Token(error)) => map::recovery(error),
        _ => None,
    };
    match (recovery, loan) {
        (Some(recovery), loan) => connection.recover(loan, recovery),
        (None, Some(loan)) => connection.take_back(loan, result.is_ok()),
        (None, None) => {}
    }
    result
}

/// Makes the error after many recoveries in a row without success.
fn worn_out(error: Error) -> Error {
    let said = error.detail().unwrap_or_default().to_owned();
    error.with_retryable(false).with_detail(format!(
        "{said}; this did not change after {RECOVERIES} recoveries: the token is away for longer, or the \
         module has to be started anew, so restart this process"
    ))
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.shown)
    }
}
