//! Which records of a log somebody wants to see.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::recorded::RecordedEvent;
use crate::value::error::{Error, Result};

/// Which events of a log to show. Each condition that is set must hold; a record that is no event meets none.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    key: Option<String>,
    actor: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl EventFilter {
    /// Shows every event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows events of a KEK of this id, or of a key of a ring with this id: used, administered, or named by an envelope.
    #[must_use]
    pub fn key(mut self, id: &str) -> Self {
        self.key = Some(id.to_owned());
        self
    }

    /// Shows events of this actor.
    #[must_use]
    pub fn actor(mut self, actor: &str) -> Self {
        self.actor = Some(actor.to_owned());
        self
    }

    /// Shows events from this time on: RFC 3339, or a date, which begins in UTC.
    ///
    /// # Errors
    /// `InvalidArgument` if it is neither.
    pub fn from(mut self, time: &str) -> Result<Self> {
        self.from = Some(parse(time)?);
        Ok(self)
    }

    /// Shows events before this time.
    ///
    /// # Errors
    /// `InvalidArgument` if it is neither RFC 3339 nor a date.
    pub fn to(mut self, time: &str) -> Result<Self> {
        self.to = Some(parse(time)?);
        Ok(self)
    }

    /// Returns whether a record of a log is shown.
    #[must_use]
    pub fn shows(&self, record: &[u8]) -> bool {
        RecordedEvent::parse(record).is_some_and(|event| self.shows_event(&event))
    }

    /// Returns whether an event is shown.
    #[must_use]
    pub fn shows_event(&self, event: &RecordedEvent) -> bool {
        let time = || event.timestamp();
        self.key.as_ref().is_none_or(|key| event.is_about(key))
            && self
                .actor
                .as_deref()
                .is_none_or(|actor| event.actor() == Some(actor))
            && self
                .from
                .is_none_or(|from| time().is_some_and(|time| time >= from))
            && self.to.is_none_or(|to| time().is_some_and(|time| time < to))
    }
}

fn parse(time: &str) -> Result<Timestamp> {
    let of_date = || {
        let date: Date = time.parse().ok()?;
        Some(date.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp())
    };
    let parsed = time.parse().ok().or_else(|| (time.len() == 10).then(of_date)?);
    parsed.ok_or_else(|| {
        Error::argument("a time is RFC 3339, such as 2026-11-27T09:30:00Z, or a date, such as 2026-11-27")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_must_hold() {
        let event = br#"{"time":"2026-11-27T09:30:00.000001Z","user.id":"alice","waxseal.keks":[{"id":"kek-1","keys":["019"]}],
            "waxseal.envelope.keks":[{"id":"kek-2"}]}"#;
        let new = EventFilter::new;
        let shown = [
            new(),
            new().key("kek-1"),
            new().key("kek-2"),
            new().key("019").actor("alice"),
            new().from("2026-11-27").unwrap().to("2026-11-28").unwrap(),
            new().from("2026-11-27T10:30:00.000001+01:00").unwrap(),
        ];
        let hidden = [
            new().key("kek"),
            new().actor("bob").key("kek-1"),
            new().from("2026-11-27T09:30:00.000002Z").unwrap(),
            new().to("2026-11-27T09:30:00.000001Z").unwrap(),
        ];
        assert!(shown.iter().all(|filter| filter.shows(event)));
        assert!(!hidden.iter().any(|filter| filter.shows(event)));
        assert!(!new().shows(b"no event"));
        for bad in ["", "yesterday", "2026-13-01", "2026-11-27T09:30", "P1D"] {
            assert!(new().from(bad).is_err(), "{bad}");
        }
    }
}
