//! The threads of rayon.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Parallel, Pool};
use crate::value::error::{Error, Result};

/// How long a thread spins: about ten microseconds.
const SPINS: u32 = 1000;

impl Pool for ThreadPool {
    fn threads(&self) -> usize {
        self.current_num_threads()
    }

    fn run(&self, helpers: usize, work: &(dyn Fn() + Sync)) {
        let working = AtomicUsize::new(helpers);
        self.in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| {
                    work();
                    working.fetch_sub(1, Ordering::Relaxed);
                });
            }
            work();
            // The other threads end within a piece. Sleeping until they are done takes longer than that.
            let mut spins = SPINS;
            while spins > 0 && working.load(Ordering::Relaxed) > 0 {
                std::hint::spin_loop();
                spins -= 1;
            }
        });
    }

    fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
        ThreadPool::spawn(self, work);
    }
}

impl Parallel {
    /// Uses `threads` threads altogether: the thread that calls, and a new rayon pool of the others. To share an existing
    /// pool, see [`new`](Self::new).
    ///
    /// ```
    /// # use waxseal::{Kek, message::Parallel, Sealer, backend::local::LocalKey};
    /// # let keys = LocalKey::new(&Kek::generate()?);
    /// let sealer = Sealer::builder().wrap_with(keys).parallel(Parallel::rayon(2)?).build()?;
    /// # Ok::<(), waxseal::Error>(())
    /// ```
    ///
    /// # Errors
    /// - `InvalidArgument` below 2 or above 1,024 threads
    /// - `Io` if the system starts no more threads
    pub fn rayon(threads: usize) -> Result<Self> {
        if !(2..=1024).contains(&threads) {
            return Err(Error::argument(format!(
                "threads must be between 2 and 1024, got {threads}"
            )));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads - 1)
            .thread_name(|index| format!("waxseal-{index}"))
            .build()
            .map_err(|error| Error::io(std::io::Error::other(error)))?;
        Ok(Self::new(Arc::new(pool)))
    }
}
