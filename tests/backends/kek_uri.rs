//! Key managers by configuration, as a deployment meets them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use pollster::block_on;
use waxseal::backend::kek_uri::{KeyManagers, open_from_environment};
use waxseal::testing::FakeEnvironment;
use waxseal::{EncryptionContext, ErrorKind, Result, Sealer};

const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn open(variables: &[(&str, &str)]) -> Result<KeyManagers> {
    let environment = variables
        .iter()
        .fold(FakeEnvironment::new(), |environment, (name, value)| {
            environment.with(name, value)
        });
    block_on(open_from_environment(&environment))
}

fn sealer(variables: &[(&str, &str)]) -> Sealer {
    let opened = open(variables).unwrap();
    let builder = Sealer::builder().wrap_with(opened.active);
    opened
        .also_open
        .into_iter()
        .fold(builder, |builder, manager| builder.open_with(manager))
        .build()
        .unwrap()
}

#[test]
fn a_former_key_opens_what_it_has_wrapped_and_wraps_nothing_more() {
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let before = sealer(&[("WAXSEAL_KMS_URI", "env:OLD"), ("OLD", OLD)]);
    let sealed = block_on(before.seal(b"hello", &context)).unwrap();

    let after = sealer(&[
        ("WAXSEAL_KMS_URI", "env:NEW"),
        ("WAXSEAL_KMS_ALSO_OPEN", "  env:OLD  "),
        ("OLD", OLD),
        ("NEW", NEW),
    ]);
    assert_eq!(block_on(after.open(&sealed, &context)).unwrap(), b"hello");
    let new = block_on(after.seal(b"hello", &context)).unwrap();
    assert_eq!(
        block_on(before.open(&new, &context)).unwrap_err().kind(),
        ErrorKind::NoUsableKey
    );

    // Without it the error names the key that is missing.
    let without = sealer(&[("WAXSEAL_KMS_URI", "env:NEW"), ("NEW", NEW)]);
    let error = block_on(without.open(&sealed, &context)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoUsableKey);
    let id = &error.attempts()[0].kek_id;
    assert!(
        error.to_string().contains(id.as_str()) && id.len() == 22,
        "{error}"
    );
}

#[test]
fn one_variable_selects_the_backend() {
    let context = EncryptionContext::empty();
    let by_uri = sealer(&[("WAXSEAL_KMS_URI", "env:K"), ("K", OLD)]);
    let by_backend = sealer(&[("WAXSEAL_KMS_BACKEND", "local"), ("WAXSEAL_MASTER_KEY", OLD)]);
    let sealed = block_on(by_uri.seal(b"hello", &context)).unwrap();
    assert_eq!(block_on(by_backend.open(&sealed, &context)).unwrap(), b"hello");
}

