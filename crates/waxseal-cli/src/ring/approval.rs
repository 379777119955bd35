//! `ring approve`, and the approvals that `rewrap` is given.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use waxseal::ErrorKind;
use waxseal::key::Authorization;
use waxseal::ring::{Approval, Expires, MAX_APPROVAL, NewApproval, RecordId};

use super::using::replace;
use super::{ask, open, parsed, show_beside, signing_key, sources, wait};
use crate::arguments::{Actor, Approve};
use crate::failure::{Failure, Result};
use crate::report;
use crate::stream::{Access, Output};

/// Signs an approval. Reads the ring, and changes nothing in it.
pub(super) fn approve(path: &Path, actor: &Actor, options: &Approve) -> Result<()> {
    let key: RecordId = parsed("--key", &options.key)?;
    let expires: Expires = parsed("--expires", &options.expires)?;
    let approver = ask::actor(actor)?;
    let signer = signing_key::read(&options.signer)?;
    signing_key::refuse_existing(&options.output)?;
    let ring = open(path)?;
    let mut new = NewApproval::new(key, &options.ticket, &approver, expires);
    if let Some(reason) = &options.reason {
        new = new.with_reason(reason);
    }
    // What cannot be written is not issued: an approval that was is in the log.
    let own = sources(path)?;
    let mut output = Output::create(Some(&options.output), Access::Usual, replace(&own))?;
    let approval = wait(new.issue(&ring.reader, &signer))?;
    ring.end()?;
    let name = output.name();
    output
        .write_all(approval.as_bytes())
        .map_err(|error| Failure::of_io("write", &name, error))?;
    let is_stream = output.is_stream();
    output.finish()?;
    let object = json!({
        "schema": report::SCHEMA,
        "command": "ring approve",
        "output": name.to_string(),
        "key": approval.key().to_string(),
        "ticket": approval.ticket(),
        "approver": approval.approver(),
        "signer": approval.signer().to_string(),
        "revision": approval.revision(),
        "issued": approval.issued().to_string(),
        "expires": approval.expires().to_string(),
        "reason": approval.reason(),
    });
    show_beside(is_stream, &object, || {
        format!(
            "a re-wrap may use the key {} until {}\nuse it: waxseal rewrap --ring RING --approval {name} ...\n",
            approval.key(),
            approval.expires()
        )
    })
}

/// Reads approvals for a re-wrap. The ring verifies them when it uses them.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<Authorization>> {
    let approvals = files.iter().map(|path| read_one(path));
    approvals.collect()
}

fn read_one(path: &Path) -> Result<Authorization> {
    let mut bytes = Vec::new();
    let limit = MAX_APPROVAL as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| Failure::of_io("read", path.display(), error))?;
    match Approval::from_bytes(&bytes) {
        Ok(approval) => Ok(approval.authorization()),
        Err(error) if error.kind() == ErrorKind::InvalidArgument => Err(Failure::usage_of(
            &format!("--approval: {}", path.display()),
            &error,
        )),
        Err(error) => Err(error.into()),
    }
}
