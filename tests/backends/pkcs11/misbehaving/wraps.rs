//! What a token seals, and what it refuses to.

use super::*;

#[test]
fn an_iv_of_its_own_that_a_token_keeps_to_itself_seals_nothing() {
    alone(
        "wraps::an_iv_of_its_own_that_a_token_keeps_to_itself_seals_nothing",
        |scene| {
            scene.tell(&["iv=silent"]);
            for keys in [scene.keys(), scene.keys()] {
                for _ in 0..2 {
                    let error = block_on(keys.generate(&scene.request())).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
                    says(&error, &["IV", "nothing was sealed"]);
                }
            }
            scene.tell(&["iv=zero-kept"]);
            let error = block_on(scene.keys().generate(&scene.request())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
            scene.heal();
            scene.works(&scene.keys()).unwrap();
        },
    );
}

#[test]
fn an_iv_of_its_own_that_a_token_tells_is_the_one_that_is_kept() {
    alone(
        "wraps::an_iv_of_its_own_that_a_token_tells_is_the_one_that_is_kept",
        |scene| {
            for (how, iv) in [("told", 0), ("appended", 0), ("zero-told", 0)] {
                scene.tell(&[&format!("iv={how}")]);
                let keys = scene.keys();
                scene
                    .works(&keys)
                    .unwrap_or_else(|error| panic!("{how}: {error}"));
                let (dek, wrapped) = block_on(keys.generate(&scene.request())).unwrap();
                assert_eq!(wrapped.wrapped()[iv..8], [0xa5; 8], "{how}");
                // A token that takes the caller's IVs opens it too.
                scene.heal();
                let opened = block_on(scene.keys().unwrap(wrapped.as_wrap_ref(), &scene.request())).unwrap();
                assert!(opened.dek.ct_eq(&dek));
            }
            scene.tell(&["iv=appended-16"]);
            let error = block_on(scene.keys().generate(&scene.request())).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
            says(&error, &["64 bytes", "48"]);
        },
    );
}

#[test]
fn a_key_without_the_right_to_open_seals_nothing() {
    alone("wraps::a_key_without_the_right_to_open_seals_nothing", |scene| {
        use cryptoki::object::Attribute;
        let session = scene.token.session();
        let key = scene.token.find(&session, "kek")[0];
        for (right, name) in [
            (Attribute::Decrypt(false), "CKA_DECRYPT"),
            (Attribute::Encrypt(false), "CKA_ENCRYPT"),
        ] {
            let back = match right {
                Attribute::Decrypt(_) => Attribute::Decrypt(true),
                _ => Attribute::Encrypt(true),
            };
            session.update_attributes(key, &[right]).unwrap();
            scene.forget_calls();
            let keys = scene.keys();
            let error = block_on(keys.generate(&scene.request())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::KeyDisabled);
            says(&error, &[name, "false"]);
            assert_eq!(scene.calls("C_EncryptInit"), 0);
            session.update_attributes(key, &[back]).unwrap();
        }
        // A token that does not say what a key may do is asked by doing it.
        scene.tell(&["without=0x105"]);
        scene.works(&scene.keys()).unwrap();
        scene.tell(&["without=0x105", "C_DecryptInit=0x68"]);
        let config = scene.token.config();
        scene.token.make_key("other", &[1]);
        let keys = connect(config).key("other").unwrap();
        let error = block_on(keys.generate(&scene.request())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyDisabled);
        says(&error, &["CKR_KEY_FUNCTION_NOT_PERMITTED"]);
    });
}

#[test]
fn key_wrapping_needs_the_rights_it_uses() {
    alone("wraps::key_wrapping_needs_the_rights_it_uses", |scene| {
        if !support::has_key_wrap_pad("rights to wrap") {
            return;
        }
        let keys = scene.keys().with_mechanism(Mechanism::AesKeyWrapPad);
        scene.works(&keys).unwrap();
        let session = scene.token.session();
        let key = scene.token.find(&session, "kek")[0];
        session
            .update_attributes(key, &[cryptoki::object::Attribute::Unwrap(false)])
            .unwrap();
        let error = block_on(
            scene
                .keys()
                .with_mechanism(Mechanism::AesKeyWrapPad)
                .generate(&scene.request()),
        );
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyDisabled);
        says(&error, &["CKA_UNWRAP"]);
        // AES-GCM needs other ones.
        scene.works(&scene.keys()).unwrap();
    });
}

#[test]
fn no_length_is_asked_for_where_it_is_known() {
    alone("wraps::no_length_is_asked_for_where_it_is_known", |scene| {
        let mut mechanisms = vec![Mechanism::AesGcm];
        if support::has_key_wrap_pad("the length of a wrapped key") {
            mechanisms.push(Mechanism::AesKeyWrapPad);
        }
        if support::is_kryoptic() {
            scene.token.make_pair("kek", &[1], 2048);
            mechanisms.push(Mechanism::RsaOaep256);
        }
        for size in ["refused", "ends", "small"] {
            scene.tell(&[&format!("size={size}")]);
            for mechanism in &mechanisms {
                let keys = scene.keys().with_mechanism(*mechanism);
                scene
                    .works(&keys)
                    .unwrap_or_else(|error| panic!("{size} {mechanism:?}: {error}"));
            }
        }
        for function in ["C_Encrypt?", "C_Decrypt?", "C_WrapKey?"] {
            assert_eq!(scene.calls(function), 0, "{function}");
        }
        assert!(scene.calls("C_Encrypt") > 0);
    });
}
