//! `ring rewrap-branches`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use waxseal::ring::{BranchRewrap, BranchesRewrapped};

use super::{administer, done, parsed, wait};
use crate::arguments::{Actor, RewrapBranches};
use crate::failure::{Failure, Result, printable};
use crate::report::many;
use crate::warnings;

/// How often progress is shown.
const EVERY: Duration = Duration::from_secs(2);

/// Wraps branch keys under the active keys of their parent scopes.
pub(crate) fn rewrap(path: &Path, actor: &Actor, options: &RewrapBranches) -> Result<()> {
    let mut what = BranchRewrap::default();
    what.at_once = options.at_once.into();
    what.limit = options.limit;
    what.allow_weaker = options.allow_weaker;
    what.parent = match &options.scope {
        Some(scope) => Some(parsed("--scope", scope)?),
        None => None,
    };
    let ring = administer(path, actor, &[])?;
    let shows = !options.quiet && std::io::stderr().is_terminal();
    let mut shown = Instant::now();
    let job = ring.admin.rewrap_branches(&what, |so_far| {
        if shows && shown.elapsed() >= EVERY {
            shown = Instant::now();
            eprintln!("{}", line(so_far));
        }
    });
    let job = wait(job)?;
    ring.end()?;
    for (scope, error) in &job.problems {
        let _ = warnings::warning(&printable(&format!("scope {scope}: {error}")));
    }
    let object = json!({
        "rewrapped": job.rewrapped,
        "taken_over": job.taken_over,
        "current": job.current,
        "failed": job.failed,
        "left": job.left,
        "stopped": job.is_stopped,
    });
    done("ring rewrap-branches", object, || format!("{}\n", line(&job)))?;
    match (job.failed, job.left, job.is_stopped) {
        (0, 0, _) | (0, _, true) => Ok(()),
        (0, left, false) => Err(Failure::attention(format!(
            "{} still under keys that wrap no more: run it again, and look at `waxseal ring check`",
            many(left, "branch key")
        ))),
        (failed, _, _) => Err(Failure::attention(format!(
            "{} could not be wrapped anew{}",
            many(failed, "branch key"),
            job.problems
                .first()
                .map_or_else(String::new, |(scope, error)| printable(&format!(
                    ", the first: scope {scope}: {error}"
                )))
        ))),
    }
}

fn line(job: &BranchesRewrapped) -> String {
    let mut line = format!(
        "{} wrapped anew, {} were under the active key already",
        many(job.rewrapped, "branch key"),
        job.current
    );
    if job.taken_over > 0 {
        line += &format!(", {} taken over from provisioners", job.taken_over);
    }
    if job.failed > 0 {
        line += &format!(", {} failed", job.failed);
    }
    if job.is_stopped {
        line += "; stopped at the limit";
    }
    if job.left > 0 {
        line += &format!("; {} left", job.left);
    }
    line
}
