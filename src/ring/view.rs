//! What a ring holds, verified. Nothing else in the ring looks at what an inventory returned.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::authority::AuthorityKey;
use super::inventory::{Inventory, RecordKind, Row, Signed, Snapshot};
use super::provisioned;
use super::record::{
    Exported, HEAD, Head, Intent, KeyRecord, Provenance, READER, Record, SETTINGS, SUCCESSION, Settings,
    Succession, Tombstone, invalid, needs_newer, of_body, verify,
};
use super::tree::{self, Digest, Leaf, Nodes};
use super::{RecordId, Scope, Slot, State, Time};
use crate::value::error::{Error, ErrorKind, Result};

/// How often a scope is read until the parents of its branch keys are among what was read.
const READS: usize = 4;

/// The greatest number of successions of authorities.
pub(crate) const MAX_SUCCESSIONS: usize = 1000;

/// A revision of a ring that somebody has seen, and the hash of its head. Whoever holds a newer one refuses an older
/// dump of the inventory. As text `REVISION:HEX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mark {
    /// The revision.
    pub revision: u64,
    /// SHA-256 of the head.
    pub head: [u8; 32],
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.revision,
            base16ct::lower::encode_string(&self.head)
        )
    }
}

impl std::str::FromStr for Mark {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::argument("a mark is a revision, a colon and 64 hexadecimal digits");
        let (revision, head) = text.split_once(':').ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        let decoded = base16ct::lower::decode(head, &mut bytes).map_err(|_| wrong())?;
        if decoded.len() != 32 {
            return Err(wrong());
        }
        Ok(Self {
            revision: revision.parse().map_err(|_| wrong())?,
            head: bytes,
        })
    }
}

/// What a process believes of a ring before it reads it: its id, the public key of its authority, and the newest revision
/// that it has seen.
#[derive(Debug)]
pub struct Trust {
    ring: RecordId,
    authority: AuthorityKey,
    mark: Mutex<Option<Mark>>,
    /// Under which scope new branch keys are, by the newest settings that were seen: it is read along, so that one call is enough.
    parent: Mutex<Option<Scope>>,
}

impl Trust {
    /// Trusts this authority, or whichever has followed it, in this ring.
    #[must_use]
    pub fn new(ring: RecordId, authority: AuthorityKey) -> Self {
        Self {
            ring,
            authority,
            mark: Mutex::new(None),
            parent: Mutex::new(None),
        }
    }

    /// Refuses every revision that is older than this one.
    #[must_use]
    pub fn with_mark(self, mark: Mark) -> Self {
        Self {
            mark: Mutex::new(Some(mark)),
            ..self
        }
    }

    /// Returns the ring's id.
    #[must_use]
    pub fn ring(&self) -> RecordId {
        self.ring
    }

    /// Returns the authority that is trusted: the ring's, or one before it.
    #[must_use]
    pub fn authority(&self) -> AuthorityKey {
        self.authority
    }

    /// Returns the newest revision that was seen.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads these scopes and verifies what comes.
    ///
    /// # Errors
    /// `InventoryInvalid` for anything that the ring's authority has not signed, or that is older than what was seen; the error
    /// names the record. `Configuration` if there is no ring; `Unsupported` if it needs a newer library. Those of
    /// [`Inventory::read`].
    pub async fn read(&self, inventory: &dyn Inventory, scopes: &[Scope]) -> Result<View> {
        Ok(self.read_rows(inventory, scopes, None).await?.1)
    }

    /// The same, with the rows of these scopes. The nodes are those of `tree` and of this revision, if it is there; `Conflict` if the
    /// ring has another one.
    pub(crate) async fn read_rows(
        &self,
        inventory: &dyn Inventory,
        scopes: &[Scope],
        tree: Option<(&Nodes, u64)>,
    ) -> Result<(Snapshot, View)> {
        let mut parents = BTreeSet::new();
        if !scopes.is_empty() {
            parents.extend(self.parent().filter(|parent| !scopes.contains(parent)));
        }
        for _ in 0..READS {
            let all: Vec<Scope> = scopes.iter().chain(&parents).cloned().collect();
            let mut nodes: Vec<_> = all.iter().flat_map(tree::paths).collect();
            nodes.push(String::new());
            nodes.sort();
            nodes.dedup();
            let asked = tree.map_or(&nodes[..], |_| &[]);
            let mut snapshot = inventory.read(&all, asked).await?;
            if let Some((tree, revision)) = tree {
                if snapshot.revision != revision {
                    return Err(Error::new(ErrorKind::Conflict));
                }
                let above = nodes.into_iter().filter_map(|path| {
                    let body = tree.get(&path)?.clone();
                    Some((path, body))
                });
                snapshot.nodes = above.collect();
            }
            let view = self.verify_parts(&mut snapshot, scopes, &parents)?;
            // A branch key whose parent is in a scope that was not expected: its first of this process, or one that an administrator made.
            let unread = view.unread_parents();
            if unread.is_empty() {
                view.check_provisioned()?;
                snapshot.rows.retain(|row| scopes.contains(&row.scope));
                snapshot.provisioned.retain(|row| scopes.contains(&row.scope));
                return Ok((snapshot, view));
            }
            parents.extend(unread);
        }
        Err(Error::new(ErrorKind::Conflict)
            .with_detail("the parents of branch keys were changed each time that they were read"))
    }

