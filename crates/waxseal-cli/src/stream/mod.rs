//! Where bytes come from and go to: the standard streams, other descriptors, and files.
//!
//! What holds of all of it: exit code 0 means that the output is there. A stream that was closed when the process began is
//! an error, not `/dev/null`; an output that would destroy its own input is refused; what may have been kept back by the
//! system is asked for before the process ends.

use std::fs::File;
use std::io;

mod claims;
#[cfg(unix)]
mod descriptors;
mod identity;
mod input;
#[cfg(unix)]
mod kept;
mod name;
mod output;
mod place;
mod staged;

pub(crate) use claims::{Source, check_once};
pub(crate) use input::Input;
pub(crate) use name::{Name, path_of};
pub(crate) use output::{Access, Output, Replace, changed};
pub(crate) use place::Place;

/// Reads or writes, and waits if whoever shares the stream has set it not to: then it says "not yet" in the place of
/// waiting, which is no failure.
fn patient<T>(file: &File, writes: bool, mut transfer: impl FnMut(&File) -> io::Result<T>) -> io::Result<T> {
    loop {
        match transfer(file) {
            #[cfg(unix)]
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(file, writes)?,
            done => {
                let _ = writes;
                return done;
            }
        }
    }
}

#[cfg(unix)]
fn wait(file: &File, writes: bool) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let events = if writes { PollFlags::OUT } else { PollFlags::IN };
    match poll(&mut [PollFd::new(file, events)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
