//! Several key managers, and settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Sealer, Settings};
#[cfg(feature = "audit")]
use crate::audit::{Audited, Auditor};
use crate::envelope::ChunkSize;
use crate::key::{Authorization, KeyManager, RewrapRules};
use crate::message::Sealing;
use crate::message::parallel::Parallel;
#[cfg(feature = "ring")]
use crate::ring::profile::{Profiled, Profiles};
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
            authorizations: Arc::default(),
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
    #[cfg(feature = "ring")]
    profiles: Option<Arc<Profiles>>,
    #[cfg(feature = "cache")]
    cache: Option<Caching>,
    #[cfg(feature = "audit")]
    audit: Option<Auditor>,
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
    /// Wraps under this key manager, and opens with it. Several calls wrap under each of the key managers, at most 16,
    /// and any one of them opens.
    pub fn wrap_with(mut self, key_manager: impl KeyManager + 'static) -> Self {
        self.any_of = self.any_of.wrap_with(key_manager);
        self
    }

    /// Opens with this key manager and never wraps under it.
    pub fn open_with(mut self, key_manager: impl KeyManager + 'static) -> Self {
        self.any_of = self.any_of.open_with(key_manager);
        self
    }

    /// Seals and opens with the DEKs of this source in the place of key managers, for example a key ring or a cache. The
    /// source then decides which KEKs wrap and open.
    pub fn source(mut self, source: impl DekSource + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Keeps DEKs for a while, so that most calls ask no key manager and wait for nothing. The cache uses the sealer's
    /// runtime and registry of leases. [`Cached`] says what is kept, and for how long.
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

    /// Puts a source around the current source, the cache included, for audit and policy. The outer source is asked at
    /// each release of a DEK, also if the DEK was kept. A further call goes around that source.
    pub fn layer<S: DekSource>(
        mut self,
        layer: impl Fn(Arc<dyn DekSource>) -> S + Send + Sync + 'static,
    ) -> Self {
        self.layers
            .push(Layer(Arc::new(move |inner| Arc::new(layer(inner)))));
        self
    }

    /// Makes an event of each access to a KEK, and keeps it before anything is released: see [`audit`](crate::audit). The layer goes around the
    /// key managers or the source, beneath the sealer's cache. If the auditor wants
    /// [releases](crate::audit::AuditorBuilder::releases), a second one goes around everything else.
    #[cfg(feature = "audit")]
    pub fn audit(mut self, auditor: Auditor) -> Self {
        self.audit = Some(auditor);
        self
    }

    /// Shares this registry of leases with others. By default a sealer has a registry of its own, or that of the
    /// [`Cached`] that is its source. If both are given, they must be the same registry.
    pub fn leases(mut self, leases: Leases) -> Self {
        self.leases = Some(leases);
        self
    }

    /// Leaves KEK ids out of envelopes, see [`AnyOf::hiding_ids`].
    pub fn hide_kek_ids(mut self) -> Self {
        self.any_of = self.any_of.hiding_ids();
        self
    }

    /// Sets what a re-wrap may do beyond replacing its own wraps. By default a re-wrap keeps what it does not know, and
    /// leaves neither fewer wraps nor a weaker class.
    pub fn rewrap_rules(mut self, rules: RewrapRules<'static>) -> Self {
        self.settings.rules = rules;
        self
    }

    /// Sets who allows re-wraps that are otherwise forbidden, see [`Sealer::authorized_by`].
    pub fn authorized_by(mut self, authorizations: impl IntoIterator<Item = Authorization>) -> Self {
        self.settings.authorizations = authorizations.into_iter().collect();
        self
    }

    /// Sets the algorithms that seal payloads. AES-256-GCM by default. Opening uses the suite that the envelope's
    /// commitment proves.
    pub fn suite(mut self, suite: Suite) -> Self {
        self.settings.sealing.suite = suite;
        self
    }

    /// Sets the size of a chunk. 64 KiB by default.
    pub fn chunk_size(mut self, chunk_size: ChunkSize) -> Self {
        self.settings.sealing.chunk_size = chunk_size;
        self
    }

    /// Stores the context in each envelope, in the clear, for jobs that must re-wrap without knowing it. Off by default.
    /// Opening still needs the context from the caller, and refuses an envelope in which another context is stored.
    pub fn store_context(mut self) -> Self {
        self.settings.sealing.store_context = true;
        self
    }

    /// Reserves `bytes` of zeros in each wrap section, so that large objects can be re-wrapped in place. None by default.
    /// A re-wrap pads to the same length, whatever padding the old wrap section had.
    pub fn padding(mut self, bytes: usize) -> Self {
        self.settings.padding = bytes;
        self
    }

    /// Sets how long a [`DataKey`](super::DataKey) or an [`Opener`](super::Opener) may be used. One hour by default.
    pub fn data_key_age(mut self, age: Duration) -> Self {
        self.settings.data_key_age = age;
        self
    }

    /// Sets how long each request to the key managers may take as a whole. A request that takes longer fails with
    /// `TimedOut`, which is retryable. Key managers see the timeout as the request's deadline. None by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Sets the profile that each request names. A key ring with [profiles](crate::manual::errors#profiles) enforces what the profile
    /// demands, and so do key managers with them. Without profiles nothing in this crate looks at the name, except a key ring, which
    /// refuses it; a [`layer`](Self::layer) may.
    pub fn profile(mut self, profile: &str) -> Self {
        self.settings.profile = Some(profile.into());
        self
    }

    /// Restricts the use of the key managers by these profiles. A key ring has profiles of its own: see
    /// [`KeyRingBuilder::profiles`](crate::ring::KeyRingBuilder::profiles).
    ///
    /// A key manager tells its class, and neither a slot, nor where the key is kept, nor whether it was compromised. A profile that
    /// demands one of these refuses everything here.
    #[cfg(feature = "ring")]
    pub fn profiles(mut self, profiles: impl Into<Arc<Profiles>>) -> Self {
        self.profiles = Some(profiles.into());
        self
    }

    /// Seals and opens large payloads and streams on several threads. Off by default, see [`Parallel`].
    pub fn parallel(mut self, parallel: Parallel) -> Self {
        self.settings.parallel = Some(parallel);
        self
    }

    /// Sets the clock and the place of tasks. [`AmbientRuntime`] by default. The sealer checks the leases of its source
    /// by this clock, so the source must use the same runtime.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.settings.runtime = runtime;
        self
    }

    /// Builds the sealer.
    ///
    /// # Errors
    /// - `Configuration` without any key manager or source, or with both
    /// - `Configuration` if two key managers that wrap are the same key
    /// - `Configuration` for hidden ids if a key only wraps and nobody here unwraps with it
    /// - `Configuration` for a cache around a source that is a cache
    /// - `Configuration` for an auditor around a source that is a cache
    /// - `Configuration` for a registry of leases that is not that of the cache given as the source
    /// - `Configuration` for profiles beside a source, and for a profile that they do not have
    /// - `OverLimit` for more than 16 key managers that wrap, or for padding that leaves no room for a wrap section
    pub fn build(self) -> Result<Sealer> {
        #[cfg(feature = "ring")]
        if let Some(profiles) = &self.profiles {
            if self.source.is_some() {
                return Err(Error::configuration(
                    "profiles restrict key managers here; give the profiles of a key ring to the ring's builder",
                ));
            }
            if let Some(name) = self.settings.profile.as_deref() {
                profiles.check_name(name)?;
            }
        }
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
                let any_of = self.any_of.with_runtime(Arc::clone(&self.settings.runtime));
                #[cfg(feature = "ring")]
                let any_of = match self.profiles {
                    Some(profiles) => Arc::new(Profiled::new(any_of, profiles)) as Arc<dyn DekSource>,
                    None => Arc::new(any_of),
                };
                #[cfg(not(feature = "ring"))]
                let any_of = Arc::new(any_of);
                any_of
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
        #[cfg(feature = "audit")]
        let (source, releases) = match self.audit {
            #[cfg(feature = "cache")]
            Some(_) if at_hand::cache(source.as_ref()).is_some() => {
                return Err(Error::configuration(
                    "an auditor belongs beneath the cache: give the sealer the source and Builder::cache, in the place of the cache",
                ));
            }
            Some(auditor) => {
                #[cfg(feature = "ring")]
                let ring = at_hand::ring(source.as_ref()).cloned();
                #[cfg(not(feature = "ring"))]
                let ring = ();
                let releases = auditor.sees_releases().then(|| (auditor.clone(), ring));
                let audited = Arc::new(Audited::accesses(source, auditor)) as Arc<dyn DekSource>;
                (audited, releases)
            }
            None => (source, None),
        };
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
        #[cfg(feature = "audit")]
        if let Some((auditor, ring)) = releases {
            let audited = Audited::releases(sealer.source, auditor);
            #[cfg(feature = "ring")]
            let audited = match ring {
                Some(ring) => audited.of_ring(ring),
                None => audited,
            };
            #[cfg(not(feature = "ring"))]
            let () = ring;
            sealer.source = Arc::new(audited);
        }
        Ok(sealer)
    }
}
