use std::collections::HashSet;

use super::*;
use crate::backend::local::LocalKey;
use crate::{EncryptionContext, Envelope, ErrorKind, Kek, Sealer};

fn key() -> DataKey {
    let sealer = Sealer::new(LocalKey::new(&Kek::generate().unwrap()));
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    pollster::block_on(sealer.data_key(&context)).unwrap()
}

fn values(rows: usize) -> Vec<Vec<u8>> {
    (0..rows)
        .map(|row| vec![u8::try_from(row % 251).unwrap(); row % 300])
        .collect()
}

fn sessions(sealed: &SealedBatch) -> Vec<[u8; 16]> {
    sealed
        .iter()
        .map(|envelope| *Envelope::parse(envelope).unwrap().header().body().session_id())
        .collect()
}

// spec: KEY-9
#[test]
fn a_session_that_ends_inside_a_batch_is_followed_by_the_next() {
    let key = key();
    for left in [0, 1, 15, 16, 17, 50] {
        key.sessions.current().unwrap().use_up_to(left);
        let mut sealed = SealedBatch::new();
        key.seal_batch(values(200), |row| row.to_be_bytes(), &mut sealed)
            .unwrap();
        let ids = sessions(&sealed);
        let first = ids.iter().take_while(|id| **id == ids[0]).count();
        let left = usize::try_from(left).unwrap();
        assert_eq!(first, if left == 0 { 200 } else { left });
        assert!(ids[first..].iter().all(|id| *id == ids[199]));
        let nonces: HashSet<_> = sealed
            .iter()
            .map(|envelope| *Envelope::parse(envelope).unwrap().header().nonce())
            .collect();
        assert_eq!(nonces.len(), 200);
        // Rows of the old session and of the new open in one batch.
        let mut opened = OpenedBatch::new();
        key.open_batch(sealed.iter(), |row| row.to_be_bytes(), &mut opened)
            .unwrap();
        assert!(opened.errors().is_empty());
        assert!(opened.iter().map(Result::unwrap).eq(values(200)));
    }
}

#[test]
fn a_batch_is_sealed_whole_or_not_at_all_where_the_lease_ends_inside_of_it() {
    let key = key();
    let mut sealed = SealedBatch::new();
    key.seal_batch(["one"], |_| b"", &mut sealed).unwrap();
    let before = sealed.clone();
    let revoking = |row| {
        if row == 40 {
            key.lease().revoke();
        }
        b""
    };
    let error = key.seal_batch(values(100), revoking, &mut sealed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyRevoked);
    assert_eq!(sealed, before);
}
