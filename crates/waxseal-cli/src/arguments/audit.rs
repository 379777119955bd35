//! The command line of audit logs: `--log`, and `audit`.

use std::path::PathBuf;

#[cfg(feature = "ring")]
use clap::ArgAction;
use clap::{Args, Subcommand};

/// Where what is done is written down.
#[derive(Args, Clone, Default)]
pub(crate) struct Log {
    /// Write down in this audit log which key is used, before anything is released, and what is done to a ring, before it is done. A directory that is not there is made,
    /// with its key beside it in DIR.key. `postgres-env:VARIABLE?key=FILE` is a log in PostgreSQL, for many processes, at the URL that the variable
    /// has; `audit init` makes it. Without this, WAXSEAL_AUDIT_LOG names it.
    #[arg(long, value_name = "LOG", global = true)]
    pub(crate) log: Option<PathBuf>,
}

const ABOUT_INIT: &str = "\
LOG is a directory, or postgres-env:VARIABLE?key=FILE: a log in PostgreSQL that many processes
write at once, with the same key. The key is made if FILE is not there.

Prints the public key, which verifies the log: give it to whoever is to check it.

--json prints one object with these keys:
  schema, command, log, origin, key, new_key.";

const ABOUT_PUBLISH: &str = "\
The copy has the layout of C2SP tlog-tiles: serve it over HTTP as it is, or give it away. It is made,
or grows by what is new. All that is new is checked against the signed checkpoint before any of it
is written, and a log that does not continue its copy is refused: records were taken away from it,
or another history was signed. It exits with 10 then, and the copy stays as it was. So keep copies
where whoever writes the log cannot change them.

If it ends half-way, the copy is what it was. The next run goes on.

Objects are reached as the variables of the service's own tools say (AWS_REGION, AWS_ENDPOINT_URL,
GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and so on).

--json prints one object with these keys:
  schema, command, log, to, origin, key, size, added, files.
  size: records in the copy. added: those that are new. files: how many were written.";

const ABOUT_VERIFY: &str = "\
Every record is compared with its hash, every hash with the root, the root with the signed
checkpoint, and the whole with a checkpoint that was kept elsewhere. Exits with 10 if something
is wrong.

Without --key, the key is the one that the log names: whoever can write the log can exchange both.
A checkpoint that was kept elsewhere shows that: it is signed by another key then.
Without --checkpoint, nobody can tell whether records are missing at the end.

--json prints one object with these keys:
  schema, command, log, origin, key, key_from (option or log), size, uncovered, torn, sound,
  findings.
  uncovered: records that are kept and in no checkpoint yet. torn: bytes behind the last whole batch.
  Each of findings: what, record (the first that is off, counted from 0, or null), detail.";

const ABOUT_PROVE: &str = "\
The proof is a C2SP tlog-proof with the record as its extra data. It verifies offline, with the
log's public key alone.

--json prints one object with these keys:
  schema, command, log, record, event, proof.";

const ABOUT_CHECKPOINT: &str = "\
A checkpoint is a signed note (C2SP tlog-checkpoint). Keep it where whoever writes the log cannot
change it, and give it to `audit verify --checkpoint` later.

--json prints one object with these keys:
  schema, command, log, origin, size, root (hex), note, uncovered.";

const ABOUT_SHOW: &str = "\
Nothing is verified here: `audit verify` does that.

--json prints one object with these keys:
  schema, command, logs, events. Each of events: log, record (its number in that log), event.
docs/spec/audit-v1.md has the keys of an event.";

#[derive(Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Make a log and its key, and print its public key.
    #[command(after_long_help = ABOUT_INIT)]
    Init(AuditInit),
    /// Bring a copy of a log, which others read, up to its checkpoint.
    #[command(after_long_help = ABOUT_PUBLISH)]
    Publish(AuditPublish),
    /// Find out whether a log is whole and unchanged, and name the first record that is off.
    #[command(after_long_help = ABOUT_VERIFY)]
    Verify(AuditVerify),
    /// Print a proof that a record is in a log.
    #[command(after_long_help = ABOUT_PROVE)]
    Prove(AuditProve),
    /// Print the checkpoint of a log, to keep elsewhere.
    #[command(after_long_help = ABOUT_CHECKPOINT)]
    Checkpoint(AuditLog),
    /// Show the events of a log.
    #[command(after_long_help = ABOUT_SHOW)]
    Show(AuditShow),
}

#[derive(Args)]
pub(crate) struct AuditInit {
    /// Where the log will be.
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
    /// The name of a log whose key is made, such as example.com/audit. It stays.
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: Option<String>,
}

#[derive(Args)]
pub(crate) struct AuditPublish {
    /// The directory of the log, or postgres-env:VARIABLE?key=FILE. The file has the private or the public key.
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
    /// Where the copy is: a directory, which is made if it is not there, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: PathBuf,
    /// The public key of the log, from whoever writes it: NAME+ID+KEY.
    #[arg(long, value_name = "VKEY")]
    pub(crate) key: Option<String>,
}

#[derive(Args)]
pub(crate) struct AuditLog {
    /// The directory of the log, or a copy of it; to verify and to take a checkpoint also postgres-env:VARIABLE?key=FILE.
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
}

/// What is known of logs from elsewhere.
#[cfg(feature = "ring")]
#[derive(Args)]
pub(crate) struct LogTrust {
    /// The public key of a log, from whoever writes it: NAME+ID+KEY, where NAME is the origin of the log; may be repeated.
    #[arg(long, value_name = "VKEY", action = ArgAction::Append)]
    pub(crate) log_key: Vec<String>,
    /// A checkpoint of a log that was kept elsewhere: the log of its origin must be a continuation of it; may be repeated.
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) checkpoint: Vec<PathBuf>,
}

#[derive(Args)]
pub(crate) struct AuditVerify {
    #[command(flatten)]
    pub(crate) log: AuditLog,
    /// A checkpoint that was kept elsewhere: the log must be a continuation of it.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// The public key of the log, from whoever writes it: NAME+ID+KEY.
    #[arg(long, value_name = "VKEY")]
    pub(crate) key: Option<String>,
}

#[derive(Args)]
pub(crate) struct AuditProve {
    #[command(flatten)]
    pub(crate) log: AuditLog,
    /// The number of the record in the log, counted from 0.
    #[arg(value_name = "SEQ")]
    pub(crate) record: String,
}

#[derive(Args)]
pub(crate) struct AuditShow {
    /// The directory of a log, or a copy of it, or postgres-env:VARIABLE?key=FILE. Several are shown as one, by the time of the events.
    #[arg(value_name = "LOG", required = true, num_args = 1..)]
    pub(crate) logs: Vec<PathBuf>,
    /// Only events of a KEK of this id, or of a key of a ring with this id.
    #[arg(long, value_name = "ID")]
    pub(crate) key: Option<String>,
    /// Only events from this time on: RFC 3339, or a date in UTC.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only events before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Only events of this actor.
    #[arg(long, value_name = "WHO")]
    pub(crate) actor: Option<String>,
}
