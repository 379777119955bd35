//! How a ring reaches the KEKs that its records name.

mod allowed;
mod uris;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::uris::UriBackends;
use super::Provenance;
use crate::backend::kek_uri::KekUri;
use crate::envelope::KekRef;
use crate::key::{KekAdmin, KeyManager};
use crate::value::error::Result;

/// Opens the KEKs that a ring's records name, with the credentials of this process.
///
/// A record says where a KEK is; the configuration of the process says which backends may be named at all, so that nobody who
/// writes a record makes a process call an address of his choice.
#[async_trait]
pub trait Backends: Debug + Send + Sync {
    /// Opens exactly this KEK: with a version, it wraps under that version and no other.
    ///
    /// # Errors
    /// `Configuration` if the backend may not be named here, or the KEK is not the one that the record names; those of [`KekUri::open`].
    async fn key(&self, provenance: &Provenance) -> Result<Arc<dyn KeyManager>>;

    /// Opens the administration of the KEKs where this URI points, with the credentials of an administrator.
    ///
    /// # Errors
    /// `Configuration` if the backend may not be named here; `Unsupported` if it has no administration.
    async fn admin(&self, uri: &str) -> Result<Arc<dyn KekAdmin>>;

    /// Opens the KEK where this URI points, in whichever version its backend chooses: what it wraps names the KEK that it is.
    ///
    /// # Errors
    /// `Configuration` if the backend may not be named here; those of [`KekUri::open`].
    async fn open(&self, uri: &str) -> Result<Arc<dyn KeyManager>>;

    /// Returns the URI of a KEK that the administration of `uri` has made under this name. Makes no call.
    ///
    /// # Errors
    /// Those of [`KekUri::sibling`].
    fn sibling(&self, uri: &str, name: &str, kek: &KekRef) -> Result<String> {
        let sibling = uri.parse::<KekUri>()?.sibling(name, kek)?;
        Ok(sibling.to_stored()?.to_owned())
    }
}
