//! Usage errors in one line. Those of `clap` have several, and quote what they refuse.

use std::process::ExitCode;

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;

/// Prints help or the version where they were asked for, else one line that says what is wrong.
///
/// Nothing of what was given is quoted, not even what looks like an option: it may be a context value or an
/// AAD that is out of place.
pub(crate) fn report(error: &Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            // Whoever asked for help and closed the pipe has seen enough.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Failure::of_io("write", "standard output", error).report()
            }
            _ => ExitCode::SUCCESS,
        },
        _ => Failure::usage(describe(error)).report(),
    }
}

fn describe(error: &Error) -> String {
    let what = match error.kind() {
        ErrorKind::UnknownArgument => match suggestion(error) {
            Some(option) => format!("there is an option that does not exist; did you mean {option}?"),
            None => match place(error) {
                Some(place) => format!("argument {place} does not belong there"),
                None => "there is an option that does not exist".into(),
            },
        },
        ErrorKind::InvalidSubcommand
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "name a command, or a command of ring or keys".into()
        }
        ErrorKind::MissingRequiredArgument => format!("missing: {}", options(error)),
        ErrorKind::ArgumentConflict => match list(error, ContextKind::PriorArg) {
            other if other.is_empty() || other == options(error) => {
                format!("{} can be given once only", options(error))
            }
            other => format!("{} and {other} cannot be given together", options(error)),
        },
        ErrorKind::InvalidValue => match list(error, ContextKind::ValidValue) {
            values if values.is_empty() => format!("{} needs a value", options(error)),
            values => format!("{} takes one of: {values}", options(error)),
        },
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".into(),
        ErrorKind::TooManyValues | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("{} has the wrong number of values", options(error))
        }
        _ => "the command line is not valid".into(),
    };
    format!("{what} (see waxseal --help)")
}

/// The options an error is about, as this program spells them.
fn options(error: &Error) -> String {
    list(error, ContextKind::InvalidArg)
}

fn suggestion(error: &Error) -> Option<String> {
    Some(list(error, ContextKind::SuggestedArg)).filter(|option| !option.is_empty())
}

/// Which argument an error is about, counted from 1.
fn place(error: &Error) -> Option<usize> {
    let wrong = options(error);
    std::env::args_os().position(|given| {
        given.to_str().and_then(|given| given.split('=').next()) == Some(&wrong) || given == *wrong
    })
}

fn list(error: &Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(one)) => one.clone(),
        Some(ContextValue::Strings(several)) => several.join(", "),
        _ => String::new(),
    }
}
