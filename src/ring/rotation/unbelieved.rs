//! What provisioners have signed, or somebody who has stolen their key, and nobody shall believe.

use std::collections::BTreeMap;

use super::RingAdmin;
use super::refused;
use super::take_over::by_bucket;
use crate::ring::authority::AuthorityKey;
use crate::ring::inventory::Row;
use crate::ring::provisioned;
use crate::ring::reader::ProvisionedPage;
use crate::ring::record::Settings;
use crate::ring::view::View;
use crate::ring::witness::Operation;
use crate::ring::{RecordId, Scope};
use crate::value::error::{Error, ErrorKind, Result};

/// How many rows are deleted in one change.
const BATCH: usize = 500;
/// How many scopes are named.
const NAMED: usize = 100;
/// How often a page is looked at again because the ring was changed meanwhile.
const TRIES: usize = 8;

/// Provisioned rows that were deleted because nobody believes them.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DroppedRows {
    /// How many.
    pub rows: u64,
    /// Scopes whose rows may be keys, the first 100: there are several, each of which would be believed if it were alone; or the parent cannot be believed; or only
    /// a newer library can judge them. Mend that, or name the records that are to go.
    pub undecided: Vec<Scope>,
}

/// Provisioners that were taken out of the settings.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RemovedProvisioners {
    /// How many of their keys the authority has taken over before.
    pub taken_over: u64,
    /// How many of their keys came after that, although no more were to be made: whoever has made them has the private half. They count no more, and what
    /// was sealed under them does not open.
    pub given_up: u64,
    /// The first 100 of those.
    pub named: Vec<(Scope, RecordId)>,
}

impl RingAdmin {
    /// Deletes provisioned rows that are not [believed](crate::ring::Unbelieved), of scopes of which the ring has no record: all of them, or those of `only`. `save` gets
    /// rows before they are deleted, and an error of it ends the work.
    ///
    /// `records` are deleted even if they may be keys. What was sealed under one of them is lost.
    ///
    /// # Errors
    /// Those of `save`; as the [type](Self) says. What was deleted before stays so.
    ///
    /// # Cancel safety
    /// Dropping the future leaves each batch deleted or not.
    pub async fn drop_unbelieved(
        &self,
        only: Option<&Scope>,
        records: &[RecordId],
        save: impl FnMut(&[&Row]) -> Result<()> + Send,
    ) -> Result<DroppedRows> {
        let deed = self.deed(Operation::DropUnbelieved);
        let deed = records.iter().fold(deed, |deed, id| deed.of_key(*id));
        let deed = match only {
            Some(scope) => deed.in_scope(scope),
            None => deed,
        };
        self.witnessed(deed, self.do_drop_unbelieved(only, records, save))
            .await
    }

    async fn do_drop_unbelieved(
        &self,
        only: Option<&Scope>,
        records: &[RecordId],
        mut save: impl FnMut(&[&Row]) -> Result<()> + Send,
    ) -> Result<DroppedRows> {
        let (mut done, mut after, mut tries) = (DroppedRows::default(), None, 0);
        while let Some(page) = self.reader.provisioned_page(after.as_ref(), None).await? {
            let found = find(&page, only, records);
            let is_dropped = self.drop_rows(&page, &found.rows, &mut save).await?;
            if !is_dropped && tries < TRIES {
                tries += 1;
                continue;
            }
            if !is_dropped {
                return Err(Error::new(ErrorKind::Conflict).with_detail("the ring is changed all the time"));
            }
            done.rows += found.rows.len() as u64;
            let room = NAMED.saturating_sub(done.undecided.len());
            done.undecided.extend(found.undecided.into_iter().take(room));
            (after, tries) = (Some(page.last), 0);
        }
        Ok(done)
    }

    /// Deletes rows, if the ring is still as it was when they were not believed.
    async fn drop_rows(
        &self,
        page: &ProvisionedPage,
        rows: &[&Row],
        save: &mut (impl FnMut(&[&Row]) -> Result<()> + Send),
    ) -> Result<bool> {
        if rows.is_empty() {
            return Ok(true);
        }
        save(rows)?;
        let mut revision = page.view.revision();
        for batch in rows.chunks(BATCH) {
            let ids: Vec<RecordId> = batch.iter().map(|row| row.id).collect();
            let next = self
                .change(&[], |view, draft| {
                    if view.revision() != revision {
                        return Ok(None);
                    }
                    draft.take_rows(&ids);
                    Ok(Some(draft.revision()))
                })
                .await?;
            let Some(next) = next else { return Ok(false) };
            revision = next;
        }
        Ok(true)
    }

    /// Takes keys of provisioners out of the settings for good, for example because one was stolen. The settings say already that no more are to be
    /// made ([`closed`](crate::ring::Provisioning::closed)): processes have heard of that, or are refused by the inventory. First the authority takes over what the provisioners have
    /// made; what comes after that comes from a thief. With `gives_up` it counts no more, and without it the keys stay in the settings.
    ///
    /// A thief may have made some of what was taken over. Look at the keys that came since the theft, and revoke them.
    ///
    /// # Errors
    /// `LifecycleRefused` if keys are still to be made, if one of them cannot be taken over, or if more came meanwhile and are not to be given up; as the [type](Self) says. What was taken over before stays so.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the settings as they were, or changed.
    pub async fn remove_provisioners(
        &self,
        keys: &[AuthorityKey],
        gives_up: bool,
    ) -> Result<RemovedProvisioners> {
        let deed = self.deed(Operation::RemoveProvisioners);
        self.witnessed(deed, self.do_remove_provisioners(keys, gives_up))
            .await
    }

