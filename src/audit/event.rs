//! One event: what was done under which KEK, by whom, and how it ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::deed::DeedSeen;
use super::json::Record;
use super::process::Process;
use super::scope::{RingSeen, ScopeSeen};
use super::text::bounded;
use crate::envelope::{KekRef, WrapSection};
use crate::key::sighting::{Outage, Outages};
use crate::key::{Authorization, Purpose, Request};
use crate::source::{Fate, Rewrapped};
use crate::value::error::{Error, ErrorKind};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// A DEK was generated and wrapped, or a source that keeps DEKs by itself handed one out for sealing.
    Generate,
    /// A DEK was unwrapped; or a branch key, by its parent: see [`Event::branch`].
    Unwrap,
    /// A DEK was wrapped anew.
    Rewrap,
    /// A DEK was released, by a cache or by what is beneath it: see [`AuditorBuilder::releases`](super::AuditorBuilder::releases).
    Release,
    /// A branch key was wrapped under its parent.
    Wrap,
    /// A KEK has wrapped and unwrapped a DEK that nobody uses.
    Probe,
    /// Something was done to a ring, or signed for it, or a job ran.
    #[cfg(feature = "ring")]
    Ring(crate::ring::Operation),
    /// Events were lost here, because the sink did not keep them. [`Event::lost`] says how many.
    Gap,
}

impl Action {
    /// Returns its name: `"generate"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Unwrap => "unwrap",
            Self::Rewrap => "rewrap",
            Self::Release => "release",
            Self::Wrap => "wrap",
            Self::Probe => "probe",
            #[cfg(feature = "ring")]
            Self::Ring(operation) => operation.name(),
            Self::Gap => "gap",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is about to be done. Another event tells whether it was.
    Intended,
    /// It was done.
    Success,
    /// The key manager, or the store of an inventory, denies access or does not accept the credentials.
    Denied(ErrorKind),
    /// A profile, a policy, a rule, or the state of a key refuses it.
    Refused(ErrorKind),
    /// It failed for another reason.
    Failed(ErrorKind),
    /// Not all of a job was done.
    Incomplete,
    /// Its caller did not wait for the end: because of a deadline, or because it went away. A key manager may have been asked.
    Abandoned,
}

impl Outcome {
    /// Returns the outcome of an operation that ended with an error of this kind.
    #[must_use]
    pub const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Denied | ErrorKind::Unauthenticated => Self::Denied(kind),
            ErrorKind::PolicyRefused
            | ErrorKind::ProfileRefused { .. }
            | ErrorKind::ApprovalRefused { .. }
            | ErrorKind::LifecycleRefused
            | ErrorKind::WouldWeaken { .. }
            | ErrorKind::BudgetExhausted { .. }
            | ErrorKind::NoKeyForScope
            | ErrorKind::KeyRetired
            | ErrorKind::KeyRevoked
            | ErrorKind::KeyDestroyed => Self::Refused(kind),
            _ => Self::Failed(kind),
        }
    }

    /// Returns its name: `"success"`, `"denied"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Success => "success",
            Self::Denied(_) => "denied",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Incomplete => "incomplete",
            Self::Abandoned => "abandoned",
        }
    }

    /// Returns what went wrong, if something did.
    #[must_use]
    pub const fn error(self) -> Option<ErrorKind> {
        match self {
            Self::Denied(kind) | Self::Refused(kind) | Self::Failed(kind) => Some(kind),
            Self::Intended | Self::Success | Self::Incomplete | Self::Abandoned => None,
        }
    }
}

/// A KEK in an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventKek {
    /// The KEK. The id is empty if an envelope hides it.
    pub kek: KekRef,
    /// The ids of the ring's keys that are this KEK, if a ring was asked.
    pub keys: Vec<String>,
    /// What a re-wrap made of the wrap under it.
    pub fate: Option<Fate>,
}

