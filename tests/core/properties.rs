//! What holds for every input: of the codec, of contexts, and of every way to seal and open.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use crate::support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use support::{kek, ours, plaintext};
use waxseal::backend::local::LocalKey;
use waxseal::envelope::{DekId, HeaderBuf, Wraps};
use waxseal::runtime::{Monotonic, ThreadRuntime};
use waxseal::{
    Aad, DataKey, EncryptionContext, Envelope, Sealer, Suite, blocking, envelope::ChunkSize,
    envelope::Header, envelope::KekRef, envelope::WrapAlgorithm, envelope::WrapSection, envelope::WrapSet,
    envelope::WrappedDek, source::DekLease, value::Dek,
};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Text without control characters, of up to `most` characters of one to four bytes.
fn text(most: usize) -> impl Strategy<Value = String> {
    let character = prop_oneof!["[ -~]", "[à-ÿ一-龥🔑-🔓]"].prop_map(|text| text.chars().next().unwrap());
    vec(character, 0..=most).prop_map(|characters| characters.into_iter().collect())
}

prop_compose! {
    fn wrapped_dek()(
        id in any::<u8>(),
        provider in "[a-z0-9-]{1,32}",
        kek_id in text(60),
        version in text(20),
        bytes in vec(any::<u8>(), 1..200),
    ) -> WrappedDek {
        let algorithm = WrapAlgorithm::from_id(if matches!(id, 2 | 3) { 4 } else { id });
        let len = algorithm.wrapped_len().unwrap_or(bytes.len());
        let wrapped = bytes.into_iter().cycle().take(len).collect();
        WrappedDek::new(algorithm, KekRef::new(&provider, &kek_id, &version).unwrap(), wrapped).unwrap()
    }
}

fn context() -> impl Strategy<Value = EncryptionContext> {
    btree_map(
        text(12).prop_filter("keys are not empty", |key| !key.is_empty()),
        text(30),
        0..6,
    )
    .prop_map(|pairs| match pairs.len() {
        0 => EncryptionContext::empty(),
        _ => EncryptionContext::new(pairs).unwrap(),
    })
}

/// Everything that can be set about sealing.
#[derive(Clone, Debug)]
struct Settings {
    suite: Suite,
    chunk_size: ChunkSize,
    context: EncryptionContext,
    aad: Vec<u8>,
    stored: bool,
    hidden: bool,
    padding: usize,
}

prop_compose! {
    fn settings()(
        suite in prop_oneof![Just(Suite::Aes256Gcm), Just(Suite::ChaCha20Poly1305)],
        exponent in 10_u8..=12,
        context in context(),
        aad in vec(any::<u8>(), 0..40),
        stored: bool,
        hidden: bool,
        padding in 0_usize..60,
    ) -> Settings {
        let chunk_size = ChunkSize::from_exponent(exponent).unwrap();
        Settings { suite, chunk_size, context, aad, stored, hidden, padding }
    }
}

impl Settings {
    fn sealer(&self) -> blocking::Sealer {
        let mut builder = Sealer::builder()
            .wrap_with(LocalKey::new(&kek(1)))
            .suite(self.suite)
            .chunk_size(self.chunk_size)
            .padding(self.padding);
        if self.stored {
            builder = builder.store_context();
        }
        if self.hidden {
            builder = builder.hide_kek_ids();
        }
        builder.build().unwrap().into()
    }
}

/// Lengths around the borders of chunks of 1, 2 and 4 KiB, and others.
fn lengths() -> impl Strategy<Value = usize> {
    let border = (0_usize..9, 0_usize..3).prop_map(|(kib, near)| (kib * 1024 + near).saturating_sub(1));
    prop_oneof![border, 0_usize..9000]
}

