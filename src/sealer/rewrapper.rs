//! Re-wraps many values, so that values of one DEK keep sharing their wraps.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use sha2::{Digest, Sha256};

use super::{NewWraps, Sealer};
use crate::envelope::{Header, KekRef, WrapSection};
use crate::key::Purpose;
use crate::source::lease::DekLease;
use crate::source::{Currency, Fate, Rewrapped};
use crate::value::context::EncryptionContext;
use crate::value::error::{Operation, Result};

/// How many wrap sections are remembered by default.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Re-wraps many values, one after another, for the loop over the rows of a table.
///
/// Values that were sealed under one data key share their wraps, and reading them costs one call to the KMS. A
/// `Rewrapper` remembers the new wraps of a wrap section in a context, and returns them for every value with the same old
/// wraps: 400 values of 20 data keys cost 20 unwraps and 20 wraps, and still cost 20 calls to read. It skips a value that
/// is known to be wrapped as configured, so a second run changes nothing; see *Versions*.
///
/// ```
/// # use waxseal::{EncryptionContext, Kek, Sealer, blocking, backend::local::LocalKey};
/// # let (old, new) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("table", "users")])?;
/// # let mut rows = Vec::new();
/// # let data_key = blocking::Sealer::new(old.clone()).data_key(&context)?;
/// # for row in ["a", "b"] { rows.push(data_key.seal(row.as_bytes(), waxseal::Aad::none())?); }
/// let sealer = Sealer::builder().wrap_with(new).open_with(old).build()?;
/// let mut rewrapper = blocking::Sealer::from(sealer).rewrapper();
/// for row in &mut rows {
///     if let Some(wraps) = rewrapper.rewrap(row, &context)? {
///         *row = wraps.splice(row)?; // and store it, if it was not changed meanwhile
///     }
/// }
/// assert_eq!((rewrapper.counts().rewrapped, rewrapper.counts().reused), (1, 1));
/// # Ok::<(), waxseal::Error>(())
/// ```
///
/// *Memory.* What a `Rewrapper` remembers is bounded, see [`remembering`](Self::remembering). It holds the data keys of
/// these wrap sections, and wipes each one when it forgets it or is dropped. If it holds the data key, it verifies the
/// commitment of each value before it returns new wraps: a body that somebody put behind copied wraps is opened the
/// general way, and fails. If the KMS re-wrapped on its own side, there is no data key here, and
/// [`NewWraps::is_verified`] returns `false`.
///
/// *Versions.* The first re-wrap in each context shows which version of a KEK wraps, and the `Rewrapper` relies on that
/// for as long as it lives. After a rotation, make a new one. Some KMSs do not tell which version wrapped
/// ([`Capabilities::hides_versions`](crate::key::Capabilities::hides_versions): AWS KMS, for most calls). Then nobody
/// knows whether a value is under the newest key material, so each run moves each data key once, and a second run has a
/// cost.
///
/// *Registry.* These data keys are in the sealer's [registry of leases](Sealer::leases). If something is ended or turned
/// over there, a `Rewrapper` forgets everything. If a lease is over, it asks for that data key again.
///
/// To run several at once, give each of them the values of other data keys or of other contexts.
pub struct Rewrapper {
    sealer: Sealer,
    /// By wrap section and context.
    memory: LruCache<[u8; 32], Rewrapped>,
    /// The KEKs that wrap now, by context.
    current: LruCache<[u8; 32], Vec<KekRef>>,
    /// The registry's, when the above was learned.
    epoch: u64,
    counts: RewrapCounts,
}

/// What a [`Rewrapper`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RewrapCounts {
    /// Values that were looked at: the sum of those that were rewrapped, reused, skipped or failed.
    pub examined: u64,
    /// Values for which new wraps were made.
    pub rewrapped: u64,
    /// Values that got the new wraps of another value of the same data key, without a call.
    pub reused: u64,
    /// Values that were already wrapped as configured.
    pub skipped: u64,
    /// Values that failed. [`Rewrapper::rewrap`] returned the error.
    pub failed: u64,
    /// Values among those rewrapped or reused whose data key was not compared with their commitment, because the KMS
    /// re-wrapped on its own side.
    pub unverified: u64,
    /// Wraps of others that values kept.
    pub kept: u64,
    /// Wraps that were removed because the rules say so.
    pub dropped: u64,
    /// Values whose wraps still miss a requirement of the profile, because the rules allow it.
    pub short: u64,
    /// Values among those rewrapped or reused for which a key was used that is otherwise refused, under an
    /// [authorization](NewWraps::authorizations).
    pub authorized: u64,
}

