//! Statements on a table of 50,000 rows: each walks through the index of the key, and sorts nothing but the rows of a batch.

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqlSafeStr};

use super::*;
use crate::fleet::cell::text as line;
use crate::fleet::key::Key;
use crate::link::postgres::PgLink;

async fn explained(link: &mut PgLink, statement: &str, values: &[Value<'_>]) -> String {
    let lines = link
        .cells(sql(format!("explain {statement}")), values)
        .await
        .unwrap();
    lines.iter().map(|cells| line(cells, 0) + "\n").collect()
}

/// The plans of a page behind a cursor, of a replacement and of what is asked after one.
async fn plans(link: &mut PgLink) -> [String; 3] {
    let table = Table::new("plans", "e").context("a", "{tenant}").kek_id("kek");
    let shape = Server::find(link, &table).await.unwrap();
    let key = |id: i64| Key(vec![KeyPart::Text("t5".to_owned()), KeyPart::Int(id)]);
    let range = KeyRange {
        after: Some(key(20_000)),
        until: Some(key(40_000)),
    };
    let (within, values) = shape.within(&Server::WORDS, &range);
    let page = format!(
        "select {} from {} as t where {within} order by {} limit 200",
        shape.columns(&Server::WORDS, 4096),
        shape.table,
        shape.order()
    );
    let page = explained(link, &page, &values).await;
    let swap = |id| Swap {
        key: key(id),
        seen: "1 (0,1)".to_owned(),
        len: 1,
        read: vec![1],
        replaces: 1,
        new: vec![1],
        kek_id: None,
    };
    let swaps: Vec<Swap> = (0..200).map(swap).collect();
    let columns = Columns::of(&shape, &swaps);
    let replacement = explained(link, &replacing(&shape), &columns.all()).await;
    let existing = explained(link, &existing(&shape), &columns.keys()).await;
    [page, replacement, existing]
}

#[test]
fn all_is_found_by_the_index_of_the_key() {
    use futures_util::FutureExt as _;

    let Ok(server) = std::env::var("WAXSEAL_TEST_POSTGRES") else {
        let why = "WAXSEAL_TEST_POSTGRES is not set; run scripts/services up postgres && eval \"$(scripts/services env)\"";
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
        println!("skipped: {why}");
        return;
    };
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let plans = tokio.block_on(async {
        let schema = format!("waxseal_row_plans_{}", std::process::id());
        let script = |text: String| AssertSqlSafe(text).into_sql_str();
        let mut connection = PgConnection::connect(&server).await.unwrap();
        let fill = format!(
            "create schema {schema}; set search_path to {schema}; \
            create table plans (tenant text not null, id integer not null, e bytea, kek text, primary key (tenant, id)); \
            insert into plans select 't' || (n % 10), n, 'x', null from generate_series(1, 50000) as s(n); analyze plans"
        );
        sqlx::raw_sql(script(fill))
            .execute(&mut connection)
            .await
            .unwrap();
        let mut link = PgLink::new(connection);
        let made = std::panic::AssertUnwindSafe(plans(&mut link)).catch_unwind().await;
        let mut connection = PgConnection::connect(&server).await.unwrap();
        sqlx::raw_sql(script(format!("drop schema {schema} cascade")))
            .execute(&mut connection)
            .await
            .unwrap();
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    for plan in &plans {
        assert!(
            plan.contains("plans_pkey") && !plan.contains("Seq Scan"),
            "{plan}"
        );
    }
    let [page, replacement, _] = &plans;
    assert!(!page.contains("Sort"), "{page}");
    // The rows of the batch, in the order in which they are locked.
    assert!(replacement.contains("LockRows"), "{replacement}");
}
