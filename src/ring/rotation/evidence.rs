//! What has to be known of a key before nothing can be opened with it anymore.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::coverage::check_coverage;
use super::moves::stopped_wrapping;
use super::refused;
use crate::ring::evidence::PlaceCount;
use crate::ring::record::{KeyRecord, Move, Settings};
use crate::ring::{AuthorityKey, RecordId, State, Time};
use crate::value::error::Result;

/// What stands before the digests of several receipts.
const SEVERAL: &[u8] = b"waxseal ring receipts v1\n";

/// What a census has found under one key. A census receipt returns it, after its signature was verified.
///
/// What must be covered can be more than one machine sees. [`and`](Self::and) joins what several censuses have found: each of them must count by
/// itself, and together they must have covered it.
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
    /// What other censuses have found under the same key, each without others.
    pub(in crate::ring) others: Vec<Evidence>,
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
            others: Vec::new(),
        }
    }

    /// Adds what another census has found under the same key, in other places. Each of the two must show by itself that its own scan was whole,
    /// began late enough and found nothing; what must be covered is what they have scanned together. The same evidence counts once.
    ///
    /// Two censuses run at different times. An envelope that is moved meanwhile from a place of the later one to a place of the earlier one is seen
    /// by neither: count places between which envelopes move in one census.
    #[must_use]
    pub fn and(mut self, mut other: Self) -> Self {
        let more = std::mem::take(&mut other.others);
        for other in std::iter::once(other).chain(more) {
            if !self.parts().any(|part| *part == other) {
                self.others.push(other);
            }
        }
        self
    }

    /// Each census by itself.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// Returns what the history of a key keeps of it: the digest of the receipt. Of several, SHA-256 of the line `waxseal ring receipts v1` and
    /// the digests, in ascending order, each on a line of its own, in hexadecimal digits.
    #[must_use]
    pub fn history_digest(&self) -> String {
        if self.others.is_empty() {
            return self.digest.clone();
        }
        let mut digests: Vec<&str> = self.parts().map(|part| part.digest.as_str()).collect();
        digests.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(SEVERAL);
        for digest in digests {
            hash.update(digest.as_bytes());
            hash.update(b"\n");
        }
        base16ct::lower::encode_string(&hash.finalize())
    }

    /// Lets it count though the census saw not one envelope, or none in a place that must be covered: it is empty, and somebody knows that it should
    /// be.
    #[must_use]
    pub fn allowing_empty(mut self) -> Self {
        self.allows_empty = true;
        for other in &mut self.others {
            other.allows_empty = true;
        }
        self
    }

    /// Returns how many items would be left that nothing is known to open. What several censuses have seen counts for each of them.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.parts().map(Self::own_left).fold(0, u64::saturating_add)
    }

    /// Whether it says something of the key: that something is under it, or by a scan of everything that nothing is.
    pub(super) fn says_something(&self, key: &KeyRecord, settings: &Settings, now: Time) -> bool {
        let is_timely = |part: &Self| part.check_time(key, settings, now).is_ok();
        let finds = |part: &Self| part.own_left() > 0 && is_timely(part);
        self.parts().any(finds)
            || (self.parts().all(|part| part.whole && is_timely(part))
                && check_coverage(self, settings).is_ok())
    }

    /// Refuses what does not show that nothing is under the key.
    pub(super) fn check(&self, key: &KeyRecord, settings: &Settings, now: Time) -> Result<()> {
        let of_parts = |check: &dyn Fn(&Self) -> Refusal| {
            let mut parts = self.parts();
            parts.try_for_each(|part| check(part).map_err(|what| self.named(part, what)))
        };
        let shown = of_parts(&|part| part.check_time(key, settings, now))
            .and_then(|()| of_parts(&Self::check_whole))
            .and_then(|()| check_coverage(self, settings))
            .and_then(|()| of_parts(&Self::check_counts));
        shown.map_err(|what| refused(format!("the key {}: {what}", key.id)))
    }

    /// Says which of several it is about.
    fn named(&self, part: &Self, what: String) -> String {
        match self.others.is_empty() {
            true => what,
            false => format!(
                "{what} (the receipt whose digest is {})",
                part.digest.escape_debug()
            ),
        }
    }

    fn check_whole(&self) -> Refusal {
        match self.whole {
            true => Ok(()),
            false => Err("the census did not scan everything".to_owned()),
        }
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

    fn own_left(&self) -> u64 {
        let counts = [self.sole, self.shared, self.unknown, self.failed];
        counts.into_iter().fold(0, u64::saturating_add)
    }

    fn check_counts(&self) -> Refusal {
        if self.own_left() == 0 {
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
pub(super) type Refusal = std::result::Result<(), String>;

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

/// Several receipts, of which each must count by itself, and which together have covered what must be covered.
impl<E: EvidenceSource> EvidenceSource for Vec<E> {
    fn about(&self, key: &KeyRecord) -> Option<Evidence> {
        let said = self.iter().filter_map(|one| one.about(key));
        said.reduce(Evidence::and)
    }
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
