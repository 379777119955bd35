//! A scope is shredded by a process that is killed all the time, while two others open what is under its keys.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use pollster::block_on;
use waxseal::ring::{
    Authority, AuthorityKey, KeyRing, KeySource, NewKey, Reader, RingAdmin, Rollout, Scope, ShredStage,
    Shredding, State, Target, Trust,
};
use waxseal::{Aad, EncryptionContext, Envelope, ErrorKind, Sealer};

use crate::places::{Store, backends};

/// What a process is to do: its role, its store, the ring, the seed of the authority or its public half, and a folder.
const WORK: &str = "WAXSEAL_TEST_RING_SHREDS";
const READERS: usize = 2;
const ROUNDS: usize = 5;
/// How often the one that shreds is killed in each round.
const KILLS: usize = 6;
/// How many lines a worker says at least.
const STEPS: usize = 4;
/// How long a process that was killed keeps others from going on.
const LEASE: Duration = Duration::from_secs(2);
/// Only to fail instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::sqlite(folder.path());
    Bench::new(&store, folder.path()).shreds();
}

pub(crate) fn on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let Some(store) = Store::postgres() else { return };
    Bench::new(&store, folder.path()).shreds();
}

struct Bench {
    store: Store,
    folder: PathBuf,
    authority: Arc<Authority>,
    admin: RingAdmin,
    sealer: Sealer,
    ring: String,
}

impl Bench {
    fn new(store: &Store, folder: &Path) -> Self {
        let inventory = store.create();
        let authority = Arc::new(Authority::generate().unwrap());
        let trust = block_on(RingAdmin::init(&*inventory, &authority, "alice", |settings| {
            settings.scope_template = "tenant/{tenant}".parse().unwrap();
            settings.cooling_off = "PT0S".parse().unwrap();
        }))
        .unwrap();
        let ring = trust.ring();
        let again = || Trust::new(ring, authority.public());
        let opened = block_on(KeyRing::builder(again(), store.open(), backends()).open()).unwrap();
        let reader = Reader::new(again(), inventory);
        Self {
            store: store.clone(),
            folder: folder.to_owned(),
            admin: RingAdmin::new(reader, Arc::clone(&authority), backends(), "alice"),
            sealer: opened.sealer().build().unwrap(),
            authority,
            ring: ring.to_string(),
        }
    }

    fn work(&self, role: &str) -> String {
        let key = match role {
            "reads" => self.authority.public().to_string(),
            _ => hex::encode(*self.authority.expose_seed()),
        };
        [
            role.to_owned(),
            self.store.to_text(),
            self.ring.clone(),
            key,
            self.folder.display().to_string(),
        ]
        .join("\n")
    }

    /// Makes a tenant with a deprecated and an active key, and something under each.
    fn tenant(&self, name: &str) {
        let scope: Scope = scope_of(name);
        let place = KeySource::MadeBeside(format!("file:{}/x", self.folder.display()));
        block_on(self.admin.create(&NewKey::new(scope.clone(), place))).unwrap();
        self.seal(name, "old");
        block_on(self.admin.rotate(&Target::Scope(scope), Rollout::AtOnce, "x")).unwrap();
        self.seal(name, "new");
    }

    fn seal(&self, name: &str, what: &str) {
        let sealed = block_on(self.sealer.seal(name.as_bytes(), &context(name))).unwrap();
        fs::write(self.folder.join(format!("{what}-{name}")), sealed).unwrap();
    }