    fn parent(&self) -> Option<Scope> {
        self.parent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Verifies a snapshot that holds these scopes, and those of the parents of their branch keys.
    pub(crate) fn verify(&self, mut snapshot: Snapshot, scopes: &[Scope]) -> Result<View> {
        let view = self.verify_parts(&mut snapshot, scopes, &BTreeSet::new())?;
        view.check_provisioned()?;
        Ok(view)
    }

    /// Verifies these scopes, and parents as far as they can be. Takes the nodes out of the snapshot. Whether the parents of provisioned keys are
    /// what they must be, is left to [`View::check_provisioned`].
    fn verify_parts(
        &self,
        snapshot: &mut Snapshot,
        scopes: &[Scope],
        parents: &BTreeSet<Scope>,
    ) -> Result<View> {
        let Some(signed_head) = snapshot.head.take() else {
            return Err(match (snapshot.revision, self.mark()) {
                (0, None) => {
                    Error::configuration("the inventory holds no ring; make one with `waxseal ring init`")
                }
                _ => invalid("the head of the ring is missing"),
            });
        };
        let authority = self.newest_authority(&snapshot.successions)?;
        verify(&signed_head, self.ring, HEAD, &[authority])?;
        let head: Head = of_body(&signed_head.body)?;
        if head.min_reader > READER {
            return Err(needs_newer(head.min_reader));
        }
        if head.ring != self.ring || head.revision != snapshot.revision || head.revision == 0 {
            return Err(invalid(
                "the head of the ring has another ring or revision than the row beside it",
            ));
        }
        if usize::try_from(head.successions).ok() != Some(snapshot.successions.len()) {
            return Err(invalid(format!(
                "the successions of authorities are not as many as the head signs: {}, and not {}",
                snapshot.successions.len(),
                head.successions
            )));
        }
        let mark = Mark {
            revision: head.revision,
            head: Sha256::digest(&signed_head.body).into(),
        };
        self.check_mark(mark)?;

        let signed_settings = snapshot
            .settings
            .take()
            .ok_or_else(|| invalid("the settings of the ring are missing"))?;
        verify(&signed_settings, self.ring, SETTINGS, &[authority])?;
        if hex(&Sha256::digest(&signed_settings.body).into()) != head.settings {
            return Err(invalid(
                "the settings are not those that the head signs: they are of another revision",
            ));
        }
        let settings: Settings = of_body(&signed_settings.body)?;
        if settings.min_reader > READER {
            return Err(needs_newer(settings.min_reader));
        }
        if settings.ring != self.ring || !settings.authorities.contains(&authority) {
            return Err(invalid("the settings are those of another ring"));
        }
        settings.check()?;

        let root = of_hex(&head.root).ok_or_else(|| invalid("the head's root is no hash"))?;
        let mut view = View {
            head,
            mark,
            authority,
            settings: Arc::new(settings),
            nodes: std::mem::take(&mut snapshot.nodes),
            root,
            scopes: BTreeMap::new(),
            parents: BTreeMap::new(),
        };
        let mut rows: BTreeMap<&Scope, Vec<&Row>> = BTreeMap::new();
        for row in &snapshot.rows {
            rows.entry(&row.scope).or_default().push(row);
        }
        let mut provisioned: BTreeMap<&Scope, Vec<&Row>> = BTreeMap::new();
        for row in &snapshot.provisioned {
            provisioned.entry(&row.scope).or_default().push(row);
        }
        let of_scope = |view: &View, scope: &Scope| -> Result<ScopeView> {
            let leaves = tree::leaves_of(&view.nodes, &view.root, scope)?;
            let of = rows.get(scope).map_or(&[][..], Vec::as_slice);
            let mut scope_view =
                ScopeView::verify(scope, of, &leaves, self.ring, view.settings.authorities())?;
            let of = provisioned.get(scope).map_or(&[][..], Vec::as_slice);
            scope_view.add_provisioned(scope, of, &view.head, &view.settings)?;
            Ok(scope_view)
        };
        for scope in scopes {
            if !view.scopes.contains_key(scope) {
                let verified = of_scope(&view, scope)?;
                view.scopes.insert(scope.clone(), verified);
            }
        }
        for scope in parents.iter().filter(|parent| !scopes.contains(parent)) {
            // One that cannot be believed hinders its branch keys, and no others.
            let verified = of_scope(&view, scope).map_err(Arc::new);
            view.parents.insert(scope.clone(), verified);
        }
        let parent = view
            .settings
            .provision
            .as_ref()
            .map(|provision| provision.parent.clone());
        *self.parent.lock().unwrap_or_else(PoisonError::into_inner) = parent;
        self.see(mark);
        Ok(view)
    }

    /// Follows the successions from the authority that is trusted to the newest one.
    fn newest_authority(&self, successions: &[Signed]) -> Result<AuthorityKey> {
        if successions.len() > MAX_SUCCESSIONS {
            return Err(invalid("the ring has too many successions of authorities"));
        }
        let mut newest = self.authority;
        let from = successions
            .iter()
            .position(|succession| succession.signer == *newest.as_bytes());
        for (index, signed) in successions
            .iter()
            .enumerate()
            .skip(from.unwrap_or(successions.len()))
        {
            verify(signed, self.ring, SUCCESSION, &[newest])?;
            let succession: Succession = of_body(&signed.body)?;
            if succession.min_reader > READER {
                return Err(needs_newer(succession.min_reader));
            }
            if usize::try_from(succession.number).ok() != Some(index + 1) || succession.ring != self.ring {
                return Err(invalid("the successions of authorities are not in order"));
            }
            newest = succession.next;
        }
        Ok(newest)
    }

    fn check_mark(&self, mark: Mark) -> Result<()> {
        match self.mark() {
            Some(seen) if mark.revision < seen.revision => Err(invalid(format!(
                "the ring is at revision {}, and revision {} was seen before: the inventory was taken back to an older state",
                mark.revision, seen.revision
            ))),
            Some(seen) if mark.revision == seen.revision && mark.head != seen.head => Err(invalid(format!(
                "the ring has two heads of revision {}: the inventory was taken back to an older state and went on from there",
                mark.revision
            ))),
            _ => Ok(()),
        }
    }

    fn see(&self, mark: Mark) {
        let mut seen = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none_or(|seen| seen.revision < mark.revision) {
            *seen = Some(mark);
        }
    }
}

/// Whether an error is about the scopes that were asked for, and says nothing of others: what was read is not to be used, or is
/// more than anybody reads. Anything else says that the inventory could not be read.
pub(crate) fn is_about_records(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InventoryInvalid | ErrorKind::Unsupported { .. } | ErrorKind::OverLimit { .. }
    )
}

