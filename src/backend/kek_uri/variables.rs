//! Key managers from environment variables alone.

use secrecy::ExposeSecret;

use super::{KekUri, KeyManagers};
use crate::runtime::{Environment, set_var};
use crate::value::error::{Error, Result};

const URI: &str = "WAXSEAL_KMS_URI";
const ALSO_OPEN: &str = "WAXSEAL_KMS_ALSO_OPEN";
const BACKEND: &str = "WAXSEAL_KMS_BACKEND";
const KEY_ID: &str = "WAXSEAL_KMS_KEY_ID";
const MOUNT: &str = "WAXSEAL_KMS_MOUNT";
const ENDPOINT: &str = "WAXSEAL_KMS_ENDPOINT";
const VERIFY: &str = "WAXSEAL_KMS_VERIFY";
const MASTER_KEY: &str = "WAXSEAL_MASTER_KEY";

/// Opens the key managers that environment variables name, so that a deployment moves from one backend to another
/// without a change of the program.
///
/// | variable | what |
/// |---|---|
/// | `WAXSEAL_KMS_URI` | the KEK that wraps, as a URI of [`kek_uri`](super) |
/// | `WAXSEAL_KMS_ALSO_OPEN` | more URIs, separated by white space, of KEKs that only open: former KEKs |
/// | `WAXSEAL_KMS_VERIFY` | `on` (default) or `off`: whether the first wrap under each version of a KEK in a KMS or token is read back ([`Verified`](crate::layer::Verified)). `off` is for a program that may wrap and may not unwrap |
///
/// Instead of the first variable, one variable can select the backend:
///
/// | variable | what |
/// |---|---|
/// | `WAXSEAL_KMS_BACKEND` | `local`, or the name of a KMS backend |
/// | `WAXSEAL_MASTER_KEY` | for `local`: the KEK, 32 random bytes as base64 or hex |
/// | `WAXSEAL_KMS_KEY_ID` | for a KMS: the key, as it follows the scheme in a URI; options may follow it, too |
/// | `WAXSEAL_KMS_ENDPOINT` | for a KMS: the address of its server, if that is not the usual address |
/// | `WAXSEAL_KMS_MOUNT` | for `vault-transit`, which alone reads it: the mount, `transit` by default |
///
/// The backend and the URI are logged once, through `tracing`.
///
/// # Errors
/// `Configuration` if neither or both ways are used, or if a variable is missing or wrong, with what to set; else the same kinds as
/// [`KekUri::open`], under the same conditions.
///
/// # Cancel safety
/// Dropping the future leaves nothing behind.
pub async fn open_from_environment(environment: &dyn Environment) -> Result<KeyManagers> {
    let (uri, former) = named(environment)?;
    let verifies = match var(environment, VERIFY)?.as_deref() {
        None | Some("on") => true,
        Some("off") => false,
        Some(_) => return Err(Error::configuration(format!("{VERIFY} is on or off"))),
    };
    let mut opened = uri.open(environment).await?;
    if verifies {
        opened = opened.verified();
    }
    for uri in former {
        let former = uri.open(environment).await?;
        opened.also_open.push(former.active);
        opened.also_open.extend(former.also_open);
    }
    tracing::info!(backend = opened.active.provider(), kek = %uri, "key manager opened");
    Ok(opened)
}

/// Returns the URIs that the variables of [`open_from_environment`] name, and opens none: the KEK that wraps, then those that
/// only open. A program finds out with [`KekUri::reads`] which files and descriptors it must leave alone.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use waxseal::backend::kek_uri::uris_from_environment;
/// use waxseal::testing::FakeEnvironment;
///
/// let environment = FakeEnvironment::new()
///     .with("WAXSEAL_KMS_BACKEND", "file")
///     .with("WAXSEAL_KMS_KEY_ID", "/run/secrets/kek");
/// let uris = uris_from_environment(&environment)?;
/// assert_eq!(uris[0].to_string(), "file:/run/secrets/kek");
/// # }
/// # Ok::<(), waxseal::Error>(())
/// ```
///
/// # Errors
/// `Configuration` if no variable or both ways are used, if a variable is missing, or if a URI is wrong, with what to set.
pub fn uris_from_environment(environment: &dyn Environment) -> Result<Vec<KekUri>> {
    let (wraps, mut uris) = named(environment)?;
    uris.insert(0, wraps);
    Ok(uris)
}

