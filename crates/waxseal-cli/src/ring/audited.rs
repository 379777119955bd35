//! The audit log of a command that administers a ring: one for the process, since whatever opens the ring writes to it.

use waxseal::ring::config::{AuthorityFile, RingConfig};
use waxseal::ring::{Authority, Inventory, Operation, Reader, RecordId, RingAdmin, Settings, Trust};

use super::wait;
use crate::failure::Result;
use crate::prompt::Person;
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
        return wait(RingAdmin::init_audited(
            inventory, authority, actor, auditor, edit,
        ));
    }
    wait(RingAdmin::init(inventory, authority, actor, edit))
}

/// Reads the private half of a ring's authority in the name of `actor`. If a KEK seals it, that is written down, if there is a log.
pub(super) fn authority(config: &RingConfig, actor: &str, person: &Person) -> Result<Authority> {
    read_authority(&config.administration()?.authority, config.ring, actor, person)
}

/// The same of a file. The ring may not be made yet.
pub(super) fn read_authority(
    file: &AuthorityFile,
    ring: impl Into<Option<RecordId>>,
    actor: &str,
    person: &Person,
) -> Result<Authority> {
    #[cfg(feature = "audit")]
    if let Some(auditor) = AUDITOR.get() {
        return wait(file.read_audited(person, ring, actor, auditor));
    }
    let _ = (ring, actor);
    wait(file.read(person))
}

/// Writes the private half of a new authority. If a KEK seals it, that is written down, if there is a log.
pub(super) fn write_authority(
    file: &AuthorityFile,
    authority: &Authority,
    ring: impl Into<Option<RecordId>>,
    actor: &str,
    person: &Person,
) -> Result<()> {
    #[cfg(feature = "audit")]
    if let Some(auditor) = AUDITOR.get() {
        return wait(file.write_new_audited(authority, person, ring, actor, auditor));
    }
    let _ = (ring, actor);
    wait(file.write_new(authority, person))
}

/// Does a job, and writes down that it begins and how it ends, if there is a log.
pub(super) fn job<T>(
    job: Operation,
    ring: RecordId,
    actor: &str,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    #[cfg(feature = "audit")]
    if let Some(auditor) = AUDITOR.get() {
        return job_of(auditor, (job, Some(ring)), actor, work);
    }
    let _ = (job, ring, actor);
    work()
}

/// The same with this auditor. A job may ask no ring.
#[cfg(feature = "audit")]
pub(crate) fn job_of<T>(
    auditor: &Auditor,
    (job, ring): (Operation, Option<RecordId>),
    actor: &str,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let begun = wait(auditor.begin(job, ring, actor))?;
    let done = work();
    let ended = wait(begun.end(done.is_ok()));
    // What went wrong says more than that it cannot be written down.
    let done = done?;
    ended.map(|()| done)
}
