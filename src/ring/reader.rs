//! Reading a ring: page by page, by id, and as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::authority::Authority;
use super::clock::{Agreed, Asked};
use super::draft::Pen;
use super::inventory::{Inventory, Row, Snapshot};
use super::tree::{Digest, Leaf, Nodes};
use super::unbelieved::Unbelieved;
use super::view::{ScopeView, Trust, View, no_such_key};
#[cfg(feature = "audit")]
use super::witness::Witness;
use super::witness::Witnessed;
use super::{RecordId, Scope, Time, tree};
use crate::runtime::{AmbientRuntime, Runtime};
use crate::value::error::{Error, ErrorKind, Result};

/// How many scopes are asked for at once.
pub(crate) const PAGE: u32 = 500;
/// How often something is read again because the ring was changed meanwhile.
const TRIES: usize = 16;

/// Reads a ring, and returns nothing that it has not verified.
#[derive(Debug)]
pub struct Reader {
    trust: Trust,
    inventory: Arc<dyn Inventory>,
    runtime: Arc<dyn Runtime>,
    witness: Option<Arc<Witnessed>>,
}

impl Reader {
    /// Reads what this inventory holds, and believes what this trust says.
    #[must_use]
    pub fn new(trust: Trust, inventory: Arc<dyn Inventory>) -> Self {
        Self {
            trust,
            inventory,
            runtime: Arc::new(AmbientRuntime),
            witness: None,
        }
    }

