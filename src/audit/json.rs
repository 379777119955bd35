//! The JSON of an event, by docs/spec/audit-v1.md.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use jiff::Timestamp;
use serde::Serialize;

use super::deed::RecordMoved;
use super::event::{Action, Event, EventKek};
use crate::key::sighting::Outage;
use crate::key::{self, Purpose};
use crate::source::Fate;

/// The version of the schema. Keys may be added to a version; none goes or changes its meaning.
const SCHEMA: u32 = 1;
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The most bytes of a record in a bundle of entries.
const MAX_RECORD: usize = 65_535;
/// KEKs of an event that had to be shortened.
const KEKS: usize = 16;

/// The JSON of an event, once somebody has made it.
#[derive(Clone, Default)]
pub(super) struct Record(OnceLock<String>);

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Record")
    }
}

#[derive(Serialize)]
struct Json<'e> {
    #[serde(rename = "waxseal.schema")]
    schema: u32,
    time: String,
    #[serde(rename = "event.name")]
    name: String,
    #[serde(rename = "waxseal.sequence")]
    sequence: u64,
    #[serde(rename = "waxseal.outcome", skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(rename = "waxseal.requirement", skip_serializing_if = "Option::is_none")]
    requirement: Option<&'static str>,
    #[serde(rename = "waxseal.purpose", skip_serializing_if = "Option::is_none")]
    purpose: Option<&'static str>,
    #[serde(rename = "waxseal.keks", skip_serializing_if = "Vec::is_empty")]
    keks: Vec<Kek<'e>>,
    #[serde(rename = "waxseal.envelope.keks", skip_serializing_if = "Vec::is_empty")]
    named: Vec<Kek<'e>>,
    #[serde(rename = "waxseal.exposed", skip_serializing_if = "<[String]>::is_empty")]
    exposed: &'e [String],
    #[serde(rename = "waxseal.outage", skip_serializing_if = "Vec::is_empty")]
    outages: Vec<&'static str>,
    #[serde(rename = "waxseal.scope", skip_serializing_if = "Option::is_none")]
    scope: Option<&'e str>,
    #[serde(rename = "waxseal.scope.template", skip_serializing_if = "Option::is_none")]
    template: Option<&'e str>,
    #[serde(rename = "waxseal.scope.digest", skip_serializing_if = "Option::is_none")]
    scope_digest: Option<String>,
    #[serde(rename = "waxseal.keys", skip_serializing_if = "<[String]>::is_empty")]
    keys: &'e [String],
    #[serde(rename = "waxseal.branch", skip_serializing_if = "Option::is_none")]
    branch: Option<&'e str>,
    #[serde(rename = "waxseal.grounds", skip_serializing_if = "Option::is_none")]
    grounds: Option<&'e str>,
    #[serde(rename = "waxseal.moves", skip_serializing_if = "Vec::is_empty")]
    moves: Vec<Moved<'e>>,
    #[serde(rename = "waxseal.moves.more", skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
    #[serde(rename = "waxseal.ring.head", skip_serializing_if = "Option::is_none")]
    head: Option<String>,
    #[serde(rename = "waxseal.ring.settings", skip_serializing_if = "std::ops::Not::not")]
    settings: bool,
    #[serde(
        rename = "waxseal.ring.succession",
        skip_serializing_if = "std::ops::Not::not"
    )]
    succession: bool,
    #[serde(rename = "waxseal.context.digest", skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(rename = "waxseal.context", skip_serializing_if = "BTreeMap::is_empty")]
    context: BTreeMap<&'e str, &'e str>,
    #[serde(rename = "waxseal.profile", skip_serializing_if = "Option::is_none")]
    profile: Option<&'e str>,
    #[serde(rename = "user.id", skip_serializing_if = "Option::is_none")]
    actor: Option<&'e str>,
    #[serde(rename = "waxseal.request.id", skip_serializing_if = "Option::is_none")]
    request_id: Option<&'e str>,
    #[serde(rename = "waxseal.authorizations", skip_serializing_if = "Vec::is_empty")]
    authorizations: Vec<Authorization<'e>>,
    #[serde(rename = "waxseal.authorizations.used", skip_serializing_if = "Vec::is_empty")]
    used: Vec<Authorization<'e>>,
    #[serde(rename = "waxseal.ring.id", skip_serializing_if = "Option::is_none")]
    ring: Option<&'e str>,
    #[serde(rename = "waxseal.ring.revision", skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(rename = "waxseal.duration_us", skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    #[serde(rename = "waxseal.lost", skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(rename = "waxseal.shortened", skip_serializing_if = "std::ops::Not::not")]
    shortened: bool,
    #[serde(rename = "host.name", skip_serializing_if = "str::is_empty")]
    host: &'e str,
    #[serde(rename = "process.pid")]
    pid: u32,
    #[serde(rename = "service.instance.id")]
    instance: &'e str,
    #[serde(rename = "otel.scope.name")]
    library: &'static str,
    #[serde(rename = "otel.scope.version")]
    version: &'static str,
}

#[derive(Serialize)]
struct Kek<'e> {
    provider: &'e str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'e str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'e str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    keys: &'e [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    fate: Option<&'static str>,
}

#[derive(Serialize)]
struct Authorization<'e> {
    ticket: &'e str,
    approver: &'e str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'e str,
}

