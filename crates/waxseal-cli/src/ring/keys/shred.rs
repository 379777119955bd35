//! `keys shred` and `keys shred-receipt`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use waxseal::ring::evidence::VerifiedReceipt;
use waxseal::ring::{KeyRecord, Moved, Scope, ShredReceipt, Shredding, State, Time, Tombstone};

use super::{move_json, receipts, verified, warn};
use crate::arguments::{Actor, Shred, ShredReceiptOptions};
use crate::failure::{Failure, Result, printable};
use crate::report::{self, many};
use crate::ring::using::replace;
use crate::ring::{administer, ask, done, done_beside, kek_json, open, parsed, show_beside, sources, wait};
use crate::stream::{Access, Output};

/// The longest receipt of a shredding that is read.
const MAX: u64 = 64 << 20;

/// Shreds a scope, or takes that back.
pub(super) fn run(path: &Path, actor: &Actor, options: &Shred) -> Result<()> {
    let scope: Scope = parsed("--scope", &options.scope)?;
    match options.cancel {
        true => cancel(path, actor, &scope, options),
        false => shred(path, actor, &scope, options),
    }
}

fn shred(path: &Path, actor: &Actor, scope: &Scope, options: &Shred) -> Result<()> {
    let censuses = receipts(&options.census)?;
    let ring = administer(path, actor, &[])?;
    let view = wait(ring.admin.reader().scopes(std::slice::from_ref(scope)))?;
    let verified = verified(&censuses, &view, false)?;
    let keys = view
        .keys(scope)
        .iter()
        .filter(|key| key.state != State::Destroyed);
    let keys: Vec<&KeyRecord> = keys.map(|key| &**key).collect();
    let counts: Vec<Counted> = verified.iter().map(|census| Counted::of(census, &keys)).collect();
    let was_shredded = view.tombstone(scope).is_some();
    // What cannot be written is refused before anything is done.
    let output = match &options.receipt {
        Some(file) => Some(output(path, Some(file))?),
        None => None,
    };
    if !was_shredded && !keys.is_empty() {
        let due = view.settings().cooling_off;
        let found = match counts.as_slice() {
            [] => "how many envelopes that are, only a census tells: --census".to_owned(),
            counts => counts.iter().map(Counted::words).collect::<Vec<_>>().join("; "),
        };
        let question = format!(
            "{} of scope {scope} will be out of use at once, and destroyed {due} later: nothing that is under them opens then, in backups of the data as little as here ({found}).{}",
            many(keys.len() as u64, "key"),
            match keys.iter().any(|key| key.branch.is_some()) {
                true =>
                    " Branch keys are in backups of the inventory, too, and open there as long as one of their parents exists.",
                false => "",
            }
        );
        ask::whether(&options.consent, &question)?;
    }
    let mut shredding = Shredding::new(
        options.ticket.as_deref().unwrap_or_default(),
        options.reason.as_deref().unwrap_or_default(),
    );
    shredding.approver.clone_from(&options.approver);
    let shredded = wait(ring.admin.shred(scope, &shredding))?;
    // The scope is shredded: whatever fails from here on, what was done is told first.
    warn(&shredded.warnings);
    let tombstone = &shredded.tombstone;
    let is_stream = output.as_ref().is_some_and(Output::is_stream);
    let written = output.map(|output| {
        let receipt = wait(ring.admin.shred_receipt(scope, &verified))?;
        put(output, &receipt)
    });
    let ended = ring.end();
    let (written, failed) = match written {
        None => (None, None),
        Some(Ok(name)) => (Some(name), None),
        Some(Err(failure)) => (None, Some(failure)),
    };
    let mut object = tombstone_json(tombstone);
    if let Value::Object(object) = &mut object {
        object.insert("moves".to_owned(), moves_json(&shredded.moved));
        let counts: Vec<_> = counts.iter().map(Counted::to_json).collect();
        object.insert("counted".to_owned(), counts.into());
        object.insert("output".to_owned(), written.clone().into());
    }
    done_beside(is_stream, "keys shred", object, || {
        let mut text = match was_shredded {
            true => format!("{} was shredded already, on {}\n", scope, tombstone.at),
            false => format!("{scope} is shredded, and nothing is sealed or opened in it\n"),
        };
        text += &moves_text(&shredded.moved);
        text += &match tombstone.begun {
            None => format!(
                "its keys are destroyed by `keys tick` from {} on; until then: keys shred --scope {scope} --cancel\n",
                tombstone.due
            ),
            Some(begun) => format!("its keys are being destroyed since {begun}\n"),
        };
        if let Some(file) = &written {
            text += &format!(
                "the receipt is in {file}; take another one when the keys are destroyed: keys shred-receipt\n"
            );
        }
        text
    })?;
    match failed {
        None => ended,
        Some(failure) => Err(failure.and(&format!(
            "; {scope} is shredded all the same: take the receipt with `waxseal keys shred-receipt --scope {scope} -o FILE`"
        ))),
    }
}

