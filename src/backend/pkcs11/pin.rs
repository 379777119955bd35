//! Sources of a PIN. A PIN never comes from a URI.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::backend::shared::secret_file;
use crate::runtime::{Environment, required_var};
use crate::value::error::{Error, Result};

/// Where a PIN is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinSource {
    /// In an environment variable.
    Env(String),
    /// In a file that only its owner can read. One line end at its end is removed.
    File(PathBuf),
    /// In a file that its group or others may read. One line end at its end is removed.
    SharedFile(PathBuf),
}

impl PinSource {
    /// Parses `env:VAR`, `file:PATH` or `file:///PATH`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::configuration("in the PKCS#11 URI, pin-source must be env:VAR or file:PATH");
        let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
        match scheme {
            "env" if !rest.is_empty() => Ok(Self::Env(rest.to_owned())),
            "file" => match rest.strip_prefix("//") {
                // Only an empty authority: a file of this host.
                Some(path) if path.starts_with('/') => Ok(Self::File(path.into())),
                None if !rest.is_empty() => Ok(Self::File(rest.into())),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }

    /// Reads the PIN.
    ///
    /// # Errors
    /// `Configuration` if the PIN is missing or empty, or, on Unix, if others than the owner of the file can read it.
    pub fn read(&self, environment: &dyn Environment) -> Result<SecretString> {
        let pin = match self {
            Self::Env(name) => required_var(environment, name, "the PIN (pin-source)")?,
            Self::File(path) => secret_file::read(path, "PIN file (pin-source)", false)?,
            Self::SharedFile(path) => secret_file::read(path, "PIN file (pin-source)", true)?,
        };
        if pin.expose_secret().is_empty() {
            return Err(Error::configuration("the PIN that pin-source names is empty"));
        }
        Ok(pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ProcessEnvironment;

    #[test]
    fn sources_are_told_apart() {
        assert_eq!(PinSource::parse("env:A").unwrap(), PinSource::Env("A".into()));
        for file in ["file:/run/pin", "file:///run/pin"] {
            assert_eq!(
                PinSource::parse(file).unwrap(),
                PinSource::File("/run/pin".into())
            );
        }
        for bad in [
            "",
            "1234",
            "env:",
            "file:",
            "file://host/pin",
            "|command",
            "http://pin",
        ] {
            assert!(PinSource::parse(bad).is_err(), "{bad}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused_and_one_line_end_is_not_the_pin() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        std::fs::write(&path, "12 34\n").unwrap();
        let source = PinSource::File(path.clone());
        for (mode, good) in [(0o600, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(source.read(&ProcessEnvironment).is_ok(), good, "{mode:o}");
            let shared = PinSource::SharedFile(path.clone());
            assert_eq!(shared.read(&ProcessEnvironment).unwrap().expose_secret(), "12 34");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(source.read(&ProcessEnvironment).unwrap().expose_secret(), "12 34");
        std::fs::write(&path, "\n").unwrap();
        assert!(source.read(&ProcessEnvironment).is_err());
        assert!(
            PinSource::File(dir.path().into())
                .read(&ProcessEnvironment)
                .is_err()
        );
    }
}
