//! The crate reads what another implementation wrote: every file of this folder, each a test of its own, and the worked
//! examples of the specification.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use waxseal::backend::local::{Kdf, LocalKey, PassphraseKey};
use waxseal::envelope::{DekId, HeaderBuf, Wraps, WrapsRef};
use waxseal::runtime::{Monotonic, Runtime, ThreadRuntime};
use waxseal::{
    Aad, DataKey, DekSource, EncryptionContext, Envelope, Error, ErrorKind, Kek, Sealer, blocking,
    envelope::WrapSection, key::Request, source::AnyOf, source::DekLease, value::Dek,
};

/// One file: `key: value` lines, an empty line, and the envelope in hex.
struct Vector {
    name: String,
    fields: Vec<(String, String)>,
    envelope: Vec<u8>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let fields = head.lines().map(|line| {
            let (key, value) = line.split_once(':').unwrap();
            (key.to_owned(), value.trim_start().to_owned())
        });
        Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            fields: fields.collect(),
            envelope: hex::decode(body.lines().collect::<String>()).unwrap(),
        }
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        let found = self.fields.iter().filter(move |(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        hex::decode(self.get(key).unwrap_or_default()).unwrap()
    }

    fn context(&self) -> EncryptionContext {
        let text = |half: &str| String::from_utf8(hex::decode(half).unwrap()).unwrap();
        let pairs: Vec<_> = self
            .all("context")
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(key, value)| (text(key), text(value)))
            .collect();
        if pairs.is_empty() {
            EncryptionContext::empty()
        } else {
            EncryptionContext::new(pairs).unwrap()
        }
    }

    /// What the file says is configured.
    fn keys(&self) -> Keys {
        if let Some(dek) = self.get("open-with-dek") {
            return Keys::Dek(hex::decode(dek).unwrap().try_into().unwrap());
        }
        let mut builder = Sealer::builder();
        for kek in self.all("kek") {
            let kek = Kek::from_bytes(hex::decode(kek).unwrap().as_slice().try_into().unwrap());
            builder = builder.open_with(LocalKey::new(&kek));
        }
        for passphrase in self.all("passphrase") {
            let kdf = match self.get("passphrase-kdf").unwrap() {
                "pbkdf2" => Kdf::PBKDF2,
                "argon2id" => Kdf::ARGON2ID,
                other => panic!("{other} is no KDF"),
            };
            let keys = PassphraseKey::new(passphrase.into()).unwrap().with_kdf(kdf);
            let keys = keys.unwrap().with_name(self.get("passphrase-name").unwrap());
            builder = builder.open_with(keys.unwrap());
        }
        Keys::Keks(builder.build().unwrap().into())
    }
}

enum Keys {
    Keks(blocking::Sealer),
    Dek([u8; 32]),
}

impl Keys {
    fn open(&self, envelope: &[u8], context: &EncryptionContext, aad: &[u8]) -> Result<Vec<u8>, Error> {
        let opened = match self {
            Self::Keks(sealer) => sealer.open(envelope, context.with_aad(aad)),
            Self::Dek(dek) => data_key(dek, context).open(envelope, Aad::new(aad)),
        };
        opened.map(waxseal::Plaintext::into_vec)
    }

    /// Gives what was released, and how it ended.
    fn stream(
        &self,
        mut envelope: &[u8],
        context: &EncryptionContext,
        aad: &[u8],
    ) -> (Vec<u8>, Option<Error>) {
        let mut released = Vec::new();
        let result = match self {
            Self::Keks(sealer) => sealer
                .reader(envelope, context.with_aad(aad))
                .and_then(|mut reader| reader.read_to_end(&mut released).map_err(ours)),
            Self::Dek(dek) => HeaderBuf::read_from(&mut envelope).and_then(|header| {
                let mut reader = data_key(dek, context).reader(&header.header()?, envelope, Aad::new(aad))?;
                reader.read_to_end(&mut released).map_err(ours)
            }),
        };
        (released, result.err())
    }
}

/// A store that has this DEK opens with it, whatever id an envelope names.
fn data_key(dek: &[u8; 32], context: &EncryptionContext) -> DataKey {
    let lease = Arc::new(DekLease::for_sealing(Dek::from_bytes(dek), Vec::new(), context));
    let end = ThreadRuntime.now() + Duration::from_secs(3600);
    let wraps = Wraps::Detached(DekId([0; 16]));
    DataKey::from_lease(lease, &wraps, context, Arc::new(ThreadRuntime), end).unwrap()
}

/// The error that a reader put into one of `std::io`.
fn ours(error: std::io::Error) -> Error {
    error.downcast().unwrap()
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 7 + 3) % 251).unwrap())
        .collect()
}

fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Malformed { .. } => "malformed",
        ErrorKind::UnsupportedVersion { .. } => "unsupported-version",
        ErrorKind::Unsupported { .. } => "unsupported",
        ErrorKind::OverLimit { .. } => "over-limit",
        ErrorKind::CannotOpen => "cannot-open",
        ErrorKind::NoUsableKey => "no-usable-key",
        ErrorKind::ContextMismatch => "context-mismatch",
        _ => "a kind that no vector expects",
    }
}

