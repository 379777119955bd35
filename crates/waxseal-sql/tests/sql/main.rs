//! The inventories against their contract, against each other's processes and against servers that misbehave.

#[cfg(feature = "sqlite")]
mod files;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use waxseal::testing::inventory_conformance::Subject;

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_does_its_duty() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let next = Arc::new(AtomicU32::new(0));
    let subject = Subject::new(move || {
        let (folder, number) = (Arc::clone(&folder), next.fetch_add(1, Ordering::SeqCst));
        async move {
            let path = folder.path().join(format!("{number}.db"));
            let one = waxseal_sql::SqliteInventory::create(&*path).await?;
            Ok((one, waxseal_sql::SqliteInventory::open(path).await?))
        }
    });
    support::passes(&subject);
}
