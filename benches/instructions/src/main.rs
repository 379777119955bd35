//! Does one hot path a number of times: `waxseal-instructions PATH TIMES`, or lists the paths without arguments.
//!
//! `scripts/instructions` runs each under callgrind with two numbers; the difference is what one more time costs,
//! without start-up and preparation.

use std::hint::black_box;
use std::process::ExitCode;

use waxseal::backend::local::LocalKey;
use waxseal::source::Caching;
use waxseal::{Aad, DataKey, EncryptionContext, Envelope, Kek, Result, blocking::Sealer};

mod ring;

const PLAINTEXT: [u8; 100] = [7; 100];

/// What the paths work on.
struct Subject {
    sealer: Sealer,
    /// With a cache, and with a ring and a cache.
    cached: Sealer,
    ring: Sealer,
    context: EncryptionContext,
    key: DataKey,
    sealed: Vec<u8>,
    sealed_cached: Vec<u8>,
    sealed_ring: Vec<u8>,
    out: Vec<u8>,
}

type Path = fn(&mut Subject) -> Result<()>;

/// The paths, by the names they have in `baseline`.
const PATHS: [(&str, Path); 9] = [
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
    ("cached-seal-100", |subject| seal(&subject.cached, &subject.context)),
    ("ring-seal-100", |subject| seal(&subject.ring, &subject.context)),
    ("cached-open-100", |subject| {
        open(&subject.cached, &subject.sealed_cached, &subject.context)
    }),
    ("ring-open-100", |subject| {
        open(&subject.ring, &subject.sealed_ring, &subject.context)
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

fn seal(sealer: &Sealer, context: &EncryptionContext) -> Result<()> {
    let binding = context.with_aad(b"row 7");
    black_box(sealer.seal(black_box(&PLAINTEXT), binding)?);
    Ok(())
}

fn open(sealer: &Sealer, sealed: &[u8], context: &EncryptionContext) -> Result<()> {
    let binding = context.with_aad(b"row 7");
    black_box(sealer.open(black_box(sealed), binding)?);
    Ok(())
}

fn run(path: Path, times: u32) -> Result<()> {
    let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
    let key = sealer.data_key(&context)?;
    let cached = waxseal::Sealer::builder()
        .wrap_with(LocalKey::new(&Kek::generate()?))
        .cache(Caching::default());
    let cached = Sealer::from(cached.build()?);
    let ring = Sealer::from(ring::open()?.sealer().build()?);
    let binding = || context.with_aad(b"row 7");
    let (sealed_cached, sealed_ring) =
        (cached.seal(&PLAINTEXT, binding())?, ring.seal(&PLAINTEXT, binding())?);
    let sealed = key.seal(&PLAINTEXT, Aad::new("row 7"))?;
    let mut subject = Subject {
        sealer,
        cached,
        ring,
        sealed_cached,
        sealed_ring,
        context,
        key,
        sealed,
        out: Vec::with_capacity(1024),
    };
    (0..times).try_for_each(|_| path(&mut subject))
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
