//! What the tables of an inventory are asked, the same on both databases.

mod beat;
mod commit;
mod find;
mod read;

pub(crate) use beat::{beat, heartbeats};
pub(crate) use commit::{commit, restore};
pub(crate) use find::{next_due, scope_of, scopes_after, scopes_due, scopes_of_kek};
pub(crate) use read::read;

use waxseal::Result;

use crate::link::{Link, Select, fixed};

const RING: Select = Select {
    table: "waxseal_ring",
    columns: &["ring", "revision", "latest"],
    key: 1,
};

/// The revision of the ring and the greatest time of a commit. Zeros if there is no ring.
pub(crate) async fn revision_and_latest(link: &mut dyn Link, ring: &str) -> Result<(u64, i64)> {
    let sql = fixed("select substr(ring, 1, 256), revision, latest from waxseal_ring where ring = $1");
    match link.row(&RING, sql, &[ring.into()]).await? {
        Some(record) => Ok((record.count("revision")?, record.int("latest")?)),
        None => Ok((0, i64::MIN)),
    }
}

/// The database's time, not earlier than the last commit.
pub(crate) async fn now(link: &mut dyn Link, ring: &str) -> Result<i64> {
    let clock = link.clock().await?;
    Ok(revision_and_latest(link, ring).await?.1.max(clock))
}

/// `$first, $second, …`: as many parameters.
fn parameters(first: usize, count: usize) -> String {
    let names: Vec<_> = (first..first + count)
        .map(|number| format!("${number}"))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod plans;
