//! One worker: takes a part, goes through it, and takes the next one.

use std::time::Duration;

use super::examine::{Decided, Planned, examine, fault};
use super::{Shared, TRIES, VISITS, Verify};
use crate::fleet::brake::Brake;
use crate::fleet::ledger::{Claim, Claimed, Step};
use crate::fleet::report::{Fault, FaultClass};
use crate::fleet::store::{Change, Item, Page, Replaced, Scanned};
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Result};

/// How long to wait for a part that is with somebody else.
const BUSY: Duration = Duration::from_millis(250);

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
        match job.ledger.claim(&name, job.lease).await? {
            Claimed::Done => break,
            Claimed::Busy => shared.runtime.sleep(BUSY).await,
            Claimed::Part(claim) => {
                let mut part = Part {
                    shared,
                    until: shared.runtime.now() + job.lease,
                    claim,
                    moved: 0,
                };
                match part.run().await {
                    // Whoever has it now goes on with it.
                    Err(error) if error.kind() == ErrorKind::Conflict => {}
                    Ok(()) => {}
                    Err(error) => {
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

struct Part<'s, 'j> {
    shared: &'s Shared<'j>,
    claim: Claim,
    /// When the lease ends.
    until: Monotonic,
    /// For the sample that is read back.
    moved: u64,
}

impl Part<'_, '_> {
    async fn run(&mut self) -> Result<()> {
        let job = self.shared.job;
        let mut rest = self.claim.rest.clone();
        while !self.shared.is_halted() {
            let page = self.page(&rest).await?;
            let mut step = Step {
                cursor: page.found.last().map(|last| last.id.clone()),
                is_done: page.is_last,
                ..Step::default()
            };
            if let Some(cursor) = &step.cursor {
                rest = rest.from_after(cursor);
            } else if !page.is_last {
                return Err(Error::new(ErrorKind::Store)
                    .with_detail("the store returned an empty page that is not the last one"));
            }
            self.items(page.found, &mut step).await?;
            let (counts, is_done) = (step.counts, step.is_done);
            job.ledger.advance(&self.claim, step).await?;
            self.until = self.shared.runtime.now() + job.lease;
            self.shared.count(&counts);
            if is_done {
                return Ok(());
            }
        }
        job.ledger.release(&self.claim).await
    }

    async fn page(&self, rest: &crate::fleet::store::Range) -> Result<Page> {
        let mut tries = 0;
        loop {
            self.shared.brake.wait(self.shared.runtime).await;
            match self.shared.job.store.scan(rest, self.shared.job.batch).await {
                Err(error) if Brake::is_for(&error) && tries < TRIES => {
                    tries += 1;
                    self.shared.brake.hit(self.shared.runtime.now(), &error);
                }
                page => return page,
            }
        }
    }

    /// All items of a page: decides each, and replaces together what is to be replaced.
    async fn items(&mut self, found: Vec<Scanned>, step: &mut Step) -> Result<()> {
        let shared = self.shared;
        shared.items.take(shared.runtime, found.len() as u64).await;
        let mut planned = Vec::new();
        let mut read = 0;
        for Scanned { id, item } in found {
            step.counts.examined += 1;
            match item {
                Ok(item) => {
                    read += item.front().len() as u64;
                    match examine(shared, item, &mut step.counts).await {
                        Decided::Change(it) => planned.push(*it),
                        Decided::Nothing => {}
                        Decided::Fault(fault) => self.fault(step, fault),
                    }
                }
                Err(error) => self.fault(step, fault(&id, &error)),
            }
        }
        shared.bytes.take(shared.runtime, read).await;
        if shared.job.is_dry_run {
            for one in &planned {
                step.counts.add(&one.counts);
            }
            return Ok(());
        }
        self.replace(planned, step).await
    }

    async fn replace(&mut self, planned: Vec<Planned>, step: &mut Step) -> Result<()> {
        if planned.is_empty() {
            return Ok(());
        }
        let (changes, counts): (Vec<_>, Vec<_>) = planned
            .into_iter()
            .map(|planned| (planned.change, planned.counts))
            .unzip();
        let written = counts.iter().map(|counts| counts.written).sum();
        self.shared.bytes.take(self.shared.runtime, written).await;
        self.check_lease()?;
        let answers = self.shared.job.store.replace(&changes).await;
        let missing = || Err(Error::new(ErrorKind::Store).with_detail("the store returned too few answers"));
        let answers = answers.into_iter().chain(std::iter::repeat_with(missing));
        for ((change, counts), answer) in changes.into_iter().zip(counts).zip(answers) {
            self.answered(Planned { change, counts }, answer, step).await?;
        }
        Ok(())
    }

    /// What became of a change, and what follows from it.
    async fn answered(&mut self, planned: Planned, answer: Result<Replaced>, step: &mut Step) -> Result<()> {
        let (mut planned, mut answer) = (planned, answer);
        for _ in 0..VISITS {
            let id = planned.change.item().id().to_owned();
            match answer {
                Ok(Replaced::Done) => match self.read_back(&planned.change, step).await {
                    Ok(Some(Replaced::Done)) => {
                        step.counts.add(&planned.counts);
                        return Ok(());
                    }
                    Ok(Some(Replaced::Gone)) => {
                        step.counts.gone += 1;
                        return Ok(());
                    }
                    // It was changed since. What it is now is decided anew.
                    Ok(_) => {}
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
            step.counts.revisited += 1;
            let item = match self.shared.job.store.front(&id).await {
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
            self.check_lease()?;
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
        let reason = format!("others changed it, {VISITS} times");
        self.fault(
            step,
            Fault::new(planned.change.item().id(), FaultClass::Contended, reason),
        );
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
        let Some(now) = self.shared.job.store.front(change.item().id()).await? else {
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

    /// Nothing is written once the lease is over, whatever has held this worker up.
    fn check_lease(&self) -> Result<()> {
        if self.shared.runtime.now() < self.until {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict).with_detail("the lease of this part of the job is over"))
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
    }
}

fn is_same(now: &Item, before: &Item) -> bool {
    now.len() == before.len() && now.front() == before.front()
}
