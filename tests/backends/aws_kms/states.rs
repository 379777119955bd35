//! What keys are in, on a server that has states.

use std::time::Duration;

use waxseal::backend::aws_kms::ContextForm;
use waxseal::{
    EncryptionContext, ErrorKind, KeyManager, envelope::KekRef, envelope::WrapAlgorithm, key::KekAdmin,
    key::KekState, key::KekTemplate, key::Request,
};

use super::server::{REGION, ministack, moto, unique};

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
    ministack.raw().enable_key().key_id(&arn).send().await.unwrap();
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
    let error = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::KeyDisabled, false)
    );
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
