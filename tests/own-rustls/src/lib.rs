//! A TLS server, the application's own client of it, and a Vault backend that talks to it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, Stream};
use waxseal::backend::vault_transit::{Auth, Client, Config};
use waxseal::{EncryptionContext, ErrorKind, blocking::Sealer};

/// A server for this host that answers every request with 403, by a provider that it names itself.
pub struct Server {
    pub port: u16,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Server {
    pub fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certified = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certified.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let config = Arc::clone(&config);
                std::thread::spawn(move || answer(stream.unwrap(), config));
            }
        });
        Self {
            port,
            certificate: certified.der().clone(),
            pem: certified.pem(),
        }
    }

    /// What the application does by itself, with the provider that the process has: the suite that was agreed on.
    pub fn speaks_with_the_application(&self) -> rustls::CipherSuite {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = TcpStream::connect(("localhost", self.port)).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut tls = Stream::new(&mut client, &mut tcp);
        tls.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = [0; 12];
        tls.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 403");
        client.negotiated_cipher_suite().unwrap().suite()
    }

    /// What a backend does: it speaks TLS with the server, which does not know the token.
    pub fn speaks_with_a_backend(&self) {
        let address = format!("https://localhost:{}", self.port);
        let config = Config::new(address, Auth::token("a-token")).with_ca_pem(self.pem.clone());
        let sealer = Sealer::new(
            pollster::block_on(Client::connect(config))
                .unwrap()
                .key("orders")
                .unwrap(),
        );
        let error = sealer.seal(b"hello", &EncryptionContext::empty()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    }
}

fn answer(mut tcp: TcpStream, config: Arc<ServerConfig>) {
    let mut server = ServerConnection::new(config).unwrap();
    let mut tls = Stream::new(&mut server, &mut tcp);
    let mut seen = Vec::new();
    let mut some = [0; 4096];
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        match tls.read(&mut some) {
            Ok(0) | Err(_) => return,
            Ok(read) => seen.extend_from_slice(&some[..read]),
        }
    }
    let body = r#"{"errors":["permission denied"]}"#;
    let _ = write!(
        tls,
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    server.send_close_notify();
    let _ = server.complete_io(&mut tcp);
}

/// Each network backend makes its client, which needs no server. None may panic for want of a provider, nor choose one for
/// the process.
pub fn other_backends_make_their_clients() {
    use waxseal::backend::{aws_kms, azure_key_vault, gcp_kms};
    let auth = gcp_kms::Auth::AccessToken("a-token".into());
    pollster::block_on(gcp_kms::Client::connect(gcp_kms::Config::new().with_auth(auth))).unwrap();
    let auth = azure_key_vault::Auth::ClientSecret {
        tenant_id: "a-tenant".to_owned(),
        client_id: "an-app".to_owned(),
        secret: "a-secret".into(),
    };
    let config = azure_key_vault::Config::new("https://a.vault.azure.net", auth);
    pollster::block_on(azure_key_vault::Client::connect(config)).unwrap();
    let config = aws_kms::Config::new().with_region("eu-central-1");
    pollster::block_on(aws_kms::Client::connect(config)).unwrap();
}

/// A provider that is not the one of rustls' features: it agrees on one suite only.
pub fn another_provider() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    provider
}
