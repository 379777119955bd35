//! A ring with many keys, made at once.

use std::sync::Arc;
use std::time::Duration;

use super::draft::{self, Pen};
use super::inventory::MemoryInventory;
use super::record::{KeyRecord, Move, Protection, Provenance, Settings};
use super::{Authority, Inventory, Reader, RecordId, Scope, Slot, State, Trust};
use crate::envelope::{KekRef, WrapAlgorithm};
use crate::runtime::AmbientRuntime;
use crate::value::error::Result;

/// How many keys one change makes.
const AT_ONCE: u32 = 1_000;
/// How many days apart the rotations of the keys are, at most.
const DAYS: u32 = 400;

/// Makes a ring in memory with one active key in each of so many scopes, `tenant/0000000` and so on, whose rotations are due on 400 days. It is signed
/// as every ring is; the KEKs exist nowhere. A thousand keys are made in one change: a ring of 100,000 takes seconds.
///
/// # Errors
/// `Entropy`.
pub async fn large_ring(keys: u32) -> Result<Reader> {
    let inventory = MemoryInventory::new();
    let authority = Authority::generate()?;
    let now = inventory.now().await?;
    let ring = RecordId::new(now)?;
    let settings = Settings::new(ring, authority.public())?;
    inventory
        .commit(&draft::first(&settings, &authority, now, "testing")?)
        .await?;
    let trust = Trust::new(ring, authority.public());
    let pen = Pen {
        trust: &trust,
        inventory: &inventory,
        authority: &authority,
        next: None,
        actor: "testing",
        runtime: &AmbientRuntime,
        witness: None,
        tolerance: Duration::ZERO,
    };
    for first in (0..keys).step_by(AT_ONCE as usize) {
        let numbers = first..keys.min(first + AT_ONCE);
        let scopes = numbers
            .clone()
            .map(|number| format!("tenant/{number:07}").parse());
        let scopes = scopes.collect::<Result<Vec<Scope>>>()?;
        pen.change(&scopes, |view, draft| {
            for (number, scope) in numbers.clone().zip(&scopes) {
                let name = format!("key-{number:07}");
                let days = u32::min(1 + number % DAYS, DAYS);
                let periods = (format!("P{days}D").parse()?, "PT24H".parse()?);
                let kek = KekRef::new("local", &name, "")?;
                let mut key = KeyRecord::new(
                    RecordId::new(now)?,
                    scope.clone(),
                    Slot::default(),
                    Provenance::new(&format!("file:keys/{name}"), &kek)?,
                    WrapAlgorithm::XAES_256_GCM,
                    Protection::Software,
                    periods,
                    now,
                );
                key.state = State::Active;
                key.revision = 1;
                key.has_wrapped = true;
                key.in_ring_since = view.revision() + 1;
                key.activated = Some(now);
                key.next_rotation = Some(key.cadence.after(now)?);
                key.record_move(Move {
                    at: now,
                    revision: view.revision() + 1,
                    from: None,
                    to: State::Active,
                    actor: "testing".to_owned(),
                    reason: "to have many".to_owned(),
                    evidence: None,
                    ticket: None,
                    approver: None,
                })?;
                draft.put(&key)?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(Reader::new(
        Trust::new(ring, authority.public()),
        Arc::new(inventory),
    ))
}
