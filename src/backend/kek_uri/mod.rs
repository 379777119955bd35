//! Key managers by configuration: one line of text names a KEK, wherever it is kept.
//!
//! | URI | KEK |
//! |---|---|
//! | `env:NAME` | 32 random bytes in an environment variable, as base64 or hex |
//! | `file:PATH[?allow-shared=true]` | the same in a file |
//! | `passphrase-env:NAME[?kdf=pbkdf2\|argon2id&iterations=N&memory=KIB&passes=N&lanes=N&name=TEXT]` | derived from a passphrase in an environment variable |
//! | `passphrase-file:PATH[?allow-shared=true&kdf=…]` | from one in a file |
//! | `passphrase-fd:N[?kdf=…]` | from one that is read to the end of descriptor N; 0 is the standard input |
//! | `passphrase-command:COMMAND[?kdf=…]` | from one that a program writes to its standard output |
//! | `passphrase-prompt:[?kdf=…]` | from one that a person types, if the program can ask one |
//! | `azure-key-vault:https://HOST/keys/NAME[/VERSION][?algorithm=RSA-OAEP-256\|A256KW&credential=workload\|managed\|secret\|developer&ca=PATH&verify-challenge=on\|off&refresh=SECONDS&api-version=V]` | a key of Azure Key Vault or Managed HSM (feature `azure-key-vault`) |
//! | `aws-kms:KEY[?region=R&endpoint=URL&context=pairs\|digest&refresh=SECONDS]` | a key of AWS KMS, by id, ARN or `alias/NAME` (feature `aws-kms`) |
//! | `gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K[?endpoint=URL&credentials=default\|anonymous]` | a key of Google Cloud KMS (feature `gcp-kms`) |
//! | `vault-transit:KEY[?addr=URL&mount=transit&namespace=N&auth=token\|approle\|kubernetes\|jwt&role=R&auth-mount=PATH&jwt-file=PATH&mode=encrypt\|datakey]` | a key of HashiCorp Vault or OpenBao Transit (feature `vault-transit`) |
//! | `pkcs11:token=T;object=LABEL[;id=%01]?module-path=PATH&pin-source=env:VAR\|file:PATH` | a key on a PKCS#11 token, by an RFC 7512 URI (feature `pkcs11`) |
//!
//! [`schemes`] lists those that were compiled in, with their options and the variables that they read.
//!
//! # Secrets
//! No URI holds a secret: the URI names where one is. One rule holds for every secret that is read as text (keys, passphrases,
//! PINs and tokens, from variables, files, descriptors, commands and prompts): *one line end at its end, LF or CRLF, is not part
//! of it, and everything else is*. A passphrase that then still ends in white space is taken as it is, with a warning through
//! `tracing`. Secrets have at most 1 KiB.
//!
//! A file with a secret is refused if its group or others have any right to it. `allow-shared=true` accepts it: a
//! secret volume of Kubernetes with `fsGroup` has mode 0440. Links are followed.
//!
//! `passphrase-command:` starts the program itself, without a shell: words are separated by spaces, and nothing is quoted or
//! expanded. If that is not enough, or in a list of URIs that spaces separate, name a script. It has an empty standard input, the standard error of this process,
//! and 60 seconds, and must end with status 0. `passphrase-fd:` waits for the end of its input for 60 seconds at most.
//! It opens `/dev/fd/N` unless the program hands over the descriptor through [`Environment::descriptor`], which documents the
//! difference.
//! `passphrase-prompt:` asks through [`Environment::ask`].
//!
//! Without `kdf` a passphrase wraps with PBKDF2 and opens what either KDF has wrapped.
//!
//! # Variables
//! `azure-key-vault:` reads the variables of Azure's own tools: `AZURE_CLIENT_ID`,
//! `AZURE_TENANT_ID`, `AZURE_CLIENT_SECRET`, `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_AUTHORITY_HOST`, `IDENTITY_ENDPOINT` with
//! `IDENTITY_HEADER`; and `SSL_CERT_FILE` if there is no `ca`. `verify-challenge=off` is for vaults outside Azure's domains.
//! With `endpoint=https://HOST` the key may be a bare `NAME`.
//!
//! `vault-transit:` reads `VAULT_ADDR` if there is no `addr`, `VAULT_NAMESPACE` and `VAULT_CACERT` if they are set, and for the login `VAULT_TOKEN`, `VAULT_SECRET_ID` (AppRole; `role` is the role id) or `VAULT_JWT`; Kubernetes reads the pod's
//! token. With `auth=jwt`, `jwt-file` names a file with the token instead, which is read again at each login. `auth-mount` is
//! the path of a login method below `auth/`, if that is not the name of the method.
//!
//! `aws-kms:` finds credentials, and the region if neither `region` nor an ARN names it, where every AWS program does:
//! the `AWS_*` variables of the process, the shared files with their profiles, web identity, the role of the container or
//! machine. `gcp-kms:` uses Application Default Credentials; `credentials=anonymous` is for emulators.
//!
//! Options follow the last `?`, each once.

