//! Answers that are none.

use crate::value::error::{Error, ErrorKind};

/// Makes the error of an answer that is not what was asked for. Who asks adds the provider.
pub(in crate::backend) fn invalid_answer(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidAnswer).with_detail(detail)
}
