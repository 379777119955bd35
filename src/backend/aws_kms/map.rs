//! What an error of the SDK means here: by code and never by text.

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;

use crate::backend::shared::http::{Fault, causes};
use crate::value::error::{Error, ErrorKind};

const NO_SUCH_CALL: &str = "this call to what answers at the AWS KMS endpoint";

pub(super) fn error<E>(error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    if let Some((kind, retryable)) = about_credentials(&error) {
        // Which place was asked for credentials, and what it said, is in the cause.
        let mapped = Error::new(kind).with_detail("no credentials for AWS");
        return caused(mapped.with_retryable(retryable), error);
    }
    match &error {
        // Its causes would hold the answer's body: only names are taken out of it.
        SdkError::ServiceError(answer) => {
            let (code, status) = (answer.err().code(), answer.raw().status().as_u16());
            let mut mapped =
                Error::new(kind(code, status)).with_detail(describe(code, status, error.request_id()));
            if let Some(after) = retry_after(answer.raw()) {
                mapped = mapped.with_retry_after(after);
            }
            mapped
        }
        SdkError::ResponseError(_) => {
            Error::new(ErrorKind::Unavailable).with_detail("the answer broke off, or is not HTTP")
        }
        SdkError::TimeoutError(_) => Error::new(ErrorKind::TimedOut),
        SdkError::DispatchFailure(failure) => {
            let kind = if failure.is_timeout() {
                ErrorKind::TimedOut
            } else {
                ErrorKind::Unavailable
            };
            let fault = causes(&error).find_map(|cause| cause.downcast_ref::<Fault>());
            let mapped = fault.map_or_else(|| Error::new(kind), Fault::to_error);
            caused(mapped, error)
        }
        _ => caused(
            Error::new(ErrorKind::Configuration).with_detail("the AWS SDK could not make the request"),
            error,
        ),
    }
}

fn caused<E>(mapped: Error, error: SdkError<E, HttpResponse>) -> Error
where
    E: StdError + Send + Sync + 'static,
{
    match error.into_source() {
        Ok(source) => mapped.with_source(source),
        Err(_) => mapped,
    }
}

/// Returns the kind for a code, or for the HTTP status if there is no code.
pub(super) fn kind(code: Option<&str>, status: u16) -> ErrorKind {
    use ErrorKind as Kind;
    if status == 501 {
        // With whatever code: an emulator that lacks the operation.
        return Kind::Unsupported {
            feature: NO_SUCH_CALL,
        };
    }
    match code.unwrap_or_default() {
        "InvalidCiphertextException" | "IncorrectKeyException" => Kind::CannotOpen,
        // The last one: a quota of the account is used up.
        "AccessDenied"
        | "AccessDeniedException"
        | "NotAuthorizedException"
        | "OptInRequired"
        | "LimitExceededException" => Kind::Denied,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Kind::Unauthenticated,
        "NotFoundException" => Kind::KeyNotFound,
        "DisabledException" => Kind::KeyDisabled,
        // Pending deletion, pending import, being made, or its key store is away: only the key's description tells.
        "KMSInvalidStateException" => Kind::KeyNotReady,
        "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "TooManyRequestsException" => Kind::Throttled,
        "DependencyTimeoutException"
        | "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "KMSInternalException"
        | "KeyUnavailableException"
        | "RequestTimeout"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "ConflictException" => Kind::Unavailable,
        "ValidationException"
        | "ValidationError"
        | "SerializationException"
        | "AlreadyExistsException"
        | "InvalidAliasNameException"
        | "TagException" => Kind::InvalidArgument,
        "InvalidArnException" | "InvalidGrantTokenException" | "InvalidKeyUsageException" => {
            Kind::Configuration
        }
        "UnknownOperationException" => Kind::Unsupported {
            feature: NO_SUCH_CALL,
        },
        "UnsupportedOperationException" => Kind::Unsupported {
            feature: "what was asked of this AWS KMS key",
        },
        _ => match status {
            401 => Kind::Unauthenticated,
            403 => Kind::Denied,
            408 | 500..=599 => Kind::Unavailable,
            429 => Kind::Throttled,
            _ => Kind::InvalidAnswer,
        },
    }
}

