//! Reading a header from a stream.

use std::fmt;
use std::io::Read;

use super::{Header, PREFIX_FIXED};
use crate::value::error::{Error, Operation, Result};

/// A header that was read from a stream, and that owns its bytes.
///
/// A header has at most 74 KiB: a wrap section of 65,536 bytes and a stored context of 8,192 are the limits. `Debug` shows
/// only the length, because a header can contain a context.
///
/// ```
/// # use waxseal::{EncryptionContext, Kek, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let sealed = sealer.seal(b"alice@example.com", &EncryptionContext::empty())?;
/// use waxseal::envelope::HeaderBuf;
///
/// let mut file = sealed.as_slice(); // any reader
/// let header = HeaderBuf::read_from(&mut file)?;
/// assert_eq!(header.header()?.wrap_section()?.count(), 1);
/// // The reader is now at the first chunk.
/// assert_eq!(file.len(), sealed.len() - header.as_bytes().len());
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone)]
pub struct HeaderBuf(pub(super) Vec<u8>);

impl HeaderBuf {
    /// Reads exactly the header and no byte of the chunks. Checks each length before it reads that many bytes.
    ///
    /// # Errors
    /// The same kinds as [`Header::parse`], under the same conditions; `Io` if the reader fails.
    pub fn read_from(reader: &mut impl Read) -> Result<Self> {
        let mut bytes = Vec::with_capacity(256);
        while let Some(needed) = Header::missing(&bytes)? {
            let have = bytes.len();
            bytes.resize(needed, 0);
            let got = read_full(reader, bytes.get_mut(have..).unwrap_or_default())?;
            if have + got < needed {
                bytes.truncate(have + got);
                // The input ended early: parsing finds in which field.
                Header::parse(&bytes)?;
                return Err(Error::malformed("header", have + got).with_operation(Operation::Parse));
            }
        }
        Header::parse(&bytes)?;
        Ok(Self(bytes))
    }

    /// Parses the header.
    ///
    /// # Errors
    /// The same kinds as [`Header::parse`]; none in practice, because the bytes were parsed when they were read.
    pub fn header(&self) -> Result<Header<'_>> {
        Header::parse(&self.0)
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for HeaderBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderBuf({} bytes)", self.0.len())
    }
}

// A header has at least these bytes, so the first read cannot take any of the chunks.
const _: () = assert!(PREFIX_FIXED == 8);

/// Reads until `out` is full or the reader ends, and returns how much it read.
fn read_full(reader: &mut impl Read, mut out: &mut [u8]) -> Result<usize> {
    let mut got = 0;
    while !out.is_empty() {
        match reader.read(out) {
            Ok(0) => break,
            Ok(n) => {
                out = std::mem::take(&mut out).get_mut(n..).unwrap_or_default();
                got += n;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(error)),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_header_that_was_read_shows_no_stored_context() {
        let header = HeaderBuf(b"CANARY".to_vec());
        assert_eq!(format!("{header:?}"), "HeaderBuf(6 bytes)");
    }
}
