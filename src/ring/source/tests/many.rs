//! A ring of many keys reads what it needs.

use pollster::block_on;

use super::*;
use crate::ring::inventory::Signed;
use crate::ring::record::{HEAD, Head, Record, to_body};
use crate::ring::tree::{self, Leaf, Nodes};
use crate::ring::view::hex;

fn tenant(number: usize) -> String {
    format!("t{number}")
}

/// Puts one active key into each of these scopes, all under one KEK.
fn fill(bench: &Bench, scopes: usize) -> Vec<KeyRecord> {
    let fake = bench.fake("shared");
    let keys: Vec<_> = (0..scopes)
        .map(|number| {
            let key = bench.key(&format!("tenant/{}", tenant(number)), &fake);
            bench.went(key, &[State::Active])
        })
        .collect();
    for keys in keys.chunks(100) {
        bench.put(&keys.iter().collect::<Vec<_>>());
    }
    keys
}

#[test]
fn of_a_hundred_thousand_keys_those_are_read_that_are_used() {
    const SCOPES: usize = 10_000;
    const KEYS: usize = 10;
    let bench = Bench::new();
    fill(&bench, 3);
    let view = block_on(bench.trust().read(&bench.inventory, &[])).unwrap();
    let nodes = block_on(bench.inventory.read(&[], &tree::all_paths()))
        .unwrap()
        .nodes;
    let (mut nodes, mut root): (Nodes, _) = (nodes, view.root);
    // The bytes of the others are nobody's: they are not even looked at.
    let fake = bench.fake("shared");
    let pattern = bench.went(bench.key("/", &fake), &[State::Pending]);
    let signed = Signed::new(vec![b'x'; 1200], [0; 32], [0; 64]);
    let mut rows = Vec::with_capacity(SCOPES * KEYS);
    let mut written = Nodes::new();
    for number in 3..SCOPES {
        let scope = scope(&format!("tenant/{}", tenant(number)));
        let mut leaves = Vec::with_capacity(KEYS);
        for number in 0..KEYS {
            let mut row = pattern.row_of(signed.clone());
            row.id = RecordId::new(bench.now()).unwrap();
            row.scope = scope.clone();
            row.slot = format!("slot-{number}").parse().unwrap();
            leaves.push(Leaf::new(row.id, row.kind, &row.signed.body));
            rows.push(row);
        }
        root = tree::set(&mut nodes, &mut written, &root, &scope, &leaves).unwrap();
    }
    let head = Head {
        revision: view.head.revision + 1,
        root: hex(&root),
        ..view.head.clone()
    };
    let head = bench
        .authority
        .sign(bench.ring, HEAD, to_body(&head).unwrap())
        .unwrap();
    let mut change = Change::new(view.head.revision, head);
    change.nodes = nodes;
    change.put = rows;
    block_on(bench.inventory.commit(&change)).unwrap();

    let moody = Moody::new(&bench);
    let ring = block_on(bench.builder_on(Arc::new(moody.clone())).open()).unwrap();
    let sealer = ring.sealer().build().unwrap();
    for number in [0, 1, 2, 0, 1, 2] {
        let sealed = seal(&sealer, &tenant(number));
        assert!(open(&sealer, &sealed, &tenant(number)).is_ok());
    }
    for _ in 0..10 {
        bench.runtime.advance(Duration::from_millis(250));
        block_on(ring.refresh()).unwrap();
    }
    assert_eq!(ring.status().unwrap().scopes, 3);
    assert_eq!(moody.rows.load(Ordering::SeqCst), 3);
    // To open, one for each scope, and the revision ten times.
    assert_eq!(moody.reads.load(Ordering::SeqCst), 1 + 3 + 10);
}

#[test]
fn a_change_of_one_scope_lets_few_others_be_read_again() {
    const SCOPES: usize = 200;
    let bench = Bench::new();
    let mut keys = fill(&bench, SCOPES);
    let moody = Moody::new(&bench);
    let ring = block_on(bench.builder_on(Arc::new(moody.clone())).open()).unwrap();
    let sealer = uncached(&ring);
    for number in 0..SCOPES {
        seal(&sealer, &tenant(number));
    }
    let change = |key: &mut KeyRecord| {
        key.revision += 1;
        key.labels.insert("turn".to_owned(), key.revision.to_string());
        bench.put(&[key]);
        let (rows, reads) = (
            moody.rows.load(Ordering::SeqCst),
            moody.reads.load(Ordering::SeqCst),
        );
        block_on(ring.refresh()).unwrap();
        (
            moody.rows.load(Ordering::SeqCst) - rows,
            moody.reads.load(Ordering::SeqCst) - reads,
        )
    };
    // The first time nothing is known of the tree.
    assert_eq!(change(&mut keys[0]).0, SCOPES);
    for number in [0, 7, 7, 199] {
        let (rows, reads) = change(&mut keys[number]);
        // Those of one bucket of 4,096.
        assert!((1..=3).contains(&rows), "{rows}");
        // The revision, the head, three levels, and the scopes.
        assert!(reads <= 6, "{reads}");
    }
    // All of them are known to be current.
    for _ in 0..12 {
        bench.runtime.advance(Duration::from_secs(10));
        block_on(ring.refresh()).unwrap();
    }
    let rows = moody.rows.load(Ordering::SeqCst);
    for number in 0..SCOPES {
        seal(&sealer, &tenant(number));
    }
    assert_eq!(moody.rows.load(Ordering::SeqCst), rows);
}

#[test]
fn whatever_changes_every_scope_is_used_as_it_is() {
    const SCOPES: usize = 60;
    let bench = Bench::new();
    let mut keys = fill(&bench, SCOPES);
    let ring = bench.open();
    let sealer = uncached(&ring);
    let sealed: Vec<_> = (0..SCOPES).map(|number| seal(&sealer, &tenant(number))).collect();
    // In an order that is always the same, and jumps.
    let mut at = 7;
    for round in 0..40 {
        at = (at * 29 + 13) % SCOPES;
        let key = &mut keys[at];
        match (round % 4, key.state) {
            // It comes and goes between two looks.
            (3, _) => {
                let fake = bench.fake("shared");
                let extra = bench.key(key.scope.as_str(), &fake);
                let mut extra = bench.went(extra, &[State::Pending]);
                extra.slot = "extra".parse().unwrap();
                bench.put(&[&extra]);
                seal_anew(&bench, &ring, at);
                let trust = bench.trust();
                let scope = extra.scope.clone();
                block_on(
                    bench
                        .pen(&trust)
                        .change(&[scope], |_, draft| draft.delete(&extra)),
                )
                .unwrap();
            }
            (_, State::Active) => {
                bench.go(key, State::Compromised);
                bench.put(&[key]);
            }
            _ => {}
        }
        block_on(ring.refresh()).unwrap();
        for (number, sealed) in sealed.iter().enumerate() {
            let opened = open(&sealer, sealed, &tenant(number));
            match keys[number].state {
                State::Active => assert_eq!(opened.unwrap(), b"hello", "{round} {number}"),
                _ => assert_eq!(kind(opened), ErrorKind::KeyRevoked, "{round} {number}"),
            }
        }
    }
}

/// Reads one scope anew, at a revision of its own.
fn seal_anew(bench: &Bench, ring: &KeyRing, number: usize) {
    bench.runtime.advance(Duration::from_secs(60));
    let _ = block_on(uncached(ring).seal(b"", &context(&tenant(number))));
}
