//! What a ring holds, verified. Nothing else in the ring looks at what an inventory returned.

mod mark;
mod scope;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use self::mark::Mark;
pub(crate) use self::mark::{hex, of_hex};
pub(crate) use self::scope::ScopeView;
pub use self::trust::Trust;
use super::authority::AuthorityKey;
use super::inventory::{RecordKind, Row};
use super::provisioned;
use super::record::{Branch, Exported, Head, Intent, KeyRecord, Provenance, Settings, Tombstone, invalid};
use super::tree::{self, Digest, Leaf, Nodes};
use super::unbelieved::Unbelieved;
use super::{RecordId, Scope, Slot, State, Time};
use crate::value::error::{Error, ErrorKind, Result};

/// The greatest number of successions of authorities.
pub(crate) const MAX_SUCCESSIONS: usize = 1000;

/// Whether an error is about the scopes that were asked for, and says nothing of others: what was read is not to be used, or is
/// more than anybody reads. Anything else says that the inventory could not be read.
pub(crate) fn is_about_records(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InventoryInvalid | ErrorKind::Unsupported { .. } | ErrorKind::OverLimit { .. }
    )
}

/// One revision of a ring, as far as it was asked for. Everything in it was verified.
#[derive(Clone, Debug)]
pub struct View {
    pub(crate) head: Head,
    mark: Mark,
    pub(crate) authority: AuthorityKey,
    settings: Arc<Settings>,
    pub(crate) nodes: Nodes,
    pub(crate) root: Digest,
    pub(crate) scopes: BTreeMap<Scope, ScopeView>,
    /// Scopes that were read for the parents of branch keys alone, and what is wrong with them.
    parents: BTreeMap<Scope, std::result::Result<ScopeView, Arc<Error>>>,
    /// Of a view of the whole ring: the scopes that are not in it because their provisioned rows are not believed.
    pub(crate) unbelieved: Unbelieved,
}

impl View {
    /// Returns the ring's id.
    #[must_use]
    pub fn ring(&self) -> RecordId {
        self.head.ring
    }

