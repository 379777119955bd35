//! Branch keys: made and tried under their parents, without any backend of their own.

use std::future::Future;
use std::sync::Arc;

use super::{RingAdmin, refused};
use crate::backend::local::HeldKey;
use crate::key::{KeyManager, Purpose};
use crate::ring::branch::{Asking, BranchKek, Place};
use crate::ring::record::{Branch, KeyRecord};
use crate::ring::view::View;
use crate::ring::witness::{Act, Touches};
use crate::ring::{RecordId, Scope, Slot, State};
use crate::value::error::{Error, ErrorKind, Result};

impl RingAdmin {
    /// The scope whose active key wraps a new branch key of this scope.
    pub(super) async fn parent_scope(&self, parent: Option<&Scope>, scope: &Scope) -> Result<Scope> {
        let settings = self.read(&[]).await?.settings().clone();
        let provisioned = settings.provision.as_ref().map(|provision| &provision.parent);
        let parent = parent.or(provisioned).cloned().unwrap_or_else(Scope::root);
        if parent == *scope || settings.scope_template.makes(&parent) {
            return Err(Error::argument(format!(
                "the parent of a branch key is a key of a wider scope, which is of no context itself: got the parent scope {parent} for the \
                 scope {scope}, and the scope template is {}",
                settings.scope_template
            )));
        }
        Ok(parent)
    }

    /// Makes a branch key under the active key of its parent scope, and unwraps it again before anybody relies on it. Returns the
    /// parent, too.
    pub(super) async fn new_branch(
        &self,
        parent: &Scope,
        scope: &Scope,
        key: RecordId,
    ) -> Result<(Arc<KeyRecord>, Branch)> {
        let view = self.read(std::slice::from_ref(parent)).await?;
        let parent = active_parent(&view, parent)?;
        let manager = self.call(self.backends.key(&parent.provenance)).await?;
        let asking = self.asking(parent, &*manager, Purpose::Seal);
        let place = self.place(scope, key);
        let (kek, branch) = self
            .accessed(Act::Wrap(asking.purpose), &asking, place, asking.make(place))
            .await?;
        self.check_wrap(asking, &kek, &branch, place).await?;
        Ok((Arc::clone(parent), branch))
    }

    /// Wraps a branch key that is there under another parent, and unwraps it again.
    pub(super) async fn wrap_branch(
        &self,
        kek: &BranchKek,
        (scope, key): (&Scope, RecordId),
        parent: &KeyRecord,
        manager: &dyn KeyManager,
    ) -> Result<Branch> {
        let asking = self.asking(parent, manager, Purpose::Rewrap);
        let place = self.place(scope, key);
        let branch = self
            .accessed(Act::Wrap(asking.purpose), &asking, place, asking.wrap(kek, place))
            .await?;
        self.check_wrap(asking, kek, &branch, place).await?;
        Ok(branch)
    }

    async fn check_wrap(
        &self,
        asking: Asking<'_>,
        kek: &BranchKek,
        branch: &Branch,
        place: Place<'_>,
    ) -> Result<()> {
        let again = self
            .accessed(
                Act::Unwrap(asking.purpose),
                &asking,
                place,
                asking.unwrap(branch, place),
            )
            .await?;
        if again.ct_eq(kek) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidAnswer)
            .with_provider(asking.parent.provenance.provider.clone())
            .with_detail(format!(
                "what the key {} has unwrapped is not the branch key {} that it had wrapped",
                asking.parent.id, place.key
            )))
    }

    /// Unwraps a branch key under its parent.
    pub(super) async fn unwrap_branch(
        &self,
        key: &KeyRecord,
        parent: &KeyRecord,
        manager: &dyn KeyManager,
        purpose: Purpose,
    ) -> Result<BranchKek> {
        let branch = key.branch.as_ref().ok_or_else(|| not_a_branch(key))?;
        let asking = self.asking(parent, manager, purpose);
        let place = self.place(&key.scope, key.id);
        self.accessed(Act::Unwrap(purpose), &asking, place, asking.unwrap(branch, place))
            .await
    }

    /// What wraps and unwraps with a branch key, for a probe.
    pub(super) async fn branch_manager(&self, key: &KeyRecord) -> Result<HeldKey> {
        let (view, key) = self.find(key.id).await?;
        let parent = view.parent(&key)?.ok_or_else(|| not_a_branch(&key))?;
        if !parent.unwraps() {
            return Err(refused(format!(
                "the branch key {} is wrapped under the key {} of scope {}, which is {}",
                key.id, parent.id, parent.scope, parent.state
            )));
        }
        let manager = self.call(self.backends.key(&parent.provenance)).await?;
        let kek = self
            .unwrap_branch(&key, parent, &*manager, Purpose::Probe)
            .await?;
        Ok(kek.manager(key.id))
    }

    /// Asks a parent, and tells how that ended.
    async fn accessed<T: Touches>(
        &self,
        act: Act,
        asking: &Asking<'_>,
        place: Place<'_>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let deed = self.access(act, asking.parent).of_branch(place.key, place.scope);
        self.witnessed(deed, self.call(work)).await
    }

    fn place<'p>(&self, scope: &'p Scope, key: RecordId) -> Place<'p> {
        let ring = self.reader.trust().ring();
        Place { ring, scope, key }
    }

    fn asking<'p>(&self, parent: &'p KeyRecord, manager: &'p dyn KeyManager, purpose: Purpose) -> Asking<'p> {
        Asking {
            parent,
            manager,
            purpose,
            // Backends go by their own clocks, and the calls are bounded here.
            deadline: None,
        }
    }
}

/// The key that wraps new branch keys under this scope.
pub(super) fn active_parent<'v>(view: &'v View, scope: &Scope) -> Result<&'v Arc<KeyRecord>> {
    match view.active(scope, &Slot::default()) {
        Some(parent) if parent.branch.is_none() => Ok(parent),
        Some(parent) => Err(refused(format!(
            "the active key {} of scope {scope} is a branch key itself, and wraps no other",
            parent.id
        ))),
        None => Err(Error::new(ErrorKind::NoKeyForScope).with_detail(format!(
            "the scope {scope} has no active key in slot {} that would wrap branch keys: create one, or name another --parent",
            Slot::default()
        ))),
    }
}

/// Whether the parent of a branch key that was just wrapped still wraps.
pub(super) fn is_active_parent(view: &View, branch: &Branch) -> bool {
    let parent = view.key(branch.parent);
    parent.is_some_and(|parent| parent.state == State::Active && branch.wrapped.is_under(&parent.provenance))
}

fn not_a_branch(key: &KeyRecord) -> Error {
    refused(format!("the key {} is no branch key", key.id))
}
