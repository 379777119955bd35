//! The monotonic clock that every runtime but the simulated one shares. It counts while the machine sleeps.

use super::Monotonic;

/// Now, with a resolution of 1 to 10 ms.
#[cfg(target_os = "linux")]
pub(super) fn now() -> Monotonic {
    use std::time::Duration;

    use rustix::time::ClockId;

    static SLEPT: linux::Slept = linux::Slept::new();
    let (ran, calendar) = (
        linux::read(ClockId::MonotonicCoarse),
        linux::read(ClockId::RealtimeCoarse),
    );
    Monotonic(Duration::from_nanos(ran.saturating_add(SLEPT.before(
        ran,
        calendar,
        linux::slept,
    ))))
}

/// Now, in the time that the standard library keeps: on some systems it stands while the machine sleeps.
#[cfg(not(target_os = "linux"))]
pub(super) fn now() -> Monotonic {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    Monotonic(ORIGIN.get_or_init(std::time::Instant::now).elapsed())
}

/// `CLOCK_BOOTTIME`, for a third of its cost.
///
/// It has no coarse variant, and reading the precise one costs 28 ns (Xeon, TSC), a fifth of sealing a small value. But
/// it differs from the monotonic clock by the time that the machine has slept, and by nothing else, and whenever that
/// changes the kernel moves the calendar against the monotonic clock in the same step. So two coarse clocks of 5 ns each
/// tell whether the precise ones have to be read again.
#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::time::{ClockId, clock_gettime};

    /// By less than this the calendar moves for no reason, since a tick may come between two readings. In nanoseconds.
    const TICKS: u64 = 20_000_000;

    pub(super) fn read(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    }

    /// How long the machine has slept since it was started, in nanoseconds.
    pub(super) fn slept() -> u64 {
        let between = || {
            let ran = read(ClockId::Monotonic);
            read(ClockId::Boottime).saturating_sub(ran)
        };
        // A thread that is put aside between the two readings makes it longer than it was.
        (0..4).map(|_| between()).min().unwrap_or_default()
    }

    /// How long the machine has slept, as of the last time that the calendar has moved.
    pub(super) struct Slept {
        /// The calendar less the monotonic clock, then.
        gap: AtomicU64,
        nanos: AtomicU64,
    }

    impl Slept {
        pub(super) const fn new() -> Self {
            Self {
                gap: AtomicU64::new(u64::MAX),
                nanos: AtomicU64::new(0),
            }
        }

        pub(super) fn before(&self, ran: u64, calendar: u64, slept: impl FnOnce() -> u64) -> u64 {
            let gap = calendar.wrapping_sub(ran);
            if gap.abs_diff(self.gap.load(Ordering::Acquire)) > TICKS {
                // Whoever sees the new gap sees the time that belongs to it.
                self.nanos.fetch_max(slept(), Ordering::Relaxed);
                self.gap.store(gap, Ordering::Release);
            }
            self.nanos.load(Ordering::Relaxed)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const SECOND: u64 = 1_000_000_000;

        #[test]
        fn time_in_which_the_machine_slept_is_found_out_when_the_calendar_moves() {
            let clock = Slept::new();
            assert_eq!(clock.before(10 * SECOND, 1000 * SECOND, || 0), 0);
            let asked = |ran, calendar, slept| {
                let mut asked = false;
                let found = clock.before(ran, calendar, || {
                    asked = true;
                    slept
                });
                (found, asked)
            };
            // It runs, and a tick comes between the two readings.
            assert_eq!(asked(11 * SECOND, 1001 * SECOND, 0), (0, false));
            assert_eq!(asked(12 * SECOND, 1002 * SECOND + TICKS, 0), (0, false));
            // It slept for an hour: the calendar went on, the monotonic clock did not.
            assert_eq!(
                asked(13 * SECOND, 4603 * SECOND, 3600 * SECOND),
                (3600 * SECOND, true)
            );
            assert_eq!(asked(14 * SECOND, 4604 * SECOND, 0), (3600 * SECOND, false));
            // Somebody set the calendar back: nothing is taken away.
            assert_eq!(
                asked(15 * SECOND, 5 * SECOND, 3600 * SECOND),
                (3600 * SECOND, true)
            );
        }

        #[test]
        fn it_is_the_clock_that_counts_while_the_machine_sleeps() {
            for _ in 0..1000 {
                let before = read(ClockId::Boottime);
                let now = u64::try_from(super::super::now().0.as_nanos()).unwrap();
                // A coarse clock is behind by up to a tick.
                assert!(now + TICKS > before, "{now} {before}");
                assert!(now < read(ClockId::Boottime) + TICKS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back() {
        let mut last = now();
        for _ in 0..100_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }
}
