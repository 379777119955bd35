//! Moves a sealed value from one KMS to the next, in a ring back to the first. Each move is a re-wrap of a few hundred
//! bytes, and the body does not change.
//!
//! ```text
//! cargo run --example switch_kms                                 # three local keys
//! cargo run --all-features --example switch_kms -- env:WAXSEAL_KEK \
//!     'vault-transit:orders?addr=https://vault.example:8200' aws-kms:alias/orders
//! ```
//!
//! In a deployment only `WAXSEAL_KMS_URI` changes, and `WAXSEAL_KMS_ALSO_OPEN` names the old key until a job
//! has re-wrapped every row.

use std::sync::Arc;

use waxseal::backend::kek_uri::open_key_manager;
use waxseal::backend::local::LocalKey;
use waxseal::key::RewrapRules;
use waxseal::{EncryptionContext, Envelope, Error, ErrorKind, Kek, KeyManager, Result, Sealer};

/// A key on the way, and its name.
pub(crate) type Stop = (String, Arc<dyn KeyManager>);

#[tokio::main]
async fn main() -> Result<()> {
    run().await
}

async fn run() -> Result<()> {
    let mut stops: Vec<Stop> = Vec::new();
    for uri in std::env::args().skip(1) {
        let key_manager = open_key_manager(&uri).await?;
        stops.push((uri, key_manager));
    }
    if stops.is_empty() {
        println!("no keys are named: taking three fresh local ones");
        for name in ["first", "second", "third"] {
            stops.push((name.to_owned(), Arc::new(LocalKey::new(&Kek::generate()?))));
        }
    }
    let context = EncryptionContext::new([("tenant", "acme"), ("table", "orders")])?;
    let payload = vec![0x5a; 200_000];
    for (name, size) in travel(&stops, &context, &payload).await? {
        println!("{size} bytes before the body, under {name}");
    }
    println!("the body never changed");
    Ok(())
}

/// Seals under the first key, re-wraps under each other key and under the first again. Returns the number of bytes before
/// the body at each stop.
pub(crate) async fn travel(
    stops: &[Stop],
    context: &EncryptionContext,
    payload: &[u8],
) -> Result<Vec<(String, usize)>> {
    let stranger = EncryptionContext::new([("tenant", "mallory")])?;
    let mut way = stops.iter().chain(stops.first());
    let (name, here) = way
        .next()
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument).with_detail("name at least one key"))?;
    let mut here = here;
    let mut sealed = Sealer::new(Arc::clone(here)).seal(payload, context).await?;
    let mut sizes = vec![(name.clone(), body_offset(&sealed)?)];
    for (name, next) in way {
        // The next key wraps, and the key before it still opens, like in every process during a move.
        let moving = Sealer::builder()
            .wrap_with(Arc::clone(next))
            .open_with(Arc::clone(here))
            // The next key may be an RSA key, which a quantum computer breaks. Without this rule the re-wrap is then refused.
            .rewrap_rules(RewrapRules::new().weakening())
            .build()?;
        check(
            moving.rewrap(&sealed, &stranger).await.is_err(),
            "re-wrapped in another context",
        )?;
        let moved = moving.rewrap(&sealed, context).await?.splice(&sealed)?;
        let body =
            |envelope: &[u8]| Ok::<_, Error>(envelope.get(body_offset(envelope)?..).map(<[u8]>::to_vec));
        check(body(&moved)? == body(&sealed)?, "the body has changed")?;

        let after = Sealer::new(Arc::clone(next));
        check(
            after.open(&moved, context).await? == payload,
            "another payload came out",
        )?;
        check(
            after.open(&moved, &stranger).await.is_err(),
            "opened in another context",
        )?;
        sizes.push((name.clone(), body_offset(&moved)?));
        (sealed, here) = (moved, next);
    }
    Ok(sizes)
}

fn body_offset(envelope: &[u8]) -> Result<usize> {
    Ok(Envelope::parse(envelope)?.header().body_offset())
}

fn check(is_so: bool, what: &str) -> Result<()> {
    match is_so {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::InvalidAnswer).with_detail(what.to_owned())),
    }
}
