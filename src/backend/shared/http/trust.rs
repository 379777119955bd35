//! Whose certificates are trusted.
//!
//! Every certificate is read and checked here, so that a client library never meets one that it would panic at, and each
//! client gets a cryptographic provider of its own: what an application installed for the process stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::{ClientConfig, RootCertStore};

use super::Surroundings;
use crate::value::error::{Error, Result};

/// The greatest bundle that is read: fifty times the usual one.
const MAX_BUNDLE: u64 = 16 << 20;

/// Certificates to trust, and where they were named.
#[derive(Clone, Debug)]
pub(in crate::backend) enum Ca {
    /// A PEM file, and the variable or option that named it.
    File(PathBuf, &'static str),
    /// PEM.
    Pem(Vec<u8>),
}

/// The roots of a client.
#[derive(Clone, Debug)]
pub(in crate::backend) struct Trust(RootCertStore);

impl Trust {
    /// These certificates, and no others.
    ///
    /// # Errors
    /// `Configuration` if they cannot be read or are not certificates.
    pub(in crate::backend) fn only(ca: &Ca) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        add(&mut roots, ca)?;
        Ok(Self(roots))
    }

    /// What the machine trusts: the certificates of `SSL_CERT_FILE` and `SSL_CERT_DIR` if one of them is set, else the
    /// system's.
    ///
    /// # Errors
    /// `Configuration` if there are none, or one of the variables names what has none.
    pub(in crate::backend) fn system(surroundings: &Surroundings) -> Result<Self> {
        let (file, dir) = (&surroundings.cert_file, &surroundings.cert_dir);
        let mut roots = RootCertStore::empty();
        if let Some(file) = file {
            add(&mut roots, &Ca::File(file.clone(), "SSL_CERT_FILE"))?;
        }
        if let Some(dirs) = dir {
            add_directories(&mut roots, dirs)?;
        }
        if file.is_none() && dir.is_none() {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(Error::configuration(
                    "the system has no CA certificates; install them (ca-certificates), or name a file in SSL_CERT_FILE",
                ));
            }
        }
        Ok(Self(roots))
    }

    /// These beside the others.
    ///
    /// # Errors
    /// As [`only`](Self::only).
    pub(in crate::backend) fn and(mut self, ca: &Ca) -> Result<Self> {
        add(&mut self.0, ca)?;
        Ok(self)
    }

    pub(super) fn to_rustls(&self) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let versions = versions
            .map_err(|error| Error::configuration("the TLS settings are refused").with_source(error))?;
        let mut config = versions
            .with_root_certificates(self.0.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn add(roots: &mut RootCertStore, ca: &Ca) -> Result<()> {
    match ca {
        Ca::Pem(pem) => add_pem(roots, pem, "the CA"),
        Ca::File(path, source) => {
            let what = format!("the CA file {} (from {source})", path.display());
            add_pem(roots, &read(path, &what)?, &what)
        }
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| {
        Error::configuration(format!("{what} cannot be read: {}", error.kind())).with_source(error)
    };
    // Before the file is opened, because opening a pipe waits forever.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::configuration(format!("{what} is not a file")));
    }
    if metadata.len() > MAX_BUNDLE {
        return Err(Error::configuration(format!("{what} is too long")));
    }
    fs::read(path).map_err(failed)
}

/// Adds all certificates of a bundle. Every one must be good: a bundle that was cut off would trust less than was meant.
fn add_pem(roots: &mut RootCertStore, bytes: &[u8], what: &str) -> Result<()> {
    let (mut added, mut has_key) = (0, false);
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|error: pem::Error| {
            Error::configuration(format!("{what} is not whole PEM")).with_source(error)
        })?;
        match kind {
            SectionKind::Certificate => {
                roots.add(CertificateDer::from(der)).map_err(|error| {
                    Error::configuration(format!("{what} has a certificate that cannot be parsed"))
                        .with_source(error)
                })?;
                added += 1;
            }
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                has_key = true;
            }
            _ => {}
        }
    }
    match (added, has_key) {
        (0, true) => Err(Error::configuration(format!(
            "{what} holds a private key and no certificate"
        ))),
        (0, false) => Err(Error::configuration(format!("{what} has no certificate in it"))),
        _ => Ok(()),
    }
}

/// Adds what is in the directories, as OpenSSL does: files that are no certificates are passed over.
fn add_directories(roots: &mut RootCertStore, dirs: &Path) -> Result<()> {
    let mut added = 0;
    for dir in std::env::split_paths(dirs) {
        let found = rustls_native_certs::load_certs_from_paths(None, Some(&dir));
        added += roots.add_parsable_certificates(found.certs).0;
    }
    match added {
        0 => Err(Error::configuration(format!(
            "no certificate can be read in the directory {} (from SSL_CERT_DIR)",
            dirs.display()
        ))),
        _ => Ok(()),
    }
}