proptest! {
    #![proptest_config(config(64))]

    // spec: WRAP-1
    #[test]
    fn a_wrap_set_that_is_written_is_read_as_it_was(
        wraps in vec(wrapped_dek(), 1..=16),
        padding in 0_usize..300,
    ) {
        let set = WrapSet::any_of(wraps.clone()).unwrap();
        let written = Wraps::Attached(set.clone()).prefix(padding).unwrap();
        prop_assert_eq!(written.len(), 8 + set.encoded_len() + padding);
        let section = WrapSection::parse(&written[8..]).unwrap();
        prop_assert_eq!((section.threshold(), section.count()), (1, wraps.len()));
        prop_assert_eq!(section.padding(), padding);
        for (read, wrap) in section.stanzas().zip(&wraps) {
            prop_assert_eq!(read, wrap.as_wrap_ref());
        }
    }

    #[test]
    fn a_header_that_is_read_is_written_as_it_was(
        wraps in vec(wrapped_dek(), 1..=4),
        detached: bool,
        padding in 0_usize..50,
        settings in settings(),
        changes in vec((any::<prop::sample::Index>(), 0_u8..8), 0..3),
    ) {
        let wraps = match detached {
            true => Wraps::Detached(DekId([9; 16])),
            false => Wraps::Attached(WrapSet::any_of(wraps).unwrap()),
        };
        let sealed = settings.sealer().seal(b"payload", &settings.context).unwrap();
        let body = Envelope::parse(&sealed).unwrap().header().body_offset();
        let mut bytes = [wraps.prefix(padding).unwrap(), sealed[body..].to_vec()].concat();
        prop_assert!(Envelope::parse(&bytes).is_ok());
        for (at, bit) in changes {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let read = HeaderBuf::read_from(&mut bytes.as_slice());
        match Header::parse(&bytes) {
            Ok(header) => {
                prop_assert_eq!(header.write().unwrap(), &bytes[..header.len()]);
                let read = read.unwrap();
                prop_assert_eq!(read.as_bytes(), header.as_bytes());
            }
            Err(error) => prop_assert_eq!(read.unwrap_err().kind(), error.kind()),
        }
        for end in 0..bytes.len() {
            // Never panics, and never asks for more than a header may have.
            let _ = Envelope::parse(&bytes[..end]);
            if let Ok(Some(needed)) = Header::missing(&bytes[..end]) {
                prop_assert!(needed > end && needed <= 8 + 65_536 + 64 + 2 + 8_192);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(
        body in vec(any::<u8>(), 0..400),
        front in prop_oneof![
            Just(&b""[..]),
            Just(&b"WAX\x01"[..]),
            Just(&b"WAX\x01\x01\0\0"[..]),
            Just(&b"WAX\x01\x01\0\0\x0c\x01\x01\xe0\0\x01p\0\0\0\0\x01w\x01\x0a\0\0"[..]),
        ],
    ) {
        let bytes = [front, body.as_slice()].concat();
        let parsed = Envelope::parse(&bytes);
        let streamed = HeaderBuf::read_from(&mut bytes.as_slice());
        prop_assert!(streamed.is_ok() || parsed.is_err());
        let _ = WrapSection::parse(&body);
        let sealer = blocking::Sealer::new(LocalKey::new(&kek(1)));
        prop_assert!(sealer.open(&bytes, &EncryptionContext::empty()).is_err());
    }

    #[test]
    fn what_is_sealed_opens_as_it_was_and_shows_what_it_should(settings in settings(), len in lengths()) {
        let (sealer, payload) = (settings.sealer(), plaintext(len));
        let binding = || settings.context.with_aad(&settings.aad);
        let sealed = sealer.seal(&payload, binding()).unwrap();
        prop_assert_eq!(sealer.open(&sealed, binding()).unwrap(), payload.as_slice());

        let parsed = Envelope::parse(&sealed).unwrap();
        let header = parsed.header();
        prop_assert_eq!(parsed.plaintext_len(), len);
        prop_assert_eq!(parsed.chunk_count(), len.div_ceil(settings.chunk_size.bytes()).max(1));
        prop_assert_eq!(header.body().suite(), settings.suite);
        prop_assert_eq!(header.body().chunk_size(), settings.chunk_size);
        let stored = settings.stored.then(|| settings.context.canonical());
        prop_assert_eq!(header.stored_context(), stored);
        let section = header.wrap_section().unwrap();
        prop_assert_eq!(section.padding(), settings.padding);
        prop_assert_eq!(section.stanzas().next().unwrap().kek_id.is_empty(), settings.hidden);
        let extra = settings.padding + stored.map_or(0, |stored| 2 + stored.len());
        let id = if settings.hidden { 0 } else { 22 };
        prop_assert_eq!(sealed.len(), 175 + id + extra + len + 16 * (parsed.chunk_count() - 1));
        // The payload does not show.
        prop_assert!(len < 16 || sealed.windows(16).all(|window| window != &payload[..16]));
    }

    // spec: BODY-1
    #[test]
    fn every_way_to_seal_and_open_is_the_same(
        settings in settings(),
        len in lengths(),
        junk in vec(any::<u8>(), 0..20),
        pieces in vec(1_usize..3000, 1..6),
    ) {
        let (sealer, payload, aad) = (settings.sealer(), plaintext(len), settings.aad.as_slice());
        let key = sealer.data_key(&settings.context).unwrap();
        let layout = key.layout(len).unwrap();

        let mut appended = junk.clone();
        key.seal_into(&payload, Aad::new(aad), &mut appended).unwrap();
        prop_assert_eq!(&appended[..junk.len()], junk.as_slice());
        let appended = appended.split_off(junk.len());

        let mut in_place = vec![0; layout.envelope_len()];
        let mut rest = payload.as_slice();
        for range in layout.plaintext_ranges() {
            let (piece, after) = rest.split_at(range.len());
            in_place[range].copy_from_slice(piece);
            rest = after;
        }
        prop_assert!(rest.is_empty());
        key.seal_in_place(&mut in_place, layout, Aad::new(aad)).unwrap();

        let mut writer = key.writer(Vec::new(), Aad::new(aad)).unwrap();
        let (mut rest, mut sizes) = (payload.as_slice(), pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            writer.write_all(piece).unwrap();
            rest = after;
        }
        let streamed = writer.finish().unwrap();

        let session = Envelope::parse(&appended).unwrap().header().body();
        for sealed in [&appended, &in_place, &streamed] {
            prop_assert_eq!(sealed.len(), layout.envelope_len());
            let parsed = Envelope::parse(sealed).unwrap();
            let header = parsed.header();
            prop_assert_eq!(header.len(), layout.header_len());
            prop_assert_eq!(header.body(), session);

            prop_assert_eq!(key.open(sealed, Aad::new(aad)).unwrap(), payload.as_slice());
            let opener = sealer.opener(header, &settings.context).unwrap();
            let mut out = junk.clone();
            opener.open_into(sealed, Aad::new(aad), &mut out).unwrap();
            prop_assert_eq!(&out, &[junk.as_slice(), &payload].concat());

            let mut copy = sealed.clone();
            let opened = opener.open_in_place(&mut copy, Aad::new(aad)).unwrap();
            prop_assert_eq!(opened.len(), len);
            let joined: Vec<u8> = opened.chunks().flatten().copied().collect();
            prop_assert_eq!(&joined, &payload);
            prop_assert_eq!(opened.into_contiguous(), payload.as_slice());

            let binding = settings.context.with_aad(aad);
            let mut reader = sealer.reader(sealed.as_slice(), binding).unwrap();
            let (mut read, mut sizes) = (Vec::new(), pieces.iter().cycle());
            loop {
                let mut piece = vec![0; *sizes.next().unwrap()];
                match reader.read(&mut piece).map_err(ours).unwrap() {
                    0 => break,
                    got => read.extend_from_slice(&piece[..got]),
                }
            }
            prop_assert_eq!(&read, &payload);
        }
        // An error leaves what was there as it was.
        let mut out = junk.clone();
        let mut other_aad = aad.to_vec();
        other_aad.push(0);
        prop_assert!(key.open_into(&appended, Aad::new(&other_aad), &mut out).is_err());
        prop_assert_eq!(out, junk);
        let mut copy = appended.clone();
        prop_assert!(key.open_in_place(&mut copy, Aad::new(&other_aad)).is_err());
        prop_assert!(copy[layout.header_len()..].iter().all(|byte| *byte == 0));
    }

    // spec: REWRAP-1
    #[test]
    fn a_rewrap_moves_to_the_new_key_and_leaves_the_body(settings in settings(), len in lengths()) {
        let (old, payload) = (settings.sealer(), plaintext(len));
        let binding = || settings.context.with_aad(&settings.aad);
        let sealed = old.seal(&payload, binding()).unwrap();
        let new = Sealer::builder().wrap_with(LocalKey::new(&kek(2)));
        let both = blocking::Sealer::from(new.open_with(LocalKey::new(&kek(1))).build().unwrap());
        let header = Envelope::parse(&sealed).unwrap().header().len();
        // The header is all that is needed.
        let wraps = both.rewrap(&sealed[..header], &settings.context).unwrap();
        let moved = wraps.splice(&sealed).unwrap();
        prop_assert_eq!(&moved[wraps.prefix().len()..], &sealed[wraps.replaces()..]);
        let only_new = blocking::Sealer::new(LocalKey::new(&kek(2)));
        prop_assert_eq!(only_new.open(&moved, binding()).unwrap(), payload.as_slice());
        prop_assert!(old.open(&moved, binding()).is_err());
        prop_assert!(only_new.open(&sealed, binding()).is_err());
        if let Some(prefix) = wraps.in_place() {
            let in_place = [prefix.as_slice(), &sealed[prefix.len()..]].concat();
            prop_assert_eq!(in_place.len(), sealed.len());
            prop_assert_eq!(only_new.open(&in_place, binding()).unwrap(), payload.as_slice());
        } else {
            prop_assert!(settings.hidden && settings.padding < 22);
        }
    }
}

proptest! {
    #![proptest_config(config(256))]

    // spec: CTX-4
    #[test]
    fn a_context_does_not_depend_on_the_order_of_its_pairs(
        pairs in btree_map("[a-zà-ÿ]{1,8}", text(20), 1..10)
            .prop_flat_map(|pairs| (Just(pairs.clone()), Just(pairs.into_iter().collect::<Vec<_>>()).prop_shuffle())),
    ) {
        let (sorted, shuffled) = pairs;
        let context = EncryptionContext::new(shuffled).unwrap();
        let other = EncryptionContext::new(&sorted).unwrap();
        prop_assert_eq!(context.canonical(), other.canonical());
        prop_assert_eq!(context.digest(), other.digest());
        let read: Vec<_> = context.pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        // A map of strings sorts by bytes, as the canonical form does.
        prop_assert_eq!(read, sorted.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(EncryptionContext::from_canonical(context.canonical()).unwrap(), context);
    }

    // spec: CTX-7
    #[test]
    fn bytes_are_a_context_only_in_canonical_form(
        context in context(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in 0_usize..4,
        random in vec(any::<u8>(), 0..60),
    ) {
        let mut changed = context.canonical().to_vec();
        for (at, byte) in changes {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        changed.truncate(changed.len() - cut.min(changed.len()));
        for bytes in [changed, random] {
            if let Ok(read) = EncryptionContext::from_canonical(&bytes) {
                prop_assert_eq!(read.canonical(), bytes.as_slice());
                let again = match read.is_empty() {
                    true => EncryptionContext::empty(),
                    false => EncryptionContext::new(read.pairs()).unwrap(),
                };
                prop_assert_eq!(again, read);
            }
        }
    }

    #[test]
    fn different_contexts_have_different_digests(a in context(), b in context()) {
        prop_assert_eq!(a == b, a.digest() == b.digest());
        prop_assert_eq!(a == b, a.canonical() == b.canonical());
    }
}

#[test]
fn a_layout_of_another_key_seals_nothing() {
    let lease = Arc::new(DekLease::for_sealing(
        Dek::generate().unwrap(),
        Vec::new(),
        &EncryptionContext::empty(),
    ));
    let (wraps, runtime) = (Wraps::Detached(DekId([1; 16])), Arc::new(ThreadRuntime));
    let context = EncryptionContext::empty();
    let end = Monotonic(Duration::MAX);
    let detached = DataKey::from_lease(lease, &wraps, &context, runtime, end).unwrap();
    let attached = support::sealer(Suite::default()).data_key(&context).unwrap();
    let layout = detached.layout(100).unwrap();
    let mut buffer = vec![7; layout.envelope_len()];
    assert!(attached.seal_in_place(&mut buffer, layout, Aad::none()).is_err());
    assert!(
        detached
            .seal_in_place(&mut buffer[1..], layout, Aad::none())
            .is_err()
    );
    assert!(buffer.iter().all(|byte| *byte == 7));
    detached.seal_in_place(&mut buffer, layout, Aad::none()).unwrap();
    assert_eq!(detached.open(&buffer, Aad::none()).unwrap(), [7; 100]);
}