fn is_about_chunks(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Malformed { field: "chunks", .. })
}

fn check_quiet(name: &str, error: &Error) {
    let printed = format!("{error} {error:?}");
    for value in ["acme", "globex", "correct horse"] {
        assert!(!printed.contains(value), "{name}: {printed}");
    }
}

fn check_ok(vector: &Vector, keys: &Keys, context: &EncryptionContext, aad: &[u8]) {
    let name = &vector.name;
    let len: usize = vector.get("plaintext-length").unwrap().parse().unwrap();
    let opened = keys.open(&vector.envelope, context, aad);
    let opened = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(opened, plaintext(len), "{name}");
    assert_eq!(
        sha256_hex(&opened),
        vector.get("plaintext-sha256").unwrap(),
        "{name}"
    );
    let (streamed, error) = keys.stream(&vector.envelope, context, aad);
    assert!(error.is_none(), "{name}: {error:?}");
    assert_eq!(streamed, opened, "{name}");

    let envelope = Envelope::parse(&vector.envelope).unwrap();
    assert_eq!(envelope.plaintext_len(), len, "{name}");
    let header = envelope.header();
    assert_eq!(header.write().unwrap(), vector.envelope[..header.len()], "{name}");
    assert_eq!(
        header.body().commitment()[..],
        vector.bytes("commitment"),
        "{name}"
    );
    assert_eq!(context.digest()[..], vector.bytes("context-digest"), "{name}");
}

// spec: ERR-1
fn check_refused(vector: &Vector, keys: &Keys, context: &EncryptionContext, aad: &[u8]) {
    let (name, expected) = (&vector.name, vector.get("expect").unwrap());
    let Err(error) = keys.open(&vector.envelope, context, aad) else {
        panic!("{name} opened");
    };
    assert_eq!(kind_name(error.kind()), expected, "{name}: {error}");
    check_quiet(name, &error);

    let (released, streamed) = keys.stream(&vector.envelope, context, aad);
    let streamed = streamed.unwrap_or_else(|| panic!("{name} opened as a stream"));
    // A stream does not know the length of its chunks beforehand, so it may meet another fault of them first.
    let same = kind_name(streamed.kind()) == expected
        || (is_about_chunks(error.kind()) && streamed.kind() == ErrorKind::CannotOpen)
        || (error.kind() == ErrorKind::CannotOpen && is_about_chunks(streamed.kind()));
    assert!(same, "{name}: {error} but as a stream {streamed}");
    check_quiet(name, &streamed);
    assert_eq!(released, plaintext(released.len()), "{name}");
    if Envelope::parse(&vector.envelope).is_ok_and(|envelope| envelope.chunk_count() == 1) {
        assert!(
            released.is_empty(),
            "{name} released a chunk that is not authentic"
        );
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

/// The folder of the library.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

// spec: KEY-2, BODY-1
fn the_examples_of_the_specification_open() {
    let text = std::fs::read_to_string(root().join("docs/spec/examples.json")).unwrap();
    let examples: serde_json::Value = serde_json::from_str(&text).unwrap();
    let examples = examples.as_array().unwrap();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let bytes = |key: &str| hex::decode(example[key].as_str().unwrap()).unwrap();
        let name = example["name"].as_str().unwrap();
        let pairs = example["context"].as_array().unwrap().iter();
        let pairs: Vec<_> = pairs
            .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
            .collect();
        let context = match pairs.as_slice() {
            [] => EncryptionContext::empty(),
            pairs => EncryptionContext::new(pairs.iter().copied()).unwrap(),
        };
        let (envelope, aad) = (bytes("envelope"), bytes("aad"));
        let kek = Kek::from_bytes(bytes("kek").as_slice().try_into().unwrap());
        let dek: [u8; 32] = bytes("dek").try_into().unwrap();

        let by_dek = data_key(&dek, &context).open(&envelope, Aad::new(&aad));
        assert_eq!(by_dek.unwrap(), bytes("plaintext"), "{name}");
        let parsed = Envelope::parse(&envelope).unwrap();
        if let WrapsRef::Detached(id) = parsed.header().wraps() {
            assert_eq!(id.0[..], bytes("dek_id"), "{name}");
            // What the DEK store holds leads to the same DEK.
            let section = bytes("wrap_section");
            let section = WrapSection::parse(&section).unwrap();
            let source = AnyOf::new(LocalKey::new(&kek));
            let request = Request::new(&context);
            let lease = pollster::block_on(source.open_dek(section, parsed.header().body(), &request));
            assert_eq!(lease.unwrap().dek().expose_bytes(), &dek, "{name}");
        } else {
            let sealer = blocking::Sealer::new(LocalKey::new(&kek));
            let opened = sealer.open(&envelope, context.with_aad(&aad));
            assert_eq!(opened.unwrap(), bytes("plaintext"), "{name}");
        }
    }
}

/// The table of measured single-bit flips in the specification, which the other reader gives too.
fn every_single_bit_flip_of_the_examples_has_the_kind_that_the_specification_counts() {
    let text = std::fs::read_to_string(root().join("docs/spec/examples.json")).unwrap();
    let examples: serde_json::Value = serde_json::from_str(&text).unwrap();
    let spec = std::fs::read_to_string(root().join("docs/spec/envelope-v1.md")).unwrap();
    for (example, letter) in examples.as_array().unwrap().iter().zip(["A", "B"]) {
        let bytes = |key: &str| hex::decode(example[key].as_str().unwrap()).unwrap();
        let pairs = example["context"].as_array().unwrap().iter();
        let pairs = pairs.map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
        let context = EncryptionContext::new(pairs).unwrap();
        let kek = Kek::from_bytes(bytes("kek").as_slice().try_into().unwrap());
        let sealer = blocking::Sealer::new(LocalKey::new(&kek));
        let (envelope, aad) = (bytes("envelope"), bytes("aad"));
        let columns = [
            "malformed",
            "unsupported-version",
            "unsupported",
            "over-limit",
            "context-mismatch",
            "no-usable-key",
            "cannot-open",
        ];
        let mut counts = [0_usize; 7];
        for bit in 0..8 * envelope.len() {
            let mut flipped = envelope.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = sealer.open(&flipped, context.with_aad(&aad)).unwrap_err();
            let column = columns.iter().position(|name| *name == kind_name(error.kind()));
            counts[column.unwrap()] += 1;
        }
        let row = spec.lines().find(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            cells.len() == 12 && cells[1] == letter
        });
        let cells = row.unwrap().split('|').map(|cell| cell.trim().replace(',', ""));
        let cells: Vec<usize> = cells.filter_map(|cell| cell.parse().ok()).collect();
        let expected = [&[8 * envelope.len()][..], &counts, &[0]].concat();
        assert_eq!(cells, expected, "example {letter}");
    }
}

