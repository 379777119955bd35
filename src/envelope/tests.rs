//! The codec: which field it says is wrong, where, and that it agrees with itself on every prefix.

use super::*;
use crate::value::context::EncryptionContext;

/// Offsets in [`envelope`]: two stanzas, two bytes of padding, a stored context, one chunk.
const SECTION: usize = 8;
const STANZA: usize = 10;
const SECOND: usize = STANZA + 2 + 6 + 3 + 2 + 5;
const PADDING: usize = SECOND + 2 + 2 + 2 + 1 + 3;
const BODY: usize = PADDING + 2;
const STORED: usize = BODY + 64;
const CHUNKS: usize = STORED + 2 + 8;

fn stanza(algorithm: u8, share: u8, names: [&str; 3], wrapped: &[u8]) -> Vec<u8> {
    let [provider, id, version] = names;
    let lv8 = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let lv16 = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    [
        vec![algorithm, share],
        lv8(provider),
        lv16(id.as_bytes()),
        lv8(version),
        lv16(wrapped),
    ]
    .concat()
}

fn section(threshold: u8, stanzas: &[Vec<u8>], padding: &[u8]) -> Vec<u8> {
    let count = u8::try_from(stanzas.len()).unwrap();
    [&[threshold, count], stanzas.concat().as_slice(), padding].concat()
}

fn around(section: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = section.len().to_be_bytes();
    let context = EncryptionContext::new([("a", "b")]).unwrap();
    let front = [b"WAX\x01\x01", &[a, b, c][..], section].concat();
    let body = [&[1, 10, 1, 0][..], &[7; 16], &[8; 32], &[9; 12]].concat();
    [front, body, vec![0, 8], context.canonical().to_vec(), vec![5; 20]].concat()
}

fn envelope() -> Vec<u8> {
    let first = stanza(1, 0, ["local", "k", "1"], b"abc");
    let second = stanza(224, 0, ["p", "", ""], b"d");
    around(&section(1, &[first, second], &[0, 0]))
}

fn with(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = envelope();
    bytes[at] = byte;
    bytes
}

fn kind_of(bytes: &[u8]) -> ErrorKind {
    Envelope::parse(bytes).unwrap_err().kind()
}

fn section_kind(bytes: &[u8]) -> Option<ErrorKind> {
    WrapSection::parse(bytes).err().map(|error| error.kind())
}

fn malformed(field: &'static str, offset: usize) -> ErrorKind {
    ErrorKind::Malformed { field, offset }
}

fn over(limit: limits::Limit) -> ErrorKind {
    limit.error().kind()
}

// spec: ENV-1
#[test]
fn what_is_an_envelope_and_what_only_begins_like_one() {
    use crate::backend::local::LocalKey;
    use crate::{EncryptionContext, Kek, blocking::Sealer};
    let sealer = Sealer::new(LocalKey::new(&Kek::generate().unwrap()));
    for len in [0, 1, 70_000] {
        let sealed = sealer.seal(&vec![7; len], &EncryptionContext::empty()).unwrap();
        assert!(Envelope::is_envelope(&sealed));
        let header = Envelope::parse(&sealed).unwrap().header().len();
        for end in (0..header + 16).chain([sealed.len() - 1].into_iter().filter(|_| len == 0)) {
            assert!(!Envelope::is_envelope(&sealed[..end]), "{end}");
        }
        let mut later = sealed.clone();
        later[3] = 2;
        assert!(later.starts_with(&Envelope::MAGIC) && !Envelope::is_envelope(&later));
    }
    for plaintext in [&b""[..], b"alice", b"WAX", b"WAX\x01", &[0; 300]] {
        assert!(!Envelope::is_envelope(plaintext));
    }
}

#[test]
fn every_field_is_where_the_format_has_it() {
    let bytes = envelope();
    let parsed = Envelope::parse(&bytes).unwrap();
    let header = parsed.header();
    assert_eq!((header.body_offset(), header.len()), (BODY, CHUNKS));
    assert_eq!(header.as_bytes(), &bytes[..CHUNKS]);
    assert_eq!(header.write().unwrap(), &bytes[..CHUNKS]);
    let wraps = header.wrap_section().unwrap();
    assert_eq!((wraps.threshold(), wraps.count(), wraps.padding()), (1, 2, 2));
    let stanzas: Vec<_> = wraps.stanzas().collect();
    assert_eq!(stanzas.len(), 2);
    assert_eq!(stanzas[0].algorithm, WrapAlgorithm::XAES_256_GCM);
    assert_eq!((stanzas[0].provider, stanzas[0].kek_id), ("local", "k"));
    assert_eq!((stanzas[0].kek_version, stanzas[0].wrapped), ("1", &b"abc"[..]));
    assert_eq!((stanzas[1].provider, stanzas[1].kek_id), ("p", ""));
    assert_eq!((header.body().session_id(), header.nonce()), (&[7; 16], &[9; 12]));
    assert_eq!(header.body().commitment(), &[8; 32]);
    assert_eq!(header.stored_context(), Some(&bytes[STORED + 2..CHUNKS]));
    assert_eq!((parsed.chunks(), parsed.plaintext_len()), (&[5; 20][..], 4));
}

