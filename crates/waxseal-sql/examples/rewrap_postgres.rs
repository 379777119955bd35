//! Moves a column of a table in PostgreSQL from one key to another: a dry run, the run, and a second run that finds nothing to do.
//!
//! ```text
//! export DATABASE_URL=postgres://…
//! cargo run --release -p waxseal-sql --features fleet,postgres --example rewrap_postgres -- [ROWS] [WORKERS]
//! ```
//!
//! It makes a schema of its own with a table of 10,000 rows, and drops it in the end. PostgreSQL computes a digest of all bodies before and
//! after: they do not change. Then it does the same updates by itself, in batches of 500 rows and without any cryptography, so that the rates can be compared.
//!
//! Here is one process with four workers. Several processes share a job by a `PostgresLedger`.

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use waxseal::backend::local::LocalKey;
use waxseal::envelope::Header;
use waxseal::fleet::{Report, RewrapJob};
use waxseal::{Aad, EncryptionContext, Kek, Sealer};
use waxseal_sql::fleet::Table;
use waxseal_sql::{PostgresConfig, PostgresRows};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Each data key has so many values, as with a cache in a server.
const SIBLINGS: usize = 20;
/// How long a value is.
const VALUE: usize = 1000;
/// How many rows PostgreSQL updates at once in the comparison. A job has as many in a batch by default.
const BATCH: usize = 500;

#[tokio::main]
async fn main() -> Result<()> {
    let Ok(url) = std::env::var("DATABASE_URL") else {
        println!(
            "skipped: DATABASE_URL is not set; it is the URL of a PostgreSQL in which a schema may be made"
        );
        return Ok(());
    };
    let mut arguments = std::env::args().skip(1);
    let rows = arguments
        .next()
        .map_or(Ok(10_000), |rows| rows.parse::<usize>())?;
    let workers = arguments
        .next()
        .map_or(NonZeroUsize::new(4).ok_or("no workers"), |workers| {
            workers.parse().map_err(|_| "WORKERS is a number")
        })?;
    let schema = format!("waxseal_example_{}", std::process::id());
    let mut connection = PgConnection::connect(&url).await?;
    let ended = run(&url, &mut connection, &schema, rows, workers).await;
    let drop = format!("drop schema if exists {schema} cascade");
    connection.execute(AssertSqlSafe(drop)).await?;
    ended
}

async fn run(
    url: &str,
    connection: &mut PgConnection,
    schema: &str,
    rows: usize,
    workers: NonZeroUsize,
) -> Result<()> {
    let make = format!(
        "create schema {schema}; create table {schema}.users (id bigint primary key, tenant text not null, email bytea); \
         alter table {schema}.users alter column email set storage external"
    );
    connection.execute(AssertSqlSafe(make)).await?;
    let (old, new) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
    let body = fill(connection, schema, rows, Sealer::new(old.clone())).await?;
    println!("{rows} rows of {VALUE} bytes, {SIBLINGS} under each data key");
    let before = digest(connection, schema, body).await?;

    let table = || {
        let table = Table::new("users", "email").in_schema(schema);
        table.context("tenant", "{tenant}")
    };
    let job = async || -> Result<RewrapJob> {
        let store = PostgresRows::open(PostgresConfig::new(&url.into(), "example")?, table()).await?;
        let sealer = Sealer::builder()
            .wrap_with(new.clone())
            .open_with(old.clone())
            .build()?;
        Ok(RewrapJob::new(sealer, Arc::new(store)).workers(workers))
    };
    show("dry run", job().await?.dry_run(), rows).await?;
    let done = show("re-wrap", job().await?, rows).await?;
    if (done.counts.moved(), done.counts.faults()) != (rows as u64, 0) {
        return Err(format!("not all rows were moved: {done:?}").into());
    }
    show("second run", job().await?, rows).await?;
    if digest(connection, schema, body).await? != before {
        return Err("a body has changed".into());
    }
    println!("no body has changed, says PostgreSQL");
    alone(connection, schema, rows).await
}

/// Seals the rows. Returns the length of a body.
async fn fill(connection: &mut PgConnection, schema: &str, rows: usize, sealer: Sealer) -> Result<usize> {
    let insert =
        format!("insert into {schema}.users select * from unnest($1::bigint[], $2::text[], $3::bytea[])");
    let (mut ids, mut tenants, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut body = 0;
    for first in (0..rows).step_by(SIBLINGS) {
        let tenant = format!("t{}", first / SIBLINGS % 100);
        let context = EncryptionContext::new([("tenant", tenant.as_str())])?;
        let key = sealer.data_key(&context).await?;
        for row in first..(first + SIBLINGS).min(rows) {
            let sealed = key.seal(&[0x5a; VALUE], Aad::none())?;
            body = sealed.len() - Header::parse(&sealed)?.body_offset();
            ids.push(i64::try_from(row)?);
            tenants.push(tenant.clone());
            values.push(sealed);
        }
        if values.len() >= BATCH || first + SIBLINGS >= rows {
            sqlx::query(AssertSqlSafe(insert.as_str()))
                .bind(std::mem::take(&mut ids))
                .bind(std::mem::take(&mut tenants))
                .bind(std::mem::take(&mut values))
                .execute(&mut *connection)
                .await?;
        }
    }
    let vacuum = format!("vacuum analyze {schema}.users");
    connection.execute(AssertSqlSafe(vacuum)).await?;
    Ok(body)
}

/// A digest of all bodies, by PostgreSQL.
async fn digest(connection: &mut PgConnection, schema: &str, body: usize) -> Result<String> {
    let digest = format!(
        "select md5(string_agg(md5(substr(email, octet_length(email) - {body} + 1)), '' order by id)) from {schema}.users"
    );
    Ok(sqlx::query_scalar(AssertSqlSafe(digest))
        .fetch_one(connection)
        .await?)
}

async fn show(what: &str, job: RewrapJob, rows: usize) -> Result<Report> {
    let began = Instant::now();
    let done = job.run().await?;
    let counts = &done.counts;
    println!(
        "{what}: {} moved, {} calls to a key manager, {} faults; {} rows in a second",
        counts.moved(),
        counts.rewrapped,
        counts.faults(),
        rate(rows, began),
    );
    Ok(done)
}

/// The same updates of the same bytes, with the new front in the place of itself.
async fn alone(connection: &mut PgConnection, schema: &str, rows: usize) -> Result<()> {
    let update = format!(
        "update {schema}.users u set email = overlay(email placing c.front from 1) \
         from (select id, substr(email, 1, 200) as front from {schema}.users where id >= $1 and id < $2) c where u.id = c.id"
    );
    let began = Instant::now();
    for first in (0..rows).step_by(BATCH) {
        sqlx::query(AssertSqlSafe(update.as_str()))
            .bind(i64::try_from(first)?)
            .bind(i64::try_from(first + BATCH)?)
            .execute(&mut *connection)
            .await?;
    }
    println!("PostgreSQL alone: {} rows in a second", rate(rows, began));
    Ok(())
}

fn rate(rows: usize, began: Instant) -> u128 {
    rows as u128 * 1000 / began.elapsed().as_millis().max(1)
}
