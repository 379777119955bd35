//! What was tried in vain, and which of several errors to report.

use std::borrow::Cow;

use crate::envelope::WrapRef;
use crate::key::failure::worse;
use crate::value::error::{Attempt, Error, ErrorKind, Operation};

/// What was tried in vain.
#[derive(Default)]
pub(super) struct Failures {
    /// By stanza.
    attempts: Vec<(usize, Attempt)>,
    worst: Option<Error>,
    retryable: bool,
}

impl Failures {
    /// `option` is what the configuration of the stanza's KEK lacks, if it is that alone.
    pub(super) fn pass_over(&mut self, index: usize, stanza: WrapRef<'_>, option: Option<&'static str>) {
        let attempt = Attempt::new(stanza.provider, stanza.kek_id, stanza.kek_version, None);
        self.attempts.push((index, attempt.with_option(option)));
    }

    pub(super) fn add(&mut self, index: usize, stanza: WrapRef<'_>, error: Error) {
        // A failed unwrap and a commitment that does not match are the same error, to the letter, so that a reader of
        // altered wraps answers no guesses.
        let error = match error.kind() {
            ErrorKind::CannotOpen => Error::cannot_open(),
            _ => error,
        };
        self.record(index, stanza, Some(error.kind()));
        self.retryable |= error.is_retryable();
        self.worst = Some(match self.worst.take() {
            Some(worst) => worse(worst, error),
            None => error,
        });
    }

    fn record(&mut self, index: usize, stanza: WrapRef<'_>, kind: Option<ErrorKind>) {
        let attempt = Attempt::new(stanza.provider, stanza.kek_id, stanza.kek_version, kind);
        self.attempts.push((index, attempt));
    }

    pub(super) fn into_error(mut self) -> Error {
        // In the order of the envelope, whatever was tried first.
        self.attempts.sort_by_key(|(index, _)| *index);
        let attempts: Vec<Attempt> = self.attempts.into_iter().map(|(_, attempt)| attempt).collect();
        let Some(worst) = self.worst else {
            let detail = match attempts.iter().find_map(|attempt| attempt.option) {
                Some(option) => Cow::from(format!(
                    "a key it is wrapped under is configured for another algorithm: set {option} for it"
                )),
                None => Cow::from("configure one of the keys it is wrapped under"),
            };
            return Error::new(ErrorKind::NoUsableKey)
                .with_operation(Operation::Open)
                .with_detail(detail)
                .with_attempts(attempts);
        };
        worst.with_retryable(self.retryable).with_attempts(attempts)
    }
}

/// Whether an error is about the wrapped bytes: the same KEK, reached another way, returns the same error.
pub(super) fn is_about_the_bytes(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::CannotOpen | ErrorKind::Malformed { .. } | ErrorKind::OverLimit { .. }
    ) && !error.is_retryable()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{KekRef, WrapAlgorithm, WrappedDek};

    // spec: ANY-5
    #[test]
    fn the_error_that_somebody_can_act_on_is_reported_whatever_the_order() {
        let kek = KekRef::new("toy", "a", "1").unwrap();
        let wrapped = WrappedDek::new(WrapAlgorithm::from_id(224), kek, vec![1]).unwrap();
        let ranked = [
            ErrorKind::NoUsableKey,
            ErrorKind::Unsupported { feature: "this" },
            ErrorKind::CannotOpen,
            ErrorKind::Denied,
            ErrorKind::Unavailable,
        ];
        for (i, lesser) in ranked.iter().enumerate() {
            for greater in ranked.iter().skip(i + 1) {
                for order in [[lesser, greater], [greater, lesser]] {
                    let mut failures = Failures::default();
                    for kind in order {
                        failures.add(0, wrapped.as_wrap_ref(), Error::new(*kind));
                    }
                    let error = failures.into_error();
                    assert_eq!(error.kind(), *greater);
                    assert_eq!(error.attempts().len(), 2);
                }
            }
        }
    }
}