/// The KEK that wraps, and those that only open.
fn named(environment: &dyn Environment) -> Result<(KekUri, Vec<KekUri>)> {
    let wraps = chosen(environment)?;
    let former = var(environment, ALSO_OPEN)?.unwrap_or_default();
    let former: Result<_> = former
        .split_whitespace()
        .map(|uri| uri.parse().map_err(|error: Error| within(ALSO_OPEN, &error)))
        .collect();
    Ok((wraps, former?))
}

fn chosen(environment: &dyn Environment) -> Result<KekUri> {
    match (var(environment, URI)?, var(environment, BACKEND)?) {
        (Some(uri), None) => uri.parse().map_err(|error: Error| within(URI, &error)),
        (None, Some(backend)) => selected(environment, &backend),
        (Some(_), Some(_)) => Err(Error::configuration(format!(
            "{URI} and {BACKEND} are both set; unset one of them"
        ))),
        (None, None) => Err(Error::configuration(format!(
            "no key is configured; set {URI} to a key, env:NAME for one, or {BACKEND} to a backend, local for one"
        ))),
    }
}

/// The URI that the variables of a backend amount to.
fn selected(environment: &dyn Environment, backend: &str) -> Result<KekUri> {
    if backend == "local" {
        return format!("env:{MASTER_KEY}").parse();
    }
    let key = var(environment, KEY_ID)?.ok_or_else(|| {
        Error::configuration(format!(
            "{KEY_ID} is not set; with another {BACKEND} than local it names the key"
        ))
    })?;
    let mut uri = format!("{backend}:{key}");
    let scheme = super::schemes().find(|scheme| scheme.name == backend);
    let takes = |option: &str| scheme.is_some_and(|scheme| scheme.takes(option));
    // A deployment that moves from one backend to another leaves the variables of the other in place.
    let mount = takes("mount").then_some(("mount", MOUNT));
    let endpoint = (if takes("addr") { "addr" } else { "endpoint" }, ENDPOINT);
    let mut sources = Vec::new();
    for (option, variable) in mount.into_iter().chain([endpoint]) {
        if let Some(value) = var(environment, variable)? {
            if value.contains(['?', '&']) {
                return Err(Error::configuration(format!(
                    "{variable} has a ? or & in it; options belong to {KEY_ID}"
                )));
            }
            let sign = if uri.contains('?') { '&' } else { '?' };
            uri.push_str(&format!("{sign}{option}={value}"));
            sources.push((option, variable));
        }
    }
    KekUri::parse(&uri, &sources).map_err(|error| {
        let names_its_variable = |detail: &str| sources.iter().any(|(_, variable)| detail.contains(variable));
        match (error.detail(), scheme) {
            (Some(detail), _) if names_its_variable(detail) => Error::configuration(detail.to_owned()),
            (_, Some(_)) => within(KEY_ID, &error),
            (_, None) => within(BACKEND, &error),
        }
    })
}

/// A variable that is set and not empty.
fn var(environment: &dyn Environment, name: &str) -> Result<Option<String>> {
    Ok(set_var(environment, name)?
        .map(|value| value.expose_secret().trim().to_owned())
        .filter(|value| !value.is_empty()))
}

/// An error of the value of a variable. The text of the parser quotes nothing that may be secret.
fn within(variable: &str, error: &Error) -> Error {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
    Error::configuration(format!("{variable}: {what}"))
}
