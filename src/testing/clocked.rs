//! An inventory with a simulated clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{InventoryLayer, SimulatedRuntime};
use crate::ring::Time;
use crate::ring::inventory::{Heartbeat, Inventory};
use crate::runtime::Runtime;
use crate::value::error::Result;

/// Any inventory, with the wall clock of a [`SimulatedRuntime`] in the place of its own: a year passes at once, on SQLite and
/// PostgreSQL as in memory.
///
/// Heartbeats keep the simulated time at which they were written through this value or a clone of it. Clones share the clock.
///
/// Whoever signs by it needs the same runtime: [`Reader::with_runtime`](crate::ring::Reader::with_runtime),
/// [`RingAdmin::with_runtime`](crate::ring::RingAdmin::with_runtime).
///
/// ```
/// # use std::time::Duration;
/// use waxseal::ring::{Inventory, inventory::MemoryInventory};
/// use waxseal::testing::{ClockedInventory, SimulatedRuntime};
///
/// # pollster::block_on(async {
/// let runtime = SimulatedRuntime::new();
/// let inventory = ClockedInventory::new(MemoryInventory::new(), &runtime);
/// let before = inventory.now().await?;
/// runtime.advance(Duration::from_secs(365 * 86_400));
/// assert_eq!(inventory.now().await?.since(before).as_secs(), 365 * 86_400);
/// # Ok::<(), waxseal::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct ClockedInventory {
    inner: Arc<dyn Inventory>,
    runtime: SimulatedRuntime,
    /// When each heartbeat was written.
    beats: Arc<Mutex<BTreeMap<(String, String), Time>>>,
}

impl ClockedInventory {
    /// Puts this runtime's wall clock in the place of the inventory's own.
    #[must_use]
    pub fn new(inventory: impl Inventory + 'static, runtime: &SimulatedRuntime) -> Self {
        Self {
            inner: Arc::new(inventory),
            runtime: runtime.clone(),
            beats: Arc::default(),
        }
    }

    fn beats(&self) -> MutexGuard<'_, BTreeMap<(String, String), Time>> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl InventoryLayer for ClockedInventory {
    fn inner(&self) -> &dyn Inventory {
        &*self.inner
    }

    async fn now(&self) -> Result<Time> {
        Time::try_from(self.runtime.wall_clock())
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<()> {
        self.inner.beat(heartbeat).await?;
        let of = (heartbeat.reader.clone(), heartbeat.process.clone());
        let now = Inventory::now(self).await?;
        self.beats().insert(of, now);
        Ok(())
    }

    async fn heartbeats(&self, since: Time) -> Result<Vec<Heartbeat>> {
        let mut beats = self.inner.heartbeats(Time::from_microseconds(0)?).await?;
        {
            let kept = self.beats();
            for beat in &mut beats {
                let of = (beat.reader.clone(), beat.process.clone());
                beat.at = kept.get(&of).copied().or(beat.at);
            }
        }
        beats.retain(|beat| beat.at >= Some(since));
        beats.sort_by_key(|beat| std::cmp::Reverse(beat.at));
        Ok(beats)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{ClockedInventory, SimulatedRuntime};
    use crate::ring::Time;
    use crate::ring::inventory::MemoryInventory;
    use crate::ring::inventory::{Heartbeat, Inventory};

    #[test]
    fn time_and_heartbeats_go_by_the_simulated_clock() {
        let runtime = SimulatedRuntime::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let inventory = ClockedInventory::new(MemoryInventory::new(), &runtime);
        let at = |seconds: i64| Time::from_microseconds(seconds * 1_000_000).unwrap();
        let beat = |process: &str| Heartbeat::new("r".to_owned(), process.to_owned(), 1, Vec::new());
        pollster::block_on(async {
            assert_eq!(inventory.now().await.unwrap(), at(1_000));
            inventory.beat(&beat("a")).await.unwrap();
            runtime.advance(Duration::from_secs(60));
            inventory.clone().beat(&beat("b")).await.unwrap();
            let beats = inventory.heartbeats(at(1_000)).await.unwrap();
            let times: Vec<_> = beats.iter().map(|beat| (&*beat.process, beat.at)).collect();
            assert_eq!(times, [("b", Some(at(1_060))), ("a", Some(at(1_000)))]);
            assert_eq!(inventory.heartbeats(at(1_001)).await.unwrap().len(), 1);
            runtime.set_wall_clock(SystemTime::UNIX_EPOCH);
            assert_eq!(inventory.clone().now().await.unwrap(), at(0));
        });
    }

    #[test]
    fn it_is_an_inventory_as_any_other() {
        use crate::testing::inventory_conformance::{Subject, run};

        let subject = Subject::new(|| async {
            let inventory = ClockedInventory::new(MemoryInventory::new(), &SimulatedRuntime::new());
            Ok((inventory.clone(), inventory))
        });
        let report = pollster::block_on(run(&subject)).unwrap_or_else(|failed| panic!("{failed}"));
        assert_eq!(report.skipped(), []);
    }
}
