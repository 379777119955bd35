//! Several key managers, and settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Sealer, Settings};
use crate::envelope::ChunkSize;
use crate::key::{KeyManager, RewrapRules};
use crate::message::Sealing;
use crate::message::parallel::Parallel;
use crate::runtime::{AmbientRuntime, Runtime};
use crate::source::AnyOf;
#[cfg(feature = "cache")]
use crate::source::{Cached, Caching, at_hand};
use crate::source::{DekSource, Leases};
use crate::value::error::{Error, Result};
use crate::value::limits;
use crate::value::suite::Suite;

impl Default for Settings {
    fn default() -> Self {
        Self {
            sealing: Sealing::default(),
            padding: 0,
            runtime: Arc::new(AmbientRuntime),
            data_key_age: Duration::from_secs(3600),
            timeout: None,
            profile: None,
            actor: None,
            request_id: None,
            rules: RewrapRules::new(),
            parallel: None,
        }
    }
}

/// Builds a [`Sealer`].
///
/// ```
/// # use waxseal::{Kek, Sealer, Suite, backend::local::LocalKey};
/// # let (new, old) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
/// let sealer = Sealer::builder()
///     .wrap_with(new)
///     .open_with(old)
///     .suite(Suite::ChaCha20Poly1305)
///     .build()?;
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    any_of: AnyOf,
    source: Option<Arc<dyn DekSource>>,
    #[cfg(feature = "cache")]
    cache: Option<Caching>,
    layers: Vec<Layer>,
    leases: Option<Leases>,
    settings: Settings,
}

/// Makes a source around a source.
type Around = dyn Fn(Arc<dyn DekSource>) -> Arc<dyn DekSource> + Send + Sync;

#[derive(Clone)]
struct Layer(Arc<Around>);

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layer")
    }
}

impl Builder {
    /// Wraps under this key manager, and opens with it. Called again: wraps under each, any of which opens; at
    /// most 16.
    pub fn wrap_with(mut self, key_manager: impl KeyManager + 'static) -> Self {
        self.any_of = self.any_of.wrap_with(key_manager);
        self
    }

    /// Opens with this key manager, and never wraps under it.
    pub fn open_with(mut self, key_manager: impl KeyManager + 'static) -> Self {
        self.any_of = self.any_of.open_with(key_manager);
        self
    }