    fn shreds(&self) {
        let mut random = random();
        let mut readers: Vec<Process> = (0..READERS)
            .map(|_| Process::start(&self.work("reads")))
            .collect();
        self.tenant("neighbor");
        let (mut kills, mut half_done) = (0, 0);
        for round in 0..ROUNDS {
            let name = format!("leaver-{round}");
            self.tenant(&name);
            for reader in &mut readers {
                writeln!(reader.orders, "{name}").unwrap();
            }
            for reader in &readers {
                assert_eq!(reader.line(), "warm");
            }
            for kill in 0..=KILLS {
                let mut worker = Process::start(&self.work(&name));
                if kill == KILLS {
                    while worker.line() != "gone" {}
                    assert!(worker.child.wait().unwrap().success());
                    break;
                }
                // At another step each time, and a moment later.
                for _ in 0..=kill % STEPS {
                    if worker.line() == "gone" {
                        break;
                    }
                }
                std::thread::sleep(Duration::from_micros(random(10_000)));
                // SIGKILL.
                worker.child.kill().unwrap();
                worker.child.wait().unwrap();
                kills += 1;
                half_done += usize::from(self.check_whole(&name));
            }
            for reader in &readers {
                assert_eq!(
                    reader.line(),
                    "KeyDestroyed KeyDestroyed KeyRevoked, and the neighbor opens"
                );
            }
            self.check_gone(&name);
        }
        println!("{kills} kills, {half_done} of them while a scope was shredded and not gone");
        assert!(half_done > 0, "no kill was at a time that shows anything");
        let neighbor = self.states("neighbor");
        assert_eq!(neighbor, [State::Deprecated, State::Active]);
    }

    fn states(&self, name: &str) -> Vec<State> {
        let scope = scope_of(name);
        let view = block_on(self.admin.reader().scopes(std::slice::from_ref(&scope))).unwrap();
        view.keys(&scope).iter().map(|key| key.state).collect()
    }

    /// Either nothing was done to the scope, or it is shredded with all of its keys. Returns whether it is, and not all are gone.
    fn check_whole(&self, name: &str) -> bool {
        let scope = scope_of(name);
        let view = block_on(self.admin.reader().scopes(std::slice::from_ref(&scope))).unwrap();
        let states: Vec<State> = view.keys(&scope).iter().map(|key| key.state).collect();
        match view.tombstone(&scope) {
            None => {
                assert_eq!(states, [State::Deprecated, State::Active]);
                false
            }
            Some(tombstone) => {
                assert_eq!(tombstone.keys.len(), 2);
                assert!(states.iter().all(|state| !state.row().unwraps), "{states:?}");
                states.iter().any(|state| *state != State::Destroyed)
            }
        }
    }

    fn check_gone(&self, name: &str) {
        assert_eq!(self.states(name), [State::Destroyed; 2]);
        let receipt = block_on(self.admin.shred_receipt(&scope_of(name), &[])).unwrap();
        assert_eq!(receipt.stage(), ShredStage::Destroyed);
        receipt
            .verify(self.ring.parse().unwrap(), &[self.authority.public()])
            .unwrap();
        let check = block_on(self.admin.reader().check()).unwrap();
        assert!(check.is_good(), "{:?}", check.findings);
        // Nobody begins anew.
        let place = KeySource::MadeBeside(format!("file:{}/x", self.folder.display()));
        let error = block_on(self.admin.create(&NewKey::new(scope_of(name), place))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LifecycleRefused);
    }
}

