//! Tests of censuses, receipts and what follows from them.

mod receipts;
#[cfg(feature = "fleet")]
mod stored;

use std::io::{self, Read};

use super::*;
use crate::backend::local::LocalKey;
use crate::blocking::Sealer;
use crate::envelope::{Header, KekRef, WrapAlgorithm};
use crate::ring::EvidenceSource;
use crate::ring::draft::Pen;
use crate::ring::inventory::{Inventory, MemoryInventory};
use crate::ring::record::{Move, Settings};
use crate::ring::{
    Authority, KeyRecord, Period, Protection, Provenance, Reader, RecordId, Scope, Slot, State, Time, Trust,
};
use crate::ring::{View, draft};
use crate::value::error::{ErrorKind, Result};
use crate::{EncryptionContext, Kek};

/// A ring in memory with keys in any state.
struct Ring {
    reader: Reader,
    authority: Authority,
    census_key: Authority,
}

impl Ring {
    fn new() -> Self {
        let inventory = MemoryInventory::new();
        let (authority, census_key) = (Authority::generate().unwrap(), Authority::generate().unwrap());
        let now = pollster::block_on(inventory.now()).unwrap();
        let id = RecordId::new(now).unwrap();
        let mut settings = Settings::new(id, authority.public()).unwrap();
        settings.census_keys = vec![census_key.public()];
        let change = draft::first(&settings, &authority, now, "test").unwrap();
        pollster::block_on(inventory.commit(&change)).unwrap();
        let trust = Trust::new(id, authority.public());
        Self {
            reader: Reader::new(trust, std::sync::Arc::new(inventory)),
            authority,
            census_key,
        }
    }

    /// Adds a key that has gone through these states.
    fn key(&self, scope: &str, kek: (&str, &str, &str), states: &[State]) -> RecordId {
        self.key_of(scope, kek, states, false)
    }

    /// The same, of a backend that tells versions apart, or of one that does not.
    fn key_of(&self, scope: &str, kek: (&str, &str, &str), states: &[State], has_versions: bool) -> RecordId {
        let scope: Scope = scope.parse().unwrap();
        let kek = KekRef::new(kek.0, kek.1, kek.2).unwrap();
        let provenance = Provenance::new("file:/k", &kek)
            .unwrap()
            .one_version(has_versions);
        self.change(&scope.clone(), |at| {
            let id = RecordId::new(at).unwrap();
            let periods = (Period::zero(), Period::zero());
            let protection = Protection::Unknown;
            let algorithm = WrapAlgorithm::from_id(1);
            let mut key = KeyRecord::new(
                id,
                scope.clone(),
                Slot::default(),
                provenance.clone(),
                algorithm,
                protection,
                periods,
                at,
            );
            let mut from = None;
            for state in states {
                let entry = Move {
                    at,
                    revision: 1,
                    from,
                    to: *state,
                    actor: "test".into(),
                    reason: String::new(),
                    evidence: None,
                    ticket: None,
                    approver: None,
                };
                key.record_move(entry).unwrap();
                from = Some(*state);
                key.state = *state;
            }
            key.revision = 1;
            key
        })
    }

    fn change(&self, scope: &Scope, make: impl Fn(Time) -> KeyRecord + Send + Sync) -> RecordId {
        let pen = Pen {
            trust: self.reader.trust(),
            inventory: &**self.reader.inventory(),
            authority: &self.authority,
            next: None,
            actor: "test",
            runtime: &crate::runtime::AmbientRuntime,
            witness: None,
            tolerance: std::time::Duration::ZERO,
        };
        let change = pen.change(std::slice::from_ref(scope), |_, draft| {
            let key = make(draft.at());
            draft.put(&key)?;
            Ok(key.id)
        });
        pollster::block_on(change).unwrap()
    }

    fn view(&self) -> View {
        let scopes = pollster::block_on(self.reader.listed()).unwrap();
        pollster::block_on(self.reader.scopes(&scopes)).unwrap()
    }

    fn begin<'a>(&'a self, signer: &'a Authority) -> Result<Census<'a>> {
        let covers = vec![Covered::Files("/data".into())];
        pollster::block_on(Census::begin(&self.reader, signer, "test", covers))
    }

