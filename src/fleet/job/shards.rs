//! Several rewrappers, each for data keys of its own, so that values of one data key always come to the same one.

use std::num::NonZeroUsize;

use async_lock::Mutex;
use sha2::{Digest as _, Sha256};

use crate::sealer::{Rewrapper, Sealer};

/// How many wrap sections all of them remember.
const REMEMBERED: usize = 4096;
/// How many there are for each worker: two workers rarely want the same one.
const EACH: usize = 4;

pub(super) struct Shards(Vec<Mutex<Rewrapper>>);

impl Shards {
    pub(super) fn new(sealer: &Sealer, workers: usize) -> Self {
        let count = workers * EACH;
        let remembered = NonZeroUsize::new(REMEMBERED / count).unwrap_or(NonZeroUsize::MIN);
        let shard = |_| Mutex::new(sealer.rewrapper().remembering(remembered));
        Self((0..count).map(shard).collect())
    }

    /// The one for a wrap section.
    pub(super) fn of(&self, section: &[u8]) -> Option<&Mutex<Rewrapper>> {
        let digest = Sha256::digest(section);
        let number = digest
            .iter()
            .take(4)
            .fold(0, |number, byte| number << 8 | usize::from(*byte));
        self.0.get(number % self.0.len().max(1))
    }
}
