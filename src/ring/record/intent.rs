//! The record of what a rotation is about to do at a backend.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BASE, BRANCHES, Record, is_short};
use crate::envelope::KekRef;
use crate::ring::inventory::RecordKind;
use crate::ring::{Period, RecordId, Scope, Slot, State, Time};
use crate::value::error::{Error, Result};

/// What a rotation makes at the backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum IntentStep {
    /// A new version of the KEK of the key that is rotated.
    NewVersion {
        /// The newest version that was there before.
        newest: String,
    },
    /// A new KEK of this name.
    NewKek {
        /// The name or alias.
        name: String,
    },
    /// A new branch key. Nothing is made at a backend: the active key of this scope wraps it.
    NewBranch {
        /// The scope of the parent.
        parent: Scope,
    },
}

/// What a rotation is about to do at a backend, or has begun there: whoever finds it can finish it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Intent {
    pub(crate) min_reader: u32,
    /// Its id. With it as the idempotency key the backend is called.
    pub id: RecordId,
    /// The scope of the new key.
    pub scope: Scope,
    /// The slot of the new key.
    pub slot: Slot,
    /// How often the record was written.
    pub revision: u64,
    /// The id that the new key will have.
    pub key: RecordId,
    /// The key that is rotated. `None` if the scope has none yet.
    pub predecessor: Option<RecordId>,
    /// The KEK URI of the place where the new KEK is made: for a new version that of the KEK itself.
    pub uri: String,
    /// What is made.
    pub step: IntentStep,
    /// Whether the new key stays pending.
    pub stage: bool,
    /// Whether a [`Gate`](crate::ring::Gate) decides about the new key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_gate: bool,
    /// The share in percent of the contexts that the new key wraps for while it is pending.
    pub canary: Option<u8>,
    /// The cadence of the new key.
    pub cadence: Period,
    /// The overlap of the new key.
    pub overlap: Period,
    /// The labels of the new key.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Which process works on it.
    pub owner: String,
    /// How often it was taken over.
    pub fence: u64,
    /// Until when nobody else takes it over, by the inventory's clock.
    pub lease_until: Time,
    /// When it was begun.
    pub begun: Time,
    /// Who began it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Why it was given up. What it may have made at the backend is then an orphan, which is never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned: Option<String>,
}

impl Intent {
    /// What is about to be made for a scope and slot. Whose work it is, is said by a [claim](Self::claim).
    pub(crate) fn new(
        (id, key): (RecordId, RecordId),
        (scope, slot): (Scope, Slot),
        uri: String,
        step: IntentStep,
        (cadence, overlap): (Period, Period),
        begun: Time,
    ) -> Self {
        Self {
            min_reader: match step {
                IntentStep::NewBranch { .. } => BRANCHES,
                _ => BASE,
            },
            id,
            scope,
            slot,
            revision: 0,
            key,
            predecessor: None,
            uri,
            step,
            stage: false,
            awaits_gate: false,
            canary: None,
            cadence,
            overlap,
            labels: BTreeMap::new(),
            owner: String::new(),
            fence: 0,
            lease_until: begun,
            begun,
            actor: String::new(),
            reason: String::new(),
            abandoned: None,
        }
    }

    /// The same in the hands of a process: whoever had it before can do nothing with it anymore.
    pub(crate) fn claim(&self, owner: String, lease_until: Time) -> Self {
        Self {
            owner,
            lease_until,
            fence: self.fence.saturating_add(1),
            revision: self.revision + 1,
            ..self.clone()
        }
    }

    /// Returns whether somebody is at work on it.
    #[must_use]
    pub fn is_held(&self, now: Time) -> bool {
        self.abandoned.is_none() && self.lease_until > now
    }
}

impl Record for Intent {
    const KIND: RecordKind = RecordKind::Intent;

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
        &self.slot
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

    fn is_in_use(&self) -> bool {
        self.abandoned.is_none()
    }

    fn due(&self) -> Option<Time> {
        self.abandoned.is_none().then_some(self.lease_until)
    }

    fn check(&self) -> Result<()> {
        let texts = [&self.owner, &self.actor, &self.reason];
        let texts = texts.into_iter().chain(&self.abandoned);
        if self.canary.is_some_and(|percent| !(1..=100).contains(&percent)) {
            return Err(Error::argument("a canary share is 1 to 100 percent"));
        }
        if texts.into_iter().all(|text| is_short(text)) {
            Ok(())
        } else {
            Err(Error::argument(
                "an owner, an actor and a reason have at most 1,024 bytes and no control characters",
            ))
        }
    }
}