struct Process {
    child: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    fn start(work: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(WORK, work)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, says) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(says).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Self { child, orders, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a process says nothing")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn is_worker() -> bool {
    std::env::var_os(WORK).is_some()
}

pub(crate) fn work() -> ExitCode {
    let work = std::env::var(WORK).unwrap();
    let lines: Vec<_> = work.lines().collect();
    let [role, store, ring, key, folder] = lines[..] else {
        panic!("{} lines", lines.len())
    };
    let store = Store::of_text(store);
    match role {
        "reads" => read(&store, ring, key.parse().unwrap(), Path::new(folder)),
        name => shred(&store, ring, key, name),
    }
    ExitCode::SUCCESS
}

/// Shreds the scope of a tenant, and goes on until its keys are gone: whoever was killed before may have done any part of it.
fn shred(store: &Store, ring: &str, seed: &str, name: &str) {
    let seed: [u8; 32] = hex::decode(seed).unwrap().try_into().unwrap();
    let authority = Authority::from_seed(&seed);
    let trust = Trust::new(ring.parse().unwrap(), authority.public());
    let reader = Reader::new(trust, store.open());
    let admin = RingAdmin::new(reader, Arc::new(authority), backends(), "worker").with_lease(LEASE);
    println!("begins");
    let (scope, why) = (scope_of(name), Shredding::new("GDPR-17", "a drill"));
    block_on(admin.shred(&scope, &why)).unwrap();
    println!("shredded");
    loop {
        block_on(admin.tick(None)).unwrap();
        println!("ticked");
        let view = block_on(admin.reader().scopes(std::slice::from_ref(&scope))).unwrap();
        let keys = view.keys(&scope);
        for key in keys.iter().filter(|key| key.state == State::Destroying) {
            let file = key.provenance.uri.strip_prefix("file:").unwrap();
            let _ = fs::remove_file(file);
            println!("removed");
            block_on(admin.attest_destroyed(key.id, "removed")).unwrap();
        }
        if keys.iter().all(|key| key.state == State::Destroyed) {
            return println!("gone");
        }
    }
}

/// Opens what is there of a tenant until it may not, with a warm cache and a handle.
fn read(store: &Store, ring: &str, authority: AuthorityKey, folder: &Path) {
    let trust = Trust::new(ring.parse().unwrap(), authority);
    let ring = block_on(KeyRing::builder(trust, store.open(), backends()).open()).unwrap();
    let sealer = ring.sealer().build().unwrap();
    let content = |what: &str, name: &str| fs::read(folder.join(format!("{what}-{name}"))).unwrap();
    for order in std::io::stdin().lines() {
        let name = order.unwrap();
        let (old, new, context) = (content("old", &name), content("new", &name), context(&name));
        let envelope = Envelope::parse(&old).unwrap();
        let handle = block_on(sealer.opener(envelope.header(), &context)).unwrap();
        let mut is_warm = false;
        loop {
            let opened = [
                block_on(sealer.open(&old, &context)),
                block_on(sealer.open(&new, &context)),
            ];
            // It may come between the two.
            let errors = opened.iter().filter_map(|one| one.as_ref().err());
            if errors.filter(|error| !error.is_retryable()).count() == 2 {
                break;
            }
            if !is_warm && opened.iter().all(Result::is_ok) {
                handle.open(&old, Aad::none()).unwrap();
                println!("warm");
                is_warm = true;
            }
        }
        // What was on its way is over, and nothing comes back.
        let refusal = |sealed: &[u8]| block_on(sealer.open(sealed, &context)).unwrap_err().kind();
        let kinds = [refusal(&old), refusal(&new)];
        // The ring's thread ends leases right after it has shown everybody what it has read, and may be held up between the two.
        let begun = Instant::now();
        let of_handle = loop {
            match handle.open(&old, Aad::none()) {
                Ok(_) => assert!(begun.elapsed() < PATIENCE, "the handle opens for ever"),
                Err(error) => break error.kind(),
            }
        };
        let neighbor = crate::shred::context("neighbor");
        for what in ["old", "new"] {
            let opened = block_on(sealer.open(&content(what, "neighbor"), &neighbor)).unwrap();
            assert_eq!(opened, *b"neighbor");
        }
        block_on(sealer.seal(b"more", &neighbor)).unwrap();
        println!(
            "{:?} {:?} {of_handle:?}, and the neighbor opens",
            kinds[0], kinds[1]
        );
    }
}

fn scope_of(name: &str) -> Scope {
    format!("tenant/{name}").parse().unwrap()
}

fn context(name: &str) -> EncryptionContext {
    EncryptionContext::new([("tenant", name)]).unwrap()
}

/// Random numbers below another.
fn random() -> impl FnMut(u64) -> u64 {
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let mut random = (u64::from(std::process::id()) << 32) | u64::from(nanos);
    move |below| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    }
}
