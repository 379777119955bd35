//! Scopes and slots: whose key it is, and which place of the wrap section it fills.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};

/// The greatest length of a scope in bytes.
const MAX_SCOPE: usize = 512;
/// The greatest length of a slot in bytes.
const MAX_SLOT: usize = 64;

/// Whose keys they are: a path such as `tenant/acme/prod`. The root, `/`, is that of everything.
///
/// A segment has any characters but control characters, braces, white space at its ends and `/`, which stands between segments. Each of
/// those, and `%`, in a value of the context becomes `%` and two hexadecimal digits in capitals for each of its bytes, such as `%25` and `%2F`: nothing else is a
/// scope, since no context has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(String);

impl Scope {
    /// Returns the root scope.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Returns the scope as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a scope is this one or lies below it. Everything lies below `/`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let below = other.0.strip_prefix(&self.0);
        self.0 == "/" || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "/" {
            return Ok(Self::root());
        }
        let is_segment = |segment: &str| {
            !segment.is_empty()
                && segment.trim() == segment
                && !segment.chars().any(|c| c.is_control() || "{}".contains(c))
        };
        if text.len() > MAX_SCOPE || !text.split('/').all(is_segment) {
            return Err(Error::argument(format!(
                "a scope is / or segments with a / between them, for example tenant/acme, of at most {MAX_SCOPE} bytes, without braces"
            )));
        }
        if let Some(segment) = text.split('/').find(|segment| !is_escaped(segment)) {
            return Err(Error::argument(format!(
                "no context has a scope with {segment}: after % come two capital hexadecimal digits, and only for what cannot stand there as it is; % becomes \
                 %25, and / within a value %2F"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Scope {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(feature = "audit")]
impl Scope {
    /// The scope for an event, of this template.
    pub(crate) fn sighted(&self, template: Option<&ScopeTemplate>) -> crate::key::SightedScope {
        crate::key::SightedScope {
            scope: self.0.clone(),
            digest: super::tree::scope_hash(self),
            values_of: template
                .map(|template| template.values_in(self))
                .unwrap_or_default(),
            template: template.map(ToString::to_string),
        }
    }
}

/// A place in the wrap section: each slot of a scope has one active key, and what is sealed is wrapped under each of
/// them. `default`, unless a section shall have several wraps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slot(String);

impl Default for Slot {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl Slot {
    /// Returns the slot as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slot {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > MAX_SLOT || !text.bytes().all(is_good) {
            return Err(Error::argument(format!(
                "a slot has 1 to {MAX_SLOT} of a-z, 0-9 and -"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Slot {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Slot> for String {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which scope a context belongs to: a scope with names of context keys in braces, such as
/// `tenant/{tenant}/{environment}`. Every context belongs to the scope `/` with the template `/`.
///
/// ```
/// use waxseal::EncryptionContext;
/// use waxseal::ring::ScopeTemplate;
///
/// let template: ScopeTemplate = "tenant/{tenant}".parse()?;
/// let context = EncryptionContext::new([("tenant", "acme"), ("table", "users")])?;
/// assert_eq!(template.scope_of(&context)?.as_str(), "tenant/acme");
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScopeTemplate {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    /// The value of this context key.
    Key(String),
}

impl Default for ScopeTemplate {
    fn default() -> Self {
        Self {
            text: "/".to_owned(),
            segments: Vec::new(),
        }
    }
}

impl ScopeTemplate {
    /// Returns whether it is one scope, whatever the context.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        !self
            .segments
            .iter()
            .any(|segment| matches!(segment, Segment::Key(_)))
    }

    /// Returns the context keys whose values stand in a scope, or may: by the places where the template has them.
    #[cfg(feature = "audit")]
    pub(crate) fn values_in(&self, scope: &Scope) -> Vec<String> {
        let places = scope.as_str().split('/').zip(&self.segments);
        let keys = places.filter_map(|(_, segment)| match segment {
            Segment::Key(key) => Some(key.clone()),
            Segment::Text(_) => None,
        });
        keys.collect()
    }

    /// Returns whether some context has this scope.
    #[must_use]
    pub fn makes(&self, scope: &Scope) -> bool {
        if self.segments.is_empty() {
            return *scope == Scope::root();
        }
        let mut found = scope.as_str().split('/');
        let fits = |segment: &Segment, found: Option<&str>| match (segment, found) {
            (Segment::Text(text), Some(found)) => text == found,
            (Segment::Key(_), Some(found)) => is_escaped(found),
            (_, None) => false,
        };
        self.segments.iter().all(|segment| fits(segment, found.next())) && found.next().is_none()
    }

    /// Returns the scope of a context.
    ///
    /// # Errors
    /// `NoKeyForScope` if the context lacks a key of the template, has an empty value there, or the scope would be too long. The
    /// error names the key and no value.
    pub fn scope_of(&self, context: &EncryptionContext) -> Result<Scope> {
        if self.segments.is_empty() {
            return Ok(Scope::root());
        }
        let mut scope = String::new();
        for segment in &self.segments {
            if !scope.is_empty() {
                scope.push('/');
            }
            match segment {
                Segment::Text(text) => scope.push_str(text),
                Segment::Key(key) => match context.get(key).filter(|value| !value.is_empty()) {
                    Some(value) => push_escaped(&mut scope, value),
                    None => {
                        return Err(Error::new(ErrorKind::NoKeyForScope).with_detail(format!(
                            "the scope template {} needs a value of the context key {key}",
                            self.text
                        )));
                    }
                },
            }
        }
        if scope.len() > MAX_SCOPE {
            return Err(Error::new(ErrorKind::NoKeyForScope).with_detail(format!(
                "the scope of this context has more than {MAX_SCOPE} bytes"
            )));
        }
        Ok(Scope(scope))
    }
}

/// Different values never become one segment.
fn push_escaped(scope: &mut String, value: &str) {
    let is_edge =
        |index: usize, c: char| c.is_whitespace() && (index == 0 || index + c.len_utf8() == value.len());
    for (index, c) in value.char_indices() {
        if "%/{}".contains(c) || c.is_control() || is_edge(index, c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                scope.push_str(&format!("%{byte:02X}"));
            }
        } else {
            scope.push(c);
        }
    }
}

/// Whether a segment is what some value becomes.
fn is_escaped(segment: &str) -> bool {
    let mut value = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            value.push(byte);
            continue;
        }
        let digits =
            [bytes.next(), bytes.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        match digits {
            [Some(high), Some(low)] => value.push(u8::try_from(high * 16 + low).unwrap_or(0)),
            _ => return false,
        }
    }
    let mut again = String::new();
    match String::from_utf8(value) {
        Ok(value) if !value.is_empty() => push_escaped(&mut again, &value),
        _ => return false,
    }
    again == segment
}

impl FromStr for ScopeTemplate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "/" {
            return Ok(Self::default());
        }
        let mut segments = Vec::new();
        for segment in text.split('/') {
            let key = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match key {
                Some(key) if !key.is_empty() && !key.contains(['{', '}']) => {
                    segments.push(Segment::Key(key.to_owned()));
                }
                Some(_) => return Err(wrong_template()),
                None => segments.push(Segment::Text(
                    segment.parse::<Scope>().map_err(|_| wrong_template())?.0,
                )),
            }
        }
        let keys: Vec<_> = segments
            .iter()
            .filter(|segment| matches!(segment, Segment::Key(_)))
            .collect();
        if keys
            .iter()
            .enumerate()
            .any(|(index, key)| keys.iter().skip(index + 1).any(|other| other == key))
        {
            return Err(Error::argument("a scope template names each context key once"));
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }
}

fn wrong_template() -> Error {
    Error::argument(
        "a scope template is / or segments with a / between them, each a text or a context key in braces, for example tenant/{tenant}",
    )
}

impl TryFrom<String> for ScopeTemplate {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ScopeTemplate> for String {
    fn from(template: ScopeTemplate) -> Self {
        template.text
    }
}

impl fmt::Display for ScopeTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope_of(template: &str, pairs: &[(&str, &str)]) -> Result<String> {
        let template: ScopeTemplate = template.parse()?;
        let context = EncryptionContext::new(pairs.iter().copied())?;
        template.scope_of(&context).map(String::from)
    }

    #[test]
    fn a_context_has_one_scope_and_two_values_never_share_one() {
        assert_eq!(scope_of("/", &[("a", "b")]).unwrap(), "/");
        assert_eq!(scope_of("t/{t}/{e}", &[("t", "x"), ("e", "y")]).unwrap(), "t/x/y");
        assert_eq!(
            scope_of("t/{t}/{e}", &[("t", "x/y"), ("e", "z")]).unwrap(),
            "t/x%2Fy/z"
        );
        assert_ne!(
            scope_of("{t}", &[("t", "a%2Fb")]).unwrap(),
            scope_of("{t}", &[("t", "a/b")]).unwrap()
        );
        assert_eq!(scope_of("{t}", &[("t", " a")]).unwrap(), "%20a");
        // What a template makes is always a scope.
        for value in [" ", "\u{1}", "{x}", "é", "/"] {
            let scope = scope_of("{t}", &[("t", value)]).unwrap();
            assert_eq!(scope.parse::<Scope>().unwrap().as_str(), scope);
            assert_ne!(scope, "/");
        }
    }

    #[test]
    fn a_template_makes_what_contexts_have_and_nothing_else() {
        let template: ScopeTemplate = "tenant/{t}/{e}".parse().unwrap();
        for value in ["x", "a/b", " a ", "%", "{", "é 🦀", "\u{1}", "%2F", "a%2fb"] {
            let scope = scope_of("tenant/{t}/{e}", &[("t", value), ("e", "1")]).unwrap();
            assert!(template.makes(&scope.parse().unwrap()), "{scope}");
        }
        for no in ["/", "tenant", "tenant/a", "tenant/a/b/c", "other/a/b"] {
            assert!(!template.makes(&no.parse().unwrap()), "{no}");
        }
        let all = ScopeTemplate::default();
        assert!(all.makes(&Scope::root()) && !all.makes(&"a".parse().unwrap()));
    }

    #[test]
    fn what_no_value_becomes_is_no_scope() {
        for bad in [
            "tenant/a%2fb",
            "tenant/a%/b",
            "tenant/%41",
            "tenant/%FF",
            "50%",
            "%20",
            "a%20b",
            "%2",
        ] {
            let good = bad == "%20";
            let parsed = bad.parse::<Scope>();
            assert_eq!(parsed.is_ok(), good, "{bad}");
            assert_eq!(bad.parse::<ScopeTemplate>().is_ok(), good, "{bad}");
            if let Err(error) = parsed {
                assert!(error.to_string().contains("after % come"), "{error}");
            }
        }
    }

    #[test]
    fn a_template_knows_which_scopes_it_makes() {
        let may = |template: &str, scope: &str| {
            let template: ScopeTemplate = template.parse().unwrap();
            template.makes(&scope.parse().unwrap())
        };
        for (template, scope) in [
            ("/", "/"),
            ("{t}", "acme"),
            ("tenant/{t}", "tenant/acme"),
            ("tenant/{t}/{e}", "tenant/acme/prod"),
            ("a/b", "a/b"),
        ] {
            assert!(may(template, scope), "{template} {scope}");
        }
        for (template, scope) in [
            ("/", "acme"),
            ("{t}", "/"),
            ("{t}", "a/b"),
            ("tenant/{t}", "/"),
            ("tenant/{t}", "tenant"),
            ("tenant/{t}", "tenants/acme"),
            ("tenant/{t}", "tenant/acme/prod"),
            ("tenant/{t}/{e}", "tenant/acme"),
        ] {
            assert!(!may(template, scope), "{template} {scope}");
        }
    }

    #[test]
    fn a_missing_key_is_no_wider_scope() {
        for pairs in [&[("a", "1")][..], &[("t", "")]] {
            let error = scope_of("tenant/{t}", pairs).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoKeyForScope);
            assert!(error.to_string().contains("context key t"), "{error}");
        }
        let long = "x".repeat(600);
        assert_eq!(
            scope_of("{t}", &[("t", &long)]).unwrap_err().kind(),
            ErrorKind::NoKeyForScope
        );
    }

    #[test]
    fn forms_that_are_wrong() {
        for bad in ["", "//", "/a", "a/", "a//b", "a/{b", " a", "a\n"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad:?}");
        }
        for bad in ["", "{}", "{a}{b}", "a/{b", "a/}", "{a}/{a}", "/{a}"] {
            assert!(bad.parse::<ScopeTemplate>().is_err(), "{bad:?}");
        }
        for bad in ["", "A", "a b", "a_b"] {
            assert!(bad.parse::<Slot>().is_err(), "{bad:?}");
        }
    }
}
