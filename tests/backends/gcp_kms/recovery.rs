//! A server that is killed, and comes back with nothing of what it knew.

use std::time::Duration;

use waxseal::{EncryptionContext, ErrorKind, Sealer};

use super::drongo::{Drongo, drongo};
use crate::own_server::{OwnServer, in_time, installed};

#[tokio::test]
async fn a_killed_server_is_found_again_by_the_same_client() {
    // Says which drongo it is, and why it skips; the one that is killed is another.
    if drongo().is_none() {
        return;
    }
    let Some(program) = installed("drongo", "drongo") else {
        return;
    };
    let mut own = OwnServer::new(program, |port, _| {
        let port = port.to_string();
        ["server", "--host", "127.0.0.1", "--port", &port]
            .map(str::to_owned)
            .to_vec()
    });
    own.start_until("/drongo/health");
    let drongo = Drongo { address: own.url() };
    let key = drongo.key();
    let keys = drongo.keys(&key);
    let sealer = || {
        Sealer::builder()
            .wrap_with(keys.clone())
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap()
    };
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let sealed = sealer().seal(b"alice@example.com", &context).await.unwrap();
    assert_eq!(
        sealer().open(&sealed, &context).await.unwrap(),
        b"alice@example.com"
    );

    for _ in 0..2 {
        own.kill();
        // Nothing is cached: the KMS has to be asked.
        let opened = in_time(async { sealer().open(&sealed, &context).await });
        let error = opened.await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, true),
            "{error}"
        );

        own.start_until("/drongo/health");
        // Back, and it has forgotten the key: an answer, and no outage any more.
        let error = sealer().seal(b"bob@example.com", &context).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::KeyNotFound, false),
            "{error}"
        );
        drongo.make(&key);
        let again = sealer().seal(b"bob@example.com", &context).await.unwrap();
        assert_eq!(sealer().open(&again, &context).await.unwrap(), b"bob@example.com");
    }
}
