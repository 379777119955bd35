//! A ring that somebody looks at again and again: what was changed is read anew, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Debug};
use std::sync::Arc;

use super::reader::{PAGE, Reader};
use super::record::KeyRecord;
use super::tree::{self, Digest, Leaf};
use super::view::{View, is_about_records};
use super::{Mark, Scope, Settings};
use crate::value::error::{Error, Result};

/// What a ring holds, kept to show it: one `T` for each key. Only what is kept takes memory, however big a record is.
///
/// *Freshness.* [`refresh`](Self::refresh) reads the scopes that were changed since the last time; keys that only a provisioner has signed are read
/// each time. Each scope is as it was when it was read: a survey is not of one revision.
///
/// *What does not verify.* A scope whose records do not verify has no key here, hinders no other, and is a [finding](Self::findings).
///
/// ```
/// # use waxseal::ring::{Reader, State, Survey};
/// # async fn run(reader: &Reader) -> waxseal::Result<()> {
/// let mut survey = Survey::new();
/// survey.refresh(reader, |key, _| key.state).await?;
/// let active = survey.keys().filter(|(_, state)| **state == State::Active).count();
/// # Ok(())
/// # }
/// ```
pub struct Survey<T> {
    /// The newest revision, without scopes and nodes.
    view: Option<View>,
    /// What the tree has records of.
    scopes: BTreeMap<Scope, Held<T>>,
    /// Scopes with nothing but the key of a provisioner.
    provisioned: BTreeMap<Scope, Vec<T>>,
    findings: BTreeMap<Scope, Arc<Error>>,
    unlisted: u64,
    /// Whether the last refresh was not.
    is_unfinished: bool,
}

struct Held<T> {
    leaves: Vec<Leaf>,
    keys: Vec<T>,
}

impl<T> Debug for Survey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Survey")
            .field("mark", &self.view.as_ref().map(View::mark))
            .field("scopes", &self.scopes.len())
            .finish_non_exhaustive()
    }
}

impl<T> Default for Survey<T> {
    fn default() -> Self {
        Self {
            view: None,
            scopes: BTreeMap::new(),
            provisioned: BTreeMap::new(),
            findings: BTreeMap::new(),
            unlisted: 0,
            is_unfinished: false,
        }
    }
}

impl<T> Survey<T> {
    /// Makes one that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads what was changed since the last time. `keep` makes of each key what is kept; its second argument says whether only a provisioner has
    /// signed the key.
    ///
    /// # Errors
    /// As [`Trust::read`](super::Trust::read), if the inventory cannot be read, or not even the head verifies. The survey then holds what it held, with some
    /// scopes newer.
    ///
    /// *Cancel safety.* Dropping the future is as an error.
    pub async fn refresh(
        &mut self,
        reader: &Reader,
        mut keep: impl FnMut(&KeyRecord, bool) -> T,
    ) -> Result<()> {
        let end = reader.inventory().read(&[], &tree::all_paths()).await?;
        let mut view = reader.trust().verify(end, &[])?;
        let is_same_tree = self
            .view
            .as_ref()
            .is_some_and(|before| before.revision() == view.revision());
        if !is_same_tree || self.is_unfinished || self.unlisted > 0 || !self.findings.is_empty() {
            self.is_unfinished = true;
            let todo = self.changed(reader, &view).await?;
            for page in todo.chunks(PAGE as usize) {
                self.read(reader, page, &mut keep).await?;
            }
        }
        view.nodes.clear();
        self.provisioned(reader, &view, &mut keep).await?;
        self.view = Some(view);
        self.is_unfinished = false;
        Ok(())
    }

    /// Forgets the scopes that the tree has no record of, and returns those that it has other records of than were read.
    async fn changed(&mut self, reader: &Reader, view: &View) -> Result<Vec<Scope>> {
        let mut signed: HashMap<Digest, Vec<Leaf>> = HashMap::new();
        for (of, leaf) in tree::all_leaves(&view.nodes, &view.root)? {
            signed.entry(of).or_default().push(leaf);
        }
        let listed = reader.listed().await?;
        self.scopes
            .retain(|scope, _| signed.contains_key(&tree::scope_hash(scope)));
        let mut todo = Vec::new();
        for scope in listed.iter().chain(self.scopes.keys()) {
            // A scope that is listed and held comes twice, and counts once.
            let Some(now) = signed.remove(&tree::scope_hash(scope)) else {
                continue;
            };
            match self.scopes.get(scope) {
                Some(held) if held.leaves == now => {}
                _ => todo.push(scope.clone()),
            }
        }
        self.findings.clear();
        // What nobody lists cannot be read: its name is not known.
        self.unlisted = signed.into_values().map(|leaves| leaves.len() as u64).sum();
        Ok(todo)
    }

