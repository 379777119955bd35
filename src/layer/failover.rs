//! Other managers of the same KEK to unwrap with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::envelope::{AlgorithmClass, KekRef, WrapRef, WrappedDek};
use crate::key::{Capabilities, KeyManager, Recognition, Request, Unwrapped, Versions, not_recognized};
use crate::runtime::{AmbientRuntime, Monotonic, Runtime, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::Dek;

/// How long all managers together may take for a request without a deadline.
const PATIENCE: Duration = Duration::from_secs(10);
/// For this long, a manager that could not be reached is asked after the others.
const AVOIDED: Duration = Duration::from_secs(30);
/// A manager that had less time than this and did not answer may have been about to answer.
const LONG: Duration = Duration::from_secs(1);

/// Several managers of one KEK, for example replicas in other regions: if the first is down, the next unwraps.
///
/// *Unwrapping* asks the managers that recognize the stanza, in their order. It goes on to the next only after a
/// retryable error: a refusal is an answer, and so is a wrap that does not open. Each further manager takes a call from
/// the request's [budget](crate::key::CallBudget). A manager that answers without a network is asked first, and a manager
/// that could not be reached within the last 30 seconds is asked last.
///
/// *Time.* Each manager gets its share of the time that is left: of the request's deadline, or of 10 seconds if the
/// request has none. So a manager that hangs leaves the next one time to answer.
///
/// *Wrapping* is done by the first manager alone, so that no data comes under a key that nobody chose. With
/// [`wrapping_anywhere`](Self::wrapping_anywhere) the others wrap if the first is down.
#[derive(Clone, Debug)]
pub struct Failover {
    first: Replica,
    others: Vec<Replica>,
    wraps_anywhere: bool,
    runtime: Arc<dyn Runtime>,
}

/// A manager, and what is known of it. Clones share this knowledge.
#[derive(Clone, Debug)]
struct Replica {
    manager: Arc<dyn KeyManager>,
    /// Until when it is asked after the others, in nanoseconds.
    avoided_until: Arc<AtomicU64>,
}

impl Replica {
    fn new(manager: impl KeyManager + 'static) -> Self {
        Self {
            manager: Arc::new(manager),
            avoided_until: Arc::new(AtomicU64::new(0)),
        }
    }

    fn manager(&self) -> &dyn KeyManager {
        self.manager.as_ref()
    }

    fn is_avoided(&self, now: Monotonic) -> bool {
        self.avoided_until.load(Ordering::Relaxed) > nanos(now)
    }

    /// Remembers whether it could be reached by a call that was given `share`.
    fn met(&self, error: Option<&Error>, share: Option<Duration>, now: Monotonic) {
        let until = match error.map(Error::kind) {
            Some(ErrorKind::Unavailable) => nanos(now + AVOIDED),
            // A deadline that is too short for anybody says nothing about this manager.
            Some(ErrorKind::TimedOut) if share.is_none_or(|share| share >= LONG) => nanos(now + AVOIDED),
            Some(_) => return,
            // Read first: the manager almost always answers, and then nobody has to write.
            None if self.avoided_until.load(Ordering::Relaxed) == 0 => return,
            None => 0,
        };
        self.avoided_until.store(until, Ordering::Relaxed);
    }
}

fn nanos(at: Monotonic) -> u64 {
    u64::try_from(at.0.as_nanos()).unwrap_or(u64::MAX)
}

/// The time until a deadline, for several who are asked one after another.
struct Shares<'f> {
    runtime: &'f dyn Runtime,
    /// `None` if there is only one to ask and no deadline.
    deadline: Option<Monotonic>,
    left: u32,
}

impl Shares<'_> {
    /// Returns the time for the next: until when, and how long that is. `None` means no limit.
    ///
    /// # Errors
    /// `TimedOut` if no time is left.
    fn next(&mut self) -> Result<Option<(Monotonic, Duration)>> {
        let (now, among) = (self.runtime.now(), self.left.max(1));
        self.left = self.left.saturating_sub(1);
        let Some(deadline) = self.deadline else {
            return Ok(None);
        };
        let share = deadline.0.saturating_sub(now.0) / among;
        if share.is_zero() {
            return Err(Error::new(ErrorKind::TimedOut));
        }
        Ok(Some((now + share, share)))
    }
}

impl Failover {
    /// Makes a failover that begins with the manager that wraps.
    #[must_use]
    pub fn new(first: impl KeyManager + 'static) -> Self {
        Self {
            first: Replica::new(first),
            others: Vec::new(),
            wraps_anywhere: false,
            runtime: Arc::new(AmbientRuntime),
        }
    }

    /// Adds a manager that is asked after those before it.
    #[must_use]
    pub fn or(mut self, next: impl KeyManager + 'static) -> Self {
        self.others.push(Replica::new(next));
        self
    }

    /// Lets the next manager wrap too if one is down. Use it only if each opens what the others wrap, as replicas of a
    /// multi-region key do. Otherwise a restart without one of them loses access to what that one has wrapped.
    #[must_use]
    pub fn wrapping_anywhere(mut self) -> Self {
        self.wraps_anywhere = true;
        self
    }

