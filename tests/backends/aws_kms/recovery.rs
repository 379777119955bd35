//! A server that is killed, and comes back with nothing of what it knew.

use std::time::Duration;

use waxseal::backend::aws_kms::Client;
use waxseal::{EncryptionContext, ErrorKind, Sealer};

use super::server::{Server, config, moto};
use crate::own_server::{OwnServer, in_time, installed};

#[tokio::test]
async fn a_killed_server_is_found_again_by_the_same_client() {
    // Says which moto it is, and why it skips; the one that is killed is another.
    if moto().is_none() {
        return;
    }
    let Some(program) = installed("moto", "moto_server") else {
        return;
    };
    let mut own = OwnServer::new(program, |port, _| {
        ["-H", "127.0.0.1", "-p", &port.to_string()]
            .map(str::to_owned)
            .to_vec()
    });
    own.start_until("/moto-api/");
    let server = Server { url: own.url() };
    // Its next key has the same id, each time it is told so.
    let arn = seeded_key(&mut own, &server).await;
    let config = config(&server.url).with_operation_timeout(Duration::from_secs(20));
    let keys = Client::connect(config).await.unwrap().key(&arn).unwrap();
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

        own.start_until("/moto-api/");
        // Back, and it has forgotten the key: an answer, and no outage any more.
        let error = sealer().open(&sealed, &context).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::KeyNotFound, false),
            "{error}"
        );
        assert_eq!(seeded_key(&mut own, &server).await, arn);
        let again = sealer().seal(b"bob@example.com", &context).await.unwrap();
        assert_eq!(sealer().open(&again, &context).await.unwrap(), b"bob@example.com");
        // A key of the same name is not the same key.
        let error = sealer().open(&sealed, &context).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::CannotOpen, false),
            "{error}"
        );
    }
}

/// A key with the id that this seed gives.
async fn seeded_key(own: &mut OwnServer, server: &Server) -> String {
    own.wait("/moto-api/seed?a=7", |status| status == 200);
    server.key().await
}
