//! Where bytes come from and go to: the standard streams, other descriptors, and files.
//!
//! What holds of all of it: exit code 0 means that the output is there. A stream that was closed when the process began is
//! an error, not `/dev/null`; an output that would destroy its own input is refused; what may have been kept back by the
//! system is asked for before the process ends.

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
