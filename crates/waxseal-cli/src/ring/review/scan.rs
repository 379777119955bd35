//! Reading the records of all logs, one after the other. What is kept of them has bounds.

use std::collections::HashMap;

use serde_json::{Value, json};
use waxseal::audit::{Misnumbered, Sequences};
use waxseal::ring::Time;

use super::event::Event;
use super::releases::{Judged, Releases};
use super::subject::{Part, Subject};
use super::tally::{Bounded, Tally};
use crate::failure::{Failure, Result};

/// Intents whose end is waited for at once.
const INTENTS: usize = 10_000;
/// Changes that have moved the key. A key has no more moves.
const CHANGES: usize = 500;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which of the logs.
    pub(super) log: usize,
    pub(super) record: u64,
    /// Whether a checkpoint covers it.
    pub(super) is_covered: bool,
}

impl Place {
    pub(super) fn to_json(self, logs: &[String]) -> Value {
        json!({
            "log": logs.get(self.log),
            "record": self.record,
            "covered": self.is_covered,
        })
    }
}

/// An event of a list.
#[derive(Clone)]
pub(super) struct Noted {
    pub(super) at: Place,
    /// What the key has to do with it, if it has.
    pub(super) part: Option<Part>,
    pub(super) event: Value,
}

impl Noted {
    pub(super) fn of(at: Place, part: Option<Part>, event: Event<'_>) -> Self {
        Self {
            at,
            part,
            event: event.to_json(),
        }
    }

    pub(super) fn to_json(&self, logs: &[String]) -> Value {
        let mut object = self.at.to_json(logs);
        crate::report::extend(&mut object, json!({ "part": self.part.map(Part::name) }));
        crate::report::extend(&mut object, self.event.clone());
        object
    }
}

/// From when to when. Without an end, it has none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    pub(super) from: Option<Time>,
    pub(super) to: Option<Time>,
}

impl Window {
    pub(super) fn of(from: Option<&str>, to: Option<&str>) -> Result<Self> {
        let window = Self {
            from: from.map(|from| time("--from", from)).transpose()?,
            to: to.map(|to| time("--to", to)).transpose()?,
        };
        match (window.from, window.to) {
            (Some(from), Some(to)) if from >= to => Err(Failure::usage(format!(
                "--from must be before --to, got {from} and {to}"
            ))),
            _ => Ok(window),
        }
    }

    /// Whether an event is of this time. One without a time is of none, if there is a limit.
    fn has(self, event: Event<'_>) -> bool {
        let time = event.time();
        self.from.is_none_or(|from| time.is_some_and(|time| time >= from))
            && self.to.is_none_or(|to| time.is_some_and(|time| time < to))
    }
}

/// RFC 3339, or a date, which begins in UTC.
fn time(option: &str, text: &str) -> Result<Time> {
    let of_date = || format!("{text}T00:00:00Z").parse();
    text.parse().or_else(|_: waxseal::Error| of_date()).map_err(|_| {
        Failure::usage(format!(
            "{option}: a time is RFC 3339, such as 2026-11-27T09:30:00Z, or a date, such as 2026-11-27"
        ))
    })
}

/// Something that was about to be done.
#[derive(PartialEq, Eq, Hash)]
struct Intended {
    instance: String,
    action: String,
    revision: Option<u64>,
    head: Option<String>,
}

/// An intent whose end is not in the logs.
pub(super) struct Unended {
    pub(super) noted: Noted,
    is_in_window: bool,
}

/// Something that is off with the numbers of a log.
pub(super) struct Hole {
    pub(super) at: Place,
    pub(super) what: Misnumbered,
}

impl Hole {
    /// What it is, and in words.
    pub(super) fn describe(&self) -> (&'static str, String) {
        match &self.what {
            Misnumbered::Hole {
                instance,
                first,
                missing,
            } => {
                let text = format!("{missing} missing from number {first} on, of {instance}");
                ("hole", text)
            }
            Misnumbered::Again { instance, number } => {
                let text = format!("the number {number} of {instance}, or a later one, was there already");
                ("again", text)
            }
            _ => (
                "unnumbered",
                "the record is no event, or has no number".to_owned(),
            ),
        }
    }

