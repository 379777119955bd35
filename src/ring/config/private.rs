//! The private half of an authority in a file: in the clear for its owner alone, or sealed under a KEK.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use base64ct::{Base64UrlUnpadded, Encoding};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::written::{sync_folder, write_new};
use crate::backend::kek_uri::KekUri;
use crate::backend::shared::secret_file;
use crate::ring::Authority;
use crate::runtime::Environment;
use crate::source::{AnyOf, DekSource};
use crate::value::error::{Error, Result};
use crate::{EncryptionContext, Sealer};

/// What stands before the seed in a file.
const PREFIX: &str = "waxseal-authority-v1:";
/// The greatest length of a sealed seed.
const MAX_SEALED: usize = 128 * 1024;

/// Where the private half of an authority is kept: a file that only its owner can read (mode 0600), sealed under a KEK if there
/// is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityFile {
    path: PathBuf,
    kek: Option<String>,
}

impl AuthorityFile {
    /// A file, and the URI of the KEK under which it is sealed.
    ///
    /// # Errors
    /// `InvalidArgument` if the URI is wrong, has a relative path, or can be used once only (`passphrase-fd:`).
    pub fn new(path: impl Into<PathBuf>, kek: Option<&str>) -> Result<Self> {
        if let Some(kek) = kek {
            let uri: KekUri = kek.parse()?;
            if uri.scheme().name != "passphrase-command" {
                uri.to_stored()?;
            }
        }
        Ok(Self {
            path: path.into(),
            kek: kek.map(str::to_owned),
        })
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the URI of the KEK, if the file is sealed.
    #[must_use]
    pub fn kek(&self) -> Option<&str> {
        self.kek.as_deref()
    }

    /// The same KEK, and another file.
    #[must_use]
    pub fn at(&self, path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            kek: self.kek.clone(),
        }
    }

    /// Reads the private half.
    ///
    /// # Errors
    /// `Configuration` if the file cannot be read, has not this form, or can be read by others; those of [`KekUri::open`] and
    /// [`Sealer::open`] if it is sealed.
    pub async fn read(&self, environment: &dyn Environment) -> Result<Authority> {
        self.read_by(environment, unseen).await
    }

    /// The same by a sealer that is made of the KEK: whoever writes down that the KEK is used puts that around it.
    pub(crate) async fn read_by(
        &self,
        environment: &dyn Environment,
        sealer: impl FnOnce(AnyOf) -> Sealer,
    ) -> Result<Authority> {
        let Some(uri) = &self.kek else {
            return self.read_plain();
        };
        let wrong = || self.wrong();
        let sealed = read_sealed(&self.path)?;
        let kek: KekUri = uri.parse()?;
        let opener = sealer(AnyOf::default().open_with(kek.open(environment).await?.active));
        let opened = opener.open(&sealed, &context()?).await?;
        let text = std::str::from_utf8(&opened).map_err(|_| wrong())?;
        of_text(text).ok_or_else(wrong)
    }

    /// Reads a private half that no KEK seals.
    ///
    /// # Errors
    /// `Configuration` as [`read`](Self::read), or if it is sealed.
    pub(super) fn read_plain(&self) -> Result<Authority> {
        if self.kek.is_some() {
            return Err(Error::configuration(format!(
                "{} is sealed under a KEK, and has to be in the clear for its owner alone",
                self.path.display()
            )));
        }
        let text = secret_file::read_private(&self.path, "authority's private half")?;
        of_text(text.expose_secret()).ok_or_else(|| self.wrong())
    }

    fn wrong(&self) -> Error {
        let shown = self.path.display();
        Error::configuration(format!("{shown} does not hold the private half of an authority"))
    }

    /// Writes a new file with this private half.
    ///
    /// # Errors
    /// `Configuration` if the file exists, which is never overwritten, or cannot be written; those of [`KekUri::open`] and
    /// [`Sealer::seal`] if it is to be sealed.
    pub async fn write_new(&self, authority: &Authority, environment: &dyn Environment) -> Result<()> {
        self.write_by(authority, environment, unseen).await
    }

    /// The same by a sealer that is made of the KEK.
    pub(crate) async fn write_by(
        &self,
        authority: &Authority,
        environment: &dyn Environment,
        sealer: impl FnOnce(AnyOf) -> Sealer,
    ) -> Result<()> {
        let text = to_text(authority);
        let Some(uri) = &self.kek else {
            return write_new(&self.path, text.as_bytes(), 0o600);
        };
        let kek: KekUri = uri.parse()?;
        let managers = kek.open(environment).await?.verified();
        let sealer = sealer(AnyOf::new(managers.active));
        let sealed = sealer.seal(text.as_bytes(), &context()?).await?;
        write_new(&self.path, &sealed, 0o600)
    }

    /// Puts another file of the same folder in the place of this one.
    ///
    /// # Errors
    /// `Io` if that fails.
    pub fn replace_by(&self, other: &Self) -> Result<()> {
        fs::rename(&other.path, &self.path).map_err(Error::io)?;
        sync_folder(&self.path).map_err(Error::io)
    }
}

/// Nobody writes down that the KEK is used.
fn unseen(kek: impl DekSource + 'static) -> Sealer {
    Sealer::from_source(kek)
}

/// What it is, and not of which ring: the ring refuses every authority but its own.
fn context() -> Result<EncryptionContext> {
    EncryptionContext::new([("purpose", "waxseal-ring-authority")])
}

fn to_text(authority: &Authority) -> Zeroizing<String> {
    let seed = authority.expose_seed();
    let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(&*seed));
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + encoded.len() + 1));
    text.push_str(PREFIX);
    text.push_str(&encoded);
    text.push('\n');
    text
}

fn of_text(text: &str) -> Option<Authority> {
    let encoded = text.strip_suffix('\n').unwrap_or(text).strip_prefix(PREFIX)?;
    let mut seed = Zeroizing::new([0; 32]);
    let decoded = Base64UrlUnpadded::decode(encoded, &mut *seed).ok()?;
    (decoded.len() == 32).then(|| Authority::from_seed(&seed))
}

fn read_sealed(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let failed = |error: io::Error| {
        let what = format!(
            "cannot read the authority's private half {}: {}",
            path.display(),
            error.kind()
        );
        Error::configuration(what).with_source(error)
    };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::configuration(format!(
            "the authority's private half {} is not a regular file",
            path.display()
        )));
    }
    let mut sealed = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SEALED as u64 + 1).read_to_end(&mut sealed))
        .map_err(failed)?;
    if sealed.len() > MAX_SEALED {
        return Err(Error::configuration(format!("{} is too long", path.display())));
    }
    Ok(sealed)
}
