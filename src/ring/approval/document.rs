//! The signed document.

use serde::{Deserialize, Serialize};

use super::{MAX_APPROVAL_AGE, needs_approval};
use crate::key::Authorization;
use crate::ring::clock::Agreed;
use crate::ring::line::{Line, LineKind, Version};
use crate::ring::record::is_short;
use crate::ring::{Authority, AuthorityKey, KeyRecord, RecordId, Settings, Time, View};
use crate::value::error::{ApprovalFault, Error, ErrorKind, Result};

/// The greatest length of an approval in bytes.
pub const MAX_APPROVAL: usize = 16_384;
/// The version of approvals that this library writes and reads.
const SCHEMA: u32 = 1;
pub(super) const KIND: LineKind = LineKind {
    kind: "approval",
    max: MAX_APPROVAL,
    limit: "the length of an approval in bytes",
    name: "approval",
    versions: "this version of approvals",
    written_by: "waxseal ring approve",
    schema: SCHEMA,
};

/// Everything of an approval but the signature, in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    pub(super) schema: u32,
    pub(super) key: RecordId,
    pub(super) ring: RecordId,
    pub(super) revision: u64,
    pub(super) ticket: String,
    pub(super) approver: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) issued: Time,
    pub(super) expires: Time,
}

impl Body {
    pub(super) fn new(ring: RecordId, revision: u64, key: RecordId, (issued, expires): (Time, Time)) -> Self {
        Self {
            schema: SCHEMA,
            key,
            ring,
            revision,
            ticket: String::new(),
            approver: String::new(),
            reason: None,
            issued,
            expires,
        }
    }

    /// Refuses texts and times that no approval has.
    pub(super) fn check(&self) -> Result<(), (ApprovalFault, String)> {
        let named = [("ticket", &self.ticket), ("approver", &self.approver)];
        for (name, text) in named
            .into_iter()
            .chain(self.reason.iter().map(|text| ("reason", text)))
        {
            if text.trim().is_empty() || !is_short(text) {
                return Err((
                    ApprovalFault::Malformed,
                    format!("its {name} is empty, longer than 1,024 bytes, or has control characters"),
                ));
            }
        }
        if self.expires <= self.issued {
            return Err((
                ApprovalFault::Expired,
                format!(
                    "it was issued at {}, and expired at {} before that",
                    self.issued, self.expires
                ),
            ));
        }
        if self.expires.since(self.issued) > MAX_APPROVAL_AGE {
            return Err((
                ApprovalFault::TooLong,
                format!(
                    "from {} to {} is longer than {} days",
                    self.issued,
                    self.expires,
                    MAX_APPROVAL_AGE.as_secs() / 86_400
                ),
            ));
        }
        Ok(())
    }
}

/// Somebody whom the settings of a ring list as an [approver](Settings::approvers) has signed that a re-wrap may use one key that is
/// revoked or retired. As text it is one JSON object on one line, and must not be formatted anew: the signature is over its exact
/// bytes. It holds no secret.
///
/// It allows a re-wrap and nothing else: what is under the key does not open under an approval.
///
/// ```
/// # use waxseal::{EncryptionContext, Result, Sealer};
/// use waxseal::ring::Approval;
///
/// # async fn example(sealer: Sealer, file: &[u8], sealed: &[u8], context: EncryptionContext) -> Result<()> {
/// let approval = Approval::from_bytes(file)?;
/// let new = sealer.authorized_by([approval.authorization()]).rewrap(sealed, &context).await?;
/// for used in new.authorizations() {
///     println!("the key {} was used under the ticket {}", used.subject, used.ticket);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    line: Line,
    body: Body,
    signer: AuthorityKey,
}

impl Approval {
    pub(super) fn sign(body: Body, signer: &Authority) -> Result<Self> {
        Ok(Self {
            line: Line::sign(KIND, body.ring, &body, signer)?,
            body,
            signer: signer.public(),
        })
    }