fn cancel(path: &Path, actor: &Actor, scope: &Scope, options: &Shred) -> Result<()> {
    let ring = administer(path, actor, &[])?;
    let moved = wait(
        ring.admin
            .cancel_shred(scope, options.reason.as_deref().unwrap_or_default()),
    )?;
    ring.end()?;
    for one in &moved {
        warn(&one.warnings);
    }
    let object = json!({ "scope": scope.to_string(), "cancelled": true, "moves": moves_json(&moved) });
    done("keys shred", object, || {
        format!("{scope} is not shredded anymore\n{}", moves_text(&moved))
    })
}

/// Writes the receipt of a shredding, or looks at one.
pub(super) fn receipt_of(path: &Path, actor: &Actor, options: &ShredReceiptOptions) -> Result<()> {
    if let Some(file) = &options.check {
        return check(path, file);
    }
    let scope: Scope = parsed("--scope", options.scope.as_deref().unwrap_or_default())?;
    let censuses = receipts(&options.census)?;
    let ring = administer(path, actor, &[])?;
    let view = wait(ring.admin.reader().scopes(&[]))?;
    let verified = verified(&censuses, &view, false)?;
    let output = output(path, options.output.as_ref())?;
    let is_stream = output.is_stream();
    let receipt = wait(ring.admin.shred_receipt(&scope, &verified))?;
    ring.end()?;
    let name = put(output, &receipt)?;
    let object = receipt_json("output", &name, &receipt);
    show_beside(is_stream, &object, || format!("{}in {name}\n", told(&receipt)))
}

/// Verifies a receipt, and tells what it says.
fn check(path: &Path, file: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(MAX).read_to_end(&mut bytes));
    read.map_err(|error| Failure::of_io("read", file.display(), error))?;
    let receipt = ShredReceipt::from_bytes(&bytes).map_err(|error| match error.kind() {
        waxseal::ErrorKind::InvalidArgument => {
            Failure::usage_of(&format!("--check: {}", file.display()), &error)
        }
        _ => error.into(),
    })?;
    let ring = open(path)?;
    let view = wait(ring.reader.scopes(&[]))?;
    let mut authorities = view.settings().authorities().to_vec();
    authorities.push(ring.reader.trust().authority());
    receipt.verify(view.ring(), &authorities)?;
    ring.end()?;
    let object = receipt_json("input", &file.display().to_string(), &receipt);
    crate::ring::show(&object, || told(&receipt))
}

/// Where a receipt goes.
fn output(path: &Path, file: Option<&PathBuf>) -> Result<Output> {
    let own = sources(path)?;
    Output::create(file, Access::Usual, replace(&own))
}

/// Writes a receipt. Returns its name.
fn put(mut output: Output, receipt: &ShredReceipt) -> Result<String> {
    let name = output.name();
    output
        .write_all(receipt.as_bytes())
        .map_err(|error| Failure::of_io("write", &name, error))?;
    output.finish()?;
    Ok(name.to_string())
}

/// What a census says of some keys together.
struct Counted {
    started: Time,
    digest: String,
    items: u64,
    unknown: u64,
}

impl Counted {
    fn of(census: &VerifiedReceipt<'_>, keys: &[&KeyRecord]) -> Self {
        let mut counted = Self {
            started: census.receipt().started(),
            digest: census.receipt().digest().to_owned(),
            items: 0,
            unknown: 0,
        };
        for key in keys {
            let found = census.finds(key);
            counted.items = counted.items.saturating_add(found.items);
            // What does not say under which key it is counts for each.
            counted.unknown = counted.unknown.max(found.unknown);
        }
        counted
    }

    fn words(&self) -> String {
        let unknown = match self.unknown {
            0 => String::new(),
            unknown => format!(", and perhaps {} that do not say so", many(unknown, "more")),
        };
        format!(
            "the census of {} found {} under them{unknown}",
            self.started,
            many(self.items, "envelope")
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "census": self.digest,
            "started": self.started.to_string(),
            "items": self.items,
            "unknown": self.unknown,
        })
    }
}