    /// Seals and opens with the DEKs of this source, in place of key managers: a key ring, a cache. Which KEKs
    /// wrap and open is then the source's affair.
    pub fn source(mut self, source: impl DekSource + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Keeps DEKs for a while, so that most calls ask no key manager and wait for nothing. With the sealer's runtime, in
    /// its registry of leases. See [`Cached`] for what is kept, and for how long.
    ///
    /// ```
    /// # use waxseal::{Kek, Sealer, backend::local::LocalKey};
    /// use waxseal::source::Caching;
    ///
    /// # let key = LocalKey::new(&Kek::generate()?);
    /// let sealer = Sealer::builder().wrap_with(key).cache(Caching::default()).build()?;
    /// assert_eq!(sealer.cache().map(|cache| cache.stats().hits), Some(0));
    /// # Ok::<(), waxseal::Error>(())
    /// ```
    #[cfg(feature = "cache")]
    pub fn cache(mut self, policy: Caching) -> Self {
        self.cache = Some(policy);
        self
    }

    /// Puts a source around what there is, the cache included: it is asked at each release of a DEK, also if the DEK is
    /// kept. For audit and policy. Called again: around that.
    pub fn layer<S: DekSource>(
        mut self,
        layer: impl Fn(Arc<dyn DekSource>) -> S + Send + Sync + 'static,
    ) -> Self {
        self.layers
            .push(Layer(Arc::new(move |inner| Arc::new(layer(inner)))));
        self
    }

    /// Takes part in this registry of leases, with others who do. By default a sealer has one of its own, or that of the
    /// [`Cached`] that it is given as its source, which has to be this one if both are given.
    pub fn leases(mut self, leases: Leases) -> Self {
        self.leases = Some(leases);
        self
    }

    /// Leaves KEK ids out of envelopes, see [`AnyOf::hiding_ids`].
    pub fn hide_kek_ids(mut self) -> Self {
        self.any_of = self.any_of.hiding_ids();
        self
    }

    /// Says what a re-wrap may do beyond replacing wraps of its own: by default it keeps what it does not know, and
    /// leaves neither fewer wraps nor a weaker class.
    pub fn rewrap_rules(mut self, rules: RewrapRules<'static>) -> Self {
        self.settings.rules = rules;
        self
    }

    /// What seals payloads. AES-256-GCM by default. Opening takes the suite that the envelope's commitment
    /// proves.
    pub fn suite(mut self, suite: Suite) -> Self {
        self.settings.sealing.suite = suite;
        self
    }

    /// The size of a chunk. 64 KiB by default.
    pub fn chunk_size(mut self, chunk_size: ChunkSize) -> Self {
        self.settings.sealing.chunk_size = chunk_size;
        self
    }

    /// Stores the context in each envelope, in the clear, for jobs that must re-wrap without knowing it.
    /// Off by default. Opening still needs the context from the caller, and refuses another.
    pub fn store_context(mut self) -> Self {
        self.settings.sealing.store_context = true;
        self
    }

    /// Reserves `bytes` of zeros in each wrap section, so that large objects can be re-wrapped in place. None by
    /// default. A re-wrap pads as this says too, whatever the old wrap section had.
    pub fn padding(mut self, bytes: usize) -> Self {
        self.settings.padding = bytes;
        self
    }

    /// How long a [`DataKey`](super::DataKey) or an [`Opener`](super::Opener) may be used. One hour by default.
    pub fn data_key_age(mut self, age: Duration) -> Self {
        self.settings.data_key_age = age;
        self
    }

    /// How long each request to the key managers may take, all of it together; then it gives `TimedOut`, which is
    /// retryable. Key managers see it as the request's deadline. None by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// The profile that each request to a key manager names.
    pub fn profile(mut self, profile: &str) -> Self {
        self.settings.profile = Some(profile.into());
        self
    }

    /// Seals and opens large payloads and streams on several threads. Off by default: see [`Parallel`].
    pub fn parallel(mut self, parallel: Parallel) -> Self {
        self.settings.parallel = Some(parallel);
        self
    }

    /// Where time comes from. [`AmbientRuntime`] by default. Leases of a source are held against this clock, so
    /// it has to be the source's too.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.settings.runtime = runtime;
        self
    }

    /// The sealer.
    ///
    /// # Errors
    /// `Configuration` without any key manager or source, with both, with one key to wrap with twice, with hidden ids of
    /// a key that only wraps and that nobody here unwraps with, with a cache around a source that is one, or with a registry
    /// of leases that is not that of such a source; `OverLimit` for more than 16 that wrap, or padding that leaves no room
    /// for a wrap section.
    pub fn build(self) -> Result<Sealer> {
        let source = match self.source {
            Some(source) if self.any_of.is_default() => source,
            Some(_) => {
                return Err(Error::configuration(
                    "a sealer takes key managers and their settings, or a source, and not both",
                ));
            }
            None if self.any_of.is_empty() => {
                return Err(Error::configuration(
                    "a sealer needs a key manager: wrap_with or open_with",
                ));
            }
            None => {
                limits::STANZAS.check(self.any_of.wraps())?;
                self.any_of.check_twice()?;
                self.any_of.check_hidden()?;
                Arc::new(self.any_of.with_runtime(Arc::clone(&self.settings.runtime)))
            }
        };
        limits::WRAP_SECTION.check(self.settings.padding)?;
        #[cfg(feature = "cache")]
        if let (Some(leases), Some(cache)) = (&self.leases, at_hand::cache(source.as_ref()))
            && !leases.is_same(cache.leases())
        {
            return Err(Error::configuration(
                "the sealer's source is a cache with another registry of leases: give both the same, or none to the sealer",
            ));
        }
        let leases = self.leases.unwrap_or_default();
        #[cfg(feature = "cache")]
        let source = match self.cache {
            Some(_) if at_hand::cache(source.as_ref()).is_some() => {
                return Err(Error::configuration("the sealer's source is a cache already"));
            }
            Some(policy) => {
                let runtime = Arc::clone(&self.settings.runtime);
                let cached = Cached::with_leases(source, policy, runtime, leases.clone());
                Arc::new(cached) as Arc<dyn DekSource>
            }
            None => source,
        };
        let mut sealer = Sealer::of(source, leases, self.settings);
        for Layer(around) in self.layers {
            sealer.source = around(sealer.source);
        }
        Ok(sealer)
    }
}
