//! Locked, undumpable memory.

use std::fs;
use std::process::Command;

use waxseal::ErrorKind;
use waxseal::hardening::protect_process;

pub(crate) const TESTS: &[crate::Test] = &[
    (
        "hardening::a_process_under_a_small_limit_is_refused_and_lives",
        a_process_under_a_small_limit_is_refused_and_lives,
    ),
    (
        "hardening::memory_is_kept_out_of_core_files_and_swap",
        memory_is_kept_out_of_core_files_and_swap,
    ),
];

fn line<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("no {name}"))
}

/// The copy of this program that the next test begins, under a limit.
const LIMITED: &str = "WAXSEAL_TEST_UNDER_A_LIMIT";

fn a_process_under_a_small_limit_is_refused_and_lives() {
    if std::env::var_os(LIMITED).is_some() {
        let result = protect_process();
        // What ends a process that was let through, since all it had at first fits: a large buffer, and threads.
        let buffer = vec![0_u8; 1 << 30];
        let threads: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| vec![1_u8; 1 << 20].len()))
            .collect();
        let sum: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(sum + buffer.len(), (8 << 20) + (1 << 30));
        let error = result.expect_err("it was accepted");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let text = error.to_string();
        assert!(
            text.contains("8388608 bytes") && text.contains("ulimit"),
            "{text}"
        );
        return;
    }
    // Whoever may lock without a limit gives that up first: `setpriv` comes with the system's basic tools.
    let is_root = line(&fs::read_to_string("/proc/self/status").unwrap(), "Uid")
        .split_whitespace()
        .nth(2)
        == Some("0");
    let drop_it = if is_root {
        "exec setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock -- \"$@\""
    } else {
        "exec \"$@\""
    };
    // The name of the test is in the environment already.
    let child = Command::new("sh")
        .args(["-c", &format!("ulimit -l 8192; {drop_it}"), "sh"])
        .arg(std::env::current_exe().unwrap())
        .env(LIMITED, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
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
