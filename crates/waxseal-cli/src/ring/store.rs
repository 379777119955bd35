//! Where inventories are.

use std::fs::File;
use std::io;
use std::sync::Arc;

use waxseal::ring::Inventory;
use waxseal::ring::config::StoreAt;
use waxseal::{Error, ErrorKind};
use waxseal_sql::SqliteInventory;

use super::wait;
use crate::failure::{Failure, Result};

/// Opens an inventory that is there.
pub(crate) fn open(store: &StoreAt) -> Result<Arc<dyn Inventory>> {
    open_it(store).map_err(|failure| named(failure, store))
}

/// Opens an inventory, and makes it if it is not there.
pub(crate) fn create(store: &StoreAt) -> Result<Arc<dyn Inventory>> {
    create_it(store).map_err(|failure| named(failure, store))
}

/// Says which inventory it is, too.
fn named(failure: Failure, store: &StoreAt) -> Failure {
    if let StoreAt::Sqlite(path) = store
        // SQLite does not say why. It has no lock on the file here, which closing would release.
        && File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    {
        let detail = format!("this account may not read {}", path.display());
        let error = Error::new(ErrorKind::Denied).with_provider("sqlite");
        return error.with_detail(detail).into();
    }
    failure.and(&format!(" (the ring's inventory is {store})"))
}

fn open_it(store: &StoreAt) -> Result<Arc<dyn Inventory>> {
    match store {
        StoreAt::Sqlite(path) => Ok(Arc::new(wait(SqliteInventory::open(path.as_path()))?)),
        StoreAt::PostgresEnv { variable, name } => postgres(variable, name, false),
        _ => Err(unknown()),
    }
}

fn create_it(store: &StoreAt) -> Result<Arc<dyn Inventory>> {
    match store {
        StoreAt::Sqlite(path) => Ok(Arc::new(wait(SqliteInventory::create(path.as_path()))?)),
        StoreAt::PostgresEnv { variable, name } => postgres(variable, name, true),
        _ => Err(unknown()),
    }
}

fn unknown() -> Failure {
    Failure::refused("this kind of store is not known to this version of the command")
}

#[cfg(feature = "postgres")]
fn postgres(variable: &str, name: &str, creates: bool) -> Result<Arc<dyn Inventory>> {
    use waxseal_sql::PostgresInventory;

    let config = crate::database::postgres(variable, name, "ring")?;
    let opened = match creates {
        true => wait(PostgresInventory::create(config)),
        false => wait(PostgresInventory::connect(config)),
    };
    Ok(Arc::new(opened?))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str, _: &str, _: bool) -> Result<Arc<dyn Inventory>> {
    Err(crate::database::no_postgres("use sqlite:PATH"))
}
