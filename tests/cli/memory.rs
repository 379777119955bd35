//! Streams take constant memory.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

use crate::tool::Tool;

/// The format promises it for 4 GiB; a stream that is kept would show in far less.
const STREAM: u64 = 256 << 20;
const PEAK_KIB: u64 = 16 * 1024;
/// With two threads.
const PEAK_OF_TWO_KIB: u64 = 32 * 1024;

/// The most memory that a process has held so far, in KiB.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn sealing_rewrapping_and_opening_a_stream_stay_below_16_mib() {
    let peaks = peaks_of_a_stream(&[]);
    assert!(peaks.iter().all(|peak| *peak < PEAK_KIB), "{peaks:?} KiB");
}

#[test]
fn on_two_threads_they_stay_below_32_mib() {
    let peaks = peaks_of_a_stream(&["--threads", "2"]);
    assert!(peaks.iter().all(|peak| *peak < PEAK_OF_TWO_KIB), "{peaks:?} KiB");
}

/// The most memory of sealing, re-wrapping and opening a long stream, each in a process of its own.
fn peaks_of_a_stream(threads: &[&str]) -> [u64; 3] {
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
    for _ in 0..STREAM / block.len() as u64 {
        plaintext.write_all(&block).unwrap();
    }
    // All three wait for the rest of the stream, with no more than a few pipes' worth still to come.
    let peaks = [&seal, &rewrap, &open].map(peak);
    drop(plaintext);
    assert_eq!(counting.join().unwrap(), STREAM);
    for mut child in [seal, rewrap, open] {
        assert!(child.wait().unwrap().success());
    }
    peaks
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
    let peak = peak(&inspect);
    drop(plaintext);
    assert!(seal.wait().unwrap().success());
    let output = inspect.wait_with_output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["plaintext_len"], 64 << 20);
    assert!(peak < PEAK_KIB, "{peak} KiB");
}
