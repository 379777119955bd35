//! A key manager that counts what it is asked.
#![allow(dead_code, reason = "no test program uses all of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use waxseal::envelope::{KekRef, WrapRef, WrappedDek};
use waxseal::key::{Capabilities, KeyManager, Recognition, Request, Unwrapped};
use waxseal::{Result, value::Dek};

/// Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Counted<K> {
    inner: K,
    counts: Arc<[AtomicUsize; 3]>,
}

impl<K> Counted<K> {
    pub(crate) fn new(inner: K) -> Self {
        let counts = Arc::default();
        Self { inner, counts }
    }

    /// Wraps, unwraps and re-wraps since the last time.
    pub(crate) fn take(&self) -> [usize; 3] {
        std::array::from_fn(|i| self.counts[i].swap(0, Ordering::Relaxed))
    }

    fn count(&self, method: usize) {
        self.counts[method].fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl<K: KeyManager> KeyManager for Counted<K> {
    fn provider(&self) -> &str {
        self.inner.provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        self.inner.recognizes(wrapped)
    }

    fn identity(&self) -> Option<String> {
        self.inner.identity()
    }

    fn pinned_to(&self, kek: &KekRef) -> Result<Arc<dyn KeyManager>> {
        Ok(Arc::new(Counted {
            inner: self.inner.pinned_to(kek)?,
            counts: Arc::clone(&self.counts),
        }))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        self.count(0);
        self.inner.wrap(dek, request).await
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        self.count(1);
        self.inner.unwrap(wrapped, request).await
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        let result = self.inner.rewrap(wrapped, request).await;
        // What is not the KMS's own is answered without a call.
        if !matches!(result, Ok(None)) {
            self.count(2);
        }
        result
    }
}
