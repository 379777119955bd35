use super::*;
use crate::value::error::ErrorKind;

fn parse(uri: &str) -> Result<KekUri> {
    uri.parse()
}

#[cfg(all(
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "pkcs11",
    feature = "vault-transit"
))]
#[test]
fn every_scheme_and_option_is_taken() {
    for good in [
        "env:KEY",
        "env:_k1",
        "file:/run/kek",
        "file:kek?allow-shared=true",
        "file:what?allow-shared=false?",
        "passphrase-env:P",
        "passphrase-env:P?iterations=700000",
        "passphrase-env:P?kdf=pbkdf2&iterations=700000&name=ops",
        "passphrase-env:P?kdf=argon2id&memory=19456&passes=2&lanes=1",
        "passphrase-file:/run/p?allow-shared=true&kdf=argon2id",
        "passphrase-fd:0",
        "passphrase-fd:63?name=ops",
        "passphrase-command:pass show backup?iterations=700000",
        "passphrase-prompt:",
        "passphrase-prompt:?name=ops",
        "vault-transit:orders",
        "vault-transit:tenant-0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4c",
        "vault-transit:orders?addr=https://vault:8200&mount=kms/transit&namespace=a/b&mode=datakey",
        "vault-transit:orders?auth=approle&role=r-1",
        "vault-transit:orders?auth=kubernetes&role=app",
        "vault-transit:orders?auth=jwt&role=app",
        "vault-transit:orders?auth=jwt&role=app&jwt-file=/run/token&auth-mount=sso/jwt",
        "vault-transit:orders?auth=kubernetes&role=app&auth-mount=k8s-eu",
        "azure-key-vault:https://v.vault.azure.net/keys/orders",
        "azure-key-vault:https://127.0.0.1:8443/keys/o-1/0a1b?algorithm=A256KW&credential=managed",
        "azure-key-vault:https://h/keys/k?ca=/ca.pem&verify-challenge=off&refresh=60&credential=workload",
        "azure-key-vault:https://h/keys/k?algorithm=RSA-OAEP-256&verify-challenge=on&credential=secret&api-version=7.4",
        "azure-key-vault:orders?endpoint=https://v.vault.azure.net/&credential=developer",
        "azure-key-vault:https://h/keys/k?endpoint=https://h",
        "aws-kms:1234abcd-12ab-34cd-56ef-1234567890ab?region=eu-west-1",
        "aws-kms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "aws-kms:alias/a/b?endpoint=http://127.0.0.1:4566&context=digest&refresh=60",
        "aws-kms:alias/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijk?context=pairs",
        "gcp-kms:projects/p/locations/global/keyRings/r/cryptoKeys/k",
        "gcp-kms:projects/p/locations/global/keyRings/r/cryptoKeys/k?endpoint=http://127.0.0.1:1&credentials=anonymous",
    ] {
        assert!(parse(good).is_ok(), "{good}");
    }
}

