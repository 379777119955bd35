//! How a key ring is opened.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::KeyRing;
use super::branches::Branches;
use super::core::{Core, READ};
use super::managers::Managers;
use super::watch::Watcher;
use crate::ring::inventory::check_reader;
use crate::ring::profile::Profiles;
use crate::ring::{Authority, Backends, Inventory, Scope, Settings, Trust};
use crate::runtime::{AmbientRuntime, Runtime, with_timeout};
use crate::source::Leases;
use crate::value::error::{Error, Result};

/// How many scopes are kept, unless said otherwise.
const SCOPES: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// How many branch keys are kept open, unless said otherwise.
const BRANCH_KEYS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// What a ring was told.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) leases: Leases,
    pub(super) reader: Option<String>,
    pub(super) reader_key: Option<Arc<Authority>>,
    pub(super) every: Duration,
    watches: bool,
    pub(super) scopes: NonZeroUsize,
    pub(super) stream_age: Option<Duration>,
    pub(super) profiles: Option<Arc<Profiles>>,
    pub(super) otherwise: Option<Scope>,
    pub(super) provisioner: Option<Arc<Authority>>,
    branch_keys: NonZeroUsize,
}

impl Options {
    /// How long a stream may outlive its lease.
    pub(super) fn stream_age(&self, settings: &Settings) -> Duration {
        let signed = settings.stream_age.at_most();
        self.stream_age.map_or(signed, |own| own.min(signed))
    }
}

/// Opens a [`KeyRing`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens the ring"]
pub struct Builder {
    trust: Arc<Trust>,
    inventory: Arc<dyn Inventory>,
    backends: Arc<dyn Backends>,
    options: Options,
}

impl Builder {
    pub(super) fn new(trust: Arc<Trust>, inventory: Arc<dyn Inventory>, backends: Arc<dyn Backends>) -> Self {
        Self {
            trust,
            inventory,
            backends,
            options: Options {
                runtime: Arc::new(AmbientRuntime),
                leases: Leases::new(),
                reader: None,
                reader_key: None,
                every: Duration::from_millis(250),
                watches: true,
                scopes: SCOPES,
                stream_age: None,
                profiles: None,
                otherwise: None,
                provisioner: None,
                branch_keys: BRANCH_KEYS,
            },
        }
    }

