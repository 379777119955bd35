//! Branch keys of a scope that was shredded: gone from the ring, and what is left of them in backups.

use pollster::block_on;

use super::*;
use crate::key::{KekAdmin as _, KekState, Purpose};
use crate::ring::branch::{Asking, BranchKek, Place, record};
use crate::ring::record::KeyRecord;
use crate::ring::{Action, Reader, RingAdmin, ShredReceipt, ShredStage, Shredding, import};
use crate::testing::Method;

const DAY: Duration = Duration::from_secs(86_400);

fn place(bench: &Bench, key: &KeyRecord) -> (RecordId, Scope, RecordId) {
    (bench.ring, key.scope.clone(), key.id)
}

/// Calls a parent about a branch key.
fn asking<'a>(parent: &'a KeyRecord, fake: &'a FakeKeyManager) -> Asking<'a> {
    Asking {
        parent,
        manager: fake,
        purpose: Purpose::Open,
        deadline: None,
    }
}

/// An active branch key of a scope, under this parent.
fn branch(bench: &Bench, of: &str, parent: &KeyRecord, fake: &FakeKeyManager) -> (KeyRecord, BranchKek) {
    let (scope, id) = (scope(of), RecordId::new(bench.now()).unwrap());
    let place = Place {
        ring: bench.ring,
        scope: &scope,
        key: id,
    };
    let (kek, branch) = block_on(asking(parent, fake).make(place)).unwrap();
    let periods = ("P90D".parse().unwrap(), "PT24H".parse().unwrap());
    let key = record(place, Slot::default(), parent, branch, periods, bench.now());
    let key = bench.went(key, &[State::Active]);
    bench.put(&[&key]);
    (key, kek)
}

/// What an inventory says that a branch key is, if its parent unwraps it.
fn unwrapped(
    bench: &Bench,
    inventory: &MemoryInventory,
    of: &KeyRecord,
    fakes: &[(&KeyRecord, &FakeKeyManager)],
) -> Result<BranchKek> {
    let view = block_on(bench.trust().read(inventory, std::slice::from_ref(&of.scope)))?;
    let key = view.key(of.id).unwrap();
    let branch = key.branch.as_ref().unwrap();
    let (parent, fake) = fakes
        .iter()
        .find(|(parent, _)| parent.id == branch.parent)
        .unwrap();
    let (ring, scope, key) = place(bench, key);
    let place = Place {
        ring,
        scope: &scope,
        key,
    };
    block_on(asking(parent, fake).unwrap(branch, place))
}

fn admin(bench: &Bench) -> RingAdmin {
    let reader = Reader::new(bench.trust(), Arc::new(bench.inventory.clone()));
    let authority = Authority::from_seed(&bench.authority.expose_seed());
    let backends = Arc::clone(&bench.fakes) as Arc<dyn Backends>;
    RingAdmin::new(reader, Arc::new(authority), backends, "alice")
        .with_runtime(Arc::new(bench.runtime.clone()))
}

fn run<T>(bench: &Bench, work: impl Future<Output = T>) -> T {
    bench.runtime.run(work).expect("it waits for nobody")
}

fn restored(bench: &Bench, export: &[u8]) -> MemoryInventory {
    let inventory = MemoryInventory::with_runtime(Arc::new(bench.runtime.clone()));
    block_on(import(&bench.trust(), &inventory, export)).unwrap();
    inventory
}

fn copies(receipt: &ShredReceipt) -> Vec<(RecordId, State, bool)> {
    let copies = &receipt.keys()[0].copies;
    copies
        .iter()
        .map(|copy| (copy.parent, copy.state, copy.opens))
        .collect()
}

fn backups(receipt: &ShredReceipt) -> usize {
    let left = receipt.does_not_reach().iter();
    left.filter(|left| left.what == "inventory-backups").count()
}

