//! Whether a DEK was released under the key at or after the revision that revoked it: by revisions, and never by clocks.

use serde_json::{Value, json};

use super::event::Event;
use super::known::{Known, Knows, is_overdue};
use super::scan::{Noted, Place};
use super::subject::{Part, Subject};
use super::tally::Bounded;

/// Why nobody can tell whether a release came after the revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The event has no revision of a ring.
    NoRevision,
    /// The revision is one of another ring.
    OtherRing,
    /// The event names the KEK, and no key of the ring.
    KekAlone,
    /// A branch key did it that was wrapped under the key once, and is under another one by now.
    BranchMoved,
    /// Its revision is older than the revocation, and the log had that already: the process had an older ring, or was shown one.
    OlderThanLog,
}

impl Why {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NoRevision => "no_revision",
            Self::OtherRing => "other_ring",
            Self::KekAlone => "kek_alone",
            Self::BranchMoved => "branch_moved",
            Self::OlderThanLog => "older_than_log",
        }
    }
}

/// What a release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Before the revocation, or of a key that was never revoked.
    Allowed,
    /// A re-wrap out of the key, under an approval.
    Approved,
    /// At or after the revocation.
    Late,
    /// With an older revision than the process itself had before.
    Backwards,
    Undecided(Why),
    /// A re-wrap of an envelope that names the key beside another one, which can have opened it.
    ByAnother,
}

/// Judges an event that has to do with the key. `None` if it released nothing under it.
pub(super) fn judge(subject: &Subject, event: Event<'_>, part: Part, knows: Knows) -> Option<Judged> {
    if !event.is_use() || !event.is_success() {
        return None;
    }
    // The KEKs of a re-wrap are those that wrap now. What opened stands in the envelope.
    let is_rewrap_from = event.action() == "rewrap" && matches!(part, Part::Named | Part::KekNamed);
    if is_rewrap_from && event.approval(|id| subject.covers(id)).is_some() {
        return Some(Judged::Approved);
    }
    if is_rewrap_from && !subject.is_only_wrap(event) {
        return Some(Judged::ByAnother);
    }
    if !part.did_it() && !is_rewrap_from {
        return None;
    }
    let Some(revoked) = subject.revoked else {
        return Some(Judged::Allowed);
    };
    let is_ours = event.ring() == Some(subject.ring.as_str());
    let judged = match event.revision() {
        Some(revision) if is_ours && revision < revoked.revision => match knows {
            Knows::Nobody => Judged::Allowed,
            Knows::SomeoneElse => Judged::Undecided(Why::OlderThanLog),
            Knows::Itself => Judged::Backwards,
        },
        _ if part.is_of_kek_alone() => Judged::Undecided(Why::KekAlone),
        None => Judged::Undecided(Why::NoRevision),
        Some(_) if !is_ours => Judged::Undecided(Why::OtherRing),
        Some(_) if subject.is_by_moved_branch(event) => Judged::Undecided(Why::BranchMoved),
        Some(_) => Judged::Late,
    };
    Some(judged)
}

/// The releases of all logs.
pub(super) struct Releases {
    pub(super) looked: u64,
    /// The newest revision that a process had when it released something under the key.
    pub(super) newest: Option<u64>,
    pub(super) late: Bounded<Noted>,
    /// With an older revision than the process itself had before.
    pub(super) backwards: Bounded<Noted>,
    /// Allowed by their revisions, and later by their clocks than a process may go without news of the revocation.
    pub(super) overdue: Bounded<Noted>,
    /// Who has known of the revocation.
    known: Known,
    pub(super) approved: Bounded<(Noted, Value)>,
    /// The last ones, since those are the most likely to come after the revocation.
    pub(super) undecided: Bounded<(Noted, Why)>,
    /// Re-wraps that another key can have opened.
    pub(super) by_another: u64,
}

impl Releases {
    pub(super) fn new() -> Self {
        Self {
            looked: 0,
            newest: None,
            late: Bounded::first(),
            backwards: Bounded::first(),
            overdue: Bounded::last(),
            known: Known::default(),
            approved: Bounded::first(),
            undecided: Bounded::last(),
            by_another: 0,
        }
    }

