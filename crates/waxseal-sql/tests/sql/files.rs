//! SQLite files: who may read and write them, and what becomes of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use waxseal::ErrorKind;
use waxseal::ring::Inventory;
use waxseal::ring::inventory::{Change, Heartbeat};
use waxseal::testing::SimulatedRuntime;
use waxseal::testing::inventory_conformance::Subject;
use waxseal_sql::{SqliteConfig, SqliteInventory};

fn change(follows: u64) -> Change {
    crate::support::change(follows, Vec::new())
}

#[test]
fn sqlite_does_its_duty() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let next = Arc::new(AtomicU32::new(0));
    let subject = Subject::new(move || {
        let (folder, number) = (Arc::clone(&folder), next.fetch_add(1, Ordering::SeqCst));
        async move {
            let path = folder.path().join(format!("{number}.db"));
            let config = SqliteConfig::new(path).with_timeout(crate::support::GENEROUS);
            let one = SqliteInventory::create(config.clone()).await?;
            Ok((one, SqliteInventory::open(config).await?))
        }
    });
    crate::support::passes(&subject);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_is_made_for_its_owner_alone_and_opened_only_if_it_exists() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    pollster::block_on(async {
        let error = SqliteInventory::open(&*path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(
            error.to_string().contains("ring.db") && error.to_string().contains("make a ring"),
            "{error}"
        );
        assert!(!path.exists());

        let inventory = SqliteInventory::create(&*path).await.unwrap();
        inventory.commit(&change(0)).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        // Made again it is the same.
        let again = SqliteInventory::create(&*path).await.unwrap();
        assert_eq!(again.revision().await.unwrap(), 1);

        let missing = folder.path().join("no/ring.db");
        let error = SqliteInventory::create(missing).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    });
}

#[test]
fn several_processes_may_make_the_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    let made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    pollster::block_on(async {
                        let inventory = SqliteInventory::create(&path).await.unwrap();
                        inventory.commit(&change(0)).await.map_err(|error| error.kind())
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    assert!(
        made.iter()
            .all(|made| matches!(made, Ok(()) | Err(ErrorKind::Conflict))),
        "{made:?}"
    );
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    pollster::block_on(async {
        drop(SqliteInventory::create(&*path).await.unwrap());
        for wrong in [0o620, 0o602, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(wrong)).unwrap();
            for opened in [
                SqliteInventory::open(&*path).await,
                SqliteInventory::create(&*path).await,
            ] {
                let error = opened.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Configuration);
                assert!(error.to_string().contains("chmod go-w"), "{error}");
            }
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        SqliteInventory::open(&*path).await.unwrap();
    });
}

#[test]
fn a_file_that_may_only_be_read_serves_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    pollster::block_on(async {
        SqliteInventory::create(&*path)
            .await
            .unwrap()
            .commit(&change(0))
            .await
            .unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        let reader = SqliteInventory::open(&*path).await.unwrap();
        assert_eq!(reader.revision().await.unwrap(), 1);
        reader.read(&[], &[]).await.unwrap();
        reader.now().await.unwrap();
        assert_eq!(
            reader.commit(&change(1)).await.unwrap_err().kind(),
            ErrorKind::Denied
        );
        let beat = Heartbeat::new("r".to_owned(), "p".to_owned(), 1, Vec::new());
        assert_eq!(reader.beat(&beat).await.unwrap_err().kind(), ErrorKind::Denied);
        // No journal was left.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    });
}

#[test]
fn what_is_no_ring_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    pollster::block_on(async {
        // An empty file is an empty database.
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let error = SqliteInventory::open(&*path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        fs::write(
            &path,
            "no database at all, though it is long enough to have a header".repeat(100),
        )
        .unwrap();
        let error = SqliteInventory::open(&*path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
        let error = SqliteInventory::open(folder.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    });
}

#[test]
fn a_file_that_was_replaced_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("ring.db"), folder.path().join("backup.db"));
    pollster::block_on(async {
        let backup = SqliteInventory::create(&*other).await.unwrap();
        backup.commit(&change(0)).await.unwrap();
        drop(backup);
        let inventory = SqliteInventory::create(&*path).await.unwrap();
        for follows in 0..3 {
            inventory.commit(&change(follows)).await.unwrap();
        }
        fs::rename(&other, &path).unwrap();
        assert_eq!(inventory.revision().await.unwrap(), 1);
        inventory.commit(&change(1)).await.unwrap();
        drop(inventory);
        assert_eq!(
            SqliteInventory::open(&*path)
                .await
                .unwrap()
                .revision()
                .await
                .unwrap(),
            2
        );
    });
}

#[test]
fn the_clock_is_that_of_the_runtime_and_nothing_that_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let runtime = SimulatedRuntime::starting_at(start);
    let config = || SqliteConfig::new(&path).with_runtime(Arc::new(runtime.clone()));
    pollster::block_on(async {
        let inventory = SqliteInventory::create(config()).await.unwrap();
        runtime.advance(Duration::from_secs(3600));
        let told = inventory.now().await.unwrap();
        assert_eq!(SystemTime::from(told), start + Duration::from_secs(3600));
        inventory.commit(&change(0)).await.unwrap();
        // One host whose clock was ahead leaves nothing behind.
        runtime.set_wall_clock(start);
        let another = SqliteInventory::open(config()).await.unwrap();
        for inventory in [&inventory, &another] {
            assert_eq!(SystemTime::from(inventory.now().await.unwrap()), start);
        }
        let beat = Heartbeat::new("r".to_owned(), "p".to_owned(), 1, Vec::new());
        another.beat(&beat).await.unwrap();
        assert_eq!(another.heartbeats(told).await.unwrap().len(), 0);
    });
}

