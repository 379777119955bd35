//! Sources of a secret's text.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use secrecy::SecretString;

use crate::backend::shared::secret_file;
use crate::runtime::{Environment, Runtime, ThreadRuntime, required_var, run_blocking, with_timeout};
use crate::value::error::{Error, ErrorKind, Result};

/// How long a descriptor or a command may take: a person may have to unlock a password manager meanwhile.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Variable(String),
    File {
        path: PathBuf,
        allow_shared: bool,
    },
    Descriptor(u32),
    /// A program and its arguments.
    Command(Vec<String>),
    Prompt,
}

impl Source {
    /// Returns the text, without one line end at its end. `name` tells a person which passphrase to type.
    pub(super) async fn read(
        &self,
        environment: &dyn Environment,
        name: Option<&str>,
    ) -> Result<SecretString> {
        match self {
            Self::Variable(variable) => required_var(environment, variable, "the passphrase"),
            Self::File { path, allow_shared } => secret_file::read(path, "passphrase file", *allow_shared),
            Self::Descriptor(number) => {
                let given = environment.descriptor(*number)?;
                from_descriptor(*number, given, LIMIT).await
            }
            Self::Command(words) => from_command(words, LIMIT).await,
            Self::Prompt => {
                let what =
                    name.map_or_else(|| "passphrase".to_owned(), |name| format!("passphrase {name:?}"));
                let text = environment.ask(&what)?.ok_or_else(|| {
                    Error::configuration(
                        "passphrase-prompt: needs a person at a terminal, and this program asks nobody; use \
                         passphrase-file:PATH, passphrase-fd:N, passphrase-command:COMMAND or passphrase-env:NAME",
                    )
                })?;
                secret_file::text_of(&text)
            }
        }
    }
}

/// What may be shown: of a command, only the program.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(variable) => f.write_str(variable),
            Self::File { path, .. } => write!(f, "{}", path.display().to_string().escape_default()),
            Self::Descriptor(number) => write!(f, "{number}"),
            Self::Command(words) => f.write_str(&program(words)),
            Self::Prompt => Ok(()),
        }
    }
}

fn program(words: &[String]) -> String {
    words
        .first()
        .map(|word| word.escape_debug().to_string())
        .unwrap_or_default()
}

fn timed_out(what: &str, limit: Duration) -> Error {
    Error::new(ErrorKind::TimedOut)
        .with_detail(format!("{what} did not end within {} s", limit.as_secs()))
        .with_retryable(false)
}

/// Reads on a separate thread, because the other end of a pipe may keep it open.
async fn from_descriptor(
    number: u32,
    given: Option<Box<dyn Read + Send>>,
    limit: Duration,
) -> Result<SecretString> {
    if given.is_none() && !cfg!(unix) {
        return Err(Error::unsupported("passphrase-fd: on this system"));
    }
    let what = format!("descriptor {number} (passphrase-fd)");
    let shown = what.clone();
    let read = run_blocking(&ThreadRuntime, move || match given {
        Some(given) => secret_file::read_from(given, &shown),
        None => {
            // Through the file system, so that the descriptor is neither owned nor closed.
            let failed = |error: std::io::Error| {
                Error::configuration(format!("cannot read {shown}: {}", error.kind())).with_source(error)
            };
            let file = std::fs::File::open(format!("/dev/fd/{number}")).map_err(failed)?;
            secret_file::read_from(file, &shown)
        }
    });
    let read = async { read.await? };
    match with_timeout(&ThreadRuntime, Some(limit), read).await {
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(timed_out(&what, limit)),
        done => done,
    }
}

/// A program that ends when its guard is dropped.
struct Running(Option<Child>);

impl Running {
    /// Ends the program if it has not ended by itself.
    fn end(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = child.kill();
        // On another thread, because the system may take time.
        ThreadRuntime.spawn_blocking(Box::new(move || {
            let _ = child.wait();
        }));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

async fn from_command(words: &[String], limit: Duration) -> Result<SecretString> {
    let shown = format!("the program {} (passphrase-command)", program(words));
    let refused = |why: &str| Error::configuration(format!("{shown} {why}"));
    let (first, arguments) = words.split_first().ok_or_else(|| refused("has no name"))?;
    let mut child = Command::new(first)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| refused(&format!("cannot be started: {}", error.kind())).with_source(error))?;
    let output = child.stdout.take();
    let mut running = Running(Some(child));
    let work = async {
        let output = output.ok_or_else(|| refused("has no standard output"))?;
        let what = format!("output of {shown}");
        let text = run_blocking(&ThreadRuntime, move || secret_file::read_from(output, &what)).await??;
        loop {
            let ended = match &mut running.0 {
                Some(child) => child
                    .try_wait()
                    .map_err(|error| refused("cannot be waited for").with_source(error))?,
                None => None,
            };
            match ended {
                Some(status) if status.success() => return Ok(text),
                Some(status) => return Err(refused(&format!("failed: {status}"))),
                None => ThreadRuntime.sleep(Duration::from_millis(10)).await,
            }
        }
    };
    match with_timeout(&ThreadRuntime, Some(limit), work).await {
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(timed_out(&shown, limit)),
        done => done,
    }
}

#[cfg(all(test, unix))]
mod tests;
