//! Scopes without keys, and the wider scope that serves them.

use pollster::block_on;

use super::*;
use crate::ring::profile::{Profiles, Requirements};
use crate::testing::Method;

/// Lets the settings list these scopes.
fn allow(bench: &Bench, scopes: &[&str]) {
    let trust = bench.trust();
    block_on(bench.pen(&trust).change(&[], |view, draft| {
        let mut settings = view.settings().as_ref().clone();
        settings.otherwise = scopes.iter().map(|text| scope(text)).collect();
        draft.set_settings(settings)
    }))
    .unwrap();
}

/// A ring whose root scope serves others.
fn serving() -> (Bench, KeyRecord, FakeKeyManager) {
    let bench = Bench::new();
    let (key, fake) = bench.active("/", "root");
    allow(&bench, &["/"]);
    (bench, key, fake)
}

fn with(bench: &Bench, otherwise: &str) -> KeyRing {
    block_on(bench.builder().otherwise(scope(otherwise)).open()).unwrap()
}

fn rewrap(sealer: &Sealer, sealed: &[u8], tenant: &str) -> Result<Vec<u8>> {
    block_on(sealer.rewrap(sealed, &context(tenant)))?.splice(sealed)
}

#[test]
fn a_wider_scope_serves_if_the_settings_and_the_process_say_so() {
    let bench = Bench::new();
    let (_, fake) = bench.active("/", "root");
    let refused = block_on(bench.builder().otherwise(scope("/")).open()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration);
    assert!(refused.to_string().contains("ring set --otherwise"), "{refused}");
    allow(&bench, &["/", "shared"]);
    let plain = uncached(&bench.open());
    assert_eq!(
        kind(block_on(plain.seal(b"", &context("a")))),
        ErrorKind::NoKeyForScope
    );
    assert_eq!(fake.count(Method::Generate), 0);
    let sealer = uncached(&with(&bench, "/"));
    let sealed = seal(&sealer, "a");
    assert_eq!(keks(&sealed), ["root"]);
    assert!(open(&sealer, &sealed, "a").is_ok());
    // Under the same KEK, and yet nobody else's.
    assert!(seal(&sealer, "b") != sealed);
    assert_eq!(kind(open(&sealer, &sealed, "b")), ErrorKind::CannotOpen);
    assert_eq!(kind(rewrap(&sealer, &sealed, "b")), ErrorKind::CannotOpen);
    assert_eq!(kind(open(&plain, &sealed, "a")), ErrorKind::NoKeyForScope);
    // A scope that has no key itself serves nobody, and both are named.
    let sealer = uncached(&with(&bench, "shared"));
    let error = block_on(sealer.seal(b"", &context("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoKeyForScope);
    let said = error.to_string();
    assert!(
        said.contains("tenant/a") && said.contains("scope shared"),
        "{said}"
    );
    // A context without the key of the template has no scope, and so no wider one.
    let nothing = EncryptionContext::new([("table", "users")]).unwrap();
    let error = kind(block_on(uncached(&with(&bench, "/")).seal(b"", &nothing)));
    assert_eq!(error, ErrorKind::NoKeyForScope);
}

#[test]
fn settings_list_no_scope_that_is_of_a_context() {
    let bench = Bench::new();
    let trust = bench.trust();
    for (bad, words) in [("tenant/a", "scope template"), ("/,/", "different")] {
        let error = block_on(bench.pen(&trust).change(&[], |view, draft| {
            let mut settings = view.settings().as_ref().clone();
            settings.otherwise = bad.split(',').map(scope).collect();
            draft.set_settings(settings)
        }))
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_tenant_that_gets_a_key_seals_under_it_and_takes_along_what_was_before() {
    let (bench, _, root) = serving();
    let ring = with(&bench, "/");
    let (cached, sealer) = (ring.sealer().build().unwrap(), uncached(&ring));
    let before = seal(&cached, "a");
    seal(&cached, "b");
    let of_root = root.count(Method::Generate);
    let (_, own) = bench.active("tenant/a", "own");
    block_on(ring.refresh()).unwrap();
    // What a cache had is not handed out anymore.
    let after = seal(&cached, "a");
    assert_eq!(
        (keks(&before), keks(&after)),
        (vec!["root".to_owned()], vec!["own".to_owned()])
    );
    // Of the others nothing is asked anew.
    assert_eq!(keks(&seal(&cached, "b")), ["root"]);
    assert_eq!(root.count(Method::Generate), of_root);
    assert_eq!(open(&sealer, &before, "a").unwrap(), b"hello");
    assert_eq!(kind(open(&sealer, &before, "b")), ErrorKind::CannotOpen);
    // A key of a tenant is nobody else's.
    assert_eq!(kind(open(&sealer, &after, "b")), ErrorKind::NoUsableKey);
    let moved = rewrap(&sealer, &before, "a").unwrap();
    assert_eq!(keks(&moved), ["own"]);
    let (plain, unwraps) = (uncached(&bench.open()), root.count(Method::Unwrap));
    assert_eq!(open(&plain, &moved, "a").unwrap(), b"hello");
    // What is under its own key asks the wider one nothing.
    assert_eq!(open(&sealer, &moved, "a").unwrap(), b"hello");
    assert_eq!(keks(&rewrap(&sealer, &moved, "a").unwrap()), ["own"]);
    assert_eq!(root.count(Method::Unwrap), unwraps);
    assert!(own.count(Method::Unwrap) >= 2);
    // A job sees which rows it has to touch.
    let mut rewrapper = sealer.rewrapper();
    assert!(
        block_on(rewrapper.rewrap(&before, &context("a")))
            .unwrap()
            .is_some()
    );
    assert!(
        block_on(rewrapper.rewrap(&moved, &context("a")))
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_tenant_with_a_key_is_independent_of_the_wider_scope() {
    let (bench, _, root) = serving();
    bench.active("tenant/a", "own");
    bench.unreachable("root");
    let sealer = uncached(&with(&bench, "/"));
    let sealed = seal(&sealer, "a");
    assert!(open(&sealer, &sealed, "a").is_ok());
    assert_eq!(root.count(Method::Unwrap), 0);
    // A wider scope without any key hinders it no more.
    let bench = Bench::new();
    bench.active("tenant/a", "own");
    allow(&bench, &["/"]);
    let sealer = uncached(&with(&bench, "/"));
    let sealed = seal(&sealer, "a");
    assert!(open(&sealer, &sealed, "a").is_ok());
}

/// Nothing serves a scope that has lost its keys, whatever was sealed for it before.
#[test]
fn a_scope_that_lost_its_keys_is_served_by_no_other() {
    use State::{Active, Compromised, Deprecated, Destroyed, Destroying, Pending, Retired};
    for states in [
        &[Active, Deprecated][..],
        &[Active, Deprecated, Retired],
        &[Active, Compromised],
        &[Active, Deprecated, Retired, Destroying],
        &[Active, Deprecated, Retired, Destroying, Destroyed],
        &[Pending, Compromised],
    ] {
        let (bench, _, root) = serving();
        let ring = with(&bench, "/");
        let (sealer, cached) = (uncached(&ring), ring.sealer().build().unwrap());
        let before = seal(&sealer, "a");
        assert!(open(&cached, &before, "a").is_ok());
        let own = bench.fake("own");
        let key = bench.went(bench.key("tenant/a", &own), states);
        bench.put(&[&key]);
        block_on(ring.refresh()).unwrap();
        let calls = (root.count(Method::Generate), root.count(Method::Unwrap));
        assert_eq!(
            kind(block_on(sealer.seal(b"", &context("a")))),
            ErrorKind::NoKeyForScope,
            "{states:?}"
        );
        assert_eq!(
            kind(open(&sealer, &before, "a")),
            ErrorKind::NoUsableKey,
            "{states:?}"
        );
        assert!(rewrap(&sealer, &before, "a").is_err(), "{states:?}");
        assert_eq!(
            (root.count(Method::Generate), root.count(Method::Unwrap)),
            calls,
            "{states:?}"
        );
        // What was handed out before ends, since nobody prolongs it.
        bench.runtime.advance(Duration::from_secs(599));
        block_on(ring.refresh()).unwrap();
        bench.runtime.advance(Duration::from_secs(1));
        block_on(ring.refresh()).unwrap();
        assert!(open(&cached, &before, "a").is_err(), "{states:?}");
        assert!(open(&sealer, &seal(&sealer, "b"), "b").is_ok());
    }
}

#[test]
fn a_key_that_has_never_wrapped_is_no_key_yet() {
    let (bench, _, _) = serving();
    let own = bench.fake("own");
    let mut key = bench.went(bench.key("tenant/a", &own), &[State::Pending]);
    bench.put(&[&key]);
    let sealer = uncached(&with(&bench, "/"));
    let sealed = seal(&sealer, "a");
    assert_eq!(keks(&sealed), ["root"]);
    // Nor is one that was taken back.
    bench.go(&mut key, State::Destroyed);
    key.taken_back = true;
    bench.put(&[&key]);
    let sealer = uncached(&with(&bench, "/"));
    assert_eq!(keks(&seal(&sealer, "a")), ["root"]);
    assert!(open(&sealer, &sealed, "a").is_ok());
    // As a canary it has wrapped, for a share of the contexts.
    let mut canary = bench.went(bench.key("tenant/c", &own), &[State::Pending]);
    (canary.canary, canary.has_wrapped) = (super::canary(&bench, 100), true);
    bench.put(&[&canary]);
    let sealer = uncached(&with(&bench, "/"));
    assert_eq!(
        kind(block_on(sealer.seal(b"", &context("c")))),
        ErrorKind::NoKeyForScope
    );
}

/// What an inventory returns that would like a tenant to be served by a key that is not its own.
#[derive(Debug)]
struct Hiding {
    inner: MemoryInventory,
    hide: fn(&mut Snapshot),
}

#[async_trait]
impl InventoryLayer for Hiding {
    fn inner(&self) -> &dyn Inventory {
        &self.inner
    }

    async fn read(&self, scopes: &[Scope], nodes: &[NodePath]) -> Result<Snapshot> {
        let mut snapshot = self.inner.read(scopes, nodes).await?;
        if scopes.iter().any(|scope| scope.as_str() == "tenant/a") {
            (self.hide)(&mut snapshot);
        }
        Ok(snapshot)
    }
}

#[test]
fn an_inventory_that_hides_a_scope_makes_nothing_fall_back() {
    let hides: [fn(&mut Snapshot); 4] = [
        |snapshot| snapshot.rows.clear(),
        // And the leaf that names it.
        |snapshot| {
            snapshot.rows.clear();
            snapshot.nodes.retain(|path, _| path.len() < tree_depth());
        },
        |snapshot| {
            snapshot.rows.clear();
            for (path, body) in &mut snapshot.nodes {
                if path.len() == tree_depth() {
                    body.clear();
                }
            }
        },
        |snapshot| {
            snapshot.rows.clear();
            snapshot.nodes.clear();
        },
    ];
    for hide in hides {
        let (bench, _, root) = serving();
        bench.active("tenant/a", "own");
        let inner = bench.inventory.clone();
        let builder = bench.builder_on(Arc::new(Hiding { inner, hide }));
        let sealer = uncached(&block_on(builder.otherwise(scope("/")).open()).unwrap());
        assert_eq!(
            kind(block_on(sealer.seal(b"", &context("a")))),
            ErrorKind::InventoryInvalid
        );
        assert_eq!(root.count(Method::Generate), 0);
        assert_eq!(keks(&seal(&sealer, "b")), ["root"]);
    }
}

fn tree_depth() -> usize {
    crate::ring::tree::DEPTH
}

#[test]
fn an_older_inventory_is_refused_by_whoever_has_seen_the_key() {
    let (bench, _, root) = serving();
    let nodes = crate::ring::tree::all_paths();
    let all = [scope("/"), scope("tenant/a")];
    let older = block_on(bench.inventory.read(&all, &nodes)).unwrap();
    bench.active("tenant/a", "own");
    let moody = Moody::new(&bench);
    let builder = bench.builder_on(Arc::new(moody.clone()));
    let ring = block_on(builder.otherwise(scope("/")).open()).unwrap();
    moody.be(Mood::Older(Box::new(older)));
    let sealer = uncached(&ring);
    assert_eq!(
        kind(block_on(sealer.seal(b"", &context("a")))),
        ErrorKind::InventoryInvalid
    );
    assert_eq!(root.count(Method::Generate), 0);
}

#[test]
fn what_happens_to_the_wider_scope_reaches_those_that_it_serves() {
    let (bench, mut root, fake) = serving();
    let (_, own) = bench.active("tenant/b", "own");
    let ring = with(&bench, "/");
    let cached = ring.sealer().build().unwrap();
    let sealed = seal(&cached, "a");
    seal(&cached, "b");
    let opener = opener(&cached, &sealed);
    let next = bench.fake("next");
    let mut successor = bench.went(bench.key("/", &next), &[State::Pending]);
    bench.promote(&mut root, &mut successor);
    block_on(ring.refresh()).unwrap();
    assert_eq!(keks(&seal(&cached, "a")), ["next"]);
    seal(&cached, "b");
    assert_eq!(
        own.count(Method::Generate),
        1,
        "who has a key goes on with what it has"
    );
    assert!(open(&cached, &sealed, "a").is_ok());
    assert_eq!(keks(&rewrap(&cached, &sealed, "a").unwrap()), ["next"]);
    bench.go(&mut root, State::Compromised);
    bench.put(&[&root]);
    block_on(ring.refresh()).unwrap();
    let unwraps = fake.count(Method::Unwrap);
    assert_eq!(kind(open(&cached, &sealed, "a")), ErrorKind::KeyRevoked);
    assert_eq!(kind(opener.open(&sealed, Aad::none())), ErrorKind::KeyRevoked);
    assert_eq!(fake.count(Method::Unwrap), unwraps);
}

#[test]
fn what_opened_by_a_wider_scope_ends_when_that_one_is_not_confirmed() {
    let (bench, _, _) = serving();
    let moody = Moody::new(&bench);
    let builder = bench.builder_on(Arc::new(moody.clone()));
    let ring = block_on(builder.otherwise(scope("/")).open()).unwrap();
    let cached = ring.sealer().build().unwrap();
    let sealed = seal(&cached, "a");
    assert!(open(&cached, &sealed, "a").is_ok());
    // Of its own scope everything is as it was; the wider one does not verify anymore.
    let other = bench.fake("other");
    bench.put(&[&bench.went(bench.key("/", &other), &[State::Pending])]);
    *moody.spoil.lock().unwrap() = Some(|row| {
        if row.scope == Scope::root() {
            row.revision += 1;
        }
    });
    for _ in 0..3 {
        block_on(ring.refresh()).unwrap();
        bench.runtime.advance(Duration::from_secs(20));
    }
    assert_eq!(
        kind(block_on(cached.seal(b"", &context("a")))),
        ErrorKind::InventoryStale
    );
}

#[test]
fn settings_that_do_not_allow_it_anymore_end_it() {
    let (bench, _, _) = serving();
    let ring = with(&bench, "/");
    let (cached, sealer) = (ring.sealer().build().unwrap(), uncached(&ring));
    let sealed = seal(&cached, "a");
    let handle = block_on(cached.data_key(&context("a"))).unwrap();
    assert!(open(&cached, &sealed, "a").is_ok());
    allow(&bench, &[]);
    block_on(ring.refresh()).unwrap();
    for sealer in [&cached, &sealer] {
        assert_eq!(
            kind(block_on(sealer.seal(b"", &context("a")))),
            ErrorKind::NoKeyForScope
        );
    }
    assert_eq!(kind(open(&sealer, &sealed, "a")), ErrorKind::NoKeyForScope);
    bench.runtime.advance(Duration::from_secs(60));
    block_on(ring.refresh()).unwrap();
    assert_eq!(kind(handle.seal(b"", Aad::none())), ErrorKind::LeaseExpired);
    bench.runtime.advance(Duration::from_secs(540));
    assert!(open(&cached, &sealed, "a").is_err());
    allow(&bench, &["/"]);
    block_on(ring.refresh()).unwrap();
    assert!(open(&sealer, &sealed, "a").is_ok());
}

/// What a profile demands of a tenant's data it demands of whichever keys serve.
#[test]
fn the_profile_of_the_own_scope_holds() {
    let (bench, _, root) = serving();
    let strict = Requirements::new().in_hardware();
    let profiles = Profiles::new()
        .define("strict", strict)
        .unwrap()
        .define("plain", Requirements::new())
        .unwrap()
        .for_scopes("tenant/a".parse().unwrap(), "strict")
        .unwrap()
        .for_scopes("/".parse().unwrap(), "plain")
        .unwrap();
    let ring = block_on(bench.builder().profiles(profiles).otherwise(scope("/")).open()).unwrap();
    let sealer = uncached(&ring);
    let refused = kind(block_on(sealer.seal(b"", &context("a"))));
    assert!(matches!(refused, ErrorKind::ProfileRefused { .. }), "{refused:?}");
    assert_eq!(root.count(Method::Generate), 0);
    assert_eq!(keks(&seal(&sealer, "b")), ["root"]);
}
