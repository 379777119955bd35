//! Where a ring is kept: a store of signed byte strings, which decides nothing.
//!
//! An inventory can delay, delete and replay what it holds. It cannot make a key, a state or a receipt believed: the
//! ring verifies everything that it reads. So an implementation needs no cryptography, and has five duties: a
//! [`Snapshot`] is consistent, a [`Change`] happens entirely or not at all, only one change follows each revision, a scope gets one first key
//! and keeps it, whoever [provisions](Inventory::provision) or commits at the same time, and what was committed lasts.

mod heartbeat;
mod memory;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

pub(crate) use heartbeat::check_reader;
pub use heartbeat::{Heartbeat, MAX_PROBED, MAX_READER};
pub use memory::MemoryInventory;

use super::{RecordId, Scope, Slot, State, Time};
use crate::envelope::KekRef;
use crate::value::error::{Error, ErrorKind, Result};

/// What kind of record a [`Row`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RecordKind {
    /// A key.
    Key,
    /// What a rotation is about to do at a backend, or has begun there.
    Intent,
    /// That the scope was shredded.
    Tombstone,
}

impl RecordKind {
    /// Returns its name, as inventories store it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Intent => "intent",
            Self::Tombstone => "tombstone",
        }
    }

    /// Returns the kind of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Key, Self::Intent, Self::Tombstone]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// A byte string and an Ed25519 signature of it. Only the ring can tell whether it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signed {
    /// What was signed: a JSON object in UTF-8. 1 to [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
    /// The public key that the signature is said to be by.
    pub signer: [u8; 32],
    /// The signature.
    pub signature: [u8; 64],
}

/// The greatest length in bytes of a signed body, and of a node.
pub const MAX_BODY: usize = 256 * 1024;

/// The greatest revision that is stored: databases have no unsigned integers.
const MAX_REVISION: u64 = i64::MAX as u64;

fn check_body(body: &[u8]) -> Result<()> {
    if body.len() <= MAX_BODY {
        return Ok(());
    }
    Err(Error::new(ErrorKind::OverLimit {
        limit: "body of a record",
        max: MAX_BODY as u64,
    }))
}

fn check_signed(signed: &Signed) -> Result<()> {
    if signed.body.is_empty() {
        return Err(Error::argument("the body of a record is not empty"));
    }
    check_body(&signed.body)
}

/// Refuses a path that no node has.
///
/// # Errors
/// `InvalidArgument`.
pub fn check_node_path(path: &str) -> Result<()> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if path.len() <= 3 && path.bytes().all(is_digit) {
        return Ok(());
    }
    Err(Error::argument(
        "the path of a node has at most three of 0-9 and a-f",
    ))
}

impl Signed {
    /// Puts together what an inventory has read.
    #[must_use]
    pub fn new(body: Vec<u8>, signer: [u8; 32], signature: [u8; 64]) -> Self {
        Self {
            body,
            signer,
            signature,
        }
    }
}

/// A signed record, and copies of some of its fields beside it, by which an inventory finds it. The ring compares the copies
/// with the record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The record's id: the primary key.
    pub id: RecordId,
    /// What it is.
    pub kind: RecordKind,
    /// The scope that it belongs to.
    pub scope: Scope,
    /// The slot in the wrap section.
    pub slot: Slot,
    /// The state of a key. `None` for what is no key.
    pub state: Option<State>,
    /// How often this record was written, from 1.
    pub revision: u64,
    /// The KEK of a key, by which a scope is found. `None` for what is no key.
    pub kek: Option<KekRef>,
    /// When something is to be done about it, if ever.
    pub due: Option<Time>,
    /// The record.
    pub signed: Signed,
}

impl Row {
    /// Puts together what an inventory has read.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "a row has that many columns")]
    pub fn new(
        id: RecordId,
        kind: RecordKind,
        scope: Scope,
        slot: Slot,
        state: Option<State>,
        revision: u64,
        kek: Option<KekRef>,
        due: Option<Time>,
        signed: Signed,
    ) -> Self {
        Self {
            id,
            kind,
            scope,
            slot,
            state,
            revision,
            kek,
            due,
            signed,
        }
    }
}

/// The path of a node in the tree of digests: at most three hexadecimal digits; empty for the root.
pub type NodePath = String;

