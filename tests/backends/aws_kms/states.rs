//! What keys are in, on a server that has states.

use std::time::Duration;

use waxseal::backend::aws_kms::{Client, ContextForm};
use waxseal::{
    EncryptionContext, ErrorKind, KeyManager, envelope::KekRef, envelope::WrapAlgorithm, key::KekAdmin,
    key::KekState, key::KekTemplate, key::Request,
};

use super::server::{REGION, config, ministack, moto, unique};
use super::wire::aws;
use crate::fault_proxy::FaultProxy;

#[tokio::test]
async fn a_disabled_key_does_nothing_until_it_is_enabled() {
    let Some(ministack) = ministack() else { return };
    let (keys, arn) = ministack.keys().await;
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (dek, wrapped) = keys.generate(&request).await.unwrap();
    // This server tells the version: the id of the key material.
    assert_eq!(wrapped.kek().version().len(), 64);
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
    assert_eq!(opened.kek, *wrapped.kek());

    let admin = ministack.client().await.admin();
    let kek = KekRef::new("aws-kms", &arn, "").unwrap();
    admin.disable(&kek).await.unwrap();
    admin.disable(&kek).await.unwrap();
    assert_eq!(admin.describe(&kek).await.unwrap().state, KekState::Disabled);
    for error in [
        keys.generate(&request).await.unwrap_err(),
        keys.wrap(&dek, &request).await.unwrap_err(),
        keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap_err(),
    ] {
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::KeyDisabled, false)
        );
    }
    admin.enable(&kek).await.unwrap();
    admin.enable(&kek).await.unwrap();
    assert_eq!(admin.describe(&kek).await.unwrap().state, KekState::Enabled);
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
    assert!(opened.dek.ct_eq(&dek));
}

#[tokio::test]
async fn a_key_that_is_to_be_deleted_opens_nothing_and_says_when() {
    let Some(ministack) = ministack() else { return };
    let (keys, arn) = ministack.keys().await;
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (_, wrapped) = keys.generate(&request).await.unwrap();
    let admin = ministack.client().await.admin();
    let kek = KekRef::new("aws-kms", &arn, "").unwrap();
    let day = Duration::from_secs(86_400);
    let error = admin.schedule_destroy(&kek, 31 * day).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::OverLimit { max: 30, .. }),
        "{error}"
    );
    let at = admin.schedule_destroy(&kek, day).await.unwrap();
    assert_eq!(admin.schedule_destroy(&kek, 20 * day).await.unwrap(), at);
    let described = admin.describe(&kek).await.unwrap();
    assert_eq!(described.state, KekState::PendingDestruction);
    assert_eq!(described.destroyed_at, Some(at));
    // The least that AWS waits, not the day that was asked for.
    let wait = at.duration_since(described.created.unwrap()).unwrap();
    assert_eq!(
        wait.as_secs().div_ceil(86_400).clamp(7, 8),
        wait.as_secs().div_ceil(86_400)
    );
    for error in [
        keys.unwrap(wrapped.as_wrap_ref(), &request).await.map(drop),
        keys.generate(&request).await.map(drop),
        keys.wrap(&waxseal::value::Dek::generate().unwrap(), &request)
            .await
            .map(drop),
    ] {
        let error = error.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::KeyPendingDestruction, false)
        );
        let said = error.to_string();
        assert!(
            said.contains("cancel-key-deletion") && said.contains("on 20"),
            "{said}"
        );
    }
    // Called off it is disabled, and enabled it opens again. Twice is once.
    for _ in 0..2 {
        admin.cancel_destroy(&kek).await.unwrap();
        let described = admin.describe(&kek).await.unwrap();
        assert_eq!(
            (described.state, described.destroyed_at),
            (KekState::Disabled, None)
        );
    }
    admin.enable(&kek).await.unwrap();
    admin.cancel_destroy(&kek).await.unwrap();
    assert_eq!(admin.describe(&kek).await.unwrap().state, KekState::Enabled);
    keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
}

