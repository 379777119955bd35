//! Logins to tokens, and the PINs that a token has refused.
//!
//! PKCS#11 logs in a process: after one part of a process has logged in to a token, the token asks no other part for a PIN,
//! and each wrong PIN brings the whole process nearer to a locked token. So the whole process shares what it knows about PINs,
//! as keyed digests under a key that exists only in this process. No PIN is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::PROVIDER;
use super::map::{self, Fault};
use super::raw::Raw;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// The number of refused PINs that are remembered for one token. Tokens lock after fewer.
const REFUSED: usize = 32;

type Digest = [u8; 32];

/// The logins to the tokens of one module.
#[derive(Default)]
pub(super) struct Logins {
    key: OnceLock<[u8; 32]>,
    tokens: Mutex<HashMap<Arc<str>, Arc<Mutex<Login>>>>,
}

/// What is known about one token.
#[derive(Default)]
struct Login {
    /// The PIN that this crate has logged in with. `None` if nobody is logged in, or if another library logged in.
    in_force: Option<Digest>,
    /// The oldest is first.
    refused: VecDeque<Digest>,
}

impl Login {
    fn has_refused(&self, pin: &Digest) -> bool {
        self.refused.iter().any(|refused| same(refused, pin))
    }

    fn refuse(&mut self, pin: Digest) {
        if self.refused.len() >= REFUSED {
            self.refused.pop_front();
        }
        self.refused.push_back(pin);
    }
}

fn same(a: &Digest, b: &Digest) -> bool {
    bool::from(a.ct_eq(b))
}

/// The token to log in to, and the PIN.
pub(super) struct Wanted<'a> {
    pub(super) raw: &'a Raw,
    pub(super) slot: Slot,
    /// What distinguishes the token from others.
    pub(super) token: &'a Arc<str>,
    pub(super) pin: Option<&'a SecretString>,
    /// Whether the client may use the last try before the token locks.
    pub(super) allows_final_try: bool,
}

impl Logins {
    /// Forgets every login, because the module was shut down.
    pub(super) fn forget(&self) {
        for login in lock(&self.tokens).values() {
            lock(login).in_force = None;
        }
    }

    /// Makes sure that the process is logged in, with this PIN.
    pub(super) fn log_in(&self, wanted: &Wanted<'_>, session: &Session) -> Result<(), Fault> {
        let login = Arc::clone(lock(&self.tokens).entry(Arc::clone(wanted.token)).or_default());
        let digest = wanted.pin.map(|pin| self.digest(wanted.token, pin)).transpose()?;
        // Held during the login: if several clients have one wrong PIN, only one of them tries it.
        let mut login = lock(&login);
        let state = session.get_session_info()?.session_state();
        if matches!(state, SessionState::RoUser | SessionState::RwUser) {
            return is_the_one_in_force(&login, digest.as_ref());
        }
        login.in_force = None;
        let (Some(pin), Some(digest)) = (wanted.pin, digest) else {
            return Err(no_pin().into());
        };
        if login.has_refused(&digest) {
            return Err(Error::new(ErrorKind::Unauthenticated)
                .with_detail(
                    "the token refused this PIN before in this process (CKR_PIN_INCORRECT); it is not tried again, \
                     so that the token does not lock; set another PIN, or restart the process if the token's PIN \
                     was changed",
                )
                .into());
        }
        // Asked each time, because another process may have used up the tries.
        let info = wanted.raw.token_info(wanted.slot)?;
        if info.is_final_try() && !info.is_locked() && !wanted.allows_final_try {
            return Err(Error::new(ErrorKind::Denied)
                .with_detail(
                    "one more wrong PIN locks the token (CKF_USER_PIN_FINAL_TRY), so no PIN was tried; log in once \
                     with the token's tools, or allow the final try (final-try=true in the URI, \
                     Config::with_final_try)",
                )
                .into());
        }
        match session.login(UserType::User, Some(pin)) {
            Ok(()) => {
                login.in_force = Some(digest);
                login.refused.retain(|refused| !same(refused, &digest));
                Ok(())
            }
            // Another library of this process logged in between the two calls.
            Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                if map::refuses_pin(&error) {
                    login.refuse(digest);
                }
                Err(error.into())
            }
        }
    }

    /// A digest of a PIN, which only this process can compare.
    fn digest(&self, token: &str, pin: &SecretString) -> Result<Digest> {
        let key = match self.key.get() {
            Some(key) => key,
            None => {
                let fresh = entropy::array()?;
                self.key.get_or_init(|| fresh)
            }
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(key)
            .map_err(|_| Error::new(ErrorKind::InvalidArgument).with_provider(PROVIDER))?;
        mac.update(&(token.len() as u64).to_be_bytes());
        mac.update(token.as_bytes());
        mac.update(pin.expose_secret().as_bytes());
        Ok(mac.finalize().into_bytes().into())
    }
}

fn is_the_one_in_force(login: &Login, digest: Option<&Digest>) -> Result<(), Fault> {
    match (&login.in_force, digest) {
        // Another library of this process has logged in: there is nothing to compare with.
        (None, _) => Ok(()),
        (Some(in_force), Some(digest)) if same(in_force, digest) => Ok(()),
        (Some(_), Some(_)) => Err(Error::new(ErrorKind::Unauthenticated)
            .with_detail(
                "another client of this process is logged in to the token with another PIN, and a token has one \
                 login for a process: one of the two PINs is wrong, or the PIN was changed; give both clients the \
                 same PIN, or drop the other client",
            )
            .into()),
        (Some(_), None) => Err(no_pin().into()),
    }
}

fn no_pin() -> Error {
    Error::configuration("the token asks for a PIN, but no PIN is configured: set pin-source")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_pin_token_and_process() {
        let (logins, others) = (Logins::default(), Logins::default());
        let of = |logins: &Logins, token: &str, pin: &str| logins.digest(token, &pin.into()).unwrap();
        assert_eq!(of(&logins, "a", "1234"), of(&logins, "a", "1234"));
        assert_ne!(of(&logins, "a", "1234"), of(&logins, "a", "1235"));
        assert_ne!(of(&logins, "a", "1234"), of(&logins, "b", "1234"));
        assert_ne!(of(&logins, "a1", "234"), of(&logins, "a", "1234"));
        assert_ne!(of(&logins, "a", "1234"), of(&others, "a", "1234"));
    }

    #[test]
    fn refused_pins_are_remembered_and_bounded() {
        let mut login = Login::default();
        for pin in 0..40_u8 {
            login.refuse([pin; 32]);
        }
        assert_eq!(login.refused.len(), REFUSED);
        assert!(login.has_refused(&[39; 32]) && !login.has_refused(&[0; 32]));
    }
}
