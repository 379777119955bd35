//! The ring: what an administrator makes of it, and how an application opens it.

use std::path::Path;
use std::sync::Arc;

use waxseal::ring::{
    Authority, Inventory, KeyRecord, KeyRing, KeySource, NewKey, Provisioning, Reader, RecordId, RingAdmin,
    Scope, Slot, Trust, UriBackends,
};
use waxseal::secrecy::SecretString;
use waxseal_sql::{PostgresConfig, PostgresInventory};

/// What the administrator keeps, and what the applications are given.
pub(crate) struct Ring {
    /// Holds the authority's private half. No application does.
    pub(crate) admin: RingAdmin,
    id: RecordId,
    authority: Arc<Authority>,
    /// The private half that lets an application make the first key of a tenant, and nothing else.
    provisioner: Arc<Authority>,
    backends: Arc<UriBackends>,
}

/// Where the ring is in the database.
fn config(url: &SecretString) -> waxseal::Result<PostgresConfig> {
    PostgresConfig::new(url, "notes")
}

/// The scope of a tenant's keys, as the template makes it.
pub(crate) fn scope_of(tenant: &str) -> waxseal::Result<Scope> {
    format!("tenant/{tenant}").parse()
}

impl Ring {
    /// Makes a ring whose tenants get a key on first use, under one parent. The parent is a file here: in production it is a key of a KMS or an
    /// HSM, such as `aws-kms:alias/notes`, and one key there serves all tenants.
    pub(crate) async fn create(url: &SecretString, folder: &Path) -> waxseal::Result<Self> {
        let inventory: Arc<dyn Inventory> = Arc::new(PostgresInventory::create(config(url)?).await?);
        let authority = Arc::new(Authority::generate()?);
        let provisioner = Arc::new(Authority::generate()?);
        let template = "tenant/{tenant}".parse()?;
        let provisioning = Provisioning::on_first_use(Scope::root(), vec![provisioner.public()]);
        let trust = RingAdmin::init(&*inventory, &authority, "alice", |settings| {
            settings.scope_template = template;
            settings.provision = Some(provisioning);
        })
        .await?;
        let (id, keys) = (trust.ring(), folder.display());
        let backends = Arc::new(UriBackends::new().allow(&format!("file:{keys}/*"))?);
        let reader = Reader::new(trust, inventory);
        let admin = RingAdmin::new(reader, Arc::clone(&authority), backends.clone(), "alice");
        let parent = KeySource::MadeBeside(format!("file:{keys}/parent"));
        admin.create(&NewKey::new(Scope::root(), parent)).await?;
        Ok(Self {
            admin,
            id,
            authority,
            provisioner,
            backends,
        })
    }

    /// Opens the ring as an application does, over a connection of its own.
    pub(crate) async fn open(&self, url: &SecretString) -> waxseal::Result<KeyRing> {
        let inventory = Arc::new(PostgresInventory::connect(config(url)?).await?);
        let trust = Trust::new(self.id, self.authority.public());
        KeyRing::builder(trust, inventory, self.backends.clone())
            .provisioner(Arc::clone(&self.provisioner))
            .open()
            .await
    }

    /// All keys of a tenant, and the parent of the one that wraps.
    pub(crate) async fn keys(
        &self,
        tenant: &str,
    ) -> waxseal::Result<(Vec<Arc<KeyRecord>>, Option<RecordId>)> {
        let scope = scope_of(tenant)?;
        let view = self.admin.reader().scopes(std::slice::from_ref(&scope)).await?;
        let active = view.active(&scope, &Slot::default());
        let parent = active
            .and_then(|key| key.branch.as_ref())
            .map(|branch| branch.parent);
        Ok((view.keys(&scope).to_vec(), parent))
    }
}
