//! What needs a process alone: it forks, changes the process, or takes everything that the process logs. Each test runs in
//! a fresh copy of this program, on the first thread and with no other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[cfg(all(feature = "audit", unix))]
mod audit;
#[cfg(feature = "aws-kms")]
mod aws_kms_log;
#[cfg(feature = "azure-key-vault")]
mod azure_key_vault_log;
#[cfg(all(feature = "fleet", unix))]
mod fleet;
#[cfg(unix)]
mod fork;
#[cfg(all(
    unix,
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "vault-transit"
))]
mod fork_network;
#[cfg(all(feature = "hardening", target_os = "linux"))]
mod hardening;

#[cfg(feature = "azure-key-vault")]
#[path = "../support/fake_azure_key_vault/mod.rs"]
mod fake_azure_key_vault;
#[cfg(feature = "gcp-kms")]
#[path = "../support/fake_gcp_kms/mod.rs"]
mod fake_gcp_kms;
#[cfg(feature = "aws-kms")]
#[path = "../support/live.rs"]
mod live;
#[cfg(any(feature = "aws-kms", feature = "azure-key-vault"))]
#[path = "../support/log.rs"]
mod log;
#[cfg(all(feature = "pkcs11", unix))]
mod pkcs11_fork;
#[cfg(all(feature = "pkcs11", unix))]
#[path = "../backends/pkcs11/support.rs"]
#[allow(dead_code, reason = "shared with the other tests of tokens")]
mod pkcs11_support;
#[cfg(feature = "aws-kms")]
#[path = "../backends/aws_kms/server.rs"]
#[allow(dead_code, reason = "shared with the other tests of AWS KMS")]
mod server;

#[cfg(all(feature = "ring", unix))]
mod ring_fork;
#[cfg(feature = "ring")]
#[path = "../support/ring.rs"]
mod ring_support;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// A test, by the path of its function. `#[test]` is not known here: a test is in the list of its module.
type Test = (&'static str, fn());

/// Names the test that this copy of the program is for.
const ALONE: &str = "WAXSEAL_TEST_ALONE";

fn tests() -> Vec<Test> {
    [
        #[cfg(all(feature = "audit", unix))]
        audit::TESTS,
        #[cfg(feature = "aws-kms")]
        aws_kms_log::TESTS,
        #[cfg(feature = "azure-key-vault")]
        azure_key_vault_log::TESTS,
        #[cfg(all(feature = "fleet", unix))]
        fleet::TESTS,
        #[cfg(unix)]
        fork::TESTS,
        #[cfg(all(
            unix,
            feature = "aws-kms",
            feature = "azure-key-vault",
            feature = "gcp-kms",
            feature = "vault-transit"
        ))]
        fork_network::TESTS,
        #[cfg(all(feature = "hardening", target_os = "linux"))]
        hardening::TESTS,
        #[cfg(all(feature = "pkcs11", unix))]
        pkcs11_fork::TESTS,
        #[cfg(all(feature = "ring", unix))]
        ring_fork::TESTS,
    ]
    .concat()
}

/// Runs a test in a copy of this program, and prints what was skipped there.
fn alone(name: &str) -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?).env(ALONE, name).output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}\n{text}", output.status).into());
    }
    for line in text.lines().filter(|line| line.starts_with("skipped")) {
        println!("{name}: {line}");
    }
    Ok(())
}

fn main() -> ExitCode {
    let tests = tests();
    if let Some(name) = std::env::var_os(ALONE) {
        let (_, test) = tests.iter().find(|(known, _)| name == **known).unwrap();
        test();
        return ExitCode::SUCCESS;
    }
    let trials = tests
        .iter()
        .map(|&(name, _)| Trial::test(name, move || alone(name)));
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
