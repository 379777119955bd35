//! A year of a ring: 5 scopes, 4 kinds of KEK, 5,000 values; rotations by the clock and by events, canaries, a way back, a move from one
//! KMS to another, retirements and a destruction. Whatever happens, each value opens or is refused as the inventory says.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pollster::block_on;
use waxseal::Sealer;
use waxseal::key::Protection;
use waxseal::ring::{
    Authority, Event, Grounds, Inventory, KeyRecord, KeyRing, KeySource, NamedReader, NewKey, Reader,
    RecordId, RingAdmin, Rollout, Scope, Slot, State, Target, Trust, View,
};
use waxseal::runtime::{AmbientRuntime, BoxFuture, Monotonic, Runtime};
use waxseal::testing::SimulatedRuntime;

use crate::places::{Places, Store, backends};
use crate::values::{Values, census};

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const WEEKS: usize = 53;
/// Values that are opened in each week.
const SAMPLED: usize = 50;

pub(crate) fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let Some(places) = Places::new(folder.path()) else {
        return;
    };
    a_year(&Store::sqlite(folder.path()), &places);
}

pub(crate) fn on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let Some(places) = Places::new(folder.path()) else {
        return;
    };
    let Some(store) = Store::postgres() else { return };
    a_year(&store, &places);
}

/// Real backends need real time: this one leaps ahead whenever the simulated clock is moved.
#[derive(Debug)]
struct Leaping(SimulatedRuntime);

impl Runtime for Leaping {
    fn now(&self) -> Monotonic {
        AmbientRuntime.now() + self.0.elapsed()
    }

    fn wall_clock(&self) -> SystemTime {
        self.0.wall_clock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        AmbientRuntime.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        AmbientRuntime.spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        AmbientRuntime.spawn_blocking(work);
    }
}

struct Year {
    runtime: SimulatedRuntime,
    admin: RingAdmin,
    reader: Reader,
    authority: Arc<Authority>,
    ring: KeyRing,
    sealer: Sealer,
    scopes: Vec<Scope>,
    values: Vec<Values>,
    opened: usize,
    moves: usize,
}

fn a_year(store: &Store, places: &Places) {
    let began = Instant::now();
    let runtime = SimulatedRuntime::new();
    let inventory: Arc<dyn Inventory> = Arc::new(store.clocked(&runtime));
    let authority = Arc::new(Authority::generate().unwrap());
    let reader_key = Authority::generate().unwrap();
    let app = NamedReader::new("app").with_key(reader_key.public());
    let trust = block_on(RingAdmin::init_with_runtime(
        &*inventory,
        &runtime,
        &authority,
        "alice",
        |settings| {
            settings.scope_template = "{tenant}".parse().unwrap();
            settings.readers = vec![app];
        },
    ))
    .unwrap();
    let trust = || Trust::new(trust.ring(), authority.public());
    let clock: Arc<dyn Runtime> = Arc::new(Leaping(runtime.clone()));
    let reader = || Reader::new(trust(), Arc::clone(&inventory)).with_runtime(Arc::clone(&clock));
    let admin =
        RingAdmin::new(reader(), Arc::clone(&authority), backends(), "tick").with_runtime(Arc::clone(&clock));
    let scopes = ["file", "vault", "token", "aws", "mover"].map(|scope| scope.parse::<Scope>().unwrap());
    let homes = [
        &places.file,
        &places.vault,
        &places.token,
        &places.aws,
        &places.file,
    ];
    for (scope, home) in scopes.iter().zip(homes) {
        // The first keys wait for no reader.
        let new = NewKey::new(scope.clone(), KeySource::MadeBeside(home.clone()));
        assert_eq!(block_on(admin.create(&new)).unwrap().to, State::Active);
    }
    let ring = KeyRing::builder(trust(), Arc::clone(&inventory), backends())
        .runtime(Arc::clone(&clock))
        .reader("app")
        .reader_key(reader_key)
        .without_watching();
    let ring = block_on(ring.open()).unwrap();
    let mut year = Year {
        sealer: ring.sealer().build().unwrap(),
        reader: reader(),
        runtime,
        admin,
        authority: Arc::clone(&authority),
        ring,
        scopes: scopes.to_vec(),
        values: Vec::new(),
        opened: 0,
        moves: 0,
    };
    block_on(year.begin(&scopes));
    for week in 1..=WEEKS {
        year.runtime.advance(WEEK);
        block_on(year.week(week, &scopes, places));
    }
    block_on(year.check_end(&scopes));
    println!(
        "{} moves, {} values opened, {:?}",
        year.moves,
        year.opened,
        began.elapsed()
    );
}

