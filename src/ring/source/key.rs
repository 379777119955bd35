//! A key as its scope uses it: with the one that it is wrapped under, if it is a branch key.

use std::ops::Deref;
use std::sync::Arc;

use crate::key::Purpose;
use crate::ring::profile::{Facts, was_compromised};
use crate::ring::{KeyRecord, Move, RewrappedFrom, State, View};
use crate::value::error::{Error, ErrorKind};

/// A key of a scope.
#[derive(Debug)]
pub(super) struct Key {
    record: Arc<KeyRecord>,
    under: Under,
    /// Its own, or that of its parent if the parent does not unwrap and its state is the worse one.
    pub(super) state: State,
}

/// What it is wrapped under.
#[derive(Debug)]
enum Under {
    /// It is no branch key: a backend keeps it.
    Backend,
    Parent(Arc<KeyRecord>),
    /// The ring does not have its parent.
    Missing(Arc<Error>),
}

impl Deref for Key {
    type Target = KeyRecord;

    fn deref(&self) -> &KeyRecord {
        &self.record
    }
}

impl Key {
    pub(super) fn new(view: &View, record: &Arc<KeyRecord>) -> Self {
        let under = match view.parent(record) {
            // Nobody asks for a key that is destroyed, and its parent may not have been read.
            _ if record.state == State::Destroyed => Under::Backend,
            Ok(None) => Under::Backend,
            Ok(Some(parent)) => Under::Parent(Arc::clone(parent)),
            Err(error) => Under::Missing(Arc::new(error)),
        };
        let own = record.state;
        let state = match &under {
            // A parent that was followed still unwraps, and asks nothing of those that are under it.
            Under::Parent(parent) if !parent.state.row().unwraps => own.max(parent.state),
            _ => own,
        };
        Self {
            record: Arc::clone(record),
            under,
            state,
        }
    }

    pub(super) fn parent(&self) -> Option<&Arc<KeyRecord>> {
        match &self.under {
            Under::Parent(parent) => Some(parent),
            Under::Backend | Under::Missing(_) => None,
        }
    }

    /// The record, and its parent's if it is a branch key. An error if the ring does not have that one.
    pub(super) fn records(&self) -> Result<(&Arc<KeyRecord>, Option<&Arc<KeyRecord>>), Error> {
        match &self.under {
            Under::Missing(error) => Err(error.copy()),
            _ => Ok((&self.record, self.parent())),
        }
    }

    /// Whether its state lets it unwrap.
    pub(super) fn unwraps(&self) -> bool {
        self.state.row().unwraps && !self.is_orphan()
    }

    fn is_orphan(&self) -> bool {
        matches!(self.under, Under::Missing(_))
    }

    /// The move by which it was revoked, or its parent.
    pub(super) fn revocation(&self) -> Option<&Move> {
        let parent = || self.parent().and_then(|parent| parent.revocation());
        self.record.revocation().or_else(parent)
    }

    pub(super) fn permits(&self, purpose: Purpose) -> bool {
        let row = self.state.row();
        let permits = match purpose {
            // An approval is no part of a request yet.
            Purpose::Rewrap => row.rewrapped_from == RewrappedFrom::Yes,
            _ => row.unwraps,
        };
        permits && !self.is_orphan()
    }

    /// The error of a key whose state does not let it unwrap.
    pub(super) fn refusal(&self) -> Error {
        if let Under::Missing(error) = &self.under {
            return error.copy();
        }
        let kind = match self.state {
            State::Compromised => ErrorKind::KeyRevoked,
            State::Destroying | State::Destroyed => ErrorKind::KeyDestroyed,
            _ => ErrorKind::KeyRetired,
        };
        let what_then = match self.state {
            State::Compromised => {
                ", for good: it cannot be reinstated, and a re-wrap out of it takes a signed approval, which this version does not accept yet"
            }
            _ => "",
        };
        let of_parent = match self.parent().filter(|_| self.state != self.record.state) {
            Some(parent) => format!(
                " as the key {} of scope {}, which it is wrapped under",
                parent.id, parent.scope
            ),
            None => String::new(),
        };
        Error::new(kind)
            .with_provider(self.provenance.provider.clone())
            .with_detail(format!(
                "the key {} of scope {} is {}{of_parent}{what_then}",
                self.id, self.scope, self.state
            ))
    }

    /// What profiles know of it.
    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts::of_record(&self.record);
        if self.parent().is_some_and(|parent| was_compromised(parent)) {
            facts.was_compromised = Some(true);
        }
        facts
    }

    pub(super) fn was_compromised(&self) -> bool {
        let parent = self.parent();
        was_compromised(&self.record) || parent.is_some_and(|parent| was_compromised(parent))
    }
}
