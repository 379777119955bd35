//! What goes wrong, and what is recorded.

use std::sync::Arc;
use std::time::Duration;

use crate::envelope::KekRef;
use crate::key::{Purpose, Request};
use crate::runtime::{Monotonic, Runtime};
use crate::value::context::EncryptionContext;
use crate::value::error::ErrorKind;

/// One method of [`KeyManager`](crate::KeyManager) or [`KekAdmin`](crate::key::KekAdmin) that asks the KMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each has the name of its method")]
pub enum Method {
    Generate,
    Wrap,
    Unwrap,
    Rewrap,
    WrapBatch,
    UnwrapBatch,
    RewrapBatch,
    Create,
    Describe,
    Rotate,
    Disable,
    Enable,
    ScheduleDestroy,
    CancelDestroy,
}

/// How a call goes wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Refused with this kind, and nothing was done.
    Fails(ErrorKind),
    /// It was done, and the answer was lost on the way: the caller gets this kind.
    LosesAnswer(ErrorKind),
    /// Answered only after this time of the runtime, or with `TimedOut` at the request's deadline where that
    /// is earlier.
    Hangs(Arc<dyn Runtime>, Duration),
    /// The DEK that is answered is another than the wrapped one. Where a DEK is to be wrapped, the wrap is
    /// of another.
    WrongDek,
    /// The wrap that is answered is garbage, of the right length.
    GarbageWrap,
    /// The wrap that is answered says that it is under a KEK of this id.
    OtherKek(String),
    /// The caller's task panics. For proving that nothing is left locked.
    Panics,
}

/// One request as it reached the KMS, or one item of a batch.
///
/// It holds everything a KMS could be sent, and never a DEK. `Debug` hides context values.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The context. [`EncryptionContext::pairs`] gives its pairs.
    pub context: EncryptionContext,
    /// The 32 bytes that the wrap is bound to.
    pub binding: [u8; 32],
    /// What it was for.
    pub purpose: Purpose,
    /// The profile whose demands hold.
    pub profile: Option<String>,
    /// Who asked.
    pub actor: Option<String>,
    /// The id that ties log lines together.
    pub request_id: Option<String>,
    /// When an answer was due.
    pub deadline: Option<Monotonic>,
    /// Who allowed what is otherwise forbidden, as ticket and approver.
    pub authorization: Option<(String, String)>,
    /// The KEK: of the stanza, where there is one, else the one that wraps.
    pub kek: KekRef,
}

impl Call {
    pub(super) fn new(method: Method, request: &Request<'_>, kek: KekRef) -> Self {
        Self {
            method,
            context: request.context().clone(),
            binding: *request.binding(),
            purpose: request.purpose(),
            profile: request.profile().map(str::to_owned),
            actor: request.actor().map(str::to_owned),
            request_id: request.request_id().map(str::to_owned),
            deadline: request.deadline(),
            authorization: request
                .authorizations()
                .first()
                .map(|by| (by.ticket.clone(), by.approver.clone())),
            kek,
        }
    }
}
