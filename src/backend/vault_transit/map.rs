//! What an answer that is no answer means: by status and cause, never by text.

use std::time::Duration;

use super::PROVIDER;
use crate::value::error::{Error, ErrorKind};

/// The error of an HTTP status. What a 400 or 403 means more exactly only the caller can find out.
pub(super) fn status(status: u16, retry_after: Option<Duration>) -> Error {
    let kind = match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Denied,
        404 => ErrorKind::KeyNotFound,
        429 => ErrorKind::Throttled,
        // A standby that has not caught up, a fault of the server, or one that is sealed.
        412 | 500 | 502..=504 => ErrorKind::Unavailable,
        // A standby that sends to another address, which is never followed.
        301..=303 | 307 | 308 => ErrorKind::Unavailable,
        _ => ErrorKind::InvalidAnswer,
    };
    let error = Error::new(kind).with_provider(PROVIDER);
    let error = match status {
        404 => error.with_detail("HTTP status 404: no such key, mount or namespace"),
        _ => error.with_detail(format!("HTTP status {status}")),
    };
    match retry_after {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_one_kind() {
        for (code, kind, retryable) in [
            (400, ErrorKind::InvalidAnswer, false),
            (401, ErrorKind::Unauthenticated, false),
            (403, ErrorKind::Denied, false),
            (404, ErrorKind::KeyNotFound, false),
            (405, ErrorKind::InvalidAnswer, false),
            (307, ErrorKind::Unavailable, true),
            (412, ErrorKind::Unavailable, true),
            (429, ErrorKind::Throttled, true),
            (500, ErrorKind::Unavailable, true),
            (502, ErrorKind::Unavailable, true),
            (503, ErrorKind::Unavailable, true),
        ] {
            let error = status(code, None);
            assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{code}");
        }
        let after = Duration::from_secs(7);
        assert_eq!(status(429, Some(after)).retry_after(), Some(after));
    }
}
