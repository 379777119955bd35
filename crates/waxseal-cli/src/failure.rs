//! What a command that did not succeed says, and its exit code.

use std::error::Error as _;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use waxseal::{Error, ErrorKind, value::error::Attempt};

use crate::exit::Exit;
use crate::report;
use crate::terminal::{self, NoText};

/// The most characters of the line. An envelope can claim 32 KiB of key ids.
const LINE_MAX: usize = 1_000;

/// The result of a command or of a part of it.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// One line or one JSON object for standard error, and an exit code.
pub(crate) struct Failure(Box<Inner>);

struct Inner {
    exit: Exit,
    kind: &'static str,
    line: String,
    detail: Option<String>,
    operation: Option<String>,
    provider: Option<String>,
    is_retryable: bool,
    retry_after: Option<Duration>,
    attempts: Vec<Attempt>,
}

impl Failure {
    fn new(exit: Exit, kind: &'static str, line: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            exit,
            kind,
            line: line.into(),
            detail: None,
            operation: None,
            provider: None,
            is_retryable: exit == Exit::TryAgain,
            retry_after: None,
            attempts: Vec::new(),
        }))
    }

    /// A rule of the tool refuses it.
    pub(crate) fn refused(line: impl Into<String>) -> Self {
        Self::new(Exit::Refused, "refused", line)
    }

    /// The command line makes no sense.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", line)
    }

    /// Reading or writing is not possible.
    pub(crate) fn io(line: impl Into<String>) -> Self {
        Self::new(Exit::Io, "io", line)
    }

    /// Another process has the file.
    pub(crate) fn busy(line: impl Into<String>) -> Self {
        Self::new(Exit::TryAgain, "busy", line)
    }

    /// Another process has changed the file.
    pub(crate) fn changed(line: impl Into<String>) -> Self {
        Self::new(Exit::TryAgain, "changed_meanwhile", line)
    }

    /// The bytes are more than any envelope has.
    pub(crate) fn no_envelope(line: impl Into<String>) -> Self {
        Self::new(Exit::NoEnvelope, "malformed", line)
    }

    /// `doctor` has found something.
    pub(crate) fn doctor(line: impl Into<String>) -> Self {
        Self::new(Exit::Attention, "doctor", line)
    }

    /// A look at a ring or at what is stored has found something.
    #[cfg(any(feature = "audit", feature = "fleet", feature = "ring"))]
    pub(crate) fn attention(line: impl Into<String>) -> Self {
        Self::new(Exit::Attention, "attention", line)
    }

    /// There is nothing to do.
    #[cfg(feature = "ring")]
    pub(crate) fn nothing_due(line: impl Into<String>) -> Self {
        Self::new(Exit::NothingDue, "nothing_due", line)
    }

    /// Whether the same may go well later. A clock that is wrong after a start or a resume is set right without anybody's help.
    #[cfg(feature = "ring")]
    pub(crate) fn is_worth_a_new_try(&self) -> bool {
        self.0.is_retryable || self.0.kind == ErrorKind::ClocksDisagree.name()
    }

    /// The same, for an error that a value of the command line caused.
    pub(crate) fn usage_of(option: &str, error: &Error) -> Self {
        match error.detail() {
            // The option says already that it is an argument.
            Some(detail) if error.kind() == ErrorKind::InvalidArgument => {
                Self::usage(format!("{option}: {detail}"))
            }
            _ => Self::usage(format!("{option}: {error}")),
        }
    }

    /// A descriptor cannot be used.
    pub(crate) fn of_descriptor(doing: &str, name: impl Display, error: io::Error) -> Self {
        if is_closed(&error) {
            return Self::io(format!("cannot {doing} {name}: it is closed"));
        }
        Self::of_io(doing, name, error)
    }

    /// Reading or writing `name` failed, or the cryptography above it did.
    pub(crate) fn of_io(doing: &str, name: impl Display, error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => Self::of_stream(doing, name, error),
            Err(error) if is_no_text(&error) => terminal::refused("what was opened is not text"),
            Err(error) => Self::io(format!("cannot {doing} {name}: {error}")),
        }
    }

    /// The same, for an error that the library has wrapped.
    pub(crate) fn of_stream(doing: &str, name: impl Display, error: Error) -> Self {
        let cause = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>());
        match cause {
            Some(cause) if error.kind() == ErrorKind::Io => {
                Self::io(format!("cannot {doing} {name}: {cause}"))
            }
            _ => error.into(),
        }
    }

    /// Whether what was read is no envelope.
    pub(crate) fn is_of_envelope(&self) -> bool {
        self.0.exit == Exit::NoEnvelope
    }

    /// Says this, too.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.0.line += more;
        self
    }

    /// Prints it as a warning: what was asked for is done all the same.
    #[cfg(feature = "ring")]
    pub(crate) fn warn(&self) {
        let _ = crate::warnings::warning(&printable(&self.0.line));
    }

    /// Prints it, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let line = if report::is_json() {
            report::ascii(&self.json().to_string())
        } else {
            format!("waxseal: {}", printable(&self.0.line))
        };
        // The exit code says it, too, where nobody listens.
        let _ = writeln!(io::stderr(), "{line}");
        ExitCode::from(self.0.exit as u8)
    }

    fn json(&self) -> Value {
        let Inner {
            exit,
            kind,
            line,
            detail,
            operation,
            provider,
            is_retryable,
            retry_after,
            attempts,
        } = &*self.0;
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let attempts: Vec<Value> = attempts
            .iter()
            .map(|attempt| {
                json!({
                    "provider": attempt.provider,
                    "kek_id": some(&attempt.kek_id),
                    "kek_version": some(&attempt.kek_version),
                    "kind": attempt.kind.map(ErrorKind::name),
                })
            })
            .collect();
        json!({
            "schema": report::SCHEMA,
            "error": {
                "kind": kind,
                "message": line,
                "detail": detail,
                "operation": operation,
                "provider": provider,
                "retryable": is_retryable,
                "retry_after_ms": retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
                "attempts": attempts,
                "exit_code": *exit as u8,
            },
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // The library has no other arguments than those of the command line. A backend that finds one wrong has got it from us.
        if let (ErrorKind::InvalidArgument, Some(detail), None) =
            (error.kind(), error.detail(), error.provider())
        {
            let mut failure = Self::usage(detail);
            failure.0.detail = Some(detail.to_owned());
            return failure;
        }
        let advice = match error.kind() {
            // A wrap opened, and the detail says the rest.
            ErrorKind::CannotOpen if error.attempts().is_empty() => "; give the --aad it was sealed with",
            ErrorKind::CannotOpen => {
                "; give the --kek and --context it was sealed with; if they are right, the data was altered"
            }
            ErrorKind::ContextMismatch => {
                "; give the --context it was sealed with, whose keys `waxseal inspect` lists"
            }
            ErrorKind::NoUsableKey => {
                "; name that key with --kek, or, with --ring, see `waxseal keys list` whether it is a key of the scope of this --context"
            }
            ErrorKind::NoKeyForScope => {
                "; see `waxseal keys list`, and create one with `waxseal keys create`"
            }
            ErrorKind::Malformed { field: "magic", .. } => "; this is no waxseal envelope",
            ErrorKind::Malformed { .. } => "; the data was altered or cut off: fetch it again",
            ErrorKind::UnsupportedVersion { .. } | ErrorKind::Unsupported { .. } => {
                "; this version of waxseal cannot do it"
            }
            ErrorKind::WouldWeaken { .. } => {
                "; wrap under as many keys and of the same class with --to, or allow it with --allow-fewer, \
                 --allow-weaker or --drop-unknown"
            }
            _ => "",
        };
        // What is passing by itself is worth a new try, whatever its kind is.
        let exit = match Exit::of(error.kind()) {
            Exit::Failed | Exit::Io if error.is_retryable() && !is_record_lost(&error) => Exit::TryAgain,
            exit => exit,
        };
        let mut failure = Self::new(exit, error.kind().name(), format!("{error}{advice}"));
        failure.0.detail = error.detail().map(str::to_owned);
        failure.0.operation = error.operation().map(|operation| operation.to_string());
        failure.0.provider = error.provider().map(str::to_owned);
        failure.0.is_retryable = error.is_retryable();
        failure.0.retry_after = error.retry_after();
        failure.0.attempts = error.attempts().to_vec();
        failure
    }
}

/// Whether a record could not be kept. A log that others have is another matter: their turn ends.
fn is_record_lost(error: &waxseal::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<waxseal::Error>());
    error.kind() == ErrorKind::Audit && !source.is_some_and(|source| source.kind() == ErrorKind::Io)
}

