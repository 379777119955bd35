//! Keys and plaintext in memory: wiped when dropped, never printed, never cloned.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretBox, SecretSlice, SecretString};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::value::entropy;
use crate::value::error::{Error, ErrorKind, Result};

/// Length of every DEK and local KEK, in bytes.
pub const KEY_LEN: usize = 32;

/// A data encryption key: 32 uniform random bytes that seal payloads and are themselves stored wrapped.
///
/// A DEK is in its own heap allocation, which is wiped when the last owner is dropped. So moving a DEK leaves no
/// copy behind. A DEK has no `Clone`, `Display` or serde implementation, and `Debug` hides it.
pub struct Dek(Arc<Wiped<KEY_LEN>>);

impl Dek {
    /// Generates a DEK from the operating system's randomness.
    ///
    /// # Errors
    /// [`Entropy`](crate::ErrorKind::Entropy) if the operating system returns no randomness.
    pub fn generate() -> Result<Self> {
        let mut dek = Arc::new(Wiped::new([0; KEY_LEN]));
        // Filled in place: nobody else has it yet.
        let room = Arc::get_mut(&mut dek).ok_or_else(|| Error::new(ErrorKind::Entropy))?;
        entropy::fill(room.as_mut_slice())?;
        Ok(Self(dek))
    }

    /// Makes a DEK from bytes that a key manager returned. The caller must wipe its own copy.
    ///
    /// The bytes must be uniformly random, because keys are derived from them without an extract step.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Self {
        Self(Arc::new(Wiped::new(*bytes)))
    }

    /// Shares the DEK with another owner in this crate, without a copy of its bytes.
    pub(crate) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Makes a DEK from a slice of 32 bytes. The caller must wipe its own copy.
    ///
    /// # Errors
    /// [`CannotOpen`](crate::ErrorKind::CannotOpen) if the length is not 32.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; KEY_LEN] = bytes.try_into().map_err(|_| Error::cannot_open())?;
        Ok(Self::from_bytes(bytes))
    }

    /// Returns the bytes, for a backend that wraps them.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Compares two DEKs in constant time.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dek(..)")
    }
}

/// A key encryption key that this process holds: 32 uniform random bytes.
///
/// Only the local backend has KEKs in the process; the KEKs of every other backend stay in that backend. A KEK is wiped when it is dropped.
/// It has no `Clone` and no `Display`, and `Debug` hides it.
///
/// ```
/// use waxseal::{Kek, backend::local::LocalKey};
///
/// let kek = Kek::generate()?; // in production: LocalKey::from_env("WAXSEAL_KEK")
/// let key_manager = LocalKey::new(&kek);
/// # drop(key_manager);
/// # Ok::<(), waxseal::Error>(())
/// ```
pub struct Kek(SecretBox<[u8; KEY_LEN]>);

impl Kek {
    /// Generates a KEK from the operating system's randomness.
    ///
    /// # Errors
    /// [`Entropy`](crate::ErrorKind::Entropy) if the operating system returns no randomness.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        entropy::fill(bytes.as_mut_slice())?;
        Ok(Self::from_bytes(&bytes))
    }

    /// Makes a KEK from bytes. The caller must wipe its own copy.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Self {
        Self(SecretBox::init_with_mut(|kek: &mut [u8; KEY_LEN]| *kek = *bytes))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8; KEY_LEN] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek(..)")
    }
}

/// Plaintext that was opened. It is wiped when it is dropped, and `Debug` shows only its length.
///
/// Use it as a byte slice, or as text by [`as_str`](Self::as_str). To keep it longer, move it into a type that wipes too:
/// [`into_zeroizing`](Self::into_zeroizing), [`into_secret_slice`](Self::into_secret_slice) or
/// [`into_secret_string`](Self::into_secret_string). [`into_vec`](Self::into_vec) takes the bytes out, and the
/// caller must wipe them.
///
/// ```
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// # let sealed = sealer.seal("pässword".as_bytes(), &context)?;
/// use waxseal::secrecy::ExposeSecret;
///
/// let opened = sealer.open(&sealed, &context)?;
/// assert_eq!(opened.as_str()?, "pässword");
/// let password = opened.into_secret_string()?;
/// assert_eq!(password.expose_secret(), "pässword");
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Default)]
pub struct Plaintext(Vec<u8>);

impl Plaintext {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Takes out the bytes. They are no longer wiped when they are dropped.
    #[must_use]
    pub fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// Moves the bytes into a [`Zeroizing`], which still wipes them. Nothing is copied.
    #[must_use]
    pub fn into_zeroizing(self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.into_vec())
    }

    /// Moves the bytes into a secret, which still wipes them and exposes them only on request.
    #[must_use]
    pub fn into_secret_slice(mut self) -> SecretSlice<u8> {
        self.fit();
        SecretSlice::from(self.into_vec())
    }

    /// Moves the text into a secret, which still wipes it and exposes it only on request.
    ///
    /// # Errors
    /// `InvalidArgument` if the plaintext is not UTF-8; the plaintext is then wiped.
    pub fn into_secret_string(mut self) -> Result<SecretString> {
        self.as_str()?;
        self.fit();
        // It was text a moment ago.
        let text = String::from_utf8(self.into_vec()).map_err(|error| {
            error.into_bytes().as_mut_slice().zeroize();
            Error::argument("the plaintext is not UTF-8 text")
        })?;
        Ok(SecretString::from(text))
    }

    /// Returns the plaintext as text.
    ///
    /// # Errors
    /// `InvalidArgument` if the plaintext is not UTF-8. The error names the position but not the bytes.
    pub fn as_str(&self) -> Result<&str> {
        std::str::from_utf8(&self.0).map_err(|error| {
            Error::argument(format!(
                "the plaintext is not UTF-8 text: no character begins at byte {}; use it as bytes",
                error.valid_up_to()
            ))
        })
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Makes the capacity the length, so that nobody shrinks it and leaves a copy behind that is not wiped.
    fn fit(&mut self) {
        if self.0.capacity() != self.0.len() {
            let mut fitting = Vec::with_capacity(self.0.len());
            fitting.extend_from_slice(&self.0);
            self.0.as_mut_slice().zeroize();
            self.0 = fitting;
        }
    }
}

