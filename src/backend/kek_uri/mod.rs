//! Key managers by configuration: one line of text names a KEK, wherever it is kept.
//!
//! | URI | KEK |
//! |---|---|
//! | `env:NAME` | 32 random bytes in an environment variable, as base64 or hex |
//! | `file:PATH[?allow-shared=true]` | the same in a file; one that the group or others can read only if told so |
//! | `passphrase-env:NAME[?kdf=pbkdf2\|argon2id&iterations=N&memory=KIB&passes=N&lanes=N&name=TEXT]` | derived from a passphrase in an environment variable |
//! | `azure-key-vault:https://HOST/keys/NAME[/VERSION][?algorithm=RSA-OAEP-256\|A256KW&credential=workload\|managed\|secret\|developer&ca=PATH&verify-challenge=on\|off&refresh=SECONDS&api-version=V]` | a key of Azure Key Vault or Managed HSM (feature `azure-key-vault`) |
//! | `aws-kms:KEY[?region=R&endpoint=URL&context=pairs\|digest&refresh=SECONDS]` | a key of AWS KMS, by id, ARN or `alias/NAME` (feature `aws-kms`) |
//! | `gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K[?endpoint=URL&credentials=default\|anonymous]` | a key of Google Cloud KMS (feature `gcp-kms`) |
//! | `vault-transit:KEY[?addr=URL&mount=transit&namespace=N&auth=token\|approle\|kubernetes\|jwt&role=R&auth-mount=PATH&jwt-file=PATH&mode=encrypt\|datakey]` | a key of HashiCorp Vault or OpenBao Transit (feature `vault-transit`) |
//! | `pkcs11:token=T;object=LABEL[;id=%01]?module-path=PATH&pin-source=env:VAR\|file:PATH` | a key on a PKCS#11 token, by an RFC 7512 URI (feature `pkcs11`) |
//!
//! `azure-key-vault:` reads the variables of Azure's own tools: `AZURE_CLIENT_ID`,
//! `AZURE_TENANT_ID`, `AZURE_CLIENT_SECRET`, `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_AUTHORITY_HOST`, `IDENTITY_ENDPOINT` with
//! `IDENTITY_HEADER`; and `SSL_CERT_FILE` where `ca` is absent. `verify-challenge=off` is for vaults outside Azure's domains.
//! With `endpoint=https://HOST` the key may be a bare `NAME`.
//!
//! `vault-transit:` reads `VAULT_ADDR` where `addr` is absent, `VAULT_NAMESPACE` and `VAULT_CACERT` where set, and for the
//! login `VAULT_TOKEN`, `VAULT_SECRET_ID` (AppRole; `role` is the role id) or `VAULT_JWT`; Kubernetes reads the pod's
//! token. With `auth=jwt`, `jwt-file` names a file with the token instead, which is read anew at each login. `auth-mount` is
//! where a login method is mounted below `auth/`, where that is not its own name.
//!
//! `aws-kms:` finds credentials, and the region where neither `region` nor an ARN says it, where every AWS program does:
//! the `AWS_*` variables of the process, the shared files with their profiles, web identity, the role of the container or
//! machine. `gcp-kms:` uses Application Default Credentials; `credentials=anonymous` is for emulators.
//!
//! No URI holds a secret: it names where one is. Options follow the last `?`, each once. Without `kdf` a
//! passphrase wraps with PBKDF2 and opens what either KDF has wrapped.

mod options;
mod variables;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub(in crate::backend) use options::Options;
use secrecy::SecretString;
pub use variables::open_from_environment;

use crate::backend::local::kek_from_text;
use crate::envelope::KekRef;
use crate::key::{KekAdmin, KeyManager};
use crate::runtime::{Environment, ProcessEnvironment};
use crate::value::error::{Error, Result};

const SCHEMES: &str = "env:NAME, file:PATH, passphrase-env:NAME, aws-kms:KEY, azure-key-vault:https://HOST/keys/NAME, \
                       gcp-kms:KEY, vault-transit:KEY or pkcs11:…";

/// A parsed key URI: it names a KEK, and nothing was read yet. The grammar is that of [`kek_uri`](self).
///
/// ```
/// use waxseal::backend::kek_uri::KekUri;
///
/// let uri: KekUri = "env:WAXSEAL_KEK".parse()?;
/// assert!("env:WAXSEAL KEK".parse::<KekUri>().is_err());
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KekUri(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    #[cfg(feature = "azure-key-vault")]
    AzureKeyVault(super::azure_key_vault::uri::AzureUri),
    Local(super::local::uri::LocalUri),
    #[cfg(feature = "aws-kms")]
    AwsKms(super::aws_kms::uri::AwsUri),
    #[cfg(feature = "gcp-kms")]
    GcpKms(super::gcp_kms::uri::GcpUri),
    #[cfg(feature = "vault-transit")]
    VaultTransit(super::vault_transit::uri::VaultUri),
    #[cfg(feature = "pkcs11")]
    Pkcs11(Box<crate::backend::pkcs11::Uri>),
}

/// What a URI leads to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyManagers {
    /// Wraps, and opens what it has wrapped.
    pub active: Arc<dyn KeyManager>,
    /// Open, and never wrap: other algorithms of the same KEK.
    pub also_open: Vec<Arc<dyn KeyManager>>,
    /// Where `active`'s KEK can be asked about; `None` for one that is local.
    pub administered: Option<Administered>,
}

