//! What has to be known of a key before nothing can be opened with it anymore.

use std::fmt;

use super::moves::stopped_wrapping;
use super::refused;
use crate::ring::evidence::{Covered, PlaceCount};
use crate::ring::record::{KeyRecord, Move, Settings};
use crate::ring::{AuthorityKey, RecordId, State, Time};
use crate::value::error::Result;

/// What a census has found under one key. A census receipt returns it, after its signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// The key.
    pub key: RecordId,
    /// The revision of the ring that the census had read before the scan began.
    pub revision: u64,
    /// When the scan began, by the earlier of the clocks of the inventory and of the machine that ran it.
    pub began: Time,
    /// Whether everything was scanned that was to be.
    pub whole: bool,
    /// What was scanned, and how many envelopes were counted there.
    pub covers: Vec<PlaceCount>,
    /// How many envelopes were counted, under whichever key.
    pub items: u64,
    /// How many items were no envelopes.
    pub foreign: u64,
    /// Items that only this key opens.
    pub sole: u64,
    /// Items that this key and another one open.
    pub shared: u64,
    /// Items that may be under any key: their KEK has no id, or one that the ring does not know.
    pub unknown: u64,
    /// Items that could not be read.
    pub failed: u64,
    /// Where items were seen that are under this key, unknown or failed: some of them, for people.
    pub seen: Vec<String>,
    /// SHA-256 of the receipt, in hexadecimal digits.
    pub digest: String,
    /// Whether it counts though not one envelope was seen, or none in a place that must be covered.
    pub allows_empty: bool,
    /// Who signed the receipt. It counts only while the settings list the signer as an authority or as a census key. `None` if it is of no
    /// receipt: then whoever made it answers for it.
    pub signer: Option<AuthorityKey>,
}

impl Evidence {
    /// A whole scan that found nothing under this key, and `items` envelopes under others.
    #[must_use]
    pub fn nothing_under(key: RecordId, (revision, began): (u64, Time), items: u64, digest: String) -> Self {
        Self {
            key,
            revision,
            began,
            whole: true,
            covers: Vec::new(),
            items,
            foreign: 0,
            sole: 0,
            shared: 0,
            unknown: 0,
            failed: 0,
            seen: Vec::new(),
            digest,
            allows_empty: false,
            signer: None,
        }
    }

    /// Lets it count though the census saw not one envelope, or none in a place that must be covered: it is empty, and somebody knows that it should
    /// be.
    #[must_use]
    pub fn allowing_empty(self) -> Self {
        Self {
            allows_empty: true,
            ..self
        }
    }

    /// Returns how many items would be left that nothing is known to open.
    #[must_use]
    pub fn left(&self) -> u64 {
        let counts = [self.sole, self.shared, self.unknown, self.failed];
        counts.into_iter().fold(0, u64::saturating_add)
    }

    /// Whether it says something of the key: that something is under it, or by a scan of everything that nothing is.
    pub(super) fn says_something(&self, key: &KeyRecord, settings: &Settings, now: Time) -> bool {
        let is_timely = self.check_time(key, settings, now).is_ok();
        is_timely && (self.left() > 0 || (self.whole && self.check_coverage(settings).is_ok()))
    }

    /// Refuses what does not show that nothing is under the key.
    pub(super) fn check(&self, key: &KeyRecord, settings: &Settings, now: Time) -> Result<()> {
        let shown = self
            .check_time(key, settings, now)
            .and_then(|()| match self.whole {
                true => self.check_coverage(settings),
                false => Err("the census did not scan everything".to_owned()),
            })
            .and_then(|()| self.check_counts());
        shown.map_err(|what| refused(format!("the key {}: {what}", key.id)))
    }

