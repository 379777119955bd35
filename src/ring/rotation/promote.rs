//! Keys become active, and go back.

use std::sync::Arc;

use super::destroy::words;
use super::exposed::check_not_exposed;
use super::moves::{Said, linked, moved, noted};
use super::readers::Reports;
use super::revoke::{awaits_key, filled};
use super::same_kek::check_not_compromised;
use super::{Moved, RingAdmin, refused};
use crate::key::KekState;
use crate::ring::draft::Draft;
use crate::ring::record::{Canary, KeyRecord};
use crate::ring::view::{View, no_such_key};
use crate::ring::witness::Operation;
use crate::ring::{RecordId, State};
use crate::value::error::{Error, ErrorKind, Result};

impl RingAdmin {
    /// Promotes a pending key: it becomes active, and the active key of its scope and slot deprecated, in one change. Before that it
    /// wraps and unwraps a probe, readers have reported that they can use it, and hooks and [gates](super::Gate) agree. A gate that somebody
    /// else has asked before is not waited for.
    ///
    /// # Errors
    /// `LifecycleRefused` if it is not pending, or is a branch key that a revoked key exposes or has a KEK that was revoked in another scope, if readers have not reported, or a hook or gate refuses; the kinds of the backend.
    pub async fn promote(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let deed = self.promoting(id);
        self.witnessed(deed, self.do_promote(id, reason)).await
    }

    pub(super) async fn do_promote(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let (_, key) = self.find(id).await?;
        if key.state != State::Pending {
            return Err(refused(format!(
                "the key {id} is {}, and only a pending key is promoted; a deprecated one is reinstated",
                key.state
            )));
        }
        self.promote_reported(id, reason, Who::Person).await
    }

    /// Makes a key active again that was deprecated, and deprecates the active one in the same change: the way back from a
    /// promotion. A retired key becomes deprecated: it opens again, and does not wrap.
    ///
    /// # Errors
    /// `LifecycleRefused` if it is neither deprecated nor retired, if it would seal again and is a branch key that a revoked key exposes or has a KEK that was revoked in another scope, if its backend has disabled or destroyed the KEK or is about to, or a hook
    /// refuses; the kinds of the backend.
    pub async fn reinstate(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let deed = self.deed(Operation::Reinstate).of_key(id);
        self.witnessed(deed, self.do_reinstate(id, reason)).await
    }

    pub(super) async fn do_reinstate(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let (view, key) = self.find(id).await?;
        view.check_not_shredded(&key.scope)?;
        match key.state {
            State::Deprecated => {
                self.check_usable(&key).await?;
                self.activate(id, reason, (Who::Person, true)).await
            }
            State::Retired => {
                if !self.check_usable(&key).await? {
                    // It does not wrap from now on, but nobody else says whether it is there.
                    self.probe_key(&key).await?;
                }
                let scope = [key.scope.clone()];
                let key = self
                    .change(&scope, |view, draft| {
                        let key = in_state(view, id, State::Retired)?;
                        let said = Said::new(draft, reason);
                        let key = moved(key, State::Deprecated, &said)?;
                        draft.put(&key)?;
                        Ok(key)
                    })
                    .await?;
                Ok(self.done(&key).await)
            }
            State::Compromised => Err(refused(format!(
                "the key {id} is compromised, and stays so: only a deprecated or a retired key is reinstated"
            ))),
            state => Err(refused(format!(
                "the key {id} is {state}, and only a deprecated or a retired key is reinstated"
            ))),
        }
    }

    /// Lets a pending key wrap for a share of the contexts, in percent: a canary, if the [gates](super::Gate) agree. `None` ends that, and the key waits.
    ///
    /// # Errors
    /// `LifecycleRefused` if it is not pending, or a gate refuses; `InvalidArgument` for a share that is not 1 to 100; the kinds of the backend.
    pub async fn set_canary(&self, id: RecordId, percent: Option<u8>, reason: &str) -> Result<()> {
        let deed = self.deed(Operation::Canary).of_key(id);
        self.witnessed(deed, self.do_set_canary(id, percent, reason))
            .await
    }

