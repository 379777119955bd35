//! `--ring` in the place of `--kek`: sealing, opening, re-wrapping and examining under a ring's keys.

use std::path::Path;
use std::sync::Arc;

use waxseal::Builder;
use waxseal::backend::kek_uri::{KekUri, KeyManagers};
use waxseal::envelope::KekRef;
#[cfg(feature = "audit")]
use waxseal::ring::RecordId;
use waxseal::ring::config::StoreAt;
use waxseal::ring::{Backends, KeyRecord, KeyRing};

use super::{each_page, environment, open, parsed, profile, read_config, store, wait};
use crate::arguments::Profile;
use crate::failure::{Failure, Result};
use crate::stream::{Place, Replace, Source};

/// Seals and opens under the keys of a ring. While a stream goes on, the ring is watched.
pub(crate) fn source(builder: Builder, path: &Path, profile: &Profile) -> Result<Builder> {
    let ring = open_ring(path, profile)?;
    Ok(builder.leases(ring.leases().clone()).source(ring))
}

/// A ring to use, under the profiles that hold.
pub(super) fn open_ring(path: &Path, profile: &Profile) -> Result<KeyRing> {
    let config = read_config(path)?;
    let profiles = profile::of_ring(&config, profile)?;
    let inventory = store::open(&config.store)?;
    let backends: Arc<dyn Backends> = Arc::new(config.backends(Arc::new(environment()))?);
    let trust = Arc::new(config.trust()?);
    let mut builder = KeyRing::builder(Arc::clone(&trust), inventory, backends);
    if let Some(profiles) = profiles {
        builder = builder.profiles(profiles);
    }
    let otherwise = match &profile.otherwise {
        Some(scope) => Some(parsed("--otherwise", scope)?),
        None => config.otherwise.clone(),
    };
    if let Some(key) = &config.provisioner_key {
        builder = builder.provisioner(wait(key.read(&environment()))?);
    }
    if let Some(scope) = otherwise {
        builder = builder.otherwise(scope);
    }
    let ring = wait(builder.open())?;
    config.keep_mark(&trust)?;
    Ok(ring)
}

/// The files of a ring that no output may overwrite.
pub(crate) fn sources(path: &Path) -> Result<Vec<Source>> {
    let config = read_config(path)?;
    let mut files = vec![("the ring's configuration", path)];
    if let StoreAt::Sqlite(path) = &config.store {
        files.push(("the ring's inventory", path));
    }
    if let Some(mark) = &config.mark {
        files.push(("the ring's mark", mark));
    }
    if let Some(key) = &config.reader_key {
        files.push(("the reader's key", key.path()));
    }
    if let Some(key) = &config.provisioner_key {
        files.push(("the provisioner's key", key.path()));
    }
    if let Some(profiles) = &config.profiles {
        files.push(("the file of profiles", profiles));
    }
    if let Some(administration) = &config.administration {
        files.push(("the ring's authority", administration.authority.path()));
    }
    let mut sources: Vec<Source> = files
        .into_iter()
        .map(|(what, path)| Source::new(what, Place::of(path)))
        .collect();
    let keys = config
        .administration
        .as_ref()
        .and_then(|administration| administration.keys.as_ref());
    if let Some(entries) = keys.and_then(|folder| std::fs::read_dir(folder).ok()) {
        let files = entries.flatten().map(|entry| entry.path());
        sources.extend(files.map(|path| Source::new("a key file of the ring", Place::of(&path))));
    }
    Ok(sources)
}

/// Replaces any file but these.
pub(super) fn replace(own: &[Source]) -> Replace<'_> {
    Replace {
        keys: own,
        ..Replace::default()
    }
}

/// A key of a ring, and what its record leads to.
pub(crate) struct RingKey {
    /// Which one it is, for whoever writes down that it was asked.
    #[cfg(feature = "audit")]
    pub(crate) ring: RecordId,
    #[cfg(feature = "audit")]
    pub(crate) id: RecordId,
    pub(crate) name: String,
    pub(crate) kek: KekRef,
    pub(crate) opened: waxseal::Result<KeyManagers>,
}

/// The keys of a ring that open.
pub(crate) struct RingKeys {
    /// Those that backends keep.
    pub(crate) keys: Vec<RingKey>,
    /// How many branch keys there are beside them. The ring keeps them, wrapped under keys that are listed: each opens as its parent does.
    pub(crate) branches: u64,
}

/// Each key of a ring that opens.
pub(crate) fn each_key(path: &Path) -> Result<RingKeys> {
    let ring = open(path)?;
    let backends = ring.config.backends(Arc::new(environment()))?;
    let (mut records, mut branches) = (Vec::new(), 0);
    each_page(&ring.reader, |page| {
        for key in page.all_keys().filter(|key| key.unwraps()) {
            match key.branch {
                Some(_) => branches += 1,
                None => records.push(Arc::clone(key)),
            }
        }
    })?;
    ring.end()?;
    if records.is_empty() {
        return Err(Failure::attention(
            "the ring has no key that opens anything; create one with `waxseal keys create`",
        ));
    }
    let keys = records.iter().map(|key| {
        Ok(RingKey {
            #[cfg(feature = "audit")]
            ring: ring.config.ring,
            #[cfg(feature = "audit")]
            id: key.id,
            name: format!("{} ({} in {})", key.provenance.uri, key.state, key.scope),
            kek: key.provenance.kek()?,
            opened: pollster::block_on(open_key(key, &backends)),
        })
    });
    Ok(RingKeys {
        keys: keys.collect::<Result<_>>()?,
        branches,
    })
}

async fn open_key(key: &KeyRecord, backends: &dyn Backends) -> waxseal::Result<KeyManagers> {
    // What may not be named is not opened.
    backends.key(&key.provenance).await?;
    let uri: KekUri = key.provenance.uri.parse()?;
    uri.open_pinned(&environment(), &key.provenance.kek()?).await
}
