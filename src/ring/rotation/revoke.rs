//! Keys that somebody else may have: out of use at once, and for good.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_channel::oneshot;

use super::exposed::{ExposedBranches, has_branches, not_looked_for};
use super::intents::under_way;
use super::moves::{Said, linked, moved, noted};
use super::rotate::Rollout;
use super::same_kek::others;
use super::{Moved, RingAdmin, refused};
use crate::ring::draft::Draft;
use crate::ring::record::{BRANCHES, KeyRecord};
use crate::ring::view::{View, no_such_key};
use crate::ring::witness::Operation;
use crate::ring::{RecordId, State};
use crate::value::error::{Error, ErrorKind, Result};

/// Why a key is revoked, and what else happens. Ticket and approver are claims: they stand in the history, and nobody verifies them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revocation {
    /// The ticket or the incident.
    pub ticket: String,
    /// Who has approved it.
    pub approver: String,
    /// Why.
    pub reason: String,
    /// Whether a successor takes the place of an active key. `true` by default; otherwise nothing can be sealed in its scope and slot
    /// until somebody creates or promotes a key.
    pub successor: bool,
    /// Whether the backend disables the KEK, too. `false` by default: what is under a disabled KEK cannot be re-wrapped.
    pub disable_at_backend: bool,
}

impl Revocation {
    /// A revocation with a successor, that disables nothing at the backend.
    #[must_use]
    pub fn new(ticket: &str, approver: &str, reason: &str) -> Self {
        Self {
            ticket: ticket.to_owned(),
            approver: approver.to_owned(),
            reason: reason.to_owned(),
            successor: true,
            disable_at_backend: false,
        }
    }
}

impl Revocation {
    /// Before anything is done: the history would refuse it, too.
    fn check(&self) -> Result<()> {
        let of = [
            ("ticket", &self.ticket),
            ("approver", &self.approver),
            ("reason", &self.reason),
        ];
        match of.into_iter().find(|(_, text)| text.trim().is_empty()) {
            None => Ok(()),
            Some((name, _)) => Err(Error::argument(format!(
                "a revocation names its {name}, and this one is empty"
            ))),
        }
    }
}

/// What a revocation has done. The key is compromised, whatever else failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Revoked {
    /// The move. If the key was compromised before, it is from there to there.
    pub moved: Moved,
    /// The key that took its place, if it was active and one did.
    pub successor: Option<RecordId>,
    /// Why no successor took its place, although one was to. A tick goes on with it, and so does the same revocation once more.
    pub without_successor: Option<Error>,
    /// Whether the backend has disabled the KEK.
    pub disabled: bool,
    /// Why the backend has not disabled the KEK, although it was to.
    pub not_disabled: Option<Error>,
    /// Other keys of the ring that are the same KEK, and that are not revoked by this. They are found by the inventory's index.
    pub same_kek: Vec<RecordId>,
    /// The branch keys that are exposed with it. [`Moved::warnings`] says so if they could not be looked for.
    pub branches: ExposedBranches,
}

impl RingAdmin {
    /// Revokes a key: it becomes compromised at once and for good. Nobody is asked, and no evidence is needed. Every process that
    /// reads the ring ends what it has cached under the key as soon as it sees this; an envelope that needs the key is
    /// `KeyRevoked` from then on.
    ///
    /// If the key was active, a successor takes its place: the pending key of its scope and slot if there is one, and else a new one. It is
    /// probed, but waits for no reader and no hook, since without it nothing can be sealed there: `NoKeyForScope` until then. Only a
    /// [gate](super::Gate) can keep it, and it keeps the successor alone. That a successor
    /// is to come, and that a gate is to agree to it, is recorded together with the revocation. So if this process dies at any point, or the backend fails, a
    /// [`tick`](Self::tick) goes on with it; the same revocation once more, or a [`rotate`](Self::rotate) of the key, does so at once.
    /// Without a successor, nothing takes the place of the key by itself: a pending key becomes a staged one.
    ///
    /// Hooks are told after the commit, and the backend disables the KEK if it is to, both while the successor is made: neither waits for
    /// the other, nor for a gate. A backend that does not disable the newest version of a KEK is asked again as soon as there is a newer one.
    ///
    /// Branch keys that are wrapped under the key, or were, are exposed with it: whoever has the key, and the inventory or a backup of it, has them. Those that
    /// are wrapped under it now are out of use, and nothing is sealed or opened with them; the others go on. [`Revoked::branches`] names them, and a
    /// tick rotates those that are active. To find them, this reads the whole ring after the commit, if the key ever had any.
    ///
    /// To revoke a key that is compromised already is no error: it does what is left of it, and adds nothing to the history.
    ///
    /// # Errors
    /// `LifecycleRefused` if the key is destroyed, or is being destroyed: it opens nothing then, and can be revoked after the destruction was
    /// canceled. `InvalidArgument` if ticket, approver or reason is empty or too long. What fails after the commit is in [`Revoked`].
    pub async fn revoke(&self, id: RecordId, revocation: &Revocation) -> Result<Revoked> {
        let deed = self
            .deed(Operation::Revoke)
            .of_key(id)
            .authorized(&revocation.ticket, Some(&revocation.approver));
        self.witnessed(deed, self.do_revoke(id, revocation)).await
    }