mod clients;
mod options;
mod scheme;
mod variables;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

#[cfg_attr(
    not(feature = "ring"),
    allow(unused_imports, reason = "a ring opens many KEKs")
)]
pub(crate) use clients::Clients;
#[cfg(any(feature = "aws-kms", feature = "gcp-kms", feature = "vault-transit"))]
pub(in crate::backend) use options::Endpoint;
pub(in crate::backend) use options::Options;
use scheme::forms;
pub(in crate::backend) use scheme::{Parse, Place};
pub use scheme::{Reads, Scheme, UriOption, schemes};
use secrecy::SecretString;
pub use variables::{open_from_environment, uris_from_environment};

use crate::backend::local::kek_from_text;
use crate::backend::{BACKENDS, Backend};
use crate::envelope::KekRef;
use crate::key::{KekAdmin, KeyManager};
use crate::layer::Verified;
use crate::runtime::{Environment, ProcessEnvironment};
use crate::value::error::{Error, Result};

/// A parsed key URI: it names a KEK, and nothing was read yet. The grammar is that of [`kek_uri`](self).
///
/// ```
/// use waxseal::backend::kek_uri::KekUri;
///
/// let uri: KekUri = "env:WAXSEAL_KEK".parse()?;
/// assert!("env:WAXSEAL KEK".parse::<KekUri>().is_err());
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone)]
pub struct KekUri {
    scheme: &'static Scheme,
    place: Arc<dyn Place>,
    /// As it was given.
    text: Arc<str>,
}

/// The key managers that a URI opens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyManagers {
    /// Wraps, and opens what it has wrapped.
    pub active: Arc<dyn KeyManager>,
    /// Open and never wrap: other algorithms of the same KEK.
    pub also_open: Vec<Arc<dyn KeyManager>>,
    /// Administers the KEK of `active`; `None` for a local KEK.
    pub administered: Option<Administered>,
}

/// A KEK and its administration, with the credentials of an application. These credentials should have no right to more than describing,
/// and often have not even that.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Administered {
    /// The KEK as it was configured: an alias is not resolved.
    pub kek: KekRef,
    /// Administers KEKs at the same place.
    pub admin: Arc<dyn KekAdmin>,
}

impl KeyManagers {
    pub(in crate::backend) fn one(active: impl KeyManager + 'static) -> Self {
        Self {
            active: Arc::new(active),
            also_open: Vec::new(),
            administered: None,
        }
    }

    /// Reads back the first wrap under each KEK version, see [`Verified`]: so a KEK that cannot unwrap is found before anything is
    /// sealed. A local key is left as it is, because it always unwraps.
    #[must_use]
    pub fn verified(mut self) -> Self {
        if self.administered.is_some() {
            self.active = Arc::new(Verified::new(self.active));
        }
        self
    }

    #[cfg(any(
        feature = "aws-kms",
        feature = "azure-key-vault",
        feature = "gcp-kms",
        feature = "pkcs11",
        feature = "vault-transit"
    ))]
    pub(in crate::backend) fn administered(
        mut self,
        kek_id: &str,
        admin: impl KekAdmin + 'static,
    ) -> Result<Self> {
        self.administered = Some(Administered {
            kek: KekRef::new(admin.provider(), kek_id, "")?,
            admin: Arc::new(admin),
        });
        Ok(self)
    }
}

impl FromStr for KekUri {
    type Err = Error;

    /// Parses a URI. The error names the part that is wrong and quotes nothing that may be a secret by mistake.
    fn from_str(uri: &str) -> Result<Self> {
        Self::parse(uri, &[])
    }
}

