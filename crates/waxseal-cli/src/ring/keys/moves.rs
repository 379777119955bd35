//! `keys promote`, `reinstate`, `take-back`, `retire` and `destroy`.

use std::path::{Path, PathBuf};

use waxseal::ring::RecordId;
use waxseal::ring::{Evidence, EvidenceSource, Grounds};

use super::{id_of, moved, receipts, verified};
use crate::arguments::{Actor, Destroy, Promote, Reinstate, Retire, TakeBack};
use crate::failure::{Failure, Result};
use crate::ring::{Administered, administer, administer_gated, ask, wait};

pub(super) fn promote(path: &Path, actor: &Actor, options: &Promote) -> Result<()> {
    let id = id_of(&options.id)?;
    let ring = administer_gated(path, actor, &options.skip_reader, &options.gated)?;
    let done = wait(ring.admin.promote(id, &options.reason))?;
    ring.end()?;
    moved("keys promote", &done)
}

pub(super) fn reinstate(path: &Path, actor: &Actor, options: &Reinstate) -> Result<()> {
    let id = id_of(&options.id)?;
    let ring = administer(path, actor, &[])?;
    let done = wait(ring.admin.reinstate(id, &options.reason))?;
    ring.end()?;
    moved("keys reinstate", &done)
}

pub(super) fn take_back(path: &Path, actor: &Actor, options: &TakeBack) -> Result<()> {
    let id = id_of(&options.id)?;
    let ring = administer(path, actor, &[])?;
    let key = wait(ring.admin.key(id))?;
    let what = match key.has_wrapped {
        true => "will wrap nothing anymore, and opens what it has wrapped",
        false => "will not be a key of the ring anymore; at its backend nothing is changed",
    };
    ask::whether(&options.consent, &format!("The pending key {id} {what}."))?;
    let done = wait(ring.admin.take_back(id, &options.reason))?;
    ring.end()?;
    moved("keys take-back", &done)
}

pub(super) fn retire(path: &Path, actor: &Actor, options: &Retire) -> Result<()> {
    let id = id_of(&options.id)?;
    let ring = administer(path, actor, &[])?;
    let done = match options.receipt.as_slice() {
        files @ [_, ..] => {
            let evidence = evidence(&ring, files, id, options.allow_empty)?;
            let reason = options
                .reason
                .as_deref()
                .unwrap_or("a census found nothing under it");
            wait(ring.admin.retire(id, Grounds::Evidence(&evidence), reason))?
        }
        [] => {
            let question = format!("What is under the key {id} will not open until it is reinstated.");
            ask::whether(&options.consent, &question)?;
            let reason = options.reason.as_deref().unwrap_or_default();
            wait(ring.admin.retire(id, Grounds::Force, reason))?
        }
    };
    ring.end()?;
    moved("keys retire", &done)
}

pub(super) fn destroy(path: &Path, actor: &Actor, options: &Destroy) -> Result<()> {
    let id = id_of(&options.id)?;
    let ring = administer(path, actor, &[])?;
    let reason = options
        .reason
        .as_deref()
        .unwrap_or("a census found nothing under it");
    let done = match options.receipt.as_slice() {
        files @ [_, ..] => {
            let evidence = evidence(&ring, files, id, options.allow_empty)?;
            let of_branch = match wait(ring.admin.key(id))?.branch {
                None => "",
                Some(_) => {
                    " A branch key is in backups of the inventory, too, and opens there as long as one of its parents exists."
                }
            };
            let question = format!(
                "The key {id} will be destroyed after the cooling-off, with all that is under it in backups of the data.{of_branch}"
            );
            ask::whether(&options.consent, &question)?;
            wait(ring.admin.destroy(id, &evidence, reason))?
        }
        [] if options.cancel => wait(ring.admin.cancel_destroy(id, reason))?,
        [] => {
            let question = format!("This records that the key {id} is gone. It cannot be taken back.");
            ask::whether(&options.consent, &question)?;
            wait(ring.admin.attest_destroyed(id, reason))?
        }
    };
    ring.end()?;
    moved("keys destroy", &done)
}

/// What verified receipts say of a key.
fn evidence(ring: &Administered, files: &[PathBuf], id: RecordId, allows_empty: bool) -> Result<Evidence> {
    let receipts = receipts(files)?;
    let key = wait(ring.admin.key(id))?;
    let view = wait(ring.admin.reader().scopes(&[]))?;
    verified(&receipts, &view, allows_empty)?
        .about(&key)
        .ok_or_else(|| Failure::refused(format!("the receipt says nothing about the key {id}")))
}
