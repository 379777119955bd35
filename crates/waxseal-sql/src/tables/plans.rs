//! Statements on a ring of 100,000 keys: each finds what it is asked for by an index, and reads nothing else.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use waxseal::Result;
use waxseal::ring::inventory::{Change, Heartbeat, Signed};
use waxseal::ring::{RecordId, Scope, Time};

use super::*;
use crate::link::{Begin, Cell, Record, Value};

/// A value that was given, owned.
#[derive(Clone)]
enum Given {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Given {
    fn new(value: &Value<'_>) -> Self {
        match *value {
            Value::Int(value) => Self::Int(value),
            Value::Text(value) => Self::Text(value.map(str::to_owned)),
            Value::Bytes(value) => Self::Bytes(value.map(<[u8]>::to_vec)),
            #[cfg(all(feature = "fleet", feature = "postgres"))]
            Value::Texts(_) | Value::Blobs(_) => unreachable!("no statement of a ring has one"),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Int(value) => Value::Int(*value),
            Self::Text(value) => Value::Text(value.as_deref()),
            Self::Bytes(value) => Value::Bytes(value.as_deref()),
        }
    }
}

/// A statement, what it was given, and how many rows it has returned.
type Asked = (String, Vec<Given>, usize);

/// A connection that remembers what it was asked.
struct Spy<L> {
    link: L,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl<L> Spy<L> {
    fn remember(&self, sql: &SqlStr, values: &[Value<'_>], rows: usize) {
        let given = values.iter().map(Given::new).collect();
        self.asked
            .lock()
            .unwrap()
            .push((sql.as_str().to_owned(), given, rows));
    }
}

#[async_trait]
impl<L: Link> Link for Spy<L> {
    async fn execute(&mut self, sql: SqlStr, values: &[Value<'_>]) -> Result<u64> {
        self.remember(&sql, values, 0);
        self.link.execute(sql, values).await
    }

    async fn cells(&mut self, sql: SqlStr, values: &[Value<'_>]) -> Result<Vec<Vec<Cell>>> {
        let rows = self.link.cells(sql.clone(), values).await?;
        self.remember(&sql, values, rows.len());
        Ok(rows)
    }

    async fn script(&mut self, sql: &'static str) -> Result<()> {
        self.link.script(sql).await
    }

    async fn begin(&mut self, begin: Begin) -> Result<()> {
        self.link.begin(begin).await
    }

    async fn clock(&mut self) -> Result<i64> {
        self.link.clock().await
    }

    async fn lock_schema(&mut self) -> Result<()> {
        self.link.lock_schema().await
    }

    async fn schema_version(&mut self) -> Result<Option<i64>> {
        self.link.schema_version().await
    }

    fn migrations(&self) -> &'static [&'static str] {
        self.link.migrations()
    }

    fn provision(&self) -> &'static str {
        self.link.provision()
    }

    #[cfg(feature = "fleet")]
    fn skip_locked(&self) -> &'static str {
        self.link.skip_locked()
    }

    async fn is_alive(&mut self) -> bool {
        self.link.is_alive().await
    }
}

fn id(number: u32) -> RecordId {
    format!("00000000-0000-7000-8000-{number:012}").parse().unwrap()
}

fn first_key(number: u32) -> waxseal::ring::inventory::Row {
    waxseal::ring::inventory::Row::new(
        id(number),
        waxseal::ring::inventory::RecordKind::Key,
        format!("tenant/{number}").parse().unwrap(),
        waxseal::ring::Slot::default(),
        Some(waxseal::ring::State::Active),
        1,
        None,
        None,
        Signed::new(vec![1], [1; 32], [2; 64]),
    )
}

fn scopes(numbers: std::ops::Range<u32>) -> Vec<Scope> {
    numbers
        .map(|number| format!("tenant/{number}").parse().unwrap())
        .collect()
}

/// Makes every call, and returns what it asked: how many statements there were, and how the database finds the rows of each.
async fn asked(link: impl Link, fill: &'static str, explain: &'static str) -> Vec<(String, String)> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut link = Spy {
        link,
        asked: Arc::clone(&asked),
    };
    crate::schema::migrate(&mut link).await.unwrap();
    let link: &mut dyn Link = &mut link;
    let change = |follows| Change::new(follows, Signed::new(vec![1], [1; 32], [2; 64]));
    commit(link, "r", &change(0)).await.unwrap();
    link.script(fill).await.unwrap();
    asked.lock().unwrap().clear();

