//! A KEK for each tenant.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::envelope::{BodyHead, WrapSection, WrapSet};
use crate::key::Request;
use crate::source::lease::DekLease;
use crate::source::{Currency, DekSource, Rewrapped};
use crate::value::error::{Error, ErrorKind, Result};

/// Chooses a source by one key of the context, the longest match first: a sketch.
///
/// Scopes are paths: `acme` takes `acme` and `acme/eu`, and not `acmex`. The choice depends on the context
/// of the caller and never on what an envelope says, on opening and re-wrapping too.
#[derive(Clone)]
pub struct ScopeRouter {
    key: String,
    routes: Vec<(String, Arc<dyn DekSource>)>,
    otherwise: Option<Arc<dyn DekSource>>,
}

impl ScopeRouter {
    /// Chooses by the value of this key of the context.
    #[must_use]
    pub fn by(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            routes: Vec::new(),
            otherwise: None,
        }
    }

    /// Sends `scope` and everything under it to `source`, but for longer scopes.
    #[must_use]
    pub fn route(mut self, scope: &str, source: impl DekSource + 'static) -> Self {
        self.routes.push((scope.to_owned(), Arc::new(source)));
        self
    }

    /// Sends everything that no scope takes to `source`. Without this it is refused.
    #[must_use]
    pub fn otherwise(mut self, source: impl DekSource + 'static) -> Self {
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
                // The key is configuration; the value is the context's and is not told.
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
}

impl fmt::Debug for ScopeRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Scopes are values of a context.
        f.debug_struct("ScopeRouter")
            .field("key", &self.key)
            .field("routes", &self.routes.len())
            .finish_non_exhaustive()
    }
}
