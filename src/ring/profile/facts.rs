//! What is known of a key without asking it, and by whose word.

use crate::envelope::{AlgorithmClass, KekRef, WrapAlgorithm, WrapRef};
use crate::key::{KeyManager, Protection};
use crate::ring::{KeyRecord, Slot, State};

/// What is known of the key of one wrap.
#[derive(Clone, Debug)]
pub(in crate::ring) struct Facts {
    /// How errors name it: by the id of a ring's key, if it is one.
    pub(in crate::ring) name: String,
    /// Wraps of one KEK count once. `None` if nobody knows the KEK: such a wrap does not count.
    pub(super) kek: Option<String>,
    pub(super) class: Option<AlgorithmClass>,
    /// The classes of the wraps that a branch key had before: whoever has a copy of one needs to break no other.
    pub(super) former_classes: Vec<Option<AlgorithmClass>>,
    pub(super) protection: Protection,
    pub(super) slot: Option<Slot>,
    /// `None` if nobody knows.
    pub(in crate::ring) was_compromised: Option<bool>,
}

impl Facts {
    /// What the ring says of a key.
    pub(in crate::ring) fn of_record(key: &KeyRecord) -> Self {
        let provenance = &key.provenance;
        Self {
            name: key.id.to_string(),
            kek: Some(format!("{}\0{}", provenance.provider, provenance.id)),
            // A branch key is as strong as the wrap that it is kept under.
            class: match &key.branch {
                Some(branch) => branch.wrapped.wrap_algorithm().class(),
                None => key.wrap_algorithm().class(),
            },
            former_classes: match &key.branch {
                Some(branch) => branch.former_algorithms().map(WrapAlgorithm::class).collect(),
                None => Vec::new(),
            },
            protection: key.protection,
            slot: Some(key.slot.clone()),
            was_compromised: Some(was_compromised(key)),
        }
    }

    /// What a key manager says of itself, at this place among those that are configured.
    pub(super) fn of_manager(place: usize, manager: &dyn KeyManager) -> Self {
        let provider = manager.provider();
        let name = format!("key manager {} ({provider})", place + 1);
        Self {
            kek: Some(manager.identity().unwrap_or_else(|| name.clone())),
            name,
            class: manager.capabilities().class,
            former_classes: Vec::new(),
            protection: Protection::Unknown,
            slot: None,
            was_compromised: None,
        }
    }

    /// A stanza of which nobody here knows anything: it has no property. `is_exposed`: a compromised key may have made it.
    pub(in crate::ring) fn unknown(index: usize, stanza: WrapRef<'_>, is_exposed: bool) -> Self {
        let name = format!("wrap {} ({})", index + 1, stanza.provider);
        Self {
            kek: None,
            name,
            class: None,
            former_classes: Vec::new(),
            protection: Protection::Unknown,
            slot: None,
            was_compromised: Some(is_exposed),
        }
    }

    /// A KEK of which nobody here knows anything.
    pub(in crate::ring) fn nothing(kek: &KekRef) -> Self {
        Self {
            name: format!("the key of {}", kek.provider()),
            kek: None,
            class: None,
            former_classes: Vec::new(),
            protection: Protection::Unknown,
            slot: None,
            was_compromised: None,
        }
    }

    /// One wrap of which several keys may be the maker: it has what all of them have.
    pub(in crate::ring) fn merged(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().reduce(|one, other| {
            let class = one.class.filter(|class| other.class == Some(*class));
            let was_compromised = one.was_compromised.max(other.was_compromised);
            let former_classes = [&*one.former_classes, &*other.former_classes].concat();
            let weakest = if one.is_hardware() { other } else { one };
            Self {
                class,
                former_classes,
                was_compromised,
                ..weakest
            }
        })
    }

    pub(super) fn is_hardware(&self) -> bool {
        self.protection == Protection::Hardware
    }
}

/// A key that was compromised stays so, whatever became of it later.
pub(in crate::ring) fn was_compromised(key: &KeyRecord) -> bool {
    key.state == State::Compromised || key.history.iter().any(|entry| entry.to == State::Compromised)
}
