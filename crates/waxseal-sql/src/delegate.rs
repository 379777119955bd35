//! The trait on the public types, which hold a [`Store`](crate::store::Store).

/// Implements [`Inventory`](waxseal::ring::Inventory) by the field 0.
macro_rules! delegate {
    ($type:ty) => {
        #[async_trait::async_trait]
        impl waxseal::ring::Inventory for $type {
            fn behind(&self) -> std::time::Duration {
                self.0.behind()
            }

            async fn revision(&self) -> waxseal::Result<u64> {
                self.0.revision().await
            }

            async fn read(
                &self,
                scopes: &[waxseal::ring::Scope],
                nodes: &[waxseal::ring::inventory::NodePath],
            ) -> waxseal::Result<waxseal::ring::inventory::Snapshot> {
                self.0.read(scopes, nodes).await
            }

            async fn commit(&self, change: &waxseal::ring::inventory::Change) -> waxseal::Result<()> {
                self.0.commit(change).await
            }

            async fn provision(
                &self,
                follows: u64,
                row: &waxseal::ring::inventory::Row,
            ) -> waxseal::Result<waxseal::ring::inventory::Row> {
                self.0.provision(follows, row).await
            }

            async fn scopes_provisioned(
                &self,
                after: Option<&waxseal::ring::Scope>,
                limit: u32,
            ) -> waxseal::Result<Vec<waxseal::ring::Scope>> {
                self.0.scopes_provisioned(after, limit).await
            }

            async fn restore(&self, whole: &waxseal::ring::inventory::Snapshot) -> waxseal::Result<()> {
                self.0.restore(whole).await
            }

            async fn now(&self) -> waxseal::Result<waxseal::ring::Time> {
                self.0.now().await
            }

            async fn scope_of(
                &self,
                id: waxseal::ring::RecordId,
            ) -> waxseal::Result<Option<waxseal::ring::Scope>> {
                self.0.scope_of(id).await
            }

            async fn scopes_of_kek(
                &self,
                provider: &str,
                kek_id: &str,
                limit: u32,
            ) -> waxseal::Result<Vec<waxseal::ring::Scope>> {
                self.0.scopes_of_kek(provider, kek_id, limit).await
            }

            async fn scopes_due(
                &self,
                by: waxseal::ring::Time,
                limit: u32,
            ) -> waxseal::Result<Vec<waxseal::ring::Scope>> {
                self.0.scopes_due(by, limit).await
            }

            async fn next_due(&self) -> waxseal::Result<Option<waxseal::ring::Time>> {
                self.0.next_due().await
            }

            async fn scopes_after(
                &self,
                after: Option<&waxseal::ring::Scope>,
                limit: u32,
            ) -> waxseal::Result<Vec<waxseal::ring::Scope>> {
                self.0.scopes_after(after, limit).await
            }

            async fn scopes_pending(
                &self,
                after: Option<&waxseal::ring::Scope>,
                limit: u32,
            ) -> waxseal::Result<Vec<waxseal::ring::Scope>> {
                self.0.scopes_pending(after, limit).await
            }

            async fn beat(&self, heartbeat: &waxseal::ring::inventory::Heartbeat) -> waxseal::Result<()> {
                self.0.beat(heartbeat).await
            }

            async fn heartbeats(
                &self,
                since: waxseal::ring::Time,
            ) -> waxseal::Result<Vec<waxseal::ring::inventory::Heartbeat>> {
                self.0.heartbeats(since).await
            }

            async fn heartbeats_of(
                &self,
                reader: &str,
                since: waxseal::ring::Time,
            ) -> waxseal::Result<Vec<waxseal::ring::inventory::Heartbeat>> {
                self.0.heartbeats_of(reader, since).await
            }
        }
    };
}

pub(crate) use delegate;
