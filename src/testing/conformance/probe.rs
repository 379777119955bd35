//! How checks ask, and how they judge answers.

use std::error::Error as StdError;
use std::fmt::Write;
use std::time::Duration;

use super::{Subject, Suite};
use crate::envelope::{KekRef, WrapRef, WrappedDek};
use crate::key::{Capabilities, KeyManager, Request};
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, ErrorKind, Result};
use crate::value::secret::Dek;

pub(in crate::testing) enum Verdict {
    Passed,
    Skipped(&'static str),
}

/// What a check gives: a verdict, or why it failed.
pub(in crate::testing) type Outcome = std::result::Result<Verdict, String>;
/// What a part of a check gives.
pub(in crate::testing) type Finding<T> = std::result::Result<T, String>;

/// In the values of every context here. Never in anything that is printed.
pub(super) const CANARY: &str = "w4x-c4n4ry";

pub(super) const WRAPS_ONLY: &str = "it only wraps, and the subject has no opener";

/// A context of one pair that holds the canary.
pub(super) fn context(name: &str) -> Finding<EncryptionContext> {
    EncryptionContext::new([("conformance", format!("{CANARY} {name}"))]).map_err(own)
}

/// An error of the suite's own making.
#[allow(clippy::needless_pass_by_value, reason = "given to map_err")]
pub(in crate::testing) fn own(error: Error) -> String {
    format!("the suite could not go on: {error}")
}

pub(super) fn fail<T>(why: impl Into<String>) -> Finding<T> {
    Err(why.into())
}

impl Subject {
    pub(super) fn manager(&self) -> &dyn KeyManager {
        &*self.manager
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.manager.capabilities()
    }

    /// Who unwraps; nobody where nothing can.
    pub(super) fn opener(&self) -> Option<&dyn KeyManager> {
        match &self.opener {
            Some(opener) => Some(&**opener),
            None => self.capabilities().unwraps.then_some(&*self.manager),
        }
    }

    pub(super) fn other(&self) -> Option<&dyn KeyManager> {
        self.other.as_deref()
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow
    }

    pub(super) fn is_deterministic(&self) -> bool {
        self.deterministic
    }

    /// `many`, or `few` of a slow subject.
    pub(super) fn times(&self, many: usize, few: usize) -> usize {
        if self.slow { few } else { many }
    }

    /// Which of `len` places to look at: all, or a sample with both ends.
    pub(super) fn places(&self, len: usize) -> Vec<usize> {
        const SAMPLE: usize = 12;
        if !self.slow || len <= SAMPLE {
            return (0..len).collect();
        }
        (0..SAMPLE).map(|i| i * (len - 1) / (SAMPLE - 1)).collect()
    }

    pub(super) async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Finding<WrappedDek> {
        let wrapped = self.manager().wrap(dek, request).await;
        self.good("wrapping", wrapped)
    }

