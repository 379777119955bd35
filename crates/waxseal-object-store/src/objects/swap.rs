//! An object with a new front.

use object_store::path::Path;
use object_store::{
    Error as Fault, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
};
use waxseal::fleet::{Change, Replaced};
use waxseal::{Error, ErrorKind, Result};

use super::front::whole;
use super::place::Seen;
use crate::fault::fault;

/// How often an object is put that the service refuses for no reason that can be seen.
const PUTS: usize = 3;

/// Puts an object with its new front in the place of the one that was seen.
pub(super) async fn replace(store: &dyn ObjectStore, path: &Path, change: &Change) -> Result<Replaced> {
    let seen = Seen::from_bytes(change.item().seen())?;
    let options = GetOptions {
        if_match: seen.e_tag(),
        ..GetOptions::default()
    };
    let found = match store.get_opts(path, options).await {
        Ok(found) => found,
        Err(Fault::NotFound { .. }) => return Ok(Replaced::Gone),
        Err(Fault::Precondition { .. } | Fault::AlreadyExists { .. }) => return Ok(Replaced::Changed),
        Err(error) => return Err(fault(error)),
    };
    let len = change.item().len();
    if Seen::of(&found.meta) != seen || found.meta.size != len || found.range != (0..len) {
        return Ok(Replaced::Changed);
    }
    let attributes = found.attributes.clone();
    let Some(payload) = spliced(whole(found, len).await?, change) else {
        return Ok(Replaced::Changed);
    };
    for _ in 0..PUTS {
        let options = PutOptions {
            mode: PutMode::Update(seen.clone().into_version()),
            attributes: attributes.clone(),
            ..PutOptions::default()
        };
        match store.put_opts(path, payload.clone(), options).await {
            Ok(_) => return Ok(Replaced::Done),
            Err(Fault::NotFound { .. }) => return Ok(Replaced::Gone),
            Err(Fault::Precondition { .. } | Fault::AlreadyExists { .. }) => {}
            Err(error) => return Err(fault(error)),
        }
        // Usually it is another one.
        match store.head(path).await {
            Ok(meta) if Seen::of(&meta) == seen => {}
            Ok(_) => return Ok(Replaced::Changed),
            Err(Fault::NotFound { .. }) => return Ok(Replaced::Gone),
            Err(error) => return Err(fault(error)),
        }
    }
    Err(Error::new(ErrorKind::Denied).with_detail(
        "the service refuses to replace the object, though nobody has changed it: is there a lease, a hold or a policy on it?",
    ))
}

/// The new front, and all that stands behind the old one. `None` if the old one is not there.
fn spliced(whole: PutPayload, change: &Change) -> Option<PutPayload> {
    let mut old = change.item().front().get(..change.replaces())?;
    let mut parts = vec![change.front().to_vec().into()];
    for part in whole {
        let (here, later) = old.split_at(old.len().min(part.len()));
        if !part.starts_with(here) {
            return None;
        }
        old = later;
        parts.push(part.slice(here.len()..));
    }
    old.is_empty().then(|| parts.into_iter().collect())
}
