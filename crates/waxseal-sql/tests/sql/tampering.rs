//! Somebody who can write the database changes each column of each table, and exchanges, copies and deletes rows. What the ring
//! uses afterwards is what its authority has signed, or nothing.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};
use waxseal::backend::kek_uri::KekUri;
use waxseal::envelope::KekRef;
use waxseal::key::KekAdmin;
use waxseal::ring::{
    Authority, Backends, Inventory, KeySource, NewKey, Provenance, Reader, RingAdmin, Rollout, Scope, Target,
    Trust, View,
};
use waxseal::runtime::ProcessEnvironment;
use waxseal::{ErrorKind, KeyManager, Result};
use waxseal_sql::{SqliteConfig, SqliteInventory};

/// Key files.
#[derive(Debug)]
struct Files;

#[async_trait]
impl Backends for Files {
    async fn key(&self, provenance: &Provenance) -> Result<Arc<dyn KeyManager>> {
        let uri: KekUri = provenance.uri.parse()?;
        Ok(uri
            .open_pinned(&ProcessEnvironment, &provenance.kek()?)
            .await?
            .active)
    }

    async fn admin(&self, uri: &str) -> Result<Arc<dyn KekAdmin>> {
        uri.parse::<KekUri>()?.open_admin(&ProcessEnvironment).await
    }

    async fn open(&self, uri: &str) -> Result<Arc<dyn KeyManager>> {
        Ok(uri.parse::<KekUri>()?.open(&ProcessEnvironment).await?.active)
    }

    fn sibling(&self, uri: &str, name: &str, kek: &KekRef) -> Result<String> {
        let sibling = uri.parse::<KekUri>()?.sibling(name, kek)?;
        sibling.to_stored().map(str::to_owned)
    }
}

fn scopes() -> [Scope; 2] {
    ["tenant/a".parse().unwrap(), "tenant/b".parse().unwrap()]
}

/// A ring of two scopes with three keys each, and an intent; its settings have been changed, and its authority has followed another.
async fn ring(folder: &Path) -> (Trust, std::path::PathBuf) {
    let file = folder.join("ring.sqlite");
    let inventory = SqliteInventory::create(SqliteConfig::new(&file)).await.unwrap();
    let (first, next) = (Authority::generate().unwrap(), Authority::generate().unwrap());
    let trust = RingAdmin::init(&inventory, &first, "test", |settings| {
        settings.scope_template = "tenant/{tenant}".parse().unwrap();
    })
    .await
    .unwrap();
    let (id, public) = (trust.ring(), trust.authority());
    let reader = Reader::new(trust, Arc::new(inventory));
    waxseal::ring::rotate_authority(&reader, &first, &next, "test")
        .await
        .unwrap();
    let admin = RingAdmin::new(reader, Arc::new(next), Arc::new(Files), "test");
    for scope in scopes() {
        let place = format!("file:{}/first", folder.display());
        admin
            .create(&NewKey::new(scope.clone(), KeySource::MadeBeside(place)))
            .await
            .unwrap();
        for rollout in [Rollout::AtOnce, Rollout::Staged] {
            admin
                .rotate(&Target::Scope(scope.clone()), rollout, "test")
                .await
                .unwrap();
        }
    }
    (Trust::new(id, public), file)
}

async fn connect(file: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(false)
        .connect()
        .await
        .unwrap()
}

/// Copies a whole database, changes the copy and returns it. `None` if the schema refuses the change, or it changes nothing.
async fn changed(whole: &Path, sql: &str) -> Option<std::path::PathBuf> {
    let copy = whole.with_file_name("changed.sqlite");
    for rest in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(copy.with_file_name(format!("changed.sqlite{rest}")));
    }
    std::fs::copy(whole, &copy).unwrap();
    let mut connection = connect(&copy).await;
    let done = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await;
    let changes = done.map_or(0, |done| done.rows_affected());
    connection.close().await.unwrap();
    (changes > 0).then_some(copy)
}

/// What a new process sees of each scope, and what a look at the whole finds.
async fn look(ring: &Trust, file: &Path) -> (Vec<Result<View>>, Result<waxseal::ring::Check>) {
    let inventory = match SqliteInventory::open(SqliteConfig::new(file)).await {
        Ok(inventory) => Arc::new(inventory),
        Err(error) => {
            return (
                vec![Err(error)],
                Err(waxseal::Error::new(ErrorKind::InventoryInvalid)),
            );
        }
    };
    let reader = Reader::new(
        Trust::new(ring.ring(), ring.authority()),
        Arc::clone(&inventory) as Arc<dyn Inventory>,
    );
    let mut views = Vec::new();
    for scope in scopes() {
        views.push(reader.scopes(&[scope]).await);
    }
    (views, reader.check().await)
}

/// Everything that anybody uses of a view.
fn used(view: &View) -> String {
    let keys: Vec<_> = view.all_keys().map(|key| format!("{key:?}")).collect();
    format!("{} {:?} {keys:?}", view.mark(), view.settings())
}

