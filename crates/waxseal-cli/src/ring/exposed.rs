//! Keys that somebody else may have, and that are not destroyed.

use std::sync::Arc;

use serde_json::{Value, json};
use waxseal::ring::{KeyRecord, State, View};

use super::kek_json;

/// A key that was revoked, and that is not destroyed: whoever has it opens what is under it.
pub(super) struct Exposed {
    key: Arc<KeyRecord>,
    /// Whether another key seals in its place.
    is_replaced: bool,
}

impl Exposed {
    pub(super) fn of(key: &Arc<KeyRecord>, view: &View) -> Option<Self> {
        key.revocation().filter(|_| key.state != State::Destroyed)?;
        Some(Self {
            key: Arc::clone(key),
            is_replaced: view.active(&key.scope, &key.slot).is_some(),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let (key, made) = (&self.key, self.key.revocation());
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
            "replaced": self.is_replaced,
        })
    }

    pub(super) fn line(&self) -> String {
        let key = &self.key;
        let mut line = format!("{} of scope {}, slot {}", key.id, key.scope, key.slot);
        if let Some(made) = key.revocation() {
            line += &format!(", revoked {} by {}", made.at, made.actor);
            if let Some(ticket) = &made.ticket {
                line += &format!(", ticket {ticket}");
            }
            line += &format!(": {}", made.reason);
        }
        if !self.is_replaced {
            line += "; nothing can be sealed there: no key is active in its place";
        }
        line
    }
}
