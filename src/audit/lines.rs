//! Events as lines of `tracing`.

use super::event::{Event, Outcome};
use super::json;
use crate::key::sighting::Outage;

/// The target of all lines and spans.
pub(super) const TARGET: &str = "waxseal::audit";

/// Writes the event where its caller stands, in its spans: `INFO`, and `WARN` for what was denied or refused.
pub(super) fn tell(event: &Event) {
    let action = event.action().name();
    let outcome = event.outcome().name();
    let purpose = event.purpose().map(json::purpose);
    let error = event.outcome().error().map(crate::ErrorKind::name);
    let outage = || {
        let names: Vec<_> = event.outages().map(Outage::name).collect();
        (!names.is_empty()).then(|| names.join(","))
    };
    let keks = || {
        event
            .keks()
            .iter()
            .map(|kek| kek.kek.to_string())
            .collect::<Vec<_>>()
    };
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: TARGET,
                action,
                outcome,
                purpose,
                error.r#type = error,
                outage = outage(),
                keks = ?keks(),
                scope = event.scope(),
                user.id = event.actor(),
                request_id = event.request_id(),
                revision = event.ring_revision(),
                sequence = event.sequence(),
                "a key was used"
            )
        };
    }
    match event.outcome() {
        Outcome::Denied(_) | Outcome::Refused(_) => line!(warn),
        _ => line!(info),
    }
}
