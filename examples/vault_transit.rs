//! Seals and opens under a Transit key of HashiCorp Vault or OpenBao.
//!
//! ```text
//! export VAULT_ADDR=https://vault.example:8200 VAULT_TOKEN=...
//! cargo run --features vault-transit --example vault_transit -- orders
//! ```
//!
//! `Auth` supports logins for machines: AppRole, Kubernetes and JWT, with renewal.

use waxseal::backend::vault_transit::{Client, Config};
use waxseal::layer::Verified;
use waxseal::{Aad, EncryptionContext, Envelope, Error, ErrorKind, Result, Sealer};

#[tokio::main]
async fn main() -> Result<()> {
    let Some(key) = std::env::args().nth(1) else {
        return Err(Error::new(ErrorKind::InvalidArgument).with_detail("name a key of the mount transit/"));
    };
    run(Config::from_env()?, &key).await
}

/// Seals a value, prints the KEK that wraps it, and opens it again.
pub(crate) async fn run(config: Config, key: &str) -> Result<()> {
    // One client for all keys of a process: it has the credentials and the connections.
    let client = Client::connect(config).await?;
    // `Verified` opens the first wrap under each version again, before anything depends on it.
    let sealer = Sealer::new(Verified::new(client.key(key)?));

    let users = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
    let sealed = sealer
        .seal(b"alice@example.com", users.with_aad(b"row 7"))
        .await?;
    let envelope = Envelope::parse(&sealed)?;
    for wrap in envelope.header().wrap_section()?.stanzas() {
        println!(
            "sealed     {} bytes, under {} {}",
            sealed.len(),
            wrap.kek_id,
            wrap.kek_version
        );
    }
    let opened = sealer.open(&sealed, users.with_aad(b"row 7")).await?;
    println!("opened     {}", String::from_utf8_lossy(&opened));

    // Many values of one context cost one call to the KMS, not one call for each value.
    let data_key = sealer.data_key(&users).await?;
    for row in 0..1000_u32 {
        data_key.seal(b"a value", Aad::new(&row.to_be_bytes()))?;
    }
    println!("data key   sealed 1000 values with one call");
    Ok(())
}
