//! Making and rotating KEKs.

use waxseal::backend::aws_kms::{AwsAdmin, Client};
use waxseal::{
    EncryptionContext, ErrorKind, KeyManager, envelope::KekRef, key::KekAdmin, key::KekState,
    key::KekTemplate, key::Request,
};

use super::server::{config, moto, unique};
use super::wire::{aws, calls, only};
use crate::fault_proxy::{Fault, FaultProxy};

fn count(proxy: &FaultProxy, operation: &str) -> usize {
    calls(proxy).iter().filter(|(seen, _)| seen == operation).count()
}

async fn admin(proxy: &FaultProxy) -> AwsAdmin {
    Client::connect(config(&proxy.url())).await.unwrap().admin()
}

#[tokio::test]
async fn what_is_created_once_is_found_again() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::new(&moto.url);
    let admin = admin(&proxy).await;
    let mut template = KekTemplate::new(unique("orders"));
    template.labels = vec![("team".into(), "payments".into())];
    let once = unique("once");
    let first = admin.create(&template, &once).await.unwrap();
    assert_eq!(first.state, KekState::Enabled);
    assert!(first.created.is_some());
    assert_eq!(admin.create(&template, &once).await.unwrap(), first);
    assert_eq!(count(&proxy, "CreateKey"), 1);
    let error = admin.create(&template, "another").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);

    // What AWS has: the alias, the label, and not the idempotency key itself.
    let alias = format!("alias/{}", template.name);
    let raw = moto.raw();
    let described = raw.describe_key().key_id(&alias).send().await.unwrap();
    assert_eq!(
        described.key_metadata.unwrap().arn.as_deref(),
        Some(first.kek.id())
    );
    let tags = raw
        .list_resource_tags()
        .key_id(first.kek.id())
        .send()
        .await
        .unwrap();
    let tags: Vec<_> = tags
        .tags()
        .iter()
        .map(|tag| (tag.tag_key(), tag.tag_value()))
        .collect();
    assert!(tags.contains(&("team", "payments")), "{tags:?}");
    assert!(tags.iter().all(|(_, value)| *value != once));

    let client = moto.client().await;
    let keys = client.key(&alias).unwrap();
    let context = EncryptionContext::empty();
    let (_, wrapped) = keys.generate(&Request::new(&context)).await.unwrap();
    assert_eq!(wrapped.kek().id(), first.kek.id());
}

#[tokio::test]
async fn a_creation_that_broke_off_before_the_alias_is_taken_up() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::new(&moto.url);
    let client = Client::connect(config(&proxy.url())).await.unwrap();
    let template = KekTemplate::new(unique("broken-off"));
    let once = unique("once");
    let admin = client.admin();
    proxy.set_rule(only(
        "CreateAlias",
        aws(500, r#"{"__type":"KMSInternalException"}"#),
    ));
    let error = admin.create(&template, &once).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    proxy.set(Fault::Forward);
    let made = admin.create(&template, &once).await.unwrap();
    assert_eq!(admin.create(&template, &once).await.unwrap(), made);
    assert_eq!(count(&proxy, "CreateKey"), 1);
}

#[tokio::test]
async fn a_rotation_is_made_once_and_what_was_wrapped_opens() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::new(&moto.url);
    let admin = admin(&proxy).await;
    let (keys, arn) = moto.keys().await;
    let kek = KekRef::new("aws-kms", &arn, "").unwrap();
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (dek, wrapped) = keys.generate(&request).await.unwrap();
    let before = admin.rotation_status(&kek).await.unwrap();
    assert_eq!((before.automatic, before.completed), (false, 0));
    let rotated = admin.rotate(&kek, "first").await.unwrap();
    assert_eq!(rotated.kek.id(), arn);
    admin.rotate(&kek, "first").await.unwrap();
    assert_eq!(admin.rotation_status(&kek).await.unwrap().completed, 1);
    admin.rotate(&kek, "second").await.unwrap();
    admin.rotate(&kek, "first").await.unwrap();
    assert_eq!(admin.rotation_status(&kek).await.unwrap().completed, 2);
    assert_eq!(count(&proxy, "RotateKeyOnDemand"), 2);
    let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
    assert!(opened.dek.ct_eq(&dek));
}

#[tokio::test]
async fn one_version_alone_is_neither_disabled_nor_destroyed() {
    let proxy = FaultProxy::answering(aws(500, ""));
    let admin = admin(&proxy).await;
    let arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let version = KekRef::new("aws-kms", arn, "0a1b").unwrap();
    let error = admin.disable(&version).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    let week = std::time::Duration::from_secs(7 * 86_400);
    let error = admin.schedule_destroy(&version, week).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    let local = KekRef::new("local", "abc", "").unwrap();
    assert_eq!(
        admin.describe(&local).await.unwrap_err().kind(),
        ErrorKind::KeyNotFound
    );
    for name in ["", "aws/s3", "two words"] {
        let error = admin.create(&KekTemplate::new(name), "once").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name}");
    }
    assert!(proxy.seen().is_empty());
}

#[tokio::test]
async fn the_rotation_after_the_last_says_how_many_there_are() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::new(&moto.url);
    let admin = admin(&proxy).await;
    let arn = moto.key().await;
    let kek = KekRef::new("aws-kms", &arn, "").unwrap();
    proxy.set_rule(only(
        "RotateKeyOnDemand",
        aws(400, r#"{"__type":"LimitExceededException"}"#),
    ));
    let error = admin.rotate(&kek, "26").await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::OverLimit { max: 25, .. }),
        "{error}"
    );
    assert!(!error.is_retryable());
    // It was marked as begun, and not as done.
    proxy.set(Fault::Forward);
    admin.rotate(&kek, "26").await.unwrap();
    assert_eq!(admin.rotation_status(&kek).await.unwrap().completed, 1);
}

/// Answers of a key whose list of rotations has no end.
fn endless(seen: &crate::fault_proxy::Seen) -> Fault {
    match seen.header("x-amz-target").unwrap_or_default() {
        "TrentService.ListKeyRotations" => {
            aws(200, r#"{"Rotations":[],"Truncated":true,"NextMarker":"more"}"#)
        }
        _ => aws(200, r#"{"KeyRotationEnabled":false}"#),
    }
}

#[tokio::test]
async fn a_list_without_an_end_is_refused_and_one_deadline_is_over_all_pages() {
    let proxy = FaultProxy::new("");
    proxy.set_rule(endless);
    let arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let kek = KekRef::new("aws-kms", arn, "").unwrap();
    let most = std::time::Duration::from_secs(300);
    let patient = config(&proxy.url()).with_operation_timeout(most);
    let admin = Client::connect(patient).await.unwrap().admin();
    let error = admin.rotation_status(&kek).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
    assert_eq!(count(&proxy, "ListKeyRotations"), 1000);

    // Each page is in time, and all of them are not.
    proxy.set_rule(|seen| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        endless(seen)
    });
    let hasty = config(&proxy.url()).with_operation_timeout(most / 600);
    let admin = Client::connect(hasty).await.unwrap().admin();
    let error = admin.rotation_status(&kek).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}
