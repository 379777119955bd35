//! The settings of a ring, which its authority signs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BASE, BRANCHES, NamedReader, invalid};
use crate::ring::authority::AuthorityKey;
use crate::ring::clock::{CHANGE, COMMIT};
use crate::ring::evidence::Covered;
use crate::ring::{KeyKind, Period, Preset, RecordId, Scope, ScopeTemplate, Time};
use crate::value::error::{Error, Result};

/// The greatest number of readers that may be demanded, and of keys of each kind.
const MAX_LISTED: usize = 1000;
/// The greatest number of provisioners: each reader tries their keys.
const MAX_PROVISIONERS: usize = 16;
/// How many corrections of the clock are kept.
const MAX_CORRECTIONS: usize = 32;
/// An hour in seconds.
const HOUR: u32 = 3600;
/// How many times the age of a lease a stream may go on, if nobody says otherwise.
const LEASES_IN_A_STREAM: u32 = 12;
/// The longest that each of the periods may be that evidence waits for, in days.
const MAX_WAIT_DAYS: u64 = 3660;

/// What retires a deprecated key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RetireBy {
    /// A census receipt that finds nothing under it.
    #[default]
    Evidence,
    /// The end of its overlap.
    OverlapEnd,
}

/// Who may make the first key of a scope, and under which parent: the branch keys that an application makes when it meets a scope for the first time.
///
/// A provisioner has no other right: it signs no head, and what it signs is believed only for a scope of which the ring has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Provisioning {
    /// The scope whose active key in the slot `default` wraps the new keys. The template must not make it.
    pub parent: Scope,
    /// The public keys of the provisioners: 1 to 16.
    pub keys: Vec<AuthorityKey>,
    /// Whether no more keys are made. Those that were made are used on. The keys of provisioners and the parent can be taken out of the settings
    /// when the ring has taken over all that they have made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// The revision that closed it. A key that names that one or a later one was made afterwards, and is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closed_since: Option<u64>,
}

impl Provisioning {
    /// Lets these provisioners make the first key of each scope, under the active key of the scope `parent`.
    #[must_use]
    pub fn on_first_use(parent: Scope, keys: Vec<AuthorityKey>) -> Self {
        Self {
            parent,
            keys,
            closed: false,
            closed_since: None,
        }
    }
}

/// Somebody has set the time of a ring back, after a change was signed by a wrong clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClockCorrection {
    /// The revision of the ring that it made. What is of an earlier revision happened before.
    pub revision: u64,
    /// The time that the ring had.
    pub from: Time,
    /// The time that it was.
    pub to: Time,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// How long what was done under former settings may have an effect, if they allowed more than the present ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FormerWait {
    /// When they were last replaced, and with which revision.
    at: Time,
    revision: u64,
    /// The longest that they allowed.
    wait: Period,
}

/// The settings of a ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// The version of the library that may use them.
    pub(crate) min_reader: u32,
    /// The ring.
    pub(crate) ring: RecordId,
    /// Who may sign records: one key, and during a succession the one before, too.
    pub(crate) authorities: Vec<AuthorityKey>,
    /// Who may sign census receipts, beside the authority.
    #[serde(default)]
    pub census_keys: Vec<AuthorityKey>,
    /// Who may sign [approvals](crate::ring::Approval) of the use of a revoked or retired key. None by default. None of them is an
    /// authority or a census key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<AuthorityKey>,
    /// Which scope a context belongs to.
    #[serde(default)]
    pub scope_template: ScopeTemplate,
    /// Who may make the first key of a scope. Nobody but the authority by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<Provisioning>,
    /// Scopes whose keys may serve contexts whose own scope has never had a key, in processes that name one of them: see
    /// [`KeyRingBuilder::otherwise`](crate::ring::KeyRingBuilder::otherwise). None by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub otherwise: Vec<Scope>,
    /// For how long after the last successful read of the inventory a process seals. 60 seconds by default.
    pub max_stale: Period,
    /// For how long it opens. Not shorter than `max_stale`.
    pub max_stale_open: Period,
    /// How old a lease of a data key may get, in caches and handles. 5 minutes by default.
    pub lease_age: Period,
    /// For how long a stream that was begun may go on after the end of its lease. By default 12 times the `lease_age` that a new ring has, and at
    /// most 1 hour; a later change of `lease_age` does not change it.
    pub stream_age: Period,
    /// How long what was written to a store may be invisible to a census: replication, buffers. None by default.
    pub store_delay: Period,
    /// How far the clock of the inventory and that of whoever signs may be apart. 5 minutes by default.
    pub clock_tolerance: Period,
    /// What a census must have covered before a key is retired or destroyed by its receipt. None by default.
    #[serde(default)]
    pub must_cover: Vec<Covered>,
    /// What retires a deprecated key.
    #[serde(default)]
    pub retire: RetireBy,
    /// How long a key stays `destroying` before the backend is told to destroy it. 7 days by default.
    pub cooling_off: Period,
    /// Cadences by the kind of key, for keys that are created without one. None by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The cadence of keys that are created without one, if there is no preset. 90 days by default.
    pub cadence: Period,
    /// The overlap of keys that are created without one. 24 hours by default.
    pub overlap: Period,
    /// Readers that must have reported a successful probe of a successor in a scope that they serve before its promotion.
    #[serde(default)]
    pub readers: Vec<NamedReader>,
    /// What settings before these allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) former_wait: Option<FormerWait>,
    /// When the clock was corrected, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) clock_corrections: Vec<ClockCorrection>,
}

