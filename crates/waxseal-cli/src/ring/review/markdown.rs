//! A review as Markdown.

use std::fmt::Write as _;

use serde_json::Value;
use waxseal::envelope::AlgorithmClass;

use super::Review;
use super::scan::{Noted, Place};
use super::tally::{Bounded, Counts};
use crate::report::many;
use crate::ring::markdown::{cell, table};
use crate::ring::table::or_dash;

pub(super) fn text(review: &Review) -> String {
    let (view, window) = (&review.view, review.window);
    let mut text = format!(
        "# Review of the key {}\n\nKey ring {}, revision {} of {}, verified under {}. Review of {}. From {} to {}.\n",
        review.key.id,
        view.ring(),
        view.revision(),
        view.changed(),
        cell(&view.authority().to_string()),
        review.now,
        window
            .from
            .map_or_else(|| "the beginning".to_owned(), |from| from.to_string()),
        window
            .to
            .map_or_else(|| "the end".to_owned(), |to| to.to_string()),
    );
    findings(review, &mut text);
    key(review, &mut text);
    logs(review, &mut text);
    done(review, &mut text);
    releases(review, &mut text);
    wrapped(review, &mut text);
    missing(review, &mut text);
    proofs(review, &mut text);
    text
}

fn head(text: &mut String, title: &str) {
    let _ = write!(text, "\n## {title}\n\n");
}

fn findings(review: &Review, text: &mut String) {
    head(text, "Findings");
    let findings = review.findings();
    if findings.is_empty() {
        text.push_str("None.\n");
    }
    for finding in findings {
        let _ = writeln!(text, "- {}", cell(&finding));
    }
}

fn key(review: &Review, text: &mut String) {
    let key = &review.key;
    head(text, "The key");
    let parent = key.branch.as_ref().map(|branch| branch.parent);
    let rows = [
        ["Scope".to_owned(), format!("{}, slot {}", key.scope, key.slot)],
        ["State".to_owned(), key.state.to_string()],
        [
            "Algorithm".to_owned(),
            format!(
                "{}, {}",
                key.protecting_algorithm(),
                key.class().map_or("unknown class", AlgorithmClass::name)
            ),
        ],
        ["Reached by".to_owned(), key.provenance.uri.clone()],
        ["Wrapped under".to_owned(), or_dash(parent)],
    ];
    table(text, ["What", "Value"], rows.into_iter());
    for other in &review.subject.same_kek {
        let _ = writeln!(
            text,
            "\nThe key {other} is the same KEK, or some of it. It has a review of its own."
        );
    }
    head(text, "States");
    text.push_str("By the signed history of the ring. *Record* is the change in a log, if one has it.\n\n");
    let rows = key.history.iter().map(|made| {
        [
            made.at.to_string(),
            made.revision.to_string(),
            or_dash(made.from),
            made.to.to_string(),
            made.actor.clone(),
            or_dash(made.ticket.as_ref()),
            or_dash(made.approver.as_ref()),
            made.reason.clone(),
            place_or_dash(review, review.seen.change(made.revision)),
        ]
    });
    table(
        text,
        [
            "At", "Revision", "From", "To", "Actor", "Ticket", "Approver", "Reason", "Record",
        ],
        rows,
    );
}

fn logs(review: &Review, text: &mut String) {
    head(text, "Logs");
    let rows = review.logs.iter().map(|log| {
        let checkpoint = log.reader.checkpoint();
        [
            log.name.clone(),
            checkpoint.origin().to_owned(),
            log.records.to_string(),
            checkpoint.size().to_string(),
            base16ct::lower::encode_string(checkpoint.root()),
            log.describe(),
        ]
    });
    table(
        text,
        [
            "Log",
            "Origin",
            "Records",
            "Under the checkpoint",
            "Root",
            "Verified",
        ],
        rows,
    );
}

fn counts(text: &mut String, counts: &Counts) {
    let all = counts.rows.iter().map(|row| (row, true));
    let all = all.chain(counts.others.iter().map(|row| (row, false)));
    let rows = all.map(|((row, count), has_actor)| {
        [
            row.part.to_owned(),
            row.action.clone(),
            row.outcome.clone(),
            row.purpose.clone().unwrap_or_else(|| "-".to_owned()),
            match has_actor {
                true => row.actor.clone().unwrap_or_else(|| "-".to_owned()),
                false => "(all others)".to_owned(),
            },
            count.to_string(),
        ]
    });
    table(
        text,
        ["The key", "Action", "Outcome", "Purpose", "Actor", "Events"],
        rows,
    );
}