/// A KEK and what describes it, with the credentials of an application: they often may do less than that, and should
/// not be allowed more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Administered {
    /// The KEK as it was configured: an alias is not resolved.
    pub kek: KekRef,
    /// Administers KEKs where that one is.
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
        let (scheme, rest) = uri
            .split_once(':')
            .ok_or_else(|| Error::argument(format!("a key is named as {SCHEMES}")))?;
        if scheme == "pkcs11" {
            // RFC 7512 has a grammar of its own.
            return pkcs11(uri);
        }
        let (place, options) = rest.rsplit_once('?').unwrap_or((rest, ""));
        // The alphabet of base64 has letters, hyphens and the slash, so a KMS's name of a key can look like one.
        if !is_kms(scheme) && kek_from_text(&SecretString::from(place)).is_ok() {
            return Err(Error::argument(format!(
                "a key itself stands where the name of its place belongs; keep keys off command lines and out of \
                 configuration, and use {SCHEMES}"
            )));
        }
        let mut options = Options::parse(options)?;
        let parsed = match super::local::uri::LocalUri::parse(scheme, place, &mut options)? {
            Some(local) => Place::Local(local),
            None => match scheme {
                #[cfg(feature = "aws-kms")]
                "aws-kms" => Place::AwsKms(super::aws_kms::uri::AwsUri::parse(place, &mut options)?),
                #[cfg(feature = "azure-key-vault")]
                "azure-key-vault" => {
                    Place::AzureKeyVault(super::azure_key_vault::uri::AzureUri::parse(place, &mut options)?)
                }
                #[cfg(feature = "gcp-kms")]
                "gcp-kms" => Place::GcpKms(super::gcp_kms::uri::GcpUri::parse(place, &mut options)?),
                #[cfg(feature = "vault-transit")]
                "vault-transit" => {
                    Place::VaultTransit(super::vault_transit::uri::VaultUri::parse(place, &mut options)?)
                }
                _ if is_kms(scheme) => return Err(not_compiled_in(scheme)),
                // A passphrase can have a colon in it, so only what looks like a scheme is quoted.
                _ if looks_like_a_scheme(scheme) => {
                    return Err(Error::argument(format!(
                        "the scheme {scheme}: is not known; use {SCHEMES}"
                    )));
                }
                _ => {
                    return Err(Error::argument(format!(
                        "the part before ':' is no scheme; use {SCHEMES}"
                    )));
                }
            },
        };
        options.end(scheme)?;
        Ok(Self(parsed))
    }
}

/// Whether a key is named here that no text could be: it never leaves its KMS.
fn is_kms(scheme: &str) -> bool {
    matches!(
        scheme,
        "aws-kms" | "azure-key-vault" | "gcp-kms" | "vault-transit"
    )
}

/// What a backend calls the address of its server.
fn endpoint_option(backend: &str) -> &'static str {
    match backend {
        "vault-transit" => "addr",
        _ => "endpoint",
    }
}

#[cfg(feature = "pkcs11")]
fn pkcs11(uri: &str) -> Result<KekUri> {
    Ok(KekUri(Place::Pkcs11(Box::new(
        crate::backend::pkcs11::Uri::parse(uri)?,
    ))))
}

#[cfg(not(feature = "pkcs11"))]
fn pkcs11(_: &str) -> Result<KekUri> {
    Err(not_compiled_in("pkcs11"))
}

fn not_compiled_in(feature: &str) -> Error {
    Error::unsupported("a key of this backend").with_detail(format!(
        "it was not compiled in; add the feature `{feature}` of waxseal"
    ))
}

fn looks_like_a_scheme(text: &str) -> bool {
    text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

impl KekUri {
    /// Opens the key manager: reads variables and files now.
    ///
    /// # Errors
    /// `Configuration` where a variable is not set or a file cannot be read, with what to do about it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn open(&self, environment: &dyn Environment) -> Result<KeyManagers> {
        match &self.0 {
            Place::Local(local) => local.open(environment),
            #[cfg(feature = "azure-key-vault")]
            Place::AzureKeyVault(azure) => azure.open(environment),
            #[cfg(feature = "aws-kms")]
            Place::AwsKms(aws) => aws.open().await,
            #[cfg(feature = "gcp-kms")]
            Place::GcpKms(gcp) => gcp.open(),
            #[cfg(feature = "vault-transit")]
            Place::VaultTransit(vault) => vault.open(environment),
            #[cfg(feature = "pkcs11")]
            Place::Pkcs11(uri) => {
                let keys = crate::backend::pkcs11::TokenKey::from_uri_in(uri, environment)?;
                let admin = keys.admin();
                KeyManagers::one(keys).administered(uri.object(), admin)
            }
        }
    }
}

impl fmt::Display for KekUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Local(local) => local.fmt(f),
            #[cfg(feature = "azure-key-vault")]
            Place::AzureKeyVault(azure) => azure.fmt(f),
            #[cfg(feature = "aws-kms")]
            Place::AwsKms(aws) => aws.fmt(f),
            #[cfg(feature = "gcp-kms")]
            Place::GcpKms(gcp) => gcp.fmt(f),
            #[cfg(feature = "vault-transit")]
            Place::VaultTransit(vault) => vault.fmt(f),
            #[cfg(feature = "pkcs11")]
            Place::Pkcs11(uri) => write!(f, "pkcs11:object={}", uri.object().escape_debug()),
        }
    }
}

/// Opens the key manager that a URI names, with the environment of this process.
///
/// One that opens more than it wraps (a passphrase of which no KDF is named) gives the one that wraps; use
/// [`KekUri::open`] for all.
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
/// `InvalidArgument` for a URI that is wrong; as [`KekUri::open`].
///
/// # Cancel safety
/// Dropping the future leaves nothing behind.
pub async fn open_key_manager(uri: &str) -> Result<Arc<dyn KeyManager>> {
    let opened = uri.parse::<KekUri>()?.open(&ProcessEnvironment).await?;
    Ok(opened.active)
}

#[cfg(test)]
mod tests;
