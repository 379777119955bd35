//! What the approvals of a re-wrap allow.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::core::{Core, READ};
use super::key::Key;
use super::keys::{Kek, ScopeKeys};
use crate::envelope::WrapSection;
use crate::key::Request;
use crate::ring::approval::ring_is_not_ahead;
use crate::ring::clock::{Agreed, Asked};
use crate::ring::{Approval, RecordId, Settings, Time};
use crate::runtime::{Monotonic, Runtime, with_timeout};
use crate::source::Rewrapped;
use crate::value::error::{ApprovalFault, Error, ErrorKind, Result};

/// For how long the time is believed that the inventory has said; this machine counts on from there.
const ASKED: Duration = Duration::from_secs(30);

/// The approvals of one re-wrap, judged.
#[derive(Debug)]
pub(super) struct Approved {
    runtime: Arc<dyn Runtime>,
    grants: Vec<Grant>,
    /// Approvals that do not count, with the key that they name, if they do, and why.
    refused: Vec<(Option<RecordId>, Error)>,
    used: Mutex<Vec<RecordId>>,
}

#[derive(Debug)]
struct Grant {
    approval: Approval,
    /// When it ends, by the runtime's clock, and by the calendar.
    until: (Monotonic, Time),
}

impl Approved {
    /// Refuses a key that none of them allows to use now.
    pub(super) fn check(&self, key: &Key) -> Result<()> {
        if let Some(grant) = self.grant(key) {
            return match self.runtime.now() < grant.until.0 {
                true => Ok(()),
                false => Err(grant.approval.expired(grant.until.1, grant.until.1)),
            };
        }
        let of_key = self
            .refused
            .iter()
            .find(|(of, _)| of.is_some_and(|of| key.is_served_by(of)));
        if let Some((_, error)) = of_key.or_else(|| self.refused.iter().find(|(of, _)| of.is_none())) {
            return Err(error.copy());
        }
        let named = self.grants.iter().map(|grant| grant.approval.key());
        let named = named.chain(self.refused.iter().filter_map(|(of, _)| *of)).next();
        Err(match named {
            None => key.refusal(),
            Some(other) => Error::new(ErrorKind::ApprovalRefused {
                fault: ApprovalFault::OtherKey,
            })
            .with_detail(format!(
                "it names the key {other}, and what is re-wrapped is under the key {}, which is {}: that takes an approval of its own",
                key.id, key.state
            )),
        })
    }

    /// How long a key may be used yet.
    pub(super) fn left(&self, key: &Key) -> Duration {
        let until = self.grant(key).map(|grant| grant.until.0);
        until.map_or(Duration::MAX, |until| {
            until.0.saturating_sub(self.runtime.now().0)
        })
    }

    /// The one of a key that lasts longest.
    fn grant(&self, key: &Key) -> Option<&Grant> {
        let of_key = self
            .grants
            .iter()
            .filter(|grant| key.is_served_by(grant.approval.key()));
        of_key.max_by_key(|grant| grant.until)
    }

    /// Remembers that a key was used, and says so.
    pub(super) fn note_use(&self, key: &Key) {
        let Some(grant) = self.grant(key) else { return };
        tracing::warn!(
            key = %key.id,
            scope = %key.scope,
            state = %key.state,
            ticket = grant.approval.ticket(),
            approver = grant.approval.approver(),
            signer = %grant.approval.signer(),
            "a key was used to re-wrap under an approval"
        );
        // Each change is one push: nothing is half done.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.contains(&grant.approval.key()) {
            used.push(grant.approval.key());
        }
    }

    /// Says with the result which of them were used. Its data key is not kept for longer than they last.
    pub(super) fn bear_witness(&self, rewrapped: Rewrapped) -> Rewrapped {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let grants: Vec<&Grant> = self
            .grants
            .iter()
            .filter(|grant| used.contains(&grant.approval.key()))
            .collect();
        if let Some(lease) = rewrapped.lease() {
            grants.iter().for_each(|grant| lease.end_by(grant.until.0));
        }
        let authorizations = grants.into_iter().map(|grant| grant.approval.authorization());
        rewrapped.with_authorizations(authorizations.collect())
    }
}

