//! An application that has chosen a provider. In a program of its own, since the choice is the process's.

use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use waxseal_own_rustls::{Server, another_provider, other_backends_make_their_clients};

#[test]
fn the_chosen_provider_stays_the_applications() {
    another_provider().install_default().unwrap();
    let chosen = Arc::clone(CryptoProvider::get_default().unwrap());
    let server = Server::start();
    let only = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    assert_eq!(server.speaks_with_the_application(), only);
    server.speaks_with_a_backend();
    other_backends_make_their_clients();
    assert!(Arc::ptr_eq(&chosen, CryptoProvider::get_default().unwrap()));
    assert_eq!(server.speaks_with_the_application(), only);
}
