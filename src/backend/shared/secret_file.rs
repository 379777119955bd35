//! Reading a secret from a file that only its owner can read.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::runtime::without_line_end;
use crate::value::error::{Error, Result};

/// The most that is read.
const MAX: usize = 1024;

/// Reads the text of a file that must never be shared, without one line end at its end: at most 1,024 bytes. `what` names the file in errors,
/// which never quote the text.
///
/// # Errors
/// `Configuration` if it is no regular file, cannot be read, is not UTF-8, is empty or too long, or if others can read it.
#[cfg(feature = "ring")]
pub fn read_private(path: &Path, what: &str) -> Result<SecretString> {
    read_checked(path, what, Some(""), MAX)
}

/// Reads the text of a file that a key URI names, without one line end at its end.
pub(in crate::backend) fn read(path: &Path, what: &str, allow_shared: bool) -> Result<SecretString> {
    read_at_most(path, what, allow_shared, MAX)
}

/// Reads the text of a file that may be longer than a password.
pub(in crate::backend) fn read_at_most(
    path: &Path,
    what: &str,
    allow_shared: bool,
    max: usize,
) -> Result<SecretString> {
    let otherwise = ", or accept that with the option allow-shared=true of the key URI";
    read_checked(path, what, (!allow_shared).then_some(otherwise), max)
}

/// Refuses a file that others can read if there is an advice what to do `otherwise`.
fn read_checked(path: &Path, what: &str, otherwise: Option<&str>, max: usize) -> Result<SecretString> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        Error::configuration(format!("cannot read the {what} {shown}: {}", error.kind())).with_source(error)
    };
    let regular = |metadata: &Metadata| {
        if metadata.is_file() {
            Ok(())
        } else {
            Err(Error::configuration(format!(
                "the {what} {shown} is not a regular file"
            )))
        }
    };
    // Before the file is opened, because opening a pipe waits forever; and again after that, because it may be another file by then.
    regular(&fs::metadata(path).map_err(failed)?)?;
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    regular(&metadata)?;
    if let Some(otherwise) = otherwise {
        check_mode(&metadata, path, what, otherwise)?;
    }
    all_of(file, &format!("the {what} {shown}"), max)
}

/// Reads to the end, and returns the text without one line end at its end.
pub(in crate::backend) fn read_from(from: impl Read, shown: &str) -> Result<SecretString> {
    all_of(from, shown, MAX)
}

fn all_of(from: impl Read, shown: &str, max: usize) -> Result<SecretString> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
    from.take(max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Error::configuration(format!("cannot read {shown}: {}", error.kind())).with_source(error)
        })?;
    match std::str::from_utf8(&bytes) {
        _ if bytes.len() > max => Err(Error::configuration(format!(
            "{shown} is too long for a secret: more than {max} bytes"
        ))),
        Ok(text) => Ok(without_line_end(text).into()),
        Err(_) => Err(Error::configuration(format!("{shown} is not UTF-8"))),
    }
}

/// Returns a text without one line end at its end.
pub(in crate::backend) fn text_of(text: &SecretString) -> Result<SecretString> {
    read_from(text.expose_secret().as_bytes(), "what was typed")
}

#[cfg(unix)]
fn check_mode(metadata: &Metadata, path: &Path, what: &str, otherwise: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::configuration(format!(
        "the {what} {} can be read by others (mode {:03o}); run chmod 600 on it{otherwise}",
        path.display(),
        mode & 0o777
    )))
}

#[cfg(not(unix))]
fn check_mode(_: &Metadata, _: &Path, _: &str, _: &str) -> Result<()> {
    Ok(())
}
