//! What a key is called, and what is recorded.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use waxseal::backend::aws_kms::{Client, Config};
use waxseal::testing::SimulatedRuntime;
use waxseal::{EncryptionContext, ErrorKind, KeyManager, envelope::KekRef, key::Request, key::Versions};

use super::server::{REGION, SECRET, config, ministack, moto};
use super::wire::{aws, calls};
use crate::fault_proxy::{Fault, FaultProxy};

// spec: WRAP-2
#[tokio::test]
async fn the_arn_is_recorded_whatever_was_configured() {
    let Some(moto) = moto() else { return };
    let arn = moto.key().await;
    let alias = moto.alias(&arn).await;
    let id = arn.rsplit('/').next().unwrap();
    let alias_arn = arn.replace(&format!("key/{id}"), &alias);
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let client = moto.client().await;
    for name in [&arn, id, &alias, &alias_arn] {
        let keys = client.key(name).unwrap();
        assert_eq!(keys.resolve().await.unwrap().id(), arn, "{name}");
        let (dek, wrapped) = keys.generate(&request).await.unwrap();
        assert_eq!(wrapped.kek().id(), arn, "{name}");
        assert_eq!(keys.wrap(&dek, &request).await.unwrap().kek().id(), arn, "{name}");
        let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
        assert_eq!(opened.kek.id(), arn, "{name}");
        // One that was just made and has asked nothing yet opens it, too.
        let fresh = client.key(name).unwrap();
        assert!(!fresh.recognizes(wrapped.as_wrap_ref()).is_no(), "{name}");
        let opened = fresh.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
        assert!(opened.dek.ct_eq(&dek), "{name}");
    }
}

#[tokio::test]
async fn an_alias_is_resolved_again_in_time_and_its_former_target_opens_where_it_is_named() {
    let Some(moto) = moto() else { return };
    let runtime = Arc::new(SimulatedRuntime::new());
    let proxy = FaultProxy::new(&moto.url);
    let client = Client::connect(config(&proxy.url()).with_clock(runtime.clone()))
        .await
        .unwrap();
    let (first, second) = (moto.key().await, moto.key().await);
    let alias = moto.alias(&first).await;
    let keys = client.key(&alias).unwrap();
    let with_former = client.key(&alias).unwrap().also_opening(&first).unwrap();
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (dek, wrapped) = keys.generate(&request).await.unwrap();
    with_former.generate(&request).await.unwrap();
    assert_eq!(wrapped.kek().id(), first);
    let total = Cell::new(0);
    let describes = || {
        let calls = calls(&proxy);
        let new = calls.iter().filter(|(operation, _)| operation == "DescribeKey");
        total.set(total.get() + new.count());
        total.get()
    };
    assert_eq!(describes(), 2);

    let raw = moto.raw();
    let moved = raw.update_alias().alias_name(&alias).target_key_id(&second);
    moved.send().await.unwrap();
    runtime.advance(Duration::from_secs(299));
    // Until it is looked up again, it is what it was.
    assert_eq!(keys.generate(&request).await.unwrap().1.kek().id(), first);
    assert_eq!(describes(), 2);
    runtime.advance(Duration::from_secs(2));
    let (_, new) = keys.generate(&request).await.unwrap();
    assert_eq!(new.kek().id(), second);
    assert_eq!(describes(), 3);

    assert!(keys.recognizes(wrapped.as_wrap_ref()).is_no());
    let error = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoUsableKey);
    assert!(!with_former.recognizes(wrapped.as_wrap_ref()).is_no());
    let opened = with_former.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
    assert!(opened.dek.ct_eq(&dek));
    assert_eq!(opened.kek.id(), first);
    // And a hidden id: each is tried, and the one that did it is named.
    let hidden = wrapped.with_hidden_id();
    let opened = with_former.rewrap(hidden.as_wrap_ref(), &request).await.unwrap();
    assert_eq!(opened.unwrap().kek().id(), second);
}