/// What time it was, and when that was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    asked: Monotonic,
    agreed: Agreed,
}

impl Said {
    /// What time it is now.
    fn now(self, now: Monotonic) -> Agreed {
        let since = now.0.saturating_sub(self.asked.0);
        Agreed {
            now: self.agreed.now.saturating_add(since),
            earliest: self.agreed.earliest.saturating_add(since),
            latest: self.agreed.latest.saturating_add(since),
        }
    }
}

impl Core {
    /// Judges the approvals of a re-wrap. `None` if there are none, or none is needed.
    pub(super) async fn approved(
        self: &Arc<Self>,
        keys: &ScopeKeys,
        wraps: WrapSection<'_>,
        request: &Request<'_>,
    ) -> Result<Option<Arc<Approved>>> {
        if request.authorizations().is_empty() || !keys.names_what_needs_approval(wraps) {
            return Ok(None);
        }
        let mut approved = Approved {
            runtime: Arc::clone(&self.runtime),
            grants: Vec::new(),
            refused: Vec::new(),
            used: Mutex::default(),
        };
        for authorization in request.authorizations() {
            let approval = match Approval::from_bytes(authorization.document()) {
                Ok(approval) => approval,
                Err(error) => {
                    approved.refused.push((None, unreadable(&error)));
                    continue;
                }
            };
            match self.judge(&approval, keys).await {
                Ok(until) => approved.grants.push(Grant { approval, until }),
                Err(error) => approved.refused.push((Some(approval.key()), error)),
            }
        }
        Ok(Some(Arc::new(approved)))
    }

    /// When an approval ends.
    async fn judge(self: &Arc<Self>, approval: &Approval, keys: &ScopeKeys) -> Result<(Monotonic, Time)> {
        if approval.revision() > self.revision() {
            // Whoever issued it has seen more of the ring than this process.
            self.check().await?;
        }
        let (settings, revision, changed) = {
            let state = self.lock();
            (Arc::clone(&state.settings), state.mark.revision, state.changed)
        };
        let (now, agreed) = self.time(&settings, changed).await?;
        let until = approval.judge(&settings, revision, agreed)?;
        // Of a branch key, what it is wrapped under may be named.
        for key in keys.keks.iter().flat_map(|kek| &kek.keys) {
            if let Some(named) = key.record_of(approval.key()) {
                approval.check_key(named)?;
            }
            if key.id == approval.key()
                && let Some(parent) = key.parent()
            {
                approval.check_parent(parent)?;
            }
        }
        Ok((now + until.since(agreed.latest), until))
    }

    /// What time it is, for whoever uses an approval: the inventory and this machine have to agree, and the ring must not be ahead.
    async fn time(&self, settings: &Settings, changed: Time) -> Result<(Monotonic, Agreed)> {
        let now = self.runtime.now();
        let said = *self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = match said.filter(|said| now < said.asked + ASKED) {
            Some(said) => said,
            None => {
                let asking = Asked::of(&*self.inventory, &*self.runtime);
                let agreed = with_timeout(&*self.runtime, Some(READ), asking)
                    .await?
                    .agreed_by(settings)?;
                let said = Said { asked: now, agreed };
                // It is replaced by one assignment.
                *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
                said
            }
        };
        let now = self.runtime.now();
        let agreed = said.now(now);
        ring_is_not_ahead(changed, agreed.now, settings.clock_tolerance.at_most())?;
        Ok((now, agreed))
    }
}

impl ScopeKeys {
    /// Whether a stanza may be under a key out of which a re-wrap takes an approval.
    fn names_what_needs_approval(&self, wraps: WrapSection<'_>) -> bool {
        let needs = |kek: &Kek| kek.keys.iter().any(|key| key.needs_approval());
        let keks: Vec<&Arc<Kek>> = self.keks.iter().filter(|kek| needs(kek)).collect();
        let mut stanzas = wraps.stanzas();
        stanzas.any(|stanza| keks.iter().any(|kek| kek.may_have_wrapped(stanza)))
    }
}

fn unreadable(error: &Error) -> Error {
    let why = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    Error::new(ErrorKind::ApprovalRefused {
        fault: ApprovalFault::Malformed,
    })
    .with_detail(why)
}