#[test]
fn what_is_missing_is_named() {
    for (variables, named) in [
        (&[][..], "set WAXSEAL_KMS_URI"),
        (&[("WAXSEAL_KMS_URI", " ")], "set WAXSEAL_KMS_URI"),
        (
            &[("WAXSEAL_KMS_URI", "env:K"), ("WAXSEAL_KMS_BACKEND", "local")],
            "unset one",
        ),
        (
            &[("WAXSEAL_KMS_URI", "env:K")],
            "environment variable K is not set",
        ),
        (
            &[("WAXSEAL_KMS_URI", "what:K")],
            "WAXSEAL_KMS_URI: the scheme what: is not known",
        ),
        (
            &[("WAXSEAL_KMS_BACKEND", "local")],
            "WAXSEAL_MASTER_KEY is not set",
        ),
        (
            &[("WAXSEAL_KMS_BACKEND", "aws-kms")],
            "WAXSEAL_KMS_KEY_ID is not set",
        ),
        (
            &[("WAXSEAL_KMS_BACKEND", "no-kms"), ("WAXSEAL_KMS_KEY_ID", "k")],
            "the scheme no-kms: is not known",
        ),
        (
            &[
                ("WAXSEAL_KMS_URI", "env:K"),
                ("K", OLD),
                ("WAXSEAL_KMS_ALSO_OPEN", "nothing"),
            ],
            "WAXSEAL_KMS_ALSO_OPEN: a key is named as",
        ),
    ] {
        let error = open(variables).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

/// The right key with the wrong option: the stanza knows its algorithm, so the option is named.
#[test]
fn an_option_that_is_missing_is_named() {
    let context = EncryptionContext::empty();
    let with = |options: &str| {
        let uri = format!("passphrase-env:P?name=ops&{options}");
        sealer(&[("WAXSEAL_KMS_URI", &uri), ("P", "correct horse")])
    };
    for (sealing, opening, option) in [
        (
            "kdf=argon2id&memory=19456&passes=2&lanes=1",
            "kdf=pbkdf2",
            "kdf=argon2id",
        ),
        ("kdf=pbkdf2", "kdf=argon2id", "kdf=pbkdf2"),
    ] {
        let sealed = block_on(with(sealing).seal(b"hello", &context)).unwrap();
        let error = block_on(with(opening).open(&sealed, &context)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoUsableKey);
        assert_eq!(error.attempts()[0].option, Some(option));
        assert!(error.to_string().contains(&format!("set {option}")), "{error}");
        // Of another key nothing is known.
        let other = sealer(&[
            ("WAXSEAL_KMS_URI", "passphrase-env:P?kdf=pbkdf2"),
            ("P", "correct horse"),
        ]);
        let error = block_on(other.open(&sealed, &context)).unwrap_err();
        assert_eq!(error.attempts()[0].option, None);
        assert!(!error.to_string().contains("kdf="), "{error}");
    }
}

/// The same for each KMS, by what is recognized without a call.
#[cfg(all(feature = "aws-kms", feature = "azure-key-vault", feature = "vault-transit"))]
#[tokio::test]
async fn the_option_of_each_backend_is_named() {
    use waxseal::envelope::{KekRef, WrapAlgorithm, WrapRef, WrappedDek};
    use waxseal::{KeyManager, key::Recognition, key::Request, key::Unwrapped, value::Dek};
    /// Wraps as somebody else would have.
    #[derive(Debug)]
    struct Wraps(WrappedDek);
    #[async_trait::async_trait]
    impl KeyManager for Wraps {
        fn provider(&self) -> &str {
            self.0.kek().provider()
        }
        fn capabilities(&self) -> waxseal::key::Capabilities {
            waxseal::key::Capabilities::new(self.0.algorithm(), waxseal::key::Binds::Aad)
        }
        fn recognizes(&self, _: WrapRef<'_>) -> Recognition {
            Recognition::Perhaps
        }
        async fn wrap(&self, _: &Dek, _: &Request<'_>) -> Result<WrappedDek> {
            WrappedDek::new(
                self.0.algorithm(),
                self.0.kek().clone(),
                self.0.wrapped().to_vec(),
            )
        }
        async fn unwrap(&self, _: WrapRef<'_>, _: &Request<'_>) -> Result<Unwrapped> {
            panic!("nothing is unwrapped")
        }
    }
    let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let azure = "https://shop.vault.azure.net/keys/k";
    let environment = FakeEnvironment::new().with("VAULT_TOKEN", "t");
    let context = EncryptionContext::empty();
    for (uri, provider, id, algorithm, option) in [
        (
            format!("aws-kms:{arn}"),
            "aws-kms",
            arn,
            WrapAlgorithm::AWS_KMS_DIGEST,
            "context=digest",
        ),
        (
            format!("aws-kms:{arn}?context=digest"),
            "aws-kms",
            arn,
            WrapAlgorithm::AWS_KMS,
            "context=pairs",
        ),
        (
            format!("azure-key-vault:{azure}?credential=developer"),
            "azure-key-vault",
            azure,
            WrapAlgorithm::AZURE_A256KW,
            "algorithm=A256KW",
        ),
        (
            "vault-transit:k?addr=http://127.0.0.1:1".to_owned(),
            "vault-transit",
            "transit/keys/k",
            WrapAlgorithm::VAULT_TRANSIT_DERIVED,
            "mode=datakey",
        ),
        (
            "vault-transit:k?addr=http://127.0.0.1:1&mode=datakey".to_owned(),
            "vault-transit",
            "transit/keys/k",
            WrapAlgorithm::VAULT_TRANSIT,
            "mode=encrypt",
        ),
    ] {
        let kek = KekRef::new(provider, id, "1").unwrap();
        let wrap = WrappedDek::new(algorithm, kek, vec![7; 92]).unwrap();
        let sealed = Sealer::new(Wraps(wrap)).seal(b"hello", &context).await.unwrap();
        let uri: waxseal::backend::kek_uri::KekUri = uri.parse().unwrap();
        let opened = uri.open(&environment).await.unwrap();
        let error = Sealer::new(opened.active)
            .open(&sealed, &context)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoUsableKey, "{error}");
        assert!(
            error.to_string().contains(&format!("set {option}")),
            "{uri}: {error}"
        );
    }
}

/// A KMS that wraps and does not unwrap: found out before anything is sealed, unless that is not wanted.
#[cfg(feature = "azure-key-vault")]
#[tokio::test]
async fn the_first_wrap_is_read_back_unless_it_is_switched_off() {
    use crate::fake_azure_key_vault::{CLIENT_SECRET, FakeKeyVault, Fault, TENANT};
    let fake = FakeKeyVault::start();
    fake.key("k");
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, fake.ca()).unwrap();
    let uri = format!(
        "azure-key-vault:{}/keys/k?ca={}&verify-challenge=off&credential=secret",
        fake.url(),
        ca.display()
    );
    let environment = FakeEnvironment::new()
        .with("WAXSEAL_KMS_URI", &uri)
        .with("AZURE_TENANT_ID", TENANT)
        .with("AZURE_CLIENT_ID", "app")
        .with("AZURE_CLIENT_SECRET", CLIENT_SECRET)
        .with("AZURE_AUTHORITY_HOST", &fake.url());
    let context = EncryptionContext::empty();
    let unwraps = |fake: &FakeKeyVault| {
        let seen = fake.seen();
        seen.iter()
            .filter(|seen| seen.path().ends_with("/unwrapkey"))
            .count()
    };
    let sealer = || async {
        let opened = open_from_environment(&environment).await.unwrap();
        Sealer::new(opened.active)
    };
    let good = sealer().await;
    for _ in 0..3 {
        good.seal(b"hello", &context).await.unwrap();
    }
    assert_eq!(unwraps(&fake), 1, "once for a version");

    fake.set_rule(|seen| match seen.path().ends_with("/unwrapkey") {
        true => Fault::Answer(403, String::new(), r#"{"error":{"code":"Forbidden"}}"#.to_owned()),
        false => Fault::None,
    });
    let error = sealer().await.seal(b"hello", &context).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("WAXSEAL_KMS_VERIFY=off"), "{error}");

    environment.set("WAXSEAL_KMS_VERIFY", "off");
    fake.seen();
    sealer().await.seal(b"hello", &context).await.unwrap();
    assert_eq!(unwraps(&fake), 0);
    environment.set("WAXSEAL_KMS_VERIFY", "perhaps");
    let error = open_from_environment(&environment).await.unwrap_err();
    assert!(
        error.to_string().contains("WAXSEAL_KMS_VERIFY is on or off"),
        "{error}"
    );
}

