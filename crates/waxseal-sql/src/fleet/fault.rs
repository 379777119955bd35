//! What an error of a database means for the rows of others' tables.

use std::error::Error as _;

use waxseal::{Error, ErrorKind};

use crate::link::Said;

/// The code that the database gave, if it is its error.
fn code(error: &Error) -> Option<&str> {
    error.source()?.downcast_ref::<Said>().map(Said::code)
}

/// Whether one of several rows may be to blame: a constraint or a trigger refuses it, or somebody holds it.
pub(super) fn is_of_rows(error: &Error) -> bool {
    let Some(code) = code(error) else { return false };
    match error.kind() {
        ErrorKind::Store | ErrorKind::Conflict | ErrorKind::Denied => true,
        // In PostgreSQL: a lock, or a statement that took too long because there were so many. In SQLite it is the whole file.
        ErrorKind::TimedOut => matches!(code, "55P03" | "57014"),
        // A deadlock.
        ErrorKind::Unavailable => matches!(code, "40001" | "40P01"),
        _ => false,
    }
}

/// The error as a store has it. The database speaks of an inventory otherwise.
pub(super) fn of_call(error: Error) -> Error {
    let refused = "the database refused a statement: a constraint or a trigger of the table may say why";
    match error.kind() {
        ErrorKind::Conflict => Error::new(ErrorKind::Store)
            .with_detail(refused)
            .with_source(error),
        ErrorKind::Configuration if code(&error).is_some_and(|code| code.starts_with("42")) => {
            let detail = "the table, or a column of it, is not there any more; describe it as it is now";
            Error::new(ErrorKind::Configuration)
                .with_detail(detail)
                .with_source(error)
        }
        ErrorKind::InventoryInvalid => Error::new(ErrorKind::Store)
            .with_detail("the database is damaged, or returned something else than it was asked for")
            .with_source(error),
        ErrorKind::Store if error.detail() == Some("the database refused a statement") => {
            error.with_detail(refused)
        }
        _ => error,
    }
}

/// The same error for another item.
pub(super) fn again(error: &Error) -> Error {
    let again = Error::new(error.kind()).with_retryable(error.is_retryable());
    let again = match error.provider() {
        Some(provider) => again.with_provider(provider.to_owned()),
        None => again,
    };
    match error.detail() {
        Some(detail) => again.with_detail(detail.to_owned()),
        None => again,
    }
}
