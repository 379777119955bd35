//! What the tables of jobs are asked.

use std::time::Duration;

use waxseal::fleet::{Claim, Claimed, Counts, Fault, FaultClass, Held, Plan, Range, Step};
use waxseal::{Error, ErrorKind, Result};

use super::JobState;
use crate::fleet::cell::{int, optional_text, text};
use crate::fleet::shape::sql;
use crate::link::{Begin, Cell, Link, Value, fixed};

/// How many faults of a job are named. All are counted.
const NAMED: i64 = 10_000;

/// What is kept as JSON, read.
fn parsed<T: serde::de::DeserializeOwned>(what: &str, json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(ErrorKind::Store)
            .with_detail(format!(
                "{what} of the job in the database was not written by this program, or by a newer one"
            ))
            .with_source(error)
    })
}

fn written(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Store).with_source(error))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn part(claim: &Claim) -> i64 {
    i64::try_from(claim.part).unwrap_or(i64::MAX)
}

fn fence(claim: &Claim) -> i64 {
    i64::try_from(claim.fence).unwrap_or(i64::MAX)
}

/// Begins the job, if nobody has.
pub(super) async fn begin(link: &mut dyn Link, job: &str, plan: &Plan, parts: &[Range]) -> Result<()> {
    link.begin(Begin::Write).await?;
    let now = link.clock().await?;
    let json = written(plan)?;
    // Whoever does the same at the same time waits here, and finds it begun.
    let insert = fixed(
        "insert into waxseal_job (job, plan, state, begun) values ($1, $2, 'running', $3) on conflict do nothing",
    );
    if link
        .execute(insert, &[job.into(), json.as_str().into(), now.into()])
        .await?
        == 0
    {
        link.rollback().await?;
        return is_same(link, job, plan).await;
    }
    let counts = written(&Counts::default())?;
    for (number, range) in (0_i64..).zip(parts) {
        let insert = fixed(
            "insert into waxseal_job_part (job, part, range_after, range_until, is_done, counts, fence) values ($1, $2, $3, $4, 0, $5, 0)",
        );
        let values = [
            job.into(),
            number.into(),
            Value::Text(range.after()),
            Value::Text(range.until()),
            counts.as_str().into(),
        ];
        link.execute(insert, &values).await?;
    }
    link.commit().await
}

async fn is_same(link: &mut dyn Link, job: &str, plan: &Plan) -> Result<()> {
    let select = fixed("select plan from waxseal_job where job = $1");
    let Some(cells) = link.cells(select, &[job.into()]).await?.pop() else {
        return Err(Error::new(ErrorKind::Unavailable).with_detail("the job was deleted while it began"));
    };
    parsed::<Plan>("the plan", &text(&cells, 0))?.check(plan)
}

pub(super) async fn claim(link: &mut dyn Link, job: &str, worker: &str, lease: Duration) -> Result<Claimed> {
    link.begin(Begin::Write).await?;
    let now = link.clock().await?;
    let update = sql(format!(
        "update waxseal_job_part set fence = fence + 1, worker = $2, leased_until = $3 where job = $1 and part = ( \
        select part from waxseal_job_part where job = $1 and is_done = 0 and (leased_until is null or leased_until <= $4) \
        and exists (select 1 from waxseal_job where job = $1 and state = 'running') \
        order by part limit 1 {}) returning part, range_after, range_until, last_id, fence",
        link.skip_locked()
    ));
    let until = now.saturating_add(micros(lease));
    let values = [job.into(), worker.into(), until.into(), now.into()];
    let claimed = link.cells(update, &values).await?.pop();
    link.commit().await?;
    match claimed {
        Some(cells) => Ok(Claimed::Part(claimed_part(&cells, lease))),
        None => left(link, job).await,
    }
}

fn claimed_part(cells: &[Cell], lease: Duration) -> Claim {
    let mut rest = Range::all();
    // What was done before is behind.
    if let Some(after) = optional_text(cells, 3).or_else(|| optional_text(cells, 1)) {
        rest = rest.from_after(after);
    }
    if let Some(until) = optional_text(cells, 2) {
        rest = rest.up_to(until);
    }
    let part = usize::try_from(int(cells, 0)).unwrap_or(usize::MAX);
    let fence = u64::try_from(int(cells, 4)).unwrap_or_default();
    Claim::new(part, rest, fence, lease)
}

/// Why there was no part to claim.
async fn left(link: &mut dyn Link, job: &str) -> Result<Claimed> {
    let select = fixed(
        "select state, (select count(*) from waxseal_job_part where job = $1 and is_done = 0) from waxseal_job where job = $1",
    );
    let cells = link.cells(select, &[job.into()]).await?.pop().unwrap_or_default();
    let is_over = JobState::parse(&text(&cells, 0)) == Some(JobState::Canceled) || int(&cells, 1) == 0;
    Ok(match is_over {
        true => Claimed::Done,
        false => Claimed::Busy,
    })
}

