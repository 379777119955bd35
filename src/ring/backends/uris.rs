//! KEKs by their URIs.

use std::sync::Arc;

use async_trait::async_trait;

use super::Backends;
use super::allowed::Allowed;
use crate::backend::kek_uri::{Clients, KekUri};
use crate::envelope::KekRef;
use crate::key::{KekAdmin, KeyManager};
use crate::ring::Provenance;
use crate::ring::source::Single;
use crate::runtime::{Environment, ProcessEnvironment};
use crate::value::error::{Error, ErrorKind, Result};

/// Opens the KEKs of a ring by their [URIs](crate::backend::kek_uri), with the variables of an [`Environment`].
///
/// Nothing may be named by default. What [`allow`](Self::allow) says comes from the configuration of the process, and never from
/// the inventory.
///
/// KEKs at one place share a client: thousands of keys of one server are one login.
///
/// ```
/// use waxseal::ring::UriBackends;
///
/// let backends = UriBackends::new()
///     .allow("aws-kms")?
///     .allow("vault-transit:orders-*?addr=https://vault.internal:8200")?;
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Debug)]
pub struct UriBackends {
    environment: Arc<dyn Environment>,
    administration: Arc<dyn Environment>,
    allowed: Vec<Allowed>,
    clients: Arc<Clients>,
    connecting: Single<String, ()>,
}

impl Default for UriBackends {
    fn default() -> Self {
        Self::new()
    }
}

impl UriBackends {
    /// Lets a ring name nothing yet, and reads the variables of this process.
    #[must_use]
    pub fn new() -> Self {
        Self {
            environment: Arc::new(ProcessEnvironment),
            administration: Arc::new(ProcessEnvironment),
            allowed: Vec::new(),
            clients: Arc::default(),
            connecting: Single::default(),
        }
    }

    /// Reads this environment, for the administration too.
    #[must_use]
    pub fn with_environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.administration = Arc::clone(&environment);
        self.environment = environment;
        self
    }

    /// Reads this environment for the administration alone: its credentials are others than those that seal and open.
    #[must_use]
    pub fn with_administration(mut self, environment: Arc<dyn Environment>) -> Self {
        self.administration = environment;
        self
    }

    /// Lets the ring name what `pattern` says: a scheme such as `aws-kms`, in whose URIs anything may stand; or a key URI, in
    /// which a `*` at the end of the place stands for whatever may follow there. The options of a URI, which may say where
    /// credentials are sent to, have to be those of the pattern, to the letter.
    ///
    /// # Errors
    /// `InvalidArgument` for a pattern that is neither.
    pub fn allow(mut self, pattern: &str) -> Result<Self> {
        self.allowed.push(pattern.parse()?);
        Ok(self)
    }

    /// Returns whether a record may name this URI.
    #[must_use]
    pub fn permits(&self, uri: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.permits(uri))
    }

    fn parse(&self, uri: &str) -> Result<KekUri> {
        let parsed: KekUri = uri.parse()?;
        // No program is started, and no descriptor read, because a record says so.
        let stored = parsed.to_stored()?;
        if self.permits(stored) {
            return Ok(parsed);
        }
        let allowed: Vec<_> = self.allowed.iter().map(Allowed::to_string).collect();
        let allowed = match allowed.as_slice() {
            [] => "nothing may be".to_owned(),
            allowed => format!("what may be is {}", allowed.join(", ")),
        };
        Err(Error::configuration(format!(
            "the KEK {parsed} may not be named by the ring in this process: {allowed}; if it is right, add it to `allow` in the ring's \
             configuration"
        )))
    }

    async fn opened(&self, uri: &KekUri) -> Result<Arc<dyn KeyManager>> {
        if let Some(place) = uri.client().filter(|place| !self.clients.has(place)) {
            let work = || {
                let (uri, environment, clients) = (
                    uri.clone(),
                    Arc::clone(&self.environment),
                    Arc::clone(&self.clients),
                );
                let work = async move { uri.open_sharing(&*environment, &clients).await.map(drop) };
                Box::pin(work) as _
            };
            self.connecting.join(&place, work).await?;
        }
        let opened = uri.open_sharing(&*self.environment, &self.clients).await?;
        Ok(opened.active)
    }
}