    /// The next event is of another log.
    pub(super) fn begin_log(&mut self) {
        self.known.begin_log();
    }

    /// Takes down what an event shows to be known, whatever it has to do with the key. To be called after `see`.
    pub(super) fn know(&mut self, subject: &Subject, event: Event<'_>) {
        self.known.see(subject, event);
    }

    /// Takes an event down, and returns what it is.
    pub(super) fn see(
        &mut self,
        subject: &Subject,
        event: Event<'_>,
        part: Part,
        at: Place,
    ) -> Option<Judged> {
        let judged = judge(subject, event, part, self.known.before(event))?;
        if judged == Judged::ByAnother {
            self.by_another += 1;
            return Some(judged);
        }
        self.looked += 1;
        if event.ring() == Some(subject.ring.as_str()) {
            self.newest = self.newest.max(event.revision());
        }
        let noted = || Noted::of(at, Some(part.of_release()), event);
        match judged {
            Judged::Allowed if is_overdue(subject, event) => self.overdue.add(noted),
            Judged::Allowed | Judged::ByAnother => {}
            Judged::Backwards => self.backwards.add(noted),
            Judged::Late => self.late.add(noted),
            Judged::Undecided(why) => self.undecided.add(|| (noted(), why)),
            Judged::Approved => {
                let approval = event.approval(|id| subject.covers(id));
                let approval = approval.map_or(Value::Null, |approval| approval.to_json());
                self.approved.add(|| (noted(), approval));
            }
        }
        Some(judged)
    }

