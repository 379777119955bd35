//! The first keys of scopes, which provisioners add.

use super::races::both;
use super::sample::{change, id, kek, key, scope, scopes, signed, slot, time};
use super::{Outcome, PASSED, Pair, Subject, same};
use crate::ring::inventory::{MAX_BODY, RecordKind, Row, Signed, Snapshot};
use crate::ring::{Scope, Slot, State};
use crate::testing::conformance::probe::Finding;
use crate::value::error::ErrorKind;

/// Everything of these scopes, by the second handle.
async fn read(subject: &Subject, pair: &Pair, names: &[&str]) -> Finding<Snapshot> {
    let mut snapshot = subject.good("read", pair.1.read(&scopes(names)?, &[]).await)?;
    snapshot.provisioned.sort_by_key(|row| row.id);
    Ok(snapshot)
}

fn first(number: u32, of: &str) -> Finding<Row> {
    key(number, of, State::Active)
}

pub(super) async fn a_first_key_is_kept_byte_for_byte(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    let no_ring = pair.0.provision(0, &first(1, "a")?).await;
    subject.conflict("a first key where there is no ring", no_ring)?;
    subject.good("a change", pair.0.commit(&change(0, vec![first(9, "z")?])).await)?;
    let long = "s".repeat(254);
    let every_byte: Vec<u8> = (0..=255).collect();
    let whole = Row::new(
        id(2)?,
        RecordKind::Key,
        scope(&format!("{long}/{long}/xy"))?,
        Slot::default(),
        Some(State::Active),
        7,
        Some(kek("äöü", "v")?),
        Some(time(253_402_000_000)?),
        Signed::new(
            [every_byte, vec![0xfe; MAX_BODY - 256]].concat(),
            [7; 32],
            [8; 64],
        ),
    );
    for row in [&first(1, "a")?, &whole] {
        let there = subject.good("provision", pair.0.provision(1, row).await)?;
        same("the row that is there", &there, row)?;
        let found = subject.good("read", pair.1.read(std::slice::from_ref(&row.scope), &[]).await)?;
        same("the provisioned rows", &found.provisioned, &vec![row.clone()])?;
        same("the other rows", &found.rows.len(), &0)?;
        let of = subject.good("scope_of", pair.1.scope_of(row.id).await)?;
        same("the scope of the row", &of, &Some(row.scope.clone()))?;
    }
    // Of other scopes nothing is read, and the ring is what it was.
    same(
        "the provisioned rows",
        &read(subject, &pair, &["A", "a/b"]).await?.provisioned,
        &Vec::new(),
    )?;
    let revision = subject.good("revision", pair.1.revision().await)?;
    same("the revision", &revision, &1)?;
    let listed = subject.good("scopes_after", pair.1.scopes_after(None, 9).await)?;
    same("the scopes that have records", &listed, &scopes(&["z"])?)?;
    let mut pending = key(3, "b", State::Pending)?;
    let argument = |kind| kind == ErrorKind::InvalidArgument;
    subject.refused(
        "a first key that is pending",
        pair.0.provision(1, &pending).await,
        argument,
    )?;
    pending.kind = RecordKind::Intent;
    pending.state = None;
    subject.refused(
        "an intent as a first key",
        pair.0.provision(1, &pending).await,
        argument,
    )?;
    let mut long = first(3, "b")?;
    long.signed.body = vec![1; MAX_BODY + 1];
    subject.refused(
        "a first key that is too long",
        pair.0.provision(1, &long).await,
        |kind| matches!(kind, ErrorKind::OverLimit { .. }),
    )?;
    same(
        "the provisioned rows",
        &read(subject, &pair, &["b"]).await?.provisioned,
        &Vec::new(),
    )?;
    PASSED
}

