//! An inventory in front of another one.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::ring::inventory::{Change, Heartbeat, Inventory, NodePath, Row, Snapshot};
use crate::ring::{RecordId, Scope, Time};
use crate::value::error::Result;

/// An [`Inventory`] that is another one but for some of its calls: a clock of its own, failures, lies. Each call that is not
/// implemented goes to [`inner`](Self::inner).
///
/// ```
/// use waxseal::ring::inventory::{Inventory, MemoryInventory};
/// use waxseal::testing::InventoryLayer;
///
/// /// One that says that it is always at this revision.
/// #[derive(Debug)]
/// struct Stuck(MemoryInventory, u64);
///
/// #[async_trait::async_trait]
/// impl InventoryLayer for Stuck {
///     fn inner(&self) -> &dyn Inventory {
///         &self.0
///     }
///     async fn revision(&self) -> waxseal::Result<u64> {
///         Ok(self.1)
///     }
/// }
///
/// # pollster::block_on(async {
/// let inventory: Box<dyn Inventory> = Box::new(Stuck(MemoryInventory::new(), 7));
/// assert_eq!(inventory.revision().await?, 7);
/// assert_eq!(inventory.next_due().await?, None);
/// # Ok::<(), waxseal::Error>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait InventoryLayer: Debug + Send + Sync {
    /// Returns the one behind it.
    fn inner(&self) -> &dyn Inventory;

    /// As [`Inventory::behind`].
    fn behind(&self) -> Duration {
        self.inner().behind()
    }

    /// As [`Inventory::revision`].
    async fn revision(&self) -> Result<u64> {
        self.inner().revision().await
    }

    /// As [`Inventory::read`].
    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        self.inner().read(scopes, nodes).await
    }

    /// As [`Inventory::commit`].
    async fn commit(&self, change: &Change) -> Result<()> {
        self.inner().commit(change).await
    }

    /// As [`Inventory::provision`].
    async fn provision(&self, follows: u64, row: &Row) -> Result<Row> {
        self.inner().provision(follows, row).await
    }

    /// As [`Inventory::scopes_provisioned`].
    async fn scopes_provisioned(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        self.inner().scopes_provisioned(after, limit).await
    }

    /// As [`Inventory::restore`].
    async fn restore(&self, whole: &Snapshot) -> Result<()> {
        self.inner().restore(whole).await
    }

    /// As [`Inventory::now`].
    async fn now(&self) -> Result<Time> {
        self.inner().now().await
    }

    /// As [`Inventory::scope_of`].
    async fn scope_of(&self, id: RecordId) -> Result<Option<Scope>> {
        self.inner().scope_of(id).await
    }

    /// As [`Inventory::scopes_of_kek`].
    async fn scopes_of_kek(&self, provider: &str, kek_id: &str, limit: u32) -> Result<Vec<Scope>> {
        self.inner().scopes_of_kek(provider, kek_id, limit).await
    }

    /// As [`Inventory::scopes_due`].
    async fn scopes_due(&self, by: Time, limit: u32) -> Result<Vec<Scope>> {
        self.inner().scopes_due(by, limit).await
    }

    /// As [`Inventory::next_due`].
    async fn next_due(&self) -> Result<Option<Time>> {
        self.inner().next_due().await
    }

    /// As [`Inventory::scopes_after`].
    async fn scopes_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        self.inner().scopes_after(after, limit).await
    }

    /// As [`Inventory::scopes_pending`].
    async fn scopes_pending(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        self.inner().scopes_pending(after, limit).await
    }

    /// As [`Inventory::beat`].
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<()> {
        self.inner().beat(heartbeat).await
    }

    /// As [`Inventory::heartbeats`].
    async fn heartbeats(&self, since: Time) -> Result<Vec<Heartbeat>> {
        self.inner().heartbeats(since).await
    }

    /// As [`Inventory::heartbeats_of`]: those of [`heartbeats`](Self::heartbeats) if the layer answers that by itself.
    async fn heartbeats_of(&self, reader: &str, since: Time) -> Result<Vec<Heartbeat>> {
        let mut beats = self.heartbeats(since).await?;
        beats.retain(|beat| beat.reader == reader);
        Ok(beats)
    }
}

#[async_trait]
impl<L: InventoryLayer> Inventory for L {
    fn behind(&self) -> Duration {
        InventoryLayer::behind(self)
    }

    async fn revision(&self) -> Result<u64> {
        InventoryLayer::revision(self).await
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        InventoryLayer::read(self, scopes, nodes).await
    }

    async fn commit(&self, change: &Change) -> Result<()> {
        InventoryLayer::commit(self, change).await
    }

    async fn provision(&self, follows: u64, row: &Row) -> Result<Row> {
        InventoryLayer::provision(self, follows, row).await
    }

    async fn scopes_provisioned(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        InventoryLayer::scopes_provisioned(self, after, limit).await
    }

    async fn restore(&self, whole: &Snapshot) -> Result<()> {
        InventoryLayer::restore(self, whole).await
    }

    async fn now(&self) -> Result<Time> {
        InventoryLayer::now(self).await
    }

    async fn scope_of(&self, id: RecordId) -> Result<Option<Scope>> {
        InventoryLayer::scope_of(self, id).await
    }

    async fn scopes_of_kek(&self, provider: &str, kek_id: &str, limit: u32) -> Result<Vec<Scope>> {
        InventoryLayer::scopes_of_kek(self, provider, kek_id, limit).await
    }

    async fn scopes_due(&self, by: Time, limit: u32) -> Result<Vec<Scope>> {
        InventoryLayer::scopes_due(self, by, limit).await
    }

    async fn next_due(&self) -> Result<Option<Time>> {
        InventoryLayer::next_due(self).await
    }

    async fn scopes_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        InventoryLayer::scopes_after(self, after, limit).await
    }

    async fn scopes_pending(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        InventoryLayer::scopes_pending(self, after, limit).await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<()> {
        InventoryLayer::beat(self, heartbeat).await
    }

    async fn heartbeats(&self, since: Time) -> Result<Vec<Heartbeat>> {
        InventoryLayer::heartbeats(self, since).await
    }

    async fn heartbeats_of(&self, reader: &str, since: Time) -> Result<Vec<Heartbeat>> {
        InventoryLayer::heartbeats_of(self, reader, since).await
    }
}