    /// Compares the inventory's time with the wall clock of this runtime before something is signed. [`AmbientRuntime`] by default.
    #[must_use]
    pub fn with_runtime(self, runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, ..self }
    }

    /// Tells this witness of everything that is done with it.
    #[cfg(feature = "audit")]
    pub(crate) fn witnessed_by(self, witness: Arc<dyn Witness>) -> Self {
        Self {
            witness: Some(Arc::new(Witnessed::by(witness))),
            ..self
        }
    }

    pub(crate) fn witness(&self) -> Option<&Witnessed> {
        self.witness.as_deref()
    }

    /// Returns what it believes.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Returns the inventory.
    #[must_use]
    pub fn inventory(&self) -> &Arc<dyn Inventory> {
        &self.inventory
    }

    /// Returns what this authority makes changes with.
    pub(crate) fn pen<'p>(&'p self, authority: &'p Authority, actor: &'p str) -> Pen<'p> {
        Pen {
            trust: &self.trust,
            inventory: &*self.inventory,
            authority,
            next: None,
            actor,
            runtime: &*self.runtime,
            witness: self.witness(),
            tolerance: Duration::ZERO,
        }
    }

    /// Returns the runtime.
    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }

    /// Asks what time it is.
    pub(crate) async fn ask(&self) -> Result<Asked> {
        Asked::of(&*self.inventory, &*self.runtime).await
    }

    /// Returns the time that the inventory and this machine agree on.
    pub(crate) async fn time(&self, view: &View) -> Result<Time> {
        Ok(self.agreed(view).await?.now)
    }

    /// Returns what both clocks say.
    pub(crate) async fn agreed(&self, view: &View) -> Result<Agreed> {
        self.ask().await?.agreed_by(view.settings())
    }

    /// Reads these scopes. With none, only the settings.
    ///
    /// # Errors
    /// As [`Trust::read`].
    pub async fn scopes(&self, scopes: &[Scope]) -> Result<View> {
        let view = self.trust.read(&*self.inventory, scopes).await?;
        if let Some(witness) = &self.witness {
            witness.saw(&view);
        }
        Ok(view)
    }

    /// Reads the scope of a key.
    ///
    /// # Errors
    /// `InvalidArgument` if the ring has no such key; as [`Trust::read`].
    pub async fn scope_of(&self, key: RecordId) -> Result<(Scope, View)> {
        // The inventory's word for it is a hint alone.
        let scope = self
            .inventory
            .scope_of(key)
            .await?
            .ok_or_else(|| no_such_key(key))?;
        let view = self.scopes(std::slice::from_ref(&scope)).await?;
        if view.key(key).is_none() {
            return Err(no_such_key(key));
        }
        Ok((scope, view))
    }

    /// Reads the scopes after this one, at most `limit` of them, in the order of their bytes; from the beginning with `None`.
    /// Returns `None` after the last.
    ///
    /// # Errors
    /// As [`Trust::read`]; `InventoryInvalid` if the inventory does not list its scopes in order.
    pub async fn scopes_after(&self, after: Option<&Scope>, limit: u32) -> Result<Option<View>> {
        let scopes = self.page_after(after, limit).await?;
        if scopes.is_empty() {
            return Ok(None);
        }
        self.scopes(&scopes).await.map(Some)
    }

    /// Returns the names of the next scopes that the inventory lists: at most `limit`, each after the one before, so that nobody
    /// goes in circles.
    pub(crate) async fn page_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let page = self.inventory.scopes_after(after, limit).await?;
        check_page(after, page, limit)
    }

    /// Returns the names of all scopes that the inventory lists. A hint: one may be missing, or not exist. They are no more than the head
    /// signs records, or fit on one page, so that an inventory that invents scopes ends nobody's memory.
    ///
    /// # Errors
    /// As [`Trust::read`]; `InventoryInvalid` if the inventory does not list its scopes in order, or lists more than that.
    pub async fn listed(&self) -> Result<Vec<Scope>> {
        let mut all: Vec<Scope> = Vec::new();
        let mut most = PAGE as usize;
        loop {
            let page = self.page_after(all.last(), PAGE).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
            if all.len() > most {
                // Counted again each time: a ring can grow, and only its authority lets it.
                most = self.count_records().await?;
                if all.len() > most {
                    return Err(too_many(most));
                }
            }
        }
    }

    /// How many records the head signs.
    pub(crate) async fn count_records(&self) -> Result<usize> {
        let snapshot = self.inventory.read(&[], &tree::all_paths()).await?;
        let view = self.trust.verify(snapshot, &[])?;
        Ok(tree::all_leaves(&view.nodes, &view.root)?.len())
    }

    /// Reads everything, of one revision: the raw snapshot.
    pub(crate) async fn everything(&self) -> Result<(Snapshot, View)> {
        let whole = self.gather(|rows, _| rows).await?;
        let (mut snapshot, view) = (whole.snapshot, whole.view);
        snapshot.rows = whole.scopes.into_values().flatten().collect();
        snapshot.provisioned = whole.provisioned.keys.into_values().map(|(row, _)| row).collect();
        Ok((snapshot, view))
    }

    /// Reads everything, of one revision: the verified view, the keys of provisioners included.
    pub(crate) async fn whole(&self) -> Result<View> {
        let whole = self.gather(|_, records| records).await?;
        let mut view = whole.view;
        view.scopes = whole.scopes;
        view.unbelieved = whole.provisioned.unbelieved;
        let provisioned = whole.provisioned.keys.into_iter();
        view.scopes
            .extend(provisioned.map(|(scope, (_, records))| (scope, records)));
        Ok(view)
    }

    /// Reads a scope, and those of all keys that its branch keys are or were wrapped under, destroyed ones included.
    pub(crate) async fn with_parents(&self, scope: &Scope) -> Result<View> {
        let mut scopes = vec![scope.clone()];
        for _ in 0..TRIES {
            let view = self.scopes(&scopes).await?;
            let branches = view.keys(scope).iter().filter_map(|key| key.branch.as_ref());
            let parents = branches.flat_map(super::record::Branch::parents);
            let mut missing: Vec<_> = parents
                .map(|parent| parent.parent_scope)
                .filter(|parent| !scopes.contains(parent))
                .collect();
            missing.sort();
            missing.dedup();
            if missing.is_empty() {
                return Ok(view);
            }
            scopes.extend(missing);
        }
        Err(Error::new(ErrorKind::Conflict)
            .with_detail("the parents of branch keys were changed each time that they were read"))
    }

    /// Returns the names of the scopes with a provisioned row that the inventory lists after this one, at most `limit`. A hint: one may be missing, or
    /// not exist.
    pub(crate) async fn provisioned_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>> {
        let page = self.inventory.scopes_provisioned(after, limit).await?;
        check_page(after, page, limit)
    }

    /// Reads everything page by page, so that no call is long, and then again what was changed meanwhile, until all of it is of one
    /// revision.
    async fn gather<T>(&self, mut keep: impl FnMut(Vec<Row>, ScopeView) -> T) -> Result<Whole<T>> {
        let mut held: BTreeMap<Scope, (Vec<Leaf>, T)> = BTreeMap::new();
        let mut todo = self.listed().await?;
        let mut missing = None;
        for _ in 0..TRIES {
            for page in todo.chunks(PAGE as usize) {
                let (snapshot, mut view) = self.trust.read_rows(&*self.inventory, page, None).await?;
                let mut rows: BTreeMap<Scope, Vec<Row>> = BTreeMap::new();
                for row in snapshot.rows {
                    rows.entry(row.scope.clone()).or_default().push(row);
                }
                for scope in page {
                    match view.scopes.remove(scope) {
                        Some(records) if !records.leaves.is_empty() => {
                            let rows = rows.remove(scope).unwrap_or_default();
                            held.insert(scope.clone(), (records.leaves.clone(), keep(rows, records)));
                        }
                        _ => drop(held.remove(scope)),
                    }
                }
            }
            let end = self.inventory.read(&[], &tree::all_paths()).await?;
            let view = self.trust.verify(end.clone(), &[])?;
            let mut signed: HashMap<Digest, Vec<Leaf>> = HashMap::new();
            for (of, leaf) in tree::all_leaves(&view.nodes, &view.root)? {
                signed.entry(of).or_default().push(leaf);
            }
            todo = held
                .iter()
                .filter_map(
                    |(scope, (leaves, _))| match signed.remove(&tree::scope_hash(scope)) {
                        Some(now) if now == *leaves => None,
                        _ => Some(scope.clone()),
                    },
                )
                .collect();
            if !signed.is_empty() {
                let listed = self.listed().await?;
                todo.extend(listed.into_iter().filter(|scope| !held.contains_key(scope)));
            }
            if todo.is_empty() && signed.is_empty() {
                // Each of them makes no revision, and a commit that takes one does.
                match self.provisioned_at(&view).await {
                    Ok(provisioned) => {
                        let scopes = held.into_iter().map(|(scope, (_, kept))| (scope, kept));
                        return Ok(Whole {
                            snapshot: end,
                            view,
                            scopes: scopes.collect(),
                            provisioned,
                        });
                    }
                    Err(error) if error.kind() == ErrorKind::Conflict => {}
                    Err(error) => return Err(error),
                }
            }
            // A scope came meanwhile, or all records of one are gone.
            missing = signed.into_values().flatten().next();
        }
        Err(match missing {
            Some(leaf) => Error::new(ErrorKind::InventoryInvalid).with_detail(format!(
                "the {} {} is missing: it was deleted",
                leaf.kind.name(),
                leaf.id
            )),
            None => Error::new(ErrorKind::Conflict),
        })
    }

    /// The keys that provisioners have made, of this revision. `Conflict` if there is a newer one. What does not count is no part of the ring.
    async fn provisioned_at(&self, view: &View) -> Result<Provisioned> {
        let mut found = Provisioned::default();
        if view.settings().provision.is_none() {
            return Ok(found);
        }
        let tree = Some((&view.nodes, view.revision()));
        let mut after = None;
        while let Some(page) = self.provisioned_page(after.as_ref(), tree).await? {
            let (mut read, rows) = (page.view, page.rows);
            for (scope, records) in &read.scopes {
                found.unbelieved.note(scope, records);
            }
            for row in rows {
                let records = read.scopes.remove(&row.scope);
                if let Some(records) = records.filter(|records| records.provisioned == Some(row.id)) {
                    found.keys.insert(row.scope.clone(), (row, records));
                }
            }
            after = Some(page.last);
        }
        Ok(found)
    }

    /// The next scopes with provisioned rows. One whose rows are not believed hinders no other.
    pub(crate) async fn provisioned_page(
        &self,
        after: Option<&Scope>,
        tree: Option<(&Nodes, u64)>,
    ) -> Result<Option<ProvisionedPage>> {
        let scopes = self.provisioned_after(after, PAGE).await?;
        let Some(last) = scopes.last().cloned() else {
            return Ok(None);
        };
        let read = self.trust.read_what_there_is(&*self.inventory, &scopes, tree);
        let (snapshot, view) = read.await?;
        Ok(Some(ProvisionedPage {
            last,
            rows: snapshot.provisioned,
            view,
        }))
    }
}