    pub(super) fn to_json(&self, logs: &[String]) -> Value {
        let (instance, first, missing) = match &self.what {
            Misnumbered::Hole {
                instance,
                first,
                missing,
            } => (Some(instance), Some(first), Some(missing)),
            Misnumbered::Again { instance, number } => (Some(instance), Some(number), None),
            _ => (None, None, None),
        };
        let mut object = self.at.to_json(logs);
        let more = json!({
            "what": self.describe().0,
            "instance": instance,
            "number": first,
            "missing": missing,
        });
        crate::report::extend(&mut object, more);
        object
    }
}

/// A gap: events that were lost, and that the log tells of.
pub(super) struct Gap {
    pub(super) noted: Noted,
    pub(super) lost: u64,
}

/// Everything that is taken down of the logs.
pub(super) struct Scan<'s> {
    subject: &'s Subject,
    window: Window,
    sequences: Sequences,
    intents: HashMap<Intended, Vec<Unended>>,
    open_intents: usize,
    more_intents: u64,
    pub(super) counts: Tally,
    pub(super) kek_alone: Tally,
    pub(super) denials: Bounded<Noted>,
    pub(super) first_use: Option<(Time, Noted)>,
    pub(super) last_use: Option<(Time, Noted)>,
    pub(super) releases: Releases,
    pub(super) gaps: Bounded<Gap>,
    pub(super) lost: u64,
    pub(super) holes: Bounded<Hole>,
    /// Changes that have moved the key, by the revision that they made.
    pub(super) changes: Vec<(u64, Place)>,
    /// The newest revision of the ring in any event.
    pub(super) newest: Option<u64>,
}

impl<'s> Scan<'s> {
    pub(super) fn new(subject: &'s Subject, window: Window) -> Self {
        Self {
            subject,
            window,
            sequences: Sequences::new(),
            intents: HashMap::new(),
            open_intents: 0,
            more_intents: 0,
            counts: Tally::default(),
            kek_alone: Tally::default(),
            denials: Bounded::first(),
            first_use: None,
            last_use: None,
            releases: Releases::new(),
            gaps: Bounded::first(),
            lost: 0,
            holes: Bounded::first(),
            changes: Vec::new(),
            newest: None,
        }
    }

    /// The next record is the first one of another log.
    pub(super) fn begin_log(&mut self) {
        self.sequences = Sequences::new();
        self.releases.begin_log();
    }

    /// Takes a record down.
    pub(super) fn see(&mut self, at: Place, record: &[u8]) {
        if let Some(what) = self.sequences.follow(record) {
            self.holes.add(|| Hole { at, what });
        }
        let Ok(event) = serde_json::from_slice::<Value>(record) else {
            return;
        };
        let event = Event(&event);
        let is_in_window = self.window.has(event);
        let is_ours = self.is_ours(event);
        // Whether what did not succeed has made its revision, nobody knows.
        if is_ours && (event.is_success() || !event.is_of_ring()) {
            self.newest = self.newest.max(event.revision());
        }
        if let Some(lost) = event.lost().filter(|_| is_in_window) {
            self.lost = self.lost.saturating_add(lost);
            self.gaps.add(|| Gap {
                noted: Noted::of(at, None, event),
                lost,
            });
        }
        let part = self.subject.part(event);
        self.see_intent(event, at, part, is_in_window);
        self.see_change(event, at);
        let judged = part.and_then(|part| self.releases.see(self.subject, event, part, at));
        self.releases.know(self.subject, event);
        let Some(part) = part else { return };
        if !is_in_window {
            return;
        }
        let is_use = judged.is_some_and(|judged| judged != Judged::ByAnother);
        let part = if is_use { part.of_release() } else { part };
        match part.is_of_kek_alone() {
            true => self.kek_alone.add(part, event),
            false => self.counts.add(part, event),
        }
        if event.is_forbidden() {
            self.denials.add(|| Noted::of(at, Some(part), event));
        }
        if let Some(time) = event.time().filter(|_| is_use && !part.is_of_kek_alone()) {
            self.see_use(time, || Noted::of(at, Some(part), event));
        }
    }

