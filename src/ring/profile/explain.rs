//! What a profile makes of an envelope, without any key.

use std::sync::Arc;

use super::{Facts, Requirements};
use crate::envelope::{AlgorithmClass, KekRef, WrapAlgorithm};
use crate::key::Protection;
use crate::ring::{KeyRecord, RecordId, RewrappedFrom, Slot, State};
use crate::source::Unmet;

/// One wrap of an envelope, what the ring knows of the key that the wrap names, and what that key lacks.
///
/// That the wrap was made under this key is what the envelope says, and is not proven without a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExplainedWrap {
    /// The number of the wrap, counted from 0.
    pub index: usize,
    /// The KEK that the wrap names. The id is empty if the wrap hides it.
    pub kek: KekRef,
    /// The algorithm that the wrap names.
    pub algorithm: WrapAlgorithm,
    /// The key of the ring, or `None` if the ring has no such key for this context.
    pub key: Option<RecordId>,
    /// The slot of the key.
    pub slot: Option<Slot>,
    /// The state of the key.
    pub state: Option<State>,
    /// The class of the key's algorithm, if it is known.
    pub class: Option<AlgorithmClass>,
    /// Where the key is kept.
    pub protection: Protection,
    /// What the profile demands of a wrap and this one does not have.
    pub unmet: Vec<Unmet>,
}

impl ExplainedWrap {
    /// `record` is the newest of the keys that may have made the wrap, with its state or the worse one of its parent, and `facts` is what all of them have.
    pub(in crate::ring) fn new(
        demands: &Requirements,
        index: usize,
        (kek, algorithm): (KekRef, WrapAlgorithm),
        record: Option<(&KeyRecord, State)>,
        facts: &Facts,
    ) -> Self {
        Self {
            index,
            kek,
            algorithm,
            key: record.map(|(key, _)| key.id),
            slot: record.map(|(key, _)| key.slot.clone()),
            state: record.map(|(_, state)| state),
            class: facts.class,
            protection: facts.protection,
            unmet: demands.unmet_by_opening(std::slice::from_ref(facts)),
        }
    }

    /// Returns whether a re-wrap may use the key: it may take an approval. `None` if the ring has no such key for this context.
    #[must_use]
    pub fn rewrapped_from(&self) -> Option<RewrappedFrom> {
        self.state.map(|state| state.row().rewrapped_from)
    }

    /// Returns whether the key's state lets it unwrap.
    #[must_use]
    pub fn unwraps(&self) -> bool {
        self.state.is_some_and(|state| state.row().unwraps)
    }
}

/// What a profile makes of an envelope: see [`KeyRing::explain`](crate::ring::KeyRing::explain).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// What is demanded: the caller's profile, that of the scope and that of the context, together.
    pub requirements: Arc<Requirements>,
    /// The wraps.
    pub wraps: Vec<ExplainedWrap>,
    /// Why the profile refuses to open it. Empty if a wrap is left that may open it.
    pub opening: Vec<Unmet>,
    /// What the wraps as a whole, and the rest of the envelope, do not have. A re-wrap under keys that have it mends what is about wraps.
    pub envelope: Vec<Unmet>,
    /// What the keys that wrap now do not have, so that nothing can be sealed, and a re-wrap is refused. `None` if no key wraps.
    pub sealing: Option<Vec<Unmet>>,
}

impl Explanation {
    /// Returns whether the envelope meets all demands, as far as that is known without a key.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.opening.is_empty() && self.envelope.is_empty()
    }
}
