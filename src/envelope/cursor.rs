//! Reads fields one after another, and reports which field is wrong and where.

use crate::value::error::{Error, Result};

#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// `offset` is where `bytes` begin in what is parsed as a whole.
    pub(super) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { rest: bytes, offset }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| self.malformed(field))?;
        self.rest = rest;
        self.offset += len;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<&'a [u8; N]> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.malformed(field))?;
        self.rest = rest;
        self.offset += N;
        Ok(taken)
    }

    #[inline]
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8> {
        self.array::<1>(field).map(|[byte]| *byte)
    }

    #[inline]
    pub(super) fn u16(&mut self, field: &'static str) -> Result<usize> {
        self.array::<2>(field)
            .map(|bytes| usize::from(u16::from_be_bytes(*bytes)))
    }

    #[inline]
    pub(super) fn u24(&mut self, field: &'static str) -> Result<usize> {
        self.array::<3>(field)
            .map(|[a, b, c]| usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c))
    }

    #[cold]
    pub(super) fn malformed(&self, field: &'static str) -> Error {
        Error::malformed(field, self.offset)
    }
}
