//! Provisioned rows that nobody believes: whoever may insert such rows can make them.

use std::sync::Arc;

use super::Scope;
use super::reader::Reader;
use super::view::ScopeView;
use crate::value::error::{Error, Result};

/// How many scopes are named.
const NAMED: usize = 100;

/// Scopes whose provisioned rows are not believed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Unbelieved {
    /// How many.
    pub scopes: u64,
    /// The first 100 of them, and what is wrong with their rows.
    pub named: Vec<(Scope, Arc<Error>)>,
}

impl Unbelieved {
    pub(super) fn note(&mut self, scope: &Scope, records: &ScopeView) {
        let Some(error) = &records.unbelieved else { return };
        self.scopes += 1;
        if self.named.len() < NAMED {
            self.named.push((scope.clone(), Arc::clone(error)));
        }
    }
}

impl Reader {
    /// Looks for scopes whose provisioned rows are not believed, although the ring has no record of the scope: whoever may insert such rows can make
    /// them, and until they are [dropped](super::RingAdmin::drop_unbelieved) nobody uses these scopes.
    ///
    /// # Errors
    /// As [`Trust::read`](super::Trust::read).
    pub async fn unbelieved(&self) -> Result<Unbelieved> {
        let (mut found, mut after) = (Unbelieved::default(), None);
        while let Some(page) = self.provisioned_page(after.as_ref(), None).await? {
            for (scope, records) in &page.view.scopes {
                found.note(scope, records);
            }
            after = Some(page.last);
        }
        Ok(found)
    }
}