/// What an inventory holds of some scopes, all from one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// The revision beside the head.
    pub revision: u64,
    /// The ring's head.
    pub head: Option<Signed>,
    /// The ring's settings.
    pub settings: Option<Signed>,
    /// Which authority has followed which, in order.
    pub successions: Vec<Signed>,
    /// The nodes that were asked for, as far as they exist.
    pub nodes: BTreeMap<NodePath, Vec<u8>>,
    /// All rows of the scopes that were asked for, in any order.
    pub rows: Vec<Row>,
    /// The provisioned rows of these scopes, in any order.
    pub provisioned: Vec<Row>,
}

impl Snapshot {
    /// Refuses what no inventory stores. Implementations of [`Inventory::restore`] call this first.
    ///
    /// # Errors
    /// As [`Change::check`]; `InvalidArgument` if it has no head or the revision 0.
    pub fn check(&self) -> Result<()> {
        let Some(head) = self.head.clone().filter(|_| self.revision > 0) else {
            return Err(Error::argument("a snapshot without a head is no ring"));
        };
        for signed in self.settings.iter().chain(&self.successions).chain([&head]) {
            check_signed(signed)?;
        }
        check_parts(&self.nodes, &self.rows, self.revision - 1)?;
        self.provisioned.iter().try_for_each(check_provisioned)
    }
}

/// What changes and snapshots have in common.
fn check_parts(nodes: &BTreeMap<NodePath, Vec<u8>>, rows: &[Row], follows: u64) -> Result<()> {
    for (path, body) in nodes {
        check_node_path(path)?;
        check_body(body)?;
    }
    for row in rows {
        check_signed(&row.signed)?;
    }
    let revisions = rows.iter().map(|row| row.revision).chain([follows]);
    if revisions.max() >= Some(MAX_REVISION) {
        return Err(Error::argument("a revision is at most 2^63 - 2"));
    }
    Ok(())
}

/// Refuses a row that is no provisioned key. Implementations of [`Inventory::provision`] call this first.
///
/// # Errors
/// `InvalidArgument` if it is not an active key, its body is empty, or its revision is above 2^63 - 2; `OverLimit` if its body has more than
/// [`MAX_BODY`] bytes.
pub fn check_provisioned(row: &Row) -> Result<()> {
    if row.kind != RecordKind::Key || row.state != Some(State::Active) {
        return Err(Error::argument("a provisioned row is an active key"));
    }
    check_parts(&BTreeMap::new(), std::slice::from_ref(row), 0)
}

/// A change of a ring: everything in it happens, or nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// The revision that it follows; 0 to make the ring. If the inventory has another, the change is refused.
    pub follows: u64,
    /// The new head, of revision `follows + 1`.
    pub head: Signed,
    /// New settings, if they change.
    pub settings: Option<Signed>,
    /// Another authority that has followed, at the end of the list.
    pub succession: Option<Signed>,
    /// Nodes to write. An empty body deletes a node.
    pub nodes: BTreeMap<NodePath, Vec<u8>>,
    /// Rows to write, in this order: a key is deprecated before its successor becomes active, as the unique index demands.
    pub put: Vec<Row>,
    /// Rows to delete, before any are written.
    pub delete: Vec<RecordId>,
    /// Provisioned rows to delete, before any rows are written: their keys enter the tree, or are given up. One that is not there is no error.
    pub take: Vec<RecordId>,
}

impl Change {
    /// A change of nothing but the head.
    #[must_use]
    pub fn new(follows: u64, head: Signed) -> Self {
        Self {
            follows,
            head,
            settings: None,
            succession: None,
            nodes: BTreeMap::new(),
            put: Vec::new(),
            delete: Vec::new(),
            take: Vec::new(),
        }
    }

    /// Refuses what no inventory stores. Implementations call this first.
    ///
    /// # Errors
    /// `OverLimit` if a body or a node has more than [`MAX_BODY`] bytes; `InvalidArgument` if the body of a record is empty, the path
    /// of a node is none, or a revision is above 2^63 - 2.
    pub fn check(&self) -> Result<()> {
        let signed = [Some(&self.head), self.settings.as_ref(), self.succession.as_ref()];
        for signed in signed.into_iter().flatten() {
            check_signed(signed)?;
        }
        check_parts(&self.nodes, &self.put, self.follows)
    }
}

