//! A database with an application's own table, whichever it is.

use std::sync::Arc;

use pollster::block_on;
use waxseal::fleet::{Change, Item, Ledger, Range, Report, RewrapJob, Scanned, Store};
use waxseal::testing::FakeKeyManager;
use waxseal::{EncryptionContext, Result, Sealer};
use waxseal_sql::fleet::Table;

pub(crate) enum Place {
    #[cfg(feature = "postgres")]
    Postgres(Box<crate::support::Database>),
    #[cfg(feature = "sqlite")]
    Sqlite(File),
}

#[cfg(feature = "sqlite")]
pub(crate) struct File {
    folder: tempfile::TempDir,
    tokio: tokio::runtime::Runtime,
}

#[cfg(feature = "sqlite")]
impl File {
    pub(crate) fn new() -> Self {
        let file = Self {
            folder: tempfile::tempdir().unwrap(),
            tokio: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        };
        file.run("pragma user_version = 1");
        // As the crate wants it.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        file
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("app.db")
    }

    pub(crate) fn config(&self) -> waxseal_sql::SqliteConfig {
        waxseal_sql::SqliteConfig::new(self.path()).with_timeout(crate::support::GENEROUS)
    }

    async fn connect(&self) -> sqlx::SqliteConnection {
        use sqlx::ConnectOptions;
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.path())
            .create_if_missing(true)
            .busy_timeout(crate::support::GENEROUS);
        options.connect().await.unwrap()
    }

    pub(crate) fn run(&self, sql: &str) {
        use sqlx::Connection;
        self.tokio.block_on(async {
            let mut connection = self.connect().await;
            let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
            done.execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    /// Keeps everybody else from writing until what is returned is dropped.
    pub(crate) fn hold(&self) -> sqlx::SqliteConnection {
        self.tokio.block_on(async {
            let mut connection = self.connect().await;
            let begin = sqlx::raw_sql("begin immediate");
            begin.execute(&mut connection).await.unwrap();
            connection
        })
    }

    fn ask(&self, sql: &str) -> String {
        use sqlx::{Connection, Row};
        self.tokio.block_on(async {
            let mut connection = self.connect().await;
            let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
                .fetch_all(&mut connection)
                .await
                .unwrap();
            let lines: Vec<String> = rows.iter().map(|row| row.get_unchecked(0)).collect();
            connection.close().await.unwrap();
            lines.join("\n")
        })
    }
}

/// A database of each kind that there is here.
pub(crate) fn places() -> Vec<Place> {
    let places = [
        #[cfg(feature = "sqlite")]
        Some(Place::Sqlite(File::new())),
        #[cfg(feature = "postgres")]
        crate::support::Database::new().map(|database| Place::Postgres(Box::new(database))),
    ];
    places.into_iter().flatten().collect()
}

impl Place {
    #[cfg(feature = "sqlite")]
    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::Sqlite(file) => Some(file),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => true,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => false,
        }
    }

    /// Executes several statements. `BYTES` is the type of bytes.
    pub(crate) fn run(&self, sql: &str) {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => block_on(database.run(&sql.replace("BYTES", "bytea"))),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => file.run(&sql.replace("BYTES", "blob")),
        }
    }

    /// The first columns of what a statement returns, a line for each row. They are texts, and not null.
    pub(crate) fn ask(&self, sql: &str) -> String {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => block_on(database.ask(sql)),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => file.ask(sql),
        }
    }

    pub(crate) fn open(&self, table: Table) -> Result<Arc<dyn Store>> {
        Ok(match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => Arc::new(block_on(waxseal_sql::PostgresRows::open(
                database.config("r"),
                table,
            ))?),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => Arc::new(block_on(waxseal_sql::SqliteRows::open(file.config(), table))?),
        })
    }

    pub(crate) fn ledger(&self, job: &str) -> Arc<dyn Ledger> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => {
                Arc::new(block_on(waxseal_sql::PostgresLedger::create(database.config("r"), job)).unwrap())
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => {
                Arc::new(block_on(waxseal_sql::SqliteLedger::create(file.config(), job)).unwrap())
            }
        }
    }

    /// A ledger as somebody has it who watches over a job.
    pub(crate) fn watch(&self, job: &str) -> Watch {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => Watch::Postgres(
                block_on(waxseal_sql::PostgresLedger::create(database.config("r"), job)).unwrap(),
            ),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(file) => {
                Watch::Sqlite(block_on(waxseal_sql::SqliteLedger::create(file.config(), job)).unwrap())
            }
        }
    }

    /// Bytes in a statement.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> String {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self.is_postgres() {
            true => format!("'\\x{digits}'::bytea"),
            false => format!("x'{digits}'"),
        }
    }

    /// The bytes that an expression has in each row, in the order of another one.
    pub(crate) fn read(&self, expression: &str, from: &str) -> Vec<Vec<u8>> {
        let hex = match self.is_postgres() {
            true => format!("encode({expression}, 'hex')"),
            false => format!("hex({expression})"),
        };
        let digits = self.ask(&format!("select {hex} from {from}"));
        let bytes = |line: &str| {
            (0..line.len() / 2)
                .map(|at| u8::from_str_radix(&line[2 * at..2 * at + 2], 16).unwrap())
                .collect()
        };
        digits.lines().map(bytes).collect()
    }
}

