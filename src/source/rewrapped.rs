//! The result of a re-wrap of a wrap section.

use std::fmt;
use std::sync::Arc;

use super::Unmet;
use super::lease::DekLease;
use crate::envelope::{KekRef, WrapAlgorithm, WrapSection, WrapSet, WrappedDek};
use crate::key::{Authorization, RewrapRules};
use crate::value::error::{Error, ErrorKind, Result};

/// What became of one stanza of the old wrap section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// The stanza is in the new wrap section as it was: it is not proven ours, or it was current.
    Kept,
    /// The stanza was ours, and new wraps take its place.
    Replaced,
    /// The stanza was not proven ours, and is gone because the [rules](RewrapRules) say so.
    Dropped,
}

/// One stanza of the old wrap section, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StanzaFate {
    /// The number of the stanza, counted from 0.
    pub index: usize,
    /// The KEK that unwrapped the stanza, or else the KEK that the stanza claims. The id is empty if the stanza hides it
    /// and nothing has unwrapped the stanza.
    pub kek: KekRef,
    /// The algorithm that the stanza claims.
    pub algorithm: WrapAlgorithm,
    /// What became of the stanza.
    pub fate: Fate,
}

impl fmt::Display for StanzaFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fate = match self.fate {
            Fate::Kept => "kept",
            Fate::Replaced => "replaced",
            Fate::Dropped => "dropped",
        };
        write!(f, "{}: {fate}", self.kek)
    }
}

/// The result of a re-wrap by a [`DekSource`](crate::DekSource): the new wraps, and what became of each old stanza.
#[derive(Clone, Debug)]
pub struct Rewrapped {
    wraps: WrapSet,
    made: usize,
    under: Vec<KekRef>,
    stanzas: Vec<StanzaFate>,
    lease: Option<Arc<DekLease>>,
    unmet: Vec<Unmet>,
    authorizations: Vec<Authorization>,
}

impl Rewrapped {
    /// Makes a result of the wraps that were made, followed by the kept stanzas of `section`, an any-of section. `fates`
    /// has one entry for each stanza, in order.
    ///
    /// # Errors
    /// - `InvalidArgument` if there are not as many fates as stanzas, or if no wrap is left
    /// - `OverLimit` for more than 16 wraps in all
    pub fn new(section: &WrapSection<'_>, made: Vec<WrappedDek>, fates: &[Fate]) -> Result<Self> {
        if fates.len() != section.count() {
            return Err(Error::argument(format!(
                "a re-wrap needs a fate for each of the {} stanzas, got {}",
                section.count(),
                fates.len()
            )));
        }
        let count = made.len();
        let under = made.iter().map(|wrapped| wrapped.kek().clone()).collect();
        let mut wraps = made;
        let mut stanzas = Vec::with_capacity(fates.len());
        for (index, (stanza, fate)) in section.stanzas().zip(fates).enumerate() {
            if *fate == Fate::Kept {
                wraps.push(WrappedDek::from_ref(&stanza));
            }
            stanzas.push(StanzaFate {
                index,
                kek: KekRef::trusted(stanza.provider, stanza.kek_id, stanza.kek_version),
                algorithm: stanza.algorithm,
                fate: *fate,
            });
        }
        Ok(Self {
            wraps: WrapSet::any_of(wraps)?,
            made: count,
            under,
            stanzas,
            lease: None,
            unmet: Vec::new(),
            authorizations: Vec::new(),
        })
    }

    /// Returns every stanza as it was.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new). A section that was parsed causes none.
    pub fn unchanged(section: &WrapSection<'_>) -> Result<Self> {
        Self::new(section, Vec::new(), &vec![Fate::Kept; section.count()])
    }

    /// Sets which KEKs wrap now, if the wraps do not show it: because their ids are hidden, or because they are the old
    /// wraps.
    #[must_use]
    pub fn wrapped_under(mut self, keks: Vec<KekRef>) -> Self {
        self.under = keks;
        self
    }

    /// Sets the KEK that unwrapped a stanza.
    #[must_use]
    pub fn unwrapped_by(mut self, index: usize, kek: KekRef) -> Self {
        if let Some(stanza) = self.stanzas.get_mut(index) {
            stanza.kek = kek;
        }
        self
    }

