//! A key as its scope uses it: with the one that it is wrapped under, if it is a branch key.

use std::ops::Deref;
use std::sync::Arc;

use super::approved::Approved;
use crate::ring::profile::{Facts, was_compromised};
use crate::ring::{KeyRecord, Move, RecordId, RewrappedFrom, State, View};
use crate::value::error::{Error, ErrorKind, Result};

/// What a key is wanted for, and what allows that.
#[derive(Clone, Copy, Debug)]
pub(super) enum Usage<'a> {
    /// To open what is under it; or to seal, since what is sealed must open.
    Open,
    /// To re-wrap what is under it, with these approvals.
    Rewrap(Option<&'a Approved>),
}

/// A key of a scope.
#[derive(Debug)]
pub(super) struct Key {
    record: Arc<KeyRecord>,
    under: Under,
    /// A key that was revoked and that it is wrapped under, or was.
    exposed_by: Option<Arc<KeyRecord>>,
    /// Whether the ring does not say of each key that it was wrapped under what became of it.
    lacks_former: bool,
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
        let mut former = record.branch.iter().flat_map(|branch| &branch.former);
        Self {
            record: Arc::clone(record),
            under,
            exposed_by: view.exposed_by(record).first().copied().cloned(),
            lacks_former: former.any(|former| view.known(&former.parent_scope, former.parent).is_none()),
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

    /// Refuses what its state does not permit.
    ///
    /// # Errors
    /// `KeyRetired`, `KeyRevoked` or `KeyDestroyed`; `ApprovalRefused`; what is wrong with its parent.
    pub(super) fn permit(&self, usage: Usage<'_>) -> Result<()> {
        let row = self.state.row();
        let is_permitted = match usage {
            Usage::Open => row.unwraps,
            Usage::Rewrap(approved) => match (row.rewrapped_from, approved) {
                (RewrappedFrom::Yes, _) => true,
                (RewrappedFrom::WithApproval, Some(approved)) if !self.is_orphan() => {
                    return approved.check(self);
                }
                _ => false,
            },
        };
        match is_permitted && !self.is_orphan() {
            true => Ok(()),
            false => Err(self.refusal()),
        }
    }

    /// Whether a re-wrap out of it takes an approval.
    pub(super) fn needs_approval(&self) -> bool {
        self.state.row().rewrapped_from == RewrappedFrom::WithApproval
    }

    /// Whether an approval that names a key serves this one: the key itself, or the parent of a branch key that is out of use only because its
    /// parent is.
    pub(super) fn is_served_by(&self, named: RecordId) -> bool {
        let is_parent = || self.parent().is_some_and(|parent| parent.id == named);
        named == self.id || is_parent() && self.record.state.row().rewrapped_from == RewrappedFrom::Yes
    }

    /// The record of this id: its own or its parent's.
    pub(super) fn record_of(&self, id: RecordId) -> Option<&Arc<KeyRecord>> {
        let both = std::iter::once(&self.record).chain(self.parent());
        both.into_iter().find(|record| record.id == id)
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
                ", for good: it cannot be reinstated, and a re-wrap out of it takes an approval (`waxseal ring approve`)"
            }
            State::Retired => ": reinstate it, or re-wrap with an approval (`waxseal ring approve`)",
            State::Destroying => ", and no approval helps: its destruction has to be canceled first",
            State::Destroyed => ", and no approval helps",
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
        if self.exposed_by.is_some() {
            facts.was_compromised = Some(true);
        } else if self.lacks_former && facts.was_compromised == Some(false) {
            facts.was_compromised = None;
        }
        facts
    }

    /// Whether somebody else may have it: it was revoked once, or a key that it is wrapped under, or was.
    pub(super) fn was_compromised(&self) -> bool {
        was_compromised(&self.record) || self.exposed_by.is_some()
    }

    /// The key that was revoked and through which somebody else may have it, although it still wraps.
    pub(super) fn exposed_by(&self) -> Option<&Arc<KeyRecord>> {
        self.exposed_by.as_ref()
    }

    /// Its state, whatever the state of its parent.
    pub(super) fn own_state(&self) -> State {
        self.record.state
    }
}
