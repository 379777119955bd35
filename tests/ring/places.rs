//! Where inventories and KEKs are.

use std::path::Path;
use std::sync::Arc;

use pollster::block_on;
use waxseal::ring::{Inventory, UriBackends};
use waxseal::testing::{ClockedInventory, SimulatedRuntime};
use waxseal_sql::{PostgresConfig, PostgresInventory, SqliteInventory};

use crate::line::Line;
use crate::live::{address, unique, variable};

const REGION: &str = "eu-central-1";

/// What a test's copy of this program has in its environment, beside what it inherits.
pub(crate) fn variables() -> Vec<(&'static str, String)> {
    let of = |name: &str| variable(name).unwrap_or_default();
    vec![
        ("VAULT_TOKEN", of("WAXSEAL_TEST_OPENBAO_TOKEN")),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("WAXSEAL_ENVIRONMENT", "development".to_owned()),
    ]
}

/// The backends that are here: each makes KEKs beside what its URI names.
pub(crate) struct Places {
    pub(crate) file: String,
    pub(crate) vault: String,
    pub(crate) token: String,
    pub(crate) aws: String,
}

impl Places {
    /// `None`, with the reason printed, if one is not here.
    pub(crate) fn new(folder: &Path) -> Option<Self> {
        let vault = vault()?;
        let moto = address("moto")?;
        let module = address("softhsm")?;
        let token = variable("WAXSEAL_TEST_SOFTHSM_TOKEN").unwrap();
        Some(Self {
            file: format!("file:{}/x", folder.display()),
            vault,
            token: format!(
                "pkcs11:token={token};object=x?module-path={module}&pin-source=env:WAXSEAL_TEST_SOFTHSM_PIN"
            ),
            aws: format!("aws-kms:alias/x?region={REGION}&endpoint={moto}"),
        })
    }
}

/// The Transit engine of OpenBao.
pub(crate) fn vault() -> Option<String> {
    let address = address("openbao")?;
    let token = variable("WAXSEAL_TEST_OPENBAO_TOKEN").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // Refused where it is mounted already.
    let mount = async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mount = http
            .post(format!("{address}/v1/sys/mounts/transit"))
            .bearer_auth(token);
        mount.body(r#"{"type":"transit"}"#).send().await.unwrap();
    };
    runtime.unwrap().block_on(mount);
    Some(format!("vault-transit:x?addr={address}"))
}

pub(crate) fn backends() -> Arc<UriBackends> {
    let mut backends = UriBackends::new();
    for scheme in ["file", "vault-transit", "pkcs11", "aws-kms"] {
        backends = backends.allow(scheme).unwrap();
    }
    Arc::new(backends)
}

/// An inventory that another process can open, too.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    Sqlite(String),
    Postgres(String, String),
}

impl Store {
    pub(crate) fn sqlite(folder: &Path) -> Self {
        Self::Sqlite(folder.join("ring.db").display().to_string())
    }

    pub(crate) fn postgres() -> Option<Self> {
        Some(Self::Postgres(address("postgres")?, unique("ring")))
    }

    pub(crate) fn create(&self) -> Arc<dyn Inventory> {
        match self {
            Self::Sqlite(path) => Arc::new(block_on(SqliteInventory::create(path.as_str())).unwrap()),
            Self::Postgres(..) => Arc::new(block_on(PostgresInventory::create(self.server())).unwrap()),
        }
    }

    /// The same, with a simulated clock.
    pub(crate) fn clocked(&self, runtime: &SimulatedRuntime) -> ClockedInventory {
        match self {
            Self::Sqlite(path) => {
                ClockedInventory::new(block_on(SqliteInventory::create(path.as_str())).unwrap(), runtime)
            }
            Self::Postgres(..) => ClockedInventory::new(
                block_on(PostgresInventory::create(self.server())).unwrap(),
                runtime,
            ),
        }
    }

    pub(crate) fn open(&self) -> Arc<dyn Inventory> {
        match self {
            Self::Sqlite(path) => Arc::new(block_on(SqliteInventory::open(path.as_str())).unwrap()),
            Self::Postgres(..) => Arc::new(block_on(PostgresInventory::connect(self.server())).unwrap()),
        }
    }

    /// The same server at the end of a line.
    pub(crate) fn behind_a_line(&self) -> (Line, Self) {
        let Self::Postgres(url, ring) = self else {
            panic!("it is a file")
        };
        let rest = url.split_once("://").unwrap().1;
        let place = rest.split(['/', '?']).next().unwrap().rsplit('@').next().unwrap();
        let line = Line::to(place);
        let url = url.replace(place, &line.address.to_string());
        (line, Self::Postgres(url, ring.clone()))
    }

    /// The same, without TLS: a line sees what is said.
    pub(crate) fn in_the_clear(&self) -> Self {
        let Self::Postgres(url, ring) = self else {
            panic!("it is a file")
        };
        let mark = if url.contains('?') { '&' } else { '?' };
        Self::Postgres(format!("{url}{mark}sslmode=disable"), ring.clone())
    }

    fn server(&self) -> PostgresConfig {
        let Self::Postgres(url, ring) = self else {
            panic!("it is a file")
        };
        PostgresConfig::new(&url.clone().into(), ring).unwrap()
    }

    /// As one text, for another process.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite {path}"),
            Self::Postgres(url, ring) => format!("postgres {url} {ring}"),
        }
    }

    pub(crate) fn of_text(text: &str) -> Self {
        match text.split(' ').collect::<Vec<_>>().as_slice() {
            ["sqlite", path] => Self::Sqlite((*path).to_owned()),
            ["postgres", url, ring] => Self::Postgres((*url).to_owned(), (*ring).to_owned()),
            _ => panic!("{text}"),
        }
    }
}
