//! KEKs written as text.

use std::path::Path;

use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::source::Source;
use crate::backend::shared::secret_file;
use crate::runtime::{Environment, required_var, without_line_end};
use crate::value::error::{Error, Result};
use crate::value::secret::{KEY_LEN, Kek};

const EXPECTED: &str = "expected 32 random bytes as base64 (44 characters) or hex (64 characters)";

/// Decodes a KEK of 32 bytes from base64 (standard or URL-safe, padded or not) or hex, in constant time. Ignores one line end (LF or
/// CRLF) at the end.
///
/// # Errors
/// `Configuration` if the text is anything else, or is one byte repeated 32 times. The error says what is expected, and
/// never what was found.
pub fn kek_from_text(text: &SecretString) -> Result<Kek> {
    decode(text).map_err(Error::configuration)
}

/// Decodes the same, and returns the reason if the text is not a key.
fn decode(text: &SecretString) -> Result<Kek, &'static str> {
    let text = without_line_end(text.expose_secret());
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    let out = bytes.as_mut_slice();
    let decoded = match text.len() {
        64 => base16ct::mixed::decode(text, out).map(<[u8]>::len).ok(),
        44 if text.contains(['-', '_']) => Base64Url::decode(text, out).map(<[u8]>::len).ok(),
        44 => Base64::decode(text, out).map(<[u8]>::len).ok(),
        43 if text.contains(['-', '_']) => Base64UrlUnpadded::decode(text, out).map(<[u8]>::len).ok(),
        43 => Base64Unpadded::decode(text, out).map(<[u8]>::len).ok(),
        _ => None,
    };
    if decoded != Some(KEY_LEN) {
        return Err(EXPECTED);
    }
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        return Err("the key is one byte repeated; make one with `waxseal keygen`");
    }
    Ok(Kek::from_bytes(&bytes))
}

/// Reads a KEK from a variable.
pub(super) fn kek_from_var(environment: &dyn Environment, name: &str) -> Result<Kek> {
    let what = "32 random bytes as base64 or hex: `waxseal keygen` makes a key";
    decode(&required_var(environment, name, what)?)
        .map_err(|why| Error::configuration(format!("the environment variable {name} holds no key: {why}")))
}

/// Reads a KEK from the place that a URI names.
pub(super) async fn kek_from_source(source: &Source, environment: &dyn Environment) -> Result<Kek> {
    match source {
        Source::Variable(name) => kek_from_var(environment, name),
        Source::File { path, allow_shared } => kek_from_file(path, *allow_shared),
        _ => kek_from_text(&source.read(environment, None).await?),
    }
}

/// Reads a KEK from a file, in the form of [`kek_from_text`].
pub(super) fn kek_from_file(path: &Path, allow_shared: bool) -> Result<Kek> {
    let text = secret_file::read(path, "key file", allow_shared)?;
    let shown = path.display();
    decode(&text).map_err(|why| Error::configuration(format!("the key file {shown} holds no key: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Kek> {
        kek_from_text(&SecretString::from(text))
    }

    #[test]
    fn base64_and_hex_of_32_bytes_are_taken() {
        let bytes: [u8; 32] = std::array::from_fn(|i| 0xf0 ^ u8::try_from(i).unwrap());
        let texts = [
            Base64::encode_string(&bytes),
            Base64Unpadded::encode_string(&bytes),
            Base64Url::encode_string(&bytes),
            Base64UrlUnpadded::encode_string(&bytes),
            hex::encode(bytes),
            hex::encode_upper(bytes),
            format!("{}\n", Base64::encode_string(&bytes)),
            format!("{}\r\n", hex::encode(bytes)),
        ];
        for text in texts {
            assert_eq!(parse(&text).unwrap().expose_bytes(), &bytes, "{text}");
        }
    }

    // spec: ALG-4
    #[test]
    fn anything_else_says_what_is_expected_and_not_what_was_found() {
        let bytes: Vec<u8> = (0..33).collect();
        for text in [
            String::new(),
            "hunter2".into(),
            "CANARY".repeat(11)[..64].into(),
            "CANARY!".repeat(7)[..44].into(),
            Base64::encode_string(&bytes),
            hex::encode(&bytes[..31]),
            hex::encode([0; 32]),
            format!(" {}", hex::encode(&bytes[..32])),
            format!("{} ", hex::encode(&bytes[..32])),
            format!("{}\n\n", hex::encode(&bytes[..32])),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(!error.to_string().contains("CANARY"));
            assert!(
                error.to_string().contains("expected 32") || error.to_string().contains("keygen"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_variable_with_a_bad_key_says_what_is_bad_about_it() {
        #[derive(Debug)]
        struct Zeros;
        impl Environment for Zeros {
            fn var(&self, _: &str) -> Result<Option<SecretString>> {
                Ok(Some(hex::encode([0; 32]).into()))
            }
        }
        let error = kek_from_var(&Zeros, "KEK").unwrap_err().to_string();
        assert!(
            error.contains("KEK") && error.contains("one byte repeated"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek");
        std::fs::write(&path, hex::encode((0..32).collect::<Vec<u8>>())).unwrap();
        for (mode, good) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o660, false),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(kek_from_file(&path, false).is_ok(), good, "{mode:o}");
            assert!(kek_from_file(&path, true).is_ok());
        }
        assert!(kek_from_file(dir.path(), true).is_err());
        let device = kek_from_file(Path::new("/dev/zero"), true).unwrap_err();
        assert!(device.to_string().contains("not a regular file"), "{device}");
        assert!(kek_from_file(&dir.path().join("missing"), true).is_err());
    }
}