/// Whoever may write heartbeats writes any time in them, and as many as it likes.
#[test]
fn heartbeats_of_the_future_and_of_others_push_out_none_of_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(async {
        let inventory = SqliteInventory::create(SqliteConfig::new(&path)).await.unwrap();
        inventory.commit(&change(0)).await.unwrap();
        let start = inventory.now().await.unwrap();
        let beat = |reader: &str| Heartbeat::new(reader.to_owned(), "p".to_owned(), 1, Vec::new());
        inventory.beat(&beat("api")).await.unwrap();
        inventory.beat(&beat("other")).await.unwrap();
        let options = SqliteConnectOptions::new().filename(&path);
        let mut connection = options.connect().await.unwrap();
        let forge = "with recursive numbers(n) as (select 0 union all select n + 1 from numbers where n < 19999) \
            insert into waxseal_heartbeat (ring, reader, process, revision, probed, failed, written) \
            select ring, 'ghost', n, 0, '', '', case when n % 2 = 0 then 221845392000000000 else written end \
            from numbers, (select ring, max(written) + 1 as written from waxseal_heartbeat group by ring)";
        sqlx::raw_sql(forge).execute(&mut connection).await.unwrap();
        while inventory.now().await.unwrap().as_microseconds() <= start.as_microseconds() + 1_000_000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let all = inventory.heartbeats(start).await.unwrap();
        assert_eq!(all.len(), 10_000);
        let latest = inventory.now().await.unwrap();
        assert!(all.iter().all(|beat| beat.at <= Some(latest)));
        let own = inventory.heartbeats_of("api", start).await.unwrap();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0].reader, "api");
        // The next change forgets what would never be over.
        inventory.commit(&change(1)).await.unwrap();
        let future = "select count(*) from waxseal_heartbeat where written > 200000000000000000";
        let left: i64 = sqlx::query_scalar(future).fetch_one(&mut connection).await.unwrap();
        assert_eq!(left, 0);
    });
}

#[test]
fn heartbeats_that_are_long_over_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = SimulatedRuntime::new();
    let config = SqliteConfig::new(folder.path().join("ring.db")).with_runtime(Arc::new(runtime.clone()));
    pollster::block_on(async {
        let inventory = SqliteInventory::create(config).await.unwrap();
        let start = inventory.now().await.unwrap();
        for process in ["1", "2"] {
            let beat = Heartbeat::new("r".to_owned(), process.to_owned(), 1, Vec::new());
            inventory.beat(&beat).await.unwrap();
            runtime.advance(Duration::from_secs(20 * 86_400));
        }
        inventory.commit(&change(0)).await.unwrap();
        let kept = inventory.heartbeats(start).await.unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].process, "2");
    });
}

#[test]
fn a_file_that_another_process_has_locked_is_a_timeout_and_then_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    let config = SqliteConfig::new(&path).with_timeout(Duration::from_secs(3));
    let inventory = pollster::block_on(SqliteInventory::create(config)).unwrap();
    pollster::block_on(inventory.commit(&change(0))).unwrap();
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let run = |connection: Option<SqliteConnection>, sql: &'static str| {
        let options = SqliteConnectOptions::new().filename(&path);
        let done = tokio.spawn(async move {
            let mut connection = match connection {
                Some(connection) => connection,
                None => options.connect().await.unwrap(),
            };
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection
        });
        pollster::block_on(done).unwrap()
    };
    let other = run(None, "begin exclusive");
    pollster::block_on(async {
        let error = inventory.commit(&change(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TimedOut, true));
        assert_eq!(
            inventory.revision().await.unwrap_err().kind(),
            ErrorKind::TimedOut
        );
    });
    run(Some(other), "commit");
    pollster::block_on(inventory.commit(&change(1))).unwrap();
}