    fn census(&self, add: impl FnOnce(&mut Census<'_>)) -> CensusReceipt {
        let mut census = self.begin(&self.census_key).unwrap();
        add(&mut census);
        census.finish().unwrap()
    }
}

/// An envelope with stanzas under these KEKs, of which so many must open.
fn envelope(threshold: u8, keks: &[(&str, &str, &str)]) -> Vec<u8> {
    static BODY: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let body = BODY.get_or_init(|| {
        let sealer = Sealer::new(LocalKey::new(&Kek::from_bytes(&[1; 32])));
        let sealed = sealer.seal(b"payload", &EncryptionContext::empty()).unwrap();
        sealed[Header::parse(&sealed).unwrap().body_offset()..].to_vec()
    });
    let mut section = vec![threshold, u8::try_from(keks.len()).unwrap()];
    for (index, (provider, id, version)) in keks.iter().enumerate() {
        let share = if threshold == 1 {
            0
        } else {
            u8::try_from(index + 1).unwrap()
        };
        section.extend([224, share, u8::try_from(provider.len()).unwrap()]);
        section.extend(provider.as_bytes());
        section.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
        section.extend(id.as_bytes());
        section.push(u8::try_from(version.len()).unwrap());
        section.extend(version.as_bytes());
        section.extend([0, 4, 1, 2, 3, 4]);
    }
    let mut out = b"WAX\x01\x01".to_vec();
    out.extend(&u32::try_from(section.len()).unwrap().to_be_bytes()[1..]);
    out.extend(section);
    out.extend(body);
    Header::parse(&out).unwrap();
    out
}

const OLD: (&str, &str, &str) = ("vault-transit", "transit/app", "1");
const NEW: (&str, &str, &str) = ("vault-transit", "transit/app", "2");
const AWS: (&str, &str, &str) = ("aws-kms", "arn:aws:kms:eu-central-1:1:key/a", "");
const RETIRED: &[State] = &[State::Pending, State::Active, State::Deprecated, State::Retired];
const DEPRECATED: &[State] = &[State::Pending, State::Active, State::Deprecated];
const ACTIVE: &[State] = &[State::Pending, State::Active];

fn counts(receipt: &CensusReceipt, key: RecordId) -> (u64, u64) {
    let count = receipt.keys().iter().find(|count| count.key == key).unwrap();
    (count.items, count.sole)
}

#[test]
fn sole_is_what_no_other_key_of_the_scope_would_open() {
    let ring = Ring::new();
    let old = ring.key("/", OLD, DEPRECATED);
    let new = ring.key("/", NEW, ACTIVE);
    let retired = ring.key("/", ("pkcs11", "token", "1"), RETIRED);
    let elsewhere = ring.key("tenant/x", AWS, ACTIVE);
    let receipt = ring.census(|census| {
        census.add_all([
            ("only old", envelope(1, &[OLD])),
            ("both", envelope(1, &[OLD, NEW])),
            // Two wraps under one key are one item.
            ("twice", envelope(1, &[NEW, NEW])),
            ("old and retired", envelope(1, &[OLD, ("pkcs11", "token", "1")])),
            ("old and another scope's", envelope(1, &[OLD, AWS])),
            ("old and unknown", envelope(1, &[OLD, ("gcp-kms", "x", "")])),
            ("two of two", envelope(2, &[OLD, NEW])),
            ("two of three", envelope(2, &[OLD, NEW, ("pkcs11", "token", "1")])),
        ]);
    });
    // Without old: all but "both" are lost, which new opens.
    assert_eq!(counts(&receipt, old), (7, 6));
    // Without new: "twice", "two of two" and "two of three".
    assert_eq!(counts(&receipt, new), (4, 3));
    // Nothing is under it that the others do not open.
    assert_eq!(counts(&receipt, retired), (2, 0));
    // No key of its scope opens the one envelope that may be its.
    assert_eq!(counts(&receipt, elsewhere), (1, 1));
    assert_eq!(receipt.items(), 8);
    assert_eq!(receipt.unknown().len(), 1);
    assert!(receipt.is_whole());
    let view = ring.view();
    let found = receipt.verify(&view).unwrap().finds(view.key(old).unwrap());
    assert_eq!((found.items, found.sole, found.unknown), (7, 6, 0));
    assert_eq!(found.seen.first().map(String::as_str), Some("only old"));
}

#[test]
fn unknown_is_never_zero_and_a_hidden_id_counts_against_every_key_of_its_provider() {
    let ring = Ring::new();
    let old = ring.key("/", OLD, DEPRECATED);
    let new = ring.key("/", NEW, ACTIVE);
    let aws = ring.key("tenant/x", AWS, DEPRECATED);
    let receipt = ring.census(|census| {
        census.add_all([
            ("hidden", envelope(1, &[("vault-transit", "", "")])),
            (
                "another version",
                envelope(1, &[("vault-transit", "transit/app", "7")]),
            ),
            ("no version", envelope(1, &[("vault-transit", "transit/app", "")])),
            (
                "another key",
                envelope(1, &[("vault-transit", "transit/other", "1")]),
            ),
            // Google and AWS do not prove versions: the ring's key is all of them.
            ("any version", envelope(1, &[(AWS.0, AWS.1, "9")])),
        ]);
    });
    assert_eq!(receipt.unknown().len(), 4);
    assert!(
        receipt
            .unknown()
            .iter()
            .all(|count| count.items == 1 && count.bytes > 0)
    );
    let view = ring.view();
    let evidence = receipt.verify(&view).unwrap();
    let unknown = |id| evidence.finds(view.key(id).unwrap()).unknown;
    assert_eq!((unknown(old), unknown(new), unknown(aws)), (2, 2, 0));
    assert_eq!(counts(&receipt, aws), (1, 1));
    // A key that came into the ring after the census is found by its KEK.
    let late = ring.key("late", ("vault-transit", "transit/other", "1"), DEPRECATED);
    let view = ring.view();
    let found = receipt.verify(&view).unwrap().finds(view.key(late).unwrap());
    assert_eq!(found.unknown, 2);
}

#[test]
fn replicas_of_one_key_are_that_key() {
    let ring = Ring::new();
    let key = ring.key(
        "/",
        ("aws-kms", "arn:aws:kms:eu-central-1:1:key/mrk-a", ""),
        DEPRECATED,
    );
    let replica = ("aws-kms", "arn:aws:kms:us-east-1:1:key/mrk-a", "");
    let receipt = ring.census(|census| census.add_all([("replica", envelope(1, &[replica]))]));
    assert_eq!(counts(&receipt, key), (1, 1));
    assert!(receipt.unknown().is_empty());
}

/// Fails after so many bytes.
struct Breaking(usize);

impl Read for Breaking {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let front = envelope(1, &[OLD]);
        let rest = front.get(self.0..self.0 + 4).filter(|_| self.0 < 8);
        let rest = rest.ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut))?;
        out[..4].copy_from_slice(rest);
        self.0 += 4;
        Ok(4)
    }
}

