//! The demands of one profile, or of several together.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::envelope::AlgorithmClass;
use crate::ring::Slot;
use crate::value::error::{Error, Result};
use crate::value::limits;

/// Whether an envelope has its context in it, in the clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoredContext {
    /// It may.
    #[default]
    Allowed,
    /// It must.
    Required,
    /// It must not.
    Forbidden,
}

/// How many wraps there must be, each under another KEK.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wraps {
    slots: BTreeSet<Slot>,
    at_least: usize,
}

impl Wraps {
    /// Demands wraps under this many different KEKs.
    ///
    /// # Errors
    /// `InvalidArgument` for 0 and for more than 16.
    pub fn at_least(count: usize) -> Result<Self> {
        Self::in_slots([], count)
    }

    /// Demands that this many of these slots have a wrap. Without any slots, every KEK counts.
    ///
    /// # Errors
    /// `InvalidArgument` for 0, for more than 16, and for more than there are slots.
    pub fn in_slots(slots: impl IntoIterator<Item = Slot>, at_least: usize) -> Result<Self> {
        let slots: BTreeSet<Slot> = slots.into_iter().collect();
        let most = usize::try_from(limits::STANZAS.max).unwrap_or(usize::MAX);
        if at_least == 0 || at_least > most {
            return Err(Error::argument(format!(
                "the number of wraps must be between 1 and {most}, got {at_least}"
            )));
        }
        if !slots.is_empty() && at_least > slots.len() {
            return Err(Error::argument(format!(
                "{at_least} wraps are demanded of {} slots: each slot has one wrap",
                slots.len()
            )));
        }
        Ok(Self { slots, at_least })
    }

    /// Returns the slots that count. Empty if every KEK counts.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Returns how many there must be.
    #[must_use]
    pub fn count(&self) -> usize {
        self.at_least
    }

    pub(super) fn counts(&self, slot: Option<&Slot>) -> bool {
        self.slots.is_empty() || slot.is_some_and(|slot| self.slots.contains(slot))
    }
}

/// A set of algorithm classes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Classes(u8);

const CLASSES: [AlgorithmClass; 4] = [
    AlgorithmClass::Symmetric,
    AlgorithmClass::Classical,
    AlgorithmClass::Hybrid,
    AlgorithmClass::PostQuantum,
];

/// The class of a name.
pub(super) fn class_of(name: &str) -> Result<AlgorithmClass> {
    let mut all = CLASSES.iter();
    match all.find(|class| class.name() == name) {
        Some(class) => Ok(*class),
        None => Err(Error::argument(
            "a class is symmetric, classical, hybrid or post-quantum",
        )),
    }
}

impl Classes {
    fn of(classes: impl IntoIterator<Item = AlgorithmClass>) -> Self {
        let bit = |class| CLASSES.iter().position(|known| *known == class);
        let bits = classes.into_iter().filter_map(bit);
        Self(bits.fold(0, |all, bit| all | (1 << bit)))
    }

    fn iter(self) -> impl Iterator<Item = AlgorithmClass> {
        let all = CLASSES.iter().enumerate();
        all.filter(move |(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, class)| *class)
    }

    pub(super) fn has(self, class: Option<AlgorithmClass>) -> bool {
        class.is_some_and(|class| self.iter().any(|allowed| allowed == class))
    }
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(AlgorithmClass::name).collect();
        match names.as_slice() {
            [] => f.write_str("no class, since profiles that hold together allow none in common"),
            names => f.write_str(&names.join(" or ")),
        }
    }
}

/// What a profile demands. Without any demand, everything passes.
///
/// ```
/// use waxseal::envelope::AlgorithmClass::{Classical, Hybrid, Symmetric};
/// use waxseal::ring::profile::Requirements;
///
/// let quantum_safe = Requirements::new().allowing([Symmetric, Hybrid]);
/// let hardware = Requirements::new().allowing([Symmetric, Classical]).in_hardware();
/// let both = quantum_safe.stricter(&hardware);
/// assert_eq!(both, hardware.stricter(&quantum_safe));
/// assert_eq!(both, Requirements::new().allowing([Symmetric]).in_hardware());
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// The profiles that they come from.
    pub(super) names: BTreeSet<String>,
    /// `None` if every class is allowed, also one that nobody knows.
    pub(super) classes: Option<Classes>,
    pub(super) hardware: bool,
    pub(super) wraps: BTreeSet<Wraps>,
    pub(super) context: BTreeSet<String>,
    pub(super) dek_age: Option<Duration>,
    pub(super) no_cache: bool,
    pub(super) stored_required: bool,
    pub(super) stored_forbidden: bool,
    pub(super) refuse_exposed: bool,
}

impl Requirements {
    /// No demands.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the profile that these are of, for errors and explanations.
    #[must_use]
    pub fn named(mut self, profile: &str) -> Self {
        self.names = BTreeSet::from([profile.to_owned()]);
        self
    }

