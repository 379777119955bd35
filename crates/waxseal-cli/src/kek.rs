//! The keys of the command line.

#[cfg(feature = "ring")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use waxseal::Builder;
use waxseal::KeyManager;
use waxseal::backend::kek_uri::{KekUri, KeyManagers, Reads, open_from_environment, uris_from_environment};
use waxseal::layer::{Pace, Paced, Verified};
use waxseal::runtime::ProcessEnvironment;

#[cfg(feature = "ring")]
use crate::arguments::Profile;
use crate::arguments::{Calls, NewWraps};
use crate::failure::{Failure, Result};
use crate::prompt::Person;
use crate::stream::{Name, Place, Source};

#[cfg(feature = "ring")]
const NO_KEY: &str = "--kek is missing: name a key with it, or a ring with --ring, or set WAXSEAL_RING, WAXSEAL_KMS_URI or WAXSEAL_KMS_BACKEND";
#[cfg(not(feature = "ring"))]
const NO_KEY: &str = "--kek is missing: name a key with it, or set WAXSEAL_KMS_URI or WAXSEAL_KMS_BACKEND";

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Wraps and opens. `reads_back`: the first wrap under each version of it is opened again.
    Wraps {
        reads_back: bool,
    },
    Opens,
}

impl Role {
    /// Wraps, as the command line has it.
    pub(crate) fn wraps(calls: &Calls) -> Self {
        Self::Wraps {
            reads_back: !calls.no_read_back,
        }
    }

    /// Who is asked for a passphrase: one that wraps must not be mistyped.
    fn person(self) -> Person {
        Person {
            types_twice: self != Self::Opens,
        }
    }
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

/// The keys of `--kek` or of a ring, or of the environment if neither is given.
pub(crate) enum Keks {
    Given(Vec<KekUri>),
    Environment,
    /// Its configuration, and what restricts it.
    #[cfg(feature = "ring")]
    Ring(PathBuf, Profile),
}

#[cfg(feature = "ring")]
impl Keks {
    /// The same, under the profiles of the command line.
    pub(crate) fn restricted_by(self, profile: &Profile) -> Self {
        match self {
            Self::Ring(path, _) => Self::Ring(path, profile.clone()),
            other => other,
        }
    }
}

impl Keks {
    /// Refuses what a ring does not do.
    pub(crate) fn check(&self, wraps: &NewWraps) -> Result<()> {
        #[cfg(feature = "ring")]
        if wraps.hide_kek_id && matches!(self, Self::Ring(..)) {
            return Err(Failure::usage(
                "--hide-kek-id does not go with a ring: a census could not tell which key such an envelope is under, so none could be retired",
            ));
        }
        let _ = wraps;
        Ok(())
    }
}

/// Parses `--kek`. Without it a ring, or else the environment, has to name a key.
#[cfg_attr(
    not(feature = "ring"),
    expect(clippy::needless_pass_by_value, reason = "a ring would keep it")
)]
pub(crate) fn parse(uris: &[String], ring: Option<PathBuf>) -> Result<Keks> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    #[cfg(feature = "ring")]
    if let Some(ring) = ring.filter(|_| uris.is_empty()) {
        return Ok(Keks::Ring(ring, Profile::default()));
    }
    #[cfg(not(feature = "ring"))]
    let _: Option<PathBuf> = ring;
    match uris {
        [] if is_set("WAXSEAL_KMS_URI") || is_set("WAXSEAL_KMS_BACKEND") => Ok(Keks::Environment),
        [] => Err(Failure::usage(NO_KEY)),
        uris => parse_all("--kek", uris).map(Keks::Given),
    }
}

/// What the keys of `--kek`, or of the environment, and of more options are read from: files and descriptors.
///
/// Refuses a descriptor that is closed, before anything is opened: what the tool opens later can have its number.
pub(crate) fn sources(keks: &Keks, more: &[(&str, &[KekUri])]) -> Result<Vec<Source>> {
    let mut sources = match keks {
        Keks::Given(uris) => sources_of("--kek", uris),
        Keks::Environment => sources_of("the environment", &uris_from_environment(&ProcessEnvironment)?),
        #[cfg(feature = "ring")]
        Keks::Ring(path, profile) => {
            let mut sources = crate::ring::sources(path)?;
            let profiles = profile.profiles.iter();
            sources.extend(profiles.map(|file| Source::new("the file of profiles", Place::of(file))));
            sources
        }
    };
    for (option, uris) in more {
        sources.extend(sources_of(option, uris));
    }
    sources.iter().try_for_each(Source::check_open)?;
    Ok(sources)
}

