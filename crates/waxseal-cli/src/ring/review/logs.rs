//! The logs of a review: each is verified, and then read.

use serde_json::{Value, json};
use waxseal::audit::LogReader;

use super::scan::{Place, Scan};
use crate::arguments::Review as Options;
use crate::audit::{NamedLog, Verified, named_logs};
use crate::failure::{Result, printable};
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
    let logs = named_logs(&options.log, &options.trust)?;
    let logs = logs.into_iter().map(
        |NamedLog {
             path,
             reader,
             key,
             kept,
         }| {
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
        },
    );
    logs.collect()
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
