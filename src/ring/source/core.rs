//! What a key ring knows of its inventory, and how fresh that is.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::Options;
use super::approved::Said;
use super::beat::{Probes, process_name};
use super::keys::{Changes, ScopeKeys};
use super::managers::Managers;
use super::settle::Seen;
use super::single::Single;
use super::state::{Entry, Need, State, no_key};
use super::watch::Watcher;
use crate::envelope::WrapSection;
use crate::key::Request;
use crate::ring::record::invalid;
use crate::ring::view::is_about_records;
use crate::ring::{Inventory, Mark, Scope, Settings, Trust, View};
use crate::runtime::{Monotonic, Runtime, with_timeout};
use crate::source::Leases;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// How long one read of the inventory may take.
pub(super) const READ: Duration = Duration::from_secs(5);
/// How often something is read again because the ring was changed while it was read.
const TRIES: usize = 8;
/// How many scopes that did not verify are read again at once.
const BAD: usize = 16;
/// How many scopes are read at once.
const CHUNK: usize = 64;
/// How many scopes without keys are remembered.
const ABSENT: NonZeroUsize = NonZeroUsize::new(1000).unwrap();
/// How often the signed head is read, though the revision is the same.
const HEAD: Duration = Duration::from_secs(30);

pub(super) struct Core {
    pub(super) trust: Arc<Trust>,
    pub(super) inventory: Arc<dyn Inventory>,
    pub(super) managers: Arc<Managers>,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) leases: Leases,
    pub(super) options: Options,
    /// The name of this process in heartbeats.
    pub(super) process: String,
    pub(super) probes: Probes,
    /// Of the process that opened it.
    generation: u64,
    first_settings: Arc<Settings>,
    state: Mutex<State>,
    /// How often something was opened that is exposed.
    pub(super) exposed: AtomicU64,
    /// What time the inventory has said that it is.
    pub(super) said: Mutex<Option<Said>>,
    /// By the scope, and whether its first key is made if it has none.
    loads: Single<(Scope, bool), ()>,
    checks: Single<(), ()>,
    pub(super) watcher: OnceLock<Watcher>,
}

/// What is known, in numbers.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) settings: Arc<Settings>,
    pub(super) mark: Mark,
    pub(super) confirmed: Monotonic,
    pub(super) failed: Option<Error>,
    pub(super) bad: Vec<(Scope, Error)>,
    pub(super) scopes: usize,
}

impl Core {
    /// Knows what a first view shows, which was asked for at `begun`.
    pub(super) fn new(
        trust: Arc<Trust>,
        inventory: Arc<dyn Inventory>,
        managers: Managers,
        options: Options,
        view: &View,
        begun: Monotonic,
    ) -> Result<Self> {
        let state = State {
            settings: Arc::clone(view.settings()),
            behind: inventory.behind(),
            mark: view.mark(),
            changed: view.changed(),
            head_read: begun,
            confirmed: begun,
            scopes: LruCache::new(options.scopes),
            otherwise: options.otherwise.clone(),
            absent: LruCache::new(ABSENT),
            seen: Seen::default(),
            failed: None,
            attempted: begun,
        };
        managers.set_age(view.settings().lease_age.at_most());
        Ok(Self {
            process: process_name()?,
            probes: Probes::default(),
            trust,
            inventory,
            managers: Arc::new(managers),
            runtime: Arc::clone(&options.runtime),
            leases: options.leases.clone(),
            options,
            generation: entropy::generation(),
            first_settings: Arc::clone(view.settings()),
            state: Mutex::new(state),
            exposed: AtomicU64::new(0),
            said: Mutex::default(),
            loads: Single::default(),
            checks: Single::default(),
            watcher: OnceLock::new(),
        })
    }

    pub(super) fn revision(&self) -> u64 {
        self.lock().mark.revision
    }

