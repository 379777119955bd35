//! A key ring does not go on in a forked child: it says so, and holds up nobody.
#![allow(unsafe_code, reason = "the standard library has no fork without exec")]

use std::io::{Read, Write};
use std::time::Duration;

use pollster::block_on;
use waxseal::source::Caching;
use waxseal::{EncryptionContext, ErrorKind};

use crate::ring_support::Ring;

pub(crate) const TESTS: &[crate::Test] = &[(
    "ring_fork::a_child_refuses_to_go_on_with_the_ring_of_its_parent",
    a_child_refuses_to_go_on_with_the_ring_of_its_parent,
)];

fn a_child_refuses_to_go_on_with_the_ring_of_its_parent() {
    let ring = Ring::new(|_| {});
    ring.key("/", "ROOT");
    // Its thread sleeps: a forked copy of a process with threads may do next to nothing.
    let opened = block_on(ring.builder().every(Duration::from_secs(3600)).open()).unwrap();
    let none = Caching {
        seal_entries: 0,
        open_entries: 0,
        ..opened.caching()
    };
    let sealer = opened.sealer().cache(none).build().unwrap();
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let sealed = block_on(sealer.seal(b"hello", &context)).unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the child does what this test says and ends by `_exit`; the threads of the parent hold no lock, since they sleep.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        let kind = |error: waxseal::Error| error.kind() == ErrorKind::Configuration;
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert!(kind(block_on(sealer.seal(b"hello", &context)).unwrap_err()));
            assert!(kind(block_on(sealer.open(&sealed, &context)).unwrap_err()));
            assert!(kind(block_on(opened.refresh()).unwrap_err()));
            assert!(kind(opened.status().unwrap_err()));
            // A ring of its own.
            let own = block_on(ring.builder().without_watching().open()).unwrap();
            let own = own.sealer().build().unwrap();
            assert_eq!(block_on(own.open(&sealed, &context)).unwrap(), b"hello");
            drop((sealer, opened));
        }));
        let _ = writer.write_all(&[u8::from(done.is_ok())]);
        // SAFETY: ends this process and does nothing else.
        unsafe { libc::_exit(0) }
    }
    drop(writer);
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).unwrap();
    let mut status = 0;
    // SAFETY: `child` is a child of this process that nobody waits for elsewhere; `status` outlives the call.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((answer, status), (vec![1], 0));
    // The parent goes on.
    assert_eq!(block_on(sealer.open(&sealed, &context)).unwrap(), b"hello");
}
