//! Text of a caller, as an event keeps it.

/// The most bytes of one text in an event.
const MAX: usize = 1_024;

/// Returns the text, or its front with `…` if it is too long.
pub(super) fn bounded(text: &str) -> String {
    if text.len() <= MAX {
        return text.to_owned();
    }
    let front = text.floor_char_boundary(MAX);
    let mut cut = text.get(..front).unwrap_or_default().to_owned();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(bounded("short"), "short");
        let long = "ä".repeat(MAX);
        let cut = bounded(&long);
        assert_eq!(cut.chars().count(), MAX / 2 + 1);
        assert!(cut.ends_with("ä…"), "{cut}");
        let odd = format!("a{long}");
        assert!(bounded(&odd).ends_with("ä…"));
    }
}
