//! `audit verify`, and logs that are verified before they are read.

use std::path::Path;

use serde_json::{Value, json};
use waxseal::ErrorKind;
use waxseal::audit::{Checkpoint, Finding, LogReader, Verdict, VerifierKey};

use super::place::NamedPlace;
#[cfg(feature = "postgres")]
use super::place::check_same;
use crate::arguments::AuditVerify;
use crate::failure::{Failure, Result, printable};
use crate::{report, warnings};

/// The most bytes of a checkpoint that is read.
const MAX: u64 = 128 * 1024;

/// Where a key is from that nobody has vouched for.
const FROM_LOG: &str = "log";

/// What verifying a log has shown.
pub(crate) struct Verified {
    pub(crate) key: VerifierKey,
    /// Where the key is from: `option`, or `log`.
    pub(crate) key_from: &'static str,
    pub(crate) verdict: Verdict,
}

impl Verified {
    /// Verifies a log: with this key, or the one that the log names.
    pub(crate) fn of(
        reader: &LogReader,
        key: Option<VerifierKey>,
        kept: Option<&Checkpoint>,
    ) -> Result<Self> {
        let (key, key_from) = key_of(reader, key)?;
        // Both were given, and one of them is not of this log.
        let verdict = match key_from {
            FROM_LOG => reader.verify_by_named_key(kept),
            _ => reader.verify(&key, kept),
        };
        Ok(Self {
            key,
            key_from,
            verdict: verdict.map_err(|error| of_kept(kept, error))?,
        })
    }

    /// Verifies a log of a database, with the key of the file that names it.
    #[cfg(feature = "postgres")]
    fn of_database(
        reader: &waxseal_sql::PostgresLogReader,
        key: VerifierKey,
        kept: Option<&Checkpoint>,
    ) -> Result<Self> {
        let verdict = pollster::block_on(waxseal::audit::verify(reader, &key, kept));
        Ok(Self {
            key,
            key_from: "option",
            verdict: verdict.map_err(|error| of_kept(kept, error))?,
        })
    }

    /// Whether whoever can write the log could have exchanged the key, too.
    pub(crate) fn is_unpinned(&self) -> bool {
        self.key_from == FROM_LOG
    }

    /// The same as every JSON of the command has it.
    pub(crate) fn to_json(&self) -> Value {
        let verdict = &self.verdict;
        json!({
            "origin": verdict.origin,
            "key": self.key.to_string(),
            "key_from": self.key_from,
            "size": verdict.size,
            "uncovered": verdict.uncovered,
            "torn": verdict.torn,
            "sound": verdict.is_sound(),
            "findings": verdict.findings.iter().map(finding_json).collect::<Vec<_>>(),
        })
    }
}

/// A checkpoint that is not of the key is a wrong option.
fn of_kept(kept: Option<&Checkpoint>, error: waxseal::Error) -> Failure {
    match error.kind() {
        ErrorKind::InvalidArgument if kept.is_some() => Failure::usage_of("--checkpoint", &error),
        _ => error.into(),
    }
}

/// The key of an option, or the one that the log names, and where it is from.
fn key_of(reader: &LogReader, given: Option<VerifierKey>) -> Result<(VerifierKey, &'static str)> {
    Ok(match given {
        Some(key) => (key, "option"),
        None => (reader.named_key()?, FROM_LOG),
    })
}

/// The same, with a warning that nobody has vouched for the one of the log.
pub(super) fn key_or_warning(reader: &LogReader, given: Option<VerifierKey>) -> Result<VerifierKey> {
    let (key, key_from) = key_of(reader, given)?;
    if key_from == FROM_LOG {
        warn_unpinned()?;
    }
    Ok(key)
}

fn warn_unpinned() -> Result<()> {
    warnings::warning("the key is the one that the log names: give --key to prove who signed it")
}

/// A public key of an option.
pub(crate) fn verifier_key(option: &str, text: &str) -> Result<VerifierKey> {
    text.parse().map_err(|error| Failure::usage_of(option, &error))
}

/// Reads a checkpoint that was kept elsewhere.
pub(crate) fn kept_checkpoint(path: &Path) -> Result<Checkpoint> {
    let failed = |error| Failure::of_io("read", path.display(), error);
    let len = std::fs::metadata(path).map_err(failed)?.len();
    if len > MAX {
        return Err(Failure::usage(
            "--checkpoint: the file is longer than any checkpoint",
        ));
    }
    let note = std::fs::read_to_string(path).map_err(failed)?;
    Checkpoint::parse(&note).map_err(|error| Failure::usage_of("--checkpoint", &error))
}

pub(super) fn run(options: &AuditVerify) -> Result<()> {
    let log = NamedPlace::open(&options.log.log)?;
    let key = options.key.as_deref().map(|key| verifier_key("--key", key));
    let key = key.transpose()?;
    let kept = options.checkpoint.as_deref().map(kept_checkpoint).transpose()?;
    let verified = match log {
        NamedPlace::Folder(reader) => Verified::of(&reader, key, kept.as_ref())?,
        #[cfg(feature = "postgres")]
        NamedPlace::Database(reader, own) => {
            check_same(key.as_ref(), &own)?;
            Verified::of_database(&reader, own, kept.as_ref())?
        }
    };
    if verified.is_unpinned() {
        warn_unpinned()?;
    }
    let verdict = &verified.verdict;
    if report::is_json() {
        let mut object = json!({
            "schema": report::SCHEMA,
            "command": "audit verify",
            "log": options.log.log.display().to_string(),
        });
        report::extend(&mut object, verified.to_json());
        report::result(&object, false)?;
    } else {
        let mut text = format!(
            "{}: {}\n",
            printable(&verdict.origin),
            report::many(verdict.size, "record")
        );
        if verdict.uncovered > 0 {
            text += &format!(
                "{} in no checkpoint yet\n",
                report::many(verdict.uncovered, "record")
            );
        }
        if verdict.torn > 0 {
            text += &format!(
                "{} behind the last whole batch, as after a kill in the middle of one\n",
                report::many(verdict.torn, "byte")
            );
        }
        for finding in &verdict.findings {
            text += &format!("{}\n", printable(&finding.to_string()));
        }
        if verdict.is_sound() {
            text += "the log is whole and unchanged";
            text += if kept.is_some() {
                ", and continues the checkpoint\n"
            } else {
                "\n"
            };
        }
        report::print(&text)?;
    }
    match verdict.findings.first() {
        Some(finding) => Err(Failure::attention(format!("the log does not verify: {finding}"))),
        None => Ok(()),
    }
}

fn finding_json(finding: &Finding) -> Value {
    json!({ "what": finding.what.name(), "record": finding.record, "detail": finding.detail })
}
