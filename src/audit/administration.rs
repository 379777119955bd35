//! The layer around the administration of a ring, and around the KEKs that a ring asks by itself.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use tracing::{Instrument as _, Span};

use super::auditor::Auditor;
use super::deed::{DeedSeen, RecordMoved};
use super::event::{Action, EventKek, Outcome, What};
use super::scope::ScopeSeen;
use super::span::{self, Beginning};
use super::text::bounded;
use crate::key::{Authorization, Purpose};
use crate::ring::{
    Act, Authority, Deed, Ended, Inventory, KeyRing, Operation, Reader, RecordMove, RingAdmin, Scope,
    ScopeTemplate, Settings, Trust, Witness, Witnessed,
};
use crate::runtime::Monotonic;
use crate::value::error::Result;

impl Reader {
    /// Makes an event of everything that is done to the ring with this reader: by a [`RingAdmin`](crate::ring::RingAdmin) that has it, by
    /// [`set_settings`](crate::ring::set_settings), [`rotate_authority`](crate::ring::rotate_authority),
    /// [`correct_clock`](crate::ring::correct_clock) and [`NewApproval::issue`](crate::ring::NewApproval::issue).
    ///
    /// Each operation is one event at its end: a success, a failure, a refusal, or abandoned. Each change of the ring that comes of it is two
    /// more: one before the change is made, with what it does and the digest of the head that it signs, and one after it. If a required sink does
    /// not keep the first one, nothing is changed, and the error is `Audit`. If it does not keep the last one, the operation was done all the
    /// same, and the error, `Audit`, says so. After a crash between the two, the head of the ring tells whether the change was made.
    #[must_use]
    pub fn audited_by(self, auditor: &Auditor) -> Self {
        self.witnessed_by(Arc::new(auditor.clone()))
    }
}

impl KeyRing {
    /// Makes an event of each KEK that the ring asks by itself: of the parent that unwraps a branch key or wraps a new one, and of each probe of
    /// a pending key. A sealer with an auditor and this ring as its source calls this. The first auditor stays.
    pub fn audit(&self, auditor: &Auditor) {
        self.witnessed_by(Arc::new(auditor.clone()));
    }
}

impl RingAdmin {
    /// Makes a ring as [`init`](Self::init) does, and makes events of it: of the operation, and before and after the first change.
    ///
    /// # Errors
    /// As [`init`](Self::init); `Audit` if a required sink does not keep an event. If it does not keep what is intended, no ring is made.
    pub async fn init_audited(
        inventory: &dyn Inventory,
        authority: &Authority,
        actor: &str,
        auditor: &Auditor,
        edit: impl FnOnce(&mut Settings) + Send,
    ) -> Result<Trust> {
        let witnessed = Witnessed::by(Arc::new(auditor.clone()));
        let runtime = auditor.runtime();
        Self::init_witnessed(inventory, runtime, authority, actor, Some(&witnessed), edit).await
    }
}

/// A job under way, which is an event at its beginning and one at its end. If it is dropped before its end, it was abandoned.
#[derive(Debug)]
#[must_use = "a job ends by `end`"]
pub struct AuditedJob {
    auditor: Auditor,
    deed: Option<Deed>,
}

impl Auditor {
    /// Writes down that a job begins: a [`Census`](Operation::Census), a [`RewrapJob`](Operation::RewrapJob) or an [`Import`](Operation::Import). `ring` is `None` for a job that
    /// re-wraps under keys of no ring.
    ///
    /// # Errors
    /// `Audit` if a required sink does not keep the event.
    pub async fn begin(
        &self,
        job: Operation,
        ring: impl Into<Option<crate::ring::RecordId>>,
        actor: &str,
    ) -> Result<AuditedJob> {
        let mut deed = Deed::new(Act::Operation(job), ring, self.runtime().now());
        deed.actor = Some(actor.to_owned());
        let deed = deed.within(self);
        let intended = self.keep(deed.clone(), Ended::NotYet);
        intended.instrument(deed.span.clone()).await?;
        Ok(AuditedJob {
            auditor: self.clone(),
            deed: Some(deed),
        })
    }

