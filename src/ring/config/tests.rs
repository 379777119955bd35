//! Tests of `ring.toml`, of what it allows, and of the files beside it.

use std::fs;
use std::path::Path;

use super::*;
use crate::ring::Authority;
use crate::runtime::ProcessEnvironment;
use crate::value::error::ErrorKind;

fn config(folder: &Path) -> (RingConfig, Authority) {
    let authority = Authority::generate().unwrap();
    let ring = RecordId::new("2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
    let store = StoreAt::parse("sqlite:ring.db", folder).unwrap();
    (RingConfig::new(ring, authority.public(), store), authority)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_written_is_read_again_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.toml");
    let (mut config, _) = config(folder.path());
    config.reader = Some("web \"1\" \\ é".into());
    config.reader_key = Some(AuthorityFile::new(folder.path().join("reader.key"), None).unwrap());
    config.provisioner_key = Some(AuthorityFile::new(folder.path().join("provisioner.key"), None).unwrap());
    config.otherwise = Some("shared/all".parse().unwrap());
    config.mark = Some(folder.path().join("ring.mark"));
    config.allow = vec!["vault-transit:app".to_owned(), "file:/keys/*".to_owned()];
    let kek = format!("file:{}/kek", folder.path().display());
    config.administration = Some(Administration {
        authority: AuthorityFile::new(folder.path().join("sub/ring.authority"), Some(&kek)).unwrap(),
        keys: Some("/elsewhere/keys".into()),
    });
    config.write_new(&path).unwrap();
    assert_eq!(RingConfig::read(&path).unwrap(), config);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("store = \"sqlite:ring.db\""), "{text}");
    assert!(text.contains("authority = \"sub/ring.authority\""), "{text}");
    let error = config.write_new(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    config.administration = None;
    for name in ["ring", "tenants"] {
        config.store = StoreAt::PostgresEnv {
            variable: "DATABASE_URL".into(),
            name: name.into(),
        };
        let text = config.to_toml(folder.path()).unwrap();
        assert_eq!(RingConfig::parse(&text, folder.path(), "x").unwrap(), config);
    }
    assert_eq!(
        config.administration().unwrap_err().kind(),
        ErrorKind::Configuration
    );
}

#[test]
fn what_is_wrong_is_named_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = config(folder.path());
    let good = config.to_toml(folder.path()).unwrap();
    let line_of = |key: &str| {
        let line = good.lines().position(|line| line.starts_with(key));
        line.unwrap() + 1
    };
    let cases = [
        (
            good.replace("schema = 1", "schema = 2"),
            "schema",
            line_of("schema"),
            "reads schema 1",
        ),
        (
            good.replace("ring = \"", "ring = \"x"),
            "ring",
            line_of("ring"),
            "UUID of version 7",
        ),
        (
            good.replace("ed25519:", "rsa:"),
            "authority",
            line_of("authority"),
            "ed25519:",
        ),
        (
            good.replace("sqlite:ring.db", "postgres://me:SECRET@db/x"),
            "store",
            line_of("store"),
            "postgres-env:VARIABLE",
        ),
        (
            good.replace("allow = []", "allow = [\"Nonsense\"]"),
            "allow",
            line_of("allow"),
            "scheme",
        ),
        (
            format!("{good}stock = 1\n"),
            "stock",
            good.lines().count() + 1,
            "unknown field `stock`",
        ),
        (
            format!("{good}reader = \"\"\n"),
            "reader",
            good.lines().count() + 1,
            "1 to 255",
        ),
        (format!("{good}mark = \n"), "mark", good.lines().count() + 1, ""),
        (
            format!("{good}[administration]\nauthority = \"a\"\nauthority-kek = \"nonsense:x\"\n"),
            "authority-kek",
            good.lines().count() + 3,
            "",
        ),
        (
            format!("{good}[administration]\nkeys = \"a\"\n"),
            "administration",
            good.lines().count() + 1,
            "missing field `authority`",
        ),
    ];
    for (text, what, line, detail) in cases {
        assert_ne!(text, good, "{what}");
        let error = RingConfig::parse(&text, folder.path(), "ring.toml").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{what}");
        let said = error.to_string();
        assert!(said.contains(&format!("ring.toml:{line}:")), "{what}: {said}");
        assert!(said.contains(detail), "{what}: {said}");
        assert!(!said.contains("SECRET"), "{said}");
    }
    // Beside one of each wrong line there is its column.
    let error = RingConfig::parse("schema = 1\nring = nothing\n", folder.path(), "r").unwrap_err();
    assert!(error.to_string().contains("r:2:8:"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_write_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.toml");
    config(folder.path()).0.write_new(&path).unwrap();
    for mode in [0o664, 0o646, 0o622] {
        set_mode(&path, mode);
        let error = RingConfig::read(&path).unwrap_err();
        assert!(error.to_string().contains("chmod go-w"), "{error}");
    }
    set_mode(&path, 0o444);
    RingConfig::read(&path).unwrap();
    for path in [folder.path(), Path::new("/dev/null"), &folder.path().join("none")] {
        assert_eq!(
            RingConfig::read(path).unwrap_err().kind(),
            ErrorKind::Configuration
        );
    }
}

#[test]
fn what_is_allowed_for_a_key_allows_its_successors_and_nothing_else() {
    let cases = [
        ("file:/keys/k1", "file:/keys/*"),
        (
            "file:/keys/k1?allow-shared=true",
            "file:/keys/*?allow-shared=true",
        ),
        ("env:KEK", "env:KEK"),
        #[cfg(feature = "vault-transit")]
        ("vault-transit:app?mount=m", "vault-transit:app?mount=m"),
        #[cfg(feature = "aws-kms")]
        (
            "aws-kms:arn:aws:kms:eu-central-1:111122223333:key/a",
            "aws-kms:arn:aws:kms:eu-central-1:111122223333:*",
        ),
        #[cfg(feature = "aws-kms")]
        ("aws-kms:alias/a?region=x", "aws-kms:*?region=x"),
        #[cfg(feature = "gcp-kms")]
        (
            "gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/*",
        ),
        #[cfg(feature = "azure-key-vault")]
        (
            "azure-key-vault:https://h.vault.azure.net/keys/k",
            "azure-key-vault:https://h.vault.azure.net/keys/*",
        ),
    ];
    for (uri, pattern) in cases {
        assert_eq!(pattern_for(&uri.parse().unwrap()).unwrap(), pattern, "{uri}");
        backends(&[pattern.to_owned()]).unwrap();
    }
    assert!(pattern_for(&"passphrase-fd:3".parse().unwrap()).is_err());
    // It is the pattern that the configuration goes by.
    let folder = tempfile::tempdir().unwrap();
    let (mut config, _) = config(folder.path());
    config.allow = vec!["env:KEK".to_owned()];
    let opener = config.backends(Arc::new(ProcessEnvironment)).unwrap();
    use crate::ring::Backends;
    let error = pollster::block_on(opener.open("env:OTHER")).unwrap_err();
    assert!(error.to_string().contains("may not be named"), "{error}");
}

#[test]
fn the_private_half_is_kept_for_its_owner_alone_or_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let (_, authority) = config(folder.path());
    let path = folder.path().join("ring.authority");
    let file = AuthorityFile::new(&path, None).unwrap();
    let write = |file: &AuthorityFile| pollster::block_on(file.write_new(&authority, &ProcessEnvironment));
    let read = |file: &AuthorityFile| pollster::block_on(file.read(&ProcessEnvironment));
    write(&file).unwrap();
    assert_eq!(read(&file).unwrap().public(), authority.public());
    assert!(
        write(&file)
            .unwrap_err()
            .to_string()
            .contains("never overwritten")
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        set_mode(&path, 0o640);
        let error = read(&file).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(!error.to_string().contains("allow-shared"), "{error}");
        set_mode(&path, 0o600);
    }
    for wrong in ["", "waxseal-authority-v1:AAAA", "waxseal-authority-v2:"] {
        fs::write(&path, wrong).unwrap();
        assert_eq!(read(&file).unwrap_err().kind(), ErrorKind::Configuration);
    }

    let kek = folder.path().join("kek");
    fs::write(&kek, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    #[cfg(unix)]
    set_mode(&kek, 0o600);
    let sealed = folder.path().join("ring.authority.sealed");
    let file = AuthorityFile::new(&sealed, Some(&format!("file:{}", kek.display()))).unwrap();
    write(&file).unwrap();
    assert_eq!(read(&file).unwrap().public(), authority.public());
    let bytes = fs::read(&sealed).unwrap();
    assert!(crate::Envelope::is_envelope(&bytes));
    // Another KEK does not open it.
    fs::write(&kek, "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=").unwrap();
    assert_eq!(read(&file).unwrap_err().kind(), ErrorKind::NoUsableKey);
    assert!(AuthorityFile::new("x", Some("passphrase-fd:3")).is_err());
    assert!(AuthorityFile::new("x", Some("file:relative")).is_err());
}

#[test]
fn the_mark_file_only_goes_forward() {
    let folder = tempfile::tempdir().unwrap();
    let (mut config, _) = config(folder.path());
    let path = folder.path().join("ring.mark");
    config.mark = Some(path.clone());
    let mark = |revision| Mark {
        revision,
        head: [7; 32],
    };
    let trusting = |revision| Trust::new(config.ring, config.authority).with_mark(mark(revision));
    assert_eq!(config.trust().unwrap().mark(), None);
    config.keep_mark(&trusting(5)).unwrap();
    assert_eq!(config.trust().unwrap().mark(), Some(mark(5)));
    config.keep_mark(&trusting(4)).unwrap();
    assert_eq!(config.trust().unwrap().mark(), Some(mark(5)));
    config.keep_mark(&trusting(6)).unwrap();
    assert_eq!(config.trust().unwrap().mark(), Some(mark(6)));
    // One file, and nothing left beside it.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    fs::write(&path, "rubbish").unwrap();
    assert_eq!(config.trust().unwrap_err().kind(), ErrorKind::Configuration);
    assert!(config.keep_mark(&trusting(7)).is_ok());
}
