//! Errors of a store, as those of waxseal.

use object_store::Error as Fault;
use object_store::path::Error as PathFault;
use waxseal::{Error, ErrorKind};

/// What went wrong. The texts of others may have parts of a request, and are the source of the error only.
pub(crate) fn fault(error: Fault) -> Error {
    let of = |kind, detail: &str| Error::new(kind).with_detail(detail.to_owned());
    let fault = match &error {
        Fault::NotFound { .. } => of(
            ErrorKind::Store,
            "there is no such bucket or container, or no such object",
        ),
        Fault::PermissionDenied { .. } => of(ErrorKind::Denied, "the store denies access"),
        Fault::Unauthenticated { .. } => of(
            ErrorKind::Unauthenticated,
            "the store does not accept the credentials, or there are none",
        ),
        Fault::AlreadyExists { .. } | Fault::Precondition { .. } => of(
            ErrorKind::Conflict,
            "somebody else has written the object meanwhile",
        )
        .with_retryable(true),
        Fault::NotSupported { .. } | Fault::NotImplemented { .. } => of(
            ErrorKind::Configuration,
            "the store does not support what is needed: objects that are put under a condition",
        ),
        Fault::InvalidPath { source } => of(
            ErrorKind::Configuration,
            &format!(
                "the store lists a name that cannot be asked for: {}; rename that object, or take a prefix without it",
                nameless(source)
            ),
        ),
        Fault::UnknownConfigurationKey { .. } => of(ErrorKind::Configuration, "the store has no such option"),
        // So come a refused connection, an unknown host, and what was tried again in vain.
        _ => of(ErrorKind::Unavailable, "the store cannot be reached, or fails"),
    };
    fault.with_provider("object store").with_source(error)
}

/// The name that is none.
fn nameless(error: &PathFault) -> String {
    match error {
        PathFault::EmptySegment { path } => format!("{path:?} has an empty part"),
        PathFault::BadSegment { path, .. } => format!("{path:?} has `.`, `..` or a control character in it"),
        _ => "it is no path".to_owned(),
    }
}
