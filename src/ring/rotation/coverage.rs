//! Whether censuses have scanned what must be covered.

use super::evidence::{Evidence, Refusal};
use crate::ring::evidence::{Covered, PlaceCount};
use crate::ring::record::Settings;

/// Whether what must be covered was scanned by one of the censuses, and is not nothing.
pub(super) fn check_coverage(evidence: &Evidence, settings: &Settings) -> Refusal {
    let scanned = || evidence.parts().flat_map(|part| &part.covers);
    let is_covered = |demanded: &&Covered| scanned().any(|covered| covered.place.covers(demanded));
    if let Some(missing) = settings.must_cover.iter().find(|demanded| !is_covered(demanded)) {
        let not_scanned = match evidence.parts().count() {
            1 => "the census has not scanned",
            _ => "none of the censuses has scanned",
        };
        return Err(format!(
            "{not_scanned} {}, and the settings demand it (must_cover)",
            missing.to_string().escape_debug()
        ));
    }
    if evidence.parts().all(|part| part.allows_empty) {
        return Ok(());
    }
    // Its own count: what is in the places around it says nothing of a disk that is not mounted.
    let counted = |demanded: &Covered| {
        let own = scanned().filter(|covered| covered.place == *demanded);
        own.map(|covered| covered.items).max()
    };
    let mut demanded = settings.must_cover.iter();
    if let Some(empty) = demanded.find(|demanded| counted(demanded).unwrap_or(0) == 0) {
        let what = match counted(empty) {
            Some(_) => "saw not one envelope in",
            None => "is older than the demand, and has not counted by itself what is in",
        };
        return Err(format!(
            "the census {what} {}, and the settings demand that it is covered (must_cover): look whether the place is there, and run it again; \
             if somebody knows that it is empty, say so (--allow-empty)",
            empty.to_string().escape_debug()
        ));
    }
    check_items(evidence, scanned())
}

/// Refuses censuses that saw nothing at all.
fn check_items<'c>(evidence: &Evidence, scanned: impl Iterator<Item = &'c PlaceCount>) -> Refusal {
    // The ring's own branch keys say nothing of a store.
    let envelopes = |part: &Evidence| {
        let branches = part
            .covers
            .iter()
            .filter(|covered| covered.place == Covered::BranchKeys);
        let branches = branches.map(|covered| covered.items).fold(0, u64::saturating_add);
        part.items.saturating_sub(branches)
    };
    if evidence.parts().any(|part| envelopes(part) > 0) {
        return Ok(());
    }
    let scanned: Vec<_> = scanned.map(|covered| covered.place.to_string()).collect();
    let foreign = evidence.parts().map(|part| part.foreign);
    Err(format!(
        "the census saw not one envelope in {} ({} other items): that shows nothing, unless somebody knows that there is none and says so \
         (--allow-empty)",
        match scanned.is_empty() {
            true => "what it scanned".to_owned(),
            false => scanned.join(", ").escape_debug().to_string(),
        },
        foreign.fold(0, u64::saturating_add)
    ))
}