    fn is_ours(&self, event: Event<'_>) -> bool {
        event.ring() == Some(self.subject.ring.as_str())
    }

    fn see_use(&mut self, time: Time, noted: impl Fn() -> Noted) {
        // Records come in the order of logs and of their numbers.
        if self.first_use.as_ref().is_none_or(|(first, _)| time < *first) {
            self.first_use = Some((time, noted()));
        }
        if self.last_use.as_ref().is_none_or(|(last, _)| time >= *last) {
            self.last_use = Some((time, noted()));
        }
    }

    /// A change is a move of the key if its signed history has the revision: the state may be the same before and after.
    fn see_change(&mut self, event: Event<'_>, at: Place) {
        let is_change = event.action() == "ring.change" && event.is_success();
        if let Some(revision) = event.revision()
            && is_change
            && self.subject.history.contains(&revision)
            && (event.moves(&self.subject.id) || event.moves_more() && self.is_ours(event))
            && self.changes.len() < CHANGES
        {
            self.changes.push((revision, at));
        }
    }

    fn see_intent(&mut self, event: Event<'_>, at: Place, part: Option<Part>, is_in_window: bool) {
        if !event.is_of_ring() {
            return;
        }
        let text = |text: Option<&str>| text.map(str::to_owned);
        let intended = Intended {
            instance: text(event.instance()).unwrap_or_default(),
            action: event.action().to_owned(),
            revision: event.revision(),
            head: text(event.head()),
        };
        if event.outcome() != "intended" {
            if let Some(open) = self.intents.get_mut(&intended) {
                self.open_intents -= usize::from(open.pop().is_some());
                if open.is_empty() {
                    self.intents.remove(&intended);
                }
            }
            return;
        }
        if self.open_intents >= INTENTS {
            self.more_intents += 1;
            return;
        }
        self.open_intents += 1;
        self.intents.entry(intended).or_default().push(Unended {
            noted: Noted::of(at, part, event),
            is_in_window,
        });
    }

