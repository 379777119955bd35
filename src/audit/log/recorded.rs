//! An event as a log has it, read to be shown.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The event of a record. Nothing of it is proven: whoever wrote the log says so.
#[derive(Clone, Debug)]
pub struct RecordedEvent(Map<String, Value>);

impl RecordedEvent {
    /// Reads a record. `None` if it is no event.
    #[must_use]
    pub fn parse(record: &[u8]) -> Option<Self> {
        match serde_json::from_slice(record) {
            Ok(Value::Object(event)) => Some(Self(event)),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten()
    }

    fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.list(name).filter_map(Value::as_str)
    }

    /// Returns the time, as it is written.
    #[must_use]
    pub fn time(&self) -> Option<&str> {
        self.text("time")
    }

    pub(super) fn timestamp(&self) -> Option<Timestamp> {
        self.time()?.parse().ok()
    }

    /// Returns what was done: `event.name` without `waxseal.`.
    #[must_use]
    pub fn action(&self) -> Option<&str> {
        let name = self.text("event.name")?;
        Some(name.strip_prefix("waxseal.").unwrap_or(name))
    }

    /// Returns the outcome.
    #[must_use]
    pub fn outcome(&self) -> Option<&str> {
        self.text("waxseal.outcome")
    }

    /// Returns the kind of the error, if there was one.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.text("error.type")
    }

    /// Returns who asked.
    #[must_use]
    pub fn actor(&self) -> Option<&str> {
        self.text("user.id")
    }

    /// Returns what for.
    #[must_use]
    pub fn purpose(&self) -> Option<&str> {
        self.text("waxseal.purpose")
    }

    /// Returns what it is about, for people: the KEKs that did it, else those that the envelope names, else keys of the ring; and the moves of a
    /// change.
    #[must_use]
    pub fn subjects(&self) -> Vec<String> {
        let lists = ["waxseal.keks", "waxseal.envelope.keks"];
        let keks = lists.iter().map(|name| self.list(name)).find_map(|keks| {
            let keks: Vec<String> = keks.map(kek).collect();
            (!keks.is_empty()).then_some(keks)
        });
        let mut all = keks.unwrap_or_else(|| {
            let keys = self.texts("waxseal.keys");
            keys.map(|key| format!("key {key}")).collect()
        });
        all.extend(self.list("waxseal.moves").map(|moved| {
            let of = |name: &str| moved.get(name).and_then(Value::as_str);
            let named = format!("{} {}", of("record").unwrap_or("-"), of("id").unwrap_or("-"));
            match (of("from"), of("to")) {
                (None, None) => named,
                (from, to) => format!("{named} {} -> {}", from.unwrap_or("-"), to.unwrap_or("-")),
            }
        }));
        all
    }

    /// Whether it is about a KEK of this id, or a key of a ring with this id: used, administered, or named by an envelope.
    pub(super) fn is_about(&self, id: &str) -> bool {
        let mut keks = self
            .list("waxseal.keks")
            .chain(self.list("waxseal.envelope.keks"));
        keks.any(|kek| names(kek, id))
            || self.texts("waxseal.keys").any(|key| key == id)
            || self.text("waxseal.branch") == Some(id)
            || self
                .list("waxseal.moves")
                .any(|moved| moved.get("id").and_then(Value::as_str) == Some(id))
    }
}

fn kek(kek: &Value) -> String {
    let of = |name: &str| kek.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut text = format!("{} {}", of("provider"), of("id"));
    if !of("version").is_empty() {
        let _ = write!(text, " version {}", of("version"));
    }
    text
}

fn names(kek: &Value, id: &str) -> bool {
    let keys = kek.get("keys").and_then(Value::as_array).into_iter().flatten();
    kek.get("id").and_then(Value::as_str) == Some(id) || keys.filter_map(Value::as_str).any(|key| key == id)
}
