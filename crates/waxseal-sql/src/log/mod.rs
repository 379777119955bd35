//! Audit logs in PostgreSQL that several processes write.
//!
//! A directory takes one writer. Where processes come and go on many machines, one log in a database spares them a disk each, and their events
//! have one order:
//!
//! ```no_run
//! use secrecy::SecretString;
//! use waxseal::audit::{Auditor, LogKey};
//! use waxseal_sql::{PostgresConfig, PostgresLog};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let url = SecretString::from(std::env::var("DATABASE_URL")?);
//! // The same key in each process. Its name is the origin of the log.
//! let key = LogKey::read("audit.key".as_ref())?;
//! let log = PostgresLog::open(PostgresConfig::new(&url, "production")?, key).await?;
//! let auditor = Auditor::builder().required(log).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! *What is kept.* A batch of events is one transaction: their records and the next signed checkpoint, which covers them. All are committed, or
//! none. Whoever writes holds the row of the log meanwhile, and others wait for it.
//!
//! *What is believed.* A writer believes the checkpoint that it finds if it is signed by the key, and continues the newest one that this writer has
//! seen, by the hashes of all records between the two. If the database was taken back to an older state, or another history was put there,
//! writers that are running keep nothing more, and fail with `Audit`. One that was started afterwards has seen nothing: copies of the log find
//! it out.
//!
//! *Others' tools* read a copy: [`waxseal::audit::publish`] brings a directory, or objects, up to the checkpoint, in the layout of
//! C2SP tlog-tiles, and refuses a log that does not continue its copy. [`PostgresLogReader`] needs no private key for that.
//!
//! *Rights.* The role `waxseal_logger` of `grants/postgres.sql` adds records and can neither change nor delete one; `waxseal_auditor` reads. Whoever owns
//! the tables can delete, and is found out.

mod reader;
mod rows;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use waxseal::audit::{Checkpoint, Event, LogEnd, LogKey, Sink, VerifierKey};
use waxseal::{Error, ErrorKind, Result};

pub use self::reader::PostgresLogReader;
use self::rows::{Appended, Head};
use crate::postgres::{PostgresConfig, Server};
use crate::store::Store;

/// How many hashes of records are read at once.
const PAGE: u64 = 50_000;

/// An audit log in PostgreSQL, open for writing: a [`Sink`] that many processes share. See the [module](crate::log).
pub struct PostgresLog {
    store: Store<Server>,
    key: Arc<LogKey>,
    verifier: VerifierKey,
    /// The newest end that was seen.
    end: Mutex<LogEnd>,
}

impl PostgresLog {
    /// Opens the log whose origin is the name of the key. The ring that the configuration names does not matter.
    ///
    /// # Errors
    /// `Configuration` if there is no such log or no such database; `Audit` if the log is not of this key, or damaged; `Denied` if the role may not
    /// read it; else as [`Inventory`](waxseal::ring::Inventory) says.
    pub async fn open(config: PostgresConfig, key: LogKey) -> Result<Self> {
        let (verifier, key) = (key.verifier(), Arc::new(key));
        let store = rows::open(config, verifier.name(), false).await?;
        Self::of(store, key, verifier).await
    }

    /// Opens the log, and makes it, and the tables, if they are not there.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub async fn create(config: PostgresConfig, key: LogKey) -> Result<Self> {
        let (verifier, key) = (key.verifier(), Arc::new(key));
        let store = rows::open(config, verifier.name(), true).await?;
        let begin = LogEnd::begin(&key);
        store
            .run(1, move |link, origin| Box::pin(rows::begin(link, origin, begin)))
            .await?;
        Self::of(store, key, verifier).await
    }

    async fn of(store: Store<Server>, key: Arc<LogKey>, verifier: VerifierKey) -> Result<Self> {
        let head = store
            .run(0, |link, origin| Box::pin(rows::head(link, origin)))
            .await?
            .ok_or_else(|| missing(verifier.name()))?;
        let end = head.end(&verifier)?;
        let end = Mutex::new(end);
        Ok(Self {
            store,
            key,
            verifier,
            end,
        })
    }

    /// Returns the public key, which verifies its checkpoints.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Returns the newest checkpoint that this process has seen.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        self.newest().checkpoint().clone()
    }

    fn newest(&self) -> LogEnd {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, end: LogEnd) {
        let mut newest = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.checkpoint().size() > newest.checkpoint().size() {
            *newest = end;
        }
    }

    /// Follows what others have added, however much that is.
    async fn catch_up(&self) -> Result<()> {
        let known = self.newest();
        let head: Option<Head> = self
            .store
            .run(0, |link, origin| Box::pin(rows::head(link, origin)))
            .await?;
        let head = head.ok_or_else(|| gone(self.verifier.name()))?;
        let checkpoint = head.checkpoint()?;
        let (mut first, size) = (known.checkpoint().size(), checkpoint.size());
        let mut leaves = Vec::new();
        while first < size {
            let last = size.min(first + PAGE);
            let page = self.store.run(0, move |link, origin| {
                Box::pin(rows::leaves(link, origin, first, last))
            });
            leaves.extend(page.await?);
            first = last;
        }
        self.remember(known.follow(&leaves, &checkpoint, &self.verifier)?);
        Ok(())
    }
}

#[async_trait]
impl Sink for PostgresLog {
    async fn keep(&self, events: &[Arc<Event>]) -> Result<()> {
        let records: Vec<Vec<u8>> = events
            .iter()
            .map(|event| event.to_record().as_bytes().to_vec())
            .collect();
        let records = Arc::new(records);
        loop {
            let (known, records) = (self.newest(), Arc::clone(&records));
            let (key, verifier) = (Arc::clone(&self.key), self.verifier.clone());
            let append = self.store.run(records.len(), move |link, origin| {
                Box::pin(async move { rows::append(link, origin, known, &records, &key, &verifier).await })
            });
            match append.await? {
                Appended::Until(end) => {
                    self.remember(*end);
                    return Ok(());
                }
                Appended::Behind => self.catch_up().await?,
            }
        }
    }

    fn keeps_json(&self) -> bool {
        true
    }
}

impl fmt::Debug for PostgresLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLog")
            .field("origin", &self.verifier.name())
            .finish_non_exhaustive()
    }
}

fn missing(origin: &str) -> Error {
    Error::new(ErrorKind::Configuration).with_detail(format!(
        "the database has no audit log {origin}; `PostgresLog::create` and `waxseal audit init` make it"
    ))
}

/// A log that was there.
fn gone(origin: &str) -> Error {
    Error::new(ErrorKind::Audit).with_detail(format!("the audit log {origin} was deleted from the database"))
}