impl<'e> Authorization<'e> {
    fn all(given: &'e [key::Authorization]) -> Vec<Self> {
        let shown = given.iter().map(|given| Self {
            ticket: &given.ticket,
            approver: &given.approver,
            subject: &given.subject,
        });
        shown.collect()
    }
}

impl<'e> Kek<'e> {
    fn of(kek: &'e EventKek) -> Self {
        Self {
            provider: kek.kek.provider(),
            id: kek.kek.id(),
            version: kek.kek.version(),
            keys: &kek.keys,
            fate: kek.fate.map(|fate| match fate {
                Fate::Kept => "kept",
                Fate::Replaced => "replaced",
                Fate::Dropped => "dropped",
            }),
        }
    }
}

/// A record of a change.
#[derive(Serialize)]
struct Moved<'e> {
    record: &'static str,
    id: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'e str>,
    #[serde(rename = "scope.digest")]
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approver: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'e str>,
}

impl<'e> Moved<'e> {
    fn of(moved: &'e RecordMoved) -> Self {
        Self {
            record: moved.record,
            id: &moved.id,
            scope: moved.scope.as_deref(),
            digest: hex(&moved.scope_digest),
            from: moved.from,
            to: moved.to,
            ticket: moved.ticket.as_deref(),
            approver: moved.approver.as_deref(),
            evidence: moved.evidence.as_deref(),
        }
    }
}

pub(super) fn hex(digest: &[u8; 32]) -> String {
    base16ct::lower::encode_string(digest)
}

pub(super) const fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Seal => "seal",
        Purpose::Open => "open",
        Purpose::Rewrap => "rewrap",
        Purpose::Probe => "probe",
    }
}

impl Event {
    /// Returns the event as one line of JSON, without a line end. [`manual::audit_log`](crate::manual::audit_log) specifies it.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Maps of text and numbers always serialize.
        serde_json::to_string(&self.json()).unwrap_or_default()
    }

    /// Returns the event as a log keeps it: as [`to_json`](Self::to_json), or without what others can make long if that has more bytes than a log keeps of
    /// one record. It is made once; a sink that uses it says so by [`keeps_json`](super::Sink::keeps_json).
    #[must_use]
    pub fn to_record(&self) -> &str {
        self.record.0.get_or_init(|| self.make_record())
    }

    fn make_record(&self) -> String {
        let whole = serde_json::to_string(&self.json()).unwrap_or_default();
        if whole.len() <= MAX_RECORD {
            return whole;
        }
        let mut short = self.json();
        // Each of these is an envelope's or a caller's word.
        short.named.clear();
        short.context.clear();
        short.authorizations.clear();
        short.exposed = short.exposed.get(..KEKS).unwrap_or(short.exposed);
        // Their keys of the ring stay.
        let more = short.moves.len().saturating_sub(KEKS) + short.more.unwrap_or_default();
        short.moves.truncate(KEKS);
        short.more = Some(more).filter(|more| *more > 0);
        short.keks.truncate(KEKS);
        for kek in &mut short.keks {
            (kek.id, kek.version) = ("", "");
        }
        short.shortened = true;
        serde_json::to_string(&short).unwrap_or_default()
    }

    /// Returns the name of the event: `waxseal.unwrap`, `waxseal.ring.retire`.
    #[must_use]
    pub fn name(&self) -> String {
        let action = self.action();
        #[cfg(feature = "ring")]
        if let Action::Ring(operation) = action {
            return format!("waxseal.ring.{}", operation.name());
        }
        format!("waxseal.{}", action.name())
    }

    fn json(&self) -> Json<'_> {
        let outcome = self.outcome();
        let micros = |latency: std::time::Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        Json {
            schema: SCHEMA,
            time: format!(
                "{:.6}",
                Timestamp::try_from(self.time).unwrap_or(Timestamp::UNIX_EPOCH)
            ),
            name: self.name(),
            sequence: self.sequence(),
            outcome: (self.action() != Action::Gap).then(|| outcome.name()),
            error: outcome.error().map(crate::ErrorKind::name),
            requirement: match outcome.error() {
                Some(crate::ErrorKind::ProfileRefused { requirement }) => Some(requirement),
                _ => None,
            },
            purpose: self.purpose().map(purpose),
            keks: self.keks().iter().map(Kek::of).collect(),
            named: self.named_keks().iter().map(Kek::of).collect(),
            exposed: self.exposed(),
            outages: self.outages().map(Outage::name).collect(),
            scope: self.scope(),
            template: self.scope_template(),
            scope_digest: self.scope_digest().map(hex),
            keys: self.keys(),
            branch: self.branch(),
            grounds: self.grounds(),
            moves: self.moves().iter().map(Moved::of).collect(),
            more: Some(self.moves_more()).filter(|more| *more > 0),
            head: self.ring_head().map(hex),
            settings: self.replaces_settings(),
            succession: self.replaces_authority(),
            digest: self.context_digest().map(hex),
            context: self.context().collect(),
            profile: self.profile(),
            actor: self.actor(),
            request_id: self.request_id(),
            authorizations: Authorization::all(self.authorizations()),
            used: Authorization::all(self.used_authorizations()),
            ring: self.ring(),
            revision: self.ring_revision(),
            duration: self.latency().map(micros),
            lost: (self.lost() > 0).then(|| self.lost()),
            shortened: false,
            host: self.process().host(),
            pid: self.process().pid(),
            instance: self.process().instance(),
            library: "waxseal",
            version: VERSION,
        }
    }
}