fn done(review: &Review, text: &mut String) {
    let seen = &review.seen;
    head(text, "What was done");
    text.push_str(
        "*Used*: the key wrapped or unwrapped. *Branch*: a branch key did that is under it, or was. *Administered*: something was done to it. *Named*: it was asked, or the \
         envelope names it, which whoever wrote the envelope claims.\n\n",
    );
    counts(text, &seen.counts);
    head(text, "By the KEK alone");
    text.push_str("Not through the ring: these events name the KEK and no key of the ring. The process may have had no ring.\n\n");
    counts(text, &seen.kek_alone);
    head(text, "First and last use");
    let uses = [("First", &seen.first_use), ("Last", &seen.last_use)];
    let uses = uses.into_iter().filter_map(|(what, noted)| {
        let noted = noted.as_ref()?;
        Some([
            what.to_owned(),
            of(noted, "time"),
            of(noted, "action"),
            of(noted, "actor"),
            place(review, noted.at),
        ])
    });
    table(text, ["Use", "Time", "Action", "Actor", "Record"], uses);
    head(text, "Denied and refused");
    let rows = seen.denials.shown.iter().map(|noted| {
        [
            of(noted, "time"),
            of(noted, "action"),
            of(noted, "outcome"),
            of(noted, "error"),
            of(noted, "actor"),
            place(review, noted.at),
        ]
    });
    table(
        text,
        ["Time", "Action", "Outcome", "Error", "Actor", "Record"],
        rows,
    );
    more(text, &seen.denials);
}

fn releases(review: &Review, text: &mut String) {
    let (seen, releases) = (&review.seen, &review.seen.releases);
    head(text, "Releases after the revocation");
    let newest = |newest: Option<u64>| newest.map_or_else(|| "none".to_owned(), |newest| newest.to_string());
    let looked = format!(
        "{} looked at, in all records of the logs, newest revision among them: {}, newest revision in the logs: {}",
        many(releases.looked, "release"),
        newest(releases.newest),
        newest(seen.newest)
    );
    let Some(revoked) = review.subject.revoked else {
        let _ = writeln!(text, "Not checked: the key was never revoked. {looked}.");
        approved(review, text);
        return;
    };
    let _ = writeln!(
        text,
        "Checked, by revisions and not by clocks: {looked}, revoked at revision {}, at or after it: {}.",
        revoked.revision,
        releases.late.total()
    );
    if revoked.key != review.key.id {
        let _ = writeln!(text, "\nRevoked is {}, which wraps the key.", revoked.key);
    }
    if seen.newest.is_none_or(|newest| newest < revoked.revision) {
        text.push_str("\nNo event of these logs knows the revocation: logs of later processes are missing, or nothing was asked since.\n");
    }
    listed(review, text, &releases.late, "At or after it");
    listed(
        review,
        text,
        &releases.backwards,
        "With an older revision than the same process had before, which knew the revocation",
    );
    let title = "Allowed by their revisions, and later than a process may open without news of the revocation, by the clocks of both";
    listed(review, text, &releases.overdue, title);
    approved(review, text);
    if releases.undecided.total() > 0 {
        let _ = write!(
            text,
            "\nCannot be decided by revisions: {}. The last of them:\n\n",
            releases.undecided.total()
        );
        let rows = releases.undecided.shown.iter().map(|(noted, why)| {
            let [time, action, actor, _, branch, place] = released(review, noted);
            [time, action, actor, why.name().replace('_', " "), branch, place]
        });
        table(
            text,
            ["Time", "Action", "Actor", "Why", "Branch key", "Record"],
            rows,
        );
        more(text, &releases.undecided);
    }
    if releases.by_another > 0 {
        let _ = writeln!(
            text,
            "\nNot counted: {} of envelopes that name the key beside another one, which can have opened them.",
            many(releases.by_another, "re-wrap")
        );
    }
}

fn listed(review: &Review, text: &mut String, releases: &Bounded<Noted>, title: &str) {
    if releases.total() == 0 {
        return;
    }
    let _ = write!(text, "\n{title}: {}.\n\n", releases.total());
    let rows = releases.shown.iter().map(|noted| released(review, noted));
    table(
        text,
        ["Time", "Action", "Actor", "Revision", "Branch key", "Record"],
        rows,
    );
    more(text, releases);
}

fn approved(review: &Review, text: &mut String) {
    let approved = &review.seen.releases.approved;
    if approved.total() == 0 {
        return;
    }
    let _ = write!(
        text,
        "\nRe-wrapped out of the key under an approval: {}.\n\n",
        approved.total()
    );
    let rows = approved.shown.iter().map(|(noted, approval)| {
        let of_approval = |name: &str| value(approval.get(name));
        [
            of(noted, "time"),
            of(noted, "actor"),
            of(noted, "revision"),
            of_approval("ticket"),
            of_approval("approver"),
            place(review, noted.at),
        ]
    });
    table(
        text,
        ["Time", "Actor", "Revision", "Ticket", "Approver", "Record"],
        rows,
    );
    more(text, approved);
}

fn released(review: &Review, noted: &Noted) -> [String; 6] {
    [
        of(noted, "time"),
        of(noted, "action"),
        of(noted, "actor"),
        of(noted, "revision"),
        of(noted, "branch"),
        place(review, noted.at),
    ]
}

