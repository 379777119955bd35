//! A policy in a source of its own: two wraps, and both have to open.
//!
//! ```text
//! cargo run --example two_wraps
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use waxseal::backend::local::LocalKey;
use waxseal::envelope::{BodyHead, KekRef, WrapSection, WrapSet};
use waxseal::key::{Request, Unwrapped};
use waxseal::source::{DekLease, Fate, Rewrapped};
use waxseal::value::{Attempt, Dek};
use waxseal::{DekSource, EncryptionContext, Error, ErrorKind, Kek, KeyManager, Result, Sealer, blocking};

fn main() -> Result<()> {
    let (one, two) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
    let context = EncryptionContext::new([("tenant", "acme")])?;
    let strict = blocking::Sealer::from(Sealer::from_source(TwoWraps::new(one.clone(), two)));
    let sealed = strict.seal(b"hello", &context)?;
    println!("under both keys: {}", strict.open(&sealed, &context)?.len());

    // A value under one key alone opens for whoever has that key, and not under this policy.
    let simple = blocking::Sealer::new(one);
    let sealed = simple.seal(b"hello", &context)?;
    println!(
        "under one key, any sealer: {}",
        simple.open(&sealed, &context)?.len()
    );
    match strict.open(&sealed, &context) {
        Err(error) => println!("under one key, this policy: refused: {error}"),
        Ok(_) => println!("under one key, this policy: opened, which it must not!"),
    }
    Ok(())
}

/// Wraps under two KEKs, and opens only what both of them open.
///
/// The envelope is an ordinary any-of envelope, so anybody with one of the KEKs can open it through another source. The
/// policy holds for those who read through this source: a stanza counts only if it *did open* to the DEK that the body
/// commits to. What an envelope claims about algorithms and KEKs counts for nothing.
#[derive(Clone, Debug)]
pub(crate) struct TwoWraps {
    managers: [Arc<dyn KeyManager>; 2],
}

/// A stanza that opened.
struct Opened {
    index: usize,
    kek: KekRef,
    lease: DekLease,
}

impl TwoWraps {
    /// Demands wraps under both.
    pub(crate) fn new(first: impl KeyManager + 'static, second: impl KeyManager + 'static) -> Self {
        Self {
            managers: [Arc::new(first), Arc::new(second)],
        }
    }

    /// Returns the first stanza that this manager opens to the DEK of the body, other than the one `taken`; or the error to
    /// report.
    async fn opened_by(
        manager: &dyn KeyManager,
        taken: Option<usize>,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
        attempts: &mut Vec<Attempt>,
    ) -> Result<Opened> {
        let mut worst: Option<Error> = None;
        for (index, stanza) in wraps.stanzas().enumerate() {
            if taken == Some(index) || manager.recognizes(stanza).is_no() {
                continue;
            }
            let opened = async {
                stanza.checked_wrapped()?;
                let Unwrapped { dek, kek, .. } = manager.unwrap(stanza, request).await?;
                let lease = DekLease::for_opening(dek, vec![kek.clone()], body, request.context())?;
                Ok::<_, Error>(Opened { index, kek, lease })
            };
            match opened.await {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    // A failed unwrap and a commitment that does not match are the same error.
                    let error = match error.kind() {
                        ErrorKind::CannotOpen => Error::new(ErrorKind::CannotOpen),
                        _ => error,
                    };
                    attempts.push(Attempt::new(
                        stanza.provider,
                        stanza.kek_id,
                        stanza.kek_version,
                        Some(error.kind()),
                    ));
                    // An error that may pass by itself is reported before one that will not.
                    if worst.as_ref().is_none_or(|worst| !worst.is_retryable()) {
                        worst = Some(error);
                    }
                }
            }
        }
        Err(worst.unwrap_or_else(|| Error::new(ErrorKind::NoUsableKey)))
    }

    async fn open(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<DekLease> {
        if wraps.threshold() != 1 {
            return Err(Error::new(ErrorKind::Unsupported {
                feature: "an envelope that needs several keys to open",
            }));
        }
        let [first, second] = &self.managers;
        let mut attempts = Vec::new();
        let one = Self::opened_by(&**first, None, wraps, body, request, &mut attempts).await;
        let taken = one.as_ref().ok().map(|opened| opened.index);
        let two = Self::opened_by(&**second, taken, wraps, body, request, &mut attempts).await;
        match (one, two) {
            (Ok(one), Ok(two)) => {
                // Both DEKs are the body's. The new lease names both KEKs, so that the revocation of either reaches it.
                let dek = Dek::from_bytes(one.lease.dek().expose_bytes());
                DekLease::for_opening(dek, vec![one.kek, two.kek], body, request.context())
            }
            (Err(one), Err(two)) => {
                let error = if two.is_retryable() || one.kind() == ErrorKind::NoUsableKey {
                    two
                } else {
                    one
                };
                Err(error.with_attempts(attempts))
            }
            (Ok(_), Err(error)) | (Err(error), Ok(_)) => {
                let retryable = error.is_retryable();
                Err(Error::new(ErrorKind::PolicyRefused)
                    .with_detail("one of the two wraps that are demanded did not open")
                    .with_retryable(retryable)
                    .with_source(error)
                    .with_attempts(attempts))
            }
        }
    }
}

#[async_trait]
impl DekSource for TwoWraps {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        let [first, second] = &self.managers;
        let (dek, one) = first.as_ref().generate(request).await?;
        let two = second.as_ref().wrap(&dek, request).await?;
        let keks = vec![one.kek().clone(), two.kek().clone()];
        let wraps = WrapSet::any_of(vec![one, two])?;
        Ok((
            Arc::new(DekLease::for_sealing(dek, keks, request.context())),
            wraps,
        ))
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        self.open(wraps, body, request).await.map(Arc::new)
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        // An envelope that does not fulfill the policy is not made to look as if it did.
        let lease = self.open(wraps, body, request).await?;
        let mut made = Vec::with_capacity(2);
        for manager in &self.managers {
            made.push(manager.as_ref().wrap(lease.dek(), request).await?);
        }
        let is_mine = |stanza| {
            self.managers
                .iter()
                .any(|manager| manager.recognizes(stanza).is_mine())
        };
        let fate = |stanza| {
            if is_mine(stanza) {
                Fate::Replaced
            } else {
                Fate::Kept
            }
        };
        let fates: Vec<Fate> = wraps.stanzas().map(fate).collect();
        Ok(Rewrapped::new(&wraps, made, &fates)?.with_lease(Arc::new(lease)))
    }
}
