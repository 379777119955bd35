//! Re-wraps of all that a store holds.

mod described;
mod show;
mod store;
mod template;

use std::path::Path;
use std::sync::Arc;

use waxseal::EncryptionContext;
use waxseal::Sealer;
use waxseal::fleet::{FileLedger, Limits, Report, RewrapJob, Verify};

pub(crate) use store::is_named;
#[cfg(feature = "ring")]
pub(crate) use store::{Place, is_described, place};

use crate::arguments::Rewrap;
use crate::arguments::job::{Job, VerifyItems};
use crate::failure::{Failure, Result};
use crate::stream::{Access, Output, Replace};

/// Refuses options of a single envelope.
pub(crate) fn check(options: &Rewrap) -> Result<()> {
    let given = [
        ("--in-place", options.in_place),
        ("--output", options.streams.output.is_some()),
        ("--break-links", options.streams.break_links),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((option, _)) => Err(Failure::usage(format!(
            "{option} is for a single envelope: what a directory or a store holds is replaced where it is"
        ))),
    }
}

/// Moves what a directory or a store holds. `purpose` says from which keys to which ones.
pub(crate) fn rewrap(
    options: &Rewrap,
    path: &Path,
    sealer: Sealer,
    context: EncryptionContext,
    purpose: String,
) -> Result<()> {
    let store = match path.is_dir() {
        true => store::of_directory(path, (!options.use_stored_context).then_some(context))?,
        false if options.use_stored_context || !options.context.context.is_empty() => {
            return Err(Failure::usage(
                "--context and --use-stored-context do not go with the description of a store, which says it in [context]",
            ));
        }
        false => store::open(path, options.job.dry_run)?,
    };
    let wanted = &options.job;
    let report = match &wanted.report {
        None => None,
        // What would be refused in the end is refused now.
        Some(path) => Some(Output::create(
            Some(path),
            Access::Usual,
            Replace {
                break_links: false,
                input: None,
                keys: &[],
                any_bytes: true,
            },
        )?),
    };
    let bar = show::Bar::new();
    let mut job = RewrapJob::new(sealer, store).purpose(purpose);
    job = settings(job, wanted);
    if let Some(path) = &wanted.ledger {
        let ledger = FileLedger::open(path).map_err(|error| match error.is_retryable() {
            true => Failure::busy(format!(
                "{}: another process works by this ledger",
                path.display()
            )),
            false => Failure::of_stream("open", path.display(), error),
        })?;
        job = job.ledger(Arc::new(ledger));
    }
    let watched = bar.clone();
    let done = pollster::block_on(job.watch(move |progress| watched.show(&progress.counts)).run());
    bar.end();
    let done = done?;
    show::report(&done, report)?;
    attention(&done)
}

fn settings(mut job: RewrapJob, wanted: &Job) -> RewrapJob {
    if let Some(workers) = wanted.workers {
        job = job.workers(workers);
    }
    if let Some(rate) = wanted.rate {
        job = job.limits(Limits::none().items(rate));
    }
    if let Some(verify) = wanted.verify {
        job = job.verify(match verify {
            VerifyItems::All => Verify::All,
            VerifyItems::Sample => Verify::default(),
            VerifyItems::None => Verify::None,
        });
    }
    if let Some(faults) = wanted.most_faults {
        job = job.most_faults(faults);
    }
    match wanted.dry_run {
        true => job.dry_run(),
        false => job,
    }
}

/// What a person has to look at.
fn attention(report: &Report) -> Result<()> {
    let faults = report.counts.faults();
    if report.is_whole && faults == 0 {
        return Ok(());
    }
    let first = report.faults.first();
    let first = first.map_or_else(String::new, |fault| {
        format!("; the first: {}: {}", fault.id, fault.reason)
    });
    let whole = match (report.is_whole, report.counts.unlisted) {
        (true, _) => "",
        (false, 0) => " before the job stopped: run it again to go on, or allow more with --most-faults",
        (false, _) => ", and some places could not be listed",
    };
    Err(Failure::attention(format!(
        "{} could not be moved{whole}{first}",
        crate::report::many(faults, "item")
    )))
}
