//! Reading a secret from a file that only its owner can read.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::Path;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::value::error::{Error, Result};

/// The most that is read.
const MAX: usize = 1024;

/// The text of a file, of at most 1 KiB. `what` names the file in errors, which never quote it.
pub(in crate::backend) fn read(path: &Path, what: &str, allow_shared: bool) -> Result<SecretString> {
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
    // Before it is opened, which waits for ever on a pipe; and what was opened, should it be another by then.
    regular(&fs::metadata(path).map_err(failed)?)?;
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    regular(&metadata)?;
    if !allow_shared {
        check_mode(&metadata, path, what)?;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX + 1));
    file.take(MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if bytes.len() <= MAX => Ok(text.into()),
        _ => Err(Error::configuration(format!(
            "the {what} {shown} is too long, or not UTF-8"
        ))),
    }
}

#[cfg(unix)]
fn check_mode(metadata: &Metadata, path: &Path, what: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::configuration(format!(
        "the {what} {} can be read by others (mode {:03o}); run chmod 600 on it",
        path.display(),
        mode & 0o777
    )))
}

#[cfg(not(unix))]
fn check_mode(_: &Metadata, _: &Path, _: &str) -> Result<()> {
    Ok(())
}
