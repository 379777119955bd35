//! What a key manager is asked, and by whom.

use std::fmt;

use zeroize::Zeroizing;

use super::budget::CallBudget;
use super::rules::RewrapRules;
use crate::runtime::Monotonic;
use crate::value::context::EncryptionContext;
use crate::value::error::{Error, Result};
use crate::value::secret::{self, Dek, KEY_LEN};

const WRAP_AAD: &[u8; 15] = b"waxseal v1 wrap";

/// What a request is for. Key managers may log it, and policies may look at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// To seal payloads.
    #[default]
    Seal,
    /// To open payloads.
    Open,
    /// To replace wraps.
    Rewrap,
    /// To find out whether a key works; no data depends on it.
    Probe,
}

/// Who allowed an operation that is otherwise forbidden, and where that is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// The ticket or incident.
    pub ticket: String,
    /// Who approved.
    pub approver: String,
}

impl Authorization {
    /// What was written down, and by whom it was approved.
    #[must_use]
    pub fn new(ticket: impl Into<String>, approver: impl Into<String>) -> Self {
        Self {
            ticket: ticket.into(),
            approver: approver.into(),
        }
    }
}

/// One request to a key manager: the context, and who asks for what until when.
///
/// Built from a context; everything else is optional.
#[derive(Clone)]
#[non_exhaustive]
pub struct Request<'a> {
    context: &'a EncryptionContext,
    binding: [u8; 32],
    purpose: Purpose,
    profile: Option<&'a str>,
    actor: Option<&'a str>,
    request_id: Option<&'a str>,
    deadline: Option<Monotonic>,
    authorization: Option<&'a Authorization>,
    message_len: Option<u64>,
    calls: Option<&'a CallBudget>,
    rules: RewrapRules<'a>,
}

impl<'a> Request<'a> {
    /// A request in this context. Its binding is the context's digest.
    #[must_use]
    pub fn new(context: &'a EncryptionContext) -> Self {
        Self {
            context,
            binding: *context.digest(),
            purpose: Purpose::default(),
            profile: None,
            actor: None,
            request_id: None,
            deadline: None,
            authorization: None,
            message_len: None,
            calls: None,
            rules: RewrapRules::new(),
        }
    }

    /// Says what it is for.
    #[must_use]
    pub fn with_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Names the profile whose demands hold.
    #[must_use]
    pub fn with_profile(mut self, profile: &'a str) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Names who asks, for audit and policy. Never sent to a KMS.
    #[must_use]
    pub fn with_actor(mut self, actor: &'a str) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Gives an id that ties log lines together.
    #[must_use]
    pub fn with_request_id(mut self, id: &'a str) -> Self {
        self.request_id = Some(id);
        self
    }

    /// Sets when a key manager must have answered, in the time of the runtime of whoever asks. The key manager
    /// keeps it; nobody else does.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Monotonic) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Shows who allowed what is otherwise forbidden.
    #[must_use]
    pub fn with_authorization(mut self, authorization: &'a Authorization) -> Self {
        self.authorization = Some(authorization);
        self
    }

    /// Says how many bytes of plaintext the one message has that is about to be sealed, for those who keep a budget.
    /// Not said for a data key, under which many will be. No key manager needs it.
    #[must_use]
    pub fn with_message_len(mut self, bytes: u64) -> Self {
        self.message_len = Some(bytes);
        self
    }

    /// Gives the budget of calls that this request's envelope has.
    #[must_use]
    pub fn with_call_budget(mut self, calls: &'a CallBudget) -> Self {
        self.calls = Some(calls);
        self
    }

    /// Says what a re-wrap may do.
    #[must_use]
    pub fn with_rewrap_rules(mut self, rules: RewrapRules<'a>) -> Self {
        self.rules = rules;
        self
    }

    /// Replaces the 32 bytes that a wrap must carry: for shares of a DEK, which are bound to more than the
    /// context.
    #[must_use]
    pub fn with_binding(mut self, binding: [u8; 32]) -> Self {
        self.binding = binding;
        self
    }

    /// The encryption context.
    #[must_use]
    pub fn context(&self) -> &'a EncryptionContext {
        self.context
    }

    /// The 32 bytes that a wrap must carry: the context's digest, or a share's.
    #[must_use]
    pub fn binding(&self) -> &[u8; 32] {
        &self.binding
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The profile whose demands hold.
    #[must_use]
    pub fn profile(&self) -> Option<&'a str> {
        self.profile
    }

    /// Who asks.
    #[must_use]
    pub fn actor(&self) -> Option<&'a str> {
        self.actor
    }

