//! `waxseal`: seals, opens, re-wraps and inspects envelopes from the command line.
//!
//! The exit codes are those of [`exit`]. A command that fails says why in one line on standard error (or, with `--json`, in
//! one JSON object), without key material, AAD or context values, and leaves no output file behind. Warnings of a backend
//! stand there too, each on a line of its own.

mod arguments;
#[cfg(feature = "audit")]
mod audit;
mod binding;
mod copy;
#[cfg(any(feature = "audit", feature = "ring"))]
mod database;
mod doctor;
mod exit;
mod failure;
#[cfg(feature = "fleet")]
mod fleet;
mod help;
mod inspect;
mod kek;
mod keygen;
mod open;
#[cfg(feature = "page")]
mod page;
mod progress;
mod prompt;
mod report;
mod rewrap;
#[cfg(feature = "ring")]
mod ring;
mod seal;
mod signals;
mod stream;
mod terminal;
mod usage;
mod warnings;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            if std::env::args_os().any(|argument| argument == "--json") {
                report::as_json();
            }
            return usage::report(&error);
        }
    };
    if arguments.json {
        report::as_json();
    }
    signals::outlive_limits();
    warnings::show();
    let result = match arguments.command {
        Command::Keygen(options) => keygen::run(&options),
        Command::Seal(options) => seal::run(&options),
        Command::Open(options) => open::run(&options),
        Command::Rewrap(options) => rewrap::run(&options),
        Command::Inspect(options) => inspect::run(&options),
        #[cfg(feature = "ring")]
        Command::Explain(options) => ring::explain(&options),
        Command::Doctor(options) => doctor::run(&options),
        #[cfg(feature = "ring")]
        Command::Ring(options) => ring::run(&options),
        #[cfg(feature = "ring")]
        Command::Keys(options) => ring::keys::run(&options),
        #[cfg(feature = "ring")]
        Command::Census(options) => ring::census(&options),
        #[cfg(feature = "audit")]
        Command::Audit(options) => audit::run(&options),
        #[cfg(feature = "page")]
        Command::Page(options) => page::run(&options),
        #[cfg(all(feature = "audit", feature = "ring"))]
        Command::Review(options) => ring::review(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