impl Rewrapper {
    pub(super) fn new(sealer: Sealer) -> Self {
        Self {
            epoch: sealer.leases.epoch(),
            sealer,
            memory: LruCache::new(REMEMBERED),
            current: LruCache::new(REMEMBERED),
            counts: RewrapCounts::default(),
        }
    }

    /// Sets how many wrap sections, each with its data key, and how many contexts are remembered. 1,024 by default.
    #[must_use]
    pub fn remembering(mut self, wrap_sections: NonZeroUsize) -> Self {
        self.memory.resize(wrap_sections);
        self.current.resize(wrap_sections);
        self
    }

    /// Returns new wraps for one value, or `None` if it is already wrapped as configured. As for [`Sealer::rewrap`],
    /// `prefix` needs only to hold the envelope's header.
    ///
    /// # Errors
    /// The errors of [`Sealer::rewrap`]. An error is about this value alone, so go on with the next value.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing. The value counts as examined.
    pub async fn rewrap(&mut self, prefix: &[u8], context: &EncryptionContext) -> Result<Option<NewWraps>> {
        self.counts.examined += 1;
        let result = self.rewrap_inner(prefix, context).await;
        match &result {
            Err(_) => self.counts.failed += 1,
            Ok(None) => self.counts.skipped += 1,
            Ok(Some(new)) => {
                let with_fate =
                    |fate| new.stanzas().iter().filter(|stanza| stanza.fate == fate).count() as u64;
                self.counts.kept += with_fate(Fate::Kept);
                self.counts.dropped += with_fate(Fate::Dropped);
                self.counts.unverified += u64::from(!new.is_verified());
                self.counts.authorized += u64::from(!new.authorizations().is_empty());
            }
        }
        result.map_err(|error| error.with_operation(Operation::Rewrap))
    }

    async fn rewrap_inner(&mut self, prefix: &[u8], context: &EncryptionContext) -> Result<Option<NewWraps>> {
        let header = Header::parse(prefix)?;
        header.check_stored_context(context.digest())?;
        let section = header.wrap_section()?;
        let padding = self.sealer.settings.padding;
        let key = key_of(&section, context);
        let epoch = self.sealer.leases.epoch();
        if self.epoch != epoch {
            self.memory.clear();
            self.current.clear();
            self.epoch = epoch;
        }
        if let Some(made) = self.memory.get(&key) {
            let now = self.sealer.settings.runtime.now();
            let verify = |lease: &Arc<DekLease>| {
                lease.check(now)?;
                lease.verify(header.body(), context)
            };
            let verified = made.lease().map(verify);
            match verified {
                // The same wraps before another body, or a lease that is over: the general way decides.
                Some(Err(_)) => {}
                Some(Ok(())) | None if !made.is_changed() => {
                    self.counts.short += u64::from(!made.unmet().is_empty());
                    return Ok(None);
                }
                Some(Ok(())) | None => {
                    self.counts.short += u64::from(!made.unmet().is_empty());
                    let new = NewWraps::new(&header, made, padding)?;
                    self.counts.reused += 1;
                    return Ok(Some(new));
                }
            }
        } else if self.currency(&section, context, header.body().has_stored_context()) == Currency::Current {
            return Ok(None);
        }
        let current = self.current.get(context.digest()).map_or(&[][..], Vec::as_slice);
        let request = self.sealer.request(context, Purpose::Rewrap);
        let request = request.with_stored_context(header.body().has_stored_context());
        let rules = request.rewrap_rules().unless_under(current);
        let request = request.with_rewrap_rules(rules);
        let source = self.sealer.source.as_ref();
        let made = self
            .sealer
            .bounded(source.rewrap(section, header.body(), &request))
            .await?;
        made.check(rules)?;
        if let Some(lease) = made.lease() {
            self.sealer.leases.remember(lease, Some(section), context);
        }
        // An answer that was asked for before something was ended is not used again after it.
        let keeps = epoch == self.sealer.leases.epoch() && source.may_keep(&request);
        self.counts.short += u64::from(!made.unmet().is_empty());
        if keeps && !made.under().is_empty() {
            self.current.put(*context.digest(), made.under().to_vec());
        }
        let new = if made.is_changed() {
            let new = NewWraps::new(&header, &made, padding)?;
            if keeps {
                self.remember_new(&new, &made, context)?;
            }
            self.counts.rewrapped += 1;
            Some(new)
        } else {
            None
        };
        if keeps {
            self.memory.put(key, made);
        }
        Ok(new)
    }

