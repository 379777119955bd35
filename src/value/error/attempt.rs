//! What was tried before an envelope did not open.

use std::fmt;

use super::ErrorKind;

/// One attempt to open one stanza, which failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The provider of the KEK.
    pub provider: String,
    /// The id of the KEK; empty if the writer hid it.
    pub kek_id: String,
    /// The version of the KEK; empty if the backend has no versions.
    pub kek_version: String,
    /// What went wrong; `None` if no configured key manager recognizes the KEK, so nothing was tried.
    pub kind: Option<ErrorKind>,
    /// The option of a key URI that selects the algorithm of this stanza, if nothing was tried because its KEK is configured for
    /// another algorithm.
    pub option: Option<&'static str>,
}

impl Attempt {
    /// Records one attempt. `kind` is `None` if the stanza was skipped.
    #[must_use]
    pub fn new(provider: &str, kek_id: &str, kek_version: &str, kind: Option<ErrorKind>) -> Self {
        Self {
            provider: provider.to_owned(),
            kek_id: kek_id.to_owned(),
            kek_version: kek_version.to_owned(),
            kind,
            option: None,
        }
    }

    pub(crate) fn with_option(mut self, option: Option<&'static str>) -> Self {
        self.option = option;
        self
    }
}

/// Names a KEK on one line. Ids and versions come from envelopes, so characters that would break or rearrange the line are escaped.
pub(crate) fn fmt_kek(f: &mut fmt::Formatter<'_>, provider: &str, id: &str, version: &str) -> fmt::Result {
    if id.is_empty() {
        write!(f, "{provider} (hidden id)")?;
    } else {
        write!(f, "{provider} {}", id.escape_debug())?;
    }
    if version.is_empty() {
        Ok(())
    } else {
        write!(f, " version {}", version.escape_debug())
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_kek(f, &self.provider, &self.kek_id, &self.kek_version)?;
        match self.kind {
            None if self.option.is_some() => {
                write!(
                    f,
                    ": configured for another algorithm; set {}",
                    self.option.unwrap_or_default()
                )
            }
            Some(ErrorKind::CannotOpen) => f.write_str(": did not open"),
            Some(kind) => write!(f, ": {kind}"),
            None => f.write_str(": not configured"),
        }
    }
}
