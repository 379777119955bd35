//! `waxseal doctor`: does each key wrap and unwrap, here and now, and for how much longer?

use std::io::Write;
use std::time::{Instant, SystemTime};

use waxseal::backend::kek_uri::{Administered, KeyManagers, open_from_environment};
use waxseal::runtime::ProcessEnvironment;
use waxseal::{
    EncryptionContext, Error, ErrorKind, KeyManager, key::KekDescription, key::KekState, key::Purpose,
    key::Request, value::Dek,
};

use crate::arguments::Doctor;
use crate::failure::{Failure, Result};
use crate::kek::Keks;
use crate::{binding, kek};

/// Versions of one key that are listed, the newest.
const VERSIONS: usize = 10;

/// What became of one key, or of one version of it.
#[derive(Default)]
struct Finding {
    /// The URI, as it was given; it holds no secret.
    uri: String,
    kek: Option<String>,
    wrap: Option<&'static str>,
    unwrap: Option<&'static str>,
    millis: Option<String>,
    state: Option<String>,
    /// Why it does not work, or not for long.
    trouble: Option<String>,
}

/// Wraps and unwraps a canary under each key and prints a table.
pub(crate) fn run(options: &Doctor) -> Result<()> {
    let context = binding::context(&options.context)?;
    let findings = match kek::parse(&options.kek)? {
        Keks::Given(uris) => uris
            .iter()
            .flat_map(|uri| {
                let opened = pollster::block_on(uri.open(&ProcessEnvironment));
                examine(&uri.to_string(), opened, &context)
            })
            .collect(),
        Keks::Environment => of_environment(&context),
    };
    print(&findings).map_err(|error| Failure::of_io("write", "standard output", error))?;
    let troubled = |finding: &&Finding| finding.trouble.is_some();
    match findings.iter().filter(troubled).count() {
        0 => Ok(()),
        bad => {
            let keys = findings.iter().filter(|finding| !finding.uri.is_empty()).count();
            Err(Failure::refused(format!("{bad} of {keys} keys need attention")))
        }
    }
}

/// The key of the environment, and each one that only opens.
fn of_environment(context: &EncryptionContext) -> Vec<Finding> {
    let opened = pollster::block_on(open_from_environment(&ProcessEnvironment));
    let also_open = opened
        .as_ref()
        .map(|opened| opened.also_open.clone())
        .unwrap_or_default();
    let mut findings = examine("environment", opened, context);
    for manager in also_open {
        let mut finding = named("also open");
        probe(&*manager, context, &mut finding);
        findings.push(finding);
    }
    findings
}

fn named(uri: &str) -> Finding {
    Finding {
        uri: uri.to_owned(),
        ..Finding::default()
    }
}

fn examine(uri: &str, opened: waxseal::Result<KeyManagers>, context: &EncryptionContext) -> Vec<Finding> {
    let mut finding = named(uri);
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            finding.wrap = Some("fails");
            finding.trouble = Some(why(&error));
            return vec![finding];
        }
    };
    probe(&*opened.active, context, &mut finding);
    let older = match &opened.administered {
        Some(administered) => ask(administered, &mut finding),
        None => Vec::new(),
    };
    std::iter::once(finding).chain(older).collect()
}

fn probe(manager: &dyn KeyManager, context: &EncryptionContext, finding: &mut Finding) {
    let request = Request::new(context).with_purpose(Purpose::Probe);
    let start = Instant::now();
    let wrapped = Dek::generate().and_then(|dek| {
        let wrapped = pollster::block_on(manager.wrap(&dek, &request))?;
        Ok((dek, wrapped))
    });
    let (dek, wrapped) = match wrapped {
        Ok(wrapped) => wrapped,
        Err(error) => {
            finding.wrap = Some("fails");
            finding.trouble = Some(why(&error));
            return;
        }
    };
    finding.wrap = Some("works");
    finding.kek = Some(wrapped.kek().to_string().escape_debug().to_string());
    let trouble = match pollster::block_on(manager.unwrap(wrapped.as_wrap_ref(), &request)) {
        Ok(unwrapped) if unwrapped.dek.ct_eq(&dek) => None,
        Ok(_) => Some("it gave another data key".into()),
        Err(error) => Some(why(&error)),
    };
    finding.unwrap = Some(if trouble.is_none() { "works" } else { "fails" });
    finding.trouble = trouble;
    finding.millis = Some(format!("{:.1}", start.elapsed().as_secs_f64() * 1e3));
}

/// Asks the backend about a key, and gives its older versions. Applications are often not allowed to ask, which is no
/// trouble.
fn ask(administered: &Administered, finding: &mut Finding) -> Vec<Finding> {
    let Administered { kek, admin, .. } = administered;
    let described = pollster::block_on(admin.describe_versions(kek));
    let described = match described {
        Ok(described) => described,
        Err(error) => {
            finding.state = Some(match error.kind() {
                ErrorKind::Denied => "may not ask".into(),
                ErrorKind::KeyDestroyed => "destroyed".into(),
                _ => "unknown".into(),
            });
            return Vec::new();
        }
    };
    let mut versions = described.iter();
    if let Some(active) = versions.next() {
        finding.state = Some(state(active));
        finding
            .kek
            .get_or_insert_with(|| active.kek.to_string().escape_debug().to_string());
        if active.state == KekState::PendingDestruction && finding.trouble.is_none() {
            finding.trouble = Some("what is wrapped under it is lost when it is destroyed".into());
        }
    }
    let row = |version: &KekDescription| Finding {
        kek: Some(version.kek.to_string().escape_debug().to_string()),
        state: Some(state(version)),
        ..Finding::default()
    };
    versions.take(VERSIONS - 1).map(row).collect()
}

fn state(described: &KekDescription) -> String {
    match described.state {
        KekState::Enabled => "enabled".into(),
        KekState::Disabled => "disabled".into(),
        KekState::Destroyed => "destroyed".into(),
        KekState::PendingDestruction => {
            let left = described
                .destroyed_at
                .and_then(|at| at.duration_since(SystemTime::now()).ok());
            match left {
                Some(left) => format!("destroyed in {} days", left.as_secs() / 86_400),
                None => "about to be destroyed".into(),
            }
        }
        _ => "unknown".into(),
    }
}

/// What an error says, on one line and without the names that the table has already.
fn why(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn print(findings: &[Finding]) -> std::io::Result<()> {
    let heads = ["KEY", "KEK", "WRAP", "UNWRAP", "MS", "STATE"];
    let cells = |finding: &'_ Finding| {
        let text = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "-".into());
        let word = |cell: Option<&str>| cell.unwrap_or("-").to_owned();
        [
            finding.uri.clone(),
            text(&finding.kek),
            word(finding.wrap),
            word(finding.unwrap),
            text(&finding.millis),
            text(&finding.state),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(heads.map(str::to_owned))
        .chain(findings.iter().map(cells))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let mut out = std::io::stdout().lock();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line += &format!("{cell:<width$}  ", width = width(column));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    for finding in findings {
        if let Some(trouble) = &finding.trouble {
            writeln!(out, "\n{}: {trouble}", finding.uri)?;
        }
    }
    out.flush()
}
