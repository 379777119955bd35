//! Everything an [`Inventory`] must do and must refuse, as checks that any implementation can be put to.
//!
//! ```
//! use waxseal::ring::inventory::MemoryInventory;
//! use waxseal::testing::inventory_conformance::{self, Subject};
//!
//! // Two handles on one inventory that is new each time.
//! let subject = Subject::new(|| async {
//!     let inventory = MemoryInventory::new();
//!     Ok((inventory.clone(), inventory))
//! });
//! // Or `.await`, in the runtime that the inventory needs.
//! let report = pollster::block_on(inventory_conformance::run(&subject))?;
//! assert!(report.passed().contains(&"one_of_two_changes_wins"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every check runs, whatever the others find, each with an inventory of its own. Each runs on a thread of its own, so an
//! inventory that panics or hangs fails the check that it does that in, and no other.

mod beats;
mod changes;
mod finds;
mod forms;
mod provisions;
mod races;
mod sample;
mod snapshots;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::conformance::probe::{Finding, Outcome, Verdict};
use super::conformance::{Check, Suite, run_suite};
use crate::ring::Inventory;
use crate::runtime::BoxFuture;
use crate::value::error::{Error, ErrorKind, Result};

pub use super::conformance::{Failed, Failure, Report};

/// Two handles on one inventory.
type Pair = (Arc<dyn Inventory>, Arc<dyn Inventory>);
type Open = dyn Fn() -> BoxFuture<'static, Result<Pair>> + Send + Sync;

/// How inventories are made that are tested, and what has to be known about them.
#[derive(Clone)]
#[must_use = "a subject is tested by `run`"]
pub struct Subject {
    open: Arc<Open>,
    bound: Duration,
    rounds: u32,
    canaries: Vec<String>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("bound", &self.bound)
            .field("rounds", &self.rounds)
            .finish_non_exhaustive()
    }
}

impl Subject {
    /// Tests inventories that `open` makes: each time an empty one, as two handles that share nothing but the store, like those
    /// of two processes.
    pub fn new<F, Opened, I>(open: F) -> Self
    where
        F: Fn() -> Opened + Send + Sync + 'static,
        Opened: Future<Output = Result<(I, I)>> + Send + 'static,
        I: Inventory + 'static,
    {
        Self {
            open: Arc::new(move || {
                let opened = open();
                Box::pin(async move {
                    let (one, other) = opened.await?;
                    Ok((
                        Arc::new(one) as Arc<dyn Inventory>,
                        Arc::new(other) as Arc<dyn Inventory>,
                    ))
                })
            }),
            bound: Duration::from_secs(600),
            rounds: 200,
            canaries: Vec::new(),
        }
    }

    /// How long one check may take before it counts as hanging. Ten minutes by default.
    pub fn within(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// How often two handles change the ring at the same time. 200 by default.
    pub fn with_rounds(mut self, rounds: u32) -> Self {
        self.rounds = rounds;
        self
    }

    /// This text (a password) must be in no error and no `Debug` output.
    pub fn with_canary(mut self, secret: impl Into<String>) -> Self {
        self.canaries.push(secret.into());
        self
    }

    async fn open(&self) -> Finding<Pair> {
        let opened = (self.open)().await;
        self.good("opening an empty inventory", opened)
    }

    /// An answer that must be good.
    fn good<T>(&self, what: &str, answer: Result<T>) -> Finding<T> {
        answer.or_else(|error| {
            self.check_printed(what, &error)?;
            Err(format!("{what} failed, and should not have: {error}"))
        })
    }

    /// An answer that must be an error of this kind.
    fn refused<T>(
        &self,
        what: &str,
        answer: Result<T>,
        is_expected: impl Fn(ErrorKind) -> bool,
    ) -> Finding<()> {
        let Err(error) = answer else {
            return Err(format!("{what} was accepted, and should have been refused"));
        };
        self.check_printed(what, &error)?;
        if !is_expected(error.kind()) {
            return Err(format!("{what} was refused with the wrong kind: {error}"));
        }
        if error.is_retryable() != error.kind().is_retryable() {
            return Err(format!(
                "{what} was refused with an error that is wrongly retryable or not: {error}"
            ));
        }
        Ok(())
    }

    fn conflict<T>(&self, what: &str, answer: Result<T>) -> Finding<()> {
        self.refused(what, answer, |kind| kind == ErrorKind::Conflict)
    }

    fn check_printed(&self, what: &str, error: &Error) -> Finding<()> {
        let mut text = format!("{error} {error:?}");
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text.push_str(&format!(" {error} {error:?}"));
            cause = error.source();
        }
        self.check_text(what, &text)
    }
}