    /// Whether the scan began after everything that could still be sealed under the key, and its signer is still believed.
    fn check_time(&self, key: &KeyRecord, settings: &Settings, now: Time) -> Refusal {
        if self.key != key.id {
            return Err(format!("the evidence is about the key {}", self.key));
        }
        let may_sign = |signer: AuthorityKey| settings.may_sign_receipts().any(|key| key == signer);
        if let Some(signer) = self.signer.filter(|signer| !may_sign(*signer)) {
            return Err(format!(
                "the census receipt is signed by {signer}, which is neither an authority of the ring nor one of its census keys anymore"
            ));
        }
        let Some(stopped) = stopped_wrapping(key) else {
            return Err("it still wraps, so no census can be the last".to_owned());
        };
        // The order of revisions is signed; whatever clocks say, what was read before the key stopped shows nothing.
        if self.revision < stopped.revision {
            return Err(format!(
                "the census began at revision {} of the ring, and the key wrapped until revision {}: run it again",
                self.revision, stopped.revision
            ));
        }
        // What somebody has done since with the key contradicts it: a reinstatement, or it is a census of when the key still opened.
        if let Some(opened) = last_opening(key)
            && self.revision < opened.revision
        {
            let what = match opened.to {
                State::Deprecated => "was reinstated",
                State::Compromised => "was revoked",
                _ => "was retired",
            };
            return Err(format!(
                "the census began at revision {} of the ring, and the key {what} at revision {}: run another one",
                self.revision, opened.revision
            ));
        }
        if self.began > now.saturating_add(settings.clock_tolerance.at_most()) {
            return Err(format!(
                "the census says that it began at {}, and it is {now}: a clock was wrong; run it again",
                self.began
            ));
        }
        if settings.corrected(self.began, self.revision) != self.began {
            return Err(format!(
                "the census says that it began at {}, and the clock of the ring was set back since then: run it again",
                self.began
            ));
        }
        let after = settings.quiet_after(stopped.at, stopped.revision);
        if self.began <= after {
            return Err(format!(
                "the census began at {}, and only one that began after {after} counts: the key stopped wrapping at {}, and caches and streams may \
                 have sealed under it for longer, as far as the settings allow: {}",
                self.began,
                stopped.at,
                settings.parts_of_wait()
            ));
        }
        Ok(())
    }

    /// Whether what must be covered was scanned, and is not nothing.
    fn check_coverage(&self, settings: &Settings) -> Refusal {
        let is_covered =
            |demanded: &&Covered| self.covers.iter().any(|covered| covered.place.covers(demanded));
        if let Some(missing) = settings.must_cover.iter().find(|demanded| !is_covered(demanded)) {
            return Err(format!(
                "the census has not scanned {}, and the settings demand it (must_cover)",
                missing.to_string().escape_debug()
            ));
        }
        if self.allows_empty {
            return Ok(());
        }
        // Its own count: what is in the places around it says nothing of a disk that is not mounted.
        let counted = |demanded: &Covered| {
            let own = self.covers.iter().filter(|covered| covered.place == *demanded);
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
        if self.items > 0 {
            return Ok(());
        }
        let scanned: Vec<_> = self
            .covers
            .iter()
            .map(|covered| covered.place.to_string())
            .collect();
        Err(format!(
            "the census saw not one envelope in {} ({} other items): that shows nothing, unless somebody knows that there is none and says so \
             (--allow-empty)",
            match scanned.is_empty() {
                true => "what it scanned".to_owned(),
                false => scanned.join(", ").escape_debug().to_string(),
            },
            self.foreign
        ))
    }

    fn check_counts(&self) -> Refusal {
        if self.left() == 0 {
            return Ok(());
        }
        Err(format!(
            "{} would become unreadable, and {} would lose a wrap; under keys that nobody knows: {}; could not be read: {}{}",
            Items(self.sole),
            Items(self.shared),
            Items(self.unknown),
            Items(self.failed),
            Seen(&self.seen)
        ))
    }
}

/// The last move after which a census has to have read the ring: of a key that opens, the one by which it opens again; of one that does not, the
/// one by which it stopped.
fn last_opening(key: &KeyRecord) -> Option<&Move> {
    let is_it = |entry: &&Move| match (entry.from, entry.to) {
        (Some(State::Retired), State::Deprecated) => true,
        (from, to @ (State::Retired | State::Compromised)) => from != Some(to),
        _ => false,
    };
    key.history.iter().rev().find(is_it)
}

/// Why evidence does not count.
type Refusal = std::result::Result<(), String>;

struct Items(u64);

impl fmt::Display for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 item"),
            count => write!(f, "{count} items"),
        }
    }
}

struct Seen<'s>(&'s [String]);

impl fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().take(5).enumerate() {
            let before = if index == 0 { "; for example in " } else { ", " };
            write!(f, "{before}{}", place.escape_debug())?;
        }
        Ok(())
    }
}

/// What a census has found, for each key of a ring: a receipt whose signature was verified.
pub trait EvidenceSource: Send + Sync {
    /// Returns what it says about a key. `None` if it says nothing, not even that nothing is under it.
    fn about(&self, key: &KeyRecord) -> Option<Evidence>;
}

/// Why a key may be retired.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Grounds<'g> {
    /// A census found nothing under it.
    Evidence(&'g Evidence),
    /// Its overlap is over, and the settings say that this suffices.
    OverlapEnd,
    /// Somebody takes the blame.
    Force,
}
