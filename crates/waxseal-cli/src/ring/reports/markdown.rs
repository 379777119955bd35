//! A report as Markdown.

use std::fmt::Write as _;

use waxseal::envelope::AlgorithmClass;
use waxseal::ring::evidence::Total;

use super::Reporting;
use super::rows::Reported;
use crate::report::many;
use crate::ring::markdown::{cell, table};
use crate::ring::table::or_dash;

fn through(total: Option<Total>, count: impl Fn(Total) -> u64) -> String {
    total.map_or_else(|| "-".to_owned(), |total| count(total).to_string())
}

/// The state, and what stops a branch key that would be in use.
fn state(one: &Reported) -> String {
    match one.state == one.key.state {
        true => one.state.to_string(),
        false => format!("{} by its parent, itself {}", one.state, one.key.state),
    }
}

fn same_kek(one: &Reported) -> Option<String> {
    let ids: Vec<_> = one.same_kek.iter().map(ToString::to_string).collect();
    (!ids.is_empty()).then(|| ids.join(", "))
}

pub(super) fn text(report: &Reporting) -> String {
    let view = &report.view;
    let mut text = format!(
        "# Key ring {}\n\nRevision {} of {}, verified under {}. Report of {}. Mark: {}.\n\n## Summary\n\n{} in {}.\n\n",
        view.ring(),
        view.revision(),
        view.changed(),
        cell(&view.authority().to_string()),
        report.now,
        view.mark(),
        many(report.keys.len() as u64, "key"),
        many(report.scopes, "scope"),
    );
    let states = report.states().into_iter();
    table(
        &mut text,
        ["State", "Keys"],
        states.map(|(state, keys)| [state.to_owned(), keys.to_string()]),
    );
    text.push('\n');
    let algorithms = report.algorithms().into_iter();
    table(
        &mut text,
        ["Algorithm", "Class", "Keys that are not destroyed"],
        algorithms.map(|((algorithm, class), keys)| [algorithm, class.to_owned(), keys.to_string()]),
    );
    let (overdue, due): (Vec<_>, Vec<_>) = report.due().into_iter().partition(|(_, due)| due.is_overdue);
    for (title, due) in [("Overdue", overdue), ("Due", due)] {
        let _ = write!(text, "\n## {title}\n\n");
        let rows = due.into_iter().map(|(one, due)| {
            [
                due.at.to_string(),
                due.what.to_owned(),
                one.key.scope.to_string(),
                one.key.id.to_string(),
            ]
        });
        table(&mut text, ["At", "What", "Scope", "Key"], rows);
    }
    text.push_str("\n## What is still under keys that seal no more\n\n");
    match report.censuses.is_empty() {
        true => text.push_str("Not counted: give the receipts of a census by `--receipt`.\n"),
        false => {
            text.push_str(
                "*Lost* would be what no other key opens. *Through branch keys* is what opens no more without the branch keys that are wrapped under the key. \
                 An envelope counts for every key that it is under, and for every key that is the same KEK.\n\n",
            );
            let rows = report.left().map(|(one, objects)| {
                [
                    one.key.scope.to_string(),
                    one.key.id.to_string(),
                    one.state.to_string(),
                    objects.items.to_string(),
                    objects.sole.to_string(),
                    objects.unknown.to_string(),
                    objects.bytes.to_string(),
                    objects.branches.to_string(),
                    through(one.through, |through| through.items),
                    through(one.through, |through| through.bytes),
                ]
            });
            table(
                &mut text,
                [
                    "Scope",
                    "Key",
                    "State",
                    "Envelopes",
                    "Lost",
                    "Perhaps under it",
                    "Bytes",
                    "Branch keys",
                    "Through branch keys",
                    "Bytes through them",
                ],
                rows,
            );
        }
    }
    text.push_str("\n## Harvest now, decrypt later\n\n");
    match report.harvest() {
        None => text.push_str("Not counted: give the receipts of a census by `--receipt`.\n"),
        Some(harvest) => {
            text.push_str(
                "Whoever keeps these today opens them with a quantum computer: they have a wrap under a classical key, or under a branch key that is or was wrapped under one. *Only* is what no other key \
                 opens. An envelope with wraps under two classical keys counts for both, and not as *only*; so envelopes and bytes are the most that there may \
                 be. *Since* is when the oldest of these keys became active. Keys whose class nobody knows are not here.\n\n",
            );
            let rows = harvest.into_iter().map(|(scope, harvest)| {
                [
                    scope.to_string(),
                    harvest.keys.to_string(),
                    harvest.since.to_string(),
                    harvest.objects.items.to_string(),
                    harvest.objects.sole.to_string(),
                    harvest.objects.bytes.to_string(),
                ]
            });
            table(
                &mut text,
                ["Scope", "Keys", "Since", "Envelopes", "Only", "Bytes"],
                rows,
            );
        }
    }
    text.push_str("\n## Keys\n\n");
    let rows = report.keys.iter().map(|one| {
        let key = &one.key;
        [
            key.scope.to_string(),
            key.slot.to_string(),
            key.id.to_string(),
            state(one),
            format!(
                "{}, {}",
                key.protecting_algorithm(),
                key.class().map_or("unknown class", AlgorithmClass::name)
            ),
            key.provenance.uri.clone(),
            format!("{}, overlap {}", key.cadence, key.overlap),
            or_dash(key.activated),
            one.due
                .map_or_else(|| "-".to_owned(), |due| format!("{} {}", due.what, due.at)),
            one.objects
                .map_or_else(|| "-".to_owned(), |objects| objects.items.to_string()),
            or_dash(same_kek(one)),
        ]
    });
    table(
        &mut text,
        [
            "Scope",
            "Slot",
            "Key",
            "State",
            "Algorithm",
            "Reached by",
            "Cadence",
            "Active since",
            "Due",
            "Envelopes",
            "Same KEK as",
        ],
        rows,
    );
    text
}
