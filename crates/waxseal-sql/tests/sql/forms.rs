//! What somebody has written into the tables who keeps to no form: an error that names table, row and column, and nothing read that
//! is longer than it may be.

use waxseal::ring::inventory::{Heartbeat, Snapshot};
use waxseal::ring::{Inventory, State, Time};
use waxseal::{Error, ErrorKind, Result};

use crate::support::{change, key, signed};

/// How a database writes bytes.
type Bytes = fn(usize) -> String;

const TABLES: [&str; 5] = [
    "waxseal_ring",
    "waxseal_succession",
    "waxseal_node",
    "waxseal_row",
    "waxseal_heartbeat",
];

fn whole() -> Snapshot {
    let mut whole = Snapshot::default();
    whole.revision = 7;
    whole.head = Some(signed("head"));
    whole.settings = Some(signed("settings"));
    whole.successions = vec![signed("first")];
    whole.nodes = [("a".to_owned(), vec![1])].into();
    let mut row = key(1, "a", State::Active);
    row.due = Some(Time::from_microseconds(5).unwrap());
    whole.rows = vec![row];
    whole
}

/// Table, column, and what somebody writes there.
fn cases(bytes: Bytes) -> Vec<(&'static str, &'static str, String)> {
    let text = |length: usize| format!("'{}'", "x".repeat(length));
    let fixed = |value: &str| value.to_owned();
    let mut cases = vec![
        ("waxseal_ring", "revision", fixed("-1")),
        ("waxseal_ring", "settings_body", fixed("null")),
        ("waxseal_ring", "settings_signer", fixed("null")),
        ("waxseal_ring", "settings_signature", fixed("null")),
        ("waxseal_row", "id", fixed("'x'")),
        (
            "waxseal_row",
            "id",
            fixed("'00000000-0000-7000-8000-00000000000A'"),
        ),
        ("waxseal_row", "id", text(2_000)),
        ("waxseal_row", "kind", fixed("'keys'")),
        ("waxseal_row", "kind", text(1_000_000)),
        ("waxseal_row", "scope", fixed("'a//b'")),
        ("waxseal_row", "scope", text(513)),
        ("waxseal_row", "slot", fixed("'A B'")),
        ("waxseal_row", "slot", text(65)),
        ("waxseal_row", "state", fixed("'alive'")),
        ("waxseal_row", "state", text(1_000_000)),
        ("waxseal_row", "revision", fixed("-1")),
        ("waxseal_row", "kek_id", fixed("null")),
        ("waxseal_row", "kek_id", text(2049)),
        ("waxseal_row", "due", i64::MAX.to_string()),
        ("waxseal_row", "due", i64::MIN.to_string()),
        ("waxseal_heartbeat", "reader", text(256)),
        ("waxseal_heartbeat", "process", text(256)),
        ("waxseal_heartbeat", "revision", fixed("-1")),
        ("waxseal_heartbeat", "probed", fixed("'x'")),
        ("waxseal_heartbeat", "failed", text(1_000_000)),
    ];
    for (table, prefix) in [
        ("waxseal_ring", "head_"),
        ("waxseal_ring", "settings_"),
        ("waxseal_succession", ""),
        ("waxseal_row", ""),
        ("waxseal_heartbeat", ""),
    ] {
        let column = |name: &str| -> &'static str { Box::leak(format!("{prefix}{name}").into_boxed_str()) };
        cases.push((table, column("body"), bytes(256 * 1024 + 1)));
        cases.push((table, column("body"), bytes(3 * 1024 * 1024)));
        for length in [0, 31, 33] {
            cases.push((table, column("signer"), bytes(length)));
        }
        for length in [63, 65, 1_000_000] {
            cases.push((table, column("signature"), bytes(length)));
        }
    }
    cases.push(("waxseal_node", "body", bytes(256 * 1024 + 1)));
    cases
}

/// Makes every call, and returns the errors.
async fn errors(inventory: &dyn Inventory) -> Vec<Error> {
    let start = Time::from_microseconds(0).unwrap();
    let results = [
        inventory.revision().await.map(drop),
        inventory
            .read(&["a".parse().unwrap()], &["a".to_owned()])
            .await
            .map(drop),
        inventory.now().await.map(drop),
        inventory.scopes_after(None, 9).await.map(drop),
        inventory.next_due().await.map(drop),
        inventory.heartbeats(start).await.map(drop),
    ];
    let mut errors: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
    // A row that is wrong hinders nobody but whom it names.
    let beats = inventory.heartbeats(start).await.unwrap_or_default();
    let other = beats.iter().find(|beat| beat.reader == "other").unwrap();
    assert_eq!((&other.malformed, other.revision), (&None, 5));
    for why in beats.into_iter().filter_map(|beat| beat.malformed) {
        errors.push(Error::new(ErrorKind::InventoryInvalid).with_detail(why));
    }
    errors
}

