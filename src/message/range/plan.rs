//! Which bytes of a stored envelope to fetch for a part of its payload.

use std::fmt;
use std::ops::Range;

use zeroize::{Zeroize, Zeroizing};

use crate::envelope::{Cut, Header};
use crate::message::ChunkMachine;
use crate::value::aead::TAG;
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// The bytes of a stored envelope that hold a part of its payload: for HTTP `Range` requests, and any other store that
/// is read by position. A plan is made without a key, from the front of the envelope and its length.
///
/// A plan names whole chunks: those that hold the part, and the final chunk of the payload. So a part costs up to two
/// chunks more than its own bytes, in one range or two. [`Opener::open_range`](crate::Opener::open_range) opens what was
/// fetched.
///
/// Fetch all pieces from one version of the object (`If-Match`). A re-wrap in between can move the body, and then the
/// pieces do not open.
///
/// What is promised: whatever opens is authentic, stands in the sealed payload at exactly that position, and the payload
/// has the length that the plan was made for. An object that was cut off or extended does not open, because the final
/// chunk is verified with every part. [`without_verified_end`](Self::without_verified_end) gives that up.
///
/// What is not promised: until the pieces are opened, [`plaintext_len`](Self::plaintext_len) and `OutOfRange` rely on the
/// length that the holder of the object tells.
///
/// ```
/// # use waxseal::{Aad, EncryptionContext, Kek, message::RangePlan, blocking::Sealer, backend::local::LocalKey};
/// # let sealer = Sealer::new(LocalKey::new(&Kek::generate()?));
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// # let object = sealer.seal(&[7; 200_000], &context)?;
/// use waxseal::envelope::Header;
///
/// // The first bytes: 4,096 hold most headers, and `Header::missing` tells of more.
/// let header = Header::parse(&object[..4096])?;
/// let plan = RangePlan::new(&header, object.len() as u64, 100_000..101_024)?;
/// let pieces: Vec<&[u8]> = plan
///     .ranges()
///     // GET with `Range: bytes={start}-{end - 1}`
///     .map(|range| &object[range.start as usize..range.end as usize])
///     .collect();
///
/// let opener = sealer.opener(&header, &context)?;
/// assert_eq!(opener.open_range(&plan, &pieces, Aad::none())?, [7; 1024]);
/// # Ok::<(), waxseal::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use = "a plan does nothing until its ranges are fetched and opened"]
pub struct RangePlan {
    header: Vec<u8>,
    cut: Cut,
    range: Range<u64>,
    /// The numbers of the chunks that hold the range; empty if the range is.
    chunks: Range<u64>,
    /// Whether the final chunk is fetched and verified.
    end: bool,
}

impl RangePlan {
    /// Makes a plan for the bytes `range` of the plaintext of an envelope of `envelope_len` bytes in all.
    ///
    /// # Errors
    /// - `OutOfRange` for a range that ends behind the plaintext
    /// - `InvalidArgument` for a range that ends before it begins
    /// - `Malformed` if no payload has an envelope of that length
    /// - `OverLimit` for a payload above 2^46 bytes or 2^32 chunks
    pub fn new(header: &Header<'_>, envelope_len: u64, range: Range<u64>) -> Result<Self> {
        Self::plan(header, envelope_len, range).map_err(|error| error.with_operation(Operation::Open))
    }

    fn plan(header: &Header<'_>, envelope_len: u64, range: Range<u64>) -> Result<Self> {
        let size = header.body().chunk_size();
        let cut = Cut::of_object(size, header.len() as u64, envelope_len)?;
        if range.start > range.end {
            return Err(Error::argument("a range ends before it begins"));
        }
        let len = cut.plaintext_len() as u64;
        if range.end > len {
            return Err(Error::new(ErrorKind::OutOfRange { len }));
        }
        let size = size.bytes() as u64;
        let chunks = if range.is_empty() {
            0..0
        } else {
            range.start / size..range.end.div_ceil(size)
        };
        Ok(Self {
            header: header.as_bytes().to_vec(),
            cut,
            range,
            chunks,
            end: true,
        })
    }

