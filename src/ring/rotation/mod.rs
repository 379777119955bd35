//! Everything that makes and moves keys: [`RingAdmin`].
//!
//! Each change is decided on a verified view of the ring, signed by its authority, and made only if nobody was faster. So any
//! number of administrators can work at once, and each due move happens once.
//!
//! # Rotation
//! 1. An [`Intent`](super::Intent) is committed: what was seen, what will be made, who works on it, and until when.
//! 2. The backend makes the KEK or the version, once: the intent's id is the idempotency key.
//! 3. The new key is recorded as pending, and the intent is deleted, in one change.
//! 4. The new key wraps and unwraps a probe, and readers have reported that they could, too.
//! 5. In one change the new key becomes active and the one before deprecated. The overlap runs; then the old key can be retired.
//!
//! Whoever finds an intent whose time is over takes it over and goes on from there. The process that had it before can then
//! change nothing anymore. What nobody can go on with is an [`Orphan`]: reported, and never used.

mod branch;
mod cancel;
mod coverage;
mod create;
mod destroy;
mod evidence;
mod export;
mod exposed;
mod gate;
mod hooks;
mod intents;
mod moves;
mod orphans;
mod parents;
mod preset;
mod probe;
mod promote;
mod readers;
mod retire;
mod revoke;
mod rewrap_branches;
mod rotate;
mod same_kek;
mod shred;
mod shred_cancel;
mod simulate;
mod take_over;
mod telling;
mod tick;
mod unbelieved;
mod verdict;
mod witnessed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use create::{KeySource, NewKey};
pub use evidence::{Evidence, EvidenceSource, Grounds};
pub use exposed::{ExposedBranch, ExposedBranches};
pub use gate::{Gate, Successor};
pub use hooks::Hook;
pub use moves::Moved;
pub use orphans::Orphan;
pub use preset::{KeyKind, Preset};
pub use readers::LaggingReader;
pub use revoke::{Revocation, Revoked};
pub use rewrap_branches::{BranchRewrap, BranchesRewrapped};
pub use rotate::{Event, Rollout, Rotated, Rotation, Target, Unfinished};
pub use shred::{Shredded, Shredding};
pub use simulate::{Affected, AffectedScope, Simulated, SimulatedCount, SimulatedMove, Simulation};
pub use take_over::TakenOver;
pub use tick::{Done, Refused, Tick};
pub use unbelieved::{DroppedRows, RemovedProvisioners};
pub use verdict::{Action, Due, Verdict};

use super::clock::Asked;
use super::draft::{Draft, first};
use super::inventory::Inventory;
use super::record::{KeyRecord, Settings};
use super::view::{Trust, View, no_such_key};
use super::witness::{Act, Deed, Operation, Witnessed, witnessed};
use super::{Authority, Backends, Reader, RecordId, Scope, Time};
use crate::runtime::{AmbientRuntime, Runtime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};
use tracing::Instrument as _;

/// How long nobody else takes over what a process has begun, by the inventory's clock, unless it is set otherwise.
const LEASE: Duration = Duration::from_secs(120);
/// How long a hook may take, unless it is set otherwise.
const HOOK: Duration = Duration::from_secs(30);
/// How long a gate may take, unless it is set otherwise.
const GATE: Duration = Duration::from_secs(60);