    pub(super) async fn do_revoke(&self, id: RecordId, revocation: &Revocation) -> Result<Revoked> {
        revocation.check()?;
        let (_, key) = self.find(id).await?;
        let scopes = self.index_of(&key).await;
        let committed = self
            .change(&scopes, |view, draft| {
                let mut committed = commit(view, draft, id, revocation)?;
                if committed.is_succeeded && self.has_gates() {
                    leave_to_gates(view, &mut committed.key, draft)?;
                }
                Ok(committed)
            })
            .await?;
        let key = &committed.key;
        let told = async {
            match committed.is_new {
                true => self.tell_of_revocation(key).await,
                false => Vec::new(),
            }
        };
        let (made, is_made) = oneshot::channel();
        let disabled = async {
            match revocation.disable_at_backend {
                true => Some(self.disable_now_or_with(key, is_made).await),
                false => None,
            }
        };
        let succeeded = async {
            match committed.is_succeeded {
                true => Some(self.succeed_telling(key, &revocation.reason, made).await),
                false => {
                    drop(made);
                    None
                }
            }
        };
        let ((disabled, warnings), succeeded) = both(both(disabled, told), succeeded).await;
        let mut revoked = Revoked {
            moved: Moved::new(id, committed.before, key.state),
            successor: None,
            without_successor: None,
            disabled: false,
            not_disabled: None,
            same_kek: committed.same_kek.clone(),
            branches: ExposedBranches::default(),
        };
        revoked.moved.warnings = warnings;
        if key.branches_due.is_some() {
            match self.exposed_branches(id).await {
                Ok(branches) => revoked.branches = branches,
                Err(error) => revoked.moved.warnings.push(not_looked_for(&error)),
            }
        }
        match succeeded {
            None => {}
            Some(Ok(moved)) => {
                revoked.successor = Some(moved.key);
                revoked.moved.warnings.extend(moved.warnings);
            }
            Some(Err(error)) => match self.find(id).await {
                // Somebody else was faster.
                Ok((view, key)) if view.active(&key.scope, &key.slot).is_some() => {
                    revoked.successor = view.active(&key.scope, &key.slot).map(|active| active.id);
                }
                _ => revoked.without_successor = Some(error),
            },
        }
        match disabled {
            None => {}
            Some(Ok(())) => revoked.disabled = true,
            Some(Err(error)) => revoked.not_disabled = Some(error),
        }
        Ok(revoked)
    }

    /// The scopes that share a KEK. A revocation does not wait for an index that fails.
    async fn index_of(&self, key: &KeyRecord) -> Vec<crate::ring::Scope> {
        let kek = &key.provenance;
        match self.scopes_sharing(&key.scope, &kek.provider, &kek.id).await {
            Ok(scopes) if self.read(&scopes).await.is_ok() => scopes,
            _ => vec![key.scope.clone()],
        }
    }

    /// Puts another key in the place of one that was revoked: the one that waits, what somebody has begun, or a new one.
    pub(super) async fn succeed(&self, key: &KeyRecord, reason: &str) -> Result<Moved> {
        let next = self.successor_of(key, reason).await?;
        self.take_over_slot(next, reason).await
    }

    /// The same, and says when the successor is made.
    async fn succeed_telling(
        &self,
        key: &KeyRecord,
        reason: &str,
        made: oneshot::Sender<()>,
    ) -> Result<Moved> {
        let next = self.successor_of(key, reason).await?;
        // If this fails, nobody waits for it.
        let _ = made.send(());
        self.take_over_slot(next, reason).await
    }