    async fn do_remove_provisioners(
        &self,
        keys: &[AuthorityKey],
        gives_up: bool,
    ) -> Result<RemovedProvisioners> {
        let view = self.read(&[]).await?;
        check_closed(view.settings())?;
        // Their names first: while they are taken over, others may come without end.
        let (mut names, mut after) = (Vec::new(), None);
        while let Some(page) = self.reader.provisioned_page(after.as_ref(), None).await? {
            let of_page = &page.view.scopes;
            let its = of_page
                .iter()
                .filter(|(_, records)| records.provisioned.is_some());
            names.extend(its.map(|(scope, _)| scope.clone()));
            after = Some(page.last);
        }
        let mut removed = RemovedProvisioners::default();
        let taken = self.take_over_named(by_bucket(names)).await?;
        if let Some((scope, error)) = taken.problems.first() {
            return Err(refused(format!(
                "the first key of scope {scope} cannot be taken over: {error}"
            )));
        }
        removed.taken_over = taken.keys as u64;
        self.name_left(keys, &mut removed).await?;
        if let Some((scope, key)) = removed.named.first().filter(|_| !gives_up) {
            return Err(refused(format!(
                "the key {key} of scope {scope} came while no more were to be made, and {} in all: whoever makes them has the private half; give them up",
                removed.given_up
            )));
        }
        self.change(&[], |view, draft| {
            let mut settings = view.settings().as_ref().clone();
            check_closed(&settings)?;
            if let Some(provision) = &mut settings.provision {
                provision.keys.retain(|key| !keys.contains(key));
            }
            let is_over = settings.provision.as_ref();
            if is_over.is_some_and(|provision| provision.keys.is_empty()) {
                settings.provision = None;
            }
            match settings == **view.settings() {
                true => Ok(()),
                false => draft.set_settings(settings),
            }
        })
        .await?;
        Ok(removed)
    }

    /// Names what these provisioners have made and nobody has taken over.
    async fn name_left(&self, keys: &[AuthorityKey], removed: &mut RemovedProvisioners) -> Result<()> {
        let mut after = None;
        while let Some(page) = self.reader.provisioned_page(after.as_ref(), None).await? {
            let is_signed = |row: &&Row| keys.iter().any(|key| *key.as_bytes() == row.signed.signer);
            let left = page.rows.iter().filter(is_signed);
            for row in left.filter(|row| page.view.is_provisioned(row.id)) {
                removed.given_up += 1;
                if removed.named.len() < NAMED {
                    removed.named.push((row.scope.clone(), row.id));
                }
            }
            after = Some(page.last);
        }
        Ok(())
    }
}

fn check_closed(settings: &Settings) -> Result<()> {
    match settings.provisions() {
        None => Ok(()),
        Some(_) => Err(refused(
            "keys are provisioned on first use: say `waxseal ring set --provision never` first, and wait until all processes have heard of it".to_owned(),
        )),
    }
}

struct Found<'p> {
    rows: Vec<&'p Row>,
    undecided: Vec<Scope>,
}

/// What of a page is to be deleted.
fn find<'p>(page: &'p ProvisionedPage, only: Option<&Scope>, records: &[RecordId]) -> Found<'p> {
    let mut found = Found {
        rows: Vec::new(),
        undecided: Vec::new(),
    };
    let mut scopes: BTreeMap<&Scope, Vec<&Row>> = BTreeMap::new();
    for row in page
        .rows
        .iter()
        .filter(|row| only.is_none_or(|only| row.scope == *only))
    {
        scopes.entry(&row.scope).or_default().push(row);
    }
    for (scope, rows) in scopes {
        let of = page.view.scopes.get(scope);
        if of.is_none_or(|of| of.unbelieved.is_none()) {
            continue;
        }
        let is_wrong = |row: &&&Row| records.contains(&row.id) || is_wrong(&page.view, row);
        let before = found.rows.len();
        found.rows.extend(rows.iter().filter(is_wrong));
        if found.rows.len() == before {
            found.undecided.push(scope.clone());
        }
    }
    found
}

/// Whether a row is no key that a provisioner may have made. One that only a newer library can judge may be, and so may one whose parent cannot be
/// believed.
fn is_wrong(view: &View, row: &Row) -> bool {
    let is_nothing = |error: Error| error.kind() == ErrorKind::InventoryInvalid;
    match provisioned::of_row(row, &view.head, view.settings()) {
        Err(error) => is_nothing(error),
        Ok(key) => match view.parent(&key) {
            Ok(parent) => provisioned::check_parent(&key, parent).is_err_and(is_nothing),
            Err(_) => false,
        },
    }
}