#[cfg(all(
    feature = "aws-kms",
    feature = "azure-key-vault",
    feature = "gcp-kms",
    feature = "pkcs11",
    feature = "vault-transit"
))]
#[test]
fn what_is_wrong_is_named_and_what_may_be_secret_is_not() {
    for (bad, named) in [
        ("CANARY", "env:NAME, file:PATH"),
        ("no-kms:CANARY", "no-kms:"),
        ("hunter2CANARY:x", "the part before"),
        ("env:", "letters"),
        ("env:1CANARY", "letters"),
        ("env:CANARY=", "letters"),
        ("env:KEY?CANARY", "is not name=value; env: takes no options"),
        (
            "env:KEY?CANARY=1",
            "an option is not known; env: takes no options",
        ),
        (
            "env:KEY?allow-shared=true",
            "the option allow-shared is not known",
        ),
        (
            "aws-kms:alias/a?regoin=CANARY",
            "the option regoin is not known; aws-kms: takes region, endpoint, context, refresh",
        ),
        ("passphrase-file:", "needs a path"),
        ("passphrase-file:p?allow-shared=CANARY", "allow-shared is"),
        (
            "passphrase-env:P?allow-shared=true",
            "the option allow-shared is not known",
        ),
        ("passphrase-fd:", "the number of a descriptor"),
        ("passphrase-fd:CANARY", "the number of a descriptor"),
        ("passphrase-fd:+3", "the number of a descriptor"),
        ("passphrase-fd:99999999999", "the number of a descriptor"),
        ("passphrase-command: ", "a program and its arguments"),
        ("passphrase-prompt:CANARY", "only options may follow"),
        ("file:", "needs a path"),
        ("file:?allow-shared=true", "needs a path"),
        ("file:k?allow-shared=CANARY", "allow-shared is"),
        ("passphrase-env:P?kdf=CANARY", "kdf must be"),
        ("passphrase-env:P?kdf=pbkdf2&kdf=pbkdf2", "twice"),
        ("passphrase-env:P?kdf=pbkdf2&memory=65536", "does not take memory"),
        ("passphrase-env:P?memory=65536", "does not take memory"),
        (
            "passphrase-env:P?kdf=argon2id&iterations=600000",
            "does not take iterations",
        ),
        ("passphrase-env:P?iterations=CANARY", "iterations is a number"),
        ("azure-key-vault:", "the address of a key"),
        ("azure-key-vault:CANARY", "the address of a key"),
        ("azure-key-vault:http://h/keys/CANARY", "the address of a key"),
        ("azure-key-vault:https://h/secrets/CANARY", "the address of a key"),
        (
            "azure-key-vault:https://u:CANARY@h/keys/k",
            "the address of a key",
        ),
        (
            "azure-key-vault:https://h/keys/k/v/CANARY",
            "the address of a key",
        ),
        ("azure-key-vault:https://h/keys/../CANARY", "the address of a key"),
        (
            "azure-key-vault:https://h/keys/k?algorithm=CANARY",
            "algorithm is",
        ),
        (
            "azure-key-vault:https://h/keys/k?credential=CANARY",
            "credential is",
        ),
        (
            "azure-key-vault:https://h/keys/k?verify-challenge=CANARY",
            "verify-challenge is",
        ),
        (
            "azure-key-vault:https://h/keys/k?refresh=CANARY",
            "refresh is a number",
        ),
        ("azure-key-vault:https://h/keys/k?ca=", "ca is empty"),
        (
            "azure-key-vault:https://h/keys/k?mode=encrypt",
            "the option mode is not known",
        ),
        ("azure-key-vault:k?endpoint=http://CANARY", "endpoint is"),
        (
            "azure-key-vault:https://h/keys/k?endpoint=https://CANARY",
            "different vaults",
        ),
        ("vault-transit:", "no key name"),
        ("vault-transit:orders?auth=CANARY", "auth is"),
        ("vault-transit:orders?auth=approle", "role is missing"),
        ("vault-transit:orders?role=app", "role does not go"),
        (
            "vault-transit:orders?auth-mount=CANARY",
            "does not take auth-mount",
        ),
        (
            "vault-transit:orders?auth=approle&role=r&jwt-file=CANARY",
            "does not take jwt-file",
        ),
        (
            "vault-transit:orders?auth=jwt&role=r&jwt-file=",
            "jwt-file is empty",
        ),
        (
            "vault-transit:orders?auth=jwt&role=r&auth-mount=",
            "auth-mount is empty",
        ),
        ("vault-transit:orders?mode=CANARY", "mode is"),
        ("vault-transit:orders?kdf=pbkdf2", "the option kdf is not known"),
        ("aws-kms:", "no key"),
        ("aws-kms:alias/a?context=CANARY", "context is"),
        ("aws-kms:alias/a?refresh=0", "refresh is at least"),
        ("aws-kms:alias/a?region=", "region is empty"),
        ("aws-kms:alias/a?mount=CANARY", "the option mount is not known"),
        ("gcp-kms:", "no key"),
        ("gcp-kms:projects/p?credentials=CANARY", "credentials is"),
        ("gcp-kms:projects/p?credentials=anonymous", "needs their endpoint"),
        (
            "gcp-kms:projects/p?region=CANARY",
            "the option region is not known",
        ),
        ("passphrase-env:P?iterations=1000", "600000"),
        ("passphrase-env:P?name=", "name of a passphrase must not be empty"),
    ] {
        let error = parse(bad).unwrap_err().to_string();
        assert!(error.contains(named), "{bad}: {error}");
        assert!(!error.contains("CANARY"), "{error}");
    }
}

