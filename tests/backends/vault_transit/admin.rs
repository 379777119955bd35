//! Administering keys.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use waxseal::backend::vault_transit::Mode;
use waxseal::key::{KekAdmin, KekState, KekTemplate, Request};
use waxseal::{ErrorKind, KeyManager};

use super::server::{acme, kek, round_trip, server, unique};

async fn administers(mode: Mode) {
    let Some(server) = server().await else { return };
    let admin = server.root().admin().with_mode(mode);
    let template = KekTemplate::new(unique("made"));
    let name = template.name.as_str();
    assert_eq!(
        admin.describe(&kek(name, "")).await.unwrap_err().kind(),
        ErrorKind::KeyNotFound
    );

    let made = admin.create(&template, "make").await.unwrap();
    assert_eq!(
        (made.kek.clone(), made.state, made.algorithm),
        (kek(name, "1"), KekState::Enabled, mode.algorithm())
    );
    assert!(made.created.is_some());
    assert_eq!(admin.create(&template, "make").await.unwrap(), made);
    let (_, seen) = server
        .raw(Method::GET, &format!("transit/keys/{name}"), Value::Null)
        .await;
    assert_eq!(seen["data"]["derived"], mode == Mode::DataKey);
    assert_eq!(seen["data"]["exportable"], false);
    assert_eq!(seen["data"]["type"], "aes256-gcm96");
    let keys = server.keys(name, mode);
    let old = round_trip(&keys).await.unwrap();

    // Once for one idempotency key, and once for one version, whoever asks.
    let rotated = admin.rotate(&made.kek, "first").await.unwrap();
    assert_eq!(rotated.kek, kek(name, "2"));
    assert_eq!(admin.rotate(&made.kek, "first").await.unwrap(), rotated);
    let elsewhere = server.root().admin().with_mode(mode);
    assert_eq!(elsewhere.rotate(&made.kek, "first").await.unwrap(), rotated);
    assert_eq!(
        admin.rotate(&kek(name, ""), "second").await.unwrap().kek,
        kek(name, "3")
    );
    assert_eq!(
        admin.rotate(&kek(name, ""), "second").await.unwrap().kek,
        kek(name, "3")
    );
    assert_eq!(
        admin.rotate(&made.kek, "first").await.unwrap().kek,
        kek(name, "2")
    );
    assert_eq!(round_trip(&keys).await.unwrap().kek().version(), "3");

    // Versions are disabled from the oldest upwards.
    for version in ["2", "3"] {
        let error = admin.disable(&kek(name, version)).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Unsupported { .. }),
            "{version}: {error}"
        );
    }
    admin.disable(&kek(name, "1")).await.unwrap();
    admin.disable(&kek(name, "1")).await.unwrap();
    assert_eq!(
        admin.describe(&kek(name, "1")).await.unwrap().state,
        KekState::Disabled
    );
    assert_eq!(
        admin.describe(&kek(name, "2")).await.unwrap().state,
        KekState::Enabled
    );
    let versions = admin.describe_versions(&kek(name, "")).await.unwrap();
    let shown: Vec<_> = versions
        .iter()
        .map(|one| (one.kek.version(), one.state))
        .collect();
    assert_eq!(
        shown,
        [
            ("3", KekState::Enabled),
            ("2", KekState::Enabled),
            ("1", KekState::Disabled)
        ]
    );
    let one = admin.describe_versions(&kek(name, "1")).await.unwrap();
    assert_eq!(one, versions[2..]);
    assert_eq!(
        super::server::unwrap_kind(&keys, old.as_wrap_ref()).await,
        ErrorKind::KeyDisabled
    );
    // Enabled from the newest downwards, and disabled again.
    for _ in 0..2 {
        admin.enable(&kek(name, "1")).await.unwrap();
    }
    keys.unwrap(
        old.as_wrap_ref(),
        &waxseal::key::Request::new(&super::server::acme()),
    )
    .await
    .unwrap();
    admin.disable(&kek(name, "1")).await.unwrap();
    admin.disable(&kek(name, "2")).await.unwrap();
    let error = admin.enable(&kek(name, "1")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    admin.enable(&kek(name, "2")).await.unwrap();
    for version in ["0", "4", "x"] {
        assert_eq!(
            admin.enable(&kek(name, version)).await.unwrap_err().kind(),
            ErrorKind::KeyNotFound
        );
        assert_eq!(
            admin.describe(&kek(name, version)).await.unwrap_err().kind(),
            ErrorKind::KeyNotFound
        );
        assert_eq!(
            admin.disable(&kek(name, version)).await.unwrap_err().kind(),
            ErrorKind::KeyNotFound
        );
    }

    let error = admin
        .schedule_destroy(&made.kek, Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    let error = admin.cancel_destroy(&made.kek).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    admin.disable(&kek(name, "")).await.unwrap();
    admin.disable(&kek(name, "")).await.unwrap();
    assert_eq!(
        admin.describe(&kek(name, "")).await.unwrap().state,
        KekState::Disabled
    );
    assert_eq!(
        round_trip(&keys).await.unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );
    for _ in 0..2 {
        admin.enable(&kek(name, "")).await.unwrap();
    }
    round_trip(&keys).await.unwrap();
}

#[tokio::test]
async fn encrypting_keys() {
    administers(Mode::Encrypt).await;
}

#[tokio::test]
async fn derived_keys() {
    administers(Mode::DataKey).await;
}

#[tokio::test]
async fn what_is_not_of_this_mount_or_not_to_be_had() {
    let Some(server) = server().await else { return };
    let admin = server.root().admin();
    for (provider, id) in [
        ("aws-kms", "transit/keys/a"),
        ("vault-transit", "other/keys/a"),
        ("vault-transit", "transit/keys/"),
        ("vault-transit", "transit/keys/../../sys/mounts"),
    ] {
        let foreign = waxseal::envelope::KekRef::new(provider, id, "").unwrap();
        let error = admin.describe(&foreign).await.unwrap_err();
        assert!(
            matches!(
                error.kind(),
                ErrorKind::InvalidArgument | ErrorKind::Configuration
            ),
            "{error}"
        );
    }
    let mut hardware = KekTemplate::new(unique("hard"));
    hardware.hardware = true;
    let mut labeled = KekTemplate::new(unique("labeled"));
    labeled.labels.push(("team".into(), "a".into()));
    for template in [hardware, labeled] {
        let error = admin.create(&template, "k").await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    }
    // A key that is there, and is not what would be made.
    let derived = server.key("derived", Mode::DataKey).await;
    let error = admin.create(&KekTemplate::new(derived), "k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

/// What an error advises is done to the letter: one version is gone, and the others open.
#[tokio::test]
async fn the_advice_for_one_version_destroys_no_other() {
    let Some(server) = server().await else { return };
    let admin = server.root().admin();
    let template = KekTemplate::new(unique("trimmed"));
    let name = template.name.as_str();
    let first = admin.create(&template, "make").await.unwrap().kek;
    let keys = server.keys(name, Mode::Encrypt);
    let old = round_trip(&keys).await.unwrap();
    admin.rotate(&first, "second").await.unwrap();
    let new = round_trip(&keys).await.unwrap();
    let error = admin.schedule_destroy(&first, Duration::ZERO).await.unwrap_err();
    let detail = error.detail().unwrap();
    assert!(
        detail.contains("to 2, and call its trim with min_available_version=2"),
        "{detail}"
    );
    let path = format!("transit/keys/{name}");
    let config = json!({"min_decryption_version": 2, "min_encryption_version": 2});
    server.raw(Method::POST, &format!("{path}/config"), config).await;
    let trim = json!({"min_available_version": 2});
    server.raw(Method::POST, &format!("{path}/trim"), trim).await;
    let states = admin.describe_versions(&kek(name, "")).await.unwrap();
    let states: Vec<_> = states.iter().map(|one| one.state).collect();
    assert_eq!(states.first(), Some(&KekState::Enabled));
    assert_eq!(admin.describe(&first).await.unwrap().state, KekState::Destroyed);
    let context = acme();
    let request = Request::new(&context);
    keys.unwrap(new.as_wrap_ref(), &request).await.unwrap();
    assert_eq!(
        keys.unwrap(old.as_wrap_ref(), &request).await.unwrap_err().kind(),
        ErrorKind::KeyDestroyed
    );
    // Of the whole key it says something else.
    let error = admin
        .schedule_destroy(&kek(name, ""), Duration::ZERO)
        .await
        .unwrap_err();
    assert!(!error.detail().unwrap().contains("trim"), "{error}");
}
