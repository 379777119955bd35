//! Which profiles hold: the caller's, the scope's, the context's, and all of them together.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Requirements;
use crate::ring::Scope;
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};

const PROFILE: &str = "profile";
/// The greatest number of profiles, and of scopes that have one.
pub(super) const MAX: usize = 10_000;
const MAX_NAME: usize = 64;

/// Which scopes have a profile: one scope, all below one (`tenant/*`), or all (`*`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopePattern(Pattern);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Pattern {
    All,
    One(Scope),
    Below(Scope),
}

impl ScopePattern {
    /// Key managers without a ring have no scope: only the pattern for all is theirs.
    fn is_of(&self, scope: Option<&Scope>) -> bool {
        match (&self.0, scope) {
            (Pattern::All, _) => true,
            (_, None) => false,
            (Pattern::One(one), Some(scope)) => one == scope,
            (Pattern::Below(above), Some(scope)) => {
                let rest = scope.as_str().strip_prefix(above.as_str());
                rest.is_some_and(|rest| rest.starts_with('/'))
            }
        }
    }
}

impl FromStr for ScopePattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = "it must be a scope, a scope with /* at its end for all below it, or * for all scopes";
        let wrong = || Error::argument(expected);
        let scope = |text: &str| {
            let parsed = text.parse::<Scope>();
            parsed.map_err(|error| {
                let why = error.detail().unwrap_or_default();
                Error::argument(format!("{expected}; {why}"))
            })
        };
        Ok(Self(match (text, text.strip_suffix("/*")) {
            ("*", _) => Pattern::All,
            // Without this it would be read as a scope whose name has a star.
            (_, None) if text.contains('*') => return Err(wrong()),
            (_, Some(above)) if above.contains('*') => return Err(wrong()),
            (_, Some(above)) => Pattern::Below(scope(above)?),
            (text, None) => Pattern::One(scope(text)?),
        }))
    }
}

impl fmt::Display for ScopePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pattern::All => f.write_str("*"),
            Pattern::One(scope) => write!(f, "{scope}"),
            Pattern::Below(scope) => write!(f, "{scope}/*"),
        }
    }
}

/// The profiles of a deployment, and which data has which.
///
/// For each value, up to three choose: the caller ([`Builder::profile`](crate::Builder::profile)), the scope, and a context key.
/// All that are chosen hold together, so the stricter one wins wherever they differ.
///
/// ```
/// use waxseal::EncryptionContext;
/// use waxseal::ring::profile::{Profiles, Requirements};
///
/// let profiles = Profiles::new()
///     .define("internal", Requirements::new().with_context_key("purpose"))?
///     .define("restricted", Requirements::new().in_hardware())?
///     .everywhere("internal")?
///     .by_context_key("classification", Some("internal"))?;
/// let context = EncryptionContext::new([("classification", "restricted"), ("purpose", "payroll")])?;
/// let chosen = profiles.requirements(None, None, &context)?;
/// assert_eq!(chosen.names().collect::<Vec<_>>(), ["internal", "restricted"]);
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    none: Arc<Requirements>,
    by_name: BTreeMap<String, Arc<Requirements>>,
    by_scope: Vec<(ScopePattern, String)>,
    by_context: Option<ByContext>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ByContext {
    key: String,
    otherwise: Option<String>,
}

impl Profiles {
    /// No profiles.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a profile.
    ///
    /// # Errors
    /// `InvalidArgument` if the name is not 1 to 64 of a-z, 0-9 and -, if there is a profile of that name, and for more than 10,000.
    pub fn define(mut self, name: &str, requirements: Requirements) -> Result<Self> {
        check_name(name)?;
        if self.by_name.len() >= MAX {
            return Err(Error::argument(format!("there are at most {MAX} profiles")));
        }
        if self.by_name.contains_key(name) {
            return Err(Error::argument(format!("there are two profiles {name}")));
        }
        let requirements = Arc::new(requirements.named(name));
        self.by_name.insert(name.to_owned(), requirements);
        Ok(self)
    }

    /// Demands a profile in these scopes, whatever the caller and the context choose.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no profile of that name, and for more than 10,000 patterns.
    pub fn for_scopes(mut self, scopes: ScopePattern, profile: &str) -> Result<Self> {
        self.check_defined(profile)?;
        if self.by_scope.len() >= MAX {
            return Err(Error::argument(format!(
                "at most {MAX} patterns of scopes have a profile"
            )));
        }
        self.by_scope.push((scopes, profile.to_owned()));
        Ok(self)
    }

