//! The versions of the tables.

use waxseal::{Error, ErrorKind, Result};

use crate::link::{Begin, Link, Select, fixed};

const SELECT: Select = Select {
    table: "waxseal_schema",
    columns: &["version"],
    key: 0,
};

/// The version that the table of versions says.
pub(crate) async fn version(link: &mut dyn Link) -> Result<Option<i64>> {
    let sql = fixed("select max(version) from waxseal_schema");
    match link.row(&SELECT, sql, &[]).await? {
        Some(record) => record.optional_int("version"),
        None => Ok(None),
    }
}

fn newest(link: &dyn Link) -> i64 {
    i64::try_from(link.migrations().len()).unwrap_or(i64::MAX)
}

/// Refuses tables of another version than this crate knows.
///
/// # Errors
/// `Configuration`.
pub(crate) async fn check(link: &mut dyn Link) -> Result<()> {
    let newest = newest(link);
    let configuration = |detail: String| Err(Error::new(ErrorKind::Configuration).with_detail(detail));
    match link.schema_version().await? {
        Some(version) if version == newest => Ok(()),
        Some(version) if version > newest => configuration(format!(
            "the tables have version {version}, and this program knows {newest} at most; upgrade the program"
        )),
        Some(version) => configuration(format!(
            "the tables have version {version}, and this program needs {newest}; `create` upgrades them"
        )),
        None => configuration(
            "the database holds no inventory; restore an export, or make a ring there".to_owned(),
        ),
    }
}

/// Makes the tables, or brings them to the newest version. Several processes may do so at once.
///
/// # Errors
/// `Configuration` for tables of a version that this crate does not know.
pub(crate) async fn migrate(link: &mut dyn Link) -> Result<()> {
    let newest = newest(link);
    // Whoever may make no tables can still open those that are there.
    if link.schema_version().await? == Some(newest) {
        return Ok(());
    }
    link.begin(Begin::Write).await?;
    link.lock_schema().await?;
    let version = match link.schema_version().await? {
        Some(version) => version,
        None => {
            link.script("create table if not exists waxseal_schema (version bigint not null primary key)")
                .await?;
            0
        }
    };
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    for (script, version) in link.migrations().iter().zip(1_i64..).skip(done) {
        link.script(script).await?;
        let sql = fixed("insert into waxseal_schema (version) values ($1)");
        link.execute(sql, &[version.into()]).await?;
    }
    link.commit().await?;
    check(link).await
}