impl Suite for Subject {
    fn bound(&self) -> Duration {
        self.bound
    }

    fn check_text(&self, what: &str, text: &str) -> Finding<()> {
        if self.canaries.iter().any(|canary| text.contains(canary.as_str())) {
            // Not the text itself: it holds a secret.
            return Err(format!("{what} printed a secret"));
        }
        Ok(())
    }
}

/// A check that found nothing wrong.
const PASSED: Outcome = Ok(Verdict::Passed);

/// Refuses what is not as it should be.
fn same<T: PartialEq + fmt::Debug>(what: &str, found: &T, expected: &T) -> Finding<()> {
    if found == expected {
        return Ok(());
    }
    let short = |value: &T| {
        let text = format!("{value:?}");
        match text.char_indices().nth(300) {
            Some((end, _)) => format!("{} …", text.get(..end).unwrap_or_default()),
            None => text,
        }
    };
    Err(format!(
        "{what}: found {}, expected {}",
        short(found),
        short(expected)
    ))
}

macro_rules! checks {
    ($($module:ident::$name:ident,)*) => {
        &[$((stringify!($name), |subject| Box::pin($module::$name(subject)))),*]
    };
}

/// In an order in which the first to fail is close to the cause.
const CHECKS: &[(&str, Check<Subject>)] = checks![
    snapshots::an_empty_inventory_is_empty,
    snapshots::what_is_committed_is_read_byte_for_byte,
    snapshots::only_what_is_asked_for_is_read,
    snapshots::many_scopes_and_nodes_are_read,
    changes::a_change_replaces_and_deletes,
    changes::a_change_follows_one_revision,
    changes::a_second_active_key_is_refused,
    changes::rows_are_written_in_order,
    changes::a_whole_ring_is_restored,
    provisions::a_first_key_is_kept_byte_for_byte,
    provisions::a_scope_gets_one_first_key,
    provisions::scopes_with_first_keys_are_listed_in_order,
    provisions::a_change_takes_first_keys,
    provisions::first_keys_are_restored,
    forms::what_no_inventory_stores_is_refused,
    forms::names_are_only_names,
    forms::nothing_printed_shows_secrets,
    finds::a_scope_is_found_by_id,
    finds::scopes_are_found_by_kek,
    finds::scopes_are_listed_in_order,
    finds::what_is_due_is_found,
    beats::the_clock_is_one_for_all,
    beats::heartbeats_are_kept_for_each_process,
    races::one_of_two_changes_wins,
    provisions::one_of_two_first_keys_wins,
    provisions::a_first_key_and_a_record_exclude_each_other,
    races::a_snapshot_is_of_one_moment,
    races::several_calls_at_once_do_not_mix,
    races::a_call_may_be_dropped,
];

/// Runs every check, one after the other, each on a thread of its own.
///
/// Needs no runtime of its own: whatever the inventory needs. A tokio runtime that this is awaited in (feature `tokio`) is
/// that of the checks, too.
///
/// # Errors
/// Every [`Failure`].
///
/// # Cancel safety
/// Dropping the future leaves the check that is under way running to its end, on its thread.
pub async fn run(subject: &Subject) -> Result<Report, Failed> {
    run_suite(subject, CHECKS).await
}

#[cfg(test)]
mod tests;
