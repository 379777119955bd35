//! Rotates a local KEK: adds a new key variable, re-wraps all stored rows, and removes the old key.
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
//! 3. nothing is wrapped under the old key anymore, so it is removed.

use std::collections::BTreeMap;

use waxseal::backend::local::LocalKey;
use waxseal::envelope::WrapsRef;
use waxseal::{Aad, EncryptionContext, Envelope, Error, ErrorKind, Kek, Result, Sealer, blocking};

/// A table: the sealed value of each row, by its id. Any store works that replaces whole values.
type Table = BTreeMap<u32, Vec<u8>>;

fn main() -> Result<()> {
    let old = key("WAXSEAL_KEK")?;
    let next = key("WAXSEAL_KEK_NEXT")?;
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;

    // Before: all rows are under the old key.
    let sealer = blocking::Sealer::new(LocalKey::new(&old));
    let mut table = Table::new();
    let data_key = sealer.data_key(&context)?;
    for row in 0..1000_u32 {
        let plaintext = format!("user-{row}@example.com");
        let sealed = data_key.seal(plaintext.as_bytes(), Aad::new(&row.to_be_bytes()))?;
        table.insert(row, sealed);
    }
    println!("before: {:?}", census(&table)?);

    // Step 1: the old key still wraps, and the next key opens already. From now on every process can open every
    // row, whatever the order of restarts.
    let first: blocking::Sealer = Sealer::builder()
        .wrap_with(LocalKey::new(&old))
        .open_with(LocalKey::new(&next))
        .build()?
        .into();

    // Step 2: the next key wraps, and the old key only opens. A job re-wraps every row. It needs a few hundred bytes
    // of each row, however long the row is. A `Rewrapper` keeps rows of one data key together.
    let second: blocking::Sealer = Sealer::builder()
        .wrap_with(LocalKey::new(&next))
        .open_with(LocalKey::new(&old))
        .build()?
        .into();
    let mut rewrapper = second.rewrapper();
    let mut failed = 0;
    for (row, sealed) in &mut table {
        let rewrapped = rewrapper
            .rewrap(sealed, &context)
            .and_then(|wraps| wraps.map(|wraps| wraps.splice(sealed)).transpose());
        match rewrapped {
            // In a database: update … where id = $row and value = $sealed, so that no newer value is lost.
            Ok(Some(rewrapped)) => *sealed = rewrapped,
            // The row is under the next key already.
            Ok(None) => {}
            Err(error) => {
                eprintln!("row {row}: {error}");
                failed += 1;
            }
        }
    }
    println!(
        "after:  {:?}, {failed} failed, {:?}",
        census(&table)?,
        rewrapper.counts()
    );
    // A process of step 1 that still runs can read what step 2 has written.
    first.open(&table[&7], context.with_aad(&7_u32.to_be_bytes()))?;

    // Step 3: remove the old key, but only after the census has found no row under it.
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

/// Counts the rows under each KEK. Needs no key.
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

/// Reads the key from a variable. If it is not set, generates a key, so that the example runs without setup.
fn key(variable: &str) -> Result<Kek> {
    match std::env::var(variable) {
        Ok(text) => waxseal::backend::local::kek_from_text(&text.into()),
        Err(_) => {
            println!("{variable} is not set: generating a key");
            Kek::generate()
        }
    }
}