    /// Sets the runtime for clocks and sleep. [`AmbientRuntime`] by default.
    #[must_use]
    pub fn with_runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    fn replicas(&self) -> impl Iterator<Item = &Replica> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Those that may unwrap.
    fn unwrapping(&self, is_meant: impl Fn(&dyn KeyManager) -> bool) -> Order<'_> {
        let meant = self
            .replicas()
            .filter(|replica| replica.manager().capabilities().unwraps && is_meant(replica.manager()));
        let is_local = |replica: &Replica| replica.manager().capabilities().is_local;
        Order::by(meant.collect(), self.runtime.now(), is_local)
    }

    /// Those that may wrap.
    fn wrapping(&self) -> Order<'_> {
        if !self.wraps_anywhere {
            return Order {
                replicas: vec![&self.first],
                usual: Some(&self.first),
            };
        }
        Order::by(self.replicas().collect(), self.runtime.now(), |_| false)
    }

    /// Whether this is the one that unwraps if each can be reached.
    fn is_usual(&self, replica: &Replica, wrapped: WrapRef<'_>) -> bool {
        let order = self.unwrapping(|manager| !manager.recognizes(wrapped).is_no());
        order.usual.is_none_or(|usual| std::ptr::eq(usual, replica))
    }

    fn shares(&self, among: usize, deadline: Option<Monotonic>) -> Shares<'_> {
        let own = (among > 1).then(|| self.runtime.now() + PATIENCE);
        Shares {
            runtime: &*self.runtime,
            deadline: deadline.or(own),
            left: u32::try_from(among).unwrap_or(u32::MAX),
        }
    }
}

/// Managers in the order in which they are asked.
struct Order<'f> {
    replicas: Vec<&'f Replica>,
    /// Which one answers if each can be reached.
    usual: Option<&'f Replica>,
}

impl<'f> Order<'f> {
    fn by(mut replicas: Vec<&'f Replica>, now: Monotonic, goes_first: impl Fn(&Replica) -> bool) -> Self {
        // Each sort is stable: if nothing else is known, the order is the given one.
        replicas.sort_by_key(|replica| !goes_first(replica));
        let usual = replicas.first().copied();
        replicas.sort_by_key(|replica| (!goes_first(replica), replica.is_avoided(now)));
        Self { replicas, usual }
    }
}

/// Goes on to the next manager while there is one and the error may pass, and gives each its share of the time.
macro_rules! first_answer {
    ($self:ident, $replicas:expr, $request:ident, $none:expr, |$manager:ident, $own:ident| $call:expr) => {{
        let Order { replicas, usual } = $replicas;
        let mut shares = $self.shares(replicas.len(), $request.deadline());
        let mut last = None;
        for replica in replicas {
            let share = match shares.next() {
                Ok(share) => share,
                Err(error) => {
                    last.get_or_insert(error);
                    break;
                }
            };
            let own = match share {
                Some((until, _)) => $request.clone().with_deadline(until),
                None => $request.clone(),
            };
            let ($manager, $own) = (replica.manager(), &own);
            // Whoever asks has taken the first call.
            if last.is_some() && !$manager.capabilities().is_local && $request.take_call().is_err() {
                break;
            }
            let share = share.map(|(_, share)| share);
            let answer = with_timeout(&*$self.runtime, share, $call).await;
            replica.met(answer.as_ref().err(), share, $self.runtime.now());
            match answer {
                Err(error) if error.is_retryable() => last = Some(named(error, $manager)),
                answer => {
                    if answer.is_ok() && !usual.is_some_and(|usual| std::ptr::eq(usual, replica)) {
                        $request.note_failover();
                    }
                    return answer;
                }
            }
        }
        Err(last.unwrap_or_else(|| $none))
    }};
}

/// An error with the provider that it is about.
fn named(error: Error, manager: &dyn KeyManager) -> Error {
    if error.provider().is_some() {
        return error;
    }
    error.with_provider(manager.provider().to_owned())
}

#[async_trait]
impl KeyManager for Failover {
    fn provider(&self) -> &str {
        self.first.manager().provider()
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = self.first.manager().capabilities();
        for replica in &self.others {
            let other = replica.manager().capabilities();
            all.unwraps |= other.unwraps;
            all.is_local &= other.is_local;
            if other.versions != all.versions {
                all.versions = Versions::Unproven;
            }
            if self.wraps_anywhere {
                all.generates &= other.generates;
                all.rewraps &= other.rewraps;
                all.class = all
                    .class
                    .zip(other.class)
                    .and_then(|(one, other)| weaker(one, other));
            }
        }
        all
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        let said = self
            .replicas()
            .map(|replica| replica.manager().recognizes(wrapped));
        said.max().unwrap_or(Recognition::No)
    }

    fn identity(&self) -> Option<String> {
        let all: Option<Vec<String>> = self
            .replicas()
            .map(|replica| replica.manager().identity())
            .collect();
        all.map(|all| all.join(" or "))
    }