// spec: ENV-6, ENV-7, ENV-9, ENV-10, WRAP-7
#[test]
fn an_error_names_the_field_and_its_offset() {
    for (at, byte, field, offset) in [
        (0, b'w', "magic", 0),
        (SECTION, 0, "threshold", SECTION),
        (SECTION, 3, "threshold", SECTION),
        (SECTION + 1, 0, "stanza count", SECTION + 1),
        (STANZA + 1, 1, "share index", STANZA + 1),
        (STANZA + 2, 0, "provider", STANZA + 2),
        (STANZA + 3, b'L', "provider", STANZA + 2),
        (STANZA + 10, 0x7f, "KEK id", STANZA + 8),
        (STANZA + 10, 0xff, "KEK id", STANZA + 8),
        (STANZA + 12, b'\n', "KEK version", STANZA + 11),
        (STANZA + 14, 0, "wrapped DEK", STANZA + 13),
        (SECOND + 1, 9, "share index", SECOND + 1),
        (PADDING + 1, 1, "padding", PADDING + 1),
        (BODY + 3, 1, "zero byte", BODY + 3),
        (STORED + 3, 2, "stored context", CHUNKS),
        (STORED + 4, 1, "stored context", STORED + 4),
        (STORED + 5, 0, "stored context", STORED + 6),
    ] {
        assert_eq!(kind_of(&with(at, byte)), malformed(field, offset), "{at} {byte}");
    }
    assert_eq!(kind_of(&envelope()[..CHUNKS + 15]), malformed("chunks", CHUNKS));
    assert_eq!(kind_of(&with(3, 2)), ErrorKind::UnsupportedVersion { version: 2 });
    for (at, byte) in [
        (4, 3),
        (BODY, 0),
        (BODY, 3),
        (BODY + 1, 9),
        (BODY + 1, 25),
        (BODY + 2, 3),
    ] {
        let kind = kind_of(&with(at, byte));
        assert!(matches!(kind, ErrorKind::Unsupported { .. }), "{at} {byte}");
    }
    // A kind that is turned into the other one.
    assert_eq!(kind_of(&with(4, 2)), malformed("wrap section length", 5));
}

#[test]
fn a_prefix_never_asks_for_more_than_there_is_and_says_what_parsing_says() {
    let bytes = envelope();
    for len in 0..=bytes.len() {
        let prefix = &bytes[..len];
        let needed = Header::missing(prefix).unwrap();
        assert_eq!(needed.is_none(), Header::parse(prefix).is_ok(), "{len}");
        assert_eq!(needed.is_none(), len >= CHUNKS, "{len}");
        assert!(
            needed.is_none_or(|needed| len < needed && needed <= CHUNKS),
            "{len}"
        );
    }
    // Every single fault: both refuse alike, whether read from a stream or at once.
    for bit in 0..8 * CHUNKS {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let parsed = Header::parse(&bytes).map_err(|error| error.kind());
        let read = HeaderBuf::read_from(&mut bytes.as_slice()).map_err(|error| error.kind());
        match (parsed, read) {
            (Ok(header), Ok(read)) => assert_eq!(header.as_bytes(), read.as_bytes(), "bit {bit}"),
            (Err(parsed), Err(read)) => assert_eq!(parsed, read, "bit {bit}"),
            (parsed, read) => panic!("bit {bit}: {parsed:?} but {read:?}"),
        }
    }
}

#[test]
fn reading_a_header_takes_no_byte_of_the_chunks() {
    let bytes = envelope();
    let mut rest = bytes.as_slice();
    assert_eq!(
        HeaderBuf::read_from(&mut rest).unwrap().as_bytes(),
        &bytes[..CHUNKS]
    );
    assert_eq!(rest, &bytes[CHUNKS..]);
}

