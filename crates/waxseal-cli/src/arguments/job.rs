//! What `rewrap` takes for a whole store.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::failure::{Failure, Result};

/// For a directory, or for the file that describes a store.
#[derive(Args)]
#[command(next_help_heading = "Options for a directory or a store")]
pub(crate) struct Job {
    /// Change nothing: count what a run would do. The keys are asked as in a run.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How many items are moved at once.
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,
    /// The most items in a second.
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
    /// The most calls to key managers in a second.
    #[arg(long, value_name = "N")]
    pub(crate) call_rate: Option<NonZeroU32>,
    /// Which of the items that were written are read back: one of 100 by default.
    #[arg(long, value_enum)]
    pub(crate) verify: Option<VerifyItems>,
    /// Stop after this many items that could not be moved; 100 by default.
    #[arg(long, value_name = "N")]
    pub(crate) most_faults: Option<u64>,
    /// Keep in this file how far the job is: the same command goes on with it after an interruption.
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    /// Write what was done to this file: as Markdown if its name ends with .md, else as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerifyItems {
    All,
    Sample,
    None,
}

impl Job {
    /// Refuses options that a single envelope has no use for.
    pub(crate) fn check_none(&self) -> Result<()> {
        let given = [
            ("--dry-run", self.dry_run),
            ("--workers", self.workers.is_some()),
            ("--rate", self.rate.is_some()),
            ("--call-rate", self.call_rate.is_some()),
            ("--verify", self.verify.is_some()),
            ("--most-faults", self.most_faults.is_some()),
            ("--ledger", self.ledger.is_some()),
            ("--report", self.report.is_some()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((option, _)) => Err(Failure::usage(format!(
                "{option} is for a store: INPUT is a directory, or a .toml file that describes a store"
            ))),
        }
    }
}
