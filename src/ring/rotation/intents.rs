//! What is about to be made at a backend: committed before the backend is called, and finished by whoever finds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::branch::is_active_parent;
use super::create::{check_not_ending, check_not_there};
use super::moves::{Said, linked};
use super::orphans::Orphan;
use super::probe::{Probed, check_enabled, named};
use super::rotate::Rollout;
use super::same_kek::check_not_compromised;
use super::{Labels, RingAdmin, refused};
use crate::envelope::KekRef;
use crate::envelope::WrapAlgorithm;
use crate::key::{KekTemplate, Versions};
use crate::ring::draft::Draft;
use crate::ring::record::{
    BRANCH_ALGORITHM, Branch, Canary, Intent, IntentStep, KeyRecord, Protection, Provenance,
};
use crate::ring::view::View;
use crate::ring::{Period, RecordId, Scope, Slot, State, Time};
use crate::runtime::Monotonic;
use crate::value::error::{Error, ErrorKind, Result};

/// What shall be made.
pub(super) struct Plan {
    /// The id that the key will have.
    pub(super) key: RecordId,
    pub(super) scope: Scope,
    pub(super) slot: Slot,
    pub(super) uri: String,
    pub(super) step: IntentStep,
    pub(super) rollout: Rollout,
    pub(super) reason: String,
    pub(super) labels: Labels,
    /// The key that is rotated, at the revision that the plan was made for.
    pub(super) predecessor: Option<Arc<KeyRecord>>,
    /// Its cadence and overlap.
    pub(super) periods: (Period, Period),
}

/// An intent in the hands of this process.
pub(super) struct Claim {
    pub(super) intent: Intent,
    /// Until when this process may call the backend: half of the lease, by its own clock.
    until: Monotonic,
}

/// A key that was made.
pub(super) struct Finished {
    pub(super) key: KeyRecord,
    /// Versions that somebody else has made meanwhile.
    pub(super) orphans: Vec<Orphan>,
}

impl RingAdmin {
    /// Commits what is about to be made: all of it, or nothing.
    pub(super) async fn begin(&self, plans: &[Plan]) -> Result<Vec<Claim>> {
        let started = self.runtime.now();
        let now = self.inventory().now().await?;
        let ids: Vec<_> = plans.iter().map(|_| RecordId::new(now)).collect::<Result<_>>()?;
        let mut scopes: Vec<_> = plans.iter().map(|plan| plan.scope.clone()).collect();
        scopes.sort();
        scopes.dedup();
        let intents = self
            .change(&scopes, |view, draft| {
                let mut intents = Vec::with_capacity(plans.len());
                for (plan, id) in plans.iter().zip(&ids) {
                    let intent = self.intent_of(plan, *id, view, draft)?;
                    draft.put(&intent)?;
                    intents.push(intent);
                }
                Ok::<Vec<Intent>, Error>(intents)
            })
            .await?;
        let claims = intents.into_iter().map(|intent| self.claim(intent, started));
        Ok(claims.collect())
    }

    fn intent_of(&self, plan: &Plan, id: RecordId, view: &View, draft: &Draft<'_>) -> Result<Intent> {
        check_free(view, &plan.scope, &plan.slot, draft.now())?;
        if let Some(predecessor) = &plan.predecessor {
            let now = view.key(predecessor.id);
            if now.is_none_or(|now| now.revision != predecessor.revision) {
                return Err(Error::new(ErrorKind::Conflict)
                    .with_detail(format!("the key {} was changed meanwhile", predecessor.id)));
            }
        }
        let mut intent = Intent::new(
            (id, plan.key),
            (plan.scope.clone(), plan.slot.clone()),
            plan.uri.clone(),
            plan.step.clone(),
            plan.periods,
            draft.at(),
        );
        intent.predecessor = plan.predecessor.as_ref().map(|key| key.id);
        intent.stage = plan.rollout != Rollout::AtOnce;
        intent.awaits_gate = self.has_gates();
        intent.canary = match plan.rollout {
            Rollout::Canary(percent) => Some(percent),
            _ => None,
        };
        intent.labels.clone_from(&plan.labels);
        intent.reason.clone_from(&plan.reason);
        intent.actor = draft.actor().to_owned();
        Ok(intent.claim(self.owner(), self.lease_from(draft.now())))
    }

    fn claim(&self, intent: Intent, started: Monotonic) -> Claim {
        Claim {
            intent,
            until: started + self.lease / 2,
        }
    }

