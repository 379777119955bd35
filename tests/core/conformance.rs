//! The conformance suite on every key manager of this crate.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use async_trait::async_trait;
use pollster::block_on;
use waxseal::backend::local::{Kdf, LocalKey, PassphraseKey};
use waxseal::testing::conformance::{Report, Subject, run};
use waxseal::testing::{FakeKeyManager, Method};
use waxseal::{
    Error, ErrorKind, Kek, KeyManager, Result, envelope::KekRef, envelope::WrapRef, envelope::WrappedDek,
    key::Capabilities, key::Recognition, key::Request, key::Unwrapped, key::Versions, value::Dek,
};

fn passes(subject: &Subject) -> Report {
    block_on(run(subject)).unwrap_or_else(|failure| panic!("{failure}"))
}

/// The names of the checks that were skipped.
fn skipped(report: &Report) -> Vec<&'static str> {
    report.skipped().into_iter().map(|(name, _)| name).collect()
}

fn kek(byte: u8) -> Kek {
    Kek::from_bytes(&[byte; 32])
}

const WITHOUT_VERSIONS: [&str; 3] = [
    "a_manager_that_only_wraps_refuses_to_unwrap",
    "a_rewrap_keeps_dek_and_binding",
    "a_pinned_older_version_wraps_and_is_named",
];

#[test]
fn local_keys() {
    let subject = Subject::new(LocalKey::new(&kek(0xab)))
        .against(LocalKey::new(&kek(0xcd)))
        .with_canary("ab".repeat(32));
    let report = passes(&subject);
    assert_eq!(skipped(&report), WITHOUT_VERSIONS);
    assert!(report.passed().len() >= 24, "{report}");
}

#[test]
fn local_keys_with_former_ones() {
    let rotated = LocalKey::new(&kek(1)).also_opening(&kek(2)).also_opening(&kek(3));
    let report = passes(&Subject::new(rotated).against(LocalKey::new(&kek(4))));
    assert_eq!(skipped(&report), WITHOUT_VERSIONS);
}

#[test]
fn local_keys_behind_a_trait_object() {
    let (one, two): (Arc<dyn KeyManager>, Arc<dyn KeyManager>) =
        (Arc::new(LocalKey::new(&kek(1))), Arc::new(LocalKey::new(&kek(2))));
    assert_eq!(
        skipped(&passes(&Subject::new(one).against(two))),
        WITHOUT_VERSIONS
    );
}

fn passphrase(text: &str, kdf: Kdf) -> PassphraseKey {
    let keys = PassphraseKey::new(text.to_owned().into()).unwrap();
    keys.with_name(text.get(..2).unwrap())
        .unwrap()
        .with_kdf(kdf)
        .unwrap()
}

fn passphrases_pass(kdf: Kdf) {
    let subject = Subject::new(passphrase("aa correct horse", kdf))
        .against(passphrase("bb battery staple", kdf))
        .with_canary("correct horse")
        .slow();
    assert_eq!(skipped(&passes(&subject)), WITHOUT_VERSIONS);
}

#[test]
fn passphrases_by_pbkdf2() {
    passphrases_pass(Kdf::PBKDF2);
}

#[test]
fn passphrases_by_argon2id() {
    // The cheapest that is accepted.
    passphrases_pass(Kdf::Argon2id {
        memory: 19_456,
        passes: 2,
        lanes: 1,
    });
}

#[test]
fn the_fake_with_everything_a_kms_can_have() {
    let fake = FakeKeyManager::new("a").generating().rewrapping().batching(4);
    let fake = fake.with_ambiguous_id();
    let subject = Subject::new(fake.clone()).against(fake.sibling("b"));
    fake.rotate_now();
    let subject = subject.with_older_version(KekRef::new("fake", "a", "1").unwrap());
    let report = passes(&subject.against_namesake(fake.elsewhere("there")));
    assert_eq!(skipped(&report), ["a_manager_that_only_wraps_refuses_to_unwrap"]);
    // The suite used what the capabilities say, and stayed within them.
    for method in [
        Method::Generate,
        Method::Rewrap,
        Method::WrapBatch,
        Method::UnwrapBatch,
    ] {
        assert!(fake.count(method) > 0, "{method:?}");
    }
    let calls = fake.calls();
    let wrapped = calls.iter().filter(|call| call.method == Method::WrapBatch);
    assert!(wrapped.count() <= 4 * fake.count(Method::WrapBatch));
}