#[async_trait]
impl Backends for UriBackends {
    async fn key(&self, provenance: &Provenance) -> Result<Arc<dyn KeyManager>> {
        let uri = self.parse(&provenance.uri)?;
        let kek = provenance.kek()?;
        let manager = self.opened(&uri).await?;
        manager.pinned_to(&kek).map_err(|error| match error.kind() {
            ErrorKind::InvalidArgument => Error::configuration(format!(
                "{uri} leads to another KEK than {kek}, which the ring's record names: {}",
                error.detail().unwrap_or("its id is another")
            )),
            _ => error,
        })
    }

    async fn admin(&self, uri: &str) -> Result<Arc<dyn KekAdmin>> {
        self.parse(uri)?.open_admin(&*self.administration).await
    }

    async fn open(&self, uri: &str) -> Result<Arc<dyn KeyManager>> {
        self.opened(&self.parse(uri)?).await
    }

    fn sibling(&self, uri: &str, name: &str, kek: &KekRef) -> Result<String> {
        let sibling = self.parse(uri)?.sibling(name, kek)?;
        Ok(self.parse(sibling.to_stored()?)?.to_stored()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::testing::FakeEnvironment;
    use crate::value::secret::Kek;

    fn backends() -> (UriBackends, KekRef) {
        let kek = Kek::generate().unwrap();
        let manager = crate::backend::local::LocalKey::new(&kek);
        let environment = FakeEnvironment::new().with("RING_KEK", &hex::encode(kek.expose_bytes()));
        let backends = UriBackends::new()
            .with_environment(Arc::new(environment))
            .allow("env:RING_*")
            .unwrap();
        (backends, KekRef::new("local", manager.kek_id(), "").unwrap())
    }

    #[test]
    fn a_kek_is_opened_only_if_it_may_be_named_and_is_the_records() {
        let (backends, kek) = backends();
        let key = |uri: &str, kek: &KekRef| block_on(backends.key(&Provenance::new(uri, kek).unwrap()));
        assert!(key("env:RING_KEK", &kek).is_ok());
        assert!(block_on(backends.open("env:RING_KEK")).is_ok());
        let other = KekRef::new("local", "AAAAAAAAAAAAAAAAAAAAAA", "").unwrap();
        let wrong = [
            key("env:RING_KEK", &other),
            key("env:OTHER", &kek),
            key("file:/etc/passwd", &kek),
            block_on(backends.open("env:OTHER")),
            block_on(UriBackends::new().open("env:RING_KEK")),
        ];
        for result in wrong {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Configuration);
        }
        let program = UriBackends::new().allow("passphrase-command").unwrap();
        let opened = block_on(program.open("passphrase-command:touch /tmp/no"));
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert!(block_on(backends.admin("file:/etc/keys/a")).is_err());
    }

    #[cfg(feature = "vault-transit")]
    #[test]
    fn keys_at_one_place_share_a_client_and_those_at_another_have_their_own() {
        let environment = FakeEnvironment::new()
            .with("VAULT_ADDR", "https://127.0.0.1:1")
            .with("VAULT_TOKEN", "s.token");
        let backends = UriBackends::new()
            .with_environment(Arc::new(environment))
            .allow("vault-transit")
            .unwrap();
        // Connecting and pinning make no call.
        for number in 0..100 {
            let kek = KekRef::new("vault-transit", &format!("transit/keys/k{number}"), "1").unwrap();
            let provenance = Provenance::new(&format!("vault-transit:k{number}"), &kek).unwrap();
            block_on(backends.key(&provenance)).unwrap();
        }
        assert_eq!(backends.clients.len(), 1);
        for uri in ["vault-transit:k1?mode=datakey", "vault-transit:k1?mount=other"] {
            block_on(backends.open(uri)).unwrap();
        }
        assert_eq!(backends.clients.len(), 1);
        block_on(backends.open("vault-transit:k1?addr=https://127.0.0.1:2")).unwrap();
        assert_eq!(backends.clients.len(), 2);
    }
}