    /// Takes over an intent whose lease is over. `None` if somebody else was faster, or it is done.
    pub(super) async fn take_over(&self, found: &Intent) -> Result<Option<Claim>> {
        let started = self.runtime.now();
        let intent = self
            .change(std::slice::from_ref(&found.scope), |view, draft| {
                let mut intents = view.intents(&found.scope).iter();
                let Some(intent) = intents.find(|intent| intent.id == found.id) else {
                    return Ok(None);
                };
                if intent.abandoned.is_some() || intent.is_held(draft.now()) {
                    return Ok(None);
                }
                let mut intent = intent.claim(self.owner(), self.lease_from(draft.now()));
                intent.awaits_gate |= self.has_gates();
                draft.put(&intent)?;
                Ok(Some(intent))
            })
            .await?;
        Ok(intent.map(|intent| self.claim(intent, started)))
    }

    /// Makes what an intent describes, once, and records it as pending.
    pub(super) async fn finish(&self, claim: &Claim) -> Result<Finished> {
        let mut intent = claim.intent.clone();
        // Each turn finds a version that another scope has recorded meanwhile.
        for _ in 0..64 {
            let made = self.make(claim, &intent).await?;
            if intent.canary.is_some() && made.branch.is_none() {
                // It wraps as soon as it is in the ring.
                let of = Probed {
                    key: Some(intent.key),
                    scope: &intent.scope,
                };
                self.probe_kek(&made.provenance, made.algorithm, of).await?;
            }
            // A hint. If a scope is missing, two scopes may record one version, which is destroyed only when no scope has it anymore: that is
            // proven there.
            let scopes = match &made.branch {
                // Nobody else has it, and its parent has to be what it was.
                Some(branch) => vec![intent.scope.clone(), branch.parent_scope.clone()],
                None => {
                    let kek = &made.provenance;
                    self.scopes_sharing(&intent.scope, &kek.provider, &kek.id).await?
                }
            };
            let outcome = self
                .change(&scopes, |view, draft| {
                    let Some(current) = still_ours(view, &intent)? else {
                        return Ok(Outcome::Done(already(view, &intent)?));
                    };
                    let known = versions_known(view, &made.provenance);
                    if known.contains(&made.provenance.version) {
                        if let IntentStep::NewVersion { .. } = &current.step {
                            let mut next = current.clone();
                            next.revision += 1;
                            next.step = IntentStep::NewVersion {
                                newest: made.provenance.version.clone(),
                            };
                            draft.put(&next)?;
                            return Ok(Outcome::Again(next));
                        }
                        check_not_there(view.keys(&intent.scope), &made.provenance)?;
                    }
                    check_not_ending(view, &made.provenance)?;
                    check_not_compromised(view, &intent.scope, &made.provenance)?;
                    if made
                        .branch
                        .as_ref()
                        .is_some_and(|branch| !is_active_parent(view, branch))
                    {
                        return Ok(Outcome::Again(current.clone()));
                    }
                    let said = Said::new(draft, &current.reason).by(&current.actor);
                    let mut key = KeyRecord::new(
                        current.key,
                        current.scope.clone(),
                        current.slot.clone(),
                        made.provenance.clone(),
                        made.algorithm,
                        made.protection,
                        (current.cadence, current.overlap),
                        said.at,
                    );
                    if let Some(branch) = &made.branch {
                        key = key.with_branch(branch.clone());
                    }
                    key.in_ring_since = draft.revision();
                    key.record_move(said.entry(None, State::Pending))?;
                    key.revision = 1;
                    key.labels.clone_from(&current.labels);
                    key.staged = current.stage;
                    key.awaits_gate = current.awaits_gate;
                    if let Some(percent) = current.canary {
                        key.canary = Some(Canary {
                            percent,
                            since: said.at,
                        });
                        key.has_wrapped = true;
                    }
                    let before = current.predecessor.or_else(|| {
                        let active = view.active(&current.scope, &current.slot);
                        active.map(|active| active.id)
                    });
                    if let Some(before) = before.and_then(|before| view.key(before)) {
                        key.predecessor = Some(before.id);
                        let mut before = linked(before);
                        before.successor = Some(key.id);
                        draft.put(&before)?;
                        // Whoever creates a key beside an active one promotes it; and if somebody else put another key in the place of the
                        // one that is rotated, somebody has to decide.
                        // In the place of a key that was revoked, nobody has to decide anything: nothing can be sealed there.
                        let is_vacant = before.state == State::Compromised
                            && view.active(&current.scope, &current.slot).is_none();
                        let is_expected = before.state == State::Active || is_vacant;
                        key.staged |= current.predecessor.is_none() || !is_expected;
                        // A revocation has said so for whatever takes the place of the key.
                        key.awaits_gate |= before.awaits_gate;
                    }
                    draft.delete(current)?;
                    draft.put(&key)?;
                    let orphans = made.orphans(&known);
                    Ok(Outcome::Recorded(key, orphans))
                })
                .await?;
            match outcome {
                Outcome::Again(next) => intent = next,
                Outcome::Done(key) => {
                    return Ok(Finished {
                        key,
                        orphans: Vec::new(),
                    });
                }
                Outcome::Recorded(key, orphans) => {
                    let orphans = self.proven(orphans).await;
                    return Ok(Finished { key, orphans });
                }
            }
        }
        Err(Error::new(ErrorKind::Conflict)
            .with_detail("other scopes rotate the same KEK all the time; give each scope a KEK of its own"))
    }

