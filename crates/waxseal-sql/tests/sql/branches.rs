//! Branch keys of a provisioner and of an administrator, as the tables hold them.

use std::sync::Arc;

use pollster::block_on;
use waxseal::ring::{
    Authority, Backends, BranchRewrap, Inventory, KeyRing, KeySource, NewKey, Provisioning, Reader,
    RingAdmin, Rollout, Scope, Slot, Target, Trust, UriBackends,
};
use waxseal::testing::FakeEnvironment;
use waxseal::{EncryptionContext, Sealer};

/// How many tenants: more than one batch has.
const TENANTS: usize = 150;

/// What the table of provisioned rows and that of the records hold.
type Counts<'c> = &'c dyn Fn() -> (u64, u64);

fn context(number: usize) -> EncryptionContext {
    EncryptionContext::new([("tenant", format!("t{number}").as_str())]).unwrap()
}

fn taken_over_and_wrapped_anew(inventory: &Arc<dyn Inventory>, counts: Counts<'_>) {
    let environment = FakeEnvironment::new();
    for name in ["FIRST", "SECOND"] {
        let kek: [u8; 32] = waxseal::value::entropy::array().unwrap();
        let hex: String = kek.iter().map(|byte| format!("{byte:02x}")).collect();
        environment.set(name, &hex);
    }
    let backends: Arc<dyn Backends> = Arc::new(
        UriBackends::new()
            .with_environment(Arc::new(environment))
            .allow("env")
            .unwrap(),
    );
    let (authority, provisioner) = (
        Arc::new(Authority::generate().unwrap()),
        Arc::new(Authority::generate().unwrap()),
    );
    let public = provisioner.public();
    let init = RingAdmin::init(&**inventory, &authority, "alice", |settings| {
        settings.scope_template = "tenant/{tenant}".parse().unwrap();
        settings.provision = Some(Provisioning::on_first_use(Scope::root(), vec![public]));
    });
    let id = block_on(init).unwrap().ring();
    let trust = || Trust::new(id, authority.public());
    let admin = RingAdmin::new(
        Reader::new(trust(), Arc::clone(inventory)),
        Arc::clone(&authority),
        Arc::clone(&backends),
        "alice",
    );
    let create = |scope: &str, source| {
        let new = NewKey::new(scope.parse().unwrap(), source);
        block_on(admin.create(&new)).unwrap().key
    };
    let old = create("/", KeySource::Existing("env:FIRST".to_owned()));
    create("tenant/t0", KeySource::Branch { parent: None });
    let ring = |provisions: bool| {
        let builder = KeyRing::builder(trust(), Arc::clone(inventory), Arc::clone(&backends));
        let builder = builder.without_watching();
        let builder = match provisions {
            true => builder.provisioner(Arc::clone(&provisioner)),
            false => builder,
        };
        block_on(builder.open()).unwrap()
    };
    let sealer: Sealer = ring(true).sealer().build().unwrap();
    let sealed: Vec<Vec<u8>> = (0..TENANTS)
        .map(|number| block_on(sealer.seal(b"hello", &context(number))).unwrap())
        .collect();
    // The parent, and the one of an administrator.
    assert_eq!(counts(), (TENANTS as u64 - 1, 2));
    let tick = block_on(admin.tick(None)).unwrap();
    assert_eq!(tick.taken_over, TENANTS - 1, "{:?}", tick.problems);
    assert_eq!(counts(), (0, TENANTS as u64 + 1));
    // A staged key of another KEK takes the place of the parent.
    let next = create("/", KeySource::Existing("env:SECOND".to_owned()));
    block_on(admin.promote(next, "x")).unwrap();
    let under = |key| block_on(admin.reader().scopes(&[])).unwrap().branches_under(key);
    assert_eq!((under(old), under(next)), (TENANTS as u64, 0));
    let mut what = BranchRewrap::default();
    what.limit = Some(100);
    let done = block_on(admin.rewrap_branches(&what, |_| {})).unwrap();
    assert_eq!((done.rewrapped, done.is_stopped), (100, true));
    let done = block_on(admin.rewrap_branches(&BranchRewrap::default(), |_| {})).unwrap();
    assert_eq!((done.rewrapped, done.current, done.left), (50, 100, 0));
    assert_eq!((under(old), under(next)), (0, TENANTS as u64));
    assert_eq!(counts(), (0, TENANTS as u64 + 2));
    let opener = ring(false).sealer().build().unwrap();
    for (number, sealed) in sealed.iter().enumerate().step_by(37) {
        assert_eq!(block_on(opener.open(sealed, &context(number))).unwrap(), b"hello");
    }
    let target = Target::Slot("tenant/t1".parse().unwrap(), Slot::default());
    block_on(admin.rotate(&target, Rollout::AtOnce, "x")).unwrap();
    let check = block_on(admin.reader().check()).unwrap();
    assert!(check.is_good(), "{:?}", check.findings);
}

#[cfg(feature = "sqlite")]
#[test]
fn in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.db");
    let config = waxseal_sql::SqliteConfig::new(&path).with_timeout(crate::support::GENEROUS);
    let inventory: Arc<dyn Inventory> =
        Arc::new(block_on(waxseal_sql::SqliteInventory::create(config)).unwrap());
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let count = |table: &str| {
        use sqlx::{AssertSqlSafe, Connection as _};
        tokio.block_on(async {
            let url = format!("sqlite:{}", path.display());
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            let sql = AssertSqlSafe(format!("select count(*) from {table}"));
            let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
            u64::try_from(count).unwrap()
        })
    };
    taken_over_and_wrapped_anew(&inventory, &|| {
        (count("waxseal_provisioned"), count("waxseal_row"))
    });
}

#[cfg(feature = "postgres")]
#[test]
fn in_postgres() {
    let Some(database) = crate::support::Database::new() else {
        return;
    };
    let config = database.config("ring");
    let inventory = block_on(waxseal_sql::PostgresInventory::create(config)).unwrap();
    let inventory: Arc<dyn Inventory> = Arc::new(inventory);
    let count = |table: &str| {
        let sql = format!("select count(*)::text from {table}");
        database.block_on(database.ask(&sql)).parse().unwrap()
    };
    let counts = || (count("waxseal_provisioned"), count("waxseal_row"));
    taken_over_and_wrapped_anew(&inventory, &counts);
}
