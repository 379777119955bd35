//! Units of a stream that others seal or open while the calling thread reads or writes.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

use crate::message::chunk::Run;
use crate::message::parallel::{Parallel, lost};
use crate::value::aead::TAG;
use crate::value::error::{Error, Result};

/// What is handed to another thread at a time: some ten microseconds of work. In bytes of plaintext.
const UNIT: usize = 256 * 1024;

/// A buffer that is wiped when dropped.
#[derive(Default)]
pub(super) struct Buffer(Vec<u8>);

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // As a slice: wiping a vector goes byte by byte.
        self.0.as_mut_slice().zeroize();
    }
}

/// Chunks that follow one another.
#[derive(Default)]
pub(super) struct Unit {
    pub(super) bytes: Buffer,
    /// Bytes of the buffer that the chunks take, with their tags.
    pub(super) len: usize,
    /// Which of the message they are.
    pub(super) run: Run,
    /// How many of them went well, before the error where there is one.
    pub(super) done: usize,
    pub(super) error: Option<Error>,
}

impl Unit {
    pub(super) fn chunks(&mut self) -> &mut [u8] {
        self.bytes.0.get_mut(..self.len).unwrap_or_default()
    }
}

/// What is done to each unit.
pub(super) trait Work: Send + Sync + 'static {
    fn work(&self, unit: &mut Unit);
}

/// The units under way, in order. Without threads that is one, which is done by the calling thread when it is
/// asked for.
pub(super) struct Ahead<W> {
    work: Arc<W>,
    parallel: Option<Parallel>,
    /// Chunks of a unit.
    chunks: usize,
    /// Units under way.
    most: usize,
    under_way: VecDeque<Entry>,
    spare: Vec<Buffer>,
}

enum Entry {
    Here(Unit),
    There(Arc<Slot>),
}

impl<W: Work> Ahead<W> {
    pub(super) fn new(work: W, parallel: Option<&Parallel>, chunk_size: usize) -> Self {
        let parallel = parallel.filter(|parallel| parallel.has_threads()).cloned();
        let (chunks, most) = parallel.as_ref().map_or((1, 1), |parallel| {
            let chunks = (UNIT / chunk_size).max(1);
            (chunks, parallel.units(chunks * (chunk_size + TAG)))
        });
        Self {
            work: Arc::new(work),
            parallel,
            chunks,
            most,
            under_way: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// Chunks of a full unit.
    pub(super) fn chunks(&self) -> usize {
        self.chunks
    }

    /// Whether the calling thread does everything.
    pub(super) fn is_serial(&self) -> bool {
        self.parallel.is_none()
    }

    /// Whether no unit is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether no more units may be put under way before the oldest was taken.
    pub(super) fn is_full(&self) -> bool {
        self.under_way.len() >= self.most
    }

    /// A buffer, as it was left behind.
    pub(super) fn buffer(&mut self) -> Buffer {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(super) fn recycle(&mut self, buffer: Buffer) {
        self.spare.push(buffer);
    }

    /// Puts a unit under way behind the others.
    pub(super) fn push(&mut self, unit: Unit) -> Result<()> {
        self.check()?;
        let Some(parallel) = &self.parallel else {
            self.under_way.push_back(Entry::Here(unit));
            return Ok(());
        };
        let slot = Arc::new(Slot::new(unit));
        self.under_way.push_back(Entry::There(Arc::clone(&slot)));
        let work = Arc::clone(&self.work);
        parallel.spawn(Box::new(move || {
            slot.run(&*work);
        }));
        Ok(())
    }

    /// The oldest unit under way, once it is done. Without `wait` only if it is done already, or is done here.
    pub(super) fn next(&mut self, wait: bool) -> Result<Option<Unit>> {
        self.check()?;
        while let Some(Entry::There(oldest)) = self.under_way.front()
            && !oldest.is_settled()
        {
            if !wait {
                return Ok(None);
            }
            // Not idle while there is something to do.
            let mut there = self.under_way.iter();
            if !there.any(|entry| matches!(entry, Entry::There(slot) if slot.run(&*self.work))) {
                break;
            }
        }
        match self.under_way.pop_front() {
            None => Ok(None),
            Some(Entry::Here(mut unit)) => {
                self.work.work(&mut unit);
                Ok(Some(unit))
            }
            Some(Entry::There(slot)) => slot.finish(&*self.work).map(Some),
        }
    }

    /// The oldest unit under way as it was pushed, where the calling thread does everything.
    pub(super) fn next_undone(&mut self) -> Option<Unit> {
        match self.under_way.pop_front()? {
            Entry::Here(unit) => Some(unit),
            Entry::There(_) => None,
        }
    }

    /// Drops what is under way.
    pub(super) fn clear(&mut self) {
        self.under_way.clear();
    }

    /// In a forked child nobody works on what the parent's threads had begun, and their locks may be held for good.
    fn check(&self) -> Result<()> {
        match &self.parallel {
            Some(parallel) if parallel.has_forked() => Err(Error::argument(
                "the process has forked; a stream on several threads stays with the process that began it",
            )),
            _ => Ok(()),
        }
    }
}

/// A unit on its way through another thread. Whoever comes first does it: the pool, or the thread that needs it
/// next. So a pool that is slow, has dropped the work, or waits for that very thread, stops nothing.
struct Slot {
    state: Mutex<State>,
    settled: Condvar,
}

enum State {
    Waiting(Unit),
    Begun,
    Done(Unit),
    Lost,
}

impl Slot {
    fn new(unit: Unit) -> Self {
        Self {
            state: Mutex::new(State::Waiting(unit)),
            settled: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_settled(&self) -> bool {
        matches!(*self.lock(), State::Done(_) | State::Lost)
    }

    /// Does the work, unless someone has begun it: whether it did.
    fn run(&self, work: &impl Work) -> bool {
        let mut unit = {
            let mut state = self.lock();
            match std::mem::replace(&mut *state, State::Begun) {
                State::Waiting(unit) => unit,
                other => {
                    *state = other;
                    return false;
                }
            }
        };
        let settle = Settle(self);
        work.work(&mut unit);
        *self.lock() = State::Done(unit);
        drop(settle);
        true
    }

    /// Waits for the end of the work, or does it.
    fn finish(&self, work: &impl Work) -> Result<Unit> {
        self.run(work);
        let mut state = self.lock();
        loop {
            match std::mem::replace(&mut *state, State::Lost) {
                State::Done(unit) => return Ok(unit),
                State::Begun => {
                    *state = State::Begun;
                    state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                State::Waiting(_) | State::Lost => return Err(lost()),
            }
        }
    }
}

/// Tells who waits that the work has ended, by a panic too.
struct Settle<'a>(&'a Slot);

impl Drop for Settle<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if matches!(*state, State::Begun) {
            *state = State::Lost;
        }
        drop(state);
        self.0.settled.notify_all();
    }
}

#[cfg(test)]
mod tests;
