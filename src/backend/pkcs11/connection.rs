//! The sessions with a token: opened, logged in, lent out, and opened again where they were lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use secrecy::SecretString;

use super::PROVIDER;
use super::config::Config;
use super::map::{Fault, Recovery};
use super::registry;
use super::uri::TokenMatch;
use crate::value::error::{Error, ErrorKind};

/// The sessions of one client. Everything here blocks.
pub(super) struct Connection {
    config: Config,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts what was lost. Handles of keys are good within one generation.
    generation: u64,
    /// Counts the losses of all sessions. A session is good, and is ours to close, within one epoch.
    epoch: u64,
    open: Option<Open>,
    /// A token was found once, so its absence is an outage.
    was_open: bool,
    /// The token refused the PIN. It is not tried again: tokens lock after a few tries.
    is_pin_refused: bool,
}

/// An open token. Sessions close when they are told to, not when they are dropped: a handle that was lost may by
/// then be somebody else's.
struct Open {
    module: Pkcs11,
    slot: Slot,
    token: Arc<str>,
    /// Never lent out: closing the last session of a process logs it out.
    anchor: Session,
    idle: Vec<Session>,
}

/// A session that is lent out, logged in.
pub(super) struct Loan {
    pub(super) session: Session,
    pub(super) generation: u64,
    epoch: u64,
    /// What tells the token from others.
    pub(super) token: Arc<str>,
    slot: Slot,
    module: Pkcs11,
}

impl Loan {
    /// A session that may write, for the administrator. It closes when it is dropped.
    pub(super) fn writing(&self) -> Result<Session, TokenError> {
        self.module.open_rw_session(self.slot)
    }

    /// Whether the slot says that it is hardware.
    pub(super) fn is_hardware(&self) -> Result<bool, TokenError> {
        Ok(self.module.get_slot_info(self.slot)?.hardware_slot())
    }
}

impl Connection {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            state: Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session, from those that are idle or a new one.
    pub(super) fn lend(&self) -> Result<Loan, Fault> {
        let mut state = self.state();
        if state.is_pin_refused {
            return Err(pin_refused().into());
        }
        if state.open.is_none() {
            let open = self.open(&mut state)?;
            state.open = Some(open);
            state.was_open = true;
        }
        let (generation, epoch) = (state.generation, state.epoch);
        let Some(open) = &mut state.open else {
            return Err(Error::new(ErrorKind::Unavailable).into());
        };
        let session = match open.idle.pop() {
            Some(session) => session,
            None => open.module.open_ro_session_no_drop(open.slot)?,
        };
        Ok(Loan {
            session,
            generation,
            epoch,
            token: Arc::clone(&open.token),
            slot: open.slot,
            module: open.module.clone(),
        })
    }

    /// Takes a session back. Where its work failed it is closed, with whatever the token still has going in it.
    pub(super) fn take_back(&self, loan: Loan, is_good: bool) {
        let mut state = self.state();
        if state.epoch != loan.epoch {
            // Lost: the number may stand for another session by now.
            return;
        }
        match &mut state.open {
            Some(open) if is_good && open.idle.len() < self.config.sessions => open.idle.push(loan.session),
            // Nothing is lost with it where this fails.
            _ => drop(loan.session.close()),
        }
    }

    /// Does what has to be done for the next try, unless somebody has done it already.
    pub(super) fn recover(&self, loan: Option<Loan>, recovery: Recovery) {
        let mut state = self.state();
        if loan.as_ref().is_some_and(|loan| loan.epoch != state.epoch) {
            return;
        }
        if loan
            .as_ref()
            .is_none_or(|loan| loan.generation == state.generation)
        {
            state.generation += 1;
            let is_alive = |open: &Open| open.anchor.get_session_info().is_ok();
            if recovery == Recovery::Reopen || !state.open.as_ref().is_some_and(is_alive) {
                tracing::info!(
                    provider = PROVIDER,
                    "the sessions with the token were lost; new ones will be opened"
                );
                state.epoch += 1;
                state.open = None;
                return;
            }
        }
        if let Some(loan) = loan {
            drop(loan.session.close());
        }
    }

    /// Logs in, unless that is so already, as it is for every session of a process at once.
    pub(super) fn log_in(&self, loan: &Loan) -> Result<(), Fault> {
        let mut state = self.state();
        log_in(&mut state, &loan.session, self.config.pin.as_ref())
    }

    fn open(&self, state: &mut State) -> Result<Open, Fault> {
        let module = registry::module(&self.config.module)?;
        let slots = match module.get_slots_with_token() {
            // Somebody has shut the module down under us.
            Err(TokenError::Pkcs11(RvError::CryptokiNotInitialized, _)) => {
                registry::initialise(&module)?;
                module.get_slots_with_token()?
            }
            slots => slots?,
        };
        let mut found = None;
        for slot in slots {
            // A token that cannot say what it is cannot be the one that is meant.
            let Ok(info) = module.get_token_info(slot) else {
                continue;
            };
            if !info.token_initialized() || !matches(&self.config.token, slot, &info) {
                continue;
            }
            if found.is_some() {
                return Err(
                    Error::configuration("more than one token matches; add serial or slot-id").into(),
                );
            }
            found = Some((slot, info));
        }
        let Some((slot, info)) = found else {
            return Err(if state.was_open {
                Error::new(ErrorKind::Unavailable).with_detail("the token is gone")
            } else {
                Error::configuration("no token matches (token, serial, model, manufacturer, slot-id)")
            }
            .into());
        };
        let anchor = module.open_ro_session_no_drop(slot)?;
        if info.login_required()
            && let Err(fault) = log_in(state, &anchor, self.config.pin.as_ref())
        {
            drop(anchor.close());
            return Err(fault);
        }
        let token = format!(
            "{}\0{}\0{}",
            info.manufacturer_id(),
            info.serial_number(),
            info.label()
        );
        Ok(Open {
            module,
            slot,
            token: token.into(),
            anchor,
            idle: Vec::new(),
        })
    }
}

fn log_in(state: &mut State, session: &Session, pin: Option<&SecretString>) -> Result<(), Fault> {
    let now = session.get_session_info()?.session_state();
    if matches!(now, SessionState::RoUser | SessionState::RwUser) {
        return Ok(());
    }
    if state.is_pin_refused {
        return Err(pin_refused().into());
    }
    let Some(pin) = pin else {
        return Err(Error::configuration("the token asks for a PIN; set pin-source").into());
    };
    match session.login(UserType::User, Some(pin)) {
        Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) => {
            state.is_pin_refused = matches!(
                error,
                TokenError::Pkcs11(
                    RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinLocked,
                    _
                )
            );
            Err(error.into())
        }
    }
}

fn pin_refused() -> Error {
    Error::new(ErrorKind::Unauthenticated)
        .with_provider(PROVIDER)
        .with_detail(
            "the token refused this PIN before; it is not tried again, so that the token does not lock",
        )
}

fn matches(wanted: &TokenMatch, slot: Slot, info: &cryptoki::slot::TokenInfo) -> bool {
    let is = |wanted: &Option<String>, found: &str| {
        wanted.as_ref().is_none_or(|wanted| wanted == found.trim_end())
    };
    is(&wanted.label, info.label())
        && is(&wanted.serial, info.serial_number())
        && is(&wanted.model, info.model())
        && is(&wanted.manufacturer, info.manufacturer_id())
        && wanted.slot.is_none_or(|wanted| wanted == slot.id())
}

impl Drop for Connection {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = state.open.take() {
            for session in open.idle {
                drop(session.close());
            }
            drop(open.anchor.close());
        }
    }
}
