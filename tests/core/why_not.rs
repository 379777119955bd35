//! What the error of an envelope that does not open says, whichever way it was opened: one of two sentences.
//!
//! The commitment is public, so whether it held answers no guess; why no key reproduced it is never told apart.
// spec: OPEN-2, ERR-2

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};

use waxseal::envelope::Header;
use waxseal::message::RangePlan;
use waxseal::sealer::OpenedBatch;
use waxseal::{Aad, EncryptionContext, Envelope, Error, ErrorKind, Suite};

use crate::support::{AAD, CHUNK, Parts, context, ours, plaintext, sealer};

const WRONG_KEY: &str = "the key or the encryption context is wrong, or the envelope's header was altered";
const ALTERED: &str = "key and context are right; the AAD is wrong, or the data was altered or cut off";

fn io_result<T>(result: io::Result<T>) -> Result<(), Error> {
    result.map(drop).map_err(ours)
}

/// Everything that a sealer opens an envelope with, asked for it.
fn ways(envelope: &[u8], context: &EncryptionContext, aad: &[u8]) -> Vec<(&'static str, Result<(), Error>)> {
    let sealer = sealer(Suite::Aes256Gcm);
    let binding = || context.with_aad(aad);
    let parsed = Envelope::parse(envelope).unwrap();
    let (header, first) = (*parsed.header(), parsed.plaintext_len().min(1) as u64);
    let mut ways = vec![
        ("one-shot", sealer.open(envelope, binding()).map(drop)),
        (
            "reader",
            sealer
                .reader(envelope, binding())
                .and_then(|mut reader| io_result(reader.read_to_end(&mut Vec::new()))),
        ),
        (
            "buffered reader",
            sealer
                .buf_reader(envelope, binding())
                .and_then(|reader| io_result(reader.split(b'\n').collect::<io::Result<Vec<_>>>())),
        ),
        (
            "range reader",
            sealer
                .range_reader(Cursor::new(envelope), binding())
                .and_then(|mut reader| {
                    reader.seek(SeekFrom::Start(0)).unwrap();
                    io_result(reader.read_to_end(&mut Vec::new()))
                }),
        ),
        (
            "range plan",
            RangePlan::new(&header, envelope.len() as u64, 0..first).and_then(|plan| {
                let pieces: Vec<_> = plan
                    .ranges()
                    .map(|range| {
                        let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
                        &envelope[start..end]
                    })
                    .collect();
                sealer.open_range(&plan, &pieces, binding()).map(drop)
            }),
        ),
    ];
    // An opener exists only where the commitment held.
    if let Ok(opener) = sealer.opener(&header, context) {
        let aad = Aad::new(aad);
        let mut batch = OpenedBatch::new();
        opener.open_batch([envelope], |_| aad, &mut batch).unwrap();
        let row = batch.errors().first().map(|(_, error)| error);
        let row = row.map_or(Ok(()), |error| {
            Err(Error::new(error.kind()).with_detail(error.detail().unwrap().to_owned()))
        });
        ways.push(("batch", row));
        ways.push((
            "in place",
            opener.open_in_place(&mut envelope.to_vec(), aad).map(drop),
        ));
        let mut room = vec![0; envelope.len()];
        ways.push((
            "to a slice",
            opener.open_to_slice(envelope, aad, &mut room).map(drop),
        ));
        assert!(room.iter().all(|byte| *byte == 0));
    }
    #[cfg(feature = "tokio")]
    ways.push((
        "asynchronous reader",
        pollster::block_on(async {
            use tokio::io::AsyncReadExt;
            let key = waxseal::backend::local::LocalKey::new(&crate::support::kek(1));
            let sealer = waxseal::Sealer::new(key);
            let mut reader = sealer.tokio_reader(envelope, binding()).await?;
            io_result(reader.read_to_end(&mut Vec::new()).await)
        }),
    ));
    ways
}

