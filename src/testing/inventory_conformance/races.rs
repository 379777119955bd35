//! Two handles at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::sample::{change, id, key, scope, scopes, signed, time};
use super::{Outcome, PASSED, Subject, same};
use crate::ring::inventory::{Change, Heartbeat, Snapshot};
use crate::ring::{Inventory, State};
use crate::runtime::BoxFuture;
use crate::runtime::join::{join, poll_once_and_drop};
use crate::testing::conformance::probe::Finding;
use crate::value::error::{ErrorKind, Result};

/// Does both at once, each on a thread of its own.
pub(super) fn both<A: Send, B: Send>(
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    #[cfg(feature = "tokio")]
    let handle = tokio::runtime::Handle::try_current().ok();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            #[cfg(feature = "tokio")]
            let _entered = handle.as_ref().map(tokio::runtime::Handle::enter);
            other()
        });
        let one = one();
        match other.join() {
            Ok(other) => (one, other),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn commit(inventory: &Arc<dyn Inventory>, change: &Change) -> Result<()> {
    pollster::block_on(inventory.commit(change))
}

pub(super) async fn one_of_two_changes_wins(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    for round in 0..subject.rounds {
        let follows = u64::from(round);
        let with = |name: &str| -> Finding<Change> {
            let mut row = key(1, "a", State::Active)?;
            row.signed = signed(&format!("{name} {round}"));
            let mut change = change(follows, vec![row]);
            change.head = signed(&format!("{name} {round}"));
            change
                .nodes
                .insert("".to_owned(), format!("{name} {round}").into_bytes());
            Ok(change)
        };
        let changes = (with("one")?, with("other")?);
        let ended = both(|| commit(&one, &changes.0), || commit(&other, &changes.1));
        let winner = match ended {
            (Ok(()), lost) => {
                subject.conflict("the second of two changes that follow one revision", lost)?;
                changes.0
            }
            (lost, Ok(())) => {
                subject.conflict("the second of two changes that follow one revision", lost)?;
                changes.1
            }
            (Err(error), Err(_)) => {
                return Err(format!(
                    "neither of two changes that follow one revision was made: {error}"
                ));
            }
        };
        let snapshot = subject.good("read", one.read(&scopes(&["a"])?, &["".to_owned()]).await)?;
        same("the revision", &snapshot.revision, &(follows + 1))?;
        same("the head", &snapshot.head, &Some(winner.head))?;
        same("the rows", &snapshot.rows, &winner.put)?;
        same("the nodes", &snapshot.nodes, &winner.nodes)?;
    }
    PASSED
}

const SCOPES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// So many changes and reads there are at least, and no more changes, if they are fast, than that.
const CHANGES: u64 = 40;
const READS: u32 = 40;
const MOST_CHANGES: u64 = 2_000;

/// A change that says its revision everywhere.
fn uniform(follows: u64) -> Finding<Change> {
    let text = format!("{:08}", follows + 1);
    let mut rows = Vec::new();
    for (number, name) in (1..).zip(SCOPES) {
        let mut row = key(number, name, State::Active)?;
        row.revision = follows + 1;
        row.signed = signed(&text);
        rows.push(row);
    }
    let mut change = change(follows, rows);
    change.head = signed(&text);
    change.settings = Some(signed(&text));
    for path in ["", "a", "fff"] {
        change.nodes.insert(path.to_owned(), text.clone().into_bytes());
    }
    change.succession = Some(signed(&text));
    Ok(change)
}

/// Refuses a snapshot of two moments.
fn check_uniform(snapshot: &Snapshot) -> Finding<()> {
    let text = format!("{:08}", snapshot.revision);
    let bodies = snapshot.rows.iter().map(|row| &row.signed.body);
    let ends = [&snapshot.head, &snapshot.settings];
    let ends = ends.into_iter().flatten().chain(snapshot.successions.last());
    for body in bodies
        .chain(ends.map(|signed| &signed.body))
        .chain(snapshot.nodes.values())
    {
        let found = String::from_utf8_lossy(body).into_owned();
        same("what a snapshot of this revision holds", &found, &text)?;
    }
    let successions = u64::try_from(snapshot.successions.len()).unwrap_or(u64::MAX);
    same("how many successions there are", &successions, &snapshot.revision)?;
    same("how many rows there are", &snapshot.rows.len(), &SCOPES.len())
}

pub(super) async fn a_snapshot_is_of_one_moment(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    subject.good("a change", one.commit(&uniform(0)?).await)?;
    let (is_over, reads) = (AtomicBool::new(false), AtomicU32::new(0));
    let (written, read) = both(
        || {
            // While the other reads, however fast either is.
            let mut follows = 1;
            let written = loop {
                let enough = follows >= CHANGES && reads.load(Ordering::SeqCst) >= READS;
                if enough || follows >= MOST_CHANGES {
                    break Ok(follows);
                }
                let change = match uniform(follows) {
                    Ok(change) => change,
                    Err(why) => break Err(why),
                };
                if let Err(why) = subject.good("a change while another reads", commit(&one, &change)) {
                    break Err(why);
                }
                follows += 1;
            };
            is_over.store(true, Ordering::SeqCst);
            written
        },
        || {
            let (scopes, nodes) = (scopes(&SCOPES)?, ["", "a", "fff"].map(str::to_owned));
            loop {
                let was_over = is_over.load(Ordering::SeqCst);
                let snapshot = pollster::block_on(other.read(&scopes, &nodes));
                check_uniform(&subject.good("read while another writes", snapshot)?)?;
                reads.fetch_add(1, Ordering::SeqCst);
                if was_over {
                    return Ok::<_, String>(());
                }
            }
        },
    );
    read?;
    let revision = subject.good("revision", other.revision().await)?;
    same("the revision", &revision, &written?)?;
    PASSED
}

pub(super) async fn several_calls_at_once_do_not_mix(subject: &Subject) -> Outcome {
    let (one, _) = subject.open().await?;
    let names: Vec<String> = (0..16).map(|number| format!("tenant/{number}")).collect();
    let mut rows = Vec::new();
    for (number, name) in (1..).zip(&names) {
        rows.push(key(number, name, State::Active)?);
    }
    subject.good("a change", one.commit(&change(0, rows)).await)?;
    let one = &one;
    let calls = names.iter().map(|name| -> BoxFuture<'_, Finding<()>> {
        Box::pin(async move {
            for _ in 0..4 {
                let snapshot = subject.good("read", one.read(&[scope(name)?], &[]).await)?;
                let found: Vec<_> = snapshot.rows.iter().map(|row| row.scope.as_str()).collect();
                same("the scopes that were read", &found, &vec![&**name])?;
            }
            Ok(())
        })
    });
    join(calls).await.into_iter().collect::<Finding<()>>()?;
    PASSED
}