/// A key that was recorded wraps on, wherever the alias leads by now: in what was open, and in what is opened anew.
#[tokio::test]
async fn a_pinned_key_wraps_on_when_its_alias_moves() {
    let Some(moto) = moto() else { return };
    let client = moto.client().await;
    let (first, second) = (moto.key().await, moto.key().await);
    let alias = moto.alias(&first).await;
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let keys = client.key(&alias).unwrap();
    let recorded = keys.generate(&request).await.unwrap().1.kek().clone();
    let open = keys.pinned_to(&recorded).unwrap();
    let moved = moto
        .raw()
        .update_alias()
        .alias_name(&alias)
        .target_key_id(&second);
    moved.send().await.unwrap();
    let anew = client.key(&alias).unwrap().pinned_to(&recorded).unwrap();
    for pinned in [open, anew] {
        assert_eq!(pinned.capabilities().versions, Versions::Unproven);
        let (dek, wrapped) = pinned.generate(&request).await.unwrap();
        assert_eq!(wrapped.kek().id(), first);
        assert_eq!(pinned.wrap(&dek, &request).await.unwrap().kek().id(), first);
        let opened = pinned.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
        assert!(opened.dek.ct_eq(&dek));
    }
    let fresh = client.key(&alias).unwrap();
    let (_, theirs) = fresh.generate(&request).await.unwrap();
    assert_eq!(theirs.kek().id(), second);
    // The alias stands for another key now, and a KEK of another kind is none of AWS.
    assert!(fresh.pinned_to(&recorded).is_err());
    let odd = KekRef::new("aws-kms", "alias/other", "").unwrap();
    assert_eq!(
        keys.pinned_to(&odd).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[tokio::test]
async fn an_alias_that_cannot_be_resolved_again_is_what_it_was() {
    let Some(moto) = moto() else { return };
    let runtime = Arc::new(SimulatedRuntime::new());
    let proxy = FaultProxy::new(&moto.url);
    let short = Duration::from_secs(60);
    let config = config(&proxy.url())
        .with_clock(runtime.clone())
        .with_refresh(short);
    let client = Client::connect(config).await.unwrap();
    let arn = moto.key().await;
    let keys = client.key(&moto.alias(&arn).await).unwrap();
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    // Not yet resolved, and no answer: an error that may pass.
    proxy.set(aws(500, r#"{"__type":"KMSInternalException"}"#));
    let error = keys.generate(&request).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
    proxy.set(Fault::Forward);
    let (_, wrapped) = keys.generate(&request).await.unwrap();
    runtime.advance(short);
    proxy.set(aws(400, r#"{"__type":"ThrottlingException"}"#));
    assert_eq!(
        keys.unwrap(wrapped.as_wrap_ref(), &request)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Throttled
    );
    let last: Vec<_> = calls(&proxy).into_iter().rev().take(2).collect();
    // It was looked up, and then the former target was asked all the same.
    assert_eq!((&*last[1].0, &*last[0].0), ("DescribeKey", "Decrypt"));
    assert_eq!(last[0].1["KeyId"], serde_json::json!(arn));
    // That it is gone is something else.
    runtime.advance(short);
    proxy.set(aws(400, r#"{"__type":"NotFoundException"}"#));
    let error = keys.generate(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotFound);
    proxy.set(Fault::Forward);
    keys.generate(&request).await.unwrap();
}

/// An emulator may put one region in all its ARNs, whatever region it is asked as.
#[tokio::test]
async fn behind_an_endpoint_the_region_of_an_arn_is_the_emulators() {
    let Some(moto) = moto() else { return };
    let arn = moto.key().await;
    let alias = moto.alias(&arn).await;
    let id = arn.rsplit('/').next().unwrap();
    let (there, proxy) = (arn.replace(REGION, "us-east-1"), FaultProxy::new(&moto.url));
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let (dek, wrapped) = moto
        .client()
        .await
        .key(&arn)
        .unwrap()
        .generate(&request)
        .await
        .unwrap();
    let mut wrapped = wrapped.as_wrap_ref();
    wrapped.kek_id = &there;
    for name in [id, &alias] {
        let here = Client::connect(config(&proxy.url())).await.unwrap();
        assert!(!here.key(name).unwrap().recognizes(wrapped).is_no(), "{name}");
        // Without an endpoint it is AWS, and the key another.
        let own = Config::new()
            .with_region(REGION)
            .with_credentials("test", SECRET.into(), None);
        let aws = Client::connect(own).await.unwrap();
        assert!(aws.key(name).unwrap().recognizes(wrapped).is_no(), "{name}");
    }
    // By its id it opens, since the service alone knows which region that is in.
    let keys = Client::connect(config(&proxy.url()))
        .await
        .unwrap()
        .key(id)
        .unwrap();
    assert!(keys.unwrap(wrapped, &request).await.unwrap().dek.ct_eq(&dek));
    // An ARN that was configured is what it is.
    let keys = Client::connect(config(&proxy.url()))
        .await
        .unwrap()
        .key(&arn)
        .unwrap();
    assert!(keys.recognizes(wrapped).is_no());
}

/// On ministack, since moto's ciphertexts open in no other region.
#[tokio::test]
async fn a_multi_region_key_opens_in_another_region() {
    let Some(ministack) = ministack() else { return };
    let raw = ministack.raw();
    let created = raw.create_key().multi_region(true).send().await.unwrap();
    let here = created.key_metadata.unwrap().arn.unwrap();
    let id = here.rsplit('/').next().unwrap();
    assert!(id.starts_with("mrk-"), "{here}");
    raw.replicate_key()
        .key_id(id)
        .replica_region("us-east-1")
        .send()
        .await
        .unwrap();
    let there = here.replace(REGION, "us-east-1");

    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let request = Request::new(&context);
    let client = ministack.client().await;
    let (dek, wrapped) = client.key(&here).unwrap().generate(&request).await.unwrap();
    assert_eq!(wrapped.kek().id(), here);
    let abroad = Client::connect(ministack.config().with_region("us-east-1"))
        .await
        .unwrap();
    // The key by any of its names; also by the ARN that it has in the first region.
    for name in [&*there, id, &here] {
        let keys = abroad.key(name).unwrap();
        assert!(!keys.recognizes(wrapped.as_wrap_ref()).is_no(), "{name}");
        let opened = keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();
        assert!(opened.dek.ct_eq(&dek));
        assert_eq!(opened.kek.id(), there, "{name}");
    }
    // Another multi-region key is another key.
    let other = raw.create_key().multi_region(true).send().await.unwrap();
    let keys = abroad.key(&other.key_metadata.unwrap().arn.unwrap()).unwrap();
    assert!(keys.recognizes(wrapped.as_wrap_ref()).is_no());
}