/// The receipt is held against backups of the inventory: each copy that it says opens does, and each other does not.
#[test]
fn the_receipt_is_true_of_backups_of_the_inventory() {
    let bench = Bench::new();
    let (mut first, of_first) = bench.active("/", "first");
    let (key, kek) = branch(&bench, "tenant/a", &first, &of_first);
    let (_, beside) = branch(&bench, "tenant/b", &first, &of_first);
    let admin = admin(&bench);
    let export = || run(&bench, admin.reader().export()).unwrap().1;
    let under_first = export();
    // The parent is rotated, and the branch key wrapped anew.
    let of_second = bench.fake("second");
    let mut second = bench.went(bench.key("/", &of_second), &[State::Pending]);
    bench.promote(&mut first, &mut second);
    let (ring, scope_a, id) = place(&bench, &key);
    let of_key = Place {
        ring,
        scope: &scope_a,
        key: id,
    };
    let wrapped = block_on(asking(&second, &of_second).wrap(&kek, of_key)).unwrap();
    let mut rewrapped = key.clone();
    rewrapped.revision += 1;
    rewrapped.branch = Some(wrapped.following(key.branch.as_ref().unwrap()));
    bench.put(&[&rewrapped]);
    let under_second = export();
    of_first.forget_calls();
    of_second.forget_calls();

    let shredding = Shredding::new("GDPR-17", "they have left");
    run(&bench, admin.shred(&key.scope, &shredding)).unwrap();
    let pending = run(&bench, admin.shred_receipt(&key.scope, &[])).unwrap();
    assert_eq!(pending.stage(), ShredStage::Pending);
    bench.runtime.advance(7 * DAY);
    let tick = run(&bench, admin.tick(None)).unwrap();
    let own = tick.done.iter().filter(|done| done.key == key.id);
    assert_eq!(
        own.map(|done| (done.action, done.to)).collect::<Vec<_>>(),
        [(Action::Shred, State::Destroyed)]
    );
    assert_eq!((of_first.total(), of_second.total()), (0, 0), "nobody was asked");

    // The ring has the key no more.
    let now = run(&bench, admin.key(key.id)).unwrap();
    assert_eq!(now.state, State::Destroyed);
    assert_eq!(now.branch.as_ref().unwrap().wrapped.bytes, "");
    let last = export();
    let wrap = rewrapped.branch.as_ref().unwrap().wrapped.bytes.clone();
    let has = |export: &[u8], what: &str| String::from_utf8_lossy(export).contains(what);
    assert!(has(&under_second, &wrap) && !has(&last, &wrap));
    assert!(
        unwrapped(
            &bench,
            &bench.inventory,
            &key,
            &[(&first, &of_first), (&second, &of_second)]
        )
        .is_err()
    );

    // Backups have it, under two parents, as the receipt says.
    let receipt = run(&bench, admin.shred_receipt(&key.scope, &[])).unwrap();
    assert_eq!(receipt.stage(), ShredStage::Destroyed);
    assert_eq!(
        copies(&receipt),
        [
            (second.id, State::Active, true),
            (first.id, State::Deprecated, true)
        ]
    );
    assert_eq!(backups(&receipt), 2);
    let parents = [(&first, &of_first), (&second, &of_second)];
    let opens = |export: &[u8], of: &KeyRecord| unwrapped(&bench, &restored(&bench, export), of, &parents);
    assert!(opens(&under_first, &key).unwrap().ct_eq(&kek));
    assert!(opens(&under_second, &key).unwrap().ct_eq(&kek));

    // The first parent is destroyed, and its backups are worthless. The others are not.
    let kek_ref = of_first.kek();
    block_on(of_first.schedule_destroy(&kek_ref, Duration::ZERO)).unwrap();
    bench.runtime.advance(2 * DAY);
    assert_eq!(
        block_on(of_first.describe(&kek_ref)).unwrap().state,
        KekState::Destroyed
    );
    for state in [State::Retired, State::Destroying, State::Destroyed] {
        bench.go(&mut first, state);
    }
    bench.put(&[&first]);
    let receipt = run(&bench, admin.shred_receipt(&key.scope, &[])).unwrap();
    assert_eq!(
        copies(&receipt),
        [
            (second.id, State::Active, true),
            (first.id, State::Destroyed, false)
        ]
    );
    assert_eq!(backups(&receipt), 1);
    let parents = [(&first, &of_first), (&second, &of_second)];
    let opens = |export: &[u8]| unwrapped(&bench, &restored(&bench, export), &key, &parents);
    assert_eq!(kind(opens(&under_first)), ErrorKind::KeyDestroyed);
    assert!(opens(&under_second).unwrap().ct_eq(&kek));
    drop(beside);
}

