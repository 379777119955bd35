//! Which of several failures is the one to report.

use crate::value::error::{Error, ErrorKind};

/// Ranks an error by what it says about what to do: what may pass by itself, then what somebody can mend, then what does not open,
/// then what is broken or not supported, then what is not ours.
pub(crate) fn weight(error: &Error) -> u8 {
    match error.kind() {
        _ if error.is_retryable() => 4,
        ErrorKind::CannotOpen => 2,
        ErrorKind::Malformed { .. } | ErrorKind::OverLimit { .. } | ErrorKind::Unsupported { .. } => 1,
        ErrorKind::NoUsableKey => 0,
        _ => 3,
    }
}

/// Returns the failure that says more about what to do; of two that say as much, the first.
pub(crate) fn worse(first: Error, second: Error) -> Error {
    if weight(&second) > weight(&first) {
        second
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_comes_first_and_the_earlier_of_equals() {
        let of = |kind| Error::new(kind);
        let ranked = [
            ErrorKind::NoUsableKey,
            ErrorKind::Unsupported { feature: "this" },
            ErrorKind::CannotOpen,
            ErrorKind::Denied,
            ErrorKind::Unavailable,
        ];
        for (i, lesser) in ranked.iter().enumerate() {
            for greater in ranked.iter().skip(i + 1) {
                assert_eq!(worse(of(*lesser), of(*greater)).kind(), *greater);
                assert_eq!(worse(of(*greater), of(*lesser)).kind(), *greater);
            }
        }
        let first = worse(of(ErrorKind::KeyNotFound), of(ErrorKind::Denied));
        assert_eq!(first.kind(), ErrorKind::KeyNotFound);
        let malformed = Error::malformed("wrapped DEK", 0);
        assert_eq!(
            worse(malformed, of(ErrorKind::CannotOpen)).kind(),
            ErrorKind::CannotOpen
        );
    }
}
