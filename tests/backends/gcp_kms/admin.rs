//! Administration, and what keys do after it.

use std::time::{Duration, SystemTime};

use serde_json::json;
use waxseal::backend::gcp_kms::{Auth, GcpAdmin};
use waxseal::{
    ErrorKind, envelope::KekRef, envelope::WrapAlgorithm, key::KekAdmin, key::KekState, key::KekTemplate,
};

use super::{TOKEN, client, config, keys, opens, wrapped};
use crate::fake_gcp_kms::FakeGcpKms;
use crate::fault_proxy::{Fault, FaultProxy};

const RING: &str = "projects/p/locations/global/keyRings/r";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn admin(fake: &FakeGcpKms) -> GcpAdmin {
    client(fake).admin(RING).unwrap()
}

fn kek(key: &str, version: &str) -> KekRef {
    KekRef::new("gcp-kms", key, version).unwrap()
}

fn versions(fake: &FakeGcpKms, key: &str) -> u64 {
    fake.get(&format!("{key}/cryptoKeyVersions"))["totalSize"]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn a_key_is_made_once_and_as_asked_for() {
    let fake = FakeGcpKms::start();
    let admin = admin(&fake).with_destroy_delay(3 * DAY);
    let mut template = KekTemplate::new("orders");
    template.hardware = true;
    template.labels = vec![("team".to_owned(), "shop".to_owned())];
    let made = admin.create(&template, "first CALL").await.unwrap();
    let key = format!("{RING}/cryptoKeys/orders");
    assert_eq!(made.kek, kek(&key, "1"));
    assert_eq!(
        (made.state, made.algorithm),
        (KekState::Enabled, WrapAlgorithm::GCP_KMS)
    );
    let age = SystemTime::now().duration_since(made.created.unwrap()).unwrap();
    assert!(age < DAY, "{age:?}");
    let seen = fake.get(&key);
    assert_eq!(seen["purpose"], "ENCRYPT_DECRYPT");
    assert_eq!(seen["versionTemplate"]["protectionLevel"], "HSM");
    assert_eq!(seen["labels"]["team"], "shop");
    assert_eq!(seen["destroyScheduledDuration"], "259200s");
    assert!(!seen.to_string().contains("CALL"), "{seen}");

    assert_eq!(admin.create(&template, "first CALL").await.unwrap(), made);
    let error = admin.create(&template, "another call").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(versions(&fake, &key), 1);
    let keys = keys(&fake, &key);
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    opens(&keys, &dek, &wrap).await.unwrap();
}

#[tokio::test]
async fn a_rotation_wraps_under_a_new_version_and_happens_once() {
    let fake = FakeGcpKms::start();
    let (admin, key) = (admin(&fake), fake.key("k"));
    fake.patch(
        &format!("{key}?updateMask=labels"),
        &json!({"labels": {"team": "shop"}}),
    );
    let keys = keys(&fake, &key);
    let (dek, old) = wrapped(&keys).await.unwrap();
    let rotated = admin.rotate(&kek(&key, ""), "2026-11").await.unwrap();
    assert_eq!((rotated.kek, rotated.state), (kek(&key, "2"), KekState::Enabled));
    assert_eq!(wrapped(&keys).await.unwrap().1.kek().version(), "2");
    opens(&keys, &dek, &old).await.unwrap();

    for _ in 0..2 {
        assert_eq!(
            admin.rotate(&kek(&key, ""), "2026-11").await.unwrap().kek,
            kek(&key, "2")
        );
    }
    assert_eq!(
        admin.rotate(&kek(&key, "1"), "by name").await.unwrap().kek,
        kek(&key, "2")
    );
    assert_eq!(versions(&fake, &key), 2);
    assert_eq!(fake.get(&key)["labels"]["team"], "shop", "labels of others stay");
    assert_eq!(
        admin.rotate(&kek(&key, "2"), "2026-12").await.unwrap().kek,
        kek(&key, "3")
    );
    // What a former call made, and no step back.
    assert_eq!(
        admin.rotate(&kek(&key, ""), "2026-11").await.unwrap().kek,
        kek(&key, "2")
    );
    assert_eq!(admin.describe(&kek(&key, "")).await.unwrap().kek, kek(&key, "3"));
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_goes_on_where_it_was() {
    let fake = FakeGcpKms::start();
    let key = fake.key("k");
    let proxy = FaultProxy::new(&fake.endpoint());
    let client = super::connect(config(&fake).with_endpoint(proxy.url())).unwrap();
    let admin = client.admin(RING).unwrap();
    proxy.set_rule(|seen| match seen.path().contains(":updatePrimaryVersion") {
        true => Fault::Close,
        false => Fault::Forward,
    });
    let error = admin.rotate(&kek(&key, ""), "cut off").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    assert_eq!(admin.describe(&kek(&key, "")).await.unwrap().kek, kek(&key, "1"));
    proxy.set(Fault::Forward);
    assert_eq!(
        admin.rotate(&kek(&key, ""), "cut off").await.unwrap().kek,
        kek(&key, "2")
    );
    assert_eq!(admin.describe(&kek(&key, "")).await.unwrap().kek, kek(&key, "2"));
    assert_eq!(versions(&fake, &key), 2);
}

#[tokio::test]
async fn many_rotations_leave_room_for_labels() {
    let fake = FakeGcpKms::start();
    let (admin, key) = (admin(&fake), fake.key("k"));
    for turn in 1..=20 {
        admin
            .rotate(&kek(&key, ""), &format!("turn {turn}"))
            .await
            .unwrap();
    }
    assert_eq!(fake.get(&key)["labels"].as_object().unwrap().len(), 16);
    assert_eq!(
        admin.rotate(&kek(&key, ""), "turn 20").await.unwrap().kek,
        kek(&key, "21")
    );
    assert_eq!(versions(&fake, &key), 21);
}

#[tokio::test]
async fn a_version_is_disabled_alone_and_a_key_with_all_of_them() {
    let fake = FakeGcpKms::start();
    let (admin, key) = (admin(&fake), fake.key("k"));
    let keys = keys(&fake, &key);
    let (dek, first) = wrapped(&keys).await.unwrap();
    for turn in 0..3 {
        admin.rotate(&kek(&key, ""), &turn.to_string()).await.unwrap();
    }
    let (newest, last) = wrapped(&keys).await.unwrap();
    for _ in 0..2 {
        admin.disable(&kek(&key, "1")).await.unwrap();
    }
    assert_eq!(
        admin.describe(&kek(&key, "1")).await.unwrap().state,
        KekState::Disabled
    );
    assert_eq!(
        opens(&keys, &dek, &first).await.unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );
    opens(&keys, &newest, &last).await.unwrap();

    // More versions than stand on one page of the fake's list.
    let versions = admin.describe_versions(&kek(&key, "")).await.unwrap();
    let shown: Vec<_> = versions
        .iter()
        .map(|one| (one.kek.version(), one.state))
        .collect();
    let enabled = |version| (version, KekState::Enabled);
    assert_eq!(
        shown,
        [
            enabled("4"),
            enabled("3"),
            enabled("2"),
            ("1", KekState::Disabled)
        ]
    );
    admin.disable(&kek(&key, "")).await.unwrap();
    for version in ["1", "2", "3", "4"] {
        assert_eq!(
            admin.describe(&kek(&key, version)).await.unwrap().state,
            KekState::Disabled
        );
    }
    assert_eq!(
        opens(&keys, &newest, &last).await.unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );

    for _ in 0..2 {
        admin.enable(&kek(&key, "1")).await.unwrap();
    }
    opens(&keys, &dek, &first).await.unwrap();
    // What is to be destroyed stays so.
    fake.post(
        &format!("{key}/cryptoKeyVersions/2:destroy"),
        &serde_json::Value::Null,
    );
    admin.enable(&kek(&key, "")).await.unwrap();
    let states: Vec<_> = admin.describe_versions(&kek(&key, "")).await.unwrap();
    let states: Vec<_> = states.iter().map(|one| one.state).collect();
    use KekState::{Enabled, PendingDestruction};
    assert_eq!(states, [Enabled, Enabled, PendingDestruction, Enabled]);
    opens(&keys, &newest, &last).await.unwrap();
}

#[tokio::test]
async fn destruction_is_scheduled_and_never_sooner_than_asked_for() {
    let fake = FakeGcpKms::start();
    let (admin, key) = (admin(&fake), fake.key("k"));
    let keys = keys(&fake, &key);
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    admin.rotate(&kek(&key, ""), "next").await.unwrap();

    let error = admin
        .schedule_destroy(&kek(&key, "1"), 31 * DAY)
        .await
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    assert_eq!(
        admin.describe(&kek(&key, "1")).await.unwrap().state,
        KekState::Enabled
    );

    let time = admin.schedule_destroy(&kek(&key, "1"), 7 * DAY).await.unwrap();
    assert!(time > SystemTime::now() + 29 * DAY, "{time:?}");
    assert_eq!(admin.schedule_destroy(&kek(&key, "1"), DAY).await.unwrap(), time);
    let described = admin.describe(&kek(&key, "1")).await.unwrap();
    assert_eq!(
        (described.state, described.destroyed_at),
        (KekState::PendingDestruction, Some(time))
    );
    assert_eq!(
        admin.describe(&kek(&key, "2")).await.unwrap().state,
        KekState::Enabled
    );

    admin.schedule_destroy(&kek(&key, ""), DAY).await.unwrap();
    assert_eq!(
        admin.describe(&kek(&key, "2")).await.unwrap().state,
        KekState::PendingDestruction
    );
    // One version is saved, then all; they are disabled until they are enabled.
    let states = || async {
        let versions = admin.describe_versions(&kek(&key, "")).await.unwrap();
        versions.iter().map(|version| version.state).collect::<Vec<_>>()
    };
    use KekState::{Disabled, PendingDestruction};
    admin.cancel_destroy(&kek(&key, "1")).await.unwrap();
    assert_eq!(states().await, [PendingDestruction, Disabled]);
    for _ in 0..2 {
        admin.cancel_destroy(&kek(&key, "")).await.unwrap();
        assert_eq!(states().await, [Disabled, Disabled]);
    }
    admin.enable(&kek(&key, "")).await.unwrap();
    opens(&keys, &dek, &wrap).await.unwrap();
    admin.schedule_destroy(&kek(&key, ""), DAY).await.unwrap();
    fake.finish_destruction();
    let error = admin.cancel_destroy(&kek(&key, "")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDestroyed);
    assert_eq!(
        admin.describe(&kek(&key, "1")).await.unwrap().state,
        KekState::Destroyed
    );
    let error = admin.schedule_destroy(&kek(&key, ""), DAY).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDestroyed);
    assert_eq!(
        opens(&keys, &dek, &wrap).await.unwrap_err().kind(),
        ErrorKind::KeyDestroyed
    );
}

#[tokio::test]
async fn what_is_not_of_the_ring_is_not_followed() {
    let fake = FakeGcpKms::start();
    let (admin, key) = (admin(&fake), fake.key("k"));
    let elsewhere = key.replace("keyRings/r/", "keyRings/other/");
    fake.seen();
    for kek in [
        kek(&elsewhere, ""),
        kek(&format!("{key}/cryptoKeyVersions/1"), ""),
        kek(&format!("{RING}/cryptoKeys/k:destroy"), ""),
        kek(&key, "1:destroy"),
        KekRef::new("aws-kms", &key, "").unwrap(),
    ] {
        for error in [
            admin.describe(&kek).await.unwrap_err(),
            admin.rotate(&kek, "x").await.unwrap_err(),
            admin.disable(&kek).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{kek:?}");
        }
    }
    let error = admin.create(&KekTemplate::new("../k"), "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let template_of_destroy = admin
        .schedule_destroy(&kek(&elsewhere, ""), DAY)
        .await
        .unwrap_err();
    assert_eq!(template_of_destroy.kind(), ErrorKind::InvalidArgument);
    assert!(fake.seen().is_empty(), "no call was made");
    assert!(client(&fake).admin(&key).is_err());
}

#[tokio::test]
async fn an_application_without_the_right_is_denied() {
    let fake = FakeGcpKms::start();
    fake.demand_token(TOKEN);
    let key = fake.key("k");
    let denied = super::connect(config(&fake).with_auth(Auth::AccessToken("denied".into()))).unwrap();
    let admin = denied.admin(RING).unwrap();
    let error = admin.rotate(&kek(&key, ""), "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let missing = client(&fake).key(&key).unwrap();
    assert_eq!(
        wrapped(&missing).await.unwrap().1.kek().version(),
        "1",
        "nothing was rotated"
    );
    let error = self::admin(&fake)
        .describe(&kek(&format!("{RING}/cryptoKeys/none"), ""))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotFound);
}
