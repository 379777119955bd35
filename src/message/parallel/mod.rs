//! Threads that the caller lends for large payloads and streams.

#[cfg(feature = "rayon")]
mod rayon;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// Below this many bytes of plaintext, waking a thread costs more than it saves the caller.
const THRESHOLD: usize = 256 * 1024;
/// How many bytes a stream has in flight for each thread that helps.
const IN_FLIGHT: usize = 1024 * 1024;

/// Threads that help the thread that calls.
///
/// With feature `rayon`, a `rayon::ThreadPool` is a pool. For another pool, implement these methods. No pool can make a
/// result wrong: the calling thread does itself what a pool does not do, and if a pool begins work and loses it (its
/// thread panicked), the whole operation fails.
///
/// ```
/// use std::sync::Arc;
/// use waxseal::{message::Parallel, message::Pool};
///
/// /// A thread for each piece of work: simple, and too slow below some tens of megabytes.
/// #[derive(Debug)]
/// struct FreshThreads;
///
/// impl Pool for FreshThreads {
///     fn threads(&self) -> usize {
///         1
///     }
///
///     fn run(&self, helpers: usize, work: &(dyn Fn() + Sync)) {
///         std::thread::scope(|scope| {
///             for _ in 0..helpers {
///                 scope.spawn(work);
///             }
///             work();
///         });
///     }
///
///     fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
///         std::thread::spawn(work);
///     }
/// }
///
/// # use waxseal::{EncryptionContext, Kek, Sealer, blocking, backend::local::LocalKey};
/// let sealer = Sealer::builder()
///     .wrap_with(LocalKey::new(&Kek::generate()?))
///     .parallel(Parallel::new(Arc::new(FreshThreads)))
///     .build()?;
/// # let (sealer, context) = (blocking::Sealer::from(sealer), EncryptionContext::new([("tenant", "acme")])?);
/// # let sealed = sealer.seal(&vec![7; 1 << 20], &context)?;
/// # assert!(sealer.open(&sealed, &context)? == vec![7; 1 << 20]);
/// # Ok::<(), waxseal::Error>(())
/// ```
pub trait Pool: fmt::Debug + Send + Sync {
    /// Returns how many of its threads can help at a time, besides the thread that calls. At 0 everything is serial.
    fn threads(&self) -> usize;

    /// Calls `work` on this thread and, at the same time, on up to `helpers` threads of the pool. Returns after every
    /// call that it made has returned. Each call takes pieces until none is left.
    fn run(&self, helpers: usize, work: &(dyn Fn() + Sync));

    /// Runs `work` on a thread of the pool, soon. The call does not block. `work` takes some milliseconds at most.
    fn spawn(&self, work: Box<dyn FnOnce() + Send>);
}

/// Seals and opens the chunks of large payloads, and of streams, on several threads.
///
/// The format is the same: nobody can tell from an envelope whether threads helped. Set it with
/// [`Builder::parallel`](crate::Builder::parallel), or on a [`DataKey`](crate::DataKey) or [`Opener`](crate::Opener).
///
/// It is off by default. One thread seals some gigabytes a second, so threads pay only for payloads of hundreds of
/// kilobytes. A server has other requests for its processors. And a library that starts threads on its own surprises its
/// users.
///
/// - A payload [`above`](Self::above) the threshold and of more than one chunk is shared among the calling thread and the
///   pool's threads. The call returns when all is done. One bad chunk fails the whole call: everything is wiped and
///   nothing is released.
/// - A stream ([`SealWriter`](crate::message::SealWriter), [`OpenReader`](crate::message::OpenReader)) keeps some chunks
///   [`in_flight`](Self::in_flight) on the pool while the calling thread reads or writes, and passes them on in order.
///   Memory stays constant.
///
/// A process that was forked after this value was made does not have the pool's threads. Payloads and new streams are
/// then sealed and opened on the calling thread alone. A stream that was begun before the fork ends there with
/// `InvalidArgument`, for reading as well as for writing.
///
/// ```
/// use std::sync::Arc;
/// # use waxseal::message::{Parallel, Pool};
/// # use waxseal::{Aad, EncryptionContext, Kek, Sealer, blocking, backend::local::LocalKey};
/// # fn example(pool: Arc<dyn Pool>) -> waxseal::Result<()> {
/// // The pool is the application's. With feature `rayon`, `Parallel::rayon(2)?` makes one.
/// let parallel = Parallel::new(pool).above(1 << 20);
/// let sealer = Sealer::builder()
///     .wrap_with(LocalKey::new(&Kek::generate()?))
///     .parallel(parallel)
///     .build()?;
/// let sealer = blocking::Sealer::from(sealer);
///
/// // 64 MiB, on several threads.
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let sealed = sealer.seal(&vec![7; 64 << 20], &context)?;
///
/// // Small values stay on the calling thread in any case. This data key keeps large ones there too.
/// let key = sealer.data_key(&context)?.with_parallel(None);
/// # key.seal(b"hello", Aad::none())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Parallel {
    pool: Arc<dyn Pool>,
    threshold: usize,
    in_flight: Option<usize>,
    generation: u64,
}

