//! The whole contract, and the crate's own facade.

use pollster::block_on;
use waxseal::backend::aws_kms::{Client, ContextForm};
use waxseal::testing::conformance::{Subject, run};
use waxseal::{
    EncryptionContext, Envelope, KeyManager, Sealer, blocking, envelope::WrapAlgorithm, key::Request,
};

use super::server::{AsAws, SECRET, moto};

async fn conforms(form: ContextForm, skipped: &[&str]) {
    let Some(moto) = moto() else { return };
    let (keys, other) = (moto.keys().await.0, moto.keys().await.0);
    let subject = Subject::new(AsAws::new(keys.with_context_form(form)))
        .against(AsAws::new(other.with_context_form(form)))
        .with_canary(SECRET);
    let report = run(&subject).await.unwrap();
    let names: Vec<_> = report.skipped().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, skipped);
}

#[tokio::test]
async fn conforms_with_the_context_as_pairs() {
    conforms(
        ContextForm::Pairs,
        &[
            "a_manager_that_only_wraps_refuses_to_unwrap",
            "another_binding_does_not_open",
            "a_pinned_older_version_wraps_and_is_named",
        ],
    )
    .await;
}

#[tokio::test]
async fn conforms_with_the_context_as_its_digest() {
    conforms(
        ContextForm::Digest,
        &[
            "a_manager_that_only_wraps_refuses_to_unwrap",
            "a_pinned_older_version_wraps_and_is_named",
        ],
    )
    .await;
}

/// An alias and a former key, each resolved by asking.
#[tokio::test]
async fn conforms_under_an_alias_with_a_former_key() {
    let Some(moto) = moto() else { return };
    let (alias, other) = (
        moto.alias(&moto.key().await).await,
        moto.alias(&moto.key().await).await,
    );
    let former = moto.key().await;
    let client = moto.client().await;
    let keys = client.key(&alias).unwrap().also_opening(&former).unwrap();
    let other = client.key(&other).unwrap();
    let subject = Subject::new(AsAws::new(keys)).against(AsAws::new(other)).slow();
    assert!(run(&subject).await.unwrap().passed().len() >= 20);
}

// spec: REWRAP-4
#[tokio::test]
async fn seals_and_opens_and_rewraps_without_touching_the_body() {
    let Some(moto) = moto() else { return };
    let client = moto.client().await;
    let (old_key, new_key) = (moto.key().await, moto.key().await);
    let old = Sealer::new(client.key(&old_key).unwrap());
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let sealed = old.seal(b"hello", &context).await.unwrap();
    assert_eq!(old.open(&sealed, &context).await.unwrap(), b"hello");

    let new = Sealer::new(client.key(&new_key).unwrap().also_opening(&old_key).unwrap());
    assert_eq!(new.open(&sealed, &context).await.unwrap(), b"hello");
    let wraps = new.rewrap(&sealed, &context).await.unwrap();
    let rewrapped = wraps.splice(&sealed).unwrap();
    let body = |bytes: &[u8]| {
        let envelope = Envelope::parse(bytes).unwrap();
        let at = envelope.header().body_offset();
        bytes[at..].to_vec()
    };
    assert_eq!(body(&sealed), body(&rewrapped));
    let envelope = Envelope::parse(&rewrapped).unwrap();
    let stanza = envelope
        .header()
        .wrap_section()
        .unwrap()
        .stanzas()
        .next()
        .unwrap();
    assert_eq!(stanza.kek_id, new_key);
    assert_eq!(stanza.algorithm, WrapAlgorithm::AWS_KMS);
    // The former key is not needed any more.
    let alone = Sealer::new(client.key(&new_key).unwrap());
    assert_eq!(alone.open(&rewrapped, &context).await.unwrap(), b"hello");
    assert!(old.open(&rewrapped, &context).await.is_err());
}

#[test]
fn works_from_a_program_without_a_runtime() {
    let Some(moto) = moto() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let arn = runtime.block_on(moto.key());
    drop(runtime);
    let client = block_on(Client::connect(moto.config())).unwrap();
    let sealer = blocking::Sealer::new(client.key(&arn).unwrap());
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let sealed = sealer.seal(b"hello", &context).unwrap();
    assert_eq!(sealer.open(&sealed, &context).unwrap(), b"hello");
    let elsewhere = EncryptionContext::new([("tenant", "umbrella")]).unwrap();
    assert!(sealer.open(&sealed, &elsewhere).is_err());
}

/// A client with a runtime of its own can be dropped inside another.
#[test]
fn its_own_runtime_may_end_in_another() {
    let Some(moto) = moto() else { return };
    let client = block_on(Client::connect(moto.config())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let keys = client.key(&moto.key().await).unwrap();
        let context = EncryptionContext::empty();
        let (dek, wrapped) = keys.generate(&Request::new(&context)).await.unwrap();
        let opened = keys.unwrap(wrapped.as_wrap_ref(), &Request::new(&context)).await;
        assert!(opened.unwrap().dek.ct_eq(&dek));
        drop((keys, client));
    });
}