    let statements = || asked.lock().unwrap().len();
    let rows = || {
        asked
            .lock()
            .unwrap()
            .iter()
            .map(|(_, _, rows)| rows)
            .sum::<usize>()
    };
    revision(link, "r").await.unwrap();
    assert_eq!(statements(), 1);
    // What a process asks that meets a scope for the first time: one statement, and one for its first key.
    let before = statements();
    let all: Vec<_> = ["", "0", "00", "000", "f", "ff", "fff"]
        .map(str::to_owned)
        .to_vec();
    read(link, "r", &scopes(200_000..200_002), &all).await.unwrap();
    assert_eq!(statements() - before, 1);
    let first = first_key(300_000);
    assert_eq!(provision(link, "r", 1, &first).await.unwrap(), first);
    assert_eq!(statements() - before, 2);
    assert_eq!(scopes_provisioned(link, "r", None, 10).await.unwrap().len(), 1);
    let before = (statements(), rows());
    let snapshot = read(link, "r", &scopes(7..10), &["".to_owned()]).await.unwrap();
    // Two keys in each of three scopes; then the ring itself.
    assert_eq!((snapshot.rows.len(), rows() - before.1), (6, 7));
    assert!(statements() - before.0 <= 1, "{}", statements() - before.0);
    let before = (statements(), rows());
    let snapshot = read(link, "r", &scopes(0..1_000), &[]).await.unwrap();
    assert_eq!((snapshot.rows.len(), rows() - before.1), (2_000, 2_001));
    assert!(statements() - before.0 <= 11, "{}", statements() - before.0);
    let before = rows();
    assert!(scope_of(link, "r", id(99_999)).await.unwrap().is_some());
    assert_eq!(scopes_of_kek(link, "r", "p", "kek-5", 10).await.unwrap().len(), 1);
    assert_eq!(
        scopes_due(link, "r", Time::from_microseconds(50).unwrap(), 10)
            .await
            .unwrap()
            .len(),
        10
    );
    assert_eq!(
        next_due(link, "r").await.unwrap(),
        Some(Time::from_microseconds(1).unwrap())
    );
    assert_eq!(scopes_after(link, "r", None, 10).await.unwrap().len(), 10);
    assert_eq!(
        scopes_after(link, "r", scopes(7..8).first(), 10)
            .await
            .unwrap()
            .len(),
        10
    );
    assert_eq!(rows() - before, 33);
    assert!(scopes_pending(link, "r", None, 10).await.unwrap().is_empty());
    let heartbeat = Heartbeat::new("r".to_owned(), "p".to_owned(), 1, Vec::new());
    beat(link, "r", &heartbeat).await.unwrap();
    for reader in [None, Some("r")] {
        let beats = heartbeats(link, "r", reader, Time::from_microseconds(0).unwrap()).await;
        assert_eq!(beats.unwrap().len(), 1);
    }
    let mut deleting = change(1);
    deleting.delete = vec![id(1)];
    deleting.take = vec![first.id];
    deleting.put = vec![first];
    commit(link, "r", &deleting).await.unwrap();