/// `run` executes statements as somebody to whom no check applies.
fn are_refused(inventory: &dyn Inventory, bytes: Bytes, run: impl Fn(&str)) {
    let empty: String = TABLES.map(|table| format!("delete from {table};")).concat();
    for (table, column, value) in cases(bytes) {
        let what = format!("{table}.{column} = {}", &value[..value.len().min(60)]);
        run(&empty);
        pollster::block_on(async {
            inventory.restore(&whole()).await.unwrap();
            let beat = Heartbeat::new("r".to_owned(), "p".to_owned(), 1, Vec::new());
            inventory
                .beat(&beat.with_signed(Some(signed("r"))))
                .await
                .unwrap();
            let other = Heartbeat::new("other".to_owned(), "p".to_owned(), 5, Vec::new());
            inventory.beat(&other).await.unwrap();
            assert_eq!(format!("{:?}", errors(inventory).await), "[]");
        });
        let one = match table {
            "waxseal_heartbeat" => " where reader = 'r'",
            _ => "",
        };
        run(&format!("update {table} set {column} = {value}{one}"));
        let errors = pollster::block_on(errors(inventory));
        assert!(!errors.is_empty(), "{what}");
        for error in errors {
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::InventoryInvalid, "{what}: {text}");
            let (table_named, column_named) = (format!("table {table}"), format!("column {column}"));
            assert!(
                text.contains(&table_named) && text.contains(&column_named),
                "{what}: {text}"
            );
            assert!(text.len() < 500, "{what}: {text}");
        }
    }
    // It was none of these that made an error.
    run(&empty);
    pollster::block_on(async {
        inventory
            .commit(&change(0, vec![key(1, "a", State::Active)]))
            .await
            .unwrap();
        let other = Heartbeat::new("other".to_owned(), "p".to_owned(), 5, Vec::new());
        inventory.beat(&other).await.unwrap();
        assert_eq!(format!("{:?}", errors(inventory).await), "[]");
    });
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::Path;
    use std::time::Duration;

    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
    use waxseal_sql::{SqliteConfig, SqliteInventory};

    use super::*;

    fn run(path: &Path, sql: &str) {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio.block_on(async {
            let options = SqliteConnectOptions::new()
                .filename(path)
                .pragma("ignore_check_constraints", "on");
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
                .execute(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        });
    }

    #[test]
    fn what_has_no_form_is_refused_by_table_row_and_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring.db");
        let inventory = pollster::block_on(SqliteInventory::create(&*path)).unwrap();
        are_refused(
            &inventory,
            |length| format!("zeroblob({length})"),
            |sql| run(&path, sql),
        );
    }

    #[test]
    fn other_types_than_those_of_the_columns_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring.db");
        let inventory = pollster::block_on(SqliteInventory::create(&*path)).unwrap();
        pollster::block_on(inventory.restore(&whole())).unwrap();
        for value in ["5", "'text'", "1.5", "null"] {
            run(
                &path,
                &format!(
                    "drop table waxseal_node; create table waxseal_node (ring, path, body); \
                insert into waxseal_node values ('ring', 'a', {value})"
                ),
            );
            let error = pollster::block_on(inventory.read(&[], &["a".to_owned()])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
            assert!(error.to_string().contains("column body"), "{value}: {error}");
        }
    }

    #[test]
    fn a_statement_that_never_ends_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring.db");
        let config = SqliteConfig::new(&path).with_timeout(Duration::from_secs(3));
        let inventory = pollster::block_on(SqliteInventory::create(config)).unwrap();
        pollster::block_on(inventory.restore(&whole())).unwrap();
        run(
            &path,
            "drop table waxseal_node; create view waxseal_node as \
            with recursive numbers(n) as (select 0 union all select n + 1 from numbers) \
            select 'ring' as ring, 'a' as path, n as body from numbers where n < 0",
        );
        let error = pollster::block_on(inventory.read(&[], &["a".to_owned()])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // If it still ran, it would keep the file locked for ever.
        let another = pollster::block_on(SqliteInventory::open(&*path)).unwrap();
        pollster::block_on(another.commit(&change(7, Vec::new()))).unwrap();
    }
}

#[cfg(feature = "postgres")]
#[test]
fn what_has_no_form_is_refused_by_table_row_and_column_of_postgres() {
    let Some(database) = crate::support::Database::new() else {
        return;
    };
    let inventory = waxseal_sql::PostgresInventory::create(database.config("r"));
    let inventory = pollster::block_on(inventory).unwrap();
    let checks = "do $$ declare one record; begin \
        for one in select conrelid::regclass as of, conname from pg_constraint \
            where contype = 'c' and connamespace = current_schema()::regnamespace \
        loop execute format('alter table %s drop constraint %I', one.of, one.conname); end loop; end $$";
    pollster::block_on(database.run(checks));
    are_refused(
        &inventory,
        |length| format!("decode(repeat('00', {length}), 'hex')"),
        |sql| pollster::block_on(database.run(sql)),
    );
}
