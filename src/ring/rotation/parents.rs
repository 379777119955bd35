//! Keys that branch keys are wrapped under: they end only when nothing is under them anymore.

use super::RingAdmin;
use super::moves::stopped_wrapping;
use super::refused;
use crate::ring::record::KeyRecord;
use crate::ring::unbelieved::Unbelieved;
use crate::ring::view::View;
use crate::ring::{RecordId, Scope};
use crate::value::error::{Error, ErrorKind, Result};

/// How many scopes are read at once.
const PAGE: u32 = 500;
/// How many pages of scopes are looked at for examples.
const PAGES: usize = 20;
/// How many scopes are named.
const NAMED: usize = 3;

/// What hangs on a key, at one revision.
pub(super) struct Branches {
    revision: u64,
    /// Those that a provisioner has made and that nobody has taken over: no head counts them.
    provisioned: u64,
    /// Scopes with provisioned rows that are not believed. Nobody knows what they are under.
    unbelieved: Unbelieved,
    /// Some of the scopes.
    scopes: Vec<Scope>,
}

impl RingAdmin {
    /// Looks what is wrapped under a key beside what the head counts, and where.
    pub(super) async fn branches_of(&self, key: &KeyRecord) -> Result<Branches> {
        let view = self.read(&[]).await?;
        let mut branches = Branches {
            revision: view.revision(),
            provisioned: 0,
            unbelieved: Unbelieved::default(),
            scopes: Vec::new(),
        };
        if key.branch.is_some() {
            return Ok(branches);
        }
        if is_parent_of_first_keys(&view, key) {
            self.provisioned_under(key.id, &mut branches).await?;
        }
        if view.branches_under(key.id) > 0 {
            self.name_some(key.id, &mut branches).await?;
        }
        Ok(branches)
    }

    async fn provisioned_under(&self, parent: RecordId, branches: &mut Branches) -> Result<()> {
        let mut after = None;
        while let Some(page) = self.reader.provisioned_page(after.as_ref(), None).await? {
            for (scope, records) in &page.view.scopes {
                branches.unbelieved.note(scope, records);
                let mut keys = records.keys().iter();
                if keys.any(|key| records.provisioned == Some(key.id) && key.parent_key() == Some(parent)) {
                    branches.provisioned += 1;
                    branches.name(scope);
                }
            }
            after = Some(page.last);
        }
        Ok(())
    }

    /// Finds some scopes, for people. Whether there are any, the head says.
    async fn name_some(&self, parent: RecordId, branches: &mut Branches) -> Result<()> {
        let mut after = None;
        for _ in 0..PAGES {
            let page = self.inventory().scopes_after(after.as_ref(), PAGE).await?;
            let Some(last) = page.last().cloned() else {
                return Ok(());
            };
            let view = self.read(&page).await?;
            for scope in &page {
                if view
                    .keys(scope)
                    .iter()
                    .any(|key| key.parent_key() == Some(parent))
                {
                    branches.name(scope);
                }
            }
            if branches.scopes.len() >= NAMED {
                return Ok(());
            }
            after = Some(last);
        }
        Ok(())
    }
}

impl Branches {
    /// The same, of a view of the whole ring.
    pub(super) fn in_whole(whole: &View, key: &KeyRecord) -> Self {
        let mut branches = Self {
            revision: whole.revision(),
            provisioned: 0,
            unbelieved: match is_parent_of_first_keys(whole, key) {
                true => whole.unbelieved.clone(),
                false => Unbelieved::default(),
            },
            scopes: Vec::new(),
        };
        for under in whole
            .all_keys()
            .filter(|under| under.parent_key() == Some(key.id))
        {
            let records = whole.scopes.get(&under.scope);
            let is_first = records.is_some_and(|records| records.provisioned == Some(under.id));
            branches.provisioned += u64::from(is_first);
            branches.name(&under.scope);
        }
        branches
    }

    fn name(&mut self, scope: &Scope) {
        if self.scopes.len() < NAMED && !self.scopes.contains(scope) {
            self.scopes.push(scope.clone());
        }
    }

    /// Refuses to end a key that branch keys are wrapped under.
    pub(super) fn check_none(&self, view: &View, key: &KeyRecord) -> Result<()> {
        // Since it stopped wrapping, none can have come: a first key names the revision at which its parent was active.
        if let Some(stopped) = stopped_wrapping(key)
            && stopped.revision > self.revision
        {
            return Err(Error::new(ErrorKind::Conflict).with_detail(format!(
                "the key {} was used meanwhile, and branch keys may have come under it: look again",
                key.id
            )));
        }
        let counted = view.branches_under(key.id);
        let all = counted.saturating_add(self.provisioned);
        if let Some((scope, why)) = self.unbelieved.named.first().filter(|_| all == 0) {
            let more = match self.unbelieved.scopes {
                1 => String::new(),
                many => format!(", and in {} more", many - 1),
            };
            return Err(refused(format!(
                "there are provisioned rows in scope {scope}{more} that are not believed ({why}), and what they are has to be known before the key {} of \
                 scope {} ends: they may be first keys under it; see `waxseal ring check`, and then `waxseal ring drop-unbelieved`",
                key.id, key.scope
            )));
        }
        if all == 0 {
            return Ok(());
        }
        let count = match all {
            1 => "1 branch key is".to_owned(),
            all => format!("{all} branch keys are"),
        };
        let names: Vec<String> = self.scopes.iter().map(Scope::to_string).collect();
        let names = match names.len() {
            0 => String::new(),
            known => {
                let more = if all > known as u64 { " and others" } else { "" };
                format!(", of {}{more}", names.join(", ").escape_debug())
            }
        };
        Err(refused(format!(
            "{count} wrapped under the key {} of scope {}{names}: what they have sealed would open nowhere; wrap them under the active key of the \
             scope first, with `waxseal ring rewrap-branches --scope {}`",
            key.id, key.scope, key.scope
        )))
    }
}

/// Whether first keys come under the key of this scope.
pub(super) fn is_parent_of_first_keys(view: &View, key: &KeyRecord) -> bool {
    let provision = view.settings().provision.as_ref();
    provision.is_some_and(|provision| provision.parent == key.scope)
}

/// Refuses to destroy a key under which alone an export, that may be the newest one, has branch keys.
pub(super) fn check_exported(view: &View, key: &KeyRecord) -> Result<()> {
    let Some(left) = view.branch_left(key.id) else {
        return Ok(());
    };
    let what = match view.exported() {
        Some(exported) if exported.revision >= left => return Ok(()),
        Some(exported) => format!("the newest export is of revision {}", exported.revision),
        None => "no export is known".to_owned(),
    };
    Err(refused(format!(
        "branch keys were wrapped under the key {} until revision {left} of the ring, and {what}: whoever has to go back to it would need the key; \
         export the ring first with `waxseal ring export`, where its authority is, and keep that",
        key.id
    )))
}
