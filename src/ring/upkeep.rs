//! What an administrator does to a ring as a whole: its settings, and who may change it.

use super::Scope;
use super::authority::Authority;
use super::draft::{Draft, Pen};
use super::reader::Reader;
use super::record::Settings;
use super::view::{ScopeView, View};
use super::witness::{Operation, told};
use crate::value::error::{Error, ErrorKind, Result};

/// How many scopes are signed anew in one change.
const AT_ONCE: usize = 50;
/// How often a ring is read whole until nothing is left to be signed anew.
const TRIES: usize = 8;

/// Changes the settings of a ring. `edit` is called more than once.
///
/// # Errors
/// `InvalidArgument` for settings that contradict each other; `LifecycleRefused` if the scope template changes while the
/// ring has keys, since their envelopes would look for others, or if a provisioner's key or the parent of the keys that it makes is taken out
/// while keys count only because of them, or more may come; `Conflict` if somebody else changes who provisions keys meanwhile;
/// `Configuration` if the authority is not that of the ring; `ClocksDisagree`; those of
/// [`Trust::read`](super::Trust::read) and [`Inventory::commit`](super::Inventory::commit).
pub async fn set_settings(
    reader: &Reader,
    authority: &Authority,
    actor: &str,
    edit: impl FnMut(&mut Settings) + Send,
) -> Result<()> {
    let work = do_set_settings(reader, authority, actor, edit);
    told(reader, Operation::Set, actor, work).await
}

async fn do_set_settings(
    reader: &Reader,
    authority: &Authority,
    actor: &str,
    mut edit: impl FnMut(&mut Settings) + Send,
) -> Result<()> {
    // Who says that clocks may be further apart says so for this change, too.
    let former = reader.scopes(&[]).await?;
    let mut edited = former.settings().as_ref().clone();
    edit(&mut edited);
    let tolerance = edited.clock_tolerance.at_most();
    let is_dropped = drops_provisioners(former.settings(), &edited);
    if is_dropped {
        check_taken_over(reader, &former, &edited).await?;
    }
    let pen = Pen {
        tolerance,
        ..reader.pen(authority, actor)
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
        let is_as_looked_at = is_dropped && view.settings().provision == former.settings().provision;
        if drops_provisioners(view.settings(), &settings) && !is_as_looked_at {
            return Err(Error::new(ErrorKind::Conflict)
                .with_detail("somebody else has changed who provisions keys meanwhile: look again"));
        }
        draft.set_settings(settings)
    })
    .await
}

/// Whether keys that a provisioner has made may be believed by former settings, and not by these.
fn drops_provisioners(former: &Settings, settings: &Settings) -> bool {
    let Some(before) = &former.provision else {
        return false;
    };
    settings.provision.as_ref().is_none_or(|now| {
        now.parent != before.parent || !before.keys.iter().all(|key| now.keys.contains(key))
    })
}

/// Refuses to take a provisioner, or the parent, out of the settings while keys count only because of them. What is not closed can get more
/// of them at any time.
async fn check_taken_over(reader: &Reader, view: &View, settings: &Settings) -> Result<()> {
    let refused = |why: String| Err(Error::new(ErrorKind::LifecycleRefused).with_detail(why));
    if view.settings().provisions().is_some() {
        return refused(
            "keys are provisioned on first use, so more of them may come at any time: close that first, let `waxseal keys tick` take over what was \
             made, and then take the key of a provisioner or the parent out of the settings"
                .to_owned(),
        );
    }
    let mut after = None;
    while let Some(page) = reader.provisioned_page(after.as_ref(), None).await? {
        let read = &page.view;
        // What is not believed now is nobody's key, with these settings or with others.
        for row in page.rows.iter().filter(|row| read.is_provisioned(row.id)) {
            let is_kept = settings.provision.as_ref().is_some_and(|now| {
                let mut keys = now.keys.iter();
                let parent = read.key(row.id).and_then(|key| key.branch.as_ref());
                keys.any(|key| *key.as_bytes() == row.signed.signer)
                    && parent.is_some_and(|branch| branch.parent_scope == now.parent)
            });
            if !is_kept {
                return refused(format!(
                    "the key {} of scope {} counts only because its provisioner and its parent are in the settings: let `waxseal keys tick` take over \
                     what was provisioned first",
                    row.id, row.scope
                ));
            }
        }
        after = Some(page.last);
    }
    Ok(())
}

/// Lets another authority follow the one of a ring, and signs every record anew: at once for readers, who follow the
/// succession from the key that they trust. Keep the private half of the next authority before you call this. Two
/// authorities are valid until it returns; if it was interrupted, call it again with the same two. The former authority is not
/// dropped before the whole ring was read and verified, and each record bears a signature of the next one.
///
/// A succession does not help against a stolen private half: who trusts the old key follows whatever it signs. Replace the
/// public key in the configuration of every reader.
///
/// # Errors
/// `Configuration` if neither is the authority of the ring; `InventoryInvalid` if a record is missing, or a scope is not listed, or does not
/// verify: then both authorities stay valid; `ClocksDisagree`; those of [`Trust::read`](super::Trust::read) and
/// [`Inventory::commit`](super::Inventory::commit).
pub async fn rotate_authority(
    reader: &Reader,
    current: &Authority,
    next: &Authority,
    actor: &str,
) -> Result<()> {
    let work = do_rotate_authority(reader, current, next, actor);
    told(reader, Operation::RotateAuthority, actor, work).await
}

async fn do_rotate_authority(
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
            next: Some(next),
            ..reader.pen(current, actor)
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
    let pen = reader.pen(next, actor);
    for _ in 0..TRIES {
        // Nothing but the whole tree proves that no record is left that only the former authority has signed: a list of scopes may hide one,
        // and its records could be read by nobody after the last change. From the succession on, only the next authority signs, so what
        // is signed by it stays so.
        let whole = reader.whole().await?;
        let is_next = |signer: &[u8; 32]| signer == next.public().as_bytes();
        let is_left = |records: &ScopeView| !records.signers.values().all(is_next);
        let left = whole.scopes.into_iter().filter(|(_, records)| is_left(records));
        let left: Vec<Scope> = left.map(|(scope, _)| scope).collect();
        if left.is_empty() {
            return pen
                .change(&[], |view, draft| {
                    let mut settings = view.settings().as_ref().clone();
                    if settings.authorities.len() == 1 {
                        return Ok(());
                    }
                    settings.authorities = vec![next.public()];
                    draft.set_settings(settings)
                })
                .await;
        }
        for scopes in left.chunks(AT_ONCE) {
            pen.change(scopes, |view, draft| sign_anew(view, draft, next))
                .await?;
        }
    }
    Err(Error::new(ErrorKind::Conflict).with_detail(
        "records that the former authority has signed come back: somebody else writes to the inventory; both authorities are valid \
         until this is called again",
    ))
}

/// Signs what another authority has signed.
fn sign_anew(view: &View, draft: &mut Draft<'_>, next: &Authority) -> Result<()> {
    for (scope, records) in &view.scopes {
        let is_old = |id| {
            let signer = records.signers.get(&id);
            signer.is_some_and(|signer| signer != next.public().as_bytes())
        };
        for key in view.keys(scope).iter().filter(|key| is_old(key.id)) {
            draft.put(&**key)?;
        }
        for intent in view.intents(scope).iter().filter(|intent| is_old(intent.id)) {
            draft.put(intent)?;
        }
        if let Some(tombstone) = view.tombstone(scope).filter(|tombstone| is_old(tombstone.id)) {
            draft.put(&**tombstone)?;
        }
    }
    Ok(())
}
