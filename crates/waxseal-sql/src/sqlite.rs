//! Rings in SQLite files.

use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use waxseal::runtime::{AmbientRuntime, BoxFuture, Runtime};
use waxseal::{Error, ErrorKind, Result};

use crate::delegate::delegate;
use crate::link::Link;
use crate::link::sqlite::{SqliteLink, fault};
use crate::schema;
use crate::store::{Connect, Store};

/// A file is one ring, so its rows all say the same.
const RING: &str = "ring";

/// The most that one call may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which file, and how it is used.
///
/// A path is one by itself, with the defaults: `SqliteInventory::open("ring.db")`.
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until an inventory is opened with it"]
pub struct SqliteConfig {
    path: PathBuf,
    timeout: Duration,
    runtime: Arc<dyn Runtime>,
}

impl SqliteConfig {
    /// Uses this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            timeout: TIMEOUT,
            runtime: Arc::new(AmbientRuntime),
        }
    }

    /// Sets how long one call may take, waiting for other processes included. 10 seconds by default, and at least 100 milliseconds.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.clamp(Duration::from_millis(100), Duration::from_secs(3600));
        self
    }

    #[cfg(feature = "fleet")]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Goes by the wall clock of this runtime.
    pub fn with_runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }
}

impl From<&str> for SqliteConfig {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

impl From<&Path> for SqliteConfig {
    fn from(path: &Path) -> Self {
        Self::new(path)
    }
}

impl From<&PathBuf> for SqliteConfig {
    fn from(path: &PathBuf) -> Self {
        Self::new(path)
    }
}

impl From<PathBuf> for SqliteConfig {
    fn from(path: PathBuf) -> Self {
        Self::new(path)
    }
}

/// A ring in a SQLite file. SQLite is compiled in, so this needs no server and no library of the system.
///
/// ```
/// use waxseal::ring::Inventory;
/// use waxseal_sql::SqliteInventory;
///
/// # pollster::block_on(async {
/// let folder = tempfile::tempdir()?;
/// let inventory = SqliteInventory::create(folder.path().join("ring.db")).await?;
/// assert_eq!(inventory.revision().await?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// *Durability.* A change is on the disk when `commit` returns, also if the power fails (`synchronous = EXTRA` with a rollback
/// journal). There is one file, which is complete whenever nobody writes, and a process that may only read it can do so. A journal
/// beside it (`ring.db-journal`) is a change that was interrupted; the next process that may write undoes it.
///
/// *Backups.* Copy the file while nobody writes, or by the backup command of SQLite. To restore one, end all processes, delete the
/// journal if there is one, since it belongs to the old file, and move the backup over the file. A process that still runs opens the
/// new file, and a ring that is older than what a reader has seen is refused.
///
/// *Clock.* That of the machine, also if it is set back: nothing is remembered. The ring compares it with the clock of whoever signs, which is the
/// same one, and no change of a ring bears an earlier time than the one before.
///
/// *Rights.* The file is made with mode 0600. A file that its group or everybody may write is refused: whoever writes it can
/// delay the ring and delete keys. Processes on other machines need [PostgreSQL](crate#which-database): locks of network file systems do not hold.
#[derive(Debug)]
pub struct SqliteInventory(Store<File>);

impl SqliteInventory {
    /// Opens the ring in this file.
    ///
    /// # Errors
    /// `Configuration` if there is no such file, it holds no ring of this version, or others may write it; else as
    /// [`Inventory`](waxseal::ring::Inventory) says.
    pub async fn open(config: impl Into<SqliteConfig>) -> Result<Self> {
        Self::connect(config.into(), false).await
    }

    /// Opens the ring in this file, and makes the file and its tables if they do not exist. Tables of an older version are
    /// upgraded.
    ///
    /// # Errors
    /// `Configuration` if the file cannot be made, holds a ring of a newer version, or others may write it; else as [`Inventory`](waxseal::ring::Inventory) says.
    pub async fn create(config: impl Into<SqliteConfig>) -> Result<Self> {
        let config = config.into();
        create_file(&config.path)?;
        Self::connect(config, true).await
    }

    async fn connect(config: SqliteConfig, creates: bool) -> Result<Self> {
        let store = File::open(config, RING.to_owned(), move |link| {
            Box::pin(async move {
                match creates {
                    true => schema::migrate(link).await,
                    false => schema::check(link).await,
                }
            })
        });
        Ok(Self(store.await?))
    }
}

delegate!(SqliteInventory);

/// A file, as it is opened.
#[derive(Debug)]
pub(crate) struct File(SqliteConfig);

impl File {
    /// Opens what is under this name there, after `prepare`.
    pub(crate) async fn open(
        config: SqliteConfig,
        name: String,
        prepare: impl for<'a> FnOnce(&'a mut dyn Link) -> BoxFuture<'a, Result<()>> + Send + 'static,
    ) -> Result<Store<Self>> {
        let timeout = config.timeout;
        Store::open(Self(config), name, timeout, "SQLite", prepare).await
    }
}

#[async_trait]
impl Connect for File {
    type Link = SqliteLink;

    async fn connect(&self) -> Result<SqliteLink> {
        let config = &self.0;
        let file = check_file(&config.path)?;
        let is_read_only = file.permissions().readonly();
        let options = SqliteConnectOptions::new()
            .filename(&config.path)
            .create_if_missing(false)
            .read_only(is_read_only)
            // Half of the bound: what is left is for the call itself.
            .busy_timeout(config.timeout / 2)
            .synchronous(SqliteSynchronous::Extra)
            .pragma("trusted_schema", "off")
            .pragma("cell_size_check", "on")
            .thread_name(|_| "waxseal-sqlite".to_owned())
            .disable_statement_logging();
        let connection = options.connect().await.map_err(fault)?;
        SqliteLink::new(connection, Arc::clone(&config.runtime), identity(&file)).await
    }

    fn is_current(&self, link: &SqliteLink) -> bool {
        fs::metadata(&self.0.path).is_ok_and(|file| identity(&file) == link.file)
    }
}

fn configuration(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Configuration).with_detail(format!("{}: {what}", path.display()))
}

/// Makes an empty file that nobody else reads, unless there is one.
pub(crate) fn create_file(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(
            configuration(path, &format!("the file could not be made: {}", error.kind())).with_source(error),
        ),
    }
}

/// Looks at the file, and never opens it: closing it would release the locks that SQLite has on it in this process.
fn check_file(path: &Path) -> Result<Metadata> {
    let file = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => configuration(
            path,
            "there is no such file; restore it from an export or a backup, or make a ring there",
        ),
        kind => configuration(path, &format!("the file could not be looked at: {kind}")).with_source(error),
    })?;
    if !file.is_file() {
        return Err(configuration(path, "this is no regular file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if file.permissions().mode() & 0o022 != 0 {
            return Err(configuration(
                path,
                "others may write this file: run chmod go-w on it, and verify what it holds",
            ));
        }
    }
    Ok(file)
}

#[cfg(unix)]
fn identity(file: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}
