//! One event of a log, as docs/spec/audit-v1.md has it.

use std::time::Duration;

use serde_json::{Value, json};
use waxseal::ring::Time;

/// Actions that ask a KEK for something that somebody uses.
const USES: [&str; 5] = ["generate", "unwrap", "rewrap", "release", "wrap"];

/// The JSON of an event. Nothing of it is believed.
#[derive(Clone, Copy)]
pub(super) struct Event<'e>(pub(super) &'e Value);

impl<'e> Event<'e> {
    fn text(self, name: &str) -> Option<&'e str> {
        self.0.get(name)?.as_str()
    }

    fn list(self, name: &str) -> impl Iterator<Item = &'e Value> + use<'e> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten()
    }

    /// `unwrap`, `ring.change`.
    pub(super) fn action(self) -> &'e str {
        let name = self.text("event.name").unwrap_or_default();
        name.strip_prefix("waxseal.").unwrap_or(name)
    }

    /// Whether a KEK was asked for something that somebody uses: a probe is no use.
    pub(super) fn is_use(self) -> bool {
        USES.contains(&self.action())
    }

    pub(super) fn is_of_ring(self) -> bool {
        self.action().starts_with("ring.")
    }

    /// The outcome. A gap has none.
    pub(super) fn outcome(self) -> &'e str {
        self.text("waxseal.outcome").unwrap_or_default()
    }

    pub(super) fn is_success(self) -> bool {
        self.outcome() == "success"
    }

    pub(super) fn is_forbidden(self) -> bool {
        matches!(self.outcome(), "denied" | "refused")
    }

    pub(super) fn actor(self) -> Option<&'e str> {
        self.text("user.id")
    }

    pub(super) fn purpose(self) -> Option<&'e str> {
        self.text("waxseal.purpose")
    }

    pub(super) fn time(self) -> Option<Time> {
        self.text("time")?.parse().ok()
    }

    /// How long it took, if the event says so. Its time is when it had ended.
    pub(super) fn duration(self) -> Duration {
        let micros = self.0.get("waxseal.duration_us").and_then(Value::as_u64);
        Duration::from_micros(micros.unwrap_or_default())
    }

    pub(super) fn revision(self) -> Option<u64> {
        self.0.get("waxseal.ring.revision")?.as_u64()
    }

    pub(super) fn ring(self) -> Option<&'e str> {
        self.text("waxseal.ring.id")
    }

    pub(super) fn head(self) -> Option<&'e str> {
        self.text("waxseal.ring.head")
    }

    pub(super) fn instance(self) -> Option<&'e str> {
        self.text("service.instance.id")
    }

    pub(super) fn branch(self) -> Option<&'e str> {
        self.text("waxseal.branch")
    }

    /// How many events were lost, for a gap.
    pub(super) fn lost(self) -> Option<u64> {
        (self.action() == "gap").then(|| self.0.get("waxseal.lost").and_then(Value::as_u64).unwrap_or(0))
    }

    /// The KEKs that did it.
    pub(super) fn keks(self) -> impl Iterator<Item = NamedKek<'e>> {
        self.list("waxseal.keks").map(NamedKek)
    }

    /// The KEKs that the envelope names.
    pub(super) fn envelope_keks(self) -> impl Iterator<Item = NamedKek<'e>> {
        self.list("waxseal.envelope.keks").map(NamedKek)
    }

    /// The keys of the ring that were administered or asked.
    pub(super) fn keys(self) -> impl Iterator<Item = &'e str> {
        self.list("waxseal.keys").filter_map(Value::as_str)
    }

    /// Keys that the envelope names, and that were compromised once.
    pub(super) fn exposed(self) -> impl Iterator<Item = &'e str> {
        self.list("waxseal.exposed").filter_map(Value::as_str)
    }

    /// Whether a change writes a record of this id.
    pub(super) fn moves(self, id: &str) -> bool {
        let mut moves = self.list("waxseal.moves");
        moves.any(|moved| moved.get("id").and_then(Value::as_str) == Some(id))
    }

    /// Whether a change writes more records than the event names.
    pub(super) fn moves_more(self) -> bool {
        let more = self.0.get("waxseal.moves.more").and_then(Value::as_u64);
        more.is_some_and(|more| more > 0)
    }

    /// The approval under which a re-wrap used one of these keys.
    pub(super) fn approval(self, is_meant: impl Fn(&str) -> bool) -> Option<Approval<'e>> {
        let mut used = self.list("waxseal.authorizations.used").map(Approval);
        used.find(|used| used.text("subject").is_some_and(&is_meant))
    }

    /// What a list of a report shows of it.
    pub(super) fn to_json(self) -> Value {
        json!({
            "time": self.text("time"),
            "action": self.action(),
            "outcome": self.outcome(),
            "error": self.text("error.type"),
            "requirement": self.text("waxseal.requirement"),
            "actor": self.actor(),
            "purpose": self.purpose(),
            "revision": self.revision(),
            "branch": self.branch(),
            "instance": self.instance(),
        })
    }
}

/// A KEK of an event.
#[derive(Clone, Copy)]
pub(super) struct NamedKek<'e>(&'e Value);

impl<'e> NamedKek<'e> {
    pub(super) fn provider(self) -> &'e str {
        self.text("provider")
    }

    pub(super) fn id(self) -> &'e str {
        self.text("id")
    }

    pub(super) fn version(self) -> &'e str {
        self.text("version")
    }

    fn text(self, name: &str) -> &'e str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The keys of the ring that are this KEK.
    pub(super) fn keys(self) -> impl Iterator<Item = &'e str> {
        let keys = self.0.get("keys").and_then(Value::as_array);
        keys.into_iter().flatten().filter_map(Value::as_str)
    }
}

/// An approval that a re-wrap has used.
#[derive(Clone, Copy)]
pub(super) struct Approval<'e>(&'e Value);

impl<'e> Approval<'e> {
    fn text(self, name: &str) -> Option<&'e str> {
        self.0.get(name)?.as_str()
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "subject": self.text("subject"),
            "ticket": self.text("ticket"),
            "approver": self.text("approver"),
        })
    }
}
