//! Locked, undumpable memory.

use std::fs;

use waxseal::ErrorKind;
use waxseal::hardening::protect_process;

pub(crate) const TESTS: &[crate::Test] = &[(
    "hardening::memory_is_kept_out_of_core_files_and_swap",
    memory_is_kept_out_of_core_files_and_swap,
)];

fn line<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("no {name}"))
}

fn memory_is_kept_out_of_core_files_and_swap() {
    let result = protect_process();
    // What is done first stays in force, whatever the system says to locking.
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let core: Vec<_> = line(&limits, "Max core file size").split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"]);
    match result {
        Ok(()) => {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let locked: u64 = line(&status, "VmLck")
                .split_whitespace()
                .nth(1)
                .unwrap()
                .parse()
                .unwrap();
            assert!(locked > 0);
        }
        // Without the right or the limit to lock memory.
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains("ulimit"), "{error}");
            println!("not locked here: {error}");
        }
    }
}
