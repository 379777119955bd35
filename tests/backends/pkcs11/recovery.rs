//! Sessions, logins and tokens that are lost are found again, with no restart.
//!
//! What is done here is done to the whole process, so that it has one of its own, with tokens of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::process::Command;

use super::support::{self, Token};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use waxseal::backend::pkcs11::{Mechanism, TokenKey};
use waxseal::{EncryptionContext, ErrorKind, KeyManager, envelope::WrappedDek, key::Request, value::Dek};

const CHILD: &str = "WAXSEAL_TEST_PKCS11_RECOVERY";

#[test]
fn what_is_lost_is_found_again() {
    if support::module().is_none() {
        return;
    }
    if std::env::var_os(CHILD).is_some() {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        tokio.unwrap().block_on(scenario());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = dir.path().join("token.conf");
    let (variable, text) = support::configuration(&tokens);
    std::fs::write(&conf, text).unwrap();
    let done = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "pkcs11::recovery::what_is_lost_is_found_again",
            "--nocapture",
        ])
        .env(variable, &conf)
        .env(CHILD, &tokens)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    println!("{out}{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && out.contains("all of it was found again"));
}

struct Scene {
    keys: TokenKey,
    context: EncryptionContext,
    dek: Dek,
    old: WrappedDek,
}

impl Scene {
    async fn works(&self, when: &str) {
        let request = Request::new(&self.context);
        for keys in [&self.keys, &self.keys.clone()] {
            let opened = keys.unwrap(self.old.as_wrap_ref(), &request).await;
            assert!(
                opened
                    .unwrap_or_else(|error| panic!(
                        "{when}: {error}: {:?}",
                        std::error::Error::source(&error)
                    ))
                    .dek
                    .ct_eq(&self.dek)
            );
            let (_, new) = keys
                .generate(&request)
                .await
                .unwrap_or_else(|error| panic!("{when}: {error}: {:?}", std::error::Error::source(&error)));
            assert_eq!(new.kek(), self.old.kek(), "{when}");
        }
    }

    /// Many at once, all of which find that it was lost.
    async fn works_for_many(&self, when: &'static str) {
        let tasks: Vec<_> = (0..24)
            .map(|_| {
                let (keys, context) = (self.keys.clone(), self.context.clone());
                tokio::spawn(async move { keys.generate(&Request::new(&context)).await.map(|_| ()) })
            })
            .collect();
        for task in tasks {
            task.await
                .unwrap()
                .unwrap_or_else(|error| panic!("{when}: {error}: {:?}", std::error::Error::source(&error)));
        }
        self.works(when).await;
    }
}

fn initialize(module: &Pkcs11) {
    module
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
}

async fn scenario() {
    let token = Token::fresh("recovery").unwrap();
    token.make_key("kek", &[1]);
    let keys = token.keys("kek", Mechanism::AesGcm);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let dek = Dek::generate().unwrap();
    let old = keys.wrap(&dek, &Request::new(&context)).await.unwrap();
    let scene = Scene {
        keys,
        context,
        dek,
        old,
    };
    scene.works_for_many("at first").await;

    // Somebody else in the process logs out, for everybody.
    for _ in 0..3 {
        token.session().logout().unwrap();
        scene.works_for_many("after a logout").await;
    }
    assert!(token.is_in_use());
    let Scene {
        keys,
        context,
        dek,
        old,
    } = scene;
    drop(keys);
    assert!(!token.stays_in_use(), "a session was left open");
    let keys = token.keys("kek", Mechanism::AesGcm);
    let scene = Scene {
        keys,
        context,
        dek,
        old,
    };
    scene.works("with another client").await;

    // Every session is closed, the module shut down and started again: the handles are nobody's.
    token.raw.clone().finalize().unwrap();
    initialize(&token.raw);
    scene.works_for_many("after all sessions were closed").await;

    // The module is shut down, and nobody starts it again.
    token.raw.clone().finalize().unwrap();
    scene.works("after the module was shut down").await;

    // The token is taken away, and comes back.
    let tokens = std::path::PathBuf::from(std::env::var_os(CHILD).unwrap());
    let away = tokens.with_extension("away");
    std::fs::rename(&tokens, &away).unwrap();
    std::fs::create_dir(&tokens).unwrap();
    token.raw.clone().finalize().unwrap();
    for _ in 0..3 {
        let request = Request::new(&scene.context);
        let error = scene
            .keys
            .unwrap(scene.old.as_wrap_ref(), &request)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable());
    }
    std::fs::remove_dir_all(&tokens).unwrap();
    std::fs::rename(&away, &tokens).unwrap();
    token.raw.clone().finalize().unwrap();
    scene.works("after the token came back").await;
    println!("all of it was found again");
}
