//! `ring census-key`.

use std::path::Path;

use serde_json::json;
use waxseal::ring::Authority;
use waxseal::ring::config::AuthorityFile;

use super::{done, environment, wait};
use crate::arguments::CensusKey;
use crate::failure::{Failure, Result};

/// Makes a key that signs receipts and nothing else. Needs no ring: what it signs counts once the settings of one list it.
pub(crate) fn make(options: &CensusKey) -> Result<()> {
    let path = &options.file;
    let public = make_private(path)?;
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

/// Makes a new key, and writes its private half to a new file. Returns the public half.
pub(super) fn make_private(path: &Path) -> Result<String> {
    let file = AuthorityFile::new(path, None)?;
    if path.symlink_metadata().is_ok() {
        return Err(Failure::refused(format!(
            "{} exists already, and is never overwritten",
            path.display()
        )));
    }
    let key = Authority::generate()?;
    wait(file.write_new(&key, &environment()))?;
    Ok(key.public().to_string())
}

/// Reads the private half of one.
pub(crate) fn read(path: &Path) -> Result<Authority> {
    wait(AuthorityFile::new(path, None)?.read(&environment()))
}
