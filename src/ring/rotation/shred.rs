//! Scopes that are shredded: what is under their keys is to be unreadable, for good.
//!
//! # Steps
//! 1. [`shred`](RingAdmin::shred) takes every key of the scope out of use and writes a [`Tombstone`], in one change. The cooling-off begins.
//! 2. After it, a tick begins to destroy the keys, in one change. No evidence is asked for: that something is under them is the point.
//! 3. Backends are told, and asked, as for any other key that is destroyed.
//!
//! The tombstone stays, so that nobody revives the scope. A cancellation before step 2 is one change. After it, the cancellation is committed first;
//! then each backend that was told calls the destruction off; then the keys become what they were, and the tombstone goes.

use std::sync::Arc;

use super::moves::{Said, moved, noted};
use super::{Moved, RingAdmin, refused};
use crate::ring::draft::Draft;
use crate::ring::evidence::VerifiedReceipt;
use crate::ring::record::{BRANCHES, BeforeShred, KeyRecord, ShreddedBy, Tombstone};
use crate::ring::shred_receipt::{Issue, ShredReceipt};
use crate::ring::view::View;
use crate::ring::witness::Operation;
use crate::ring::{RecordId, Scope, State};
use crate::value::error::{Error, ErrorKind, Result};

/// How many keys of other scopes a refusal names.
const NAMED: usize = 5;

/// Why a scope is shredded. Ticket and approver are claims: they stand in the history of each key, and nobody verifies them.
///
/// ```
/// # use waxseal::ring::{RingAdmin, Scope};
/// use waxseal::ring::{ShredStage, Shredding};
///
/// # async fn example(admin: &RingAdmin) -> waxseal::Result<()> {
/// let scope: Scope = "tenant/acme".parse()?;
/// let shredding = Shredding::new("GDPR-17", "the contract ended").approved_by("dana");
/// let shredded = admin.shred(&scope, &shredding).await?;
/// println!("{} keys are destroyed from {} on", shredded.moved.len(), shredded.tombstone.due);
/// // After the cooling-off, and until all of them are gone:
/// admin.tick(None).await?;
/// let receipt = admin.shred_receipt(&scope, &[]).await?;
/// if receipt.stage() == ShredStage::Destroyed {
///     std::fs::write("shredded.json", receipt.as_bytes()).ok();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shredding {
    /// The ticket, such as a request for erasure.
    pub ticket: String,
    /// Who has approved it.
    pub approver: Option<String>,
    /// Why.
    pub reason: String,
}

impl Shredding {
    /// A shredding that nobody has approved.
    #[must_use]
    pub fn new(ticket: &str, reason: &str) -> Self {
        Self {
            ticket: ticket.to_owned(),
            approver: None,
            reason: reason.to_owned(),
        }
    }

    /// Says who has approved it.
    #[must_use]
    pub fn approved_by(self, approver: &str) -> Self {
        Self {
            approver: Some(approver.to_owned()),
            ..self
        }
    }

    /// Before anything is done: the history would refuse it, too.
    fn check(&self) -> Result<()> {
        let approver = self.approver.iter().map(|approver| ("approver", approver));
        let of = [("ticket", &self.ticket), ("reason", &self.reason)];
        match of
            .into_iter()
            .chain(approver)
            .find(|(_, text)| text.trim().is_empty())
        {
            None => Ok(()),
            Some((name, _)) => Err(Error::argument(format!(
                "a shredding names its {name}, and this one is empty"
            ))),
        }
    }
}

/// What a shredding has done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Shredded {
    /// The record that says so.
    pub tombstone: Arc<Tombstone>,
    /// Keys that went out of use. None if the scope was shredded before.
    pub moved: Vec<Moved>,
    /// What went wrong after it was done: hooks that failed.
    pub warnings: Vec<Error>,
}

