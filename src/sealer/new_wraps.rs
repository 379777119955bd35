//! The result of a re-wrap.

use std::fmt;

use crate::envelope::{Header, Wraps};
use crate::key::Authorization;
use crate::source::{Rewrapped, StanzaFate, Unmet};
use crate::value::error::{Error, Result};

/// New wraps for one envelope: the bytes that take the place of everything before its body.
///
/// Nothing changes until the caller stores them. [`splice`](Self::splice) returns a whole new envelope.
/// [`prefix`](Self::prefix) and [`replaces`](Self::replaces) let a store write only the front.
/// [`in_place`](Self::in_place) returns bytes of the old length, if they fit.
///
/// ```
/// # use waxseal::{EncryptionContext, Kek, Sealer, blocking, backend::local::LocalKey};
/// # use waxseal::envelope::Header;
/// # use waxseal::source::Fate;
/// # let (old, new) = (LocalKey::new(&Kek::generate()?), LocalKey::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("bucket", "reports")])?;
/// # let object = blocking::Sealer::new(old.clone()).seal(b"hello", &context)?;
/// # let sealer = blocking::Sealer::from(Sealer::builder().wrap_with(new).open_with(old).build()?);
/// // The header is enough, however long the object is.
/// let header = Header::parse(&object)?;
/// let wraps = sealer.rewrap(header.as_bytes(), &context)?;
/// assert!(wraps.stanzas().iter().all(|stanza| stanza.fate == Fate::Replaced));
///
/// // The store writes the new front, and copies the rest of the object behind it.
/// let (front, rest) = (wraps.prefix(), &object[wraps.replaces()..]);
/// # assert_eq!([front, rest].concat(), wraps.splice(&object)?);
/// # assert_eq!(sealer.open(&[front, rest].concat(), &context)?, b"hello");
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct NewWraps {
    wraps: Wraps,
    prefix: Vec<u8>,
    /// The old envelope's bytes before its body, and the head of its body.
    old: Vec<u8>,
    replaces: usize,
    stanzas: Vec<StanzaFate>,
    changed: bool,
    verified: bool,
    unmet: Vec<Unmet>,
    authorizations: Vec<Authorization>,
}

impl NewWraps {
    pub(super) fn new(header: &Header<'_>, rewrapped: &Rewrapped, padding: usize) -> Result<Self> {
        let wraps = Wraps::Attached(rewrapped.wraps().clone());
        let prefix = wraps.prefix(padding)?;
        Ok(Self {
            wraps,
            prefix,
            old: header.as_bytes().to_vec(),
            replaces: header.body_offset(),
            stanzas: rewrapped.stanzas().to_vec(),
            changed: rewrapped.is_changed(),
            verified: rewrapped.lease().is_some(),
            unmet: rewrapped.unmet().to_vec(),
            authorizations: rewrapped.authorizations().to_vec(),
        })
    }

    /// Returns the new bytes before the body.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Returns how many bytes of the old envelope the new bytes replace. Every byte after them stays as it is.
    #[must_use]
    pub fn replaces(&self) -> usize {
        self.replaces
    }

    /// The old envelope's header.
    pub(crate) fn old_header(&self) -> &[u8] {
        &self.old
    }

    /// Length of the new bytes without any padding.
    pub(crate) fn bare_len(&self) -> usize {
        self.wraps.prefix(0).map_or(usize::MAX, |prefix| prefix.len())
    }

    /// Returns what became of each wrap of the old envelope, in its order: kept, replaced or dropped.
    #[must_use]
    pub fn stanzas(&self) -> &[StanzaFate] {
        &self.stanzas
    }

    /// Returns whether the new wraps differ from the old wraps.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Returns whether the DEK was compared with the body's commitment. It was not if the KMS re-wrapped on its own side:
    /// the new wrap then opens whatever the old wrap opened.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.verified
    }

    /// Returns what the profile demands and the new wraps do not have. Empty unless the rules let them
    /// [fall short](crate::key::RewrapRules::falling_short).
    #[must_use]
    pub fn unmet(&self) -> &[Unmet] {
        &self.unmet
    }

    /// Returns the authorizations under which a key was used that is otherwise refused, such as the approval for a revoked key of a key
    /// ring.
    #[must_use]
    pub fn authorizations(&self) -> &[Authorization] {
        &self.authorizations
    }

    /// Returns the wraps.
    #[must_use]
    pub fn wraps(&self) -> &Wraps {
        &self.wraps
    }

    /// Returns the whole new envelope.
    ///
    /// # Errors
    /// `InvalidArgument` if `envelope` is not the envelope that was re-wrapped.
    pub fn splice(&self, envelope: &[u8]) -> Result<Vec<u8>> {
        if !envelope.starts_with(&self.old) {
            return Err(Error::argument("these wraps were made for another envelope"));
        }
        let body = envelope.get(self.replaces..).unwrap_or_default();
        Ok([self.prefix.as_slice(), body].concat())
    }

    /// Returns the new bytes before the body, padded to exactly the length of the old bytes, or `None` if they do not
    /// fit.
    ///
    /// Write them only if they are replaced as a whole (a database value, an object), or through a journal that survives
    /// a crash, as [`rewrap_file`](crate::in_place::rewrap_file) does for files. A half-written wrap section is refused.
    #[must_use]
    pub fn in_place(&self) -> Option<Vec<u8>> {
        let bare = self.wraps.prefix(0).ok()?;
        let padding = self.replaces.checked_sub(bare.len())?;
        self.wraps.prefix(padding).ok()
    }
}

impl fmt::Debug for NewWraps {
    // The old header may hold a stored context, so it is not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWraps")
            .field("wraps", &self.wraps)
            .field("replaces", &self.replaces)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::backend::local::LocalKey;
    use crate::{EncryptionContext, Kek, Sealer, blocking};

    #[test]
    fn debug_shows_no_bytes_of_the_old_header_nor_of_the_new() {
        let builder = Sealer::builder().wrap_with(LocalKey::new(&Kek::generate().unwrap()));
        let sealer = blocking::Sealer::from(builder.store_context().build().unwrap());
        let context = EncryptionContext::new([("tenant", "CANARY")]).unwrap();
        let sealed = sealer.seal(b"x", &context).unwrap();
        let shown = format!("{:?}", sealer.rewrap(&sealed, &context).unwrap());
        assert!(shown.contains("local"), "{shown}");
        assert!(
            !shown.contains(&format!("{:?}", b"CANARY").replace(['[', ']'], "")),
            "{shown}"
        );
        assert!(!shown.contains("87, 65, 88"), "{shown}");
    }
}
