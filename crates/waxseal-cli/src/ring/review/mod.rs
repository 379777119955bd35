//! `review`: what was done under a key, for whoever looks back at an incident.

mod event;
mod known;
mod logs;
mod markdown;
mod proofs;
mod releases;
mod scan;
mod subject;
mod tally;

use std::sync::Arc;

use serde_json::{Value, json};
use waxseal::ring::evidence::Total;
use waxseal::ring::{KeyRecord, Reader, RecordId, State, Time, View};

use self::logs::ReviewedLog;
use self::proofs::Proofs;
use self::releases::Releases;
use self::scan::{Gap, Hole, Noted, Place, Scan, Unended, Window};
use self::subject::Subject;
use self::tally::{Bounded, Counts};
use super::counted::{censuses_json, check_apart, total_json};
use super::keys::{history_json, key_json, receipts, verified};
use super::{each_key_record, open, parsed, path_of, show, wait};
use crate::arguments::Review as Options;
use crate::failure::{Failure, Result};
use crate::report;

/// Everything that a report says.
struct Review {
    view: View,
    /// The revision of the ring after the logs were read, if they know a newer one than was read.
    newest: u64,
    key: Arc<KeyRecord>,
    subject: Subject,
    now: Time,
    window: Window,
    logs: Vec<ReviewedLog>,
    /// The directories of the logs.
    names: Vec<String>,
    seen: Seen,
    proofs: Proofs,
    /// `None` if no census was given.
    objects: Option<Total>,
    /// The same of the branch keys that are wrapped under it.
    through: Option<Total>,
    censuses: Vec<Value>,
}

/// What the logs say.
struct Seen {
    counts: Counts,
    kek_alone: Counts,
    denials: Bounded<Noted>,
    first_use: Option<Noted>,
    last_use: Option<Noted>,
    releases: Releases,
    gaps: Bounded<Gap>,
    lost: u64,
    holes: Bounded<Hole>,
    unended: Bounded<Unended>,
    changes: Vec<(u64, Place)>,
    newest: Option<u64>,
}

