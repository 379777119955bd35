//! The URI scheme `pkcs11:`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{PinSource, TokenKey, Uri};
use crate::backend::kek_uri::{KeyManagers, Parse, Place, Reads, Scheme, UriOption};
use crate::envelope::KekRef;
use crate::key::KekAdmin;
use crate::runtime::Environment;
use crate::value::error::Result;

pub(in crate::backend) const SCHEME: Scheme = Scheme {
    name: "pkcs11",
    provider: super::PROVIDER,
    form: "pkcs11:token=T;object=LABEL?module-path=PATH&pin-source=env:VAR|file:PATH",
    summary: "a key on a PKCS#11 token, by an RFC 7512 URI",
    options: &[
        UriOption::new("module-path", "PATH", "the token's PKCS#11 module"),
        UriOption::new("pin-source", "env:VAR|file:PATH", "where the PIN is"),
        UriOption::new(
            "allow-shared",
            "true|false",
            "accept a PIN file that its group or others can read (default false)",
        ),
        UriOption::new(
            "algorithm",
            "AES-GCM|AES-KEY-WRAP-PAD|RSA-OAEP-256",
            "how to wrap (default AES-GCM)",
        ),
        UriOption::new(
            "final-try",
            "true|false",
            "try the PIN even if one more wrong PIN locks the token (default false)",
        ),
        UriOption::new(
            "module-restart",
            "true|false",
            "restart the module if nothing else helps; only if nothing else in the process uses it (default false)",
        ),
    ],
    variables: &[],
    parse: Parse::Whole(|text| Ok(Arc::new(Uri::parse(text)?))),
};

#[async_trait]
impl Place for Uri {
    async fn open(&self, environment: &dyn Environment) -> Result<KeyManagers> {
        let keys = TokenKey::from_uri_in(self, environment)?;
        let admin = keys.admin();
        KeyManagers::one(keys).administered(self.object(), admin)
    }

    async fn open_admin(&self, environment: &dyn Environment) -> Result<Arc<dyn KekAdmin>> {
        Ok(Arc::new(TokenKey::from_uri_in(self, environment)?.admin()))
    }

    fn sibling(&self, _: &str, kek: &KekRef) -> Option<String> {
        (!kek.id().is_empty()).then(|| self.path_for(kek.id()))
    }

    fn reads(&self) -> Vec<Reads> {
        match self.pin() {
            Some(PinSource::File(path) | PinSource::SharedFile(path)) => vec![Reads::File(path.clone())],
            Some(PinSource::Env(_)) | None => Vec::new(),
        }
    }
}

impl fmt::Display for Uri {
    /// The key that the URI names, without the place of its PIN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkcs11:object={}", self.object().escape_debug())
    }
}
