//! Seals, inspects, opens and re-wraps a value under a local key. Needs no setup:
//!
//! ```text
//! cargo run --example quickstart
//! ```

use waxseal::backend::local::LocalKey;
use waxseal::envelope::WrapsRef;
use waxseal::{EncryptionContext, Envelope, ErrorKind, Kek, blocking::Sealer};

fn main() -> waxseal::Result<()> {
    // An application takes its key from the environment: LocalKey::from_env("WAXSEAL_KEK")?
    let old_kek = Kek::generate()?;
    let sealer = Sealer::new(LocalKey::new(&old_kek));

    // Sealing and opening take one line each. The context is coarse (tenant, table), the AAD is fine (row).
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
    let sealed = sealer.seal(b"alice@example.com", context.with_aad(b"row 7"))?;
    let opened = sealer.open(&sealed, context.with_aad(b"row 7"))?;
    println!("sealed     {} bytes to {} bytes", opened.len(), sealed.len());
    println!("opened     {}", String::from_utf8_lossy(&opened));

    // Anybody can see which key wraps the value. Nobody sees more without that key.
    println!("inspected  wrapped under {}", wrapped_under(&sealed)?);

    // The value of another row is refused, and so is another tenant's context.
    let other_row = sealer.open(&sealed, context.with_aad(b"row 8"));
    println!("row 8      {}", refused(other_row.map(|_| ())));
    let other_tenant = EncryptionContext::new([("tenant", "globex"), ("table", "users")])?;
    println!(
        "globex     {}",
        refused(sealer.open(&sealed, other_tenant.with_aad(b"row 7")).map(|_| ()))
    );

    // The new key wraps, and the old key only opens. The re-wrap replaces the wrap and no byte of the payload.
    let new_kek = Kek::generate()?;
    let rotating = waxseal::Sealer::builder()
        .wrap_with(LocalKey::new(&new_kek))
        .open_with(LocalKey::new(&old_kek))
        .build()?;
    let new_wraps = Sealer::from(rotating).rewrap(&sealed, &context)?;
    let rewrapped = new_wraps.splice(&sealed)?;
    println!("re-wrapped under {}", wrapped_under(&rewrapped)?);
    assert_eq!(
        rewrapped[new_wraps.prefix().len()..],
        sealed[new_wraps.replaces()..]
    );

    // From now on nobody needs the old key.
    let sealer = Sealer::new(LocalKey::new(&new_kek));
    let opened = sealer.open(&rewrapped, context.with_aad(b"row 7"))?;
    println!(
        "opened     {} with the new key alone",
        String::from_utf8_lossy(&opened)
    );
    println!(
        "old wrap   {}",
        refused(sealer.open(&sealed, context.with_aad(b"row 7")).map(|_| ()))
    );
    Ok(())
}

fn wrapped_under(sealed: &[u8]) -> waxseal::Result<String> {
    let envelope = Envelope::parse(sealed)?;
    let WrapsRef::Attached(wraps) = envelope.header().wraps() else {
        return Ok("a DEK store".into());
    };
    let names: Vec<String> = wraps
        .stanzas()
        .map(|wrap| format!("{} {} ({})", wrap.provider, wrap.kek_id, wrap.algorithm))
        .collect();
    Ok(names.join(", "))
}

fn refused(result: waxseal::Result<()>) -> String {
    match result {
        Ok(()) => "opened, which it must not!".into(),
        Err(error) if matches!(error.kind(), ErrorKind::CannotOpen | ErrorKind::NoUsableKey) => {
            format!("refused: {error}")
        }
        Err(error) => format!("failed in another way: {error}"),
    }
}
