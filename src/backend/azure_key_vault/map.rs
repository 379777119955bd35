//! What an answer that is no answer means: by code and cause, never by text.

use std::error::Error as StdError;
use std::time::Duration;

use azure_core::error::{Error as SdkError, ErrorKind as SdkKind};
use azure_core::http::RawResponse;
use azure_core::http::headers::HeaderName;
use serde::Deserialize;

use super::PROVIDER;
use super::transport::NoToken;
use crate::backend::shared::answer::invalid_answer;
use crate::backend::shared::http::{Class, Fault, causes};
use crate::value::error::{Error, ErrorKind};

/// What was called: one status means different things to different calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Wrap,
    Unwrap,
    Read,
    Administer,
}

/// The service's error body, as far as it counts.
#[derive(Default, Deserialize)]
struct Body {
    error: Option<Code>,
}

#[derive(Default, Deserialize)]
struct Code {
    code: Option<String>,
    #[serde(rename = "innererror")]
    inner: Option<Box<Code>>,
}

impl Code {
    /// The code, and those within it.
    fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self), |code| code.inner.as_deref())
            .filter_map(|code| code.code.as_deref())
    }
}

/// Whether the vault refused the token.
pub(super) fn is_token_refused(error: &SdkError) -> bool {
    matches!(error.kind(), SdkKind::HttpResponse { status, .. } if u16::from(*status) == 401)
}

/// Returns whether a request for a token failed for a reason that may pass.
pub(super) fn may_pass(error: &SdkError) -> bool {
    let is_slow = causes(error).any(|cause| {
        cause.downcast_ref::<NoToken>() == Some(&NoToken::TimedOut)
            || cause
                .downcast_ref::<Fault>()
                .is_some_and(|fault| fault.class == Class::TimedOut)
    });
    is_slow || (causes(error).any(is_http) && of_credential(error).is_retryable())
}

