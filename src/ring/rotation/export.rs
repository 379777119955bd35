//! Exports that the ring remembers.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{RingAdmin, refused};
use crate::ring::inventory::MemoryInventory;
use crate::ring::view::{View, hex};
use crate::ring::witness::Operation;
use crate::ring::{Exported, Reader, Trust, import};
use crate::value::error::{Error, ErrorKind, Result};

impl RingAdmin {
    /// Verifies an export of this ring, and remembers it in the signed head: a key that branch keys were wrapped under is destroyed only if a newer
    /// export is remembered. Give it the bytes as they are kept, read again from where that is. An older export than the one that is remembered
    /// changes nothing. Returns what is remembered then.
    ///
    /// # Errors
    /// `InventoryInvalid` if the export is not whole, or one of another ring or of another history than this one; as the [type](Self) says.
    pub async fn remember_export(&self, export: &[u8]) -> Result<Exported> {
        let deed = self.deed(Operation::RememberExport);
        self.witnessed(deed, self.do_remember_export(export)).await
    }

    pub(super) async fn do_remember_export(&self, export: &[u8]) -> Result<Exported> {
        let trust = self.reader.trust();
        // By itself: it may be older than what was seen.
        let alone = Trust::new(trust.ring(), trust.authority());
        let held = MemoryInventory::new();
        let mark = import(&alone, &held, export).await?;
        let alone = Reader::new(Trust::new(trust.ring(), trust.authority()), Arc::new(held));
        check_history(&alone.whole().await?, &self.reader.whole().await?)?;
        let digest = hex(&Sha256::digest(export).into());
        let exported = self
            .change(&[], |view, draft| {
                let is_other = mark.revision == view.revision() && mark.head != view.mark().head;
                if mark.revision > view.revision() || is_other {
                    return Err(Error::new(ErrorKind::InventoryInvalid).with_detail(format!(
                        "the export is of another history of the ring: it has revision {}, and the ring has revision {}",
                        mark.revision,
                        view.revision()
                    )));
                }
                match view.exported() {
                    Some(kept) if kept.revision >= mark.revision => Ok(Some(kept.clone())),
                    _ => {
                        draft.remember_export(mark.revision, digest.clone());
                        Ok(None)
                    }
                }
            })
            .await?;
        if let Some(exported) = exported {
            return Ok(exported);
        }
        let view = self.read(&[]).await?;
        view.exported()
            .cloned()
            .ok_or_else(|| refused("the export was not remembered"))
    }
}

/// Refuses an export that the present ring does not come from, for example one that was made before the inventory was taken back to an older state: each of
/// its keys is in the ring, and what has happened to it until then is the same.
fn check_history(export: &View, ring: &View) -> Result<()> {
    if export.revision() > ring.revision() {
        // It came between; whoever commits compares again.
        return Ok(());
    }
    for key in export.all_keys() {
        let now = ring.key(key.id);
        if now.is_none_or(|now| !now.history.starts_with(&key.history)) {
            return Err(Error::new(ErrorKind::InventoryInvalid).with_detail(format!(
                "the export is of another history of the ring: what it says of the key {} of scope {} never happened here",
                key.id, key.scope
            )));
        }
    }
    Ok(())
}
