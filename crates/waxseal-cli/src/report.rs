//! What a command says of what it did: nothing, a few lines, or JSON.
//!
//! With `--json` the result is one object on standard output, or on standard error if the payload goes to standard output.
//! An error is one object on standard error, always, and a warning one on a line of its own before it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::stream::Output;

/// The version of all JSON that the tool prints. Keys may be added to a version; none goes or changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

static JSON: AtomicBool = AtomicBool::new(false);

/// Prints JSON from now on.
pub(crate) fn as_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Whether JSON is wanted.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Prints the result of a command if JSON is wanted. `payload_on_stream` says where the payload went.
pub(crate) fn result(object: &Value, payload_on_stream: bool) -> Result<()> {
    if !is_json() {
        return Ok(());
    }
    let text = ascii(&object.to_string());
    if payload_on_stream {
        return crate::warnings::line(&text);
    }
    print(&(text + "\n"))
}

/// Adds the keys of an object to another one.
#[cfg(any(feature = "audit", feature = "ring"))]
pub(crate) fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

/// Prints text to standard output, all of it or an error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut output = Output::text()?;
    let to = output.name();
    output
        .write_all(text.as_bytes())
        .map_err(|error| Failure::of_io("write", to, error))?;
    output.finish()
}

/// Prints a line to standard error.
pub(crate) fn note(line: &str) -> Result<()> {
    writeln!(io::stderr(), "{line}").map_err(|error| Failure::of_io("write", "standard error", error))
}

/// So many of them, in words.
pub(crate) fn many(count: impl Into<u64>, what: &str) -> String {
    match count.into() {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// JSON with everything but ASCII escaped: it shows on a terminal as it is. What is not ASCII stands in
/// strings only.
pub(crate) fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() && character != '\x7f' {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_is_one_and_not_several() {
        assert_eq!(
            [0_u32, 1, 2].map(|count| many(count, "key")),
            ["0 keys", "1 key", "2 keys"]
        );
    }

    #[test]
    fn escaped_json_says_the_same() {
        let value = json!({ "ключ": "a\u{202e}b\u{1f512}\u{7f}\"\\" });
        let text = ascii(&value.to_string());
        assert!(text.is_ascii() && !text.contains('\x7f'), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