    /// The pending key that takes the place of one that was revoked, made if there is none.
    async fn successor_of(&self, key: &KeyRecord, reason: &str) -> Result<RecordId> {
        let (view, _) = self.find(key.id).await?;
        let key = view.key(key.id).ok_or_else(|| no_such_key(key.id))?;
        if let Some(active) = view.active(&key.scope, &key.slot) {
            return Err(refused(format!("the key {} is active in its place", active.id)));
        }
        let is_next = |other: &&Arc<KeyRecord>| other.slot == key.slot && other.state == State::Pending;
        let waiting = view.keys(&key.scope).iter().filter(is_next);
        if let Some(next) = waiting.max_by_key(|next| (key.successor == Some(next.id), next.id)) {
            return Ok(next.id);
        }
        let mut begun = view.intents(&key.scope).iter();
        let begun = begun.find(|intent| intent.slot == key.slot && intent.abandoned.is_none());
        let claim = match begun {
            Some(intent) => self
                .take_over(intent)
                .await?
                .ok_or_else(|| under_way(intent, view.changed()))?,
            None => {
                let plan = self.plan(key, Rollout::AtOnce, reason).await?;
                let claim = self.begin(std::slice::from_ref(&plan)).await?.pop();
                claim.ok_or_else(|| refused("nothing was begun"))?
            }
        };
        Ok(self.finish(&claim).await?.key.id)
    }

    /// Has the backend disable a KEK at once. One that does not disable the newest version is asked again when a newer one is made.
    async fn disable_now_or_with(&self, key: &KeyRecord, is_made: oneshot::Receiver<()>) -> Result<()> {
        let disabled = self.disable(key).await;
        match &disabled {
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) && key.branch.is_none() => {}
            _ => return disabled,
        }
        match is_made.await {
            Ok(()) => self.disable(key).await,
            Err(_) => disabled,
        }
    }

    async fn disable(&self, key: &KeyRecord) -> Result<()> {
        if let Some(branch) = &key.branch {
            return Err(Error::unsupported("disabling a branch key at a backend").with_detail(format!(
                "a branch key is in the ring, and no backend knows of it: it is wrapped under the key {} of scope {}",
                branch.parent, branch.parent_scope
            )));
        }
        let admin = self.call(self.backends.admin(&key.provenance.uri)).await?;
        self.call(admin.disable(&key.provenance.kek()?)).await
    }
}

/// What the change of a revocation has done.
struct Committed {
    before: State,
    key: KeyRecord,
    /// Whether the key was not compromised before.
    is_new: bool,
    /// Whether a successor is to take its place.
    is_succeeded: bool,
    same_kek: Vec<RecordId>,
}

fn commit(view: &View, draft: &mut Draft<'_>, id: RecordId, revocation: &Revocation) -> Result<Committed> {
    let key = view.key(id).ok_or_else(|| no_such_key(id))?;
    if key.state == State::Destroying {
        return Err(refused(format!(
            "the key {id} is being destroyed, and opens nothing: cancel that first if it is to be revoked"
        )));
    }
    let mut said = Said::new(draft, revocation.reason.as_str());
    said.ticket = Some(revocation.ticket.clone());
    said.approver = Some(revocation.approver.clone());
    let is_new = key.state != State::Compromised;
    let is_vacated = key.state == State::Active || is_lost(view, key);
    // Nothing takes the place of a key whose scope was shredded.
    let is_succeeded = is_vacated && revocation.successor && view.tombstone(&key.scope).is_none();
    let mut next = match is_new {
        true => moved(key, State::Compromised, &said)?,
        // Only that it is to be succeeded after all is new.
        false if is_succeeded && !awaits_successor(key) => noted(key, &said)?,
        false => key.as_ref().clone(),
    };
    if is_succeeded {
        next.next_rotation = next.next_rotation.or(Some(said.at));
    }
    if next.branches_due.is_none() && has_branches(view, key) {
        // What the same change has changed already counts once.
        next.revision = key.revision + 1;
        next.branches_due = Some(said.at);
        // Whoever does not know what is due must not write it.
        next.min_reader = next.min_reader.max(BRANCHES);
    }
    if next.revision != key.revision {
        draft.put(&next)?;
    }
    if key.state == State::Active && !revocation.successor {
        mark_all(view, key, draft, Mark::Staged)?;
    }
    if key.state == State::Pending {
        // Nothing follows the active key anymore.
        let before = key.predecessor.and_then(|before| view.key(before));
        if let Some(before) = before.filter(|before| before.successor == Some(id)) {
            let mut before = linked(before);
            before.successor = None;
            draft.put(&before)?;
        }
    }
    let same = others(view, key).filter(|other| other.state != State::Compromised);
    Ok(Committed {
        before: key.state,
        key: next,
        is_new,
        is_succeeded,
        same_kek: same.map(|other| other.id).collect(),
    })
}