    /// The intents of the window without an end, in the order of the records.
    pub(super) fn unended(&mut self) -> Bounded<Unended> {
        let open = std::mem::take(&mut self.intents).into_values().flatten();
        let mut open: Vec<Unended> = open.filter(|intent| intent.is_in_window).collect();
        open.sort_by_key(|intent| intent.noted.at);
        let mut list = Bounded::first();
        for intent in open {
            list.add(|| intent);
        }
        list.more += self.more_intents;
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "01a21e93-b0b9-71a6-9136-e70841870001";

    /// Takes down events of one process, with a number each.
    fn scanned<'s>(subject: &'s Subject, window: Window, events: &[Value]) -> Scan<'s> {
        let mut scan = Scan::new(subject, window);
        for (record, event) in (0_u64..).zip(events) {
            let mut event = event.clone();
            let numbered = json!({ "waxseal.sequence": record, "service.instance.id": "p" });
            crate::report::extend(&mut event, numbered);
            let at = Place {
                log: 0,
                record,
                is_covered: true,
            };
            scan.see(at, event.to_string().as_bytes());
        }
        scan
    }

    fn unwrap(time: &str, outcome: &str) -> Value {
        json!({
            "event.name": "waxseal.unwrap",
            "waxseal.outcome": outcome,
            "time": time,
            "user.id": "alice",
            "waxseal.ring.id": "ring-1",
            "waxseal.ring.revision": 3,
            "waxseal.keks": [{ "keys": [KEY] }],
        })
    }

    #[test]
    fn a_window_has_its_beginning_and_not_its_end() {
        let subject = Subject::for_tests(Some(2));
        let window = Window::of(Some("2026-11-27"), Some("2026-11-27T12:00:00Z"))
            .ok()
            .unwrap();
        let times = [
            "2026-11-26T23:59:59.999999Z",
            "2026-11-27T00:00:00Z",
            "2026-11-27T11:59:59Z",
            "2026-11-27T12:00:00Z",
        ];
        let events = times.map(|time| unwrap(time, "success"));
        let scan = scanned(&subject, window, &events);
        let record = |use_: &Option<(Time, Noted)>| use_.as_ref().map(|(_, noted)| noted.at.record);
        assert_eq!(
            (record(&scan.first_use), record(&scan.last_use)),
            (Some(1), Some(2))
        );
        // What was released after the revocation counts at all times.
        assert_eq!(scan.releases.late.total(), 4);
        assert_eq!(scan.counts.end().total(), 2);
        assert!(Window::of(Some("2026-11-28"), Some("2026-11-27")).is_err());
        assert!(Window::of(Some("noon"), None).is_err() && Window::of(None, Some("2026-13-01")).is_err());
        assert!(Window::of(Some("2026-11-27"), Some("2026-11-27")).is_err());
    }

    #[test]
    fn what_was_refused_is_no_use() {
        let subject = Subject::for_tests(None);
        let mut events =
            Vec::from(["denied", "refused", "failed"].map(|outcome| unwrap("2026-11-27T00:00:00Z", outcome)));
        events.push(json!({ "event.name": "waxseal.unwrap", "waxseal.outcome": "refused" }));
        let scan = scanned(&subject, Window::default(), &events);
        assert!(scan.first_use.is_none());
        assert_eq!((scan.denials.total(), scan.releases.looked), (2, 0));
        assert_eq!(scan.counts.end().total(), 3);
    }

    #[test]
    fn an_intent_is_ended_by_the_end_of_the_same_change() {
        let subject = Subject::for_tests(None);
        let change = |outcome: &str, revision: u64, head: &str| {
            json!({
                "event.name": "waxseal.ring.change",
                "waxseal.outcome": outcome,
                "waxseal.ring.revision": revision,
                "waxseal.ring.head": head,
                "waxseal.moves": [{ "id": KEY, "from": "active", "to": "deprecated" }],
            })
        };
        let job = |outcome: &str| json!({ "event.name": "waxseal.ring.census", "waxseal.outcome": outcome });
        let events = [
            change("intended", 5, "aa"),
            change("failed", 5, "aa"),
            change("intended", 5, "bb"),
            job("intended"),
            change("intended", 6, "cc"),
            change("success", 6, "cc"),
            job("intended"),
            job("incomplete"),
        ];
        let mut scan = scanned(&subject, Window::default(), &events);
        let open = scan.unended();
        let open: Vec<_> = open
            .shown
            .iter()
            .map(|intent| (intent.noted.at.record, intent.noted.part.is_some()))
            .collect();
        assert_eq!(open, [(2, true), (3, false)]);
        let changes: Vec<_> = scan
            .changes
            .iter()
            .map(|(revision, at)| (*revision, at.record))
            .collect();
        assert_eq!(changes, [(6, 5)]);
    }

    #[test]
    fn a_move_that_changes_no_state_is_one_and_a_record_that_is_signed_anew_is_none() {
        let subject = Subject::for_tests(None);
        let change = |revision: u64, ring: &str, moves: Value, more: u64| {
            json!({
                "event.name": "waxseal.ring.change",
                "waxseal.outcome": "success",
                "waxseal.ring.id": ring,
                "waxseal.ring.revision": revision,
                "waxseal.moves": moves,
                "waxseal.moves.more": (more > 0).then_some(more),
            })
        };
        let own = json!([{ "id": KEY, "from": "compromised", "to": "compromised" }]);
        let events = [
            change(5, "ring-1", own.clone(), 0),
            // The history has no move of this revision.
            change(9, "ring-1", own, 0),
            // An event names 64 records at most, and the key may be another one of them.
            change(6, "ring-1", json!([]), 3),
            change(6, "ring-2", json!([]), 3),
        ];
        let scan = scanned(&subject, Window::default(), &events);
        let changes = scan.changes.iter().map(|(revision, at)| (*revision, at.record));
        assert_eq!(changes.collect::<Vec<_>>(), [(5, 0), (6, 2)]);
    }

    #[test]
    fn a_release_with_an_older_revision_than_was_known_before_is_no_allowed_one() {
        let subject = Subject::for_tests(Some(7));
        let at = |seconds: u32, instance: &str, revision: u64, event: Value| {
            let mut event = event;
            let more = json!({
                "time": format!("2026-11-27T00:00:{seconds:02}Z"),
                "service.instance.id": instance,
                "waxseal.ring.id": "ring-1",
                "waxseal.ring.revision": revision,
            });
            crate::report::extend(&mut event, more);
            event
        };
        let release = || {
            json!({
                "event.name": "waxseal.unwrap", "waxseal.outcome": "success", "waxseal.duration_us": 2_000_000,
                "waxseal.keks": [{ "keys": [KEY] }],
            })
        };
        let refused = || json!({ "event.name": "waxseal.unwrap", "waxseal.outcome": "refused" });
        let events = [
            at(1, "a", 6, release()),
            at(2, "a", 7, refused()),
            // On its way when the process read the ring.
            at(3, "a", 6, release()),
            at(9, "a", 6, release()),
            at(9, "b", 6, release()),
        ];
        let mut scan = Scan::new(&subject, Window::default());
        for (record, event) in (0..).zip(&events) {
            let at = Place {
                log: 0,
                record,
                is_covered: true,
            };
            scan.see(at, event.to_string().as_bytes());
        }
        let records =
            |all: &Bounded<Noted>| all.shown.iter().map(|noted| noted.at.record).collect::<Vec<_>>();
        assert_eq!(records(&scan.releases.backwards), [3]);
        let undecided: Vec<_> = scan.releases.undecided.shown.iter().collect();
        let undecided: Vec<_> = undecided
            .iter()
            .map(|(noted, why)| (noted.at.record, why.name()))
            .collect();
        assert_eq!(undecided, [(2, "older_than_log"), (4, "older_than_log")]);
        assert_eq!(scan.releases.overdue.total(), 0);
        // Another log tells nothing of what its processes knew, and clocks are for people.
        scan.begin_log();
        let place = Place {
            log: 1,
            record: 0,
            is_covered: true,
        };
        let mut late = at(0, "c", 6, release());
        late["time"] = "2026-11-27T00:01:01Z".into();
        scan.see(place, late.to_string().as_bytes());
        assert_eq!(records(&scan.releases.overdue), [0]);
        assert_eq!(
            (scan.releases.undecided.total(), scan.releases.late.total()),
            (2, 0)
        );
    }

    #[test]
    fn gaps_are_counted_in_the_window_and_holes_everywhere() {
        let subject = Subject::for_tests(None);
        let window = Window::of(Some("2026-11-27"), None).ok().unwrap();
        let gap = |time: &str, lost: u64| json!({ "event.name": "waxseal.gap", "time": time, "waxseal.lost": lost });
        let events = [gap("2026-11-26T00:00:00Z", 2), gap("2026-11-27T00:00:00Z", 3)];
        let mut scan = scanned(&subject, window, &events);
        assert_eq!((scan.lost, scan.gaps.total(), scan.holes.total()), (3, 1, 0));
        let at = Place {
            log: 0,
            record: 2,
            is_covered: false,
        };
        scan.see(at, br#"{"waxseal.sequence":9,"service.instance.id":"p"}"#);
        // 2 to 8, of which gaps tell of five.
        let missing = scan.holes.shown.front().map(|hole| hole.what.clone());
        assert!(
            matches!(missing, Some(Misnumbered::Hole { missing: 2, .. })),
            "{missing:?}"
        );
        // Another log has numbers of its own.
        scan.begin_log();
        scan.see(at, br#"{"waxseal.sequence":0,"service.instance.id":"p"}"#);
        assert_eq!(scan.holes.total(), 1);
    }
}
