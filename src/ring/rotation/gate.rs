//! Gates: a successor is tried before everybody uses it.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::moves::linked;
use super::promote::{Who, in_state};
use super::{RingAdmin, refused};
use crate::Sealer;
use crate::key::KeyManager;
use crate::ring::record::KeyRecord;
use crate::ring::view::View;
use crate::ring::{RecordId, State};
use crate::runtime::with_timeout;
use crate::value::error::{Error, ErrorKind, Result};

/// Tries a pending key before it becomes active, or wraps as a canary: whatever makes it so, a rotation, a promotion by hand, a tick, the creation of the first
/// key of a scope or of one after the last was lost, or a revocation whose successor it is. A key that is reinstated is not tried again, and neither is one
/// that is adopted, which wraps data already.
///
/// A gate that does not answer in time has refused: see [`RingAdmin::with_gate_deadline`].
///
/// ```
/// use async_trait::async_trait;
/// use waxseal::ring::{Gate, Successor};
/// use waxseal::{EncryptionContext, Error, ErrorKind, Result};
///
/// #[derive(Debug)]
/// struct RoundTrip;
///
/// #[async_trait]
/// impl Gate for RoundTrip {
///     async fn check(&self, successor: &Successor) -> Result<()> {
///         let (sealer, context) = (successor.sealer(), EncryptionContext::new([("purpose", "gate")])?);
///         let sealed = sealer.seal(b"probe", &context).await?;
///         match sealer.open(&sealed, &context).await?.as_ref() == b"probe" {
///             true => Ok(()),
///             false => Err(Error::new(ErrorKind::InvalidAnswer)),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Gate: Debug + Send + Sync {
    /// Permits the successor.
    ///
    /// # Errors
    /// Any error refuses it: it stays pending, and nothing else changes.
    async fn check(&self, successor: &Successor) -> Result<()>;
}

/// A pending key that a gate is asked about. It can be used: what is sealed with it opens once it is active, and also while it is
/// pending.
#[derive(Debug)]
pub struct Successor {
    ring: RecordId,
    key: Arc<KeyRecord>,
    replaces: Option<Arc<KeyRecord>>,
    manager: Arc<dyn KeyManager>,
}

impl Successor {
    /// Returns the ring.
    #[must_use]
    pub fn ring(&self) -> RecordId {
        self.ring
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &KeyRecord {
        &self.key
    }

    /// Returns the key whose place it takes: the active one, or the one before, if that was revoked. `None` for the first key of a scope and
    /// slot.
    #[must_use]
    pub fn replaces(&self) -> Option<&KeyRecord> {
        self.replaces.as_deref()
    }

    /// Returns the key manager of this very key, pinned to its version as the ring will use it.
    #[must_use]
    pub fn key_manager(&self) -> &Arc<dyn KeyManager> {
        &self.manager
    }

    /// Returns a sealer under this key alone.
    #[must_use]
    pub fn sealer(&self) -> Sealer {
        Sealer::new(Arc::clone(&self.manager))
    }
}

impl RingAdmin {
    pub(super) fn has_gates(&self) -> bool {
        !self.gates.is_empty()
    }

    /// Has nobody without a gate promote a pending key by itself, if there are gates here: this process may die before they agree.
    pub(super) async fn leave_to_gates(&self, key: &KeyRecord) -> Result<()> {
        if !self.has_gates() || key.state != State::Pending || key.awaits_gate {
            return Ok(());
        }
        let (id, scope) = (key.id, [key.scope.clone()]);
        self.change(&scope, |view, draft| {
            let key = in_state(view, id, State::Pending)?;
            if key.awaits_gate {
                return Ok(());
            }
            let mut next = linked(key);
            next.awaits_gate = true;
            draft.put(&next)
        })
        .await
    }

    /// Asks the gates about a pending key. The ring remembers before that a gate decides.
    pub(super) async fn ask_gates(&self, view: &View, key: &Arc<KeyRecord>) -> Result<()> {
        if !self.has_gates() || key.state != State::Pending {
            return Ok(());
        }
        self.leave_to_gates(key).await?;
        let id = key.id;
        let before = || key.predecessor.and_then(|before| view.key(before));
        let successor = Successor {
            ring: view.ring(),
            key: Arc::clone(key),
            replaces: view.active(&key.scope, &key.slot).or_else(before).cloned(),
            manager: match key.branch {
                None => self.call(self.backends.key(&key.provenance)).await?,
                Some(_) => Arc::new(self.branch_manager(key).await?),
            },
        };
        for gate in &self.gates {
            let asked = with_timeout(&*self.runtime, Some(self.gate_deadline), gate.check(&successor));
            asked.await.map_err(|error| {
                let why = match (error.kind(), error.detail()) {
                    (ErrorKind::TimedOut, None) => format!("it did not answer within {:?}", self.gate_deadline),
                    (_, Some(detail)) => detail.to_owned(),
                    (kind, None) => kind.to_string(),
                };
                refused(format!(
                    "a gate refuses the successor {id}, which stays pending: {why}; mend that and promote it (`waxseal keys promote {id}`), or \
                     take it back (`waxseal keys take-back {id}`)"
                ))
                .with_source(error)
            })?;
        }
        Ok(())
    }

    /// Why nobody promotes a key by itself, if a gate decides about it and has not agreed, and there is none here.
    pub(super) fn gate_missing(&self, key: &KeyRecord) -> Option<String> {
        (key.awaits_gate && self.gates.is_empty()).then(|| {
            format!(
                "a gate decides about the successor {} and has not agreed: ask it (`--gate`), or promote the key without one (`waxseal keys promote {}`)",
                key.id, key.id
            )
        })
    }

    /// The same of the key that takes the place of one that was revoked.
    pub(super) fn gate_missing_for(&self, view: &View, lost: &KeyRecord) -> Option<String> {
        let mut keys = view.keys(&lost.scope).iter();
        let next =
            keys.find(|next| next.slot == lost.slot && next.state == State::Pending && next.awaits_gate);
        next.and_then(|next| self.gate_missing(next))
    }

    /// The same as an error, if nobody has named the key.
    pub(super) fn check_gate(&self, key: &KeyRecord, who: Who) -> Result<(), Error> {
        let why = self.gate_missing(key).filter(|_| who == Who::Itself);
        why.map_or(Ok(()), |why| Err(refused(why)))
    }
}
