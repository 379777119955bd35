//! A span of `tracing` around each operation that is an event: under the name of the event, with the fields of it that are bounded.

use tracing::Span;
use tracing::field::Empty;

use super::event::{Action, Outcome, What};
use super::json;
use super::scope::ScopeSeen;
use super::text::bounded;
use crate::key::Purpose;
#[cfg(feature = "ring")]
use crate::ring::Operation;
use crate::value::error::Error;

macro_rules! span {
    ($name:literal, $begun:expr) => {
        tracing::info_span!(
            target: super::lines::TARGET,
            $name,
            "waxseal.action" = $begun.action.name(),
            "waxseal.purpose" = $begun.purpose.map(json::purpose),
            "waxseal.request.id" = $begun.request_id.map(bounded),
            "waxseal.scope.template" = Empty,
            "waxseal.scope.digest" = Empty,
            "waxseal.outcome" = Empty,
            "error.type" = Empty,
        )
    };
}

/// What is known when an operation begins.
pub(super) struct Beginning<'a> {
    pub(super) action: Action,
    pub(super) purpose: Option<Purpose>,
    pub(super) request_id: Option<&'a str>,
}

impl Beginning<'_> {
    /// Opens the span of an operation. A release has none: a cache may answer it, and that is to cost nothing more.
    pub(super) fn span(&self) -> Span {
        match self.action {
            Action::Generate => span!("waxseal.generate", self),
            Action::Unwrap => span!("waxseal.unwrap", self),
            Action::Rewrap => span!("waxseal.rewrap", self),
            Action::Wrap => span!("waxseal.wrap", self),
            Action::Probe => span!("waxseal.probe", self),
            #[cfg(feature = "ring")]
            Action::Ring(operation) => self.of_ring(operation),
            Action::Release | Action::Gap => Span::none(),
        }
    }
}

/// A span needs its name when it is compiled.
#[cfg(feature = "ring")]
macro_rules! operations {
    ($($operation:ident $name:literal,)*) => {
        impl Beginning<'_> {
            fn of_ring(&self, operation: Operation) -> Span {
                match operation {
                    $(Operation::$operation => span!($name, self),)*
                }
            }
        }

        #[cfg(test)]
        const OPERATIONS: &[Operation] = &[$(Operation::$operation),*];
    };
}

#[cfg(feature = "ring")]
operations! {
    Change "waxseal.ring.change",
    Set "waxseal.ring.set",
    RotateAuthority "waxseal.ring.rotate_authority",
    CorrectClock "waxseal.ring.correct_clock",
    Create "waxseal.ring.create",
    Adopt "waxseal.ring.adopt",
    Recover "waxseal.ring.recover",
    Promote "waxseal.ring.promote",
    Canary "waxseal.ring.canary",
    TakeBack "waxseal.ring.take_back",
    Reinstate "waxseal.ring.reinstate",
    Rotate "waxseal.ring.rotate",
    Report "waxseal.ring.report",
    Retire "waxseal.ring.retire",
    Revoke "waxseal.ring.revoke",
    Destroy "waxseal.ring.destroy",
    AttestDestroyed "waxseal.ring.attest_destroyed",
    CancelDestroy "waxseal.ring.cancel_destroy",
    Shred "waxseal.ring.shred",
    CancelShred "waxseal.ring.cancel_shred",
    TakeOver "waxseal.ring.take_over",
    DropUnbelieved "waxseal.ring.drop_unbelieved",
    RemoveProvisioners "waxseal.ring.remove_provisioners",
    RewrapBranches "waxseal.ring.rewrap_branches",
    RememberExport "waxseal.ring.remember_export",
    Abandon "waxseal.ring.abandon",
    Tick "waxseal.ring.tick",
    Approve "waxseal.ring.approve",
    ShredReceipt "waxseal.ring.shred_receipt",
    Census "waxseal.ring.census",
    RewrapJob "waxseal.ring.rewrap_job",
    Init "waxseal.ring.init",
    Import "waxseal.ring.import",
}

/// Records how the operation ended. What is only intended has not ended.
pub(super) fn record(span: &Span, what: &What) {
    if span.is_disabled() || what.outcome == Outcome::Intended {
        return;
    }
    if let Some(ScopeSeen { template, digest, .. }) = what.scope() {
        span.record("waxseal.scope.digest", json::hex(digest));
        if let Some(template) = template {
            span.record("waxseal.scope.template", template.as_str());
        }
    }
    span.record("waxseal.outcome", what.outcome.name());
    if let Some(error) = what.outcome.error() {
        span.record("error.type", error.name());
    }
}

/// Records that the event is not kept, so that nothing is released, or changed, or it cannot be written down.
pub(super) fn record_unkept(span: &Span, error: &Error) {
    span.record("waxseal.outcome", Outcome::of(error.kind()).name());
    span.record("error.type", error.kind().name());
}

#[cfg(test)]
pub(crate) mod tests;
