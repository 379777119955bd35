//! A token before and after a `fork`.
#![allow(
    unsafe_code,
    reason = "the standard library has no fork without exec, and one thread may set variables"
)]

use std::path::Path;

use pollster::block_on;
use waxseal::backend::pkcs11::{Mechanism, TokenKey};
use waxseal::{
    EncryptionContext, Error, ErrorKind, KeyManager, envelope::WrappedDek, key::Request, value::Dek,
};

use crate::pkcs11_support::{self as support, Token};

pub(crate) const TESTS: &[crate::Test] = &[
    (
        "pkcs11_fork::a_child_makes_a_client_of_its_own_and_the_parent_goes_on",
        a_child_makes_a_client_of_its_own_and_the_parent_goes_on,
    ),
    (
        "pkcs11_fork::a_module_that_notices_a_fork_is_initialized_anew",
        a_module_that_notices_a_fork_is_initialized_anew,
    ),
];

const AES: Mechanism = Mechanism::AesGcm;

/// A child that takes longer than this has hung.
const PATIENCE: u32 = 60;

fn a_child_makes_a_client_of_its_own_and_the_parent_goes_on() {
    scenario(false);
}

fn a_module_that_notices_a_fork_is_initialized_anew() {
    scenario(true);
}

fn set(name: &str, value: impl AsRef<std::ffi::OsStr>) {
    // SAFETY: this process has no other thread yet.
    unsafe { std::env::set_var(name, value) }
}

fn scenario(is_noticed: bool) {
    let Some(real) = support::module() else { return };
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let (variable, text) = support::configuration(&tokens);
    std::fs::write(dir.path().join("token.conf"), text).unwrap();
    set(variable, dir.path().join("token.conf"));
    if is_noticed {
        put_shim_in_front(dir.path(), &real);
    }
    let token = Token::fresh("forked").unwrap();
    token.make_key("kek", &[1]);
    // What made the token is another part of the process. The crate starts the module itself.
    token.raw.clone().finalize().unwrap();

    let keys = token.keys("kek", AES);
    let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
    let dek = Dek::generate().unwrap();
    let wrapped = block_on(keys.wrap(&dek, &Request::new(&context))).unwrap();
    let opens = |keys: &TokenKey| opens(keys, &wrapped, &context, &dek);
    opens(&keys).unwrap();

    for generation in 0..2 {
        let last = token.keys("kek", AES);
        opens(&last).unwrap();
        let child = fork();
        if child == 0 {
            end_child(|| {
                let error = opens(&keys).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
                assert!(
                    error.to_string().contains("make a new client in the child"),
                    "{error}"
                );
                assert!(!error.is_retryable());
                let own = token.keys("kek", AES);
                opens(&own).unwrap_or_else(|error| panic!("{error}"));
                // Another child, of this one.
                let grandchild = fork();
                if grandchild == 0 {
                    end_child(|| {
                        assert_eq!(opens(&own).unwrap_err().kind(), ErrorKind::Configuration);
                        let own = token.keys("kek", AES);
                        opens(&own).unwrap_or_else(|error| panic!("{error}"));
                    });
                }
                wait_for(grandchild);
                opens(&own).unwrap_or_else(|error| panic!("{error}"));
                // Dropped for the last time here, it touches nothing of the parent's.
                drop(last);
            });
        }
        opens(&keys).unwrap_or_else(|error| panic!("{generation}: {error}"));
        wait_for(child);
        opens(&keys).unwrap_or_else(|error| panic!("{generation}: {error}"));
    }
}

fn put_shim_in_front(dir: &Path, real: &Path) {
    let control = dir.join("control");
    std::fs::write(&control, "fork=noticed\n").unwrap();
    set("WAXSEAL_SHIM_REAL", real);
    set("WAXSEAL_SHIM_CONTROL", &control);
    set(support::module_variable(), support::shim(dir));
}

fn opens(keys: &TokenKey, wrapped: &WrappedDek, context: &EncryptionContext, dek: &Dek) -> Result<(), Error> {
    let request = Request::new(context);
    let opened = block_on(keys.unwrap(wrapped.as_wrap_ref(), &request))?;
    assert!(opened.dek.ct_eq(dek));
    let (made, new) = block_on(keys.generate(&request))?;
    let opened = block_on(keys.unwrap(new.as_wrap_ref(), &request))?;
    assert!(opened.dek.ct_eq(&made));
    Ok(())
}

/// 0 in the child, which has to end by [`end_child`].
fn fork() -> libc::pid_t {
    // SAFETY: the threads of this process wait for work meanwhile and hold no lock of the C library. The child ends by
    // `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    child
}

fn end_child(work: impl FnOnce()) -> ! {
    // SAFETY: ends this process after a while, if it has hung.
    unsafe { libc::alarm(PATIENCE) };
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    // SAFETY: ends this process and does nothing else.
    unsafe { libc::_exit(i32::from(done.is_err())) }
}

fn wait_for(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: `child` is a child of this process that nobody waits for elsewhere; `status` outlives the call.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "the child failed");
}
