//! A progress bar for long input, on a terminal only.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::stream::Output;

/// Work that takes no longer has no bar.
const QUIET: Duration = Duration::from_millis(800);

/// Shows how far a copy is, after a moment, where somebody can see it. Removes the bar when dropped, so that
/// an error stands on a line of its own.
pub(crate) struct Progress {
    is_wanted: bool,
    total: Option<u64>,
    done: u64,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Of `total` bytes, where that is known.
    pub(crate) fn new(total: Option<u64>, output: &Output) -> Self {
        Self {
            is_wanted: stderr().is_terminal() && !output.is_terminal(),
            total,
            done: 0,
            since: Instant::now(),
            bar: None,
        }
    }

    /// Of nothing that is shown.
    pub(crate) fn none() -> Self {
        Self {
            is_wanted: false,
            total: None,
            done: 0,
            since: Instant::now(),
            bar: None,
        }
    }

    /// So many bytes more.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        if !self.is_wanted {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if self.since.elapsed() >= QUIET {
            self.bar = Some(self.start());
        }
    }

    fn start(&self) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(self.total, ProgressDrawTarget::stderr());
        let template = match self.total {
            Some(_) => "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{spinner} {bytes} {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_position(self.done);
        bar
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