    /// Calls the backend.
    async fn make(&self, claim: &Claim, intent: &Intent) -> Result<Made> {
        if let IntentStep::NewBranch { parent } = &intent.step {
            let (parent, branch) = self.new_branch(parent, &intent.scope, intent.key).await?;
            return Ok(Made {
                provenance: Provenance::branch(intent.key),
                algorithm: BRANCH_ALGORITHM,
                protection: parent.protection,
                branch: Some(branch),
                newer: Vec::new(),
            });
        }
        let admin = self.call(self.backends.admin(&intent.uri)).await?;
        self.check_in_time(claim)?;
        match &intent.step {
            IntentStep::NewVersion { newest } => {
                let predecessor = match intent.predecessor {
                    Some(id) => self.key(id).await?,
                    None => return Err(refused("a new version needs a key before it")),
                };
                let old = &predecessor.provenance;
                let kek = KekRef::new(&old.provider, &old.id, newest)?;
                // Not the id alone: a backend that remembers it would return a version that another scope has taken.
                let key = format!("{} {newest}", intent.id);
                self.check_in_time(claim)?;
                let description = self.call(admin.rotate(&kek, &key)).await?;
                check_enabled(&description)?;
                let made = &description.kek;
                if (made.provider(), made.id()) != (kek.provider(), kek.id())
                    || made.version().is_empty()
                    || made.version() == newest
                {
                    return Err(Error::new(ErrorKind::InvalidAnswer)
                        .with_provider(old.provider.clone())
                        .with_detail("the rotation returned another KEK, or no new version"));
                }
                let all = KekRef::new(&old.provider, &old.id, "")?;
                let versions = self.call(admin.describe_versions(&all)).await?;
                let newer = versions
                    .into_iter()
                    .map(|version| version.kek.version().to_owned())
                    .take_while(|version| version != newest)
                    .collect();
                Ok(Made {
                    provenance: Provenance::new(&old.uri, made)?,
                    algorithm: description.algorithm,
                    protection: description.protection,
                    branch: None,
                    newer,
                })
            }
            IntentStep::NewKek { name } => {
                let template = KekTemplate::new(name);
                let made = self.call(admin.create(&template, &intent.id.to_string())).await?;
                let uri = self.backends.sibling(&intent.uri, name, &made.kek)?;
                // What may be said of its versions, only its key manager says.
                let versions = {
                    let bare = Provenance::new(&uri, &made.kek)?;
                    match self.call(self.backends.open(&bare.uri)).await {
                        Ok(manager) => manager.capabilities().versions,
                        Err(error) => return Err(error),
                    }
                };
                check_enabled(&made)?;
                Ok(Made {
                    provenance: Provenance::new(&uri, &named(&made.kek, versions)?)?
                        .one_version(versions == Versions::Proven),
                    algorithm: made.algorithm,
                    protection: made.protection,
                    branch: None,
                    newer: Vec::new(),
                })
            }
            IntentStep::NewBranch { .. } => Err(refused("a branch key is made in the ring")),
        }
    }