pub(super) async fn advance(link: &mut dyn Link, job: &str, claim: &Claim, step: &Step) -> Result<Held> {
    link.begin(Begin::Write).await?;
    let until = link.clock().await?.saturating_add(micros(claim.lease));
    // Holds the row from here on.
    let update = fixed(
        "update waxseal_job_part set last_id = coalesce($4, last_id), is_done = $5, leased_until = $6 \
        where job = $1 and part = $2 and fence = $3 returning counts",
    );
    let (part, fence) = (part(claim), fence(claim));
    let values = [
        job.into(),
        part.into(),
        fence.into(),
        Value::Text(step.cursor.as_deref()),
        i64::from(step.is_done).into(),
        until.into(),
    ];
    let Some(cells) = link.cells(update, &values).await?.pop() else {
        link.rollback().await?;
        return Ok(Held::Lost);
    };
    let mut counts: Counts = parsed("a count", &text(&cells, 0))?;
    counts.add(&step.counts);
    let counts = written(&counts)?;
    let update = fixed("update waxseal_job_part set counts = $3 where job = $1 and part = $2");
    link.execute(update, &[job.into(), part.into(), counts.as_str().into()])
        .await?;
    note(link, job, part, &step.faults).await?;
    let is_running = state(link, job).await? == Some(JobState::Running);
    if !is_running && !step.is_done {
        give_back(link, job, claim).await?;
    }
    link.commit().await?;
    Ok(match is_running || step.is_done {
        true => Held::Yes,
        false => Held::Released,
    })
}

async fn note(link: &mut dyn Link, job: &str, part: i64, faults: &[Fault]) -> Result<()> {
    if faults.is_empty() {
        return Ok(());
    }
    let select = fixed(
        "select (select count(*) from waxseal_job_fault where job = $1), \
        (select count(*) from waxseal_job_fault where job = $1 and part = $2)",
    );
    let cells = link
        .cells(select, &[job.into(), part.into()])
        .await?
        .pop()
        .unwrap_or_default();
    let room = usize::try_from(NAMED - int(&cells, 0)).unwrap_or_default();
    for (number, fault) in (int(&cells, 1) + 1..).zip(faults.iter().take(room)) {
        let insert = fixed(
            "insert into waxseal_job_fault (job, part, number, id, class, reason) values ($1, $2, $3, $4, $5, $6)",
        );
        let values = [
            job.into(),
            part.into(),
            number.into(),
            fault.id.as_str().into(),
            fault.class.name().into(),
            fault.reason.as_str().into(),
        ];
        link.execute(insert, &values).await?;
    }
    Ok(())
}

pub(super) async fn renew(link: &mut dyn Link, job: &str, claim: &Claim) -> Result<Held> {
    let until = link.clock().await?.saturating_add(micros(claim.lease));
    let update =
        fixed("update waxseal_job_part set leased_until = $4 where job = $1 and part = $2 and fence = $3");
    let values = [job.into(), part(claim).into(), fence(claim).into(), until.into()];
    Ok(match link.execute(update, &values).await? {
        0 => Held::Lost,
        _ => Held::Yes,
    })
}

pub(super) async fn release(link: &mut dyn Link, job: &str, claim: &Claim) -> Result<()> {
    link.begin(Begin::Write).await?;
    give_back(link, job, claim).await?;
    link.commit().await
}

/// Whoever has the claim still has lost it.
async fn give_back(link: &mut dyn Link, job: &str, claim: &Claim) -> Result<()> {
    let update = fixed(
        "update waxseal_job_part set leased_until = null, worker = null, fence = fence + 1 where job = $1 and part = $2 and fence = $3",
    );
    let values = [job.into(), part(claim).into(), fence(claim).into()];
    link.execute(update, &values).await.map(drop)
}

pub(super) async fn sum(link: &mut dyn Link, job: &str) -> Result<(Counts, Vec<Fault>, bool)> {
    link.begin(Begin::Read).await?;
    let select = fixed("select counts, is_done from waxseal_job_part where job = $1 order by part");
    let parts = link.cells(select, &[job.into()]).await?;
    let select = fixed(
        "select id, class, reason from waxseal_job_fault where job = $1 order by part, number limit $2",
    );
    let faults = link.cells(select, &[job.into(), NAMED.into()]).await?;
    link.commit().await?;
    let (mut counts, mut is_done) = (Counts::default(), true);
    for cells in parts {
        counts.add(&parsed("a count", &text(&cells, 0))?);
        is_done &= int(&cells, 1) != 0;
    }
    let fault = |cells: Vec<Cell>| {
        let class: FaultClass = parsed("a fault", &format!("\"{}\"", text(&cells, 1)))?;
        Ok(Fault::new(text(&cells, 0), class, text(&cells, 2)))
    };
    Ok((
        counts,
        faults.into_iter().map(fault).collect::<Result<_>>()?,
        is_done,
    ))
}

pub(super) async fn state(link: &mut dyn Link, job: &str) -> Result<Option<JobState>> {
    let select = fixed("select state from waxseal_job where job = $1");
    let Some(cells) = link.cells(select, &[job.into()]).await?.pop() else {
        return Ok(None);
    };
    let state = JobState::parse(&text(&cells, 0));
    let unknown =
        || Error::new(ErrorKind::Store).with_detail("the job has a state that this program does not know");
    state.ok_or_else(unknown).map(Some)
}

pub(super) async fn set_state(link: &mut dyn Link, job: &str, state: JobState) -> Result<()> {
    link.begin(Begin::Write).await?;
    let update = fixed("update waxseal_job set state = $2 where job = $1");
    let changed = link.execute(update, &[job.into(), state.name().into()]).await?;
    link.commit().await?;
    match changed {
        0 => Err(Error::new(ErrorKind::Configuration)
            .with_detail(format!("no job {job:?} has begun; name it as its workers do"))),
        _ => Ok(()),
    }
}
