//! Probes that somebody makes by hand: whether a KEK wraps and unwraps.

use std::future::Future;
use std::sync::Arc;

use tracing::Instrument as _;

use super::auditor::Auditor;
use super::deed::DeedSeen;
use super::event::{Action, Asked, EventKek, Outcome, What};
use super::span::{self, Beginning};
use crate::envelope::KekRef;
use crate::key::{Purpose, Request};
use crate::value::error::Result;

/// The key of a ring that is probed.
#[derive(Clone, Copy, Debug)]
pub struct ProbedKey<'p> {
    /// The id of the ring.
    pub ring: &'p str,
    /// The id of the key.
    pub key: &'p str,
}

impl Auditor {
    /// Probes a KEK and makes an event of it: `work` lets the KEK wrap and unwrap a DEK that nobody uses, and returns the KEK that did it. The
    /// event is a `probe` in the name of the request's actor. `key` is the key of a ring whose KEK it is.
    ///
    /// # Errors
    /// Those of the work; `Audit` if a required sink does not keep the event, whatever the work has returned.
    pub async fn probe(
        &self,
        request: &Request<'_>,
        key: Option<ProbedKey<'_>>,
        work: impl Future<Output = Result<KekRef>>,
    ) -> Result<KekRef> {
        let beginning = Beginning {
            action: Action::Probe,
            purpose: Some(Purpose::Probe),
            request_id: request.request_id(),
        };
        let (span, begun) = (beginning.span(), self.runtime().now());
        let result = work.instrument(span.clone()).await;
        let keys: Vec<String> = key.iter().map(|key| key.key.to_owned()).collect();
        let (outcome, kek) = match &result {
            Ok(kek) => (Outcome::Success, Some(kek.clone())),
            Err(error) => (Outcome::of(error.kind()), None),
        };
        let keks = kek.map(|kek| EventKek {
            keys: keys.clone(),
            kek,
            fate: None,
        });
        let asked = Arc::new(Asked::new(request, None, self.loggable(), None));
        let took = self.runtime().now().0.saturating_sub(begun.0);
        let mut what = What::new(Action::Probe, outcome, Some(&asked), keks.into_iter().collect()).took(took);
        what.deed = Some(Arc::new(DeedSeen {
            ring: key.map(|key| key.ring.to_owned()),
            keys,
            ..DeedSeen::of(Purpose::Probe, asked.actor.clone())
        }));
        span::record(&span, &what);
        let kept = self.record(what).instrument(span.clone()).await;
        kept.inspect_err(|error| span::record_unkept(&span, error))?;
        result
    }
}
