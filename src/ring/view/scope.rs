//! All records of one scope.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ring::authority::AuthorityKey;
use crate::ring::inventory::{RecordKind, Row};
use crate::ring::record::{Head, Intent, KeyRecord, Record, Settings, Tombstone, invalid};
use crate::ring::tree::Leaf;
use crate::ring::{RecordId, Scope, State, provisioned};
use crate::value::error::{Error, Result};

/// All records of one scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScopeView {
    pub(super) keys: Vec<Arc<KeyRecord>>,
    pub(super) intents: Vec<Intent>,
    pub(super) tombstone: Option<Arc<Tombstone>>,
    pub(crate) leaves: Vec<Leaf>,
    /// Who has signed which record of the tree.
    pub(crate) signers: BTreeMap<RecordId, [u8; 32]>,
    /// The key that a provisioner has signed, if it is believed: the only one of the scope.
    pub(crate) provisioned: Option<RecordId>,
    /// All provisioned rows of the scope. None of them counts if the tree has a record of it.
    pub(crate) to_take: Vec<RecordId>,
    /// Why its provisioned rows are not believed, although the tree has no record of it. Then nobody uses the scope.
    pub(crate) unbelieved: Option<Arc<Error>>,
}

impl ScopeView {
    pub(crate) fn keys(&self) -> &[Arc<KeyRecord>] {
        &self.keys
    }

    pub(super) fn verify(
        scope: &Scope,
        rows: &[&Row],
        leaves: &[Leaf],
        ring: RecordId,
        authorities: &[AuthorityKey],
    ) -> Result<Self> {
        let mut view = Self {
            leaves: leaves.to_vec(),
            ..Self::default()
        };
        let mut missing: Vec<&Leaf> = leaves.iter().collect();
        for row in rows {
            let leaf = Leaf::new(row.id, row.kind, &row.signed.body);
            let named = |what: &str| {
                invalid(format!(
                    "the {} {} of scope {scope} {what}",
                    row.kind.name(),
                    row.id
                ))
            };
            let Some(index) = missing.iter().position(|other| other.id == leaf.id) else {
                return Err(named("is not among the records that the head signs"));
            };
            if *missing.swap_remove(index) != leaf {
                // Whoever changed it, or an older version of it.
                return Err(named(
                    "is not the one that the head signs: it was changed, or is an older version",
                ));
            }
            view.signers.insert(row.id, row.signed.signer);
            match row.kind {
                RecordKind::Key => view
                    .keys
                    .push(Arc::new(KeyRecord::of_row(row, ring, authorities)?)),
                RecordKind::Intent => view.intents.push(Intent::of_row(row, ring, authorities)?),
                RecordKind::Tombstone => {
                    let tombstone = Tombstone::of_row(row, ring, authorities)?;
                    if view.tombstone.replace(Arc::new(tombstone)).is_some() {
                        return Err(named("is the second of its scope"));
                    }
                }
            }
        }
        if let Some(leaf) = missing.first() {
            return Err(invalid(format!(
                "the {} {} of scope {scope} is missing: it was deleted",
                leaf.kind.name(),
                leaf.id
            )));
        }
        // Ids of one millisecond are in no order.
        view.keys.sort_by_key(|key| (key.in_ring_since, key.id));
        view.intents.sort_by_key(|intent| intent.id);
        for key in view.keys.iter().filter(|key| key.state == State::Active) {
            let is_second = |other: &&Arc<KeyRecord>| {
                other.state == State::Active && other.slot == key.slot && other.id != key.id
            };
            if view.keys.iter().any(|other| is_second(&other)) {
                return Err(invalid(format!(
                    "scope {scope} has two active keys in slot {}",
                    key.slot
                )));
            }
        }
        Ok(view)
    }

    /// Adds the key that a provisioner has signed. It counts only if the tree proves that the scope has no record at all: so nothing that was
    /// destroyed, revoked or taken over comes back, whatever an inventory replays.
    pub(super) fn add_provisioned(&mut self, scope: &Scope, rows: &[&Row], head: &Head, settings: &Settings) {
        self.to_take = rows.iter().map(|row| row.id).collect();
        if !self.leaves.is_empty() {
            return;
        }
        let key = match rows {
            [] => return,
            [row] => provisioned::of_row(row, head, settings),
            _ => Err(invalid(format!(
                "scope {scope} has more than one provisioned key"
            ))),
        };
        match key {
            Ok(key) => {
                self.provisioned = Some(key.id);
                self.keys.push(Arc::new(key));
            }
            Err(error) => self.disbelieve(error),
        }
    }

    /// Its provisioned rows count no more.
    pub(super) fn disbelieve(&mut self, error: Error) {
        self.provisioned = None;
        self.keys.clear();
        self.unbelieved = Some(Arc::new(error));
    }

    /// Refuses a scope whose provisioned rows are not believed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn check_believed(&self) -> Result<()> {
        match &self.unbelieved {
            None => Ok(()),
            Some(error) => {
                let what = error.detail().unwrap_or("its first key is not believed");
                Err(Error::new(error.kind()).with_detail(format!(
                    "{what}; nobody uses the scope until an administrator has deleted that, see `waxseal ring drop-unbelieved`"
                )))
            }
        }
    }
}
