//! What a terminal is shown: text, unless something else was asked for.

use std::io;

use crate::failure::Failure;

/// Bytes of a character that may be cut off at the end of a piece.
const CUT_MAX: usize = 3;

/// Follows what is shown, piece by piece.
#[derive(Default)]
pub(crate) struct Text {
    /// The beginning of a character whose rest has not come yet.
    cut: Vec<u8>,
}

impl Text {
    /// Refuses what is not text, before any of this piece is shown: control characters can do more to a terminal than
    /// look odd.
    pub(crate) fn check(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.cut);
        bytes.extend_from_slice(piece);
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() => {
                let (whole, cut) = bytes.split_at(error.valid_up_to());
                debug_assert!(cut.len() <= CUT_MAX);
                self.cut = cut.to_vec();
                std::str::from_utf8(whole).unwrap_or_default()
            }
            Err(_) => return Err(no_text()),
        };
        let is_text = |character: char| !character.is_control() || matches!(character, '\n' | '\r' | '\t');
        let is_text = text.chars().all(is_text);
        zeroize::Zeroize::zeroize(&mut bytes);
        if is_text { Ok(()) } else { Err(no_text()) }
    }
}

/// What goes to a terminal only if told so.
pub(crate) fn refused(why: &str) -> Failure {
    Failure::refused(format!(
        "{why}, and the output is a terminal; name a file with -o FILE, or write it there all the same with -o -"
    ))
}

/// The error of a write, which has to go through the library.
fn no_text() -> io::Error {
    io::Error::other(NoText)
}

/// Says that a terminal was to show what is no text.
#[derive(Debug)]
pub(crate) struct NoText;

impl std::fmt::Display for NoText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it is not text")
    }
}

impl std::error::Error for NoText {}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_text(pieces: &[&[u8]]) -> bool {
        let mut text = Text::default();
        pieces.iter().all(|piece| text.check(piece).is_ok())
    }

    #[test]
    fn text_is_shown_and_nothing_else() {
        assert!(is_text(&[b"a line\n", "\tä \u{1f512}\r\n".as_bytes()]));
        assert!(is_text(&[b"\xf0\x9f", b"\x94", b"\x92 cut between pieces"]));
        assert!(!is_text(&[b"\x1b[2J"]));
        assert!(!is_text(&[b"good\n", b"\0"]));
        assert!(!is_text(&["\u{9b}2J".as_bytes()]));
        assert!(!is_text(&[b"\xff"]));
        assert!(!is_text(&[b"\xf0\x9f", b"x"]));
    }
}
