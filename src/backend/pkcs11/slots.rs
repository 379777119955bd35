//! Finds the slot of the configured token, and remembers which tokens were skipped.

use std::fmt::Write;

use cryptoki::context::Pkcs11;
use cryptoki::slot::Slot;

use super::map::{self, Fault};
use super::raw::{Raw, TokenInfo};
use super::uri::TokenMatch;
use crate::value::error::{Error, ErrorKind};

/// The number of tokens that an error names.
const NAMED: usize = 8;

/// A token that was found.
pub(super) struct Found {
    pub(super) slot: Slot,
    /// What distinguishes the token from others.
    pub(super) token: String,
    pub(super) needs_login: bool,
}

/// Finds the one token that matches.
///
/// # Errors
/// `Configuration` if no token matches or several match; `Unavailable` if the token was found before (`was_there`), or if a token that
/// did not report its fields may be the right one.
pub(super) fn find(module: &Pkcs11, raw: &Raw, wanted: &TokenMatch, was_there: bool) -> Result<Found, Fault> {
    let mut found: Option<Found> = None;
    let mut passed_over = Vec::new();
    let mut has_failed = false;
    for slot in module.get_slots_with_token()? {
        let info = match raw.token_info(slot) {
            Ok(info) => info,
            // A token that does not report its fields does not match.
            Err(error) => {
                if map::is_lost_module(&error) {
                    return Err(error.into());
                }
                has_failed |= map::is_outage(&error);
                passed_over.push(format!("slot {}: {}", slot.id(), map::said(&error)));
                continue;
            }
        };
        if let Some(why) = mismatch(wanted, slot, &info) {
            passed_over.push(format!(
                "slot {}: {:?} (serial {:?}): {why}",
                slot.id(),
                info.label,
                info.serial,
            ));
            continue;
        }
        if let Some(other) = &found {
            return Err(Error::configuration(format!(
                "more than one token matches (slots {} and {}); add serial or slot-id",
                other.slot.id(),
                slot.id()
            ))
            .into());
        }
        found = Some(Found {
            slot,
            token: format!("{}\0{}\0{}", info.manufacturer, info.serial, info.label),
            needs_login: info.needs_login(),
        });
    }
    if let Some(found) = found {
        return Ok(found);
    }
    let (kind, what) = if was_there {
        (ErrorKind::Unavailable, "the token is gone")
    } else if has_failed {
        (
            ErrorKind::Unavailable,
            "no token matches, and one token did not report its fields",
        )
    } else {
        let what = "no token matches (token, serial, model, manufacturer, slot-id)";
        (ErrorKind::Configuration, what)
    };
    Err(Error::new(kind)
        .with_detail(format!("{what}; {}", told(&passed_over, module)))
        .into())
}

/// Lists the skipped tokens, for a person.
fn told(passed_over: &[String], module: &Pkcs11) -> String {
    if passed_over.is_empty() {
        let slots = module.get_all_slots().map_or(0, |slots| slots.len());
        return format!("the module has {slots} slots and no token in any of them");
    }
    let mut told = String::from("skipped: ");
    told.push_str(
        &passed_over
            .iter()
            .take(NAMED)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; "),
    );
    if passed_over.len() > NAMED {
        // Writing to a string does not fail.
        let _ = write!(told, "; and {} more", passed_over.len() - NAMED);
    }
    told
}

/// Returns why a token does not match.
fn mismatch(wanted: &TokenMatch, slot: Slot, info: &TokenInfo) -> Option<&'static str> {
    let differs =
        |wanted: &Option<String>, found: &str| wanted.as_ref().is_some_and(|wanted| wanted != found);
    if differs(&wanted.label, &info.label) {
        Some("another label")
    } else if differs(&wanted.serial, &info.serial) {
        Some("another serial")
    } else if differs(&wanted.model, &info.model) {
        Some("another model")
    } else if differs(&wanted.manufacturer, &info.manufacturer) {
        Some("another manufacturer")
    } else if wanted.slot.is_some_and(|wanted| wanted != slot.id()) {
        Some("another slot-id")
    } else if !info.is_initialized() {
        // Checked last, because an empty token has no label.
        Some("not initialized")
    } else {
        None
    }
}
