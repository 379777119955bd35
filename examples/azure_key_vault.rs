//! Seals and opens under a key of Azure Key Vault.
//!
//! ```text
//! cargo run --features azure-key-vault --example azure_key_vault -- https://shop.vault.azure.net orders
//! ```
//!
//! The environment variables of Azure's tools select the login: workload identity, managed identity or a client secret.

use waxseal::backend::azure_key_vault::{Client, Config};
use waxseal::layer::Verified;
use waxseal::{Aad, EncryptionContext, Envelope, Error, ErrorKind, Result, Sealer};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(vault), Some(key)) = (arguments.next(), arguments.next()) else {
        return Err(Error::new(ErrorKind::InvalidArgument)
            .with_detail("name a vault and a key: https://NAME.vault.azure.net KEY"));
    };
    run(Config::from_env(vault)?, &key).await
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
