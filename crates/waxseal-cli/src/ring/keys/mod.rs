//! The commands `keys …`.

mod list;
mod moves;
mod new;
mod revoke;
mod rotate;
mod shred;
mod tick;

#[cfg(feature = "audit")]
pub(super) use list::history_json;
pub(super) use list::to_json as key_json;
pub(super) use shred::{tombstone_json, tombstone_line};

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use waxseal::ring::evidence::{CensusReceipt, VerifiedReceipt};
use waxseal::ring::{Moved, Orphan, RecordId, State, View};

use super::{kek_json, parsed, path_of};
use crate::arguments::{Keys, KeysCommand};
use crate::failure::{Failure, Result, printable};
use crate::warnings;

/// How many receipts count together.
const MOST_RECEIPTS: usize = 64;

pub(crate) fn run(options: &Keys) -> Result<()> {
    let path = path_of(&options.ring);
    let actor = &options.actor;
    #[cfg(feature = "audit")]
    let _ends = super::audited::begin(&options.log, options.command.is_audited())?;
    match &options.command {
        KeysCommand::Create(create) => new::create(&path, actor, create),
        KeysCommand::Adopt(adopt) => new::adopt(&path, actor, adopt),
        KeysCommand::List(list) => list::list(&path, list),
        KeysCommand::Show(show) => list::show(&path, show),
        KeysCommand::Rotate(rotate) => rotate::rotate(&path, actor, rotate),
        KeysCommand::Promote(promote) => moves::promote(&path, actor, promote),
        KeysCommand::Reinstate(reinstate) => moves::reinstate(&path, actor, reinstate),
        KeysCommand::TakeBack(back) => moves::take_back(&path, actor, back),
        KeysCommand::Retire(retire) => moves::retire(&path, actor, retire),
        KeysCommand::Revoke(revoke) => revoke::run(&path, actor, revoke),
        KeysCommand::Destroy(destroy) => moves::destroy(&path, actor, destroy),
        KeysCommand::Shred(shred) => shred::run(&path, actor, shred),
        KeysCommand::ShredReceipt(receipt) => shred::receipt_of(&path, actor, receipt),
        KeysCommand::Tick(tick) => tick::run(&path, actor, tick),
    }
}

fn id_of(text: &str) -> Result<RecordId> {
    parsed("ID", text)
}

/// What became of a key.
fn moved(command: &str, moved: &Moved) -> Result<()> {
    warn(&moved.warnings);
    super::done(
        command,
        json!({ "moves": [move_json(moved.key, Some(moved.from), moved.to)] }),
        || match moved.to == moved.from {
            true => format!("{} is {}\n", moved.key, moved.to),
            false => format!("{} is {}, and was {}\n", moved.key, moved.to, moved.from),
        },
    )
}

fn move_json(key: RecordId, from: Option<State>, to: State) -> Value {
    json!({ "key": key.to_string(), "from": from.map(State::name), "to": to.name() })
}

/// What went wrong after the ring was changed.
fn warn(errors: &[waxseal::Error]) {
    for error in errors {
        let _ = warnings::warning(&printable(&error.to_string()));
    }
}

fn orphan_json(orphan: &Orphan) -> Value {
    kek_json(&orphan.provider, &orphan.kek, &orphan.version)
}

/// What a rotation has made at a backend and cannot use.
fn orphan_text(orphan: &Orphan) -> String {
    let version = match orphan.version.as_str() {
        "" => String::new(),
        version => format!(" version {}", printable(version)),
    };
    format!(
        "not of the ring, and never used: {} {}{version}\n",
        orphan.provider,
        printable(&orphan.kek)
    )
}

/// Reads receipts. They are believed only after they were verified.
pub(crate) fn receipts(paths: &[PathBuf]) -> Result<Vec<CensusReceipt>> {
    if paths.len() > MOST_RECEIPTS {
        return Err(Failure::usage(format!(
            "--receipt: at most {MOST_RECEIPTS} receipts count together, got {}",
            paths.len()
        )));
    }
    paths.iter().map(|path| receipt(path)).collect()
}

/// Verifies receipts for the ring as it is now.
pub(crate) fn verified<'r>(
    receipts: &'r [CensusReceipt],
    view: &View,
    allows_empty: bool,
) -> Result<Vec<VerifiedReceipt<'r>>> {
    let each = receipts.iter().map(|receipt| {
        let verified = receipt.verify(view)?;
        Ok(match allows_empty {
            true => verified.allowing_empty(),
            false => verified,
        })
    });
    each.collect()
}

/// Reads a receipt. It is believed only after it was verified.
pub(super) fn receipt(path: &Path) -> Result<CensusReceipt> {
    use std::io::Read;
    let limit = waxseal::ring::evidence::MAX_RECEIPT as u64 + 1;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| Failure::of_io("read", path.display(), error))?;
    CensusReceipt::from_bytes(&bytes).map_err(|error| match error.kind() {
        waxseal::ErrorKind::InvalidArgument => {
            Failure::usage_of(&format!("--receipt: {}", path.display()), &error)
        }
        _ => error.into(),
    })
}
