//! Whom a process believes, and what it verifies before it believes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::{MAX_SUCCESSIONS, Mark, ScopeView, View, hex, of_hex};
use crate::ring::authority::AuthorityKey;
use crate::ring::inventory::{Inventory, Row, Signed, Snapshot};
use crate::ring::record::{
    HEAD, Head, READER, SETTINGS, SUCCESSION, Settings, Succession, invalid, needs_newer, of_body, verify,
};
use crate::ring::tree::{self, Nodes};
use crate::ring::unbelieved::Unbelieved;
use crate::ring::{RecordId, Scope};
use crate::value::error::{Error, ErrorKind, Result};

/// How often a scope is read until the parents of its branch keys are among what was read.
const READS: usize = 4;

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
        let (snapshot, view) = self.read_what_there_is(inventory, scopes, tree).await?;
        view.check_believed()?;
        Ok((snapshot, view))
    }

    /// The same. Scopes whose provisioned rows are not believed are in the view without keys, and say why: one of them hinders no other.
    pub(crate) async fn read_what_there_is(
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
            let mut view = self.verify_parts(&mut snapshot, scopes, &parents)?;
            // A branch key whose parent is in a scope that was not expected: its first of this process, or one that an administrator made.
            let unread = view.unread_parents();
            if unread.is_empty() {
                view.judge_provisioned();
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
        let mut view = self.verify_parts(&mut snapshot, scopes, &BTreeSet::new())?;
        view.judge_provisioned();
        view.check_believed()?;
        Ok(view)
    }

    /// Verifies these scopes, and parents as far as they can be. Takes the nodes out of the snapshot. Whether the parents of provisioned keys are
    /// what they must be, is left to [`View::judge_provisioned`].
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
            unbelieved: Unbelieved::default(),
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
            scope_view.add_provisioned(scope, of, &view.head, &view.settings);
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
            let verified = of_scope(&view, scope).and_then(|of| of.check_believed().map(|()| of));
            let verified = verified.map_err(Arc::new);
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