/// A store for one ring. See the [module](self) for its duties; `testing::inventory_conformance` tests them.
///
/// *Errors.* `Unavailable` or `TimedOut` if the store cannot be reached (retryable); `Unauthenticated` if it does not accept the
/// credentials; `Denied` if the account may not do that; `Configuration` if there is no such store, or it belongs to a process that this
/// one was forked from; `InvalidArgument` and `OverLimit` for what no inventory stores ([`Change::check`], [`Heartbeat::check`]);
/// `Conflict` as below; `InventoryInvalid` if what was read has not the form of a row; `Store` for every other failure.
///
/// *Cancel safety.* Dropping the future of a `commit` leaves the change done or not done; reading the revision tells which.
///
/// *Threads.* A ring polls these futures on a thread of its own and on those of its callers, in an async runtime or in none.
///
/// *Bounds.* Every call ends by itself: an implementation has its own limit of time for connecting and for a call.
#[async_trait]
pub trait Inventory: Debug + Send + Sync {
    /// Returns how far behind the newest change a read may be: what is read goes stale that much earlier. Nothing by default.
    fn behind(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns the revision: one small read, several times a second. 0 if there is no ring.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn revision(&self) -> Result<u64>;

    /// Reads all rows of these scopes, the provisioned ones as well, with the head, the settings, the successions and these nodes, in one
    /// consistent snapshot.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot>;

    /// Makes a change, if the ring has the revision that the change follows. It lasts when this returns.
    ///
    /// # Errors
    /// `Conflict` if the ring has another revision, the change would leave two active keys in one scope and slot, or it puts a row into a
    /// scope that has a provisioned row which it does not [take](Change::take). Else as the [trait](Self) says.
    async fn commit(&self, change: &Change) -> Result<()>;

    /// Adds the first key of a scope, which a provisioner has signed, if the ring has the revision `follows`, and the scope has no row, and no
    /// provisioned row in this slot. It lasts when this returns. Returns what the inventory then holds there: this row, or that of
    /// somebody who was faster, whatever the revision. The revision of the ring stays the same. Needs no right to change anything else.
    ///
    /// No commit and no other provision comes between the look and the write.
    ///
    /// # Errors
    /// `Conflict` if the ring has another revision, the scope has a row, or another row, provisioned or not, has the same id. Else as the [trait](Self) says.
    ///
    /// *Cancel safety.* Dropping the future leaves the row added or not.
    async fn provision(&self, follows: u64, row: &Row) -> Result<Row>;

    /// Returns the scopes with a provisioned row after this one in the order of their bytes, at most `limit`. From the beginning with
    /// `None`.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn scopes_provisioned(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>>;

    /// Fills an empty inventory with everything that a snapshot holds, at its revision. It lasts when this returns.
    ///
    /// # Errors
    /// `Conflict` if the inventory holds a ring already, or the snapshot has two active keys in one scope and slot. Else as the
    /// [trait](Self) says.
    async fn restore(&self, whole: &Snapshot) -> Result<()>;

    /// Returns the time, by the store's own clock: the one that all processes have in common. Needs no right to write.
    ///
    /// Nobody signs it. Whoever signs something compares it with the clock of the machine, and a change never bears an earlier time than the
    /// one before, so an inventory keeps no time for that.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn now(&self) -> Result<Time>;

    /// Returns the scope of the row with this id, provisioned or not, if there is one.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn scope_of(&self, id: RecordId) -> Result<Option<Scope>>;

    /// Returns the scopes that have a key of this KEK, in whatever version, at most `limit` of them, in order.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn scopes_of_kek(&self, provider: &str, kek_id: &str, limit: u32) -> Result<Vec<Scope>>;

    /// Returns the scopes in which something is due by then, at most `limit` of them, the most overdue first.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn scopes_due(&self, by: Time, limit: u32) -> Result<Vec<Scope>>;

    /// Returns when something is due next.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn next_due(&self) -> Result<Option<Time>>;

    /// Returns the scopes after this one in the order of their bytes, at most `limit`. From the beginning with `None`.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn scopes_after(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>>;

    /// Returns the same of scopes that have a pending key.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn scopes_pending(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>>;

    /// Writes a heartbeat, in the place of the one before. Needs no right to change the ring. An inventory may forget a heartbeat
    /// that is older than 30 days.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<()>;

    /// Returns the heartbeats since then, by the store's clock, the newest first, at most 10,000. A row that has not the form of a
    /// heartbeat is one that is [`malformed`](Heartbeat::malformed), and keeps nobody from the others. Neither does one that claims to be of
    /// the future: it is not returned.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn heartbeats(&self, since: Time) -> Result<Vec<Heartbeat>>;

    /// Returns the same of one reader, however many others have written.
    ///
    /// # Errors
    /// As the [trait](Self) says.
    async fn heartbeats_of(&self, reader: &str, since: Time) -> Result<Vec<Heartbeat>>;
}