impl Parallel {
    /// Uses the threads of this pool.
    #[must_use]
    pub fn new(pool: Arc<dyn Pool>) -> Self {
        Self {
            pool,
            threshold: THRESHOLD,
            in_flight: None,
            generation: entropy::generation(),
        }
    }

    /// Sets the size, in bytes of plaintext, above which payloads are shared among threads. 262,144 by default. It does not
    /// apply to streams, whose length nobody knows.
    #[must_use]
    pub fn above(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Sets how many bytes of chunks each stream keeps in flight. 1 MiB for each thread of the pool by default.
    ///
    /// A stream holds that much and half a megabyte or, if that is more, two chunks for each thread. A reader reads that
    /// far ahead: if the other side sends slowly, a chunk may be released only when later chunks have come.
    #[must_use]
    pub fn in_flight(mut self, bytes: usize) -> Self {
        self.in_flight = Some(bytes);
        self
    }

    /// Whether there are threads that can help: the pool has some, and the pool belongs to this process.
    pub(crate) fn has_threads(&self) -> bool {
        !self.has_forked() && self.pool.threads() > 0
    }

    /// Whether the process has forked since, and left the pool's threads behind.
    pub(crate) fn has_forked(&self) -> bool {
        self.generation != entropy::generation()
    }

    #[cfg(test)]
    pub(crate) fn pretend_to_have_forked(&mut self) {
        self.generation -= 1;
    }

    /// Returns how many units of `unit` bytes a stream has in flight.
    pub(crate) fn units(&self, unit: usize) -> usize {
        let threads = self.pool.threads();
        let bytes = self
            .in_flight
            .unwrap_or_else(|| IN_FLIGHT.saturating_mul(threads));
        (bytes / unit.max(1)).max(threads.saturating_add(1))
    }

    /// Runs `work` on a thread of the pool, at some time.
    pub(crate) fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
        self.pool.spawn(work);
    }
}

/// Does `work` on each of `pieces` of a payload of `len` bytes of plaintext, on several threads if there are some and the
/// payload is large enough. After `Ok`, every piece was done. After an error, the rest may be undone.
pub(crate) fn each<P>(
    parallel: Option<&Parallel>,
    len: usize,
    pieces: impl ExactSizeIterator<Item = P> + Send,
    work: impl Fn(P) -> Result<()> + Sync,
) -> Result<()> {
    match parallel {
        Some(parallel) if len > parallel.threshold && pieces.len() > 1 && parallel.has_threads() => {
            share(&*parallel.pool, pieces, work)
        }
        _ => pieces.into_iter().try_for_each(work),
    }
}

fn share<P>(
    pool: &dyn Pool,
    pieces: impl ExactSizeIterator<Item = P> + Send,
    work: impl Fn(P) -> Result<()> + Sync,
) -> Result<()> {
    let count = pieces.len();
    let helpers = pool.threads().min(count - 1);
    let done = AtomicUsize::new(0);
    // The pieces that nobody has taken; none of them after an error.
    let left = Mutex::new((Some(pieces), None));
    let take = || {
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        left.0.as_mut()?.next()
    };
    let participate = || {
        while let Some(piece) = take() {
            match work(piece) {
                Ok(()) => {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => *left.lock().unwrap_or_else(PoisonError::into_inner) = (None, Some(error)),
            }
        }
    };
    pool.run(helpers, &participate);
    // Whatever the pool did: none of its calls goes on, and this thread does what is left.
    participate();
    let (_, error) = left.into_inner().unwrap_or_else(PoisonError::into_inner);
    match error {
        Some(error) => Err(error),
        None if done.into_inner() == count => Ok(()),
        None => Err(lost()),
    }
}

/// A thread of the pool panicked over a piece, and the pool kept it to itself.
pub(crate) fn lost() -> Error {
    Error::new(ErrorKind::Unavailable)
        .with_detail("a thread of the pool panicked, or the pool lost a piece of work")
}

#[cfg(test)]
mod tests;
