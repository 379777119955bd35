//! Each administrative operation, told to the witness of the ring: once, whether it succeeds, fails or is refused.

use std::future::Future;
use std::time::Duration;

use super::evidence::Grounds;
use super::verdict::Action;
use super::{RingAdmin, Target};
use crate::ring::witness::{Act, Deed, Operation, Touches, witnessed};
use crate::ring::{KeyRecord, RecordId};
use crate::runtime::Monotonic;
use crate::value::error::Result;

impl RingAdmin {
    pub(super) fn deed(&self, operation: Operation) -> Deed {
        let ring = self.reader.trust().ring();
        let mut deed = Deed::new(Act::Operation(operation), ring, Monotonic(Duration::ZERO));
        deed.actor = Some(self.actor.clone());
        deed
    }

    /// What the KEK of a key does for the ring itself.
    pub(super) fn access(&self, act: Act, key: &KeyRecord) -> Deed {
        Deed {
            act,
            ..self.deed(Operation::Tick)
        }
        .by_kek(key)
    }

    /// A promotion, and whom it does not wait for.
    pub(super) fn promoting(&self, id: RecordId) -> Deed {
        let deed = self.deed(Operation::Promote).of_key(id);
        match self.skipped.is_empty() {
            true => deed,
            false => deed.on_grounds("readers_skipped"),
        }
    }

    /// What is done to the keys of targets.
    pub(super) fn on_targets(&self, operation: Operation, targets: &[Target]) -> Deed {
        let deed = self.deed(operation);
        targets.iter().fold(deed, |deed, target| match target {
            Target::Key(id) => deed.of_key(*id),
            Target::Slot(scope, _) | Target::Scope(scope) => deed.in_scope(scope),
        })
    }

    /// Does something, and tells how it ended.
    pub(super) fn witnessed<'a, T: Touches + 'a>(
        &'a self,
        deed: Deed,
        work: impl Future<Output = Result<T>> + 'a,
    ) -> impl Future<Output = Result<T>> + 'a {
        // Operations are large, and call each other.
        let work = Box::pin(work);
        let begun = move |begun| Deed { begun, ..deed };
        let seen = || self.reader.trust().mark().map(|mark| mark.revision);
        witnessed(self.reader.witness(), begun, work, seen)
    }
}

impl Grounds<'_> {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Evidence(_) => "evidence",
            Self::OverlapEnd => "overlap_end",
            Self::Force => "force",
        }
    }
}

impl Action {
    /// The operation that does what is due.
    pub(super) const fn operation(self) -> Operation {
        match self {
            Self::Recover => Operation::Recover,
            Self::Rotate => Operation::Rotate,
            Self::Promote => Operation::Promote,
            // Each rotation is an operation of its own.
            Self::Branches => Operation::Tick,
            Self::Retire => Operation::Retire,
            Self::Destroy => Operation::Destroy,
            Self::Shred => Operation::Shred,
        }
    }
}
