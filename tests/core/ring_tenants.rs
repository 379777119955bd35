//! No tenant opens what is another's, whatever is exchanged between their envelopes.

use pollster::block_on;
use waxseal::envelope::{ChunkSize, Envelope};
use waxseal::ring::{KeySource, NewKey, Reader, RingAdmin};
use waxseal::source::Caching;
use waxseal::{EncryptionContext, ErrorKind, Sealer};

use crate::ring_support::Ring;
use crate::support::Parts;

const TENANTS: usize = 50;

/// One tenant, and what was sealed for it: with its context stored, so that it can be exchanged, too.
struct Tenant {
    context: EncryptionContext,
    secret: Vec<u8>,
    sealed: Vec<u8>,
    parts: Parts,
    /// Each of its stanzas, as the section has them.
    stanzas: Vec<Vec<u8>>,
}

impl Tenant {
    /// The envelope with these stanzas in the place of its own.
    fn with(&self, stanzas: &[&[u8]]) -> Vec<u8> {
        let mut section = vec![1, u8::try_from(stanzas.len()).unwrap()];
        section.extend(stanzas.concat());
        let mut prefix = self.parts.prefix[..5].to_vec();
        prefix.extend(&u32::try_from(section.len()).unwrap().to_be_bytes()[1..]);
        prefix.extend(section);
        let parts = Parts {
            prefix,
            ..self.parts.clone()
        };
        let envelope = parts.join();
        Envelope::parse(&envelope).unwrap();
        envelope
    }
}

/// The bytes of each stanza of an envelope of one piece.
fn stanzas(envelope: &[u8]) -> Vec<Vec<u8>> {
    let parsed = Envelope::parse(envelope).unwrap();
    let section = parsed.header().wrap_section().unwrap();
    let mut at = 5 + 3 + 2;
    section
        .stanzas()
        .map(|stanza| {
            // Algorithm, share, and four fields with their lengths.
            let fields =
                stanza.provider.len() + stanza.kek_id.len() + stanza.kek_version.len() + stanza.wrapped.len();
            let len = 2 + 1 + 2 + 1 + 2 + fields;
            at += len;
            envelope[at - len..at].to_vec()
        })
        .collect()
}

/// Names of one length, so that what is exchanged fits.
fn name(number: usize) -> String {
    format!("t{number:02}")
}

fn fill(sealer: &Sealer) -> Vec<Tenant> {
    let one = |number| {
        let context =
            EncryptionContext::new([("tenant", name(number).as_str()), ("table", "users")]).unwrap();
        let secret = format!("of {} and nobody else", name(number)).into_bytes();
        let sealed = block_on(sealer.seal(&secret, &context)).unwrap();
        assert_eq!(block_on(sealer.open(&sealed, &context)).unwrap(), secret);
        Tenant {
            parts: Parts::of(&sealed),
            stanzas: stanzas(&sealed),
            context,
            secret,
            sealed,
        }
    };
    (0..TENANTS).map(one).collect()
}

/// Opens in a tenant's context what it has no right to, and returns why not.
fn refused(sealer: &Sealer, envelope: &[u8], tenant: &Tenant) -> ErrorKind {
    let error = block_on(sealer.open(envelope, &tenant.context)).unwrap_err();
    let whole = format!("{error:?} {error}");
    assert!(!whole.contains("nobody else"), "{whole}");
    error.kind()
}