    /// The new wraps are current if they come by again.
    fn remember_new(&mut self, new: &NewWraps, made: &Rewrapped, context: &EncryptionContext) -> Result<()> {
        let front = new
            .prefix()
            .get(crate::envelope::PREFIX_FIXED..)
            .unwrap_or_default();
        let section = WrapSection::parse(front)?;
        let mut unchanged = Rewrapped::unchanged(&section)?
            .wrapped_under(made.under().to_vec())
            .with_unmet(made.unmet().to_vec());
        if let Some(lease) = made.lease() {
            unchanged = unchanged.with_lease(Arc::clone(lease));
        }
        self.memory.put(key_of(&section, context), unchanged);
        Ok(())
    }

    /// Returns whether a value is already wrapped as configured, without a call. Returns `Unknown` if only an unwrap can
    /// tell, or until the first re-wrap in this context has shown which version wraps. [`rewrap`](Self::rewrap) finds it
    /// out.
    ///
    /// # Errors
    /// The errors of [`Header::parse`]; `ContextMismatch` if another context is stored in the header.
    pub fn is_current(&self, prefix: &[u8], context: &EncryptionContext) -> Result<Currency> {
        let parsed = || -> Result<_> {
            let header = Header::parse(prefix)?;
            header.check_stored_context(context.digest())?;
            Ok((header.wrap_section()?, header.body().has_stored_context()))
        };
        let (section, stores) = parsed().map_err(|error| error.with_operation(Operation::Rewrap))?;
        let is_known = self.epoch == self.sealer.leases.epoch();
        let known = self.memory.peek(&key_of(&section, context)).filter(|_| is_known);
        Ok(match known {
            Some(made) if made.is_changed() => Currency::Stale,
            Some(_) => Currency::Current,
            None => self.currency(&section, context, stores),
        })
    }

    fn currency(&self, section: &WrapSection<'_>, context: &EncryptionContext, stores: bool) -> Currency {
        let is_known = self.epoch == self.sealer.leases.epoch();
        let current = self.current.peek(context.digest()).filter(|_| is_known);
        let current = current.map_or(&[][..], Vec::as_slice);
        let rules = self.sealer.settings.rules;
        let request = self
            .sealer
            .request(context, Purpose::Rewrap)
            .with_stored_context(stores)
            .with_rewrap_rules(rules.unless_under(current));
        self.sealer.source.as_ref().is_current(*section, &request)
    }

    /// Returns what was done so far.
    #[must_use]
    pub fn counts(&self) -> RewrapCounts {
        self.counts
    }
}

/// The stanzas without padding, and the context.
fn key_of(section: &WrapSection<'_>, context: &EncryptionContext) -> [u8; 32] {
    let (threshold, count, stanzas) = section.parts();
    let mut hash = Sha256::new();
    hash.update(context.digest());
    hash.update([threshold, count]);
    hash.update(stanzas);
    hash.finalize().into()
}

impl fmt::Debug for Rewrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrapper")
            .field("sealer", &self.sealer)
            .field("remembered", &self.memory.len())
            .field("counts", &self.counts)
            .finish()
    }
}
