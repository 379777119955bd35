//! An inventory in memory, for tests and for one process that needs its ring no longer than it runs.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::rows::Rows;
use super::{Change, Heartbeat, Inventory, NodePath, Row, Signed, Snapshot, check_provisioned};
use crate::ring::{RecordId, Scope, Slot, State, Time};
use crate::runtime::{AmbientRuntime, Runtime};
use crate::value::error::{Error, ErrorKind, Result};

/// How many heartbeats are kept and returned.
const MAX_HEARTBEATS: usize = 10_000;

/// A ring in memory. Clones are the same ring; the last one that is dropped takes it along.
///
/// Its clock is the wall clock of a [`Runtime`].
#[derive(Clone)]
pub struct MemoryInventory(Arc<Shared>);

struct Shared {
    runtime: Arc<dyn Runtime>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    revision: u64,
    head: Option<Signed>,
    settings: Option<Signed>,
    successions: Vec<Signed>,
    nodes: BTreeMap<NodePath, Vec<u8>>,
    rows: Rows,
    provisioned: BTreeMap<(Scope, Slot), Row>,
    heartbeats: BTreeMap<(String, String), Heartbeat>,
}

impl Held {
    fn provisioned_of<'h>(&'h self, scopes: &'h [Scope]) -> impl Iterator<Item = &'h Row> {
        let rows = self.provisioned.values();
        rows.filter(|row| scopes.contains(&row.scope))
    }

    /// Distinct scopes, in the order of what `key` returns.
    fn scopes<K: Ord>(&self, limit: u32, key: impl Fn(&Row) -> Option<K>) -> Vec<Scope> {
        let mut first: BTreeMap<&Scope, K> = BTreeMap::new();
        for row in self.rows.values() {
            if let Some(key) = key(row) {
                match first.get(&row.scope) {
                    Some(there) if *there <= key => {}
                    _ => {
                        first.insert(&row.scope, key);
                    }
                }
            }
        }
        let mut scopes: Vec<_> = first.into_iter().map(|(scope, key)| (key, scope)).collect();
        scopes.sort();
        let scopes = scopes.into_iter().map(|(_, scope)| scope.clone());
        scopes.take(limit as usize).collect()
    }
}

fn not_taken(scope: &Scope) -> Error {
    Error::new(ErrorKind::Conflict).with_detail(format!(
        "scope {scope} has a provisioned row beside its others, or a second one"
    ))
}

fn two_active() -> Error {
    Error::new(ErrorKind::Conflict).with_detail("there would be two active keys in one scope and slot")
}

impl Default for MemoryInventory {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryInventory {
    /// Makes an empty inventory that goes by the wall clock of this process.
    #[must_use]
    pub fn new() -> Self {
        Self::with_runtime(Arc::new(AmbientRuntime))
    }

