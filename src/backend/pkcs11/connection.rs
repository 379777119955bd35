//! The connections to a token (sessions of PKCS#11): opened, logged in, lent out, and opened again after they were lost.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use super::PROVIDER;
use super::config::Config;
use super::crew::CLOSING;
use super::login::Wanted;
use super::map::{self, Fault, Recovery};
use super::raw::Raw;
use super::registry::{self, Module};
use super::slots;
use crate::runtime::{Monotonic, Runtime, ThreadRuntime};
use crate::value::entropy::generation;
use crate::value::error::{Error, ErrorKind};

/// How long a token that had no more connections is not asked for more: others may give theirs back.
const FULL: Duration = Duration::from_secs(60);

/// The connections of one client. Every function here blocks.
pub(super) struct Connection {
    config: Config,
    /// The generation of the process that made the connections. In another generation they are copies that must not be used.
    process: u64,
    module: OnceLock<Arc<Module>>,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    /// Counts losses. A handle of a key is valid within one generation.
    generation: u64,
    /// Counts the losses of all connections. A connection is valid, and this client may close it, within one epoch.
    epoch: u64,
    open: Option<Open>,
    /// Connections of this epoch that are lent out.
    lent: usize,
    /// How many could be lent out when the token had no more, and until when the token is not asked for more.
    full: Option<(usize, Monotonic)>,
    /// Whether the token was found before, so that its absence is an outage.
    was_open: bool,
    /// Recoveries since a call last succeeded.
    recoveries: u32,
}

/// An open token. Connections close on request, not when they are dropped: by then, a lost handle may belong to
/// somebody else.
struct Open {
    module: Pkcs11,
    raw: Arc<Raw>,
    /// How often the module was restarted before the token was opened.
    restarts: u64,
    slot: Slot,
    token: Arc<str>,
    needs_login: bool,
    /// Kept open, because closing the last connection of a process logs it out. Lent out only if the token allows no other.
    anchor: Option<Session>,
    idle: Vec<Session>,
}

impl Open {
    fn close(self) {
        for session in self.idle.into_iter().chain(self.anchor) {
            drop(session.close());
        }
    }
}

/// A connection that is lent out and logged in.
pub(super) struct Loan {
    pub(super) session: Session,
    pub(super) generation: u64,
    epoch: u64,
    /// What distinguishes the token from others.
    pub(super) token: Arc<str>,
    pub(super) slot: Slot,
    module: Pkcs11,
    pub(super) raw: Arc<Raw>,
    needs_login: bool,
    is_anchor: bool,
}

impl Loan {
    /// Opens a connection that may write, for the administrator. It closes when it is dropped.
    pub(super) fn writing(&self) -> Result<Session, TokenError> {
        self.module.open_rw_session(self.slot)
    }

    /// Returns whether the slot reports that it is hardware.
    pub(super) fn is_hardware(&self) -> Result<bool, TokenError> {
        Ok(self.module.get_slot_info(self.slot)?.hardware_slot())
    }
}