// spec: ENV-8, WRAP-6, WRAP-7, LIM-1, LIM-2, LIM-3, LIM-4, LIM-5, LIM-6, LIM-13, LIM-20
#[test]
fn each_limit_is_taken_and_one_more_is_not() {
    let text = |len| "x".repeat(len);
    let one = |provider: usize, id, version, wrapped| {
        let names = [&*text(provider), &*text(id), &*text(version)];
        section_kind(&section(1, &[stanza(224, 0, names, &vec![1; wrapped])], &[]))
    };
    assert_eq!(one(32, 2_048, 255, 16_384), None);
    assert_eq!(one(33, 0, 0, 1), Some(over(limits::PROVIDER)));
    assert_eq!(one(1, 2_049, 0, 1), Some(over(limits::KEK_ID)));
    assert_eq!(one(1, 0, 0, 16_385), Some(over(limits::WRAPPED)));

    let stanzas = |algorithm, count| vec![stanza(algorithm, 0, ["p", "", ""], b"w"); count];
    assert_eq!(section_kind(&section(1, &stanzas(224, 16), &[])), None);
    let many = section_kind(&section(1, &stanzas(224, 17), &[]));
    assert_eq!(many, Some(over(limits::STANZAS)));
    assert_eq!(section_kind(&section(1, &stanzas(2, 2), &[])), None);
    let both = [stanzas(2, 2), stanzas(3, 1)].concat();
    let many = section_kind(&section(1, &both, &[]));
    assert_eq!(many, Some(over(limits::PASSPHRASE_STANZAS)));

    let fill = |len: usize| {
        let stanzas = stanzas(224, 1);
        let padding = len - section(1, &stanzas, &[]).len();
        around(&section(1, &stanzas, &vec![0; padding]))
    };
    assert!(Envelope::parse(&fill(65_536)).is_ok());
    assert_eq!(kind_of(&fill(65_537)), over(limits::WRAP_SECTION));
    assert_eq!(kind_of(&fill(65_537)[..8]), over(limits::WRAP_SECTION));
    // Lengths count before the bytes they claim are there.
    let mut bytes = envelope();
    bytes[STORED..STORED + 2].copy_from_slice(&8_193_u16.to_be_bytes());
    assert_eq!(kind_of(&bytes), over(limits::CONTEXT));
    assert_eq!(
        Header::missing(&bytes[..STORED + 2]).unwrap_err().kind(),
        over(limits::CONTEXT)
    );
}

// spec: WRAP-3, WRAP-8
#[test]
fn share_indexes_are_zero_alone_and_distinct_together() {
    let share = |algorithm, index| stanza(algorithm, index, ["p", "", ""], b"w");
    let shares = |threshold, indexes: &[u8]| {
        let stanzas: Vec<_> = indexes.iter().map(|index| share(224, *index)).collect();
        section_kind(&section(threshold, &stanzas, &[]))
    };
    let index_at = |at| Some(malformed("share index", at));
    assert_eq!(shares(1, &[0, 0]), None);
    assert_eq!(shares(1, &[0, 1]), index_at(2 + 10 + 1));
    assert_eq!(shares(2, &[1, 255]), None);
    assert_eq!(shares(2, &[64, 128, 192]), None);
    assert_eq!(shares(2, &[0, 1]), index_at(3));
    assert_eq!(shares(2, &[255, 7, 255]), index_at(2 + 2 * 10 + 1));
    assert_eq!(shares(3, &[1, 2]), Some(malformed("threshold", 0)));
    // A share must not be under an algorithm that does not bind it to its index.
    let unbound = section(2, &[share(224, 1), share(16, 2)], &[]);
    assert_eq!(section_kind(&unbound), Some(malformed("wrap algorithm", 12)));
    assert_eq!(section_kind(&section(1, &[share(16, 0)], &[])), None);
}

// spec: ENV-2, ENV-8
#[test]
fn a_detached_envelope_has_an_id_of_16_bytes() {
    let prefix = Wraps::Detached(DekId([3; 16])).prefix(99).unwrap();
    let bytes = [prefix.as_slice(), &envelope()[BODY..]].concat();
    let parsed = Envelope::parse(&bytes).unwrap();
    assert_eq!(parsed.header().wraps(), WrapsRef::Detached(DekId([3; 16])));
    assert_eq!(parsed.header().write().unwrap(), &bytes[..parsed.header().len()]);
    assert!(parsed.header().wrap_section().is_err());
    for (len, good) in [(15, false), (16, true), (17, false)] {
        let mut bytes = bytes.clone();
        bytes[7] = len;
        assert_eq!(Header::missing(&bytes).is_ok(), good);
    }
}

// spec: ENV-3, LIM-18, LIM-20
#[test]
fn what_a_writer_is_asked_for_is_held_to_the_same_limits() {
    assert!(KekRef::new("Local", "", "").is_err());
    assert!(KekRef::new("local", "a\u{85}", "").is_err());
    assert!(KekRef::new("local", &"i".repeat(2_049), "").is_err());
    let kek = KekRef::new(&"p".repeat(32), &"i".repeat(2_048), &"v".repeat(255)).unwrap();
    let wrap = |algorithm, len| WrappedDek::new(WrapAlgorithm::from_id(algorithm), kek.clone(), vec![0; len]);
    assert!(wrap(1, 71).is_err() && wrap(1, 72).is_ok());
    assert!(wrap(224, 0).is_err() && wrap(224, 16_385).is_err());
    let wraps = |count| WrapSet::any_of(vec![wrap(224, 1_700).unwrap(); count]);
    assert!(wraps(0).is_err() && wraps(17).is_err());
    let set = wraps(16).unwrap();
    let room = 65_536 - set.encoded_len();
    let set = Wraps::Attached(set);
    assert_eq!(set.prefix(room).unwrap().len(), 8 + 65_536);
    assert_eq!(
        set.prefix(room + 1).unwrap_err().kind(),
        over(limits::WRAP_SECTION)
    );
    assert_eq!(
        set.prefix(usize::MAX).unwrap_err().kind(),
        over(limits::WRAP_SECTION)
    );
}
