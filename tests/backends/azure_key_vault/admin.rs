//! Administration, and what keys do after it.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use waxseal::backend::azure_key_vault::{Algorithm, AzureAdmin, Config};
use waxseal::{
    ErrorKind, envelope::KekRef, envelope::WrapAlgorithm, key::KekAdmin, key::KekState, key::KekTemplate,
};

use super::{auth, client, keys, opens, wrapped};
use crate::fake_azure_key_vault::{FakeKeyVault, Fault};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn admin(fake: &FakeKeyVault) -> AzureAdmin {
    client(fake).admin()
}

fn kek(name: &str, version: &str) -> KekRef {
    KekRef::new(
        "azure-key-vault",
        &format!("https://fake.vault.azure.net/keys/{name}"),
        version,
    )
    .unwrap()
}

fn versions(fake: &FakeKeyVault, name: &str) -> usize {
    let mut count = 0;
    loop {
        let page = fake.call(
            "GET",
            &format!("/keys/{name}/versions?$skiptoken={count}"),
            &Value::Null,
        );
        count += page["value"].as_array().unwrap().len();
        if page["nextLink"].is_null() {
            return count;
        }
    }
}

#[tokio::test]
async fn a_key_is_made_once_and_as_asked_for() {
    let fake = FakeKeyVault::start();
    let admin = admin(&fake);
    let mut template = KekTemplate::new("orders");
    template.hardware = true;
    template.labels = vec![("team".to_owned(), "shop".to_owned())];
    let made = admin.create(&template, "first CALL").await.unwrap();
    assert_eq!(made.kek, kek("orders", &fake.version("orders")));
    assert_eq!(
        (made.state, made.algorithm),
        (KekState::Enabled, WrapAlgorithm::AZURE_RSA_OAEP_256)
    );
    let age = SystemTime::now().duration_since(made.created.unwrap()).unwrap();
    assert!(age < DAY, "{age:?}");
    let seen = fake.call("GET", "/keys/orders", &Value::Null);
    assert_eq!(seen["key"]["kty"], "RSA-HSM");
    assert_eq!(
        seen["key"]["key_ops"],
        serde_json::json!(["wrapKey", "unwrapKey"])
    );
    assert_eq!(seen["key"]["n"].as_str().unwrap().len(), 512, "3072 bits");
    assert_eq!(seen["tags"]["team"], "shop");
    assert!(!seen.to_string().contains("CALL"), "{seen}");

    assert_eq!(admin.create(&template, "first CALL").await.unwrap(), made);
    let error = admin.create(&template, "another call").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(versions(&fake, "orders"), 1, "no version was made by mistake");
    let keys = keys(&fake, "orders");
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    assert_eq!(wrap.wrapped().len(), 384);
    opens(&keys, &dek, &wrap).await.unwrap();
}

#[tokio::test]
async fn a_symmetric_key_is_made_in_a_managed_hsm() {
    let fake = FakeKeyVault::start_hsm();
    let admin = client(&fake).admin().with_algorithm(Algorithm::A256Kw);
    let made = admin.create(&KekTemplate::new("k"), "x").await.unwrap();
    assert_eq!(made.algorithm, WrapAlgorithm::AZURE_A256KW);
    let keys = keys(&fake, "k");
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    assert_eq!(*wrap.kek(), made.kek);
    opens(&keys, &dek, &wrap).await.unwrap();
}

