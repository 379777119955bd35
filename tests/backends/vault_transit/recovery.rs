//! A server that is killed, and comes back, sealed at first.

use std::time::Duration;

use waxseal::backend::vault_transit::Mode;
use waxseal::{EncryptionContext, ErrorKind, Sealer};

use super::cluster::Cluster;
use crate::own_server::in_time;

#[tokio::test]
async fn a_killed_server_is_found_again_by_the_same_client() {
    let Some(mut cluster) = Cluster::start(1).await else {
        return;
    };
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let server = cluster.server(0);
    for mode in [Mode::Encrypt, Mode::DataKey] {
        let keys = server.keys(&server.key("killed", mode).await, mode);
        let sealer = || {
            Sealer::builder()
                .wrap_with(keys.clone())
                .timeout(Duration::from_secs(20))
                .build()
                .unwrap()
        };
        let sealed = sealer().seal(b"alice@example.com", &context).await.unwrap();
        assert_eq!(
            sealer().open(&sealed, &context).await.unwrap(),
            b"alice@example.com"
        );

        cluster.kill(0);
        // Nothing is cached: the server has to be asked.
        for when in ["down", "sealed"] {
            let opened = in_time(async { sealer().open(&sealed, &context).await });
            let error = opened.await.unwrap_err();
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (ErrorKind::Unavailable, true),
                "{when}: {error}"
            );
            if when == "down" {
                cluster.start_sealed(0);
            }
        }
        cluster.unseal(0).await;
        cluster
            .until(0, "sys/leader", |answer| answer["is_self"] == true)
            .await;
        assert_eq!(
            sealer().open(&sealed, &context).await.unwrap(),
            b"alice@example.com"
        );
        sealer().seal(b"bob@example.com", &context).await.unwrap();
    }
}
