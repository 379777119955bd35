//! The first key of a scope, made by the application that meets the scope first.

use std::sync::Arc;

use super::core::{Core, READ};
use super::managers::OPENING;
use crate::key::Purpose;
use crate::ring::branch::{self, Asking, BranchKek, Place};
use crate::ring::record::Branch;
use crate::ring::witness::{Act, Deed, witnessed};
use crate::ring::{
    Authority, KeyRecord, Move, Provisioning, RecordId, Scope, Slot, State, Time, View, provisioned,
};
use crate::runtime::with_timeout;
use crate::value::error::{Error, ErrorKind, Result};

/// How often a key is signed anew because the ring was changed meanwhile.
const TRIES: usize = 16;
/// Who a record says has made it.
const ACTOR: &str = "provisioner";

/// A key that was wrapped and is not in the ring yet.
pub(super) struct Made {
    pub(super) id: RecordId,
    parent: RecordId,
    pub(super) kek: BranchKek,
    branch: Branch,
}

impl Core {
    /// What may make the first key of this scope, if this process has a provisioner's private half that the settings list.
    fn provisioner(&self, view: &View, scope: &Scope) -> Option<(Arc<Authority>, Provisioning)> {
        let own = self.options.provisioner.as_ref()?;
        let provision = view.settings().provisions()?;
        let is_listed = provision.keys.contains(&own.public());
        (is_listed && view.settings().scope_template.makes(scope))
            .then(|| (Arc::clone(own), provision.clone()))
    }

    /// Makes the first key of a scope, if the view proves that it has none and this process may: one call of the parent's KMS, and one of the
    /// inventory. If somebody else was faster, that key is the scope's. Returns the view with the key, and what was made.
    pub(super) async fn provision(&self, mut view: View, scope: &Scope) -> Result<(View, Option<Made>)> {
        let mut made: Option<Made> = None;
        for _ in 0..TRIES {
            if !view.is_without_key(scope) {
                return Ok((view, None));
            }
            let Some((provisioner, provision)) = self.provisioner(&view, scope) else {
                return Ok((view, None));
            };
            let parent = view.active_parent(&provision.parent)?;
            let Some(parent) = parent.filter(|parent| parent.branch.is_none()) else {
                return Err(Error::new(ErrorKind::NoKeyForScope).with_detail(format!(
                    "scope {scope} has no key, and scope {}, whose key would wrap a new one, has no active key that is no branch key itself",
                    provision.parent
                )));
            };
            let new = match made.take().filter(|made| made.parent == parent.id) {
                Some(made) => made,
                None => self.make(&parent, scope).await?,
            };
            let record = self.first_record(&view, scope, &parent, &new)?;
            let row = provisioned::to_row(&record, view.ring(), &provisioner)?;
            let written = self.inventory.provision(view.revision(), &row);
            match with_timeout(&*self.runtime, Some(READ), written).await {
                Ok(there) => {
                    let is_own = there == row;
                    match view.with_provisioned(scope, &there) {
                        Ok(()) => {
                            if is_own {
                                tracing::info!(%scope, key = %new.id, "made the first key of a scope");
                            }
                            return Ok((view, is_own.then_some(new)));
                        }
                        // It came with a revision that this view does not show.
                        Err(error) if is_own => return Err(error),
                        Err(_) => {}
                    }
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
            made = Some(new);
            view = self.read(std::slice::from_ref(scope)).await?;
        }
        Err(Error::new(ErrorKind::Conflict).with_detail(format!(
            "the ring was changed each time that the first key of scope {scope} was to be added"
        )))
    }

    /// Makes 32 bytes, and lets the parent wrap them.
    async fn make(&self, parent: &Arc<KeyRecord>, scope: &Scope) -> Result<Made> {
        let id = RecordId::new(Time::try_from(self.runtime.wall_clock())?)?;
        let manager = self.managers.of_record(parent).await?;
        let asking = Asking {
            parent,
            manager: &*manager,
            purpose: Purpose::Seal,
            deadline: Some(self.runtime.now() + OPENING),
        };
        let place = Place {
            ring: self.trust.ring(),
            scope,
            key: id,
        };
        let revision = self.revision();
        let deed = |begun| {
            let mut deed = Deed::new(Act::Wrap(Purpose::Seal), self.trust.ring(), begun)
                .by_kek(parent)
                .of_branch(id, scope)
                .at(Some(revision));
            deed.actor = Some(ACTOR.to_owned());
            deed
        };
        let witness = self.managers.branches.witness.get().map(|witness| &**witness);
        let make = with_timeout(&*self.runtime, Some(OPENING), asking.make(place));
        let (kek, branch) = witnessed(witness, deed, make, || None).await?;
        Ok(Made {
            id,
            parent: parent.id,
            kek,
            branch,
        })
    }

    fn first_record(&self, view: &View, scope: &Scope, parent: &KeyRecord, made: &Made) -> Result<KeyRecord> {
        let settings = view.settings();
        // Nothing in a ring is of a time before it.
        let created = Time::try_from(self.runtime.wall_clock())?.max(view.changed());
        let place = Place {
            ring: view.ring(),
            scope,
            key: made.id,
        };
        let periods = (settings.cadence_of_first_keys()?, settings.overlap);
        let mut key = branch::record(
            place,
            Slot::default(),
            parent,
            made.branch.clone(),
            periods,
            created,
        );
        key.revision = 1;
        key.state = State::Active;
        key.has_wrapped = true;
        key.in_ring_since = view.revision();
        key.activated = Some(created);
        key.next_rotation = Some(key.cadence.after(created)?);
        key.record_move(Move {
            at: created,
            revision: view.revision(),
            from: None,
            to: State::Active,
            actor: ACTOR.to_owned(),
            reason: "first use of the scope".to_owned(),
            evidence: None,
            ticket: None,
            approver: None,
        })?;
        Ok(key)
    }
}
