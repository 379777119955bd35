//! Reading a header from a stream.

use std::fmt;
use std::io::Read;

use super::{Header, PREFIX_FIXED};
use crate::value::error::{Error, Operation, Result};

/// A header that was read from a stream, with the bytes it owns.
///
/// At most 74 KiB: a wrap section of 65,536 bytes and a stored context of 8,192 are the limits. `Debug` gives
/// the length only, since a context may be stored in it.
#[derive(Clone)]
pub struct HeaderBuf(pub(super) Vec<u8>);

impl HeaderBuf {
    /// Reads exactly the header and not a byte of the chunks. Lengths are checked before they are read.
    ///
    /// # Errors
    /// As [`Header::parse`]; `Io` where the reader fails.
    pub fn read_from(reader: &mut impl Read) -> Result<Self> {
        let mut bytes = Vec::with_capacity(256);
        while let Some(needed) = Header::missing(&bytes)? {
            let have = bytes.len();
            bytes.resize(needed, 0);
            let got = read_full(reader, bytes.get_mut(have..).unwrap_or_default())?;
            if have + got < needed {
                bytes.truncate(have + got);
                // It ended early: parsing says in which field.
                Header::parse(&bytes)?;
                return Err(Error::malformed("header", have + got).with_operation(Operation::Parse));
            }
        }
        Header::parse(&bytes)?;
        Ok(Self(bytes))
    }

    /// The header.
    ///
    /// # Errors
    /// None in practice: the bytes were parsed when they were read.
    pub fn header(&self) -> Result<Header<'_>> {
        Header::parse(&self.0)
    }

    /// The bytes.
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

/// Reads until `out` is full or the reader ends, and says how much it read.
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
