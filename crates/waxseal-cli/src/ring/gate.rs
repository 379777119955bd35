//! `--gate`: a program that tries a successor before everybody uses it.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use waxseal::ring::{Gate, Period, Successor};
use waxseal::runtime::{ThreadRuntime, run_blocking};
use waxseal::{Error, ErrorKind};

use super::parsed;
use crate::arguments::Gated;
use crate::failure::{Failure, Result, printable};
use crate::signals;

/// How much of what it complains of is shown, in characters.
const SHOWN: usize = 500;
/// How much of it is kept, in bytes.
const KEPT: usize = SHOWN * 8;
/// How often it is looked at.
const STEP: Duration = Duration::from_millis(10);
/// How long the rest of its complaints is waited for, after it has ended.
const REST: Duration = Duration::from_millis(500);
/// What the ring allows beyond the limit, so that the message is that of this gate.
const SPARE: Duration = Duration::from_secs(30);

/// A program, and how long it may take.
#[derive(Clone, Debug)]
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

    /// The program, and what it is told.
    fn command(&self, successor: &Successor) -> Command {
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
            .env("WAXSEAL_GATE_PREDECESSOR", predecessor.unwrap_or_default());
        command
    }

    /// Waits for it on a thread of its own: whoever revokes a key does more meanwhile.
    async fn run_beside(&self, command: Command) -> waxseal::Result<()> {
        let gate = self.clone();
        run_blocking(&ThreadRuntime, move || gate.run(command)).await?
    }

    fn run(&self, mut command: Command) -> waxseal::Result<()> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .map_err(|error| self.refused(&format!("cannot be started: {error}"), ""))?;
        let complaints = child.stderr.take().map(Complaints::of);
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
        let complaint = complaints.map(Complaints::gathered).unwrap_or_default();
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
        self.run_beside(self.command(successor)).await
    }
}

/// The end of what it complains of. A thread of its own reads: somebody else may keep the other end open, and go on writing.
struct Complaints {
    end: Arc<Mutex<Vec<u8>>>,
    /// Says nothing, and ends with the thread.
    reads: Receiver<()>,
}

impl Complaints {
    fn of(from: impl Read + Send + 'static) -> Self {
        let (reading, reads) = channel();
        let end = Arc::default();
        let weak = Arc::downgrade(&end);
        std::thread::spawn(move || {
            read_end(from, &weak);
            drop(reading);
        });
        Self { end, reads }
    }

    /// What there is. The rest is waited for, and not for long.
    fn gathered(self) -> String {
        // It ends, or nobody waits for it any longer.
        let _ = self.reads.recv_timeout(REST);
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&end).into_owned()
    }
}

/// Keeps the end of what comes, as long as somebody wants it.
fn read_end(mut from: impl Read, end: &Weak<Mutex<Vec<u8>>>) {
    let mut piece = [0; KEPT];
    while let Ok(read) = from.read(&mut piece) {
        let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else {
            return;
        };
        let Some(end) = end.upgrade() else { return };
        let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
        end.extend_from_slice(read);
        let many = end.len().saturating_sub(KEPT);
        end.drain(..many);
    }
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

#[cfg(all(test, unix))]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn gate(limit: Duration) -> CommandGate {
        CommandGate {
            program: "sh".to_owned(),
            arguments: Vec::new(),
            limit,
        }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// The program ends only when somebody else has done something after it was begun to wait for it.
    #[test]
    fn whoever_asks_a_gate_does_something_else_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("done");
        let script = format!("until [ -e '{}' ]; do sleep 0.05; done", file.display());
        let gate = gate(Duration::from_secs(60));
        let mut asked = pin!(gate.run_beside(shell(&script)));
        let begun = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(begun.is_pending(), "{begun:?}");
        std::fs::write(&file, "").unwrap();
        pollster::block_on(asked).unwrap();
    }

    /// A reader that never ends, as what a program leaves behind in a session of its own may be.
    struct Endless {
        _alive: Arc<()>,
    }

    impl Read for Endless {
        fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
            piece.fill(b'x');
            Ok(piece.len())
        }
    }

    #[test]
    fn what_goes_on_complaining_is_kept_to_its_end_and_is_not_waited_for() {
        let here = Arc::new(());
        let complaints = Complaints::of(Endless {
            _alive: Arc::clone(&here),
        });
        assert_eq!(complaints.gathered(), "x".repeat(KEPT));
        // Nobody reads on.
        let until = Instant::now() + Duration::from_secs(60);
        while Arc::strong_count(&here) > 1 && Instant::now() < until {
            std::thread::sleep(STEP);
        }
        assert_eq!(Arc::strong_count(&here), 1);
    }

    #[test]
    fn the_end_of_a_long_complaint_is_shown() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo \"line $i\"; i=$((i+1)); done >&2; exit 3";
        let error = pollster::block_on(gate(Duration::from_secs(60)).run_beside(shell(script))).unwrap_err();
        let detail = error.detail().unwrap();
        assert!(
            detail.contains("line 2999") && !detail.contains("line 2000"),
            "{detail}"
        );
    }
}