#[test]
fn a_key_in_the_place_of_its_name_is_refused_and_not_quoted() {
    let hex: String = (1..=32)
        .map(|i| format!("a{i:x}"))
        .map(|s| s[..2].to_owned())
        .collect();
    let base64 = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA";
    for scheme in ["env", "file", "passphrase-env", "kek", "aws"] {
        for key in [hex.as_str(), base64] {
            let error = parse(&format!("{scheme}:{key}")).unwrap_err().to_string();
            assert!(error.contains("a key itself") && !error.contains(key), "{error}");
        }
    }
}

#[test]
fn a_backend_that_was_not_compiled_in_is_named() {
    let azure = "azure-key-vault:https://shop.vault.azure.net/keys/k";
    let gcp = "gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k";
    let token = "pkcs11:token=t;object=o?module-path=/m.so&pin-source=env:PIN";
    for (uri, feature, is_here) in [
        ("aws-kms:alias/a", "aws-kms", cfg!(feature = "aws-kms")),
        (azure, "azure-key-vault", cfg!(feature = "azure-key-vault")),
        (gcp, "gcp-kms", cfg!(feature = "gcp-kms")),
        (token, "pkcs11", cfg!(feature = "pkcs11")),
        (
            "vault-transit:k",
            "vault-transit",
            cfg!(feature = "vault-transit"),
        ),
    ] {
        if is_here {
            continue;
        }
        let opened = parse(uri).and_then(|uri| pollster::block_on(uri.open(&ProcessEnvironment)));
        let error = opened.unwrap_err();
        assert!(
            matches!(error.kind(), crate::value::error::ErrorKind::Unsupported { .. }),
            "{error}"
        );
        let what = format!("add the feature `{feature}`");
        assert!(error.to_string().contains(&what), "{error}");
    }
}

#[test]
fn only_what_was_compiled_in_is_listed() {
    let listed: Vec<_> = schemes().map(|scheme| scheme.name).collect();
    assert!(
        listed.starts_with(&["env", "file", "passphrase-env"]),
        "{listed:?}"
    );
    let error = parse("what:x").unwrap_err().to_string();
    for (name, is_here) in [
        ("aws-kms", cfg!(feature = "aws-kms")),
        ("azure-key-vault", cfg!(feature = "azure-key-vault")),
        ("gcp-kms", cfg!(feature = "gcp-kms")),
        ("pkcs11", cfg!(feature = "pkcs11")),
        ("vault-transit", cfg!(feature = "vault-transit")),
    ] {
        assert_eq!(listed.contains(&name), is_here, "{name}");
        assert_eq!(error.contains(&format!("{name}:")), is_here, "{error}");
    }
    for scheme in schemes() {
        assert!(
            scheme.form.starts_with(&format!("{}:", scheme.name)),
            "{scheme:?}"
        );
        assert!(!scheme.summary.is_empty());
    }
}

#[test]
fn what_is_shown_of_a_uri_has_no_argument_of_a_command() {
    for (uri, shown) in [
        ("passphrase-command:pass show CANARY", "passphrase-command:pass"),
        ("passphrase-fd:0", "passphrase-fd:0"),
        ("passphrase-prompt:?name=x", "passphrase-prompt:"),
        ("passphrase-file:/run/p", "passphrase-file:/run/p"),
        ("file:/run/k", "file:/run/k"),
        ("env:K", "env:K"),
    ] {
        let uri = parse(uri).unwrap();
        assert_eq!(uri.to_string(), shown);
        assert_eq!(format!("{uri:?}"), format!("KekUri({shown})"));
    }
    assert!(parse("passphrase-fd:0").unwrap().reads_standard_input());
    assert!(!parse("passphrase-fd:3").unwrap().reads_standard_input());
}

