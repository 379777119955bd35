//! Does one hot path a number of times: `waxseal-instructions PATH TIMES`, or lists the paths without arguments.
//!
//! `scripts/instructions` runs each under callgrind with two numbers; the difference is what one more time costs,
//! without start-up and preparation.

use std::hint::black_box;
use std::process::ExitCode;

use waxseal::audit::Auditor;
use waxseal::backend::local::LocalKey;
use waxseal::source::Caching;
use waxseal::{Aad, DataKey, EncryptionContext, Envelope, Kek, Result, blocking::Sealer};

mod ring;

const PLAINTEXT: [u8; 100] = [7; 100];

/// What the paths work on.
struct Subject {
    sealer: Sealer,
    /// The same with a cache, which is warm.
    cached: Sealer,
    /// The same with an auditor, which sees no release of the cache.
    audited: Sealer,
    /// The same with a key ring and a cache.
    ring: Sealer,
    context: EncryptionContext,
    key: DataKey,
    sealed: Vec<u8>,
    cached_sealed: Vec<u8>,
    audited_sealed: Vec<u8>,
    ring_sealed: Vec<u8>,
    out: Vec<u8>,
}

type Path = fn(&mut Subject) -> Result<()>;

/// The paths, by the names they have in `baseline`.
const PATHS: [(&str, Path); 10] = [
    ("data-key-seal-100", |subject| {
        subject.out.clear();
        subject
            .key
            .seal_into(black_box(&PLAINTEXT), Aad::new("row 7"), &mut subject.out)
    }),
    ("data-key-open-100", |subject| {
        subject.out.clear();
        subject
            .key
            .open_into(black_box(&subject.sealed), Aad::new("row 7"), &mut subject.out)
    }),
    ("parse", |subject| {
        black_box(Envelope::parse(black_box(&subject.sealed))?.plaintext_len());
        Ok(())
    }),
    ("one-off-seal-100", |subject| {
        let binding = subject.context.with_aad(b"row 7");
        black_box(subject.sealer.seal(black_box(&PLAINTEXT), binding)?);
        Ok(())
    }),
    ("cached-seal-100", |subject| {
        let binding = subject.context.with_aad(b"row 7");
        black_box(subject.cached.seal(black_box(&PLAINTEXT), binding)?);
        Ok(())
    }),
    ("cached-open-100", |subject| {
        let binding = subject.context.with_aad(b"row 7");
        black_box(subject.cached.open(black_box(&subject.cached_sealed), binding)?);
        Ok(())
    }),
    ("audited-open-100", |subject| {
        let binding = subject.context.with_aad(b"row 7");
        black_box(subject.audited.open(black_box(&subject.audited_sealed), binding)?);
        Ok(())
    }),
    ("ring-seal-100", |subject| {
        let binding = subject.context.with_aad(b"row 7");
        black_box(subject.ring.seal(black_box(&PLAINTEXT), binding)?);
        Ok(())
    }),
    ("ring-open-100", |subject| {
        let binding = subject.context.with_aad(b"row 7");
        black_box(subject.ring.open(black_box(&subject.ring_sealed), binding)?);
        Ok(())
    }),
    ("rewrap", |subject| {
        black_box(
            subject
                .sealer
                .rewrap(black_box(&subject.sealed), &subject.context)?,
        );
        Ok(())
    }),
];

/// How many subjects take turns: each has hash tables with seeds of its own, which move a count by a percent.
const SUBJECTS: usize = 4;

fn subject() -> Result<Subject> {
    let kek = Kek::generate()?;
    let sealer = Sealer::new(LocalKey::new(&kek));
    let cached = waxseal::Sealer::builder()
        .wrap_with(LocalKey::new(&kek))
        .cache(Caching::default());
    let cached = Sealer::from(cached.build()?);
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
    let key = sealer.data_key(&context)?;
    let sealed = key.seal(&PLAINTEXT, Aad::new("row 7"))?;
    let cached_sealed = cached.seal(&PLAINTEXT, context.with_aad(b"row 7"))?;
    cached.open(&cached_sealed, context.with_aad(b"row 7"))?;
    let audited = waxseal::Sealer::builder()
        .wrap_with(LocalKey::new(&kek))
        .audit(Auditor::builder().tracing().build()?)
        .cache(Caching::default());
    let audited = Sealer::from(audited.build()?);
    let audited_sealed = audited.seal(&PLAINTEXT, context.with_aad(b"row 7"))?;
    audited.open(&audited_sealed, context.with_aad(b"row 7"))?;
    let ring = Sealer::from(ring::open()?.sealer().build()?);
    let ring_sealed = ring.seal(&PLAINTEXT, context.with_aad(b"row 7"))?;
    ring.open(&ring_sealed, context.with_aad(b"row 7"))?;
    Ok(Subject {
        sealer,
        cached,
        audited,
        ring,
        context,
        key,
        sealed,
        cached_sealed,
        audited_sealed,
        ring_sealed,
        out: Vec::with_capacity(1024),
    })
}

fn run(path: Path, times: u32) -> Result<()> {
    let mut subjects = (0..SUBJECTS).map(|_| subject()).collect::<Result<Vec<_>>>()?;
    (0..times).zip((0..SUBJECTS).cycle()).try_for_each(|(_, index)| {
        subjects.get_mut(index).map_or(Ok(()), path)
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = arguments.as_slice() else {
        PATHS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let path = PATHS.iter().find(|(known, _)| known == name);
    let (Some((_, path)), Ok(times)) = (path, times.parse()) else {
        eprintln!("no such path, or not a number: {name} {times}");
        return ExitCode::FAILURE;
    };
    match run(*path, times) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
