//! Failures of several tries.

use crate::value::error::{Error, ErrorKind};

/// Of two failures of one call the one that says more about what to do: what may pass comes first, "not this key" last.
pub(in crate::backend) fn worse(one: Error, other: Error) -> Error {
    let weight = |error: &Error| match error.kind() {
        _ if error.is_retryable() => 3,
        ErrorKind::NoUsableKey => 0,
        ErrorKind::CannotOpen => 1,
        _ => 2,
    };
    if weight(&other) > weight(&one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_comes_first_and_the_earlier_of_equals() {
        let (denied, down) = (Error::new(ErrorKind::Denied), Error::new(ErrorKind::Unavailable));
        let cannot = || Error::new(ErrorKind::CannotOpen);
        assert_eq!(worse(cannot(), denied).kind(), ErrorKind::Denied);
        assert_eq!(
            worse(down, Error::new(ErrorKind::Denied)).kind(),
            ErrorKind::Unavailable
        );
        assert_eq!(
            worse(Error::new(ErrorKind::NoUsableKey), cannot()).kind(),
            ErrorKind::CannotOpen
        );
        let first = worse(Error::new(ErrorKind::KeyNotFound), Error::new(ErrorKind::Denied));
        assert_eq!(first.kind(), ErrorKind::KeyNotFound);
    }
}
