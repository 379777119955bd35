//! Somebody who can write the database changes each column of each table, and exchanges, copies and deletes rows. What the ring
//! uses afterwards is what its authority has signed, or nothing.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use waxseal::backend::kek_uri::KekUri;
use waxseal::envelope::KekRef;
use waxseal::key::KekAdmin;
use waxseal::ring::{
    Authority, Backends, Inventory, KeyRing, KeySource, NewKey, Provenance, Provisioning, Reader, RingAdmin,
    Rollout, Scope, Target, Trust, View,
};
use waxseal::runtime::ProcessEnvironment;
use waxseal::{EncryptionContext, ErrorKind, KeyManager, Result};

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

/// The tables whose rows the head signs.
const SIGNED: [&str; 4] = [
    "waxseal_ring",
    "waxseal_succession",
    "waxseal_node",
    "waxseal_row",
];

fn scopes() -> [Scope; 2] {
    ["tenant/a".parse().unwrap(), "tenant/b".parse().unwrap()]
}

/// A ring of two scopes with three keys each; its settings have been changed, and its authority has followed another.
struct Ring {
    trust: Trust,
    admin: RingAdmin,
}

async fn ring(folder: &Path, inventory: Arc<dyn Inventory>) -> Ring {
    let (first, next) = (Authority::generate().unwrap(), Authority::generate().unwrap());
    let trust = RingAdmin::init(&*inventory, &first, "test", |settings| {
        settings.scope_template = "tenant/{tenant}".parse().unwrap();
        let parent = "system".parse().unwrap();
        settings.provision = Some(Provisioning::on_first_use(parent, vec![provisioner().public()]));
    })
    .await
    .unwrap();
    let (id, public) = (trust.ring(), trust.authority());
    let reader = Reader::new(trust, inventory);
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
    let place = format!("file:{}/parent", folder.display());
    let parent = NewKey::new("system".parse().unwrap(), KeySource::MadeBeside(place));
    admin.create(&parent).await.unwrap();
    // The first keys of two more tenants.
    let inventory = Arc::clone(admin.reader().inventory());
    let builder = KeyRing::builder(Trust::new(id, public), inventory, Arc::new(Files));
    let ring = builder
        .provisioner(provisioner())
        .without_watching()
        .open()
        .await
        .unwrap();
    let sealer = ring.sealer().build().unwrap();
    for tenant in ["c", "d"] {
        let context = EncryptionContext::new([("tenant", tenant)]).unwrap();
        sealer.seal(b"x", &context).await.unwrap();
    }
    Ring {
        trust: Trust::new(id, public),
        admin,
    }
}

fn provisioner() -> Authority {
    Authority::from_seed(&[7; 32])
}

/// Somebody changes each column of provisioned rows, and deletes them. A reader then believes what a provisioner has signed, or that there is no
/// key, or nothing of the scope.
async fn provisioned_rows_are_believed_as_they_were_or_not_at_all(trust: &Trust, victim: &mut dyn Victim) {
    const TABLE: &str = "waxseal_provisioned";
    let scope: [Scope; 1] = ["tenant/c".parse().unwrap()];
    let keys = async |inventory: Arc<dyn Inventory>| {
        let reader = Reader::new(Trust::new(trust.ring(), trust.authority()), inventory);
        let view = reader.scopes(&scope).await?;
        Ok::<_, waxseal::Error>(format!("{:?}", view.keys(&scope[0])))
    };
    let nothing = victim
        .changed("update waxseal_schema set version = version")
        .await
        .unwrap();
    let good = keys(nothing.unwrap()).await.unwrap();
    assert!(good.contains("Branch"), "{good}");
    let tables: Vec<_> = victim
        .tables()
        .await
        .into_iter()
        .filter(|table| table.name == TABLE)
        .collect();
    let (mut same, mut gone, mut refused) = (0, 0, 0);
    let attempts = attempts(&tables, victim.bytes(), |_| [0].into());
    let mut attempts: Vec<String> = attempts
        .into_iter()
        .filter(|(table, _)| table == TABLE)
        .map(|(_, sql)| sql)
        .collect();
    // What another tenant's row says, as a whole and but for its names.
    let of_other =
        |column: &str| format!("{column} = (select {column} from {TABLE} where scope = 'tenant/d')");
    let signed = ["body", "signer", "signature"].map(of_other).join(", ");
    let named = ["kek_id", "due"].map(of_other).join(", ");
    for set in [signed.clone(), format!("{signed}, {named}")] {
        attempts.push(format!("update {TABLE} set {set} where scope = 'tenant/c'"));
    }
    for sql in attempts {
        let Some(inventory) = victim.changed(&sql).await else {
            continue;
        };
        match keys(inventory.unwrap()).await {
            Ok(keys) if keys == good => same += 1,
            Ok(keys) => {
                assert_eq!(keys, "[]", "{sql}");
                gone += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InventoryInvalid, "{sql}: {error}");
                refused += 1;
            }
        }
    }
    println!(
        "of provisioned rows {refused} changes were refused, {gone} looked like no key, {same} changed nothing"
    );
    assert!(refused > 25 && gone >= 1, "{refused} {gone} {same}");
}

/// One table, as the database describes it.
struct Table {
    name: String,
    columns: Vec<Column>,
    rows: usize,
}

struct Column {
    name: String,
    kind: Kind,
    is_key: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Int,
    Text,
    Bytes,
}

