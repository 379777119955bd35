//! A schema: each change is made to it, and undone by copies of the tables.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use waxseal_sql::PostgresInventory;

use super::*;
use crate::support::Database;

const ALL: [&str; 7] = [
    "waxseal_provisioned",
    "waxseal_schema",
    "waxseal_ring",
    "waxseal_succession",
    "waxseal_node",
    "waxseal_row",
    "waxseal_heartbeat",
];

struct Schema {
    connection: PgConnection,
    /// Reads what is there each time.
    inventory: Arc<dyn Inventory>,
    /// The table that the last change was made to.
    touched: Option<&'static str>,
}

impl Schema {
    async fn new(database: &Database, inventory: Arc<dyn Inventory>) -> Self {
        let connection = PgConnection::connect(&database.url()).await.unwrap();
        let mut schema = Self {
            connection,
            inventory,
            touched: None,
        };
        schema.keep().await;
        schema
    }

    /// Copies what there is.
    async fn keep(&mut self) {
        let sql = ALL.map(|table| {
            format!("drop table if exists kept_{table}; create table kept_{table} as table {table};")
        });
        self.run(sql.concat()).await;
    }

    async fn put_back(&mut self, tables: &[&str]) {
        let sql: Vec<String> = tables
            .iter()
            .map(|table| format!("alter table {table} disable trigger user; delete from {table}; insert into {table} table kept_{table}; alter table {table} enable trigger user;"))
            .collect();
        self.run(format!("begin; {} commit", sql.concat())).await;
    }

    async fn run(&mut self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.connection)
            .await
            .unwrap();
    }
}

#[async_trait]
impl Victim for Schema {
    async fn tables(&mut self) -> Vec<Table> {
        let mut tables = Vec::new();
        for name in ALL {
            let sql = format!(
                "select a.attname::text, t.typname::text, coalesce(a.attnum = any(i.indkey), false) from pg_attribute a \
                join pg_type t on t.oid = a.atttypid \
                left join pg_index i on i.indrelid = a.attrelid and i.indisprimary \
                where a.attrelid = '{name}'::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum"
            );
            let columns = sqlx::query(AssertSqlSafe(sql))
                .fetch_all(&mut self.connection)
                .await
                .unwrap();
            let count = sqlx::query(AssertSqlSafe(format!("select count(*) from {name}")))
                .fetch_one(&mut self.connection)
                .await
                .unwrap();
            let columns = columns.iter().map(|column| Column {
                name: column.get(0),
                kind: match column.get::<String, _>(1).as_str() {
                    "int8" => Kind::Int,
                    "bytea" => Kind::Bytes,
                    "text" => Kind::Text,
                    other => panic!("there are no changes for the type {other}"),
                },
                is_key: column.get(2),
            });
            tables.push(Table {
                name: name.to_owned(),
                columns: columns.collect(),
                rows: usize::try_from(count.get::<i64, _>(0)).unwrap(),
            });
        }
        tables
    }

    fn bytes(&self) -> &'static [&'static str] {
        &[
            "{c} || '\\x20'::bytea",
            "set_byte({c}, octet_length({c}) - 1, 0)",
            "set_byte({c}, 0, 127)",
            "(select {c} from {t} order by random() limit 1)",
            "decode(repeat('00', octet_length({c})), 'hex')",
            "null",
        ]
    }

    async fn changed(&mut self, sql: &str) -> Option<Result<Arc<dyn Inventory>>> {
        if let Some(table) = self.touched.take() {
            self.put_back(&[table]).await;
        }
        let is_touched = |table: &&&str| {
            let verbs = ["update", "delete from", "insert into"];
            verbs
                .iter()
                .any(|verb| sql.starts_with(&format!("{verb} {table} ")))
        };
        self.touched = ALL.iter().find(is_touched).copied();
        assert!(self.touched.is_some(), "{sql}");
        let done = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.connection)
            .await;
        match done.map_or(0, |done| done.rows_affected()) {
            0 => None,
            _ => Some(Ok(Arc::clone(&self.inventory))),
        }
    }

    async fn is_same(&mut self) -> bool {
        let mut differences = 0;
        for table in SIGNED {
            let sql = format!(
                "select (select count(*) from (table {table} except table kept_{table}) a) \
                + (select count(*) from (table kept_{table} except table {table}) b)"
            );
            let row = sqlx::query(AssertSqlSafe(sql))
                .fetch_one(&mut self.connection)
                .await
                .unwrap();
            differences += row.get::<i64, _>(0);
        }
        differences == 0
    }
}

async fn create(database: &Database) -> Arc<dyn Inventory> {
    Arc::new(PostgresInventory::create(database.config("r")).await.unwrap())
}

/// Of each table its first and its last row: what is read is judged by the same code as what is read from a file, where every row is
/// changed.
#[test]
fn each_column_that_is_changed_is_noticed_or_not_used() {
    let Some(database) = Database::new() else { return };
    database.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let inventory = create(&database).await;
        let ring = ring(folder.path(), Arc::clone(&inventory)).await;
        let mut victim = Schema::new(&database, inventory).await;
        let ends = |table: &Table| {
            (0..table.rows)
                .filter(|row| [0, table.rows - 1].contains(row))
                .collect()
        };
        let noticed = each_is_noticed_or_not_used(&ring.trust, &mut victim, ends).await;
        assert!(noticed > 80, "{noticed}");
        provisioned_rows_are_believed_as_they_were_or_not_at_all(&ring.trust, &mut victim).await;
        victim.connection.close().await.unwrap();
    });
}

#[test]
fn an_older_dump_of_a_schema_is_refused_by_whoever_has_seen_a_newer_one() {
    let Some(database) = Database::new() else { return };
    database.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let inventory = create(&database).await;
        let ring = ring(folder.path(), Arc::clone(&inventory)).await;
        let mut victim = Schema::new(&database, Arc::clone(&inventory)).await;
        let [scope, _] = scopes();
        let staged = ring
            .admin
            .reader()
            .scopes(std::slice::from_ref(&scope))
            .await
            .unwrap();
        let staged = staged.keys(&scope).last().unwrap().id;
        ring.admin.take_back(staged, "test").await.unwrap();
        let newer = ring.admin.reader().scopes(&scopes()).await.unwrap();
        victim.put_back(&ALL).await;
        an_older_dump_is_refused_by_whoever_has_seen_a_newer_one(&ring, inventory, &newer).await;
        victim.connection.close().await.unwrap();
    });
}
