//! A standby: it is refused, unless it is said how far behind it may be; and a failover that loses changes is noticed.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pollster::block_on;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use waxseal::ErrorKind;
use waxseal::ring::{Authority, Inventory, Reader, RingAdmin, Trust, set_settings};
use waxseal_sql::{PostgresConfig, PostgresInventory};

use crate::support::GENEROUS;

/// The programs of PostgreSQL; `None` (with the reason printed) where they are not, and are not demanded.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").is_file())
        .collect();
    found.sort();
    if found.is_empty() {
        let why = "PostgreSQL is not installed; run scripts/services up postgres";
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
        println!("skipped: {why}");
    }
    found.pop()
}

/// A command of the user that the package has made, since PostgreSQL refuses to run as root.
fn command(program: &Path) -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let mut command = match is_root {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
            command.arg(program);
            command
        }
        false => Command::new(program),
    };
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

struct Server {
    programs: PathBuf,
    data: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Server {
    fn start(&mut self) {
        let log = std::fs::File::create(self.data.with_extension("log")).unwrap();
        let mut command = command(&self.programs.join("postgres"));
        command.arg("-D").arg(&self.data).stderr(log);
        let port = self.port.to_string();
        for setting in ["fsync=off", "full_page_writes=off", "wal_level=replica"] {
            command.args(["-c", setting]);
        }
        command.args(["-h", "127.0.0.1", "-k", "", "-p", &port]);
        self.child = Some(command.spawn().unwrap());
        let begun = Instant::now();
        while block_on(self.ask("select 1::text")).is_err() {
            assert!(
                begun.elapsed() < GENEROUS,
                "the server does not start: {:?}",
                self.data
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn config(&self) -> PostgresConfig {
        let config = PostgresConfig::new(&self.url().into(), "r").unwrap();
        config.with_timeout(GENEROUS)
    }

    async fn ask(&self, sql: &str) -> sqlx::Result<String> {
        let (url, sql) = (self.url(), sql.to_owned());
        let work = std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            tokio.block_on(async {
                let mut connection = PgConnection::connect(&url).await?;
                let row = sqlx::raw_sql(AssertSqlSafe(sql))
                    .fetch_one(&mut connection)
                    .await?;
                row.try_get::<String, _>(0)
            })
        });
        work.join().unwrap()
    }

    /// Waits for an answer. A standby that has not yet replayed what made a table answers with an error.
    fn wait_for(&self, sql: &str, answer: &str) {
        let begun = Instant::now();
        loop {
            let said = block_on(self.ask(sql));
            if said.as_ref().is_ok_and(|said| said == answer) {
                return;
            }
            assert!(begun.elapsed() < GENEROUS, "{sql}: {said:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Server {
    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // At once, with its own processes. The child is not waited for yet, so nobody else has its id.
            let id = child.id().to_string();
            let _ = Command::new("kill").args(["-QUIT", &id]).status();
            let _ = child.wait();
        }
    }
}

/// A primary and a standby that follows it.
fn servers(folder: &Path) -> Option<[Server; 2]> {
    let programs = programs()?;
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let server = |name: &str| Server {
        programs: programs.clone(),
        data: folder.join(name),
        port: TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port(),
        child: None,
    };
    let [mut primary, mut standby] = [server("primary"), server("standby")];
    let made = command(&programs.join("initdb"))
        .arg("-D")
        .arg(&primary.data)
        .args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        ])
        .status();
    assert!(made.unwrap().success());
    let copied = command(Path::new("cp"))
        .arg("-a")
        .arg(&primary.data)
        .arg(&standby.data)
        .status();
    assert!(copied.unwrap().success());
    let follow = format!(
        "echo \"primary_conninfo = 'host=127.0.0.1 port={} user=postgres'\" >> {data}/postgresql.auto.conf && touch {data}/standby.signal",
        primary.port,
        data = standby.data.display()
    );
    let written = command(Path::new("sh")).args(["-c", &follow]).status();
    assert!(written.unwrap().success());
    primary.start();
    standby.start();
    Some([primary, standby])
}

#[test]
fn a_standby_is_refused_or_bounded_and_a_failover_that_loses_changes_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let Some([mut primary, mut standby]) = servers(folder.path()) else {
        return;
    };
    block_on(async {
        let owner = PostgresInventory::create(primary.config()).await.unwrap();
        let authority = Authority::generate().unwrap();
        let trust = RingAdmin::init(&owner, &authority, "test", |_| {}).await.unwrap();
        let reader = Reader::new(trust, std::sync::Arc::new(owner));
        let seen = "select coalesce(max(revision), 0)::text from waxseal_ring";
        standby.wait_for(seen, "1");

        let error = PostgresInventory::connect(standby.config()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, true)
        );
        assert!(error.to_string().contains("standby"), "{error}");

        // One that follows is read, and one that follows no more is not read for long.
        let within = |bound| PostgresInventory::connect(standby.config().with_standby(bound));
        let follows = within(GENEROUS).await.unwrap();
        assert_eq!(follows.revision().await.unwrap(), 1);
        let behind = within(Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(behind.kind(), ErrorKind::Unavailable);
        assert!(behind.to_string().contains("replayed"), "{behind}");

        // Its primary goes on without it, and is lost.
        standby.stop();
        set_settings(&reader, &authority, "test", |settings| {
            settings.cooling_off = "P8D".parse().unwrap();
        })
        .await
        .unwrap();
        let mark = reader.scopes(&[]).await.unwrap().mark();
        assert_eq!(mark.revision, 2);
        primary.stop();
        standby.start();
        assert_eq!(standby.ask("select pg_promote()::text").await.unwrap(), "true");
        // It is a primary now, also to whoever knew it before.
        assert_eq!(follows.revision().await.unwrap(), 1);
        let inventory = PostgresInventory::connect(standby.config()).await.unwrap();
        let trust = || Trust::new(reader.trust().ring(), authority.public());
        let error = trust().with_mark(mark).read(&inventory, &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
        assert!(error.to_string().contains("older state"), "{error}");
        // Whoever has seen nothing newer cannot know.
        assert_eq!(trust().read(&inventory, &[]).await.unwrap().revision(), 1);
    });
}
