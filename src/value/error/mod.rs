//! The one error type of this crate.
//!
//! Every fallible operation returns [`Error`]. Its [`ErrorKind`] says what went wrong. Kinds are grouped by who is to
//! blame: the bytes, the cryptography, the wraps, the key manager, the policy, the store, or the caller.
//! An error never prints plaintext, keys, passphrases, context values or response bodies.

mod attempt;
mod kind;
mod name;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::attempt::Attempt;
pub(crate) use self::attempt::fmt_kek;
pub use self::kind::{ApprovalFault, ErrorKind, Operation};

/// The result of every fallible operation in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate. It is opaque: [`kind`](Error::kind) returns what went wrong.
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    operation: Option<Operation>,
    provider: Option<Cow<'static, str>>,
    detail: Option<Cow<'static, str>>,
    retryable: Option<bool>,
    retry_after: Option<Duration>,
    attempts: Vec<Attempt>,
    /// Shared by the copies of one error.
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error of `kind`.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: None,
            provider: None,
            detail: None,
            retryable: None,
            retry_after: None,
            attempts: Vec::new(),
            source: None,
        }))
    }

    /// Adds a detail for a person: what was wrong and what to do. Never put secrets or context values into it.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Sets the operation, unless an inner layer has already set it.
    #[must_use]
    pub fn with_operation(mut self, operation: Operation) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Sets the provider, unless an inner layer has already set it.
    #[must_use]
    pub fn with_provider(mut self, provider: impl Into<Cow<'static, str>>) -> Self {
        self.0.provider.get_or_insert_with(|| provider.into());
        self
    }

    /// Keeps the cause. `Display` and `Debug` do not print it; [`source`](StdError::source) returns it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Overrides whether the error is retryable, which the kind decides otherwise.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = Some(retryable);
        self
    }

    /// Sets how long the other side asked to wait before the next attempt.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Sets the stanzas that were tried or skipped.
    #[must_use]
    pub fn with_attempts(mut self, attempts: Vec<Attempt>) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the operation that failed, if it is known.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// Returns a detail for a person, if there is one: what was wrong and what to do.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Returns the provider that failed, for example `"aws-kms"` or `"local"`, if a provider did.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.0.provider.as_deref()
    }

    /// Returns whether the same call may succeed later.
    ///
    /// An error with [`attempts`](Error::attempts) is retryable if any attempt was.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable.unwrap_or_else(|| self.0.kind.is_retryable())
    }

    /// Returns how long the other side asked to wait before the next attempt.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns every stanza that was tried or skipped, if no stanza opened. Empty if a stanza opened and the commitment matched:
    /// a [`CannotOpen`](ErrorKind::CannotOpen) then means a wrong AAD or altered data, as its [`detail`](Self::detail) says.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }

    /// Copies the error, for several tasks that waited for one answer and for tasks that ask again.
    pub(crate) fn copy(&self) -> Self {
        Self(Box::new(self.0.as_ref().clone()))
    }

    // Shorthands for this crate.

    pub(crate) fn malformed(field: &'static str, offset: usize) -> Self {
        Self::new(ErrorKind::Malformed { field, offset })
    }

    pub(crate) fn unsupported(feature: &'static str) -> Self {
        Self::new(ErrorKind::Unsupported { feature })
    }

    /// No key reproduced the commitment. A failed unwrap, a wrong wrap binding and a wrong commitment have the same message.
    pub(crate) fn cannot_open() -> Self {
        Self::new(ErrorKind::CannotOpen)
            .with_detail("the key or the encryption context is wrong, or the envelope's header was altered")
    }

    /// The commitment matched, but a chunk did not authenticate.
    pub(crate) fn altered() -> Self {
        Self::new(ErrorKind::CannotOpen)
            .with_detail("key and context are right; the AAD is wrong, or the data was altered or cut off")
    }

    pub(crate) fn argument(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument).with_detail(detail)
    }

    pub(crate) fn configuration(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Configuration)
            .with_operation(Operation::Configure)
            .with_detail(detail)
    }

    pub(crate) fn io(source: std::io::Error) -> Self {
        // An error of this crate that went through a reader or writer comes back as itself.
        match source.downcast::<Self>() {
            Ok(own) => own,
            Err(source) => Self::new(ErrorKind::Io).with_source(source),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.0.operation {
            write!(f, "{operation}: ")?;
        }
        if let Some(provider) = &self.0.provider {
            write!(f, "{provider}: ")?;
        }
        write!(f, "{}", self.0.kind)?;
        if let Some(detail) = &self.0.detail {
            write!(f, ": {detail}")?;
        }
        for (index, attempt) in self.0.attempts.iter().enumerate() {
            f.write_str(if index == 0 { " (" } else { "; " })?;
            write!(f, "{attempt}")?;
        }
        if !self.0.attempts.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Error");
        s.field("kind", &self.0.kind);
        if let Some(operation) = &self.0.operation {
            s.field("operation", operation);
        }
        if let Some(provider) = &self.0.provider {
            s.field("provider", provider);
        }
        if let Some(detail) = &self.0.detail {
            s.field("detail", detail);
        }
        if !self.0.attempts.is_empty() {
            s.field("attempts", &self.0.attempts);
        }
        s.field("retryable", &self.is_retryable());
        if let Some(source) = &self.0.source {
            // The text of a cause can be anything that a backend returned: `source` returns it, `Debug` does not print it.
            let _ = source;
            s.field("source", &"..");
        }
        s.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::TimedOut => std::io::ErrorKind::TimedOut,
            ErrorKind::Denied | ErrorKind::Unauthenticated | ErrorKind::KeyRevoked => {
                std::io::ErrorKind::PermissionDenied
            }
            ErrorKind::InvalidArgument | ErrorKind::OutOfRange { .. } | ErrorKind::Configuration => {
                std::io::ErrorKind::InvalidInput
            }
            ErrorKind::Io => error
                .source()
                .and_then(|source| source.downcast_ref::<Self>())
                .map_or(std::io::ErrorKind::Other, Self::kind),
            _ => std::io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_says_who_what_and_why() {
        let error = Error::new(ErrorKind::NoUsableKey)
            .with_operation(Operation::Open)
            .with_operation(Operation::Parse)
            .with_provider("local")
            .with_detail("configure the KEK")
            .with_attempts(vec![
                Attempt::new("local", "abc", "", None),
                Attempt::new("aws-kms", "", "2", Some(ErrorKind::Denied)),
            ]);
        assert_eq!(
            error.to_string(),
            "open: local: no configured key opens this envelope: configure the KEK \
             (local abc: not configured; aws-kms (hidden id) version 2: access was denied)"
        );
    }

    #[test]
    fn goes_through_io_and_comes_back_whole() {
        let there: std::io::Error = Error::cannot_open().with_operation(Operation::Open).into();
        assert_eq!(there.kind(), std::io::ErrorKind::InvalidData);
        let back = Error::io(there);
        assert_eq!(back.kind(), ErrorKind::CannotOpen);
        assert_eq!(back.operation(), Some(Operation::Open));
    }

    #[test]
    fn goes_through_io_with_the_kind_that_came_from_there() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let there: std::io::Error = Error::io(reset).into();
        assert_eq!(there.kind(), std::io::ErrorKind::ConnectionReset);
        let there: std::io::Error = Error::new(ErrorKind::Io).into();
        assert_eq!(there.kind(), std::io::ErrorKind::Other);
        let there: std::io::Error = Error::new(ErrorKind::KeyRevoked).into();
        assert_eq!(there.kind(), std::io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn names_from_an_envelope_cannot_rearrange_a_line() {
        let attempt = Attempt::new("local", "a\u{202e}b", "\u{2028}", None);
        assert_eq!(
            attempt.to_string(),
            r"local a\u{202e}b version \u{2028}: not configured"
        );
        let kek = crate::envelope::KekRef::new("local", "a\u{202e}b", "\u{2028}").unwrap();
        assert_eq!(kek.to_string(), r"local a\u{202e}b version \u{2028}");
    }

    #[test]
    fn only_what_passes_by_itself_is_retryable() {
        assert!(Error::new(ErrorKind::Throttled).is_retryable());
        assert!(!Error::new(ErrorKind::Denied).is_retryable());
        assert!(Error::new(ErrorKind::Store).with_retryable(true).is_retryable());
    }

    #[test]
    fn debug_does_not_print_the_source() {
        let error = Error::new(ErrorKind::Io).with_source("CANARY");
        assert!(!format!("{error:?} {error}").contains("CANARY"));
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("CANARY"));
    }
}
