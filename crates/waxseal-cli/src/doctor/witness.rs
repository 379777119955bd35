//! What `doctor` writes down: each key that it asks.

use std::future::Future;

use waxseal::envelope::KekRef;
use waxseal::key::Request;

use crate::arguments::Doctor;
use crate::failure::Result;
#[cfg(feature = "ring")]
use crate::ring::RingKey;

/// A key that is examined.
pub(super) struct Subject {
    /// How the table calls it.
    pub(super) name: String,
    pub(super) is_environment: bool,
    /// The ids of the ring and of its key.
    #[cfg(all(feature = "audit", feature = "ring"))]
    of_ring: Option<(String, String)>,
}

impl Subject {
    pub(super) fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_environment: false,
            #[cfg(all(feature = "audit", feature = "ring"))]
            of_ring: None,
        }
    }

    pub(super) fn environment() -> Self {
        Self {
            is_environment: true,
            ..Self::of("environment")
        }
    }

    #[cfg(feature = "ring")]
    pub(super) fn of_ring(key: &RingKey) -> Self {
        Self {
            #[cfg(feature = "audit")]
            of_ring: Some((key.ring.to_string(), key.id.to_string())),
            ..Self::of(&key.name)
        }
    }

    #[cfg(all(feature = "audit", feature = "ring"))]
    fn key(&self) -> Option<waxseal::audit::ProbedKey<'_>> {
        let (ring, key) = self.of_ring.as_ref()?;
        Some(waxseal::audit::ProbedKey { ring, key })
    }

    #[cfg(all(feature = "audit", not(feature = "ring")))]
    fn key(&self) -> Option<waxseal::audit::ProbedKey<'_>> {
        None
    }
}

/// The log, if there is one, and in whose name keys are asked.
#[derive(Default)]
pub(super) struct Witness {
    actor: Option<String>,
    #[cfg(feature = "audit")]
    auditing: crate::audit::Auditing,
}

impl Witness {
    pub(super) fn of(options: &Doctor) -> Result<Self> {
        #[cfg(all(feature = "audit", feature = "ring"))]
        let actor = match options.log.is_given() {
            true => Some(crate::ring::actor(&options.actor)?),
            false => None,
        };
        #[cfg(not(all(feature = "audit", feature = "ring")))]
        let actor = None;
        let _ = options;
        Ok(Self {
            actor,
            #[cfg(feature = "audit")]
            auditing: crate::audit::Auditing::of(&options.log)?,
        })
    }

    pub(super) fn acting<'r>(&'r self, request: Request<'r>) -> Request<'r> {
        match &self.actor {
            Some(actor) => request.with_actor(actor),
            None => request,
        }
    }

    /// Probes a key. That is written down, if there is a log.
    pub(super) fn probe(
        &self,
        request: &Request<'_>,
        subject: &Subject,
        work: impl Future<Output = waxseal::Result<KekRef>>,
    ) -> waxseal::Result<KekRef> {
        #[cfg(feature = "audit")]
        if let Some(auditor) = self.auditing.auditor() {
            return pollster::block_on(auditor.probe(request, subject.key(), work));
        }
        let _ = (request, subject);
        pollster::block_on(work)
    }
}
