//! Rotates a local KEK over everything that is stored: a new key variable, a re-wrap of all rows, the switch.
//!
//! ```text
//! cargo run --example rotate_local
//! ```
//!
//! In a deployment the two keys come from two environment variables, `WAXSEAL_KEK` and `WAXSEAL_KEK_NEXT`, and
//! the three steps are three releases:
//!
//! 1. every process gets `WAXSEAL_KEK_NEXT` as a key that only opens;
//! 2. the new key wraps and the old one only opens; a job re-wraps what is stored;
//! 3. nothing is wrapped under the old key any more: it is taken away.

use std::collections::BTreeMap;

use waxseal::backend::local::LocalKey;
use waxseal::envelope::WrapsRef;
use waxseal::{EncryptionContext, Envelope, Error, ErrorKind, Kek, Result, Sealer, blocking};

/// A table: what a row is sealed to, by its id. Any store will do that replaces a value as a whole.
type Table = BTreeMap<u32, Vec<u8>>;

fn main() -> Result<()> {
    let old = key("WAXSEAL_KEK")?;
    let next = key("WAXSEAL_KEK_NEXT")?;
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;

    // Before: all rows are under the old key.
    let sealer = blocking::Sealer::new(LocalKey::new(&old));
    let mut table = Table::new();
    for row in 0..1000 {
        let plaintext = format!("user-{row}@example.com");
        table.insert(
            row,
            sealer.seal(plaintext.as_bytes(), context.with_aad(&row.to_be_bytes()))?,
        );
    }
    println!("before: {:?}", census(&table)?);

    // Step 1: the old key still wraps, and the next one opens already. From here on no process meets a row
    // that it cannot open, in whatever order they are restarted.
    let first: blocking::Sealer = Sealer::builder()
        .wrap_with(LocalKey::new(&old))
        .open_with(LocalKey::new(&next))
        .build()?
        .into();

    // Step 2: the next key wraps, the old one opens. What is stored is re-wrapped: a few hundred bytes are
    // read and written for each row, however long it is.
    let second: blocking::Sealer = Sealer::builder()
        .wrap_with(LocalKey::new(&next))
        .open_with(LocalKey::new(&old))
        .build()?
        .into();
    let mut failed = 0;
    for (row, sealed) in &mut table {
        match second
            .rewrap(sealed, &context)
            .and_then(|wraps| wraps.splice(sealed))
        {
            // In a database: update … where id = $row and value = $sealed, so that no newer value is lost.
            Ok(rewrapped) => *sealed = rewrapped,
            Err(error) => {
                eprintln!("row {row}: {error}");
                failed += 1;
            }
        }
    }
    println!("after:  {:?}, {failed} failed", census(&table)?);
    // A process of step 1 that is still running reads what step 2 has written.
    first.open(&table[&7], context.with_aad(&7_u32.to_be_bytes()))?;

    // Step 3: only when the census shows no row under the old key is it taken away.
    let old_id = LocalKey::new(&old).kek_id().to_owned();
    if failed > 0 || census(&table)?.contains_key(&old_id) {
        return Err(Error::new(ErrorKind::PolicyRefused).with_detail("rows are still under the old key"));
    }
    let last = blocking::Sealer::new(LocalKey::new(&next));
    for (row, sealed) in &table {
        let opened = last.open(sealed, context.with_aad(&row.to_be_bytes()))?;
        assert_eq!(opened, format!("user-{row}@example.com").as_bytes());
    }
    println!("all {} rows open with the new key alone", table.len());
    Ok(())
}

/// Under which KEKs the rows are. Needs no key.
fn census(table: &Table) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for sealed in table.values() {
        if let WrapsRef::Attached(wraps) = Envelope::parse(sealed)?.header().wraps() {
            for wrap in wraps.stanzas() {
                *counts.entry(wrap.kek_id.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

/// The key in a variable; a fresh one where it is not set, so that the example runs without any setup.
fn key(variable: &str) -> Result<Kek> {
    match std::env::var(variable) {
        Ok(text) => waxseal::backend::local::kek_from_text(&text.into()),
        Err(_) => {
            println!("{variable} is not set: taking a fresh key");
            Kek::generate()
        }
    }
}
