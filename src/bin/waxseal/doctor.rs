//! `waxseal doctor`: does each key wrap and unwrap, here and now?

use std::io::Write;
use std::time::Instant;

use waxseal::kek_uri::KekUri;
use waxseal::runtime::ProcessEnvironment;
use waxseal::{Dek, EncryptionContext, Error, KeyManager, Purpose, Request};

use crate::arguments::Doctor;
use crate::failure::{Failure, Result};
use crate::{binding, kek};

/// What became of one key.
struct Finding {
    /// The URI, as it was given; it holds no secret.
    uri: String,
    kek: String,
    wrap: String,
    unwrap: String,
    millis: String,
    /// Why it does not work, if it does not.
    trouble: Option<String>,
}

/// Wraps and unwraps a canary under each key and prints a table.
pub(crate) fn run(options: &Doctor) -> Result<()> {
    let uris = kek::parse_all("--kek", &options.kek)?;
    let context = binding::context(&options.context)?;
    let findings: Vec<Finding> = uris.iter().map(|uri| examine(uri, &context)).collect();
    print(&findings).map_err(|error| Failure::of_io("write", "standard output", error))?;
    match findings
        .iter()
        .filter(|finding| finding.trouble.is_some())
        .count()
    {
        0 => Ok(()),
        bad => Err(Failure::refused(format!(
            "{bad} of {} keys do not work",
            findings.len()
        ))),
    }
}

fn examine(uri: &KekUri, context: &EncryptionContext) -> Finding {
    let mut finding = Finding {
        uri: uri.to_string(),
        kek: "-".into(),
        wrap: "-".into(),
        unwrap: "-".into(),
        millis: "-".into(),
        trouble: None,
    };
    match pollster::block_on(uri.open(&ProcessEnvironment)) {
        Ok(opened) => probe(&*opened.active, context, &mut finding),
        Err(error) => finding.fails(|finding| &mut finding.wrap, why(&error)),
    }
    finding
}

impl Finding {
    fn fails(&mut self, step: impl Fn(&mut Self) -> &mut String, why: String) {
        *step(self) = "fails".into();
        self.trouble = Some(why);
    }
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
            finding.fails(|finding| &mut finding.wrap, why(&error));
            return;
        }
    };
    finding.wrap = "works".into();
    finding.kek = wrapped.kek().to_string().escape_debug().to_string();
    match pollster::block_on(manager.unwrap(wrapped.as_wrap_ref(), &request)) {
        Ok(unwrapped) if unwrapped.dek.ct_eq(&dek) => {
            finding.unwrap = "works".into();
        }
        Ok(_) => finding.fails(|finding| &mut finding.unwrap, "it gave another data key".into()),
        Err(error) => finding.fails(|finding| &mut finding.unwrap, why(&error)),
    }
    finding.millis = format!("{:.1}", start.elapsed().as_secs_f64() * 1e3);
}

/// What an error says, on one line and without the names that the table has already.
fn why(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn print(findings: &[Finding]) -> std::io::Result<()> {
    let heads = ["KEY", "KEK", "WRAP", "UNWRAP", "MS"];
    let rows: Vec<[&str; 5]> = std::iter::once(heads)
        .chain(
            findings
                .iter()
                .map(|f| [&*f.uri, &*f.kek, &*f.wrap, &*f.unwrap, &*f.millis]),
        )
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
