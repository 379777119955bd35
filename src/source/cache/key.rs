//! What an entry is for.

use std::hash::{Hash, Hasher};

use crate::envelope::WrapSection;
use crate::key::{Purpose, Request};
use crate::runtime::Monotonic;
use crate::value::context::EncryptionContext;
use crate::value::error::Result;

/// Everything of a request that may decide whether it is granted, and the wraps where there are any, owned: enough to
/// ask the same again.
#[derive(PartialEq, Eq)]
pub(super) struct Key {
    context: EncryptionContext,
    binding: [u8; 32],
    purpose: Purpose,
    profile: Option<Box<str>>,
    stores_context: bool,
    /// `None` where actors share.
    actor: Option<Box<str>>,
    /// Threshold, count and stanzas: a wrap section without padding. Empty on the sealing side.
    wraps: Box<[u8]>,
}

/// The same, borrowed from a caller.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    request: &'a Request<'a>,
    actor: Option<&'a str>,
    wraps: Option<WrapSection<'a>>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(request: &'a Request<'a>, wraps: Option<WrapSection<'a>>, shares_actors: bool) -> Self {
        Self {
            request,
            actor: request.actor().filter(|_| !shares_actors),
            wraps,
        }
    }

    pub(super) fn request(&self) -> &'a Request<'a> {
        self.request
    }

    /// The wraps, on the opening side.
    pub(super) fn wraps_section(&self) -> Option<WrapSection<'a>> {
        self.wraps
    }

    fn wraps(&self) -> (u8, u8, &'a [u8]) {
        self.wraps.map_or((0, 0, &[]), |wraps| wraps.parts())
    }

    /// Whether a key is the one that is wanted. Nothing is left to the hash.
    pub(super) fn is(&self, key: &Key) -> bool {
        let (threshold, count, stanzas) = self.wraps();
        let same_wraps = match key.wraps.split_first_chunk() {
            Some(([a, b], rest)) => *a == threshold && *b == count && rest == stanzas,
            None => self.wraps.is_none(),
        };
        same_wraps
            && key.context.digest() == self.request.context().digest()
            && key.binding == *self.request.binding()
            && key.purpose == self.request.purpose()
            && key.stores_context == self.request.stores_context()
            && key.profile.as_deref() == self.request.profile()
            && key.actor.as_deref() == self.actor
    }

    /// Where a thread looks among the few entries that it uses most: for a sixth of what the hash costs, since it reads
    /// the ends of what is hashed. Who can choose wraps or contexts can make two of one hint. They take the slot from
    /// each other, and are then found by their hashes.
    pub(super) fn hint(&self) -> u64 {
        let (_, _, stanzas) = self.wraps();
        let mut hint = u64::from(self.request.purpose() as u8);
        let mut mix = |part: [u8; 8]| {
            hint = (hint.rotate_left(23) ^ u64::from_le_bytes(part)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        };
        let (digest, binding) = (self.request.context().digest(), self.request.binding());
        for bytes in [&digest[..], binding, stanzas] {
            mix(bytes.last_chunk().copied().unwrap_or_default());
        }
        for text in [self.request.profile(), self.actor].into_iter().flatten() {
            text.bytes().for_each(|byte| mix([byte; 8]));
        }
        hint
    }

    pub(super) fn to_key(self) -> Key {
        let (threshold, count, stanzas) = self.wraps();
        Key {
            context: self.request.context().clone(),
            binding: *self.request.binding(),
            purpose: self.request.purpose(),
            profile: self.request.profile().map(Into::into),
            stores_context: self.request.stores_context(),
            actor: self.actor.map(Into::into),
            wraps: match self.wraps {
                Some(_) => [&[threshold, count], stanzas].concat().into(),
                None => Box::default(),
            },
        }
    }
}

impl Hash for Wanted<'_> {
    // Less than what is compared, since each byte costs: half a digest has no collisions to be found either.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (threshold, count, stanzas) = self.wraps();
        for digest in [self.request.context().digest(), self.request.binding()] {
            let half = digest.first_chunk().unwrap_or(&[0; 16]);
            state.write_u128(u128::from_ne_bytes(*half));
        }
        state.write_u64(u64::from_ne_bytes([
            threshold,
            count,
            self.request.purpose() as u8,
            u8::from(self.request.stores_context()),
            0,
            0,
            0,
            0,
        ]));
        state.write(stanzas);
        for (mark, text) in [(1, self.request.profile()), (2, self.actor)] {
            if let Some(text) = text {
                state.write(text.as_bytes());
                state.write_u8(mark);
            }
        }
    }
}

impl Key {
    pub(super) fn context(&self) -> &EncryptionContext {
        &self.context
    }

    /// The wraps of an entry for opening.
    pub(super) fn wraps(&self) -> Result<WrapSection<'_>> {
        WrapSection::parse(&self.wraps)
    }

    /// The request again, on behalf of this actor.
    pub(super) fn request<'k>(&'k self, caller: &'k Caller, deadline: Monotonic) -> Request<'k> {
        let mut request = Request::new(&self.context)
            .with_purpose(self.purpose)
            .with_binding(self.binding)
            .with_deadline(deadline)
            .with_stored_context(self.stores_context)
            .for_keeping();
        if let Some(profile) = &self.profile {
            request = request.with_profile(profile);
        }
        if let Some(actor) = &caller.actor {
            request = request.with_actor(actor);
        }
        if let Some(id) = &caller.request_id {
            request = request.with_request_id(id);
        }
        request
    }
}

