//! An inventory that came through a `fork`.
#![allow(unsafe_code, reason = "the standard library has no fork without exec")]

use std::time::{Duration, Instant};

use waxseal::ErrorKind;
use waxseal::ring::Inventory;
use waxseal_sql::SqliteInventory;

/// What the child ends with.
const GOOD: i32 = 42;

#[test]
fn a_forked_child_is_refused_and_leaves_the_parents_inventory_alone() {
    let folder = tempfile::tempdir().unwrap();
    let inventory = pollster::block_on(SqliteInventory::create(folder.path().join("ring.db"))).unwrap();
    assert_eq!(pollster::block_on(inventory.revision()).unwrap(), 0);
    // SAFETY: the child calls the inventory, which takes no lock there, and `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = pollster::block_on(inventory.revision());
        let is_refused = refused.is_err_and(|error| error.kind() == ErrorKind::Configuration);
        drop(inventory);
        // SAFETY: it ends the process, and does nothing else.
        unsafe { libc::_exit(if is_refused { GOOD } else { 1 }) };
    }
    assert!(child > 0);
    let start = Instant::now();
    let mut status = 0;
    // SAFETY: the child is of this process, and nobody else waits for it.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if start.elapsed() > Duration::from_secs(60) {
            // SAFETY: as before.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == GOOD,
        "{status}"
    );
    pollster::block_on(inventory.commit(&crate::support::change(0, Vec::new()))).unwrap();
    assert_eq!(pollster::block_on(inventory.revision()).unwrap(), 1);
}