    fn what(&self, deed: Deed, ended: Ended) -> What {
        let (action, purpose) = seen_as(deed.act);
        let outcome = match ended {
            Ended::NotYet => Outcome::Intended,
            Ended::Done => Outcome::Success,
            Ended::Failed(kind) => Outcome::of(kind),
            Ended::Incomplete => Outcome::Incomplete,
            Ended::Abandoned => Outcome::Abandoned,
        };
        let took = self.runtime().now().0.saturating_sub(deed.begun.0);
        let template = deed.template.as_ref();
        let keys: Vec<String> = deed.keys.iter().map(ToString::to_string).collect();
        // It did nothing if it failed.
        let kek = deed.kek.filter(|_| ended == Ended::Done);
        let keks = kek.map(|kek| EventKek {
            keys: keys.clone(),
            kek,
            fate: None,
        });
        let authorization = deed.ticket.as_ref().map(|ticket| {
            let approver = deed.approver.as_deref().unwrap_or_default();
            Authorization::new(bounded(ticket), bounded(approver))
        });
        let seen = DeedSeen {
            ring: deed.ring.map(|ring| ring.to_string()),
            revision: deed.revision,
            head: deed.head,
            scope: deed.scope.as_ref().map(|scope| self.scope(scope, template)),
            purpose,
            keys,
            branch: deed.branch.map(|branch| branch.to_string()),
            actor: deed.actor.as_deref().map(bounded),
            authorizations: authorization.into_iter().collect(),
            grounds: deed.grounds.as_deref().map(bounded),
            moves: deed
                .moves
                .iter()
                .map(|moved| self.moved(moved, template))
                .collect(),
            more: deed.more,
            settings: deed.changes.0,
            succession: deed.changes.1,
        };
        let mut what = What::new(action, outcome, None, keks.into_iter().collect());
        what.deed = Some(Arc::new(seen));
        span::record(&deed.span, &what);
        match ended {
            Ended::NotYet => what,
            _ => what.took(took),
        }
    }

    fn scope(&self, scope: &Scope, template: Option<&ScopeTemplate>) -> ScopeSeen {
        ScopeSeen::of(scope.sighted(template), self.loggable())
    }

    fn moved(&self, moved: &RecordMove, template: Option<&ScopeTemplate>) -> RecordMoved {
        let scope = self.scope(&moved.scope, template);
        RecordMoved {
            record: moved.kind.name(),
            id: moved.id.to_string(),
            scope: scope.shown,
            scope_digest: scope.digest,
            from: moved.from.map(crate::ring::State::name),
            to: moved.to.map(crate::ring::State::name),
            ticket: moved.ticket.as_deref().map(bounded),
            approver: moved.approver.as_deref().map(bounded),
            evidence: moved.evidence.clone(),
        }
    }
}

fn seen_as(act: Act) -> (Action, Option<Purpose>) {
    match act {
        Act::Operation(operation) => (Action::Ring(operation), None),
        Act::Wrap(purpose) => (Action::Wrap, Some(purpose)),
        Act::Unwrap(purpose) => (Action::Unwrap, Some(purpose)),
        Act::Probe => (Action::Probe, Some(Purpose::Probe)),
    }
}

impl AuditedJob {
    /// Does a part of the job in its span.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> T {
        let span = self
            .deed
            .as_ref()
            .map_or_else(Span::none, |deed| deed.span.clone());
        work.instrument(span).await
    }

    /// Writes down how the job has ended: whether all of it was done.
    ///
    /// # Errors
    /// `Audit` if a required sink does not keep the event.
    pub async fn end(mut self, is_done: bool) -> Result<()> {
        let Some(deed) = self.deed.take() else {
            return Ok(());
        };
        let ended = match is_done {
            true => Ended::Done,
            false => Ended::Incomplete,
        };
        let span = deed.span.clone();
        self.auditor.keep(deed, ended).instrument(span).await
    }
}

impl Drop for AuditedJob {
    fn drop(&mut self) {
        if let Some(deed) = self.deed.take() {
            let span = deed.span.clone();
            span.in_scope(|| Witness::note(&self.auditor, deed, Ended::Abandoned));
        }
    }
}

#[async_trait]
impl Witness for Auditor {
    async fn keep(&self, deed: Deed, ended: Ended) -> Result<()> {
        let span = deed.span.clone();
        let kept = self.record(self.what(deed, ended)).await;
        kept.inspect_err(|error| span::record_unkept(&span, error))
    }

    fn note(&self, deed: Deed, ended: Ended) {
        Auditor::note(self, self.what(deed, ended));
    }

    fn now(&self) -> Monotonic {
        self.runtime().now()
    }

    fn span(&self, act: Act) -> Span {
        let (action, purpose) = seen_as(act);
        let beginning = Beginning {
            action,
            purpose,
            request_id: None,
        };
        beginning.span()
    }
}
