//! What was read is taken over, and whoever holds leases is told what has changed.

use std::sync::Arc;

use super::core::Core;
use super::keys::Changes;
use crate::ring::{Scope, Settings, View};
use crate::runtime::Monotonic;

impl Core {
    /// Takes over what a view shows of these scopes. It was asked for at `begun`.
    pub(super) fn publish(&self, view: &View, scopes: &[Scope], begun: Monotonic) {
        let settings = Arc::clone(view.settings());
        let mut changes: Vec<(Scope, Changes)> = Vec::new();
        let (mut is_other_choice, mut has_lost_approver) = (false, false);
        {
            let mut state = self.lock();
            if view.revision() >= state.mark.revision {
                is_other_choice = state.settings.scope_template != settings.scope_template
                    || state.allowed(&state.settings) != state.allowed(&settings);
                if is_other_choice {
                    // Their leases stand on pulses that nobody prolongs any more.
                    state.scopes.clear();
                    state.absent.clear();
                    self.managers.branches.clear();
                }
                let mut former = state.settings.approvers.iter();
                has_lost_approver = former.any(|key| !settings.approvers.contains(key));
                state.settings = Arc::clone(&settings);
                state.mark = view.mark();
                state.changed = view.changed();
                self.managers.set_age(settings.lease_age.at_most());
            }
            for scope in scopes {
                let dropped = state.publish(view, scope, begun, &mut changes);
                // While nobody else publishes: what is kept of branch keys goes with what is known of their scopes.
                for scope in dropped.iter().chain([scope]) {
                    let known = state.scopes.peek(scope).map(|entry| entry.keys.branch_keys());
                    self.managers
                        .branches
                        .keep_only(scope, &known.unwrap_or_default());
                }
            }
        }
        // What was decided before this was decided by an older revision.
        if let Some(witness) = self.managers.branches.witness.get() {
            witness.saw(view);
        }
        if is_other_choice {
            tracing::info!(
                revision = view.revision(),
                "the ring has another scope template, or a wider scope may serve that might not, or the other way round"
            );
        }
        if is_other_choice || has_lost_approver {
            // Whoever re-wraps forgets what an approval of a former approver has opened.
            self.leases.turn_over_all();
        }
        self.apply(&changes, &settings);
    }

    /// Tells those who hold leases what has changed.
    fn apply(&self, changes: &[(Scope, Changes)], settings: &Settings) {
        let scope_of = |context: &_| settings.scope_template.scope_of(context).ok();
        let turned: Vec<&Scope> = changes
            .iter()
            .filter(|(_, changes)| changes.turn_over)
            .map(|(scope, _)| scope)
            .collect();
        if !turned.is_empty() {
            let is_turned = self.lock().served_by_any(settings, &turned);
            self.leases
                .turn_over_sealing(|context| scope_of(context).is_some_and(|scope| is_turned(&scope)));
        }
        let shredded: Vec<&Scope> = changes
            .iter()
            .filter(|(_, changes)| changes.end_scope)
            .map(|(scope, _)| scope)
            .collect();
        if !shredded.is_empty() {
            tracing::info!(?shredded, "scopes of the ring were shredded");
            // Whatever their envelopes say of keys.
            let is_ended = self.lock().served_by_any(settings, &shredded);
            self.leases
                .end_contexts(|context| scope_of(context).is_some_and(|scope| is_ended(&scope)));
        }
        for (scope, ended) in changes
            .iter()
            .flat_map(|(scope, changes)| changes.end.iter().map(move |ended| (scope, ended)))
        {
            tracing::info!(%scope, kek = %ended.kek, "a key of the ring unwraps no more");
            self.managers.branches.end(ended.key);
            if ended.any_version {
                self.leases.end_kek(&ended.kek);
            } else {
                self.leases.end_version(&ended.kek);
            }
        }
    }
}
