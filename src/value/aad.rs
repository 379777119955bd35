//! The AAD of a message.

use std::fmt;

use crate::value::error::Result;
use crate::value::limits;

/// Additional authenticated data: the bytes that a message is bound to beside its encryption context, such as a row id.
///
/// The AAD is *fine*: it names one value (a row, a column, a file), costs no call to a key manager and no key
/// derivation, is not stored in the envelope, and never leaves the process. A reader must pass the same
/// bytes. Without an AAD, anybody who can write to the store can exchange values that were sealed in one context.
///
/// The AAD has its own type, so that nobody can exchange plaintext and AAD by mistake. In every call the order is: the value to
/// seal or open, the AAD, the destination. A [`Sealer`](crate::Sealer) takes context and AAD together, see
/// [`EncryptionContext::with_aad`](crate::EncryptionContext::with_aad).
///
/// An AAD has at most 65,536 bytes. `Debug` shows only the length.
///
/// ```
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// use waxseal::Aad;
///
/// let key = sealer.data_key(&context)?;
/// let sealed = key.seal(b"alice@example.com", Aad::new("row 7"))?;
/// assert_eq!(key.open(&sealed, Aad::new("row 7"))?, b"alice@example.com");
/// assert!(key.open(&sealed, Aad::new("row 8")).is_err());
/// # Ok::<(), waxseal::Error>(())
/// ```
///
/// Plain bytes are not an AAD:
///
/// ```compile_fail
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let key = sealer.data_key(&EncryptionContext::new([("tenant", "acme")])?)?;
/// key.seal(b"alice@example.com", b"row 7")?;
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Aad<'a>(&'a [u8]);

impl<'a> Aad<'a> {
    /// Makes an AAD of these bytes. An empty slice is the same as [`none`](Self::none).
    #[must_use]
    pub fn new(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self(bytes.as_ref())
    }

    /// Makes the empty AAD: the message is bound only to its encryption context.
    #[must_use]
    pub const fn none() -> Self {
        Self(&[])
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Refuses an AAD above the limit.
    pub(crate) fn check(self) -> Result<()> {
        limits::AAD.check(self.0.len())
    }
}

impl AsRef<[u8]> for Aad<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl fmt::Debug for Aad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aad({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::error::ErrorKind;

    #[test]
    fn debug_shows_the_length_only() {
        assert_eq!(
            format!("{:?} {:?}", Aad::new("CANARY"), Aad::none()),
            "Aad(6 bytes) Aad(0 bytes)"
        );
    }

    #[test]
    fn an_aad_above_the_limit_is_refused() {
        assert!(Aad::new(&[0; 65_536]).check().is_ok());
        let error = Aad::new(&[0; 65_537]).check().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OverLimit { max: 65_536, .. }));
    }

    #[test]
    fn no_bytes_are_no_aad() {
        assert_eq!(Aad::new(""), Aad::none());
        assert_eq!(Aad::default(), Aad::none());
    }
}