    pub(super) async fn do_set_canary(&self, id: RecordId, percent: Option<u8>, reason: &str) -> Result<()> {
        let (view, key) = self.find(id).await?;
        if percent.is_some() {
            check_not_exposed(&view, &key)?;
            self.check_own_kek(&key).await?;
            self.probe_key(&key).await?;
            self.ask_gates(&view, &key).await?;
        }
        let scope = [key.scope.clone()];
        self.change(&scope, |view, draft| {
            let key = in_state(view, id, State::Pending)?;
            if percent.is_some() {
                check_not_compromised(view, &key.scope, &key.provenance)?;
            }
            let mut next = noted(key, &Said::new(draft, reason))?;
            next.staged = true;
            next.canary = percent.map(|percent| Canary {
                percent,
                since: draft.at(),
            });
            next.has_wrapped |= percent.is_some();
            draft.put(&next)
        })
        .await
    }

    /// Takes back a pending key. If it has wrapped as a canary, it becomes deprecated and opens what it has wrapped. If it never
    /// wrapped, the ring does not have it anymore: its record is destroyed and says [`taken_back`](KeyRecord::taken_back), the KEK is not
    /// touched, and it can be registered again.
    ///
    /// # Errors
    /// `LifecycleRefused` if it is not pending.
    pub async fn take_back(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let deed = self.deed(Operation::TakeBack).of_key(id);
        self.witnessed(deed, self.do_take_back(id, reason)).await
    }

    pub(super) async fn do_take_back(&self, id: RecordId, reason: &str) -> Result<Moved> {
        let (_, key) = self.find(id).await?;
        let scope = [key.scope.clone()];
        let key = self
            .change(&scope, |view, draft| {
                let key = in_state(view, id, State::Pending)?;
                let said = Said::new(draft, reason);
                let to = match key.has_wrapped {
                    true => State::Deprecated,
                    false => State::Destroyed,
                };
                let mut next = moved(key, to, &said)?;
                if to == State::Destroyed {
                    next.taken_back = true;
                    next.destroyed = None;
                }
                draft.put(&next)?;
                // Nothing follows the active key anymore.
                let before = key.predecessor.and_then(|before| view.key(before));
                if let Some(before) = before
                    && before.successor == Some(id)
                {
                    let mut before = linked(before);
                    before.successor = None;
                    draft.put(&before)?;
                }
                Ok(next)
            })
            .await?;
        Ok(self.done(&key).await)
    }

