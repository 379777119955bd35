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
    /// Reads the payload of the envelope that `reader` holds from first byte to last, from anywhere: `header`
    /// is what stands at its front. Reads the final chunk at once, see [`RangeReader`].
    ///
    /// # Errors
    /// As [`reader`](Self::reader); `CannotOpen` or `Malformed` where the final chunk is altered or cut off; `Io`
    /// where `reader` fails.
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

    /// Opens what was fetched by a plan: one piece for each of its [`ranges`](RangePlan::ranges), in that order
    /// and each as long as its range. Gives just the range of the plaintext that the plan was made for, after all
    /// pieces were verified.
    ///
    /// # Errors
    /// `InvalidArgument` for pieces of other lengths; else as [`open`](Self::open).
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
    /// Reads the payload of an envelope of this DEK from anywhere, see [`Opener::range_reader`]. The reader ends
    /// with the data key.
    ///
    /// # Errors
    /// As there, and `LeaseExpired` where the data key has ended.
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

    /// Opens what was fetched by a plan, see [`Opener::open_range`].
    ///
    /// # Errors
    /// As there, and `LeaseExpired` where the data key has ended.
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
    /// Opens what was fetched by a plan, see [`Opener::open_range`]. This asks the source for the DEK: for many parts of
    /// one envelope, take its [`opener`](Self::opener) once.
    ///
    /// # Errors
    /// As there, and as [`open`](Self::open).
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

/// The front of `reader`, which an envelope fills from first byte to last.
pub(crate) fn rewound<R: Seek>(reader: &mut R) -> Result<()> {
    reader.seek(SeekFrom::Start(0)).map(drop).map_err(Error::io)
}
