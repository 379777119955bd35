//! Profiles in a file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::Profiles;
use super::choice::{ScopePattern, check_name};
use super::requirements::{Requirements, StoredContext, Wraps, class_of};
use crate::ring::config::{from_toml, place, read_text};
use crate::ring::{Period, Slot};
use crate::value::error::{Error, Result};

/// The version of the file.
const SCHEMA: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    schema: Spanned<u32>,
    everywhere: Option<Spanned<String>>,
    context_key: Option<Spanned<String>>,
    otherwise: Option<Spanned<String>>,
    #[serde(default)]
    scope: Vec<RawScope>,
    #[serde(default)]
    profile: BTreeMap<Spanned<String>, RawProfile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawScope {
    scope: Spanned<String>,
    profile: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawProfile {
    classes: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    hardware: bool,
    slots: Option<Spanned<Vec<Spanned<String>>>>,
    wraps: Option<Spanned<usize>>,
    #[serde(default)]
    context: Vec<Spanned<String>>,
    dek_age: Option<Spanned<String>>,
    #[serde(default = "yes")]
    cache: bool,
    stored_context: Option<Spanned<String>>,
    #[serde(default)]
    refuse_exposed: bool,
}

fn yes() -> bool {
    true
}

/// An error, and where the value is that caused it.
type At = (usize, Error);

impl Profiles {
    /// Reads a file of profiles. The [manual](crate::manual::profiles) has its form.
    ///
    /// # Errors
    /// `Configuration` if the file cannot be read, is no regular file, has more than 1 MiB, can be written by its group or by
    /// everybody, or is wrong: the error names line and column.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = read_text(path, "file of profiles")?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parses the text of a file of profiles; `shown` names the file in errors.
    ///
    /// # Errors
    /// `Configuration`, with line and column.
    pub fn parse(text: &str, shown: &str) -> Result<Self> {
        let raw: Raw = from_toml(text, shown)?;
        of_raw(raw).map_err(|(offset, error)| {
            let detail = error.detail().unwrap_or("it is wrong");
            Error::configuration(format!("{shown}:{}: {detail}", place(text, offset)))
        })
    }
}

fn of_raw(raw: Raw) -> Result<Profiles, At> {
    if *raw.schema.get_ref() != SCHEMA {
        let error = Error::argument(format!(
            "this library reads schema {SCHEMA}, and the file has {}",
            raw.schema.get_ref()
        ));
        return Err((raw.schema.span().start, error));
    }
    let mut profiles = Profiles::new();
    for (name, profile) in raw.profile {
        at(&name, |name| check_name(name))?;
        let requirements = requirements(&profile)?;
        profiles = at(&name, |name| profiles.define(name, requirements))?;
    }
    if let Some(name) = raw.everywhere {
        profiles = at(&name, |name| profiles.everywhere(name))?;
    }
    for RawScope { scope, profile } in raw.scope {
        let scopes: ScopePattern = at(&scope, |scope| scope.parse())?;
        profiles = at(&profile, |profile| profiles.for_scopes(scopes, profile))?;
    }
    match (raw.context_key, raw.otherwise) {
        (Some(key), None) => at(&key, |key| profiles.by_context_key(key, None)),
        (Some(key), Some(otherwise)) => at(&otherwise, |otherwise| {
            profiles.by_context_key(key.get_ref(), Some(otherwise))
        }),
        (None, Some(otherwise)) => Err((
            otherwise.span().start,
            Error::argument("otherwise needs a context-key: it is the profile of contexts without that key"),
        )),
        (None, None) => Ok(profiles),
    }
}

fn requirements(raw: &RawProfile) -> Result<Requirements, At> {
    let mut found = Requirements::new();
    if let Some(classes) = &raw.classes {
        if classes.get_ref().is_empty() {
            let error = Error::argument("classes names at least one class; leave it out to allow all");
            return Err((classes.span().start, error));
        }
        let classes = classes.get_ref().iter();
        let classes: Vec<_> = classes
            .map(|name| at(name, |name| class_of(name)))
            .collect::<Result<_, At>>()?;
        found = found.allowing(classes);
    }
    if raw.hardware {
        found = found.in_hardware();
    }
    if let Some(wraps) = wraps(raw)? {
        found = found.with_wraps(wraps);
    }
    for key in &raw.context {
        if key.get_ref().is_empty() {
            return Err((key.span().start, Error::argument("a context key is not empty")));
        }
        found = found.with_context_key(key.get_ref());
    }
    if let Some(age) = &raw.dek_age {
        let period: Period = at(age, |age| age.parse())?;
        if period.is_zero() {
            let error = Error::argument("dek-age must be longer than nothing, for example PT5M");
            return Err((age.span().start, error));
        }
        found = found.with_dek_age(period.at_most());
    }
    if !raw.cache {
        found = found.without_cache();
    }
    if let Some(stored) = &raw.stored_context {
        found = found.with_stored_context(at(stored, |stored| match stored.as_str() {
            "allowed" => Ok(StoredContext::Allowed),
            "required" => Ok(StoredContext::Required),
            "forbidden" => Ok(StoredContext::Forbidden),
            _ => Err(Error::argument(
                "stored-context is allowed, required or forbidden",
            )),
        })?);
    }
    if raw.refuse_exposed {
        found = found.refusing_exposed();
    }
    Ok(found)
}

/// All of the slots, unless it says how many.
fn wraps(raw: &RawProfile) -> Result<Option<Wraps>, At> {
    let mut slots: Vec<Slot> = Vec::new();
    if let Some(names) = &raw.slots {
        if names.get_ref().is_empty() {
            let error = Error::argument("slots names at least one slot; leave it out to demand none");
            return Err((names.span().start, error));
        }
        for name in names.get_ref() {
            let slot = at(name, |name| name.parse::<Slot>())?;
            if slots.contains(&slot) {
                return Err((name.span().start, Error::argument("slots names a slot twice")));
            }
            slots.push(slot);
        }
    }
    match (&raw.wraps, &raw.slots) {
        (Some(count), _) => at(count, |count| Wraps::in_slots(slots, *count)).map(Some),
        (None, Some(names)) => {
            let count = slots.len();
            at(names, |_| Wraps::in_slots(slots, count)).map(Some)
        }
        (None, None) => Ok(None),
    }
}

/// Does something with a value; an error is at its place.
fn at<T, R>(value: &Spanned<T>, work: impl FnOnce(&T) -> Result<R>) -> Result<R, At> {
    work(value.get_ref()).map_err(|error| (value.span().start, error))
}
