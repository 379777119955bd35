//! What profiles make of a ring's keys.

use std::sync::Arc;

use super::core::Core;
use super::key::Key;
use super::keys::{Kek, ScopeKeys};
use crate::envelope::{BodyHead, KekRef, WrapRef, WrapSection};
use crate::key::Request;
use crate::ring::profile::{CONTEXT, ExplainedWrap, Explanation, Facts, Requirements, Rewrap};
use crate::source::{DekLease, Fate, Rewrapped, Unmet};
use crate::value::error::{Error, Result};

impl Core {
    /// What the profiles demand of a request, or `None` if there are no profiles.
    ///
    /// # Errors
    /// `Configuration` if the request names a profile that is not there; `ProfileRefused` if none is chosen, and if a cache asks that must
    /// not keep the answer.
    pub(super) fn demands(
        &self,
        keys: &ScopeKeys,
        request: &Request<'_>,
    ) -> Result<Option<Arc<Requirements>>> {
        match (&self.options.profiles, request.profile()) {
            (None, None) => Ok(None),
            (None, Some(name)) => Err(Error::configuration(format!(
                "the request names the profile {}, and the key ring has no profiles: name a file of them, by `profiles` in ring.toml, --profiles or KeyRingBuilder::profiles",
                name.escape_debug()
            ))),
            (Some(profiles), name) => {
                let demands = profiles.requirements(name, Some(&keys.scope), request.context())?;
                demands.check_keeping(request.is_for_keeping())?;
                Ok(Some(demands))
            }
        }
    }

    /// Whether a cache may keep what is answered.
    pub(super) fn may_keep(&self, request: &Request<'_>) -> bool {
        let Some(profiles) = self
            .options
            .profiles
            .as_ref()
            .filter(|profiles| profiles.may_forbid_cache())
        else {
            return true;
        };
        let Ok(scope) = self.settings().scope_template.scope_of(request.context()) else {
            return false;
        };
        let demands = profiles.requirements(request.profile(), Some(&scope), request.context());
        demands.is_ok_and(|demands| demands.allows_cache())
    }

    /// Whether wraps under the keys that wrap now would meet what is demanded.
    pub(super) fn is_met(&self, keys: &ScopeKeys, wraps: WrapSection<'_>, request: &Request<'_>) -> bool {
        let Ok(demands) = self.demands(keys, request) else {
            return false;
        };
        let Some(demands) = demands else { return true };
        let Ok(mut made) = keys.made(request) else {
            return false;
        };
        made.extend(keys.strangers(wraps, request));
        demands.unmet_by_section(1, &made).is_empty()
            && demands
                .unmet_by_message(request.context(), request.stores_context())
                .is_empty()
    }
}

impl Kek {
    /// Why a profile does not let it open, if none of its keys that may open has what is demanded.
    pub(super) fn refused_by(&self, demands: &Requirements) -> Option<Error> {
        let mut unmet = Vec::new();
        for key in self.keys.iter().filter(|key| key.unwraps()) {
            let of_key = demands.unmet_by_opening(&[key.facts()]);
            if of_key.is_empty() {
                return None;
            }
            unmet.extend(of_key);
        }
        demands.refuse(&unmet).err()
    }
}

impl ScopeKeys {
    /// The keys that wrap for a request.
    fn made(&self, request: &Request<'_>) -> Result<Vec<Facts>> {
        let keys = self.to_wrap(request.context().digest())?;
        Ok(keys.into_iter().map(|key| key.facts()).collect())
    }

    /// The keys that a stanza may be under, by what it names.
    fn named_by<'k>(&'k self, stanza: WrapRef<'k>) -> impl Iterator<Item = &'k Arc<Key>> {
        let keks = self.keks.iter().filter(move |kek| kek.may_have_wrapped(stanza));
        keks.flat_map(move |kek| {
            let is_any = stanza.kek_version.is_empty();
            let versions = (!is_any).then(|| kek.versions(stanza.kek_version));
            let all = is_any.then(|| kek.keys.iter());
            versions.into_iter().flatten().chain(all.into_iter().flatten())
        })
    }

    fn is_exposed(&self, stanza: WrapRef<'_>) -> bool {
        self.named_by(stanza).any(|key| key.was_compromised())
    }

    /// The keys that a wrap section may be under, by what it names, and that were compromised once.
    pub(super) fn exposed(&self, wraps: WrapSection<'_>) -> Vec<Arc<Key>> {
        let mut exposed: Vec<Arc<Key>> = Vec::new();
        let mut keys = self.keks.iter().flat_map(|kek| &kek.keys);
        if !keys.any(|key| key.was_compromised()) {
            return exposed;
        }
        for stanza in wraps.stanzas() {
            for key in self.named_by(stanza).filter(|key| key.was_compromised()) {
                if !exposed.iter().any(|other| other.id == key.id) {
                    exposed.push(Arc::clone(key));
                }
            }
        }
        exposed
    }

    fn named(&self, wraps: WrapSection<'_>) -> Vec<Facts> {
        let mut named = Vec::new();
        for stanza in wraps.stanzas() {
            named.extend(self.named_by(stanza).map(|key| key.facts()));
        }
        named
    }