/// Makes and moves the keys of a ring: with the authority's private half, and credentials for the administration of KEKs. A program
/// that seals and opens needs neither.
///
/// ```
/// # use std::sync::Arc;
/// # use waxseal::ring::{Authority, Inventory, Reader, RingAdmin, UriBackends};
/// use waxseal::ring::{KeySource, NewKey, Rollout, Scope, Target};
///
/// # async fn example(inventory: Arc<dyn Inventory>) -> waxseal::Result<()> {
/// let authority = Authority::generate()?;
/// let trust = RingAdmin::init(&*inventory, &authority, "alice", |_| {}).await?;
/// let backends = UriBackends::new().allow("file:/var/lib/app/keys/*")?;
/// let admin = RingAdmin::new(Reader::new(trust, inventory), Arc::new(authority), Arc::new(backends), "alice");
///
/// let place = KeySource::MadeBeside("file:/var/lib/app/keys/key".into());
/// admin.create(&NewKey::new(Scope::root(), place)).await?;
/// admin.rotate(&Target::Scope(Scope::root()), Rollout::AtOnce, "a drill").await?;
/// // And once an hour, in any number of processes:
/// let tick = admin.tick(None).await?;
/// # Ok(())
/// # }
/// ```
///
/// Every method that changes the ring fails with `Configuration` if the authority is not the ring's, with `InventoryInvalid` if
/// what the inventory holds does not verify, with `ClocksDisagree` if the clock of the inventory is further from that of this machine
/// than the settings allow, with `TimedOut` if a change takes longer than a minute, or again and again longer from its time until it is in the
/// inventory than a tenth of `max_stale` (at least 2 seconds), and with the kinds of [`Inventory`] if that fails.
///
/// *Cancel safety.* Dropping a future leaves each change of the ring done or not done. What a rotation has begun at a backend is
/// finished by a later [`tick`](Self::tick).
pub struct RingAdmin {
    reader: Reader,
    authority: Arc<Authority>,
    backends: Arc<dyn Backends>,
    runtime: Arc<dyn Runtime>,
    actor: String,
    hooks: Vec<Arc<dyn Hook>>,
    hook_deadline: Duration,
    gates: Vec<Arc<dyn Gate>>,
    gate_deadline: Duration,
    lease: Duration,
    skipped: BTreeSet<String>,
}

impl RingAdmin {
    /// Makes a ring: the first change of an empty inventory. `edit` changes the settings from their defaults. Returns what a
    /// process must know to believe the ring: keep the id and the public half of the authority in the configuration of each reader.
    ///
    /// If `edit` leaves [`stream_age`](Settings::stream_age) as it is, a stream may go on for 12 times the `lease_age`, and at most for 1 hour.
    ///
    /// # Errors
    /// `Configuration` if the inventory holds a ring; `InvalidArgument` for settings that contradict each other; `ClocksDisagree`.
    pub async fn init(
        inventory: &dyn Inventory,
        authority: &Authority,
        actor: &str,
        edit: impl FnOnce(&mut Settings) + Send,
    ) -> Result<Trust> {
        Self::init_with_runtime(inventory, &AmbientRuntime, authority, actor, edit).await
    }