fn is_http(cause: &(dyn StdError + 'static)) -> bool {
    let error = cause.downcast_ref::<SdkError>();
    error.is_some_and(|error| matches!(error.kind(), SdkKind::HttpResponse { .. }))
}

/// Makes the error of a call that failed. Keeps the cause only if it quotes no answer.
pub(super) fn error(error: &SdkError, call: Call) -> Error {
    let mapped = if let SdkKind::HttpResponse {
        status, raw_response, ..
    } = error.kind()
    {
        let answer = raw_response.as_deref();
        let body: Body = answer
            .and_then(|answer| serde_json::from_slice(answer.body().as_ref()).ok())
            .unwrap_or_default();
        let mapped = of_status(u16::from(*status), &body.error.unwrap_or_default(), call);
        with_retry_after(mapped, answer)
    } else if causes(error).any(|cause| cause.downcast_ref() == Some(&NoToken::Foreign)) {
        Error::new(ErrorKind::Configuration).with_detail(
            "what answers at the vault's address asks for a token for another host; where the address is right and outside \
             vault.azure.net, set verify-challenge=off",
        )
    } else if *error.kind() == SdkKind::Credential {
        of_credential(error)
    } else if let Some(fault) = causes(error).find_map(<dyn StdError>::downcast_ref::<Fault>) {
        fault.to_error()
    } else {
        // The cause quotes what it read, and that may be a DEK.
        invalid_answer("the answer is not what the service sends").with_retryable(true)
    };
    mapped.with_provider(PROVIDER)
}

fn of_status(status: u16, code: &Code, call: Call) -> Error {
    let is_disabled = |code: &str| {
        matches!(
            code,
            "KeyDisabled" | "KeyExpired" | "KeyNotYetValid" | "KeyNotActive"
        )
    };
    let kind = match (status, call) {
        // Another key, another version, or altered: the service says no more.
        (400, Call::Unwrap) => return Error::new(ErrorKind::CannotOpen),
        (400, Call::Wrap) => {
            return Error::new(ErrorKind::Configuration).with_detail(
                "HTTP status 400: the vault does not wrap with this key and algorithm; check the key's type and its permitted \
                 operations (wrapKey, unwrapKey)",
            );
        }
        // A change of the key is under way.
        (409, Call::Wrap | Call::Unwrap | Call::Read) => ErrorKind::Unavailable,
        (400 | 409, _) => ErrorKind::InvalidArgument,
        (401, _) => ErrorKind::Unauthenticated,
        (403, _) if code.all().any(is_disabled) => ErrorKind::KeyDisabled,
        (403, _) => ErrorKind::Denied,
        (404, _) => ErrorKind::KeyNotFound,
        (408 | 504, _) => ErrorKind::TimedOut,
        (429, _) => ErrorKind::Throttled,
        (300..=399, _) => {
            return Error::new(ErrorKind::Unavailable)
                .with_detail(format!("HTTP status {status}: a redirect, which is not followed"));
        }
        (500..=599, _) => ErrorKind::Unavailable,
        _ => ErrorKind::InvalidAnswer,
    };
    let mut detail = format!("HTTP status {status}");
    for code in code.all().filter(|code| is_code(code)) {
        detail = format!("{detail}, {code}");
    }
    if status == 401 {
        detail += ": the vault refuses the token, which was asked for anew; check the tenant";
    }
    Error::new(kind).with_detail(detail)
}

/// A code and no text, or it is not shown.
fn is_code(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn with_retry_after(error: Error, answer: Option<&RawResponse>) -> Error {
    let header = |name: &'static str, unit: fn(u64) -> Duration| {
        let value = answer?
            .headers()
            .get_optional_str(&HeaderName::from_static(name))?;
        value.trim().parse().ok().map(unit)
    };
    let after = header("retry-after-ms", Duration::from_millis)
        .or_else(|| header("x-ms-retry-after-ms", Duration::from_millis))
        .or_else(|| header("retry-after", Duration::from_secs));
    match after {
        Some(after) if error.is_retryable() => error.with_retry_after(after),
        _ => error,
    }
}

/// Makes the error of a call without a token, because the token service is down or refuses.
fn of_credential(error: &SdkError) -> Error {
    if let Some(fault) = causes(error).find_map(<dyn StdError>::downcast_ref::<Fault>) {
        return fault.to_error();
    }
    if causes(error).any(|cause| cause.is::<NoToken>()) {
        return Error::new(ErrorKind::TimedOut).with_detail("the token endpoint did not answer in time");
    }
    let answer = causes(error).find_map(|cause| match cause.downcast_ref::<SdkError>()?.kind() {
        SdkKind::HttpResponse {
            status,
            error_code,
            raw_response,
        } => Some((u16::from(*status), error_code, raw_response)),
        _ => None,
    });
    let Some((status, code, answer)) = answer else {
        return Error::new(ErrorKind::Unauthenticated).with_detail(
            "no credentials gave a token: set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET or \
             AZURE_FEDERATED_TOKEN_FILE, give the machine a managed identity, or run `az login`",
        );
    };
    let kind = match status {
        429 => ErrorKind::Throttled,
        408 | 410 | 500..=599 | 300..=399 => ErrorKind::Unavailable,
        _ => ErrorKind::Unauthenticated,
    };
    // Entra ID's codes are numbers.
    let code = code
        .as_deref()
        .filter(|code| code.len() <= 63 && code.bytes().all(|byte| byte.is_ascii_digit() || byte == b','));
    let error = Error::new(kind).with_detail(match code {
        Some(code) => format!("no token for these credentials: HTTP status {status}, AADSTS{code}"),
        None => format!("no token for these credentials: HTTP status {status}"),
    });
    with_retry_after(error, answer.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: &str, inner: Option<&str>) -> Code {
        Code {
            code: Some(code.to_owned()),
            inner: inner.map(|inner| Box::new(self::code(inner, None))),
        }
    }

    #[test]
    fn each_status_has_one_kind() {
        for (status, call, kind, retryable) in [
            (400, Call::Unwrap, ErrorKind::CannotOpen, false),
            (400, Call::Wrap, ErrorKind::Configuration, false),
            (400, Call::Administer, ErrorKind::InvalidArgument, false),
            (401, Call::Wrap, ErrorKind::Unauthenticated, false),
            (403, Call::Wrap, ErrorKind::Denied, false),
            (404, Call::Unwrap, ErrorKind::KeyNotFound, false),
            (409, Call::Administer, ErrorKind::InvalidArgument, false),
            (409, Call::Wrap, ErrorKind::Unavailable, true),
            (409, Call::Unwrap, ErrorKind::Unavailable, true),
            (409, Call::Read, ErrorKind::Unavailable, true),
            (429, Call::Unwrap, ErrorKind::Throttled, true),
            (307, Call::Unwrap, ErrorKind::Unavailable, true),
            (500, Call::Read, ErrorKind::Unavailable, true),
            (503, Call::Wrap, ErrorKind::Unavailable, true),
            (504, Call::Wrap, ErrorKind::TimedOut, true),
            (418, Call::Wrap, ErrorKind::InvalidAnswer, false),
        ] {
            let error = of_status(status, &Code::default(), call);
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{status} {call:?}"
            );
        }
    }

    #[test]
    fn a_disabled_key_is_told_by_code_at_any_depth() {
        for code in [code("KeyDisabled", None), code("Forbidden", Some("KeyDisabled"))] {
            assert_eq!(of_status(403, &code, Call::Wrap).kind(), ErrorKind::KeyDisabled);
        }
        let denied = of_status(403, &code("Forbidden", Some("ForbiddenByRbac")), Call::Wrap);
        assert_eq!(denied.kind(), ErrorKind::Denied);
        assert!(denied.to_string().contains("ForbiddenByRbac"));
        let text = of_status(403, &code("the CANARY is here", None), Call::Wrap);
        assert!(!text.to_string().contains("CANARY"));
    }
}