pub(super) async fn a_scope_gets_one_first_key(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    let records = vec![
        key(1, "has", State::Destroyed)?,
        key(2, "pending", State::Pending)?,
    ];
    subject.good("a change", pair.0.commit(&change(0, records)).await)?;
    let own = first(10, "a")?;
    subject.good("provision", pair.0.provision(1, &own).await)?;
    // Whoever comes later gets the same, whatever revision it has seen.
    for follows in [1, 0, 7] {
        let there = subject.good(
            "a second provision",
            pair.1.provision(follows, &first(11, "a")?).await,
        )?;
        same("the row that is there", &there, &own)?;
    }
    let there = subject.good("the same provision again", pair.0.provision(1, &own).await)?;
    same("the row that is there", &there, &own)?;
    let mut slots = first(12, "a")?;
    slots.slot = slot("other")?;
    let there = subject.good("a first key of another slot", pair.1.provision(1, &slots).await)?;
    same("the row that is there", &there, &slots)?;
    for (what, answer) in [
        (
            "a first key of a scope that has records",
            pair.1.provision(1, &first(13, "has")?).await,
        ),
        (
            "a first key of a scope with a pending key",
            pair.1.provision(1, &first(13, "pending")?).await,
        ),
        (
            "a first key that follows an older revision",
            pair.1.provision(0, &first(13, "b")?).await,
        ),
        (
            "a first key that follows a revision to come",
            pair.1.provision(2, &first(13, "b")?).await,
        ),
        (
            "a first key with the id of another",
            pair.1.provision(1, &first(10, "b")?).await,
        ),
        (
            "a first key with the id of a record of another scope",
            pair.1.provision(1, &first(1, "b")?).await,
        ),
    ] {
        subject.conflict(what, answer)?;
    }
    let of = subject.good("scope_of", pair.1.scope_of(id(1)?).await)?;
    same("the scope of the record", &of, &Some(scope("has")?))?;
    let snapshot = read(subject, &pair, &["a", "b", "has", "pending"]).await?;
    same("the rows", &snapshot.rows.len(), &2)?;
    same("the provisioned rows", &snapshot.provisioned, &vec![own, slots])?;
    same("the revision", &snapshot.revision, &1)?;
    // Whoever was refused goes on.
    subject.good("a change", pair.0.commit(&change(1, Vec::new())).await)?;
    let there = subject.good("provision", pair.1.provision(2, &first(13, "b")?).await)?;
    same("the row that is there", &there, &first(13, "b")?)?;
    PASSED
}

pub(super) async fn scopes_with_first_keys_are_listed_in_order(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    subject.good("a change", pair.0.commit(&change(0, vec![first(99, "m")?])).await)?;
    let names = ["b", "B", "a/b", "á", "a"];
    for (number, name) in (1..).zip(names) {
        subject.good("provision", pair.0.provision(1, &first(number, name)?).await)?;
    }
    let mut second = first(50, "a")?;
    second.slot = slot("other")?;
    subject.good("provision", pair.0.provision(1, &second).await)?;
    let all = scopes(&["B", "a", "a/b", "b", "á"])?;
    let listed = async |after: Option<&Scope>, limit| {
        subject.good(
            "scopes_provisioned",
            pair.1.scopes_provisioned(after, limit).await,
        )
    };
    same("all of them", &listed(None, 9).await?, &all)?;
    same(
        "the first two",
        &listed(None, 2).await?.as_slice(),
        &all.get(..2).unwrap_or_default(),
    )?;
    let after = scope("a")?;
    same(
        "those after a",
        &listed(Some(&after), 9).await?.as_slice(),
        &all.get(2..).unwrap_or_default(),
    )?;
    same("those after the last", &listed(all.last(), 9).await?, &Vec::new())?;
    PASSED
}

pub(super) async fn a_change_takes_first_keys(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    subject.good("a change", pair.0.commit(&change(0, Vec::new())).await)?;
    let (a, b, c) = (first(1, "a")?, first(2, "b")?, first(3, "c")?);
    for row in [&a, &b, &c] {
        subject.good("provision", pair.0.provision(1, row).await)?;
    }
    let records = vec![key(20, "x", State::Active)?, key(1, "a", State::Deprecated)?];
    let mut beside = change(1, records.clone());
    beside.nodes.insert("a".to_owned(), vec![1]);
    let what = "a change that puts a record beside a first key that it does not take";
    subject.conflict(what, pair.1.commit(&beside).await)?;
    beside.take = vec![id(2)?, id(77)?];
    subject.conflict(what, pair.1.commit(&beside).await)?;
    let snapshot = read(subject, &pair, &["a", "b", "c", "x"]).await?;
    same(
        "the provisioned rows",
        &snapshot.provisioned,
        &vec![a, b, c.clone()],
    )?;
    same(
        "the rows, the revision",
        &(snapshot.rows.len(), snapshot.revision),
        &(0, 1),
    )?;
    // Those that it takes go, and their keys may come. One that is not there is no error.
    beside.take = vec![id(1)?, id(77)?];
    subject.good("a change that takes it", pair.1.commit(&beside).await)?;
    let mut given_up = change(2, Vec::new());
    given_up.take = vec![id(2)?];
    subject.good("a change that takes one alone", pair.0.commit(&given_up).await)?;
    let mut snapshot = read(subject, &pair, &["a", "b", "c", "x"]).await?;
    snapshot.rows.sort_by_key(|row| row.id);
    same("the provisioned rows", &snapshot.provisioned, &vec![c])?;
    let expected = vec![key(1, "a", State::Deprecated)?, key(20, "x", State::Active)?];
    same("the rows", &snapshot.rows, &expected)?;
    let again = pair.0.provision(3, &first(30, "a")?).await;
    subject.conflict("a first key of a scope whose first key was taken", again)?;
    let there = subject.good("provision", pair.0.provision(3, &first(31, "b")?).await)?;
    same("the row that is there", &there, &first(31, "b")?)?;
    PASSED
}

