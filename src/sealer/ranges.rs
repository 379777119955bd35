//! Parts of payloads, through an opener or a data key.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use super::{DataKey, Opener, Sealer, during, opener};
use crate::envelope::Header;
use crate::message::{RangePlan, RangeReader};
use crate::value::aad::Aad;
use crate::value::context::Binding;
use crate::value::error::{Error, Operation, Result};
use crate::value::secret::Plaintext;

impl Opener {
    /// Returns a reader that opens the payload of an envelope from any position. The envelope begins at the first byte of
    /// `reader` and ends at its last byte, and `header` is its header. This call reads the final chunk, see
    /// [`RangeReader`].
    ///
    /// # Errors
    /// - the errors of [`reader`](Self::reader)
    /// - `CannotOpen` or `Malformed` if the final chunk is altered or cut off
    /// - `Io` if `reader` fails
    pub fn range_reader<R: Read + Seek>(
        &self,
        header: &Header<'_>,
        reader: R,
        aad: Aad<'_>,
    ) -> Result<RangeReader<R>> {
        let chunks = during(Operation::Open, || self.chunks(header, aad))?;
        let (lease, runtime) = (Arc::clone(self.lease()), Arc::clone(&self.runtime));
        let end = self.expires_at();
        let check = Box::new(move || opener::check(&lease, end, runtime.now()));
        during(Operation::Open, || {
            RangeReader::new(reader, chunks, header.len(), check)
        })
    }

    /// Opens the pieces that a plan fetched: one piece for each of its [`ranges`](RangePlan::ranges), in that order, and
    /// each as long as its range. Returns exactly the range of the plaintext that the plan was made for, after all pieces
    /// were verified.
    ///
    /// # Errors
    /// `InvalidArgument` for pieces of other lengths; the errors of [`open`](Self::open).
    pub fn open_range<P: AsRef<[u8]>>(
        &self,
        plan: &RangePlan,
        pieces: &[P],
        aad: Aad<'_>,
    ) -> Result<Plaintext> {
        let chunks = during(Operation::Open, || self.chunks(&plan.header()?, aad))?;
        during(Operation::Open, || plan.open(&chunks, pieces)).map(Plaintext::new)
    }
}

impl DataKey {
    /// Returns a reader that opens the payload of an envelope of this DEK from any position, see
    /// [`Opener::range_reader`]. The reader ends with the data key.
    ///
    /// # Errors
    /// The errors of [`Opener::range_reader`]; `LeaseExpired` if the data key has ended.
    pub fn range_reader<R: Read + Seek>(
        &self,
        header: &Header<'_>,
        reader: R,
        aad: Aad<'_>,
    ) -> Result<RangeReader<R>> {
        let chunks = self.chunks(header, aad)?;
        let (lease, runtime) = (Arc::clone(self.lease()), Arc::clone(&self.opener.runtime));
        let end = self.expires_at();
        let check = Box::new(move || opener::check(&lease, Some(end), runtime.now()));
        during(Operation::Open, || {
            RangeReader::new(reader, chunks, header.len(), check)
        })
    }

    /// Opens the pieces that a plan fetched, see [`Opener::open_range`].
    ///
    /// # Errors
    /// The errors of [`Opener::open_range`]; `LeaseExpired` if the data key has ended.
    pub fn open_range<P: AsRef<[u8]>>(
        &self,
        plan: &RangePlan,
        pieces: &[P],
        aad: Aad<'_>,
    ) -> Result<Plaintext> {
        during(Operation::Open, || self.check())?;
        self.opener.open_range(plan, pieces, aad)
    }
}

impl Sealer {
    /// Opens the pieces that a plan fetched, see [`Opener::open_range`]. This call asks the source for the DEK. For many
    /// parts of one envelope, ask for its [`opener`](Self::opener) once.
    ///
    /// # Errors
    /// `InvalidArgument` for pieces of other lengths; the errors of [`open`](Self::open).
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn open_range<'a, P: AsRef<[u8]>>(
        &self,
        plan: &RangePlan,
        pieces: &[P],
        binding: impl Into<Binding<'a>>,
    ) -> Result<Plaintext> {
        let binding = binding.into();
        let opener = self.opener(&plan.header()?, binding.context()).await?;
        opener.open_range(plan, pieces, binding.aad())
    }
}

/// Moves `reader` to its first byte, where the envelope begins.
pub(crate) fn rewound<R: Seek>(reader: &mut R) -> Result<()> {
    reader.seek(SeekFrom::Start(0)).map(drop).map_err(Error::io)
}