    /// What is known of a KEK that has unwrapped.
    fn opened(&self, by: &KekRef) -> Option<Facts> {
        let keks = self.keks.iter().filter(|kek| {
            let mut keys = kek.keys.iter();
            keys.any(|key| super::to_kek(key).is_same_key(by))
        });
        let keys = keks.flat_map(|kek| &kek.keys).filter(|key| {
            let version = key.provenance.version.as_str();
            by.version().is_empty() || version.is_empty() || version == by.version()
        });
        Facts::merged(keys.map(|key| key.facts()))
    }

    /// The stanzas that no key of the scope has made, and that a re-wrap therefore keeps.
    fn strangers(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Vec<Facts> {
        if request.rewrap_rules().drops_unknown() {
            return Vec::new();
        }
        let stanzas = wraps.stanzas().enumerate();
        let strange =
            stanzas.filter(|(_, stanza)| !self.keks.iter().any(|kek| kek.may_have_wrapped(*stanza)));
        strange
            .map(|(index, stanza)| Facts::unknown(index, stanza, false))
            .collect()
    }

    /// Refuses to seal what the profile forbids, before any call.
    pub(super) fn check_sealing(&self, demands: &Requirements, request: &Request<'_>) -> Result<()> {
        let mut unmet = demands.unmet_by_message(request.context(), request.stores_context());
        unmet.extend(demands.unmet_by_section(1, &self.made(request)?));
        demands.refuse(&unmet)
    }

    /// Refuses to open what the profile forbids whatever opens it, before any call.
    pub(super) fn check_opening(
        &self,
        demands: &Requirements,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<()> {
        let mut unmet = demands.unmet_by_message(request.context(), body.has_stored_context());
        unmet.extend(demands.unmet_by_names(&self.named(wraps)));
        demands.refuse(&unmet)
    }

    /// Refuses a DEK that was unwrapped by a key that lacks what is demanded: one version of a KEK, of which others have it.
    pub(super) fn check_opened(&self, demands: &Requirements, lease: &DekLease) -> Result<()> {
        let keks = lease.keks().iter();
        let winning: Vec<Facts> = keks
            .map(|kek| self.opened(kek).unwrap_or_else(|| Facts::nothing(kek)))
            .collect();
        demands.refuse(&demands.unmet_by_opening(&winning))
    }

    pub(super) fn begin_rewrap<'a>(
        &self,
        demands: &'a Requirements,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'a>,
    ) -> Result<Rewrap<'a>> {
        let strangers = self.strangers(wraps, request);
        Rewrap::begin(demands, request, body, self.made(request)?, strangers)
    }

    pub(super) fn end_rewrap(
        &self,
        plan: Rewrap<'_>,
        wraps: WrapSection<'_>,
        rewrapped: Rewrapped,
    ) -> Result<Rewrapped> {
        let by = rewrapped.lease().and_then(|lease| lease.keks().first());
        // After a re-wrap at the KMS there is one stanza, under the key that it names.
        let by = by.or_else(|| rewrapped.stanzas().first().map(|stanza| &stanza.kek));
        let opened = by.and_then(|by| self.opened(by));
        let mut kept = Vec::new();
        for ((index, stanza), fate) in wraps.stanzas().enumerate().zip(rewrapped.stanzas()) {
            let mut under = rewrapped.under().iter();
            let is_current = !rewrapped.is_changed() && under.any(|kek| kek.is_same_key(&fate.kek));
            if fate.fate == Fate::Kept && !is_current {
                kept.push(Facts::unknown(index, stanza, self.is_exposed(stanza)));
            }
        }
        plan.end(rewrapped, opened.as_ref(), kept)
    }

    /// What a profile makes of an envelope, by what the envelope says of itself.
    pub(super) fn explain(
        &self,
        demands: Arc<Requirements>,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Explanation {
        let of_message = demands.unmet_by_message(request.context(), body.has_stored_context());
        let (mut explained, mut section) = (Vec::new(), Vec::new());
        for (index, stanza) in wraps.stanzas().enumerate() {
            let keys: Vec<_> = self.named_by(stanza).collect();
            let facts = Facts::merged(keys.iter().map(|key| key.facts()))
                .unwrap_or_else(|| Facts::unknown(index, stanza, false));
            let kek = KekRef::trusted(stanza.provider, stanza.kek_id, stanza.kek_version);
            let newest = keys
                .iter()
                .max_by_key(|key| key.id)
                .map(|key| (&***key as &crate::ring::KeyRecord, key.state));
            explained.push(ExplainedWrap::new(
                &demands,
                index,
                (kek, stanza.algorithm),
                newest,
                &facts,
            ));
            section.push(facts);
        }
        let mut opening = of_message.clone();
        opening.extend(demands.unmet_by_names(&self.named(wraps)));
        let usable = || explained.iter().filter(|wrap| wrap.unwraps());
        if usable().all(|wrap| !wrap.unmet.is_empty()) {
            opening.extend(usable().flat_map(|wrap| wrap.unmet.iter().cloned()));
        }
        let mut envelope = of_message.clone();
        envelope.extend(demands.unmet_by_section(usize::from(wraps.threshold()), &section));
        let sealing = self.made(request).ok().map(|made| {
            // Whether the context will be stored, nobody has said.
            let of_context = of_message.iter().filter(|unmet| unmet.requirement == CONTEXT);
            let mut unmet: Vec<Unmet> = of_context.cloned().collect();
            unmet.extend(demands.unmet_by_section(1, &made));
            unmet
        });
        Explanation {
            requirements: demands,
            wraps: explained,
            opening,
            envelope,
            sealing,
        }
    }
}
