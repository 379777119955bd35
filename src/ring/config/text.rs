//! Files of TOML that decide what a process believes or demands.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::value::error::{Error, Result};

/// The greatest length of such a file in bytes.
const MAX: usize = 1 << 20;

/// Reads a file that decides what this process believes or demands, and that nobody else may write.
pub(in crate::ring) fn read_text(path: &Path, what: &str) -> Result<String> {
    let failed = |error: io::Error| {
        let detail = format!("cannot read the {what} {}: {}", path.display(), error.kind());
        Error::configuration(detail).with_source(error)
    };
    // Before it is opened, which waits for ever on a pipe.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::configuration(format!(
            "the {what} {} is not a regular file",
            path.display()
        )));
    }
    let file = File::open(path).map_err(failed)?;
    check_mode(&file.metadata().map_err(failed)?, path, what)?;
    let mut text = String::new();
    file.take(MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

/// Parses the text of such a file; `shown` names it in errors.
///
/// # Errors
/// `Configuration`, with line and column.
pub(in crate::ring) fn from_toml<T: DeserializeOwned>(text: &str, shown: &str) -> Result<T> {
    if text.len() > MAX {
        return Err(Error::configuration(format!("{shown} has more than 1 MiB")));
    }
    toml::from_str(text).map_err(|error| {
        let at = place(text, error.span().map_or(0, |span| span.start));
        Error::configuration(format!("{shown}:{at}: {}", error.message().replace('\n', " ")))
    })
}

/// `LINE:COLUMN` of an offset.
pub(in crate::ring) fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(1, |line| line.chars().count() + 1);
    format!("{line}:{column}")
}

#[cfg(unix)]
fn check_mode(metadata: &fs::Metadata, path: &Path, what: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode();
    if mode & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::configuration(format!(
        "the {what} {} can be written by others (mode {:03o}), who could make this process believe them; run chmod go-w on it",
        path.display(),
        mode & 0o777
    )))
}

#[cfg(not(unix))]
fn check_mode(_: &fs::Metadata, _: &Path, _: &str) -> Result<()> {
    Ok(())
}