impl Connection {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            process: generation(),
            module: OnceLock::new(),
            state: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the module. The first call registers this client with it.
    pub(super) fn module(self: &Arc<Self>) -> Result<&Arc<Module>, Error> {
        if let Some(module) = self.module.get() {
            return Ok(module);
        }
        let module = registry::module(&self.config.module)?;
        let is_first = self.module.set(Arc::clone(&module)).is_ok();
        if is_first {
            module.enter(self);
        }
        self.module
            .get()
            .ok_or_else(|| Error::new(ErrorKind::Unavailable))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends a connection: an idle connection, a new connection, or one that comes back before the deadline.
    pub(super) fn lend(self: &Arc<Self>, module: &Module, until: Monotonic) -> Result<Loan, Fault> {
        let mut state = self.state();
        loop {
            if let Some(open) = &state.open
                && open.restarts != module.restarts()
            {
                // The connections ended with the module, and their numbers may belong to others now.
                state.forget();
            }
            if state.open.is_none() {
                let open = self.open(module, &mut state)?;
                state.open = Some(open);
                state.was_open = true;
            }
            let (generation, epoch, lent) = (state.generation, state.epoch, state.lent);
            let now = ThreadRuntime.now();
            let is_known = |(most, until): (usize, Monotonic)| lent >= most && now < until;
            let is_known_full = state.full.is_some_and(is_known);
            let Some(open) = &mut state.open else {
                return Err(Error::new(ErrorKind::Unavailable).into());
            };
            let mut is_anchor = false;
            let session = match open.idle.pop() {
                Some(session) => Ok(session),
                None if is_known_full => Err(full()),
                None => open.module.open_ro_session_no_drop(open.slot),
            };
            let is_newly_full = !is_known_full && session.as_ref().is_err_and(is_full);
            let session = match session {
                Err(error) if !is_full(&error) => return Err(error.into()),
                Err(error) if lent == 0 => match open.anchor.take() {
                    Some(anchor) => {
                        is_anchor = true;
                        anchor
                    }
                    None => return Err(error.into()),
                },
                // The token has no more, and one of this client will come back.
                Err(error) => {
                    if is_newly_full {
                        state.full = Some((lent, now + FULL));
                    }
                    let left = until.0.saturating_sub(now.0);
                    if left.is_zero() {
                        return Err(error.into());
                    }
                    let waited = self.returned.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
                Ok(session) => session,
            };
            let loan = Loan {
                session,
                generation,
                epoch,
                token: Arc::clone(&open.token),
                slot: open.slot,
                module: open.module.clone(),
                raw: Arc::clone(&open.raw),
                needs_login: open.needs_login,
                is_anchor,
            };
            if is_newly_full {
                state.full = Some((lent, now + FULL));
            }
            state.lent += 1;
            return Ok(loan);
        }
    }

    /// Takes a connection back. Closes it if its work failed, which ends any operation that is still active on the token.
    pub(super) fn take_back(&self, loan: Loan, is_good: bool) {
        let mut state = self.state();
        if is_good {
            state.recoveries = 0;
        }
        if state.epoch == loan.epoch {
            state.take_back(loan, is_good, self.config.sessions);
        }
        drop(state);
        self.returned.notify_one();
    }

    /// Does what is necessary before the next try, unless another call has done it already.
    pub(super) fn recover(&self, loan: Option<Loan>, recovery: Recovery) {
        let mut state = self.state();
        let is_news = match &loan {
            Some(loan) if loan.epoch != state.epoch => return,
            Some(loan) => loan.generation == state.generation,
            None => true,
        };
        if is_news {
            state.generation += 1;
            state.recoveries = state.recoveries.saturating_add(1);
            let is_alive = |open: &Open| match &open.anchor {
                Some(anchor) => anchor.get_session_info().is_ok(),
                None => false,
            };
            if recovery == Recovery::Reopen || !state.open.as_ref().is_some_and(is_alive) {
                tracing::info!(
                    provider = PROVIDER,
                    "the connections to the token were lost; new ones will be opened"
                );
                state.forget();
                drop(state);
                self.returned.notify_all();
                return;
            }
        }
        if let Some(loan) = loan {
            state.take_back(loan, false, self.config.sessions);
        }
        drop(state);
        self.returned.notify_one();
    }

    /// Recoveries since a call last succeeded.
    pub(super) fn recoveries(&self) -> u32 {
        self.state().recoveries
    }

    /// Logs in, unless the process is logged in already: a login holds for all its connections.
    pub(super) fn log_in(&self, loan: &Loan) -> Result<(), Fault> {
        if !loan.needs_login {
            return Ok(());
        }
        let Some(module) = self.module.get() else {
            return Err(Error::new(ErrorKind::Unavailable).into());
        };
        let wanted = self.wanted(&loan.raw, loan.slot, &loan.token);
        module.logins.log_in(&wanted, &loan.session)
    }

    fn wanted<'a>(&'a self, raw: &'a Raw, slot: Slot, token: &'a Arc<str>) -> Wanted<'a> {
        Wanted {
            raw,
            slot,
            token,
            pin: self.config.pin.as_ref(),
            allows_final_try: self.config.final_try,
        }
    }

