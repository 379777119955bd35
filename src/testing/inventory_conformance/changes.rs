//! What a change does, and what it must not do.

use super::sample::{change, id, key, scopes, signed, slot};
use super::{Outcome, PASSED, Pair, Subject, same};
use crate::ring::State;
use crate::ring::inventory::{Row, Signed, Snapshot};
use crate::testing::conformance::probe::Finding;

/// Everything of these scopes, by the second handle.
async fn read(subject: &Subject, pair: &Pair, names: &[&str]) -> Finding<Snapshot> {
    let nodes = ["", "a", "b"].map(str::to_owned);
    let mut snapshot = subject.good("read", pair.1.read(&scopes(names)?, &nodes).await)?;
    snapshot.rows.sort_by_key(|row| row.id);
    Ok(snapshot)
}

/// The states of the rows, in the order of their ids.
fn states(snapshot: &Snapshot) -> Vec<Option<State>> {
    snapshot.rows.iter().map(|row| row.state).collect()
}

pub(super) async fn a_change_replaces_and_deletes(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    let mut first = change(
        0,
        vec![
            key(1, "a", State::Active)?,
            key(2, "a", State::Deprecated)?,
            key(3, "a", State::Pending)?,
        ],
    );
    first.settings = Some(signed("settings"));
    first.nodes.insert("a".to_owned(), vec![1]);
    first.nodes.insert("b".to_owned(), vec![2]);
    subject.good("a change", pair.0.commit(&first).await)?;

    // One moves to another scope, one goes, one that was deleted is written again.
    let mut moved = key(1, "b", State::Retired)?;
    moved.revision = 2;
    moved.signed = signed("moved");
    let again = key(3, "a", State::Active)?;
    let mut second = change(1, vec![moved.clone(), again.clone()]);
    second.delete = vec![id(2)?, id(3)?, id(99)?];
    second.nodes.insert("a".to_owned(), vec![3]);
    second.nodes.insert("b".to_owned(), Vec::new());
    second.nodes.insert("".to_owned(), Vec::new());
    second.succession = Some(signed("first"));
    subject.good("a change", pair.1.commit(&second).await)?;
    let snapshot = read(subject, &pair, &["a", "b"]).await?;
    same("the rows", &snapshot.rows, &vec![moved, again])?;
    same(
        "the settings, which do not change",
        &snapshot.settings,
        &first.settings,
    )?;
    same("the head", &snapshot.head, &Some(second.head))?;
    let nodes: Vec<_> = snapshot.nodes.into_iter().collect();
    same("the nodes", &nodes, &vec![("a".to_owned(), vec![3])])?;

    let mut third = change(2, Vec::new());
    third.settings = Some(signed("other settings"));
    third.succession = Some(signed("second"));
    subject.good("a change", pair.0.commit(&third).await)?;
    let mut fourth = change(3, Vec::new());
    fourth.succession = Some(signed("third"));
    subject.good("a change", pair.0.commit(&fourth).await)?;
    let snapshot = read(subject, &pair, &["a"]).await?;
    same("the settings", &snapshot.settings, &third.settings)?;
    let expected: Vec<Signed> = ["first", "second", "third"].map(signed).to_vec();
    same("the successions", &snapshot.successions, &expected)?;
    same("the revision", &snapshot.revision, &4)?;
    PASSED
}

pub(super) async fn a_change_follows_one_revision(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    let early = pair.0.commit(&change(1, vec![key(1, "a", State::Active)?])).await;
    subject.conflict(
        "a change that follows revision 1 of a ring that does not exist",
        early,
    )?;
    same(
        "the revision",
        &subject.good("revision", pair.1.revision().await)?,
        &0,
    )?;
    for follows in 0..3 {
        let good = change(follows, vec![key(1, "a", State::Active)?]);
        subject.good("a change", pair.0.commit(&good).await)?;
    }
    for follows in [0, 1, 2, 4, 1_000] {
        let mut wrong = change(follows, vec![key(2, "a", State::Pending)?]);
        wrong.delete = vec![id(1)?];
        wrong.settings = Some(signed("wrong"));
        wrong.succession = Some(signed("wrong"));
        wrong.nodes.insert("a".to_owned(), vec![1]);
        for inventory in [&pair.0, &pair.1] {
            let what = format!("a change that follows revision {follows} where the ring has 3");
            subject.conflict(&what, inventory.commit(&wrong).await)?;
        }
    }
    let snapshot = read(subject, &pair, &["a"]).await?;
    same("the revision", &snapshot.revision, &3)?;
    same("the head", &snapshot.head, &Some(signed("head 3")))?;
    same("the rows", &snapshot.rows, &vec![key(1, "a", State::Active)?])?;
    same("the settings", &snapshot.settings, &None)?;
    same("the successions", &snapshot.successions.len(), &0)?;
    same("the nodes", &snapshot.nodes.len(), &0)?;
    PASSED
}

fn in_slot(mut row: Row, name: &str) -> Finding<Row> {
    row.slot = slot(name)?;
    Ok(row)
}