impl Settings {
    /// The defaults, for a ring of this authority.
    pub(crate) fn new(ring: RecordId, authority: AuthorityKey) -> Result<Self> {
        Ok(Self {
            min_reader: BASE,
            ring,
            authorities: vec![authority],
            census_keys: Vec::new(),
            approvers: Vec::new(),
            scope_template: ScopeTemplate::default(),
            provision: None,
            otherwise: Vec::new(),
            max_stale: "PT60S".parse()?,
            max_stale_open: "PT60S".parse()?,
            lease_age: "PT5M".parse()?,
            stream_age: "PT1H".parse()?,
            store_delay: Period::zero(),
            clock_tolerance: "PT5M".parse()?,
            must_cover: Vec::new(),
            retire: RetireBy::Evidence,
            cooling_off: "P7D".parse()?,
            preset: None,
            cadence: "P90D".parse()?,
            overlap: "PT24H".parse()?,
            readers: Vec::new(),
            former_wait: None,
            clock_corrections: Vec::new(),
        })
    }

    /// Sets what follows from the rest, for settings of this revision that follow others: which readers may use them, and which revision
    /// has closed the making of keys on first use.
    pub(crate) fn derive(&mut self, former: Option<&Provisioning>, revision: u64) {
        let Some(provision) = &mut self.provision else {
            self.min_reader = BASE;
            return;
        };
        self.min_reader = BRANCHES;
        let before = former.filter(|former| former.closed);
        let since = before.and_then(|former| former.closed_since).unwrap_or(revision);
        provision.closed_since = provision.closed.then_some(since);
    }

    /// How long keys that are made on first use are active.
    pub(crate) fn cadence_of_first_keys(&self) -> Result<Period> {
        match self.preset {
            Some(preset) => preset.cadence(KeyKind::Encryption),
            None => Ok(self.cadence),
        }
    }

    /// Who may make the first key of a scope now, and under which parent.
    pub(crate) fn provisions(&self) -> Option<&Provisioning> {
        self.provision.as_ref().filter(|provision| !provision.closed)
    }

    /// Returns who may sign records.
    #[must_use]
    pub fn authorities(&self) -> &[AuthorityKey] {
        &self.authorities
    }

    /// Who may sign census receipts.
    pub(crate) fn may_sign_receipts(&self) -> impl Iterator<Item = AuthorityKey> {
        self.authorities.iter().chain(&self.census_keys).copied()
    }

    /// Returns when the clock of the ring was corrected, the oldest first. At most the last 32 corrections are kept.
    #[must_use]
    pub fn clock_corrections(&self) -> &[ClockCorrection] {
        &self.clock_corrections
    }

    /// Returns how long after a key has stopped wrapping somebody may still seal under it, or a census may not see it:
    /// `max_stale` (not `max_stale_open`: nothing is sealed for longer), `lease_age`, `stream_age`, `store_delay`, and what a change may take to arrive: a tenth of `max_stale`,
    /// but at least 2 and at most 60 seconds. Only a census that began after that counts. If former settings allowed more, it waits for
    /// those, too.
    ///
    /// `clock_tolerance` is no part of it: a key stopped at the later of the times that the inventory and the machine said then, and a census began at
    /// the earlier one.
    #[must_use]
    pub fn evidence_wait(&self) -> Duration {
        let parts = [
            self.max_stale.at_most(),
            self.lease_age.at_most(),
            self.stream_age.at_most(),
            self.store_delay.at_most(),
            self.commit_time(),
        ];
        parts.into_iter().fold(Duration::ZERO, Duration::saturating_add)
    }

    /// How long a change may take from when its time was asked for until it is in the inventory. What waits for a move waits that much longer.
    pub(crate) fn commit_time(&self) -> Duration {
        (self.max_stale.at_most() / 10).clamp(COMMIT, CHANGE)
    }