/// On whose behalf the key manager is asked: of the first who did.
pub(super) struct Caller {
    actor: Option<Box<str>>,
    request_id: Option<Box<str>>,
}

impl Caller {
    pub(super) fn of(request: &Request<'_>) -> Self {
        Self {
            actor: request.actor().map(Into::into),
            request_id: request.request_id().map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Authorization;

    #[test]
    fn keys_that_are_not_the_same_have_other_hashes() {
        // Those of one hash would replace one another for ever.
        use std::hash::{BuildHasher, RandomState};
        let (a, b) = (
            EncryptionContext::new([("a", "1")]).unwrap(),
            EncryptionContext::empty(),
        );
        let base = Request::new(&a);
        let bytes = [1, 1, 224, 0, 1, b'p', 0, 1, b'k', 0, 0, 1, 7];
        let section = WrapSection::parse(&bytes).unwrap();
        let requests = [
            (base.clone(), None),
            (base.clone(), Some(section)),
            (Request::new(&b), None),
            (base.clone().with_binding([7; 32]), None),
            (base.clone().with_purpose(Purpose::Open), None),
            (base.clone().with_profile("strict"), None),
            (base.clone().with_stored_context(true), None),
            (base.clone().with_actor("strict"), None),
            (base.clone().with_profile("a").with_actor("b"), None),
            (base.clone().with_profile("ab"), None),
        ];
        let random = RandomState::new();
        let hash = |(request, wraps): &(Request<'_>, Option<WrapSection<'_>>)| {
            random.hash_one(Wanted::new(request, *wraps, false))
        };
        let mut hashes: Vec<_> = requests.iter().map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), requests.len());
    }

    #[test]
    fn hints_tell_wraps_contexts_and_actors_apart() {
        let (a, b) = (
            EncryptionContext::new([("tenant", "a")]).unwrap(),
            EncryptionContext::new([("tenant", "b")]).unwrap(),
        );
        let stanza = |last: u8| [&[1, 1, 224, 0, 1, b'p', 0, 1, b'k', 0, 0, 1][..], &[last]].concat();
        let (one, two) = (stanza(1), stanza(2));
        let section = |bytes| Some(WrapSection::parse(bytes).unwrap());
        let base = Request::new(&a);
        let all = [
            (base.clone(), None),
            (base.clone(), section(&one)),
            (base.clone(), section(&two)),
            (Request::new(&b), section(&one)),
            (base.clone().with_binding([7; 32]), section(&one)),
            (base.clone().with_purpose(Purpose::Open), section(&one)),
            (base.clone().with_actor("alice"), section(&one)),
            (base.clone().with_actor("bob"), section(&one)),
        ];
        let hint = |(request, wraps): &(Request<'_>, Option<WrapSection<'_>>)| {
            Wanted::new(request, *wraps, false).hint()
        };
        let mut hints: Vec<_> = all.iter().map(hint).collect();
        hints.sort_unstable();
        hints.dedup();
        assert_eq!(hints.len(), all.len());
    }

    #[test]
    fn everything_that_may_decide_keeps_entries_apart() {
        let (a, b) = (
            EncryptionContext::new([("a", "1")]).unwrap(),
            EncryptionContext::empty(),
        );
        let stanza = |last: u8| [&[1, 1, 224, 0, 1, b'p', 0, 1, b'k', 0, 0, 1][..], &[last]].concat();
        let (one, two) = (stanza(1), stanza(2));
        let section = |bytes| Some(WrapSection::parse(bytes).unwrap());
        let authorizations = [Authorization::new("t", "a")];
        let base = Request::new(&a);
        let all = [
            (base.clone(), section(&one)),
            (base.clone(), section(&two)),
            (base.clone(), None),
            (Request::new(&b), section(&one)),
            (base.clone().with_binding([7; 32]), section(&one)),
            (base.clone().with_purpose(Purpose::Open), section(&one)),
            (base.clone().with_profile("strict"), section(&one)),
            (base.clone().with_stored_context(true), section(&one)),
            (base.clone().with_actor("strict"), section(&one)),
        ];
        for (i, (request, wraps)) in all.iter().enumerate() {
            let key = Wanted::new(request, *wraps, false).to_key();
            for (j, (other, wraps)) in all.iter().enumerate() {
                assert_eq!(Wanted::new(other, *wraps, false).is(&key), i == j, "{i} {j}");
            }
        }
        // These decide nothing here: the first is not answered from a cache at all.
        let key = Wanted::new(&base, None, false).to_key();
        let same = base
            .clone()
            .with_authorizations(&authorizations)
            .with_request_id("7");
        assert!(Wanted::new(&same, None, false).is(&key));
        // Actors share only where that is asked for.
        let acting = base.clone().with_actor("alice");
        assert!(Wanted::new(&acting, None, true).is(&key));
    }

    #[test]
    fn a_key_asks_the_same_again() {
        let context = EncryptionContext::new([("a", "1")]).unwrap();
        let request = Request::new(&context)
            .with_purpose(Purpose::Open)
            .with_binding([7; 32])
            .with_profile("strict")
            .with_stored_context(true)
            .with_actor("alice")
            .with_request_id("7");
        let key = Wanted::new(&request, None, true).to_key();
        let caller = Caller::of(&request);
        let deadline = Monotonic(std::time::Duration::from_secs(1));
        let again = key.request(&caller, deadline);
        assert_eq!(
            format!("{again:?}"),
            format!("{:?}", request.clone().with_deadline(deadline))
        );
        assert_eq!(again.binding(), request.binding());
    }
}
