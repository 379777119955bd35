//! What can be had without waiting, and without a future, which costs as much as sealing a small value.
//!
//! Only of sources that are known here by their type: a source around another, which audits or refuses, is a type of its
//! own, and is asked each time.

use std::any::Any;
use std::sync::Arc;

#[cfg(feature = "cache")]
use super::Cached;
use super::{AnyOf, DekLease, DekSource};
use crate::envelope::{BodyHead, WrapSection, WrapSet};
use crate::key::Request;

/// What a known source would give for sealing, if it has that at hand.
pub(crate) fn to_seal(source: &dyn DekSource, request: &Request<'_>) -> Option<(Arc<DekLease>, WrapSet)> {
    let any: &dyn Any = source;
    #[cfg(feature = "cache")]
    if let Some(cached) = any.downcast_ref::<Cached>() {
        return cached.at_hand_to_seal(request);
    }
    if let Some(any_of) = any.downcast_ref::<AnyOf>() {
        return any_of.at_hand_to_seal(request);
    }
    let shared = any.downcast_ref::<Arc<dyn DekSource>>()?;
    to_seal(&**shared, request)
}

/// What a known source would give for opening, in the same way. Verified, as that is.
pub(crate) fn to_open(
    source: &dyn DekSource,
    wraps: WrapSection<'_>,
    body: BodyHead<'_>,
    request: &Request<'_>,
) -> Option<Arc<DekLease>> {
    let any: &dyn Any = source;
    #[cfg(feature = "cache")]
    if let Some(cached) = any.downcast_ref::<Cached>() {
        return cached.at_hand_to_open(wraps, body, request);
    }
    let shared = any.downcast_ref::<Arc<dyn DekSource>>()?;
    to_open(&**shared, wraps, body, request)
}

/// The cache that a source is, if it is one.
#[cfg(feature = "cache")]
pub(crate) fn cache(source: &dyn DekSource) -> Option<&Cached> {
    let any: &dyn Any = source;
    match any.downcast_ref::<Cached>() {
        Some(cached) => Some(cached),
        None => cache(&**any.downcast_ref::<Arc<dyn DekSource>>()?),
    }
}