impl RingAdmin {
    /// Shreds a scope: every key of it goes out of use at once, and is destroyed after the [`cooling_off`](crate::ring::Settings::cooling_off) of the
    /// settings, so that what is under the keys opens nowhere. No evidence is asked for. A key that is pending and never wrapped anything leaves the
    /// ring, and its KEK is not touched. What somebody has begun to make for the scope is given up.
    ///
    /// Every process that reads the ring ends what it has of the scope as soon as it sees this: sealing and opening return `KeyDestroyed`. No key comes
    /// into use in the scope anymore, by nobody: what is to begin anew takes another scope. [`cancel_shred`](Self::cancel_shred) takes it back until
    /// a key is destroyed.
    ///
    /// To shred a scope that was shredded already is no error, and does nothing.
    ///
    /// Hooks are asked before, as before a retirement, and told after it. This reads the whole ring.
    ///
    /// # Errors
    /// `NoKeyForScope` if the scope has no key that is not destroyed; `LifecycleRefused` if a KEK of the scope is a key of another scope, too, if a hook
    /// refuses, or while a shredding of the scope is being cancelled; `InvalidArgument` if ticket, approver or reason is empty or too long; `OverLimit` if too
    /// many keys are being destroyed at once.
    pub async fn shred(&self, scope: &Scope, shredding: &Shredding) -> Result<Shredded> {
        let deed = self
            .deed(Operation::Shred)
            .in_scope(scope)
            .authorized(&shredding.ticket, shredding.approver.as_deref());
        self.witnessed(deed, self.do_shred(scope, shredding)).await
    }

    pub(super) async fn do_shred(&self, scope: &Scope, shredding: &Shredding) -> Result<Shredded> {
        shredding.check()?;
        let scopes = std::slice::from_ref(scope);
        let view = self.read(scopes).await?;
        if view.tombstone(scope).is_none() {
            for key in view.keys(scope).iter().filter(|key| key.state.row().unwraps) {
                self.ask_before_retire(key).await?;
            }
        }
        let id = RecordId::new(self.inventory().now().await?)?;
        let begun = self.change_alone(scope, |view, draft| begin(view, draft, scope, id, shredding));
        let (tombstone, keys) = begun.await?;
        let (mut all, mut warnings) = (Vec::new(), Vec::new());
        for (from, key) in &keys {
            warnings.extend(self.tell(key).await);
            all.push(Moved::new(key.id, *from, key.state));
        }
        Ok(Shredded {
            tombstone,
            moved: all,
            warnings,
        })
    }

