//! What must not stay behind when a signal ends the process: a file that is half written, a terminal without echo, a program that was started.
//!
//! A signal that has its default action ends the process as ever, after that was put right: a shell sees 130 after an
//! interrupt and 143 after `SIGTERM`. One that was ignored when the process began (`nohup`, a job in the background) stays
//! ignored.

use std::io;
use std::path::Path;

#[cfg(unix)]
pub(crate) use unix::{echo_at_end, echo_is_back};

/// Has a limit of the system be an error of the call that meets it.
pub(crate) fn outlive_limits() {
    #[cfg(unix)]
    unix::outlive_limits();
}

/// Removes the file if a signal ends the process from now on.
pub(crate) fn remove_at_end(path: &Path) {
    #[cfg(unix)]
    unix::watch(|state| state.remove.push(path.into()));
    #[cfg(not(unix))]
    let _ = path;
}

/// Leaves the file alone from now on.
pub(crate) fn keep(path: &Path) {
    #[cfg(unix)]
    unix::keep(path);
    #[cfg(not(unix))]
    let _ = path;
}

/// Kills this process, which is the first of a group of its own, with the group if a signal ends the tool from now on.
#[cfg(feature = "ring")]
pub(crate) fn kill_at_end(process: u32) {
    #[cfg(unix)]
    unix::watch(|state| state.groups.push(process));
    #[cfg(not(unix))]
    let _ = process;
}

/// Leaves the group alone from now on.
#[cfg(feature = "ring")]
pub(crate) fn is_over(process: u32) {
    #[cfg(unix)]
    unix::is_over(process);
    #[cfg(not(unix))]
    let _ = process;
}

/// Kills a group by its first process.
#[cfg(feature = "ring")]
pub(crate) fn kill_group(process: u32) {
    #[cfg(unix)]
    unix::kill_group(process);
    #[cfg(not(unix))]
    let _ = process;
}

/// Runs something that no signal comes into the middle of: it waits until this is done.
pub(crate) fn undisturbed<T>(run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(unix)]
    return unix::undisturbed(run);
    #[cfg(not(unix))]
    run()
}

#[cfg(unix)]
mod unix {
    use std::fs::{self, File};
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

    use rustix::process::{Pid, Signal, kill_process_group};
    use rustix::termios::{OptionalActions, Termios, tcsetattr};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    /// What a signal has to put right.
    #[derive(Default)]
    pub(super) struct State {
        pub(super) remove: Vec<PathBuf>,
        pub(super) groups: Vec<u32>,
        terminal: Option<(File, Termios)>,
    }

    static STATE: Mutex<Option<State>> = Mutex::new(None);
    /// Held while the process must not end.
    static QUIET: Mutex<()> = Mutex::new(());
    static START: Once = Once::new();

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(change: impl FnOnce(&mut State)) {
        change(lock(&STATE).get_or_insert_default());
        START.call_once(start);
    }

    pub(super) fn keep(path: &Path) {
        if let Some(state) = lock(&STATE).as_mut() {
            state.remove.retain(|other| other != path);
        }
    }

    #[cfg(feature = "ring")]
    pub(super) fn is_over(process: u32) {
        if let Some(state) = lock(&STATE).as_mut() {
            state.groups.retain(|other| *other != process);
        }
    }

    pub(super) fn kill_group(process: u32) {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    pub(super) fn undisturbed<T>(run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _quiet = lock(&QUIET);
        run()
    }

    /// Gives this terminal these settings back when a signal ends the process.
    pub(crate) fn echo_at_end(terminal: File, settings: Termios) {
        watch(|state| state.terminal = Some((terminal, settings)));
    }

    /// The terminal is as it was.
    pub(crate) fn echo_is_back() {
        if let Some(state) = lock(&STATE).as_mut() {
            state.terminal = None;
        }
    }

    /// A file that grows over its limit is then an error of the write, as a full disk is, and ends nothing.
    pub(super) fn outlive_limits() {
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    }

    fn start() {
        let wanted = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
        let wanted = wanted
            .into_iter()
            .filter(|signal| !super::ask::is_ignored(*signal));
        let Ok(mut signals) = Signals::new(wanted) else {
            return;
        };
        // It ends with the process. If it cannot be started, signals are lost that would end the process: so none is taken.
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".into());
        let started = thread.spawn(move || {
            for signal in signals.forever() {
                let _quiet = lock(&QUIET);
                let state = lock(&STATE).take().unwrap_or_default();
                for path in state.remove {
                    let _ = fs::remove_file(path);
                }
                state.groups.into_iter().for_each(kill_group);
                if let Some((terminal, settings)) = state.terminal {
                    let _ = tcsetattr(&terminal, OptionalActions::Now, &settings);
                }
                let _ = emulate_default_handler(signal);
            }
        });
        if started.is_err() {
            handle.close();
        }
    }
}

/// Asking the system what becomes of a signal, which no safe call of the crates here does.
#[cfg(unix)]
mod ask {
    #![allow(unsafe_code, reason = "the module says why")]

    /// Whether the signal is ignored.
    pub(super) fn is_ignored(signal: i32) -> bool {
        // SAFETY: all bits zero is a value of this type.
        let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: without a new action the call only writes the present one to where it is told, which is there.
        let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
        asked == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}
