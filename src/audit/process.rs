//! Who writes events: one process.

use std::fmt;
use std::sync::Arc;

use uuid::Builder;

use super::text::bounded;
use crate::value::entropy;
use crate::value::error::Result;

/// The process that events come from: host, process id, and an instance that no other process shares.
#[derive(Clone, PartialEq, Eq)]
pub struct Process(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    host: String,
    pid: u32,
    instance: String,
}

impl Process {
    /// Returns this process, as a new instance.
    ///
    /// # Errors
    /// `Entropy` if the operating system returns no randomness.
    pub fn current() -> Result<Self> {
        let random = entropy::array::<16>()?;
        Ok(Self(Arc::new(Inner {
            host: bounded(&host_name()),
            pid: std::process::id(),
            instance: Builder::from_random_bytes(random).into_uuid().to_string(),
        })))
    }

    /// Returns the name of the host; empty if the system does not tell.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Returns the id of the process on its host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Returns the instance: a random UUID. Events of one instance are numbered without holes.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.0.instance
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("host", &self.0.host)
            .field("pid", &self.0.pid)
            .field("instance", &self.0.instance)
            .finish()
    }
}

#[cfg(target_os = "linux")]
pub(super) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn host_name() -> String {
    String::new()
}
