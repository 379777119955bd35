//! A sealer for code without an async runtime.

use std::fs::File;
use std::io::{BufRead, Read, Seek, Write};
use std::num::NonZeroUsize;
use std::path::Path;

use crate::envelope::{Envelope, Header, HeaderBuf};
use crate::in_place;
use crate::key::{Authorization, KeyManager, RewrapRules};
use crate::message::{OpenReader, RangePlan, RangeReader, SealWriter};
use crate::runtime::blocking::block_on;
use crate::sealer::{DataKey, NewWraps, Opener, RewrapCounts, rewound};
use crate::source::{Currency, DekSource};
use crate::value::context::{Binding, EncryptionContext};
use crate::value::error::{Error, Operation, Result};
use crate::value::secret::Plaintext;

/// [`Sealer`](crate::Sealer) for code without an async runtime.
///
/// Each call blocks its thread until it is done, and any thread may make it, in a runtime or not. No runtime is needed:
/// KMS backends do their I/O in a runtime of this crate. If `with_handle` gave their client a runtime, a call that blocks
/// the only thread of that runtime is refused with `Configuration`, and a call that blocks its last free worker ends with
/// `TimedOut` at its deadline. In an async task, a call stops everything else on its thread, so await
/// [`Sealer`](crate::Sealer) there.
#[derive(Clone, Debug)]
pub struct Sealer(crate::Sealer);

impl From<crate::Sealer> for Sealer {
    fn from(sealer: crate::Sealer) -> Self {
        Self(sealer)
    }
}

impl Sealer {
    /// Makes a sealer under one key manager, with the default settings. For other settings, build a
    /// [`Sealer`](crate::Sealer) and convert it.
    #[must_use]
    pub fn new(key_manager: impl KeyManager + 'static) -> Self {
        Self(crate::Sealer::new(key_manager))
    }

    /// Makes a sealer over a source of DEKs, with the default settings.
    #[must_use]
    pub fn from_source(source: impl DekSource + 'static) -> Self {
        Self(crate::Sealer::from_source(source))
    }

    /// Returns the sealer for async code.
    #[must_use]
    pub fn into_inner(self) -> crate::Sealer {
        self.0
    }

    /// See [`Sealer::acting_as`](crate::Sealer::acting_as).
    #[must_use]
    pub fn acting_as(&self, actor: &str) -> Self {
        Self(self.0.acting_as(actor))
    }

    /// See [`Sealer::authorized_by`](crate::Sealer::authorized_by).
    #[must_use]
    pub fn authorized_by(&self, authorizations: impl IntoIterator<Item = Authorization>) -> Self {
        Self(self.0.authorized_by(authorizations))
    }

    /// See [`Sealer::with_request_id`](crate::Sealer::with_request_id).
    #[must_use]
    pub fn with_request_id(&self, id: &str) -> Self {
        Self(self.0.with_request_id(id))
    }

    /// See [`Sealer::cache`](crate::Sealer::cache).
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn cache(&self) -> Option<&crate::source::Cached> {
        self.0.cache()
    }

    /// See [`Sealer::leases`](crate::Sealer::leases).
    #[must_use]
    pub fn leases(&self) -> &crate::source::Leases {
        self.0.leases()
    }

    /// See [`Sealer::with_rewrap_rules`](crate::Sealer::with_rewrap_rules).
    #[must_use]
    pub fn with_rewrap_rules(&self, rules: RewrapRules<'static>) -> Self {
        Self(self.0.with_rewrap_rules(rules))
    }

