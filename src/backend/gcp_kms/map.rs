//! What an answer that is no answer means: by code and cause, never by text.

use std::time::Duration;

use google_cloud_gax::error::rpc::{Code, Status, StatusDetails};
use google_cloud_gax::error::{CredentialsError, Error as CallError};
use http::header::RETRY_AFTER;

use super::PROVIDER;
use crate::backend::shared::answer::invalid_answer;
use crate::backend::shared::http::{Fault, causes};
use crate::value::error::{Error, ErrorKind};

/// What was called: one code means different things to different calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Encrypt,
    Decrypt,
    Administer,
}

/// The error of a call that failed.
pub(super) fn error(error: CallError, call: Call) -> Error {
    // A body without a code of the service is not the service's: the HTTP status is then all there is.
    let status = error
        .status()
        .filter(|status| status.code != Code::Unknown || error.http_status_code().is_none());
    let mapped = if let Some(status) = status {
        of_status(status, call)
    } else if error.is_timeout() {
        Error::new(ErrorKind::TimedOut)
    } else if error.is_authentication() {
        of_credentials(&error)
    } else if let Some(status) = error.http_status_code() {
        of_http(status)
    } else if error.is_deserialization() {
        // The cause quotes what it read, and that may be a DEK.
        return invalid_answer("the answer is not what the service sends").with_retryable(true);
    } else if error.is_binding() || error.is_serialization() {
        Error::new(ErrorKind::InvalidArgument)
    } else if let Some(fault) = causes(&error).find_map(|cause| cause.downcast_ref::<Fault>()) {
        fault.to_error()
    } else {
        Error::new(ErrorKind::Unavailable)
    };
    let mapped = match retry_after(&error) {
        Some(after) if mapped.is_retryable() => mapped.with_retry_after(after),
        _ => mapped,
    };
    let mapped = mapped.with_provider(PROVIDER);
    // The cause of an answer quotes the answer.
    match error.http_status_code().is_some() || error.status().is_some() {
        true => mapped,
        false => mapped.with_source(error),
    }
}

fn of_status(status: &Status, call: Call) -> Error {
    let name = status.code.name();
    let kind = match status.code {
        Code::PermissionDenied => ErrorKind::Denied,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::NotFound => ErrorKind::KeyNotFound,
        Code::ResourceExhausted => ErrorKind::Throttled,
        Code::DeadlineExceeded => ErrorKind::TimedOut,
        Code::FailedPrecondition if call == Call::Administer => ErrorKind::InvalidArgument,
        Code::FailedPrecondition => of_precondition(status),
        // Another key, another context, or altered: the service says no more.
        Code::InvalidArgument if call == Call::Decrypt => return Error::new(ErrorKind::CannotOpen),
        Code::InvalidArgument | Code::AlreadyExists | Code::OutOfRange => ErrorKind::InvalidArgument,
        Code::Unimplemented => {
            return Error::new(ErrorKind::Unsupported {
                feature: "this call, by this endpoint,",
            });
        }
        Code::Aborted | Code::Cancelled | Code::Internal | Code::Unavailable | Code::DataLoss => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::InvalidAnswer,
    };
    match reason(status) {
        Some(reason) => Error::new(kind).with_detail(format!("{name}, {reason}")),
        None => Error::new(kind).with_detail(name),
    }
}

/// Returns the code with the exact reason, for example `SERVICE_DISABLED`, if it is a code and not a text.
fn reason(status: &Status) -> Option<&str> {
    status.details.iter().find_map(|detail| match detail {
        StatusDetails::ErrorInfo(info) => Some(info.reason.as_str()).filter(|reason| {
            (1..=63).contains(&reason.len())
                && reason
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        }),
        _ => None,
    })
}

