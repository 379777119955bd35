//! The command line of `review`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::{LogTrust, RingFile};

pub(super) const ABOUT_REVIEW: &str = "\
The report is Markdown, or JSON with --json. It needs no key, reads the ring and the logs, and
changes nothing. Here --log names logs that are read: nothing is written to them.

Each log is verified first. Exits with 10, after it has written the report, if a log does not
verify, if numbers of events are missing, or if a DEK was released under the key at or after the
revision that revoked it. That is decided by the revisions in the events, and by no clock, and over
all records of the logs, not only those from --from to --to.

--json prints one object with these keys:
  schema, command, ring, revision, mark, authority, at, from, to, findings, key, same_kek,
  logs, counts, others, kek_alone, denials, first_use, last_use, releases, objects, censuses, lost,
  gaps, holes, intents, proofs.
docs/cli.md has what is in them.";

#[derive(Args)]
pub(crate) struct Review {
    #[command(flatten)]
    pub(crate) ring: RingFile,
    /// The directory of a log, or a copy of it; may be repeated, since each process has a log of its own.
    #[arg(long, value_name = "DIR", required = true, action = ArgAction::Append)]
    pub(crate) log: Vec<PathBuf>,
    /// The key, as `keys list` shows it.
    #[arg(long, value_name = "ID")]
    pub(crate) key: String,
    /// Only events from this time on: RFC 3339, or a date in UTC.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only events before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) trust: LogTrust,
    /// A census receipt, which tells what is still wrapped under the key; may be repeated, for places that are not the same.
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) receipt: Vec<PathBuf>,
    /// Let the receipts count though their censuses saw not one envelope.
    #[arg(long, requires = "receipt")]
    pub(crate) allow_empty: bool,
    /// Write a proof of each record that the report stands on into this directory, which must be new or empty, with the checkpoints and public keys
    /// of the logs.
    #[arg(long, value_name = "DIR")]
    pub(crate) proofs: Option<PathBuf>,
}
