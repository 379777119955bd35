//! What was found, as a table or as JSON.

use std::time::SystemTime;

use serde_json::{Value, json};
use waxseal::envelope::KekRef;

use super::{DAY, Finding, State};
use crate::failure::printable;
use crate::report;

/// Older versions of one key without trouble that the table lists, the newest.
const VERSIONS: usize = 9;
const HEADS: [&str; 6] = ["KEY", "KEK", "WRAP", "UNWRAP", "MS", "STATE"];

/// Which version a KEK is, in a sentence.
pub(super) fn version(kek: &KekRef) -> String {
    match kek.version() {
        "" => printable(&kek.to_string()),
        version => format!("version {}", printable(version)),
    }
}

/// A row for each key and each of its versions, and what is wrong with them.
pub(super) fn table(findings: &[Finding], branches: Option<u64>) -> String {
    let mut rows: Vec<[String; 6]> = vec![HEADS.map(str::to_owned)];
    for finding in findings {
        let works = |works: Option<bool>| match works {
            Some(true) => "works".into(),
            Some(false) => "fails".into(),
            None => "-".into(),
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        rows.push([
            printable(&finding.uri),
            or_dash(finding.kek.as_ref().map(|kek| printable(&kek.to_string()))),
            works(finding.wraps),
            works(finding.unwraps),
            or_dash(
                finding
                    .took
                    .map(|took| format!("{:.1}", took.as_secs_f64() * 1e3)),
            ),
            or_dash(finding.state.as_ref().map(word)),
        ]);
        let mut fine = 0;
        for version in &finding.versions {
            fine += usize::from(version.trouble.is_none());
            if version.trouble.is_some() || fine <= VERSIONS {
                let kek = printable(&version.kek.to_string());
                let dash = || "-".to_owned();
                rows.push([String::new(), kek, dash(), dash(), dash(), word(&version.state)]);
            }
        }
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line += &format!("{cell:<width$}  ", width = width(column));
        }
        text += line.trim_end();
        text.push('\n');
    }
    for finding in findings {
        for trouble in &finding.troubles {
            text += &format!("\n{}: {}\n", printable(&finding.uri), printable(trouble));
        }
    }
    if let Some(branches) = branches.filter(|branches| *branches > 0) {
        text += &format!(
            "\nnot examined one by one: {}; each opens as the key does that it is wrapped under\n",
            report::many(branches, "branch key")
        );
    }
    text
}

/// The same for programs, with every version.
pub(super) fn json(findings: &[Finding], branches: Option<u64>) -> String {
    let keys: Vec<Value> = findings.iter().map(key).collect();
    let object = json!({
        "schema": report::SCHEMA,
        "command": "doctor",
        "ok": findings.iter().all(|finding| finding.troubles.is_empty()),
        "keys": keys,
        "branch_keys": branches,
    });
    report::ascii(&object.to_string()) + "\n"
}

fn key(finding: &Finding) -> Value {
    let versions: Vec<Value> = finding
        .versions
        .iter()
        .map(|version| {
            let mut shown = state(Some(&version.state));
            shown["kek"] = kek(&version.kek);
            shown["trouble"] = version.trouble.clone().into();
            shown
        })
        .collect();
    let mut shown = state(finding.state.as_ref());
    shown["key"] = finding.uri.clone().into();
    shown["kek"] = finding.kek.as_ref().map(kek).into();
    shown["wraps"] = finding.wraps.into();
    shown["unwraps"] = finding.unwraps.into();
    shown["millis"] = finding.took.map(|took| took.as_secs_f64() * 1e3).into();
    shown["troubles"] = finding.troubles.clone().into();
    shown["versions"] = versions.into();
    shown
}

fn kek(kek: &KekRef) -> Value {
    json!({
        "provider": kek.provider(),
        "id": kek.id(),
        "version": Some(kek.version()).filter(|version| !version.is_empty()),
    })
}

fn state(state: Option<&State>) -> Value {
    let (name, ends) = match state {
        None => (None, None),
        Some(State::Enabled { expires }) => (Some("enabled"), *expires),
        Some(State::Expired) => (Some("expired"), None),
        Some(State::Disabled) => (Some("disabled"), None),
        Some(State::PendingDestruction { at }) => (Some("pending_destruction"), *at),
        Some(State::Destroyed) => (Some("destroyed"), None),
        Some(State::Unknown) => (Some("unknown"), None),
        Some(State::MayNotAsk) => (Some("may_not_ask"), None),
    };
    let ends = ends.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    json!({ "state": name, "ends_at": ends.map(|at| at.as_secs()) })
}

fn word(state: &State) -> String {
    let days = |at: &SystemTime| {
        let left = at.duration_since(SystemTime::now()).unwrap_or_default();
        report::many(left.as_secs() / DAY, "day")
    };
    match state {
        State::Enabled { expires: None } => "enabled".into(),
        State::Enabled { expires: Some(at) } => format!("enabled, expires in {}", days(at)),
        State::Expired => "expired".into(),
        State::Disabled => "disabled".into(),
        State::PendingDestruction { at: Some(at) } => format!("destroyed in {}", days(at)),
        State::PendingDestruction { at: None } => "about to be destroyed".into(),
        State::Destroyed => "destroyed".into(),
        State::Unknown => "unknown".into(),
        State::MayNotAsk => "may not ask".into(),
    }
}