/// Code, status and request id, as far as they are names: a server can put anything there.
fn describe(code: Option<&str>, status: u16, request_id: Option<&str>) -> String {
    let is_name = |text: &&str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed)
    };
    let code = code.filter(is_name).unwrap_or("no code");
    match request_id.filter(is_name) {
        Some(id) => format!("{code}, HTTP status {status}, request {id}"),
        None => format!("{code}, HTTP status {status}"),
    }
}

fn retry_after(answer: &HttpResponse) -> Option<Duration> {
    let seconds: u64 = answer.headers().get("retry-after")?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(3_600)))
}

/// Where an error, or what caused it, is about getting credentials: its kind, and whether that may pass.
fn about_credentials(error: &(dyn StdError + 'static)) -> Option<(ErrorKind, bool)> {
    let found = causes(error).find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    Some(match found {
        CredentialsError::ProviderTimedOut(_) => (ErrorKind::TimedOut, true),
        CredentialsError::InvalidConfiguration(_) => (ErrorKind::Configuration, false),
        // The service for credentials did not answer with any: it may be down.
        CredentialsError::ProviderError(_) => (ErrorKind::Unauthenticated, true),
        _ => (ErrorKind::Unauthenticated, false),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_kms::error::ConnectorError;
    use aws_sdk_kms::operation::decrypt::DecryptError;

    use super::*;

    #[test]
    fn a_code_decides_and_the_status_only_without_one() {
        assert_eq!(kind(Some("ThrottlingException"), 400), ErrorKind::Throttled);
        assert_eq!(kind(Some("DisabledException"), 400), ErrorKind::KeyDisabled);
        assert_eq!(kind(Some("KMSInternalException"), 500), ErrorKind::Unavailable);
        assert_eq!(kind(Some("IncorrectKeyException"), 400), ErrorKind::CannotOpen);
        assert_eq!(kind(Some("Unheard"), 503), ErrorKind::Unavailable);
        assert_eq!(kind(None, 429), ErrorKind::Throttled);
        // Said with a good status, or with a bad one and nothing else: no answer at all.
        assert_eq!(kind(None, 200), ErrorKind::InvalidAnswer);
        assert_eq!(kind(Some("Unheard"), 400), ErrorKind::InvalidAnswer);
        // What is not there will not be there the next time.
        for (code, status) in [
            (None, 501),
            (Some("InternalFailure"), 501),
            (Some("UnknownOperationException"), 400),
        ] {
            assert!(
                matches!(kind(code, status), ErrorKind::Unsupported { .. }),
                "{code:?}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_down() {
        use CredentialsError as Cause;
        let failed = |cause: Cause| {
            let failure = ConnectorError::other(cause.into(), None);
            error(SdkError::<DecryptError, HttpResponse>::dispatch_failure(failure))
        };
        for (cause, kind, retryable) in [
            (Cause::not_loaded("CANARY"), ErrorKind::Unauthenticated, false),
            (Cause::provider_error("CANARY"), ErrorKind::Unauthenticated, true),
            (
                Cause::invalid_configuration("CANARY"),
                ErrorKind::Configuration,
                false,
            ),
            (
                Cause::provider_timed_out(Duration::from_secs(1)),
                ErrorKind::TimedOut,
                true,
            ),
        ] {
            let error = failed(cause);
            assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{error}");
            assert!(error.source().is_some());
            assert!(!format!("{error} {error:?}").contains("CANARY"));
        }
        // A host that is not there is not about credentials.
        let failure = ConnectorError::io("CANARY".into());
        let error = error(SdkError::<DecryptError, HttpResponse>::dispatch_failure(failure));
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn what_a_server_says_is_printed_only_where_it_is_a_name() {
        assert_eq!(
            describe(Some("NotFoundException"), 400, Some("a1-b2")),
            "NotFoundException, HTTP status 400, request a1-b2"
        );
        assert_eq!(
            describe(Some("secret = CANARY"), 400, Some("\u{202e}")),
            "no code, HTTP status 400"
        );
    }
}
