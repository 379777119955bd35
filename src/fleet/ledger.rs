//! Where a job is: which ranges are done, how far each of the others is, and what was found.

mod file;

use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use file::FileLedger;

use super::report::{Counts, Fault};
use super::store::Range;
use crate::value::error::{Error, Result};

/// How many faults a ledger names. It counts all of them.
pub(super) const NAMED: usize = 10_000;

/// A job, as its ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The [name](super::Store::name) of the store.
    pub store: String,
    /// What of it.
    pub range: Range,
    /// Whether nothing is written.
    pub is_dry_run: bool,
    /// What is done, in words of whoever runs it: see [`RewrapJob::purpose`](super::RewrapJob::purpose).
    pub purpose: String,
}

impl Plan {
    /// Refuses to go on with this job as another one. For ledgers.
    ///
    /// # Errors
    /// `Configuration` with what is different.
    pub fn check(&self, other: &Self) -> Result<()> {
        match self.difference(other) {
            None => Ok(()),
            Some(difference) => Err(Error::configuration(format!(
                "the ledger is of another job: {difference}; give each its own"
            ))),
        }
    }

    /// What is different in another plan, in words.
    fn difference(&self, other: &Self) -> Option<String> {
        let run = |plan: &Self| if plan.is_dry_run { "a dry run" } else { "a run" };
        let range = |range: &Range| format!("from {:?} to {:?}", range.after(), range.until());
        [
            ("store", self.store.clone(), other.store.clone()),
            ("kind", run(self).to_owned(), run(other).to_owned()),
            ("range", range(&self.range), range(&other.range)),
            ("purpose", self.purpose.clone(), other.purpose.clone()),
        ]
        .into_iter()
        .find(|(_, one, other)| one != other)
        .map(|(what, one, other)| format!("its {what} is {one}, and not {other}"))
    }
}

/// A range of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Part {
    /// The range.
    pub range: Range,
    /// The last id that is done.
    pub cursor: Option<String>,
    /// Whether all of it is done.
    pub is_done: bool,
}

impl Part {
    /// A range of which nothing is done.
    #[must_use]
    pub fn new(range: Range) -> Self {
        Self {
            range,
            cursor: None,
            is_done: false,
        }
    }

    /// What is left of it.
    #[must_use]
    pub fn rest(&self) -> Range {
        match &self.cursor {
            Some(cursor) => self.range.clone().from_after(cursor),
            None => self.range.clone(),
        }
    }
}

/// A part that a worker has for itself, for a while.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// The number of the part.
    pub part: usize,
    /// What is left of it.
    pub rest: Range,
    /// Grows with each claim of the part. Whoever has an older one has lost the part.
    pub fence: u64,
    /// For how long, from each step on.
    pub lease: Duration,
}

impl Claim {
    /// Makes a claim.
    #[must_use]
    pub fn new(part: usize, rest: Range, fence: u64, lease: Duration) -> Self {
        Self {
            part,
            rest,
            fence,
            lease,
        }
    }
}

/// Whether a worker has its part still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Held {
    /// It has, and its lease begins anew.
    Yes,
    /// The step was noted, and the part was given back: the job is paused or canceled.
    Released,
    /// Another one has taken the part since the lease was over. Nothing was noted.
    Lost,
}

/// What a worker gets that asks for a part.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// A part.
    Part(Claim),
    /// All that is left is with others, who may still lose it, or the job is paused. The worker asks again.
    Busy,
    /// Nothing is left, or the job is canceled.
    Done,
}

/// What was done of a part since the last step.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Step {
    /// The last id that is done, if any is.
    pub cursor: Option<String>,
    /// Whether the part is done.
    pub is_done: bool,
    /// What was counted.
    pub counts: Counts,
    /// The faults.
    pub faults: Vec<Fault>,
}

/// Where a job is. It holds no keys, and nothing secret.
///
/// A step is written after what it tells of: a process that ends in between does its last batch again, and finds it done.
#[async_trait]
pub trait Ledger: Debug + Send + Sync {
    /// Begins a job in these parts, or goes on with the one that is there.
    ///
    /// # Errors
    /// `Configuration` if it is the ledger of another job; `Store` or `Io` if it cannot be read or written.
    async fn begin(&self, plan: &Plan, parts: Vec<Range>) -> Result<()>;

    /// Gives a part to a worker, for so long or until its next step.
    ///
    /// # Errors
    /// `Store` or `Io` if the ledger cannot be read or written.
    async fn claim(&self, worker: &str, lease: Duration) -> Result<Claimed>;

    /// Notes a step. The lease begins anew.
    ///
    /// # Errors
    /// `Store` or `Io` if the ledger cannot be written.
    async fn advance(&self, claim: &Claim, step: Step) -> Result<Held>;

    /// Lets the lease begin anew.
    ///
    /// # Errors
    /// `Store` or `Io` if the ledger cannot be written.
    async fn renew(&self, claim: &Claim) -> Result<Held>;

    /// Gives a part back before it is done.
    ///
    /// # Errors
    /// `Store` or `Io` if the ledger cannot be written.
    async fn release(&self, claim: &Claim) -> Result<()>;

    /// Is told of a part whose worker ends without a word, because its future is dropped. By default nothing happens, and the lease ends it.
    fn abandon(&self, claim: &Claim) {
        let _ = claim;
    }

    /// Returns what was counted so far, the first faults, part by part, and whether all parts are done.
    ///
    /// # Errors
    /// `Store` or `Io` if the ledger cannot be read.
    async fn sum(&self) -> Result<(Counts, Vec<Fault>, bool)>;
}