    /// See [`Sealer::seal`](crate::Sealer::seal).
    ///
    /// # Errors
    /// The errors of [`Sealer::seal`](crate::Sealer::seal).
    pub fn seal<'a>(&self, plaintext: &[u8], binding: impl Into<Binding<'a>>) -> Result<Vec<u8>> {
        block_on(self.0.seal(plaintext, binding))
    }

    /// See [`Sealer::open`](crate::Sealer::open).
    ///
    /// # Errors
    /// The errors of [`Sealer::open`](crate::Sealer::open).
    pub fn open<'a>(&self, envelope: &[u8], binding: impl Into<Binding<'a>>) -> Result<Plaintext> {
        block_on(self.0.open(envelope, binding))
    }

    /// See [`Sealer::inspect`](crate::Sealer::inspect).
    ///
    /// # Errors
    /// The errors of [`Envelope::parse`].
    pub fn inspect<'b>(&self, envelope: &'b [u8]) -> Result<Envelope<'b>> {
        self.0.inspect(envelope)
    }

    /// See [`Sealer::rewrap`](crate::Sealer::rewrap).
    ///
    /// # Errors
    /// The errors of [`Sealer::rewrap`](crate::Sealer::rewrap).
    pub fn rewrap(&self, prefix: &[u8], context: &EncryptionContext) -> Result<NewWraps> {
        block_on(self.0.rewrap(prefix, context))
    }

    /// See [`Sealer::rewrapper`](crate::Sealer::rewrapper).
    #[must_use]
    pub fn rewrapper(&self) -> Rewrapper {
        Rewrapper(self.0.rewrapper())
    }

    /// Makes new wraps for the envelope in the file at `path`, and puts them in the place of the old wraps. The body is
    /// neither read nor written, and a crash leaves a file that opens. See [`in_place`].
    ///
    /// # Errors
    /// - the errors of [`Sealer::rewrap`](crate::Sealer::rewrap) and [`in_place::rewrap_file`]
    /// - `NoRoom` if the new wraps do not fit; the file is then as it was
    pub fn rewrap_file(&self, path: impl AsRef<Path>, context: &EncryptionContext) -> Result<NewWraps> {
        let path = path.as_ref();
        in_place::recover(path)?;
        let read = || {
            let mut file = File::open(path).map_err(Error::io)?;
            let stamp = in_place::Stamp::of(&file)?;
            Ok((HeaderBuf::read_from(&mut file)?, stamp))
        };
        let (header, stamp) = read().map_err(|error: Error| error.with_operation(Operation::Rewrap))?;
        let wraps = self.rewrap(header.as_bytes(), context)?;
        in_place::rewrap_unchanged_file(path, &wraps, &stamp)?;
        Ok(wraps)
    }

    /// See [`Sealer::data_key`](crate::Sealer::data_key).
    ///
    /// # Errors
    /// The errors of [`Sealer::data_key`](crate::Sealer::data_key).
    pub fn data_key(&self, context: &EncryptionContext) -> Result<DataKey> {
        block_on(self.0.data_key(context))
    }

    /// See [`Sealer::opener`](crate::Sealer::opener).
    ///
    /// # Errors
    /// The errors of [`Sealer::opener`](crate::Sealer::opener).
    pub fn opener(&self, header: &Header<'_>, context: &EncryptionContext) -> Result<Opener> {
        block_on(self.0.opener(header, context))
    }

    /// Returns a writer that seals what is written to it to an envelope in `writer`, in constant memory, under a DEK of
    /// its own. The stream must be finished with [`SealWriter::finish`].
    ///
    /// # Errors
    /// The errors of [`Sealer::seal`](crate::Sealer::seal).
    pub fn writer<'a, W: Write>(&self, writer: W, binding: impl Into<Binding<'a>>) -> Result<SealWriter<W>> {
        let binding = binding.into();
        self.data_key(binding.context())?.writer(writer, binding.aad())
    }

    /// Returns a reader that opens the payload of an envelope from any position, and opens only the chunks that are read.
    /// The envelope begins at the first byte of `reader` and ends at its last byte. This call reads the header and the
    /// final chunk. [`RangeReader`] says what is promised.
    ///
    /// # Errors
    /// The errors of [`Sealer::open`](crate::Sealer::open); `Io` if `reader` fails.
    pub fn range_reader<'a, R: Read + Seek>(
        &self,
        mut reader: R,
        binding: impl Into<Binding<'a>>,
    ) -> Result<RangeReader<R>> {
        let binding = binding.into();
        let header = rewound(&mut reader).and_then(|()| HeaderBuf::read_from(&mut reader));
        let header = header.map_err(|error| error.with_operation(Operation::Open))?;
        let header = header.header()?;
        self.opener(&header, binding.context())?
            .range_reader(&header, reader, binding.aad())
    }

    /// See [`Sealer::open_range`](crate::Sealer::open_range).
    ///
    /// # Errors
    /// The errors of [`Sealer::open_range`](crate::Sealer::open_range).
    pub fn open_range<'a, P: AsRef<[u8]>>(
        &self,
        plan: &RangePlan,
        pieces: &[P],
        binding: impl Into<Binding<'a>>,
    ) -> Result<Plaintext> {
        block_on(self.0.open_range(plan, pieces, binding))
    }

    /// Returns a reader that opens the envelope in `reader`, in constant memory. This call reads the header; the chunks
    /// are read when they are asked for. [`OpenReader`] says when what is released.
    ///
    /// # Errors
    /// The errors of [`Sealer::open`](crate::Sealer::open); `Io` if `reader` fails.
    pub fn reader<'a, R: Read>(
        &self,
        mut reader: R,
        binding: impl Into<Binding<'a>>,
    ) -> Result<OpenReader<R>> {
        let binding = binding.into();
        let header =
            HeaderBuf::read_from(&mut reader).map_err(|error| error.with_operation(Operation::Open))?;
        let header = header.header()?;
        self.opener(&header, binding.context())?
            .reader(&header, reader, binding.aad())
    }

    /// The same over a reader with a buffer, such as bytes in memory or a memory map. Chunks in the buffer are opened
    /// from there, which saves a copy.
    ///
    /// # Errors
    /// The errors of [`reader`](Self::reader).
    pub fn buf_reader<'a, R: BufRead>(
        &self,
        mut reader: R,
        binding: impl Into<Binding<'a>>,
    ) -> Result<OpenReader<R>> {
        let binding = binding.into();
        let header =
            HeaderBuf::read_from(&mut reader).map_err(|error| error.with_operation(Operation::Open))?;
        let header = header.header()?;
        self.opener(&header, binding.context())?
            .buf_reader(&header, reader, binding.aad())
    }
}