/// A key that a provisioner has made is taken over when its scope is shredded, and a replayed row revives nothing.
#[test]
fn a_scope_with_branch_keys_of_others_is_not_shredded_and_a_branch_scope_reads_nobody_else() {
    let bench = Bench::new();
    let (parent, fake) = bench.active("/", "root");
    let (key, _) = branch(&bench, "tenant/a", &parent, &fake);
    branch(&bench, "tenant/b", &parent, &fake);
    let admin = admin(&bench);
    let shredding = Shredding::new("GDPR-17", "they have left");
    let error = run(&bench, admin.shred(&scope("/"), &shredding)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    let words = error.to_string();
    assert!(
        words.contains("branch keys of other scopes") && words.contains(&key.id.to_string()),
        "{words}"
    );
    // Cancelled, the branch key is what it was.
    run(&bench, admin.shred(&key.scope, &shredding)).unwrap();
    run(&bench, admin.cancel_shred(&key.scope, "they stay")).unwrap();
    let now = run(&bench, admin.key(key.id)).unwrap();
    assert_eq!((now.state, &now.branch), (State::Active, &key.branch));
    assert_eq!(fake.count(Method::Unwrap), 0);
    // What a revocation of the parent would do to both.
    let simulation = crate::ring::Simulation::Revoke(parent.id);
    let simulated = run(&bench, admin.reader().simulate(&simulation, &[])).unwrap();
    let under: Vec<_> = simulated
        .scopes
        .iter()
        .filter(|affected| affected.why == crate::ring::Affected::Branch)
        .map(|affected| affected.scope.to_string())
        .collect();
    assert_eq!(under, ["tenant/a", "tenant/b"]);
    let simulation = crate::ring::Simulation::Destroy(parent.id);
    let simulated = run(&bench, admin.reader().simulate(&simulation, &[])).unwrap();
    let why = simulated.refused.join("; ");
    assert!(why.contains("2 branch keys are wrapped under the key"), "{why}");
}

/// A first key comes under a parent at the moment at which the scope of the parent is shredded. The parent is not destroyed.
#[test]
fn a_parent_that_was_used_meanwhile_is_not_destroyed() {
    let bench = Bench::new();
    let (parent, fake) = bench.active("/", "root");
    let admin = admin(&bench);
    run(
        &bench,
        admin.shred(&scope("/"), &Shredding::new("T", "a mistake")),
    )
    .unwrap();
    let (key, _) = branch(&bench, "tenant/a", &parent, &fake);
    bench.runtime.advance(7 * DAY);
    let tick = run(&bench, admin.tick(None)).unwrap();
    let why = &tick
        .refused
        .iter()
        .find(|refused| refused.action == Action::Shred)
        .unwrap()
        .reason;
    assert!(
        why.contains("branch keys of other scopes") && why.contains(&key.id.to_string()),
        "{why}"
    );
    assert_eq!(run(&bench, admin.key(parent.id)).unwrap().state, State::Retired);
    run(&bench, admin.cancel_shred(&scope("/"), "they need it")).unwrap();
    assert_eq!(run(&bench, admin.key(parent.id)).unwrap().state, State::Active);
}

/// Applications make keys on first use, and none of them revives what was shredded, whatever the inventory replays.
#[test]
fn first_use_does_not_revive_a_scope() {
    let bench = Bench::new();
    bench.active("/", "root");
    let provisioner = Arc::new(Authority::generate().unwrap());
    let trust = bench.trust();
    block_on(bench.pen(&trust).change(&[], |view, draft| {
        let mut settings = view.settings().as_ref().clone();
        let keys = vec![provisioner.public()];
        settings.provision = Some(crate::ring::Provisioning::on_first_use(scope("/"), keys));
        draft.set_settings(settings)
    }))
    .unwrap();
    let opened = || {
        let builder = bench.builder().provisioner(Arc::clone(&provisioner));
        block_on(builder.open()).unwrap()
    };
    let rings = [opened(), opened()];
    let sealers = rings.each_ref().map(|ring| ring.sealer().build().unwrap());
    let sealed = seal(&sealers[0], "a");
    assert!(open(&sealers[1], &sealed, "a").is_ok());
    let handle = opener(&sealers[1], &sealed);
    let beside = seal(&sealers[0], "b");
    let scope_a = scope("tenant/a");
    let before = block_on(bench.inventory.read(std::slice::from_ref(&scope_a), &[])).unwrap();
    let row = before
        .provisioned
        .first()
        .expect("it was made on first use")
        .clone();

    let admin = admin(&bench);
    let shredding = Shredding::new("GDPR-17", "they have left");
    let shredded = run(&bench, admin.shred(&scope_a, &shredding)).unwrap();
    assert_eq!(shredded.moved[0].from, State::Active);
    let after = block_on(bench.inventory.read(std::slice::from_ref(&scope_a), &[])).unwrap();
    assert!(after.provisioned.is_empty(), "the authority signs for it now");
    let refused = |sealer: &Sealer| {
        assert_eq!(kind(open(sealer, &sealed, "a")), ErrorKind::KeyDestroyed);
        assert_eq!(
            kind(block_on(sealer.seal(b"", &context("a")))),
            ErrorKind::KeyDestroyed
        );
        assert!(open(sealer, &beside, "b").is_ok());
    };
    for (ring, sealer) in rings.iter().zip(&sealers) {
        block_on(ring.refresh()).unwrap();
        refused(sealer);
    }
    assert_eq!(kind(handle.open(&sealed, Aad::none())), ErrorKind::KeyRevoked);
    bench.runtime.advance(7 * DAY);
    run(&bench, admin.tick(None)).unwrap();
    assert_eq!(run(&bench, admin.key(row.id)).unwrap().state, State::Destroyed);
    // The inventory gives the old row back. It takes none, and nobody believes it.
    let revision = block_on(bench.inventory.revision()).unwrap();
    assert_eq!(
        kind(block_on(bench.inventory.provision(revision, &row))),
        ErrorKind::Conflict
    );
    let moody = Moody::new(&bench);
    let replays = Replays {
        inner: moody,
        row: row.clone(),
    };
    let builder = bench
        .builder_on(Arc::new(replays))
        .provisioner(Arc::clone(&provisioner));
    let late = block_on(builder.open()).unwrap().sealer().build().unwrap();
    refused(&late);
    refused(&opened().sealer().build().unwrap());
    // Another tenant begins as before.
    seal(&sealers[1], "c");
}

/// An inventory that returns a provisioned row of before.
#[derive(Debug)]
struct Replays {
    inner: Moody,
    row: Row,
}

#[async_trait]
impl InventoryLayer for Replays {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        let mut snapshot = Inventory::read(&self.inner, scopes, nodes).await?;
        if scopes.contains(&self.row.scope) {
            snapshot.provisioned.push(self.row.clone());
        }
        Ok(snapshot)
    }
}
