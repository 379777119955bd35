//! Plans: which bytes to fetch for a part.

use waxseal::backend::local::LocalKey;
use waxseal::{Aad, Envelope, ErrorKind, Suite, blocking, message::RangePlan};

use super::{LENGTHS, fetch, interesting};
use crate::support::{AAD, CHUNK, SEALED_CHUNK, context, kek, plaintext, sealer};

#[test]
fn plans_for_long_objects_are_small() {
    let sealer = blocking::Sealer::new(LocalKey::new(&kek(1)));
    let sealed = sealer.seal(b"", &context()).unwrap();
    let header = *Envelope::parse(&sealed).unwrap().header();
    for len in [1_u64 << 30, 1 << 40, 1 << 46] {
        let object = header.len() as u64 + len + len / 65_536 * 16;
        let plan = RangePlan::new(&header, object, len / 2 - 512..len / 2 + 512).unwrap();
        assert_eq!(plan.plaintext_len(), len);
        let fetched = |plan: &RangePlan| plan.ranges().map(|range| range.end - range.start).sum::<u64>();
        assert_eq!((plan.ranges().len(), fetched(&plan)), (2, 3 * 65_552));
        assert_eq!(plan.ranges().last().unwrap().end, object);
        assert!(header.len() as u64 + fetched(&plan) < 200 * 1024);
        let plan = plan.without_verified_end();
        assert_eq!((plan.ranges().len(), fetched(&plan)), (1, 2 * 65_552));
    }
    let kind = |object, range| RangePlan::new(&header, object, range).unwrap_err().kind();
    let over = kind((1 << 46) + (1 << 40), 0..1);
    assert!(matches!(over, ErrorKind::OverLimit { .. }), "{over:?}");
    assert!(matches!(kind(u64::MAX, 0..1), ErrorKind::OverLimit { .. }));
}

#[test]
fn a_plan_opens_what_it_was_made_for() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let sealer = sealer(suite);
        for len in LENGTHS {
            let payload = plaintext(len);
            let sealed = sealer.seal(&payload, context().with_aad(AAD)).unwrap();
            let header = *Envelope::parse(&sealed).unwrap().header();
            let opener = sealer.opener(&header, &context()).unwrap();
            for start in interesting(len) {
                for end in interesting(len) {
                    let Some(part) = payload.get(start..end) else {
                        continue;
                    };
                    let plan =
                        RangePlan::new(&header, sealed.len() as u64, start as u64..end as u64).unwrap();
                    assert_eq!(plan.ranges().last().unwrap().end, sealed.len() as u64);
                    for plan in [plan.clone(), plan.without_verified_end()] {
                        let pieces = fetch(&plan, &sealed);
                        let opened = opener.open_range(&plan, &pieces, Aad::new(AAD)).unwrap();
                        if plan.ranges().len() == 2 {
                            let through = sealer.open_range(&plan, &pieces, context().with_aad(AAD));
                            assert!(through.unwrap() == part);
                        }
                        assert!(opened == part, "{start}..{end} of {len}");
                        assert!(plan.ranges().is_sorted_by(|a, b| a.end < b.start));
                    }
                }
            }
        }
    }
}

#[test]
fn a_plan_refuses_what_it_cannot_be_made_for() {
    let sealer = sealer(Suite::Aes256Gcm);
    let sealed = sealer.seal(&plaintext(3000), &context()).unwrap();
    let header = *Envelope::parse(&sealed).unwrap().header();
    let len = sealed.len() as u64;
    let kind = |len, range| RangePlan::new(&header, len, range).unwrap_err().kind();
    assert_eq!(kind(len, 0..3001), ErrorKind::OutOfRange { len: 3000 });
    assert_eq!(kind(len, 3001..3001), ErrorKind::OutOfRange { len: 3000 });
    assert_eq!(kind(len, 0..u64::MAX), ErrorKind::OutOfRange { len: 3000 });
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = kind(len, 5..4);
    assert_eq!(reversed, ErrorKind::InvalidArgument);
    for short in [0, header.len() as u64 - 1, header.len() as u64 + 15] {
        let kind = kind(short, 0..0);
        assert!(
            matches!(kind, ErrorKind::Malformed { field: "chunks", .. }),
            "{kind:?}"
        );
    }
    let text = RangePlan::new(&header, len, 0..3001).unwrap_err().to_string();
    assert!(text.contains("3000 bytes"), "{text}");
}

