//! DEKs that are there without waiting, and without a future, which costs as much as sealing a small value.
//!
//! This is only for sources whose type is known here. A source around another source, which audits or refuses, has a type
//! of its own, and is asked each time.
#![cfg_attr(
    not(feature = "cache"),
    allow(
        unused_imports,
        unused_variables,
        clippy::only_used_in_recursion,
        reason = "what a cache would be asked"
    )
)]

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use super::{AnyOf, DekLease, DekSource};
#[cfg(feature = "cache")]
use super::{Cached, cache::AtHand};
use crate::envelope::{BodyHead, WrapSection, WrapSet};
use crate::key::Request;
use crate::message::{Sealing, Session};
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};

/// A DEK to seal with: handed out, or one that a cache has at hand for the calling thread.
pub(crate) enum ToSeal {
    Given(Arc<DekLease>, WrapSet),
    #[cfg(feature = "cache")]
    AtHand(Arc<AtHand>),
}

impl ToSeal {
    pub(crate) fn lease(&self) -> &Arc<DekLease> {
        match self {
            Self::Given(lease, _) => lease,
            #[cfg(feature = "cache")]
            Self::AtHand(at_hand) => at_hand.lease(),
        }
    }

    /// Returns the front of an envelope, with room behind it if nobody else has it.
    pub(crate) fn prefix(&self, padding: usize, room: usize) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Given(_, wraps) => wraps.prefix(padding, room),
            #[cfg(feature = "cache")]
            Self::AtHand(at_hand) => {
                let wraps = at_hand
                    .wraps()
                    .ok_or_else(|| Error::new(ErrorKind::InvalidAnswer))?;
                wraps.prefix(padding, room)
            }
        }
    }

    /// Returns a session that is already open, if there is one that counts for the calling thread.
    pub(crate) fn session(
        &self,
        sealing: Sealing,
        context: &EncryptionContext,
    ) -> Result<Option<&Arc<Session>>> {
        match self {
            Self::Given(..) => Ok(None),
            #[cfg(feature = "cache")]
            Self::AtHand(at_hand) => at_hand.session(sealing, context),
        }
    }

    #[cfg(feature = "cache")]
    pub(crate) fn into_parts(self) -> Result<(Arc<DekLease>, WrapSet)> {
        match self {
            Self::Given(lease, wraps) => Ok((lease, wraps)),
            Self::AtHand(at_hand) => at_hand.to_parts(),
        }
    }

    pub(crate) fn into_lease(self) -> Arc<DekLease> {
        match self {
            Self::Given(lease, _) => lease,
            #[cfg(feature = "cache")]
            Self::AtHand(at_hand) => Arc::clone(at_hand.lease()),
        }
    }
}

/// A DEK to open with, in the same way.
pub(crate) enum ToOpen {
    Given(Arc<DekLease>),
    #[cfg(feature = "cache")]
    AtHand(Arc<AtHand>),
}

impl ToOpen {
    pub(crate) fn lease(&self) -> &Arc<DekLease> {
        match self {
            Self::Given(lease) => lease,
            #[cfg(feature = "cache")]
            Self::AtHand(at_hand) => at_hand.lease(),
        }
    }

    pub(crate) fn into_lease(self) -> Arc<DekLease> {
        match self {
            Self::Given(lease) => lease,
            #[cfg(feature = "cache")]
            Self::AtHand(at_hand) => Arc::clone(at_hand.lease()),
        }
    }
}

/// Returns what a known source would hand out for sealing, if the source has it at hand.
pub(crate) fn to_seal(source: &dyn DekSource, request: &Request<'_>) -> Option<ToSeal> {
    let any: &dyn Any = source;
    #[cfg(feature = "cache")]
    if let Some(cached) = any.downcast_ref::<Cached>() {
        return cached.at_hand_to_seal(request);
    }
    if let Some(any_of) = any.downcast_ref::<AnyOf>() {
        let (lease, wraps) = any_of.at_hand_to_seal(request)?;
        return Some(ToSeal::Given(lease, wraps));
    }
    let shared = any.downcast_ref::<Arc<dyn DekSource>>()?;
    to_seal(&**shared, request)
}

/// Returns what a known source would hand out for opening, in the same way. It is verified, as the source's answer would
/// be.
pub(crate) fn to_open(
    source: &dyn DekSource,
    wraps: WrapSection<'_>,
    body: BodyHead<'_>,
    request: &Request<'_>,
) -> Option<ToOpen> {
    let any: &dyn Any = source;
    #[cfg(feature = "cache")]
    if let Some(cached) = any.downcast_ref::<Cached>() {
        return cached.at_hand_to_open(wraps, body, request);
    }
    let shared = any.downcast_ref::<Arc<dyn DekSource>>()?;
    to_open(&**shared, wraps, body, request)
}

/// Returns the cache that a source is, if it is one.
#[cfg(feature = "cache")]
pub(crate) fn cache(source: &dyn DekSource) -> Option<&Cached> {
    let any: &dyn Any = source;
    match any.downcast_ref::<Cached>() {
        Some(cached) => Some(cached),
        None => cache(&**any.downcast_ref::<Arc<dyn DekSource>>()?),
    }
}

/// Returns the key ring that a source is, if it is one.
#[cfg(all(feature = "audit", feature = "ring"))]
pub(crate) fn ring(source: &dyn DekSource) -> Option<&crate::ring::KeyRing> {
    let any: &dyn Any = source;
    match any.downcast_ref::<crate::ring::KeyRing>() {
        Some(ring) => Some(ring),
        None => ring(&**any.downcast_ref::<Arc<dyn DekSource>>()?),
    }
}