    /// Reads these scopes, together or, if they do not all verify, each by itself.
    async fn read(
        &mut self,
        reader: &Reader,
        page: &[Scope],
        keep: &mut impl FnMut(&KeyRecord, bool) -> T,
    ) -> Result<()> {
        match reader.scopes(page).await {
            Ok(view) => {
                page.iter().for_each(|scope| self.hold(scope, &view, keep));
                return Ok(());
            }
            Err(error) if !is_about_records(&error) => return Err(error),
            Err(_) => {}
        }
        for scope in page {
            match reader.scopes(std::slice::from_ref(scope)).await {
                Ok(view) => self.hold(scope, &view, keep),
                Err(error) if !is_about_records(&error) => return Err(error),
                Err(error) => {
                    self.scopes.remove(scope);
                    self.findings.insert(scope.clone(), Arc::new(error));
                }
            }
        }
        Ok(())
    }

    fn hold(&mut self, scope: &Scope, view: &View, keep: &mut impl FnMut(&KeyRecord, bool) -> T) {
        let leaves = view
            .scopes
            .get(scope)
            .map(|of| of.leaves.clone())
            .unwrap_or_default();
        if leaves.is_empty() {
            self.scopes.remove(scope);
            return;
        }
        let keys = view.keys(scope).iter().map(|key| keep(key, false));
        let held = Held {
            leaves,
            keys: keys.collect(),
        };
        self.scopes.insert(scope.clone(), held);
    }

    async fn provisioned(
        &mut self,
        reader: &Reader,
        view: &View,
        keep: &mut impl FnMut(&KeyRecord, bool) -> T,
    ) -> Result<()> {
        let mut found = BTreeMap::new();
        let mut after = None;
        while view.settings().provision.is_some() {
            let Some(page) = reader.provisioned_page(after.as_ref(), None).await? else {
                break;
            };
            for (scope, records) in &page.view.scopes {
                if let Some(error) = &records.unbelieved {
                    self.findings.insert(scope.clone(), Arc::clone(error));
                } else if records.provisioned.is_some() {
                    let keys = records.keys().iter().map(|key| keep(key, true));
                    found.insert(scope.clone(), keys.collect());
                }
            }
            after = Some(page.last);
        }
        self.provisioned = found;
        Ok(())
    }

    /// Returns the mark of the newest revision that was read. `None` before the first time.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.view.as_ref().map(View::mark)
    }

    /// Returns the settings of that revision.
    #[must_use]
    pub fn settings(&self) -> Option<&Settings> {
        self.view.as_ref().map(|view| &**view.settings())
    }

    /// Returns the head of that revision: a view without scopes.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Returns how many scopes have a key or had one.
    #[must_use]
    pub fn scopes(&self) -> usize {
        self.scopes.len() + self.provisioned.len()
    }

    /// Returns what was kept of each key: first of those that the ring's authority has signed, by scope in the order of bytes, then of those that only a
    /// provisioner has.
    pub fn keys(&self) -> impl Iterator<Item = (&Scope, &T)> {
        let of_authority = self.scopes.iter().map(|(scope, held)| (scope, &held.keys));
        of_authority
            .chain(&self.provisioned)
            .flat_map(|(scope, keys)| keys.iter().map(move |key| (scope, key)))
    }

    /// Returns the scopes whose records do not verify, and why.
    pub fn findings(&self) -> impl Iterator<Item = (&Scope, &Error)> {
        self.findings.iter().map(|(scope, error)| (scope, &**error))
    }

    /// Returns how many records the head signs that are in no scope that the inventory lists: somebody has deleted them, or a scope was made meanwhile.
    #[must_use]
    pub fn unlisted(&self) -> u64 {
        self.unlisted
    }
}