/// Whether two databases hold the same.
async fn is_same(one: &Path, other: &Path) -> bool {
    let mut connection = connect(one).await;
    let attach = format!("attach database '{}' as other", other.display());
    sqlx::query(AssertSqlSafe(attach))
        .execute(&mut connection)
        .await
        .unwrap();
    let mut differences = 0;
    for table in [
        "waxseal_ring",
        "waxseal_succession",
        "waxseal_node",
        "waxseal_row",
    ] {
        for (a, b) in [("main", "other"), ("other", "main")] {
            let sql =
                format!("select count(*) from (select * from {a}.{table} except select * from {b}.{table})");
            let row = sqlx::query(AssertSqlSafe(sql))
                .fetch_one(&mut connection)
                .await
                .unwrap();
            differences += row.get::<i64, _>(0);
        }
    }
    differences == 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_column_and_row_that_is_changed_is_noticed_or_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let (trust, file) = ring(folder.path()).await;
    let (views, check) = look(&trust, &file).await;
    let good: Vec<String> = views.iter().map(|view| used(view.as_ref().unwrap())).collect();
    assert!(check.unwrap().is_good());
    let whole = folder.path().join("whole.sqlite");
    let mut connection = connect(&file).await;
    sqlx::query(AssertSqlSafe(format!("vacuum into '{}'", whole.display())))
        .execute(&mut connection)
        .await
        .unwrap();
    std::fs::set_permissions(&whole, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let tables = sqlx::query(
        "select name from sqlite_master where type = 'table' and name like 'waxseal\\_%' escape '\\'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut attempts: Vec<(String, String)> = Vec::new();
    for table in tables.iter().map(|row| row.get::<String, _>(0)) {
        let columns = sqlx::query(AssertSqlSafe(format!("pragma table_info({table})")))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let rows = sqlx::query(AssertSqlSafe(format!("select row_number() over () from {table}")))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let keys: Vec<String> = columns
            .iter()
            .filter(|column| column.get::<i64, _>("pk") > 0)
            .map(|column| column.get("name"))
            .collect();
        for number in 0..rows.len() {
            // The row is named by its primary key, in the order of which it is counted.
            let one = format!(
                "({keys}) = (select {keys} from {table} order by {keys} limit 1 offset {number})",
                keys = keys.join(", ")
            );
            for column in &columns {
                let (name, kind): (String, String) = (column.get("name"), column.get("type"));
                let values: &[&str] = match kind.to_lowercase().as_str() {
                    "integer" | "bigint" => &["{c} + 1", "{c} - 1", "1", "null", "4102444800000000"],
                    "blob" => &[
                        "{c} || x'20'",
                        "cast(substr({c}, 1, length({c}) - 1) || x'00' as blob)",
                        "cast(x'7f' || substr({c}, 2) as blob)",
                        "(select {c} from {t} order by random() limit 1)",
                        "zeroblob(length({c}))",
                        "null",
                    ],
                    _ => &[
                        "{c} || 'x'",
                        "(select {c} from {t} where {c} <> (select {c} from {t} where {w}) limit 1)",
                        "'pending'",
                        "'tenant/b'",
                        "null",
                    ],
                };
                for value in values {
                    let value = value
                        .replace("{c}", &name)
                        .replace("{t}", &table)
                        .replace("{w}", &one);
                    let sql = format!("update {table} set {name} = {value} where {one}");
                    attempts.push((table.clone(), sql));
                }
            }
            attempts.push((table.clone(), format!("delete from {table} where {one}")));
        }
    }
    // Rows that change places.
    attempts.push((
        "waxseal_row".to_owned(),
        "update waxseal_row set scope = case scope when 'tenant/a' then 'tenant/b' else 'tenant/a' end"
            .to_owned(),
    ));
    // A row that is copied to another scope, and to another id.
    for (id, scope) in [("id", "'tenant/b'"), ("substr(id, 1, 35) || 'f'", "scope")] {
        attempts.push((
            "waxseal_row".to_owned(),
            format!(
                "insert or replace into waxseal_row select ring, {id}, kind, {scope}, slot, 'deprecated', revision, kek_provider, \
                 kek_id, kek_version, due, body, signer, signature from waxseal_row where scope = 'tenant/a' limit 1"
            ),
        ));
    }
    let (mut noticed, mut without_effect, mut refused) = (0, 0, 0);
    for (table, sql) in &attempts {
        let Some(file) = changed(&whole, sql).await else {
            refused += 1;
            continue;
        };
        let (views, check) = look(&trust, &file).await;
        let mut is_noticed = false;
        for (view, good) in views.iter().zip(&good) {
            match view {
                // What is used is what was signed.
                Ok(view) => assert_eq!(&used(view), good, "{sql}"),
                Err(error) => {
                    is_noticed = true;
                    let kind = error.kind();
                    assert!(
                        matches!(kind, ErrorKind::InventoryInvalid | ErrorKind::Configuration),
                        "{sql}: {error}"
                    );
                }
            }
        }
        let is_found = !check.is_ok_and(|check| check.is_good());
        assert!(
            !is_noticed || is_found,
            "a look at the whole finds what readers find: {sql}"
        );
        let is_signed = [
            "waxseal_row",
            "waxseal_ring",
            "waxseal_node",
            "waxseal_succession",
        ]
        .contains(&table.as_str());
        if is_signed {
            if is_found {
                noticed += 1;
            } else {
                // It was that already.
                assert!(is_same(&whole, &file).await, "{sql}");
                without_effect += 1;
            }
        } else {
            without_effect += 1;
        }
    }
    println!(
        "{} changes: {noticed} noticed, {without_effect} without effect, {refused} refused by the schema",
        attempts.len()
    );
    assert!(noticed > 300, "{noticed}");
}
