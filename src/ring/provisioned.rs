//! What is believed of a key that a provisioner has signed, and not the authority.

use super::inventory::Row;
use super::record::{Head, KeyRecord, PROVISIONED, READER, Record as _, Settings, invalid};
use super::{Authority, RecordId, Slot, State};
use crate::value::error::{Error, Result};

/// Names the key in what is wrong with it.
fn named(key: RecordId, scope: &super::Scope, error: &Error) -> Error {
    let detail = error.detail().unwrap_or("it is wrong");
    Error::new(error.kind()).with_detail(format!("the provisioned key {key} of scope {scope}: {detail}"))
}

/// The row of a key, signed by a provisioner.
pub(crate) fn to_row(key: &KeyRecord, ring: RecordId, provisioner: &Authority) -> Result<Row> {
    key.check()?;
    let signed = provisioner.sign(ring, PROVISIONED, super::record::to_body(key)?)?;
    Ok(key.row_of(signed))
}

/// The key of a provisioned row, if a provisioner of the settings has signed it, and it is no more than such a one may make. The scope has no
/// record in the tree, and the parent is checked by [`check_parent`].
///
/// # Errors
/// `InventoryInvalid`; `Unsupported` if only a newer library may use it.
pub(crate) fn of_row(row: &Row, head: &Head, settings: &Settings) -> Result<KeyRecord> {
    let refused = |error: Error| named(row.id, &row.scope, &error);
    let Some(provision) = &settings.provision else {
        return Err(refused(invalid("the settings let nobody provision keys")));
    };
    let key = KeyRecord::signed_as(PROVISIONED, row, head.ring, &provision.keys)?;
    let wrong = |what: &str| Err(refused(invalid(what)));
    let Some(branch) = &key.branch else {
        return wrong("it is no branch key");
    };
    if branch.parent_scope != provision.parent {
        return wrong("its parent is in another scope than the settings say");
    }
    if !settings.scope_template.makes(&key.scope) {
        return wrong("the scope template does not make its scope");
    }
    if !branch.former.is_empty() {
        return wrong("it says that it was wrapped under other keys before");
    }
    if key.slot != Slot::default() {
        return wrong("it is of another slot than default");
    }
    if key.in_ring_since == 0 || key.in_ring_since > head.revision {
        return wrong("the ring does not have the revision that it came with");
    }
    // Whoever adds it past the inventory's check can name an older revision: that ends when the provisioner is taken out of the settings.
    if provision
        .closed_since
        .is_some_and(|since| key.in_ring_since >= since)
    {
        return wrong("it came after the settings had said that no more keys are made on first use");
    }
    if !is_new(&key) {
        return wrong("it is no key that was just made and is active");
    }
    Ok(key)
}

/// Whether nothing has happened to a key but that it was made and became active.
fn is_new(key: &KeyRecord) -> bool {
    let [made] = key.history.as_slice() else {
        return false;
    };
    let moved = (made.from, made.to) == (None, State::Active)
        && made.revision == key.in_ring_since
        && made.at == key.created
        && made.evidence.is_none()
        && made.ticket.is_none()
        && made.approver.is_none();
    let Some(branch) = &key.branch else { return false };
    let (id, scope, periods) = (key.id, key.scope.clone(), (key.cadence, key.overlap));
    let (slot, kek, algorithm) = (key.slot.clone(), key.provenance.clone(), key.wrap_algorithm());
    // What no provisioner decides has the value that a new record has, whatever is added to records.
    let new = KeyRecord::new(
        id,
        scope,
        slot,
        kek,
        algorithm,
        key.protection,
        periods,
        key.created,
    );
    let plain = KeyRecord {
        revision: 1,
        state: State::Active,
        has_wrapped: true,
        in_ring_since: key.in_ring_since,
        activated: Some(key.created),
        next_rotation: key.cadence.after(key.created).ok(),
        history: key.history.clone(),
        ..new.with_branch(branch.clone())
    };
    moved && READER >= key.min_reader && *key == plain
}

/// Refuses a provisioned key whose parent was not the key that wraps in its scope when the key came.
///
/// # Errors
/// `InventoryInvalid`.
pub(crate) fn check_parent(key: &KeyRecord, parent: Option<&std::sync::Arc<KeyRecord>>) -> Result<()> {
    let refused = |what: &str| Err(named(key.id, &key.scope, &invalid(what)));
    let Some(parent) = parent else {
        return refused("it is no branch key");
    };
    let wraps = key.branch.as_ref().map(|branch| branch.wrapped.wrap_algorithm());
    if parent.slot != Slot::default() || parent.state_at(key.in_ring_since) != Some(State::Active) {
        return refused("its parent was not the active key of the slot default when it came");
    }
    if wraps != Some(parent.wrap_algorithm()) || key.protection != parent.protection {
        return refused("it has not the class or the protection of its parent");
    }
    Ok(())
}