    /// Returns the same plan without the final chunk, which saves fetching up to one chunk for each part. **A payload
    /// that was cut off is then not noticed**, unless the part touches the chunk that is now the last. What opens is
    /// authentic and stands at its position, but nothing proves that the payload ends where the object does.
    ///
    /// Use it for a reader that has already verified the end of the same version of the object.
    pub fn without_verified_end(mut self) -> Self {
        self.end = false;
        self
    }

    /// Returns the length of the whole plaintext, in bytes. It is authentic after the pieces were opened, if the plan
    /// verifies the end.
    #[must_use]
    pub fn plaintext_len(&self) -> u64 {
        self.cut.plaintext_len() as u64
    }

    /// Returns the ranges of bytes of the stored envelope to fetch, in order: one or two, which neither overlap nor
    /// touch, or none for an empty part without the verified end.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<u64>> + use<> {
        let header = self.header.len() as u64;
        let ranges = self.runs().map(|run| {
            run.map(|run| {
                let (first, last) = (
                    self.cut.sealed_range(run.start),
                    self.cut.sealed_range(run.end - 1),
                );
                header + first.start..header + last.end
            })
        });
        let ranges: Vec<_> = ranges.into_iter().flatten().collect();
        ranges.into_iter()
    }

    /// Returns the runs of chunks to fetch.
    fn runs(&self) -> [Option<Range<u64>>; 2] {
        let count = self.cut.count() as u64;
        let Range { start, end } = self.chunks;
        let wanted = Some(start..end).filter(|run| !run.is_empty());
        match wanted {
            wanted if !self.end => [wanted, None],
            // Next to it, or in it.
            Some(_) if end + 1 >= count => [Some(start..count), None],
            wanted => [wanted, Some(count - 1..count)],
        }
    }

    /// Returns the header of the envelope that the plan was made from.
    ///
    /// # Errors
    /// The errors of [`Header::parse`]. They do not happen, because the bytes were parsed before.
    pub fn header(&self) -> Result<Header<'_>> {
        Header::parse(&self.header)
    }

    /// Opens what was fetched, one piece for each range.
    pub(crate) fn open<P: AsRef<[u8]>>(&self, opener: &ChunkMachine, pieces: &[P]) -> Result<Vec<u8>> {
        let ranges = self.ranges();
        let fits = |(piece, range): (&P, Range<u64>)| piece.as_ref().len() as u64 == range.end - range.start;
        if pieces.len() != ranges.len() || !pieces.iter().zip(ranges).all(fits) {
            return Err(Error::argument(
                "the pieces must be those of the plan: one for each of its ranges, of the same length",
            ));
        }
        let len = usize::try_from(self.range.end - self.range.start).map_err(|_| Error::cannot_open())?;
        let mut out = Vec::with_capacity(len);
        let result = self.open_into(opener, pieces, &mut out);
        if result.is_err() {
            out.as_mut_slice().zeroize();
        }
        result.map(|()| out)
    }

    fn open_into<P: AsRef<[u8]>>(
        &self,
        opener: &ChunkMachine,
        pieces: &[P],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let size = opener.chunk_size() as u64;
        let mut scratch = Zeroizing::new(Vec::new());
        for (piece, run) in pieces.iter().zip(self.runs().into_iter().flatten()) {
            let mut rest = piece.as_ref();
            for index in run {
                let sealed = self.cut.sealed_range(index);
                let len = usize::try_from(sealed.end - sealed.start).map_err(|_| Error::cannot_open())?;
                let (chunk, behind) = rest.split_at_checked(len).ok_or_else(Error::cannot_open)?;
                rest = behind;
                scratch.clear();
                scratch.extend_from_slice(chunk);
                let run = opener.at(index, len, index + 1 == self.cut.count() as u64)?;
                opener.keys().open_in_place(run, &mut scratch).1?;
                let len = len - TAG;
                // Where the range lies in this chunk.
                let within = |at: u64| {
                    let at = at.saturating_sub(index * size);
                    usize::try_from(at).map_or(len, |at| at.min(len))
                };
                let part = scratch.get(within(self.range.start)..within(self.range.end));
                out.extend_from_slice(part.unwrap_or_default());
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RangePlan {
    // The header may hold a stored context, so it is not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangePlan")
            .field("range", &self.range)
            .field("plaintext_len", &self.plaintext_len())
            .field("verifies_end", &self.end)
            .finish_non_exhaustive()
    }
}
