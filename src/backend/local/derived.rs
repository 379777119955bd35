//! KEKs that were derived from one passphrase, kept for as long as they are in use.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;
use secrecy::SecretString;

use super::kdf::{Kdf, SALT};
use super::xaes::Xaes;
use crate::runtime::{Runtime, lost_work};
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// KEKs of other managers' salts that are kept.
const KEPT: usize = 16;
/// Derivations that may wait for their turn. The author of the envelopes chooses how many a reader needs, and each
/// takes 60 milliseconds to several seconds.
const WAITING: usize = 64;

/// The inputs of a derivation besides the passphrase.
pub(super) type Derivation = (Kdf, [u8; SALT]);

/// Whose salt a derivation has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Salt {
    /// The salt that this manager wraps with: always kept, and derived first.
    Own,
    /// A salt from an envelope.
    Foreign,
}

pub(super) struct DerivedKeks {
    passphrase: Arc<SecretString>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    own: Option<(Derivation, Arc<Xaes>)>,
    /// The most recently used last.
    kept: Vec<(Derivation, Arc<Xaes>)>,
    waiting: VecDeque<Asked>,
    /// The process in which a derivation runs now; 0 for none. Only one runs at a time, because it may take a gigabyte.
    deriving_in: u64,
}

/// A derivation, and the callers who wait for it.
struct Asked {
    derivation: Derivation,
    salt: Salt,
    by: Vec<oneshot::Sender<Result<Arc<Xaes>>>>,
}

impl Asked {
    fn is_awaited(&self) -> bool {
        self.by.iter().any(|waiter| !waiter.is_canceled())
    }

    fn answer(self, result: &Result<Arc<Xaes>>) {
        for waiter in self.by {
            // If this fails, nobody waits anymore.
            let _ = waiter.send(result.as_ref().map(Arc::clone).map_err(Error::copy));
        }
    }
}

impl State {
    fn find(&mut self, derivation: &Derivation) -> Option<Arc<Xaes>> {
        if let Some((of, xaes)) = &self.own
            && of == derivation
        {
            return Some(Arc::clone(xaes));
        }
        let at = self.kept.iter().position(|(of, _)| of == derivation)?;
        let entry = self.kept.remove(at);
        let xaes = Arc::clone(&entry.1);
        self.kept.push(entry);
        Some(xaes)
    }

    fn keep(&mut self, derivation: Derivation, salt: Salt, xaes: Arc<Xaes>) {
        if salt == Salt::Own {
            self.own = Some((derivation, xaes));
            return;
        }
        if self.kept.len() >= KEPT {
            self.kept.remove(0);
        }
        self.kept.push((derivation, xaes));
    }

    /// Waits in the queue.
    fn ask(
        &mut self,
        derivation: Derivation,
        salt: Salt,
        waiter: oneshot::Sender<Result<Arc<Xaes>>>,
    ) -> Result<()> {
        if let Some(asked) = self
            .waiting
            .iter_mut()
            .find(|asked| asked.derivation == derivation)
        {
            asked.by.push(waiter);
            return Ok(());
        }
        if self.waiting.len() >= WAITING {
            self.waiting.retain(Asked::is_awaited);
        }
        let asked = Asked {
            derivation,
            salt,
            by: vec![waiter],
        };
        match salt {
            Salt::Own => self.waiting.push_front(asked),
            Salt::Foreign if self.waiting.len() < WAITING => self.waiting.push_back(asked),
            Salt::Foreign => {
                return Err(Error::new(ErrorKind::Throttled).with_detail(format!(
                    "{WAITING} derivations of this passphrase already wait for their turn, each for another salt: try again later"
                )));
            }
        }
        Ok(())
    }
}

impl DerivedKeks {
    pub(super) fn new(passphrase: Arc<SecretString>) -> Self {
        Self {
            passphrase,
            state: Mutex::default(),
        }
    }