/// One event. It has no public constructor, and no place for a key, a plaintext, an AAD, or a value of a context key that was not named as
/// [`loggable`](super::AuditorBuilder::loggable).
#[derive(Clone, Debug)]
pub struct Event {
    pub(super) sequence: u64,
    pub(super) time: SystemTime,
    pub(super) process: Process,
    pub(super) what: What,
    pub(super) record: Record,
}

/// An event before it has a number.
#[derive(Clone, Debug)]
pub(super) struct What {
    pub(super) action: Action,
    pub(super) outcome: Outcome,
    /// For what, and in which context.
    pub(super) asked: Option<Arc<Asked>>,
    /// The KEKs that did it.
    pub(super) keks: Vec<EventKek>,
    /// Approvals under which keys were used.
    pub(super) used: Vec<Authorization>,
    pub(super) latency: Option<Duration>,
    /// What could not be reached, and was done without.
    pub(super) outages: Outages,
    pub(super) lost: u64,
    /// What was done to a ring, or by a ring itself.
    pub(super) deed: Option<Arc<DeedSeen>>,
}

/// What of a request an event shows.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) purpose: Purpose,
    pub(super) digest: [u8; 32],
    /// Values of keys that are named as loggable.
    pub(super) context: Vec<(String, String)>,
    pub(super) profile: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) authorizations: Vec<Authorization>,
    pub(super) ring: Option<RingSeen>,
    /// The KEKs that the envelope names: claims that nothing has proven.
    pub(super) named: Vec<EventKek>,
}

/// An authorization without its document.
fn shown(given: &Authorization) -> Authorization {
    Authorization::new(bounded(&given.ticket), bounded(&given.approver)).with_subject(bounded(&given.subject))
}

impl Asked {
    pub(super) fn new(
        request: &Request<'_>,
        wraps: Option<WrapSection<'_>>,
        loggable: &[Box<str>],
        ring: Option<RingSeen>,
    ) -> Self {
        let context = request.context();
        let values = loggable.iter().filter_map(|key| {
            let value = context.get(key)?;
            Some((bounded(key), bounded(value)))
        });
        let text = |text: Option<&str>| text.map(bounded);
        let stanzas = wraps.iter().flat_map(|wraps| wraps.stanzas());
        let named = stanzas.map(|stanza| KekRef::trusted(stanza.provider, stanza.kek_id, stanza.kek_version));
        let named = named.map(|kek| EventKek::of(kek, ring.as_ref())).collect();
        Self {
            purpose: request.purpose(),
            digest: *context.digest(),
            context: values.collect(),
            profile: text(request.profile()),
            actor: text(request.actor()),
            request_id: text(request.request_id()),
            authorizations: request.authorizations().iter().map(shown).collect(),
            ring,
            named,
        }
    }

    fn keks(&self, keks: &[KekRef]) -> Vec<EventKek> {
        let of = |kek: &KekRef| EventKek::of(kek.clone(), self.ring.as_ref());
        keks.iter().map(of).collect()
    }

    /// The KEKs that did something for this request.
    pub(super) fn done(self: &Arc<Self>, action: Action, keks: &[KekRef]) -> What {
        let keks = self.keks(keks);
        What::new(action, Outcome::Success, Some(self), keks)
    }

    /// A re-wrap, with what became of each wrap.
    pub(super) fn rewrapped(&self, action: Action, rewrapped: &Rewrapped) -> What {
        let named = rewrapped.stanzas().iter().map(|stanza| EventKek {
            fate: Some(stanza.fate),
            ..EventKek::of(stanza.kek.clone(), self.ring.as_ref())
        });
        let asked = Arc::new(Self {
            named: named.collect(),
            ..self.clone()
        });
        What {
            used: rewrapped.authorizations().iter().map(shown).collect(),
            ..What::new(
                action,
                Outcome::Success,
                Some(&asked),
                self.keks(rewrapped.under()),
            )
        }
    }

    pub(super) fn ended(self: &Arc<Self>, action: Action, outcome: Outcome) -> What {
        What::new(action, outcome, Some(self), Vec::new())
    }