pub(super) async fn a_call_may_be_dropped(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    subject.good("a change", one.commit(&uniform(0)?).await)?;
    let (asked, nodes) = (scopes(&SCOPES)?, ["", "a", "fff"].map(str::to_owned));
    for _ in 0..5 {
        let beat = Heartbeat::new("r".to_owned(), "p".to_owned(), 1, Vec::new());
        poll_once_and_drop(one.revision());
        poll_once_and_drop(one.read(&asked, &nodes));
        poll_once_and_drop(one.now());
        poll_once_and_drop(one.scope_of(id(1)?));
        poll_once_and_drop(one.scopes_of_kek("conformance", "kek-1", 9));
        poll_once_and_drop(one.scopes_due(time(1)?, 9));
        poll_once_and_drop(one.next_due());
        poll_once_and_drop(one.scopes_after(None, 9));
        poll_once_and_drop(one.beat(&beat));
        poll_once_and_drop(one.heartbeats(time(0)?));
        poll_once_and_drop(one.scopes_provisioned(None, 9));
        let first = key(77, "first", State::Active)?;
        poll_once_and_drop(one.provision(subject.good("revision", other.revision().await)?, &first));
        let before = subject.good("revision", other.revision().await)?;
        let dropped = uniform(before)?;
        poll_once_and_drop(one.commit(&dropped));
        // Done or not done: then whoever follows the same revision is told.
        let revision = match one.commit(&dropped).await {
            Ok(()) => before + 1,
            Err(error) if error.kind() == ErrorKind::Conflict => before + 1,
            Err(error) => return Err(format!("a change after one that was dropped failed: {error}")),
        };
        for inventory in [&one, &other] {
            let snapshot = subject.good("read", inventory.read(&asked, &nodes).await)?;
            same("the revision", &snapshot.revision, &revision)?;
            check_uniform(&snapshot)?;
        }
    }
    PASSED
}
