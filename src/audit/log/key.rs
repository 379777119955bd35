//! The key of a log: an Ed25519 key pair with a name, in the text forms of signed notes.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind as IoKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64ct::{Base64, Encoding};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::audit::process::host_name;
use crate::value::entropy;
use crate::value::error::{Error, Result};

/// The type of Ed25519 signatures of signed notes.
const ED25519: u8 = 1;
/// What stands before the text of a private key.
const PRIVATE: &str = "PRIVATE+KEY+";

/// The public half of a log's key. As text `NAME+ID+KEY`, which the `note` package of Go's checksum database reads too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: [u8; 32],
}

impl VerifierKey {
    /// Returns the name, which is the origin of its checkpoints.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that stands before its signatures.
    pub(super) fn id(&self) -> [u8; 4] {
        let hash = Sha256::new_with_prefix(&self.name);
        let hash = hash
            .chain_update([b'\n', ED25519])
            .chain_update(self.key)
            .finalize();
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash);
        [a, b, c, d]
    }

    pub(super) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        let key = VerifyingKey::from_bytes(&self.key);
        let (Ok(key), Ok(signature)) = (key, Signature::from_slice(signature)) else {
            return false;
        };
        key.verify_strict(text, &signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = base16ct::lower::encode_string(&self.id());
        write!(f, "{}+{id}+{}", self.name, encoded(&self.key).as_str())
    }
}

impl FromStr for VerifierKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::argument("the public key of a log is NAME+ID+KEY, as its file vkey has it");
        let (name, id, key) = parts(text.trim()).ok_or_else(wrong)?;
        let verifier = Self { name, key: *key };
        let is_weak = VerifyingKey::from_bytes(&verifier.key).map_or(true, |key| key.is_weak());
        match verifier.id() == id && !is_weak {
            true => Ok(verifier),
            false => Err(wrong()),
        }
    }
}

/// The private half of a log's key, with the name that is the log's origin. Wiped when it is dropped.
pub struct LogKey {
    name: String,
    key: SigningKey,
}

impl LogKey {
    /// Makes a new key for a log of this origin: `example.com/payments-audit`.
    ///
    /// # Errors
    /// - `InvalidArgument` if the origin is empty, or has a space, a `+` or a control character
    /// - `Entropy` if the operating system returns no randomness
    pub fn generate(origin: &str) -> Result<Self> {
        let seed = Zeroizing::new(entropy::array::<32>()?);
        Self::from_seed(origin, &seed)
    }

    /// Returns the key of a seed (the private key of RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// `InvalidArgument` if the origin is empty, or has a space, a `+` or a control character.
    pub fn from_seed(origin: &str, seed: &[u8; 32]) -> Result<Self> {
        let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if origin.is_empty() || origin.len() > 255 || origin.contains(is_bad) {
            return Err(Error::argument(
                "the origin of a log is a name such as example.com/audit: 1 to 255 bytes without spaces, + and control characters",
            ));
        }
        Ok(Self {
            name: origin.to_owned(),
            key: SigningKey::from_bytes(seed),
        })
    }