#[tokio::test]
async fn a_rotation_wraps_under_a_new_version_and_happens_once() {
    let fake = FakeKeyVault::start();
    let admin = admin(&fake);
    let mut template = KekTemplate::new("k");
    template.labels = vec![("team".to_owned(), "shop".to_owned())];
    let first = admin.create(&template, "make").await.unwrap();
    let (dek, old) = wrapped(&keys(&fake, "k")).await.unwrap();

    let second = admin.rotate(&kek("k", ""), "2026-11").await.unwrap();
    assert_eq!(
        (second.kek.version(), second.state),
        (fake.version("k").as_str(), KekState::Enabled)
    );
    assert_ne!(second.kek, first.kek);
    let keys = keys(&fake, "k");
    assert_eq!(*wrapped(&keys).await.unwrap().1.kek(), second.kek);
    opens(&keys, &dek, &old).await.unwrap();
    for _ in 0..2 {
        assert_eq!(
            admin.rotate(&kek("k", ""), "2026-11").await.unwrap().kek,
            second.kek
        );
    }
    assert_eq!(admin.rotate(&first.kek, "by name").await.unwrap().kek, second.kek);
    assert_eq!(versions(&fake, "k"), 2);
    let tags = fake.call("GET", "/keys/k", &Value::Null)["tags"].clone();
    assert_eq!(tags["team"], "shop", "labels of others stay");

    let third = admin.rotate(&second.kek, "2026-12").await.unwrap();
    assert_ne!(third.kek, second.kek);
    // What a former call made, and nothing new.
    assert_eq!(
        admin.rotate(&kek("k", ""), "2026-11").await.unwrap().kek,
        second.kek
    );
    assert_eq!(admin.describe(&kek("k", "")).await.unwrap().kek, third.kek);
    assert_eq!(versions(&fake, "k"), 3);
    assert_eq!(admin.create(&template, "make").await.unwrap().kek, third.kek);
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_is_not_done_twice_where_the_version_is_named() {
    let fake = FakeKeyVault::start();
    let admin = admin(&fake);
    let first = admin.create(&KekTemplate::new("k"), "make").await.unwrap();
    fake.set_rule(|seen| match seen.method.as_str() {
        "PATCH" => Fault::Close,
        _ => Fault::None,
    });
    let error = admin.rotate(&first.kek, "cut off").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    fake.set(Fault::None);
    let rotated = admin.rotate(&first.kek, "cut off").await.unwrap();
    assert_eq!(rotated.kek.version(), fake.version("k"));
    assert_eq!(versions(&fake, "k"), 2);
}

#[tokio::test]
async fn a_version_is_disabled_alone_and_a_key_with_all_of_them() {
    let fake = FakeKeyVault::start();
    let (admin, name) = (admin(&fake), fake.key("k"));
    let (dek, first) = wrapped(&keys(&fake, &name)).await.unwrap();
    for turn in 0..3 {
        admin.rotate(&kek("k", ""), &turn.to_string()).await.unwrap();
    }
    let keys = keys(&fake, &name);
    let (newest, last) = wrapped(&keys).await.unwrap();
    for _ in 0..2 {
        admin.disable(first.kek()).await.unwrap();
    }
    assert_eq!(
        admin.describe(first.kek()).await.unwrap().state,
        KekState::Disabled
    );
    assert_eq!(
        opens(&keys, &dek, &first).await.unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );
    opens(&keys, &newest, &last).await.unwrap();

    // More versions than stand on one page of the fake's list.
    admin.disable(&kek("k", "")).await.unwrap();
    assert_eq!(
        admin.describe(&kek("k", "")).await.unwrap().state,
        KekState::Disabled
    );
    assert_eq!(
        opens(&keys, &newest, &last).await.unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );
    for page in [0, 2] {
        let page = fake.call(
            "GET",
            &format!("/keys/k/versions?$skiptoken={page}"),
            &Value::Null,
        );
        for version in page["value"].as_array().unwrap() {
            assert_eq!(version["attributes"]["enabled"], false, "{version}");
        }
    }

    for _ in 0..2 {
        admin.enable(first.kek()).await.unwrap();
    }
    opens(&keys, &dek, &first).await.unwrap();
    assert_eq!(
        opens(&keys, &newest, &last).await.unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );
    admin.enable(&kek("k", "")).await.unwrap();
    opens(&keys, &newest, &last).await.unwrap();
    wrapped(&keys).await.unwrap();
}

/// Each version has its own beginning and end.
#[tokio::test]
async fn versions_say_from_when_and_until_when() {
    let fake = FakeKeyVault::start();
    let (admin, name) = (admin(&fake), fake.key("k"));
    let first = fake.version(&name);
    admin.rotate(&kek("k", ""), "once").await.unwrap();
    let body = json!({"attributes": {"nbf": 1_000, "exp": 2_000}});
    fake.call("PATCH", &format!("/keys/k/{first}"), &body);
    let versions = admin.describe_versions(&kek("k", "")).await.unwrap();
    let at = |seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    let shown: Vec<_> = versions
        .iter()
        .map(|one| (one.kek.version(), one.not_before, one.expires_at))
        .collect();
    assert_eq!(
        shown,
        [
            (fake.version(&name).as_str(), None, None),
            (first.as_str(), Some(at(1_000)), Some(at(2_000)))
        ]
    );
}

#[tokio::test]
async fn destruction_is_scheduled_and_never_sooner_than_asked_for() {
    let fake = FakeKeyVault::start();
    let (admin, name) = (admin(&fake), fake.key("k"));
    let keys = keys(&fake, &name);
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    for (kek, delay) in [(kek("k", ""), 8 * DAY), (wrap.kek().clone(), DAY)] {
        let error = admin.schedule_destroy(&kek, delay).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    }
    opens(&keys, &dek, &wrap).await.unwrap();

    let time = admin.schedule_destroy(&kek("k", ""), 7 * DAY).await.unwrap();
    assert!(time > SystemTime::now() + 6 * DAY, "{time:?}");
    assert_eq!(admin.schedule_destroy(&kek("k", ""), DAY).await.unwrap(), time);
    for kek in [kek("k", ""), wrap.kek().clone()] {
        let described = admin.describe(&kek).await.unwrap();
        assert_eq!(
            (described.state, described.destroyed_at),
            (KekState::PendingDestruction, Some(time))
        );
        assert_eq!(described.kek, *wrap.kek());
    }
    assert_eq!(
        opens(&keys, &dek, &wrap).await.unwrap_err().kind(),
        ErrorKind::KeyNotFound
    );
    let error = admin.describe(&kek("none", "")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotFound);
    assert_eq!(
        admin
            .create(&KekTemplate::new("k"), "again")
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidArgument,
        "the name is taken until the key is gone"
    );
    // Recovered it is what it was. Twice is once.
    for _ in 0..2 {
        admin.cancel_destroy(&kek("k", "")).await.unwrap();
        let described = admin.describe(&kek("k", "")).await.unwrap();
        assert_eq!(
            (described.state, described.destroyed_at),
            (KekState::Enabled, None)
        );
    }
    opens(&keys, &dek, &wrap).await.unwrap();
    let error = admin.cancel_destroy(&kek("none", "")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotFound);
}

#[tokio::test]
async fn what_is_not_of_the_vault_is_not_followed() {
    let fake = FakeKeyVault::start();
    let (admin, name) = (admin(&fake), fake.key("k"));
    fake.seen();
    for kek in [
        KekRef::new("azure-key-vault", "k", "").unwrap(),
        KekRef::new("azure-key-vault", "https://fake.vault.azure.net/keys/k/v", "").unwrap(),
        KekRef::new("azure-key-vault", "https://fake.vault.azure.net/keys/../k", "").unwrap(),
        KekRef::new("aws-kms", "https://fake.vault.azure.net/keys/k", "").unwrap(),
        kek(&name, "../other"),
    ] {
        for error in [
            admin.describe(&kek).await.unwrap_err(),
            admin.rotate(&kek, "x").await.unwrap_err(),
            admin.disable(&kek).await.unwrap_err(),
            admin.enable(&kek).await.unwrap_err(),
            admin.schedule_destroy(&kek, DAY).await.unwrap_err(),
            admin.cancel_destroy(&kek).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{kek:?}");
        }
    }
    let error = admin.create(&KekTemplate::new("../k"), "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(fake.seen().is_empty(), "no call was made");

    // The vault says that it is another: nothing is changed.
    let other = KekRef::new("azure-key-vault", "https://other.vault.azure.net/keys/k", "").unwrap();
    for error in [
        admin.describe(&other).await.unwrap_err(),
        admin.rotate(&other, "x").await.unwrap_err(),
        admin.disable(&other).await.unwrap_err(),
        admin.schedule_destroy(&other, DAY).await.unwrap_err(),
        admin.cancel_destroy(&other).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    assert!(fake.seen().iter().all(|seen| seen.method == "GET"));
}

#[tokio::test]
async fn an_application_has_no_right_to_any_of_it() {
    let fake = FakeKeyVault::start();
    let name = fake.key("k");
    let config = Config::new(fake.url(), auth("crypto-user"))
        .with_authority_host(fake.url())
        .with_ca_pem(fake.ca())
        .without_challenge_check();
    let client = super::connect(config).unwrap();
    let admin = client.admin();
    for error in [
        admin.rotate(&kek("k", ""), "x").await.unwrap_err(),
        admin.disable(&kek("k", "")).await.unwrap_err(),
        admin.schedule_destroy(&kek("k", ""), DAY).await.unwrap_err(),
        admin.create(&KekTemplate::new("new"), "x").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    }
    let keys = client.key(&name).unwrap();
    let (dek, wrap) = wrapped(&keys).await.unwrap();
    opens(&keys, &dek, &wrap).await.unwrap();
    assert_eq!(versions(&fake, "k"), 1);
}
