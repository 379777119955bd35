//! Keys that nothing is under anymore.

use super::evidence::{Evidence, Grounds};
use super::moves::{Said, moved, stopped_wrapping};
use super::promote::in_state;
use super::{Moved, RingAdmin, refused};
use crate::ring::clock::Agreed;
use crate::ring::record::{KeyRecord, RetireBy, Settings};
use crate::ring::witness::Operation;
use crate::ring::{RecordId, State, Time};
use crate::value::error::Result;

impl RingAdmin {
    /// Retires a deprecated key: it opens nothing anymore, and can be [reinstated](Self::reinstate).
    ///
    /// # Errors
    /// `LifecycleRefused` if it is not deprecated, its overlap is not over, the evidence does not count or finds something under it,
    /// branch keys are wrapped under it, or a hook refuses. [`Grounds::Force`] takes neither overlap nor evidence.
    pub async fn retire(&self, id: RecordId, grounds: Grounds<'_>, reason: &str) -> Result<Moved> {
        let deed = self.deed(Operation::Retire).of_key(id).on_grounds(grounds.name());
        self.witnessed(deed, self.do_retire(id, grounds, reason)).await
    }

    pub(super) async fn do_retire(&self, id: RecordId, grounds: Grounds<'_>, reason: &str) -> Result<Moved> {
        let (view, key) = self.find(id).await?;
        let now = self.reader.agreed(&view).await?;
        // Nobody is asked about what is refused anyway.
        if key.state == State::Deprecated {
            check_retirement(&key, view.settings(), grounds, now)?;
        }
        let branches = self.branches_of(&key).await?;
        if key.state == State::Deprecated {
            branches.check_none(&view, &key)?;
        }
        self.ask_before_retire(&key).await?;
        let scope = [key.scope.clone()];
        let key = self
            .change(&scope, |view, draft| {
                let key = in_state(view, id, State::Deprecated)?;
                check_retirement(key, view.settings(), grounds, draft.agreed())?;
                branches.check_none(view, key)?;
                let said = Said::new(draft, reason).with_evidence(digest(grounds));
                let key = moved(key, State::Retired, &said)?;
                draft.put(&key)?;
                Ok(key)
            })
            .await?;
        Ok(self.done(&key).await)
    }
}

fn digest(grounds: Grounds<'_>) -> Option<String> {
    match grounds {
        Grounds::Evidence(evidence) => Some(evidence.history_digest()),
        _ => None,
    }
}

/// On which grounds a tick retires a key. A census that began too early, or that scanned not everything, says nothing if the end of the
/// overlap suffices; one that counts and has found something does.
pub(super) fn retirement_grounds<'e>(
    key: &KeyRecord,
    settings: &Settings,
    about: Option<&'e Evidence>,
    now: Time,
) -> Grounds<'e> {
    match about {
        Some(evidence) if settings.retire != RetireBy::OverlapEnd => Grounds::Evidence(evidence),
        Some(evidence) if evidence.says_something(key, settings, now) => Grounds::Evidence(evidence),
        _ => Grounds::OverlapEnd,
    }
}

/// Refuses to retire a deprecated key too early, or without good grounds.
pub(super) fn check_retirement(
    key: &KeyRecord,
    settings: &Settings,
    grounds: Grounds<'_>,
    agreed: Agreed,
) -> Result<()> {
    if matches!(grounds, Grounds::Force) {
        return Ok(());
    }
    if let Some(due) = key.retirement_due
        && due > agreed.now
    {
        return Err(refused(format!(
            "the key {} is in its overlap until {due}",
            key.id
        )));
    }
    match grounds {
        Grounds::Evidence(evidence) => evidence.check(key, settings, agreed.now),
        _ if settings.retire == RetireBy::OverlapEnd => check_quiet(key, settings, agreed.earliest),
        _ => Err(refused(format!(
            "the key {}: the settings demand a census receipt that finds nothing under it",
            key.id
        ))),
    }
}

/// Refuses to retire a key while caches and streams may still seal under it: what they seal would open nowhere.
fn check_quiet(key: &KeyRecord, settings: &Settings, now: Time) -> Result<()> {
    let quiet = stopped_wrapping(key).map(|stopped| settings.quiet_after(stopped.at, stopped.revision));
    match quiet {
        Some(after) if after < now => Ok(()),
        Some(after) => Err(refused(format!(
            "the key {}: caches and streams may seal under it until {after}, as far as the settings allow: {}",
            key.id,
            settings.parts_of_wait()
        ))),
        None => Err(refused(format!("the key {} still wraps", key.id))),
    }
}