    /// Refuses to call a backend when somebody else may begin to.
    fn check_in_time(&self, claim: &Claim) -> Result<()> {
        if self.runtime.now() <= claim.until {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TimedOut).with_detail(
            "half of the lease of the rotation is over; whoever comes after its end goes on with it",
        ))
    }

    /// Sees what a rotation of this key would make.
    pub(super) async fn plan(&self, active: &Arc<KeyRecord>, rollout: Rollout, reason: &str) -> Result<Plan> {
        let key = RecordId::new(self.inventory().now().await?)?;
        let uri = active.provenance.uri.clone();
        let versions = match &active.branch {
            Some(_) => Versions::None,
            None => {
                let manager = self.call(self.backends.key(&active.provenance)).await?;
                manager.capabilities().versions
            }
        };
        let step = match versions {
            _ if let Some(branch) = &active.branch => IntentStep::NewBranch {
                parent: branch.parent_scope.clone(),
            },
            Versions::Proven => {
                let admin = self.call(self.backends.admin(&uri)).await?;
                let old = &active.provenance;
                let all = KekRef::new(&old.provider, &old.id, "")?;
                let newest = self.call(admin.describe(&all)).await?;
                IntentStep::NewVersion {
                    newest: newest.kek.version().to_owned(),
                }
            }
            _ => IntentStep::NewKek {
                name: super::create::name_of(key),
            },
        };
        Ok(Plan {
            key,
            scope: active.scope.clone(),
            slot: active.slot.clone(),
            uri,
            step,
            rollout,
            reason: reason.to_owned(),
            labels: active.labels.clone(),
            predecessor: Some(Arc::clone(active)),
            periods: (active.cadence, active.overlap),
        })
    }
}

enum Outcome {
    Recorded(KeyRecord, Vec<Orphan>),
    /// Somebody else has done it.
    Done(KeyRecord),
    Again(Intent),
}

/// What a backend has made.
struct Made {
    provenance: Provenance,
    algorithm: WrapAlgorithm,
    protection: Protection,
    /// Of a branch key.
    branch: Option<Branch>,
    /// The versions that are newer than the one that was the newest, as far as the backend lists them.
    newer: Vec<String>,
}

impl Made {
    /// Versions that came beside the one that was adopted, and that no key is.
    fn orphans(&self, known: &BTreeSet<String>) -> Vec<Orphan> {
        let others = self
            .newer
            .iter()
            .filter(|version| **version != self.provenance.version && !known.contains(*version));
        others
            .map(|version| Orphan::version(&self.provenance, version))
            .collect()
    }
}

/// The intent as it is in the ring, if it is still this process's. `None` if it is gone.
fn still_ours<'v>(view: &'v View, intent: &Intent) -> Result<Option<&'v Intent>> {
    let mut intents = view.intents(&intent.scope).iter();
    match intents.find(|current| current.id == intent.id) {
        None => Ok(None),
        Some(current) if current.fence == intent.fence && current.abandoned.is_none() => Ok(Some(current)),
        Some(current) => Err(Error::new(ErrorKind::Conflict)
            .with_detail(format!("the rotation was taken over by {}", current.owner))),
    }
}

/// What somebody else has made of an intent that is gone.
fn already(view: &View, intent: &Intent) -> Result<KeyRecord> {
    let key = view.key(intent.key).ok_or_else(|| {
        Error::new(ErrorKind::Conflict).with_detail("the rotation is not in the ring anymore")
    })?;
    Ok(key.as_ref().clone())
}

/// The versions of a KEK that are keys of the ring.
fn versions_known(view: &View, kek: &Provenance) -> BTreeSet<String> {
    let same = view
        .all_keys()
        .filter(|key| (&key.provenance.provider, &key.provenance.id) == (&kek.provider, &kek.id));
    same.map(|key| key.provenance.version.clone()).collect()
}

/// Refuses a second thing in one scope and slot.
fn check_free(view: &View, scope: &Scope, slot: &Slot, now: Time) -> Result<()> {
    let mut intents = view.intents(scope).iter();
    if let Some(intent) = intents.find(|intent| intent.slot == *slot && intent.abandoned.is_none()) {
        return Err(under_way(intent, now));
    }
    let is_next = |key: &&Arc<KeyRecord>| key.slot == *slot && key.state == State::Pending;
    match view.keys(scope).iter().find(is_next) {
        None => Ok(()),
        Some(key) => Err(refused(format!(
            "the pending key {} waits in slot {slot} of scope {scope}: promote it, or take it back",
            key.id
        ))),
    }
}

/// What is said to whoever finds somebody else at work.
pub(super) fn under_way(intent: &Intent, now: Time) -> Error {
    let until = match intent.is_held(now) {
        true => format!("until {}", intent.lease_until),
        false => "and its time is over: a tick goes on with it".to_owned(),
    };
    Error::new(ErrorKind::Conflict).with_detail(format!(
        "{} is at work on a new key of scope {} and slot {}, {until}",
        intent.owner, intent.scope, intent.slot
    ))
}
