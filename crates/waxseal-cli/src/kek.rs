//! The keys of the command line.

use waxseal::Builder;
use waxseal::backend::kek_uri::{KekUri, KeyManagers, open_from_environment};
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

/// The keys of `--kek`, or of the environment where it is not given.
pub(crate) enum Keks {
    Given(Vec<KekUri>),
    Environment,
}

/// Parses `--kek`. Without it the environment has to name a key.
pub(crate) fn parse(uris: &[String]) -> Result<Keks> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match uris {
        [] if is_set("WAXSEAL_KMS_URI") || is_set("WAXSEAL_KMS_BACKEND") => Ok(Keks::Environment),
        [] => Err(Failure::usage(
            "--kek is missing: name a key with it, or set WAXSEAL_KMS_URI or WAXSEAL_KMS_BACKEND",
        )),
        uris => parse_all("--kek", uris).map(Keks::Given),
    }
}

/// The first of these wraps, and all of them open.
pub(crate) fn first_wraps(mut builder: Builder, keks: &Keks) -> Result<Builder> {
    let Keks::Given(keks) = keks else {
        return of_environment(builder, Role::Wraps);
    };
    let mut role = Role::Wraps;
    for kek in keks {
        builder = add(builder, role, kek)?;
        role = Role::Opens;
    }
    Ok(builder)
}

/// All of these open.
pub(crate) fn open_with(builder: Builder, keks: &Keks) -> Result<Builder> {
    match keks {
        Keks::Given(keks) => each(builder, keks, Role::Opens),
        Keks::Environment => of_environment(builder, Role::Opens),
    }
}

fn of_environment(builder: Builder, role: Role) -> Result<Builder> {
    let opened = pollster::block_on(open_from_environment(&ProcessEnvironment))?;
    Ok(put(builder, role, opened))
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
    Ok(put(builder, role, opened))
}

fn put(builder: Builder, role: Role, opened: KeyManagers) -> Builder {
    let builder = match role {
        Role::Wraps => builder.wrap_with(opened.active),
        Role::Opens => builder.open_with(opened.active),
    };
    opened.also_open.into_iter().fold(builder, Builder::open_with)
}
