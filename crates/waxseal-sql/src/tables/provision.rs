//! The first keys of scopes, which provisioners have signed.

use sqlx::{AssertSqlSafe, SqlSafeStr};
use waxseal::ring::inventory::Row;
use waxseal::ring::{RecordId, Scope};
use waxseal::{Error, ErrorKind, Result};

use super::commit::{COLUMNS, Outcome, values};
use super::find::page;
use super::read::{ROW_COLUMNS, row, scope};
use super::{parameters, revision};
use crate::link::{Link, Select, Value, fixed};

const PROVISIONED: Select = Select {
    table: "waxseal_provisioned",
    ..super::read::ROW
};

const SCOPE: Select = Select {
    table: "waxseal_provisioned",
    columns: &["scope"],
    key: 0,
};

/// The row of a scope and slot.
async fn there(link: &mut dyn Link, ring: &str, row_of: &Row) -> Result<Option<Row>> {
    let sql =
        format!("select {ROW_COLUMNS} from waxseal_provisioned where ring = $1 and scope = $2 and slot = $3");
    let values = [
        ring.into(),
        row_of.scope.as_str().into(),
        row_of.slot.as_str().into(),
    ];
    let record = link
        .row(&PROVISIONED, AssertSqlSafe(sql).into_sql_str(), &values)
        .await?;
    record.map(row).transpose()
}

/// Adds a row by one statement, which the database makes durable before it answers, and returns what is there then.
pub(crate) async fn provision(link: &mut dyn Link, ring: &str, follows: u64, made: &Row) -> Result<Row> {
    let sql = format!(
        "{} on conflict (ring, scope, slot) do nothing returning {ROW_COLUMNS}",
        insert(link)
    );
    let follows_value = i64::try_from(follows).unwrap_or(i64::MAX);
    let id = made.id.to_string();
    let mut given: Vec<Value<'_>> = vec![ring.into(), follows_value.into()];
    given.extend(values(made, &id));
    let record = match link
        .row(&PROVISIONED, AssertSqlSafe(sql).into_sql_str(), &given)
        .await
    {
        Ok(record) => record,
        Err(error) if error.kind() == ErrorKind::Conflict => {
            return Err(Error::new(ErrorKind::Conflict)
                .with_detail(format!("another provisioned row has the id {}", made.id)));
        }
        Err(error) => return Err(error),
    };
    if let Some(record) = record {
        return row(record);
    }
    // Somebody was faster, or it may not be.
    if let Some(there) = there(link, ring, made).await? {
        return Ok(there);
    }
    let revision = revision(link, ring).await?;
    let why = match revision == follows {
        true => format!(
            "scope {} has a row already, or another row has the id {}",
            made.scope, made.id
        ),
        false => {
            format!(
                "the first key of a scope follows revision {follows}, and the ring has revision {revision}"
            )
        }
    };
    Err(Error::new(ErrorKind::Conflict).with_detail(why))
}

/// Deletes rows whose keys enter the tree, and refuses a change that leaves one beside the records of its scope.
pub(super) async fn take(
    link: &mut dyn Link,
    ring: &str,
    taken: &[RecordId],
    put: &[Row],
) -> Result<Option<Outcome>> {
    for part in taken.chunks(PART) {
        let sql = format!(
            "delete from waxseal_provisioned where ring = $1 and id in ({})",
            parameters(2, part.len())
        );
        let ids: Vec<_> = part.iter().map(RecordId::to_string).collect();
        let values: Vec<Value<'_>> = std::iter::once(ring)
            .chain(ids.iter().map(String::as_str))
            .map(Value::from)
            .collect();
        link.execute(AssertSqlSafe(sql).into_sql_str(), &values).await?;
    }
    let mut scopes: Vec<_> = put.iter().map(|row| &row.scope).collect();
    scopes.sort_unstable();
    scopes.dedup();
    for part in super::read::parts(&scopes) {
        let sql = format!(
            "select substr(scope, 1, 513) from waxseal_provisioned where ring = $1 and scope in ({}) limit 1",
            parameters(2, part.len())
        );
        let values: Vec<Value<'_>> = std::iter::once(ring)
            .chain(part.iter().map(|scope| scope.as_str()))
            .map(Value::from)
            .collect();
        if let Some(left) = link
            .row(&SCOPE, AssertSqlSafe(sql).into_sql_str(), &values)
            .await?
        {
            let why = match scope(&left) {
                Ok(scope) => format!("scope {scope} has a provisioned row, which the change does not take"),
                Err(error) => return Err(error),
            };
            link.rollback().await?;
            return Ok(Some(Outcome::Conflict(why)));
        }
    }
    Ok(None)
}

/// How many rows one statement deletes.
const PART: usize = 100;

/// Writes rows into an inventory that was empty, and has this revision now. Refuses one of a scope that has records.
pub(super) async fn restore(
    link: &mut dyn Link,
    ring: &str,
    revision: i64,
    rows: &[Row],
) -> Result<Option<Outcome>> {
    let sql = insert(link);
    for made in rows {
        let id = made.id.to_string();
        let mut given: Vec<Value<'_>> = vec![ring.into(), revision.into()];
        given.extend(values(made, &id));
        let written = match link
            .execute(AssertSqlSafe(sql.clone()).into_sql_str(), &given)
            .await
        {
            Err(error) if error.kind() == ErrorKind::Conflict => 0,
            written => written?,
        };
        if written != 1 {
            link.rollback().await?;
            let why = format!(
                "scope {} has a provisioned row beside its others, or a second one",
                made.scope
            );
            return Ok(Some(Outcome::Conflict(why)));
        }
    }
    Ok(None)
}

/// A statement that adds a row, if the ring has the revision that it follows and its scope has no record.
fn insert(link: &dyn Link) -> String {
    let sql = link.provision().replace("COLUMNS", COLUMNS);
    sql.replace("VALUES", &parameters(3, 13))
}

pub(crate) async fn scopes_provisioned(
    link: &mut dyn Link,
    ring: &str,
    after: Option<&Scope>,
    limit: u32,
) -> Result<Vec<Scope>> {
    let sql = fixed(
        "select substr(scope, 1, 513) from (select distinct scope from waxseal_provisioned \
        where ring = $1 and scope > $2 order by scope limit $3) found order by scope",
    );
    page(link, (&SCOPE, sql), ring, after, limit).await
}
