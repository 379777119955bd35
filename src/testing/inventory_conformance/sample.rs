//! Records for the checks.

use std::collections::BTreeMap;

use crate::envelope::KekRef;
use crate::ring::inventory::{Change, RecordKind, Row, Signed};
use crate::ring::{RecordId, Scope, Slot, State, Time};
use crate::testing::conformance::probe::{Finding, own};

/// A record that holds this text, with a signer and a signature that go with the text and are none.
pub(super) fn signed(text: &str) -> Signed {
    let mut signer = [0_u8; 32];
    for (index, byte) in text.bytes().enumerate() {
        let at = index % 32;
        if let Some(place) = signer.get_mut(at) {
            *place = place.wrapping_mul(31).wrapping_add(byte);
        }
    }
    let mut signature = [0xff; 64];
    signature[..32].copy_from_slice(&signer);
    Signed::new(text.as_bytes().to_vec(), signer, signature)
}

/// A time in seconds.
pub(super) fn time(seconds: i64) -> Finding<Time> {
    Time::from_microseconds(seconds.saturating_mul(1_000_000)).map_err(own)
}

/// An id that sorts by this number.
pub(super) fn id(number: u32) -> Finding<RecordId> {
    let mut bytes = [0; 16];
    bytes[6] = 0x70;
    bytes[8] = 0x80;
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    RecordId::from_bytes(bytes).map_err(own)
}

pub(super) fn scope(text: &str) -> Finding<Scope> {
    text.parse().map_err(own)
}

pub(super) fn scopes(texts: &[&str]) -> Finding<Vec<Scope>> {
    texts.iter().map(|text| scope(text)).collect()
}

pub(super) fn slot(text: &str) -> Finding<Slot> {
    text.parse().map_err(own)
}

pub(super) fn kek(id: &str, version: &str) -> Finding<KekRef> {
    KekRef::new("conformance", id, version).map_err(own)
}

/// A key in this state.
pub(super) fn key(number: u32, of: &str, state: State) -> Finding<Row> {
    Ok(Row::new(
        id(number)?,
        RecordKind::Key,
        scope(of)?,
        Slot::default(),
        Some(state),
        1,
        Some(kek(&format!("kek-{number}"), "1")?),
        None,
        signed(&format!("key {number} {state}")),
    ))
}

/// A change of this head that puts these rows.
pub(super) fn change(follows: u64, rows: Vec<Row>) -> Change {
    let mut change = Change::new(follows, signed(&format!("head {}", follows.saturating_add(1))));
    change.put = rows;
    change
}

pub(super) fn by_id(rows: &[Row]) -> BTreeMap<RecordId, &Row> {
    rows.iter().map(|row| (row.id, row)).collect()
}