#[test]
fn what_a_uri_reads_is_known_before_it_is_opened() {
    let file = |path: &str| Some(Reads::File(path.into()));
    for (uri, reads) in [
        ("env:K", None),
        ("passphrase-prompt:", None),
        ("passphrase-command:cat /run/p", None),
        ("file:/run/a key?allow-shared=true", file("/run/a key")),
        ("passphrase-file:p?kdf=argon2id", file("p")),
        ("passphrase-fd:3?name=ops", Some(Reads::Descriptor(3))),
        ("vault-transit:orders", None),
        (
            "vault-transit:orders?auth=jwt&role=app&jwt-file=/run/jwt",
            file("/run/jwt"),
        ),
        ("azure-key-vault:https://h/keys/k", None),
        ("azure-key-vault:https://h/keys/k?ca=/ca.pem", file("/ca.pem")),
        (
            "pkcs11:token=t;object=k?module-path=/m.so&pin-source=env:PIN",
            None,
        ),
        (
            "pkcs11:token=t;object=k?module-path=/m.so&pin-source=file:%2Frun%2Fpin",
            file("/run/pin"),
        ),
        (
            "pkcs11:token=t;object=k?module-path=/m.so&pin-source=file:///run/pin&allow-shared=true",
            file("/run/pin"),
        ),
    ] {
        let parsed = match parse(uri) {
            // Without its feature.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => continue,
            parsed => parsed.unwrap(),
        };
        assert_eq!(parsed.reads(), Vec::from_iter(reads), "{uri}");
    }
}

/// A URI of each scheme, and its provider.
const EACH: &[(&str, &str)] = &[
    ("env:WAXSEAL_KEK", "local"),
    ("file:/run/kek?allow-shared=true", "local"),
    ("passphrase-env:P?kdf=pbkdf2&iterations=700000&name=ops", "local"),
    ("passphrase-file:/run/p?kdf=argon2id", "local"),
    ("passphrase-prompt:?name=ops", "local"),
    (
        "aws-kms:alias/a?region=eu-west-1&endpoint=http://127.0.0.1:4566/x&context=digest&refresh=60",
        "aws-kms",
    ),
    (
        "azure-key-vault:https://h/keys/k?ca=/ca.pem&verify-challenge=off&credential=workload",
        "azure-key-vault",
    ),
    (
        "azure-key-vault:k/0a1b?endpoint=https://v.vault.azure.net&algorithm=A256KW",
        "azure-key-vault",
    ),
    (
        "gcp-kms:projects/p/locations/global/keyRings/r/cryptoKeys/k?endpoint=http://127.0.0.1:1&credentials=anonymous",
        "gcp-kms",
    ),
    (
        "vault-transit:orders?addr=https://vault:8200&mount=a/b&auth=approle&role=r&mode=datakey",
        "vault-transit",
    ),
    (
        "pkcs11:token=My%20token;object=k;id=%01?module-path=/m.so&pin-source=env:PIN&algorithm=AES-KEY-WRAP-PAD",
        "pkcs11",
    ),
];

/// Parses, or returns `None` without the feature.
fn if_compiled_in(uri: &str) -> Option<KekUri> {
    match parse(uri) {
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => None,
        parsed => Some(parsed.unwrap()),
    }
}

#[test]
fn what_is_stored_names_the_same_key_again() {
    for (text, provider) in EACH {
        let Some(uri) = if_compiled_in(text) else { continue };
        assert_eq!(uri.provider(), *provider);
        let stored = uri.to_stored().unwrap();
        assert_eq!(stored, *text);
        let again = parse(stored).unwrap();
        assert_eq!(format!("{again:?}"), format!("{uri:?}"));
        assert_eq!(format!("{:?}", again.place), format!("{:?}", uri.place), "{text}");
    }
    let covered = |scheme: &str| {
        EACH.iter()
            .any(|(text, _)| text.starts_with(&format!("{scheme}:")))
    };
    for scheme in schemes() {
        let is_refused = ["passphrase-fd", "passphrase-command"].contains(&scheme.name);
        assert_eq!(covered(scheme.name), !is_refused, "{}", scheme.name);
    }
}

