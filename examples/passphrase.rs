//! Seals and opens under a passphrase, then moves the value to a key that nobody has to type.
//!
//! ```text
//! PASSPHRASE='correct horse battery staple' cargo run --example passphrase
//! ```

use waxseal::backend::local::{LocalKey, PassphraseKey};
use waxseal::{EncryptionContext, ErrorKind, Kek, Result, Sealer, blocking};

fn main() -> Result<()> {
    let passphrase = match PassphraseKey::from_env("PASSPHRASE") {
        Ok(passphrase) => passphrase,
        Err(error) => {
            println!("{error}");
            println!("taking a passphrase that everybody knows");
            PassphraseKey::new("correct horse battery staple".into())?
        }
    };
    let notes = EncryptionContext::new([("purpose", "notes")])?;

    // The derivation is slow on purpose. It runs once for each key manager, not once for each value.
    let by_hand = blocking::Sealer::new(passphrase.clone());
    let sealed = by_hand.seal(b"meet at noon", &notes)?;
    println!("sealed     {} bytes under a passphrase", sealed.len());
    println!(
        "opened     {}",
        String::from_utf8_lossy(&by_hand.open(&sealed, &notes)?)
    );

    let key = Kek::generate()?;
    let moving = Sealer::builder()
        .wrap_with(LocalKey::new(&key))
        .open_with(passphrase)
        .build()?;
    let moving = blocking::Sealer::from(moving);
    let moved = moving.rewrap(&sealed, &notes)?.splice(&sealed)?;
    let by_machine = blocking::Sealer::new(LocalKey::new(&key));
    println!(
        "moved      {}",
        String::from_utf8_lossy(&by_machine.open(&moved, &notes)?)
    );

    // Neither key opens what is only under the other.
    let refused = by_hand.open(&moved, &notes).map_err(|error| error.kind());
    println!("passphrase {:?}", refused.err().unwrap_or(ErrorKind::CannotOpen));
    Ok(())
}
