//! What the tests share.

use waxseal::envelope::KekRef;
use waxseal::ring::inventory::{Change, RecordKind, Row, Signed};
use waxseal::ring::{RecordId, Slot, State};
use waxseal::testing::inventory_conformance::{self, Subject};

/// How long a call may take that must succeed, however much else the machine has to do.
pub(crate) const GENEROUS: std::time::Duration = std::time::Duration::from_secs(120);

/// The password of every role.
#[cfg(feature = "postgres")]
pub(crate) const CANARY: &str = "r0le-c4n4ry";

/// Every check passes.
pub(crate) fn passes(subject: &Subject) {
    let report =
        pollster::block_on(inventory_conformance::run(subject)).unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(report.skipped(), []);
    print!("{report}");
}

/// A record that holds this text.
pub(crate) fn signed(text: &str) -> Signed {
    Signed::new(text.as_bytes().to_vec(), [1; 32], [2; 64])
}

/// A change of the head, and of these rows.
pub(crate) fn change(follows: u64, rows: Vec<Row>) -> Change {
    let mut change = Change::new(follows, signed(&format!("head {}", follows + 1)));
    change.put = rows;
    change
}

pub(crate) fn key(number: u32, scope: &str, state: State) -> Row {
    let mut id = [0; 16];
    (id[6], id[8]) = (0x70, 0x80);
    id[12..].copy_from_slice(&number.to_be_bytes());
    Row::new(
        RecordId::from_bytes(id).unwrap(),
        RecordKind::Key,
        scope.parse().unwrap(),
        Slot::default(),
        Some(state),
        1,
        Some(KekRef::new("conformance", &format!("kek-{number}"), "1").unwrap()),
        None,
        signed(&format!("key {number}")),
    )
}

#[cfg(feature = "postgres")]
pub(crate) use live::Database;

#[cfg(feature = "postgres")]
mod live {
    use std::sync::atomic::{AtomicU32, Ordering};

    use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
    use waxseal_sql::PostgresConfig;

    use super::CANARY;

    /// What `grants/postgres.sql` makes, behind `waxseal_`. A provisioner is a reader, too.
    const ROLES: [&str; 6] = ["provisioner", "reader", "writer", "logger", "auditor", "mover"];

    /// A schema of a test's own in the server that `scripts/services` has started. It is gone when this is dropped.
    pub(crate) struct Database {
        server: String,
        schema: String,
        tokio: tokio::runtime::Runtime,
    }

    impl Database {
        /// `None`, with the reason printed, where there is no server; a failure where the environment demands all.
        pub(crate) fn new() -> Option<Self> {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let Ok(server) = std::env::var("WAXSEAL_TEST_POSTGRES") else {
                let why = "WAXSEAL_TEST_POSTGRES is not set; run scripts/services up postgres && eval \"$(scripts/services env)\"";
                assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
                println!("skipped: {why}");
                return None;
            };
            let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
            let number = NEXT.fetch_add(1, Ordering::SeqCst);
            let schema = format!("t_{}_{number}_{nanos}", std::process::id());
            let tokio = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let database = Self {
                server,
                schema,
                tokio,
            };
            let create = format!("create schema {}", database.schema);
            pollster::block_on(database.run(&create));
            Some(database)
        }

        /// Runs what makes connections of its own.
        pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
            self.tokio.block_on(work)
        }

        /// As the owner of everything.
        pub(crate) fn url(&self) -> String {
            let schema = &self.schema;
            format!(
                "{}?application_name={schema}&options[search_path]={schema}",
                self.server
            )
        }

        pub(crate) fn url_as(&self, role: &str) -> String {
            self.url().replace("//postgres@", &format!("//{role}:{CANARY}@"))
        }

        pub(crate) fn config(&self, ring: &str) -> PostgresConfig {
            let config = PostgresConfig::new(&self.url().into(), ring).unwrap();
            config.with_timeout(super::GENEROUS)
        }

        pub(crate) fn config_as(&self, role: &str, ring: &str) -> PostgresConfig {
            let config = PostgresConfig::new(&self.url_as(role).into(), ring).unwrap();
            config.with_timeout(super::GENEROUS)
        }

        /// Executes several statements.
        pub(crate) async fn run(&self, sql: &str) {
            let (url, sql) = (self.url(), sql.to_owned());
            let done = self.tokio.spawn(async move {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut connection)
                    .await
                    .unwrap();
                connection.close().await.unwrap();
            });
            done.await.unwrap();
        }

        /// The first columns of what a statement returns, a line for each row.
        pub(crate) async fn ask(&self, sql: &str) -> String {
            let (url, sql) = (self.url(), sql.to_owned());
            let done = self.tokio.spawn(async move {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                let rows = sqlx::raw_sql(AssertSqlSafe(sql))
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
                let lines: Vec<String> = rows.iter().map(|row| row.get_unchecked(0)).collect();
                lines.join("\n")
            });
            done.await.unwrap()
        }

        /// Refuses each of these statements to a role, for want of a right.
        pub(crate) async fn denies(&self, role: &str, statements: &[&str]) {
            let (url, statements) = (self.url_as(role), statements.join("\n"));
            let done = self.tokio.spawn(async move {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                for sql in statements.lines() {
                    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
                        .execute(&mut connection)
                        .await;
                    let error = done.expect_err(sql);
                    let code = error
                        .as_database_error()
                        .and_then(|error| error.code().map(String::from));
                    assert_eq!(code.as_deref(), Some("42501"), "{sql}");
                }
                connection.close().await.unwrap();
            });
            done.await.unwrap();
        }

        /// Ends every other connection that was made with a URL of this database.
        pub(crate) async fn end_connections(&self) {
            let sql = format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = '{}' and pid <> pg_backend_pid()",
                self.schema
            );
            self.run(&sql).await;
        }

        /// Executes a statement in a transaction that goes on until what is returned is dropped.
        pub(crate) fn hold(&self, sql: &str) -> PgConnection {
            let (url, sql) = (self.url(), sql.to_owned());
            let held = self.tokio.spawn(async move {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                let sql = format!("begin; {sql}");
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut connection)
                    .await
                    .unwrap();
                connection
            });
            pollster::block_on(held).unwrap()
        }

        /// Users with the rights of a reader, a provisioner and a writer, as the grants that come with the crate say.
        pub(crate) async fn roles(&self) -> [String; 3] {
            let name = |what: &str| format!("{}_{what}", self.schema);
            let mut sql = include_str!("../../grants/postgres.sql").to_owned();
            for what in ROLES {
                let (role, user, schema) = (name(what), name(&format!("{what}_user")), &self.schema);
                sql = sql.replace(&format!("waxseal_{what}"), &role);
                sql.push_str(&format!(
                    "\ncreate role {user} login password '{CANARY}' in role {role}; grant usage on schema {schema} to {role};"
                ));
            }
            self.run(&sql).await;
            ["reader_user", "provisioner_user", "writer_user"].map(name)
        }

        /// Users with the rights of a logger and an auditor, once there are roles.
        #[cfg(feature = "audit")]
        pub(crate) fn log_roles(&self) -> [String; 2] {
            ["logger_user", "auditor_user"].map(|what| format!("{}_{what}", self.schema))
        }
    }

    impl Drop for Database {
        fn drop(&mut self) {
            let schema = &self.schema;
            let roles = ROLES.map(|what| format!("{schema}_{what}_user, {schema}_{what}"));
            let sql = format!(
                "drop schema {schema} cascade; drop role if exists {}",
                roles.join(", ")
            );
            pollster::block_on(self.run(&sql));
        }
    }
}
