//! The proofs of the records that a report stands on.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::logs::ReviewedLog;
use super::scan::Place;
use crate::failure::{Failure, Result};

/// How many records are proven.
const MOST: usize = 64;

/// A record that a report stands on.
pub(super) struct Proof {
    pub(super) at: Place,
    /// What it shows.
    pub(super) shows: Vec<&'static str>,
    /// The name of its file, if it was written.
    pub(super) file: Option<String>,
    /// Why it was not.
    pub(super) unproven: Option<String>,
}

/// The records to prove, and how many more there would be.
pub(super) struct Proofs {
    pub(super) all: Vec<Proof>,
    pub(super) more: u64,
}

impl Proofs {
    /// Records and what they show, those that matter most first.
    pub(super) fn of(records: impl IntoIterator<Item = (Place, &'static str)>) -> Self {
        let mut order: Vec<Place> = Vec::new();
        let mut shows: BTreeMap<Place, Vec<&'static str>> = BTreeMap::new();
        for (at, what) in records {
            let of_record = shows.entry(at).or_insert_with(|| {
                order.push(at);
                Vec::new()
            });
            if !of_record.contains(&what) {
                of_record.push(what);
            }
        }
        let more = order.len().saturating_sub(MOST) as u64;
        let all = order.into_iter().take(MOST).map(|at| Proof {
            at,
            shows: shows.remove(&at).unwrap_or_default(),
            file: None,
            unproven: (!at.is_covered).then(|| "no checkpoint covers it yet".to_owned()),
        });
        Self {
            all: all.collect(),
            more,
        }
    }

    /// Writes a file for each record that can be proven, and the checkpoint and the public key of each log.
    pub(super) fn write(&mut self, folder: &Path, logs: &[ReviewedLog]) -> Result<()> {
        for (number, log) in (1..).zip(logs) {
            create(
                folder,
                &format!("log-{number}.checkpoint"),
                log.reader.checkpoint().as_note(),
            )?;
            create(
                folder,
                &format!("log-{number}.vkey"),
                &format!("{}\n", log.verified.key),
            )?;
        }
        for proof in self.all.iter_mut().filter(|proof| proof.at.is_covered) {
            let Some(log) = logs.get(proof.at.log) else {
                continue;
            };
            match log.reader.prove(proof.at.record) {
                Ok(text) => {
                    let name = format!("log-{}-record-{}.tlog-proof", proof.at.log + 1, proof.at.record);
                    create(folder, &name, &text)?;
                    proof.file = Some(name);
                }
                Err(error) => {
                    let why = error.detail().map(str::to_owned);
                    proof.unproven = Some(why.unwrap_or_else(|| error.to_string()));
                }
            }
        }
        Ok(())
    }

    pub(super) fn to_json(&self, logs: &[String]) -> Value {
        let each = self.all.iter().map(|proof| {
            let mut object = proof.at.to_json(logs);
            let more = json!({
                "shows": proof.shows,
                "file": proof.file,
                "unproven": proof.unproven,
            });
            crate::report::extend(&mut object, more);
            object
        });
        json!({ "records": each.collect::<Vec<_>>(), "more": self.more })
    }
}

/// Makes the directory of the proofs, which must be new or empty.
pub(super) fn prepare(folder: &Path) -> Result<()> {
    let failed = |error| Failure::of_io("make", folder.display(), error);
    fs::create_dir_all(folder).map_err(failed)?;
    match fs::read_dir(folder).map_err(failed)?.next() {
        None => Ok(()),
        Some(_) => Err(Failure::refused(format!(
            "--proofs: {} is not empty, and no proof is ever overwritten: name a new directory",
            folder.display()
        ))),
    }
}

fn create(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    let made = fs::File::create_new(&path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    made.map_err(|error| Failure::of_io("write", path.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_proven_once_and_what_is_too_much_is_counted() {
        let at = |record| Place {
            log: 0,
            record,
            is_covered: record != 1,
        };
        let records = [(at(5), "first use"), (at(1), "release"), (at(5), "last use")];
        let proofs = Proofs::of(records);
        let shown: Vec<_> = proofs
            .all
            .iter()
            .map(|one| (one.at.record, one.shows.clone()))
            .collect();
        assert_eq!(shown, [(5, vec!["first use", "last use"]), (1, vec!["release"])]);
        let uncovered: Vec<_> = proofs.all.iter().map(|one| one.unproven.is_some()).collect();
        assert_eq!(uncovered, [false, true]);
        let many = Proofs::of((0..70).map(|record| (at(record), "release")));
        assert_eq!((many.all.len(), many.more), (MOST, 6));
    }
}
