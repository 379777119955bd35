//! What a command that did not succeed says, and its exit code.

use std::error::Error as _;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use waxseal::{Error, ErrorKind};

/// The most characters of the line. An envelope can claim 32 KiB of key ids.
const LINE_MAX: usize = 1_000;

/// The result of a command or of a part of it.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// One line for standard error, and an exit code.
pub(crate) struct Failure {
    code: u8,
    line: String,
}

impl Failure {
    /// The command was refused or failed: exit code 1.
    pub(crate) fn refused(line: impl Into<String>) -> Self {
        let line = line.into();
        Self { code: 1, line }
    }

    /// The command line makes no sense: exit code 2.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        let line = line.into();
        Self { code: 2, line }
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

    /// Reading or writing `name` failed, or the cryptography above it did.
    pub(crate) fn of_io(doing: &str, name: impl Display, error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => Self::of_stream(doing, name, error),
            Err(error) => Self::refused(format!("cannot {doing} {name}: {error}")),
        }
    }

    /// The same, for an error that the library has wrapped.
    pub(crate) fn of_stream(doing: &str, name: impl Display, error: Error) -> Self {
        let cause = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>());
        match cause {
            Some(cause) if error.kind() == ErrorKind::Io => {
                Self::refused(format!("cannot {doing} {name}: {cause}"))
            }
            _ => error.into(),
        }
    }

    /// Prints the line, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // The exit code says it, too, where nobody listens.
        let _ = writeln!(io::stderr(), "waxseal: {}", printable(&self.line));
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let advice = match error.kind() {
            // A wrap opened, and the detail says the rest.
            ErrorKind::CannotOpen if error.attempts().is_empty() => "; give the --aad it was sealed with",
            ErrorKind::CannotOpen => {
                "; give the --kek and --context it was sealed with; if they are right, the data was altered"
            }
            ErrorKind::ContextMismatch => {
                "; give the --context it was sealed with, whose keys `waxseal inspect` lists"
            }
            ErrorKind::NoUsableKey => "; name that key with --kek",
            ErrorKind::Malformed { field: "magic", .. } => "; this is no waxseal envelope",
            ErrorKind::Malformed { .. } => "; the data was altered or cut off: fetch it again",
            ErrorKind::UnsupportedVersion { .. } | ErrorKind::Unsupported { .. } => {
                "; this version of waxseal cannot do it"
            }
            _ => "",
        };
        Self::refused(format!("{error}{advice}"))
    }
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
        assert_eq!(failure.line, format!("cannot write out: {}", full()));
        let through: io::Error = Error::new(ErrorKind::CannotOpen).into();
        let failure = Failure::of_io("read", "in", through);
        assert!(failure.line.starts_with("does not open; "), "{}", failure.line);
    }
}
