//! Broken trust settings are an error that names them, and never a panic.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BACKENDS, at, refused};

const ALONE: &str = "WAXSEAL_TEST_TRUST";

/// The broken settings: what is wrong, and the path.
fn broken(dir: &Path) -> Vec<(&'static str, PathBuf)> {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .unwrap()
        .cert
        .pem();
    let cut = certificate[..certificate.len() / 2].to_owned();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    vec![
        ("missing", dir.join("missing.pem")),
        ("empty", file("empty.pem", "")),
        ("cut off", file("cut.pem", &cut)),
        (
            "good and cut off",
            file("partial.pem", &format!("{certificate}{cut}")),
        ),
        ("no certificate", file("text.pem", "not a certificate")),
        (
            "a wrong certificate",
            file(
                "wrong.pem",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            ),
        ),
        ("a key", file("key.pem", &key.serialize_pem())),
        ("a directory", dir.to_owned()),
    ]
}

#[test]
fn connects_in_a_process_of_its_own() {
    if std::env::var(ALONE).is_err() {
        return;
    }
    for backend in BACKENDS {
        let error = match at(backend, "https://127.0.0.1:1") {
            Ok(manager) => refused(&manager),
            Err(error) => error,
        };
        println!(
            "said {backend}: {:?} {} {error}",
            error.kind(),
            error.is_retryable()
        );
    }
}

#[test]
fn a_broken_bundle_is_a_configuration_error_that_names_variable_and_file() {
    let dir = tempfile::tempdir().unwrap();
    for (variable, only) in [("SSL_CERT_FILE", None), ("AWS_CA_BUNDLE", Some("aws"))] {
        for (what, path) in broken(dir.path()) {
            let done = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "network::trust::connects_in_a_process_of_its_own",
                    "--nocapture",
                ])
                .env(ALONE, "1")
                .env_remove("AWS_CA_BUNDLE")
                .env_remove("SSL_CERT_FILE")
                .env_remove("SSL_CERT_DIR")
                .env(variable, &path)
                .output()
                .unwrap();
            let (out, err) = (
                String::from_utf8_lossy(&done.stdout),
                String::from_utf8_lossy(&done.stderr),
            );
            assert!(
                done.status.success() && !err.contains("panicked"),
                "{variable} {what}: {out}{err}"
            );
            let lines: Vec<_> = out
                .lines()
                .filter_map(|line| line.strip_prefix("said "))
                .collect();
            assert_eq!(lines.len(), BACKENDS.len(), "{out}");
            for line in lines
                .into_iter()
                .filter(|line| only.is_none_or(|only| line.starts_with(only)))
            {
                let shown = path.display().to_string();
                assert!(
                    line.contains(": Configuration false ")
                        && line.contains(variable)
                        && line.contains(&shown),
                    "{variable} {what}: {line}"
                );
            }
        }
    }
}

#[test]
fn a_directory_without_certificates_is_a_configuration_error() {
    let (empty, missing) = (tempfile::tempdir().unwrap(), Path::new("/nowhere/at/all"));
    for path in [empty.path(), missing] {
        let done = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "network::trust::connects_in_a_process_of_its_own",
                "--nocapture",
            ])
            .env(ALONE, "1")
            .env_remove("AWS_CA_BUNDLE")
            .env_remove("SSL_CERT_FILE")
            .env("SSL_CERT_DIR", path)
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&done.stdout);
        let lines: Vec<_> = out
            .lines()
            .filter_map(|line| line.strip_prefix("said "))
            .collect();
        assert_eq!(
            lines.len(),
            BACKENDS.len(),
            "{out}{}",
            String::from_utf8_lossy(&done.stderr)
        );
        for line in lines {
            assert!(
                line.contains(": Configuration false ") && line.contains("SSL_CERT_DIR"),
                "{line}"
            );
        }
    }
}
