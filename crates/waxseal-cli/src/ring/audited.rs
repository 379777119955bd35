//! The audit log of a command that administers a ring: one for the process, since whatever opens the ring writes to it.

use waxseal::ring::{Operation, Reader, RecordId};

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

/// Does a job, and writes down that it begins and how it ends, if there is a log.
pub(super) fn job(
    job: Operation,
    ring: RecordId,
    actor: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    #[cfg(feature = "audit")]
    if let Some(auditor) = AUDITOR.get() {
        let begun = super::wait(auditor.begin(job, ring, actor))?;
        let done = work();
        super::wait(begun.end(done.is_ok()))?;
        return done;
    }
    let _ = (job, ring, actor);
    work()
}
