//! Databases that a variable names.

use waxseal::{Error, ErrorKind};

use crate::failure::Failure;
#[cfg(feature = "postgres")]
use crate::failure::Result;

/// What is under `name` in the PostgreSQL of a variable. `whose` is for errors.
#[cfg(feature = "postgres")]
pub(crate) fn postgres(variable: &str, name: &str, whose: &str) -> Result<waxseal_sql::PostgresConfig> {
    use waxseal::runtime::{Environment, ProcessEnvironment};

    let url = ProcessEnvironment.var(variable)?.ok_or_else(|| {
        Failure::from(Error::new(ErrorKind::Configuration).with_detail(format!(
            "the variable {variable}, which has the URL of the {whose}'s database, is not set"
        )))
    })?;
    Ok(waxseal_sql::PostgresConfig::new(&url, name)?)
}

/// PostgreSQL, in a command that was built without it. `instead` says what works.
#[cfg(not(feature = "postgres"))]
pub(crate) fn no_postgres(instead: &str) -> Failure {
    let detail =
        format!("PostgreSQL was not compiled in; add the feature `postgres` of waxseal-cli, or {instead}");
    Error::new(ErrorKind::Configuration).with_detail(detail).into()
}