pub(crate) fn hex(digest: &Digest) -> String {
    base16ct::lower::encode_string(digest)
}

pub(crate) fn of_hex(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    match base16ct::lower::decode(text, &mut digest) {
        Ok(decoded) if decoded.len() == 32 => Some(digest),
        _ => None,
    }
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
}

/// All records of one scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScopeView {
    keys: Vec<Arc<KeyRecord>>,
    intents: Vec<Intent>,
    tombstone: Option<Arc<Tombstone>>,
    pub(crate) leaves: Vec<Leaf>,
    /// Who has signed which record of the tree.
    pub(crate) signers: BTreeMap<RecordId, [u8; 32]>,
    /// The key that a provisioner has signed, if it is believed: the only one of the scope.
    pub(crate) provisioned: Option<RecordId>,
    /// All provisioned rows of the scope. None of them counts if the tree has a record of it.
    pub(crate) to_take: Vec<RecordId>,
}

impl ScopeView {
    pub(crate) fn keys(&self) -> &[Arc<KeyRecord>] {
        &self.keys
    }

    fn verify(
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
    fn add_provisioned(
        &mut self,
        scope: &Scope,
        rows: &[&Row],
        head: &Head,
        settings: &Settings,
    ) -> Result<()> {
        self.to_take = rows.iter().map(|row| row.id).collect();
        if !self.leaves.is_empty() {
            return Ok(());
        }
        match rows {
            [] => {}
            [row] => {
                let key = provisioned::of_row(row, head, settings)?;
                self.provisioned = Some(key.id);
                self.keys.push(Arc::new(key));
            }
            _ => {
                return Err(invalid(format!(
                    "scope {scope} has more than one provisioned key"
                )));
            }
        }
        Ok(())
    }
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

    /// Returns the key that a branch key is wrapped under, or `None` for a key that is no branch key.
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
        of.add_provisioned(scope, &[row], &self.head, &self.settings)?;
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
        let parents = living
            .filter_map(|key| key.branch.as_ref())
            .map(|branch| &branch.parent_scope);
        let is_unread =
            |scope: &&Scope| !self.scopes.contains_key(*scope) && !self.parents.contains_key(*scope);
        parents.filter(is_unread).cloned().collect()
    }

    /// Refuses provisioned keys whose parents are not what they must be.
    fn check_provisioned(&self) -> Result<()> {
        for (_, scope) in self
            .scopes
            .iter()
            .filter(|(_, scope)| scope.provisioned.is_some())
        {
            for key in &scope.keys {
                provisioned::check_parent(key, self.parent(key)?)?;
            }
        }
        Ok(())
    }
}

/// The error of a key that is not there.
pub(crate) fn no_such_key(id: RecordId) -> Error {
    Error::new(ErrorKind::InvalidArgument).with_detail(format!("the ring has no key {id}"))
}
