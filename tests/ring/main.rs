//! A key ring in SQLite and PostgreSQL, with keys in real backends: a year of it, processes that are killed, keys that leak, and many
//! tenants. Each test runs in a copy of this program, with the variables that its backends read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod line;
mod places;
mod processes;
mod revocation;
mod shred;
mod tenants;
mod values;
mod year;

#[path = "../support/counted.rs"]
mod counted;
#[path = "../support/live.rs"]
mod live;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// Names the test that this copy of the program is for.
const ALONE: &str = "WAXSEAL_TEST_ALONE";

const TESTS: [(&str, fn()); 16] = [
    ("year::on_sqlite", year::on_sqlite),
    ("year::on_postgres", year::on_postgres),
    ("processes::on_sqlite", processes::on_sqlite),
    ("processes::on_postgres", processes::on_postgres),
    ("revocation::on_sqlite", revocation::on_sqlite),
    ("revocation::on_postgres", revocation::on_postgres),
    (
        "revocation::without_the_database",
        revocation::without_the_database,
    ),
    ("shred::on_sqlite", shred::on_sqlite),
    ("shred::on_postgres", shred::on_postgres),
    ("tenants::cold_on_sqlite", tenants::cold_on_sqlite),
    ("tenants::cold_on_postgres", tenants::cold_on_postgres),
    ("tenants::many_on_sqlite", tenants::many_on_sqlite),
    ("tenants::many_on_postgres", tenants::many_on_postgres),
    ("tenants::one_moves", tenants::one_moves),
    ("tenants::killed_on_sqlite", tenants::killed_on_sqlite),
    ("tenants::killed_on_postgres", tenants::killed_on_postgres),
];

/// Runs a test in a copy of this program, and prints what was skipped there.
fn alone(name: &str) -> Result<(), Failed> {
    let mut copy = Command::new(std::env::current_exe()?);
    let output = copy.env(ALONE, name).envs(places::variables()).output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}\n{text}", output.status).into());
    }
    print!("{text}");
    Ok(())
}

fn main() -> ExitCode {
    if processes::is_worker() {
        return processes::work();
    }
    if tenants::is_worker() {
        return tenants::work();
    }
    if revocation::is_reader() {
        return revocation::read();
    }
    if shred::is_worker() {
        return shred::work();
    }
    if let Some(name) = std::env::var_os(ALONE) {
        let (_, test) = TESTS.iter().find(|(known, _)| name == **known).unwrap();
        test();
        return ExitCode::SUCCESS;
    }
    let trials = TESTS
        .iter()
        .map(|&(name, _)| Trial::test(name, move || alone(name)));
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
