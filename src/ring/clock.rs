//! What time it is, for whoever signs: the inventory says it, and the clock of the machine has to agree.
//!
//! An inventory's clock is signed by nobody, and the clock of one machine can be wrong. A time that both say, within the tolerance of the
//! settings, is wrong by no more than that tolerance unless both are. Within it nobody believes the clock that would let something be over too early:
//! a change bears the later of the two times, and a census began at the earlier one. So a wrong clock gains nothing while the other one is right.

use std::time::Duration;

use super::Time;
use super::inventory::Inventory;
use super::record::Settings;
use crate::runtime::Runtime;
use crate::value::error::{Error, ErrorKind, Result};

/// The longest that a change may take, with everything that is read for it.
pub(crate) const CHANGE: Duration = Duration::from_secs(60);
/// What a change may take at least from when its time was asked for until it is in the inventory: [`Settings::commit_time`].
pub(crate) const COMMIT: Duration = Duration::from_secs(2);

/// What time it is, by two clocks that agree within the tolerance of the settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    /// The inventory's time.
    pub(crate) now: Time,
    /// The earlier of the two: what has to be over is over by both.
    pub(crate) earliest: Time,
    /// The later of the two.
    pub(crate) latest: Time,
}

impl Agreed {
    /// Both say this.
    pub(crate) fn on(time: Time) -> Self {
        Self {
            now: time,
            earliest: time,
            latest: time,
        }
    }
}

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

    /// What both say.
    ///
    /// # Errors
    /// `ClocksDisagree` if the inventory's time is further from that of this machine than `tolerance`.
    pub(crate) fn agreed(self, tolerance: Duration) -> Result<Agreed> {
        let from = self.earliest.saturating_sub(tolerance);
        if (from..=self.latest.saturating_add(tolerance)).contains(&self.inventory) {
            return Ok(Agreed {
                now: self.inventory,
                earliest: self.inventory.min(self.earliest),
                latest: self.inventory.max(self.latest),
            });
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
    pub(crate) fn agreed_by(self, settings: &Settings) -> Result<Agreed> {
        self.agreed(settings.clock_tolerance.at_most())
    }
}