/// `foreign` is the kind of error for a stanza of another tenant: a key that is not of the scope, or one that is and does not unwrap in this
/// context.
pub(super) fn nobody_opens_what_is_anothers(sealer: &Sealer, foreign: ErrorKind) {
    let tenants = fill(sealer);
    let mut pairs = 0;
    for (index, own) in tenants.iter().enumerate() {
        for (_, other) in tenants.iter().enumerate().filter(|(number, _)| *number != index) {
            pairs += 1;
            // The stored context says whose it is, and the caller's decides.
            assert_eq!(refused(sealer, &other.sealed, own), ErrorKind::ContextMismatch);
            // So it is exchanged as well: then the wraps do not unwrap.
            let mut renamed = other.parts.clone();
            renamed.stored.clone_from(&own.parts.stored);
            assert_eq!(refused(sealer, &renamed.join(), own), foreign);
            assert_eq!(
                refused(sealer, &renamed.join(), other),
                ErrorKind::ContextMismatch
            );
            // All wraps of one, and the body of the other, with and without its stored context.
            let theirs: Vec<&[u8]> = other.stanzas.iter().map(Vec::as_slice).collect();
            let mine: Vec<&[u8]> = own.stanzas.iter().map(Vec::as_slice).collect();
            let swapped = own.with(&theirs);
            assert_eq!(refused(sealer, &swapped, own), foreign);
            assert_eq!(refused(sealer, &swapped, other), ErrorKind::ContextMismatch);
            let mut body = Parts::of(&other.with(&mine));
            assert_eq!(refused(sealer, &body.join(), own), ErrorKind::ContextMismatch);
            body.stored.clone_from(&own.parts.stored);
            assert_eq!(refused(sealer, &body.join(), own), ErrorKind::CannotOpen);
            // The own wraps unwrap, and what they unwrap is not the key of another body: also the head, the commitment, and the chunks alone.
            for part in 0..4 {
                let mut mixed = own.parts.clone();
                match part {
                    0 => mixed.commitment.clone_from(&other.parts.commitment),
                    1 => mixed.nonce.clone_from(&other.parts.nonce),
                    2 => mixed.chunks.clone_from(&other.parts.chunks),
                    _ => {
                        mixed.commitment.clone_from(&other.parts.commitment);
                        mixed.nonce.clone_from(&other.parts.nonce);
                        mixed.chunks.clone_from(&other.parts.chunks);
                    }
                }
                assert_eq!(
                    refused(sealer, &mixed.join(), own),
                    ErrorKind::CannotOpen,
                    "{part}"
                );
            }
            // One foreign wrap among several. In the context of the one whose wrap it is not, the other still opens what is its own: and
            // nothing else.
            for (stays, goes) in [(0, 1), (1, 0)] {
                let mut stanzas = mine.clone();
                stanzas[goes] = theirs[goes];
                let envelope = own.with(&stanzas);
                let opened = block_on(sealer.open(&envelope, &own.context)).unwrap();
                assert_eq!(opened, own.secret, "{stays}");
                assert_eq!(refused(sealer, &envelope, other), ErrorKind::ContextMismatch);
                // Its own wrap smuggled into the envelope of another opens nothing of that one.
                let mut stanzas = theirs.clone();
                stanzas[goes] = mine[goes];
                let mut smuggled = Parts::of(&other.with(&stanzas));
                assert_eq!(refused(sealer, &smuggled.join(), own), ErrorKind::ContextMismatch);
                smuggled.stored.clone_from(&own.parts.stored);
                assert_eq!(refused(sealer, &smuggled.join(), own), ErrorKind::CannotOpen);
                // Nor does a re-wrap make it one's own.
                let error = block_on(sealer.rewrap(&smuggled.join(), &own.context)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::CannotOpen);
            }
            let error = block_on(sealer.rewrap(&renamed.join(), &own.context)).unwrap_err();
            assert_eq!(error.kind(), foreign);
        }
    }
    assert_eq!(pairs, TENANTS * (TENANTS - 1));
}

/// A sealer that asks the ring each time, and stores contexts.
pub(super) fn sealer(ring: &waxseal::ring::KeyRing) -> Sealer {
    let none = Caching {
        seal_entries: 0,
        open_entries: 0,
        ..ring.caching()
    };
    let builder = ring.sealer().cache(none).store_context();
    builder.chunk_size(ChunkSize::MIN).build().unwrap()
}

/// Each tenant has two slots, so that sections have two wraps.
fn second_slot(ring: &Ring, scope: &str, variable: &str) {
    let kek: [u8; 32] = waxseal::value::entropy::array().unwrap();
    ring.environment.set(variable, &hex::encode(kek));
    let reader = Reader::new(ring.trust(), std::sync::Arc::new(ring.inventory.clone()));
    let admin = RingAdmin::new(reader, ring.authority.clone(), ring.backends(), "test");
    let new = NewKey::new(
        scope.parse().unwrap(),
        KeySource::Existing(format!("env:{variable}")),
    );
    block_on(admin.create(&new.in_slot("recovery".parse().unwrap()))).unwrap();
}

#[test]
fn fifty_tenants_with_keys_of_their_own() {
    let ring = Ring::new(|settings| settings.scope_template = "tenant/{tenant}".parse().unwrap());
    for number in 0..TENANTS {
        let scope = format!("tenant/{}", name(number));
        ring.key(&scope, &format!("KEY_{number}"));
        second_slot(&ring, &scope, &format!("RECOVERY_{number}"));
    }
    let opened = block_on(ring.builder().without_watching().open()).unwrap();
    nobody_opens_what_is_anothers(&sealer(&opened), ErrorKind::NoUsableKey);
}

/// All under the same two KEKs, which open everything that is asked for in its own context.
#[test]
fn fifty_tenants_that_a_wider_scope_serves() {
    let ring = Ring::new(|settings| {
        settings.scope_template = "tenant/{tenant}".parse().unwrap();
        settings.otherwise = vec!["/".parse().unwrap()];
    });
    ring.key("/", "ROOT");
    second_slot(&ring, "/", "RECOVERY");
    let builder = ring.builder().without_watching().otherwise("/".parse().unwrap());
    let opened = block_on(builder.open()).unwrap();
    nobody_opens_what_is_anothers(&sealer(&opened), ErrorKind::CannotOpen);
}

/// All branch keys are wrapped under one parent, which unwraps each of them.
#[test]
fn fifty_tenants_with_branch_keys_under_one_parent() {
    let ring = Ring::new(|settings| settings.scope_template = "tenant/{tenant}".parse().unwrap());
    ring.key("/", "ROOT");
    let reader = Reader::new(ring.trust(), std::sync::Arc::new(ring.inventory.clone()));
    let admin = RingAdmin::new(reader, ring.authority.clone(), ring.backends(), "test");
    for number in 0..TENANTS {
        for slot in ["default", "recovery"] {
            let scope = format!("tenant/{}", name(number)).parse().unwrap();
            let new = NewKey::new(scope, KeySource::Branch { parent: None });
            block_on(admin.create(&new.in_slot(slot.parse().unwrap()))).unwrap();
        }
    }
    let opened = block_on(ring.builder().without_watching().open()).unwrap();
    nobody_opens_what_is_anothers(&sealer(&opened), ErrorKind::NoUsableKey);
}