    /// The parts of [`evidence_wait`](Self::evidence_wait), for people.
    pub(crate) fn parts_of_wait(&self) -> String {
        let mut text = format!(
            "max_stale {} + lease_age {} + stream_age {} + store_delay {} + {} s for the change itself",
            self.max_stale,
            self.lease_age,
            self.stream_age,
            self.store_delay,
            self.commit_time().as_secs_f32()
        );
        if let Some(former) = &self.former_wait {
            text += &format!(
                ", and not before the {} s are over that were allowed until {}",
                former.wait.at_most().as_secs(),
                former.at
            );
        }
        text
    }

    /// What the hour of `stream_age` is while nobody has set it: as long as any other, and written as nobody writes it.
    pub(crate) fn unset_stream_age() -> Result<Period> {
        Period::from_seconds(HOUR)
    }

    /// Replaces a stream age that nobody has set, in settings of a new ring: 12 times the age of a lease, and no more than an hour.
    pub(crate) fn derive_stream_age(&mut self) -> Result<()> {
        if self.stream_age != Self::unset_stream_age()? {
            return Ok(());
        }
        let derived = self.lease_age.at_most().saturating_mul(LEASES_IN_A_STREAM);
        self.stream_age = match derived < Duration::from_secs(HOUR.into()) {
            true => Period::at_least(derived)?,
            false => "PT1H".parse()?,
        };
        Ok(())
    }

    /// Before when somebody may still seal under a key that stopped wrapping at this time and with this revision.
    pub(crate) fn quiet_after(&self, stopped: Time, revision: u64) -> Time {
        let now = self
            .corrected(stopped, revision)
            .saturating_add(self.evidence_wait());
        match &self.former_wait {
            Some(former) => now.max(
                self.corrected(former.at, former.revision)
                    .saturating_add(former.wait.at_most()),
            ),
            None => now,
        }
    }

    /// A time that a change of this revision bears, as far as later corrections of the clock leave it believable.
    pub(crate) fn corrected(&self, at: Time, revision: u64) -> Time {
        let later = self
            .clock_corrections
            .iter()
            .filter(|made| made.revision > revision);
        later.map(|made| made.to).fold(at, Time::min)
    }

    /// Keeps what former settings allowed, which these follow with this revision.
    /// `earliest` is what time it is at least.
    pub(crate) fn follow(&mut self, former: &Self, at: Time, earliest: Time, revision: u64) -> Result<()> {
        self.former_wait.clone_from(&former.former_wait);
        let wait = former.evidence_wait();
        if self.evidence_wait() >= wait {
            return Ok(());
        }
        // What is over has no effect anymore.
        let before = self.former_left(earliest);
        self.wait_from(at, revision, wait.max(before))
    }

    /// Lets evidence wait for so long from this time, whichever key it is about: what a change did that was late may have happened until then.
    pub(crate) fn wait_from(&mut self, at: Time, revision: u64, wait: Duration) -> Result<()> {
        self.former_wait = Some(FormerWait {
            at,
            revision,
            wait: Period::at_least(wait)?,
        });
        Ok(())
    }

    /// How long what former settings allowed has an effect. Nothing if that is over.
    pub(crate) fn former_left(&self, earliest: Time) -> Duration {
        let kept = self
            .former_wait
            .as_ref()
            .map(|kept| (kept.at, kept.wait.at_most()));
        let kept = kept.filter(|(since, wait)| since.saturating_add(*wait) > earliest);
        kept.map_or(Duration::ZERO, |(_, wait)| wait)
    }

    /// Notes a correction of the clock.
    pub(crate) fn note_correction(&mut self, made: ClockCorrection) {
        self.clock_corrections.push(made);
        let many = self.clock_corrections.len().saturating_sub(MAX_CORRECTIONS);
        self.clock_corrections.drain(..many);
    }

