//! A KEK for each tenant: a source of DEKs that chooses another source by the encryption context.
//!
//! ```text
//! cargo run --example tenants
//! cargo run --example tenants -- --shared
//! ```

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use waxseal::backend::local::LocalKey;
use waxseal::envelope::{BodyHead, WrapSection, WrapSet};
use waxseal::key::Request;
use waxseal::source::{AnyOf, Currency, DekLease, Rewrapped};
use waxseal::{DekSource, EncryptionContext, Error, ErrorKind, Kek, Result, Sealer, blocking};

fn main() -> Result<()> {
    let tenant = || Ok::<_, Error>(AnyOf::new(LocalKey::new(&Kek::generate()?)));
    let router = ScopeRouter::by("tenant")
        .route("acme", tenant()?)
        .route("acme/eu", tenant()?)
        .route("globex", tenant()?);
    // Without this, contexts that no scope takes are refused.
    let router = match std::env::args().any(|argument| argument == "--shared") {
        true => router.otherwise(tenant()?),
        false => router,
    };
    let sealer = blocking::Sealer::from(Sealer::from_source(router));

    for tenant in ["acme", "acme/us", "acme/eu", "globex", "acmex"] {
        let context = EncryptionContext::new([("tenant", tenant)])?;
        match sealer.data_key(&context) {
            Ok(key) => println!("{tenant:8} {}", key.lease().keks()[0]),
            Err(error) => println!("{tenant:8} refused: {error}"),
        }
    }
    Ok(())
}

/// Chooses a source by one key of the context. The longest match wins.
///
/// Scopes are paths: `acme` takes `acme` and `acme/eu`, and not `acmex`. The caller's context decides, for opening and
/// re-wrapping too, and never what an envelope says.
#[derive(Clone)]
pub(crate) struct ScopeRouter {
    key: String,
    routes: Vec<(String, Arc<dyn DekSource>)>,
    otherwise: Option<Arc<dyn DekSource>>,
}

impl ScopeRouter {
    /// Chooses by the value of this key of the context.
    pub(crate) fn by(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            routes: Vec::new(),
            otherwise: None,
        }
    }

    /// Sends `scope` and everything under it to `source`, except for longer scopes.
    pub(crate) fn route(mut self, scope: &str, source: impl DekSource + 'static) -> Self {
        self.routes.push((scope.to_owned(), Arc::new(source)));
        self
    }

    /// Sends everything that no scope takes to `source`. Without this, it is refused.
    pub(crate) fn otherwise(mut self, source: impl DekSource + 'static) -> Self {
        self.otherwise = Some(Arc::new(source));
        self
    }

    fn choose(&self, request: &Request<'_>) -> Result<&dyn DekSource> {
        let value = request.context().get(&self.key);
        let takes = |scope: &str| {
            let rest = value.and_then(|value| value.strip_prefix(scope));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.routes
            .iter()
            .filter(|(scope, _)| takes(scope))
            .max_by_key(|(scope, _)| scope.len())
            .map(|(_, source)| source)
            .or(self.otherwise.as_ref())
            .map(|source| &**source)
            .ok_or_else(|| {
                // The key is configuration. The value belongs to the context and does not go into an error.
                Error::new(ErrorKind::PolicyRefused)
                    .with_detail(format!("no scope takes this context's {:?}", self.key))
            })
    }
}

#[async_trait]
impl DekSource for ScopeRouter {
    async fn seal_dek(&self, request: &Request<'_>) -> Result<(Arc<DekLease>, WrapSet)> {
        self.choose(request)?.seal_dek(request).await
    }

    async fn open_dek(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Arc<DekLease>> {
        self.choose(request)?.open_dek(wraps, body, request).await
    }

    async fn rewrap(
        &self,
        wraps: WrapSection<'_>,
        body: BodyHead<'_>,
        request: &Request<'_>,
    ) -> Result<Rewrapped> {
        self.choose(request)?.rewrap(wraps, body, request).await
    }

    fn is_current(&self, wraps: WrapSection<'_>, request: &Request<'_>) -> Currency {
        match self.choose(request) {
            Ok(source) => source.is_current(wraps, request),
            Err(_) => Currency::Unknown,
        }
    }

    fn may_keep(&self, request: &Request<'_>) -> bool {
        self.choose(request).is_ok_and(|source| source.may_keep(request))
    }
}

impl fmt::Debug for ScopeRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Scopes are values of a context, and are not printed.
        f.debug_struct("ScopeRouter")
            .field("key", &self.key)
            .field("routes", &self.routes.len())
            .finish_non_exhaustive()
    }
}
