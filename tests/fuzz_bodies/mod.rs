//! What the fuzz targets check. `fuzz/` runs these bodies under libFuzzer, `tests/fuzz_smoke.rs` on stable Rust.
#![allow(dead_code, reason = "each target runs one of the bodies")]

use std::io::{self, Read, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use waxseal::backend::local::LocalKey;
use waxseal::envelope::{DekId, HeaderBuf, Wraps};
use waxseal::runtime::{Monotonic, Runtime, ThreadRuntime};
use waxseal::{
    Aad, DataKey, EncryptionContext, Envelope, Error, Kek, Sealer, Suite, blocking, envelope::ChunkSize,
    envelope::Header, envelope::WrapSection, source::DekLease, value::Dek,
};

/// A body by the name of its target.
pub(crate) type Body = fn(&[u8]);

pub(crate) const BODIES: &[(&str, Body)] = &[
    ("parse", parse),
    ("write_parse", write_parse),
    ("open_fixed_key", open_fixed_key),
    ("stream_cuts", stream_cuts),
    ("context", context),
    #[cfg(feature = "ring")]
    ("receipt", receipt),
    #[cfg(feature = "ring")]
    ("ring_config", ring_config),
    #[cfg(feature = "ring")]
    ("profiles", profiles),
];

/// Parsing never panics, and asking for what is missing agrees with it.
pub(crate) fn parse(data: &[u8]) {
    let header = Header::parse(data).map_err(|error| error.kind());
    match Header::missing(data) {
        Ok(None) => {}
        Ok(Some(needed)) => assert!(needed > data.len() && header.is_err()),
        Err(error) => assert_eq!(header.err(), Some(error.kind())),
    }
    if let Ok(envelope) = Envelope::parse(data) {
        let header = envelope.header();
        assert_eq!(header.len() + envelope.chunks().len(), data.len());
        assert_eq!(Header::missing(header.as_bytes()).ok(), Some(None));
        assert!(envelope.plaintext_len() < data.len());
        assert!(envelope.chunk_count() > 0);
        // Printing an inspected envelope never panics either.
        let _ = format!("{envelope:?}");
    }
    let _ = WrapSection::parse(data);
}

/// What was parsed is written as the same bytes, and read from a stream as the same header.
pub(crate) fn write_parse(data: &[u8]) {
    let header = match Header::parse(data) {
        Ok(header) => header,
        Err(error) => {
            let read = HeaderBuf::read_from(&mut &*data);
            assert_eq!(read.unwrap_err().kind(), error.kind());
            return;
        }
    };
    let written = header.write().unwrap();
    assert_eq!(written, header.as_bytes());
    assert_eq!(written, data[..header.len()]);
    assert!(Header::parse(&written).unwrap() == header);
    let mut rest = data;
    let read = HeaderBuf::read_from(&mut rest).unwrap();
    assert_eq!(read.as_bytes(), header.as_bytes());
    assert_eq!(rest, &data[header.len()..]);
    if let Ok(section) = header.wrap_section() {
        assert_eq!(section.stanzas().count(), section.count());
    }
}

/// The KEK and the context of the corpus.
pub(crate) fn fixed_sealer() -> &'static blocking::Sealer {
    static SEALER: LazyLock<blocking::Sealer> = LazyLock::new(|| {
        let keys = LocalKey::new(&Kek::from_bytes(&[1; 32]));
        let builder = Sealer::builder().wrap_with(keys).chunk_size(ChunkSize::MIN);
        builder.build().unwrap().into()
    });
    &SEALER
}

pub(crate) fn fixed_context() -> &'static EncryptionContext {
    static CONTEXT: LazyLock<EncryptionContext> =
        LazyLock::new(|| EncryptionContext::new([("tenant", "acme")]).unwrap());
    &CONTEXT
}