/// A [`Rewrapper`](crate::sealer::Rewrapper) for code without an async runtime.
#[derive(Debug)]
pub struct Rewrapper(crate::sealer::Rewrapper);

impl From<crate::sealer::Rewrapper> for Rewrapper {
    fn from(rewrapper: crate::sealer::Rewrapper) -> Self {
        Self(rewrapper)
    }
}

impl Rewrapper {
    /// See [`Rewrapper::remembering`](crate::sealer::Rewrapper::remembering).
    #[must_use]
    pub fn remembering(self, wrap_sections: NonZeroUsize) -> Self {
        Self(self.0.remembering(wrap_sections))
    }

    /// See [`Rewrapper::rewrap`](crate::sealer::Rewrapper::rewrap).
    ///
    /// # Errors
    /// The errors of [`Rewrapper::rewrap`](crate::sealer::Rewrapper::rewrap).
    pub fn rewrap(&mut self, prefix: &[u8], context: &EncryptionContext) -> Result<Option<NewWraps>> {
        block_on(self.0.rewrap(prefix, context))
    }

    /// See [`Rewrapper::is_current`](crate::sealer::Rewrapper::is_current).
    ///
    /// # Errors
    /// The errors of [`Rewrapper::is_current`](crate::sealer::Rewrapper::is_current).
    pub fn is_current(&self, prefix: &[u8], context: &EncryptionContext) -> Result<Currency> {
        self.0.is_current(prefix, context)
    }

    /// See [`Rewrapper::counts`](crate::sealer::Rewrapper::counts).
    #[must_use]
    pub fn counts(&self) -> RewrapCounts {
        self.0.counts()
    }
}
