//! Whether demands are met.

use std::collections::BTreeSet;

use super::Facts;
use super::requirements::{Requirements, Wraps};
use crate::key::Protection;
use crate::ring::Slot;
use crate::source::{Unmet, unmet};
use crate::value::context::EncryptionContext;
use crate::value::error::Result;

pub(super) const CLASSES: &str = "classes";
pub(super) const HARDWARE: &str = "hardware";
pub(super) const WRAPS: &str = "wraps";
pub(in crate::ring) const CONTEXT: &str = "context";
pub(super) const CACHE: &str = "cache";
pub(super) const STORED_CONTEXT: &str = "stored-context";
pub(super) const REFUSE_EXPOSED: &str = "refuse-exposed";

/// A property that a wrap has or lacks.
type Property = fn(&Requirements, &Facts) -> Option<Unmet>;

const PROPERTIES: [Property; 2] = [of_class, of_protection];

fn of_class(demands: &Requirements, key: &Facts) -> Option<Unmet> {
    let allowed = demands.classes?;
    let found = if !allowed.has(key.class) {
        match key.class {
            Some(class) => format!("is {}", class.name()),
            None => "has no known class".to_owned(),
        }
    } else {
        let former = key.former_classes.iter().find(|class| !allowed.has(**class))?;
        match former {
            Some(class) => format!(
                "was wrapped under a {} key before, and copies of that wrap may still be in backups",
                class.name()
            ),
            None => "was wrapped under a key of no known class before".to_owned(),
        }
    };
    Some(Unmet::new(CLASSES, format!("{found}; allowed is {allowed}")).by_key(&key.name))
}

fn of_protection(demands: &Requirements, key: &Facts) -> Option<Unmet> {
    if !demands.hardware || key.is_hardware() {
        return None;
    }
    let found = match key.protection {
        Protection::Software => "is kept in software, and not in hardware",
        _ => "is not known to be kept in hardware",
    };
    Some(Unmet::new(HARDWARE, found).by_key(&key.name))
}

impl Requirements {
    /// What a caller gives that no key can mend: the context, and whether it is stored.
    pub(in crate::ring) fn unmet_by_message(
        &self,
        context: &EncryptionContext,
        stores_context: bool,
    ) -> Vec<Unmet> {
        let mut found = Vec::new();
        for key in &self.context {
            if context.get(key).is_none_or(str::is_empty) {
                found.push(Unmet::new(
                    CONTEXT,
                    format!("the context key {key} needs a value"),
                ));
            }
        }
        if self.stored_required && !stores_context {
            found.push(Unmet::new(
                STORED_CONTEXT,
                "the envelope must store its context, and does not",
            ));
        }
        if self.stored_forbidden && stores_context {
            found.push(Unmet::new(
                STORED_CONTEXT,
                "the envelope stores its context, and must not",
            ));
        }
        found
    }

    /// What a whole section lacks, of which `threshold` wraps open. The weakest combination counts: a property holds if fewer wraps
    /// than open lack it.
    pub(in crate::ring) fn unmet_by_section(&self, threshold: usize, wraps: &[Facts]) -> Vec<Unmet> {
        let mut found = Vec::new();
        for property in PROPERTIES {
            let lacking: Vec<Unmet> = wraps.iter().filter_map(|key| property(self, key)).collect();
            if lacking.len() >= threshold.max(1) {
                found.extend(lacking);
            }
        }
        found.extend(self.unmet_by_names(wraps));
        found
    }

    /// What the wraps lack that opened together: one that has a property is enough.
    pub(in crate::ring) fn unmet_by_opening(&self, winning: &[Facts]) -> Vec<Unmet> {
        let mut found = Vec::new();
        for property in PROPERTIES {
            let lacking: Vec<Unmet> = winning.iter().filter_map(|key| property(self, key)).collect();
            if lacking.len() == winning.len() {
                found.extend(lacking);
            }
        }
        found
    }

    /// What is seen by which keys a section names: missing wraps, and compromised keys. That it names them proves nothing, so it only
    /// refuses.
    pub(in crate::ring) fn unmet_by_names(&self, wraps: &[Facts]) -> Vec<Unmet> {
        let mut found: Vec<Unmet> = self
            .wraps
            .iter()
            .filter_map(|wanted| missing(wanted, wraps))
            .collect();
        if self.refuse_exposed {
            for key in wraps {
                let why = match key.was_compromised {
                    Some(false) => continue,
                    Some(true) => "was compromised, and the envelope is wrapped under it",
                    None => "may have been compromised: only a key ring knows",
                };
                found.push(Unmet::new(REFUSE_EXPOSED, why).by_key(&key.name));
            }
        }
        found
    }

    /// Refuses if anything is unmet.
    pub(in crate::ring) fn refuse(&self, found: &[Unmet]) -> Result<()> {
        match unmet::refusal(&self.whose(), found) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Refuses a request for a cache if no cache may keep the answer.
    pub(in crate::ring) fn check_keeping(&self, is_for_keeping: bool) -> Result<()> {
        if !self.no_cache || !is_for_keeping {
            return Ok(());
        }
        self.refuse(&[Unmet::new(
            CACHE,
            "a cache asks, which must not keep the data key; a source around the key ring has to forward DekSource::may_keep",
        )])
    }
}

fn missing(wanted: &Wraps, wraps: &[Facts]) -> Option<Unmet> {
    let counting = wraps.iter().filter(|key| wanted.counts(key.slot.as_ref()));
    let is_by_slot = wanted.slots().next().is_some();
    let mut filled: BTreeSet<&Slot> = BTreeSet::new();
    let there: usize = if is_by_slot {
        filled.extend(counting.filter_map(|key| key.slot.as_ref()));
        filled.len()
    } else {
        let keks: BTreeSet<&str> = counting.filter_map(|key| key.kek.as_deref()).collect();
        keks.len()
    };
    if there >= wanted.count() {
        return None;
    }
    let names = |slots: Vec<&Slot>| slots.into_iter().map(Slot::as_str).collect::<Vec<_>>().join(", ");
    let detail = match is_by_slot {
        true => format!(
            "{} of the slots {} must have a wrap, and {there} have: there is none in {}",
            wanted.count(),
            names(wanted.slots().collect()),
            names(wanted.slots().filter(|slot| !filled.contains(slot)).collect())
        ),
        false => format!(
            "there must be wraps under {} different keys, and there are {there}",
            wanted.count()
        ),
    };
    Some(Unmet::new(WRAPS, detail))
}