impl From<Plaintext> for Zeroizing<Vec<u8>> {
    fn from(plaintext: Plaintext) -> Self {
        plaintext.into_zeroizing()
    }
}

impl From<Plaintext> for SecretSlice<u8> {
    fn from(plaintext: Plaintext) -> Self {
        plaintext.into_secret_slice()
    }
}

impl TryFrom<Plaintext> for SecretString {
    type Error = Error;

    fn try_from(plaintext: Plaintext) -> Result<Self> {
        plaintext.into_secret_string()
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        // As a slice: wiping a vector goes byte by byte and would cost more than opening it did. The bytes after
        // its length never held plaintext.
        self.0.as_mut_slice().zeroize();
    }
}

impl Deref for Plaintext {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Plaintext {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Plaintext {
    /// Compares the bytes. Not in constant time: plaintext is data, not a key.
    fn eq(&self, other: &T) -> bool {
        self.0.as_slice() == other.as_ref()
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.0.len())
    }
}

/// Secret bytes on the stack, wiped when dropped. As a slice: `Zeroizing` wipes an array byte by byte, which costs as much
/// as sealing some dozens of them.
pub(crate) struct Wiped<const N: usize>([u8; N]);

impl<const N: usize> Wiped<N> {
    pub(crate) fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> Drop for Wiped<N> {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl<const N: usize> Deref for Wiped<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> DerefMut for Wiped<N> {
    fn deref_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

/// Compares 32 bytes in constant time.
pub(crate) fn ct_eq_32(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let (a, _) = a.as_chunks::<8>();
    let (b, _) = b.as_chunks::<8>();
    let equal = |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a).ct_eq(&u64::from_ne_bytes(*b));
    a.iter()
        .zip(b)
        .fold(Choice::from(1), |all, (a, b)| all & equal(a, b))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_its_bytes() {
        let dek = Dek::from_bytes(&[0xab; 32]);
        let kek = Kek::from_bytes(&[0xab; 32]);
        let plaintext = Plaintext::new(vec![0xab; 32]);
        let text = format!("{dek:?} {kek:?} {plaintext:?}");
        assert_eq!(text, "Dek(..) Kek(..) Plaintext(32 bytes)");
    }

    // spec: KEY-1
    #[test]
    fn a_dek_has_32_bytes() {
        assert!(Dek::from_slice(&[0; 31]).is_err());
        assert!(Dek::from_slice(&[0; 33]).is_err());
        assert!(
            Dek::from_slice(&[1; 32])
                .unwrap()
                .ct_eq(&Dek::from_bytes(&[1; 32]))
        );
        assert!(!Dek::generate().unwrap().ct_eq(&Dek::generate().unwrap()));
    }

    #[test]
    fn every_bit_counts_in_a_comparison() {
        let a = [0x5a; 32];
        assert!(ct_eq_32(&a, &a));
        for bit in 0..256 {
            let mut b = a;
            b[bit / 8] ^= 1 << (bit % 8);
            assert!(!ct_eq_32(&a, &b), "{bit}");
        }
    }

    #[test]
    fn plaintext_goes_into_what_wipes_as_it_is() {
        // With room to spare, as a vector that has grown has it.
        let plaintext = |bytes: &[u8]| {
            let mut vec = Vec::with_capacity(bytes.len() + 9);
            vec.extend_from_slice(bytes);
            Plaintext::new(vec)
        };
        for bytes in [&b""[..], b"text", "t\u{e4}xt".as_bytes()] {
            assert_eq!(plaintext(bytes).into_zeroizing().as_slice(), bytes);
            assert_eq!(plaintext(bytes).into_secret_slice().expose_secret(), bytes);
            assert_eq!(plaintext(bytes).as_str().unwrap().as_bytes(), bytes);
            let text = plaintext(bytes).into_secret_string().unwrap();
            assert_eq!(text.expose_secret().as_bytes(), bytes);
            assert!(!format!("{text:?} {:?}", plaintext(bytes).into_secret_slice()).contains("xt"));
        }
        for error in [
            plaintext(b"CANARY\xff").as_str().map(drop).unwrap_err(),
            plaintext(b"CANARY\xff")
                .into_secret_string()
                .map(drop)
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("byte 6") && !error.to_string().contains("CANARY"));
        }
    }

    #[test]
    fn a_plaintext_that_is_moved_on_is_not_moved_in_memory_unless_it_must_be() {
        let mut fitting = Plaintext::new(vec![7; 64]);
        let at = fitting.as_bytes().as_ptr();
        fitting.fit();
        assert_eq!(fitting.as_bytes().as_ptr(), at);
        assert_eq!(fitting.into_zeroizing().as_ptr(), at);
        let mut vec = Vec::with_capacity(100);
        vec.extend_from_slice(&[7; 64]);
        let mut roomy = Plaintext::new(vec);
        roomy.fit();
        assert_eq!((roomy.as_bytes().len(), roomy.0.capacity()), (64, 64));
        assert_eq!(roomy, [7; 64]);
    }

    #[test]
    fn into_vec_keeps_the_bytes() {
        assert_eq!(Plaintext::new(vec![1, 2, 3]).into_vec(), [1, 2, 3]);
    }
}
