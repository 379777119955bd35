//! The layer around the administration of a ring, and around the KEKs that a ring asks by itself.

use std::sync::Arc;

use async_trait::async_trait;

use super::auditor::Auditor;
use super::deed::{DeedSeen, RecordMoved};
use super::event::{Action, EventKek, Outcome, What};
use super::scope::ScopeSeen;
use super::text::bounded;
use crate::key::{Authorization, Purpose};
use crate::ring::{Act, Deed, Ended, KeyRing, Operation, Reader, RecordMove, Scope, ScopeTemplate, Witness};
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

/// A job under way, which is an event at its beginning and one at its end. If it is dropped before its end, it was abandoned.
#[derive(Debug)]
#[must_use = "a job ends by `end`"]
pub struct AuditedJob {
    auditor: Auditor,
    deed: Option<Deed>,
}

impl Auditor {
    /// Writes down that a job begins: a [`Census`](Operation::Census) or a [`RewrapJob`](Operation::RewrapJob).
    ///
    /// # Errors
    /// `Audit` if a required sink does not keep the event.
    pub async fn begin(
        &self,
        job: Operation,
        ring: crate::ring::RecordId,
        actor: &str,
    ) -> Result<AuditedJob> {
        let mut deed = Deed::new(Act::Operation(job), ring, self.runtime().now());
        deed.actor = Some(actor.to_owned());
        self.keep(deed.clone(), Ended::NotYet).await?;
        Ok(AuditedJob {
            auditor: self.clone(),
            deed: Some(deed),
        })
    }

    fn what(&self, deed: Deed, ended: Ended) -> What {
        let (action, purpose) = match deed.act {
            Act::Operation(operation) => (Action::Ring(operation), None),
            Act::Wrap(purpose) => (Action::Wrap, Some(purpose)),
            Act::Unwrap(purpose) => (Action::Unwrap, Some(purpose)),
            Act::Probe => (Action::Probe, Some(Purpose::Probe)),
        };
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
            ring: deed.ring.to_string(),
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

impl AuditedJob {
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
        self.auditor.keep(deed, ended).await
    }
}

impl Drop for AuditedJob {
    fn drop(&mut self) {
        if let Some(deed) = self.deed.take() {
            Witness::note(&self.auditor, deed, Ended::Abandoned);
        }
    }
}

#[async_trait]
impl Witness for Auditor {
    async fn keep(&self, deed: Deed, ended: Ended) -> Result<()> {
        self.record(self.what(deed, ended)).await
    }

    fn note(&self, deed: Deed, ended: Ended) {
        Auditor::note(self, self.what(deed, ended));
    }

    fn now(&self) -> Monotonic {
        self.runtime().now()
    }
}