    /// Refuses a scope that would serve others and is that of a context itself: whoever owns it would own keys of others.
    fn check_otherwise(&self) -> Result<()> {
        let scopes: BTreeSet<&Scope> = self.otherwise.iter().collect();
        if scopes.len() < self.otherwise.len() || scopes.len() > MAX_LISTED {
            return Err(Error::argument(format!(
                "otherwise lists at most {MAX_LISTED} different scopes"
            )));
        }
        match scopes.iter().find(|scope| self.scope_template.makes(scope)) {
            None => Ok(()),
            Some(own) => Err(Error::argument(format!(
                "otherwise names the scope {own}, which by the scope template {} is the scope of some context itself: name one that is of no context, \
                 such as / or a path with another number of segments",
                self.scope_template
            ))),
        }
    }

    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// `InvalidArgument`, with the setting and what is expected.
    pub fn check(&self) -> Result<()> {
        let periods = [self.max_stale, self.lease_age, self.clock_tolerance, self.cadence];
        if periods.iter().any(|period| period.is_zero()) {
            return Err(Error::argument(
                "max_stale, lease_age, clock_tolerance and cadence must be longer than nothing, for example PT60S, PT5M, PT5M, P90D",
            ));
        }
        if self.max_stale_open.at_most() < self.max_stale.at_most() {
            return Err(Error::argument(format!(
                "max_stale_open ({}) must not be shorter than max_stale ({}); set both",
                self.max_stale_open, self.max_stale
            )));
        }
        let longest = Duration::from_secs(MAX_WAIT_DAYS * 86_400);
        let waits = [
            ("max_stale_open", self.max_stale_open),
            ("lease_age", self.lease_age),
            ("stream_age", self.stream_age),
            ("store_delay", self.store_delay),
            ("clock_tolerance", self.clock_tolerance),
        ];
        if let Some((name, period)) = waits.iter().find(|(_, period)| period.at_most() > longest) {
            return Err(Error::argument(format!("{name} is at most P10Y, got {period}")));
        }
        if self.must_cover.len() > MAX_LISTED {
            return Err(Error::argument(format!(
                "a census must cover at most {MAX_LISTED} places"
            )));
        }
        self.must_cover.iter().try_for_each(Covered::check)?;
        self.check_otherwise()?;
        if self.clock_corrections.len() > MAX_CORRECTIONS {
            return Err(invalid("there are too many corrections of the clock"));
        }
        let names: BTreeSet<&str> = self.readers.iter().map(|reader| reader.name.as_str()).collect();
        let is_good = |reader: &NamedReader| reader.is_good() && reader.scopes.len() <= MAX_LISTED;
        if self.readers.len() > MAX_LISTED
            || names.len() < self.readers.len()
            || !self.readers.iter().all(is_good)
        {
            return Err(Error::argument(format!(
                "readers are at most {MAX_LISTED} different names of 1 to 255 bytes without control characters, = and a comma, each with at most {MAX_LISTED} scopes"
            )));
        }
        if let Some(provision) = &self.provision {
            self.check_provision(provision)?;
        }
        if self.authorities.is_empty() || self.authorities.len() > 2 || self.census_keys.len() > MAX_LISTED {
            return Err(Error::argument(format!(
                "a ring has one authority, or two during a succession, and at most {MAX_LISTED} census keys"
            )));
        }
        if self.approvers.len() > MAX_LISTED {
            return Err(Error::argument(format!(
                "a ring has at most {MAX_LISTED} approvers"
            )));
        }
        let provisioners = self
            .provision
            .iter()
            .flat_map(|provision| provision.keys.iter().copied());
        let readers = self.readers.iter().filter_map(|reader| reader.key);
        let mut others = self.may_sign_receipts().chain(provisioners).chain(readers);
        if let Some(key) = others.find(|key| self.approvers.contains(key)) {
            return Err(Error::argument(format!(
                "{key} cannot be an approver: it signs something else for the ring, and an approval is somebody else's; make a key with `waxseal ring approver-key`"
            )));
        }
        Ok(())
    }

    fn check_provision(&self, provision: &Provisioning) -> Result<()> {
        let keys: BTreeSet<_> = provision.keys.iter().collect();
        if keys.is_empty() || keys.len() != provision.keys.len() || keys.len() > MAX_PROVISIONERS {
            return Err(Error::argument(format!(
                "provision needs the public keys of 1 to {MAX_PROVISIONERS} provisioners, each once, got {}",
                provision.keys.len()
            )));
        }
        let signers = self.authorities.iter().chain(&self.census_keys);
        let readers = self.readers.iter().filter_map(|reader| reader.key.as_ref());
        if signers.chain(readers).any(|key| keys.contains(key)) {
            return Err(Error::argument(
                "a provisioner has a key of its own, which no authority, census, approver or reader has",
            ));
        }
        if !provision.closed && !self.otherwise.is_empty() {
            return Err(Error::argument(
                "provision and otherwise exclude each other: a scope without a key either gets one on first use, or is served by a wider scope",
            ));
        }
        if self.scope_template.makes(&provision.parent) {
            return Err(Error::argument(format!(
                "the parent scope of provisioned keys must be none that the scope template {} makes, got {}: \
                 the keys of a context would be wrapped under those of another; take / or system/branch-keys, for example",
                self.scope_template, provision.parent
            )));
        }
        Ok(())
    }
}
