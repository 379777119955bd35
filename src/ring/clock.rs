//! What time it is, for whoever signs: the inventory says it, and the clock of the machine has to agree.
//!
//! An inventory's clock is signed by nobody, and the clock of one machine can be wrong. A time that both say, within the tolerance of the
//! settings, is wrong by no more than that tolerance unless both are.

use std::time::Duration;

use super::Time;
use super::inventory::Inventory;
use super::record::Settings;
use crate::runtime::Runtime;
use crate::value::error::{Error, ErrorKind, Result};

/// How long a change may take from when its time was asked for until it is in the inventory. What waits for a move waits that much longer.
pub(crate) const COMMIT: Duration = Duration::from_secs(60);

/// What an inventory has said of the time, and what the clock of this machine said before and after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    inventory: Time,
    earliest: Time,
    latest: Time,
}

impl Asked {
    pub(crate) async fn of(inventory: &dyn Inventory, runtime: &dyn Runtime) -> Result<Self> {
        let before = Time::try_from(runtime.wall_clock())?;
        let inventory = inventory.now().await?;
        let after = Time::try_from(runtime.wall_clock())?;
        Ok(Self {
            inventory,
            earliest: before.min(after),
            latest: before.max(after),
        })
    }

    /// The inventory's time.
    ///
    /// # Errors
    /// `ClocksDisagree` if it is further from that of this machine than `tolerance`.
    pub(crate) fn agreed(self, tolerance: Duration) -> Result<Time> {
        let from = self.earliest.saturating_sub(tolerance);
        if (from..=self.latest.saturating_add(tolerance)).contains(&self.inventory) {
            return Ok(self.inventory);
        }
        Err(Error::new(ErrorKind::ClocksDisagree).with_detail(format!(
            "the inventory's clock says {}, and that of this machine {}; the ring allows them to be {} seconds apart (clock_tolerance). \
             Set the one that is wrong and try again: nothing was signed",
            self.inventory,
            self.latest,
            tolerance.as_secs()
        )))
    }

    /// The same, with the tolerance of these settings.
    pub(crate) fn agreed_by(self, settings: &Settings) -> Result<Time> {
        self.agreed(settings.clock_tolerance.at_most())
    }
}
