//! Where the servers are that live tests talk to.
#![allow(dead_code, reason = "each test uses its own part of it")]

use std::sync::atomic::{AtomicU32, Ordering};

/// What `scripts/services env` says of a server. `None`, with the reason printed, where it says nothing, and a failure
/// where the environment demands all servers.
pub(crate) fn address(service: &str) -> Option<String> {
    let name = format!("WAXSEAL_TEST_{}", service.to_uppercase());
    let Some(address) = variable(&name) else {
        let why = format!(
            "{name} is not set; run scripts/services up {service} && eval \"$(scripts/services env)\""
        );
        assert_ne!(variable("CI").as_deref(), Some("true"), "{why}");
        println!("skipped: {why}");
        return None;
    };
    let version = variable(&format!("{name}_VERSION")).unwrap_or_default();
    println!("{service} {version} at {address}");
    Some(address)
}

pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A name that no other test and no other run has.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{what}-{}-{next}-{now}", std::process::id())
}