fn moves_json(moved: &[Moved]) -> Value {
    let all = moved.iter().map(|one| move_json(one.key, Some(one.from), one.to));
    all.collect::<Vec<_>>().into()
}

fn moves_text(moved: &[Moved]) -> String {
    let line = |one: &Moved| format!("{} is {}, and was {}\n", one.key, one.to, one.from);
    moved.iter().map(line).collect()
}

/// A tombstone as each listing has it.
pub(in crate::ring) fn tombstone_json(tombstone: &Tombstone) -> Value {
    json!({
        "tombstone": tombstone.id.to_string(),
        "scope": tombstone.scope.to_string(),
        "at": tombstone.at.to_string(),
        "actor": tombstone.actor,
        "ticket": tombstone.ticket,
        "approver": tombstone.approver,
        "reason": tombstone.reason,
        "due": tombstone.due.to_string(),
        "begun": tombstone.begun.map(|begun| begun.to_string()),
        "cancelled": tombstone.cancelled.is_some(),
    })
}

/// The same as a line for people.
pub(in crate::ring) fn tombstone_line(tombstone: &Tombstone) -> String {
    let then = match (&tombstone.cancelled, tombstone.begun) {
        (Some(_), _) => "being cancelled".to_owned(),
        (None, None) => format!("its keys are destroyed from {} on", tombstone.due),
        (None, Some(begun)) => format!("its keys are destroyed since {begun}"),
    };
    format!(
        "{} on {} by {}, ticket {}: {}; {then}",
        tombstone.scope, tombstone.at, tombstone.actor, tombstone.ticket, tombstone.reason
    )
}

fn receipt_json(place: &str, name: &str, receipt: &ShredReceipt) -> Value {
    let keys = receipt.keys().iter().map(|key| {
        json!({
            "key": key.key.to_string(),
            "slot": key.slot.to_string(),
            "kek": kek_json(&key.kek.provider, &key.kek.id, &key.kek.version),
            "state": key.state.name(),
            "taken_back": key.taken_back,
            "told": key.told,
            "destruction_due": key.destruction_due.map(|due| due.to_string()),
            "destroyed": key.destroyed.map(|at| at.to_string()),
            "how": key.how,
            "counted": key.counted.iter().map(|count| json!({
                "census": count.census,
                "started": count.started.to_string(),
                "items": count.items,
                "sole": count.sole,
                "unknown": count.unknown,
            })).collect::<Vec<_>>(),
            "copies": key.copies.iter().map(|copy| json!({
                "parent": copy.parent.to_string(),
                "scope": copy.scope.to_string(),
                "kek": kek_json(&copy.kek.provider, &copy.kek.id, &copy.kek.version),
                "state": copy.state.name(),
                "opens": copy.opens,
            })).collect::<Vec<_>>(),
        })
    });
    let left = receipt.does_not_reach().iter().map(|left| {
        json!({
            "what": left.what,
            "keys": left.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "until": left.until.map(|until| until.to_string()),
            "detail": left.detail,
        })
    });
    let mut object = json!({
        "schema": report::SCHEMA,
        "command": "keys shred-receipt",
        "scope": receipt.scope().to_string(),
        "stage": receipt.stage().to_string(),
        "issued": receipt.issued().to_string(),
        "revision": receipt.revision(),
        "shredded": receipt.shredded().to_string(),
        "actor": receipt.actor(),
        "ticket": receipt.ticket(),
        "due": receipt.due().to_string(),
        "keys": keys.collect::<Vec<_>>(),
        "does_not_reach": left.collect::<Vec<_>>(),
    });
    if let Value::Object(object) = &mut object {
        object.insert(place.to_owned(), name.into());
    }
    object
}

fn told(receipt: &ShredReceipt) -> String {
    let mut text = format!(
        "{}: {}, shredded on {} by {}, ticket {}\n",
        receipt.scope(),
        receipt.stage(),
        receipt.shredded(),
        receipt.actor(),
        receipt.ticket()
    );
    for key in receipt.keys() {
        text += &match (key.destroyed, key.taken_back) {
            (Some(at), _) => format!("{} is destroyed since {at}\n", key.key),
            (None, true) => format!("{} never wrapped anything, and left the ring\n", key.key),
            (None, false) => format!("{} is {}, and not destroyed yet\n", key.key, key.state),
        };
    }
    text += "not reached:\n";
    for left in receipt.does_not_reach() {
        text += &format!("  {}: {}\n", left.what, printable(&left.detail));
    }
    text
}