impl KekUri {
    /// Parses a URI, some of whose options have the values of variables.
    fn parse(uri: &str, sources: &[(&'static str, &'static str)]) -> Result<Self> {
        let (name, rest) = uri
            .split_once(':')
            .ok_or_else(|| Error::argument(format!("a key is named as {}", forms())))?;
        let backend = BACKENDS.iter().find(|backend| backend.name == name);
        let (place, options) = rest.rsplit_once('?').unwrap_or((rest, ""));
        // The alphabet of base64 has letters, hyphens and the slash, so a KMS's name of a key can look like one.
        let may_be_text = backend.is_none_or(|backend| backend.feature.is_none());
        if may_be_text && kek_from_text(&SecretString::from(place)).is_ok() {
            return Err(Error::argument(format!(
                "a key itself stands where the name of its place belongs; keep keys off command lines and out of \
                 configuration, and use {}",
                forms()
            )));
        }
        let Some(backend) = backend else {
            // A passphrase can have a colon in it, so only what looks like a scheme is quoted.
            return Err(Error::argument(match options::is_name(name) {
                true => format!("the scheme {name}: is not known; use {}", forms()),
                false => format!("the part before ':' is no scheme; use {}", forms()),
            }));
        };
        let scheme = backend.scheme.ok_or_else(|| not_compiled_in(backend))?;
        let place = match scheme.parse {
            Parse::Whole(parse) => parse(uri)?,
            Parse::Place(parse) => {
                let mut options = Options::parse(options, scheme)?.with_sources(sources);
                let parsed = parse(place, &mut options)?;
                options.end()?;
                parsed
            }
        };
        Ok(Self {
            scheme,
            place,
            text: uri.into(),
        })
    }
}

fn not_compiled_in(backend: &Backend) -> Error {
    Error::unsupported("a key of this backend").with_detail(format!(
        "{}: was not compiled in; add the feature `{}` of waxseal",
        backend.name,
        backend.feature.unwrap_or(backend.name)
    ))
}