    /// Whether it says, in every way of wrapping, that it cannot wrap for this request.
    pub(super) async fn cannot_wrap_for(&self, request: &Request<'_>) -> Finding<bool> {
        let unsupported = |kind| matches!(kind, ErrorKind::Unsupported { .. });
        let dek = Dek::generate().map_err(own)?;
        match self.manager().wrap(&dek, request).await {
            Err(error) if unsupported(error.kind()) => {
                self.check_printed("refusing to wrap", &error)?;
                let generated = self.manager().generate(request).await;
                let what = "generating what it does not wrap";
                self.refused(what, generated, unsupported)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// A fresh DEK and its wrap.
    pub(super) async fn wrapped(&self, request: &Request<'_>) -> Finding<(Dek, WrappedDek)> {
        let dek = Dek::generate().map_err(own)?;
        let wrapped = self.wrap(&dek, request).await?;
        Ok((dek, wrapped))
    }

    /// Unwraps what must unwrap to this DEK.
    pub(super) async fn opens(
        &self,
        opener: &dyn KeyManager,
        what: &str,
        wrapped: &WrappedDek,
        request: &Request<'_>,
        dek: &Dek,
    ) -> Finding<()> {
        let opened = self.good(what, opener.unwrap(wrapped.as_wrap_ref(), request).await)?;
        if !names(&opened.kek, wrapped.kek()) {
            return fail(format!(
                "{what}: unwrapped by {}, and wrapped under {}",
                opened.kek,
                wrapped.kek()
            ));
        }
        if opened.dek.ct_eq(dek) {
            Ok(())
        } else {
            fail(format!("{what}: unwrapped to another DEK than was wrapped"))
        }
    }

    /// An answer that must be good.
    pub(super) fn good<T>(&self, what: &str, answer: Result<T>) -> Finding<T> {
        answer.or_else(|error| {
            self.check_printed(what, &error)?;
            fail(format!("{what} failed, and should not have: {error}"))
        })
    }

    /// An answer that must be an error of one of these kinds, and say nothing it should not.
    pub(super) fn refused<T>(
        &self,
        what: &str,
        answer: Result<T>,
        is_expected: impl Fn(ErrorKind) -> bool,
    ) -> Finding<()> {
        let Err(error) = answer else {
            return fail(format!("{what} was accepted, and should have been refused"));
        };
        self.check_printed(what, &error)?;
        if !is_expected(error.kind()) {
            return fail(format!("{what} was refused with the wrong kind: {error}"));
        }
        if error.is_retryable() {
            return fail(format!(
                "{what} was refused with an error that is retryable: {error}"
            ));
        }
        Ok(())
    }

    /// Unwraps what must not unwrap, with `CannotOpen`.
    pub(super) async fn does_not_open(
        &self,
        opener: &dyn KeyManager,
        what: &str,
        wrapped: WrapRef<'_>,
        request: &Request<'_>,
    ) -> Finding<()> {
        let answer = opener.unwrap(wrapped, request).await;
        self.refused(what, answer, |kind| kind == ErrorKind::CannotOpen)
    }

    /// Refuses texts with canaries, in an error and in all of its causes.
    fn check_printed(&self, what: &str, error: &Error) -> Finding<()> {
        let mut text = format!("{error} {error:?}");
        let mut cause = error.source();
        while let Some(error) = cause {
            let _ = write!(text, " {error} {error:?}");
            cause = error.source();
        }
        self.check_text(what, &text)
    }

    /// Refuses a text with a canary.
    pub(super) fn check_text(&self, what: &str, text: &str) -> Finding<()> {
        let canaries = self.canaries.iter().map(String::as_str);
        if canaries.chain([CANARY]).any(|canary| text.contains(canary)) {
            // Not the text itself: it holds a secret.
            return fail(format!(
                "{what} gave a text that holds a secret or a context value"
            ));
        }
        Ok(())
    }
}

impl Suite for Subject {
    fn bound(&self) -> Duration {
        self.bound
    }

    fn check_text(&self, what: &str, text: &str) -> Finding<()> {
        Self::check_text(self, what, text)
    }
}

/// Altered, garbled or foreign bytes: what does not open, or what is refused before any work.
pub(super) fn is_about_the_bytes(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::CannotOpen | ErrorKind::Malformed { .. } | ErrorKind::OverLimit { .. }
    )
}

/// The same stanza with other wrapped bytes.
pub(super) fn with_bytes<'a>(wrapped: &'a WrappedDek, bytes: &'a [u8]) -> WrapRef<'a> {
    let mut stanza = wrapped.as_wrap_ref();
    stanza.wrapped = bytes;
    stanza
}

/// Whether a KEK is named as the one that wrapped. A backend that does not say which version wrapped, or unwrapped,
/// leaves the version out; where the stanza hides the id, there only has to be one.
pub(super) fn names(opened: &KekRef, wrapped: &KekRef) -> bool {
    let hidden = wrapped.id().is_empty();
    let id = if hidden {
        !opened.id().is_empty()
    } else {
        opened.id() == wrapped.id()
    };
    let unsaid = opened.version().is_empty() || wrapped.version().is_empty();
    let version = hidden || unsaid || opened.version() == wrapped.version();
    opened.provider() == wrapped.provider() && id && version
}