    /// Reads a key from a file, as `PRIVATE+KEY+NAME+ID+KEY`.
    ///
    /// # Errors
    /// `Configuration` if the file cannot be read, if others than its owner can read it, or if it holds no such key.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::configuration(format!(
                "cannot read the key of the log, {}: {error}",
                path.display()
            ))
            .with_source(error)
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        check_mode(&file, path)?;
        let mut text = Zeroizing::new(String::new());
        file.take(4096).read_to_string(&mut text).map_err(failed)?;
        let wrong = || {
            Error::configuration(format!(
                "{} holds no key of a log: PRIVATE+KEY+NAME+ID+KEY is expected",
                path.display()
            ))
        };
        let (name, id, seed) = text
            .trim()
            .strip_prefix(PRIVATE)
            .and_then(parts)
            .ok_or_else(wrong)?;
        let key = Self::from_seed(&name, &seed)?;
        match key.verifier().id() == id {
            true => Ok(key),
            false => Err(wrong()),
        }
    }

    /// Writes the key to a new file that only its owner can read.
    ///
    /// # Errors
    /// `Configuration` if the file cannot be made, or exists.
    pub fn write_new(&self, path: &Path) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let seed = Zeroizing::new(self.key.to_bytes());
        let id = base16ct::lower::encode_string(&self.verifier().id());
        let text = Zeroizing::new(format!(
            "{PRIVATE}{}+{id}+{}\n",
            self.name,
            encoded(&seed).as_str()
        ));
        // Under another name until it is whole, so that nobody ever finds half a key.
        let mut name = path.as_os_str().to_owned();
        let random = base16ct::lower::encode_string(&entropy::array::<8>()?);
        name.push(format!(".{random}.new"));
        let unfinished = PathBuf::from(name);
        let written = options.open(&unfinished).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // Takes the place of nothing.
            std::fs::hard_link(&unfinished, path)
        });
        let _ = std::fs::remove_file(&unfinished);
        written.map_err(|error| {
            Error::configuration(format!(
                "cannot write the key of the log, {}: {error}",
                path.display()
            ))
            .with_source(error)
        })
    }

    /// The key in the file beside a log, which is made for a log that is new.
    pub(super) fn beside(log: &Path) -> Result<Self> {
        let path = path_beside(log);
        let is_new = !log.join("checkpoint").exists();
        if !is_new || path.exists() {
            return Self::read(&path);
        }
        let random = base16ct::lower::encode_string(&entropy::array::<8>()?);
        let host: String = host_name()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
            .collect();
        let host = if host.is_empty() { "localhost" } else { &host };
        let key = Self::generate(&format!("{host}/waxseal-audit/{random}"))?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let _ = std::fs::create_dir_all(folder);
        }
        match key.write_new(&path) {
            Ok(()) => Ok(key),
            // Somebody else has made it meanwhile.
            Err(_) if path.exists() => Self::read(&path),
            Err(error) => Err(error),
        }
    }

    /// Returns the public half.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey {
            name: self.name.clone(),
            key: self.key.verifying_key().to_bytes(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.key.sign(text).to_bytes()
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Returns the file of a log's key: beside its directory, so that the directory can be given away.
fn path_beside(log: &Path) -> PathBuf {
    // `.` and `logs/.` have no name of their own.
    let log = std::path::absolute(log).unwrap_or_else(|_| log.to_owned());
    let log = log.canonicalize().unwrap_or(log);
    let mut name = log.components().as_path().as_os_str().to_owned();
    name.push(".key");
    PathBuf::from(name)
}

/// The type and the 32 bytes of a key in base64.
fn encoded(key: &[u8; 32]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 33]);
    let (kind, rest) = bytes.split_at_mut(1);
    kind.fill(ED25519);
    rest.copy_from_slice(key);
    Zeroizing::new(Base64::encode_string(&*bytes))
}

/// The name, the id and the key of `NAME+ID+KEY`.
fn parts(text: &str) -> Option<(String, [u8; 4], Zeroizing<[u8; 32]>)> {
    let (name, rest) = text.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let mut bytes = [0; 4];
    base16ct::lower::decode(id, &mut bytes)
        .ok()
        .filter(|id| id.len() == 4)?;
    let mut decoded = Zeroizing::new([0; 33]);
    let decoded = Base64::decode(key, &mut *decoded).ok()?;
    let (kind, key) = decoded.split_first()?;
    let key = Zeroizing::new(<[u8; 32]>::try_from(key).ok()?);
    (*kind == ED25519 && !name.is_empty()).then(|| (name.to_owned(), bytes, key))
}

#[cfg(unix)]
fn check_mode(file: &std::fs::File, path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(Error::io)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::configuration(format!(
            "the key of the log, {}, has mode {mode:o}, so others than its owner can use it: give it mode 600",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &std::fs::File, _: &Path) -> Result<()> {
    Ok(())
}

/// Whether an error says that a file is not there.
pub(super) fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == IoKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_from_their_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.key");
        let key = LogKey::from_seed("log.example/1", &[7; 32]).unwrap();
        key.write_new(&path).unwrap();
        assert!(key.write_new(&path).is_err());
        let read = LogKey::read(&path).unwrap();
        assert_eq!(read.verifier(), key.verifier());
        let text = key.verifier().to_string();
        assert_eq!(text.parse::<VerifierKey>().unwrap(), key.verifier());
        for bad in [
            String::new(),
            text.replacen("log.example/1", "log.example/2", 1),
            text.replacen('+', "", 1),
            format!("{text}A"),
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
        assert!(!format!("{key:?}").contains('7'));
    }

    #[test]
    fn an_origin_with_a_plus_or_a_space_is_refused() {
        for bad in ["", "a b", "a+b", "a\nb", "a\u{2003}b"] {
            assert!(LogKey::from_seed(bad, &[7; 32]).is_err(), "{bad:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.key");
        LogKey::from_seed("a", &[7; 32])
            .unwrap()
            .write_new(&path)
            .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = LogKey::read(&path).unwrap_err();
        assert!(error.to_string().contains("mode 640"), "{error}");
    }
}