    /// Takes time from this runtime, which has to be that of the sealers. [`AmbientRuntime`] by default.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.options.runtime = runtime;
        self
    }

    /// Takes part in this registry of leases, which has to be that of the sealers. By default the ring makes one.
    pub fn leases(mut self, leases: Leases) -> Self {
        self.options.leases = leases;
        self
    }

    /// Writes heartbeats under this name, at each new revision and every 30 seconds: which revision this process has, and
    /// under which pending keys it could wrap and open a probe. A promotion waits for the readers that the
    /// [settings](crate::ring::Settings::readers) list. By default the ring writes none.
    ///
    /// A heartbeat that cannot be written is logged and stops nothing.
    pub fn reader(mut self, name: impl Into<String>) -> Self {
        self.options.reader = Some(name.into());
        self
    }

    /// Signs the heartbeats with this key, whose public half the [settings](crate::ring::Settings::readers) list beside the name of
    /// the reader. Without it, whoever may write heartbeats can report in its name. All processes of a reader share the key.
    pub fn reader_key(mut self, key: impl Into<Arc<Authority>>) -> Self {
        self.options.reader_key = Some(key.into());
        self
    }

    /// Looks for changes this often. Every 250 ms by default.
    pub fn every(mut self, period: Duration) -> Self {
        self.options.every = period;
        self
    }

    /// Starts no thread. The ring then learns of changes by [`KeyRing::refresh`], and when what it knows is stale; it writes no
    /// heartbeats of its own accord.
    pub fn without_watching(mut self) -> Self {
        self.options.watches = false;
        self
    }

    /// Keeps the keys of this many scopes; those that were not used for longest go first, and their leases with them, after
    /// `max_stale` of the settings. 10,000 by default, which takes up to 50 MB: as many as are in use within an hour, or
    /// more.
    pub fn scopes(mut self, at_most: NonZeroUsize) -> Self {
        self.options.scopes = at_most;
        self
    }

    /// Lets a stream that was begun go on for this long after the end of its lease, instead of for the
    /// [`stream_age`](crate::ring::Settings::stream_age) of the settings. Never for longer than that: a census that comes later must
    /// see what the stream has sealed.
    pub fn stream_age(mut self, age: Duration) -> Self {
        self.options.stream_age = Some(age);
        self
    }

    /// Enforces what these profiles demand, whenever something is sealed, opened or re-wrapped. Without this, a request that names a
    /// profile is refused.
    pub fn profiles(mut self, profiles: impl Into<Arc<Profiles>>) -> Self {
        self.options.profiles = Some(profiles.into());
        self
    }

    /// Lets the keys of this scope serve contexts whose own scope has never had a key. The ring's signed settings must list the scope
    /// ([`Settings::otherwise`]). By default such a context is `NoKeyForScope`.
    ///
    /// For a ring whose tenants get keys of their own one by one: until a tenant has one, its values are sealed under the keys of the wider scope.
    /// From then on they are sealed under its own; what was sealed before still opens under the keys of the wider scope, and a re-wrap moves it to
    /// the tenant's. A tenant whose keys are all retired, revoked or destroyed is served by no other scope, neither to seal nor to open.
    ///
    /// The wraps under the wider scope's keys are bound to the context as all wraps are, so no tenant's envelope opens in the context of another. But
    /// whoever may use those keys at their backend may unwrap for each of those tenants, and destroying a tenant's own key leaves what is
    /// still under them.
    pub fn otherwise(mut self, scope: Scope) -> Self {
        self.options.otherwise = Some(scope);
        self
    }

    /// Makes the first key of a scope when something is sealed in it for the first time: a branch key, wrapped under the key of a wider scope, and signed
    /// by this private half of a provisioner. The ring's settings must list its public half ([`Settings::provision`]), and name the wider scope. By default
    /// a scope without keys is `NoKeyForScope`.
    ///
    /// Processes that meet a scope at the same time make one key. A scope that has ever had a key gets none in this way, whatever became of that one.
    /// Nothing is made to open or to re-wrap.
    ///
    /// Until an administrator's [tick](crate::ring::RingAdmin::tick) takes a new key over, nothing but the inventory says that it exists: if the inventory loses the row,
    /// what was sealed under it is lost, and nobody notices. Keep backups, and let ticks come often.
    pub fn provisioner(mut self, key: impl Into<Arc<Authority>>) -> Self {
        self.options.provisioner = Some(key.into());
        self
    }

    /// Keeps this many branch keys open: those that were not used for longest go first, and are wiped. 10,000 by default. One that is used again, or is older than
    /// the `lease_age` of the settings, is unwrapped again: one call of the KMS.
    pub fn branch_keys(mut self, at_most: NonZeroUsize) -> Self {
        self.options.branch_keys = at_most;
        self
    }

    /// Reads the ring's head and settings, and begins to watch the inventory.
    ///
    /// # Errors
    /// `Configuration` if the inventory holds no ring, if the settings do not list the scope of [`otherwise`](Self::otherwise), or if the inventory may be behind for as long as `max_stale` or longer; `InventoryInvalid` if it does not verify; `Unsupported` if it needs a newer
    /// library; those of the [`Inventory`]; `TimedOut` if it does not answer within 5 seconds; `InvalidArgument` for a reader's name
    /// that is empty, longer than 255 bytes or has control characters, for a reader's key without a name, and for a period of zero; `Unavailable` if the ring
    /// can have no thread.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn open(self) -> Result<KeyRing> {
        if let Some(name) = &self.options.reader {
            check_reader(name)?;
        } else if self.options.reader_key.is_some() {
            return Err(Error::argument(
                "the key of a reader needs the name of the reader",
            ));
        }
        if self.options.every.is_zero() {
            return Err(Error::argument(
                "a ring looks for changes every 1 ms or more rarely",
            ));
        }
        let runtime = Arc::clone(&self.options.runtime);
        let begun = runtime.now();
        let read = self.trust.read(&*self.inventory, &[]);
        let view = with_timeout(&*runtime, Some(READ), read).await?;
        let (behind, max_stale) = (self.inventory.behind(), view.settings().max_stale);
        if behind >= max_stale.at_most() {
            return Err(Error::configuration(format!(
                "the inventory may be {} ms behind, and the ring's max_stale is {max_stale}: allow it less, or read the primary",
                behind.as_millis()
            )));
        }
        if let Some(scope) = &self.options.otherwise
            && !view.settings().otherwise.contains(scope)
        {
            return Err(Error::configuration(format!(
                "otherwise names the scope {scope}, and the settings of the ring do not allow its keys to serve other scopes: allow it with \
                 `waxseal ring set --otherwise`, or leave it out"
            )));
        }
        let watches = self.options.watches;
        let branches = Branches::new(self.trust.ring(), Arc::clone(&runtime), self.options.branch_keys);
        let managers = Managers::new(self.backends, Arc::clone(&runtime), branches);
        let core = Core::new(self.trust, self.inventory, managers, self.options, &view, begun)?;
        let core = Arc::new(core);
        if watches {
            let _ = core.watcher.set(Watcher::start(&core)?);
        }
        Ok(KeyRing(core))
    }
}