    pub(super) fn passphrase(&self) -> &Arc<SecretString> {
        &self.passphrase
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic there may be one KEK more or less, which is harmless.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a KEK that is kept, or derives it on a thread that may block, which takes time. Callers who ask for the same KEK
    /// meanwhile wait for the same derivation. A derivation whose callers have all left before its turn does not run.
    pub(super) async fn find_or_derive(
        self: &Arc<Self>,
        derivation: Derivation,
        salt: Salt,
        runtime: &Arc<dyn Runtime>,
    ) -> Result<Arc<Xaes>> {
        let (derived, begins) = {
            let mut state = self.lock();
            if let Some(xaes) = state.find(&derivation) {
                return Ok(xaes);
            }
            let generation = entropy::generation();
            if state.deriving_in != generation {
                // None, or one of a parent process, which has the thread.
                state.waiting.clear();
            }
            let (waiter, derived) = oneshot::channel();
            state.ask(derivation, salt, waiter)?;
            let before = std::mem::replace(&mut state.deriving_in, generation);
            (derived, before != generation)
        };
        if begins {
            self.derive_next(runtime);
        }
        derived.await.map_err(|_| lost_work())?
    }

    fn derive_next(self: &Arc<Self>, runtime: &Arc<dyn Runtime>) {
        let turn = Turn {
            derived: Arc::clone(self),
            runtime: Arc::clone(runtime),
            ran: false,
        };
        runtime.spawn_blocking(Box::new(move || turn.take()));
    }

    /// Returns the next derivation that somebody waits for and whose KEK is not kept.
    fn next(&self) -> Option<Asked> {
        let mut state = self.lock();
        loop {
            let asked = state.waiting.pop_front()?;
            if !asked.is_awaited() {
                continue;
            }
            match state.find(&asked.derivation) {
                Some(xaes) => asked.answer(&Ok(xaes)),
                None => return Some(asked),
            }
        }
    }
}

/// The right to derive. When it is dropped, the next derivation begins.
struct Turn {
    derived: Arc<DerivedKeks>,
    runtime: Arc<dyn Runtime>,
    ran: bool,
}

impl Turn {
    fn take(mut self) {
        self.ran = true;
        let Some(asked) = self.derived.next() else { return };
        let (kdf, salt) = asked.derivation;
        let derived = kdf.derive(&self.derived.passphrase, &salt);
        let derived = derived.map(|kek| Arc::new(Xaes::new(&kek)));
        if let Ok(xaes) = &derived {
            self.derived
                .lock()
                .keep(asked.derivation, asked.salt, Arc::clone(xaes));
        }
        asked.answer(&derived);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let lost = {
            let mut state = self.derived.lock();
            state.waiting.retain(Asked::is_awaited);
            if self.ran && !state.waiting.is_empty() {
                None
            } else {
                state.deriving_in = 0;
                // A runtime that loses this task would lose the next too: the callers who wait get an error.
                Some(std::mem::take(&mut state.waiting))
            }
        };
        match lost {
            Some(lost) => drop(lost),
            None => self.derived.derive_next(&self.runtime),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::secret::Kek;

    #[test]
    fn what_is_kept_is_bounded_and_foreign_salts_never_evict_ones_own() {
        let derived = DerivedKeks::new(Arc::new("correct horse".into()));
        let xaes = || Arc::new(Xaes::new(&Kek::generate().unwrap()));
        let own = xaes();
        derived
            .lock()
            .keep((Kdf::PBKDF2, [0; SALT]), Salt::Own, Arc::clone(&own));
        let first = xaes();
        derived
            .lock()
            .keep((Kdf::PBKDF2, [1; SALT]), Salt::Foreign, Arc::clone(&first));
        for salt in 2..=100 {
            derived
                .lock()
                .keep((Kdf::PBKDF2, [salt; SALT]), Salt::Foreign, xaes());
            assert!(derived.lock().kept.len() <= KEPT);
            if salt <= 50 {
                // The most recently used KEKs stay.
                let again = derived.lock().find(&(Kdf::PBKDF2, [1; SALT])).unwrap();
                assert!(Arc::ptr_eq(&first, &again), "{salt}");
            }
        }
        assert!(derived.lock().find(&(Kdf::PBKDF2, [1; SALT])).is_none());
        let again = derived.lock().find(&(Kdf::PBKDF2, [0; SALT])).unwrap();
        assert!(Arc::ptr_eq(&own, &again));
        // The cost is an input of the derivation.
        let other = (Kdf::Pbkdf2 { iterations: 600_001 }, [0; SALT]);
        assert!(derived.lock().find(&other).is_none());
    }
}