/// A key file, a successor beside it, and what each of them wraps; from nothing but texts that were stored.
#[test]
fn a_folder_of_key_files_is_administered_by_its_uri() {
    use waxseal::backend::kek_uri::KekUri;
    use waxseal::key::KekTemplate;
    let dir = tempfile::tempdir().unwrap();
    let environment = FakeEnvironment::new();
    let context = EncryptionContext::empty();
    block_on(async {
        let uri: KekUri = format!("file:{}/kek-1", dir.path().display()).parse().unwrap();
        let admin = uri.open_admin(&environment).await.unwrap();
        let first = admin.create(&KekTemplate::new("kek-1"), "first").await.unwrap();
        let second = admin.create(&KekTemplate::new("kek-2"), "second").await.unwrap();
        let stored = [
            uri.to_stored().unwrap().to_owned(),
            uri.sibling("kek-2", &second.kek)
                .unwrap()
                .to_stored()
                .unwrap()
                .to_owned(),
        ];
        for (stored, made) in stored.iter().zip([&first, &second]) {
            let uri: KekUri = stored.parse().unwrap();
            let opened = uri.open_pinned(&environment, &made.kek).await.unwrap();
            let request = waxseal::key::Request::new(&context);
            let (_, wrapped) = opened.active.generate(&request).await.unwrap();
            assert_eq!(*wrapped.kek(), made.kek);
        }
        // Another key in the place of the one that was recorded is refused.
        let error = uri.open_pinned(&environment, &second.kek).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        for uri in ["env:K", "passphrase-env:P"] {
            let uri: KekUri = uri.parse().unwrap();
            let error = uri.open_admin(&environment).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
        }
    });
}

