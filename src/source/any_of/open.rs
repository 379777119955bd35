//! Finding the stanza that opens, in a good order and at a bounded cost.

use std::sync::Arc;
use std::time::Duration;

use super::AnyOf;
use super::failures::{Failures, is_about_the_bytes};
use crate::envelope::{BodyHead, KekRef, WrapRef, WrapSection};
use crate::key::{CallBudget, KeyManager, Recognition, Request, Unwrapped};
use crate::runtime::with_timeout;
use crate::source::lease::DekLease;
use crate::value::error::{Error, Result};

/// The stanza that opened.
pub(super) struct Opened<'a> {
    pub(super) index: usize,
    pub(super) manager: &'a Arc<dyn KeyManager>,
    pub(super) kek: KekRef,
    pub(super) lease: Arc<DekLease>,
}

/// A stanza, and a manager that may unwrap it.
pub(super) struct Candidate<'a, 'w> {
    pub(super) index: usize,
    pub(super) stanza: WrapRef<'w>,
    pub(super) manager: &'a Arc<dyn KeyManager>,
    recognition: Recognition,
    /// The place of the manager in the configuration.
    rank: usize,
}

impl Candidate<'_, '_> {
    /// Orders candidates by how likely they open, and how soon: local first, then what is certainly ours, then what names our KEK, then
    /// what hides its id; among equals by configuration, and then by stanza.
    fn order(&self) -> impl Ord + use<> {
        (
            !self.is_local(),
            !self.recognition.is_mine(),
            self.stanza.kek_id.is_empty(),
            self.rank,
        )
    }

    fn is_local(&self) -> bool {
        self.manager.capabilities().is_local
    }
}

/// The KEKs that a stanza was tried with, and under which it does not open.
#[derive(Default)]
pub(super) struct Tried {
    /// By stanza and identity.
    identities: Vec<(usize, String)>,
    /// Stanzas that a KEK of exactly that id refused.
    refused: Vec<usize>,
}

impl Tried {
    fn is_settled(&self, candidate: &Candidate<'_, '_>) -> bool {
        // The id is unique in the world, so another manager of it is another way to the same KEK.
        if candidate.recognition.is_mine() && self.refused.contains(&candidate.index) {
            return true;
        }
        let is_tried = |identity: &String| {
            let mut tried = self.identities.iter();
            tried.any(|(index, tried)| *index == candidate.index && tried == identity)
        };
        candidate.manager.identity().as_ref().is_some_and(is_tried)
    }

    fn settle(&mut self, candidate: &Candidate<'_, '_>) {
        if candidate.recognition.is_mine() {
            self.refused.push(candidate.index);
        }
        if let Some(identity) = candidate.manager.identity() {
            self.identities.push((candidate.index, identity));
        }
    }
}

impl AnyOf {
    /// Returns who may unwrap which stanza, the likeliest first. A public key recognizes its stanzas and cannot unwrap them.
    pub(super) fn candidates<'a, 'w>(&'a self, wraps: WrapSection<'w>) -> Vec<Candidate<'a, 'w>> {
        let mut candidates = Vec::new();
        for (index, stanza) in wraps.stanzas().enumerate() {
            self.candidates_of(index, stanza, &mut candidates);
        }
        candidates.sort_by_key(Candidate::order);
        candidates
    }

    pub(super) fn candidates_of<'a, 'w>(
        &'a self,
        index: usize,
        stanza: WrapRef<'w>,
        candidates: &mut Vec<Candidate<'a, 'w>>,
    ) {
        for (rank, manager) in self.managers().enumerate() {
            let recognition = manager.recognizes(stanza);
            if !recognition.is_no() && manager.capabilities().unwraps {
                candidates.push(Candidate {
                    index,
                    stanza,
                    manager,
                    recognition,
                    rank,
                });
            }
        }
    }

    /// Unwraps one stanza with one manager, which gets its share of the time: `1 / sharers` of what is left.
    ///
    /// Returns `None` if the outcome is known without a call.
    pub(super) async fn unwrap(
        &self,
        candidate: &Candidate<'_, '_>,
        request: &Request<'_>,
        sharers: usize,
        tried: &mut Tried,
    ) -> Option<Result<Unwrapped>> {
        if tried.is_settled(candidate) {
            return None;
        }
        let result = self.call(candidate, request, sharers).await;
        if result.as_ref().is_err_and(is_about_the_bytes) {
            tried.settle(candidate);
        }
        Some(result)
    }

