//! One ring in one database, whichever it is: connections that are kept, and the calls of an inventory on them.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use waxseal::ring::inventory::{Change, Heartbeat, Inventory, NodePath, Row, Snapshot, check_provisioned};
use waxseal::ring::{RecordId, Scope, Time};
use waxseal::runtime::{BoxFuture, Door, Kept};
use waxseal::{Error, ErrorKind, Result};

use crate::link::Link;
use crate::tables;

/// How many connections one inventory has at most. A ring is read by few at a time.
const CONNECTIONS: usize = 4;

/// How much longer a call may take for each row that it writes.
const PER_ROW: Duration = Duration::from_millis(2);

/// How connections to one database are opened.
#[async_trait]
pub(crate) trait Connect: Debug + Send + Sync + 'static {
    type Link: Link + 'static;

    async fn connect(&self) -> Result<Self::Link>;

    /// How far behind the newest change what it reads may be.
    fn behind(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether a connection leads to where a new one would.
    fn is_current(&self, link: &Self::Link) -> bool;

    /// Refuses a connection whose database must not be read now.
    async fn admit(&self, link: &mut Self::Link) -> Result<()> {
        let _ = link;
        Ok(())
    }
}

/// One ring in one database.
#[derive(Debug)]
pub(crate) struct Store<C: Connect> {
    // Before the runtime that it needs.
    shared: Kept<Arc<Shared<C>>>,
    door: Door,
    /// The name of the database's kind, for errors.
    provider: String,
    behind: Duration,
}

#[derive(Debug)]
struct Shared<C: Connect> {
    connect: C,
    ring: String,
    idle: Idle<C::Link>,
    places: Semaphore,
}

/// Connections that nobody uses.
struct Idle<L>(Mutex<Vec<L>>);

impl<L> Debug for Idle<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Idle")
    }
}

impl<L> Idle<L> {
    fn pop(&self) -> Option<L> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn push(&self, link: L) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }
}

impl<C: Connect> Shared<C> {
    /// A connection that works.
    async fn link(&self) -> Result<C::Link> {
        while let Some(mut link) = self.idle.pop() {
            // A server that was restarted has closed them all.
            if self.connect.is_current(&link) && link.is_alive().await {
                return Ok(link);
            }
        }
        self.connect.connect().await
    }
}

impl<C: Connect> Store<C> {
    /// Opens the ring of this name.
    ///
    /// # Errors
    /// As [`Inventory`] says; `Configuration` if the database has no tables, or tables of another version.
    pub(crate) async fn open(
        connect: C,
        ring: String,
        timeout: Duration,
        peer: &'static str,
        prepare: impl for<'a> FnOnce(&'a mut dyn Link) -> BoxFuture<'a, Result<()>> + Send + 'static,
    ) -> Result<Self> {
        let store = Self {
            behind: connect.behind(),
            shared: Kept::new(Arc::new(Shared {
                connect,
                ring,
                idle: Idle(Mutex::default()),
                places: Semaphore::new(CONNECTIONS),
            })),
            door: Door::new(timeout, peer)?,
            provider: peer.to_ascii_lowercase(),
        };
        store.run(0, move |link, _| prepare(link)).await?;
        Ok(store)
    }

    /// Does `work` on a connection, which is kept if the work succeeds and closed if not. It may take longer if it writes many
    /// `rows`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl for<'a> FnOnce(&'a mut dyn Link, &'a str) -> BoxFuture<'a, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(self.shared.get()?);
        let work = async move {
            let place = shared.places.acquire().await;
            let _place = place.map_err(|_| Error::new(ErrorKind::Store))?;
            let mut link = shared.link().await?;
            shared.connect.admit(&mut link).await?;
            let result = work(&mut link, &shared.ring).await?;
            shared.idle.push(link);
            Ok(result)
        };
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let done = self.door.run(PER_ROW.saturating_mul(rows), work).await;
        done.map_err(|error| error.with_provider(self.provider.clone()))
    }
}

#[async_trait]
impl<C: Connect> Inventory for Store<C> {
    fn behind(&self) -> Duration {
        self.behind
    }

