//! What the tables of an inventory are asked, the same on both databases.

mod beat;
mod commit;
mod find;
mod provision;
mod read;

pub(crate) use beat::{beat, heartbeats};
pub(crate) use commit::{commit, restore};
pub(crate) use find::{next_due, scope_of, scopes_after, scopes_due, scopes_of_kek, scopes_pending};
pub(crate) use provision::{provision, scopes_provisioned};
pub(crate) use read::read;

use waxseal::Result;
use waxseal::ring::Time;

use crate::link::{Link, Select, fixed};

const RING: Select = Select {
    table: "waxseal_ring",
    columns: &["ring", "revision"],
    key: 1,
};

/// The revision of the ring. 0 if there is none.
pub(crate) async fn revision(link: &mut dyn Link, ring: &str) -> Result<u64> {
    let sql = fixed("select substr(ring, 1, 256), revision from waxseal_ring where ring = $1");
    match link.row(&RING, sql, &[ring.into()]).await? {
        Some(record) => record.count("revision"),
        None => Ok(0),
    }
}

/// The database's time.
pub(crate) async fn now(link: &mut dyn Link) -> Result<Time> {
    Time::from_microseconds(link.clock().await?)
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