fn sources_of(option: &str, uris: &[KekUri]) -> Vec<Source> {
    let source = |reads| match reads {
        Reads::Descriptor(number) => {
            let name = Name::Path(format!("/dev/fd/{number}").into());
            // No system has descriptors of greater numbers, so this one is closed.
            let number = i32::try_from(number).unwrap_or(i32::MAX);
            Some(Source::new(
                format!("the passphrase of {option}"),
                Place::Descriptor(number, name),
            ))
        }
        Reads::File(path) => Some(Source::new(format!("the key of {option}"), Place::of(&path))),
        // The library reads nothing else.
        _ => None,
    };
    uris.iter().flat_map(KekUri::reads).filter_map(source).collect()
}

/// The first of these wraps, and all of them open.
pub(crate) fn first_wraps(builder: Builder, keks: &Keks, role: Role) -> Result<Builder> {
    Opening { pace: None }.first_wraps(builder, keks, role)
}

/// All of these open.
pub(crate) fn open_with(builder: Builder, keks: &Keks) -> Result<Builder> {
    Opening { pace: None }.open_with(builder, keks)
}

/// How keys are opened.
pub(crate) struct Opening<'p> {
    /// The pace that the calls to all of them keep together.
    pub(crate) pace: Option<&'p Pace>,
}

impl Opening<'_> {
    /// The first of these wraps, and all of them open.
    pub(crate) fn first_wraps(&self, mut builder: Builder, keks: &Keks, mut role: Role) -> Result<Builder> {
        let keks = match keks {
            Keks::Given(keks) => keks,
            Keks::Environment => return self.of_environment(builder, role),
            #[cfg(feature = "ring")]
            Keks::Ring(path, profile) => return self.ring(builder, path, profile),
        };
        for kek in keks {
            builder = self.add(builder, role, kek)?;
            role = Role::Opens;
        }
        Ok(builder)
    }

    /// All of these open.
    pub(crate) fn open_with(&self, builder: Builder, keks: &Keks) -> Result<Builder> {
        match keks {
            Keks::Given(keks) => self.each(builder, keks, Role::Opens),
            Keks::Environment => self.of_environment(builder, Role::Opens),
            #[cfg(feature = "ring")]
            Keks::Ring(path, profile) => self.ring(builder, path, profile),
        }
    }

    #[cfg(feature = "ring")]
    fn ring(&self, builder: Builder, path: &Path, profile: &Profile) -> Result<Builder> {
        if self.pace.is_some() {
            return Err(Failure::usage(
                "--call-rate is for keys that --kek and --to name: a ring opens its keys itself, so limit the items with --rate",
            ));
        }
        crate::ring::source(builder, path, profile)
    }

    fn of_environment(&self, builder: Builder, role: Role) -> Result<Builder> {
        let opened = pollster::block_on(open_from_environment(&role.person()))?;
        Ok(self.put(builder, role, opened))
    }

    /// All of these have this role.
    pub(crate) fn each(&self, mut builder: Builder, keks: &[KekUri], role: Role) -> Result<Builder> {
        for kek in keks {
            builder = self.add(builder, role, kek)?;
        }
        Ok(builder)
    }

    /// Opens a key now: reads its variable or file.
    fn add(&self, builder: Builder, role: Role, kek: &KekUri) -> Result<Builder> {
        let opened = pollster::block_on(kek.open(&role.person()))?;
        Ok(self.put(builder, role, opened))
    }

    fn put(&self, builder: Builder, role: Role, opened: KeyManagers) -> Builder {
        let active = self.paced(opened.active);
        let builder = match role {
            Role::Wraps { reads_back: true } => builder.wrap_with(Verified::new(active)),
            Role::Wraps { reads_back: false } => builder.wrap_with(active),
            Role::Opens => builder.open_with(active),
        };
        let others = opened.also_open.into_iter();
        others
            .map(|other| self.paced(other))
            .fold(builder, Builder::open_with)
    }

    fn paced(&self, manager: Arc<dyn KeyManager>) -> Arc<dyn KeyManager> {
        match self.pace {
            Some(pace) => Arc::new(Paced::new(manager, pace.clone())),
            None => manager,
        }
    }
}

/// The ring that an option or the variable names.
#[cfg(feature = "ring")]
pub(crate) fn ring(option: Option<&PathBuf>) -> Option<PathBuf> {
    crate::ring::named(option)
}

/// How long a key manager may take.
pub(crate) fn timeout(seconds: Option<&String>) -> Result<Option<Duration>> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    // A day is more than anybody waits for.
    match seconds.parse::<f64>() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
        _ => Err(Failure::usage(
            "--timeout is a number of seconds, from 0.001 to 86400",
        )),
    }
}

/// Sets how long key managers may take.
pub(crate) fn within(builder: Builder, calls: &Calls) -> Result<Builder> {
    Ok(match timeout(calls.timeout.as_ref())? {
        Some(timeout) => builder.timeout(timeout),
        None => builder,
    })
}
