//! How an approval is issued.

use std::str::FromStr;

use super::document::{Approval, Body};
use super::needs_approval;
use crate::ring::view::{View, no_such_key};
use crate::ring::witness::{Act, Deed, Operation, witnessed};
use crate::ring::{Authority, KeyRecord, Period, Reader, RecordId, RewrappedFrom, State, Time};
use crate::value::error::{ApprovalFault, Error, ErrorKind, Result};

/// When an approval ends: a time of RFC 3339, or a period of ISO 8601 from when it is issued.
#[derive(Clone, Copy, Debug)]
pub enum Expires {
    /// At this time.
    At(Time),
    /// So long after it was issued.
    After(Period),
}

impl FromStr for Expires {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = match text.starts_with(['P', 'p']) {
            true => text.parse().map(Self::After),
            false => text.parse().map(Self::At),
        };
        parsed.map_err(|_: Error| {
            Error::argument(
                "an approval ends at a time, for example 2026-11-27T18:00:00Z, or a period from now, for example PT8H",
            )
        })
    }
}

/// What somebody approves.
///
/// ```
/// # use waxseal::ring::{Authority, Reader, RecordId};
/// use waxseal::ring::NewApproval;
///
/// # async fn example(reader: Reader, key: RecordId, signer: Authority) -> Result<(), Box<dyn std::error::Error>> {
/// let approval = NewApproval::new(key, "INC-7", "carol", "PT8H".parse()?).issue(&reader, &signer).await?;
/// std::fs::write("approval.json", approval.as_bytes())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewApproval {
    /// The key that a re-wrap may use.
    pub key: RecordId,
    /// The ticket or the incident.
    pub ticket: String,
    /// Who approves: a name for people. What counts is the signature.
    pub approver: String,
    /// Why, if there is more to say.
    pub reason: Option<String>,
    /// When it ends: at most [`MAX_APPROVAL_AGE`](super::MAX_APPROVAL_AGE) after it was issued.
    pub expires: Expires,
}

impl NewApproval {
    /// Approves the use of a key.
    #[must_use]
    pub fn new(key: RecordId, ticket: &str, approver: &str, expires: Expires) -> Self {
        Self {
            key,
            ticket: ticket.to_owned(),
            approver: approver.to_owned(),
            reason: None,
            expires,
        }
    }

    /// Says why.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Issues the approval, by the ring as it is now and the time that the inventory and this machine agree on. Changes nothing in the ring.
    ///
    /// # Errors
    /// - `ApprovalRefused` if the ring's settings do not list the signer, the approval would last too long, or its end is past
    /// - `LifecycleRefused` if the key needs no approval, since a re-wrap may use it anyway, or if none helps, since it is destroyed or
    ///   being destroyed, or its scope was shredded
    /// - `InvalidArgument` if the ring has no such key, or ticket, approver or reason is empty or too long
    /// - `ClocksDisagree`, also if the ring was last changed at a time that has not come yet
    /// - those of [`Reader::scope_of`]
    pub async fn issue(&self, reader: &Reader, signer: &Authority) -> Result<Approval> {
        let deed = |begun| {
            let approver = Some(self.approver.as_str());
            let mut deed = Deed::new(Act::Operation(Operation::Approve), reader.trust().ring(), begun)
                .of_key(self.key)
                .authorized(&self.ticket, approver);
            // Who approves does it.
            deed.actor = Some(self.approver.clone());
            deed
        };
        let seen = || reader.trust().mark().map(|mark| mark.revision);
        witnessed(reader.witness(), deed, self.do_issue(reader, signer), seen).await
    }

    async fn do_issue(&self, reader: &Reader, signer: &Authority) -> Result<Approval> {
        let (_, view) = reader.scope_of(self.key).await?;
        let key = view.key(self.key);
        let key = key.ok_or_else(|| no_such_key(self.key))?;
        check_state(&view, key)?;
        let agreed = reader.agreed(&view).await?;
        let tolerance = view.settings().clock_tolerance.at_most();
        ring_is_not_ahead(view.changed(), agreed.now, tolerance)?;
        let expires = match self.expires {
            Expires::At(time) => time,
            Expires::After(period) => period.after(agreed.now)?,
        };
        let mut body = Body::new(view.ring(), view.revision(), self.key, (agreed.now, expires));
        body.ticket.clone_from(&self.ticket);
        body.approver.clone_from(&self.approver);
        body.reason.clone_from(&self.reason);
        body.check().map_err(|(fault, detail)| match fault {
            ApprovalFault::Malformed => Error::argument(format!("an approval is not issued: {detail}")),
            fault => Error::new(ErrorKind::ApprovalRefused { fault })
                .with_detail(format!("it is not issued: {detail}")),
        })?;
        if !view.settings().approvers.contains(&signer.public()) {
            return Err(Error::new(ErrorKind::ApprovalRefused {
                fault: ApprovalFault::UnknownSigner,
            })
            .with_detail(format!(
                "{} is no approver of the ring: whoever has the authority lists it with `waxseal ring set --approver {}`",
                signer.public(),
                signer.public()
            )));
        }
        Approval::sign(body, signer)
    }
}

/// A branch key is out of use, too, if its parent is; and each key of a scope that was shredded, whatever its state.
fn check_state(view: &View, key: &KeyRecord) -> Result<()> {
    let refused = |detail: String| Err(Error::new(ErrorKind::LifecycleRefused).with_detail(detail));
    if key.state == State::Destroyed {
        return refused(format!(
            "the key {} is destroyed, and no approval helps: nothing under it opens anymore",
            key.id
        ));
    }
    if let Some(tombstone) = view.tombstone(&key.scope) {
        return refused(format!(
            "{}, and no approval helps: nothing under its keys opens, unless the shredding is canceled before they are destroyed",
            tombstone.words()
        ));
    }
    let parent = view.parent(key)?;
    let is_gone = |key: &KeyRecord| key.state.row().rewrapped_from == RewrappedFrom::No;
    if let Some(parent) = parent.filter(|parent| is_gone(parent)) {
        return refused(format!(
            "the branch key {} is wrapped under the key {}, which is {}: no approval helps",
            key.id, parent.id, parent.state
        ));
    }
    if needs_approval(key) || !is_gone(key) && parent.is_some_and(|parent| needs_approval(parent)) {
        return Ok(());
    }
    let why = match key.state {
        State::Destroying => "no approval helps: nothing under it opens anymore",
        _ => "it needs no approval: a re-wrap may use it",
    };
    refused(format!("the key {} is {}, and {why}", key.id, key.state))
}

/// Refuses a time before the ring's last change: by a clock that is behind, an approval would last too long.
pub(in crate::ring) fn ring_is_not_ahead(
    changed: Time,
    now: Time,
    tolerance: std::time::Duration,
) -> Result<()> {
    if changed <= now.saturating_add(tolerance) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::ClocksDisagree).with_detail(format!(
        "the ring was last changed at {changed}, and it is {now}: either this clock is behind, or the change was signed by one that was \
         ahead; look which, and set this clock right, or correct the time of the ring (`waxseal ring clock --correct`)"
    )))
}
