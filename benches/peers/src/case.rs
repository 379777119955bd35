//! What is timed, and how.

use std::time::Duration;

use crate::stopwatch::Stopwatch;

/// Something to time: `run` does it the given number of times, after `prepare` made ready what it uses up.
pub struct Work {
    prepare: Box<dyn FnMut(u32)>,
    run: Box<dyn FnMut(u32)>,
}

impl Work {
    pub fn new(mut work: impl FnMut() + 'static) -> Self {
        Self::prepared(|_| (), move |times| (0..times).for_each(|_| work()))
    }

    pub fn prepared(prepare: impl FnMut(u32) + 'static, run: impl FnMut(u32) + 'static) -> Self {
        Self {
            prepare: Box::new(prepare),
            run: Box::new(run),
        }
    }

    fn prepare(&mut self, times: u32) {
        (self.prepare)(times);
    }

    fn time(&mut self, times: u32) -> Duration {
        let watch = Stopwatch::start();
        (self.run)(times);
        watch.elapsed()
    }
}

/// One library at one length.
pub struct Pair {
    pub name: &'static str,
    /// Bytes that the sealed form has more than the plaintext.
    pub added: usize,
    pub seal: Work,
    pub open: Work,
}

/// What a [`Pair`] took, in nanoseconds.
#[derive(Clone)]
pub struct Measured {
    pub name: &'static str,
    pub added: usize,
    pub seal: f64,
    pub open: f64,
}

/// A turn of a case takes about this long.
const TURN: Duration = Duration::from_micros(200);

/// Times all in turns, `rounds` times, and keeps the best of each.
pub fn measure(pairs: &mut [Pair], rounds: u32) -> Vec<Measured> {
    let mut works: Vec<&mut Work> = Vec::new();
    let mut names = Vec::new();
    for pair in pairs {
        names.push((pair.name, pair.added));
        works.push(&mut pair.seal);
        works.push(&mut pair.open);
    }
    let times: Vec<u32> = works.iter_mut().map(|work| calibrate(work)).collect();
    let mut best = vec![f64::INFINITY; works.len()];
    for _ in 0..rounds {
        // All copies first: one that is made directly before its own case would be in the processor's caches, and what the
        // other cases read is not.
        for (work, times) in works.iter_mut().zip(&times) {
            work.prepare(*times);
        }
        for ((work, times), best) in works.iter_mut().zip(&times).zip(&mut best) {
            let nanos = work.time(*times).as_secs_f64() * 1e9 / f64::from(*times);
            *best = best.min(nanos);
        }
    }
    names
        .iter()
        .zip(best.chunks(2))
        .map(|(&(name, added), best)| {
            eprintln!("{:>14.0} {:>14.0} ns  {name}", best[0], best[1]);
            Measured {
                name,
                added,
                seal: best[0],
                open: best[1],
            }
        })
        .collect()
}

/// How many times fit into one turn.
fn calibrate(work: &mut Work) -> u32 {
    let mut once = || {
        work.prepare(1);
        work.time(1)
    };
    let once = once().min(once()).max(Duration::from_nanos(50));
    u32::try_from(TURN.as_nanos() / once.as_nanos()).map_or(1, |times| times.clamp(1, 2000))
}
