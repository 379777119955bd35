//! Keys that somebody else may have, and that are not destroyed.

use std::sync::Arc;

use serde_json::{Value, json};
use waxseal::ring::{KeyRecord, Provenance, RecordId, State, View};

use super::kek_json;

/// How many branch keys are named under each key that exposes them.
const NAMED: usize = 10;

/// A key that was revoked, or a branch key that is or was wrapped under such a key, and that is not destroyed: somebody else may have it.
pub(super) struct Exposed {
    key: Arc<KeyRecord>,
    /// What was revoked, if that is not the key itself.
    by: Option<Arc<KeyRecord>>,
    /// Whether another key seals in its place, that nobody else has.
    is_replaced: bool,
    /// Whether no key is active in its place at all.
    is_vacant: bool,
    /// Whether it is active and out of use all the same.
    is_stopped: bool,
    /// Other keys of the ring that are the same KEK, and were not revoked.
    shared: Vec<Sharing>,
}

/// A key that wraps or unwraps, or may, in short.
#[derive(Clone)]
pub(super) struct Sharing {
    id: RecordId,
    scope: String,
    state: State,
    kek: Provenance,
}

impl Sharing {
    /// `None` for a key that was revoked, is gone, or is in one scope alone.
    pub(super) fn of(key: &KeyRecord) -> Option<Self> {
        let is_meant = key.branch.is_none() && key.revocation().is_none() && key.state != State::Destroyed;
        is_meant.then(|| Self {
            id: key.id,
            scope: key.scope.to_string(),
            state: key.state,
            kek: key.provenance.clone(),
        })
    }
}

impl Exposed {
    pub(super) fn of(key: &Arc<KeyRecord>, view: &View) -> Option<Self> {
        if key.state == State::Destroyed {
            return None;
        }
        let by = match key.revocation() {
            Some(_) => None,
            None => Some(Arc::clone(view.exposed_by(key).first()?)),
        };
        let is_good = |active: &&Arc<KeyRecord>| active.id != key.id && view.exposed_by(active).is_empty();
        Some(Self {
            key: Arc::clone(key),
            by,
            is_replaced: view.active(&key.scope, &key.slot).filter(is_good).is_some(),
            is_vacant: view.active(&key.scope, &key.slot).is_none(),
            is_stopped: key.state == State::Active && view.is_stopped(key),
            shared: Vec::new(),
        })
    }

    /// Notes which keys are the same KEK.
    pub(super) fn meet(&mut self, others: &[Sharing]) {
        let is_same = |other: &&Sharing| {
            self.by.is_none() && other.id != self.key.id && other.kek.overlaps(&self.key.provenance)
        };
        self.shared = others.iter().filter(is_same).cloned().collect();
    }

    fn is_active(&self) -> bool {
        self.key.state == State::Active
    }

    pub(super) fn to_json(&self) -> Value {
        let key = &self.key;
        let made = self.by.as_ref().unwrap_or(key).revocation();
        let kek = &key.provenance;
        json!({
            "key": key.id.to_string(),
            "scope": key.scope.to_string(),
            "slot": key.slot.to_string(),
            "state": key.state.name(),
            "kek": kek_json(&kek.provider, &kek.id, &kek.version),
            "since": made.map(|made| made.at.to_string()),
            "actor": made.map(|made| &made.actor),
            "ticket": made.and_then(|made| made.ticket.as_ref()),
            "approver": made.and_then(|made| made.approver.as_ref()),
            "reason": made.map(|made| &made.reason),
            "exposed_by": self.by.as_ref().map(|by| json!({
                "key": by.id.to_string(),
                "scope": by.scope.to_string(),
                "is_parent": self.key.is_branch_of(by.id),
            })),
            "needs_rotation": self.is_active(),
            "stopped": self.is_stopped,
            "replaced": self.is_replaced,
            "same_kek": self.shared.iter().map(|other| other.id.to_string()).collect::<Vec<_>>(),
        })
    }

    fn line(&self) -> String {
        let key = &self.key;
        let mut line = format!("{} of scope {}, slot {}", key.id, key.scope, key.slot);
        if let Some(made) = key.revocation() {
            line += &format!(", revoked {} by {}", made.at, made.actor);
            if let Some(ticket) = &made.ticket {
                line += &format!(", ticket {ticket}");
            }
            line += &format!(": {}", made.reason);
        }
        if let Some(by) = &self.by {
            let is = if self.key.is_branch_of(by.id) { "is" } else { "was" };
            line += &format!(
                ", {}: it {is} wrapped under {} of scope {}, which was revoked",
                key.state, by.id, by.scope
            );
        }
        match (self.is_active(), self.is_stopped) {
            (true, true) => line += "; nothing is sealed there until it is rotated: `keys tick` does that",
            (true, false) => line += "; it still seals: `keys tick` rotates it",
            (false, _) if self.is_vacant => {
                line += "; nothing can be sealed there: no key is active in its place";
            }
            (false, _) => {}
        }
        for other in &self.shared {
            line += &format!(
                "; its KEK is the key {} of scope {}, too, which is {} and was not revoked: revoke that one, too",
                other.id, other.scope, other.state
            );
        }
        line
    }
}

/// A line for each key, and of many branch keys under one key for the first of them.
pub(super) fn lines(exposed: &[Exposed]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut branches: Vec<(RecordId, Vec<&Exposed>)> = Vec::new();
    for one in exposed {
        let Some(by) = &one.by else {
            lines.push(one.line());
            continue;
        };
        match branches.iter_mut().find(|(id, _)| *id == by.id) {
            Some((_, of)) => of.push(one),
            None => branches.push((by.id, vec![one])),
        }
    }
    for (by, mut of) in branches {
        of.sort_by_key(|one| !one.is_active());
        lines.extend(of.iter().take(NAMED).map(|one| one.line()));
        let more = of.len().saturating_sub(NAMED);
        let active = of.iter().skip(NAMED).filter(|one| one.is_active()).count();
        if more > 0 {
            lines.push(format!(
                "{more} more branch keys that are or were wrapped under {by}, {active} of them active and to be rotated: `--json` names them"
            ));
        }
    }
    lines
}
