//! `ring census-key`, `ring approver-key` and `ring provisioner-key`: keys that sign one kind of document for a ring, and nothing else.

use std::path::Path;

use serde_json::json;
use waxseal::ring::Authority;
use waxseal::ring::config::AuthorityFile;

use super::{done, environment, wait};
use crate::failure::{Failure, Result};

/// Makes a census key, which signs receipts.
pub(crate) fn census(path: &Path) -> Result<()> {
    let public = make(path)?;
    done(
        "ring census-key",
        json!({ "output": path.display().to_string(), "census_key": public }),
        || {
            format!(
                "the census key is {public}\nlist it where the authority is: waxseal ring set --census-key {public}\n\
                 sign with it: waxseal census PATH... --receipt FILE --key {}\n",
                path.display()
            )
        },
    )
}

/// Makes the key of an approver, which signs approvals.
pub(crate) fn approver(path: &Path) -> Result<()> {
    let public = make(path)?;
    done(
        "ring approver-key",
        json!({ "output": path.display().to_string(), "approver": public }),
        || {
            format!(
                "the approver is {public}\nlist it where the authority is: waxseal ring set --approver {public}\n\
                 sign with it: waxseal ring approve --key ID --ticket TEXT --expires TIME --signer {} -o FILE\n",
                path.display()
            )
        },
    )
}

/// Makes the key of a provisioner, which signs the first key of a scope.
pub(crate) fn provisioner(path: &Path) -> Result<()> {
    let public = make(path)?;
    done(
        "ring provisioner-key",
        json!({ "output": path.display().to_string(), "provisioner": public }),
        || {
            format!(
                "the provisioner is {public}\nlist it where the authority is: waxseal ring set --provision on-first-use --provisioner {public}\n\
                 name the file in the ring.toml of whoever makes keys on first use, above [administration]: provisioner-key = \"{}\"\n",
                path.display()
            )
        },
    )
}

/// Needs no ring: what the key signs counts once the settings of one list it.
fn make(path: &Path) -> Result<String> {
    let file = AuthorityFile::new(path, None)?;
    refuse_existing(path)?;
    let key = Authority::generate()?;
    wait(file.write_new(&key, &environment()))?;
    Ok(key.public().to_string())
}

/// Refuses to write where something is.
pub(super) fn refuse_existing(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(Failure::refused(format!(
            "{} exists already, and is never overwritten",
            path.display()
        ))),
        Err(_) => Ok(()),
    }
}

/// Reads the private half of one.
pub(crate) fn read(path: &Path) -> Result<Authority> {
    wait(AuthorityFile::new(path, None)?.read(&environment()))
}