    async fn revision(&self) -> Result<u64> {
        self.run(0, |link, ring| Box::pin(tables::revision(link, ring)))
            .await
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        let (scopes, nodes) = (scopes.to_vec(), nodes.to_vec());
        self.run(0, move |link, ring| {
            Box::pin(async move { tables::read(link, ring, &scopes, &nodes).await })
        })
        .await
    }

    async fn commit(&self, change: &Change) -> Result<()> {
        change.check()?;
        let change = change.clone();
        let outcome = self
            .run(change.put.len() + change.delete.len(), move |link, ring| {
                Box::pin(async move { tables::commit(link, ring, &change).await })
            })
            .await?;
        outcome.into_result()
    }

    async fn provision(&self, follows: u64, row: &Row) -> Result<Row> {
        check_provisioned(row)?;
        let row = row.clone();
        self.run(1, move |link, ring| {
            Box::pin(async move { tables::provision(link, ring, follows, &row).await })
        })
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::Denied => {
                let detail = error.detail().unwrap_or("this account may not insert it");
                let detail = format!(
                    "the first key of a scope: {detail}; in PostgreSQL it takes what grants/postgres.sql gives the role waxseal_provisioner"
                );
                error.with_detail(detail)
            }
            _ => error,
        })
    }

    async fn scopes_provisioned(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let after = after.cloned();
        self.run(0, move |link, ring| {
            Box::pin(async move { tables::scopes_provisioned(link, ring, after.as_ref(), limit).await })
        })
        .await
    }

    async fn restore(&self, whole: &Snapshot) -> Result<()> {
        whole.check()?;
        let whole = whole.clone();
        let outcome = self
            .run(whole.rows.len() + whole.provisioned.len(), move |link, ring| {
                Box::pin(async move { tables::restore(link, ring, &whole).await })
            })
            .await?;
        outcome.into_result()
    }

    async fn now(&self) -> Result<Time> {
        self.run(0, |link, _| Box::pin(tables::now(link))).await
    }

    async fn scope_of(&self, id: RecordId) -> Result<Option<Scope>> {
        self.run(0, move |link, ring| Box::pin(tables::scope_of(link, ring, id)))
            .await
    }

    async fn scopes_of_kek(&self, provider: &str, kek_id: &str, limit: u32) -> Result<Vec<Scope>> {
        let (provider, kek_id) = (provider.to_owned(), kek_id.to_owned());
        // No KEK has such a name, and PostgreSQL no such text.
        if [&provider, &kek_id].iter().any(|name| name.contains('\0')) {
            return Ok(Vec::new());
        }
        self.run(0, move |link, ring| {
            Box::pin(async move { tables::scopes_of_kek(link, ring, &provider, &kek_id, limit).await })
        })
        .await
    }

    async fn scopes_due(&self, by: Time, limit: u32) -> Result<Vec<Scope>> {
        self.run(0, move |link, ring| {
            Box::pin(tables::scopes_due(link, ring, by, limit))
        })
        .await
    }

    async fn next_due(&self) -> Result<Option<Time>> {
        self.run(0, |link, ring| Box::pin(tables::next_due(link, ring)))
            .await
    }

    async fn scopes_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let after = after.cloned();
        self.run(0, move |link, ring| {
            Box::pin(async move { tables::scopes_after(link, ring, after.as_ref(), limit).await })
        })
        .await
    }

    async fn scopes_pending(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let after = after.cloned();
        self.run(0, move |link, ring| {
            Box::pin(async move { tables::scopes_pending(link, ring, after.as_ref(), limit).await })
        })
        .await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<()> {
        heartbeat.check()?;
        let heartbeat = heartbeat.clone();
        self.run(0, move |link, ring| {
            Box::pin(async move { tables::beat(link, ring, &heartbeat).await })
        })
        .await
    }

    async fn heartbeats(&self, since: Time) -> Result<Vec<Heartbeat>> {
        self.run(0, move |link, ring| {
            Box::pin(tables::heartbeats(link, ring, None, since))
        })
        .await
    }

    async fn heartbeats_of(&self, reader: &str, since: Time) -> Result<Vec<Heartbeat>> {
        // No reader has such a name, and PostgreSQL no such text.
        if reader.contains('\0') {
            return Ok(Vec::new());
        }
        let reader = reader.to_owned();
        self.run(0, move |link, ring| {
            Box::pin(async move { tables::heartbeats(link, ring, Some(&reader), since).await })
        })
        .await
    }
}