/// The DEK of the corpus's detached envelopes.
pub(crate) fn fixed_data_key() -> &'static DataKey {
    static KEY: LazyLock<DataKey> = LazyLock::new(|| {
        let lease = Arc::new(DekLease::for_sealing(
            Dek::from_bytes(&[2; 32]),
            Vec::new(),
            fixed_context(),
        ));
        let (wraps, runtime) = (Wraps::Detached(DekId([3; 16])), Arc::new(ThreadRuntime));
        assert!(runtime.now() < Monotonic(Duration::MAX));
        DataKey::from_lease(lease, &wraps, fixed_context(), runtime, Monotonic(Duration::MAX)).unwrap()
    });
    &KEY
}

/// Opening never panics, and every way to open gives the same.
pub(crate) fn open_fixed_key(data: &[u8]) {
    let (sealer, context, key) = (fixed_sealer(), fixed_context(), fixed_data_key());
    let attached = sealer.open(data, context).map(waxseal::Plaintext::into_vec);
    let mut streamed = Vec::new();
    let reader = sealer.reader(data, context);
    let ended = reader.and_then(|mut reader| reader.read_to_end(&mut streamed).map_err(ours));
    match &attached {
        Ok(opened) => assert!(ended.is_ok() && *opened == streamed),
        Err(_) => assert!(ended.is_err()),
    }
    let detached = key.open(data, Aad::none()).map(waxseal::Plaintext::into_vec);
    let mut copy = data.to_vec();
    let in_place = key
        .open_in_place(&mut copy, Aad::none())
        .map(|opened| opened.into_contiguous().to_vec());
    assert_eq!(
        detached.map_err(|error| error.kind()),
        in_place.map_err(|error| error.kind())
    );
}

/// A message sealed and opened as a stream in pieces of any size, and cut somewhere. The first bytes choose
/// suite, cut and sizes; the rest is the message.
pub(crate) fn stream_cuts(data: &[u8]) {
    let Some(([suite, a, b, c, d], payload)) = data.split_first_chunk::<5>() else {
        return;
    };
    // The message is repeated, so that short inputs reach several chunks too.
    let payload = payload.repeat(1 + usize::from(*c) % 16);
    let suite = Suite::from_id(1 + suite % 2).unwrap();
    let keys = LocalKey::new(&Kek::from_bytes(&[1; 32]));
    let builder = Sealer::builder().wrap_with(keys).suite(suite);
    let sealer: blocking::Sealer = builder.chunk_size(ChunkSize::MIN).build().unwrap().into();
    let context = fixed_context();

    let mut writer = sealer.writer(Vec::new(), context).unwrap();
    for piece in payload.chunks(1 + usize::from(*a) * 9) {
        writer.write_all(piece).unwrap();
    }
    let sealed = writer.finish().unwrap();
    assert_eq!(sealer.open(&sealed, context).unwrap(), payload);

    let cut = sealed.len() - sealed.len().min(usize::from(u16::from_be_bytes([*d, *c])));
    for end in [sealed.len(), cut] {
        let source = Pieces(&sealed[..end], 1 + usize::from(*b) * 5);
        let mut released = Vec::new();
        let ended = sealer.reader(source, context).and_then(|mut reader| {
            let mut piece = vec![0; 1 + usize::from(*a ^ *b) * 7];
            loop {
                match reader.read(&mut piece).map_err(ours)? {
                    0 => return Ok(()),
                    len => released.extend_from_slice(&piece[..len]),
                }
            }
        });
        assert_eq!(ended.is_ok(), end == sealed.len());
        assert!(payload.starts_with(&released));
        assert!(ended.is_err() || released == payload);
    }
}

/// Gives at most so many bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(self.1);
        self.0.read(&mut out[..most])
    }
}