/// Which of the states in which a version cannot be used. Where the details do not tell, it is looked up.
fn of_precondition(status: &Status) -> ErrorKind {
    let mut reasons = status.details.iter().flat_map(|detail| match detail {
        StatusDetails::PreconditionFailure(failure) => failure
            .violations
            .iter()
            .map(|violation| violation.r#type.as_str())
            .collect(),
        StatusDetails::ErrorInfo(info) => vec![info.reason.as_str()],
        _ => Vec::new(),
    });
    match reasons.any(|reason| reason == "KEY_DESTROYED") {
        true => ErrorKind::KeyDestroyed,
        false => ErrorKind::KeyDisabled,
    }
}

/// An error without one of the service's own bodies: of a proxy, or of an address where something else listens.
fn of_http(status: u16) -> Error {
    let kind = match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Denied,
        408 | 504 => ErrorKind::TimedOut,
        429 => ErrorKind::Throttled,
        300..=399 | 500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::InvalidAnswer,
    };
    let error = Error::new(kind);
    match status {
        300..=399 => error.with_detail(format!("HTTP status {status}: a redirect, which is not followed")),
        _ => error.with_detail(format!(
            "HTTP status {status}, not in the service's own form; check the endpoint"
        )),
    }
}

fn of_credentials(error: &CallError) -> Error {
    let is_transient = causes(error).any(|cause| {
        cause
            .downcast_ref::<CredentialsError>()
            .is_some_and(CredentialsError::is_transient)
    });
    if is_transient {
        Error::new(ErrorKind::Unavailable).with_detail("no token could be had for now")
    } else {
        Error::new(ErrorKind::Unauthenticated).with_detail("no token could be had with these credentials")
    }
}

/// What the service, or something before it, asks to wait.
fn retry_after(error: &CallError) -> Option<Duration> {
    let header = error.http_headers().and_then(|headers| {
        let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    });
    header.or_else(|| {
        error.status()?.details.iter().find_map(|detail| match detail {
            StatusDetails::RetryInfo(info) => Duration::try_from(info.retry_delay?).ok(),
            _ => None,
        })
    })
}

/// An answer, or a request, that was damaged on the way: another try may do.
pub(super) fn damaged(detail: &'static str) -> Error {
    invalid_answer(detail).with_retryable(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_one_kind() {
        for (code, call, kind, retryable) in [
            (Code::PermissionDenied, Call::Encrypt, ErrorKind::Denied, false),
            (
                Code::Unauthenticated,
                Call::Decrypt,
                ErrorKind::Unauthenticated,
                false,
            ),
            (Code::NotFound, Call::Decrypt, ErrorKind::KeyNotFound, false),
            (
                Code::FailedPrecondition,
                Call::Decrypt,
                ErrorKind::KeyDisabled,
                false,
            ),
            (
                Code::FailedPrecondition,
                Call::Administer,
                ErrorKind::InvalidArgument,
                false,
            ),
            (Code::InvalidArgument, Call::Decrypt, ErrorKind::CannotOpen, false),
            (
                Code::InvalidArgument,
                Call::Encrypt,
                ErrorKind::InvalidArgument,
                false,
            ),
            (Code::ResourceExhausted, Call::Encrypt, ErrorKind::Throttled, true),
            (Code::DeadlineExceeded, Call::Encrypt, ErrorKind::TimedOut, true),
            (Code::Unavailable, Call::Decrypt, ErrorKind::Unavailable, true),
            (Code::Internal, Call::Decrypt, ErrorKind::Unavailable, true),
            (Code::Aborted, Call::Administer, ErrorKind::Unavailable, true),
            (Code::Unknown, Call::Decrypt, ErrorKind::InvalidAnswer, false),
        ] {
            let status = Status::default().set_code(code).set_message("CANARY");
            let mapped = error(CallError::service(status), call);
            assert_eq!(
                (mapped.kind(), mapped.is_retryable()),
                (kind, retryable),
                "{code:?} {call:?}"
            );
            assert!(!format!("{mapped} {mapped:?}").contains("CANARY"));
        }
    }

    #[test]
    fn an_http_status_without_a_body_of_the_service_has_a_kind() {
        for (status, kind) in [
            (307, ErrorKind::Unavailable),
            (400, ErrorKind::InvalidAnswer),
            (401, ErrorKind::Unauthenticated),
            (403, ErrorKind::Denied),
            (404, ErrorKind::InvalidAnswer),
            (429, ErrorKind::Throttled),
            (502, ErrorKind::Unavailable),
            (504, ErrorKind::TimedOut),
        ] {
            assert_eq!(of_http(status).kind(), kind, "{status}");
        }
    }
}