fn all_say(ways: Vec<(&'static str, Result<(), Error>)>, least: usize, sentence: &str, what: &str) {
    assert!(ways.len() >= least, "{what}: {} ways", ways.len());
    for (way, result) in ways {
        let error = result.err().unwrap_or_else(|| panic!("{what}: opened by {way}"));
        assert_eq!(error.kind(), ErrorKind::CannotOpen, "{what}, {way}: {error}");
        assert_eq!(error.detail(), Some(sentence), "{what}, {way}");
        let is_altered = sentence == ALTERED;
        assert_eq!(error.attempts().is_empty(), is_altered, "{what}, {way}");
    }
}

#[test]
fn where_the_commitment_held_every_way_says_so() {
    let sealer = sealer(Suite::Aes256Gcm);
    for len in [0, 5, 3 * CHUNK + 7] {
        let sealed = sealer.seal(&plaintext(len), context().with_aad(AAD)).unwrap();
        all_say(ways(&sealed, &context(), b"row 8"), 8, ALTERED, "another AAD");
        let mut first = Parts::of(&sealed);
        first.chunks[0][0] ^= 1;
        all_say(ways(&first.join(), &context(), AAD), 8, ALTERED, "a chunk");
        let mut nonce = Parts::of(&sealed);
        nonce.nonce[11] ^= 1;
        all_say(ways(&nonce.join(), &context(), AAD), 8, ALTERED, "the nonce");
    }
    // Cut off at the border of two chunks.
    let sealed = sealer
        .seal(&plaintext(3 * CHUNK), context().with_aad(AAD))
        .unwrap();
    let mut cut = Parts::of(&sealed);
    cut.chunks.pop();
    all_say(ways(&cut.join(), &context(), AAD), 8, ALTERED, "cut off");
}

#[test]
fn where_no_key_reproduced_the_commitment_every_way_says_so_and_not_why() {
    let sealer = sealer(Suite::Aes256Gcm);
    let sealed = sealer.seal(&plaintext(5), context().with_aad(AAD)).unwrap();
    let other = EncryptionContext::new([("tenant", "other")]).unwrap();
    // Another context: the wrap does not unwrap.
    all_say(ways(&sealed, &other, AAD), 5, WRONG_KEY, "another context");
    let mut wrap = sealed.clone();
    let body = Envelope::parse(&sealed).unwrap().header().body_offset();
    wrap[body - 1] ^= 1;
    all_say(ways(&wrap, &context(), AAD), 5, WRONG_KEY, "the wrap");
    // The wrap unwraps, and its DEK does not reproduce the commitment.
    let mut commitment = Parts::of(&sealed);
    commitment.commitment[7] ^= 1;
    all_say(
        ways(&commitment.join(), &context(), AAD),
        5,
        WRONG_KEY,
        "the commitment",
    );
    let mut id = Parts::of(&sealed);
    id.head[10] ^= 1;
    all_say(ways(&id.join(), &context(), AAD), 5, WRONG_KEY, "the session id");
}

/// A data key or an opener of another DEK has unwrapped nothing: it says the first sentence without attempts.
#[test]
fn a_data_key_of_another_dek_says_that_the_key_is_wrong() {
    let sealer = sealer(Suite::Aes256Gcm);
    let (key, other) = (
        sealer.data_key(&context()).unwrap(),
        sealer.data_key(&context()).unwrap(),
    );
    let sealed = key.seal(b"hello", Aad::none()).unwrap();
    let header = Header::parse(&sealed).unwrap();
    for error in [
        other.open(&sealed, Aad::none()).map(drop),
        other.open_in_place(&mut sealed.clone(), Aad::none()).map(drop),
        other.reader(&header, &[][..], Aad::none()).map(drop),
    ] {
        let error = error.unwrap_err();
        assert_eq!(
            (error.kind(), error.detail()),
            (ErrorKind::CannotOpen, Some(WRONG_KEY))
        );
    }
    let error = key.open(&sealed, Aad::new("row 8")).unwrap_err();
    assert_eq!(
        (error.kind(), error.detail()),
        (ErrorKind::CannotOpen, Some(ALTERED))
    );
    assert_eq!(error.to_string(), format!("open: does not open: {ALTERED}"));
}

/// Every read after the error ends in the same way, with the same sentence.
#[test]
fn a_stream_that_has_failed_keeps_saying_why() {
    let sealer = sealer(Suite::Aes256Gcm);
    let sealed = sealer.seal(&plaintext(3 * CHUNK), &context()).unwrap();
    let mut parts = Parts::of(&sealed);
    parts.chunks[1][0] ^= 1;
    let altered = parts.join();
    let mut reader = sealer.reader(altered.as_slice(), &context()).unwrap();
    let mut released = Vec::new();
    for _ in 0..3 {
        let error = ours(reader.read_to_end(&mut released).unwrap_err());
        assert_eq!(error.detail(), Some(ALTERED));
        let error = ours(reader.fill_buf().unwrap_err());
        assert_eq!(error.detail(), Some(ALTERED));
    }
    assert!(released == plaintext(3 * CHUNK)[..CHUNK]);
}
