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

/// A source of DEKs: hands out DEKs with their wraps, and unwraps them again. A [`Sealer`](crate::Sealer) holds one.
///
/// A source decides which KEKs wrap, how many of them, and which may open: any one of several
/// ([`AnyOf`](crate::source::AnyOf)), a key ring with a lifecycle, a cache around another source. A single
/// [`KeyManager`](crate::KeyManager) is an `AnyOf` of one.
///
/// # Contract
/// *Verified.* [`open_dek`](Self::open_dek) returns a lease only if its DEK reproduces the body's commitment in the
/// request's context, as [`DekLease::for_opening`] checks. A stanza that unwraps to another DEK is a stanza that does not
/// open.
///
/// *All or nothing.* If any demanded wrap fails, sealing fails.
///
/// *Order.* A stanza that nobody configured here knows is passed over without any work. Each of the others is tried once
/// with each KEK, and a stanza that fails never keeps the next from being tried. One envelope causes at most
/// [`BACKEND_CALLS`](crate::value::limits::BACKEND_CALLS) calls. The error lists what is then still untried, with
/// `BudgetExhausted`.
///
/// *Errors.* If no stanza opens, the error lists the [`attempts`](crate::Error::attempts) and is retryable if any of them
/// was. Its kind is `NoUsableKey` if no stanza is known; the kind of a key manager that could not do its work, if there
/// is one; else `CannotOpen`. Nothing distinguishes a failed unwrap from a commitment that does not match.
///
/// *Cancel safety.* Every future may be dropped at any await. What was not stored is harmless.
#[async_trait]
pub trait DekSource: Any + Debug + Send + Sync {
    /// Returns a DEK for sealing, with the wraps to store beside what it seals. The DEK is fresh, or one that the source
    /// hands out to several callers of the *same context* within its budget.
    ///
    /// # Errors
    /// - `Configuration` if nothing is configured to wrap with
    /// - the errors of the key managers
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)>;

    /// Returns the DEK of an envelope, from its wraps and the head of its body.
    ///
    /// # Errors
    /// - `NoUsableKey` if no stanza is known here
    /// - `CannotOpen` if no known stanza opens
    /// - `Unsupported` for a threshold that the source does not open
    /// - the errors of the key managers, as the contract says
    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>>;

    /// Returns new wraps for the DEK of an envelope, and what becomes of each old wrap. The body stays as it is.
    ///
    /// A stanza is replaced only if it is proven to be under a KEK of this source: a key manager says that the stanza is
    /// [`Mine`](crate::key::Recognition::Mine), or it unwraps to the same DEK. Every other stanza is kept, unless the
    /// [`RewrapRules`](crate::key::RewrapRules) of the request say otherwise.
    ///
    /// # Errors
    /// - the errors of [`open_dek`](Self::open_dek) for the old wraps, and of [`seal_dek`](Self::seal_dek) for the new
    ///   wraps
    /// - `OverLimit` for more than 16 wraps in all
    /// - `WouldWeaken` if the rules do not allow what would be left
    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped>;

    /// Returns whether a re-wrap would leave these wraps as they are, as far as that is known without a call. The
    /// request's rules say which KEKs and versions wrap now. Returns `Unknown` by default.
    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        let _ = (wraps, request);
        Currency::Unknown
    }

    /// Returns whether a cache may keep what this source answers to such a request, and give it to later requests. Makes no call.
    /// Returns `true` by default.
    ///
    /// A source around another source forwards this. If it does not, a source that may not let its DEKs be kept refuses the requests
    /// of the cache, which are [for keeping](Request::is_for_keeping).
    fn may_keep(&self, request: &Request<'_>) -> bool {
        let _ = request;
        true
    }

    /// Hears that a cache is about to release a DEK that it has kept past its end, because this source could not be asked: see
    /// [`Caching::outage`](crate::source::Caching::outage). Does nothing by default.
    ///
    /// A source around another source forwards this. If it does not, an [auditor](crate::Builder::audit) beneath it has no event of such a release.
    ///
    /// # Errors
    /// Of any kind. The DEK is not released then.
    async fn note_outage_use(
        &self,
        wraps: WrapSection<'_>,
        request: &Request<'_>,
        lease: &DekLease,
    ) -> Result<()> {
        let _ = (wraps, request, lease);
        Ok(())
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

    fn may_keep(&self, request: &Request<'_>) -> bool {
        (**self).may_keep(request)
    }

    async fn note_outage_use(
        &self,
        wraps: WrapSection<'_>,
        request: &Request<'_>,
        lease: &DekLease,
    ) -> Result<()> {
        (**self).note_outage_use(wraps, request, lease).await
    }
}
