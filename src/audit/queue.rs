//! The queue before a sink, and the thread that empties it: what waits together is kept together.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_channel::oneshot;

use super::auditor::Numbers;
use super::{Event, Sink};
use crate::value::error::{Error, ErrorKind, Result};

/// Events that wait at most.
const ROOM: usize = 4_096;
/// Events of one batch at most.
const BATCH: usize = 1_024;
/// After so long without an event, what the sink put off is brought to an end.
const IDLE: Duration = Duration::from_secs(1);

/// Whoever waits for an event to be kept.
pub(super) type Kept = oneshot::Receiver<Result<()>>;

/// A sink with its queue and its thread.
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    /// The sink, for people. The sink itself is the thread's alone, so it has ended when [`Auditor::close`](super::Auditor::close) says so.
    name: String,
    keeps_json: bool,
    numbers: Arc<Numbers>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    closing: Vec<oneshot::Sender<Result<()>>>,
    /// Events that were not kept, and that no gap tells of yet.
    lost: u64,
    /// The number of the gap that will tell of them.
    gap: Option<u64>,
    is_closed: bool,
    has_ended: bool,
}

struct Waiting {
    event: Arc<Event>,
    done: Option<oneshot::Sender<Result<()>>>,
}

/// What became of an event that was put into a queue.
pub(super) enum Pushed {
    /// It waits. Whoever asked is told.
    Waits(Option<Kept>),
    /// There is no room.
    Lost {
        /// Whether it is the first that no gap tells of.
        is_first: bool,
    },
}

/// A batch, and whether it is kept.
struct Told {
    batch: Vec<Waiting>,
    kept: Result<()>,
}

impl Told {
    /// Tells whoever waits for it.
    fn tell(self) {
        for done in self.batch.into_iter().filter_map(|waiting| waiting.done) {
            // Whoever does not wait any more is told nothing.
            let _ = done.send(match &self.kept {
                Ok(()) => Ok(()),
                Err(error) => Err(error.copy()),
            });
        }
    }
}

/// Tells in the place of the thread of the sink, which keeps the next batch meanwhile: waking as many callers takes a tenth of the time that a disk
/// takes for them.
#[derive(Default)]
struct Teller(Option<(mpsc::Sender<Told>, JoinHandle<()>)>);

impl Teller {
    fn take(&mut self, told: Told) {
        if self.0.is_none() {
            let (sender, receiver) = mpsc::channel::<Told>();
            let thread = thread::Builder::new().name("waxseal-audit-tell".to_owned());
            let started = thread.spawn(move || receiver.into_iter().for_each(Told::tell));
            self.0 = started.ok().map(|thread| (sender, thread));
        }
        match &self.0 {
            Some((sender, _)) => {
                if let Err(mpsc::SendError(told)) = sender.send(told) {
                    told.tell();
                }
            }
            // The system has no thread to spare.
            None => told.tell(),
        }
    }

