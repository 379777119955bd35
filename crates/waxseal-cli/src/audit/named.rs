//! Logs that a command line names, with what it says of each.

use std::path::PathBuf;

use waxseal::audit::{Checkpoint, LogReader, VerifierKey};

use super::place::folder;
use super::verify::{kept_checkpoint, verifier_key};
use crate::arguments::LogTrust;
use crate::failure::{Failure, Result, printable};

/// A log, and what is for its origin.
pub(crate) struct NamedLog {
    pub(crate) path: PathBuf,
    pub(crate) reader: LogReader,
    pub(crate) key: Option<VerifierKey>,
    pub(crate) kept: Option<Checkpoint>,
}

/// Opens the logs of `--log`, and gives each the `--log-key` and the `--checkpoint` of its origin.
pub(crate) fn named_logs(logs: &[PathBuf], trust: &LogTrust) -> Result<Vec<NamedLog>> {
    let readers = logs
        .iter()
        .map(|path| Ok(LogReader::open(folder("--log", path)?)?));
    let readers = readers.collect::<Result<Vec<_>>>()?;
    let origins: Vec<&str> = readers
        .iter()
        .map(|reader| reader.checkpoint().origin())
        .collect();
    check_apart(&origins)?;
    let keys = trust.log_key.iter().map(|key| {
        let key = verifier_key("--log-key", key)?;
        Ok((key.name().to_owned(), key))
    });
    let keys = keys.collect::<Result<Vec<(String, VerifierKey)>>>()?;
    let keys = by_origin("--log-key", keys, &origins)?;
    let kept = trust.checkpoint.iter().map(|path| {
        let kept = kept_checkpoint(path)?;
        Ok((kept.origin().to_owned(), kept))
    });
    let kept = kept.collect::<Result<Vec<(String, Checkpoint)>>>()?;
    let kept = by_origin("--checkpoint", kept, &origins)?;
    let given = logs.iter().zip(readers).zip(keys.into_iter().zip(kept));
    let named = given.map(|((path, reader), (key, kept))| NamedLog {
        path: path.clone(),
        reader,
        key,
        kept,
    });
    Ok(named.collect())
}

/// Refuses the same log twice: its events would count twice.
fn check_apart(origins: &[&str]) -> Result<()> {
    for (index, origin) in origins.iter().enumerate() {
        if origins.iter().skip(index + 1).any(|other| other == origin) {
            return Err(Failure::usage(printable(&format!(
                "--log: two of the logs have the origin {origin}, and their events would count twice: give one of them"
            ))));
        }
    }
    Ok(())
}

/// Gives each log what is for its origin. One value for one log is for that one, whatever its origin: it does not verify then.
fn by_origin<T>(option: &str, values: Vec<(String, T)>, origins: &[&str]) -> Result<Vec<Option<T>>> {
    let mut all: Vec<Option<T>> = origins.iter().map(|_| None).collect();
    let is_one = origins.len() == 1 && values.len() == 1;
    for (origin, value) in values {
        let place = origins.iter().position(|it| is_one || *it == origin);
        match place.and_then(|place| all.get_mut(place)) {
            Some(place) if place.is_none() => *place = Some(value),
            Some(_) => {
                let text = format!("{option}: two of them are for the log {origin}");
                return Err(Failure::usage(printable(&text)));
            }
            None => {
                let text = format!("{option}: none of the logs has the origin {origin}");
                return Err(Failure::usage(printable(&text)));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(values: &[&str], origins: &[&str]) -> Option<Vec<Option<usize>>> {
        let values = values.iter().enumerate();
        let values = values
            .map(|(place, origin)| ((*origin).to_owned(), place))
            .collect();
        by_origin("--log-key", values, origins).ok()
    }

    #[test]
    fn what_is_given_for_a_log_is_found_by_its_origin() {
        assert_eq!(given(&["b"], &["a", "b"]), Some(vec![None, Some(0)]));
        assert_eq!(given(&["b", "a"], &["a", "b"]), Some(vec![Some(1), Some(0)]));
        assert_eq!(given(&["c"], &["a", "b"]), None);
        assert_eq!(given(&["a", "a"], &["a", "b"]), None);
        // It is for the only log, which does not verify then.
        assert_eq!(given(&["c"], &["a"]), Some(vec![Some(0)]));
        assert!(check_apart(&["a", "b", "a"]).is_err() && check_apart(&["a", "b"]).is_ok());
    }
}
