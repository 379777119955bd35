//! Scopes by what is in them.

use sqlx::SqlStr;
use waxseal::Result;
use waxseal::ring::{RecordId, Scope, Time};

use super::read::{scope, time};
use crate::link::{Link, Record, Select, Value, fixed};

const SCOPE: Select = Select {
    table: "waxseal_row",
    columns: &["scope"],
    key: 0,
};

const DUE: Select = Select {
    table: "waxseal_row",
    columns: &["due"],
    key: 0,
};

fn scopes(records: &[Record]) -> Result<Vec<Scope>> {
    records.iter().map(scope).collect()
}

pub(crate) async fn scope_of(link: &mut dyn Link, ring: &str, id: RecordId) -> Result<Option<Scope>> {
    let sql = fixed(
        "select substr(scope, 1, 513) from waxseal_row where ring = $1 and id = $2 \
        union all select substr(scope, 1, 513) from waxseal_provisioned where ring = $1 and id = $2 \
        and not exists (select 1 from waxseal_row where ring = $1 and id = $2)",
    );
    let id = id.to_string();
    let record = link.row(&SCOPE, sql, &[ring.into(), id.as_str().into()]).await?;
    record.as_ref().map(scope).transpose()
}

pub(crate) async fn scopes_of_kek(
    link: &mut dyn Link,
    ring: &str,
    provider: &str,
    kek_id: &str,
    limit: u32,
) -> Result<Vec<Scope>> {
    let sql = fixed(
        "select substr(scope, 1, 513) from (select distinct scope from waxseal_row \
        where ring = $1 and kek_provider = $2 and kek_id = $3 order by scope limit $4) found order by scope",
    );
    let values = [
        ring.into(),
        provider.into(),
        kek_id.into(),
        i64::from(limit).into(),
    ];
    scopes(&link.rows(&SCOPE, sql, &values).await?)
}

pub(crate) async fn scopes_due(link: &mut dyn Link, ring: &str, by: Time, limit: u32) -> Result<Vec<Scope>> {
    let sql = fixed(
        "select substr(scope, 1, 513) from (select scope, min(due) as earliest from waxseal_row \
        where ring = $1 and due <= $2 group by scope order by earliest, scope limit $3) found order by earliest, scope",
    );
    let values = [ring.into(), by.as_microseconds().into(), i64::from(limit).into()];
    scopes(&link.rows(&SCOPE, sql, &values).await?)
}

pub(crate) async fn next_due(link: &mut dyn Link, ring: &str) -> Result<Option<Time>> {
    let sql = fixed("select min(due) from waxseal_row where ring = $1 and due is not null");
    match link.row(&DUE, sql, &[ring.into()]).await? {
        Some(record) => time(&record, "due"),
        None => Ok(None),
    }
}

pub(crate) async fn scopes_after(
    link: &mut dyn Link,
    ring: &str,
    after: Option<&Scope>,
    limit: u32,
) -> Result<Vec<Scope>> {
    let sql = fixed(
        "select substr(scope, 1, 513) from (select distinct scope from waxseal_row \
        where ring = $1 and scope > $2 order by scope limit $3) found order by scope",
    );
    page(link, (&SCOPE, sql), ring, after, limit).await
}

pub(crate) async fn scopes_pending(
    link: &mut dyn Link,
    ring: &str,
    after: Option<&Scope>,
    limit: u32,
) -> Result<Vec<Scope>> {
    let sql = fixed(
        "select substr(scope, 1, 513) from (select distinct scope from waxseal_row \
        where ring = $1 and state = 'pending' and scope > $2 order by scope limit $3) found order by scope",
    );
    page(link, (&SCOPE, sql), ring, after, limit).await
}

/// What `sql` lists after a scope.
pub(super) async fn page(
    link: &mut dyn Link,
    (of, sql): (&Select, SqlStr),
    ring: &str,
    after: Option<&Scope>,
    limit: u32,
) -> Result<Vec<Scope>> {
    // No scope is empty.
    let after = Value::Text(Some(after.map_or("", Scope::as_str)));
    let values = [ring.into(), after, i64::from(limit).into()];
    scopes(&link.rows(of, sql, &values).await?)
}
