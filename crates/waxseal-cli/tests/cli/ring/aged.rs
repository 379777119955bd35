//! Rings that have waited for days, in no time.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use waxseal::ring::config::{RingConfig, StoreAt};
use waxseal::ring::{Reader, correct_clock};
use waxseal::runtime::ProcessEnvironment;
use waxseal::testing::SimulatedRuntime;
use waxseal_sql::{SqliteConfig, SqliteInventory};

/// Lets everything that was done with a ring have been done two days ago: an administrator whose clocks say so corrects the time of
/// the ring, which seems to be ahead.
pub(crate) fn age(folder: &Path) {
    let config = RingConfig::read(folder.join("ring.toml")).unwrap();
    let StoreAt::Sqlite(file) = &config.store else {
        panic!("it is not in a file")
    };
    let ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
    let runtime = Arc::new(SimulatedRuntime::starting_at(ago));
    let inventory = SqliteConfig::new(file).with_runtime(runtime.clone());
    let inventory = pollster::block_on(SqliteInventory::open(inventory)).unwrap();
    let authority = config
        .administration()
        .unwrap()
        .authority
        .read(&ProcessEnvironment);
    let authority = pollster::block_on(authority).unwrap();
    let reader = Reader::new(config.trust().unwrap(), Arc::new(inventory)).with_runtime(runtime);
    pollster::block_on(correct_clock(
        &reader,
        &authority,
        "tests",
        "two days have passed",
    ))
    .unwrap();
}
