//! `waxseal`: seals, opens, re-wraps and inspects envelopes from the command line.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 usage. A command that fails says why in one line on standard
//! error, without key material, AAD or context values, and leaves no output file behind. Warnings of a backend stand
//! there too, each on a line of its own.

mod arguments;
mod binding;
mod copy;
mod doctor;
mod failure;
mod input;
mod inspect;
mod kek;
mod keygen;
mod open;
mod output;
mod progress;
mod rewrap;
mod seal;
mod usage;
mod warnings;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage::report(&error),
    };
    warnings::show();
    // What waits for a network does so on this runtime; nothing else needs one.
    #[cfg(any(
        feature = "aws-kms",
        feature = "azure-key-vault",
        feature = "gcp-kms",
        feature = "vault-transit"
    ))]
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failure::Failure::refused(format!("cannot start: {error}")).report(),
    };
    #[cfg(any(
        feature = "aws-kms",
        feature = "azure-key-vault",
        feature = "gcp-kms",
        feature = "vault-transit"
    ))]
    let _inside = runtime.enter();
    let result = match arguments.command {
        Command::Keygen(options) => keygen::run(&options),
        Command::Seal(options) => seal::run(&options),
        Command::Open(options) => open::run(&options),
        Command::Rewrap(options) => rewrap::run(&options),
        Command::Inspect(options) => inspect::run(&options),
        Command::Doctor(options) => doctor::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
