//! The keys of the command line.

use waxseal::Builder;
use waxseal::kek_uri::KekUri;
use waxseal::runtime::ProcessEnvironment;

use crate::failure::{Failure, Result};

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Wraps,
    Opens,
}

/// Parses the URIs of an option. All errors are usage errors.
pub(crate) fn parse_all(option: &str, uris: &[String]) -> Result<Vec<KekUri>> {
    uris.iter()
        .map(|uri| {
            uri.parse()
                .map_err(|error: waxseal::Error| Failure::usage_of(option, &error))
        })
        .collect()
}

/// The first of these wraps, and all of them open.
pub(crate) fn first_wraps(mut builder: Builder, keks: &[KekUri]) -> Result<Builder> {
    let mut role = Role::Wraps;
    for kek in keks {
        builder = add(builder, role, kek)?;
        role = Role::Opens;
    }
    Ok(builder)
}

/// All of these have this role.
pub(crate) fn each(mut builder: Builder, keks: &[KekUri], role: Role) -> Result<Builder> {
    for kek in keks {
        builder = add(builder, role, kek)?;
    }
    Ok(builder)
}

/// Opens a key now: reads its variable or file.
fn add(builder: Builder, role: Role, kek: &KekUri) -> Result<Builder> {
    let opened = pollster::block_on(kek.open(&ProcessEnvironment))?;
    let builder = match role {
        Role::Wraps => builder.wrap_with(opened.active),
        Role::Opens => builder.open_with(opened.active),
    };
    Ok(opened.also_open.into_iter().fold(builder, Builder::open_with))
}