#[test]
fn the_fake_that_embeds_the_binding() {
    let fake = FakeKeyManager::new("a").embedding();
    fake.rotate_now();
    let subject = Subject::new(fake.clone()).against(fake.sibling("b"));
    let report = passes(&subject.with_older_version(KekRef::new("fake", "a", "1").unwrap()));
    assert_eq!(skipped(&report), WITHOUT_VERSIONS[..2]);
}

#[test]
fn the_fake_that_only_wraps() {
    let private = FakeKeyManager::new("a");
    let public = private.clone().wrap_only();
    // Alone, only what it does by itself can be judged.
    let report = passes(&Subject::new(public.clone()));
    assert!(
        report
            .passed()
            .contains(&"a_manager_that_only_wraps_refuses_to_unwrap")
    );
    assert!(skipped(&report).contains(&"a_wrap_opens"));
    // With the private key at hand, everything.
    let report = passes(
        &Subject::new(public)
            .opened_by(private.clone())
            .against(private.sibling("b")),
    );
    assert_eq!(skipped(&report), WITHOUT_VERSIONS[1..]);
}

/// A KMS that takes contexts pair by pair, and nothing that is bound to more. Only its unwrap tells the version of the
/// KEK.
#[derive(Debug)]
struct Choosy(FakeKeyManager);

impl Choosy {
    fn check(request: &Request<'_>) -> Result<()> {
        if request.binding() != request.context().digest() {
            return Err(Error::new(ErrorKind::Unsupported { feature: "this" }));
        }
        Ok(())
    }
}

#[async_trait]
impl KeyManager for Choosy {
    fn provider(&self) -> &str {
        self.0.provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities().with_versions(Versions::Unproven)
    }

    fn recognizes(&self, wrapped: WrapRef<'_>) -> Recognition {
        self.0.recognizes(wrapped)
    }

    async fn wrap(&self, dek: &Dek, request: &Request<'_>) -> Result<WrappedDek> {
        Self::check(request)?;
        let wrapped = self.0.wrap(dek, request).await?;
        let kek = KekRef::new(wrapped.kek().provider(), wrapped.kek().id(), "")?;
        WrappedDek::new(wrapped.algorithm(), kek, wrapped.wrapped().to_vec())
    }

    async fn unwrap(&self, wrapped: WrapRef<'_>, request: &Request<'_>) -> Result<Unwrapped> {
        self.0.unwrap(wrapped, request).await
    }
}

#[test]
fn one_that_says_what_it_cannot_bind_to_is_not_asked_to() {
    let fake = FakeKeyManager::new("a");
    let report = passes(&Subject::new(Choosy(fake.clone())).against(Choosy(fake.sibling("b"))));
    assert_eq!(
        skipped(&report),
        [
            "an_identity_is_of_one_kek",
            "a_manager_that_only_wraps_refuses_to_unwrap",
            "another_binding_does_not_open",
            "a_rewrap_keeps_dek_and_binding",
            "a_pinned_manager_wraps_as_pinned",
            "a_pinned_older_version_wraps_and_is_named",
            "nothing_but_its_own_kek_can_be_pinned",
        ]
    );
}

#[test]
fn a_report_names_every_check_once() {
    let report = passes(&Subject::new(LocalKey::new(&kek(1))));
    let mut names = [report.passed(), skipped(&report)].concat();
    assert!(report.to_string().lines().count() == names.len());
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(report.to_string().contains("skipped  another_kek_does_not_open"));
}