    /// The id that ties log lines together.
    #[must_use]
    pub fn request_id(&self) -> Option<&'a str> {
        self.request_id
    }

    /// When a key manager must have answered.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        self.deadline
    }

    /// Who allowed what is otherwise forbidden.
    #[must_use]
    pub fn authorization(&self) -> Option<&'a Authorization> {
        self.authorization
    }

    /// The plaintext bytes of the one message that is about to be sealed; `None` where that is not known.
    #[must_use]
    pub fn message_len(&self) -> Option<u64> {
        self.message_len
    }

    /// The budget of calls of this request's envelope; `None` where nobody counts.
    #[must_use]
    pub fn call_budget(&self) -> Option<&'a CallBudget> {
        self.calls
    }

    /// Takes one call from the budget of this request's envelope, for a key manager that makes more than one to answer.
    /// The first call is taken by who asks.
    ///
    /// # Errors
    /// `BudgetExhausted` where no call is left.
    pub fn take_call(&self) -> Result<()> {
        self.calls.map_or(Ok(()), CallBudget::take)
    }

    /// What a re-wrap may do.
    #[must_use]
    pub fn rewrap_rules(&self) -> RewrapRules<'a> {
        self.rules
    }

    /// The AAD of a wrap, for backends that authenticate extra data: a label and the binding, 47 bytes.
    #[must_use]
    pub fn wrap_aad(&self) -> [u8; 47] {
        let mut aad = [0; 47];
        aad[..15].copy_from_slice(WRAP_AAD);
        aad[15..].copy_from_slice(&self.binding);
        aad
    }

    /// What to wrap, for backends that authenticate no extra data: the DEK and the binding, 64 bytes.
    #[must_use]
    pub fn embed(&self, dek: &Dek) -> Zeroizing<[u8; 64]> {
        let mut embedded = Zeroizing::new([0; 64]);
        embedded[..KEY_LEN].copy_from_slice(dek.expose_bytes());
        embedded[KEY_LEN..].copy_from_slice(&self.binding);
        embedded
    }

    /// The DEK out of what [`embed`](Request::embed) made, if it carries this request's binding. Compared in
    /// constant time.
    ///
    /// # Errors
    /// `CannotOpen` for another length or another binding.
    pub fn extract(&self, embedded: &[u8]) -> Result<Dek> {
        let embedded: &[u8; 64] = embedded.try_into().map_err(|_| Error::cannot_open())?;
        let (dek, binding) = embedded
            .split_first_chunk::<32>()
            .ok_or_else(Error::cannot_open)?;
        let binding = binding.try_into().map_err(|_| Error::cannot_open())?;
        if secret::ct_eq_32(binding, &self.binding) {
            Ok(Dek::from_bytes(dek))
        } else {
            Err(Error::cannot_open())
        }
    }
}

impl fmt::Debug for Request<'_> {
    // Not the binding: whoever knows what contexts look like could guess theirs by it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("context", &self.context)
            .field("purpose", &self.purpose)
            .field("profile", &self.profile)
            .field("actor", &self.actor)
            .field("request_id", &self.request_id)
            .field("deadline", &self.deadline)
            .field("authorization", &self.authorization)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::error::ErrorKind;

    // spec: BIND-3
    #[test]
    fn an_embedded_dek_comes_out_only_in_its_context() {
        let (a, b) = (
            EncryptionContext::new([("a", "1")]).unwrap(),
            EncryptionContext::empty(),
        );
        let dek = Dek::from_bytes(&[5; 32]);
        let embedded = Request::new(&a).embed(&dek);
        assert!(Request::new(&a).extract(embedded.as_slice()).unwrap().ct_eq(&dek));
        for bad in [&embedded[..63], &embedded[..32], &[]] {
            assert_eq!(
                Request::new(&a).extract(bad).unwrap_err().kind(),
                ErrorKind::CannotOpen
            );
        }
        let error = Request::new(&b).extract(embedded.as_slice()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen);
    }

    #[test]
    fn debug_of_a_request_shows_no_value_and_no_digest_to_guess_it_by() {
        let context = EncryptionContext::new([("tenant", "CANARY")]).unwrap();
        let request = Request::new(&context)
            .with_binding([0xab; 32])
            .with_actor("alice");
        let shown = format!("{request:?}");
        assert!(shown.contains("tenant") && shown.contains("alice"), "{shown}");
        assert!(!shown.contains("CANARY") && !shown.contains("171"), "{shown}");
    }

    // spec: BIND-1
    #[test]
    fn the_wrap_aad_is_label_and_binding() {
        let context = EncryptionContext::empty();
        let request = Request::new(&context);
        assert_eq!(&request.wrap_aad()[..15], b"waxseal v1 wrap");
        assert_eq!(&request.wrap_aad()[15..], context.digest());
        assert_eq!(&request.with_binding([7; 32]).wrap_aad()[15..], [7; 32]);
    }
}