impl Year {
    async fn view(&self) -> View {
        self.reader.scopes(&self.scopes).await.unwrap()
    }

    async fn active(&self, scope: &Scope) -> Arc<KeyRecord> {
        let view = self.reader.scopes(std::slice::from_ref(scope)).await.unwrap();
        Arc::clone(view.active(scope, &Slot::default()).expect("a key is active"))
    }

    /// 1,000 values are sealed in each scope.
    async fn begin(&mut self, scopes: &[Scope]) {
        let view = self.view().await;
        let protections = scopes
            .iter()
            .map(|scope| view.active(scope, &Slot::default()).unwrap().protection);
        assert_eq!(
            protections.collect::<Vec<_>>(),
            [
                Protection::Software,
                Protection::Software,
                Protection::Software,
                Protection::Hardware,
                Protection::Software
            ]
        );
        for scope in scopes {
            let mut values = Values::seal(scope, &self.sealer).await;
            values.forget_some(&self.sealer).await;
            self.values.push(values);
        }
    }

    /// The reader reads the ring, and reports what it can use.
    async fn report(&self) {
        self.ring.refresh().await.unwrap();
        self.ring.beat().await.unwrap();
    }

    /// After each move: every value of its scope.
    async fn moved(&mut self, scope: &Scope) {
        self.moves += 1;
        self.report().await;
        let view = self.view().await;
        let values = self.values.iter().find(|values| values.scope == *scope).unwrap();
        values.check_all(&self.sealer, &view).await;
        self.opened += values.all.len();
    }

    /// Does what is due, with a receipt, until nothing is left but what is refused.
    async fn tick(&mut self) {
        for _ in 0..4 {
            self.report().await;
            let receipt = census(&self.reader, &self.authority, &self.values).await;
            let receipt = receipt.verify(&self.view().await).unwrap();
            let tick = self.admin.tick(Some(&receipt)).await.unwrap();
            assert!(tick.orphans.is_empty() && tick.warnings.is_empty(), "{tick:?}");
            let view = self.view().await;
            for done in &tick.done {
                let scope = view.key(done.key).unwrap().scope.clone();
                self.moved(&scope).await;
            }
            if tick.done.is_empty() {
                return;
            }
        }
    }

    async fn week(&mut self, week: usize, scopes: &[Scope], places: &Places) {
        self.tick().await;
        let scope = &scopes[week % scopes.len()];
        match week {
            // A canary, by hand, in each kind of place: one is taken back, the others are promoted a week later.
            8..=12 => self.canary(scope, week == 9).await,
            13..=17 => self.promote_canary(&scopes[(week - 5) % scopes.len()]).await,
            // From one KMS to another.
            20 => {
                let new = NewKey::new(scopes[4].clone(), KeySource::MadeBeside(places.vault.clone()));
                let made = self.admin.create(&new).await.unwrap();
                assert_eq!(made.to, State::Pending, "its scope has an active key");
                self.moved(&scopes[4]).await;
                // The reader has reported that it can use it.
                self.admin.promote(made.key, "we move").await.unwrap();
                self.moved(&scopes[4]).await;
                assert_eq!(self.active(&scopes[4]).await.provenance.provider, "vault-transit");
            }
            23 => {
                let target = Target::Scope(scope.clone());
                let due = self
                    .admin
                    .report(Event::Personnel, &target, "bob has left")
                    .await
                    .unwrap();
                assert_eq!(due.len(), 1);
                self.tick().await;
                assert_ne!(self.active(scope).await.id, due[0]);
                // It was too early: back, and forth again.
                self.admin.reinstate(due[0], "the new one fails").await.unwrap();
                self.moved(scope).await;
                assert_eq!(self.active(scope).await.id, due[0]);
            }
            40 => self.destroy_something(&scopes[3]).await,
            _ => {}
        }
        // A day after a promotion the job re-wraps.
        self.runtime.advance(DAY);
        self.report().await;
        let view = self.view().await;
        for values in &mut self.values {
            let has_old = view
                .keys(&values.scope)
                .iter()
                .any(|key| key.state == State::Deprecated);
            if has_old {
                values.rewrap(&self.sealer).await;
            }
        }
        if week.is_multiple_of(10) {
            for values in &mut self.values {
                values.forget_some(&self.sealer).await;
            }
        }
        let view = self.view().await;
        for number in 0..SAMPLED {
            let values = &self.values[number % self.values.len()];
            let index = (week * 7919 + number * 104_729) % values.all.len();
            values.check_one(index, &self.sealer, &view).await;
            self.opened += 1;
        }
        for key in view.all_keys() {
            check_path(key);
        }
    }