fn a_data_key_that_has_ended_opens_no_stream() {
    let context = EncryptionContext::empty();
    let lease = Arc::new(DekLease::for_sealing(
        Dek::from_bytes(&[7; 32]),
        Vec::new(),
        &context,
    ));
    let wraps = Wraps::Detached(DekId([0; 16]));
    let (runtime, end) = (Arc::new(ThreadRuntime), Monotonic(Duration::MAX));
    let key = DataKey::from_lease(Arc::clone(&lease), &wraps, &context, runtime, end).unwrap();
    let sealed = key.seal(b"hello", Aad::none()).unwrap();
    let header = HeaderBuf::read_from(&mut sealed.as_slice()).unwrap();
    let header = header.header().unwrap();
    let mut opened = Vec::new();
    let chunks = &sealed[header.len()..];
    key.reader(&header, chunks, Aad::none())
        .unwrap()
        .read_to_end(&mut opened)
        .unwrap();
    assert_eq!(opened, b"hello");

    let mut began = key.reader(&header, chunks, Aad::none()).unwrap();
    lease.revoke();
    let error = key.reader(&header, chunks, Aad::none()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::KeyRevoked);
    let error = ours(began.read_to_end(&mut opened).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::KeyRevoked);
}

/// A test for a file, under its name.
fn trial(path: &Path) -> Trial {
    let vector = Vector::read(path);
    Trial::test(format!("file::{}", vector.name), move || {
        let (keys, context, aad) = (vector.keys(), vector.context(), vector.bytes("aad"));
        if vector.get("expect").unwrap() == "ok" {
            check_ok(&vector, &keys, &context, &aad);
        } else {
            check_refused(&vector, &keys, &context, &aad);
        }
        Ok(())
    })
}

/// A folder without its files would pass, and test nothing.
fn the_vectors_are_all_there(files: &[PathBuf]) {
    let opens = |file: &&PathBuf| Vector::read(file).get("expect") == Some("ok");
    let opened = files.iter().filter(opens).count();
    let refused = files.len() - opened;
    assert!(opened >= 40, "only {opened} vectors that open were found");
    assert!(refused >= 150, "only {refused} vectors that fail were found");
}

fn main() -> ExitCode {
    let folder = std::fs::read_dir(root().join("tests/vectors")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let others: [(&str, fn()); 3] = [
        (
            "the_examples_of_the_specification_open",
            the_examples_of_the_specification_open,
        ),
        (
            "every_single_bit_flip_of_the_examples_has_the_kind_that_the_specification_counts",
            every_single_bit_flip_of_the_examples_has_the_kind_that_the_specification_counts,
        ),
        (
            "a_data_key_that_has_ended_opens_no_stream",
            a_data_key_that_has_ended_opens_no_stream,
        ),
    ];
    let mut trials: Vec<_> = files.iter().map(|file| trial(file)).collect();
    trials.extend(others.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    }));
    trials.push(Trial::test("the_vectors_are_all_there", move || {
        the_vectors_are_all_there(&files);
        Ok(())
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
