//! The clock and heartbeats.

use std::time::Duration;

use super::sample::{change, id, signed, time};
use super::{Outcome, PASSED, Subject, same};
use crate::ring::inventory::Heartbeat;
use crate::testing::conformance::probe::Finding;

/// How far one clock may be set back by its keeper within a check, and not be two clocks.
const STEP: Duration = Duration::from_secs(1);

pub(super) async fn the_clock_is_one_for_all(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    let mut last = subject.good("now", one.now().await)?;
    for round in 0..20 {
        for inventory in [&other, &one] {
            let now = subject.good("now", inventory.now().await)?;
            if last.since(now) > STEP {
                return Err(format!("the clock went back from {last} to {now}"));
            }
            last = now;
        }
        if round % 5 == 0 {
            subject.good("a change", one.commit(&change(round / 5, Vec::new())).await)?;
        }
    }
    PASSED
}

pub(super) async fn heartbeats_are_kept_for_each_process(subject: &Subject) -> Outcome {
    let (one, other) = subject.open().await?;
    let ids = |numbers: std::ops::Range<u32>| numbers.map(id).collect::<Finding<Vec<_>>>();
    let beat = |reader: &str, process: &str, revision| -> Finding<Heartbeat> {
        let probed = ids(0..3)?;
        let mut beat =
            Heartbeat::new(reader.to_owned(), process.to_owned(), revision, probed).with_failed(ids(5..7)?);
        // By the inventory's clock, whatever is claimed.
        beat.at = Some(time(253_402_000_000)?);
        // Some are signed.
        beat.signed = (process == "1").then(|| signed(reader));
        Ok(beat)
    };
    let start = subject.good("now", one.now().await)?;
    for (inventory, reader, process, revision) in [
        (&one, "a", "1", 1),
        (&other, "a", "2", 2),
        (&one, "b", "1", 3),
        (&other, "a", "1", u64::MAX >> 2),
    ] {
        subject.good(
            "a heartbeat",
            inventory.beat(&beat(reader, process, revision)?).await,
        )?;
    }
    let end = subject.good("now", one.now().await)?;
    for inventory in [&one, &other] {
        let beats = subject.good("heartbeats", inventory.heartbeats(start).await)?;
        let mut found: Vec<_> = beats
            .iter()
            .map(|beat| (&*beat.reader, &*beat.process, beat.revision))
            .collect();
        found.sort_unstable();
        let expected = vec![("a", "1", u64::MAX >> 2), ("a", "2", 2), ("b", "1", 3)];
        same("the heartbeats", &found, &expected)?;
        if !beats.is_sorted_by(|one, next| one.at >= next.at) {
            return Err("heartbeats are not returned newest first".to_owned());
        }
        for beat in &beats {
            same("the keys of a heartbeat", &beat.probed, &ids(0..3)?)?;
            same("the failed keys of a heartbeat", &beat.failed, &ids(5..7)?)?;
            let expected = (beat.process == "1").then(|| signed(&beat.reader));
            same("what is signed of a heartbeat", &beat.signed, &expected)?;
            same("why it is malformed", &beat.malformed, &None)?;
            let is_in_time = beat.at.is_some_and(|at| start <= at && at <= end);
            if !is_in_time {
                return Err(format!(
                    "a heartbeat has the time {:?}, not between {start} and {end}",
                    beat.at
                ));
            }
        }
        let later = subject.good("heartbeats", inventory.heartbeats(time(253_402_000_000)?).await)?;
        same("the heartbeats of the future", &later.len(), &0)?;
    }
    PASSED
}