    /// Demands a profile for everything.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no profile of that name.
    pub fn everywhere(self, profile: &str) -> Result<Self> {
        self.for_scopes(ScopePattern(Pattern::All), profile)
    }

    /// Lets the value of this context key name a profile. `otherwise` is the profile of contexts without that key; without it, such
    /// a context is refused.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty key, and if there is no profile of the name `otherwise`.
    pub fn by_context_key(mut self, key: &str, otherwise: Option<&str>) -> Result<Self> {
        if key.is_empty() {
            return Err(Error::argument("a context key is not empty"));
        }
        if let Some(profile) = otherwise {
            self.check_defined(profile)?;
        }
        self.by_context = Some(ByContext {
            key: key.to_owned(),
            otherwise: otherwise.map(str::to_owned),
        });
        Ok(self)
    }

    /// Returns the names of the profiles, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Returns a profile.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Requirements> {
        self.by_name.get(name).map(Arc::as_ref)
    }

    /// Refuses a name that no profile has.
    pub(crate) fn check_name(&self, name: &str) -> Result<()> {
        self.of_caller(name).map(|_| ())
    }

    fn check_defined(&self, name: &str) -> Result<()> {
        match self.by_name.contains_key(name) {
            true => Ok(()),
            false => Err(Error::argument(format!(
                "there is no profile {}",
                name.escape_debug()
            ))),
        }
    }

    fn of_caller(&self, name: &str) -> Result<&Arc<Requirements>> {
        self.by_name.get(name).ok_or_else(|| {
            let known: Vec<_> = self.names().collect();
            Error::configuration(format!(
                "there is no profile {}; there are: {}",
                name.escape_debug(),
                known.join(", ")
            ))
        })
    }

    /// Whether anything may not be kept in a cache.
    pub(in crate::ring) fn may_forbid_cache(&self) -> bool {
        self.by_name.values().any(|profile| profile.no_cache)
    }

    /// Returns what holds for a request: `profile` is the caller's choice, and `scope` the scope of the context, if a ring has one.
    ///
    /// # Errors
    /// `Configuration` if the caller's profile does not exist; `ProfileRefused` if the context key that names a profile is missing, or
    /// names none. The error names the context key and no value.
    pub fn requirements(
        &self,
        profile: Option<&str>,
        scope: Option<&Scope>,
        context: &EncryptionContext,
    ) -> Result<Arc<Requirements>> {
        let mut chosen: Vec<&Arc<Requirements>> = Vec::new();
        if let Some(name) = profile {
            chosen.push(self.of_caller(name)?);
        }
        let of_scope = self.by_scope.iter().filter(|(pattern, _)| pattern.is_of(scope));
        chosen.extend(of_scope.filter_map(|(_, name)| self.by_name.get(name)));
        if let Some(by_context) = &self.by_context {
            chosen.push(self.of_context(by_context, context)?);
        }
        let mut rest = chosen.into_iter();
        let Some(first) = rest.next() else {
            return Ok(Arc::clone(&self.none));
        };
        Ok(rest.fold(Arc::clone(first), |all, next| match all == *next {
            true => all,
            false => Arc::new(all.stricter(next)),
        }))
    }

    fn of_context(&self, by: &ByContext, context: &EncryptionContext) -> Result<&Arc<Requirements>> {
        let key = &by.key;
        let name = match (context.get(key), &by.otherwise) {
            (Some(value), _) => value,
            (None, Some(otherwise)) => otherwise,
            (None, None) => {
                return Err(none_chosen(format!(
                    "the context key {key} must name a profile, and the context does not have it"
                )));
            }
        };
        self.by_name.get(name).ok_or_else(|| {
            none_chosen(format!(
                "the value of the context key {key} is not the name of a profile"
            ))
        })
    }
}

fn none_chosen(why: String) -> Error {
    Error::new(ErrorKind::ProfileRefused { requirement: PROFILE }).with_detail(why)
}

pub(super) fn check_name(name: &str) -> Result<()> {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_good) {
        return Err(Error::argument(format!(
            "the name of a profile has 1 to {MAX_NAME} of a-z, 0-9 and -"
        )));
    }
    Ok(())
}
