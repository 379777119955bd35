//! Changes of a ring: decided on a verified view, signed, and made only if nobody was faster.

mod pen;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

pub(crate) use self::pen::Pen;
use super::authority::Authority;
use super::clock::Agreed;
use super::inventory::{Change, Row, Signed};
use super::record::{
    BASE, Ending, Exported, HEAD, Hangs, Head, KeyRecord, Move, Record, SETTINGS, SUCCESSION, Settings,
    Succession, parents_after, to_body,
};
use super::tree::{self, Leaf, Nodes};
use super::view::{MAX_SUCCESSIONS, View, hex};
use super::{RecordId, Scope, State, Time};
use crate::value::error::{Error, ErrorKind, Result};

/// The most keys that are destroyed at once: each head names them.
const MAX_ENDINGS: usize = 2_000;

/// A change that is being put together.
pub(crate) struct Draft<'d> {
    view: &'d View,
    authority: &'d Authority,
    agreed: Agreed,
    at: Time,
    actor: &'d str,
    put: Vec<Row>,
    /// Of what was put and deleted, what it is wrapped under afterwards.
    hangs: BTreeMap<RecordId, Hangs>,
    exported: Option<Exported>,
    /// Of what was put, what is being destroyed.
    endings: Vec<Ending>,
    delete: Vec<(Scope, RecordId)>,
    /// Provisioned rows that go.
    take: Vec<RecordId>,
    settings: Option<Settings>,
    /// Who may follow the authority.
    next: Option<&'d Authority>,
    succession: Option<(Signed, &'d Authority)>,
}

impl<'d> Draft<'d> {
    /// Begins a change of what a view shows, at the time that the inventory and this machine agree on.
    pub(crate) fn new(
        view: &'d View,
        authority: &'d Authority,
        agreed: Agreed,
        actor: &'d str,
    ) -> Result<Self> {
        if authority.public() != view.authority {
            return Err(Error::configuration(format!(
                "the authority's private half belongs to {}, and the ring's authority is {}; if a succession was interrupted, \
                 run it again with the next private half, which is beside the former one",
                authority.public(),
                view.authority
            )));
        }
        check_actor(actor)?;
        Ok(Self {
            view,
            authority,
            agreed,
            // A clock that jumps back undoes nothing, and one that is behind lets nothing be over too early.
            at: agreed.latest.max(view.changed()),
            actor,
            put: Vec::new(),
            hangs: BTreeMap::new(),
            exported: None,
            endings: Vec::new(),
            delete: Vec::new(),
            take: Vec::new(),
            settings: None,
            next: None,
            succession: None,
        })
    }

    /// Returns what time it is: whether something has waited for long enough is decided by this one. The head may be ahead of it.
    pub(crate) fn now(&self) -> Time {
        self.agreed.now
    }

    /// Returns what both clocks say.
    pub(crate) fn agreed(&self) -> Agreed {
        self.agreed
    }

    /// Returns the time of the ring and what the clocks say, if the ring is further ahead of them than the settings allow.
    pub(crate) fn ahead(&self) -> Option<(Time, Time)> {
        let (ring, now) = (self.view.changed(), self.agreed.now);
        let tolerance = self.view.settings().clock_tolerance.at_most();
        (ring > now.saturating_add(tolerance)).then_some((ring, now))
    }

    /// Returns the time that the change will bear.
    pub(crate) fn at(&self) -> Time {
        self.at
    }

    /// Lets the change bear the time that it is, though the head is ahead of it.
    pub(crate) fn set_back(&mut self) {
        self.at = self.agreed.now;
    }

    /// Returns the revision that the ring will have.
    pub(crate) fn revision(&self) -> u64 {
        self.view.head.revision + 1
    }

