//! `--gate`: a program that tries a successor before everybody uses it.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use waxseal::ring::{Gate, Period, Successor};
use waxseal::{Error, ErrorKind};

use super::parsed;
use crate::arguments::Gated;
use crate::failure::{Failure, Result, printable};
use crate::signals;

/// How much of what it complains of is shown.
const SHOWN: usize = 500;
/// How often it is looked at.
const STEP: Duration = Duration::from_millis(10);
/// How long the rest of its complaints is waited for, after it has ended.
const REST: Duration = Duration::from_millis(500);
/// What the ring allows beyond the limit, so that the message is that of this gate.
const SPARE: Duration = Duration::from_secs(30);

/// A program, and how long it may take.
#[derive(Debug)]
pub(super) struct CommandGate {
    program: String,
    arguments: Vec<String>,
    limit: Duration,
}

impl CommandGate {
    /// What the command line says.
    pub(super) fn of(options: &Gated) -> Result<Option<Self>> {
        let Some(command) = &options.gate else {
            return Ok(None);
        };
        let limit: Period = parsed("--gate-timeout", &options.gate_timeout)?;
        if limit.is_zero() {
            return Err(Failure::usage(
                "--gate-timeout is longer than nothing, for example PT1M",
            ));
        }
        // As for passphrase-command: no shell reads it.
        let mut words = command
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(str::to_owned);
        let program = words
            .next()
            .ok_or_else(|| Failure::usage("--gate is a program and its arguments, separated by spaces"))?;
        Ok(Some(Self {
            program,
            arguments: words.collect(),
            limit: limit.at_most(),
        }))
    }

    /// How long the ring waits for it.
    pub(super) fn deadline(&self) -> Duration {
        self.limit.saturating_add(SPARE)
    }

    fn refused(&self, why: &str, complaint: &str) -> Error {
        let complaint = complaint.trim();
        let shown = match complaint.char_indices().rev().nth(SHOWN) {
            Some((at, _)) => format!("…{}", complaint.get(at..).unwrap_or_default()),
            None => complaint.to_owned(),
        };
        let said = match shown.is_empty() {
            true => String::new(),
            false => format!(": {}", printable(&shown)),
        };
        Error::new(ErrorKind::PolicyRefused).with_detail(format!("the program {} {why}{said}", self.program))
    }

    fn run(&self, successor: &Successor) -> waxseal::Result<()> {
        let key = successor.key();
        let predecessor = successor.replaces().map(|key| key.id.to_string());
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env("WAXSEAL_GATE_RING", successor.ring().to_string())
            .env("WAXSEAL_GATE_KEY", key.id.to_string())
            .env("WAXSEAL_GATE_SCOPE", key.scope.to_string())
            .env("WAXSEAL_GATE_SLOT", key.slot.to_string())
            .env("WAXSEAL_GATE_KEK", &key.provenance.uri)
            .env("WAXSEAL_GATE_VERSION", &key.provenance.version)
            .env("WAXSEAL_GATE_PREDECESSOR", predecessor.unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .map_err(|error| self.refused(&format!("cannot be started: {error}"), ""))?;
        let complaints = child.stderr.take().map(listen);
        let mut running = Running::new(child);
        let begun = Instant::now();
        let status = loop {
            match running.child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if begun.elapsed() < self.limit => std::thread::sleep(STEP),
                Ok(None) => {
                    let limit = self.limit.as_secs_f32();
                    break Err(format!("did not end within {limit} seconds, and was killed"));
                }
                Err(error) => break Err(format!("cannot be waited for: {error}")),
            }
        };
        // With everything that it has started.
        running.kill();
        let complaint = complaints.map(|lines| gathered(&lines)).unwrap_or_default();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.refused(&format!("says no ({status})"), &complaint)),
            Err(why) => Err(self.refused(&why, &complaint)),
        }
    }
}

#[async_trait]
impl Gate for CommandGate {
    async fn check(&self, successor: &Successor) -> waxseal::Result<()> {
        // The tool has nothing else to do meanwhile.
        self.run(successor)
    }
}

/// Reads on a thread of its own: somebody else may keep the other end open.
fn listen(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, pieces) = channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(read) = from.read(&mut piece) {
            let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else {
                return;
            };
            if send.send(read.to_vec()).is_err() {
                return;
            }
        }
    });
    pieces
}

/// The end of what came.
fn gathered(pieces: &Receiver<Vec<u8>>) -> String {
    let (mut all, until) = (Vec::new(), Instant::now() + REST);
    while let Ok(piece) = pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
        all.extend(piece);
        let many = all.len().saturating_sub(SHOWN * 8);
        all.drain(..many);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// A program that is killed with everything it has started, whenever this ends.
struct Running {
    child: Child,
    is_over: bool,
}

impl Running {
    fn new(child: Child) -> Self {
        signals::kill_at_end(child.id());
        Self {
            child,
            is_over: false,
        }
    }

    fn kill(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        signals::kill_group(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        signals::is_over(self.child.id());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