    /// Allows wraps of these classes only. A wrap of an algorithm whose class nobody knows is then refused.
    #[must_use]
    pub fn allowing(mut self, classes: impl IntoIterator<Item = AlgorithmClass>) -> Self {
        self.classes = Some(Classes::of(classes));
        self
    }

    /// Demands KEKs that are kept in hardware.
    #[must_use]
    pub fn in_hardware(mut self) -> Self {
        self.hardware = true;
        self
    }

    /// Demands wraps, in addition to those demanded before.
    #[must_use]
    pub fn with_wraps(mut self, wraps: Wraps) -> Self {
        self.wraps.insert(wraps);
        self
    }

    /// Demands a context key, which must have a value that is not empty.
    #[must_use]
    pub fn with_context_key(mut self, key: &str) -> Self {
        self.context.insert(key.to_owned());
        self
    }

    /// Sets how long a DEK may be used, by caches and handles, after it was made or unwrapped. A stream that was begun may go on.
    #[must_use]
    pub fn with_dek_age(mut self, at_most: Duration) -> Self {
        self.dek_age = Some(at_most);
        self
    }

    /// Lets no cache keep a DEK.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        self.no_cache = true;
        self
    }

    /// Sets whether the context is stored in the envelope.
    #[must_use]
    pub fn with_stored_context(mut self, stored: StoredContext) -> Self {
        self.stored_required = stored == StoredContext::Required;
        self.stored_forbidden = stored == StoredContext::Forbidden;
        self
    }

    /// Refuses an envelope that names a KEK that was ever compromised, though another wrap opens it.
    #[must_use]
    pub fn refusing_exposed(mut self) -> Self {
        self.refuse_exposed = true;
        self
    }

    /// Returns what demands all that either demands: the meet. What passes it passes both.
    ///
    /// Two that contradict each other (no class in common, a stored context required and forbidden) let nothing pass.
    #[must_use]
    pub fn stricter(&self, other: &Self) -> Self {
        Self {
            names: self.names.union(&other.names).cloned().collect(),
            classes: match (self.classes, other.classes) {
                (Some(a), Some(b)) => Some(Classes(a.0 & b.0)),
                (a, b) => a.or(b),
            },
            hardware: self.hardware || other.hardware,
            wraps: self.wraps.union(&other.wraps).cloned().collect(),
            context: self.context.union(&other.context).cloned().collect(),
            dek_age: match (self.dek_age, other.dek_age) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            no_cache: self.no_cache || other.no_cache,
            stored_required: self.stored_required || other.stored_required,
            stored_forbidden: self.stored_forbidden || other.stored_forbidden,
            refuse_exposed: self.refuse_exposed || other.refuse_exposed,
        }
    }

    /// Returns the names of the profiles that they come from, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Returns the classes that are allowed, or `None` if all are, also those that nobody knows.
    #[must_use]
    pub fn classes(&self) -> Option<Vec<AlgorithmClass>> {
        self.classes.map(|classes| classes.iter().collect())
    }

    /// Returns whether KEKs must be kept in hardware.
    #[must_use]
    pub fn is_in_hardware(&self) -> bool {
        self.hardware
    }

    /// Returns which wraps there must be.
    pub fn wraps(&self) -> impl Iterator<Item = &Wraps> {
        self.wraps.iter()
    }

    /// Returns the context keys that must be there.
    pub fn context_keys(&self) -> impl Iterator<Item = &str> {
        self.context.iter().map(String::as_str)
    }

    /// Returns how long a DEK may be used.
    #[must_use]
    pub fn dek_age(&self) -> Option<Duration> {
        self.dek_age
    }

    /// Returns whether a cache may keep DEKs.
    #[must_use]
    pub fn allows_cache(&self) -> bool {
        !self.no_cache
    }

    /// Returns whether an envelope that names a compromised KEK is refused.
    #[must_use]
    pub fn refuses_exposed(&self) -> bool {
        self.refuse_exposed
    }

    /// Whose demands they are, for a person.
    pub(in crate::ring) fn whose(&self) -> String {
        let names: Vec<_> = self.names().collect();
        match names.as_slice() {
            [] => "the requirements".to_owned(),
            [name] => format!("profile {name}"),
            names => format!("profiles {}", names.join(" and ")),
        }
    }
}

impl fmt::Debug for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requirements")
            .field("names", &self.names)
            .field("classes", &self.classes())
            .field("hardware", &self.hardware)
            .field("wraps", &self.wraps)
            .field("context", &self.context)
            .field("dek_age", &self.dek_age)
            .field("no_cache", &self.no_cache)
            .field("stored_required", &self.stored_required)
            .field("stored_forbidden", &self.stored_forbidden)
            .field("refuse_exposed", &self.refuse_exposed)
            .finish()
    }
}
