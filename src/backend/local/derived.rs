//! KEKs that were derived from one passphrase, kept for as long as they are in use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::SecretString;

use super::kdf::{Kdf, SALT};
use super::xaes::Xaes;
use crate::value::error::Result;

/// KEKs that are kept: one for each salt that was met.
const KEPT: usize = 16;

/// What a KEK is derived from, beside the passphrase.
pub(super) type Derivation = (Kdf, [u8; SALT]);

pub(super) struct DerivedKeks {
    passphrase: Arc<SecretString>,
    /// The most recently used last.
    kept: Mutex<Vec<(Derivation, Arc<Xaes>)>>,
    /// Held while one is derived. One at a time: a derivation may take a gigabyte, and who feeds a reader
    /// envelopes chooses how many are asked for.
    deriving: Mutex<()>,
}

impl DerivedKeks {
    pub(super) fn new(passphrase: Arc<SecretString>) -> Self {
        Self {
            passphrase,
            kept: Mutex::new(Vec::new()),
            deriving: Mutex::new(()),
        }
    }

    pub(super) fn passphrase(&self) -> &Arc<SecretString> {
        &self.passphrase
    }

    /// A KEK that is kept.
    pub(super) fn find(&self, derivation: &Derivation) -> Option<Arc<Xaes>> {
        let mut kept = lock(&self.kept);
        let at = kept.iter().position(|(of, _)| of == derivation)?;
        let entry = kept.remove(at);
        let xaes = Arc::clone(&entry.1);
        kept.push(entry);
        Some(xaes)
    }

    /// A KEK that is kept, or else derived now, which takes its time. Whoever asks for the same meanwhile waits.
    pub(super) fn find_or_derive(&self, derivation: &Derivation) -> Result<Arc<Xaes>> {
        let _one_at_a_time = lock(&self.deriving);
        if let Some(xaes) = self.find(derivation) {
            return Ok(xaes);
        }
        let (kdf, salt) = derivation;
        let xaes = Arc::new(Xaes::new(&kdf.derive(&self.passphrase, salt)?));
        self.keep(*derivation, Arc::clone(&xaes));
        Ok(xaes)
    }

    fn keep(&self, derivation: Derivation, xaes: Arc<Xaes>) {
        let mut kept = lock(&self.kept);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((derivation, xaes));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic interrupts is a derivation, or leaves one KEK more or less.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::secret::Kek;

    #[test]
    fn what_is_kept_is_bounded_and_what_was_used_last_stays() {
        let derived = DerivedKeks::new(Arc::new("correct horse".into()));
        let xaes = || Arc::new(Xaes::new(&Kek::generate().unwrap()));
        let first = xaes();
        derived.keep((Kdf::PBKDF2, [0; SALT]), Arc::clone(&first));
        for salt in 1..=40 {
            derived.keep((Kdf::PBKDF2, [salt; SALT]), xaes());
            let again = derived.find(&(Kdf::PBKDF2, [0; SALT])).unwrap();
            assert!(Arc::ptr_eq(&first, &again), "{salt}");
            assert!(lock(&derived.kept).len() <= KEPT);
        }
        assert!(derived.find(&(Kdf::PBKDF2, [1; SALT])).is_none());
        // The cost is part of what a key is derived from.
        assert!(
            derived
                .find(&(Kdf::Pbkdf2 { iterations: 600_001 }, [0; SALT]))
                .is_none()
        );
    }
}
