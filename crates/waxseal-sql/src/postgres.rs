//! Rings in PostgreSQL.
//!
//! # Rights
//! Whoever calls [`PostgresInventory::create`] owns the tables. Applications and operators need less:
//!
//! ```sql
#![doc = include_str!("../grants/postgres.sql")]
//! ```
//!
//! A role sees every ring of its database. Keep rings whose readers must not see each other in databases, or schemas, of their own:
//! the tables are in the first schema of the `search_path`, which a URL can set by `?options[search_path]=NAME`.
//!
//! # Standbys and poolers
//! A hot standby that no longer follows its primary answers as before, for ever: no revocation would reach whoever reads it. So a
//! standby is refused, unless [`PostgresConfig::with_standby`] says how far behind it may be. After a failover to a server that lacks
//! the last changes, whoever has seen them refuses it: the ring was taken back to an older state.
//!
//! Connections through a pooler that ignores the settings of a session are refused, too: the server would not end what
//! nobody waits for any more.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use waxseal::runtime::BoxFuture;
use waxseal::{Error, ErrorKind, Result};

use crate::delegate::delegate;
use crate::link::Link;
use crate::link::postgres::{PgLink, fault};
use crate::schema;
use crate::store::{Connect, Store};

/// The most that one call may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The greatest length of the name of a ring, in bytes.
const MAX_RING: usize = 128;

/// What a URL may say after its question mark.
const PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Which database and which ring, and how it is used.
///
/// `Debug` shows where the database is, and no password.
#[derive(Clone)]
#[must_use = "a configuration does nothing until an inventory is opened with it"]
pub struct PostgresConfig {
    options: PgConnectOptions,
    ring: String,
    timeout: Duration,
    standby: Option<Duration>,
}

impl PostgresConfig {
    /// Uses the ring of this name in the database of this URL: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`.
    ///
    /// What the URL does not say comes from the variables of PostgreSQL's own tools (`PGHOST`, `PGPASSWORD` and so on) and from
    /// `~/.pgpass`. Without `sslmode` a database on another machine must have a certificate for its name: of a public
    /// authority, or of the one whose file the URL names by `sslrootcert`.
    ///
    /// # Errors
    /// `Configuration` if the URL is none, has a parameter that is not known, or has an `sslmode` that may fall back to no encryption;
    /// `InvalidArgument` if the name of the ring is empty, has more than 128 bytes or has control characters.
    pub fn new(url: &SecretString, ring: &str) -> Result<Self> {
        if ring.is_empty() || ring.len() > MAX_RING || ring.chars().any(char::is_control) {
            return Err(Error::new(ErrorKind::InvalidArgument).with_detail(format!(
                "the name of a ring has 1 to {MAX_RING} bytes, without control characters"
            )));
        }
        Ok(Self {
            options: parse(url.expose_secret())?,
            ring: ring.to_owned(),
            timeout: TIMEOUT,
            standby: None,
        })
    }

    /// Sets how long one call may take, connecting and waiting for other processes included. 10 seconds by default, and at least 100
    /// milliseconds.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.clamp(Duration::from_millis(100), Duration::from_secs(3600));
        self
    }

    /// Also reads a hot standby, as long as the last transaction that it has replayed was committed no longer than this ago, by the
    /// clocks of the two servers. By default a standby is refused.
    ///
    /// What is read goes stale that much earlier, so that evidence waits for readers of a standby, too: `behind` must be shorter than the
    /// `max_stale` of the ring, or no ring opens. A standby whose clock is behind that of its primary counts as one that is so much behind.
    ///
    /// A change of the ring, a revocation, reaches a reader of the standby that much later. A primary on which nobody commits
    /// looks like one that is not followed: something has to commit there more often, such as the heartbeats of readers that are
    /// connected to it. Whoever reads a standby writes no heartbeats.
    pub fn with_standby(mut self, behind: Duration) -> Self {
        self.standby = Some(behind);
        self
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("host", &self.options.get_host())
            .field("port", &self.options.get_port())
            .field("database", &self.options.get_database())
            .field("user", &self.options.get_username())
            .field("ring", &self.ring)
            .field("timeout", &self.timeout)
            .field("standby", &self.standby)
            .finish_non_exhaustive()
    }
}

fn configuration(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration).with_detail(detail.into())
}