/// All of a ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    plan: Plan,
    parts: Vec<Part>,
    counts: Counts,
    /// Each with the number of its part.
    faults: Vec<(usize, Fault)>,
    /// Which parts are with whom, in this process: the fence, and until when.
    #[serde(skip)]
    claims: Vec<Option<(u64, Instant)>>,
    #[serde(skip)]
    fence: u64,
}

impl State {
    fn new(plan: Plan, parts: Vec<Range>) -> Self {
        Self {
            claims: vec![None; parts.len()],
            plan,
            parts: parts.into_iter().map(Part::new).collect(),
            counts: Counts::default(),
            faults: Vec::new(),
            fence: 0,
        }
    }

    fn claim(&mut self, lease: Duration) -> Claimed {
        let now = Instant::now();
        self.claims.resize(self.parts.len(), None);
        let is_free = |(part, claim): &(&Part, &Option<(u64, Instant)>)| {
            !part.is_done && claim.is_none_or(|(_, until)| now >= until)
        };
        let Some(number) = self.parts.iter().zip(&self.claims).position(|it| is_free(&it)) else {
            return match self.parts.iter().all(|part| part.is_done) {
                true => Claimed::Done,
                false => Claimed::Busy,
            };
        };
        self.fence += 1;
        let (Some(part), Some(claim)) = (self.parts.get(number), self.claims.get_mut(number)) else {
            return Claimed::Busy;
        };
        *claim = Some((self.fence, now + lease));
        Claimed::Part(Claim::new(number, part.rest(), self.fence, lease))
    }

    fn advance(&mut self, claim: &Claim, step: Step) -> Held {
        if self.renew(claim) == Held::Lost {
            return Held::Lost;
        }
        if let Some(part) = self.parts.get_mut(claim.part) {
            part.cursor = step.cursor.or(part.cursor.take());
            part.is_done = step.is_done;
        }
        self.counts.add(&step.counts);
        let room = NAMED.saturating_sub(self.faults.len());
        let faults = step.faults.into_iter().take(room);
        self.faults.extend(faults.map(|fault| (claim.part, fault)));
        Held::Yes
    }

    fn renew(&mut self, claim: &Claim) -> Held {
        match self.claims.get_mut(claim.part) {
            Some(Some((fence, until))) if *fence == claim.fence => {
                *until = Instant::now() + claim.lease;
                Held::Yes
            }
            _ => Held::Lost,
        }
    }

    fn release(&mut self, claim: &Claim) {
        if self.renew(claim) == Held::Yes
            && let Some(claim) = self.claims.get_mut(claim.part)
        {
            *claim = None;
        }
    }

    fn sum(&self) -> (Counts, Vec<Fault>, bool) {
        let is_done = self.parts.iter().all(|part| part.is_done);
        let mut faults = self.faults.clone();
        // Within a part they come in order.
        faults.sort_by_key(|(part, _)| *part);
        let faults = faults.into_iter().map(|(_, fault)| fault).collect();
        (self.counts, faults, is_done)
    }
}

/// A ledger in memory: a job that is run once, in one process. A job has one if it is given none.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<Option<State>>);

impl MemoryLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn begin(&self, plan: &Plan, parts: Vec<Range>) -> Result<()> {
        let mut state = self.lock();
        match &*state {
            Some(state) => state.plan.check(plan),
            None => {
                *state = Some(State::new(plan.clone(), parts));
                Ok(())
            }
        }
    }

    async fn claim(&self, _: &str, lease: Duration) -> Result<Claimed> {
        Ok(self
            .lock()
            .as_mut()
            .map_or(Claimed::Done, |state| state.claim(lease)))
    }

    async fn advance(&self, claim: &Claim, step: Step) -> Result<Held> {
        let mut state = self.lock();
        Ok(state
            .as_mut()
            .map_or(Held::Lost, |state| state.advance(claim, step)))
    }

    async fn renew(&self, claim: &Claim) -> Result<Held> {
        Ok(self
            .lock()
            .as_mut()
            .map_or(Held::Lost, |state| state.renew(claim)))
    }

    async fn release(&self, claim: &Claim) -> Result<()> {
        self.abandon(claim);
        Ok(())
    }

    fn abandon(&self, claim: &Claim) {
        if let Some(state) = self.lock().as_mut() {
            state.release(claim);
        }
    }

    async fn sum(&self) -> Result<(Counts, Vec<Fault>, bool)> {
        Ok(self
            .lock()
            .as_ref()
            .map_or_else(|| (Counts::default(), Vec::new(), true), State::sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FaultClass;

    #[test]
    fn faults_are_named_part_by_part_whoever_meets_them_first() {
        let plan = Plan {
            store: "store:users".into(),
            range: Range::all(),
            is_dry_run: false,
            purpose: String::new(),
        };
        let parts = vec![Range::all().up_to("m"), Range::all().from_after("m")];
        let mut state = State::new(plan, parts);
        let claims: Vec<Claim> = (0..2)
            .map(|_| match state.claim(Duration::from_secs(60)) {
                Claimed::Part(claim) => claim,
                other => panic!("{other:?}"),
            })
            .collect();
        for (part, id) in [(1, "x"), (0, "c"), (1, "b"), (0, "a")] {
            let step = Step {
                faults: vec![Fault::new(id, FaultClass::Denied, "no")],
                ..Step::default()
            };
            assert_eq!(state.advance(&claims[part], step), Held::Yes);
        }
        let (_, faults, is_done) = state.sum();
        let ids: Vec<&str> = faults.iter().map(|fault| fault.id.as_str()).collect();
        // Within a part as they came.
        assert_eq!(ids, ["c", "a", "x", "b"]);
        assert!(!is_done);
    }
}
