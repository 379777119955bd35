use std::time::Duration;

use super::*;

fn lease() -> DekLease {
    DekLease::for_sealing(Dek::generate().unwrap(), Vec::new(), &EncryptionContext::empty())
}

// spec: ENV-4
#[test]
fn those_who_share_a_lease_share_a_session() {
    let lease = lease();
    let context = EncryptionContext::empty();
    let a = lease.seal_session(Sealing::default(), &context).unwrap();
    let b = lease.seal_session(Sealing::default(), &context).unwrap();
    assert!(Arc::ptr_eq(&a, &b));
    let other = Sealing {
        store_context: true,
        ..Sealing::default()
    };
    let c = lease.seal_session(other, &context).unwrap();
    assert!(!Arc::ptr_eq(&a, &c));
    assert_eq!(lease.sessions_left(), limits::DEK_SESSIONS.max - 2);
}

#[test]
fn a_lease_seals_in_the_context_of_its_wraps_only() {
    let other = EncryptionContext::new([("a", "b")]).unwrap();
    let refused = lease().seal_session(Sealing::default(), &other).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
}

// spec: KEY-4, KEY-9
#[test]
fn the_session_budget_is_enforced() {
    let lease = lease();
    lease.sessions.store(limits::DEK_SESSIONS.max, Ordering::Relaxed);
    let error = lease
        .seal_session(Sealing::default(), &EncryptionContext::empty())
        .err()
        .unwrap();
    assert_eq!(
        error.kind(),
        ErrorKind::BudgetExhausted {
            budget: "sessions of a DEK"
        }
    );
}

// spec: KEY-5
#[test]
fn behind_a_fork_the_budget_is_small() {
    let mut lease = lease();
    lease.generation -= 1;
    assert_eq!(lease.sessions_left(), limits::FORKED_SESSIONS.max);
    lease
        .sessions
        .store(limits::FORKED_SESSIONS.max, Ordering::Relaxed);
    assert!(
        lease
            .seal_session(Sealing::default(), &EncryptionContext::empty())
            .is_err()
    );
}

#[test]
fn revoked_and_expired_leases_are_refused() {
    let lease = lease().with_expiry(Monotonic(Duration::from_secs(10)));
    assert!(lease.check(Monotonic(Duration::from_secs(9))).is_ok());
    let expired = lease.check(Monotonic(Duration::from_secs(10))).unwrap_err();
    assert_eq!(expired.kind(), ErrorKind::LeaseExpired);
    lease.revoke();
    assert_eq!(
        lease.check(Monotonic(Duration::ZERO)).unwrap_err().kind(),
        ErrorKind::KeyRevoked
    );
    let refused = lease
        .seal_session(Sealing::default(), &EncryptionContext::empty())
        .err()
        .unwrap();
    assert_eq!(refused.kind(), ErrorKind::KeyRevoked);
}

#[test]
fn a_shared_lease_can_be_shortened_and_never_prolonged() {
    let at = |seconds| Monotonic(Duration::from_secs(seconds));
    let lease = lease();
    assert_eq!(lease.expires_at(), None);
    assert!(lease.check(Monotonic(Duration::MAX)).is_ok());
    for (end, expected) in [(10, 10), (20, 10), (5, 5)] {
        lease.end_by(at(end));
        assert_eq!(lease.expires_at(), Some(at(expected)));
    }
    lease.end_by(Monotonic(Duration::MAX));
    assert_eq!(lease.check(at(5)).unwrap_err().kind(), ErrorKind::LeaseExpired);
}

#[test]
fn a_lease_verifies_the_bodies_of_its_dek_only() {
    let context = EncryptionContext::empty();
    let session = |key| Session::start(&Dek::from_bytes(&[key; 32]), Sealing::default(), &context).unwrap();
    let lease = DekLease::for_sealing(Dek::from_bytes(&[1; 32]), Vec::new(), &context);
    let (own, foreign) = (session(1), session(2));
    let body = |session: &Session| lease.verify(BodyHead::parse(session.body_head()).unwrap(), &context);
    assert!(body(&own).is_ok());
    assert_eq!(body(&foreign).unwrap_err().kind(), ErrorKind::CannotOpen);
    let other = EncryptionContext::new([("a", "b")]).unwrap();
    assert!(
        lease
            .verify(BodyHead::parse(own.body_head()).unwrap(), &other)
            .is_err()
    );
    lease.revoke();
    assert_eq!(body(&own).unwrap_err().kind(), ErrorKind::KeyRevoked);
}

// spec: KEY-6
#[test]
fn a_dek_out_of_an_envelope_never_seals() {
    let dek = Dek::from_bytes(&[1; 32]);
    let context = EncryptionContext::empty();
    let session = Session::start(&Dek::from_bytes(&[1; 32]), Sealing::default(), &context).unwrap();
    let body = BodyHead::parse(session.body_head()).unwrap();
    let lease = DekLease::for_opening(dek, Vec::new(), body, &context).unwrap();
    assert!(lease.seal_session(Sealing::default(), &context).is_err());
    assert_eq!(lease.sessions_left(), 0);
    let wrong = DekLease::for_opening(Dek::from_bytes(&[2; 32]), Vec::new(), body, &context);
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::CannotOpen);
}

// spec: KEY-13
#[test]
fn the_first_session_is_held_against_its_commitment_and_its_revocation_like_any_other() {
    let context = EncryptionContext::empty();
    let start = || Session::start(&Dek::from_bytes(&[1; 32]), Sealing::default(), &context).unwrap();
    let (first, second) = (start(), start());
    let body = BodyHead::parse(first.body_head()).unwrap();
    let lease = DekLease::for_opening(Dek::from_bytes(&[1; 32]), Vec::new(), body, &context).unwrap();
    let verify = |body: BodyHead<'_>, digest: &[u8; 32]| {
        let session = lease.session(body, digest)?;
        session
            .check(body.commitment())
            .map(|()| matches!(session, Held::Lent(_)))
    };
    assert!(verify(body, context.digest()).unwrap());
    for session in [&first, &second, &second] {
        let mut bytes = *session.body_head();
        assert!(verify(BodyHead::parse(&bytes).unwrap(), context.digest()).is_ok());
        bytes[51] ^= 1;
        let altered = BodyHead::parse(&bytes).unwrap();
        assert!(verify(altered, context.digest()).is_err());
        assert!(lease.verify(altered, &context).is_err());
    }
    // Another context is another session, also under the same head.
    let other = EncryptionContext::new([("a", "b")]).unwrap();
    assert!(verify(body, other.digest()).is_err());
    lease.revoke();
    for refused in [
        verify(body, context.digest()).map(|_| ()),
        lease.verify(body, &context),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::KeyRevoked);
    }
}

// spec: KEY-14
#[test]
fn session_keys_are_bounded_and_still_compare_the_commitment() {
    let dek = || Dek::from_bytes(&[1; 32]);
    let context = EncryptionContext::empty();
    let lease = DekLease::for_sealing(dek(), Vec::new(), &context);
    for _ in 0..3 * OPENING_SLOTS {
        let session = Session::start(&dek(), Sealing::default(), &context).unwrap();
        let mut bytes = *session.body_head();
        lease.verify(BodyHead::parse(&bytes).unwrap(), &context).unwrap();
        bytes[51] ^= 1;
        assert!(lease.verify(BodyHead::parse(&bytes).unwrap(), &context).is_err());
    }
    let kept = lock(&lease.opening).len();
    assert_eq!(kept, OPENING_SLOTS);
}
