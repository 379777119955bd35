//! Seals a directory tree to another, and opens it again. Every file is a stream in constant memory. The path of a
//! file is its AAD, so that nobody can exchange two files.
//!
//! ```text
//! WAXSEAL_KEK=$(waxseal keygen) cargo run --example files -- seal PLAIN SEALED
//! cargo run --example files -- open SEALED PLAIN
//! cargo run --example files                          # a round trip over a small example tree
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write, copy};
use std::path::{Path, PathBuf};

use waxseal::backend::local::LocalKey;
use waxseal::{EncryptionContext, Kek, blocking::Sealer};

type Outcome<T> = Result<T, Box<dyn Error>>;
/// Work on one file: source, destination and AAD.
type Work<'a> = &'a dyn Fn(&Path, &Path, &[u8]) -> Outcome<()>;

fn main() -> Outcome<()> {
    let context = EncryptionContext::new([("purpose", "backup")])?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => demonstrate(&context),
        ["seal", from, to] => each_file(Path::new(from), Path::new(to), &|from, to, aad| {
            seal(
                &Sealer::new(LocalKey::from_env("WAXSEAL_KEK")?),
                &context,
                from,
                to,
                aad,
            )
        }),
        ["open", from, to] => each_file(Path::new(from), Path::new(to), &|from, to, aad| {
            open(
                &Sealer::new(LocalKey::from_env("WAXSEAL_KEK")?),
                &context,
                from,
                to,
                aad,
            )
        }),
        _ => Err("usage: files [seal|open FROM TO]".into()),
    }
}

fn seal(sealer: &Sealer, context: &EncryptionContext, from: &Path, to: &Path, aad: &[u8]) -> Outcome<()> {
    let mut writer = sealer.writer(BufWriter::new(File::create(to)?), context.with_aad(aad))?;
    copy(&mut File::open(from)?, &mut writer)?;
    writer.finish()?;
    Ok(())
}

fn open(sealer: &Sealer, context: &EncryptionContext, from: &Path, to: &Path, aad: &[u8]) -> Outcome<()> {
    let mut reader = sealer.reader(BufReader::new(File::open(from)?), context.with_aad(aad))?;
    // A stream returns each chunk when it is verified, and an error at the end if the stream was cut off. So the
    // file gets its name only when it is complete.
    let partial = to.with_extension("partial");
    let mut out = File::create(&partial)?;
    let copied = copy(&mut reader, &mut out).and_then(|_| out.flush());
    match copied {
        Ok(()) => fs::rename(&partial, to)?,
        Err(error) => {
            fs::remove_file(&partial)?;
            return Err(format!("{}: {error}", from.display()).into());
        }
    }
    Ok(())
}

/// Calls `work` for each file below `from`, with the same path below `to` and the relative path.
fn each_file(from: &Path, to: &Path, work: Work<'_>) -> Outcome<()> {
    let mut below = vec![PathBuf::new()];
    while let Some(relative) = below.pop() {
        fs::create_dir_all(to.join(&relative))?;
        for entry in fs::read_dir(from.join(&relative))? {
            let entry = entry?;
            let relative = relative.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                below.push(relative);
            } else if entry.file_type()?.is_file() {
                work(
                    &entry.path(),
                    &to.join(&relative),
                    relative.as_os_str().as_encoded_bytes(),
                )?;
                println!("{}", relative.display());
            }
        }
    }
    Ok(())
}

fn demonstrate(context: &EncryptionContext) -> Outcome<()> {
    let root = std::env::temp_dir().join(format!("waxseal-files-{}", std::process::id()));
    let (plain, sealed, opened) = (root.join("plain"), root.join("sealed"), root.join("opened"));
    fs::create_dir_all(plain.join("letters"))?;
    fs::write(plain.join("letters/first.txt"), "Dear reader")?;
    fs::write(plain.join("numbers.bin"), vec![7; 3_000_000])?;

    let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
    println!("sealing to {}", sealed.display());
    each_file(&plain, &sealed, &|from, to, aad| {
        seal(&sealer, context, from, to, aad)
    })?;
    println!("opening to {}", opened.display());
    each_file(&sealed, &opened, &|from, to, aad| {
        open(&sealer, context, from, to, aad)
    })?;
    assert_eq!(
        fs::read(opened.join("numbers.bin"))?,
        fs::read(plain.join("numbers.bin"))?
    );

    // A file under another name is refused, and so is a file that was cut off.
    fs::rename(
        sealed.join("letters/first.txt"),
        sealed.join("letters/second.txt"),
    )?;
    let cut = fs::read(sealed.join("numbers.bin"))?;
    fs::write(sealed.join("numbers.bin"), &cut[..cut.len() / 2])?;
    for name in ["letters/second.txt", "numbers.bin"] {
        let refused = open(
            &sealer,
            context,
            &sealed.join(name),
            &opened.join("refused"),
            name.as_bytes(),
        );
        println!("refused: {}", refused.err().ok_or("a file opened that must not")?);
    }
    fs::remove_dir_all(&root)?;
    Ok(())
}
