//! What is read of what was committed.

use super::sample::{by_id, change, id, kek, key, scope, scopes, signed, slot, time};
use super::{Outcome, PASSED, Subject, same};
use crate::envelope::KekRef;
use crate::ring::inventory::{MAX_BODY, RecordKind, Row, Signed};
use crate::ring::{Scope, Slot, State};
use crate::testing::conformance::probe::{Finding, own};

pub(super) async fn an_empty_inventory_is_empty(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    for inventory in [&one, &other] {
        same(
            "revision",
            &subject.good("revision", inventory.revision().await)?,
            &0,
        )?;
        let asked = (scopes(&["/", "a"])?, ["".to_owned(), "0".to_owned()]);
        let snapshot = subject.good("read", inventory.read(&asked.0, &asked.1).await)?;
        same("the revision of a snapshot", &snapshot.revision, &0)?;
        same("the head", &snapshot.head, &None)?;
        same("the settings", &snapshot.settings, &None)?;
        same("the successions", &snapshot.successions.len(), &0)?;
        same("the nodes", &snapshot.nodes.len(), &0)?;
        same("the rows", &snapshot.rows.len(), &0)?;
        same(
            "scope_of",
            &subject.good("scope_of", inventory.scope_of(id(1)?).await)?,
            &None,
        )?;
        same(
            "next_due",
            &subject.good("next_due", inventory.next_due().await)?,
            &None,
        )?;
        let found = [
            subject.good("scopes_after", inventory.scopes_after(None, 9).await)?,
            subject.good("scopes_due", inventory.scopes_due(time(9_000_000_000)?, 9).await)?,
            subject.good(
                "scopes_of_kek",
                inventory.scopes_of_kek("conformance", "k", 9).await,
            )?,
        ];
        same("scopes", &found.concat().len(), &0)?;
        let beats = subject.good("heartbeats", inventory.heartbeats(time(0)?).await)?;
        same("heartbeats", &beats, &Vec::new())?;
    }
    PASSED
}

/// Rows that use every column to its limit.
fn rows() -> Finding<Vec<Row>> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let long_segment = "s".repeat(254);
    let mut rows = vec![
        key(1, "/", State::Active)?,
        key(2, "tenant/äöü 🦀/%2F", State::Pending)?,
        Row::new(
            id(3)?,
            RecordKind::Intent,
            scope("/")?,
            slot("default")?,
            None,
            7,
            None,
            None,
            Signed::new(every_byte.clone(), [0; 32], [0xff; 64]),
        ),
        Row::new(
            id(4)?,
            RecordKind::Key,
            scope(&format!("{long_segment}/{long_segment}/xy"))?,
            slot(&"z".repeat(64))?,
            Some(State::Destroyed),
            u64::MAX >> 2,
            Some(KekRef::new(&"p".repeat(32), &"i".repeat(2_048), &"v".repeat(255)).map_err(own)?),
            Some(time(253_402_000_000)?),
            Signed::new(vec![0xfe; MAX_BODY], [7; 32], [8; 64]),
        ),
        Row::new(
            id(5)?,
            RecordKind::Key,
            scope("a")?,
            Slot::default(),
            Some(State::Retired),
            1,
            // A hidden id and no version.
            Some(kek("", "")?),
            Some(time(-1)?),
            Signed::new(vec![0], [0; 32], [0; 64]),
        ),
        Row::new(
            id(6)?,
            RecordKind::Tombstone,
            scope("a")?,
            Slot::default(),
            None,
            1,
            None,
            Some(time(7)?),
            signed("it was shredded"),
        ),
    ];
    for (number, state) in (10..).zip(crate::ring::STATES.iter().map(|row| row.state)) {
        rows.push(key(number, &format!("state/{state}"), state)?);
    }
    Ok(rows)
}

