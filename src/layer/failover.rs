//! Other managers of the same KEK to unwrap with.

use std::sync::Arc;

use async_trait::async_trait;

use crate::envelope::{WrapRef, WrappedDek};
use crate::key::{Capabilities, KeyManager, Recognition, Request, Unwrapped, not_recognized};
use crate::value::error::{Error, Result};
use crate::value::secret::Dek;

/// Several managers of one KEK, replicas in other regions for one: when the first is down, the next unwraps.
///
/// *Unwrapping* asks those that recognize the stanza in their order, and goes on only after an error that is
/// retryable: a refusal is an answer, and so is a wrap that does not open.
///
/// *Wrapping* is the first one's alone, so that no data gets under a key that nobody chose;
/// [`wrapping_anywhere`](Self::wrapping_anywhere) lets the others wrap when it is down.
#[derive(Clone, Debug)]
pub struct Failover {
    first: Arc<dyn KeyManager>,
    others: Vec<Arc<dyn KeyManager>>,
    wraps_anywhere: bool,
}

impl Failover {
    /// Begins with the manager that wraps.
    #[must_use]
    pub fn new(first: impl KeyManager + 'static) -> Self {
        Self {
            first: Arc::new(first),
            others: Vec::new(),
            wraps_anywhere: false,
        }
    }

    /// Then asks this one.
    #[must_use]
    pub fn or(mut self, next: impl KeyManager + 'static) -> Self {
        self.others.push(Arc::new(next));
        self
    }

    /// Wraps with the next one, too, when one is down. Only where each opens what the others wrap, as replicas of a
    /// multi-region key do; else a restart without one of them loses access to what it has wrapped.
    #[must_use]
    pub fn wrapping_anywhere(mut self) -> Self {
        self.wraps_anywhere = true;
        self
    }

    fn managers(&self) -> impl Iterator<Item = &Arc<dyn KeyManager>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Those that may wrap, in their order.
    fn wrapping(&self) -> impl Iterator<Item = &Arc<dyn KeyManager>> {
        self.managers()
            .take(if self.wraps_anywhere { usize::MAX } else { 1 })
    }
}

/// Goes on to the next manager while there is one and the error may pass.
macro_rules! first_answer {
    ($managers:expr, $none:expr, |$manager:ident| $call:expr) => {{
        let mut last = None;
        for $manager in $managers {
            match $call.await {
                Err(error) if error.is_retryable() => last = Some(error),
                answer => return answer,
            }
        }
        Err(last.unwrap_or_else(|| $none))
    }};
}

#[async_trait]
impl KeyManager for Failover {
    fn provider(&self) -> &str {
        self.first.as_ref().provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.first.as_ref().capabilities()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        let said = self.managers().map(|manager| manager.recognizes(wrapped));
        said.max().unwrap_or(Recognition::No)
    }

    fn identity(&self) -> Option<String> {
        let all: Option<Vec<String>> = self.managers().map(|manager| manager.identity()).collect();
        all.map(|all| all.join(" or "))
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        first_answer!(self.wrapping(), none(), |manager| manager
            .as_ref()
            .generate(request))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        first_answer!(self.wrapping(), none(), |manager| manager
            .as_ref()
            .wrap(dek, request))
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let recognizing = self
            .managers()
            .filter(|manager| !manager.recognizes(wrapped).is_no());
        first_answer!(recognizing, not_recognized(&wrapped), |manager| manager
            .as_ref()
            .unwrap(wrapped, request))
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        first_answer!(self.wrapping(), none(), |manager| manager
            .as_ref()
            .rewrap(wrapped, request))
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        let mut results = self.first.as_ref().wrap_batch(items).await;
        if self.wraps_anywhere {
            for (result, (dek, request)) in results.iter_mut().zip(items) {
                if matches!(result, Err(error) if error.is_retryable()) {
                    *result = self.wrap(dek, request).await;
                }
            }
        }
        results
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        let mut results = self.first.as_ref().unwrap_batch(items).await;
        for (result, (wrapped, request)) in results.iter_mut().zip(items) {
            // One that the first does not recognize may be another's.
            let first = self.first.as_ref().recognizes(*wrapped);
            let others = first.is_no() && !self.recognizes(*wrapped).is_no();
            if others || matches!(result, Err(error) if error.is_retryable()) {
                *result = self.unwrap(*wrapped, request).await;
            }
        }
        results
    }

    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        self.first.as_ref().rewrap_batch(items).await
    }
}

/// Not met: the first manager is there from the beginning.
fn none() -> Error {
    Error::configuration("no key manager is configured")
}