    /// Refuses to go on in a child that a `fork` made: nobody watches the inventory there.
    pub(super) fn check_process(&self) -> Result<()> {
        if self.generation == entropy::generation() {
            return Ok(());
        }
        Err(Error::configuration(
            "a key ring does not go on in a forked process: open it in the child",
        ))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // What is replaced is replaced by one assignment, or read again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        match self.check_process() {
            Ok(()) => Arc::clone(&self.lock().settings),
            // A lock may have been held when the process was forked.
            Err(_) => Arc::clone(&self.first_settings),
        }
    }

    pub(super) fn known(&self) -> Known {
        let state = self.lock();
        let bad =
            |(scope, entry): (&Scope, &Entry)| entry.bad.as_ref().map(|error| (scope.clone(), error.copy()));
        Known {
            settings: Arc::clone(&state.settings),
            mark: state.mark,
            confirmed: state.confirmed,
            failed: state.failed.as_ref().map(Error::copy),
            bad: state.scopes.iter().filter_map(bad).collect(),
            scopes: state.scopes.len(),
        }
    }

    /// All scopes that are loaded, with their keys.
    pub(super) fn loaded(&self) -> Vec<Arc<ScopeKeys>> {
        let state = self.lock();
        state
            .scopes
            .iter()
            .map(|(_, entry)| Arc::clone(&entry.keys))
            .collect()
    }

    /// The keys that serve a request, if they are at hand and fresh enough. `wraps` are those that it is to open.
    pub(super) fn keys_at_hand(
        &self,
        request: &Request<'_>,
        need: Need,
        wraps: Option<WrapSection<'_>>,
    ) -> Result<Option<Arc<ScopeKeys>>> {
        self.check_process()?;
        let scope = self.settings().scope_template.scope_of(request.context())?;
        Ok(self.served(&scope, (need, None), wraps)?.ok())
    }

    /// The keys of a scope, if they are at hand and fresh enough. A scope that was seen to have none is read again where its first key may come at any
    /// time, unless that was seen after `asked`.
    pub(super) fn fresh(
        &self,
        scope: &Scope,
        (need, asked): (Need, Option<Monotonic>),
    ) -> Result<Option<Arc<ScopeKeys>>> {
        let now = self.runtime.now();
        let mut state = self.lock();
        if let Some(entry) = state.scopes.get(scope) {
            if need.pulse(&entry.keys).check(now).is_err() {
                return Ok(None);
            }
            entry.keys.check_not_shredded()?;
            return Ok(Some(Arc::clone(&entry.keys)));
        }
        let (revision, confirmed) = (state.mark.revision, state.confirmed);
        let max_stale = need.max_stale(&state.settings, state.behind);
        // A provisioner makes no revision.
        let is_closed = state.settings.provisions().is_none();
        let is_new = |(_, read): &&(u64, Monotonic)| is_closed || asked.is_some_and(|asked| *read >= asked);
        match state.absent.get(scope).filter(is_new) {
            Some((of, read)) if *of == revision && now < (*read).max(confirmed) + max_stale => {
                Err(no_key(scope))
            }
            _ => Ok(None),
        }
    }

    /// The keys that serve a request: at hand, or read. `wraps` are those that it is to open.
    ///
    /// # Errors
    /// `NoKeyForScope`; `KeyDestroyed` if the scope was shredded; `InventoryStale`; those of [`Trust::read`]; `TimedOut` at the deadline of the
    /// request.
    pub(super) async fn keys(
        self: &Arc<Self>,
        request: &Request<'_>,
        need: Need,
        wraps: Option<WrapSection<'_>>,
    ) -> Result<Arc<ScopeKeys>> {
        #[cfg(feature = "audit")]
        if let Some(sighting) = request.sighting() {
            let (found, revision) = self.found(request, need, wraps).await;
            sighting.leave(self.sighted(request, wraps, found.as_deref().ok(), revision));
            return found;
        }
        self.find(request, need, wraps).await
    }

    async fn find(
        self: &Arc<Self>,
        request: &Request<'_>,
        need: Need,
        wraps: Option<WrapSection<'_>>,
    ) -> Result<Arc<ScopeKeys>> {
        if let Some(keys) = self.keys_at_hand(request, need, wraps)? {
            return Ok(keys);
        }
        Box::pin(self.read_keys(request, need, wraps)).await
    }

    /// The keys, and the revision that they were found at.
    #[cfg(feature = "audit")]
    async fn found(
        self: &Arc<Self>,
        request: &Request<'_>,
        need: Need,
        wraps: Option<WrapSection<'_>>,
    ) -> (Result<Arc<ScopeKeys>>, u64) {
        let mut found = self.find(request, need, wraps).await;
        let mut revision = self.revision();
        for _ in 0..TRIES {
            // What comes with a revision was not chosen at the one before it.
            found = match found {
                Ok(_) => self.find(request, need, wraps).await,
                error => error,
            };
            let after = self.revision();
            if after == revision {
                break;
            }
            revision = after;
        }
        (found, revision)
    }

    async fn read_keys(
        self: &Arc<Self>,
        request: &Request<'_>,
        need: Need,
        wraps: Option<WrapSection<'_>>,
    ) -> Result<Arc<ScopeKeys>> {
        let asked = (need, Some(self.runtime.now()));
        // Another template may come to light with the keys, and a wider scope.
        for _ in 0..4 {
            let scope = self.settings().scope_template.scope_of(request.context())?;
            let scope = match self.served(&scope, asked, wraps)? {
                Ok(keys) => return Ok(keys),
                Err(missing) => missing,
            };
            let left = request
                .deadline()
                .map(|deadline| deadline.0.saturating_sub(self.runtime.now().0));
            // What is sealed needs a key; what is opened has one, or none can open it.
            let first = need == Need::Seal && wraps.is_none();
            let read = with_timeout(&*self.runtime, left, self.load(&scope, first)).await;
            read.map_err(|error| self.stale(&scope, error))?;
        }
        Err(Error::new(ErrorKind::InventoryStale)
            .with_detail("the ring was changed each time that the keys of this context were read"))
    }

    /// What was known and is too old is stale; for what was never read, the inventory's own error says more.
    fn stale(&self, scope: &Scope, error: Error) -> Error {
        if error.kind() == ErrorKind::NoKeyForScope || !self.lock().scopes.contains(scope) {
            return error;
        }
        let why = error
            .detail()
            .map_or_else(|| error.kind().to_string(), str::to_owned);
        Error::new(ErrorKind::InventoryStale)
            .with_detail(format!("the keys of scope {scope} cannot be confirmed: {why}"))
            .with_source(error)
    }

    /// Reads the keys of a scope now. Makes the first one, if it may.
    async fn load(self: &Arc<Self>, scope: &Scope, first: bool) -> Result<()> {
        let first = first && self.options.provisioner.is_some();
        {
            let state = self.lock();
            // Whoever watches notices when it comes back; until then nobody waits for it.
            let again =
                self.watcher.get().is_none() && self.runtime.now() >= state.attempted + self.options.every;
            if let Some(error) = state.failed.as_ref().filter(|_| !again) {
                return Err(error.copy());
            }
        }
        let work = || {
            let (core, scope) = (Arc::clone(self), scope.clone());
            let work = async move {
                let begun = core.runtime.now();
                let scopes = [scope];
                match core.read(&scopes).await {
                    Ok(view) => {
                        core.note(None);
                        let [scope] = &scopes;
                        let (view, made) = match first {
                            true => core.provision(view, scope).await?,
                            false => (view, None),
                        };
                        core.publish(&view, &scopes, begun);
                        if let Some(made) = made {
                            let age = view.settings().lease_age.at_most();
                            core.managers.branches.keep(scope, made.id, &made.kek, age);
                        }
                        Ok(())
                    }
                    Err(error) => {
                        if is_about_records(&error) {
                            core.mark_bad(&scopes, &error);
                        } else {
                            core.note(Some(&error));
                        }
                        Err(error)
                    }
                }
            };
            Box::pin(work) as _
        };
        self.loads.join(&(scope.clone(), first), work).await
    }

    /// Compares what is known with the inventory, and reads again what has changed.
    ///
    /// # Errors
    /// Those of [`Inventory`]; `InventoryInvalid` if its head does not verify, or it was taken back.
    pub(super) async fn check(self: &Arc<Self>) -> Result<()> {
        self.check_process()?;
        let work = || {
            let core = Arc::clone(self);
            Box::pin(async move { core.look().await }) as _
        };
        self.checks.join(&(), work).await
    }

    async fn look(&self) -> Result<()> {
        self.managers.branches.sweep();
        let looked = self.look_at_all().await;
        self.note(looked.as_ref().err());
        looked
    }

    async fn look_at_all(&self) -> Result<()> {
        // What is known before is not newer than what is read.
        let begun = self.runtime.now();
        let (known, is_head_due) = {
            let state = self.lock();
            (state.mark.revision, begun >= state.head_read + HEAD)
        };
        let revision = with_timeout(&*self.runtime, Some(READ), self.inventory.revision()).await?;
        if revision < known {
            return Err(invalid(format!(
                "the ring is at revision {revision}, and revision {known} was seen before: the inventory was taken back to an older state"
            )));
        }
        if revision > known || is_head_due {
            let view = self.read(&[]).await?;
            self.lock().head_read = begun;
            self.publish(&view, &[], begun);
            self.settle(view).await?;
        }
        for scopes in self.behind().chunks(CHUNK) {
            self.read_again(scopes).await?;
        }
        for scope in self.bad(begun) {
            self.read_again(&[scope]).await?;
        }
        self.confirm(begun);
        Ok(())
    }

    pub(super) async fn read(&self, scopes: &[Scope]) -> Result<View> {
        let mut last = None;
        for _ in 0..TRIES {
            let mark = self.trust.mark();
            let read = self.trust.read(&*self.inventory, scopes);
            match with_timeout(&*self.runtime, Some(READ), read).await {
                // Somebody else has seen a newer revision while this one was on its way.
                Err(error) if error.kind() == ErrorKind::InventoryInvalid && self.trust.mark() != mark => {
                    last = Some(error);
                }
                read => return read,
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Conflict)))
    }

    /// Reads scopes again; if they do not all verify, each by itself, so that one that was tampered with stops no other.
    async fn read_again(&self, scopes: &[Scope]) -> Result<()> {
        let begun = self.runtime.now();
        match self.read(scopes).await {
            Ok(view) => {
                self.publish(&view, scopes, begun);
                return Ok(());
            }
            Err(error) if !is_about_records(&error) => return Err(error),
            Err(error) if scopes.len() == 1 => {
                self.mark_bad(scopes, &error);
                return Ok(());
            }
            Err(_) => {}
        }
        for scope in scopes {
            let (scope, begun) = (std::slice::from_ref(scope), self.runtime.now());
            match self.read(scope).await {
                Ok(view) => self.publish(&view, scope, begun),
                Err(error) if is_about_records(&error) => self.mark_bad(scope, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The loaded scopes that are not known to be as they are at the newest revision.
    fn behind(&self) -> Vec<Scope> {
        let state = self.lock();
        let is_behind = |entry: &Entry| entry.bad.is_none() && entry.as_of < state.mark.revision;
        let behind = state.scopes.iter().filter(|(_, entry)| is_behind(entry));
        behind.map(|(scope, _)| scope.clone()).collect()
    }

    /// A few of the loaded scopes that did not verify, others each time: if all of an inventory is bad it is not read without
    /// end.
    fn bad(&self, begun: Monotonic) -> Vec<Scope> {
        let state = self.lock();
        let bad = || state.scopes.iter().filter(|(_, entry)| entry.bad.is_some());
        let (count, turn) = (
            bad().count(),
            begun.0.as_nanos() / self.options.every.as_nanos().max(1),
        );
        let from = usize::try_from(turn % 1_000_000).unwrap_or(0) * BAD % count.max(1);
        let some = bad().cycle().skip(from).take(count.min(BAD));
        some.map(|(scope, _)| scope.clone()).collect()
    }

    /// Takes over what a view shows of these scopes. It was asked for at `begun`.
    pub(super) fn publish(&self, view: &View, scopes: &[Scope], begun: Monotonic) {
        if let Some(witness) = self.managers.branches.witness.get() {
            witness.saw(view);
        }
        let settings = Arc::clone(view.settings());
        let mut changes: Vec<(Scope, Changes)> = Vec::new();
        let (mut is_other_choice, mut has_lost_approver) = (false, false);
        {
            let mut state = self.lock();
            if view.revision() >= state.mark.revision {
                is_other_choice = state.settings.scope_template != settings.scope_template
                    || state.allowed(&state.settings) != state.allowed(&settings);
                if is_other_choice {
                    // Their leases stand on pulses that nobody prolongs any more.
                    state.scopes.clear();
                    state.absent.clear();
                    self.managers.branches.clear();
                }
                let mut former = state.settings.approvers.iter();
                has_lost_approver = former.any(|key| !settings.approvers.contains(key));
                state.settings = Arc::clone(&settings);
                state.mark = view.mark();
                state.changed = view.changed();
                self.managers.set_age(settings.lease_age.at_most());
            }
            for scope in scopes {
                let dropped = state.publish(view, scope, begun, &mut changes);
                // While nobody else publishes: what is kept of branch keys goes with what is known of their scopes.
                for scope in dropped.iter().chain([scope]) {
                    let known = state.scopes.peek(scope).map(|entry| entry.keys.branch_keys());
                    self.managers.branches.keep_only(scope, known.unwrap_or_default());
                }
            }
        }
        if is_other_choice {
            tracing::info!(
                revision = view.revision(),
                "the ring has another scope template, or a wider scope may serve that might not, or the other way round"
            );
        }
        if is_other_choice || has_lost_approver {
            // Whoever re-wraps forgets what an approval of a former approver has opened.
            self.leases.turn_over_all();
        }
        self.apply(&changes, &settings);
    }

    /// Tells those who hold leases what has changed.
    fn apply(&self, changes: &[(Scope, Changes)], settings: &Settings) {
        let scope_of = |context: &_| settings.scope_template.scope_of(context).ok();
        let turned: Vec<&Scope> = changes
            .iter()
            .filter(|(_, changes)| changes.turn_over)
            .map(|(scope, _)| scope)
            .collect();
        if !turned.is_empty() {
            let is_turned = self.lock().served_by_any(settings, &turned);
            self.leases
                .turn_over_sealing(|context| scope_of(context).is_some_and(|scope| is_turned(&scope)));
        }
        let shredded: Vec<&Scope> = changes
            .iter()
            .filter(|(_, changes)| changes.end_scope)
            .map(|(scope, _)| scope)
            .collect();
        if !shredded.is_empty() {
            tracing::info!(?shredded, "scopes of the ring were shredded");
            // Whatever their envelopes say of keys.
            let is_ended = self.lock().served_by_any(settings, &shredded);
            self.leases
                .end_contexts(|context| scope_of(context).is_some_and(|scope| is_ended(&scope)));
        }
        for (scope, ended) in changes
            .iter()
            .flat_map(|(scope, changes)| changes.end.iter().map(move |ended| (scope, ended)))
        {
            tracing::info!(%scope, kek = %ended.kek, "a key of the ring unwraps no more");
            self.managers.branches.end(ended.key);
            if ended.any_version {
                self.leases.end_kek(&ended.kek);
            } else {
                self.leases.end_version(&ended.kek);
            }
        }
    }

    fn mark_bad(&self, scopes: &[Scope], error: &Error) {
        let mut state = self.lock();
        for scope in scopes {
            if let Some(entry) = state.scopes.peek_mut(scope) {
                if entry.bad.is_none() {
                    tracing::error!(%scope, %error, "the records of a scope do not verify; what was verified before stands until it is stale");
                }
                entry.bad = Some(error.copy());
            }
        }
    }

    /// Remembers how the last attempt to read went.
    fn note(&self, error: Option<&Error>) {
        let now = self.runtime.now();
        let mut state = self.lock();
        match (error, &state.failed) {
            (Some(error), None) => tracing::warn!(%error, "the inventory of the ring could not be read"),
            (None, Some(_)) => tracing::info!("the inventory of the ring is read again"),
            _ => {}
        }
        state.failed = error.map(Error::copy);
        state.attempted = now;
    }

    /// What is loaded was current at `begun`.
    fn confirm(&self, begun: Monotonic) {
        let mut state = self.lock();
        state.confirmed = state.confirmed.max(begun);
        let (settings, revision, behind) = (Arc::clone(&state.settings), state.mark.revision, state.behind);
        for (_, entry) in &state.scopes {
            if entry.bad.is_none() && entry.as_of >= revision {
                entry.keys.prolong(&settings, begun, behind);
            }
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.generation == entropy::generation();
        f.debug_struct("KeyRing")
            .field("ring", &self.trust.ring())
            .field("inventory", &self.inventory)
            .field("managers", &self.managers)
            .field("known", &known.then(|| self.known()))
            .finish_non_exhaustive()
    }
}