    /// Adds the lease of the DEK, which was compared with the body's commitment. After a re-wrap at the KMS there is no
    /// lease.
    #[must_use]
    pub fn with_lease(mut self, lease: Arc<DekLease>) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Sets what the profile demands and the new wraps do not have, if the rules let them
    /// [fall short](RewrapRules::falling_short).
    #[must_use]
    pub fn with_unmet(mut self, unmet: Vec<Unmet>) -> Self {
        self.unmet = unmet;
        self
    }

    /// Sets the authorizations under which a key was used that is otherwise refused.
    #[must_use]
    pub fn with_authorizations(mut self, authorizations: Vec<Authorization>) -> Self {
        self.authorizations = authorizations;
        self
    }

    /// Returns the authorizations under which a key was used that is otherwise refused, such as the approval for a revoked key of a key
    /// ring. An audit of re-wraps finds the ticket, the approver, the key and the signed document here.
    #[must_use]
    pub fn authorizations(&self) -> &[Authorization] {
        &self.authorizations
    }

    /// Returns what the profile demands and the new wraps do not have. Empty if there is no profile, or all of it is met.
    #[must_use]
    pub fn unmet(&self) -> &[Unmet] {
        &self.unmet
    }

    /// Returns the new wraps: first those that were made, then those that were kept.
    #[must_use]
    pub fn wraps(&self) -> &WrapSet {
        &self.wraps
    }

    /// Takes out the new wraps.
    #[must_use]
    pub fn into_wraps(self) -> WrapSet {
        self.wraps
    }

    /// Returns the wraps that were made.
    #[must_use]
    pub fn made(&self) -> &[WrappedDek] {
        self.wraps.wraps().get(..self.made).unwrap_or_default()
    }

    /// Returns the KEKs and versions that wrap now, as far as this re-wrap has shown them.
    #[must_use]
    pub fn under(&self) -> &[KekRef] {
        &self.under
    }

    /// Returns what became of each stanza of the old wrap section, in its order.
    #[must_use]
    pub fn stanzas(&self) -> &[StanzaFate] {
        &self.stanzas
    }

    /// Returns whether the new wraps differ from the old wraps.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.made > 0 || self.stanzas.iter().any(|stanza| stanza.fate != Fate::Kept)
    }

    /// Returns the lease of the DEK, if the DEK was unwrapped here. Returns `None` after a re-wrap at the KMS: then
    /// nobody has compared the DEK with the body.
    #[must_use]
    pub fn lease(&self) -> Option<&Arc<DekLease>> {
        self.lease.as_ref()
    }

    /// Refuses what the rules do not allow.
    ///
    /// # Errors
    /// `WouldWeaken` if there are fewer wraps than there were KEKs before, or if a stanza was dropped.
    pub fn check(&self, rules: RewrapRules<'_>) -> Result<()> {
        let with_fate = |fate| self.stanzas.iter().filter(move |stanza| stanza.fate == fate);
        if with_fate(Fate::Dropped).next().is_some() && !rules.drops_unknown() {
            return Err(Error::new(ErrorKind::WouldWeaken {
                what: "out a wrap that is not ours",
            }));
        }
        // One KEK may stand there in several versions, and wrap more than once.
        let replaced = distinct(with_fate(Fate::Replaced).map(|stanza| &stanza.kek));
        // With hidden ids only `under` says which KEKs the new wraps are of.
        let left = if self.under.len() == self.made {
            distinct(self.under.iter())
        } else {
            distinct(self.made().iter().map(WrappedDek::kek))
        };
        if replaced > left && !rules.leaves_fewer_wraps() {
            let detail = format!(
                "{replaced} keys open it now, and {left} would be left; wrap with as many keys, or allow fewer with RewrapRules::leaving_fewer_wraps",
            );
            return Err(Error::new(ErrorKind::WouldWeaken {
                what: "fewer wraps than it found",
            })
            .with_detail(detail));
        }
        Ok(())
    }
}

/// How many keys these are.
fn distinct<'k>(keks: impl Iterator<Item = &'k KekRef>) -> usize {
    let mut seen: Vec<&KekRef> = Vec::new();
    for kek in keks {
        if !seen.iter().any(|other| other.is_same_key(kek)) {
            seen.push(kek);
        }
    }
    seen.len()
}

/// Whether a wrap section is as a re-wrap would leave it, as far as that is known without a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Currency {
    /// Its wraps are certainly under the KEKs that wrap now, each once, in the version that is known to wrap now.
    Current,
    /// A re-wrap would change it.
    Stale,
    /// Only an unwrap tells: an id is hidden or not unique in the world, or it is not known yet which version wraps now.
    Unknown,
}