fn wrapped(review: &Review, text: &mut String) {
    head(text, "What is still wrapped under it");
    let (Some(objects), Some(through)) = (review.objects, review.through) else {
        text.push_str("Not counted: give the receipts of a census by `--receipt`.\n");
        return;
    };
    text.push_str("*Lost* would be what no other key opens: with a key, also what is under the branch keys that are wrapped under it.\n\n");
    let rows = [("The key", objects), ("Branch keys under it", through)];
    let rows = rows.map(|(what, one)| {
        let counts = [one.items, one.sole, one.unknown, one.bytes, one.branches];
        let [items, sole, unknown, bytes, branches] = counts.map(|count| count.to_string());
        [what.to_owned(), items, sole, unknown, bytes, branches]
    });
    table(
        text,
        [
            "Under",
            "Envelopes",
            "Lost",
            "Perhaps under it",
            "Bytes",
            "Branch keys",
        ],
        rows.into_iter(),
    );
    text.push('\n');
    let rows = review.censuses.iter().map(|census| {
        let of = |name: &str| value(census.get(name));
        [of("census"), of("started"), of("whole"), of("items")]
    });
    table(text, ["Census", "Began", "Whole", "Envelopes"], rows);
}

fn missing(review: &Review, text: &mut String) {
    let seen = &review.seen;
    head(text, "What may be missing");
    let uncovered = review.logs.iter().filter(|log| log.uncovered() > 0);
    for log in uncovered {
        let _ = writeln!(
            text,
            "- {} of {} in no checkpoint yet: nothing proves them.",
            many(log.uncovered(), "record"),
            cell(&log.name)
        );
    }
    let _ = writeln!(
        text,
        "- Lost, as gaps of this time tell: {}.",
        many(seen.lost, "event")
    );
    let _ = writeln!(
        text,
        "- Places where numbers are missing or out of order, and no gap tells of it: {}.",
        seen.holes.total()
    );
    let _ = writeln!(
        text,
        "- Begun, and without an end in the logs: {}.",
        seen.unended.total()
    );
    if seen.gaps.total() > 0 {
        head(text, "Gaps");
        let rows = seen.gaps.shown.iter().map(|gap| {
            [
                of(&gap.noted, "time"),
                of(&gap.noted, "instance"),
                gap.lost.to_string(),
                place(review, gap.noted.at),
            ]
        });
        table(text, ["Time", "Process", "Lost", "Record"], rows);
        more(text, &seen.gaps);
    }
    if seen.holes.total() > 0 {
        head(text, "Holes");
        text.push_str("A hole of one number can be a gap of another sink of the same process.\n\n");
        let rows = seen
            .holes
            .shown
            .iter()
            .map(|hole| [hole.describe().1, place(review, hole.at)]);
        table(text, ["What", "Before record"], rows);
        more(text, &seen.holes);
    }
    if seen.unended.total() > 0 {
        head(text, "Begun and not ended");
        text.push_str("*In the ring*: whether the history of the key has this revision.\n\n");
        let rows = seen.unended.shown.iter().map(|intent| {
            let in_ring = match review.has_change(intent) {
                Some(true) => "yes",
                Some(false) => "no",
                None => "-",
            };
            [
                of(&intent.noted, "time"),
                of(&intent.noted, "action"),
                of(&intent.noted, "actor"),
                of(&intent.noted, "revision"),
                in_ring.to_owned(),
                place(review, intent.noted.at),
            ]
        });
        table(
            text,
            ["Time", "What", "Actor", "Revision", "In the ring", "Record"],
            rows,
        );
        more(text, &seen.unended);
    }
}

fn proofs(review: &Review, text: &mut String) {
    head(text, "Proofs");
    text.push_str(
        "Each verifies with the public key of its log alone. What has no file is proven by `waxseal audit prove LOG RECORD`.\n\n",
    );
    let rows = review.proofs.all.iter().map(|proof| {
        let file = proof.file.as_ref().or(proof.unproven.as_ref());
        [place(review, proof.at), proof.shows.join(", "), or_dash(file)]
    });
    table(text, ["Record", "Shows", "File"], rows);
    if review.proofs.more > 0 {
        let _ = writeln!(text, "\n{} more.", review.proofs.more);
    }
}

fn more<T>(text: &mut String, list: &Bounded<T>) {
    if list.more > 0 {
        let _ = writeln!(text, "\n{} more.", list.more);
    }
}

fn of(noted: &Noted, name: &str) -> String {
    value(noted.event.get(name))
}

fn value(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn place(review: &Review, at: Place) -> String {
    let log = review.names.get(at.log).map_or("-", String::as_str);
    let unproven = if at.is_covered {
        ""
    } else {
        ", in no checkpoint yet"
    };
    format!("{log}, record {}{unproven}", at.record)
}

fn place_or_dash(review: &Review, at: Option<Place>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| place(review, at))
}