    /// Pins the first manager, which then wraps alone; the others unwrap.
    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        Ok(Arc::new(Self {
            first: Replica {
                manager: self.first.manager.pinned_to(kek)?,
                avoided_until: Arc::clone(&self.first.avoided_until),
            },
            others: self.others.clone(),
            wraps_anywhere: false,
            runtime: Arc::clone(&self.runtime),
        }))
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        first_answer!(self, self.wrapping(), request, none(), |manager, request| {
            manager.generate(request)
        })
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        first_answer!(self, self.wrapping(), request, none(), |manager, request| {
            manager.wrap(dek, request)
        })
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let recognizing = self.unwrapping(|manager| !manager.recognizes(wrapped).is_no());
        let nobody = not_recognized(&wrapped);
        first_answer!(self, recognizing, request, nobody, |manager, request| {
            manager.unwrap(wrapped, request)
        })
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        first_answer!(self, self.wrapping(), request, none(), |manager, request| {
            manager.rewrap(wrapped, request)
        })
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        let mut results = self.first.manager().wrap_batch(items).await;
        if self.wraps_anywhere {
            for (result, (dek, request)) in results.iter_mut().zip(items) {
                if let Err(error) = result
                    && error.is_retryable()
                    && request.take_call().is_ok()
                {
                    self.first.met(Some(error), None, self.runtime.now());
                    *result = self.wrap(dek, request).await;
                }
            }
        }
        results
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        let mut results: Vec<_> = items
            .iter()
            .map(|(wrapped, _)| Err(not_recognized(wrapped)))
            .collect();
        let mut open: Vec<usize> = (0..items.len()).collect();
        let Order { replicas, .. } = self.unwrapping(|_| true);
        let deadline = items.iter().filter_map(|(_, request)| request.deadline()).min();
        let mut shares = self.shares(replicas.len(), deadline);
        for replica in replicas {
            let (its, others): (Vec<_>, Vec<_>) = open.into_iter().partition(|at| {
                items
                    .get(*at)
                    .is_some_and(|(wrapped, _)| !replica.manager().recognizes(*wrapped).is_no())
            });
            open = others;
            let share = match shares.next() {
                // This manager has nothing to do, so its time goes to the next.
                _ if its.is_empty() => continue,
                Ok(share) => share,
                Err(error) => {
                    for at in its {
                        put(&mut results, at, Err(error.copy()));
                    }
                    continue;
                }
            };
            let answers = replica.unwrap_some(&*self.runtime, items, &its, share).await;
            for (at, answer) in its.into_iter().zip(answers) {
                let has_call = || {
                    items
                        .get(at)
                        .is_some_and(|(_, request)| request.take_call().is_ok())
                };
                if answer.as_ref().is_err_and(Error::is_retryable) && has_call() {
                    open.push(at);
                }
                if answer.is_ok()
                    && let Some((wrapped, request)) = items.get(at)
                    && !self.is_usual(replica, *wrapped)
                {
                    request.note_failover();
                }
                put(&mut results, at, answer);
            }
            open.sort_unstable();
        }
        results
    }

    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        self.first.manager().rewrap_batch(items).await
    }
}

impl Replica {
    /// Unwraps some items of a batch within a share of the time. One answer for each of them.
    async fn unwrap_some(
        &self,
        runtime: &dyn Runtime,
        items: &[(WrapRef<'_>, &Request<'_>)],
        its: &[usize],
        share: Option<(Monotonic, Duration)>,
    ) -> Vec<Result<Unwrapped>> {
        let own: Vec<_> = its
            .iter()
            .filter_map(|at| items.get(*at))
            .map(|(wrapped, request)| {
                let until = [request.deadline(), share.map(|(until, _)| until)];
                let request = match until.into_iter().flatten().min() {
                    Some(until) => (*request).clone().with_deadline(until),
                    None => (*request).clone(),
                };
                (*wrapped, request)
            })
            .collect();
        let own: Vec<_> = own.iter().map(|(wrapped, request)| (*wrapped, request)).collect();
        let share = share.map(|(_, share)| share);
        let work = async { Ok(self.manager().unwrap_batch(&own).await) };
        let answers = with_timeout(runtime, share, work).await;
        let mut answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                let error = named(error, self.manager());
                its.iter().map(|_| Err(error.copy())).collect()
            }
        };
        // A manager may return fewer answers than it was asked for.
        answers.resize_with(its.len(), || Err(Error::new(ErrorKind::InvalidAnswer)));
        let good = answers.iter().any(Result::is_ok);
        let worst = answers.iter().find_map(|answer| answer.as_ref().err());
        self.met(worst.filter(|_| !good), share, runtime.now());
        answers
    }
}

/// Returns the class that lacks what either lacks, or `None` if there is no such class, because each lacks something
/// else.
fn weaker(one: AlgorithmClass, other: AlgorithmClass) -> Option<AlgorithmClass> {
    match (one.is_weaker_than(other), other.is_weaker_than(one)) {
        (true, true) => None,
        (false, true) => Some(other),
        (_, false) => Some(one),
    }
}

fn put<T>(results: &mut [T], at: usize, answer: T) {
    if let Some(result) = results.get_mut(at) {
        *result = answer;
    }
}

/// This does not happen: there always is a first manager.
fn none() -> Error {
    Error::configuration("no key manager is configured")
}