/// In each scheme, every place where a secret could stand by mistake.
#[test]
fn no_secret_is_stored() {
    let key = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA";
    let gcp = "gcp-kms:projects/p/locations/global/keyRings/r/cryptoKeys/k";
    for text in [
        format!("env:{key}"),
        format!("file:{key}"),
        format!("passphrase-env:{key}"),
        format!("passphrase-file:{key}"),
        "env:K?secret=CANARY".into(),
        "file:CANARY".into(),
        "passphrase-file:CANARY".into(),
        "passphrase-command:echo CANARY".into(),
        "passphrase-command:/usr/bin/secret".into(),
        "passphrase-fd:3".into(),
        "passphrase-prompt:CANARY".into(),
        "aws-kms:alias/a?endpoint=https://u:CANARY@h".into(),
        "aws-kms:alias/a?endpoint=https://CANARY@h/path".into(),
        "aws-kms:alias/a?endpoint=https://h/%3Fx#CANARY".into(),
        "aws-kms:alias/a?secret=CANARY".into(),
        "azure-key-vault:https://u:CANARY@h/keys/k".into(),
        "azure-key-vault:k?endpoint=https://u:CANARY@h".into(),
        "azure-key-vault:k?endpoint=https://h/CANARY".into(),
        format!("{gcp}?endpoint=https://u:CANARY@h"),
        format!("{gcp}?endpoint=https://h/CANARY"),
        "vault-transit:k?addr=https://u:CANARY@h".into(),
        "vault-transit:k?addr=https://h#CANARY".into(),
        "vault-transit:k?token=CANARY".into(),
        "pkcs11:token=t;object=o?module-path=m&pin-value=CANARY".into(),
        "pkcs11:token=t;object=o?module-path=m&pin-source=CANARY".into(),
    ] {
        let stored = parse(&text).and_then(|uri| uri.to_stored().map(str::to_owned));
        let error = stored.expect_err(&text);
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("CANARY") && !shown.contains(key),
            "{text}: {shown}"
        );
    }
}

#[test]
fn a_sibling_has_the_options_and_no_pinned_version() {
    let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let gcp = "projects/p/locations/global/keyRings/r/cryptoKeys/k-2";
    for (at, name, id, expected) in [
        (
            1,
            "kek-2",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "file:/run/kek-2?allow-shared=true",
        ),
        (
            5,
            "k-2",
            arn,
            &*format!(
                "aws-kms:{arn}?region=eu-west-1&endpoint=http://127.0.0.1:4566/x&context=digest&refresh=60"
            ),
        ),
        (
            6,
            "k-2",
            "https://other.name/keys/k-2",
            "azure-key-vault:https://h/keys/k-2?ca=/ca.pem&verify-challenge=off&credential=workload",
        ),
        (
            7,
            "k-2",
            "https://v.vault.azure.net/keys/k-2",
            "azure-key-vault:https://v.vault.azure.net/keys/k-2?endpoint=https://v.vault.azure.net&algorithm=A256KW",
        ),
        (
            8,
            "k-2",
            gcp,
            &*format!("gcp-kms:{gcp}?endpoint=http://127.0.0.1:1&credentials=anonymous"),
        ),
        (
            9,
            "k-2",
            "team/a/b/keys/k-2",
            "vault-transit:k-2?addr=https://vault:8200&mount=a/b&auth=approle&role=r&mode=datakey",
        ),
        (
            10,
            "k;2?",
            "k;2?",
            "pkcs11:token=My%20token;object=k%3B2%3F?module-path=/m.so&pin-source=env:PIN&algorithm=AES-KEY-WRAP-PAD",
        ),
    ] {
        let (text, provider) = EACH[at];
        let Some(uri) = if_compiled_in(text) else { continue };
        let kek = KekRef::new(provider, id, "7").unwrap();
        assert_eq!(uri.sibling(name, &kek).unwrap().to_stored().unwrap(), expected);
        let foreign = KekRef::new("another", id, "").unwrap();
        assert!(uri.sibling(name, &foreign).is_err());
        let odd = KekRef::new(provider, "../CANARY?x", "").unwrap();
        if provider != "pkcs11" {
            assert!(uri.sibling("../CANARY?x", &odd).is_err(), "{text}");
        }
    }
    let kek = KekRef::new("local", "AAAAAAAAAAAAAAAAAAAAAA", "").unwrap();
    for at in [0, 2, 3, 4] {
        let error = parse(EACH[at].0).unwrap().sibling("k", &kek).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    }
}
