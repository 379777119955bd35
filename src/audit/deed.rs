//! What an event shows of something that was done to a ring, or by a ring itself.

use super::event::Event;
use super::scope::ScopeSeen;
use crate::key::{Authorization, Purpose};

/// What was done.
#[cfg_attr(
    not(feature = "ring"),
    allow(dead_code, reason = "nothing else does such things")
)]
#[derive(Clone, Debug)]
pub(super) struct DeedSeen {
    pub(super) ring: Option<String>,
    pub(super) revision: Option<u64>,
    pub(super) head: Option<[u8; 32]>,
    pub(super) scope: Option<ScopeSeen>,
    pub(super) purpose: Option<Purpose>,
    pub(super) keys: Vec<String>,
    pub(super) branch: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) authorizations: Vec<Authorization>,
    pub(super) grounds: Option<String>,
    pub(super) moves: Vec<RecordMoved>,
    pub(super) more: usize,
    pub(super) settings: bool,
    pub(super) succession: bool,
}

impl DeedSeen {
    /// The use of a KEK by hand, of no ring.
    pub(super) fn of(purpose: Purpose, actor: Option<String>) -> Self {
        Self {
            ring: None,
            revision: None,
            head: None,
            scope: None,
            purpose: Some(purpose),
            keys: Vec::new(),
            branch: None,
            actor,
            authorizations: Vec::new(),
            grounds: None,
            moves: Vec::new(),
            more: 0,
            settings: false,
            succession: false,
        }
    }
}

/// What a change of a ring does to one of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordMoved {
    /// What it is: `key`, `intent`, `tombstone`.
    pub record: &'static str,
    /// Its id.
    pub id: String,
    /// Its scope, as [`Event::scope`] shows scopes.
    pub scope: Option<String>,
    /// The digest of its scope.
    pub scope_digest: [u8; 32],
    /// The state of a key before. `None` if it is new.
    pub from: Option<&'static str>,
    /// The state of a key after. `None` for what is no key, or is deleted.
    pub to: Option<&'static str>,
    /// The ticket of the move, if it has one.
    pub ticket: Option<String>,
    /// Who has approved the move, as its ticket says.
    pub approver: Option<String>,
    /// SHA-256 of the receipt that the move stands on, in hexadecimal digits.
    pub evidence: Option<String>,
}

impl Event {
    /// Returns the ids of the ring's keys that an operation is about, or has made. For a branch key that was wrapped or unwrapped: its parent.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        self.deed().map_or(&[], |deed| &deed.keys)
    }

    /// Returns the id of the branch key that was wrapped or unwrapped.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.deed()?.branch.as_deref()
    }

    /// Returns on which grounds: `evidence`, `overlap_end`, `force`, `readers_skipped`.
    #[must_use]
    pub fn grounds(&self) -> Option<&str> {
        self.deed()?.grounds.as_deref()
    }

    /// Returns what a change does to records: at most 64 of them.
    #[must_use]
    pub fn moves(&self) -> &[RecordMoved] {
        self.deed().map_or(&[], |deed| &deed.moves)
    }

    /// Returns how many more records a change writes or deletes.
    #[must_use]
    pub fn moves_more(&self) -> usize {
        self.deed().map_or(0, |deed| deed.more)
    }

    /// Returns SHA-256 of the head that a change signs. The ring has it if the change was made.
    #[must_use]
    pub fn ring_head(&self) -> Option<&[u8; 32]> {
        self.deed()?.head.as_ref()
    }

    /// Returns whether a change replaces the settings.
    #[must_use]
    pub fn replaces_settings(&self) -> bool {
        self.deed().is_some_and(|deed| deed.settings)
    }

    /// Returns whether a change lets another authority follow.
    #[must_use]
    pub fn replaces_authority(&self) -> bool {
        self.deed().is_some_and(|deed| deed.succession)
    }
}
