//! Applications that make the first keys of tenants, and are killed: no tenant's data is lost.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use waxseal::backend::local::LocalKey;
use waxseal::envelope::KekRef;
use waxseal::key::KekAdmin;
use waxseal::ring::{
    Authority, AuthorityKey, Backends, Inventory, KeyRing, KeySource, NewKey, Provenance, Provisioning,
    Reader, RecordId, RingAdmin, Trust,
};
use waxseal::{EncryptionContext, Error, ErrorKind, Kek, KeyManager, Result, Sealer};
use waxseal_sql::{SqliteConfig, SqliteInventory};

use crate::support::GENEROUS;

/// Where the application finds its ring: the place, the ring's id and its authority.
const WHERE: &str = "WAXSEAL_SQL_TEST_FIRST_KEYS";

/// The parent's KEK.
#[derive(Debug)]
struct Parent;

#[async_trait]
impl Backends for Parent {
    async fn key(&self, _: &Provenance) -> Result<Arc<dyn KeyManager>> {
        self.open("").await
    }

    async fn admin(&self, _: &str) -> Result<Arc<dyn KekAdmin>> {
        let feature = "administration of an environment variable";
        Err(Error::new(ErrorKind::Unsupported { feature }))
    }

    async fn open(&self, _: &str) -> Result<Arc<dyn KeyManager>> {
        Ok(Arc::new(LocalKey::new(&Kek::from_bytes(&[9; 32]))))
    }

    fn sibling(&self, _: &str, _: &str, _: &KekRef) -> Result<String> {
        Err(Error::new(ErrorKind::Configuration))
    }
}

async fn open(place: &str) -> Arc<dyn Inventory> {
    #[cfg(feature = "postgres")]
    if place.starts_with("postgres:") {
        let config = waxseal_sql::PostgresConfig::new(&place.to_owned().into(), "r").unwrap();
        let config = config.with_timeout(GENEROUS);
        return Arc::new(waxseal_sql::PostgresInventory::create(config).await.unwrap());
    }
    let config = SqliteConfig::new(place).with_timeout(GENEROUS);
    Arc::new(SqliteInventory::create(config).await.unwrap())
}

/// A process that uses the ring, and makes first keys.
async fn sealer(place: &str, ring: RecordId, authority: AuthorityKey) -> Sealer {
    let builder = KeyRing::builder(Trust::new(ring, authority), open(place).await, Arc::new(Parent));
    let builder = builder.provisioner(Authority::from_seed(&[7; 32]));
    let ring = builder.without_watching().open().await.unwrap();
    ring.sealer().build().unwrap()
}

fn context(tenant: &str) -> EncryptionContext {
    EncryptionContext::new([("tenant", tenant)]).unwrap()
}

/// Seals for one new tenant after the other, and says each envelope. Does nothing but in the process that is killed.
#[test]
fn application() {
    let Ok(given) = std::env::var(WHERE) else { return };
    let (given, authority) = given.rsplit_once(' ').unwrap();
    let (place, ring) = given.rsplit_once(' ').unwrap();
    pollster::block_on(async {
        let sealer = sealer(place, ring.parse().unwrap(), authority.parse().unwrap()).await;
        for number in 0.. {
            let tenant = format!("{}-{number}", std::process::id());
            let sealed = sealer.seal(tenant.as_bytes(), &context(&tenant)).await.unwrap();
            let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("\nsealed {tenant} {hex}");
        }
    });
}

fn survives(place: &str, kills: usize) {
    let authority = Authority::generate().unwrap();
    let (ring, public) = pollster::block_on(async {
        let inventory = open(place).await;
        let trust = RingAdmin::init(&*inventory, &authority, "test", |settings| {
            settings.scope_template = "tenant/{tenant}".parse().unwrap();
            let keys = vec![Authority::from_seed(&[7; 32]).public()];
            settings.provision = Some(Provisioning::on_first_use("system".parse().unwrap(), keys));
        });
        let trust = trust.await.unwrap();
        let (ring, public) = (trust.ring(), trust.authority());
        let admin = RingAdmin::new(
            Reader::new(trust, inventory),
            Arc::new(authority),
            Arc::new(Parent),
            "test",
        );
        let parent = NewKey::new(
            "system".parse().unwrap(),
            KeySource::Existing("env:PARENT".to_owned()),
        );
        admin.create(&parent).await.unwrap();
        (ring, public)
    });
    let mut sealed: Vec<(String, Vec<u8>)> = Vec::new();
    for _ in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "first_keys::application", "--nocapture"])
            .env(WHERE, format!("{place} {ring} {public}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines
            .map_while(Result::ok)
            .filter(|line| line.starts_with("sealed "));
        let first = lines.next().expect("the application has sealed nothing");
        let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let micros = (u64::try_from(nanos % 1_000_003).unwrap() * 7_919) % 20_000;
        std::thread::sleep(Duration::from_micros(micros));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in std::iter::once(first).chain(lines) {
            // The last line may be cut off.
            let mut words = line.split(' ').skip(1);
            let (Some(tenant), Some(hex)) = (words.next(), words.next()) else {
                continue;
            };
            let byte = |at: usize| {
                hex.get(at..at + 2)
                    .and_then(|two| u8::from_str_radix(two, 16).ok())
            };
            if let Some(bytes) = (0..hex.len()).step_by(2).map(byte).collect() {
                sealed.push((tenant.to_owned(), bytes));
            }
        }
    }
    assert!(sealed.len() >= kills);
    pollster::block_on(async {
        // In another process each of them opens, and seals under the same key.
        let sealer = sealer(place, ring, public).await;
        for (index, (tenant, sealed)) in sealed.iter().enumerate() {
            // The last one of a process may have been cut off, and is no envelope.
            if waxseal::envelope::Envelope::parse(sealed).is_err() {
                continue;
            }
            let opened = sealer.open(sealed, &context(tenant)).await;
            assert_eq!(opened.unwrap(), tenant.as_bytes(), "{index} of {}", sealed.len());
        }
        // No tenant has two keys, and an export holds them all.
        let reader = Reader::new(Trust::new(ring, public), open(place).await);
        let check = reader.check().await.unwrap();
        assert!(check.is_good(), "{:?}", check.findings);
        assert!(
            check.provisioned >= sealed.len(),
            "{} {}",
            check.provisioned,
            sealed.len()
        );
        println!(
            "{} tenants in {kills} processes, {} first keys",
            sealed.len(),
            check.provisioned
        );
        let (_, export) = reader.export().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let copy = SqliteInventory::create(folder.path().join("copy.db"))
            .await
            .unwrap();
        waxseal::ring::import(&Trust::new(ring, public), &copy, &export)
            .await
            .unwrap();
        let copied = Reader::new(Trust::new(ring, public), Arc::new(copy));
        assert_eq!(copied.check().await.unwrap().provisioned, check.provisioned);
    });
}

#[test]
fn sqlite_loses_no_tenant_by_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    survives(folder.path().join("ring.db").to_str().unwrap(), 60);
}

#[cfg(feature = "postgres")]
#[test]
fn postgres_loses_no_tenant_by_a_kill() {
    let Some(database) = crate::support::Database::new() else {
        return;
    };
    survives(&database.url(), 40);
}