    /// [`init`](Self::init) by the wall clock of this runtime.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub async fn init_with_runtime(
        inventory: &dyn Inventory,
        runtime: &dyn Runtime,
        authority: &Authority,
        actor: &str,
        edit: impl FnOnce(&mut Settings) + Send,
    ) -> Result<Trust> {
        Self::init_witnessed(inventory, runtime, authority, actor, None, edit).await
    }

    /// The same, told to a witness.
    pub(crate) async fn init_witnessed(
        inventory: &dyn Inventory,
        runtime: &dyn Runtime,
        authority: &Authority,
        actor: &str,
        witness: Option<&Witnessed>,
        edit: impl FnOnce(&mut Settings) + Send,
    ) -> Result<Trust> {
        let ring = RecordId::new(Time::try_from(runtime.wall_clock())?)?;
        let deed = |begun| {
            let mut deed = Deed::new(Act::Operation(Operation::Init), ring, begun);
            deed.actor = Some(actor.to_owned());
            deed
        };
        let work = Self::do_init(inventory, (ring, runtime), (authority, actor), witness, edit);
        witnessed(witness, deed, work, || None).await
    }

    async fn do_init(
        inventory: &dyn Inventory,
        (ring, runtime): (RecordId, &dyn Runtime),
        (authority, actor): (&Authority, &str),
        witness: Option<&Witnessed>,
        edit: impl FnOnce(&mut Settings) + Send,
    ) -> Result<Trust> {
        let occupied = || {
            Error::configuration("the inventory holds a ring already; another ring needs another inventory")
        };
        if inventory.revision().await? != 0 {
            return Err(occupied());
        }
        let asked = Asked::of(inventory, runtime).await?;
        let mut settings = Settings::new(ring, authority.public())?;
        settings.stream_age = Settings::unset_stream_age()?;
        edit(&mut settings);
        settings.derive_stream_age()?;
        settings.authorities = vec![authority.public()];
        let agreed = asked.agreed_by(&settings)?;
        let change = first(&settings, authority, agreed.latest, actor)?;
        let made = match witness {
            Some(witness) => {
                let deed = witness.intends_first(&settings, &change, actor).await?;
                let made = inventory.commit(&change).instrument(deed.span.clone()).await;
                witness.ended(deed, &made);
                made
            }
            None => inventory.commit(&change).await,
        };
        match made {
            Ok(()) => Ok(Trust::new(ring, authority.public())),
            Err(error) if error.kind() == ErrorKind::Conflict => Err(occupied()),
            Err(error) => Err(error),
        }
    }

    /// Administers a ring, in the name of `actor`: a person or a job, for the history of each key.
    #[must_use]
    pub fn new(reader: Reader, authority: Arc<Authority>, backends: Arc<dyn Backends>, actor: &str) -> Self {
        Self {
            reader,
            authority,
            backends,
            runtime: Arc::new(AmbientRuntime),
            actor: actor.to_owned(),
            hooks: Vec::new(),
            hook_deadline: HOOK,
            gates: Vec::new(),
            gate_deadline: GATE,
            lease: LEASE,
            skipped: BTreeSet::new(),
        }
    }

    /// Takes its deadlines from this runtime, and compares the inventory's clock with its wall clock. Times come from the inventory
    /// all the same.
    #[must_use]
    pub fn with_runtime(self, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            reader: self.reader.with_runtime(Arc::clone(&runtime)),
            runtime,
            ..self
        }
    }

    /// Asks this hook, after those that were added before.
    #[must_use]
    pub fn with_hook(mut self, hook: Arc<dyn Hook>) -> Self {
        self.hooks.push(hook);
        self
    }

    /// Sets how long each hook may take. 30 seconds by default.
    #[must_use]
    pub fn with_hook_deadline(mut self, deadline: Duration) -> Self {
        self.hook_deadline = deadline;
        self
    }

    /// Asks this gate about each pending key before it becomes active, after hooks were asked, and after the gates that were added before.
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gates.push(gate);
        self
    }

    /// Sets how long each gate may take. 1 minute by default.
    #[must_use]
    pub fn with_gate_deadline(mut self, deadline: Duration) -> Self {
        self.gate_deadline = deadline;
        self
    }

    /// Sets how long nobody else takes over a rotation that this one has begun: half of it is for the calls of the backend, which
    /// must have ended before somebody else begins with them. 2 minutes by default; at least 2 seconds.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_secs(2));
        self
    }

    /// Promotes without this reader's report. The history says so.
    #[must_use]
    pub fn skipping_reader(mut self, reader: &str) -> Self {
        self.skipped.insert(reader.to_owned());
        self
    }

    /// Returns what it reads the ring with.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Returns a key.
    ///
    /// # Errors
    /// `InvalidArgument` if there is none of this id; as the [type](Self) says.
    pub async fn key(&self, id: RecordId) -> Result<Arc<KeyRecord>> {
        let (_, key) = self.find(id).await?;
        Ok(key)
    }

    fn inventory(&self) -> &dyn Inventory {
        &**self.reader.inventory()
    }

    async fn read(&self, scopes: &[Scope]) -> Result<View> {
        self.reader.scopes(scopes).await
    }

    /// Reads the scope of a key.
    async fn find(&self, id: RecordId) -> Result<(View, Arc<KeyRecord>)> {
        let (_, view) = self.reader.scope_of(id).await?;
        let key = view.key(id).cloned().ok_or_else(|| no_such_key(id))?;
        Ok((view, key))
    }

    async fn change<T: Send>(
        &self,
        scopes: &[Scope],
        decide: impl FnMut(&View, &mut Draft<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let pen = self.reader.pen(&self.authority, &self.actor);
        pen.change(scopes, decide).await
    }

    /// Calls a backend, for as long as a call may take: a quarter of a lease.
    async fn call<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        with_timeout(&*self.runtime, Some(self.lease / 4), work).await
    }

    /// When the lease of what is begun now ends.
    fn lease_from(&self, now: Time) -> Time {
        now.saturating_add(self.lease)
    }

    /// Who works on an intent.
    fn owner(&self) -> String {
        format!("{} (process {})", self.actor, std::process::id())
    }
}

impl fmt::Debug for RingAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingAdmin")
            .field("ring", &self.reader.trust().ring())
            .field("inventory", self.reader.inventory())
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}

/// Something that the lifecycle does not allow.
fn refused(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::LifecycleRefused).with_detail(detail.into())
}

type Labels = BTreeMap<String, String>;
