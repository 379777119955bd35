//! What a move would do. Nothing is changed, and no backend is asked.

mod looks;

use self::looks::{Kind, Looks};
use super::readers::{LaggingReader, fresh_beats, lagging};
use crate::ring::evidence::VerifiedReceipt;
use crate::ring::record::KeyRecord;
use crate::ring::view::no_such_key;
use crate::ring::{Reader, RecordId, Scope, State, Time};
use crate::value::error::Result;

/// A move that is thought through.
///
/// ```
/// # use waxseal::ring::{Reader, RecordId};
/// use waxseal::ring::Simulation;
///
/// # async fn example(reader: &Reader, key: RecordId) -> waxseal::Result<()> {
/// let simulated = reader.simulate(&Simulation::Revoke(key), &[]).await?;
/// for affected in &simulated.scopes {
///     println!("{} ({})", affected.scope, affected.why.name());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Simulation {
    /// [`RingAdmin::retire`](super::RingAdmin::retire).
    Retire(RecordId),
    /// [`RingAdmin::revoke`](super::RingAdmin::revoke), with a successor.
    Revoke(RecordId),
    /// [`RingAdmin::shred`](super::RingAdmin::shred).
    Shred(Scope),
    /// [`RingAdmin::destroy`](super::RingAdmin::destroy).
    Destroy(RecordId),
    /// [`RingAdmin::rotate`](super::RingAdmin::rotate).
    Rotate(RecordId),
}

/// A move of a key that would be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulatedMove {
    /// The key. `None` for one that would be made.
    pub key: Option<RecordId>,
    /// Its scope.
    pub scope: Scope,
    /// Its state. `None` for one that would be made.
    pub from: Option<State>,
    /// The state that it would have.
    pub to: State,
    /// When, if not at once.
    pub at: Option<Time>,
}

/// Why a scope is affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Affected {
    /// Its own keys would move.
    Own,
    /// It has a key of the same KEK.
    SameKek,
    /// It has a branch key that is wrapped under a key that would move.
    Branch,
    /// It has a branch key that was wrapped under a key that would be revoked: whoever has that key, and a backup of the inventory, has the branch key.
    FormerBranch,
}

impl Affected {
    /// Returns its name, as the command writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::SameKek => "same-kek",
            Self::Branch => "branch",
            Self::FormerBranch => "former-branch",
        }
    }
}

/// A scope that a move would affect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AffectedScope {
    /// The scope.
    pub scope: Scope,
    /// Why.
    pub why: Affected,
    /// The keys of it that are meant.
    pub keys: Vec<RecordId>,
}

/// What a census has found under a key that would move.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimulatedCount {
    /// The key.
    pub key: RecordId,
    /// SHA-256 of the receipt, in hexadecimal digits.
    pub census: String,
    /// When the scan of the census began.
    pub started: Time,
    /// How many envelopes have a wrap under the KEK of the key.
    pub items: u64,
    /// How many of those no other key opens.
    pub sole: u64,
    /// How many envelopes may be under it, and do not say so.
    pub unknown: u64,
}

/// What a move would do, by the revision that was read and the heartbeats and receipts that were there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Simulated {
    /// The revision of the ring.
    pub revision: u64,
    /// The time that it is about.
    pub at: Time,
    /// The moves, in order. Also if the move would be refused: what it would do then.
    pub moves: Vec<SimulatedMove>,
    /// The scopes that it affects, the own one first.
    pub scopes: Vec<AffectedScope>,
    /// What the receipts say of the keys that would move.
    pub counted: Vec<SimulatedCount>,
    /// Readers that have not read the newest revision, or have not reported.
    pub readers: Vec<LaggingReader>,
    /// Why it would be refused now. Empty if nothing is known that hinders it: backends and hooks were not asked.
    pub refused: Vec<String>,
    /// When the move, or the first that is refused for its time alone, would be possible or done.
    pub due: Option<Time>,
    /// What would be unreadable, or would not work anymore, in words.
    pub unreadable: Vec<String>,
}

impl Reader {
    /// Tells what a move would do: which scopes it affects, what these censuses have counted under its keys, which readers lag, what would refuse it, when it
    /// would be due, and what would become unreadable. Changes nothing, asks no backend, and needs no authority. This reads the whole ring.
    ///
    /// # Errors
    /// `InvalidArgument` if the ring has no such key; `NoKeyForScope` if it has none of the scope; `ClocksDisagree`; as [`Trust::read`](crate::ring::Trust::read).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn simulate(&self, of: &Simulation, censuses: &[VerifiedReceipt<'_>]) -> Result<Simulated> {
        let view = self.whole().await?;
        let agreed = self.agreed(&view).await?;
        let heard = fresh_beats(self, &view).await?;
        let mut simulated = Simulated {
            revision: view.revision(),
            at: agreed.now,
            moves: Vec::new(),
            scopes: Vec::new(),
            counted: Vec::new(),
            readers: Vec::new(),
            refused: Vec::new(),
            due: None,
            unreadable: Vec::new(),
        };
        let of_id = |id: &RecordId| view.key(*id).ok_or_else(|| no_such_key(*id));
        let mut looks = Looks {
            view: &view,
            agreed,
            censuses,
            heard: &heard,
            into: &mut simulated,
        };
        let moved: Vec<&KeyRecord> = match of {
            Simulation::Retire(id) => looks.retire(of_id(id)?)?,
            Simulation::Revoke(id) => looks.revoke(of_id(id)?),
            Simulation::Destroy(id) => looks.destroy(of_id(id)?)?,
            Simulation::Rotate(id) => looks.rotate(of_id(id)?)?,
            Simulation::Shred(scope) => looks.shred(scope)?,
        };
        let kind = match of {
            Simulation::Revoke(_) => Kind::Revocation,
            _ => Kind::Other,
        };
        looks.affect(&moved, kind);
        let scopes: Vec<&Scope> = simulated.scopes.iter().map(|affected| &affected.scope).collect();
        let readers = lagging(&view, &heard, &scopes);
        simulated.readers = readers;
        Ok(simulated)
    }
}
