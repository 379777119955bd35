//! What a profile makes of a re-wrap: the floor is the profile and what opened, and never what merely stands there.

use super::Facts;
use super::requirements::Requirements;
use crate::envelope::BodyHead;
use crate::key::{Request, RewrapRules};
use crate::source::{Rewrapped, Unmet};
use crate::value::error::{Error, ErrorKind, Result};

/// A re-wrap under a profile.
pub(in crate::ring) struct Rewrap<'a> {
    demands: &'a Requirements,
    rules: RewrapRules<'a>,
    /// What the caller gives that no re-wrap mends.
    of_message: Vec<Unmet>,
    /// The keys that wrap.
    made: Vec<Facts>,
}

impl<'a> Rewrap<'a> {
    /// Refuses, before any call, what is certain to miss the profile. `made`: the keys that wrap; `stay`: wraps that stay for
    /// certain.
    ///
    /// # Errors
    /// `ProfileRefused`, unless the rules let it fall short.
    pub(in crate::ring) fn begin(
        demands: &'a Requirements,
        request: &Request<'a>,
        body: BodyHead<'_>,
        made: Vec<Facts>,
        stay: Vec<Facts>,
    ) -> Result<Self> {
        let this = Self {
            demands,
            rules: request.rewrap_rules(),
            of_message: demands.unmet_by_message(request.context(), body.has_stored_context()),
            made,
        };
        this.check(&this.unmet(stay))?;
        Ok(this)
    }

    /// Judges the result. `opened`: the key that opened; `kept`: the wraps that stayed and that no key here has made.
    ///
    /// # Errors
    /// `WouldWeaken` if a new wrap lacks what the wrap that opened has; `ProfileRefused` for what is unmet, unless the rules let it
    /// fall short.
    pub(in crate::ring) fn end(
        self,
        rewrapped: Rewrapped,
        opened: Option<&Facts>,
        kept: Vec<Facts>,
    ) -> Result<Rewrapped> {
        if let Some(opened) = opened.filter(|_| rewrapped.is_changed() && !self.rules.weakens()) {
            self.check_floor(opened)?;
        }
        let unmet = self.unmet(kept);
        self.check(&unmet)?;
        Ok(rewrapped.with_unmet(unmet))
    }

    fn unmet(&self, more: Vec<Facts>) -> Vec<Unmet> {
        let all: Vec<Facts> = self.made.iter().cloned().chain(more).collect();
        let mut unmet = self.of_message.clone();
        unmet.extend(self.demands.unmet_by_section(1, &all));
        unmet
    }

    fn check(&self, unmet: &[Unmet]) -> Result<()> {
        match self.rules.falls_short() {
            true => Ok(()),
            false => self.demands.refuse(unmet),
        }
    }

    fn check_floor(&self, opened: &Facts) -> Result<()> {
        let allows = |key: &Facts| self.demands.classes.is_none_or(|allowed| allowed.has(key.class));
        if let Some(key) = self
            .made
            .iter()
            .find(|key| opened.is_hardware() && !key.is_hardware())
        {
            return Err(weaker(
                "a wrap outside of hardware, where a wrap in hardware opened it",
                key,
            ));
        }
        match self.made.iter().find(|key| allows(opened) && !allows(key)) {
            Some(key) => Err(weaker(
                "a wrap of a class that the profile does not allow, where an allowed one opened it",
                key,
            )),
            None => Ok(()),
        }
    }
}

fn weaker(what: &'static str, key: &Facts) -> Error {
    Error::new(ErrorKind::WouldWeaken { what }).with_detail(format!(
        "it would be one under {}; wrap under another key, or allow it with RewrapRules::weakening",
        key.name
    ))
}