#[test]
fn pieces_must_be_those_of_the_plan() {
    let sealer = sealer(Suite::Aes256Gcm);
    let key = sealer.data_key(&context()).unwrap();
    let sealed = key.seal(&plaintext(8 * CHUNK), Aad::new(AAD)).unwrap();
    let other = key.seal(&plaintext(8 * CHUNK), Aad::new(AAD)).unwrap();
    let header = *Envelope::parse(&sealed).unwrap().header();
    let plan = |range| RangePlan::new(&header, sealed.len() as u64, range).unwrap();
    let first = plan(0..1024);
    let good = fetch(&first, &sealed);
    let open = |pieces: &[&[u8]], aad: &[u8]| {
        key.open_range(&first, pieces, Aad::new(aad))
            .map_err(|e| e.kind())
    };
    assert_eq!(open(&good, AAD).unwrap(), plaintext(CHUNK));
    assert_eq!(open(&good, b"").unwrap_err(), ErrorKind::CannotOpen);
    // A server that answered with the whole object, or with one piece, or with a piece cut off.
    for bad in [
        &[sealed.as_slice()][..],
        &good[..1],
        &[good[0], &good[1][1..]],
        &[],
    ] {
        assert_eq!(open(bad, AAD).unwrap_err(), ErrorKind::InvalidArgument);
    }
    // The right lengths and the wrong place, or the same place of another message under the same DEK.
    let second = fetch(&plan(1024..2048), &sealed);
    assert_eq!(
        open(&[second[0], good[1]], AAD).unwrap_err(),
        ErrorKind::CannotOpen
    );
    assert_eq!(open(&[good[1], good[0]], AAD).unwrap_err(), ErrorKind::CannotOpen);
    let foreign = fetch(&first, &other);
    assert_eq!(
        open(&[foreign[0], good[1]], AAD).unwrap_err(),
        ErrorKind::CannotOpen
    );
    assert_eq!(
        open(&[good[0], foreign[1]], AAD).unwrap_err(),
        ErrorKind::CannotOpen
    );
    let elsewhere = blocking::Sealer::new(LocalKey::new(&kek(1)));
    let elsewhere = elsewhere.data_key(&context()).unwrap();
    let foreign = elsewhere.open_range(&first, &good, Aad::new(AAD)).unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::CannotOpen);
}

/// An object that somebody has shortened or lengthened, and a length that is a lie: noticed by every plan that verifies
/// the end, which is what a plan does unless it is told otherwise.
// spec: BODY-10
#[test]
fn a_plan_notices_an_object_of_another_length() {
    let sealer = sealer(Suite::Aes256Gcm);
    let payload = plaintext(4 * CHUNK);
    let sealed = sealer.seal(&payload, &context()).unwrap();
    let header = *Envelope::parse(&sealed).unwrap().header();
    let opener = sealer.opener(&header, &context()).unwrap();
    let open = |object: &[u8], plan: &RangePlan| {
        opener
            .open_range(plan, &fetch(plan, object), Aad::none())
            .map_err(|error| error.kind())
    };
    let plan = |len: usize, range| RangePlan::new(&header, len as u64, range);
    let parts = [0..0, 0..1, 5..9, 1023..1025, 2047..2048];
    for chunks in 1..4 {
        // At the border of two chunks, where nothing but the final chunk tells.
        let cut = &sealed[..sealed.len() - chunks * SEALED_CHUNK];
        for range in parts
            .clone()
            .into_iter()
            .filter(|range| range.end <= ((4 - chunks) * CHUNK) as u64)
        {
            let plan = plan(cut.len(), range.clone()).unwrap();
            assert_eq!(
                open(cut, &plan).unwrap_err(),
                ErrorKind::CannotOpen,
                "{chunks} {range:?}"
            );
            // The whole object, and a length that is a lie.
            assert_eq!(
                open(&sealed, &plan).unwrap_err(),
                ErrorKind::CannotOpen,
                "{chunks} {range:?}"
            );
        }
    }
    for more in [SEALED_CHUNK, 17, 500] {
        let mut longer = sealed.clone();
        longer.extend_from_slice(&sealed[sealed.len() - more..]);
        for range in parts.clone() {
            let opened = plan(longer.len(), range.clone()).map(|plan| open(&longer, &plan));
            assert!(!matches!(opened, Ok(Ok(_))), "{more} {range:?}");
        }
    }
    for range in parts {
        assert_eq!(
            open(&sealed, &plan(sealed.len(), range.clone()).unwrap()).unwrap(),
            payload[range.start as usize..range.end as usize]
        );
    }
}

/// What `without_verified_end` gives up, and what it does not.
#[test]
fn a_plan_without_verified_end_opens_parts_of_an_object_that_was_cut_off() {
    let sealer = sealer(Suite::Aes256Gcm);
    let sealed = sealer.seal(&plaintext(4 * CHUNK), &context()).unwrap();
    let header = *Envelope::parse(&sealed).unwrap().header();
    let opener = sealer.opener(&header, &context()).unwrap();
    let cut = &sealed[..sealed.len() - SEALED_CHUNK];
    let open = |range| {
        let plan = RangePlan::new(&header, cut.len() as u64, range)
            .unwrap()
            .without_verified_end();
        opener
            .open_range(&plan, &fetch(&plan, cut), Aad::none())
            .map_err(|error| error.kind())
    };
    assert_eq!(open(5..9).unwrap(), plaintext(4 * CHUNK)[5..9]);
    assert_eq!(open(0..0).unwrap(), b"");
    // The chunk that is now the last was not sealed as such.
    assert_eq!(open(2 * 1024..2 * 1024 + 1).unwrap_err(), ErrorKind::CannotOpen);
}
