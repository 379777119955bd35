//! The command line of `page`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::{LogTrust, RingFile};

pub(super) const ABOUT_PAGE: &str = "\
The page is read-only, and serves until it is ended by a signal. It prints its address once it
serves. Here --log names logs that are shown: nothing is written to them.

On a loopback address, whoever is on this machine sees it, if he asks for localhost or for the
address. On any other address it needs --token-file, and a proxy with TLS before it. Browsers ask
for the token as a password; the name of the user does not matter.

--json prints one object with these keys, once it serves:
  schema, command, url.";

#[derive(Args)]
pub(crate) struct Page {
    #[command(flatten)]
    pub(crate) ring: RingFile,
    /// The directory of an audit log; may be repeated, since each process has a log of its own.
    #[arg(long, value_name = "DIR", action = ArgAction::Append)]
    pub(crate) log: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: LogTrust,
    /// A census receipt, which tells what is still under which key; may be repeated, for places that are not the same.
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) receipt: Vec<PathBuf>,
    /// The address and port. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
    /// Let only those in who have the token of this file, which only its owner can read.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}