/// What is wrong with the value of a variable names that variable, before anything is asked and when nobody answers.
#[cfg(all(
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "vault-transit"
))]
#[tokio::test]
async fn an_endpoint_or_mount_that_is_wrong_names_its_variable() {
    let gcp = "projects/p/locations/l/keyRings/r/cryptoKeys/k?credentials=anonymous";
    let endpoint = "WAXSEAL_KMS_ENDPOINT";
    for (backend, key, variable, value) in [
        (
            "aws-kms",
            "alias/a?region=eu-west-1",
            endpoint,
            "https://u:CANARY@h",
        ),
        ("aws-kms", "alias/a?region=eu-west-1", endpoint, "CANARY"),
        ("aws-kms", "alias/a", endpoint, "https://h&secret=CANARY"),
        ("azure-key-vault", "k", endpoint, "https://u:CANARY@h"),
        ("azure-key-vault", "k", endpoint, "https://h/CANARY"),
        ("gcp-kms", gcp, endpoint, "https://CANARY@h"),
        ("vault-transit", "k", endpoint, "https://u:CANARY@h"),
        ("vault-transit", "k", "WAXSEAL_KMS_MOUNT", "a/../CANARY"),
        ("vault-transit", "k", "WAXSEAL_KMS_MOUNT", "a&auth=jwt"),
        ("vault-transit", "", "WAXSEAL_KMS_KEY_ID", "?mode=CANARY"),
    ] {
        let mut variables = vec![("WAXSEAL_KMS_BACKEND", backend), (variable, value)];
        if !key.is_empty() {
            variables.push(("WAXSEAL_KMS_KEY_ID", key));
        }
        let error = open(&variables).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{backend} {value}");
        let text = format!("{error} {error:?}");
        assert!(
            text.contains(variable) && !text.contains("CANARY"),
            "{backend} {value}: {text}"
        );
    }
    // Nobody listens there.
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let context = EncryptionContext::empty();
    for (backend, key) in [("gcp-kms", gcp), ("vault-transit", "k")] {
        let environment = FakeEnvironment::new()
            .with("WAXSEAL_KMS_BACKEND", backend)
            .with("WAXSEAL_KMS_KEY_ID", key)
            .with(endpoint, &closed)
            .with("VAULT_TOKEN", "t");
        let opened = open_from_environment(&environment).await.unwrap();
        let error = Sealer::new(opened.active).seal(b"x", &context).await.unwrap_err();
        assert!(error.to_string().contains(endpoint), "{backend}: {error}");
    }
}
