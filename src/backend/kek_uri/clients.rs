//! The clients of backends, shared by all KEKs that are at one place.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::value::error::Result;

/// The clients that were connected, by what they are connected to: credentials, connections and logins, for as long as this lives.
///
/// A thousand KEKs of one server are one login.
#[derive(Default)]
pub(crate) struct Clients(Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>);

impl Clients {
    /// The client for a place; `connect` makes it if there is none.
    #[cfg_attr(
        not(any(
            feature = "aws-kms",
            feature = "azure-key-vault",
            feature = "gcp-kms",
            feature = "vault-transit"
        )),
        allow(dead_code, reason = "local keys have no clients")
    )]
    pub(in crate::backend) async fn of<C: Clone + Any + Send + Sync>(
        &self,
        place: String,
        connect: impl Future<Output = Result<C>>,
    ) -> Result<C> {
        if let Some(client) = self.find(&place) {
            return Ok(client);
        }
        let client = connect.await?;
        // Of two that were made at once the first stays.
        let mut clients = self.lock();
        let kept = clients.entry(place).or_insert_with(|| Arc::new(client.clone()));
        Ok(kept.downcast_ref::<C>().cloned().unwrap_or(client))
    }

    fn find<C: Clone + Any>(&self, place: &str) -> Option<C> {
        self.lock().get(place)?.downcast_ref::<C>().cloned()
    }

    /// Whether there is a client for a place.
    #[cfg(feature = "ring")]
    pub(crate) fn has(&self, place: &str) -> bool {
        self.lock().contains_key(place)
    }

    /// How many there are.
    #[cfg(all(test, feature = "ring", feature = "vault-transit"))]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<dyn Any + Send + Sync>>> {
        // Each change is one call of the map: nothing is half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("connected", &self.lock().len())
            .finish_non_exhaustive()
    }
}
