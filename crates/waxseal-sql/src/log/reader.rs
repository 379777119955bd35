//! Reading a log in a database.

use std::fmt;

use async_trait::async_trait;
use waxseal::audit::{Checkpoint, LogSource, VerifierKey};
use waxseal::{Error, ErrorKind, Result};

use super::{missing, rows};
use crate::postgres::{PostgresConfig, Server};
use crate::store::Store;

/// Records that are read at once: 64 MiB, if they are as long as they can be.
const PAGE: u64 = 1_024;

/// An audit log in PostgreSQL, up to the checkpoint that it had when it was opened: what [`waxseal::audit::publish`] makes a copy of.
pub struct PostgresLogReader {
    store: Store<Server>,
    checkpoint: Checkpoint,
}

impl PostgresLogReader {
    /// Opens the log whose origin is the name of the key, to read it.
    ///
    /// # Errors
    /// `Configuration` if there is no such log; `Audit` if its checkpoint is not signed by this key; `Denied` if the role may not read it; else as
    /// [`Inventory`](waxseal::ring::Inventory) says.
    pub async fn open(config: PostgresConfig, key: &VerifierKey) -> Result<Self> {
        let store = rows::open(config, key.name(), false).await?;
        let head = store
            .run(0, |link, origin| Box::pin(rows::head(link, origin)))
            .await?
            .ok_or_else(|| missing(key.name()))?;
        let checkpoint = head.checkpoint()?;
        checkpoint.verify(key).map_err(|error| {
            Error::new(ErrorKind::Audit).with_detail(error.detail().unwrap_or_default().to_owned())
        })?;
        Ok(Self { store, checkpoint })
    }
}

#[async_trait]
impl LogSource for PostgresLogReader {
    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    async fn leaves(&self, first: u64, count: u64) -> Result<Vec<[u8; 32]>> {
        let end = first.saturating_add(count);
        self.store
            .run(0, move |link, origin| {
                Box::pin(rows::leaves(link, origin, first, end))
            })
            .await
    }

    async fn records(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>> {
        let count = count.min(PAGE);
        self.store
            .run(0, move |link, origin| {
                Box::pin(rows::records(link, origin, first, count))
            })
            .await
    }
}

impl fmt::Debug for PostgresLogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLogReader")
            .field("origin", &self.checkpoint.origin())
            .field("size", &self.checkpoint.size())
            .finish_non_exhaustive()
    }
}