    /// Reads an approval. Nothing of it can be believed before it was verified; a [`KeyRing`](crate::ring::KeyRing) does that whenever
    /// it uses one.
    ///
    /// # Errors
    /// `InvalidArgument` if it is no approval, or was formatted anew; `Unsupported` if a newer version wrote it; `OverLimit` if it has
    /// more than [`MAX_APPROVAL`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (line, body) = KIND.read::<Version, Body>(bytes)?;
        Ok(Self {
            signer: line.named_signer()?,
            line,
            body,
        })
    }

    /// Returns the approval as it is kept: one line of JSON.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.line.as_bytes()
    }

    /// Returns it as a re-wrap takes it: see [`Sealer::authorized_by`](crate::Sealer::authorized_by).
    #[must_use]
    pub fn authorization(&self) -> Authorization {
        Authorization::new(&self.body.ticket, &self.body.approver)
            .with_subject(self.body.key.to_string())
            .with_document(self.as_bytes())
    }

    /// Verifies it for the ring of this view, at this time: its signature, its signer and its life; and, if the view has the scope of its
    /// key, that the key is where it was when the approval was issued, and so is the key that it is wrapped under, if that one is out of use.
    ///
    /// # Errors
    /// `ApprovalRefused`, with what is wrong. If the key is a branch key: those of [`View::parent`].
    pub fn verify(&self, view: &View, now: Time) -> Result<()> {
        self.judge(view.settings(), view.revision(), Agreed::on(now))?;
        let Some(key) = view.key(self.key()) else {
            return Ok(());
        };
        self.check_key(key)?;
        match view.parent(key)? {
            Some(parent) => self.check_parent(parent),
            None => Ok(()),
        }
    }

    /// Verifies everything but the key, and returns when it ends.
    pub(in crate::ring) fn judge(&self, settings: &Settings, revision: u64, now: Agreed) -> Result<Time> {
        let body = &self.body;
        if body.ring != settings.ring {
            return Err(self.refused(
                ApprovalFault::OtherRing,
                &format!(
                    "it names the ring {}, and this is the ring {}",
                    body.ring, settings.ring
                ),
            ));
        }
        if !settings.approvers.contains(&self.signer) {
            return Err(self.refused(
                ApprovalFault::UnknownSigner,
                &format!(
                    "{} has signed it; `waxseal ring status` lists the approvers",
                    self.signer
                ),
            ));
        }
        self.line.verify(KIND, body.ring, &self.signer).map_err(|_| {
            self.refused(
                ApprovalFault::Altered,
                "use the file exactly as `waxseal ring approve` wrote it",
            )
        })?;
        body.check()
            .map_err(|(fault, detail)| self.refused(fault, &detail))?;
        if body.revision > revision {
            return Err(self.refused(
                ApprovalFault::LaterRevision,
                &format!(
                    "it is of revision {}, and the ring is at revision {revision}: the inventory was taken back to an older state",
                    body.revision
                ),
            ));
        }
        // If the clock that it was issued by was corrected since, its life counts from the corrected time.
        let issued = settings.corrected(body.issued, body.revision);
        let until = issued.saturating_add(body.expires.since(body.issued));
        if issued > now.earliest.saturating_add(settings.clock_tolerance.at_most()) {
            return Err(self.refused(
                ApprovalFault::NotYetIssued,
                &format!(
                    "it was issued at {issued}, and it is {}: one of the clocks is wrong",
                    now.earliest
                ),
            ));
        }
        match now.latest < until {
            true => Ok(until),
            false => Err(self.expired(until, now.latest)),
        }
    }

    /// Refuses a key that has moved to another state since the approval was issued: whoever approved did not know of that.
    pub(in crate::ring) fn check_key(&self, key: &KeyRecord) -> Result<()> {
        self.check_last_move(key, "the key")
    }

    /// The same of the key that the branch key of the approval is wrapped under, if that one is out of use itself.
    pub(in crate::ring) fn check_parent(&self, parent: &KeyRecord) -> Result<()> {
        match needs_approval(parent) {
            true => self.check_last_move(parent, &format!("the key {} that it is wrapped under", parent.id)),
            false => Ok(()),
        }
    }

    fn check_last_move(&self, key: &KeyRecord, what: &str) -> Result<()> {
        let mut moves = key.history.iter().rev();
        let last = moves.find(|made| made.from != Some(made.to));
        match last.filter(|last| last.revision > self.body.revision) {
            None => Ok(()),
            Some(last) => Err(self.refused(
                ApprovalFault::KeyMoved,
                &format!(
                    "{what} became {} with revision {}, and the approval was issued at revision {}: ask for another",
                    last.to, last.revision, self.body.revision
                ),
            )),
        }
    }

    pub(in crate::ring) fn expired(&self, until: Time, now: Time) -> Error {
        self.refused(
            ApprovalFault::Expired,
            &format!("it was good until {until}, and it is {now}: ask for another"),
        )
    }

    pub(in crate::ring) fn refused(&self, fault: ApprovalFault, why: &str) -> Error {
        let body = &self.body;
        Error::new(ErrorKind::ApprovalRefused { fault }).with_detail(format!(
            "the approval of ticket {} for the key {}: {why}",
            body.ticket.escape_debug(),
            body.key
        ))
    }

    /// Returns the ring that it says it is for.
    #[must_use]
    pub fn ring(&self) -> RecordId {
        self.body.ring
    }

    /// Returns the revision of the ring that whoever issued it had read.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.body.revision
    }

    /// Returns the key that may be used.
    #[must_use]
    pub fn key(&self) -> RecordId {
        self.body.key
    }

    /// Returns the ticket or the incident.
    #[must_use]
    pub fn ticket(&self) -> &str {
        &self.body.ticket
    }

    /// Returns who has approved, as that person said. [`signer`](Self::signer) is what the signature proves.
    #[must_use]
    pub fn approver(&self) -> &str {
        &self.body.approver
    }

    /// Returns the public key that it says has signed it.
    #[must_use]
    pub fn signer(&self) -> AuthorityKey {
        self.signer
    }

    /// Returns why, if that was said.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.body.reason.as_deref()
    }

    /// Returns when it was issued.
    #[must_use]
    pub fn issued(&self) -> Time {
        self.body.issued
    }

    /// Returns when it ends.
    #[must_use]
    pub fn expires(&self) -> Time {
        self.body.expires
    }
}
