//! The wrap section: who can get the DEK.

use std::fmt;

use super::algorithm::WrapAlgorithm;
use super::cursor::Cursor;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::limits;

/// One stanza: one wrapped DEK (or a share of a DEK), borrowed from an envelope.
///
/// All fields of a stanza are claims. They name the KEK for a person, and help to find the right key manager.
/// Only configuration decides which KEKs are used, and with which algorithm.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrapRef<'a> {
    /// The wrap algorithm that the stanza claims.
    pub algorithm: WrapAlgorithm,
    /// 0 in a section of threshold 1, else the index of the share.
    pub share_index: u8,
    /// The provider, 1 to 32 of `a-z 0-9 -`.
    pub provider: &'a str,
    /// The id of the KEK as its backend resolved it; empty if the writer hid it.
    pub kek_id: &'a str,
    /// The version of the KEK; empty if the backend has no versions.
    pub kek_version: &'a str,
    /// The bytes that the key manager returned, 1 to 16,384.
    pub wrapped: &'a [u8],
}

impl fmt::Debug for WrapRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapRef")
            .field("algorithm", &self.algorithm)
            .field("share_index", &self.share_index)
            .field("provider", &self.provider)
            .field("kek_id", &self.kek_id)
            .field("kek_version", &self.kek_version)
            .field("wrapped", &format_args!("{} bytes", self.wrapped.len()))
            .finish()
    }
}

impl WrapRef<'_> {
    /// Returns whether the stanza has this algorithm, this provider and this KEK id. A hidden id matches every KEK of that provider and
    /// algorithm.
    #[must_use]
    pub fn is_under(&self, algorithm: WrapAlgorithm, provider: &str, kek_id: &str) -> bool {
        self.algorithm == algorithm
            && self.provider == provider
            && (self.kek_id.is_empty() || self.kek_id == kek_id)
    }

    /// Returns the wrapped bytes, if they have the length that the format fixes for the algorithm.
    ///
    /// # Errors
    /// `Malformed` if they have another length.
    pub fn checked_wrapped(&self) -> Result<&[u8]> {
        match self.algorithm.wrapped_len() {
            Some(len) if len != self.wrapped.len() => Err(Error::malformed("wrapped DEK", 0)),
            _ => Ok(self.wrapped),
        }
    }
}

/// A parsed wrap section, borrowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrapSection<'a> {
    threshold: u8,
    count: u8,
    /// Only the stanzas.
    stanzas: &'a [u8],
    padding: usize,
}

impl<'a> WrapSection<'a> {
    /// Parses a wrap section without the rest of its envelope.
    ///
    /// # Errors
    /// `Malformed` with field and offset if the bytes are not a wrap section; `OverLimit` if a length or count is above its limit.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        Self::parse_at(bytes, 0)
    }

    pub(super) fn parse_at(bytes: &'a [u8], offset: usize) -> Result<Self> {
        limits::WRAP_SECTION.check(bytes.len())?;
        let mut cursor = Cursor::new(bytes, offset);
        let threshold = cursor.u8("threshold")?;
        let count_at = cursor.offset();
        let count = cursor.u8("stanza count")?;
        limits::STANZAS.check(usize::from(count))?;
        if count == 0 {
            return Err(Error::malformed("stanza count", count_at));
        }
        if threshold == 0 || threshold > count {
            return Err(Error::malformed("threshold", offset));
        }
        let start = cursor.rest();
        // One bit for each share index seen.
        let mut seen = [0_u64; 4];
        let mut passphrases = 0;
        for _ in 0..count {
            let at = cursor.offset();
            let stanza = parse_stanza(&mut cursor)?;
            if threshold != 1 && stanza.algorithm == WrapAlgorithm::AWS_KMS {
                // It is bound to the context's pairs and not to the index of a share.
                return Err(Error::malformed("wrap algorithm", at));
            }
            passphrases += usize::from(stanza.algorithm.is_passphrase());
            let index_is_good = if threshold == 1 {
                stanza.share_index == 0
            } else {
                let bit = 1 << (stanza.share_index % 64);
                let word = seen.get_mut(usize::from(stanza.share_index / 64));
                let fresh = word.is_some_and(|word| {
                    let fresh = *word & bit == 0;
                    *word |= bit;
                    fresh
                });
                stanza.share_index != 0 && fresh
            };
            if !index_is_good {
                return Err(Error::malformed("share index", at + 1));
            }
        }
        limits::PASSPHRASE_STANZAS.check(passphrases)?;
        let padding = cursor.rest();
        if let Some(at) = padding.iter().position(|byte| *byte != 0) {
            return Err(Error::malformed("padding", cursor.offset() + at));
        }
        let stanzas = start.get(..start.len() - padding.len()).unwrap_or_default();
        Ok(Self {
            threshold,
            count,
            stanzas,
            padding: padding.len(),
        })
    }

    /// Returns how many stanzas must open, as the envelope claims. The claim proves nothing: only configuration can require
    /// more than one.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Returns the number of stanzas, 1 to 16.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Returns the length of the zero padding, in bytes.
    #[must_use]
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// Returns threshold, count and the bytes of all stanzas, without the padding.
    pub(crate) fn parts(&self) -> (u8, u8, &'a [u8]) {
        (self.threshold, self.count, self.stanzas)
    }

    /// Returns the stanzas, in their order.
    pub fn stanzas(&self) -> impl Iterator<Item = WrapRef<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.stanzas, 0);
        // They were parsed before. Counted, because an error at their end would be allocated.
        (0..self.count).map_while(move |_| parse_stanza(&mut cursor).ok())
    }
}

