//! The logs of a review: each is verified, and then read.

use serde_json::{Value, json};
use waxseal::audit::{Checkpoint, LogReader, VerifierKey};

use super::scan::{Place, Scan};
use crate::arguments::Review as Options;
use crate::audit::{Verified, kept_checkpoint, verifier_key};
use crate::failure::{Failure, Result, printable};
use crate::{report, warnings};

/// A log, and what verifying it has shown.
pub(super) struct ReviewedLog {
    /// Its directory, as it was given.
    pub(super) name: String,
    pub(super) reader: LogReader,
    pub(super) verified: Verified,
    has_kept_checkpoint: bool,
    pub(super) records: u64,
    /// Why the rest was not read.
    pub(super) unreadable: Option<String>,
}

/// Opens and verifies the logs of the command line.
pub(super) fn open(options: &Options) -> Result<Vec<ReviewedLog>> {
    let readers = options.log.iter().map(|path| Ok(LogReader::open(path)?));
    let readers = readers.collect::<Result<Vec<_>>>()?;
    let origins: Vec<&str> = readers
        .iter()
        .map(|reader| reader.checkpoint().origin())
        .collect();
    check_apart(&origins)?;
    let keys = options.log_key.iter().map(|key| {
        let key = verifier_key("--log-key", key)?;
        Ok((key.name().to_owned(), key))
    });
    let keys = keys.collect::<Result<Vec<(String, VerifierKey)>>>()?;
    let keys = by_origin("--log-key", keys, &origins)?;
    let kept = options.checkpoint.iter().map(|path| {
        let kept = kept_checkpoint(path)?;
        Ok((kept.origin().to_owned(), kept))
    });
    let kept = kept.collect::<Result<Vec<(String, Checkpoint)>>>()?;
    let kept = by_origin("--checkpoint", kept, &origins)?;
    let given = options.log.iter().zip(readers).zip(keys.into_iter().zip(kept));
    let logs = given.map(|((path, reader), (key, kept))| {
        let verified = Verified::of(&reader, key, kept.as_ref())?;
        let name = path.display().to_string();
        if verified.is_unpinned() {
            warnings::warning(&printable(&format!(
                "the key of {name} is the one that the log names: give --log-key to prove who signed it"
            )))?;
        }
        Ok(ReviewedLog {
            name,
            reader,
            verified,
            has_kept_checkpoint: kept.is_some(),
            records: 0,
            unreadable: None,
        })
    });
    logs.collect()
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

impl ReviewedLog {
    /// Takes down every record, as far as the log can be read.
    pub(super) fn read(&mut self, log: usize, scan: &mut Scan<'_>) {
        scan.begin_log();
        let size = self.reader.checkpoint().size();
        let mut records = 0;
        let read = self.reader.each_record(|record, bytes| {
            let at = Place {
                log,
                record,
                is_covered: record < size,
            };
            scan.see(at, bytes);
            records = record + 1;
            Ok(())
        });
        self.records = records;
        self.unreadable = read.err().map(|error| match error.detail() {
            Some(detail) => detail.to_owned(),
            None => error.to_string(),
        });
    }

    /// What is wrong with it.
    pub(super) fn findings(&self) -> impl Iterator<Item = String> {
        let findings = self.verified.verdict.findings.iter().map(ToString::to_string);
        let unreadable = self.unreadable.iter();
        let unreadable = unreadable.map(|why| format!("not read from record {} on: {why}", self.records));
        findings.chain(unreadable)
    }

    /// How much of it can be relied on, in words.
    pub(super) fn describe(&self) -> String {
        let key = match self.verified.is_unpinned() {
            true => "key that the log names",
            false => "key that was given",
        };
        let kept = match self.has_kept_checkpoint {
            true => "continues the checkpoint that was given",
            false => "no checkpoint from elsewhere",
        };
        match self.verified.verdict.is_sound() {
            true => format!("whole and unchanged; {key}; {kept}"),
            false => format!("does not verify; {key}"),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let checkpoint = self.reader.checkpoint();
        let mut object = json!({ "log": self.name });
        report::extend(&mut object, self.verified.to_json());
        let more = json!({
            // The checkpoint that proofs are for.
            "size": checkpoint.size(),
            "root": base16ct::lower::encode_string(checkpoint.root()),
            "uncovered": self.uncovered(),
            "kept_checkpoint": self.has_kept_checkpoint,
            "records": self.records,
            "unreadable": self.unreadable,
        });
        report::extend(&mut object, more);
        object
    }

    /// Records that were read and that no checkpoint covers.
    pub(super) fn uncovered(&self) -> u64 {
        self.records.saturating_sub(self.reader.checkpoint().size())
    }
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