    pub(super) fn to_json(&self, subject: &Subject, newest_seen: Option<u64>, logs: &[String]) -> Value {
        json!({
            "revoked": subject.revoked.map(|revoked| revoked.revision),
            "revoked_key": subject.revoked.map(|revoked| revoked.key.to_string()),
            "looked_at": self.looked,
            "newest": self.newest,
            "newest_in_logs": newest_seen,
            "at_or_after": self.late.to_json(|noted| noted.to_json(logs)),
            "older_than_process": self.backwards.to_json(|noted| noted.to_json(logs)),
            "after_max_stale": self.overdue.to_json(|noted| noted.to_json(logs)),
            "approved": self.approved.to_json(|(noted, approval)| {
                let mut object = noted.to_json(logs);
                crate::report::extend(&mut object, json!({ "approval": approval }));
                object
            }),
            "undecided": self.undecided.to_json(|(noted, why)| {
                let mut object = noted.to_json(logs);
                crate::report::extend(&mut object, json!({ "why": why.name() }));
                object
            }),
            "by_another": self.by_another,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "01a21e93-b0b9-71a6-9136-e70841870001";
    const UNDER: &str = "01a21e93-b0b9-71a6-9136-e70841870002";
    const MOVED: &str = "01a21e93-b0b9-71a6-9136-e70841870003";

    fn judged(revoked: Option<u64>, event: &Value) -> Option<Judged> {
        let subject = Subject::for_tests(revoked);
        let event = Event(event);
        judge(&subject, event, subject.part(event)?, Knows::Nobody)
    }

    fn event(action: &str, key: &str, revision: Value) -> Value {
        let mut event = json!({
            "event.name": format!("waxseal.{action}"),
            "waxseal.outcome": "success",
            "waxseal.keks": [{ "keys": [key] }],
            "waxseal.ring.id": "ring-1",
        });
        event["waxseal.ring.revision"] = revision;
        event
    }

    #[test]
    fn a_release_at_or_after_the_revision_is_late_and_one_before_is_not() {
        for action in ["generate", "unwrap", "rewrap", "release", "wrap"] {
            let at = |revision: u64| judged(Some(7), &event(action, KEY, revision.into()));
            assert_eq!(at(6), Some(Judged::Allowed), "{action}");
            assert_eq!(at(7), Some(Judged::Late), "{action}");
            assert_eq!(at(8), Some(Judged::Late), "{action}");
        }
        assert_eq!(
            judged(None, &event("unwrap", KEY, 9.into())),
            Some(Judged::Allowed)
        );
        assert_eq!(judged(Some(7), &event("probe", KEY, 9.into())), None);
        let mut failed = event("unwrap", KEY, 9.into());
        failed["waxseal.outcome"] = "refused".into();
        assert_eq!(judged(Some(7), &failed), None);
        // A clock says nothing.
        let mut dated = event("unwrap", KEY, 6.into());
        dated["time"] = "2999-01-01T00:00:00Z".into();
        assert_eq!(judged(Some(7), &dated), Some(Judged::Allowed));
    }

    #[test]
    fn what_has_no_revision_of_the_ring_cannot_be_decided() {
        let undecided = |event: &Value, why| {
            assert_eq!(judged(Some(7), event), Some(Judged::Undecided(why)));
            assert_eq!(judged(None, event), Some(Judged::Allowed));
        };
        undecided(&event("unwrap", KEY, Value::Null), Why::NoRevision);
        let mut other = event("unwrap", KEY, 3.into());
        other["waxseal.ring.id"] = "ring-2".into();
        undecided(&other, Why::OtherRing);
        let alone = json!({
            "event.name": "waxseal.unwrap",
            "waxseal.outcome": "success",
            "waxseal.keks": [{ "provider": "local", "id": "kek-1", "version": "2" }],
        });
        undecided(&alone, Why::KekAlone);
    }

    #[test]
    fn a_branch_key_counts_as_long_as_it_is_under_the_key() {
        let late = event("unwrap", UNDER, 8.into());
        assert_eq!(judged(Some(7), &late), Some(Judged::Late));
        let moved = event("unwrap", MOVED, 8.into());
        assert_eq!(judged(Some(7), &moved), Some(Judged::Undecided(Why::BranchMoved)));
        let before = event("unwrap", MOVED, 6.into());
        assert_eq!(judged(Some(7), &before), Some(Judged::Allowed));
    }

    #[test]
    fn a_rewrap_out_of_the_key_takes_an_approval() {
        let rewrap = |named: Value, used: Value| {
            let mut event = event("rewrap", "other", 8.into());
            event["waxseal.envelope.keks"] = named;
            event["waxseal.authorizations.used"] = used;
            judged(Some(7), &event)
        };
        let only = || json!([{ "keys": [KEY], "fate": "replaced" }]);
        let both = || json!([{ "keys": [KEY] }, { "keys": ["other"] }]);
        let approval =
            |subject: &str| json!([{ "ticket": "INC-7", "approver": "carol", "subject": subject }]);
        assert_eq!(rewrap(only(), approval(KEY)), Some(Judged::Approved));
        assert_eq!(rewrap(both(), approval(KEY)), Some(Judged::Approved));
        assert_eq!(rewrap(only(), approval("other")), Some(Judged::Late));
        assert_eq!(rewrap(only(), Value::Null), Some(Judged::Late));
        assert_eq!(rewrap(both(), Value::Null), Some(Judged::ByAnother));
        // A process without a ring names the KEK alone.
        let alone = json!({ "provider": "local", "id": "kek-1", "version": "2" });
        let other = json!({ "provider": "local", "id": "kek-2", "version": "" });
        let by_kek = |named: Value| {
            let event = json!({
                "event.name": "waxseal.rewrap", "waxseal.outcome": "success",
                "waxseal.keks": [other.clone()], "waxseal.envelope.keks": named,
            });
            (judged(Some(7), &event), judged(None, &event))
        };
        let undecided = Some(Judged::Undecided(Why::KekAlone));
        assert_eq!(by_kek(json!([alone.clone()])), (undecided, Some(Judged::Allowed)));
        let by_another = Some(Judged::ByAnother);
        assert_eq!(by_kek(json!([alone, other.clone()])), (by_another, by_another));
        // An approval lets nothing be wrapped under it.
        let mut under = event("rewrap", KEY, 8.into());
        under["waxseal.authorizations.used"] = approval(KEY);
        assert_eq!(judged(Some(7), &under), Some(Judged::Late));
        // And nothing be opened.
        let mut opened = event("unwrap", KEY, 8.into());
        opened["waxseal.authorizations.used"] = approval(KEY);
        assert_eq!(judged(Some(7), &opened), Some(Judged::Late));
    }
}