    pub(super) fn failed(self: &Arc<Self>, action: Action, error: &Error) -> What {
        self.ended(action, Outcome::of(error.kind()))
    }
}

impl What {
    pub(super) fn new(
        action: Action,
        outcome: Outcome,
        asked: Option<&Arc<Asked>>,
        keks: Vec<EventKek>,
    ) -> Self {
        Self {
            action,
            outcome,
            asked: asked.cloned(),
            keks,
            used: Vec::new(),
            latency: None,
            outages: Outages::default(),
            lost: 0,
            deed: None,
        }
    }

    /// The scope, as it may be shown.
    pub(super) fn scope(&self) -> Option<&ScopeSeen> {
        match self.deed.as_deref() {
            Some(deed) => deed.scope.as_ref(),
            None => self.asked.as_deref()?.ring.as_ref()?.scope.as_ref(),
        }
    }

    pub(super) fn gap(lost: u64) -> Self {
        Self {
            lost,
            ..Self::new(Action::Gap, Outcome::Success, None, Vec::new())
        }
    }

    pub(super) fn under(mut self, outages: Outages) -> Self {
        self.outages = outages;
        self
    }

    pub(super) fn took(mut self, latency: Duration) -> Self {
        self.latency = Some(latency);
        self
    }
}

impl EventKek {
    fn of(kek: KekRef, ring: Option<&RingSeen>) -> Self {
        let is_it = |known: &KekRef| {
            let is_version = kek.version().is_empty() || known.version().is_empty();
            known.is_same_key(&kek) && (is_version || known.version() == kek.version())
        };
        let keys = ring.iter().flat_map(|ring| &ring.keys);
        let keys = keys.filter(|(known, _)| is_it(known)).map(|(_, id)| id.clone());
        Self {
            keys: keys.take(KEYS).collect(),
            kek,
            fate: None,
        }
    }
}

/// How many keys of a ring one KEK of an event names, for a KEK whose versions an envelope does not tell.
const KEYS: usize = 4;

impl Event {
    /// Returns its number. The events of one [`Process::instance`] are numbered from 0, those that were lost included.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns when it ended, by the calendar of the process.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Returns the process that it comes from.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Returns what was done.
    #[must_use]
    pub fn action(&self) -> Action {
        self.what.action
    }

