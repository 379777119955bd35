//! `waxseal keygen`.

use std::io::Write;

use base64ct::{Base64, Encoding};
use serde_json::json;
use waxseal::Kek;
use waxseal::backend::local::LocalKey;
use zeroize::Zeroizing;

use crate::arguments::{KeyFormat, Keygen};
use crate::failure::{Failure, Result};
use crate::report;
use crate::stream::{Access, Output, Replace, path_of};

/// Makes a key.
pub(crate) fn run(options: &Keygen) -> Result<()> {
    let kek = Kek::generate()?;
    let mut text = Zeroizing::new(match options.format {
        KeyFormat::Base64 => Base64::encode_string(kek.expose_bytes()),
        KeyFormat::Hex => base16ct::lower::encode_string(kek.expose_bytes()),
    });
    // One write and no copy that nobody wipes: both encodings leave no room for the end of the line.
    let mut line = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    line.extend_from_slice(text.as_bytes());
    line.push(b'\n');
    text.clear();
    let mut output = match path_of(options.output.as_ref()) {
        Some(path) => Output::create_new(path)?,
        None => Output::create(
            None,
            Access::Private,
            Replace {
                any_bytes: true,
                ..Replace::default()
            },
        )?,
    };
    let name = output.name();
    output
        .write_all(&line)
        .map_err(|error| Failure::of_io("write", name, error))?;
    let is_stream = output.is_stream();
    output.finish()?;
    let id = LocalKey::new(&kek).kek_id().to_owned();
    if options.print_id && !report::is_json() {
        report::note(&id)?;
    }
    let output = path_of(options.output.as_ref()).map(|path| path.display().to_string());
    report::result(
        &json!({ "schema": report::SCHEMA, "command": "keygen", "kek_id": id, "output": output }),
        is_stream,
    )
}