#[cfg(unix)]
fn is_closed(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADF)
}

#[cfg(not(unix))]
fn is_closed(_: &io::Error) -> bool {
    false
}

fn is_no_text(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NoText>())
}

/// Text from outside (file names, ids in an envelope) as one line that a terminal shows as it is.
pub(crate) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars().take(LINE_MAX) {
        if matches!(character, '\'' | '"' | '\\') {
            line.push(character);
        } else {
            line.extend(character.escape_debug());
        }
    }
    if text.chars().nth(LINE_MAX).is_some() {
        line.push_str("..");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_a_cursor_is_escaped() {
        assert_eq!(printable("it's \"é\" \\ ä"), "it's \"é\" \\ ä");
        assert_eq!(
            printable("a\nb\x1b[2Jc\u{202e}d\u{2028}e\u{9b}"),
            "a\\nb\\u{1b}[2Jc\\u{202e}d\\u{2028}e\\u{9b}"
        );
        assert_eq!(printable(&"x".repeat(5_000)).len(), LINE_MAX + 2);
    }

    #[test]
    fn the_cause_of_a_failed_write_is_named() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let wrapped = Error::new(ErrorKind::Io).with_source(full());
        let failure = Failure::of_stream("write", "out", wrapped);
        assert_eq!(failure.0.line, format!("cannot write out: {}", full()));
        let through: io::Error = Error::new(ErrorKind::CannotOpen).into();
        let failure = Failure::of_io("read", "in", through);
        assert!(
            failure.0.line.starts_with("does not open; "),
            "{}",
            failure.0.line
        );
    }

    #[test]
    fn an_error_that_passes_is_worth_a_new_try() {
        let busy = Error::new(ErrorKind::Io).with_retryable(true);
        assert_eq!(Failure::from(busy).0.exit, Exit::TryAgain);
        assert_eq!(Failure::from(Error::new(ErrorKind::Io)).0.exit, Exit::Io);
        let denied = Error::new(ErrorKind::Denied).with_retryable(true);
        assert_eq!(Failure::from(denied).0.exit, Exit::Denied);
    }

    #[cfg(feature = "ring")]
    #[test]
    fn a_watch_outlives_a_wrong_clock_and_no_wrong_key() {
        let may_pass = |kind| Failure::from(Error::new(kind)).is_worth_a_new_try();
        assert!(may_pass(ErrorKind::ClocksDisagree) && may_pass(ErrorKind::Unavailable));
        assert!(!may_pass(ErrorKind::InventoryInvalid) && !may_pass(ErrorKind::Configuration));
    }
}