/// Every state that AWS names, as a server that answers so has them.
#[tokio::test]
async fn a_state_that_does_not_allow_a_call_is_named() {
    let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let arn = format!("arn:aws:kms:{REGION}:111122223333:key/{id}");
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    for (state, kind, retryable, said) in [
        (
            "PendingImport",
            ErrorKind::KeyNotReady,
            false,
            "import-key-material",
        ),
        (
            "PendingDeletion",
            ErrorKind::KeyPendingDestruction,
            false,
            "cancel-key-deletion",
        ),
        ("Disabled", ErrorKind::KeyDisabled, false, "disabled"),
        ("Creating", ErrorKind::KeyNotReady, true, "being made"),
        ("Unavailable", ErrorKind::Unavailable, true, "key store"),
        // Nothing is wrong with it by now, or it may not be described.
        (
            "Enabled",
            ErrorKind::KeyNotReady,
            false,
            "KMSInvalidStateException",
        ),
        ("", ErrorKind::KeyNotReady, false, "KMSInvalidStateException"),
    ] {
        let proxy = FaultProxy::new("");
        let described = format!(
            r#"{{"KeyMetadata":{{"KeyId":"{id}","Arn":"{arn}","KeyState":"{state}","DeletionDate":1800000000}}}}"#
        );
        proxy.set_rule(move |seen| {
            let is_asked = seen
                .header("x-amz-target")
                .is_some_and(|target| target.ends_with("DescribeKey"));
            match is_asked && !described.contains(r#""KeyState":"""#) {
                true => aws(200, &described),
                false if is_asked => aws(400, r#"{"__type":"AccessDeniedException"}"#),
                false => aws(400, r#"{"__type":"KMSInvalidStateException"}"#),
            }
        });
        let keys = Client::connect(config(&proxy.url())).await.unwrap();
        let keys = keys.key(&arn).unwrap();
        let error = keys.generate(&request).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (kind, retryable),
            "{state}: {error}"
        );
        assert!(error.to_string().contains(said), "{state}: {error}");
    }
}

#[tokio::test]
async fn a_key_that_there_is_not() {
    let Some(ministack) = ministack() else { return };
    let client = ministack.client().await;
    let context = EncryptionContext::empty();
    let nobody = format!("arn:aws:kms:{REGION}:000000000000:key/00000000-0000-0000-0000-000000000000");
    for name in [
        &*nobody,
        "00000000-0000-0000-0000-000000000000",
        "alias/waxseal-nobody",
    ] {
        let keys = client.key(name).unwrap();
        let error = keys.generate(&Request::new(&context)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::KeyNotFound, false),
            "{name}"
        );
        let kek = KekRef::new("aws-kms", name, "").unwrap();
        let error = client.admin().describe(&kek).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{name}");
    }
}

#[tokio::test]
async fn a_key_of_another_kind_wraps_nothing() {
    let Some(moto) = moto() else { return };
    let raw = moto.raw();
    let created = raw
        .create_key()
        .key_spec(aws_sdk_kms::types::KeySpec::Rsa2048)
        .key_usage(aws_sdk_kms::types::KeyUsageType::EncryptDecrypt)
        .send()
        .await
        .unwrap();
    let alias = moto.alias(&created.key_metadata.unwrap().key_id).await;
    let keys = moto.client().await.key(&alias).unwrap();
    let context = EncryptionContext::empty();
    let error = keys.generate(&Request::new(&context)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn multi_region_keys_are_created_where_asked_for() {
    let Some(ministack) = ministack() else { return };
    let admin = ministack
        .client()
        .await
        .admin()
        .with_context_form(ContextForm::Digest);
    let template = KekTemplate::new(unique("mrk"));
    let made = admin
        .creating_multi_region()
        .create(&template, "once")
        .await
        .unwrap();
    assert!(made.kek.id().contains("key/mrk-"), "{:?}", made.kek);
    assert_eq!(made.algorithm, WrapAlgorithm::AWS_KMS_DIGEST);
}