/// Errors never say what the URL says: a password may stand anywhere in one that is wrong.
fn parse(url: &str) -> Result<PgConnectOptions> {
    let wrong = || {
        configuration(
            "the URL of a database is postgres://USER:PASSWORD@HOST:PORT/DATABASE, with % before what is reserved",
        )
    };
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Err(wrong());
    }
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let names = || query.split('&').filter_map(|pair| pair.split('=').next());
    let is_known = |name: &str| {
        name.is_empty()
            || PARAMETERS.contains(&name)
            || name.starts_with("options[")
            || name.starts_with("options%5B")
    };
    if !names().all(is_known) {
        return Err(configuration(format!(
            "the URL of the database has a parameter that is not known; there are {}",
            PARAMETERS.join(", ")
        )));
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| wrong())?;
    let is_near = match options.get_socket() {
        Some(_) => return Ok(quiet(options.ssl_mode(PgSslMode::Disable))),
        None => is_loopback(options.get_host()),
    };
    let says_mode = names().any(|name| matches!(name, "sslmode" | "ssl-mode"));
    let mode = match (says_mode, options.get_ssl_mode()) {
        (false, _) if is_near => PgSslMode::Prefer,
        (false, _) => PgSslMode::VerifyFull,
        (true, PgSslMode::Allow | PgSslMode::Prefer) if !is_near => {
            return Err(configuration(
                "sslmode allow and prefer go on without encryption if somebody wishes it; take verify-full, or disable",
            ));
        }
        (true, mode) => mode,
    };
    Ok(quiet(options.ssl_mode(mode)))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn quiet(options: PgConnectOptions) -> PgConnectOptions {
    let name = match options.get_application_name() {
        Some(name) => name.to_owned(),
        None => "waxseal".to_owned(),
    };
    options.application_name(&name).disable_statement_logging()
}

/// A ring in PostgreSQL, by its name: a database may hold several. From version 11 on.
///
/// ```no_run
/// use secrecy::SecretString;
/// use waxseal::ring::Inventory;
/// use waxseal_sql::{PostgresConfig, PostgresInventory};
///
/// # async fn example() -> waxseal::Result<()> {
/// let url = SecretString::from(std::env::var("DATABASE_URL").unwrap_or_default());
/// let inventory = PostgresInventory::create(PostgresConfig::new(&url, "production")?).await?;
/// println!("revision {}", inventory.revision().await?);
/// # Ok(())
/// # }
/// ```
///
/// *Durability.* A change is on the server's disk when `commit` returns (`synchronous_commit` is turned on if it is off), and on
/// its synchronous standbys if there are any.
///
/// *Clock.* That of the server. The ring compares it with the clock of whoever signs.
///
/// *Rights.* See the [module](crate::postgres).
pub struct PostgresInventory(Store<Server>);

impl fmt::Debug for PostgresInventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresInventory").field(&self.0).finish()
    }
}

impl PostgresInventory {
    /// Opens the ring, which need not exist yet. The tables must.
    ///
    /// # Errors
    /// `Configuration` if there is no such database, or it has no tables of this version; else as [`Inventory`](waxseal::ring::Inventory)
    /// says.
    pub async fn connect(config: PostgresConfig) -> Result<Self> {
        Self::open(config, false).await
    }

    /// Opens the ring, and makes the tables if they do not exist. Tables of an older version are upgraded. Needs the right to
    /// make tables only if there is something to make.
    ///
    /// # Errors
    /// `Configuration` if there is no such database, or its tables are of a newer version; `Denied` if the role may not make
    /// tables; else as [`Inventory`](waxseal::ring::Inventory) says.
    pub async fn create(config: PostgresConfig) -> Result<Self> {
        Self::open(config, true).await
    }