    /// Refuses a key that its backend does not let open. `false` if the backend cannot be asked.
    async fn check_usable(&self, key: &KeyRecord) -> Result<bool> {
        let state = match self.describe(key).await {
            Ok(described) => described.state,
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. } | ErrorKind::Denied) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let what = match state {
            KekState::Enabled => return Ok(true),
            KekState::Disabled => "enable it there",
            KekState::PendingDestruction => "call off its destruction there, and enable it",
            KekState::Destroyed => "nothing under it opens anymore",
        };
        Err(refused(format!(
            "the backend says that the KEK of the key {} is {}: {what}",
            key.id,
            words(state)
        )))
    }

    /// Refuses a KEK that was revoked in another scope. A branch key is in one alone.
    async fn check_own_kek(&self, key: &KeyRecord) -> Result<()> {
        match key.branch {
            None => self.check_kek(&key.scope, &key.provenance).await,
            Some(_) => Ok(()),
        }
    }

    /// Promotes a pending key by itself, if readers have reported.
    pub(super) async fn promote_pending(&self, id: RecordId, reason: &str) -> Result<Moved> {
        self.promote_reported(id, reason, Who::Itself).await
    }

    async fn promote_reported(&self, id: RecordId, reason: &str, who: Who) -> Result<Moved> {
        let (view, key) = self.find(id).await?;
        check_not_exposed(&view, &key)?;
        let active = view.active(&key.scope, &key.slot);
        let is_stopped = active.is_some_and(|active| view.is_stopped(active));
        let reports = match active {
            Some(_) if !is_stopped => self.reports(&key, &view).await?,
            // Nobody could go on with another key meanwhile.
            _ => Reports::default(),
        };
        if let Some(hindrance) = reports.hindrance() {
            self.leave_to_gates(&key).await?;
            return Err(refused(format!(
                "the key {id} cannot be promoted yet: {hindrance}"
            )));
        }
        let reason = match reports.skipped.is_empty() {
            true => reason.to_owned(),
            false => format!("{reason} (without the report of: {})", reports.skipped.join(", ")),
        };
        // Nobody is asked while nothing can be sealed because a key was revoked, or the one that it is wrapped under.
        let asks = !awaits_key(&view, &key) && !is_stopped;
        let mut done = self.activate(id, &reason, (who, asks)).await?;
        done.warnings.extend(reports.warnings());
        Ok(done)
    }

    /// Makes a pending key active in a slot that has lost its own. It is probed, and nobody is asked but the gates.
    pub(super) async fn take_over_slot(&self, id: RecordId, reason: &str) -> Result<Moved> {
        self.activate(id, reason, (Who::Itself, false)).await
    }

    /// Probes a key, asks the hooks and the gates, and makes it active in the place of the one that is.
    async fn activate(&self, id: RecordId, reason: &str, (who, asks): (Who, bool)) -> Result<Moved> {
        let (view, key) = self.find(id).await?;
        self.check_gate(&key, who)?;
        check_not_exposed(&view, &key)?;
        self.check_own_kek(&key).await?;
        self.probe_key(&key).await?;
        let before = view.active(&key.scope, &key.slot);
        if let Some(before) = before.filter(|before| !asks && !view.is_stopped(before)) {
            return Err(refused(format!("the key {} is active there by now", before.id)));
        }
        if asks {
            self.ask_before_promote(&key, before.map(|before| &**before))
                .await?;
        }
        self.ask_gates(&view, &key).await?;
        let expected = (key.state, before.map(|before| before.id));
        let scope = [key.scope.clone()];
        let (next, before) = self
            .change(&scope, |view, draft| {
                let key = view.key(id).ok_or_else(|| no_such_key(id))?;
                let before = view.active(&key.scope, &key.slot).cloned();
                if (key.state, before.as_ref().map(|before| before.id)) != expected {
                    // Nobody was asked about this.
                    return Err(refused(format!(
                        "the key {id} is {} by now, or another key is active in its place; look again",
                        key.state
                    )));
                }
                self.check_gate(key, who)?;
                check_not_exposed(view, key)?;
                check_not_compromised(view, &key.scope, &key.provenance)?;
                let replaced = replace(key, before.as_ref(), reason, draft)?;
                filled(view, &replaced.0, draft)?;
                Ok(replaced)
            })
            .await?;
        let mut warnings = match &before {
            Some(before) => self.tell(before).await,
            None => Vec::new(),
        };
        let mut done = self.done(&next).await;
        warnings.append(&mut done.warnings);
        done.warnings = warnings;
        Ok(done)
    }
}

/// Who makes a key active.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Somebody who has named it: without a gate, too.
    Person,
    /// What was begun goes on.
    Itself,
}

/// Deprecates what is active, and then makes the key active.
fn replace(
    key: &Arc<KeyRecord>,
    before: Option<&Arc<KeyRecord>>,
    reason: &str,
    draft: &mut Draft<'_>,
) -> Result<(KeyRecord, Option<KeyRecord>)> {
    let said = Said::new(draft, reason);
    let mut next = moved(key, State::Active, &said)?;
    next.successor = None;
    let before = match before {
        None => None,
        Some(before) => {
            let mut before = moved(before, State::Deprecated, &said)?;
            before.successor = Some(next.id);
            if next.predecessor.is_none() && before.predecessor != Some(next.id) {
                next.predecessor = Some(before.id);
            }
            draft.put(&before)?;
            Some(before)
        }
    };
    draft.put(&next)?;
    Ok((next, before))
}

/// A key that must be in this state.
pub(super) fn in_state(view: &View, id: RecordId, state: State) -> Result<&Arc<KeyRecord>> {
    let key = view.key(id).ok_or_else(|| no_such_key(id))?;
    match key.state == state {
        true => Ok(key),
        false => Err(wrong_state(key, state)),
    }
}

fn wrong_state(key: &KeyRecord, state: State) -> Error {
    refused(format!("the key {} is {}, and not {state}", key.id, key.state))
}