impl KekUri {
    /// Returns the scheme.
    #[must_use]
    pub fn scheme(&self) -> &'static Scheme {
        self.scheme
    }

    /// Returns the provider that the KEK has in envelopes, such as `aws-kms`, or `local` for keys of files, variables and passphrases.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.scheme.provider
    }

    /// Returns the URI as a text to be stored, in an inventory of keys for example, and parsed and opened again later, with the
    /// credentials of the environment that it is then opened in.
    ///
    /// The text has no secrets: no URI does, and [parsing](str::parse) refuses addresses and PINs that would be. What is
    /// stored may be read and changed by others, and opened in another process: so a URI that starts a program, names a descriptor or has a
    /// relative path is refused.
    ///
    /// ```
    /// use waxseal::backend::kek_uri::KekUri;
    ///
    /// let uri: KekUri = "file:/run/secrets/kek?allow-shared=true".parse()?;
    /// assert_eq!(uri.to_stored()?, "file:/run/secrets/kek?allow-shared=true");
    /// let uri: KekUri = "passphrase-command:pass show backup".parse()?;
    /// assert!(uri.to_stored().is_err());
    /// # Ok::<(), waxseal::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for `passphrase-command:`, `passphrase-fd:`, and the relative path of a key or passphrase.
    pub fn to_stored(&self) -> Result<&str> {
        self.place.check_stored()?;
        Ok(&self.text)
    }

    /// Returns the URI of another KEK at the same place, with the same options: `name` is the name that the KEK was
    /// [created](KekAdmin::create) with, and `kek` is what its creation returned.
    ///
    /// ```
    /// use waxseal::backend::kek_uri::KekUri;
    /// use waxseal::envelope::KekRef;
    ///
    /// let uri: KekUri = "file:/run/secrets/kek?allow-shared=true".parse()?;
    /// let made = KekRef::new("local", "AAAAAAAAAAAAAAAAAAAAAA", "")?;
    /// assert_eq!(uri.sibling("kek-2", &made)?.to_stored()?, "file:/run/secrets/kek-2?allow-shared=true");
    /// # Ok::<(), waxseal::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Unsupported` for a variable and a passphrase; `InvalidArgument` if `kek` has another provider, or the name or id is not one of
    /// this kind of URI.
    pub fn sibling(&self, name: &str, kek: &KekRef) -> Result<Self> {
        if kek.provider() != self.provider() {
            return Err(Error::argument("the other KEK has another provider than the URI"));
        }
        let place = self
            .place
            .sibling(name, kek)
            .ok_or_else(|| Error::unsupported("another KEK at the place of this kind of URI"))?;
        let parts = match self.scheme.parse {
            Parse::Place(_) => self.text.rsplit_once('?'),
            Parse::Whole(_) => self.text.split_once('?'),
        };
        let options = match parts {
            Some((_, options)) => format!("?{options}"),
            None => String::new(),
        };
        let sibling: Self = format!("{}:{place}{options}", self.scheme.name).parse()?;
        Ok(sibling)
    }

    /// Opens the key manager [pinned](KeyManager::pinned_to) to a KEK and version that were resolved earlier: what it wraps
    /// is under this KEK and version, whatever the backend's newest version is, and wherever an alias leads by now.
    ///
    /// `kek` comes from configuration or from a record whose signature was verified, and never from an envelope.
    ///
    /// # Errors
    /// `InvalidArgument` if `kek` is not the KEK that the URI names; else the same kinds as [`open`](Self::open), under the same
    /// conditions.
    ///
    /// # Cancel safety
    /// Dropping the future ends a command that is running, and leaves nothing else behind.
    pub async fn open_pinned(&self, environment: &dyn Environment, kek: &KekRef) -> Result<KeyManagers> {
        let mut opened = self.open(environment).await?;
        opened.active = opened.active.pinned_to(kek)?;
        Ok(opened)
    }

    /// Opens the key manager pinned to a KEK, as [`open_pinned`](Self::open_pinned), with a client that the KEKs of one place share.
    #[cfg(feature = "ring")]
    pub(crate) async fn open_sharing(
        &self,
        environment: &dyn Environment,
        clients: &Clients,
    ) -> Result<KeyManagers> {
        self.place.open_sharing(environment, clients).await
    }

    /// What its client is connected to. `None` if there is none to share.
    #[cfg(feature = "ring")]
    pub(crate) fn client(&self) -> Option<String> {
        self.place.client()
    }

    /// Opens the administration of the place where the KEK is kept, with the credentials of this environment, which should be others
    /// than those of an application that seals. For `file:PATH` this is [`LocalAdmin`](crate::backend::local::LocalAdmin) of the folder.
    ///
    /// # Errors
    /// `Unsupported` for a variable and a passphrase; else the same kinds as [`open`](Self::open), under the same conditions.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn open_admin(&self, environment: &dyn Environment) -> Result<Arc<dyn KekAdmin>> {
        self.place.open_admin(environment).await
    }

    /// Returns the files and descriptors that the URI names and that [`open`](Self::open) or the opened key reads. A program that reads or
    /// writes one of them too would take a key for its input, or overwrite the key.
    ///
    /// Files that variables name, such as `SSL_CERT_FILE`, are not among them.
    ///
    /// ```
    /// use waxseal::backend::kek_uri::{KekUri, Reads};
    ///
    /// let uri: KekUri = "file:/run/secrets/kek".parse()?;
    /// assert_eq!(uri.reads(), [Reads::File("/run/secrets/kek".into())]);
    /// # Ok::<(), waxseal::Error>(())
    /// ```
    #[must_use]
    pub fn reads(&self) -> Vec<Reads> {
        self.place.reads()
    }

    /// Returns whether [`open`](Self::open) reads the standard input to its end, so that nothing else can read it.
    #[must_use]
    pub fn reads_standard_input(&self) -> bool {
        self.reads().contains(&Reads::Descriptor(0))
    }

    /// Opens the key manager: reads variables and files now.
    ///
    /// # Errors
    /// `Configuration` if a variable is not set or a file cannot be read, with what to do about it; `TimedOut` if a
    /// descriptor or command does not end in time.
    ///
    /// # Cancel safety
    /// Dropping the future ends a command that is running, and leaves nothing else behind.
    pub async fn open(&self, environment: &dyn Environment) -> Result<KeyManagers> {
        self.place.open(environment).await
    }
}

impl fmt::Debug for KekUri {
    // Not the options, and not the arguments of a command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KekUri({})", self.place)
    }
}

impl fmt::Display for KekUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

/// Opens the key manager that a URI names, with the environment of this process.
///
/// If a URI opens several key managers (a passphrase without a named KDF), returns the key manager that wraps; use
/// [`KekUri::open`] for all of them.
///
/// ```
/// # use waxseal::{Sealer, backend::kek_uri::open_key_manager};
/// # async fn example() -> waxseal::Result<()> {
/// let sealer = Sealer::new(open_key_manager("env:WAXSEAL_KEK").await?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `InvalidArgument` if the URI is invalid; else the same kinds as [`KekUri::open`], under the same conditions.
///
/// # Cancel safety
/// Dropping the future leaves nothing behind.
pub async fn open_key_manager(uri: &str) -> Result<Arc<dyn KeyManager>> {
    let opened = uri.parse::<KekUri>()?.open(&ProcessEnvironment).await?;
    Ok(opened.active)
}

#[cfg(test)]
mod tests;
