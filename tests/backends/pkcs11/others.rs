//! Tokens of other makers, where they are installed.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use pollster::block_on;
use waxseal::backend::pkcs11::{Config, Mechanism, TokenMatch};

use super::misbehaving::alone_in_front_of;
use super::support::{PIN, Token, connect, is_kryoptic};
use waxseal::{EncryptionContext, Error, ErrorKind, KeyManager, key::Request};

fn is_here(module: &str) -> bool {
    let is_here = !is_kryoptic() && Path::new(module).exists();
    if !is_here {
        println!("skipped: there is no {module}");
    }
    is_here
}

fn load(module: &Path) -> Pkcs11 {
    let raw = Pkcs11::new(module).unwrap();
    raw.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
    raw
}

fn slot_of(raw: &Pkcs11, is_it: impl Fn(&str) -> bool) -> Slot {
    let slots = raw.get_slots_with_token().unwrap().into_iter();
    let mut slots = slots.filter(|slot| is_it(raw.get_token_info(*slot).unwrap().label()));
    slots.next().unwrap()
}

fn set_pin(raw: &Pkcs11, slot: Slot, so_pin: &str) {
    let session = raw.open_rw_session(slot).unwrap();
    session
        .login(UserType::So, Some(&AuthPin::from(so_pin.to_owned())))
        .unwrap();
    session.init_pin(&AuthPin::from(PIN.to_owned())).unwrap();
    session.logout().unwrap();
}

/// What each mechanism does there.
fn try_each(token: &Token, pin: &str) -> [Result<(), Error>; 3] {
    // Some tokens keep one key for each id.
    token.make_key_as(pin, "gcm", &[1]);
    token.make_key_as(pin, "kwp", &[2]);
    token.make_pair_as(pin, "rsa", &[3], 2048);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let request = Request::new(&context);
    [
        ("gcm", Mechanism::AesGcm),
        ("kwp", Mechanism::AesKeyWrapPad),
        ("rsa", Mechanism::RsaOaep256),
    ]
    .map(|(label, mechanism)| {
        let config = Config::new(&token.module, TokenMatch::labeled(&token.label));
        let client = connect(config.with_pin(pin.to_owned().into()));
        let keys = client.key(label).unwrap().with_mechanism(mechanism);
        let (dek, wrapped) = block_on(keys.generate(&request))?;
        let opened = block_on(keys.unwrap(wrapped.as_wrap_ref(), &request))?;
        assert!(opened.dek.ct_eq(&dek));
        Ok(())
    })
}

/// NSS's softokn takes its parameters in a place of its own, where the shim puts them.
#[test]
fn nss_softokn() {
    let module = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";
    if !is_here(module) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let parameters = format!(
        "configdir='sql:{}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=",
        dir.path().display()
    );
    let variables = [("WAXSEAL_SHIM_PARAMETERS", parameters.as_str())];
    alone_in_front_of("others::nss_softokn", module.as_ref(), &variables, |shim| {
        let raw = load(shim);
        let label = "NSS Certificate DB";
        let slot = slot_of(&raw, |of| of == label);
        set_pin(&raw, slot, "");
        let token = Token {
            label: label.to_owned(),
            module: shim.to_owned(),
            raw,
            slot,
        };
        // It says too small a length for AES-GCM where it is asked for one.
        let [gcm, kwp, rsa] = try_each(&token, PIN);
        gcm.unwrap_or_else(|error| panic!("{error}"));
        rsa.unwrap_or_else(|error| panic!("{error}"));
        // Its CKM_AES_KEY_WRAP_PAD is the older one, which pads to whole blocks.
        let error = kwp.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("80 bytes"), "{error}");
    });
}

/// openCryptoki's software token, whose daemon has to run. It says nonsense about its clock.
///
/// Its tokens are the machine's, and the last one is made anew, so the module has to be named. That token has to be one that
/// was never used: this maker's do not come back to life after a second `C_InitToken`.
#[test]
fn opencryptoki() {
    const PIN: &str = "654321";
    let Some(module) = std::env::var_os("WAXSEAL_TEST_OPENCRYPTOKI") else {
        println!("skipped: WAXSEAL_TEST_OPENCRYPTOKI names no module whose last token may be emptied");
        return;
    };
    alone_in_front_of("others::opencryptoki", module.as_ref(), &[], |shim| {
        let raw = load(shim);
        let slot = raw.get_slots_with_token().unwrap().pop().unwrap();
        let [so_pin, new_so_pin, first, pin] =
            ["87654321", "87654320", "123456", PIN].map(|pin| AuthPin::from(pin.to_owned()));
        raw.init_token(slot, &so_pin, "waxseal").unwrap();
        // Nothing works before both PINs were changed.
        let session = raw.open_rw_session(slot).unwrap();
        session.login(UserType::So, Some(&so_pin)).unwrap();
        session.set_pin(&so_pin, &new_so_pin).unwrap();
        session.init_pin(&first).unwrap();
        session.logout().unwrap();
        drop(session);
        let session = raw.open_rw_session(slot).unwrap();
        session.login(UserType::User, Some(&first)).unwrap();
        session.set_pin(&first, &pin).unwrap();
        session.logout().unwrap();
        drop(session);
        let token = Token {
            label: "waxseal".to_owned(),
            module: shim.to_owned(),
            raw,
            slot,
        };
        let [gcm, kwp, rsa] = try_each(&token, PIN);
        rsa.unwrap_or_else(|error| panic!("{error}"));
        for error in [gcm.unwrap_err(), kwp.unwrap_err()] {
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains("CKR_MECHANISM_INVALID"), "{error}");
        }
    });
}
