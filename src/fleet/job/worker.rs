//! One worker: takes a part, goes through it, and takes the next one.

use std::future::Future;
use std::time::Duration;

use super::examine::{Decided, Planned, examine, fault};
use super::{Shared, VISITS, Verify};
use crate::fleet::brake::Brake;
use crate::fleet::ledger::{Claim, Claimed, Held, Step};
use crate::fleet::report::{Fault, FaultClass};
use crate::fleet::store::{Change, Item, Page, Range, Replaced, Scanned};
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Result};

/// How long to wait for a part that is with somebody else.
const BUSY: Duration = Duration::from_millis(250);
/// How long to wait for an item that somebody else is replacing, the first time.
const REPLACED: Duration = Duration::from_millis(5);

pub(super) async fn run(shared: &Shared<'_>, number: usize) -> Result<()> {
    let ended = parts(shared, number).await;
    if ended.is_err() {
        shared.ends.halt();
    }
    ended
}

async fn parts(shared: &Shared<'_>, number: usize) -> Result<()> {
    let job = shared.job;
    let name = format!("{}/{number}", job.name);
    while !shared.is_halted() {
        let began = shared.runtime.now();
        match job.ledger.claim(&name, job.lease).await? {
            Claimed::Done => break,
            Claimed::Busy => shared.runtime.sleep(BUSY).await,
            Claimed::Part(claim) => {
                let mut part = Part {
                    shared,
                    began,
                    claim,
                    is_held: true,
                    moved: 0,
                };
                match part.run().await {
                    // Whoever has it now goes on with it.
                    Ok(()) | Err(Ended::Lost) => part.is_held = false,
                    Err(Ended::Failed(error)) => {
                        part.is_held = false;
                        // If this fails, the lease ends it.
                        let _ = job.ledger.release(&part.claim).await;
                        return Err(error);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Why a part is not gone through to its end.
enum Ended {
    /// The lease was over, or the job is paused or canceled.
    Lost,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

struct Part<'s, 'j> {
    shared: &'s Shared<'j>,
    claim: Claim,
    /// When the lease began, or a little before.
    began: Monotonic,
    is_held: bool,
    /// For the sample that is read back.
    moved: u64,
}

impl Drop for Part<'_, '_> {
    fn drop(&mut self) {
        if self.is_held {
            self.shared.job.ledger.abandon(&self.claim);
        }
    }
}

impl Part<'_, '_> {
    async fn run(&mut self) -> Result<(), Ended> {
        let job = self.shared.job;
        let mut rest = self.claim.rest.clone();
        while !self.shared.is_halted() {
            let page = self.page(&rest).await?;
            let (whole, is_last) = (page.found.len(), page.is_last);
            let mut step = Step::default();
            let examined = self.items(page.found, &mut step).await?;
            step.is_done = is_last && examined == whole;
            if let Some(cursor) = &step.cursor {
                rest = rest.from_after(cursor);
            }
            let (counts, is_done) = (step.counts, step.is_done);
            let began = self.shared.runtime.now();
            let held = job.ledger.advance(&self.claim, step).await?;
            if held != Held::Lost {
                self.shared.count(&counts);
            }
            self.held(held, began)?;
            if is_done {
                return Ok(());
            }
        }
        Ok(job.ledger.release(&self.claim).await?)
    }

    async fn page(&self, rest: &Range) -> Result<Page> {
        let job = self.shared.job;
        let page = self.patiently(|| job.store.scan(rest, job.batch)).await?;
        page.check(rest)?;
        Ok(page)
    }

    /// Asks a store again that is away, or has too much to do.
    async fn patiently<T, F: Future<Output = Result<T>>>(&self, ask: impl Fn() -> F) -> Result<T> {
        let shared = self.shared;
        shared.brake.patiently(shared.runtime, Brake::is_for, ask).await
    }

    /// The items of a page, until the job is halted: decides each, and replaces together what is to be replaced. Returns how many there were.
    async fn items(&mut self, found: Vec<Scanned>, step: &mut Step) -> Result<usize, Ended> {
        let shared = self.shared;
        shared.items.take(shared.runtime, found.len() as u64).await;
        let mut planned = Vec::new();
        let (mut read, mut examined) = (0, 0);
        for Scanned {
            id,
            item,
            hides_items,
        } in found
        {
            if shared.is_halted() {
                break;
            }
            self.keep().await?;
            examined += 1;
            step.counts.examined += 1;
            step.counts.unlisted += u64::from(hides_items);
            let item = match item {
                // The store was away when it read this one.
                Err(error) if Brake::is_for(&error) => self.patiently(|| shared.job.store.front(&id)).await,
                item => item.map(Some),
            };
            let item = match item {
                Err(error) if is_unsettled(&error) && !shared.job.is_dry_run => self.front(&id).await,
                item => item,
            };
            match item {
                Ok(Some(item)) => {
                    read += item.front().len() as u64;
                    match examine(shared, item, &mut step.counts).await {
                        Decided::Change(it) => planned.push(*it),
                        Decided::Nothing => {}
                        Decided::Fault(fault) => self.fault(step, fault),
                    }
                }
                Ok(None) => step.counts.gone += 1,
                Err(error) => self.fault(step, fault(&id, &error)),
            }
            step.cursor = Some(id);
        }
        shared.bytes.take(shared.runtime, read).await;
        if shared.job.is_dry_run {
            for one in &planned {
                step.counts.add(&one.counts);
            }
        } else {
            self.replace(planned, step).await?;
        }
        Ok(examined)
    }

    /// Reads an item again, and ends what was cut off on the way.
    async fn front(&self, id: &str) -> Result<Option<Item>> {
        let store = &self.shared.job.store;
        let mut pause = REPLACED;
        for _ in 0..VISITS {
            match self.patiently(|| store.front(id)).await {
                Err(error) if is_unsettled(&error) => {}
                item => return item,
            }
            match self.patiently(|| store.settle(id)).await {
                Ok(()) => {}
                // Somebody is at it.
                Err(error) if is_unsettled(&error) => {
                    self.shared.runtime.sleep(pause).await;
                    pause *= 4;
                }
                Err(error) => return Err(error),
            }
        }
        self.patiently(|| store.front(id)).await
    }

    async fn replace(&mut self, planned: Vec<Planned>, step: &mut Step) -> Result<(), Ended> {
        if planned.is_empty() {
            return Ok(());
        }
        let (changes, counts): (Vec<_>, Vec<_>) = planned
            .into_iter()
            .map(|planned| (planned.change, planned.counts))
            .unzip();
        let written = counts.iter().map(|counts| counts.written).sum();
        self.shared.bytes.take(self.shared.runtime, written).await;
        self.keep().await?;
        let answers = self.shared.job.store.replace(&changes).await;
        let missing = || Err(Error::new(ErrorKind::Store).with_detail("the store returned too few answers"));
        let answers = answers.into_iter().chain(std::iter::repeat_with(missing));
        for ((change, counts), answer) in changes.into_iter().zip(counts).zip(answers) {
            self.answered(Planned { change, counts }, answer, step).await?;
        }
        Ok(())
    }

    /// What became of a change, and what follows from it.
    async fn answered(
        &mut self,
        mut planned: Planned,
        mut answer: Result<Replaced>,
        step: &mut Step,
    ) -> Result<(), Ended> {
        let id = planned.change.item().id().to_owned();
        for visit in 0..=VISITS {
            match answer {
                Ok(Replaced::Done) => match self.read_back(&planned.change, step).await {
                    Ok(Some(Replaced::Gone)) => {
                        step.counts.gone += 1;
                        return Ok(());
                    }
                    Ok(Some(_)) => {
                        step.counts.add(&planned.counts);
                        return Ok(());
                    }
                    // It was changed since. What it is now is decided anew.
                    Ok(None) => {}
                    Err(error) => {
                        self.fault(step, fault(&id, &error));
                        return Ok(());
                    }
                },
                Ok(Replaced::Gone) => {
                    step.counts.gone += 1;
                    return Ok(());
                }
                Ok(Replaced::Changed) => {}
                // Perhaps it was done, and the answer was lost: reading it again tells.
                Err(error) if Brake::is_for(&error) => {
                    self.shared.brake.hit(self.shared.runtime.now(), &error);
                    self.shared.brake.wait(self.shared.runtime).await;
                }
                Err(error) => {
                    self.fault(step, fault(&id, &error));
                    return Ok(());
                }
            }
            if visit == VISITS {
                break;
            }
            step.counts.revisited += 1;
            let item = match self.front(&id).await {
                Ok(Some(item)) => item,
                Ok(None) => {
                    step.counts.gone += 1;
                    return Ok(());
                }
                Err(error) => {
                    self.fault(step, fault(&id, &error));
                    return Ok(());
                }
            };
            if planned.change.is_done(&item) {
                // It was done, and the answer was lost.
                step.counts.add(&planned.counts);
                return Ok(());
            }
            planned = match examine(self.shared, item, &mut step.counts).await {
                Decided::Change(planned) => *planned,
                Decided::Nothing => return Ok(()),
                Decided::Fault(fault) => {
                    self.fault(step, fault);
                    return Ok(());
                }
            };
            self.keep().await?;
            let again = self
                .shared
                .job
                .store
                .replace(std::slice::from_ref(&planned.change))
                .await;
            answer = again.into_iter().next().unwrap_or_else(|| {
                Err(Error::new(ErrorKind::Store).with_detail("the store returned no answer"))
            });
        }
        let reason = format!("others changed it, or the store did not answer, {VISITS} times");
        self.fault(step, Fault::new(id, FaultClass::Contended, reason));
        Ok(())
    }

    /// What an item is that the store says was replaced. Reads it again if it is one of the sample. `None` if it is the item of neither before nor after.
    async fn read_back(&mut self, change: &Change, step: &mut Step) -> Result<Option<Replaced>> {
        self.moved += 1;
        let is_read = match self.shared.job.verify {
            Verify::None => false,
            Verify::Sample(of) => of.get() == 1 || self.moved % of == 1,
            Verify::All => true,
        };
        if !is_read {
            return Ok(Some(Replaced::Done));
        }
        let Some(now) = self.front(change.item().id()).await? else {
            return Ok(Some(Replaced::Gone));
        };
        if change.is_done(&now) {
            step.counts.read_back += 1;
            return Ok(Some(Replaced::Done));
        }
        if is_same(&now, change.item()) {
            return Err(Error::new(ErrorKind::Store)
                .with_detail("the store said that it was replaced, and it has its old wraps"));
        }
        Ok(None)
    }

    /// Nothing is decided or written once the lease is over, whatever has held this worker up. Asks for a new one in time.
    async fn keep(&mut self) -> Result<(), Ended> {
        let now = self.shared.runtime.now();
        if now < self.began + self.claim.lease / 2 {
            return Ok(());
        }
        let held = self.shared.job.ledger.renew(&self.claim).await?;
        self.held(held, now)
    }

    fn held(&mut self, held: Held, began: Monotonic) -> Result<(), Ended> {
        match held {
            Held::Yes => {
                self.began = began;
                Ok(())
            }
            Held::Released | Held::Lost => Err(Ended::Lost),
        }
    }

    fn fault(&self, step: &mut Step, fault: Fault) {
        tracing::warn!(
            store = self.shared.job.store.name(),
            item = fault.id,
            class = fault.class.name(),
            "cannot be re-wrapped: {}",
            fault.reason
        );
        step.counts.fault(fault.class);
        step.faults.push(fault);
        self.shared.fault();
    }
}

/// Somebody is replacing an item, or was cut off.
fn is_unsettled(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict && error.is_retryable()
}

/// A store that returns what was asked for already would keep a job for ever.
fn is_same(now: &Item, before: &Item) -> bool {
    now.len() == before.len() && now.front() == before.front()
}