#[test]
fn what_may_be_an_envelope_and_cannot_be_read_makes_the_receipt_not_whole() {
    let ring = Ring::new();
    let whole = envelope(1, &[OLD]);
    let mut later = whole.clone();
    later[3] = 2;
    let mut detached = b"WAX\x01\x02\x00\x00\x10".to_vec();
    detached.extend([7; 16]);
    detached.extend(&whole[Header::parse(&whole).unwrap().body_offset()..]);
    let may_be: [(&str, &[u8]); 9] = [
        ("cut off", &whole[..40]),
        ("one byte", b"W"),
        ("a later version", &later),
        ("detached", &detached),
        ("base64", b"V0FYAQEAAAA="),
        ("hex", b"5741580101"),
        ("bytea", b"\\x5741580101"),
        ("an unknown kind", b"WAX\x01\x09\0\0\0"),
        ("a wrap section without end", b"WAX\x01\x01\xff\xff\xff"),
    ];
    for (name, bytes) in may_be {
        let receipt = ring.census(|census| census.add(name, bytes, bytes.len() as u64));
        assert!(!receipt.is_whole(), "{name}");
        assert_eq!(receipt.failed()[0].item, name);
        assert_eq!(
            (receipt.failed_items(), receipt.items(), receipt.foreign()),
            (1, 0, 0)
        );
    }
    let receipt = ring.census(|census| census.add("broken", Breaking(0), 4));
    assert!(!receipt.is_whole());
    let receipt = ring.census(|census| {
        for bytes in [b"".as_slice(), b"{}", b"wax", b"V0FZ"] {
            census.add("foreign", bytes, 1);
        }
        census.skip();
    });
    assert!(receipt.is_whole());
    assert_eq!((receipt.foreign(), receipt.items()), (5, 0));
}

/// Ends the test if more is read than a header needs.
struct Front(io::Cursor<Vec<u8>>);

impl Read for Front {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 => panic!("the census read beyond the header"),
            count => Ok(count),
        }
    }
}

#[test]
fn only_the_header_is_read() {
    let ring = Ring::new();
    let key = ring.key("/", OLD, DEPRECATED);
    let sealed = envelope(1, &[OLD]);
    let header = sealed[..Header::parse(&sealed).unwrap().len()].to_vec();
    let receipt = ring.census(|census| census.add("large", Front(io::Cursor::new(header)), 1 << 40));
    assert_eq!(counts(&receipt, key), (1, 1));
    assert_eq!(receipt.bytes(), 1 << 40);
}

