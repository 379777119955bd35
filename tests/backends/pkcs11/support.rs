//! Tokens of SoftHSM or kryoptic, one for each test, and a look at them that does not go through the crate.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::mechanism::Mechanism as Call;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use waxseal::backend::pkcs11::{Client, Config, Mechanism, TokenKey, TokenMatch};

pub(crate) const PIN: &str = "w4x-pin-canary";

/// One token.
pub(crate) struct Token {
    pub(crate) label: String,
    pub(crate) module: PathBuf,
    pub(crate) raw: Pkcs11,
    pub(crate) slot: Slot,
}

/// Tokens are made one after the other.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the token is kryoptic's, which is tested every night, and not SoftHSM's.
pub(crate) fn is_kryoptic() -> bool {
    std::env::var_os("WAXSEAL_TEST_KRYOPTIC").is_some()
}

/// Whether the token does AES-KEY-WRAP-PAD by the number that it has had since PKCS#11 2.40. kryoptic has only the one of
/// PKCS#11 3.0, which the client library does not know.
pub(crate) fn has_key_wrap_pad(what: &str) -> bool {
    if is_kryoptic() {
        println!("skipped with kryoptic: {what}; it has no CKM_AES_KEY_WRAP_PAD, SoftHSM has");
    }
    !is_kryoptic()
}

/// The module, if it is here. Its configuration has to be in the environment before it is loaded.
pub(crate) fn module() -> Option<PathBuf> {
    let name = module_variable();
    let (configuration, _) = configuration(Path::new(""));
    let Some(module) = std::env::var_os(name) else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{name} is not set; run eval \"$(scripts/services env)\""
        );
        println!("skipped: {name} is not set; run scripts/services up softhsm, and its env");
        return None;
    };
    assert!(
        std::env::var_os(configuration).is_some(),
        "{configuration} is not set"
    );
    Some(module.into())
}

/// The variable that names the module.
pub(crate) fn module_variable() -> &'static str {
    if is_kryoptic() {
        "WAXSEAL_TEST_KRYOPTIC"
    } else {
        "WAXSEAL_TEST_SOFTHSM"
    }
}

/// The variable that names a configuration, and one with tokens in this directory.
pub(crate) fn configuration(tokens: &Path) -> (&'static str, String) {
    let tokens = tokens.display();
    if is_kryoptic() {
        let slot = "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\n";
        (
            "KRYOPTIC_CONF",
            format!("{slot}dbargs = \"{tokens}/token.sql\"\n"),
        )
    } else {
        let rest = "objectstore.backend = file\nlog.level = ERROR\n";
        (
            "SOFTHSM2_CONF",
            format!("directories.tokendir = {tokens}\n{rest}"),
        )
    }
}

/// The module that misbehaves on command, built in this directory.
pub(crate) fn shim(dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("backends/pkcs11/shim/shim.c");
    let shim = dir.join("shim.so");
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&shim, &source])
        .args(["-ldl", "-lpthread"])
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    shim
}

/// A client, from outside of any runtime.
pub(crate) fn connect(config: Config) -> Client {
    pollster::block_on(Client::connect(config)).unwrap()
}