impl fmt::Debug for WrapSection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapSection")
            .field("threshold", &self.threshold)
            .field("stanzas", &self.stanzas().collect::<Vec<_>>())
            .field("padding", &self.padding)
            .finish()
    }
}

fn parse_stanza<'a>(cursor: &mut Cursor<'a>) -> Result<WrapRef<'a>> {
    let algorithm = WrapAlgorithm::from_id(cursor.u8("wrap algorithm")?);
    let share_index = cursor.u8("share index")?;

    let at = cursor.offset();
    let len = usize::from(cursor.u8("provider")?);
    limits::PROVIDER.check(len)?;
    let provider = cursor.take(len, "provider")?;
    let provider = check_provider(provider).ok_or_else(|| Error::malformed("provider", at))?;

    let at = cursor.offset();
    let len = cursor.u16("KEK id")?;
    limits::KEK_ID.check(len)?;
    let kek_id = cursor.take(len, "KEK id")?;
    let kek_id = check_text(kek_id).ok_or_else(|| Error::malformed("KEK id", at))?;

    let at = cursor.offset();
    let len = usize::from(cursor.u8("KEK version")?);
    let kek_version = cursor.take(len, "KEK version")?;
    let kek_version = check_text(kek_version).ok_or_else(|| Error::malformed("KEK version", at))?;

    let at = cursor.offset();
    let len = cursor.u16("wrapped DEK")?;
    limits::WRAPPED.check(len)?;
    let wrapped = cursor.take(len, "wrapped DEK")?;
    if wrapped.is_empty() {
        return Err(Error::malformed("wrapped DEK", at));
    }
    Ok(WrapRef {
        algorithm,
        share_index,
        provider,
        kek_id,
        kek_version,
        wrapped,
    })
}

/// A provider name: 1 to 32 of `a-z 0-9 -`.
pub(super) fn check_provider(bytes: &[u8]) -> Option<&str> {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // All of them, without a branch at each: 1 to 32 bytes.
    let good = bytes
        .iter()
        .fold(!bytes.is_empty(), |good, byte| good & is_good(*byte));
    if good {
        std::str::from_utf8(bytes).ok()
    } else {
        None
    }
}

/// An id or version: UTF-8 without control characters.
pub(super) fn check_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    // ASCII, as almost all are: a pass without a branch at each byte.
    let is_plain = bytes
        .iter()
        .fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
    (is_plain || !text.chars().any(char::is_control)).then_some(text)
}

/// Checks the provider, id and version that a writer is about to use.
pub(super) fn check_kek(provider: &str, id: &str, version: &str) -> Result<()> {
    limits::PROVIDER.check(provider.len())?;
    limits::KEK_ID.check(id.len())?;
    limits::KEK_VERSION.check(version.len())?;
    let bad = |detail| Err(Error::new(ErrorKind::InvalidArgument).with_detail(detail));
    if check_provider(provider.as_bytes()).is_none() {
        return bad("a provider name must have 1 to 32 characters of a-z, 0-9 and -");
    }
    if check_text(id.as_bytes()).is_none() || check_text(version.as_bytes()).is_none() {
        return bad("a KEK id or version must not have control characters");
    }
    Ok(())
}