pub(super) async fn first_keys_are_restored(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    let whole = |provisioned| -> Finding<Snapshot> {
        Ok(Snapshot {
            revision: 41,
            head: Some(signed("head 41")),
            rows: vec![key(1, "a", State::Active)?],
            provisioned,
            ..Snapshot::default()
        })
    };
    let beside = whole(vec![first(2, "b")?, first(3, "a")?])?;
    subject.conflict(
        "a ring with a first key beside a record",
        pair.0.restore(&beside).await,
    )?;
    let two = whole(vec![first(2, "b")?, first(3, "b")?])?;
    subject.conflict(
        "a ring with two first keys of a scope",
        pair.0.restore(&two).await,
    )?;
    let revision = subject.good("revision", pair.1.revision().await)?;
    same("the revision", &revision, &0)?;
    let good = whole(vec![first(2, "b")?, first(3, "c")?])?;
    subject.good("a ring", pair.0.restore(&good).await)?;
    let snapshot = read(subject, &pair, &["a", "b", "c"]).await?;
    same("the provisioned rows", &snapshot.provisioned, &good.provisioned)?;
    PASSED
}

pub(super) async fn one_of_two_first_keys_wins(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    subject.good("a change", pair.0.commit(&change(0, Vec::new())).await)?;
    for round in 0..subject.rounds {
        let name = format!("tenant/{round}");
        let rows = (first(2 * round, &name)?, first(2 * round + 1, &name)?);
        let ended = both(
            || pollster::block_on(pair.0.provision(1, &rows.0)),
            || pollster::block_on(pair.1.provision(1, &rows.1)),
        );
        let one = subject.good("the first of two provisions", ended.0)?;
        let other = subject.good("the second of two provisions", ended.1)?;
        same("what both were told", &one, &other)?;
        same(
            "that it is one of theirs",
            &(one == rows.0 || one == rows.1),
            &true,
        )?;
        let found = read(subject, &pair, &[&name]).await?.provisioned;
        same("the provisioned rows", &found, &vec![one])?;
    }
    PASSED
}

pub(super) async fn a_first_key_and_a_record_exclude_each_other(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    subject.good("a change", pair.0.commit(&change(0, Vec::new())).await)?;
    let mut revision = 1;
    for round in 0..subject.rounds {
        let name = format!("tenant/{round}");
        let own = first(2 * round, &name)?;
        let record = change(revision, vec![first(2 * round + 1, &name)?]);
        let ended = both(
            || pollster::block_on(pair.0.provision(revision, &own)),
            || pollster::block_on(pair.1.commit(&record)),
        );
        let snapshot = read(subject, &pair, &[&name]).await?;
        match ended {
            (Ok(there), lost) => {
                subject.conflict("a record beside a first key", lost)?;
                same("the row that is there", &there, &own)?;
                same("the provisioned rows", &snapshot.provisioned, &vec![own])?;
                same("the rows", &snapshot.rows, &Vec::new())?;
            }
            (lost, Ok(())) => {
                subject.conflict("a first key beside a record", lost)?;
                same("the provisioned rows", &snapshot.provisioned, &Vec::new())?;
                same("the rows", &snapshot.rows, &record.put)?;
                revision += 1;
            }
            (Err(error), Err(_)) => {
                return Err(format!(
                    "neither a first key nor a record came to a scope: {error}"
                ));
            }
        }
        same("the revision", &snapshot.revision, &revision)?;
    }
    PASSED
}