    /// Makes an empty inventory that goes by the wall clock of this runtime.
    #[must_use]
    pub fn with_runtime(runtime: Arc<dyn Runtime>) -> Self {
        Self(Arc::new(Shared {
            runtime,
            held: Mutex::default(),
        }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // A change is checked before anything is written, and writing does not panic.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryInventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held();
        f.debug_struct("MemoryInventory")
            .field("revision", &held.revision)
            .field("rows", &held.rows.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Inventory for MemoryInventory {
    async fn revision(&self) -> Result<u64> {
        Ok(self.held().revision)
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        let held = self.held();
        // Each once, whoever asks twice, in the order of their ids.
        let asked: BTreeSet<&Scope> = scopes.iter().collect();
        let mut rows: Vec<Row> = asked
            .into_iter()
            .flat_map(|scope| held.rows.of(scope))
            .cloned()
            .collect();
        rows.sort_by_key(|row| row.id);
        let nodes = nodes
            .iter()
            .filter_map(|path| Some((path.clone(), held.nodes.get(path)?.clone())));
        Ok(Snapshot {
            revision: held.revision,
            head: held.head.clone(),
            settings: held.settings.clone(),
            successions: held.successions.clone(),
            nodes: nodes.collect(),
            rows,
            provisioned: held.provisioned_of(scopes).cloned().collect(),
        })
    }

    async fn commit(&self, change: &Change) -> Result<()> {
        change.check()?;
        let mut held = self.held();
        if held.revision != change.follows {
            return Err(Error::new(ErrorKind::Conflict).with_detail(format!(
                "the change follows revision {}, and the ring has revision {}",
                change.follows, held.revision
            )));
        }
        // As they would be afterwards, in the scopes that the change writes to.
        let written: BTreeSet<&Scope> = change.put.iter().map(|row| &row.scope).collect();
        let near = written.into_iter().flat_map(|scope| held.rows.of(scope));
        let mut rows: Rows = near.cloned().collect();
        for id in &change.delete {
            rows.remove(id);
        }
        for row in &change.put {
            let is_another_active = |other: &Row| {
                other.state == Some(State::Active) && other.id != row.id && other.slot == row.slot
            };
            if row.state == Some(State::Active) && rows.of(&row.scope).any(is_another_active) {
                return Err(two_active());
            }
            rows.insert(row.clone());
        }
        let mut provisioned = held.provisioned.clone();
        provisioned.retain(|_, row| !change.take.contains(&row.id));
        let is_left = |row: &&Row| provisioned.keys().any(|(scope, _)| *scope == row.scope);
        if let Some(row) = change.put.iter().find(is_left) {
            return Err(not_taken(&row.scope));
        }
        for id in &change.delete {
            held.rows.remove(id);
        }
        for row in &change.put {
            held.rows.insert(row.clone());
        }
        held.provisioned = provisioned;
        for (path, body) in &change.nodes {
            if body.is_empty() {
                held.nodes.remove(path);
            } else {
                held.nodes.insert(path.clone(), body.clone());
            }
        }
        if let Some(settings) = &change.settings {
            held.settings = Some(settings.clone());
        }
        held.successions.extend(change.succession.clone());
        held.head = Some(change.head.clone());
        held.revision = change.follows + 1;
        Ok(())
    }

    async fn restore(&self, whole: &Snapshot) -> Result<()> {
        whole.check()?;
        let mut active = BTreeSet::new();
        let is_active = |row: &&Row| row.state == Some(State::Active);
        for row in whole.rows.iter().filter(is_active) {
            if !active.insert((&row.scope, &row.slot)) {
                return Err(two_active());
            }
        }
        let mut provisioned = BTreeMap::new();
        for row in &whole.provisioned {
            let place = (row.scope.clone(), row.slot.clone());
            let is_second = provisioned.insert(place, row.clone()).is_some();
            if is_second || whole.rows.iter().any(|other| other.scope == row.scope) {
                return Err(not_taken(&row.scope));
            }
        }
        let mut held = self.held();
        if held.revision != 0 {
            return Err(Error::new(ErrorKind::Conflict).with_detail("the inventory holds a ring already"));
        }
        held.head.clone_from(&whole.head);
        held.settings.clone_from(&whole.settings);
        held.successions.clone_from(&whole.successions);
        held.nodes.clone_from(&whole.nodes);
        held.rows = whole.rows.iter().cloned().collect();
        held.provisioned = provisioned;
        held.revision = whole.revision;
        Ok(())
    }

    async fn provision(&self, follows: u64, row: &Row) -> Result<Row> {
        check_provisioned(row)?;
        let mut held = self.held();
        let place = (row.scope.clone(), row.slot.clone());
        if let Some(there) = held.provisioned.get(&place) {
            return Ok(there.clone());
        }
        let conflict = |what: String| Err(Error::new(ErrorKind::Conflict).with_detail(what));
        if held.revision != follows || follows == 0 {
            return conflict(format!(
                "the first key of a scope follows revision {follows}, and the ring has revision {}",
                held.revision
            ));
        }
        if held.rows.of(&row.scope).next().is_some() {
            return conflict(format!("scope {} has a row already", row.scope));
        }
        let has_id = |other: &Row| other.id == row.id;
        if held.rows.get(&row.id).is_some() || held.provisioned.values().any(has_id) {
            return conflict(format!("another row has the id {}", row.id));
        }
        held.provisioned.insert(place, row.clone());
        Ok(row.clone())
    }

    async fn scopes_provisioned(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let held = self.held();
        let mut scopes: Vec<Scope> = held.provisioned.keys().map(|(scope, _)| scope.clone()).collect();
        scopes.dedup();
        scopes.retain(|scope| after.is_none_or(|after| scope > after));
        scopes.truncate(limit as usize);
        Ok(scopes)
    }

    async fn now(&self) -> Result<Time> {
        Time::try_from(self.0.runtime.wall_clock())
    }

    async fn scope_of(&self, id: RecordId) -> Result<Option<Scope>> {
        let held = self.held();
        let provisioned = || held.provisioned.values().find(|row| row.id == id);
        let found = held.rows.get(&id).or_else(provisioned);
        Ok(found.map(|row| row.scope.clone()))
    }

    async fn scopes_of_kek(&self, provider: &str, kek_id: &str, limit: u32) -> Result<Vec<Scope>> {
        Ok(self.held().scopes(limit, |row| {
            let kek = row.kek.as_ref()?;
            (kek.provider() == provider && kek.id() == kek_id).then_some(())
        }))
    }

    async fn scopes_due(&self, by: Time, limit: u32) -> Result<Vec<Scope>> {
        Ok(self.held().scopes(limit, |row| row.due.filter(|due| *due <= by)))
    }

    async fn next_due(&self) -> Result<Option<Time>> {
        Ok(self.held().rows.values().filter_map(|row| row.due).min())
    }

    async fn scopes_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let held = self.held();
        Ok(held
            .rows
            .scopes_after(after)
            .take(limit as usize)
            .cloned()
            .collect())
    }

    async fn scopes_pending(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        Ok(self.held().scopes(limit, |row| {
            let is_next = after.is_none_or(|after| row.scope > *after);
            (is_next && row.state == Some(State::Pending)).then_some(())
        }))
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<()> {
        heartbeat.check()?;
        let mut heartbeat = heartbeat.clone();
        heartbeat.malformed = None;
        heartbeat.at = Some(self.now().await?);
        let mut held = self.held();
        let key = (heartbeat.reader.clone(), heartbeat.process.clone());
        if held.heartbeats.len() >= MAX_HEARTBEATS && !held.heartbeats.contains_key(&key) {
            let oldest = held.heartbeats.iter().min_by_key(|(_, beat)| beat.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                held.heartbeats.remove(&oldest);
            }
        }
        held.heartbeats.insert(key, heartbeat);
        Ok(())
    }

    async fn heartbeats(&self, since: Time) -> Result<Vec<Heartbeat>> {
        let now = self.now().await?;
        let held = self.held();
        let is_recent = |beat: &&Heartbeat| (Some(since)..=Some(now)).contains(&beat.at);
        let mut recent: Vec<_> = held.heartbeats.values().filter(is_recent).cloned().collect();
        recent.sort_by_key(|beat| std::cmp::Reverse(beat.at));
        Ok(recent)
    }

    async fn heartbeats_of(&self, reader: &str, since: Time) -> Result<Vec<Heartbeat>> {
        let mut beats = self.heartbeats(since).await?;
        beats.retain(|beat| beat.reader == reader);
        Ok(beats)
    }
}

#[cfg(test)]
impl MemoryInventory {
    /// Holds nothing but this, as after somebody else has written the store.
    pub(crate) fn replace(&self, whole: &Snapshot) {
        let place = |row: &Row| ((row.scope.clone(), row.slot.clone()), row.clone());
        let mut held = self.held();
        held.revision = whole.revision;
        held.head.clone_from(&whole.head);
        held.settings.clone_from(&whole.settings);
        held.successions.clone_from(&whole.successions);
        held.nodes.clone_from(&whole.nodes);
        held.rows = whole.rows.iter().cloned().collect();
        held.provisioned = whole.provisioned.iter().map(place).collect();
    }
}