    /// Returns the revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.head.revision
    }

    /// Returns when the ring came to this revision, by the inventory's clock.
    #[must_use]
    pub fn changed(&self) -> Time {
        self.head.at
    }

    /// Returns who changed the ring to this revision.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.head.actor
    }

    /// Returns the revision and the hash of the head, to hold against a later one.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Returns the authority that has signed it.
    #[must_use]
    pub fn authority(&self) -> AuthorityKey {
        self.authority
    }

    /// Returns a key of whichever scope that is this KEK, or some of it, and is being destroyed.
    pub(crate) fn ending(&self, kek: &Provenance) -> Option<RecordId> {
        let mut endings = self.head.destroying.iter();
        endings.find(|ending| ending.is_of(kek)).map(|ending| ending.key)
    }

    /// Returns how many branch keys are wrapped under a key, by the signed head. Those that provisioners have made, and that were not taken over
    /// yet, are not among them.
    #[must_use]
    pub fn branches_under(&self, key: RecordId) -> u64 {
        let mut parents = self.head.parents.iter();
        parents
            .find(|parent| parent.key == key)
            .map_or(0, |parent| parent.branches)
    }

    /// Returns the keys under which branch keys are wrapped, and how many. As [`branches_under`](Self::branches_under).
    pub fn branch_parents(&self) -> impl Iterator<Item = (RecordId, u64)> {
        let parents = self.head.parents.iter().filter(|parent| parent.branches > 0);
        parents.map(|parent| (parent.key, parent.branches))
    }

    /// Returns the newest export of the ring that its authority knows of.
    #[must_use]
    pub fn exported(&self) -> Option<&Exported> {
        self.head.exported.as_ref()
    }

    /// The revision with which a branch key of this parent was last wrapped under another key.
    pub(crate) fn branch_left(&self, parent: RecordId) -> Option<u64> {
        let mut parents = self.head.parents.iter();
        parents.find(|other| other.key == parent)?.left
    }

    /// Returns whether the ring has no records at all.
    pub(crate) fn is_without_records(&self) -> bool {
        self.root == tree::ABSENT
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Returns the keys of a scope that was asked for, in the order they were made.
    #[must_use]
    pub fn keys(&self, scope: &Scope) -> &[Arc<KeyRecord>] {
        self.scopes.get(scope).map_or(&[], |scope| &scope.keys)
    }

    /// Returns every key that was asked for.
    pub fn all_keys(&self) -> impl Iterator<Item = &Arc<KeyRecord>> {
        self.scopes.values().flat_map(|scope| &scope.keys)
    }

    /// Returns what rotations of a scope are under way.
    #[must_use]
    pub fn intents(&self, scope: &Scope) -> &[Intent] {
        self.scopes.get(scope).map_or(&[], |scope| &scope.intents)
    }

    /// Returns every rotation under way that was asked for.
    pub fn all_intents(&self) -> impl Iterator<Item = &Intent> {
        self.scopes.values().flat_map(|scope| &scope.intents)
    }

    /// Returns the record that says that a scope was shredded, if it was, and was asked for.
    #[must_use]
    pub fn tombstone(&self, scope: &Scope) -> Option<&Arc<Tombstone>> {
        self.scopes.get(scope).and_then(|scope| scope.tombstone.as_ref())
    }

    /// Returns the tombstones of all scopes that were asked for and shredded.
    pub fn all_tombstones(&self) -> impl Iterator<Item = &Arc<Tombstone>> {
        self.scopes.values().filter_map(|scope| scope.tombstone.as_ref())
    }

    /// Refuses to let a key of a scope that was shredded come into use.
    pub(crate) fn check_not_shredded(&self, scope: &Scope) -> Result<()> {
        match self.tombstone(scope) {
            None => Ok(()),
            Some(tombstone) => Err(tombstone.no_new_key()),
        }
    }

    /// Returns a key, if its scope was asked for.
    #[must_use]
    pub fn key(&self, id: RecordId) -> Option<&Arc<KeyRecord>> {
        self.all_keys().find(|key| key.id == id)
    }

    /// Whether a scope that was asked for has no key and never had one: it has no records but keys that are being made or were taken back, none of which
    /// has ever wrapped. The tree proves it.
    pub(crate) fn is_vacant(&self, scope: &Scope) -> bool {
        let Some(of) = self.scopes.get(scope) else {
            return false;
        };
        let is_nothing = |leaf: &Leaf| match leaf.kind {
            RecordKind::Intent => true,
            RecordKind::Tombstone => false,
            RecordKind::Key => of.keys.iter().any(|key| {
                key.id == leaf.id && !key.has_wrapped && (key.taken_back || key.state == State::Pending)
            }),
        };
        of.provisioned.is_none() && of.leaves.iter().all(is_nothing)
    }

    /// Returns the active key of a scope and slot.
    #[must_use]
    pub fn active(&self, scope: &Scope, slot: &Slot) -> Option<&Arc<KeyRecord>> {
        let mut keys = self.keys(scope).iter();
        keys.find(|key| key.state == State::Active && key.slot == *slot)
    }

    /// Returns the key that a branch key is wrapped under, or `None` for a key that is no branch key. `None`, too, for one that is destroyed, if the
    /// scope of its parent was not asked for: nobody asks that one for it anymore.
    ///
    /// # Errors
    /// `InventoryInvalid` if the ring has no such key, or it is a branch key itself; what is wrong with its scope, if that cannot be believed.
    pub fn parent(&self, key: &KeyRecord) -> Result<Option<&Arc<KeyRecord>>> {
        let Some(branch) = &key.branch else {
            return Ok(None);
        };
        let of_scope = match (
            self.scopes.get(&branch.parent_scope),
            self.parents.get(&branch.parent_scope),
        ) {
            (Some(scope), _) | (None, Some(Ok(scope))) => Some(scope),
            (None, Some(Err(error))) => return Err(error.copy()),
            // The parents of such keys are not read along.
            (None, None) if key.state == State::Destroyed => return Ok(None),
            (None, None) => None,
        };
        let mut keys = of_scope.into_iter().flat_map(|scope| &scope.keys);
        let wrong = |what: &str| {
            invalid(format!(
                "the branch key {} of scope {} is wrapped under the key {} of scope {}, {what}",
                key.id, key.scope, branch.parent, branch.parent_scope
            ))
        };
        match keys.find(|parent| parent.id == branch.parent) {
            Some(parent) if parent.branch.is_some() => Err(wrong("which is a branch key itself")),
            Some(parent) if parent.taken_back => Err(wrong("which was taken back")),
            Some(parent) if !branch.wrapped.is_under(&parent.provenance) => {
                Err(wrong("and its wrap names another KEK"))
            }
            Some(parent) => Ok(Some(parent)),
            None => Err(wrong("which the ring does not have")),
        }
    }

    /// Returns the keys that were revoked and that a branch key is wrapped under, or was: the present parent first. Whoever has one of them, and the
    /// inventory or a backup of it from then, has the branch key, whatever it is wrapped under now. Empty for a key that is no branch key.
    #[must_use]
    pub fn exposed_by(&self, key: &KeyRecord) -> Vec<&Arc<KeyRecord>> {
        let parents = key.branch.iter().flat_map(Branch::parents);
        let known = parents.filter_map(|parent| self.known(&parent.parent_scope, parent.parent));
        known.filter(|parent| parent.revocation().is_some()).collect()
    }

    /// Returns whether a branch key is out of use because its parent is: nothing is sealed or opened with it, whatever its own state.
    #[must_use]
    pub fn is_stopped(&self, key: &KeyRecord) -> bool {
        key.branch.is_some() && !matches!(self.parent(key), Ok(Some(parent)) if parent.unwraps())
    }

    /// A key of a scope that was asked for, or that has parents of branch keys. `None` if the scope cannot be believed, too.
    pub(crate) fn known(&self, scope: &Scope, id: RecordId) -> Option<&Arc<KeyRecord>> {
        let of = match (self.scopes.get(scope), self.parents.get(scope)) {
            (Some(of), _) | (None, Some(Ok(of))) => of,
            _ => return None,
        };
        of.keys.iter().find(|key| key.id == id)
    }

    /// Whether the tree proves that a scope that was asked for has no record at all, and no provisioner has made a key for it.
    pub(crate) fn is_without_key(&self, scope: &Scope) -> bool {
        let of = self.scopes.get(scope);
        of.is_some_and(|of| of.leaves.is_empty() && of.provisioned.is_none())
    }

    /// The key that wraps new branch keys: the active one of this scope in the default slot, if the scope was read.
    ///
    /// # Errors
    /// What is wrong with the scope, if it cannot be believed.
    pub(crate) fn active_parent(&self, scope: &Scope) -> Result<Option<Arc<KeyRecord>>> {
        let of = match (self.scopes.get(scope), self.parents.get(scope)) {
            (Some(of), _) | (None, Some(Ok(of))) => of,
            (None, Some(Err(error))) => return Err(error.copy()),
            (None, None) => return Ok(None),
        };
        let mut keys = of.keys.iter();
        let active = keys.find(|key| key.state == State::Active && key.slot == Slot::default());
        Ok(active.cloned())
    }

    /// Adds what the inventory returned when the first key of a scope was provisioned, if it is believed.
    ///
    /// # Errors
    /// As for a row that was read.
    pub(crate) fn with_provisioned(&mut self, scope: &Scope, row: &Row) -> Result<()> {
        if row.scope != *scope {
            return Err(invalid(format!(
                "the first key of scope {scope} is of scope {}",
                row.scope
            )));
        }
        let Some(mut of) = self.scopes.get(scope).cloned() else {
            return Err(invalid(format!("scope {scope} was not read")));
        };
        of.add_provisioned(scope, &[row], &self.head, &self.settings);
        of.check_believed()?;
        for key in &of.keys {
            provisioned::check_parent(key, self.parent(key)?)?;
        }
        self.scopes.insert(scope.clone(), of);
        Ok(())
    }

    /// Returns whether this is a key that a provisioner has made, and that no administrator has taken over.
    #[must_use]
    pub fn is_provisioned(&self, key: RecordId) -> bool {
        self.scopes.values().any(|scope| scope.provisioned == Some(key))
    }

    /// The scopes of parents that are not in it.
    fn unread_parents(&self) -> BTreeSet<Scope> {
        let living = self.all_keys().filter(|key| key.state != State::Destroyed);
        // Whoever has a former one may have the branch key, too.
        let parents = living
            .filter_map(|key| key.branch.as_ref())
            .flat_map(Branch::parents)
            .map(|parent| parent.parent_scope);
        let is_unread = |scope: &Scope| !self.scopes.contains_key(scope) && !self.parents.contains_key(scope);
        parents.filter(is_unread).collect()
    }

    /// Disbelieves provisioned keys whose parents are not what they must be.
    fn judge_provisioned(&mut self) {
        let of_provisioners = self
            .scopes
            .iter()
            .filter(|(_, scope)| scope.provisioned.is_some());
        let wrong = of_provisioners.filter_map(|(scope, records)| {
            let mut keys = records.keys.iter();
            let judge = |key: &Arc<KeyRecord>| provisioned::check_parent(key, self.parent(key)?);
            Some((scope.clone(), keys.try_for_each(judge).err()?))
        });
        for (scope, error) in wrong.collect::<Vec<_>>() {
            if let Some(records) = self.scopes.get_mut(&scope) {
                records.disbelieve(error);
            }
        }
    }

    /// Refuses scopes whose provisioned rows are not believed.
    fn check_believed(&self) -> Result<()> {
        self.scopes.values().try_for_each(ScopeView::check_believed)
    }
}

/// The error of a key that is not there.
pub(crate) fn no_such_key(id: RecordId) -> Error {
    Error::new(ErrorKind::InvalidArgument).with_detail(format!("the ring has no key {id}"))
}