    /// Returns when all are told.
    fn end(self) {
        if let Some((sender, thread)) = self.0 {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// What the thread does next.
enum Next {
    Keep(Vec<Waiting>),
    Idle,
    End,
}

impl Queue {
    pub(super) fn start(sink: Box<dyn Sink>, numbers: Arc<Numbers>) -> Result<Self> {
        let shared = Arc::new(Shared {
            name: format!("{sink:?}"),
            keeps_json: sink.keeps_json(),
            numbers,
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("waxseal-audit".to_owned());
        let started = thread.spawn(move || of_thread.run(sink));
        started.map_err(|error| {
            Error::new(ErrorKind::Unavailable)
                .with_detail("the system starts no thread for an audit sink")
                .with_source(error)
        })?;
        Ok(Self(shared))
    }

    /// Whether its sink needs the JSON of events.
    pub(super) fn keeps_records(&self) -> bool {
        self.0.keeps_json
    }

    /// Whether an event would be refused.
    pub(super) fn is_full(&self) -> bool {
        let state = self.0.lock();
        state.is_closed || state.waiting.len() >= ROOM
    }

    /// Puts an event at the end. Whoever asks is told when it is kept. One that has no room is counted, and is to be [said](Self::say_lost) by
    /// whoever holds no lock anymore.
    pub(super) fn push(&self, event: &Arc<Event>, asks: bool) -> Pushed {
        let mut state = self.0.lock();
        if state.is_closed || state.waiting.len() >= ROOM {
            let is_first = state.lost == 0;
            state.lost += 1;
            return Pushed::Lost { is_first };
        }
        let (done, kept) = match asks {
            true => {
                let (done, kept) = oneshot::channel();
                (Some(done), Some(kept))
            }
            false => (None, None),
        };
        state.waiting.push(Waiting {
            event: Arc::clone(event),
            done,
        });
        drop(state);
        self.0.wake.notify_one();
        Pushed::Waits(kept)
    }

    /// Says that events are being lost. Not under a lock: whoever hears of it may be audited, too.
    pub(super) fn say_lost(&self) {
        self.0.say_lost("its queue is full or closed");
    }

    /// How many events wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// How many events were lost, and are in no gap yet.
    pub(super) fn lost(&self) -> u64 {
        self.0.lock().lost
    }

    /// Lets nothing more in, and returns whoever is told when all is kept.
    pub(super) fn close(&self) -> Option<Kept> {
        let mut state = self.0.lock();
        state.is_closed = true;
        let kept = (!state.has_ended).then(|| {
            let (done, kept) = oneshot::channel();
            state.closing.push(done);
            kept
        });
        drop(state);
        self.0.wake.notify_one();
        kept
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if self.0.numbers.is_of_this_process() {
            drop(self.close());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one push, one take or one number.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts lost events. Says so once, until a gap has told of them.
    fn lose(&self, count: u64, why: &str) {
        let mut state = self.lock();
        let is_first = state.lost == 0;
        state.lost += count;
        drop(state);
        if is_first {
            self.say_lost(why);
        }
    }

    fn say_lost(&self, why: &str) {
        tracing::warn!(sink = %self.name, "audit events are being lost: {why}");
    }

    fn run(&self, sink: Box<dyn Sink>) {
        let (mut put_off, mut teller) = (false, Teller::default());
        loop {
            match self.next(put_off) {
                Next::Keep(batch) => {
                    let told = self.keep(&*sink, batch);
                    match self.lock().waiting.is_empty() {
                        true => told.tell(),
                        false => teller.take(told),
                    }
                    put_off = true;
                }
                Next::Idle => {
                    self.keep(&*sink, Vec::new()).tell();
                    if let Err(error) = pollster::block_on(sink.flush()) {
                        tracing::warn!(sink = %self.name, %error, "an audit sink cannot end what it put off");
                    }
                    put_off = self.lock().lost > 0;
                }
                Next::End => {
                    teller.end();
                    return self.end(sink);
                }
            }
        }
    }

    fn next(&self, put_off: bool) -> Next {
        let mut state = self.lock();
        loop {
            if !state.waiting.is_empty() {
                let count = state.waiting.len().min(BATCH);
                let rest = state.waiting.split_off(count);
                return Next::Keep(std::mem::replace(&mut state.waiting, rest));
            }
            if state.is_closed {
                return Next::End;
            }
            if !put_off {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.wake.wait_timeout(state, IDLE);
            let (after, result) = waited.unwrap_or_else(PoisonError::into_inner);
            if result.timed_out() && after.waiting.is_empty() && !after.is_closed {
                return Next::Idle;
            }
            state = after;
        }
    }

    /// Keeps a batch, with a gap before it if events were lost before it.
    fn keep(&self, sink: &dyn Sink, batch: Vec<Waiting>) -> Told {
        let (lost, number) = {
            let state = self.lock();
            (state.lost, state.gap)
        };
        let gap = (lost > 0).then(|| {
            // Whoever numbers an event takes the lock of the numbers first and this one after it. Nobody else sets the number of a gap.
            let number = number.unwrap_or_else(|| self.numbers.number());
            self.lock().gap = Some(number);
            Arc::new(self.numbers.gap(number, lost))
        });
        let mut events: Vec<Arc<Event>> = gap.into_iter().collect();
        events.extend(batch.iter().map(|waiting| Arc::clone(&waiting.event)));
        if events.is_empty() {
            return Told { batch, kept: Ok(()) };
        }
        let kept = pollster::block_on(sink.keep(&events));
        match &kept {
            Ok(()) => {
                let mut state = self.lock();
                state.lost -= lost;
                state.gap = state.gap.filter(|_| lost == 0);
            }
            Err(error) => {
                let why = format!("the sink does not keep them: {error}");
                self.lose(batch.len() as u64, &why);
            }
        }
        Told { batch, kept }
    }

    fn end(&self, sink: Box<dyn Sink>) {
        self.keep(&*sink, Vec::new()).tell();
        let flushed = pollster::block_on(sink.flush());
        // Before anybody hears of the end: what the sink holds, a lock among it, is free then.
        drop(sink);
        let mut state = self.lock();
        state.has_ended = true;
        let lost = state.lost;
        let closing = std::mem::take(&mut state.closing);
        drop(state);
        for done in closing {
            let _ = done.send(match &flushed {
                Err(error) => Err(error.copy()),
                Ok(()) if lost > 0 => Err(Error::new(ErrorKind::Audit)
                    .with_detail(format!("{lost} events were not kept, and no gap tells of them"))),
                Ok(()) => Ok(()),
            });
        }
    }
}
