//! The record that says that a scope was shredded.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{BRANCHES, Cancelled, Record, is_short};
use crate::envelope::KekRef;
use crate::ring::inventory::RecordKind;
use crate::ring::{RecordId, Scope, Slot, State, Time};
use crate::value::error::{Error, ErrorKind, Result};

/// Where a row of it stands: it is of no slot.
static SLOT: LazyLock<Slot> = LazyLock::new(Slot::default);

/// Says that a scope was shredded: none of its keys wraps or unwraps, whatever their records say, and no key comes into use in it anymore.
/// It stays for good, unless the shredding is cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tombstone {
    pub(crate) min_reader: u32,
    /// Its id.
    pub id: RecordId,
    /// The scope.
    pub scope: Scope,
    /// How often the record was written.
    pub revision: u64,
    /// When the scope was shredded, by the inventory's clock.
    pub at: Time,
    /// The revision of the ring that did it: a process that has not read this one does not know of it.
    pub in_ring_since: u64,
    /// Who did it.
    pub actor: String,
    /// The ticket: a claim.
    pub ticket: String,
    /// Who has approved it: a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// Why.
    pub reason: String,
    /// The keys that the scope had, and that were not destroyed.
    pub keys: Vec<RecordId>,
    /// When the cooling-off ends, and the destruction of the keys begins.
    pub due: Time,
    /// When the destruction of the keys began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Time>,
    /// Who has cancelled it, until the keys are what they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Cancelled>,
}

/// What a key was before its scope was shredded: what it is again if the shredding is cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BeforeShred {
    /// The record that says that the scope was shredded.
    pub tombstone: RecordId,
    /// The state that the key had.
    pub from: State,
    /// When it was to be rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
    /// When it might have been retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retirement_due: Option<Time>,
}

/// Who shreds a scope, and why.
pub(crate) struct ShreddedBy<'s> {
    pub(crate) actor: &'s str,
    pub(crate) ticket: &'s str,
    pub(crate) approver: Option<&'s str>,
    pub(crate) reason: &'s str,
}

impl Tombstone {
    pub(crate) fn new(
        id: RecordId,
        scope: Scope,
        by: &ShreddedBy<'_>,
        (at, due): (Time, Time),
        in_ring_since: u64,
        keys: Vec<RecordId>,
    ) -> Self {
        Self {
            min_reader: BRANCHES,
            id,
            scope,
            revision: 1,
            at,
            in_ring_since,
            actor: by.actor.to_owned(),
            ticket: by.ticket.to_owned(),
            approver: by.approver.map(str::to_owned),
            reason: by.reason.to_owned(),
            keys,
            due,
            begun: None,
            cancelled: None,
        }
    }

    /// The next revision of it, with nothing changed yet.
    pub(crate) fn next(&self) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        next
    }

    /// What happened, for people.
    pub(crate) fn words(&self) -> String {
        format!(
            "the scope {} was shredded on {} by {} (ticket {})",
            self.scope, self.at, self.actor, self.ticket
        )
    }

    /// The error of whoever seals or opens in the scope.
    pub(crate) fn no_key(&self) -> Error {
        let then = match (&self.cancelled, self.begun) {
            (Some(_), _) => "that is being cancelled; try again when it is done",
            (None, None) => {
                "nothing is sealed or opened in it, unless that is cancelled before its keys are destroyed"
            }
            (None, Some(_)) => "nothing is sealed or opened in it anymore",
        };
        Error::new(ErrorKind::KeyDestroyed).with_detail(format!("{}: {then}", self.words()))
    }

    /// The error of whoever wants to use a key of the scope again, or another one.
    pub(crate) fn no_new_key(&self) -> Error {
        let then = match (&self.cancelled, self.begun) {
            (Some(_), _) => {
                "that is being cancelled: wait until a tick, or the same cancellation once more, is done with it"
                    .to_owned()
            }
            (None, None) => format!(
                "its keys come back only if that is cancelled (`waxseal keys shred --scope {} --cancel`); what is to begin anew takes \
                 another scope",
                self.scope
            ),
            (None, Some(_)) => {
                "no key comes into use in it anymore; what is to begin anew takes another scope, for example one with another name or epoch"
                    .to_owned()
            }
        };
        Error::new(ErrorKind::LifecycleRefused).with_detail(format!("{}: {then}", self.words()))
    }
}

impl Record for Tombstone {
    const KIND: RecordKind = RecordKind::Tombstone;

    fn min_reader(&self) -> u32 {
        self.min_reader
    }

    fn id(&self) -> RecordId {
        self.id
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn slot(&self) -> &Slot {
        &SLOT
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn state(&self) -> Option<State> {
        None
    }

    fn kek(&self) -> Option<KekRef> {
        None
    }

    fn due(&self) -> Option<Time> {
        match (&self.cancelled, self.begun) {
            (Some(_), _) => Some(self.at),
            (None, None) => Some(self.due),
            (None, Some(_)) => None,
        }
    }

    fn check(&self) -> Result<()> {
        let cancelled = self.cancelled.iter();
        let cancelled = cancelled.flat_map(|cancelled| [&cancelled.actor, &cancelled.reason]);
        let texts = [&self.actor, &self.ticket, &self.reason];
        let mut texts = texts.into_iter().chain(&self.approver).chain(cancelled);
        match texts.all(|text| is_short(text)) {
            true => Ok(()),
            false => Err(Error::argument(
                "an actor, a reason, a ticket and an approver have at most 1,024 bytes and no control characters",
            )),
        }
    }
}