    /// Closes the idle connections. Returns whether there were any.
    pub(super) fn close_idle(&self) -> bool {
        // This does not wait for the lock, because the caller holds a lock of the same kind.
        let Ok(mut state) = self.state.try_lock() else {
            return false;
        };
        let idle = state.open.as_mut().map(|open| std::mem::take(&mut open.idle));
        let idle = idle.unwrap_or_default();
        let any = !idle.is_empty();
        for session in idle {
            drop(session.close());
        }
        any
    }

    fn open(&self, module: &Module, state: &mut State) -> Result<Open, Fault> {
        let restarts = module.restarts();
        let (loaded, raw) = module.loaded()?;
        let found = match slots::find(&loaded, &raw, &self.config.token, state.was_open) {
            // Somebody else has shut the module down.
            Err(Fault::Token(TokenError::Pkcs11(RvError::CryptokiNotInitialized, _))) => {
                module.initialize(&loaded)?;
                slots::find(&loaded, &raw, &self.config.token, state.was_open)?
            }
            found => found?,
        };
        let anchor = match loaded.open_ro_session_no_drop(found.slot) {
            Err(error) if is_full(&error) && module.close_idle(self) => {
                loaded.open_ro_session_no_drop(found.slot)?
            }
            anchor => anchor?,
        };
        let token: Arc<str> = found.token.into();
        if found.needs_login {
            let wanted = self.wanted(&raw, found.slot, &token);
            if let Err(fault) = module.logins.log_in(&wanted, &anchor) {
                drop(anchor.close());
                return Err(fault);
            }
        }
        Ok(Open {
            module: loaded,
            raw,
            restarts,
            slot: found.slot,
            token,
            needs_login: found.needs_login,
            anchor: Some(anchor),
            idle: Vec::new(),
        })
    }
}

impl State {
    /// Forgets all connections, which are lost; closes none.
    fn forget(&mut self) {
        self.generation += 1;
        self.epoch += 1;
        self.open = None;
        self.lent = 0;
        self.full = None;
    }

    /// Takes back a connection of this epoch.
    fn take_back(&mut self, loan: Loan, is_good: bool, most: usize) {
        self.lent = self.lent.saturating_sub(1);
        let Some(open) = &mut self.open else { return };
        if is_good && loan.is_anchor {
            open.anchor = Some(loan.session);
        } else if is_good && open.idle.len() < most {
            open.idle.push(loan.session);
        } else {
            // If this fails, nothing is lost.
            drop(loan.session.close());
            if loan.is_anchor {
                // The process may be logged out now.
                if let Some(open) = self.open.take() {
                    open.close();
                }
                self.forget();
            }
        }
    }
}

/// What a token answers that has no more connections.
fn full() -> TokenError {
    TokenError::Pkcs11(RvError::SessionCount, Function::OpenSession)
}

fn is_full(error: &TokenError) -> bool {
    map::code(error) == Some(RvError::SessionCount)
}

impl Drop for Connection {
    fn drop(&mut self) {
        // They may belong to the parent.
        let is_inherited = self.process != generation();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = state.open.take() else { return };
        let is_current = self
            .module
            .get()
            .is_some_and(|module| module.restarts() == open.restarts);
        if is_inherited || !is_current {
            return;
        }
        // A module may block, and a task may drop the client: wait for a short time, not forever.
        let (closed, done) = std::sync::mpsc::channel();
        let closing = std::thread::Builder::new().name("waxseal-pkcs11".to_owned());
        let spawned = closing.spawn(move || {
            open.close();
            // If this fails, nobody waits anymore.
            let _ = closed.send(());
        });
        if spawned.is_ok() {
            let _ = done.recv_timeout(CLOSING);
        }
    }
}