pub(super) async fn a_second_active_key_is_refused(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    let many = vec![
        key(1, "a", State::Active)?,
        key(2, "b", State::Active)?,
        in_slot(key(3, "a", State::Active)?, "quantum")?,
        key(4, "a", State::Pending)?,
        key(5, "a", State::Pending)?,
        key(6, "a", State::Deprecated)?,
        key(7, "a", State::Deprecated)?,
    ];
    subject.good(
        "active keys of other scopes and slots",
        pair.0.commit(&change(0, many.clone())).await,
    )?;
    let mut second = change(1, vec![key(8, "c", State::Active)?, key(4, "a", State::Active)?]);
    second.nodes.insert("a".to_owned(), vec![1]);
    subject.conflict("a second active key", pair.1.commit(&second).await)?;
    let two = change(1, vec![key(8, "c", State::Active)?, key(9, "c", State::Active)?]);
    subject.conflict("two active keys at once", pair.1.commit(&two).await)?;
    let snapshot = read(subject, &pair, &["a", "b", "c"]).await?;
    same("the rows", &snapshot.rows, &many)?;
    same("the revision", &snapshot.revision, &1)?;
    same("the nodes", &snapshot.nodes.len(), &0)?;
    // Whoever was refused goes on.
    let again = change(1, vec![key(1, "a", State::Active)?, key(8, "c", State::Active)?]);
    subject.good("a change", pair.1.commit(&again).await)?;
    PASSED
}

pub(super) async fn rows_are_written_in_order(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    let rows = vec![key(1, "a", State::Active)?, key(2, "a", State::Pending)?];
    subject.good("a change", pair.0.commit(&change(0, rows)).await)?;
    let promoted = vec![key(2, "a", State::Active)?, key(1, "a", State::Deprecated)?];
    let too_early = pair.0.commit(&change(1, promoted)).await;
    subject.conflict(
        "a successor that is active before its predecessor is deprecated",
        too_early,
    )?;
    let snapshot = read(subject, &pair, &["a"]).await?;
    same(
        "the states",
        &states(&snapshot),
        &vec![Some(State::Active), Some(State::Pending)],
    )?;
    let in_order = vec![key(1, "a", State::Deprecated)?, key(2, "a", State::Active)?];
    subject.good("a promotion", pair.0.commit(&change(1, in_order)).await)?;
    let snapshot = read(subject, &pair, &["a"]).await?;
    same(
        "the states",
        &states(&snapshot),
        &vec![Some(State::Deprecated), Some(State::Active)],
    )?;
    // So it is in a change of many rows.
    let (mut before, mut wrong, mut right) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..60 {
        let (old, new, name) = (100 + 2 * number, 101 + 2 * number, format!("many/{number}"));
        before.extend([key(old, &name, State::Active)?, key(new, &name, State::Pending)?]);
        right.extend([
            key(old, &name, State::Deprecated)?,
            key(new, &name, State::Active)?,
        ]);
        wrong.extend([
            key(new, &name, State::Active)?,
            key(old, &name, State::Deprecated)?,
        ]);
    }
    // The last row is written twice.
    right.push(key(219, "many/59", State::Active)?);
    subject.good("a change of many rows", pair.0.commit(&change(2, before)).await)?;
    subject.conflict(
        "many rows in the wrong order",
        pair.0.commit(&change(3, wrong)).await,
    )?;
    subject.good("many promotions", pair.0.commit(&change(3, right)).await)?;
    for name in ["many/0", "many/30", "many/59"] {
        let snapshot = read(subject, &pair, &[name]).await?;
        same(
            "the states",
            &states(&snapshot),
            &vec![Some(State::Deprecated), Some(State::Active)],
        )?;
    }
    // What is deleted makes room, too.
    let mut replaced = change(4, vec![key(3, "a", State::Active)?]);
    replaced.delete = vec![id(2)?];
    subject.good(
        "a key in the place of one that is deleted",
        pair.0.commit(&replaced).await,
    )?;
    let snapshot = read(subject, &pair, &["a"]).await?;
    same(
        "the states",
        &states(&snapshot),
        &vec![Some(State::Deprecated), Some(State::Active)],
    )?;
    PASSED
}

pub(super) async fn a_whole_ring_is_restored(subject: &Subject) -> Outcome {
    let pair = subject.open().await?;
    let two = Snapshot {
        revision: 41,
        head: Some(signed("head 41")),
        rows: vec![key(1, "a", State::Active)?, key(2, "a", State::Active)?],
        ..Snapshot::default()
    };
    subject.conflict("a ring with two active keys", pair.0.restore(&two).await)?;
    same(
        "the revision",
        &subject.good("revision", pair.1.revision().await)?,
        &0,
    )?;
    let whole = Snapshot {
        revision: 41,
        head: Some(signed("head 41")),
        settings: Some(signed("settings")),
        successions: ["first", "second"].map(signed).to_vec(),
        nodes: [("".to_owned(), vec![1]), ("b".to_owned(), vec![2])].into(),
        rows: vec![key(1, "a", State::Active)?, key(2, "b", State::Retired)?],
        provisioned: vec![key(3, "c", State::Active)?, key(4, "d", State::Active)?],
    };
    subject.good("a ring", pair.0.restore(&whole).await)?;
    let mut found = read(subject, &pair, &["a", "b", "c", "d"]).await?;
    found.provisioned.sort_by_key(|row| row.id);
    same("the ring", &format!("{found:?}"), &format!("{whole:?}"))?;
    subject.conflict("a ring where there is one", pair.1.restore(&whole).await)?;
    let next = change(41, vec![key(2, "b", State::Deprecated)?]);
    subject.good("a change of the ring", pair.1.commit(&next).await)?;
    same(
        "the revision",
        &subject.good("revision", pair.0.revision().await)?,
        &42,
    )?;
    PASSED
}