/// Has nobody without a gate put anything in the place of a key: neither what waits there or is being made, nor what somebody makes later.
fn leave_to_gates(view: &View, lost: &mut KeyRecord, draft: &mut Draft<'_>) -> Result<()> {
    mark_all(view, lost, draft, Mark::Gated)?;
    if !lost.awaits_gate {
        // What is committed with it counts once.
        let is_changed = view.key(lost.id).is_none_or(|now| now.revision != lost.revision);
        lost.revision += u64::from(!is_changed);
        lost.awaits_gate = true;
        draft.put(&*lost)?;
    }
    Ok(())
}

/// What holds for everything that is to take the place of a key.
#[derive(Clone, Copy)]
enum Mark {
    /// It waits until somebody promotes it.
    Staged,
    /// It waits until a gate agrees, or somebody promotes it.
    Gated,
}

/// Marks what waits in the slot of a key, or is being made.
fn mark_all(view: &View, key: &KeyRecord, draft: &mut Draft<'_>, mark: Mark) -> Result<()> {
    let is_next = |other: &&Arc<KeyRecord>| other.slot == key.slot && other.state == State::Pending;
    for next in view.keys(&key.scope).iter().filter(is_next) {
        let mut marked = linked(next);
        let (is_marked, field) = match mark {
            Mark::Staged => (next.staged, &mut marked.staged),
            Mark::Gated => (next.awaits_gate, &mut marked.awaits_gate),
        };
        if !is_marked {
            *field = true;
            draft.put(&marked)?;
        }
    }
    let begun = view.intents(&key.scope).iter();
    for intent in begun.filter(|intent| intent.slot == key.slot && intent.abandoned.is_none()) {
        let mut marked = intent.clone();
        marked.revision += 1;
        let (is_marked, field) = match mark {
            Mark::Staged => (intent.stage, &mut marked.stage),
            Mark::Gated => (intent.awaits_gate, &mut marked.awaits_gate),
        };
        if !is_marked {
            *field = true;
            draft.put(&marked)?;
        }
    }
    Ok(())
}

/// Whether a key was revoked, and another one is to take its place.
pub(super) fn awaits_successor(key: &KeyRecord) -> bool {
    key.state == State::Compromised && key.next_rotation.is_some()
}

/// Whether a slot has lost its key by a revocation, and another one is to take its place.
pub(super) fn awaits_key(view: &View, of: &KeyRecord) -> bool {
    let mut keys = view.keys(&of.scope).iter();
    view.active(&of.scope, &of.slot).is_none() && keys.any(|key| key.slot == of.slot && awaits_successor(key))
}

/// Whether a key was the last one of its slot, and was revoked.
pub(super) fn is_lost(view: &View, key: &KeyRecord) -> bool {
    let of_slot = |other: &&Arc<KeyRecord>| other.slot == key.slot && other.activated.is_some();
    let last = view.keys(&key.scope).iter().filter(of_slot);
    let last = last.max_by_key(|other| (other.activated, other.id));
    key.state == State::Compromised
        && view.active(&key.scope, &key.slot).is_none()
        && last.is_some_and(|last| last.id == key.id)
}

/// Another key is active in the slot: nobody waits for one anymore.
pub(super) fn filled(view: &View, by: &KeyRecord, draft: &mut Draft<'_>) -> Result<()> {
    let keys = view.keys(&by.scope).iter();
    for lost in keys.filter(|key| key.slot == by.slot && awaits_successor(key)) {
        let mut lost = linked(lost);
        lost.next_rotation = None;
        lost.awaits_gate = false;
        lost.successor = Some(by.id);
        draft.put(&lost)?;
    }
    Ok(())
}

/// Does two things at once.
async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|task| {
        if first.is_none()
            && let Poll::Ready(done) = one.as_mut().poll(task)
        {
            first = Some(done);
        }
        if second.is_none()
            && let Poll::Ready(done) = other.as_mut().poll(task)
        {
            second = Some(done);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}