    /// Returns how it ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.what.outcome
    }

    /// Returns what it was for. `None` for a gap.
    #[must_use]
    pub fn purpose(&self) -> Option<Purpose> {
        match self.deed() {
            Some(deed) => deed.purpose,
            None => self.asked().map(|asked| asked.purpose),
        }
    }

    /// Returns the KEKs that did it: those that wrapped, or those that unwrapped. Empty if it failed.
    #[must_use]
    pub fn keks(&self) -> &[EventKek] {
        &self.what.keks
    }

    /// Returns the KEKs that the envelope names, which whoever wrote the envelope claims, with what became of each in a re-wrap.
    #[must_use]
    pub fn named_keks(&self) -> &[EventKek] {
        self.asked().map_or(&[], |asked| &asked.named)
    }

    /// Returns the digest of the context. Whoever knows what contexts look like can guess a context from it.
    #[must_use]
    pub fn context_digest(&self) -> Option<&[u8; 32]> {
        self.asked().map(|asked| &asked.digest)
    }

    /// Returns the context's pairs whose keys are named as loggable.
    pub fn context(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.asked().into_iter().flat_map(|asked| &asked.context);
        pairs.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns the profile that the caller named.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.asked()?.profile.as_deref()
    }

    /// Returns who asked, as the caller says.
    #[must_use]
    pub fn actor(&self) -> Option<&str> {
        match self.deed() {
            Some(deed) => deed.actor.as_deref(),
            None => self.asked()?.actor.as_deref(),
        }
    }

    /// Returns the id that connects log lines.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.asked()?.request_id.as_deref()
    }

    /// Returns who allowed operations that are otherwise forbidden, as the caller says: without their documents.
    #[must_use]
    pub fn authorizations(&self) -> &[Authorization] {
        match self.deed() {
            Some(deed) => &deed.authorizations,
            None => self.asked().map_or(&[], |asked| &asked.authorizations),
        }
    }

    /// Returns the authorizations under which a re-wrap used a key that is otherwise refused: what the source has verified, without the
    /// documents.
    #[must_use]
    pub fn used_authorizations(&self) -> &[Authorization] {
        &self.what.used
    }

    /// Returns the id of the ring that was asked.
    #[must_use]
    pub fn ring(&self) -> Option<&str> {
        self.ring_seen()
            .map(|ring| ring.id.as_str())
            .or_else(|| self.deed()?.ring.as_deref())
    }

    /// Returns the revision of the ring that the process had when it decided. For a [change](crate::audit::Action): the one that it makes.
    #[must_use]
    pub fn ring_revision(&self) -> Option<u64> {
        match self.deed() {
            Some(deed) => deed.revision,
            None => self.ring_seen()?.revision,
        }
    }

    /// Returns the scope of the context in the ring, or the scope that was administered: only if no value of a context stands in it, or each of
    /// those is named as loggable. Otherwise there are its [template](Self::scope_template) and its [digest](Self::scope_digest).
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope_seen()?.shown.as_deref()
    }

    /// Returns the scope template of the ring: `tenant/{tenant}`.
    #[must_use]
    pub fn scope_template(&self) -> Option<&str> {
        self.scope_seen()?.template.as_deref()
    }

    /// Returns the digest of the scope: SHA-256 of `waxseal ring scope v1`, a zero byte, and the scope. Whoever knows what scopes there are finds
    /// the scope by it.
    #[must_use]
    pub fn scope_digest(&self) -> Option<&[u8; 32]> {
        self.scope_seen().map(|scope| &scope.digest)
    }

    /// Returns the ids of the ring's keys that the envelope names and that were compromised once: whoever has such a key can read what is
    /// in the envelope.
    #[must_use]
    pub fn exposed(&self) -> &[String] {
        self.ring_seen().map_or(&[], |ring| &ring.exposed)
    }

    /// Returns the outage policies under which the DEK was released. None if everything that is usually asked was asked, and none if it failed.
    pub fn outages(&self) -> impl Iterator<Item = Outage> {
        self.what.outages.iter()
    }

    /// Returns how long it took, by the clock of the auditor's runtime.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.what.latency
    }

    /// Returns how many events were lost, for a [gap](Action::Gap).
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.what.lost
    }

    fn asked(&self) -> Option<&Asked> {
        self.what.asked.as_deref()
    }

    fn ring_seen(&self) -> Option<&RingSeen> {
        self.asked()?.ring.as_ref()
    }

    fn scope_seen(&self) -> Option<&ScopeSeen> {
        self.what.scope()
    }

    pub(super) fn deed(&self) -> Option<&DeedSeen> {
        self.what.deed.as_deref()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::value::context::EncryptionContext;

    /// An event of an envelope that names this KEK as often as one can.
    pub(crate) fn long(kek: &KekRef) -> Event {
        let context = EncryptionContext::empty();
        let asked = Asked::new(&Request::new(&context), None, &[], None);
        let asked = Arc::new(Asked {
            named: std::iter::repeat_n(EventKek::of(kek.clone(), None), 16).collect(),
            ..asked
        });
        Event {
            sequence: 0,
            time: SystemTime::UNIX_EPOCH,
            process: Process::current().unwrap(),
            what: asked.done(Action::Unwrap, &[]),
            record: Record::default(),
        }
    }

    #[test]
    fn an_approval_that_does_not_count_is_a_refusal() {
        let fault = crate::value::error::ApprovalFault::Expired;
        let kind = ErrorKind::ApprovalRefused { fault };
        assert_eq!(Outcome::of(kind), Outcome::Refused(kind));
    }
}
