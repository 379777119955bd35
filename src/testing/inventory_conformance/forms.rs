//! What inventories do not store, and what they store as it is.

use super::sample::{change, key, scope, scopes, signed, time};
use super::{Outcome, PASSED, Subject, same};
use crate::envelope::KekRef;
use crate::ring::State;
use crate::ring::inventory::{Heartbeat, MAX_BODY, Signed, Snapshot};
use crate::testing::conformance::Suite;
use crate::testing::conformance::probe::own;
use crate::value::error::ErrorKind;

pub(super) async fn what_no_inventory_stores_is_refused(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    subject.good("a change", one.commit(&change(0, Vec::new())).await)?;
    let is_over = |kind| matches!(kind, ErrorKind::OverLimit { .. });
    let is_argument = |kind| kind == ErrorKind::InvalidArgument;
    let long = || Signed::new(vec![0; MAX_BODY + 1], [0; 32], [0; 64]);

    let mut wrong = change(1, Vec::new());
    wrong.head = long();
    subject.refused("a head that is too long", one.commit(&wrong).await, is_over)?;
    let mut wrong = change(1, Vec::new());
    wrong.settings = Some(long());
    subject.refused("settings that are too long", one.commit(&wrong).await, is_over)?;
    let mut wrong = change(1, Vec::new());
    wrong.succession = Some(long());
    subject.refused("a succession that is too long", one.commit(&wrong).await, is_over)?;
    let mut row = key(1, "a", State::Active)?;
    row.signed = long();
    let wrong = change(1, vec![row]);
    subject.refused("a record that is too long", one.commit(&wrong).await, is_over)?;
    let mut wrong = change(1, Vec::new());
    wrong.nodes.insert("a".to_owned(), vec![0; MAX_BODY + 1]);
    subject.refused("a node that is too long", one.commit(&wrong).await, is_over)?;
    let mut wrong = change(1, Vec::new());
    wrong.head = Signed::new(Vec::new(), [0; 32], [0; 64]);
    subject.refused("a head that is empty", one.commit(&wrong).await, is_argument)?;
    for path in ["abcd", "A", "x", "/", "\0", "é"] {
        let mut wrong = change(1, Vec::new());
        wrong.nodes.insert(path.to_owned(), vec![1]);
        subject.refused("a path of no node", one.commit(&wrong).await, is_argument)?;
        // Nor does one ask for it: there is no such node.
        let read = subject.good("read", one.read(&[], &[path.to_owned()]).await)?;
        same("the nodes of a path of no node", &read.nodes.len(), &0)?;
    }
    let mut row = key(1, "a", State::Active)?;
    row.revision = u64::MAX;
    let wrong = change(1, vec![row]);
    subject.refused(
        "a revision of a record that is too great",
        one.commit(&wrong).await,
        is_argument,
    )?;
    let wrong = change(u64::MAX, Vec::new());
    subject.refused(
        "a revision that is too great",
        one.commit(&wrong).await,
        is_argument,
    )?;
    let nothing = Snapshot::default();
    subject.refused(
        "a ring without a head",
        other.restore(&nothing).await,
        is_argument,
    )?;
    same(
        "the revision",
        &subject.good("revision", other.revision().await)?,
        &1,
    )?;

    let beat =
        |reader: &str, process: &str| Heartbeat::new(reader.to_owned(), process.to_owned(), 1, Vec::new());
    let long = "x".repeat(256);
    for (reader, process) in [
        ("", "p"),
        ("r", ""),
        ("a\0", "p"),
        ("r", "a\n"),
        (&*long, "p"),
        ("r", &*long),
    ] {
        let answer = one.beat(&beat(reader, process)).await;
        subject.refused("a heartbeat with a name that is none", answer, is_argument)?;
    }
    let long = &long[1..];
    subject.good("a heartbeat with long names", one.beat(&beat(long, long)).await)?;
    let beats = subject.good("heartbeats", other.heartbeats(time(0)?).await)?;
    same("the heartbeats", &beats.len(), &1)?;
    PASSED
}

pub(super) async fn names_are_only_names(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    let names = [
        "'; drop table waxseal_row; --",
        "\"quoted\"",
        "back\\slash",
        "%25_*?[a]",
        "$1 :a @b ?1",
        "e\u{301}",
        "é",
        "🦀",
        "null",
        "0",
        "tenant/ä/x=1&y=2#z",
    ];
    let mut rows = Vec::new();
    for (number, name) in (1..).zip(names) {
        let mut row = key(number, name, State::Active)?;
        row.kek = Some(KekRef::new("conformance", name, name).map_err(own)?);
        rows.push(row);
    }
    subject.good("a change", one.commit(&change(0, rows.clone())).await)?;
    for (name, row) in names.iter().zip(&rows) {
        let snapshot = subject.good("read", other.read(&scopes(&[name])?, &[]).await)?;
        same("the rows of a scope", &snapshot.rows, &vec![row.clone()])?;
        let found = subject.good("scopes_of_kek", other.scopes_of_kek("conformance", name, 9).await)?;
        same("the scopes of a KEK", &found, &vec![scope(name)?])?;
        let beat = Heartbeat::new((*name).to_owned(), (*name).to_owned(), 1, Vec::new());
        subject.good("a heartbeat", one.beat(&beat).await)?;
    }
    let beats = subject.good("heartbeats", other.heartbeats(time(0)?).await)?;
    let mut found: Vec<_> = beats.iter().map(|beat| &*beat.reader).collect();
    found.sort_unstable();
    let mut expected = names.to_vec();
    expected.sort_unstable();
    same("the names of readers", &found, &expected)?;
    for name in ["\0", "a\0b", "\u{7f}", ""] {
        let found = other.scopes_of_kek(name, name, 9).await;
        if let Ok(found) = found {
            same("the scopes of no KEK", &found.len(), &0)?;
        }
    }
    PASSED
}

pub(super) async fn nothing_printed_shows_secrets(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    let mut first = change(0, vec![key(1, "a", State::Active)?]);
    first.settings = Some(signed("settings"));
    subject.good("a change", one.commit(&first).await)?;
    for inventory in [&one, &other] {
        subject.check_text("Debug", &format!("{inventory:?} {inventory:#?}"))?;
    }
    subject.conflict("a stale change", other.commit(&first).await)?;
    PASSED
}
