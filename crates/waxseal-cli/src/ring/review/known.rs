//! Who has known of the revocation: a process does not forget a revision that it had.

use std::collections::HashMap;

use waxseal::ring::Time;

use super::event::Event;
use super::subject::Subject;

/// Processes that are told apart in a log.
const PROCESSES: usize = 10_000;

/// Who had the revision of the revocation, or a later one, before an event was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knows {
    /// Nobody of whom this log tells.
    Nobody,
    /// Somebody who writes the same log.
    SomeoneElse,
    /// The process itself, before it began what the event tells.
    Itself,
}

/// Those who have known of it in the log that is read.
#[derive(Default)]
pub(super) struct Known {
    someone: bool,
    /// When a process wrote the first record that shows it.
    processes: HashMap<String, Option<Time>>,
}

impl Known {
    /// The next record is the first one of another log.
    pub(super) fn begin_log(&mut self) {
        *self = Self::default();
    }

    /// Who knew it before this event.
    pub(super) fn before(&self, event: Event<'_>) -> Knows {
        let first = event.instance().and_then(|instance| self.processes.get(instance));
        let began = || Some(event.time()?.saturating_sub(event.duration()));
        match first {
            // What was on its way when the process read the ring has the older revision still. Both times are of one clock.
            Some(first) if began() > *first => Knows::Itself,
            _ if self.someone => Knows::SomeoneElse,
            _ => Knows::Nobody,
        }
    }

    /// Takes down whether the event shows that its process knows it.
    pub(super) fn see(&mut self, subject: &Subject, event: Event<'_>) {
        let Some(revoked) = subject.revoked else { return };
        let is_ours = event.ring() == Some(subject.ring.as_str());
        // Whether what did not succeed has made its revision, nobody knows.
        let is_known = is_ours && (event.is_success() || !event.is_of_ring());
        if !is_known
            || event
                .revision()
                .is_none_or(|revision| revision < revoked.revision)
        {
            return;
        }
        self.someone = true;
        if let Some(instance) = event.instance()
            && self.processes.len() < PROCESSES
            && !self.processes.contains_key(instance)
        {
            self.processes.insert(instance.to_owned(), event.time());
        }
    }
}

/// Whether an event comes later after the revocation than a process may open without news of the ring: by the clocks of both, which prove nothing.
pub(super) fn is_overdue(subject: &Subject, event: Event<'_>) -> bool {
    let end = subject
        .revoked
        .map(|revoked| revoked.at.saturating_add(subject.max_stale_open));
    event.time().zip(end).is_some_and(|(time, end)| time > end)
}
