//! Who allowed an operation that is otherwise forbidden.

use std::fmt;
use std::sync::Arc;

/// Who allowed an operation that is otherwise forbidden, and where that is written down.
///
/// Everything here is a claim. A source that needs an authorization verifies the [`document`](Self::document), and believes
/// nothing else.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// The ticket or incident.
    pub ticket: String,
    /// Who approved.
    pub approver: String,
    /// What it is about, for example the id of a key of a ring. Empty if it does not say.
    pub subject: String,
    document: Arc<[u8]>,
}

impl Authorization {
    /// Makes an authorization from a ticket and the name of its approver.
    #[must_use]
    pub fn new(ticket: impl Into<String>, approver: impl Into<String>) -> Self {
        Self {
            ticket: ticket.into(),
            approver: approver.into(),
            subject: String::new(),
            document: Arc::default(),
        }
    }

    /// Sets what it is about.
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Sets the signed document that proves it, for example the bytes of an approval for a key of a key ring.
    #[must_use]
    pub fn with_document(mut self, document: impl Into<Arc<[u8]>>) -> Self {
        self.document = document.into();
        self
    }

    /// Returns the signed document. Empty if there is none.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        &self.document
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("ticket", &self.ticket)
            .field("approver", &self.approver)
            .field("subject", &self.subject)
            .field("document", &self.document.len())
            .finish()
    }
}
