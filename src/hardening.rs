//! Locked, undumpable memory for the whole process (feature `hardening`, Linux).
//!
//! The operating system can write memory to a swap device or a core file, and lets other processes of the
//! same user read it with a debugger. Keys live all over a process (in the AEAD library, on stacks, in
//! registers), so this asks for the process as a whole and not for single keys.

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::value::error::{Error, ErrorKind, Result};

/// Keeps this process's memory out of core files, debuggers of the same user, and swap.
///
/// In that order: no core files (`RLIMIT_CORE` 0), not dumpable (`PR_SET_DUMPABLE` 0), all memory of now and
/// later locked as it is touched (`mlockall`). Call it at start-up, before keys are read. It cannot be undone
/// for memory that was locked. It does not keep out `root`, nor hibernation, nor a hypervisor. A forked child
/// inherits everything but the locks and calls it again.
///
/// # Errors
/// `Configuration` where the system refuses a step; the steps before it stay in force. Locking needs
/// `CAP_IPC_LOCK` or a limit on locked memory (`ulimit -l`) that covers the whole process.
pub fn protect_process() -> Result<()> {
    let refused = |what: &'static str| {
        move |error: Errno| {
            let error = std::io::Error::from(error);
            Error::new(ErrorKind::Configuration)
                .with_detail(format!("the system refused {what}: {}", error.kind()))
                .with_source(error)
        }
    };
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .map_err(refused("to switch core files off"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(refused("to make the process undumpable"))?;
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(refused("to lock memory; raise `ulimit -l`"))
}
