//! Receipts: who has signed them, and what they say of a key.

use super::*;

#[test]
fn a_receipt_of_another_ring_or_changed_or_of_anybody_is_refused() {
    let ring = Ring::new();
    ring.key("/", OLD, DEPRECATED);
    let receipt = ring.census(|census| census.add_all([("a", envelope(1, &[OLD]))]));
    let view = ring.view();
    let kind = |receipt: &CensusReceipt, view: &View| receipt.verify(view).unwrap_err().kind();
    let read = CensusReceipt::from_bytes(receipt.as_bytes()).unwrap();
    assert_eq!(read, receipt);
    read.verify(&view).unwrap();
    // With and without its line end it is the same receipt.
    let line = receipt.as_bytes().strip_suffix(b"\n").unwrap();
    assert_eq!(
        CensusReceipt::from_bytes(line).unwrap().digest(),
        receipt.digest()
    );

    assert_eq!(kind(&receipt, &Ring::new().view()), ErrorKind::InventoryInvalid);
    let text = String::from_utf8(receipt.as_bytes().to_vec()).unwrap();
    let changes = [
        text.replace("\"items\":1", "\"items\":0"),
        text.replace("\"whole\":true", "\"whole\":true "),
        text.replace("\"actor\":\"test\"", "\"actor\":\"tess\""),
        text.replace("/data", "/date"),
    ];
    for changed in changes {
        assert_ne!(changed, text);
        let changed = CensusReceipt::from_bytes(changed.as_bytes()).unwrap();
        assert_eq!(kind(&changed, &view), ErrorKind::InventoryInvalid);
    }
    // Whatever one byte becomes: it is no receipt anymore, or does not verify.
    for index in 0..line.len() {
        let mut changed = line.to_vec();
        changed[index] ^= 1;
        if let Ok(changed) = CensusReceipt::from_bytes(&changed) {
            assert_eq!(kind(&changed, &view), ErrorKind::InventoryInvalid, "byte {index}");
        }
    }
    let value: serde_json::Value = serde_json::from_slice(receipt.as_bytes()).unwrap();
    let formatted = serde_json::to_vec_pretty(&value).unwrap();
    let error = CensusReceipt::from_bytes(&formatted).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let newer = text.replace("\"schema\":1", "\"schema\":2");
    let error = CensusReceipt::from_bytes(newer.as_bytes()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");

    let anybody = Authority::generate().unwrap();
    assert_eq!(ring.begin(&anybody).unwrap_err().kind(), ErrorKind::Configuration);
    let forged = ring.begin(&ring.census_key).unwrap();
    let mut body = forged.into_body(view.changed());
    body.actor = "anybody".to_owned();
    let forged = CensusReceipt::sign(body, &anybody).unwrap();
    assert_eq!(kind(&forged, &view), ErrorKind::InventoryInvalid);
    // The authority itself may sign.
    let census = ring.begin(&ring.authority).unwrap();
    let receipt = census.finish().unwrap();
    receipt.verify(&view).unwrap();
}

#[test]
fn a_receipt_of_a_later_revision_than_the_ring_shows_an_older_state() {
    let ring = Ring::new();
    let before = ring.view();
    ring.key("/", OLD, DEPRECATED);
    let receipt = ring.census(|_| ());
    let error = receipt.verify(&before).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
    assert!(error.to_string().contains("older state"), "{error}");
}

#[test]
fn a_receipt_says_what_it_does_not_cover() {
    let ring = Ring::new();
    let receipt = ring.census(|_| ());
    assert_eq!(receipt.not_covered(), ["backups", "branch-keys", "dek-stores"]);
    let covers = vec![Covered::BranchKeys, Covered::DekStore("deks".into())];
    let begin = || pollster::block_on(Census::begin(&ring.reader, &ring.census_key, "t", covers.clone()));
    // Even who may sign cannot leave it out.
    let census = begin().unwrap();
    let at = census.view().changed();
    let mut body = census.into_body(at);
    body.not_covered = Vec::new();
    let silent = CensusReceipt::sign(body, &ring.census_key).unwrap();
    assert_eq!(
        silent.verify(&ring.view()).unwrap_err().kind(),
        ErrorKind::InventoryInvalid
    );
    let receipt = begin().unwrap().finish().unwrap();
    assert_eq!(receipt.not_covered(), ["backups"]);
    let counted: Vec<_> = covers
        .into_iter()
        .map(|place| PlaceCount::new(place, 0))
        .collect();
    assert_eq!(receipt.covers(), counted);
}

#[test]
fn what_a_receipt_says_of_a_key_is_evidence() {
    let ring = Ring::new();
    let old = ring.key("/", OLD, DEPRECATED);
    let receipt = ring.census(|census| {
        census.add_all([
            ("lost", envelope(1, &[OLD])),
            ("twice", envelope(1, &[OLD, ("gcp-kms", "x", "")])),
            ("hidden", envelope(1, &[("vault-transit", "", "")])),
        ]);
        census.fail("gone", "not found");
    });
    let view = ring.view();
    let key = view.key(old).unwrap();
    let evidence = receipt.verify(&view).unwrap().about(key).unwrap();
    assert_eq!(evidence.key, old);
    assert_eq!(
        (evidence.sole, evidence.shared, evidence.unknown, evidence.failed),
        (2, 0, 1, 1)
    );
    assert_eq!(evidence.left(), 4);
    assert!(!evidence.whole);
    assert_eq!(evidence.began, receipt.started());
    assert_eq!(evidence.digest, receipt.digest());
    assert_eq!(evidence.seen, ["lost", "twice", "hidden", "gone: not found"]);
}

#[test]
fn lists_have_bounds_and_what_is_over_them_still_counts() {
    let ring = Ring::new();
    let aws = ring.key("/", AWS, DEPRECATED);
    let name = "x".repeat(5000);
    let receipt = ring.census(|census| {
        for _ in 0..1500 {
            census.fail(&name, "gone");
        }
        for index in 0..10_100 {
            let id = format!("arn:{index}");
            census.add_all([(&name, envelope(1, &[("aws-kms", &id, "")]))]);
        }
    });
    assert_eq!((receipt.failed_items(), receipt.failed().len()), (1500, 1000));
    assert!(receipt.failed().iter().all(|failed| failed.item.len() == 1024));
    assert_eq!(receipt.unknown().len(), 10_001);
    let view = ring.view();
    let found = receipt.verify(&view).unwrap().finds(view.key(aws).unwrap());
    // 100 KEKs had no place, and may be any of this provider.
    assert_eq!(found.unknown, 100);
}

#[test]
fn the_json_has_the_documented_fields() {
    let ring = Ring::new();
    ring.key("/", OLD, DEPRECATED);
    let receipt = ring.census(|census| {
        census.add_all([("a", envelope(1, &[OLD, ("gcp-kms", "x", "")]))]);
        census.fail("b", "why");
    });
    let json: serde_json::Value = serde_json::from_slice(receipt.as_bytes()).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["whole"], false);
    let fields =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let mut names = fields(&json);
    names.sort();
    let mut expected = [
        "schema",
        "ring",
        "revision",
        "head",
        "actor",
        "whole",
        "started",
        "finished",
        "items",
        "bytes",
        "foreign",
        "covers",
        "not_covered",
        "keys",
        "unknown",
        "failed",
        "failed_items",
        "signature",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    let mut names = fields(&json["keys"][0]);
    names.sort();
    assert_eq!(names, ["bytes", "items", "kek", "key", "seen", "sole"]);
    let mut names = fields(&json["unknown"][0]);
    names.sort();
    assert_eq!(names, ["bytes", "items", "kek", "seen"]);
    assert_eq!(fields(&json["failed"][0]).len(), 2);
    assert_eq!(json["keys"][0]["kek"]["version"], "1");
    assert_eq!(json["covers"][0]["kind"], "files");
    json["started"].as_str().unwrap().parse::<Time>().unwrap();
}

/// A key of another scope is the same KEK, and the census did not know it yet: what is under the KEK is under it.
#[test]
fn evidence_is_about_the_kek_whichever_of_its_keys_the_census_knew() {
    let ring = Ring::new();
    let first = ring.key("a", AWS, RETIRED);
    let receipt = ring.census(|census| {
        census.add_all([("one", envelope(1, &[AWS])), ("two", envelope(1, &[AWS]))]);
    });
    let second = ring.key("b", AWS, RETIRED);
    let other = ring.key("b", OLD, RETIRED);
    let view = ring.view();
    let verified = receipt.verify(&view).unwrap();
    for key in [first, second] {
        let evidence = verified.about(view.key(key).unwrap()).unwrap();
        assert_eq!((evidence.key, evidence.sole, evidence.left()), (key, 2, 2));
        assert_eq!(evidence.seen, ["one", "two"]);
    }
    assert_eq!(verified.about(view.key(other).unwrap()).unwrap().left(), 0);
    // The whole KEK is all of its versions, and one version is no other.
    let whole = ring.key("c", (OLD.0, OLD.1, ""), RETIRED);
    let receipt = ring.census(|census| {
        census.add_all([("old", envelope(1, &[OLD]))]);
    });
    let new = ring.key("d", NEW, RETIRED);
    let view = ring.view();
    let verified = receipt.verify(&view).unwrap();
    let left = |key| verified.about(view.key(key).unwrap()).unwrap().left();
    assert_eq!((left(whole), left(other), left(new)), (1, 1, 0));
}

/// A PKCS#11 key without `CKA_ID` is one version: what is under the others is not under it.
#[test]
fn a_version_without_a_name_is_not_the_whole_kek() {
    let ring = Ring::new();
    let (nameless, named) = (("pkcs11", "label", ""), ("pkcs11", "label", "01"));
    let first = ring.key_of("/", nameless, RETIRED, true);
    let second = ring.key("/", named, ACTIVE);
    let receipt = ring.census(|census| {
        census.add_all([
            ("named", envelope(1, &[named])),
            ("named too", envelope(1, &[named])),
            ("nameless", envelope(1, &[nameless])),
        ]);
    });
    assert_eq!(counts(&receipt, first), (1, 1));
    assert_eq!(counts(&receipt, second), (2, 2));
    let view = ring.view();
    let verified = receipt.verify(&view).unwrap();
    assert_eq!(verified.finds(view.key(first).unwrap()).items, 1);
    assert_eq!(verified.finds(view.key(second).unwrap()).items, 2);
    let (first, second) = (
        &view.key(first).unwrap().provenance,
        &view.key(second).unwrap().provenance,
    );
    assert!(!first.overlaps(second) && !first.is_whole());
    let whole = Provenance {
        nameless: false,
        ..first.clone()
    };
    assert!(whole.covers(second) && whole.covers(first) && !second.covers(&whole));
    assert!(second.overlaps(&whole));
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_of_a_receipt_say_what_lies_under_keys_in_each_state() {
    use crate::metrics::{of_receipt, tests::Book};
    let ring = Ring::new();
    ring.key("/", OLD, DEPRECATED);
    ring.key("/", NEW, ACTIVE);
    ring.key("tenant/x", AWS, DEPRECATED);
    let items = [
        envelope(1, &[OLD]),
        envelope(1, &[OLD, NEW]),
        envelope(1, &[("fake", "stranger", "")]),
        envelope(1, &[AWS]),
    ];
    let receipt = ring.census(|census| {
        for (index, item) in items.iter().enumerate() {
            census.add(&index.to_string(), &item[..], item.len() as u64);
        }
    });
    let view = ring.view();
    let verified = receipt.verify(&view).unwrap();
    let later = receipt
        .finished()
        .saturating_add(std::time::Duration::from_secs(60));
    let published = Book::of(|| of_receipt(&verified, &view, later));
    let of = |name: &str, state: &str| published[&format!("waxseal_census_{name} state={state}")];
    let states = ["deprecated", "active", "unknown", "retired"];
    assert_eq!(states.map(|state| of("items", state)), [3.0, 1.0, 1.0, 0.0]);
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let lengths = items.each_ref().map(|item| item.len() as f64);
    let deprecated = lengths[0] + lengths[1] + lengths[3];
    let expected = [deprecated, lengths[1], lengths[2], 0.0];
    assert_eq!(states.map(|state| of("bytes", state)), expected);
    assert!((published["waxseal_census_age_seconds"] - 60.0).abs() < 0.001);
}

#[test]
fn a_key_has_its_own_counts_and_moves_look_at_the_whole_kek() {
    let ring = Ring::new();
    let first = ring.key("a", OLD, DEPRECATED);
    ring.key("a", NEW, ACTIVE);
    let second = ring.key("b", OLD, ACTIVE);
    let items = [envelope(1, &[OLD]), envelope(1, &[OLD, NEW])];
    let receipt = ring.census(|census| census.add_all([("one", &items[0]), ("two", &items[1])]));
    // Made after the census, of the same KEK.
    let late = ring.key("c", OLD, ACTIVE);
    let view = ring.view();
    let verified = receipt.verify(&view).unwrap();
    let key = |id| view.key(id).unwrap();
    let total = |id| {
        let total = Total::of(&[verified], key(id));
        (total.items, total.sole, total.unknown)
    };
    // In the scope of the first key another one opens the second envelope, too.
    assert_eq!((total(first), total(second)), ((2, 1, 0), (2, 2, 0)));
    assert_eq!(total(late), (0, 0, 2));
    for id in [first, second, late] {
        assert_eq!(verified.finds(key(id)).sole, 2);
    }
    let bytes: u64 = items.iter().map(|item| item.len() as u64).sum();
    assert_eq!(Total::of(&[verified], key(first)).bytes, bytes);
}

#[test]
fn branch_keys_are_no_envelopes() {
    let count = |branches: u64, branch_bytes: u64| super::receipt::KeyCount {
        key: RecordId::new("2026-01-01T00:00:00Z".parse().unwrap()).unwrap(),
        kek: super::receipt::NamedKek::new("local", "kek", ""),
        items: 3,
        sole: 3,
        bytes: 500,
        branches,
        branch_bytes,
        seen: Vec::new(),
    };
    // A receipt of a ring without branch keys does not name them.
    let written = |count: &super::receipt::KeyCount| serde_json::to_string(count).unwrap();
    assert!(!written(&count(0, 0)).contains("branch"));
    let with = written(&count(1, 96));
    assert!(with.contains("\"branches\":1,\"branch_bytes\":96"), "{with}");
}

#[cfg(feature = "metrics")]
#[test]
fn what_is_not_due_anymore_is_late_no_more() {
    use crate::metrics::{of_view, tests::Book};
    let ring = Ring::new();
    let (active, left) = (ring.key("a", OLD, ACTIVE), ring.key("b", NEW, DEPRECATED));
    for (id, scope) in [(active, "a"), (left, "b")] {
        let record = ring.view().key(id).unwrap().clone();
        ring.change(&scope.parse().unwrap(), |at| {
            let mut key = KeyRecord::clone(&record);
            key.next_rotation = Some(at);
            key.retirement_due = Some(at);
            key
        });
    }
    let later = ring
        .view()
        .changed()
        .saturating_add(std::time::Duration::from_secs(90));
    let names = ["waxseal_rotation_due_seconds", "waxseal_retirement_due_seconds"];
    let late = Book::of(|| of_view(&ring.view(), later));
    assert!(names.iter().all(|name| late[*name] <= -90.0), "{late:?}");
    let over = Book::of(|| {
        of_view(&ring.view(), later);
        of_view(&Ring::new().view(), later);
    });
    assert_eq!(names.map(|name| over[name]), [f64::INFINITY; 2]);
}
