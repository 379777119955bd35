//! A file: each change is made to a copy.

use std::path::PathBuf;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};
use waxseal_sql::{SqliteConfig, SqliteInventory};

use super::*;

struct File {
    whole: PathBuf,
    changed: PathBuf,
}

async fn connect(file: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(false)
        .connect()
        .await
        .unwrap()
}

async fn open(file: &Path) -> Result<Arc<dyn Inventory>> {
    let inventory = SqliteInventory::open(SqliteConfig::new(file)).await?;
    Ok(Arc::new(inventory))
}

/// Copies what a database holds.
async fn copy(file: &Path, to: &Path) {
    let mut connection = connect(file).await;
    sqlx::query(AssertSqlSafe(format!("vacuum into '{}'", to.display())))
        .execute(&mut connection)
        .await
        .unwrap();
    std::fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[async_trait]
impl Victim for File {
    async fn tables(&mut self) -> Vec<Table> {
        let mut connection = connect(&self.whole).await;
        let names =
            "select name from sqlite_master where type = 'table' and name like 'waxseal\\_%' escape '\\'";
        let names = sqlx::query(names).fetch_all(&mut connection).await.unwrap();
        let mut tables = Vec::new();
        for name in names.iter().map(|row| row.get::<String, _>(0)) {
            let columns = sqlx::query(AssertSqlSafe(format!("pragma table_info({name})")))
                .fetch_all(&mut connection)
                .await
                .unwrap();
            let count = sqlx::query(AssertSqlSafe(format!("select count(*) from {name}")))
                .fetch_one(&mut connection)
                .await
                .unwrap();
            let columns = columns.iter().map(|column| Column {
                name: column.get("name"),
                kind: match column.get::<String, _>("type").to_lowercase().as_str() {
                    "integer" | "bigint" => Kind::Int,
                    "blob" => Kind::Bytes,
                    _ => Kind::Text,
                },
                is_key: column.get::<i64, _>("pk") > 0,
            });
            tables.push(Table {
                name,
                columns: columns.collect(),
                rows: usize::try_from(count.get::<i64, _>(0)).unwrap(),
            });
        }
        tables
    }

    fn bytes(&self) -> &'static [&'static str] {
        &[
            "{c} || x'20'",
            "cast(substr({c}, 1, length({c}) - 1) || x'00' as blob)",
            "cast(x'7f' || substr({c}, 2) as blob)",
            "(select {c} from {t} order by random() limit 1)",
            "zeroblob(length({c}))",
            "null",
        ]
    }

    async fn changed(&mut self, sql: &str) -> Option<Result<Arc<dyn Inventory>>> {
        for rest in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{rest}", self.changed.display()));
        }
        std::fs::copy(&self.whole, &self.changed).unwrap();
        let mut connection = connect(&self.changed).await;
        let done = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await;
        let changes = done.map_or(0, |done| done.rows_affected());
        connection.close().await.unwrap();
        match changes {
            0 => None,
            _ => Some(open(&self.changed).await),
        }
    }

    async fn is_same(&mut self) -> bool {
        let mut connection = connect(&self.whole).await;
        let attach = format!("attach database '{}' as other", self.changed.display());
        sqlx::query(AssertSqlSafe(attach))
            .execute(&mut connection)
            .await
            .unwrap();
        let mut differences = 0;
        for table in SIGNED {
            for (a, b) in [("main", "other"), ("other", "main")] {
                let sql = format!(
                    "select count(*) from (select * from {a}.{table} except select * from {b}.{table})"
                );
                let row = sqlx::query(AssertSqlSafe(sql))
                    .fetch_one(&mut connection)
                    .await
                    .unwrap();
                differences += row.get::<i64, _>(0);
            }
        }
        differences == 0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_column_and_row_that_is_changed_is_noticed_or_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ring.sqlite");
    let inventory = SqliteInventory::create(SqliteConfig::new(&file)).await.unwrap();
    let ring = ring(folder.path(), Arc::new(inventory)).await;
    let mut victim = File {
        whole: folder.path().join("whole.sqlite"),
        changed: folder.path().join("changed.sqlite"),
    };
    copy(&file, &victim.whole).await;
    let noticed =
        each_is_noticed_or_not_used(&ring.trust, &mut victim, |table| (0..table.rows).collect()).await;
    assert!(noticed > 300, "{noticed}");
    provisioned_rows_are_believed_as_they_were_or_not_at_all(&ring.trust, &mut victim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_older_file_is_refused_by_whoever_has_seen_a_newer_one_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (file, older) = (
        folder.path().join("ring.sqlite"),
        folder.path().join("older.sqlite"),
    );
    let inventory = SqliteInventory::create(SqliteConfig::new(&file)).await.unwrap();
    let ring = ring(folder.path(), Arc::new(inventory)).await;
    copy(&file, &older).await;
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
    for rest in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{rest}", file.display()));
    }
    std::fs::rename(&older, &file).unwrap();
    an_older_dump_is_refused_by_whoever_has_seen_a_newer_one(&ring, open(&file).await.unwrap(), &newer).await;
}
