//! The opening side, and refreshes of both.

use std::sync::Arc;

use super::core::{Core, TRIES};
use super::entry::{Body, Entry, Landing, is_about_the_body, is_outage};
use super::key::{Key, Wanted};
use super::table::Entered;
use super::{time_left, with_timeout};
use crate::envelope::{BodyHead, WrapSection};
use crate::key::Request;
use crate::source::at_hand::ToOpen;
use crate::source::lease::{DekLease, Rounds};
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// What an entry has for opening.
enum Hit {
    Fresh {
        lease: Arc<DekLease>,
        ahead: bool,
    },
    /// It has ended, and the key manager could not be reached a moment ago.
    Out,
}

impl Core {
    fn opens(&self, request: &Request<'_>) -> bool {
        self.may_answer(request, self.policy.open_entries, self.policy.open_age)
    }

    fn look_to_open(&self, entry: &mut Entry) -> Option<Hit> {
        let now = self.runtime.now();
        let lease = &entry.given.lease;
        if lease.is_revoked() {
            return None;
        }
        if now >= entry.fresh_until {
            let is_out = entry.is_out && now < entry.ask_at && now < entry.kept_until;
            return (is_out && !self.policy.outage.is_zero()).then_some(Hit::Out);
        }
        // Somebody may have ended it before that, and a pulse that it stands on may have stopped.
        lease.check(now).ok()?;
        let lease = Arc::clone(lease);
        let ahead = now >= entry.ask_at;
        Some(Hit::Fresh { lease, ahead })
    }

