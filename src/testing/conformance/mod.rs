//! Checks of everything that a [`KeyManager`] must do and must refuse, for any implementation.
//!
//! ```
//! use waxseal::{Kek, backend::local::LocalKey, testing::conformance::{self, Subject}};
//!
//! let (own, other) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
//! let subject = Subject::new(own).against(other);
//! // Or `.await`, in the runtime that the key manager needs.
//! let report = pollster::block_on(conformance::run(&subject))?;
//! println!("{report}");
//! assert!(report.passed().contains(&"no_altered_byte_opens"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The suite wraps random DEKs, and calls the backend some hundreds of times (some dozens if the subject is
//! [`slow`](Subject::slow)). It never asks a backend to change a key.
//!
//! Every check runs, whatever the others find. Each check runs on a separate thread, so a key manager that panics or hangs fails only
//! the check in which it does.

mod altered;
mod answers;
mod batches;
mod bound;
mod claims;
mod deadlines;
mod pinned;
pub(super) mod probe;
mod runner;
mod stanzas;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::envelope::KekRef;
use crate::key::KeyManager;
use crate::runtime::BoxFuture;
use probe::{Finding, Outcome, Verdict};

/// The key manager that is tested, and what the suite must know about it.
#[derive(Clone, Debug)]
#[must_use = "a subject is tested by `run`"]
pub struct Subject {
    manager: Arc<dyn KeyManager>,
    opener: Option<Arc<dyn KeyManager>>,
    other: Option<Arc<dyn KeyManager>>,
    namesake: Option<Arc<dyn KeyManager>>,
    older: Option<KekRef>,
    bound: Duration,
    slow: bool,
    deterministic: bool,
    canaries: Vec<String>,
}

impl Subject {
    /// Tests this key manager.
    pub fn new(manager: impl KeyManager + 'static) -> Self {
        Self {
            manager: Arc::new(manager),
            opener: None,
            other: None,
            namesake: None,
            older: None,
            bound: Duration::from_secs(600),
            slow: false,
            deterministic: false,
            canaries: Vec::new(),
        }
    }

    /// Unwraps with this key manager: for a subject that only wraps, the holder of the private key.
    pub fn opened_by(mut self, opener: impl KeyManager + 'static) -> Self {
        self.opener = Some(Arc::new(opener));
        self
    }

    /// Also tests against another KEK of the same provider and algorithm. Neither KEK may open what the other wraps.
    pub fn against(mut self, other: impl KeyManager + 'static) -> Self {
        self.other = Some(Arc::new(other));
        self
    }

    /// Also tests against a KEK of the same id at another place, for ids that are not unique in the world: a token of the same label, the
    /// same path of another cluster. The subject may recognize its stanzas as `Perhaps`, and never as `Mine`.
    pub fn against_namesake(mut self, namesake: impl KeyManager + 'static) -> Self {
        self.namesake = Some(Arc::new(namesake));
        self
    }

    /// Also tests with an older version of the subject's KEK, which still wraps and unwraps, and which the subject does not choose
    /// anymore. The subject must wrap under this version if it is pinned to it.
    pub fn with_older_version(mut self, kek: KekRef) -> Self {
        self.older = Some(kek);
        self
    }

    /// Sets how long one check may take before it counts as hanging: ten minutes by default.
    pub fn within(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// Checks only a sample, because each call takes time or money.
    pub fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// Declares that two wraps of one DEK in one context are equal, by the nature of the algorithm (AES key wrap).
    pub fn wrapping_deterministically(mut self) -> Self {
        self.deterministic = true;
        self
    }

    /// Names a text (a token, a passphrase, a key in hex) that must be in no error and no `Debug` output.
    pub fn with_canary(mut self, secret: impl Into<String>) -> Self {
        self.canaries.push(secret.into());
        self
    }
}

/// The result of a suite in which no check has failed: every check with its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a report says what was skipped"]
pub struct Report {
    checks: Vec<(&'static str, Option<&'static str>)>,
}

impl Report {
    /// Returns the names of the checks that passed.
    #[must_use]
    pub fn passed(&self) -> Vec<&'static str> {
        let passed = self.checks.iter().filter(|(_, skipped)| skipped.is_none());
        passed.map(|(name, _)| *name).collect()
    }

    /// Returns the checks that do not apply to the subject, with the reason.
    #[must_use]
    pub fn skipped(&self) -> Vec<(&'static str, &'static str)> {
        let skipped = self.checks.iter();
        skipped
            .filter_map(|(name, reason)| reason.map(|reason| (*name, reason)))
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, skipped) in &self.checks {
            match skipped {
                None => writeln!(f, "passed   {name}")?,
                Some(reason) => writeln!(f, "skipped  {name}: {reason}")?,
            }
        }
        Ok(())
    }
}

/// The result of a suite in which a check has failed, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    failures: Vec<Failure>,
    report: Report,
}

