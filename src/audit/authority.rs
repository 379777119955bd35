//! The KEK that seals the private half of an authority: each use of it is an event.

use super::auditor::Auditor;
use super::layer::Audited;
use crate::Sealer;
use crate::ring::config::AuthorityFile;
use crate::ring::{Authority, RecordId};
use crate::runtime::Environment;
use crate::source::AnyOf;
use crate::value::error::Result;

impl AuthorityFile {
    /// Reads the private half as [`read`](Self::read) does, and makes an event of it if a KEK seals the file: an `unwrap` in the name of
    /// `actor`. `ring` is the ring whose authority it is, if that is known.
    ///
    /// # Errors
    /// As [`read`](Self::read); `Audit` if a required sink does not keep the event. Then nobody gets the private half.
    pub async fn read_audited(
        &self,
        environment: &dyn Environment,
        ring: impl Into<Option<RecordId>>,
        actor: &str,
        auditor: &Auditor,
    ) -> Result<Authority> {
        self.read_by(environment, seen_by(auditor, ring.into(), actor))
            .await
    }

    /// Writes a new file as [`write_new`](Self::write_new) does, and makes an event of it if a KEK seals the file: a `generate`.
    ///
    /// # Errors
    /// As [`write_new`](Self::write_new); `Audit` if a required sink does not keep the event. Then there is no file.
    pub async fn write_new_audited(
        &self,
        authority: &Authority,
        environment: &dyn Environment,
        ring: impl Into<Option<RecordId>>,
        actor: &str,
        auditor: &Auditor,
    ) -> Result<()> {
        self.write_by(authority, environment, seen_by(auditor, ring.into(), actor))
            .await
    }
}

fn seen_by<'a>(
    auditor: &'a Auditor,
    ring: Option<RecordId>,
    actor: &'a str,
) -> impl FnOnce(AnyOf) -> Sealer + 'a {
    move |kek| {
        let audited = Audited::accesses(kek, auditor.clone()).for_ring(ring);
        Sealer::from_source(audited).acting_as(actor)
    }
}
