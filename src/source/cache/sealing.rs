//! The sealing side.

use std::sync::Arc;

use super::core::{Core, TRIES};
use super::entry::{Entry, Given, Landing};
use super::key::Wanted;
use super::table::Entered;
use super::{time_left, with_timeout};
use crate::envelope::WrapSet;
use crate::key::Request;
use crate::source::at_hand::ToSeal;
use crate::source::lease::{DekLease, Rounds};
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// What an entry returns, and whether it is time to fetch it again.
struct Hit {
    given: Given,
    ahead: bool,
}

impl Core {
    fn seals(&self, request: &Request<'_>) -> bool {
        self.may_answer(request, self.policy.seal_entries, self.policy.seal_age)
    }

    /// What an entry returns for sealing `bytes`, or a seat for no message.
    fn look(&self, entry: &mut Entry, bytes: Option<u64>) -> Option<Hit> {
        let now = self.runtime.now();
        let lease = &entry.given.lease;
        // A child's messages are not counted in its parent's budget.
        if now >= entry.fresh_until
            || entry.generation != entropy::generation()
            || lease.check(now).is_err()
            || lease.sessions_left() == 0
            || !self.take(&entry.given, bytes)
        {
            return None;
        }
        let given = entry.given.clone();
        let ahead = now >= entry.ask_at;
        Some(Hit { given, ahead })
    }

    fn take(&self, given: &Given, bytes: Option<u64>) -> bool {
        let Some(sealing) = &given.sealing else {
            return false;
        };
        bytes.is_none_or(|bytes| sealing.meter.take(bytes, &self.policy))
    }

    /// What is there, at once.
    pub(super) fn find_sealing(
        self: &Arc<Self>,
        request: &Request<'_>,
        bytes: Option<u64>,
    ) -> Option<ToSeal> {
        if !self.seals(request) {
            return None;
        }
        let wanted = Wanted::new(request, None, self.policy.shares_actors);
        let near = self.near(true);
        if let Some(near) = near
            && let Some(at_hand) = near.find(&wanted, bytes, self.runtime.now(), |lease| {
                lease.sessions_left() > 0
            })
        {
            return Some(ToSeal::AtHand(at_hand));
        }
        let hash = self.hash(&wanted);
        let hit = self.sealing.peek_with_key(
            hash,
            |key| wanted.is(key),
            |key, entry| {
                let hit = self.look(entry, bytes)?;
                if let Some(near) = near.filter(|_| !hit.ahead) {
                    near.keep(&wanted, key, entry, &self.policy);
                }
                Some(hit)
            },
        )?;
        let (lease, wraps) = self.hit(hit, hash, wanted)?;
        Some(ToSeal::Given(lease, wraps))
    }

    fn hit(self: &Arc<Self>, hit: Hit, hash: u64, wanted: Wanted<'_>) -> Option<(Arc<DekLease>, WrapSet)> {
        self.counters.hits.one();
        if hit.ahead {
            self.refresh(hash, wanted, None);
        }
        let sealing = hit.given.sealing?;
        Some((hit.given.lease, sealing.wraps))
    }

    /// A DEK for a message of so many bytes, or for none yet.
    pub(super) async fn seal_dek(
        self: &Arc<Self>,
        request: &Request<'_>,
        bytes: Option<u64>,
    ) -> Result<(Arc<DekLease>, WrapSet)> {
        if !self.seals(request) {
            let left = time_left(request, self.runtime.now())?;
            return with_timeout(&*self.runtime, left, self.pass_by_sealing(request)).await;
        }
        let left = time_left(request, self.runtime.now())?;
        with_timeout(&*self.runtime, left, self.wait_to_seal(request, bytes)).await
    }

    /// Asks the source, and keeps nothing of its answer.
    async fn pass_by_sealing(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        self.counters.passed_by.one();
        let mut rounds = Rounds::default();
        loop {
            let epoch = self.epoch();
            let (lease, wraps) = self.inner.seal_dek(request).await?;
            self.leases.remember(&lease, None, request.context());
            if epoch == self.epoch() {
                return Ok((lease, wraps));
            }
            self.counters.overtaken.one();
            rounds.again()?;
        }
    }

    async fn wait_to_seal(
        self: &Arc<Self>,
        request: &Request<'_>,
        bytes: Option<u64>,
    ) -> Result<(Arc<DekLease>, WrapSet)> {
        let wanted = Wanted::new(request, None, self.policy.shares_actors);
        let hash = self.hash(&wanted);
        let mut missed = false;
        let mut ended = 0;
        let mut rounds = Rounds::default();
        loop {
            let entered = self.sealing.enter(
                hash,
                entropy::generation(),
                |key| wanted.is(key),
                |entry| self.look(entry, bytes),
                |id| self.flight(id, wanted, None, true),
            );
            let ticket = match entered {
                Entered::Found(hit) => {
                    return self.hit(hit, hash, wanted).ok_or_else(no_wraps);
                }
                Entered::Boarded { ticket, first } => {
                    self.missed(&mut missed, first);
                    ticket
                }
            };
            match ticket.await {
                Some(Landing::Given(given)) => {
                    if let Err(error) = given.lease.check(self.runtime.now()) {
                        ended += 1;
                        if ended == TRIES {
                            return Err(error);
                        }
                    } else if self.take(&given, bytes) {
                        let sealing = given.sealing.ok_or_else(no_wraps)?;
                        return Ok((given.lease, sealing.wraps));
                    }
                }
                Some(Landing::Failed { error, .. }) => return Err(error.copy()),
                Some(Landing::Overtaken) | None => rounds.again()?,
            }
        }
    }

    /// Counts a miss, once for each request.
    pub(super) fn missed(&self, missed: &mut bool, first: bool) {
        if !std::mem::replace(missed, true) {
            self.counters.misses.one();
            if !first {
                self.counters.joined.one();
            }
        }
    }
}

/// Not met: what is kept for sealing has wraps.
fn no_wraps() -> Error {
    Error::new(ErrorKind::InvalidAnswer)
}