pub(super) async fn what_is_committed_is_read_byte_for_byte(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    let every_byte: Vec<u8> = (0..=255).collect();
    let rows = rows()?;
    let mut change = change(0, rows.clone());
    change.head = Signed::new(every_byte.clone(), [1; 32], [2; 64]);
    change.settings = Some(Signed::new(every_byte.repeat(100), [3; 32], [4; 64]));
    change.succession = Some(signed("the first"));
    for path in ["", "0", "ab", "fff"] {
        change
            .nodes
            .insert(path.to_owned(), [path.as_bytes(), &every_byte].concat());
    }
    change.nodes.insert("f".to_owned(), vec![9; MAX_BODY]);
    subject.good("a change", one.commit(&change).await)?;
    let wanted: Vec<Scope> = rows.iter().map(|row| row.scope.clone()).collect();
    let nodes: Vec<String> = change.nodes.keys().cloned().collect();
    for inventory in [&one, &other] {
        same(
            "revision",
            &subject.good("revision", inventory.revision().await)?,
            &1,
        )?;
        let snapshot = subject.good("read", inventory.read(&wanted, &nodes).await)?;
        same("the revision of a snapshot", &snapshot.revision, &1)?;
        same("the head", &snapshot.head, &Some(change.head.clone()))?;
        same("the settings", &snapshot.settings, &change.settings)?;
        same(
            "the successions",
            &snapshot.successions,
            &vec![signed("the first")],
        )?;
        same("the nodes", &snapshot.nodes, &change.nodes)?;
        same("how many rows there are", &snapshot.rows.len(), &rows.len())?;
        for (id, row) in by_id(&rows) {
            same("a row", &by_id(&snapshot.rows).get(&id).copied(), &Some(row))?;
        }
    }
    PASSED
}

pub(super) async fn only_what_is_asked_for_is_read(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    let names = ["a", "a/b", "A", "ab", "a%25", "a_", "á"];
    let mut rows = Vec::new();
    for (number, name) in (1..).zip(names) {
        rows.push(key(number, name, State::Active)?);
    }
    let mut change = change(0, rows);
    change.nodes.insert("a".to_owned(), vec![1]);
    change.nodes.insert("ab".to_owned(), vec![2]);
    subject.good("a change", one.commit(&change).await)?;
    for name in names {
        let snapshot = subject.good("read", other.read(&scopes(&[name])?, &[]).await)?;
        let found: Vec<_> = snapshot.rows.iter().map(|row| row.scope.as_str()).collect();
        same("the scopes that were read", &found, &vec![name])?;
        same("the nodes", &snapshot.nodes.len(), &0)?;
        same("the head", &snapshot.head.is_some(), &true)?;
    }
    let twice = scopes(&["a", "a", "none", "a"])?;
    let snapshot = subject.good(
        "read",
        other.read(&twice, &["a".to_owned(), "b".to_owned()]).await,
    )?;
    same(
        "the rows of a scope that is named again",
        &snapshot.rows.len(),
        &1,
    )?;
    let nodes: Vec<_> = snapshot.nodes.into_iter().collect();
    same("the nodes", &nodes, &vec![("a".to_owned(), vec![1])])?;
    let nothing = subject.good("read", other.read(&[], &[]).await)?;
    same("the rows of no scope", &nothing.rows.len(), &0)?;
    same("the revision of a snapshot", &nothing.revision, &1)?;
    PASSED
}

pub(super) async fn many_scopes_and_nodes_are_read(subject: &Subject) -> Outcome {
    const SCOPES: u32 = 257;
    let (one, other) = subject.open().await?;
    let mut rows = Vec::new();
    let name = |number: u32| format!("tenant/{number}");
    for number in 0..SCOPES {
        rows.push(key(2 * number, &name(number), State::Active)?);
        rows.push(key(2 * number + 1, &name(number), State::Deprecated)?);
    }
    let mut change = change(0, rows);
    for number in 0..SCOPES {
        change
            .nodes
            .insert(format!("{number:03x}"), number.to_be_bytes().to_vec());
    }
    subject.good("a change", one.commit(&change).await)?;
    for count in [1, 2, 9, 10, 11, 99, 100, 101, 256] {
        let asked: Finding<Vec<_>> = (1..=count).map(|number| scope(&name(number))).collect();
        let nodes: Vec<_> = (1..=count).map(|number| format!("{number:03x}")).collect();
        let snapshot = subject.good("read", other.read(&asked?, &nodes).await)?;
        let mut found: Vec<_> = snapshot.rows.iter().map(|row| row.id).collect();
        found.sort_unstable();
        let expected: Finding<Vec<_>> = (2..2 * count + 2).map(id).collect();
        same(&format!("the rows of {count} scopes"), &found, &expected?)?;
        let found: Vec<_> = snapshot.nodes.keys().cloned().collect();
        same(&format!("{count} nodes"), &found, &nodes)?;
    }
    PASSED
}
