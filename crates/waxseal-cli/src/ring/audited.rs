//! The audit log of a command that administers a ring: one for the process, since whatever opens the ring writes to it.

use waxseal::ring::{Authority, Inventory, Operation, Reader, RecordId, RingAdmin, Settings, Trust};

use crate::failure::Result;
#[cfg(feature = "audit")]
use {crate::arguments::Log, crate::audit::Auditing, std::sync::OnceLock, waxseal::audit::Auditor};

#[cfg(feature = "audit")]
static AUDITOR: OnceLock<Auditor> = OnceLock::new();

/// Opens the log that an option or the variable names, if the command has something to write down. It ends when this is dropped.
#[cfg(feature = "audit")]
pub(super) fn begin(log: &Log, is_audited: bool) -> Result<Option<Auditing>> {
    if !is_audited {
        return Ok(None);
    }
    let auditing = Auditing::of(log)?;
    if let Some(auditor) = auditing.auditor() {
        // A process runs one command.
        let _ = AUDITOR.set(auditor.clone());
    }
    Ok(Some(auditing))
}

/// Writes down what is done with a reader, if there is a log.
pub(super) fn reader(reader: Reader) -> Reader {
    #[cfg(feature = "audit")]
    if let Some(auditor) = AUDITOR.get() {
        return reader.audited_by(auditor);
    }
    reader
}

/// Makes a ring, and writes that down, if there is a log.
pub(super) fn init(
    inventory: &dyn Inventory,
    authority: &Authority,
    actor: &str,
    edit: impl FnOnce(&mut Settings) + Send,
) -> Result<Trust> {
    #[cfg(feature = "audit")]
    if let Some(auditor) = AUDITOR.get() {
        return super::wait(RingAdmin::init_audited(
            inventory, authority, actor, auditor, edit,
        ));
    }
    super::wait(RingAdmin::init(inventory, authority, actor, edit))
}

/// Does a job, and writes down that it begins and how it ends, if there is a log.
pub(super) fn job(
    job: Operation,
    ring: RecordId,
    actor: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    #[cfg(feature = "audit")]
    if let Some(auditor) = AUDITOR.get() {
        return job_of(auditor, (job, Some(ring)), actor, work);
    }
    let _ = (job, ring, actor);
    work()
}

/// The same with this auditor. A job may ask no ring.
#[cfg(feature = "audit")]
pub(crate) fn job_of(
    auditor: &Auditor,
    (job, ring): (Operation, Option<RecordId>),
    actor: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let begun = super::wait(auditor.begin(job, ring, actor))?;
    let done = work();
    let ended = super::wait(begun.end(done.is_ok()));
    // What went wrong says more than that it cannot be written down.
    done.and(ended)
}