/// Some scopes with provisioned rows.
pub(crate) struct ProvisionedPage {
    /// The last of them.
    pub(crate) last: Scope,
    pub(crate) rows: Vec<Row>,
    pub(crate) view: View,
}

/// All that provisioners have made.
#[derive(Default)]
struct Provisioned {
    keys: BTreeMap<Scope, (Row, ScopeView)>,
    unbelieved: Unbelieved,
}

/// A whole ring.
struct Whole<T> {
    /// Without rows, with all nodes.
    snapshot: Snapshot,
    /// Without scopes, with all nodes.
    view: View,
    /// What was kept of each scope that the tree has records of.
    scopes: BTreeMap<Scope, T>,
    /// The other scopes, with the only key of each.
    provisioned: Provisioned,
}

/// Refuses names of scopes that are not in order, so that nobody goes in circles.
fn check_page(after: Option<&Scope>, page: Vec<Scope>, limit: u32) -> Result<Vec<Scope>> {
    let chained = after.into_iter().chain(&page);
    let is_in_order = match after {
        Some(_) => chained.zip(&page).all(|(before, scope)| before < scope),
        None => page.is_sorted_by(|before, scope| before < scope),
    };
    if is_in_order && page.len() <= limit as usize {
        return Ok(page);
    }
    Err(Error::new(ErrorKind::InventoryInvalid)
        .with_detail("the inventory does not list its scopes in order, each once"))
}

/// The error of an inventory that invents scopes.
pub(crate) fn too_many(most: usize) -> Error {
    Error::new(ErrorKind::InventoryInvalid).with_detail(format!(
        "the inventory lists more scopes than the head signs records, which are {most}"
    ))
}