    /// Returns who makes the change.
    pub(crate) fn actor(&self) -> &'d str {
        self.actor
    }

    /// Writes a record, in the place of the one with its id. What is deprecated comes before what becomes active.
    pub(crate) fn put(&mut self, record: &impl Record) -> Result<()> {
        self.demand(record.scope())?;
        self.check_not_shredded(record)?;
        let signer = self.succession.as_ref().map_or(self.authority, |(_, next)| next);
        self.put.push(record.to_row(self.view.head.ring, signer)?);
        self.note_parent(record);
        self.endings.extend(record.ending());
        Ok(())
    }

    /// Notes what a record is wrapped under after the change.
    fn note_parent(&mut self, record: &impl Record) {
        let id = record.id();
        // What a provisioner has made is not counted yet.
        let parent = self.view.key(id).and_then(|key| key.parent());
        let (before, was_provisioned_under) = match self.view.is_provisioned(id) {
            true => (None, parent),
            false => (parent, None),
        };
        let hangs = Hangs {
            key: id,
            before,
            was_provisioned_under,
            after: record.parent(),
            is_gone: record.state() == Some(State::Destroyed),
        };
        self.hangs.insert(id, hangs);
    }

    /// Deletes provisioned rows of a scope that do not count, since the scope has records.
    pub(crate) fn drop_provisioned(&mut self, scope: &Scope) {
        let records = self.view.scopes.get(scope);
        if let Some(records) = records.filter(|records| records.provisioned.is_none()) {
            self.take.extend(&records.to_take);
        }
    }

    /// Deletes provisioned rows.
    pub(crate) fn take_rows(&mut self, rows: &[RecordId]) {
        self.take.extend(rows);
    }

    /// Remembers an export of this ring. No other change of the ring can come between.
    pub(crate) fn remember_export(&mut self, revision: u64, digest: String) {
        self.exported = Some(Exported {
            revision,
            digest,
            at: self.at,
            actor: self.actor.to_owned(),
        });
    }

    /// Deletes a record.
    pub(crate) fn delete(&mut self, record: &impl Record) -> Result<()> {
        self.demand(record.scope())?;
        self.note_parent(record);
        if let Some(hangs) = self.hangs.get_mut(&record.id()) {
            hangs.after = None;
        }
        self.delete.push((record.scope().clone(), record.id()));
        Ok(())
    }

    /// In a scope that was shredded, no key comes into use: whoever wants that takes the tombstone away first.
    fn check_not_shredded(&self, record: &impl Record) -> Result<()> {
        match self.view.tombstone(record.scope()) {
            Some(tombstone) if record.is_in_use() => {
                match self.delete.iter().any(|(_, id)| *id == tombstone.id) {
                    true => Ok(()),
                    false => Err(tombstone.no_new_key()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Only what was read can be changed.
    fn demand(&self, scope: &Scope) -> Result<()> {
        if self.view.scopes.contains_key(scope) {
            Ok(())
        } else {
            Err(Error::argument(format!(
                "scope {scope} was not read before the change"
            )))
        }
    }

    /// Replaces the settings. How long what was done under those before may still have an effect is kept.
    pub(crate) fn set_settings(&mut self, mut settings: Settings) -> Result<()> {
        settings.check()?;
        settings.derive(self.view.settings().provision.as_ref(), self.revision());
        settings.follow(
            self.view.settings(),
            self.at,
            self.agreed.earliest,
            self.revision(),
        )?;
        self.settings = Some(settings);
        Ok(())
    }

    /// Lets evidence wait from now on: a change came later than it was to, so what it stopped may have gone on for longer than its time says.
    fn note_late_change(&mut self) -> Result<()> {
        let mut settings = self.view.settings().as_ref().clone();
        let wait = settings
            .evidence_wait()
            .max(settings.former_left(self.agreed.earliest));
        settings.wait_from(self.at, self.revision(), wait)?;
        self.settings = Some(settings);
        Ok(())
    }

    /// Lets the next authority follow: it signs from here on.
    pub(crate) fn succeed(&mut self) -> Result<()> {
        let next = self
            .next
            .ok_or_else(|| Error::argument("no authority is there that could follow"))?;
        let number = self.view.head.successions + 1;
        if usize::try_from(number).unwrap_or(usize::MAX) > MAX_SUCCESSIONS {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "the number of successions of authorities",
                max: MAX_SUCCESSIONS as u64,
            }));
        }
        let succession = Succession {
            min_reader: BASE,
            ring: self.view.head.ring,
            number,
            next: next.public(),
            at: self.at,
            actor: self.actor.to_owned(),
        };
        let signed = self
            .authority
            .sign(self.view.head.ring, SUCCESSION, to_body(&succession)?)?;
        self.succession = Some((signed, next));
        Ok(())
    }

    /// Returns whether nothing was put into it.
    pub(crate) fn is_empty(&self) -> bool {
        self.put.is_empty()
            && self.delete.is_empty()
            && self.settings.is_none()
            && self.succession.is_none()
            && self.exported.is_none()
            && self.take.is_empty()
    }

    /// The keys that are being destroyed after the change.
    fn destroying(&self) -> Result<Vec<Ending>> {
        let is_changed = |ending: &&Ending| {
            let mut changed = self.put.iter().map(|row| row.id);
            changed.any(|id| id == ending.key) || self.delete.iter().any(|(_, id)| *id == ending.key)
        };
        let kept = self.view.head.destroying.iter();
        let mut destroying: Vec<_> = kept.filter(|ending| !is_changed(ending)).cloned().collect();
        destroying.extend(self.endings.iter().cloned());
        if destroying.len() > MAX_ENDINGS.max(self.view.head.destroying.len()) {
            return Err(Error::new(ErrorKind::OverLimit {
                limit: "the number of keys that are being destroyed at once",
                max: MAX_ENDINGS as u64,
            }));
        }
        destroying.sort_by_key(|ending| ending.key);
        Ok(destroying)
    }

    /// Takes over the provisioned keys of the scopes that it touches: as soon as the tree has a record of a scope, it must have this one,
    /// or what was sealed under it would be lost. Rows that do not count any more go.
    fn take_over(&mut self) -> Result<()> {
        let touched: BTreeSet<Scope> = self.put.iter().map(|row| row.scope.clone()).collect();
        for scope in touched {
            let Some(records) = self.view.scopes.get(&scope) else {
                continue;
            };
            self.take.extend(&records.to_take);
            let keys = records.keys().iter();
            let mut kept = keys.filter(|key| records.provisioned == Some(key.id));
            let Some(key) = kept.next() else { continue };
            if self.put.iter().any(|row| row.id == key.id) {
                continue;
            }
            let own = self.taken_over(key)?;
            let signer = self.succession.as_ref().map_or(self.authority, |(_, next)| next);
            // It may be active: what takes its place comes after it has left.
            self.put.insert(0, own.to_row(self.view.head.ring, signer)?);
            self.note_parent(&own);
        }
        Ok(())
    }

    /// The record of a provisioned key, as the authority signs it: with the periods of the settings, and from a time that has come.
    pub(crate) fn taken_over(&self, key: &KeyRecord) -> Result<KeyRecord> {
        let mut own = key.clone();
        own.revision += 1;
        let settings = self.view.settings();
        (own.cadence, own.overlap) = (settings.cadence_of_first_keys()?, settings.overlap);
        let since = own.activated.map_or(self.at, |at| at.min(self.at));
        (own.activated, own.next_rotation) = (Some(since), Some(own.cadence.after(since)?));
        own.record_move(Move {
            at: self.at,
            revision: self.revision(),
            from: Some(key.state),
            to: key.state,
            actor: self.actor.to_owned(),
            reason: "taken over from its provisioner".to_owned(),
            evidence: None,
            ticket: None,
            approver: None,
        })?;
        Ok(own)
    }

    /// Signs it.
    fn finish(mut self) -> Result<Change> {
        self.take_over()?;
        let view = self.view;
        let ring = view.head.ring;
        let mut nodes = view.nodes.clone();
        let mut written = Nodes::new();
        let mut root = view.root;
        let mut scopes: Vec<&Scope> = self.put.iter().map(|row| &row.scope).collect();
        scopes.extend(self.delete.iter().map(|(scope, _)| scope));
        scopes.sort();
        scopes.dedup();
        for scope in scopes {
            let mut leaves = view
                .scopes
                .get(scope)
                .map_or_else(Vec::new, |scope| scope.leaves.clone());
            leaves.retain(|leaf| !self.delete.iter().any(|(_, id)| *id == leaf.id));
            for row in self.put.iter().filter(|row| row.scope == *scope) {
                leaves.retain(|leaf| leaf.id != row.id);
                leaves.push(Leaf::new(row.id, row.kind, &row.signed.body));
            }
            root = tree::set(&mut nodes, &mut written, &root, scope, &leaves)?;
        }
        let destroying = self.destroying()?;
        let (signer, succession) = match self.succession {
            Some((signed, next)) => (next, Some(signed)),
            None => (self.authority, None),
        };
        // A new authority signs the settings anew.
        let settings = match (self.settings, &succession) {
            (Some(settings), _) => Some(settings),
            (None, Some(_)) => Some(view.settings().as_ref().clone()),
            (None, None) => None,
        };
        let settings = match settings {
            Some(settings) => Some(signer.sign(ring, SETTINGS, to_body(&settings)?)?),
            None => None,
        };
        let hangs: Vec<Hangs> = self.hangs.into_values().collect();
        let parents = parents_after(&view.head.parents, &hangs, view.head.revision + 1)?;
        let exported = self.exported.or_else(|| view.head.exported.clone());
        let head = Head {
            min_reader: Head::min_reader_of(&parents, exported.as_ref()),
            ring,
            revision: view.head.revision + 1,
            settings: settings.as_ref().map_or_else(
                || view.head.settings.clone(),
                |settings| hex(&Sha256::digest(&settings.body).into()),
            ),
            root: hex(&root),
            successions: view.head.successions + u32::from(succession.is_some()),
            at: self.at,
            actor: self.actor.to_owned(),
            destroying,
            parents,
            exported,
        };
        let mut change = Change::new(view.head.revision, signer.sign(ring, HEAD, to_body(&head)?)?);
        change.settings = settings;
        change.succession = succession;
        change.nodes = written;
        change.put = self.put;
        change.take = self.take;
        change.delete = self.delete.into_iter().map(|(_, id)| id).collect();
        Ok(change)
    }
}

fn check_actor(actor: &str) -> Result<()> {
    if actor.is_empty() || actor.len() > 255 || actor.chars().any(char::is_control) {
        return Err(Error::argument(
            "an actor has 1 to 255 bytes without control characters: a name of a person or a job",
        ));
    }
    Ok(())
}

/// The first change of a ring: its settings, and no keys.
pub(crate) fn first(settings: &Settings, authority: &Authority, at: Time, actor: &str) -> Result<Change> {
    check_actor(actor)?;
    settings.check()?;
    let ring = settings.ring;
    let mut settings = settings.clone();
    settings.derive(None, 1);
    let signed = authority.sign(ring, SETTINGS, to_body(&settings)?)?;
    let head = Head {
        min_reader: BASE,
        ring,
        revision: 1,
        settings: hex(&Sha256::digest(&signed.body).into()),
        root: hex(&tree::ABSENT),
        successions: 0,
        at,
        actor: actor.to_owned(),
        destroying: Vec::new(),
        parents: Vec::new(),
        exported: None,
    };
    let mut change = Change::new(0, authority.sign(ring, HEAD, to_body(&head)?)?);
    change.settings = Some(signed);
    Ok(change)
}
