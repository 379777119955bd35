//! Reads back the first wrap under each KEK version.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::{Capabilities, KeyManager, Recognition, Request, Unwrapped};
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::Dek;

/// How many KEK versions are remembered as read back. A forgotten version is read back again.
const KEPT: usize = 64;

/// A key manager whose wraps are known to open. It unwraps the first wrap under each KEK version again, in the same
/// context, and compares the DEK, before anything is sealed with it.
///
/// It finds a key that may encrypt and may not decrypt, and a manager that wraps another DEK than it was given, before
/// data depends on them. It costs one more call for each KEK version and process. If a wrap does not read back, the error
/// is that of the unwrap, with a detail that says when it happened, or `InvalidAnswer`. A manager that only wraps (a
/// public key) cannot be read back and is passed through.
#[derive(Debug)]
pub struct Verified<K> {
    inner: K,
    /// The oldest first.
    good: Mutex<VecDeque<KekRef>>,
}

impl<K: KeyManager> Verified<K> {
    /// Makes a layer that reads back what `inner` wraps.
    #[must_use]
    pub fn new(inner: K) -> Self {
        Self {
            inner,
            good: Mutex::new(VecDeque::new()),
        }
    }

    fn is_good(&self, kek: &KekRef) -> bool {
        self.good
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(kek)
    }

    /// Unwraps a wrap of a KEK version that is new here, and compares it if the DEK is at hand.
    async fn read_back(&self, wrapped: &WrappedDek, dek: Option<&Dek>, request: &Request<'_>) -> Result<()> {
        if !self.inner.capabilities().unwraps || self.is_good(wrapped.kek()) {
            return Ok(());
        }
        let when = "the first wrap under this key was read back, so that nothing is sealed that does not open (a program that \
             may not unwrap sets WAXSEAL_KMS_VERIFY=off, or leaves Verified out)";
        let opened = self.inner.unwrap(wrapped.as_wrap_ref(), request).await;
        let opened = opened.map_err(|error| {
            let detail = match error.detail() {
                Some(words) => Cow::from(format!("{words}; {when}")),
                None => Cow::from(when),
            };
            error.with_detail(detail)
        })?;
        if dek.is_some_and(|dek| !dek.ct_eq(&opened.dek)) {
            return Err(Error::new(ErrorKind::InvalidAnswer)
                .with_provider(self.inner.provider().to_owned())
                .with_detail("what it wrapped is not the DEK that it was given"));
        }
        if dek.is_none() {
            // All that is known is that the wrap opens.
            return Ok(());
        }
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if !good.contains(wrapped.kek()) {
            if good.len() >= KEPT {
                good.pop_front();
            }
            good.push_back(wrapped.kek().clone());
        }
        Ok(())
    }

    /// After a re-wrap the DEK is not at hand. If this manager opens the old wrap, the DEK comes from there. Otherwise
    /// this finds out that the new wrap opens, and not what it holds.
    async fn read_back_rewrapped(
        &self,
        old: WrapRef<'_>,
        new: &WrappedDek,
        request: &Request<'_>,
    ) -> Result<()> {
        if !self.inner.capabilities().unwraps || self.is_good(new.kek()) {
            return Ok(());
        }
        if !self.inner.recognizes(old).is_no() {
            let Unwrapped { dek, .. } = self.inner.unwrap(old, request).await?;
            return self.read_back(new, Some(&dek), request).await;
        }
        self.read_back(new, None, request).await
    }
}

#[async_trait]
impl<K: KeyManager> KeyManager for Verified<K> {
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
        Ok(Arc::new(Verified::new(self.inner.pinned_to(kek)?)))
    }

    async fn generate(&self, request: &Request<'_>) -> Result<(Dek, WrappedDek)> {
        let (dek, wrapped) = self.inner.generate(request).await?;
        self.read_back(&wrapped, Some(&dek), request).await?;
        Ok((dek, wrapped))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let wrapped = self.inner.wrap(dek, request).await?;
        self.read_back(&wrapped, Some(dek), request).await?;
        Ok(wrapped)
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        self.inner.unwrap(wrapped, request).await
    }

    async fn rewrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Option<WrappedDek>> {
        let new = self.inner.rewrap(wrapped, request).await?;
        if let Some(new) = &new {
            self.read_back_rewrapped(wrapped, new, request).await?;
        }
        Ok(new)
    }

    async fn wrap_batch(&self, items: &[(&Dek, &Request<'_>)]) -> Vec<Result<WrappedDek>> {
        let mut results = self.inner.wrap_batch(items).await;
        for (result, (dek, request)) in results.iter_mut().zip(items) {
            if let Ok(wrapped) = result
                && let Err(error) = self.read_back(wrapped, Some(dek), request).await
            {
                *result = Err(error);
            }
        }
        results
    }

    async fn unwrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Unwrapped>> {
        self.inner.unwrap_batch(items).await
    }

    async fn rewrap_batch(&self, items: &[(WrapRef<'_>, &Request<'_>)]) -> Vec<Result<Option<WrappedDek>>> {
        let mut results = self.inner.rewrap_batch(items).await;
        for (result, (wrapped, request)) in results.iter_mut().zip(items) {
            if let Ok(Some(new)) = result
                && let Err(error) = self.read_back_rewrapped(*wrapped, new, request).await
            {
                *result = Err(error);
            }
        }
        results
    }
}
