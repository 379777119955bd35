//! Audit logs: `--log`, and the commands `audit …`.

#[cfg(feature = "ring")]
mod named;
mod place;
mod publish;
mod show;
mod turns;
mod verify;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use waxseal::Builder;
#[cfg(feature = "postgres")]
use waxseal::audit::LogKey;
use waxseal::audit::{Auditor, LogReader};

use self::place::{LogPlace, NamedPlace};
use self::turns::Turns;
use crate::arguments::{self, Audit, AuditCommand, AuditLog, AuditProve};
use crate::failure::{Failure, Result, printable};
use crate::{report, warnings};

#[cfg(feature = "ring")]
pub(crate) use named::{NamedLog, named_logs};
#[cfg(feature = "ring")]
pub(crate) use verify::Verified;

/// The name of the variable that names the log.
const VARIABLE: &str = "WAXSEAL_AUDIT_LOG";
/// How long a record may take: others have their turns, and then it is written.
const WAIT: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Audit) -> Result<()> {
    match &options.command {
        AuditCommand::Init(init) => publish::init(init),
        AuditCommand::Publish(publish) => publish::run(publish),
        AuditCommand::Verify(verify) => verify::run(verify),
        AuditCommand::Prove(proof) => prove(proof),
        AuditCommand::Checkpoint(log) => checkpoint(log),
        AuditCommand::Show(show) => show::run(show),
    }
}

/// Writes down what a command does, until it is dropped.
#[derive(Default)]
pub(crate) struct Auditing(Option<Auditor>);

impl Auditing {
    /// Opens the log that an option or the variable names, if one does.
    pub(crate) fn of(options: &arguments::Log) -> Result<Self> {
        let Some(path) = options.path() else {
            return Ok(Self(None));
        };
        let auditor = Auditor::builder();
        let auditor = match LogPlace::parse("--log", path.as_os_str())? {
            LogPlace::Folder(path) => auditor.required(Turns::of(&path)?).wait(WAIT),
            #[cfg(feature = "postgres")]
            LogPlace::PostgresEnv { variable, key } => {
                let (config, key) = (place::postgres::config(&variable)?, LogKey::read(&key)?);
                let log = waxseal_sql::PostgresLog::open(config, key);
                auditor.required(pollster::block_on(log)?)
            }
            #[cfg(not(feature = "postgres"))]
            LogPlace::PostgresEnv { .. } => return Err(place::no_postgres()),
        };
        Ok(Self(Some(auditor.build()?)))
    }

    pub(crate) fn auditor(&self) -> Option<&Auditor> {
        self.0.as_ref()
    }

    pub(crate) fn around(&self, builder: Builder) -> Builder {
        match &self.0 {
            Some(auditor) => builder.audit(auditor.clone()),
            None => builder,
        }
    }
}

impl Drop for Auditing {
    fn drop(&mut self) {
        let Some(auditor) = &self.0 else { return };
        // What was released is kept by now. Without a checkpoint, the next command writes it.
        if let Err(error) = pollster::block_on(auditor.close()) {
            let _ = warnings::warning(&printable(&format!(
                "the audit log has no new checkpoint: {error}"
            )));
        }
    }
}

impl arguments::Log {
    /// The log that is named, if any.
    fn path(&self) -> Option<PathBuf> {
        let variable = || std::env::var_os(VARIABLE).filter(|value| value != OsStr::new(""));
        self.log.clone().or_else(|| variable().map(PathBuf::from))
    }

    #[cfg(feature = "ring")]
    pub(crate) fn is_given(&self) -> bool {
        self.path().is_some()
    }
}

/// Says what was cut off when a log was opened. That it was is no reason to stop.
fn cut_off(path: &Path, bytes: u64) {
    if bytes > 0 {
        let _ = warnings::warning(&printable(&format!(
            "the audit log {} did not end with a whole batch, as after a kill in the middle of one: {bytes} bytes are cut off",
            path.display()
        )));
    }
}

fn read(log: &AuditLog) -> Result<LogReader> {
    Ok(LogReader::open(place::folder("LOG", &log.log)?)?)
}

fn checkpoint(options: &AuditLog) -> Result<()> {
    let log = NamedPlace::open(&options.log)?;
    let (checkpoint, uncovered) = (log.checkpoint(), log.count_uncovered()?);
    if uncovered > 0 {
        let records = report::many(uncovered, "record");
        warnings::warning(&format!(
            "the checkpoint does not cover the last {records}: whoever writes the log signs the next one within a second, or when it is opened again"
        ))?;
    }
    if report::is_json() {
        let object = json!({
            "schema": report::SCHEMA,
            "command": "audit checkpoint",
            "log": options.log.display().to_string(),
            "origin": checkpoint.origin(),
            "size": checkpoint.size(),
            "root": base16ct::lower::encode_string(checkpoint.root()),
            "note": checkpoint.as_note(),
            "uncovered": uncovered,
        });
        return report::result(&object, false);
    }
    report::print(checkpoint.as_note())
}

fn prove(options: &AuditProve) -> Result<()> {
    let record = options
        .record
        .parse()
        .map_err(|_| Failure::usage("SEQ is the number of a record in the log, counted from 0"))?;
    let reader = read(&options.log)?;
    if record >= reader.checkpoint().size() {
        return Err(Failure::usage(format!(
            "SEQ must be below the {} records of the checkpoint, got {record}",
            reader.checkpoint().size()
        )));
    }
    let proof = reader.prove(record)?;
    if report::is_json() {
        let object = json!({
            "schema": report::SCHEMA,
            "command": "audit prove",
            "log": options.log.log.display().to_string(),
            "record": record,
            "event": event(&reader.record(record)?),
            "proof": proof,
        });
        return report::result(&object, false);
    }
    report::print(&proof)
}

/// A record as JSON. What is none is shown as text.
fn event(record: &[u8]) -> Value {
    serde_json::from_slice(record).unwrap_or_else(|_| String::from_utf8_lossy(record).into())
}