    /// What is there and opens this body, at once.
    pub(super) fn find_opening(
        self: &Arc<Self>,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Option<ToOpen> {
        if !self.opens(request) {
            return None;
        }
        let wanted = Wanted::new(request, Some(wraps), self.policy.shares_actors);
        let near = self.near(false);
        if let Some(near) = near
            && let Some(at_hand) = near.find(&wanted, None, self.runtime.now(), |lease| {
                lease.verify(body, request.context()).is_ok()
            })
        {
            return Some(ToOpen::AtHand(at_hand));
        }
        let hash = self.hash(&wanted);
        let look = |key: &Arc<Key>, entry: &mut Entry| {
            let hit = self.look_to_open(entry)?;
            if let Hit::Fresh { ahead: false, .. } = hit
                && let Some(near) = near
            {
                near.keep(&wanted, key, entry, &self.policy);
            }
            Some(hit)
        };
        match self.opening.peek_with_key(hash, |key| wanted.is(key), look)? {
            Hit::Fresh { lease, ahead } => {
                lease.verify(body, request.context()).ok()?;
                self.counters.hits.one();
                if ahead {
                    // Only now: about an altered body the source would be right to say no.
                    self.refresh(hash, wanted, Some(*body.as_bytes()));
                }
                Some(ToOpen::Given(lease))
            }
            // The source is told of it, and that may take a while.
            Hit::Out => None,
        }
    }

    /// Fetches an entry again, unless that is being done, for a body that it opens.
    pub(super) fn refresh(self: &Arc<Self>, hash: u64, wanted: Wanted<'_>, body: Option<Body>) {
        let table = self.table(body.is_none());
        let (generation, now) = (entropy::generation(), self.runtime.now());
        let ticket = table.fetch_ahead(
            hash,
            generation,
            |key| wanted.is(key),
            // Asked again: it may have been fetched since it was looked at.
            |entry| now >= entry.ask_at,
            |id| self.flight(id, wanted, body, true),
        );
        if let Some(ticket) = ticket {
            self.counters.refreshes.one();
            self.runtime.spawn(Box::pin(async move {
                // Both outcomes are dealt with where they come in.
                let _ = ticket.await;
            }));
        }
    }

    pub(super) async fn open_dek(
        self: &Arc<Self>,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        if !self.opens(request) {
            let left = time_left(request, self.runtime.now())?;
            return with_timeout(&*self.runtime, left, self.pass_by(wraps, body, request)).await;
        }
        let wanted = Wanted::new(request, Some(wraps), self.policy.shares_actors);
        let hash = self.hash(&wanted);
        let mut left = time_left(request, self.runtime.now())?;
        if self.may_serve_outage(hash, &wanted) {
            // The other half is for those who asked: they are not to be told that time is up when there is an answer.
            left = left.map(|left| left / 2);
        }
        let waiting = self.wait_to_open(wanted, hash, wraps, body, request);
        match with_timeout(&*self.runtime, left, waiting).await {
            Err(error) if is_outage(&error) => {
                let lease = self.in_outage(hash, &wanted, body, request.context());
                let lease = lease.ok_or(error)?;
                let left = time_left(request, self.runtime.now())?;
                let told = self.inner.note_outage_use(wraps, request, &lease);
                with_timeout(&*self.runtime, left, told).await?;
                Ok(lease)
            }
            result => result,
        }
    }

    fn may_serve_outage(&self, hash: u64, wanted: &Wanted<'_>) -> bool {
        let now = self.runtime.now();
        let is_kept = |entry: &mut Entry| (now < entry.kept_until).then_some(());
        !self.policy.outage.is_zero() && self.opening.peek(hash, |key| wanted.is(key), is_kept).is_some()
    }

    /// Asks the source, and keeps nothing of its answer.
    async fn pass_by(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        self.counters.passed_by.one();
        let mut rounds = Rounds::default();
        loop {
            let epoch = self.epoch();
            let lease = self.inner.open_dek(wraps, body, request).await?;
            self.leases.remember(&lease, Some(wraps), request.context());
            if epoch == self.epoch() {
                return Ok(lease);
            }
            self.counters.overtaken.one();
            rounds.again()?;
        }
    }

    async fn wait_to_open(
        self: &Arc<Self>,
        wanted: Wanted<'_>,
        hash: u64,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        let mut missed = false;
        let mut delayed = false;
        let mut ended = 0;
        let mut rounds = Rounds::default();
        loop {
            let entered = self.opening.enter(
                hash,
                entropy::generation(),
                |key| wanted.is(key),
                |entry| self.look_to_open(entry),
                |id| self.flight(id, wanted, Some(*body.as_bytes()), false),
            );
            let (lease, hit) = match entered {
                // Whoever comes next sees that it is to be fetched ahead of its end, if it is.
                Entered::Found(Hit::Fresh { lease, .. }) => (lease, !missed),
                Entered::Found(Hit::Out) => {
                    return Err(Error::new(ErrorKind::Unavailable)
                        .with_detail("the key manager could not be reached and is left alone for a while"));
                }
                Entered::Boarded { ticket, first } => {
                    self.missed(&mut missed, first);
                    match ticket.await {
                        Some(Landing::Given(given)) => (given.lease, false),
                        Some(Landing::Failed { error, body: theirs }) => {
                            if theirs.as_ref() == Some(body.as_bytes()) || !is_about_the_body(&error) {
                                return Err(error.copy());
                            }
                            // One more round with the others; then its own question, so that who sends broken bodies
                            // delays nobody for long.
                            if std::mem::replace(&mut delayed, true) {
                                return self.pass_by(wraps, body, request).await;
                            }
                            continue;
                        }
                        Some(Landing::Overtaken) | None => {
                            rounds.again()?;
                            continue;
                        }
                    }
                }
            };
            let checked = lease
                .check(self.runtime.now())
                .and_then(|()| lease.verify(body, request.context()));
            match checked {
                Ok(()) => {
                    self.counters.hits.add(usize::from(hit));
                    return Ok(lease);
                }
                // Another of its stanzas may hold the DEK of this body.
                Err(error) if error.kind() == ErrorKind::CannotOpen => {
                    return self.pass_by(wraps, body, request).await;
                }
                Err(error) => {
                    ended += 1;
                    if ended == TRIES {
                        return Err(error);
                    }
                }
            }
        }
    }
}