pub(crate) enum Watch {
    #[cfg(feature = "postgres")]
    Postgres(waxseal_sql::PostgresLedger),
    #[cfg(feature = "sqlite")]
    Sqlite(waxseal_sql::SqliteLedger),
}

impl Watch {
    pub(crate) fn state(&self) -> Option<String> {
        let state = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(ledger) => block_on(ledger.state()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(ledger) => block_on(ledger.state()),
        };
        state.unwrap().map(|state| format!("{state:?}"))
    }

    pub(crate) fn set(&self, what: &str) -> Result<()> {
        match (self, what) {
            #[cfg(feature = "postgres")]
            (Self::Postgres(ledger), "pause") => block_on(ledger.pause()),
            #[cfg(feature = "postgres")]
            (Self::Postgres(ledger), "resume") => block_on(ledger.resume()),
            #[cfg(feature = "postgres")]
            (Self::Postgres(ledger), _) => block_on(ledger.cancel()),
            #[cfg(feature = "sqlite")]
            (Self::Sqlite(ledger), "pause") => block_on(ledger.pause()),
            #[cfg(feature = "sqlite")]
            (Self::Sqlite(ledger), "resume") => block_on(ledger.resume()),
            #[cfg(feature = "sqlite")]
            (Self::Sqlite(ledger), _) => block_on(ledger.cancel()),
        }
    }
}

pub(crate) fn old() -> FakeKeyManager {
    FakeKeyManager::new("old")
}

pub(crate) fn new() -> FakeKeyManager {
    FakeKeyManager::new("a key with a much longer name")
}

/// Moves from the old key to the new one.
pub(crate) fn mover() -> Sealer {
    Sealer::builder()
        .wrap_with(new())
        .open_with(old())
        .build()
        .unwrap()
}

pub(crate) fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().copied()).unwrap()
}

pub(crate) fn seal(text: &str, pairs: &[(&str, &str)]) -> Vec<u8> {
    block_on(Sealer::new(old()).seal(text.as_bytes(), &context(pairs))).unwrap()
}

/// Opens with the new key alone.
pub(crate) fn opened(sealed: &[u8], pairs: &[(&str, &str)]) -> String {
    let opened = block_on(Sealer::new(new()).open(sealed, &context(pairs))).unwrap();
    String::from_utf8(opened.to_vec()).unwrap()
}

pub(crate) fn job(store: &Arc<dyn Store>) -> RewrapJob {
    RewrapJob::new(mover(), Arc::clone(store)).batch(7.try_into().unwrap())
}

pub(crate) fn run(store: &Arc<dyn Store>) -> Report {
    block_on(job(store).run()).unwrap()
}

/// All that is in a range, in pages of so many.
pub(crate) fn scan(store: &Arc<dyn Store>, mut range: Range, limit: usize) -> Vec<Scanned> {
    let mut found = Vec::new();
    loop {
        let page = block_on(store.scan(&range, limit)).unwrap();
        assert!(page.found.len() <= limit);
        if let Some(last) = page.found.last() {
            range = range.from_after(&last.id);
        }
        found.extend(page.found);
        if page.is_last {
            return found;
        }
    }
}

pub(crate) fn ids(store: &Arc<dyn Store>, range: Range, limit: usize) -> Vec<String> {
    scan(store, range, limit)
        .into_iter()
        .map(|found| found.id)
        .collect()
}

pub(crate) fn items(store: &Arc<dyn Store>) -> Vec<Item> {
    scan(store, Range::all(), 100)
        .into_iter()
        .map(|found| found.item.unwrap())
        .collect()
}

/// New wraps for an item.
pub(crate) fn change(item: Item) -> Change {
    let context = item.context().unwrap().clone();
    let new = block_on(mover().rewrapper().rewrap(item.front(), &context)).unwrap();
    Change::new(item, new.unwrap()).unwrap()
}