/// Contexts are read only in their canonical form, and made from pairs in any order.
pub(crate) fn context(data: &[u8]) {
    if let Ok(context) = EncryptionContext::from_canonical(data) {
        assert_eq!(context.canonical(), data);
        let mut pairs: Vec<_> = context.pairs().collect();
        assert_eq!(pairs.len(), context.len());
        pairs.reverse();
        let again = match pairs.as_slice() {
            [] => EncryptionContext::empty(),
            pairs => EncryptionContext::new(pairs.iter().copied()).unwrap(),
        };
        assert!(again == context && again.digest() == context.digest());
    }
    // The same bytes as text, split into pairs.
    let text = String::from_utf8_lossy(data);
    let pairs: Vec<_> = text.split('\n').filter_map(|line| line.split_once('=')).collect();
    if let Ok(context) = EncryptionContext::new(pairs.iter().copied()) {
        let again = EncryptionContext::from_canonical(context.canonical()).unwrap();
        assert!(again == context);
        assert!(pairs.iter().all(|(key, value)| context.get(key) == Some(*value)));
    }
}

fn ours(error: io::Error) -> Error {
    error.downcast().unwrap()
}

/// A receipt that is read is the one that was given, and reads again as itself. Places that a census covers have one text.
#[cfg(feature = "ring")]
pub(crate) fn receipt(data: &[u8]) {
    use waxseal::ring::evidence::{CensusReceipt, Covered};
    if let Ok(receipt) = CensusReceipt::from_bytes(data) {
        let line = |bytes: &[u8]| bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec();
        assert_eq!(line(receipt.as_bytes()), line(data));
        assert!(CensusReceipt::from_bytes(receipt.as_bytes()).unwrap() == receipt);
        let _ = format!("{receipt:?}");
        let known = receipt.keys().iter().map(|count| &count.kek);
        for kek in known.chain(receipt.unknown().iter().map(|count| &count.kek)) {
            let _ = (kek.to_ref(), kek.to_string());
        }
    }
    for line in String::from_utf8_lossy(data).lines() {
        if let Ok(place) = line.parse::<Covered>() {
            assert_eq!(place.to_string(), line);
            assert!(place.covers(&place));
        }
    }
}

/// A configuration that is read is written as one that reads as the same.
#[cfg(feature = "ring")]
pub(crate) fn ring_config(data: &[u8]) {
    use std::path::Path;
    use waxseal::ring::config::RingConfig;
    let folder = Path::new("/etc/app");
    let text = String::from_utf8_lossy(data);
    let Ok(config) = RingConfig::parse(&text, folder, "ring.toml") else {
        return;
    };
    let _ = format!("{config:?}");
    // What has control characters is read, and not written.
    let Ok(written) = config.to_toml(folder) else {
        return;
    };
    assert_eq!(RingConfig::parse(&written, folder, "ring.toml").unwrap(), config);
}

/// A file of profiles is read, or refused with a place in it; and of two profiles each is the stricter one together with the other.
#[cfg(feature = "ring")]
pub(crate) fn profiles(data: &[u8]) {
    use waxseal::ring::profile::Profiles;
    let text = String::from_utf8_lossy(data);
    if text.len() > 1 << 20 {
        return;
    }
    let profiles = match Profiles::parse(&text, "f") {
        Ok(profiles) => profiles,
        Err(error) => {
            let detail = error.detail().unwrap();
            let mut places = detail.splitn(4, ':').skip(1);
            let mut next = || places.next().unwrap().parse::<usize>().unwrap();
            let (line, column) = (next(), next());
            let lines: Vec<&str> = text.split('\n').collect();
            assert!(
                line <= lines.len() && column <= lines[line - 1].chars().count() + 1,
                "{detail}"
            );
            return;
        }
    };
    let _ = format!("{profiles:?}");
    let names: Vec<&str> = profiles.names().take(20).collect();
    for a in names.iter().filter_map(|name| profiles.get(name)) {
        for b in names.iter().filter_map(|name| profiles.get(name)) {
            let both = a.stricter(b);
            assert_eq!(both, b.stricter(a));
            assert_eq!(both.stricter(a), both);
        }
    }
    for name in &names {
        // Whatever the context has to name, the caller's profile holds as well.
        if let Ok(chosen) = profiles.requirements(Some(name), None, &EncryptionContext::empty()) {
            assert!(chosen.names().any(|chosen| chosen == *name));
        }
    }
}
