//! `--profile` and `--profiles`, with a ring or with keys alone.

use waxseal::Builder;
use waxseal::ring::config::RingConfig;
use waxseal::ring::profile::Profiles;

use crate::arguments::Profile;
use crate::failure::{Failure, Result};
use crate::kek::Keks;

/// Lets what is demanded hold. A ring has been given its profiles already.
pub(crate) fn demand(builder: Builder, keks: &Keks, options: &Profile) -> Result<Builder> {
    if options.otherwise.is_some() && !matches!(keks, Keks::Ring(..)) {
        return Err(Failure::usage(
            "--otherwise names a scope of a ring: give the ring with --ring instead of --kek",
        ));
    }
    let builder = match (keks, &options.profiles) {
        (Keks::Ring(..), _) => builder,
        (_, Some(file)) => builder.profiles(Profiles::read(file)?),
        (_, None) if options.profile.is_some() => return Err(nowhere()),
        (_, None) => builder,
    };
    Ok(match &options.profile {
        Some(name) => builder.profile(name),
        None => builder,
    })
}

/// The profiles of a ring: of the file that the command line names, or else the ring's configuration.
pub(super) fn of_ring(config: &RingConfig, options: &Profile) -> Result<Option<Profiles>> {
    let profiles = match &options.profiles {
        Some(file) => Some(Profiles::read(file)?),
        None => config.read_profiles()?,
    };
    match (&profiles, &options.profile) {
        (None, Some(_)) => Err(nowhere()),
        (Some(profiles), Some(name)) => match profiles.get(name) {
            Some(_) => Ok(Some(profiles.clone())),
            None => Err(unknown(profiles, name)),
        },
        _ => Ok(profiles),
    }
}

fn unknown(profiles: &Profiles, name: &str) -> Failure {
    let known: Vec<_> = profiles.names().collect();
    Failure::usage(format!(
        "--profile: there is no profile {}; there are: {}",
        name.escape_debug(),
        known.join(", ")
    ))
}

fn nowhere() -> Failure {
    Failure::usage(
        "--profile needs profiles: name their file with --profiles, or in the ring's configuration (profiles = \"profiles.toml\")",
    )
}
