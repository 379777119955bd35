//! Who does it, and whether that person is sure.

use std::io::{IsTerminal, Write};

use crate::arguments::{Actor, Consent};
use crate::failure::{Failure, Result};

/// Who does it: an option, a variable, or the login name.
pub(crate) fn actor(options: &Actor) -> Result<String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let actor = options.actor.clone().or_else(|| set("WAXSEAL_ACTOR"));
    let actor = actor.unwrap_or_else(login_name);
    if actor.is_empty() || actor.len() > 255 || actor.chars().any(char::is_control) {
        return Err(Failure::usage(
            "--actor is a name of 1 to 255 bytes without control characters",
        ));
    }
    Ok(actor)
}

/// The name of the user whose process this is, before what the environment claims.
#[cfg(unix)]
fn login_name() -> String {
    let id = rustix::process::getuid().as_raw();
    let of_list = || {
        let list = std::fs::read_to_string("/etc/passwd").ok()?;
        let is_own = |line: &&str| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(id);
        let line = list.lines().find(is_own)?;
        line.split(':').next().map(str::to_owned)
    };
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    // Those of a directory service are in no file.
    of_list()
        .filter(|name| !name.is_empty())
        .or_else(|| set("LOGNAME"))
        .or_else(|| set("USER"))
        .unwrap_or_else(|| format!("user {id}"))
}

#[cfg(not(unix))]
fn login_name() -> String {
    std::env::var("USERNAME").unwrap_or_else(|_| "unknown".into())
}

/// Asks whether to do it. Without a terminal somebody has to have said so before.
pub(crate) fn whether(consent: &Consent, question: &str) -> Result<()> {
    if consent.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::usage(format!(
            "{question} There is nobody to ask: give --yes to do it"
        )));
    }
    let mut answer = String::new();
    let asked = write!(std::io::stderr(), "{question} Type yes to do it: ")
        .and_then(|()| std::io::stdin().read_line(&mut answer));
    asked.map_err(|error| Failure::of_io("ask at", "the terminal", error))?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::refused("not done: the answer was not yes")),
    }
}
