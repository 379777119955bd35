//! Whether a service keeps conditions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use object_store::path::Path;
use object_store::{Error as Fault, ObjectStoreExt as _, PutMode, PutOptions, PutResult, UpdateVersion};
use waxseal::{Error, ErrorKind, Result};

use super::place::Place;
use crate::fault::fault;

/// What was found out about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conditions {
    /// It refuses what it has to, as far as anybody has seen.
    Held,
    /// It has none.
    Missing,
    /// It does what it has to refuse.
    Ignored,
}

impl Conditions {
    pub(super) fn held(self) -> Result<()> {
        let detail = match self {
            Self::Held => return Ok(()),
            Self::Missing => {
                "the store cannot replace an object under a condition: for files take `waxseal::fleet::DirectoryStore`, and for S3 a client with `S3ConditionalPut::ETagMatch`"
            }
            Self::Ignored => {
                "the store ignores conditions (If-Match), so what others write meanwhile would be overwritten: nothing is replaced"
            }
        };
        Err(Error::new(ErrorKind::Configuration).with_detail(detail))
    }
}

/// Asks to replace an object that is not there. Nothing comes of it if the service keeps conditions. Who may not write learns that from what follows.
pub(super) async fn look(place: Place) -> Result<Conditions> {
    let path = own_path(&place)?;
    let stale = UpdateVersion {
        e_tag: Some("\"00000000000000000000000000000000\"".to_owned()),
        version: Some("1".to_owned()),
    };
    match put(&place, &path, PutMode::Update(stale)).await {
        Ok(_) => {
            place.store.delete(&path).await.map_err(fault)?;
            Ok(Conditions::Ignored)
        }
        Err(Fault::NotImplemented { .. } | Fault::NotSupported { .. }) => Ok(Conditions::Missing),
        Err(
            Fault::Precondition { .. }
            | Fault::AlreadyExists { .. }
            | Fault::NotFound { .. }
            | Fault::PermissionDenied { .. }
            | Fault::Unauthenticated { .. },
        ) => Ok(Conditions::Held),
        Err(error) => Err(fault(error)),
    }
}

/// Makes an object, replaces it, and asks for what must be refused.
pub(super) async fn check(place: Place) -> Result<Conditions> {
    let path = own_path(&place)?;
    let checked = checked(&place, &path).await;
    match place.store.delete(&path).await {
        Ok(()) | Err(Fault::NotFound { .. }) => checked,
        Err(error) => checked.and(Err(fault(error))),
    }
}

async fn checked(place: &Place, path: &Path) -> Result<Conditions> {
    let first = match put(place, path, PutMode::Create).await {
        Ok(first) => first,
        Err(Fault::NotImplemented { .. } | Fault::NotSupported { .. }) => return Ok(Conditions::Missing),
        Err(error) => return Err(fault(error)),
    };
    let update = || {
        PutMode::Update(UpdateVersion {
            e_tag: first.e_tag.clone(),
            version: first.version.clone(),
        })
    };
    for (mode, is_right) in [(PutMode::Create, false), (update(), true), (update(), false)] {
        match (put(place, path, mode).await, is_right) {
            (Ok(_), true) | (Err(Fault::AlreadyExists { .. } | Fault::Precondition { .. }), false) => {}
            (Ok(_), false) => return Ok(Conditions::Ignored),
            (Err(Fault::NotImplemented { .. } | Fault::NotSupported { .. }), _) => {
                return Ok(Conditions::Missing);
            }
            (Err(error), _) => return Err(fault(error)),
        }
    }
    Ok(Conditions::Held)
}

/// Each time other bytes, since the `ETag` may be a digest of them.
async fn put(place: &Place, path: &Path, mode: PutMode) -> object_store::Result<PutResult> {
    let options = PutOptions {
        mode,
        ..PutOptions::default()
    };
    let text = format!("waxseal looks whether conditions are kept: {}", unique());
    place.store.put_opts(path, text.into(), options).await
}

fn own_path(place: &Place) -> Result<Path> {
    place.path(&format!(".waxseal-conditions-{}", unique()))
}

/// What no other call has.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{now}-{next}", std::process::id())
}