impl Failed {
    /// Returns every check that failed, at least one.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Returns the names of the checks that failed.
    #[must_use]
    pub fn checks(&self) -> Vec<&'static str> {
        self.failures.iter().map(Failure::check).collect()
    }

    /// Returns the checks that passed or were skipped.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "failed   {failure}")?;
        }
        fmt::Display::fmt(&self.report, f)
    }
}

impl std::error::Error for Failed {}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {why}")]
pub struct Failure {
    check: &'static str,
    why: String,
}

impl Failure {
    /// Returns the name of the check.
    #[must_use]
    pub fn check(&self) -> &'static str {
        self.check
    }

    /// What was done and should not have been.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// What a suite knows of its subject.
pub(super) trait Suite: Clone + Send + 'static {
    /// How long one check may take.
    fn bound(&self) -> Duration;

    /// Refuses a text with a canary.
    fn check_text(&self, what: &str, text: &str) -> Finding<()>;
}

pub(super) type Check<S> = for<'a> fn(&'a S) -> BoxFuture<'a, Outcome>;

macro_rules! checks {
    ($($module:ident::$name:ident,)*) => {
        &[$((stringify!($name), |subject| Box::pin($module::$name(subject)))),*]
    };
}

/// In an order in which the first check that fails is close to the cause.
const CHECKS: &[(&str, Check<Subject>)] = checks![
    answers::names_are_valid,
    answers::a_wrap_says_what_it_is,
    claims::a_name_that_is_not_unique_is_not_claimed,
    claims::an_identity_is_of_one_kek,
    claims::garbage_is_recognized_or_not_and_never_panics,
    answers::a_wrap_opens,
    answers::a_generated_dek_is_the_wrapped_one,
    answers::generated_deks_are_unique,
    answers::wraps_are_randomized,
    answers::no_wrap_shows_its_dek,
    answers::a_manager_that_only_wraps_refuses_to_unwrap,
    bound::every_context_opens,
    bound::another_context_does_not_open,
    bound::another_binding_does_not_open,
    bound::swapped_wraps_do_not_open,
    stanzas::foreign_stanzas_are_not_recognized,
    stanzas::names_in_a_stanza_are_not_followed,
    stanzas::a_hidden_id_opens,
    stanzas::another_kek_does_not_open,
    altered::no_altered_byte_opens,
    altered::no_other_length_opens,
    altered::no_spliced_wrap_opens,
    batches::a_batch_wraps_as_single_calls_do,
    batches::a_batch_unwraps_as_single_calls_do,
    batches::a_batch_rewraps_as_single_calls_do,
    batches::an_empty_batch_is_empty,
    answers::a_rewrap_keeps_dek_and_binding,
    claims::a_rewrap_of_a_foreign_wrap_leaves_the_way_to_unwrap_and_wrap,
    pinned::answers_name_versions_as_declared,
    pinned::a_pinned_manager_wraps_as_pinned,
    pinned::a_pinned_older_version_wraps_and_is_named,
    pinned::nothing_but_its_own_kek_can_be_pinned,
    deadlines::a_deadline_that_is_over_ends_the_call,
    deadlines::hasty_callers_harm_nobody_else,
    answers::several_calls_at_once_do_not_mix,
    answers::a_call_may_be_dropped,
    answers::nothing_printed_shows_secrets,
];

/// After this many checks that hang, no more are tried: each of them leaves a thread behind.
const MOST_HANGING: usize = 3;

/// Runs every check, one after the other, each on a separate thread.
///
/// Works in any runtime and without one. If it is awaited in a tokio runtime (feature `tokio`), the checks run in that runtime.
///
/// # Errors
/// [`Failed`] if a check has failed, with every [`Failure`].
///
/// # Cancel safety
/// If the future is dropped, the check that is running goes on to its end, on its thread.
pub async fn run(subject: &Subject) -> Result<Report, Failed> {
    run_suite(subject, CHECKS).await
}

/// Runs the checks of a suite.
pub(super) async fn run_suite<S: Suite>(
    subject: &S,
    suite: &[(&'static str, Check<S>)],
) -> Result<Report, Failed> {
    let mut checks = Vec::with_capacity(suite.len());
    let mut failures = Vec::new();
    let mut hanging = 0;
    for (name, check) in suite {
        if hanging == MOST_HANGING {
            checks.push((*name, Some("too many checks before it are hanging")));
            continue;
        }
        match runner::run(subject, *check).await {
            runner::End::Found(Ok(Verdict::Passed)) => checks.push((*name, None)),
            runner::End::Found(Ok(Verdict::Skipped(reason))) => checks.push((*name, Some(reason))),
            runner::End::Found(Err(why)) => failures.push(Failure { check: name, why }),
            runner::End::Hangs(why) => {
                hanging += 1;
                failures.push(Failure { check: name, why });
            }
        }
    }
    let report = Report { checks };
    if failures.is_empty() {
        Ok(report)
    } else {
        Err(Failed { failures, report })
    }
}
