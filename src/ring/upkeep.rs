//! What an administrator does to a ring as a whole: its settings, and who may change it.

use std::time::Duration;

use super::Scope;
use super::authority::Authority;
use super::draft::Pen;
use super::reader::Reader;
use super::record::Settings;
use crate::value::error::{Error, ErrorKind, Result};

/// How many scopes are signed anew in one change.
const AT_ONCE: u32 = 50;

/// Changes the settings of a ring. `edit` is called more than once.
///
/// # Errors
/// `InvalidArgument` for settings that contradict each other; `LifecycleRefused` if the scope template changes while the
/// ring has keys, since their envelopes would look for others; `Configuration` if the authority is not that of the ring;
/// `ClocksDisagree`; those of
/// [`Trust::read`](super::Trust::read) and [`Inventory::commit`](super::Inventory::commit).
pub async fn set_settings(
    reader: &Reader,
    authority: &Authority,
    actor: &str,
    mut edit: impl FnMut(&mut Settings) + Send,
) -> Result<()> {
    // Who says that clocks may be further apart says so for this change, too.
    let tolerance = {
        let mut settings = reader.scopes(&[]).await?.settings().as_ref().clone();
        edit(&mut settings);
        settings.clock_tolerance.at_most()
    };
    let pen = Pen {
        trust: reader.trust(),
        inventory: &**reader.inventory(),
        authority,
        next: None,
        actor,
        runtime: reader.runtime(),
        tolerance,
    };
    pen.change(&[], |view, draft| {
        let mut settings = view.settings().as_ref().clone();
        edit(&mut settings);
        settings.authorities.clone_from(&view.settings().authorities);
        if settings == **view.settings() {
            return Ok(());
        }
        if settings.scope_template != view.settings().scope_template && !view.is_without_records() {
            return Err(Error::new(ErrorKind::LifecycleRefused).with_detail(
                "the scope template cannot change while the ring has keys: what they have sealed would look for its key in \
                 another scope; make another ring, and re-wrap",
            ));
        }
        draft.set_settings(settings)
    })
    .await
}

/// Lets another authority follow the one of a ring, and signs every record anew: at once for readers, who follow the
/// succession from the key that they trust. Keep the private half of the next authority before you call this. Two
/// authorities are valid until it returns; if it was interrupted, call it again with the same two.
///
/// A succession does not help against a stolen private half: who trusts the old key follows whatever it signs. Replace the
/// public key in the configuration of every reader.
///
/// # Errors
/// `Configuration` if neither is the authority of the ring; `ClocksDisagree`; those of [`Trust::read`](super::Trust::read) and
/// [`Inventory::commit`](super::Inventory::commit).
pub async fn rotate_authority(
    reader: &Reader,
    current: &Authority,
    next: &Authority,
    actor: &str,
) -> Result<()> {
    if current.public() == next.public() {
        return Err(Error::argument("the next authority is the one that the ring has"));
    }
    let begun = reader.scopes(&[]).await?;
    if begun.authority() != next.public() {
        let pen = Pen {
            trust: reader.trust(),
            inventory: &**reader.inventory(),
            authority: current,
            next: Some(next),
            actor,
            runtime: reader.runtime(),
            tolerance: Duration::ZERO,
        };
        pen.change(&[], |view, draft| {
            if view.settings().authorities().len() > 1 {
                return Err(Error::new(ErrorKind::LifecycleRefused)
                    .with_detail("another succession of authorities is not finished: finish it first"));
            }
            let mut settings = view.settings().as_ref().clone();
            settings.authorities = vec![next.public(), current.public()];
            draft.succeed()?;
            draft.set_settings(settings)
        })
        .await?;
    }
    let pen = Pen {
        trust: reader.trust(),
        inventory: &**reader.inventory(),
        authority: next,
        next: None,
        actor,
        runtime: reader.runtime(),
        tolerance: Duration::ZERO,
    };
    let mut after: Option<Scope> = None;
    loop {
        let scopes = reader.inventory().scopes_after(after.as_ref(), AT_ONCE).await?;
        let Some(last) = scopes.last().cloned() else { break };
        pen.change(&scopes, |view, draft| {
            for (scope, records) in &view.scopes {
                let is_old = |id| {
                    records
                        .signers
                        .get(&id)
                        .is_some_and(|signer| signer != next.public().as_bytes())
                };
                for key in view.keys(scope).iter().filter(|key| is_old(key.id)) {
                    draft.put(&**key)?;
                }
                for intent in view.intents(scope).iter().filter(|intent| is_old(intent.id)) {
                    draft.put(intent)?;
                }
            }
            Ok(())
        })
        .await?;
        after = Some(last);
    }
    pen.change(&[], |view, draft| {
        let mut settings = view.settings().as_ref().clone();
        if settings.authorities.len() == 1 {
            return Ok(());
        }
        settings.authorities = vec![next.public()];
        draft.set_settings(settings)
    })
    .await
}
