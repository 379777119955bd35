//! Nothing opens but what was sealed: every bit, every length, every order of chunks, every exchange of parts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use crate::support;

use support::{AAD, CHUNK, Parts, SEALED_CHUNK, context, kek, plaintext, sealer, stream};
use waxseal::backend::local::LocalKey;
use waxseal::{Aad, EncryptionContext, Envelope, Sealer, Suite, blocking, envelope::ChunkSize};

const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

/// Refused at once and as a stream, which releases nothing but what is authentic, from the front.
fn assert_refused(sealer: &blocking::Sealer, envelope: &[u8], expected: &[u8], what: impl std::fmt::Debug) {
    assert!(
        sealer.open(envelope, context().with_aad(AAD)).is_err(),
        "{what:?} opens"
    );
    let (released, error) = stream(sealer, envelope, &context(), AAD);
    assert!(error.is_some(), "{what:?} ends as a stream that is whole");
    assert!(
        expected.starts_with(&released),
        "{what:?} releases something else"
    );
}

fn flip(envelope: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = envelope.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    flipped
}

// spec: KEY-12
#[test]
fn no_bit_of_an_envelope_under_one_local_key_can_be_flipped() {
    for suite in SUITES {
        let stored = Sealer::builder()
            .wrap_with(LocalKey::new(&kek(1)))
            .suite(suite)
            .chunk_size(ChunkSize::MIN)
            .store_context()
            .padding(3);
        let stored = blocking::Sealer::from(stored.build().unwrap());
        for sealer in [sealer(suite), stored] {
            let expected = plaintext(2 * CHUNK + 9);
            let envelope = sealer.seal(&expected, context().with_aad(AAD)).unwrap();
            assert_eq!(Envelope::parse(&envelope).unwrap().chunk_count(), 3);
            for bit in 0..8 * envelope.len() {
                let flipped = flip(&envelope, bit);
                let opened = sealer.open(&flipped, context().with_aad(AAD));
                assert!(opened.is_err(), "{suite} bit {bit}");
            }
        }
    }
}

// spec: BODY-9
#[test]
fn a_stream_of_which_one_bit_is_flipped_never_ends_as_if_it_were_whole() {
    let sealer = sealer(Suite::Aes256Gcm);
    let expected = plaintext(2 * CHUNK + 9);
    let envelope = sealer.seal(&expected, context().with_aad(AAD)).unwrap();
    let chunks = Envelope::parse(&envelope).unwrap().header().len();
    for bit in 0..8 * envelope.len() {
        let (released, error) = stream(&sealer, &flip(&envelope, bit), &context(), AAD);
        assert!(error.is_some(), "bit {bit}");
        // Whole chunks before the one that is altered, and nothing of it.
        let good = (bit / 8).saturating_sub(chunks) / SEALED_CHUNK * CHUNK;
        assert_eq!(released, expected[..good], "bit {bit}");
    }
}

/// The stanza that a reader does not need may be renamed and altered, byte for byte as the specification says
/// in its section about single-bit flips; nothing else may.
#[test]
fn of_two_stanzas_the_one_that_is_not_needed_may_be_altered_where_nothing_but_its_text_is_checked() {
    let both = Sealer::builder()
        .wrap_with(LocalKey::new(&kek(1)))
        .wrap_with(LocalKey::new(&kek(2)));
    let both = blocking::Sealer::from(both.chunk_size(ChunkSize::MIN).build().unwrap());
    let envelope = both.seal(&plaintext(2), context().with_aad(AAD)).unwrap();
    // Algorithm, share index, provider, id, version and wrapped DEK, with their lengths.
    const STANZA: usize = 2 + 1 + 5 + 2 + 22 + 1 + 2 + 72;
    let body = Envelope::parse(&envelope).unwrap().header().body_offset();
    assert_eq!(body, 8 + 2 + 2 * STANZA);

    let may_be_flipped = |stanza: usize, bit: usize| {
        let start = 10 + stanza * STANZA;
        let Some(at) = (bit / 8).checked_sub(start).filter(|at| *at < STANZA) else {
            return false;
        };
        let byte = envelope[bit / 8] ^ (1 << (bit % 8));
        match at {
            0 => true,
            3..8 => byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-',
            10..32 => (b' '..=b'~').contains(&byte),
            35.. => true,
            _ => false,
        }
    };
    for (needed, keys) in [
        (Some(0), vec![kek(1)]),
        (Some(1), vec![kek(2)]),
        (None, vec![kek(1), kek(2)]),
    ] {
        let reader = keys.iter().fold(Sealer::builder(), |builder, kek| {
            builder.open_with(LocalKey::new(kek))
        });
        let reader = blocking::Sealer::from(reader.build().unwrap());
        let mut opened = 0;
        for bit in 0..8 * envelope.len() {
            let flipped = flip(&envelope, bit);
            let expected = (0..2).any(|stanza| needed != Some(stanza) && may_be_flipped(stanza, bit));
            match reader.open(&flipped, context().with_aad(AAD)) {
                Ok(payload) => {
                    assert!(expected, "bit {bit} with stanza {needed:?} needed");
                    assert_eq!(payload, plaintext(2));
                    opened += 1;
                }
                Err(error) => assert!(!expected, "bit {bit} with stanza {needed:?} needed: {error}"),
            }
        }
        assert!(opened > 8 * 72, "{opened}");
    }
}

