//! What a scheme of key URIs is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Clients, KeyManagers, Options};
use crate::backend::BACKENDS;
use crate::envelope::KekRef;
use crate::key::KekAdmin;
use crate::runtime::Environment;
use crate::value::error::{Error, Result};

/// A scheme of key URIs that this build knows. [`schemes`] returns all of them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Scheme {
    /// What stands before the colon, such as `aws-kms`.
    pub name: &'static str,
    /// The provider that the KEKs have in envelopes, such as `aws-kms` or `local`.
    pub provider: &'static str,
    /// The form of a URI without its options, such as `aws-kms:KEY`.
    pub form: &'static str,
    /// What the URI names, in one line.
    pub summary: &'static str,
    /// The options that may follow the `?`.
    pub options: &'static [UriOption],
    /// The environment variables that are read, besides those that the URI names.
    pub variables: &'static [&'static str],
    pub(in crate::backend) parse: Parse,
}

/// An option of a key URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UriOption {
    /// Its name, such as `region`.
    pub name: &'static str,
    /// The values it takes, such as `pairs|digest`.
    pub values: &'static str,
    /// What it does, in one line, with its default.
    pub summary: &'static str,
}

impl UriOption {
    pub(in crate::backend) const fn new(
        name: &'static str,
        values: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            name,
            values,
            summary,
        }
    }
}

/// A file or descriptor that a key is read from, see [`KekUri::reads`](super::KekUri::reads).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reads {
    /// The file at this path: a key, a passphrase, a PIN, a token or a CA certificate.
    File(PathBuf),
    /// The descriptor of this number, to its end; 0 is the standard input.
    Descriptor(u32),
}

/// How the text of a URI is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend) enum Parse {
    /// What stands between the scheme and the `?`, and the options.
    Place(fn(&str, &mut Options<'_>) -> Result<Arc<dyn Place>>),
    /// The whole URI: the scheme has its own grammar.
    #[cfg_attr(not(feature = "pkcs11"), allow(dead_code, reason = "no other scheme has one"))]
    Whole(fn(&str) -> Result<Arc<dyn Place>>),
}

/// A URI that was parsed, of any scheme. `Display` shows which KEK it names and none of its options.
#[async_trait]
pub(in crate::backend) trait Place: fmt::Debug + fmt::Display + Send + Sync {
    async fn open(&self, environment: &dyn Environment) -> Result<KeyManagers>;

    /// Opens it with a client that other URIs of the same place share.
    #[cfg_attr(not(feature = "ring"), allow(dead_code, reason = "a ring opens many KEKs"))]
    async fn open_sharing(&self, environment: &dyn Environment, clients: &Clients) -> Result<KeyManagers> {
        let _ = clients;
        self.open(environment).await
    }

    /// What its client is connected to. `None` if there is none to share.
    #[cfg_attr(not(feature = "ring"), allow(dead_code, reason = "a ring opens many KEKs"))]
    fn client(&self) -> Option<String> {
        None
    }

    /// Administers the place where the KEK is kept, with credentials of this environment.
    async fn open_admin(&self, environment: &dyn Environment) -> Result<Arc<dyn KekAdmin>> {
        let _ = environment;
        Err(Error::unsupported("administering the KEKs of this kind of URI")
            .with_detail("only a KMS, a token or a folder of key files (file:PATH) can be administered"))
    }

    /// Refuses a URI that is not good for being stored and opened later, perhaps elsewhere.
    fn check_stored(&self) -> Result<()> {
        Ok(())
    }

    /// What stands between the scheme and the options in the URI of another KEK at the same place: of the name, and with the id, that its
    /// creation returned. `None` if there can be no other.
    fn sibling(&self, name: &str, kek: &KekRef) -> Option<String>;

    /// The files and descriptors that the URI names and opening it reads.
    fn reads(&self) -> Vec<Reads> {
        Vec::new()
    }
}

impl Scheme {
    /// Whether a URI may have this option.
    pub(in crate::backend) fn takes(&self, option: &str) -> bool {
        self.options.iter().any(|known| known.name == option)
    }
}

/// Every scheme of key URIs that was compiled in.
///
/// ```
/// let names: Vec<_> = waxseal::backend::kek_uri::schemes().map(|scheme| scheme.name).collect();
/// assert!(names.contains(&"env"));
/// assert_eq!(names.contains(&"aws-kms"), cfg!(feature = "aws-kms"));
/// ```
pub fn schemes() -> impl Iterator<Item = &'static Scheme> {
    BACKENDS.iter().filter_map(|backend| backend.scheme)
}

/// The forms of all schemes that were compiled in, for an error.
pub(super) fn forms() -> String {
    let mut forms = String::new();
    let mut all = schemes().peekable();
    while let Some(scheme) = all.next() {
        if !forms.is_empty() {
            forms.push_str(if all.peek().is_some() { ", " } else { " or " });
        }
        forms.push_str(scheme.form);
    }
    forms
}