/// A database that somebody else can write.
#[async_trait]
trait Victim {
    async fn tables(&mut self) -> Vec<Table>;

    /// What to write in the place of bytes, `{c}` for the column and `{t}` for the table.
    fn bytes(&self) -> &'static [&'static str];

    /// The whole as it was, but for this change, to a new process. `None` if the schema refuses the change, or it changes nothing.
    async fn changed(&mut self, sql: &str) -> Option<Result<Arc<dyn Inventory>>>;

    /// Whether it holds what it held, after the last change.
    async fn is_same(&mut self) -> bool;
}

/// What a new process sees of each scope, and what a look at the whole finds.
async fn look(
    ring: &Trust,
    inventory: Result<Arc<dyn Inventory>>,
) -> (Vec<Result<View>>, Result<waxseal::ring::Check>) {
    let inventory = match inventory {
        Ok(inventory) => inventory,
        Err(error) => {
            return (
                vec![Err(error)],
                Err(waxseal::Error::new(ErrorKind::InventoryInvalid)),
            );
        }
    };
    let reader = Reader::new(Trust::new(ring.ring(), ring.authority()), inventory);
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

/// Each change: the table, and the statement.
fn attempts(
    tables: &[Table],
    bytes: &[&str],
    rows: impl Fn(&Table) -> BTreeSet<usize>,
) -> Vec<(String, String)> {
    let mut attempts = Vec::new();
    for table in tables {
        let of = &table.name;
        let keys: Vec<&str> = table
            .columns
            .iter()
            .filter(|column| column.is_key)
            .map(|column| column.name.as_str())
            .collect();
        for number in rows(table) {
            // The row is named by its primary key, in the order of which it is counted.
            let one = format!(
                "({keys}) = (select {keys} from {of} order by {keys} limit 1 offset {number})",
                keys = keys.join(", ")
            );
            for column in &table.columns {
                let values: &[&str] = match column.kind {
                    Kind::Int => &["{c} + 1", "{c} - 1", "1", "null", "4102444800000000"],
                    Kind::Bytes => bytes,
                    Kind::Text => &[
                        "{c} || 'x'",
                        "(select {c} from {t} where {c} <> (select {c} from {t} where {w}) limit 1)",
                        "'pending'",
                        "'tenant/b'",
                        "null",
                    ],
                };
                for value in values {
                    let value = value
                        .replace("{c}", &column.name)
                        .replace("{t}", of)
                        .replace("{w}", &one);
                    attempts.push((
                        of.clone(),
                        format!("update {of} set {} = {value} where {one}", column.name),
                    ));
                }
            }
            attempts.push((of.clone(), format!("delete from {of} where {one}")));
        }
    }
    // Rows that change places.
    attempts.push((
        "waxseal_row".to_owned(),
        "update waxseal_row set scope = case scope when 'tenant/a' then 'tenant/b' else 'tenant/a' end"
            .to_owned(),
    ));
    // A row that is copied to another scope (in the place of itself), and to another id.
    attempts.push((
        "waxseal_row".to_owned(),
        "update waxseal_row set scope = 'tenant/b', state = 'deprecated' where id = (select min(id) from waxseal_row where scope = 'tenant/a')"
            .to_owned(),
    ));
    attempts.push((
        "waxseal_row".to_owned(),
        "insert into waxseal_row select ring, substr(id, 1, 35) || 'f', kind, scope, slot, 'deprecated', revision, kek_provider, \
         kek_id, kek_version, due, body, signer, signature from waxseal_row where scope = 'tenant/a' limit 1"
            .to_owned(),
    ));
    attempts
}

/// Tries each change. Returns how many were noticed.
async fn each_is_noticed_or_not_used(
    trust: &Trust,
    victim: &mut dyn Victim,
    rows: impl Fn(&Table) -> BTreeSet<usize>,
) -> usize {
    let nothing = victim
        .changed("update waxseal_schema set version = version")
        .await
        .unwrap();
    let (views, check) = look(trust, nothing).await;
    let good: Vec<String> = views.iter().map(|view| used(view.as_ref().unwrap())).collect();
    assert!(check.unwrap().is_good());
    let attempts = attempts(&victim.tables().await, victim.bytes(), rows);
    let (mut noticed, mut without_effect, mut refused) = (0, 0, 0);
    for (table, sql) in &attempts {
        let Some(inventory) = victim.changed(sql).await else {
            refused += 1;
            continue;
        };
        let (views, check) = look(trust, inventory).await;
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
        if SIGNED.contains(&table.as_str()) {
            if is_found {
                noticed += 1;
            } else {
                // It was that already.
                assert!(victim.is_same().await, "{sql}");
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
    noticed
}

/// Somebody puts back what the database held before the last change. Whoever has seen the change refuses it, and whoever starts
/// without a mark cannot know.
async fn an_older_dump_is_refused_by_whoever_has_seen_a_newer_one(
    ring: &Ring,
    older: Arc<dyn Inventory>,
    newer: &View,
) {
    let trust = || Trust::new(ring.trust.ring(), ring.trust.authority());
    for scope in [&[][..], &scopes()] {
        let error = trust()
            .with_mark(newer.mark())
            .read(&*older, scope)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
        assert!(error.to_string().contains("older state"), "{error}");
    }
    let view = trust().read(&*older, &scopes()).await.unwrap();
    assert_eq!(view.revision() + 1, newer.revision());
    // The one that has made the change, too.
    let error = ring.admin.reader().scopes(&[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
}
