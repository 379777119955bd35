//! Streams take constant memory.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

use crate::tool::Tool;

/// The format promises it for 4 GiB; a stream that is kept would show in far less.
const STREAM: u64 = 256 << 20;
/// What comes before this is in full swing: every buffer is there.
const SWING: u64 = 8 << 20;
/// The most that a process may hold of its own. Its program text, which grows with every backend that is compiled in,
/// is not counted.
const OWN_KIB: u64 = 16 * 1024;
/// How much the most that a process has held may still grow.
const GROWTH_KIB: u64 = 1024;
/// The same with two threads.
const OWN_OF_TWO_KIB: u64 = 32 * 1024;

/// A line of what the system knows of a process, in KiB.
fn status(child: &Child, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The most memory that a process has held so far.
fn peak(child: &Child) -> u64 {
    status(child, "VmHWM:")
}

/// What it holds of its own now.
fn own(child: &Child) -> u64 {
    status(child, "RssAnon:")
}

#[test]
fn a_stream_takes_below_16_mib_and_a_longer_one_no_more() {
    stream_within(OWN_KIB, &[]);
}

#[test]
fn on_two_threads_it_takes_below_32_mib() {
    stream_within(OWN_OF_TWO_KIB, &["--threads", "2"]);
}

/// Seals, re-wraps and opens a long stream, each in a process of its own.
fn stream_within(most: u64, threads: &[&str]) {
    let tool = Tool::new();
    let seal = [&["seal", "--kek", "env:K"], threads].concat();
    let mut seal = tool.command(&seal).spawn().unwrap();
    let mut rewrap = tool.command(&["rewrap", "--kek", "env:K", "--to", "env:NEW"]);
    let mut rewrap = rewrap
        .stdin(Stdio::from(seal.stdout.take().unwrap()))
        .spawn()
        .unwrap();
    let mut open = tool.command(&[&["open", "--kek", "env:NEW"], threads].concat());
    let mut open = open
        .stdin(Stdio::from(rewrap.stdout.take().unwrap()))
        .spawn()
        .unwrap();

    let mut opened = open.stdout.take().unwrap();
    let counting = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0;
        loop {
            match opened.read(&mut buffer).unwrap() {
                0 => return total,
                got => {
                    assert!(buffer[..got].iter().all(|byte| *byte == 0x5a));
                    total += got as u64;
                }
            }
        }
    });
    let mut plaintext = seal.stdin.take().unwrap();
    let block = vec![0x5a; 1 << 20];
    let mut write = |bytes: u64| {
        for _ in 0..bytes / block.len() as u64 {
            plaintext.write_all(&block).unwrap();
        }
    };
    write(SWING);
    let early = [&seal, &rewrap, &open].map(peak);
    write(STREAM - SWING);
    // All three wait for the rest of the stream, with no more than a few pipes' worth still to come.
    let late = [&seal, &rewrap, &open].map(peak);
    let own = [&seal, &rewrap, &open].map(own);
    drop(plaintext);
    assert_eq!(counting.join().unwrap(), STREAM);
    for mut child in [seal, rewrap, open] {
        assert!(child.wait().unwrap().success());
    }
    assert!(own.iter().all(|own| *own < most), "{own:?} KiB");
    let grown = late.iter().zip(early).map(|(late, early)| late - early);
    assert!(grown.max().unwrap() < GROWTH_KIB, "{early:?} to {late:?} KiB");
}

#[test]
fn inspecting_a_stream_does_not_keep_it() {
    let tool = Tool::new();
    let mut seal = tool.command(&["seal", "--kek", "env:K"]).spawn().unwrap();
    let mut inspect = tool.command(&["inspect", "--json"]);
    let inspect = inspect
        .stdin(Stdio::from(seal.stdout.take().unwrap()))
        .spawn()
        .unwrap();
    let mut plaintext = seal.stdin.take().unwrap();
    let block = vec![0; 1 << 20];
    for _ in 0..64 {
        plaintext.write_all(&block).unwrap();
    }
    let own = own(&inspect);
    drop(plaintext);
    assert!(seal.wait().unwrap().success());
    let output = inspect.wait_with_output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["plaintext_len"], 64 << 20);
    assert!(own < OWN_KIB, "{own} KiB");
}
