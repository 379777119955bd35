//! `waxseal audit verify`.

use serde_json::{Value, json};
use waxseal::audit::{Checkpoint, Finding, VerifierKey};

use super::read;
use crate::arguments::AuditVerify;
use crate::failure::{Failure, Result, printable};
use crate::{report, warnings};

/// The most bytes of a checkpoint that is read.
const MAX: u64 = 128 * 1024;

pub(super) fn run(options: &AuditVerify) -> Result<()> {
    let reader = read(&options.log)?;
    let (key, from) = match &options.key {
        Some(key) => {
            let key: VerifierKey = key.parse().map_err(|error| Failure::usage_of("--key", &error))?;
            (key, "option")
        }
        None => (reader.named_key()?, "log"),
    };
    let kept = match &options.checkpoint {
        Some(path) => {
            let failed = |error| Failure::of_io("read", path.display(), error);
            let len = std::fs::metadata(path).map_err(failed)?.len();
            if len > MAX {
                return Err(Failure::usage(
                    "--checkpoint: the file is longer than any checkpoint",
                ));
            }
            let note = std::fs::read_to_string(path).map_err(failed)?;
            let kept = Checkpoint::parse(&note).map_err(|error| Failure::usage_of("--checkpoint", &error))?;
            kept.verify(&key)
                .map_err(|error| Failure::usage_of("--checkpoint", &error))?;
            Some(kept)
        }
        None => None,
    };
    let verdict = reader.verify(&key, kept.as_ref())?;
    if from == "log" {
        warnings::warning("the key is the one that the log names: give --key to prove who signed it")?;
    }
    let (size, uncovered) = (verdict.size, verdict.uncovered);
    if report::is_json() {
        let object = json!({
            "schema": report::SCHEMA,
            "command": "audit verify",
            "log": options.log.log.display().to_string(),
            "origin": verdict.origin,
            "key": key.to_string(),
            "key_from": from,
            "size": size,
            "uncovered": uncovered,
            "torn": verdict.torn,
            "sound": verdict.is_sound(),
            "findings": verdict.findings.iter().map(finding_json).collect::<Vec<_>>(),
        });
        report::result(&object, false)?;
    } else {
        let mut text = format!(
            "{}: {}\n",
            printable(&verdict.origin),
            report::many(size, "record")
        );
        if uncovered > 0 {
            text += &format!("{} in no checkpoint yet\n", report::many(uncovered, "record"));
        }
        if verdict.torn > 0 {
            text += &format!(
                "an unfinished batch of {} at the end, which nobody was told is kept\n",
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