    async fn canary(&mut self, scope: &Scope, is_bad: bool) {
        let target = Target::Scope(scope.clone());
        let rotated = self
            .admin
            .rotate(&target, Rollout::Canary(40), "a canary")
            .await
            .unwrap();
        let canary = rotated[0].key;
        self.moved(scope).await;
        let (sealer, values) = (&self.sealer, &mut self.values);
        let values = values.iter_mut().find(|values| values.scope == *scope).unwrap();
        // Contexts of which 4 in 10 or so are the canary's.
        let new = Values::seal(scope, sealer).await;
        values.all.truncate(0);
        values.all.extend(new.all);
        let view = self.view().await;
        let values = self.values.iter().find(|values| values.scope == *scope).unwrap();
        let under = values.under(canary, &view);
        assert!(
            (50..950).contains(&under),
            "{under} of 1,000 are under the canary of 40 percent"
        );
        if is_bad {
            self.admin.take_back(canary, "the canary is ill").await.unwrap();
            self.moved(scope).await;
            let view = self.view().await;
            assert_eq!(view.key(canary).unwrap().state, State::Deprecated);
        }
    }

    async fn promote_canary(&mut self, scope: &Scope) {
        let view = self.view().await;
        let pending = view.keys(scope).iter().find(|key| key.state == State::Pending);
        if let Some(id) = pending.map(|key| key.id) {
            self.admin.promote(id, "the canary is well").await.unwrap();
            self.moved(scope).await;
        }
    }

    /// What is retired is destroyed, as far as it goes: the backend waits a week at least.
    async fn destroy_something(&mut self, scope: &Scope) {
        let view = self.view().await;
        let retired = view.keys(scope).iter().find(|key| key.state == State::Retired);
        let id = retired.expect("a key is retired by now").id;
        let receipt = census(&self.reader, &self.authority, &self.values).await;
        let receipt = receipt.verify(&view).unwrap();
        let evidence = waxseal::ring::EvidenceSource::about(&receipt, view.key(id).unwrap()).unwrap();
        self.admin
            .destroy(id, &evidence, "nobody needs it")
            .await
            .unwrap();
        self.moved(scope).await;
        // What is active is not retired, whatever is said.
        let active: RecordId = self.active(scope).await.id;
        assert!(self.admin.retire(active, Grounds::Force, "x").await.is_err());
        self.moved(scope).await;
    }

    async fn check_end(&mut self, scopes: &[Scope]) {
        let view = self.view().await;
        for (scope, values) in scopes.iter().zip(&self.values) {
            values.check_all(&self.sealer, &view).await;
            let count = |state| view.keys(scope).iter().filter(|key| key.state == state).count();
            assert_eq!(count(State::Active), 1, "{scope}");
            assert!(
                count(State::Retired) >= 3,
                "{scope}: {} are retired",
                count(State::Retired)
            );
            assert!(view.intents(scope).is_empty());
            assert!(self.admin.orphans(scope).await.unwrap().is_empty(), "{scope}");
        }
        let destroying = view.all_keys().find(|key| key.state == State::Destroying);
        let destroying = destroying.expect("the key of moto waits for its end");
        assert!(destroying.destruction_told);
        // Scopes were rotated by their calendar, and not more often than that and what was done by hand.
        let rotations = view.all_keys().filter(|key| key.predecessor.is_some()).count();
        assert!((20..=40).contains(&rotations), "{rotations} rotations");
        let check = self.reader.check().await.unwrap();
        assert!(check.is_good(), "{:?}", check.findings);
    }
}

/// The history is a legal path that ends in the state, by the table and nothing else.
fn check_path(key: &KeyRecord) {
    let mut state = None;
    for made in &key.history {
        assert_eq!(made.from, state, "{}", key.id);
        if let Some(from) = made.from
            && from != made.to
        {
            from.check_move(made.to).unwrap();
        }
        state = Some(made.to);
    }
    assert_eq!(state, Some(key.state), "{}", key.id);
}
