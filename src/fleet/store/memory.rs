//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Change, Item, Page, Range, Replaced, Scanned, Store, read_front};
use crate::value::context::EncryptionContext;
use crate::value::error::Result;

/// A store in memory, for tests.
#[derive(Debug)]
pub struct MemoryStore {
    name: String,
    context: Option<EncryptionContext>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    values: BTreeMap<String, (u64, Vec<u8>)>,
    /// Counts changes, so that a value that was changed and changed back is another one.
    version: u64,
    written: u64,
}

impl MemoryStore {
    /// Makes an empty store whose values are all sealed in one context.
    #[must_use]
    pub fn new(name: &str, context: EncryptionContext) -> Self {
        Self {
            name: format!("store:{name}"),
            context: Some(context),
            state: Mutex::default(),
        }
    }

    /// Makes an empty store whose values store their contexts.
    #[must_use]
    pub fn with_stored_contexts(name: &str) -> Self {
        Self {
            name: format!("store:{name}"),
            context: None,
            state: Mutex::default(),
        }
    }

    /// Stores a value, in the place of the one with this id.
    pub fn put(&self, id: &str, value: impl Into<Vec<u8>>) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        state.values.insert(id.to_owned(), (version, value.into()));
    }

    /// Removes a value. Returns it if it was there.
    pub fn remove(&self, id: &str) -> Option<Vec<u8>> {
        self.lock().values.remove(id).map(|(_, value)| value)
    }

    /// Returns a value.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Vec<u8>> {
        self.lock().values.get(id).map(|(_, value)| value.clone())
    }

    /// Returns all ids, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.lock().values.keys().cloned().collect()
    }

    /// Returns how many values were replaced by [`Store::replace`].
    #[must_use]
    pub fn written(&self) -> u64 {
        self.lock().written
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn item(&self, id: &str, (version, value): &(u64, Vec<u8>)) -> Result<Item> {
        let front = read_front(|len| Ok(value.get(..len).unwrap_or(value).to_vec()))?;
        let item = Item::new(id, front, value.len() as u64)?.with_seen(version.to_be_bytes());
        Ok(match &self.context {
            Some(context) => item.with_context(context.clone()),
            None => item,
        })
    }

    fn replace_one(&self, change: &Change) -> Replaced {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let item = change.item();
        let Some((seen, value)) = state.values.get_mut(item.id()) else {
            return Replaced::Gone;
        };
        if seen.to_be_bytes() != item.seen() {
            return Replaced::Changed;
        }
        value.splice(
            ..change.replaces().min(value.len()),
            change.front().iter().copied(),
        );
        *seen = version;
        state.written += 1;
        Replaced::Done
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &str {
        &self.name
    }

    async fn scan(&self, range: &Range, limit: usize) -> Result<Page> {
        let state = self.lock();
        let from = range.after().map_or(Bound::Unbounded, Bound::Excluded);
        let to = range.until().map_or(Bound::Unbounded, Bound::Included);
        let is_empty = matches!((range.after(), range.until()), (Some(after), Some(until)) if until <= after);
        if is_empty {
            return Ok(Page {
                found: Vec::new(),
                is_last: true,
            });
        }
        let mut values = state.values.range::<str, _>((from, to));
        let found = values
            .by_ref()
            .take(limit)
            .map(|(id, value)| {
                self.item(id, value)
                    .map_or_else(|error| Scanned::faulty(id, error), Scanned::read)
            })
            .collect();
        Ok(Page {
            found,
            is_last: values.next().is_none(),
        })
    }

    async fn front(&self, id: &str) -> Result<Option<Item>> {
        let state = self.lock();
        state.values.get(id).map(|value| self.item(id, value)).transpose()
    }

    async fn replace(&self, changes: &[Change]) -> Vec<Result<Replaced>> {
        changes
            .iter()
            .map(|change| Ok(self.replace_one(change)))
            .collect()
    }

    async fn split(&self, range: &Range, parts: usize) -> Result<Vec<Range>> {
        let state = self.lock();
        let is_in = |id: &&String| {
            range.after().is_none_or(|after| id.as_str() > after)
                && range.until().is_none_or(|until| id.as_str() <= until)
        };
        let ids: Vec<&String> = state.values.keys().filter(is_in).collect();
        let parts = parts.max(1);
        let each = ids.len().div_ceil(parts).max(1);
        let cuts = ids
            .chunks_exact(each)
            .filter_map(|ids| ids.last().map(|id| id.as_str()));
        Ok(divided(range, cuts.take(parts - 1)))
    }
}

/// A range cut behind each of these ids.
pub(super) fn divided<'i>(range: &Range, cuts: impl Iterator<Item = &'i str>) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut rest = range.clone();
    for cut in cuts {
        ranges.push(rest.clone().up_to(cut));
        rest = rest.from_after(cut);
    }
    ranges.push(rest);
    ranges
}
