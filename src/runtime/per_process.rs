//! One value for each process, also behind a `fork`.

use std::sync::OnceLock;

use crate::value::entropy;

/// How many processes of one line of forks have a value of their own.
const DEPTH: usize = 32;

/// A value that each process makes for itself when it first asks.
///
/// A forked child does not use its parent's value, whose threads it does not have, and does not wait for a lock that a
/// thread of the parent held. Each process has a place of its own, which the parent never touches.
pub(crate) struct PerProcess<T>([OnceLock<(u64, T)>; DEPTH]);

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self([const { OnceLock::new() }; DEPTH])
    }

    /// Returns the value of this process, or `None` in a line of more than 32 forks in which each process used its value.
    /// The caller then does without.
    pub(crate) fn get_or_init(&self, make: impl FnOnce(u64) -> T) -> Option<&T> {
        let generation = entropy::generation();
        let at = usize::try_from(generation % DEPTH as u64).ok()?;
        let (of, value) = self.0.get(at)?.get_or_init(|| (generation, make(generation)));
        (*of == generation).then_some(value)
    }

    /// Returns the values of the processes that this process was forked from. Their locks may be held by threads that are
    /// not in this process.
    #[cfg_attr(
        not(feature = "pkcs11"),
        allow(dead_code, reason = "modules of tokens outlive a fork")
    )]
    pub(crate) fn inherited(&self) -> impl Iterator<Item = &T> {
        let generation = entropy::generation();
        let values = self.0.iter().filter_map(OnceLock::get);
        values
            .filter(move |(of, _)| *of != generation)
            .map(|(_, value)| value)
    }
}
