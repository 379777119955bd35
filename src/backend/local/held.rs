//! A local KEK with a name that somebody else has given it.

use std::fmt;

use async_trait::async_trait;

use super::xaes::{WRAPPED, Xaes};
use crate::envelope::{KekRef, WrapAlgorithm, WrapRef, WrappedDek};
use crate::key::{Binds, Capabilities, KeyManager, Recognition, Request, Unwrapped, not_recognized};
use crate::value::error::{Operation, Result};
use crate::value::secret::{Dek, Kek};

/// One KEK that this process holds, which does what a [`LocalKey`](super::LocalKey) does under another name. Wiped when it is dropped.
pub(crate) struct HeldKey {
    kek: KekRef,
    xaes: Xaes,
}

impl HeldKey {
    pub(crate) fn new(kek: &Kek, name: KekRef) -> Self {
        Self {
            kek: name,
            xaes: Xaes::new(kek),
        }
    }
}

#[async_trait]
impl KeyManager for HeldKey {
    fn provider(&self) -> &str {
        self.kek.provider()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(WrapAlgorithm::XAES_256_GCM, Binds::Aad).local()
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        Recognition::by_id(
            wrapped,
            WrapAlgorithm::XAES_256_GCM,
            self.provider(),
            self.kek.id(),
        )
    }

    fn identity(&self) -> Option<String> {
        Some(format!("{} {}", self.kek.provider(), self.kek.id()))
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        let mut wrapped = Vec::with_capacity(WRAPPED);
        let made = self.xaes.wrap_to(dek, request, &mut wrapped);
        made.and_then(|()| WrappedDek::new(WrapAlgorithm::XAES_256_GCM, self.kek.clone(), wrapped))
            .map_err(|error| {
                error
                    .with_operation(Operation::Wrap)
                    .with_provider(self.provider().to_owned())
            })
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        let is_own = wrapped.is_under(WrapAlgorithm::XAES_256_GCM, self.provider(), self.kek.id());
        let dek = match is_own {
            true => self.xaes.unwrap(wrapped.wrapped, request),
            false => Err(not_recognized(&wrapped)),
        };
        dek.map(|dek| Unwrapped::new(dek, self.kek.clone()))
            .map_err(|error| {
                error
                    .with_operation(Operation::Unwrap)
                    .with_provider(self.provider().to_owned())
            })
    }
}

impl fmt::Debug for HeldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldKey")
            .field("kek", &self.kek)
            .finish_non_exhaustive()
    }
}