impl Token {
    /// A fresh token of this label.
    pub(crate) fn fresh(label: &str) -> Option<Self> {
        let module = module()?;
        let _one = one_at_a_time();
        let raw = Pkcs11::new(&module).unwrap();
        match raw.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => panic!("{error}"),
        }
        let info = raw.get_library_info().unwrap();
        let package = match is_kryoptic() {
            true => "WAXSEAL_TEST_KRYOPTIC_VERSION",
            false => "WAXSEAL_TEST_SOFTHSM_VERSION",
        };
        println!(
            "{} {}, package {}",
            info.library_description(),
            info.library_version(),
            std::env::var(package).unwrap_or_default()
        );
        // Of another run.
        let label = format!("{label}-{:x}", std::process::id());
        let is_free = |slot: &Slot| !raw.get_token_info(*slot).unwrap().token_initialized();
        let free = raw
            .get_slots_with_token()
            .unwrap()
            .into_iter()
            .find(is_free)
            .unwrap();
        let so_pin = AuthPin::from("87654321".to_owned());
        raw.init_token(free, &so_pin, &label).unwrap();
        let is_ours = |slot: &Slot| raw.get_token_info(*slot).unwrap().label() == label;
        let slot = raw
            .get_slots_with_token()
            .unwrap()
            .into_iter()
            .find(is_ours)
            .unwrap();
        let session = raw.open_rw_session(slot).unwrap();
        session.login(UserType::So, Some(&so_pin)).unwrap();
        session.init_pin(&AuthPin::from(PIN.to_owned())).unwrap();
        session.logout().unwrap();
        drop(session);
        Some(Self {
            label,
            module,
            raw,
            slot,
        })
    }

    pub(crate) fn config(&self) -> Config {
        Config::new(&self.module, TokenMatch::labeled(&self.label)).with_pin(PIN.to_owned().into())
    }

    pub(crate) fn config_of(&self, token: TokenMatch) -> Config {
        Config::new(&self.module, token).with_pin(PIN.to_owned().into())
    }

    pub(crate) fn config_without_pin(&self) -> Config {
        Config::new(&self.module, TokenMatch::labeled(&self.label))
    }

    pub(crate) fn client(&self) -> Client {
        connect(self.config())
    }

    pub(crate) fn keys(&self, label: &str, mechanism: Mechanism) -> TokenKey {
        self.client().key(label).unwrap().with_mechanism(mechanism)
    }

    /// A session of our own, logged in.
    pub(crate) fn session(&self) -> Session {
        self.session_as(PIN)
    }

    fn session_as(&self, pin: &str) -> Session {
        let session = self.raw.open_rw_session(self.slot).unwrap();
        match session.login(UserType::User, Some(&AuthPin::from(pin.to_owned()))) {
            Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether sessions stay open after their client was dropped, which closes them on a thread of its own.
    pub(crate) fn stays_in_use(&self) -> bool {
        (0..3000).all(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            self.is_in_use()
        })
    }

    /// Whether any session that is logged in is open in this process: closing the last one logs out, and a new
    /// one is logged in only while there are others.
    pub(crate) fn is_in_use(&self) -> bool {
        let session = self.raw.open_ro_session(self.slot).unwrap();
        session.get_session_info().unwrap().session_state() != SessionState::RoPublic
    }

    /// An AES-256 key that was made without the crate, fit for every mechanism.
    pub(crate) fn make_key(&self, label: &str, id: &[u8]) {
        self.make_key_as(PIN, label, id);
    }

    pub(crate) fn make_key_as(&self, pin: &str, label: &str, id: &[u8]) {
        let template = [
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::ValueLen(32.into()),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
        ];
        self.session_as(pin)
            .generate_key(&Call::AesKeyGen, &template)
            .unwrap();
    }

    /// A pair of RSA keys that was made without the crate.
    pub(crate) fn make_pair(&self, label: &str, id: &[u8], bits: u64) {
        self.make_pair_as(PIN, label, id, bits);
    }

    pub(crate) fn make_pair_as(&self, pin: &str, label: &str, id: &[u8], bits: u64) {
        let part = |more: Vec<Attribute>| {
            let common = [
                Attribute::Token(true),
                Attribute::Label(label.as_bytes().to_vec()),
                Attribute::Id(id.to_vec()),
            ];
            [common.to_vec(), more].concat()
        };
        let public = part(vec![
            Attribute::ModulusBits(bits.into()),
            Attribute::PublicExponent(vec![1, 0, 1]),
            Attribute::Encrypt(true),
        ]);
        let private = part(vec![
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Decrypt(true),
        ]);
        self.session_as(pin)
            .generate_key_pair(&Call::RsaPkcsKeyPairGen, &public, &private)
            .unwrap();
    }

    /// The secret keys of this label. Their handles are good while this process is logged in.
    pub(crate) fn find(&self, session: &Session, label: &str) -> Vec<ObjectHandle> {
        self.find_of(session, label, ObjectClass::SECRET_KEY)
    }

    pub(crate) fn find_of(&self, session: &Session, label: &str, class: ObjectClass) -> Vec<ObjectHandle> {
        let template = [
            Attribute::Class(class),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        session.find_objects(&template).unwrap()
    }
}
