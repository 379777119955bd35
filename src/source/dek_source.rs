//! The second half of the joint: whole wrap sections, and who decides about keys.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::envelope::{BodyHead, WrapSection, WrapSet};
use crate::key::Request;
use crate::source::lease::DekLease;
use crate::source::{Currency, Rewrapped};
use crate::value::error::Result;

/// Gives DEKs and takes them back from their wraps: what a [`Sealer`](crate::Sealer) holds.
///
/// A source decides which KEKs wrap, how many of them, and which may open: any one of several
/// ([`AnyOf`](crate::source::AnyOf)), a key ring with a lifecycle, a cache around another source. A single
/// [`KeyManager`](crate::KeyManager) is an `AnyOf` of one.
///
/// # Contract
/// *Verified.* A lease comes out of [`open_dek`](Self::open_dek) only if its DEK reproduces the body's
/// commitment in the request's context ([`DekLease::for_opening`] sees to that). A stanza that unwraps to
/// another DEK is one that does not open.
///
/// *All or nothing.* If any wrap that is demanded fails, sealing fails.
///
/// *Order.* Stanzas that nobody configured here knows are passed over without any work; each of the others
/// is tried once with each KEK, and one that fails never keeps the next from being tried. One envelope makes at most
/// [`BACKEND_CALLS`](crate::value::limits::BACKEND_CALLS) calls; what that leaves untried is listed with
/// `BudgetExhausted`.
///
/// *Errors.* Where no stanza opens, the error lists the [`attempts`](crate::Error::attempts) and is retryable if
/// any of them was. Its kind is `NoUsableKey` where no stanza is known; that of a key manager which could not do
/// its work, if there is one; else `CannotOpen`. Nothing tells a failed unwrap from a commitment that does not
/// match.
///
/// *Cancel safety.* Every future may be dropped at any await; what was not stored is harmless.
#[async_trait]
pub trait DekSource: Any + Debug + Send + Sync {
    /// A DEK for sealing, with the wraps to store beside what it seals. Fresh, or one that the source hands
    /// out to several callers of the *same context* within its budget.
    ///
    /// # Errors
    /// What the key managers say, by kind; `Configuration` where nothing is configured to wrap with.
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)>;

    /// The DEK of an envelope, from its wraps and the head of its body.
    ///
    /// # Errors
    /// `NoUsableKey`, `CannotOpen`, or what the key managers say, as the contract has it; `Unsupported` for a
    /// threshold that the source does not open.
    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>>;

    /// New wraps for the DEK of an envelope, and what becomes of each old one. The body needs no change, and never gets
    /// one.
    ///
    /// A stanza is replaced only if it is proven to be under a KEK of this source: a key manager says that it is
    /// [`Mine`](crate::key::Recognition::Mine), or it unwraps to the same DEK. Every other stanza is kept, unless
    /// [`RewrapRules`](crate::key::RewrapRules) of the request say otherwise.
    ///
    /// # Errors
    /// As [`open_dek`](Self::open_dek) for the old wraps, as [`seal_dek`](Self::seal_dek) for the new ones,
    /// `OverLimit` for more than 16 in all, and `WouldWeaken` for what the rules do not allow.
    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped>;

    /// Whether a re-wrap would leave these wraps as they are, as far as that is known without a call. The request's
    /// rules say which KEKs and versions wrap now. `Unknown` by default.
    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        let _ = (wraps, request);
        Currency::Unknown
    }
}

#[async_trait]
impl<T: DekSource + ?Sized> DekSource for Arc<T> {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        (**self).seal_dek(request).await
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        (**self).open_dek(wraps, body, request).await
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        (**self).rewrap(wraps, body, request).await
    }

    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        (**self).is_current(wraps, request)
    }
}