/// The columns of tables, dumps and documents that hold envelopes are no foreign items.
#[test]
fn an_envelope_inside_of_something_else_makes_the_receipt_not_whole() {
    let ring = Ring::new();
    let sealed = envelope(1, &[OLD]);
    let hidden = [
        ("a prefix", [b"v1:".as_slice(), &sealed].concat()),
        (
            "at the end of what is looked at",
            [vec![0; 4091], sealed.clone()].concat(),
        ),
        (
            "json",
            serde_json::to_vec(&serde_json::json!({ "id": 7, "value": sealed })).unwrap(),
        ),
    ];
    for (name, bytes) in hidden {
        let receipt = ring.census(|census| census.add(name, bytes.as_slice(), bytes.len() as u64));
        assert_eq!((receipt.failed_items(), receipt.foreign()), (1, 0), "{name}");
        assert!(
            receipt.failed()[0].reason.contains("seems to hold an envelope"),
            "{name}"
        );
        assert!(!receipt.is_whole());
    }
    // What lies deeper is not looked for.
    let deep = [vec![0; 4092], sealed].concat();
    let receipt = ring.census(|census| census.add("deep", deep.as_slice(), 1));
    assert_eq!((receipt.foreign(), receipt.is_whole()), (1, true));
    // An item that breaks off while it is looked at was not read.
    struct BreaksLate(usize);
    impl Read for BreaksLate {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0 > 100 {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            let count = out.len().min(50);
            self.0 += count;
            out[..count].fill(b'.');
            Ok(count)
        }
    }
    let receipt = ring.census(|census| census.add("broken", BreaksLate(0), 1));
    assert_eq!((receipt.failed_items(), receipt.foreign()), (1, 0));
}

/// A disk that is not mounted, or a query of the wrong table, must not hide behind another place.
#[test]
fn each_place_has_a_count_of_its_own_and_so_has_what_is_demanded_below_one() {
    let ring = Ring::new();
    ring.key("/", OLD, DEPRECATED);
    let place = |text: &str| text.parse::<Covered>().unwrap();
    let demanded = [
        "files:/srv/data",
        "files:/mnt/disk",
        "store:a",
        "files:/elsewhere",
    ]
    .map(place);
    let set = crate::ring::set_settings(&ring.reader, &ring.authority, "test", |settings| {
        settings.must_cover = demanded.to_vec();
    });
    pollster::block_on(set).unwrap();
    let covers = ["files:/srv", "files:/mnt/disk", "store:a", "store:b"]
        .map(place)
        .to_vec();
    let mut census =
        pollster::block_on(Census::begin(&ring.reader, &ring.census_key, "test", covers)).unwrap();
    census.add_all([
        ("/srv/data/1", envelope(1, &[OLD])),
        ("/srv/data/2", envelope(1, &[OLD])),
        ("/srv/database", envelope(1, &[OLD])),
        ("of no place", envelope(1, &[OLD])),
    ]);
    census.scanning(&place("store:b")).unwrap();
    census.add_all([("7", envelope(1, &[OLD])), ("8", b"foreign".to_vec())]);
    let error = census.scanning(&place("store:c")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let receipt = census.finish().unwrap();
    let counted: Vec<_> = receipt
        .covers()
        .iter()
        .map(|covered| (covered.place.to_string(), covered.items))
        .collect();
    let expected = [
        ("files:/srv", 3),
        ("files:/mnt/disk", 0),
        ("store:a", 0),
        ("store:b", 1),
        ("files:/srv/data", 2),
    ];
    assert_eq!(counted, expected.map(|(place, items)| (place.to_owned(), items)));
    assert_eq!(receipt.items(), 5);
    let read = CensusReceipt::from_bytes(receipt.as_bytes()).unwrap();
    read.verify(&ring.view()).unwrap();
    assert_eq!(read, receipt);
    assert_eq!(read.mark().unwrap(), ring.view().mark());
    // One place needs no word, whatever its items are called.
    let receipt = ring.census(|census| census.add_all([("a", envelope(1, &[OLD]))]));
    assert_eq!(receipt.covers()[0].items, 1);
    // More than were counted at all.
    let census = ring.begin(&ring.census_key).unwrap();
    let at = census.view().changed();
    let mut body = census.into_body(at);
    body.covers[0].items = 1;
    let lying = CensusReceipt::sign(body, &ring.census_key).unwrap();
    assert_eq!(
        lying.verify(&ring.view()).unwrap_err().kind(),
        ErrorKind::InventoryInvalid
    );
}

#[test]
fn what_is_covered_has_a_name_that_can_be_compared() {
    let ring = Ring::new();
    for covers in [
        vec![],
        vec![Covered::Files("data".into())],
        vec![Covered::Files("/srv/../data".into())],
        vec![Covered::Store(String::new())],
        vec![Covered::DekStore("x".repeat(1025))],
    ] {
        let begun = pollster::block_on(Census::begin(&ring.reader, &ring.census_key, "test", covers));
        assert_eq!(begun.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
