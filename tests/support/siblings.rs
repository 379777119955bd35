//! 400 values of 20 data keys, moved to a key of a server by a `Rewrapper`.
#![allow(dead_code, reason = "no test program uses all of it")]

use std::collections::HashSet;
use std::sync::Arc;

use waxseal::backend::local::LocalKey;
use waxseal::{Aad, EncryptionContext, Envelope, Kek, KeyManager, Sealer};

use crate::counted::Counted;

pub(crate) const KEYS: usize = 20;
const VALUES: usize = 400;

/// Moves them, once more, and to the second key; the numbers are wraps, unwraps and re-wraps at the server.
pub(crate) async fn move_and_move_again(first: impl KeyManager + 'static, second: impl KeyManager + 'static) {
    let context = EncryptionContext::new([("table", "users")]).unwrap();
    let local = LocalKey::new(&Kek::generate().unwrap());
    let first = Counted::new(Arc::new(first));
    let second = Counted::new(Arc::new(second));
    let source = Sealer::new(local.clone());
    let mut rows = Vec::new();
    for _ in 0..KEYS {
        let key = source.data_key(&context).await.unwrap();
        for _ in 0..VALUES / KEYS {
            rows.push(key.seal(b"value", Aad::none()).unwrap());
        }
    }
    let mover = Sealer::builder()
        .wrap_with(first.clone())
        .open_with(local)
        .build()
        .unwrap();
    assert_eq!(run(&mover, &mut rows, &context).await, VALUES);
    assert_eq!(first.take(), [KEYS, 0, 0]);
    assert_eq!(sections(&rows), KEYS);

    // A second run, by another process: at most an unwrap for each wrap section, and nothing is written.
    let before = rows.clone();
    let changed = run(&mover, &mut rows, &context).await;
    let [wraps, unwraps, rewraps] = first.take();
    if first.capabilities().hides_versions {
        // Nobody can tell whether they are on the newest version, save where an answer has told it.
        assert!(changed > 0 && changed % (VALUES / KEYS) == 0, "{changed}");
        assert_eq!((wraps + rewraps) * (VALUES / KEYS), changed);
        assert_eq!(sections(&rows), KEYS);
    } else {
        assert_eq!(changed, 0);
        assert!(rows == before);
        assert!(
            (wraps, rewraps) == (1, 0) && unwraps <= KEYS,
            "{wraps} {unwraps} {rewraps}"
        );
    }

    // To another key of the server, which re-wraps on its own side what it can.
    let onward = Sealer::builder()
        .wrap_with(second.clone())
        .open_with(first.clone());
    let onward = onward.build().unwrap();
    assert_eq!(run(&onward, &mut rows, &context).await, VALUES);
    let [wraps, _, rewraps] = second.take();
    assert!(wraps <= KEYS && wraps + rewraps >= KEYS, "{wraps} {rewraps}");
    assert_eq!(sections(&rows), KEYS);
    let reader = Sealer::new(second);
    for row in rows.iter().step_by(37) {
        assert_eq!(reader.open(row, &context).await.unwrap(), *b"value");
    }
}

async fn run(sealer: &Sealer, rows: &mut [Vec<u8>], context: &EncryptionContext) -> usize {
    let mut rewrapper = sealer.rewrapper();
    let mut changed = 0;
    for row in rows {
        if let Some(new) = rewrapper.rewrap(row, context).await.unwrap() {
            *row = new.splice(row).unwrap();
            changed += 1;
        }
    }
    changed
}

fn sections(rows: &[Vec<u8>]) -> usize {
    let front = |row: &Vec<u8>| row[..Envelope::parse(row).unwrap().header().body_offset()].to_vec();
    rows.iter().map(front).collect::<HashSet<_>>().len()
}

/// A hidden or a plain id × the same key or another: a KMS that takes the stanza for its own and refuses it is not the
/// end of it.
pub(crate) async fn hidden_or_not_to_the_same_or_another(
    new: impl KeyManager + Clone + 'static,
    old: impl KeyManager + Clone + 'static,
) {
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    for hidden in [false, true] {
        for same in [false, true] {
            let sealing = if same {
                Sealer::builder().wrap_with(new.clone())
            } else {
                Sealer::builder().wrap_with(old.clone())
            };
            let moving = Sealer::builder().wrap_with(new.clone());
            let moving = if same {
                moving
            } else {
                moving.open_with(old.clone())
            };
            let [sealing, moving] = [sealing, moving].map(|builder| {
                let builder = if hidden { builder.hide_kek_ids() } else { builder };
                builder.build().unwrap()
            });
            let sealed = sealing.seal(b"payload", &context).await.unwrap();
            let moved = moving.rewrap(&sealed, &context).await;
            let moved = moved.unwrap_or_else(|error| panic!("{hidden} {same}: {error:?}"));
            let moved = moved.splice(&sealed).unwrap();
            let opened = Sealer::new(new.clone()).open(&moved, &context).await;
            assert_eq!(opened.unwrap(), *b"payload", "{hidden} {same}");
        }
    }
}

/// `ours` and `theirs` cannot be told apart by name. An envelope under a local key and `theirs` stays open to `theirs`.
pub(crate) async fn the_other_recipient_keeps_access(
    ours: impl KeyManager + 'static,
    theirs: impl KeyManager + Clone + 'static,
) {
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let [local, new] = [0, 1].map(|_| LocalKey::new(&Kek::generate().unwrap()));
    let both = Sealer::builder()
        .wrap_with(local.clone())
        .wrap_with(theirs.clone());
    let sealed = both.build().unwrap().seal(b"payload", &context).await.unwrap();
    let mover = Sealer::builder().wrap_with(new).open_with(local).open_with(ours);
    let moved = mover.build().unwrap().rewrap(&sealed, &context).await.unwrap();
    let moved = moved.splice(&sealed).unwrap();
    let opened = Sealer::new(theirs).open(&moved, &context).await;
    assert_eq!(opened.unwrap(), *b"payload");
}