    async fn call(
        &self,
        candidate: &Candidate<'_, '_>,
        request: &Request<'_>,
        sharers: usize,
    ) -> Result<Unwrapped> {
        let Candidate { stanza, manager, .. } = candidate;
        // Exact lengths are checked here and not when parsing: a broken stanza must not stop a good one.
        stanza.checked_wrapped()?;
        if candidate.is_local() {
            return manager.as_ref().unwrap(*stanza, request).await;
        }
        request.call_budget().map_or(Ok(()), CallBudget::take)?;
        self.shared(request, sharers, |request| async move {
            manager.as_ref().unwrap(*stanza, &request).await
        })
        .await
    }

    /// Gives work a share of the time until the request's deadline, so that time is left for others.
    pub(super) async fn shared<'r, T, F: Future<Output = Result<T>>>(
        &self,
        request: &Request<'r>,
        sharers: usize,
        work: impl FnOnce(Request<'r>) -> F,
    ) -> Result<T> {
        let Some(deadline) = request.deadline().filter(|_| sharers > 1) else {
            return work(request.clone()).await;
        };
        let now = self.runtime.now();
        let left = deadline.0.saturating_sub(now.0);
        let share: Duration = left / u32::try_from(sharers).unwrap_or(u32::MAX);
        let request = request.clone().with_deadline(now + share);
        with_timeout(&*self.runtime, Some(share), work(request)).await
    }

    /// Whether a request has a deadline that is not over.
    pub(super) fn is_time_left(&self, request: &Request<'_>) -> bool {
        request
            .deadline()
            .is_some_and(|deadline| deadline > self.runtime.now())
    }

    /// Returns the missing option if the stanza's KEK is configured for another algorithm. For a hidden id nobody knows
    /// whose it is.
    fn missing_option(&self, stanza: WrapRef<'_>) -> Option<&'static str> {
        let option = stanza.algorithm.option().filter(|_| !stanza.kek_id.is_empty())?;
        let is_of = |manager: &Arc<dyn KeyManager>| {
            let otherwise = WrapRef {
                algorithm: manager.capabilities().algorithm,
                ..stanza
            };
            !manager.recognizes(otherwise).is_no()
        };
        self.managers().any(is_of).then_some(option)
    }

    pub(super) async fn open<'a>(
        &'a self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Opened<'a>> {
        self.open_after(Failures::default(), wraps, body, request).await
    }

    /// Opens, after something else was tried in vain.
    pub(super) async fn open_after<'a>(
        &'a self,
        mut failures: Failures,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Opened<'a>> {
        // spec: SHARE-1, SHARE-2, SHARE-3 untested: no shares are made here yet
        // spec: SHARE-4, SHARE-5, SHARE-6, SHARE-7 untested: a section that needs several keys is refused here, which OPEN-3 permits
        if wraps.threshold() != 1 {
            return Err(Error::unsupported("an envelope that needs several keys to open"));
        }
        let candidates = self.candidates(wraps);
        for (index, stanza) in wraps.stanzas().enumerate() {
            if !candidates.iter().any(|candidate| candidate.index == index) {
                failures.pass_over(index, stanza, self.missing_option(stanza));
            }
        }
        let mut tried = Tried::default();
        let mut remote = candidates
            .iter()
            .filter(|candidate| !candidate.is_local())
            .count();
        for candidate in &candidates {
            let others = remote.saturating_sub(usize::from(!candidate.is_local()));
            // What one candidate needs beyond its first call leaves a first call for every other candidate.
            reserve(request, others);
            let unwrapped = self.unwrap(candidate, request, remote, &mut tried).await;
            remote = others;
            let opened = match unwrapped {
                None => continue,
                Some(unwrapped) => unwrapped.and_then(|Unwrapped { dek, kek }| {
                    let lease = DekLease::for_opening(dek, vec![kek.clone()], body, request.context())?;
                    Ok((kek, Arc::new(lease)))
                }),
            };
            match opened {
                Ok((kek, lease)) => {
                    reserve(request, 0);
                    return Ok(Opened {
                        index: candidate.index,
                        manager: candidate.manager,
                        kek,
                        lease,
                    });
                }
                Err(error) => failures.add(candidate.index, candidate.stanza, error),
            }
        }
        reserve(request, 0);
        Err(failures.into_error())
    }
}

/// Reserves calls of the envelope's budget for what is not tried yet.
fn reserve(request: &Request<'_>, calls: usize) {
    if let Some(budget) = request.call_budget() {
        budget.reserve(calls);
    }
}