// spec: ENV-10
#[test]
fn every_truncation_and_extension_is_refused() {
    for suite in SUITES {
        let sealer = sealer(suite);
        for len in [0, 1, CHUNK, 2 * CHUNK + 9, 3 * CHUNK] {
            let expected = plaintext(len);
            let envelope = sealer.seal(&expected, context().with_aad(AAD)).unwrap();
            for cut in 0..envelope.len() {
                assert_refused(&sealer, &envelope[..cut], &expected, (suite, len, cut));
            }
            for more in (1..40).chain([SEALED_CHUNK - 1, SEALED_CHUNK, SEALED_CHUNK + 17]) {
                let zeros = [envelope.as_slice(), &vec![0; more]].concat();
                assert_refused(&sealer, &zeros, &expected, (suite, len, more));
            }
            let twice = [envelope.as_slice(), &envelope].concat();
            assert_refused(&sealer, &twice, &expected, (suite, len, "twice"));
        }
    }
}

/// Every sequence of `1..=most` numbers below `below`.
fn sequences(below: usize, most: usize) -> Vec<Vec<usize>> {
    let (mut all, mut last) = (Vec::new(), vec![Vec::new()]);
    for _ in 0..most {
        let longer = |sequence: &Vec<usize>| {
            let sequence = sequence.clone();
            (0..below).map(move |next| [sequence.as_slice(), &[next]].concat())
        };
        last = last.iter().flat_map(longer).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// Nonces that look like those of chunks, as a message's own.
fn nonces_like_a_chunks(chunks: u8) -> impl Iterator<Item = Vec<u8>> {
    (0..=chunks).flat_map(|index| [0, 1].map(|last| [&[0; 10][..], &[index, last]].concat()))
}

// spec: BODY-8
#[test]
fn no_other_order_or_number_of_chunks_opens_whatever_the_nonce() {
    for (suite, count) in [(SUITES[0], 3), (SUITES[1], 3), (SUITES[0], 4)] {
        let sealer = sealer(suite);
        // Full chunks only, so that no length gives anything away.
        let expected = plaintext(count * CHUNK);
        let key = sealer.data_key(&context()).unwrap();
        let parts = Parts::of(&key.seal(&expected, Aad::new(AAD)).unwrap());
        let other = Parts::of(&key.seal(&expected, Aad::new(AAD)).unwrap());
        let (mut one_more, mut inverted) = (parts.nonce.clone(), parts.nonce.clone());
        one_more[11] = one_more[11].wrapping_add(1);
        inverted[10] ^= 1;
        let mut nonces = vec![parts.nonce.clone(), other.nonce, one_more, inverted];
        nonces.extend(nonces_like_a_chunks(u8::try_from(count).unwrap()));
        let whole: Vec<usize> = (0..count).collect();
        for order in sequences(count, count + 1) {
            // Four out of four, with one more: a sample of the 1,024 is enough.
            if order.len() == 5 && order[0] != 0 {
                continue;
            }
            for nonce in &nonces {
                let mut forged = parts.clone();
                forged.nonce.clone_from(nonce);
                forged.chunks = order.iter().map(|at| parts.chunks[*at].clone()).collect();
                if order == whole && *nonce == parts.nonce {
                    assert_eq!(key.open(&forged.join(), Aad::new(AAD)).unwrap(), expected);
                } else {
                    let opened = key.open(&forged.join(), Aad::new(AAD));
                    assert!(opened.is_err(), "{suite} {order:?} {nonce:?}");
                    if order.len() <= 3 {
                        assert_refused(&sealer, &forged.join(), &expected, (suite, &order, nonce));
                    }
                }
            }
        }
    }
}

// spec: BODY-8
#[test]
fn chunks_of_the_messages_of_one_session_do_not_mix() {
    for suite in SUITES {
        let key = sealer(suite).data_key(&context()).unwrap();
        // Two long messages and two of one full chunk, all of one session and with one AAD.
        let lengths = [3 * CHUNK, 3 * CHUNK, CHUNK, CHUNK];
        let messages = lengths.map(|len| Parts::of(&key.seal(&plaintext(len), Aad::new(AAD)).unwrap()));
        assert!(messages.iter().all(|message| message.head == messages[0].head));
        let pool: Vec<_> = messages.iter().flat_map(|message| &message.chunks).collect();
        let mut nonces: Vec<_> = messages.iter().map(|message| message.nonce.clone()).collect();
        nonces.extend(nonces_like_a_chunks(2));
        let own = [vec![0, 1, 2], vec![3, 4, 5], vec![6], vec![7]];
        let mut opened = 0;
        for order in sequences(pool.len(), 3) {
            for (at, nonce) in nonces.iter().enumerate() {
                let mut forged = messages[0].clone();
                forged.nonce.clone_from(nonce);
                forged.chunks = order.iter().map(|at| pool[*at].clone()).collect();
                let result = key.open(&forged.join(), Aad::new(AAD));
                let is_own = own.get(at) == Some(&order);
                assert_eq!(result.is_ok(), is_own, "{suite} {order:?} {at}");
                opened += usize::from(is_own);
            }
        }
        assert_eq!(opened, own.len());
    }
}

type Exchange = fn(&mut Parts, &Parts);

#[test]
fn parts_of_two_envelopes_do_not_go_together() {
    let sealer = sealer(Suite::Aes256Gcm);
    for len in [40, 2 * CHUNK + 9] {
        let seal = || Parts::of(&sealer.seal(&plaintext(len), context().with_aad(AAD)).unwrap());
        let (first, second) = (seal(), seal());
        let exchanges: [(&str, Exchange); 7] = [
            ("wraps", |a, b| a.prefix.clone_from(&b.prefix)),
            ("head", |a, b| a.head.clone_from(&b.head)),
            ("commitment", |a, b| a.commitment.clone_from(&b.commitment)),
            ("nonce", |a, b| a.nonce.clone_from(&b.nonce)),
            ("chunks", |a, b| a.chunks.clone_from(&b.chunks)),
            ("final chunk", |a, b| {
                a.chunks.pop();
                a.chunks.push(b.chunks.last().unwrap().clone());
            }),
            ("head and commitment", |a, b| {
                a.head.clone_from(&b.head);
                a.commitment.clone_from(&b.commitment);
            }),
        ];
        for (what, exchange) in exchanges {
            let mut forged = first.clone();
            exchange(&mut forged, &second);
            assert_refused(&sealer, &forged.join(), &plaintext(len), (what, len));
        }
        // All of the body goes nowhere either, without its wraps.
        let mut forged = second.clone();
        forged.prefix.clone_from(&first.prefix);
        assert_refused(&sealer, &forged.join(), &[], ("body", len));
    }
}

// spec: ENV-12, OPEN-4
#[test]
fn another_context_or_aad_opens_nothing() {
    for suite in SUITES {
        let sealer = sealer(suite);
        let other = EncryptionContext::new([("tenant", "globex"), ("table", "users")]).unwrap();
        let key = sealer.data_key(&context()).unwrap();
        for len in [40, 2 * CHUNK + 9] {
            let here = key.seal(&plaintext(len), Aad::new("row 7")).unwrap();
            let there = key.seal(&plaintext(len), Aad::new("row 8")).unwrap();
            assert!(sealer.open(&here, context().with_aad(b"row 7")).is_ok());
            for (context, aad) in [
                (&context(), &b"row 8"[..]),
                (&context(), b""),
                (&other, b"row 7"),
                (&EncryptionContext::empty(), b"row 7"),
            ] {
                assert!(sealer.open(&here, context.with_aad(aad)).is_err());
                let (released, error) = stream(&sealer, &here, context, aad);
                assert!(released.is_empty() && error.is_some());
            }
            // The value of one row put in the place of another, in the same session.
            let (here, there) = (Parts::of(&here), Parts::of(&there));
            let mut forged = here.clone();
            forged.nonce.clone_from(&there.nonce);
            forged.chunks.clone_from(&there.chunks);
            assert!(key.open(&forged.join(), Aad::new("row 7")).is_err());
            assert!(key.open(&forged.join(), Aad::new("row 8")).is_ok());
        }
        // A wrap that is moved to a body of another context.
        let (mine, theirs) = (sealer.seal(b"a", &context()), sealer.seal(b"a", &other));
        let (mine, theirs) = (Parts::of(&mine.unwrap()), Parts::of(&theirs.unwrap()));
        let mut forged = theirs.clone();
        forged.prefix.clone_from(&mine.prefix);
        assert!(sealer.open(&forged.join(), &other).is_err());
        assert!(sealer.open(&forged.join(), &context()).is_err());
    }
}
