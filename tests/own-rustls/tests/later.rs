//! An application that chooses a provider only after the backends are in use. In a program of its own, since the choice is
//! the process's.

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use waxseal_own_rustls::{Server, another_provider, other_backends_make_their_clients};

#[test]
fn no_backend_needs_a_provider_or_chooses_one_for_the_process() {
    let server = Server::start();
    server.speaks_with_a_backend();
    other_backends_make_their_clients();
    assert!(
        CryptoProvider::get_default().is_none(),
        "a backend has chosen a provider for the process"
    );
    another_provider().install_default().unwrap();
    assert_eq!(
        server.speaks_with_the_application(),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    );
    server.speaks_with_a_backend();
}
