//! Locked, undumpable memory for the whole process (feature `hardening`, Linux).
//!
//! The operating system can write memory to a swap device or a core file, and lets other processes of the
//! same user read it with a debugger. Keys live all over a process (in the AEAD library, on stacks, in
//! registers), so this asks for the process as a whole and not for single keys.

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::value::error::{Error, ErrorKind, Result};

/// Keeps this process's memory out of core files, debuggers of the same user, and swap.
///
/// In that order: no core files (`RLIMIT_CORE` 0), not dumpable (`PR_SET_DUMPABLE` 0), all memory of now and
/// later locked as it is touched (`mlockall`). Call it at start-up, before keys are read. It cannot be undone
/// for memory that was locked. It does not keep out `root`, nor hibernation, nor a hypervisor. A forked child
/// inherits everything but the locks and calls it again.
///
/// Memory is locked only if there is no limit on it: `RLIMIT_MEMLOCK` is unlimited, or can be raised to that, or the
/// process has `CAP_IPC_LOCK`. Under a limit the system would accept the call, and end the process at the first buffer
/// or thread that passes the limit.
///
/// # Errors
/// `Configuration` if the system refuses a step, or if there is a limit on locked memory; the steps before stay in
/// force.
pub fn protect_process() -> Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(refused("to switch core files off"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(refused("to make the process undumpable"))?;
    if let Some(limit) = limit_on_locked_memory()? {
        return Err(Error::configuration(format!(
            "locked memory is limited to {limit} bytes, and the process would be ended when it needs more: \
             set `ulimit -l unlimited` (systemd: LimitMEMLOCK=infinity) or grant CAP_IPC_LOCK"
        )));
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(refused("to lock memory"))
}

fn refused(what: &'static str) -> impl Fn(Errno) -> Error {
    move |error| {
        let error = std::io::Error::from(error);
        Error::new(ErrorKind::Configuration)
            .with_detail(format!("the system refused {what}: {}", error.kind()))
            .with_source(error)
    }
}

/// How much memory may be locked; `None` for as much as there is.
fn limit_on_locked_memory() -> Result<Option<u64>> {
    let limit = getrlimit(Resource::Memlock);
    let Some(current) = limit.current else {
        return Ok(None);
    };
    if limit.maximum.is_none() {
        let unlimited = Rlimit {
            current: None,
            maximum: None,
        };
        setrlimit(Resource::Memlock, unlimited).map_err(refused("to raise the limit on locked memory"))?;
        return Ok(None);
    }
    // Whether a capability lifts the limit is found out by the deed: what `/proc` lists may be one of a user namespace,
    // which does not. Under a limit of nothing only the capability locks anything.
    let nothing = Rlimit {
        current: Some(0),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Memlock, nothing).map_err(refused("to lower the limit on locked memory"))?;
    let is_exempt = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT).is_ok();
    setrlimit(Resource::Memlock, limit).map_err(refused("to restore the limit on locked memory"))?;
    Ok((!is_exempt).then_some(current))
}
