//! A ring in memory with one key, a variable of an environment.

use std::sync::Arc;

use pollster::block_on;
use secrecy::SecretString;
use waxseal::Result;
use waxseal::ring::inventory::MemoryInventory;
use waxseal::ring::{
    Authority, Backends, Inventory, KeyRing, KeySource, NewKey, Reader, RingAdmin, Trust, UriBackends,
};
use waxseal::runtime::Environment;

#[derive(Debug)]
struct OneKek;

impl Environment for OneKek {
    fn var(&self, name: &str) -> Result<Option<SecretString>> {
        let kek = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        Ok((name == "ROOT").then(|| kek.into()))
    }
}

/// Makes a ring and opens it. Nothing watches it: what is counted is what a call costs.
pub fn open() -> Result<KeyRing> {
    let inventory = MemoryInventory::new();
    let authority = Arc::new(Authority::generate()?);
    let trust = block_on(RingAdmin::init(&inventory, &authority, "bench", |_| {}))?;
    let id = trust.ring();
    let backends: Arc<dyn Backends> =
        Arc::new(UriBackends::new().with_environment(Arc::new(OneKek)).allow("env")?);
    let inventory: Arc<dyn Inventory> = Arc::new(inventory);
    let reader = Reader::new(trust, Arc::clone(&inventory));
    let admin = RingAdmin::new(reader, Arc::clone(&authority), Arc::clone(&backends), "bench");
    let new = NewKey::new("/".parse()?, KeySource::Existing("env:ROOT".to_owned()));
    block_on(admin.create(&new))?;
    let trust = Trust::new(id, authority.public());
    block_on(KeyRing::builder(trust, inventory, backends).without_watching().open())
}