/// What a branch key is wrapped under, or was until it was destroyed: the ring does not read that one along.
fn parent_of(reader: &Reader, view: &View, key: &KeyRecord) -> Result<Option<Arc<KeyRecord>>> {
    match &key.branch {
        Some(branch) if key.state == State::Destroyed => {
            let (_, view) = wait(reader.scope_of(branch.parent))?;
            Ok(view.key(branch.parent).cloned())
        }
        _ => Ok(view.parent(key)?.cloned()),
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let window = Window::of(options.from.as_deref(), options.to.as_deref())?;
    let id: RecordId = parsed("--key", &options.key)?;
    let receipts = receipts(&options.receipt)?;
    let ring = open(&path_of(&options.ring))?;
    let (scope, view) = wait(ring.reader.scope_of(id))?;
    let key = view
        .key(id)
        .cloned()
        .ok_or_else(|| Failure::usage(format!("--key: the scope {scope} of the ring has no key {id}")))?;
    let verified = verified(&receipts, &view, options.allow_empty)?;
    check_apart(&verified)?;
    let parent = parent_of(&ring.reader, &view, &key)?;
    let mut subject = Subject::of(&key, parent.as_deref(), &view);
    let mut through = Total::default();
    let bad = each_key_record(&ring.reader, |other| {
        subject.meet(&key, other);
        if other.is_branch_of(key.id) {
            through.add(Total::of(&verified, other));
        }
    })?;
    let now = wait(ring.reader.inventory().now())?;
    let mut logs = logs::open(options)?;
    if let Some(folder) = &options.proofs {
        proofs::prepare(folder)?;
    }
    let seen = Seen::of(&subject, window, &mut logs);
    // Logs were read after the ring, and may know a change that came in between.
    let is_newer = seen.newest.is_some_and(|newest| newest > view.revision());
    let newest = match is_newer {
        true => wait(ring.reader.scopes(&[]))?.revision(),
        false => view.revision(),
    };
    ring.end()?;
    let mut proofs = seen.proofs();
    if let Some(folder) = &options.proofs {
        proofs.write(folder, &logs)?;
    }
    let review = Review {
        objects: (!verified.is_empty()).then(|| Total::of(&verified, &key)),
        through: (!verified.is_empty()).then_some(through),
        censuses: censuses_json(&verified),
        names: logs.iter().map(|log| log.name.clone()).collect(),
        view,
        newest,
        key,
        subject,
        now,
        window,
        logs,
        seen,
        proofs,
    };
    show(&review.to_json(), || markdown::text(&review))?;
    let findings = review.findings();
    match (findings.as_slice(), bad) {
        ([first, rest @ ..], _) => {
            let more = match rest.len() {
                0 => String::new(),
                count => format!("; {} more", report::many(count as u64, "finding")),
            };
            Err(Failure::attention(format!("the review found: {first}{more}")))
        }
        ([], Some(bad)) => Err(bad),
        ([], None) => Ok(()),
    }
}

impl Seen {
    fn of(subject: &Subject, window: Window, logs: &mut [ReviewedLog]) -> Self {
        let mut scan = Scan::new(subject, window);
        for (number, log) in logs.iter_mut().enumerate() {
            log.read(number, &mut scan);
        }
        let unended = scan.unended();
        Self {
            counts: scan.counts.end(),
            kek_alone: scan.kek_alone.end(),
            denials: scan.denials,
            first_use: scan.first_use.map(|(_, noted)| noted),
            last_use: scan.last_use.map(|(_, noted)| noted),
            releases: scan.releases,
            gaps: scan.gaps,
            lost: scan.lost,
            holes: scan.holes,
            unended,
            changes: scan.changes,
            newest: scan.newest,
        }
    }

    /// The records that the report stands on.
    fn proofs(&self) -> Proofs {
        let uses = [(&self.first_use, "first use"), (&self.last_use, "last use")];
        let uses = uses
            .into_iter()
            .filter_map(|(noted, what)| Some((noted.as_ref()?.at, what)));
        let late = self.releases.late.shown.iter();
        let late = late.map(|noted| (noted.at, "release at or after the revocation"));
        let backwards = self.releases.backwards.shown.iter();
        let backwards = backwards.map(|noted| (noted.at, "release with an older revision than before"));
        let changes = self.changes.iter().map(|(_, at)| (*at, "move of the key"));
        Proofs::of(uses.chain(late).chain(backwards).chain(changes))
    }

    /// The record of the change that made a revision.
    fn change(&self, revision: u64) -> Option<Place> {
        let mut changes = self.changes.iter();
        changes.find(|(made, _)| *made == revision).map(|(_, at)| *at)
    }
}

impl Review {
    /// What needs attention.
    fn findings(&self) -> Vec<String> {
        let mut all = Vec::new();
        let (seen, subject) = (&self.seen, &self.subject);
        if let (late @ 1.., Some(revoked)) = (seen.releases.late.total(), subject.revoked) {
            all.push(format!(
                "{} under the key at or after revision {}, which revoked it",
                report::many(late, "release"),
                revoked.revision
            ));
        }
        if let backwards @ 1.. = seen.releases.backwards.total() {
            all.push(format!(
                "{} under the key by a process that had the revision of the revocation before, with an older one",
                report::many(backwards, "release"),
            ));
        }
        for log in &self.logs {
            all.extend(
                log.findings()
                    .map(|finding| format!("the log {}: {finding}", log.name)),
            );
        }
        if seen.holes.total() > 0 {
            all.push(format!(
                "events are missing, or out of order, at {}",
                report::many(seen.holes.total(), "place")
            ));
        }
        if let Some(newest) = seen.newest.filter(|newest| *newest > self.newest) {
            all.push(format!(
                "the logs know revision {newest} of the ring, and the inventory has revision {}: it is older, or an event is forged",
                self.newest
            ));
        }
        all
    }

    /// Whether the ring has the change of an intent, if it names the key.
    fn has_change(&self, intent: &Unended) -> Option<bool> {
        let revision = intent.noted.event.get("revision")?.as_u64()?;
        let mut history = self.key.history.iter();
        let is_of_key = intent.noted.part.is_some();
        is_of_key.then(|| history.any(|made| made.revision == revision))
    }

    fn history_json(&self) -> Vec<Value> {
        let history = history_json(&self.key).into_iter().zip(&self.key.history);
        let each = history.map(|(mut object, made)| {
            let change = self.seen.change(made.revision).map(|at| at.to_json(&self.names));
            report::extend(&mut object, json!({ "change": change }));
            object
        });
        each.collect()
    }

    fn to_json(&self) -> Value {
        let (seen, names) = (&self.seen, &self.names);
        let mut key = key_json(&self.key);
        let more = json!({ "uri": self.key.provenance.uri, "history": self.history_json() });
        report::extend(&mut key, more);
        let noted = |noted: &Option<Noted>| noted.as_ref().map(|noted| noted.to_json(names));
        json!({
            "schema": report::SCHEMA,
            "command": "review",
            "ring": self.view.ring().to_string(),
            "revision": self.view.revision(),
            "mark": self.view.mark().to_string(),
            "authority": self.view.authority().to_string(),
            "at": self.now.to_string(),
            "from": self.window.from.map(|from| from.to_string()),
            "to": self.window.to.map(|to| to.to_string()),
            "findings": self.findings(),
            "key": key,
            "same_kek": self.subject.same_kek,
            "logs": self.logs.iter().map(ReviewedLog::to_json).collect::<Vec<_>>(),
            "counts": seen.counts.rows_json(),
            "others": seen.counts.others_json(),
            "kek_alone": { "counts": seen.kek_alone.rows_json(), "others": seen.kek_alone.others_json() },
            "denials": seen.denials.to_json(|noted| noted.to_json(names)),
            "first_use": noted(&seen.first_use),
            "last_use": noted(&seen.last_use),
            "releases": seen.releases.to_json(&self.subject, seen.newest, names),
            "objects": self.objects.map(total_json),
            "through_branch_keys": self.through.map(total_json),
            "censuses": self.censuses,
            "lost": seen.lost,
            "gaps": seen.gaps.to_json(|gap| {
                let mut object = gap.noted.to_json(names);
                report::extend(&mut object, json!({ "lost": gap.lost }));
                object
            }),
            "holes": seen.holes.to_json(|hole| hole.to_json(names)),
            "intents": seen.unended.to_json(|intent| {
                let mut object = intent.noted.to_json(names);
                let more = json!({ "names_key": intent.noted.part.is_some(), "in_ring": self.has_change(intent) });
                report::extend(&mut object, more);
                object
            }),
            "proofs": self.proofs.to_json(names),
        })
    }
}