    let asked = asked.lock().unwrap().clone();
    let mut plans = Vec::new();
    for (sql, given, _) in asked {
        if ["commit", "rollback"].contains(&&*sql) {
            continue;
        }
        let select = Select {
            table: "plan",
            columns: &["0", "1", "2", "3"],
            key: 0,
        };
        let values: Vec<Value<'_>> = given.iter().map(Given::value).collect();
        let explained = AssertSqlSafe(format!("{explain} {sql}")).into_sql_str();
        let lines = link.rows(&select, explained, &values).await.unwrap();
        let text = |record: &Record| {
            ["3", "0"]
                .into_iter()
                .find_map(|column| record.text(column).ok().map(str::to_owned))
        };
        let plan: Vec<_> = lines.iter().filter_map(text).collect();
        // SQLite has none for an insert.
        assert!(!plan.is_empty() || sql.starts_with("insert"), "{sql}");
        plans.push((sql, plan.join("\n")));
    }
    plans
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_finds_everything_by_an_index() {
    use sqlx::ConnectOptions;

    let fill = "with recursive numbers(n) as (select 0 union all select n + 1 from numbers where n < 99999) \
        insert into waxseal_row select 'r', printf('00000000-0000-7000-8000-%012d', n), 'key', 'tenant/' || (n / 2), 'default', \
        case when n % 2 = 0 then 'active' else 'deprecated' end, 1, 'p', 'kek-' || n, '1', \
        case when n % 10 = 0 then n / 10 + 1 end, randomblob(500), zeroblob(32), zeroblob(64) from numbers; analyze";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let plans = tokio.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true);
        let connection = options.connect().await.unwrap();
        let runtime = Arc::new(waxseal::runtime::AmbientRuntime);
        let link = crate::link::sqlite::SqliteLink::new(connection, runtime, (0, 0))
            .await
            .unwrap();
        asked(link, fill, "explain query plan").await
    });
    for (sql, plan) in &plans {
        for line in plan.lines() {
            // What was found may be sorted or scanned; a table may not.
            assert!(!line.contains("SCAN waxseal_"), "{sql}\n{plan}");
        }
    }
    let uses = |index: &str| plans.iter().any(|(_, plan)| plan.contains(index));
    for index in [
        "waxseal_row_scope",
        "waxseal_row_kek",
        "waxseal_row_due",
        "waxseal_row_pending",
        "waxseal_heartbeat_written",
    ] {
        assert!(uses(index), "{index}");
    }
}

#[cfg(feature = "postgres")]
#[test]
fn postgres_finds_everything_by_an_index() {
    use futures_util::FutureExt as _;
    use sqlx::{Connection, PgConnection};

    let Ok(server) = std::env::var("WAXSEAL_TEST_POSTGRES") else {
        let why = "WAXSEAL_TEST_POSTGRES is not set; run scripts/services up postgres && eval \"$(scripts/services env)\"";
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
        println!("skipped: {why}");
        return;
    };
    let fill = "insert into waxseal_row select 'r', '00000000-0000-7000-8000-' || lpad(n::text, 12, '0'), 'key', 'tenant/' || (n / 2), \
        'default', case when n % 2 = 0 then 'active' else 'deprecated' end, 1, 'p', 'kek-' || n, '1', \
        case when n % 10 = 0 then n / 10 + 1 end, decode(repeat(md5(n::text), 16), 'hex'), \
        decode(repeat('00', 32), 'hex'), decode(repeat('00', 64), 'hex') from generate_series(0, 99999) n; \
        analyze waxseal_row";
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let plans = tokio.block_on(async {
        let mut connection = PgConnection::connect(&server).await.unwrap();
        // Not `pg_temp`: a trigger's function is not looked for there.
        let schema = format!("waxseal_plans_{}", std::process::id());
        let script = |text: String| AssertSqlSafe(text).into_sql_str();
        sqlx::raw_sql(script(format!(
            "create schema {schema}; set search_path to {schema}"
        )))
        .execute(&mut connection)
        .await
        .unwrap();
        let work = asked(crate::link::postgres::PgLink::new(connection), fill, "explain");
        let plans = std::panic::AssertUnwindSafe(work).catch_unwind().await;
        let mut connection = PgConnection::connect(&server).await.unwrap();
        sqlx::raw_sql(script(format!("drop schema {schema} cascade")))
            .execute(&mut connection)
            .await
            .unwrap();
        plans.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    for (sql, plan) in &plans {
        assert!(!plan.contains("Seq Scan on waxseal_row"), "{sql}\n{plan}");
    }
    let uses = |index: &str| plans.iter().any(|(_, plan)| plan.contains(index));
    for index in ["waxseal_row_scope", "waxseal_row_kek", "waxseal_row_due"] {
        assert!(uses(index), "{index}");
    }
}

#[test]
fn a_call_reads_no_more_than_its_budget() {
    use crate::link::{Budget, Cell};

    let mut budget = Budget::default();
    let row = [Cell::Bytes(vec![0; 1024 * 1024])];
    let spent = (0..1_000).find_map(|_| budget.spend(&row).err()).unwrap();
    assert!(matches!(
        spent.kind(),
        waxseal::ErrorKind::OverLimit {
            limit: "bytes of one call",
            ..
        }
    ));
    let mut budget = Budget::default();
    let spent = (0..1_000_000)
        .find_map(|_| budget.spend(&[Cell::Null]).err())
        .unwrap();
    assert!(matches!(
        spent.kind(),
        waxseal::ErrorKind::OverLimit {
            limit: "rows of one call",
            ..
        }
    ));
}