    /// Issues a receipt of a shredding, of what the ring knows now: what opens nowhere anymore, and what the shredding does not reach. Changes nothing.
    /// While keys are in their cooling-off, or being destroyed, its [stage](ShredReceipt::stage) says so. What these censuses have counted under the keys
    /// stands in it.
    ///
    /// # Errors
    /// `LifecycleRefused` if the scope was not shredded, or that is being cancelled; `ClocksDisagree`.
    pub async fn shred_receipt(
        &self,
        scope: &Scope,
        censuses: &[VerifiedReceipt<'_>],
    ) -> Result<ShredReceipt> {
        let deed = self.deed(Operation::ShredReceipt).in_scope(scope);
        self.witnessed(deed, self.do_shred_receipt(scope, censuses)).await
    }

    async fn do_shred_receipt(
        &self,
        scope: &Scope,
        censuses: &[VerifiedReceipt<'_>],
    ) -> Result<ShredReceipt> {
        let view = self.reader.with_parents(scope).await?;
        if self.authority.public() != view.authority() {
            return Err(Error::configuration(
                "the authority's private half is not that of the ring, so nobody would believe the receipt",
            ));
        }
        let Some(tombstone) = view.tombstone(scope) else {
            return Err(refused(format!("the scope {scope} was not shredded")));
        };
        let of = Issue {
            view: &view,
            tombstone,
            censuses,
            at: self.reader.time(&view).await?,
            issuer: &self.actor,
        };
        ShredReceipt::issue(&of, &self.authority)
    }

    /// Decides on a change of a scope of which a look at the whole ring has shown, at the same revision, that nobody else needs its keys.
    async fn change_alone<T: Send>(
        &self,
        scope: &Scope,
        mut decide: impl FnMut(&View, &mut Draft<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let scopes = std::slice::from_ref(scope);
        // Branch keys are keys of no other scope, and nothing but envelopes is under them: nobody else need be looked at.
        let is_branch = |view: &View| {
            let mut keys = view.keys(scope).iter();
            keys.all(|key| key.branch.is_some() || key.state == State::Destroyed)
        };
        if is_branch(&self.read(scopes).await?) {
            let decided = self
                .change(scopes, |view, draft| match is_branch(view) {
                    true => decide(view, draft).map(Some),
                    false => Ok(None),
                })
                .await?;
            if let Some(decided) = decided {
                return Ok(decided);
            }
        }
        let look = |whole: &View| check_alone(whole, scope).map(|()| scopes.to_vec());
        self.change_whole(look, decide).await
    }

    /// Goes on with a shredding that is due: begins to destroy the keys, or goes on with a cancellation.
    pub(super) async fn go_on_shredding(&self, scope: &Scope) -> Result<Vec<Moved>> {
        let scopes = std::slice::from_ref(scope);
        let view = self.read(scopes).await?;
        if view
            .tombstone(scope)
            .is_some_and(|tombstone| tombstone.cancelled.is_some())
        {
            return self.go_on_canceling(scope).await;
        }
        // A provisioner makes no revision: a branch key may have come under a key of the scope while that was shredded.
        let keys = self
            .change_alone(scope, |view, draft| begin_to_destroy(view, draft, scope))
            .await?;
        let mut all = Vec::new();
        for key in &keys {
            all.push(self.done(key).await);
        }
        Ok(all)
    }
}

/// Refuses to shred a scope whose keys another scope needs.
pub(super) fn check_alone(whole: &View, scope: &Scope) -> Result<()> {
    let own = whole
        .keys(scope)
        .iter()
        .filter(|key| key.state != State::Destroyed);
    let own: Vec<_> = own.collect();
    let is_shared = |other: &&Arc<KeyRecord>| {
        other.scope != *scope
            && other.state != State::Destroyed
            && own.iter().any(|key| key.provenance.overlaps(&other.provenance))
    };
    if let Some(shared) = names(whole.all_keys().filter(is_shared)) {
        return Err(refused(format!(
            "the scope {scope} has a KEK that is a key of another scope, too: {shared}. Destroying it would destroy what is under those: nothing was \
             done. Rotate those scopes to KEKs of their own and destroy their old keys first, or re-wrap what is to be kept and destroy key by key"
        )));
    }
    let is_under = |other: &&Arc<KeyRecord>| {
        other.state != State::Destroyed && own.iter().any(|key| other.is_branch_of(key.id))
    };
    match names(whole.all_keys().filter(is_under)) {
        None => Ok(()),
        Some(under) => Err(refused(format!(
            "branch keys of other scopes are wrapped under keys of the scope {scope}: {under}. Destroying it would destroy what is under those: nothing was \
             done. Shred those scopes first, or give each of them a branch key under another scope (`waxseal keys create --kek branch --parent SCOPE`, `waxseal \
             keys promote`), re-wrap what is under the old one, and destroy that (`waxseal keys retire`, `waxseal keys destroy`)"
        ))),
    }
}

/// Some of these keys, and how many more there are. `None` if there are none.
fn names<'k>(keys: impl Iterator<Item = &'k Arc<KeyRecord>>) -> Option<String> {
    let mut named: Vec<String> = Vec::new();
    let mut more = 0_usize;
    for key in keys {
        match named.len() < NAMED {
            true => named.push(format!("{} of scope {} ({})", key.id, key.scope, key.state)),
            false => more += 1,
        }
    }
    let text = named.join(", ");
    match (named.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(text),
        (false, more) => Some(format!("{text} and {more} more")),
    }
}

type Begun = (Arc<Tombstone>, Vec<(State, KeyRecord)>);

fn begin(
    view: &View,
    draft: &mut Draft<'_>,
    scope: &Scope,
    id: RecordId,
    shredding: &Shredding,
) -> Result<Begun> {
    match view.tombstone(scope) {
        None => {}
        Some(there) if there.cancelled.is_some() => return Err(there.no_new_key()),
        Some(there) => return Ok((Arc::clone(there), Vec::new())),
    }
    let keys = view
        .keys(scope)
        .iter()
        .filter(|key| key.state != State::Destroyed);
    let keys: Vec<&Arc<KeyRecord>> = keys.collect();
    if keys.is_empty() {
        return Err(nothing_to_shred(scope));
    }
    let mut said = Said::new(draft, shredding.reason.as_str());
    said.ticket = Some(shredding.ticket.clone());
    said.approver.clone_from(&shredding.approver);
    let by = ShreddedBy {
        actor: &said.actor,
        ticket: &shredding.ticket,
        approver: shredding.approver.as_deref(),
        reason: &shredding.reason,
    };
    let due = view.settings().cooling_off.after(said.at)?;
    let ids = keys.iter().map(|key| key.id).collect();
    let tombstone = Tombstone::new(id, scope.clone(), &by, (said.at, due), draft.revision(), ids);
    for intent in view
        .intents(scope)
        .iter()
        .filter(|intent| intent.abandoned.is_none())
    {
        let mut given_up = intent.claim(intent.owner.clone(), draft.now());
        given_up.abandoned = Some("its scope was shredded".to_owned());
        draft.put(&given_up)?;
    }
    let is_taken_back = |id: RecordId| keys.iter().any(|key| key.id == id && never_wrapped(key));
    let mut done = Vec::new();
    for key in &keys {
        let mut next = out_of_use(key, id, &said)?;
        if next.successor.is_some_and(is_taken_back) {
            next.successor = None;
        }
        draft.put(&next)?;
        if next.state != key.state {
            done.push((key.state, next));
        }
    }
    draft.put(&tombstone)?;
    Ok((Arc::new(tombstone), done))
}

pub(super) fn nothing_to_shred(scope: &Scope) -> Error {
    Error::new(ErrorKind::NoKeyForScope).with_detail(format!(
        "the ring has no key of scope {scope} that is not destroyed: there is nothing to shred"
    ))
}

pub(super) fn never_wrapped(key: &KeyRecord) -> bool {
    key.state == State::Pending && !key.has_wrapped
}

/// The key after its scope was shredded.
fn out_of_use(key: &KeyRecord, tombstone: RecordId, said: &Said) -> Result<KeyRecord> {
    let mut next = match key.state {
        State::Pending if never_wrapped(key) => {
            let mut next = moved(key, State::Destroyed, said)?;
            next.taken_back = true;
            next.destroyed = None;
            next.revision = key.revision + 1;
            return Ok(next);
        }
        // A canary has wrapped.
        State::Pending => moved(&moved(key, State::Deprecated, said)?, State::Retired, said)?,
        State::Active | State::Deprecated => moved(key, State::Retired, said)?,
        // The authorization stands in each history that has room for it.
        _ => noted(key, said).unwrap_or_else(|_| key.clone()),
    };
    next.revision = key.revision + 1;
    // Whoever does not know what was shredded must not write it.
    next.min_reader = next.min_reader.max(BRANCHES);
    // What is being destroyed already goes on as it was.
    if key.state != State::Destroying {
        next.shredded = Some(BeforeShred {
            tombstone,
            from: key.state,
            next_rotation: key.next_rotation,
            retirement_due: key.retirement_due,
        });
        next.next_rotation = None;
    }
    Ok(next)
}

/// Lets the destruction of all keys begin.
fn begin_to_destroy(view: &View, draft: &mut Draft<'_>, scope: &Scope) -> Result<Vec<KeyRecord>> {
    let is_waiting = |there: &&Arc<Tombstone>| there.begun.is_none() && there.cancelled.is_none();
    let Some(tombstone) = view.tombstone(scope).filter(is_waiting) else {
        return Ok(Vec::new());
    };
    if tombstone.due > draft.now() {
        return Err(refused(format!(
            "the keys of scope {scope} are not destroyed before {}",
            tombstone.due
        )));
    }
    // In the name of whoever has decided it.
    let mut said = Said::new(draft, tombstone.reason.as_str()).by(&tombstone.actor);
    said.ticket = Some(tombstone.ticket.clone());
    said.approver.clone_from(&tombstone.approver);
    let mut done = Vec::new();
    let waiting = view.keys(scope).iter();
    for key in waiting.filter(|key| matches!(key.state, State::Retired | State::Compromised)) {
        let mut next = moved(key, State::Destroying, &said)?;
        next.destruction_due = Some(tombstone.due);
        if key.branch.is_some() {
            // No backend has it.
            next = moved(&next, State::Destroyed, &said)?;
            next.revision = key.revision + 1;
        }
        draft.put(&next)?;
        done.push(next);
    }
    let mut next = tombstone.next();
    next.begun = Some(draft.at());
    draft.put(&next)?;
    Ok(done)
}
