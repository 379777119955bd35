//! Requests to key managers.

use std::fmt;

use zeroize::Zeroizing;

use super::authorization::Authorization;
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

/// One request to a key manager: the context, who asks, what for, and until when.
///
/// A request is built from a context. Everything else is optional.
///
/// ```
/// use waxseal::EncryptionContext;
/// use waxseal::key::{Purpose, Request};
///
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let request = Request::new(&context).with_purpose(Purpose::Open).with_actor("job 7");
/// assert_eq!(request.binding(), context.digest());
/// # Ok::<(), waxseal::Error>(())
/// ```
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
    authorizations: &'a [Authorization],
    message_len: Option<u64>,
    stores_context: bool,
    is_for_keeping: bool,
    calls: Option<&'a CallBudget>,
    rules: RewrapRules<'a>,
    #[cfg(feature = "audit")]
    sighting: Option<&'a super::Sighting>,
}

impl<'a> Request<'a> {
    /// Makes a request in this context. Its wrap binding is the context's digest.
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
            authorizations: &[],
            message_len: None,
            stores_context: false,
            is_for_keeping: false,
            calls: None,
            rules: RewrapRules::new(),
            #[cfg(feature = "audit")]
            sighting: None,
        }
    }

    /// Sets where whoever decides about it leaves what was seen.
    #[cfg(feature = "audit")]
    pub(crate) fn sighted_by(mut self, sighting: &'a super::Sighting) -> Self {
        self.sighting = Some(sighting);
        self
    }

    #[cfg(all(feature = "audit", feature = "ring"))]
    pub(crate) fn sighting(&self) -> Option<&'a super::Sighting> {
        self.sighting
    }

    /// Notes for an event that another manager than usual has answered.
    pub(crate) fn note_failover(&self) {
        #[cfg(feature = "audit")]
        if let Some(sighting) = self.sighting {
            sighting.met(super::sighting::Outage::Failover);
        }
    }

    /// Sets what the request is for.
    #[must_use]
    pub fn with_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Sets the profile whose requirements apply.
    #[must_use]
    pub fn with_profile(mut self, profile: &'a str) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Sets who asks, for audit and policy. The actor is never sent to a KMS.
    #[must_use]
    pub fn with_actor(mut self, actor: &'a str) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Sets an id that connects log lines.
    #[must_use]
    pub fn with_request_id(mut self, id: &'a str) -> Self {
        self.request_id = Some(id);
        self
    }

    /// Sets the time by which the key manager must answer, by the clock of the caller's runtime.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Monotonic) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets who allowed operations that are otherwise forbidden. A key ring takes the approvals of a re-wrap from
    /// here.
    #[must_use]
    pub fn with_authorizations(mut self, authorizations: &'a [Authorization]) -> Self {
        self.authorizations = authorizations;
        self
    }

    /// Sets the length in bytes of the plaintext that is about to be sealed, for sources that keep a budget.
    /// A request for a data key has none, because a data key seals many messages. No key manager needs the length.
    #[must_use]
    pub fn with_message_len(mut self, bytes: u64) -> Self {
        self.message_len = Some(bytes);
        self
    }

    /// Says whether the context is, or will be, stored in the envelope, for sources that allow, demand or forbid it.
    #[must_use]
    pub fn with_stored_context(mut self, stores: bool) -> Self {
        self.stores_context = stores;
        self
    }

    /// Says that the answer will be kept and given to later requests, as a cache does. A source that may not let its DEKs be kept
    /// refuses; see [`DekSource::may_keep`](crate::DekSource::may_keep).
    #[must_use]
    pub fn for_keeping(mut self) -> Self {
        self.is_for_keeping = true;
        self
    }

    /// Sets the budget of calls for this request's envelope.
    #[must_use]
    pub fn with_call_budget(mut self, calls: &'a CallBudget) -> Self {
        self.calls = Some(calls);
        self
    }

    /// Sets what a re-wrap may do.
    #[must_use]
    pub fn with_rewrap_rules(mut self, rules: RewrapRules<'a>) -> Self {
        self.rules = rules;
        self
    }

    /// Replaces the wrap binding, the 32 bytes that a wrap must carry. For shares of a DEK, which are bound to more than the
    /// context.
    #[must_use]
    pub fn with_binding(mut self, binding: [u8; 32]) -> Self {
        self.binding = binding;
        self
    }

    /// Returns the encryption context.
    #[must_use]
    pub fn context(&self) -> &'a EncryptionContext {
        self.context
    }

    /// Returns the wrap binding, the 32 bytes that a wrap must carry: the digest of the context or of a share.
    #[must_use]
    pub fn binding(&self) -> &[u8; 32] {
        &self.binding
    }

    /// Returns what the request is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Returns the profile whose requirements apply.
    #[must_use]
    pub fn profile(&self) -> Option<&'a str> {
        self.profile
    }

    /// Returns who asks.
    #[must_use]
    pub fn actor(&self) -> Option<&'a str> {
        self.actor
    }

    /// Returns the id that connects log lines.
    #[must_use]
    pub fn request_id(&self) -> Option<&'a str> {
        self.request_id
    }

    /// Returns the time by which the key manager must answer.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        self.deadline
    }

    /// Returns who allowed operations that are otherwise forbidden.
    #[must_use]
    pub fn authorizations(&self) -> &'a [Authorization] {
        self.authorizations
    }

    /// Returns the length in bytes of the plaintext that is about to be sealed, or `None` if it is not known.
    #[must_use]
    pub fn message_len(&self) -> Option<u64> {
        self.message_len
    }

    /// Returns whether the context is, or will be, stored in the envelope, as far as the caller has said.
    #[must_use]
    pub fn stores_context(&self) -> bool {
        self.stores_context
    }

    /// Returns whether the answer will be kept for later requests.
    #[must_use]
    pub fn is_for_keeping(&self) -> bool {
        self.is_for_keeping
    }

    /// Returns the budget of calls for this request's envelope, or `None` if nobody counts calls.
    #[must_use]
    pub fn call_budget(&self) -> Option<&'a CallBudget> {
        self.calls
    }

    /// Takes one call from the budget of this request's envelope. For a key manager that needs more than one call for one answer.
    /// The caller of the key manager takes the first call.
    ///
    /// # Errors
    /// `BudgetExhausted` if no call is left, or if every call that is left is reserved for other stanzas.
    pub fn take_call(&self) -> Result<()> {
        self.calls.map_or(Ok(()), CallBudget::take_further)
    }

    /// Returns what a re-wrap may do.
    #[must_use]
    pub fn rewrap_rules(&self) -> RewrapRules<'a> {
        self.rules
    }

    /// Returns the AAD of a wrap, for backends that authenticate extra data: a label and the wrap binding, 47 bytes.
    #[must_use]
    pub fn wrap_aad(&self) -> [u8; 47] {
        let mut aad = [0; 47];
        aad[..15].copy_from_slice(WRAP_AAD);
        aad[15..].copy_from_slice(&self.binding);
        aad
    }

    /// Returns what to wrap, for backends that authenticate no extra data: the DEK and the wrap binding, 64 bytes.
    #[must_use]
    pub fn embed(&self, dek: &Dek) -> Zeroizing<[u8; 64]> {
        let mut embedded = Zeroizing::new([0; 64]);
        embedded[..KEY_LEN].copy_from_slice(dek.expose_bytes());
        embedded[KEY_LEN..].copy_from_slice(&self.binding);
        embedded
    }

    /// Returns the DEK from what [`embed`](Request::embed) made, if it carries this request's wrap binding. Compares the wrap binding in
    /// constant time.
    ///
    /// # Errors
    /// `CannotOpen` if the length or the wrap binding is not the expected one.
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
    // Without the wrap binding: anybody who knows the form of contexts could guess a context from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("context", &self.context)
            .field("purpose", &self.purpose)
            .field("profile", &self.profile)
            .field("actor", &self.actor)
            .field("request_id", &self.request_id)
            .field("deadline", &self.deadline)
            .field("authorizations", &self.authorizations)
            .field("stores_context", &self.stores_context)
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
