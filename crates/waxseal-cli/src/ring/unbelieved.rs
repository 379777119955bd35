//! `ring drop-unbelieved`, and provisioners that are removed although somebody goes on making keys with theirs.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use base64ct::{Base64, Encoding as _};
use serde_json::json;
use waxseal::ring::inventory::Row;
use waxseal::ring::{AuthorityKey, RecordId, RemovedProvisioners, Scope};

use super::{administer, ask, done, open, parsed, wait};
use crate::arguments::{Actor, DropUnbelieved};
use crate::failure::{Failure, Result, printable};
use crate::report::many;
use crate::warnings;

/// Deletes first keys that nobody believes, after they were written to a file.
pub(crate) fn drop_all(path: &Path, actor: &Actor, options: &DropUnbelieved) -> Result<()> {
    let scope: Option<Scope> = match &options.scope {
        Some(scope) => Some(parsed("--scope", scope)?),
        None => None,
    };
    let records = options.record.iter().map(|id| parsed("--record", id));
    let records: Vec<RecordId> = records.collect::<Result<_>>()?;
    let ring = open(path)?;
    let found = wait(ring.reader.unbelieved())?;
    ring.end()?;
    if found.scopes > 0 {
        let (scope, why) = &found.named[0];
        ask::whether(
            &options.consent,
            &format!(
                "This deletes first keys that are not believed, of up to {}, the first of which is {}: {why}.",
                many(found.scopes, "scope"),
                printable(scope.as_str())
            ),
        )?;
    }
    let mut file = create(&options.save)?;
    let ring = administer(path, actor, &[])?;
    let dropped = wait(
        ring.admin
            .drop_unbelieved(scope.as_ref(), &records, |rows| save(&mut file, rows)),
    )?;
    ring.end()?;
    for scope in &dropped.undecided {
        let _ = warnings::warning(&printable(&format!(
            "what the scope {scope} has may be its first key: there are several, or its parent cannot be believed, or a newer waxseal wrote it; find out, and name what is to go by --record"
        )));
    }
    let undecided: Vec<&str> = dropped.undecided.iter().map(Scope::as_str).collect();
    done(
        "ring drop-unbelieved",
        json!({
            "output": options.save.display().to_string(),
            "dropped": dropped.rows,
            "undecided": undecided,
        }),
        || {
            format!(
                "{} deleted, and kept in {}\n",
                many(dropped.rows, "row"),
                options.save.display()
            )
        },
    )?;
    match undecided.len() {
        0 => Ok(()),
        left => Err(Failure::attention(format!(
            "{} undecided",
            many(left as u64, "scope")
        ))),
    }
}

fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::refused(format!(
            "{} exists already, and is never overwritten",
            path.display()
        )),
        _ => Failure::of_io("create", path.display(), error),
    })
}

/// Before they are deleted they are on the disk.
fn save(file: &mut File, rows: &[&Row]) -> waxseal::Result<()> {
    let mut text = String::new();
    for row in rows {
        let line = json!({
            "id": row.id,
            "scope": row.scope,
            "body": Base64::encode_string(&row.signed.body),
            "signer": Base64::encode_string(&row.signed.signer),
            "signature": Base64::encode_string(&row.signed.signature),
        });
        text += &format!("{line}\n");
    }
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        waxseal::Error::new(waxseal::ErrorKind::Io)
            .with_detail(format!("what is to be deleted cannot be kept: {error}"))
            .with_source(error)
    })
}

/// Removes provisioners, and gives up what they make after this.
pub(super) fn give_up(path: &Path, actor: &Actor, keys: &[AuthorityKey]) -> Result<RemovedProvisioners> {
    let ring = administer(path, actor, &[])?;
    let removed = wait(ring.admin.remove_provisioners(keys, true))?;
    ring.end()?;
    for (scope, key) in &removed.named {
        let _ = warnings::warning(&printable(&format!(
            "the key {key} of scope {scope} counts no more: what was sealed under it does not open"
        )));
    }
    if removed.given_up > removed.named.len() as u64 {
        let _ = warnings::warning(&format!("so do {} in all", removed.given_up));
    }
    Ok(removed)
}
