//! The sessions that a data key goes through.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::message::Session;

/// How many sessions are kept, each for 2^20 messages.
const SESSIONS: usize = 16;

/// Sessions that follow one another. Reading the current session takes no lock, because a lock costs a tenth of a small
/// seal.
pub(super) struct Sessions {
    started: [OnceLock<Arc<Session>>; SESSIONS],
    current: AtomicUsize,
}

impl Sessions {
    pub(super) fn new(first: Arc<Session>) -> Self {
        let started = [const { OnceLock::new() }; SESSIONS];
        if let Some(slot) = started.first() {
            slot.get_or_init(|| first);
        }
        Self {
            started,
            current: AtomicUsize::new(0),
        }
    }

    /// Returns the session in use, or `None` after all that are kept were used up.
    pub(super) fn current(&self) -> Option<&Arc<Session>> {
        self.started.get(self.current.load(Ordering::Acquire))?.get()
    }

    /// Puts a session into use after one that has ended. If other threads do so too, any of their sessions will do.
    pub(super) fn put(&self, session: Arc<Session>) {
        let at = self.current.load(Ordering::Acquire);
        if self
            .started
            .get(at)
            .is_none_or(|slot| slot.get().is_some_and(|session| !session.is_over()))
        {
            return;
        }
        if let Some(next) = self.started.get(at + 1) {
            next.get_or_init(|| session);
        }
        // The count also goes past the end: from there on each call asks the lease.
        let _ = self
            .current
            .compare_exchange(at, at + 1, Ordering::AcqRel, Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Sealing;
    use crate::value::context::EncryptionContext;
    use crate::value::limits::SESSION_MESSAGES;
    use crate::value::secret::Dek;

    fn session() -> Arc<Session> {
        let dek = Dek::generate().unwrap();
        Arc::new(Session::start(&dek, Sealing::default(), &EncryptionContext::empty()).unwrap())
    }

    #[test]
    fn a_session_is_replaced_only_when_it_is_over() {
        let (first, second) = (session(), session());
        let sessions = Sessions::new(Arc::clone(&first));
        sessions.put(Arc::clone(&second));
        assert!(Arc::ptr_eq(sessions.current().unwrap(), &first));
        first.use_up();
        sessions.put(Arc::clone(&second));
        assert!(Arc::ptr_eq(sessions.current().unwrap(), &second));
    }

    #[test]
    fn behind_the_last_there_is_none() {
        let sessions = Sessions::new(session());
        for _ in 0..SESSIONS {
            let current = sessions.current().unwrap();
            current.use_up();
            assert!(current.begin(&mut [0; 12]).is_err(), "{}", SESSION_MESSAGES.max);
            sessions.put(session());
        }
        assert!(sessions.current().is_none());
        sessions.put(session());
        assert!(sessions.current().is_none());
    }
}