    async fn open(config: PostgresConfig, creates: bool) -> Result<Self> {
        let ring = config.ring.clone();
        let store = Server::open(config, ring, move |link| {
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

delegate!(PostgresInventory);

/// A server, as it is connected to.
#[derive(Debug)]
pub(crate) struct Server(PostgresConfig);

impl Server {
    /// Opens what is under this name there, after `prepare`.
    pub(crate) async fn open(
        config: PostgresConfig,
        name: String,
        prepare: impl for<'a> FnOnce(&'a mut dyn Link) -> BoxFuture<'a, Result<()>> + Send + 'static,
    ) -> Result<Store<Self>> {
        let timeout = config.timeout;
        Store::open(Self(config), name, timeout, "PostgreSQL", prepare).await
    }
}

#[async_trait]
impl Connect for Server {
    type Link = PgLink;

    async fn connect(&self) -> Result<PgLink> {
        let config = &self.0;
        // So that the server, too, ends what nobody waits for any more, and no other process waits for it for long.
        let limit = i64::try_from(config.timeout.as_millis()).unwrap_or(i64::MAX);
        let limits = [
            ("statement_timeout", limit),
            ("lock_timeout", limit),
            ("idle_in_transaction_session_timeout", limit),
        ];
        let options = config.options.clone().options(limits);
        // The other half is left for the call.
        let connected = tokio::time::timeout(config.timeout / 2, PgConnection::connect_with(&options));
        let connection = connected.await.map_err(|_| {
            Error::new(ErrorKind::TimedOut).with_detail("the database took too long to accept the connection")
        })?;
        let mut link = PgLink::new(connection.map_err(fault)?);
        let session = link.session().await?;
        if session.lock_timeout != limit {
            return Err(pooled());
        }
        if session.is_standby && config.standby.is_none() {
            return Err(Error::new(ErrorKind::Unavailable).with_detail(
                "the database is a standby, which does not show if it has stopped to follow its primary; connect to the primary, \
                or say by `with_standby` how far behind a standby may be",
            ));
        }
        Ok(link)
    }

    fn behind(&self) -> Duration {
        self.0.standby.unwrap_or_default()
    }

    fn is_current(&self, _: &PgLink) -> bool {
        true
    }

    async fn admit(&self, link: &mut PgLink) -> Result<()> {
        let Some(most) = self.0.standby else { return Ok(()) };
        let session = link.session().await?;
        match session.behind {
            _ if !session.is_standby => Ok(()),
            Some(behind) if behind <= most => Ok(()),
            behind => Err(Error::new(ErrorKind::Unavailable).with_detail(format!(
                "the database is a standby, and the last transaction that it has replayed is {}; it may be {} ms old",
                behind.map_or_else(|| "not known".to_owned(), |behind| format!("{} ms old", behind.as_millis())),
                most.as_millis()
            ))),
        }
    }
}

/// Somebody between this process and the server has kept the settings of the session from it.
fn pooled() -> Error {
    configuration(
        "the server did not take the settings of the session: connections through a pooler such as pgbouncer are not supported; connect to the server itself",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "c4n4ry";

    fn parsed(url: &str) -> Result<PgSslMode> {
        let config = PostgresConfig::new(&SecretString::from(url), "r")?;
        let printed = format!("{config:?} {config:#?}");
        assert!(!printed.contains(SECRET), "{printed}");
        Ok(config.options.get_ssl_mode())
    }

    #[test]
    fn another_machine_must_prove_who_it_is_unless_the_url_says_otherwise() {
        let of = |url: &str| format!("{:?}", parsed(url).unwrap());
        assert_eq!(of("postgres://u:c4n4ry@db.example/x"), "VerifyFull");
        assert_eq!(
            of("postgresql://u:c4n4ry@10.0.0.1:5433/x?application_name=a"),
            "VerifyFull"
        );
        assert_eq!(of("postgres://u:c4n4ry@db.example/x?sslmode=require"), "Require");
        assert_eq!(of("postgres://u:c4n4ry@db.example/x?ssl-mode=disable"), "Disable");
        assert_eq!(
            of("postgres://db.example/x?sslmode=verify-ca&password=c4n4ry"),
            "VerifyCa"
        );
        for near in ["localhost", "127.0.0.1", "127.0.0.9", "[::1]"] {
            assert_eq!(of(&format!("postgres://u:c4n4ry@{near}/x")), "Prefer", "{near}");
        }
        assert_eq!(of("postgres://u@%2Fvar%2Frun/x"), "Disable");
        assert_eq!(of("postgres://localhost/x?host=db.example"), "VerifyFull");
    }

    #[test]
    fn what_is_wrong_is_refused_and_not_printed() {
        for url in [
            "",
            "mysql://u:c4n4ry@h/x",
            "postgres:c4n4ry",
            "postgres://u:c4n4ry@h:port/x",
            "postgres://u:c4n4ry@h/x?sslmode=c4n4ry",
            "postgres://u:c4n4ry@h/x?sslmode=prefer",
            "postgres://u:c4n4ry@h/x?sslmode=allow",
            "postgres://u@h/x?sslpassword=c4n4ry",
            "postgres://u@h/x?c4n4ry",
            "postgres://u@h/x?port=c4n4ry",
        ] {
            let error = parsed(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
            let printed = format!(
                "{error} {error:?} {:?}",
                std::error::Error::source(&error).map(ToString::to_string)
            );
            assert!(!printed.contains(SECRET), "{printed}");
        }
        for ring in ["", "a\0", "a\n", &"x".repeat(129)] {
            let error = PostgresConfig::new(&SecretString::from("postgres://h/x"), ring).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{ring:?}");
        }
    }
}
