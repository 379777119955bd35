//! What is sealed is opened.

use crate::tool::{AAD, CHEAP, KEY, PAIR, PASSPHRASE, SIZES, Tool, bytes};

#[test]
fn every_size_through_pipes_and_files() {
    let tool = Tool::new();
    for size in SIZES {
        let plaintext = bytes(size);
        let sealed = tool.done(&["seal", "--kek", "env:K"], &plaintext);
        assert!(
            tool.done(&["open", "--kek", "env:K"], &sealed) == plaintext,
            "{size}"
        );

        tool.write("plain", &plaintext);
        tool.done(&["seal", "--kek", "env:K", "plain", "-o", "sealed"], b"");
        tool.done(&["open", "--kek", "env:K", "sealed", "--output", "opened"], b"");
        assert!(tool.read("opened") == plaintext, "{size}");
        assert_eq!(tool.listing(), ["opened", "plain", "sealed"]);
    }
}

#[test]
fn a_dash_is_a_standard_stream() {
    let tool = Tool::new();
    let sealed = tool.done(&["seal", "--kek", "env:K", "-", "-o", "-"], b"hello");
    assert_eq!(
        tool.done(&["open", "--kek", "env:K", "-o", "-", "-"], &sealed),
        b"hello"
    );
    assert!(tool.listing().is_empty());
}

#[test]
fn every_kind_of_key() {
    let tool = Tool::new();
    tool.write_private("key", format!("{KEY}\n"));
    tool.write("shared", KEY);
    tool.set_mode("shared", 0o644);
    tool.write_private("odd?name", KEY);
    for (kek, algorithm) in [
        ("env:K", "xaes-256-gcm"),
        ("file:key", "xaes-256-gcm"),
        ("file:shared?allow-shared=true", "xaes-256-gcm"),
        ("file:odd?name?", "xaes-256-gcm"),
        ("passphrase-env:P", "pbkdf2"),
        ("passphrase-env:P?kdf=pbkdf2&iterations=600001&name=ops", "pbkdf2"),
        (CHEAP, "argon2id"),
    ] {
        let sealed = tool.done(&["seal", "--kek", kek, "--context", PAIR], b"hello");
        let opened = tool.done(&["open", "--kek", kek, "--context", PAIR], &sealed);
        assert_eq!(opened, b"hello", "{kek}");
        let shown = String::from_utf8(tool.done(&["inspect"], &sealed)).unwrap();
        assert!(shown.contains(&format!(", {algorithm}")), "{kek}: {shown}");
    }
    // The same key, wherever it is kept.
    let sealed = tool.done(&["seal", "--kek", "env:K"], b"hello");
    assert_eq!(tool.done(&["open", "--kek", "file:key"], &sealed), b"hello");
}

#[test]
fn a_passphrase_without_a_kdf_opens_both_kinds_and_with_one_its_own() {
    let tool = Tool::new();
    let sealed = tool.done(&["seal", "--kek", CHEAP], b"hello");
    assert_eq!(
        tool.done(&["open", "--kek", "passphrase-env:P"], &sealed),
        b"hello"
    );
    let line = tool.refused(&["open", "--kek", "passphrase-env:P?kdf=pbkdf2"], &sealed);
    assert!(line.contains("no configured key"), "{line}");

    let sealed = tool.done(&["seal", "--kek", "passphrase-env:P"], b"hello");
    let line = tool.refused(&["open", "--kek", CHEAP], &sealed);
    assert!(line.contains("no configured key"), "{line}");
    let line = tool.refused(&["open", "--kek", "passphrase-env:P?name=other"], &sealed);
    assert!(line.contains("local passphrase: not configured"), "{line}");
}

#[test]
fn the_first_key_wraps_and_all_open() {
    let tool = Tool::new();
    let sealed = tool.done(&["seal", "--kek", "env:NEW", "--kek", "env:K"], b"hello");
    assert_eq!(tool.done(&["open", "--kek", "env:NEW"], &sealed), b"hello");
    tool.refused(&["open", "--kek", "env:K"], &sealed);
    let both = ["open", "--kek", "env:K", "--kek", "env:NEW"];
    assert_eq!(tool.done(&both, &sealed), b"hello");
}

#[test]
fn contexts_and_aads_bind() {
    let tool = Tool::new();
    tool.write("aad", AAD);
    tool.write("@aad", "another");
    let seal = [
        "seal",
        "--kek",
        "env:K",
        "--context",
        "b=2=3",
        "--context",
        PAIR,
        "--aad",
        AAD,
    ];
    let sealed = tool.done(&seal, b"hello");
    for good in [
        &["--context", PAIR, "--context", "b=2=3", "--aad", AAD][..],
        &["--context=b=2=3", "--context", PAIR, "--aad", "@aad"],
    ] {
        let open = [&["open", "--kek", "env:K"], good].concat();
        assert_eq!(tool.done(&open, &sealed), b"hello");
    }
    let context = "give the --kek and --context";
    let aad = "key and context are right";
    for (bad, says) in [
        (&[][..], context),
        (&["--aad", AAD], context),
        (&["--context", PAIR, "--aad", AAD], context),
        (&["--context", PAIR, "--context", "b=2=4", "--aad", AAD], context),
        (
            &[
                "--context",
                PAIR,
                "--context",
                "b=2=3",
                "--context",
                "c=",
                "--aad",
                AAD,
            ],
            context,
        ),
        (&["--context", PAIR, "--context", "b=2=3"], aad),
        (
            &["--context", PAIR, "--context", "b=2=3", "--aad", "CANARY-AAD"],
            aad,
        ),
        (&["--context", PAIR, "--context", "b=2=3", "--aad", "@@aad"], aad),
    ] {
        let open = [&["open", "--kek", "env:K"], bad].concat();
        let line = tool.fails_with(3, &open, &sealed);
        assert!(line.contains(says), "{line}");
        assert_eq!(line.contains("--aad"), says == aad, "{line}");
    }
}

// spec: ENV-3
#[test]
fn settings_are_seen_in_the_envelope() {
    let tool = Tool::new();
    let options = [
        "--suite",
        "chacha20-poly1305",
        "--chunk-size",
        "1024",
        "--padding",
        "300",
        "--hide-kek-id",
        "--store-context",
        "--context",
        PAIR,
    ];
    let seal = [&["seal", "--kek", "env:K"][..], &options].concat();
    let sealed = tool.done(&seal, &bytes(3_000));
    let envelope = waxseal::Envelope::parse(&sealed).unwrap();
    let header = envelope.header();
    assert_eq!(header.body().suite(), waxseal::Suite::ChaCha20Poly1305);
    assert_eq!(header.body().chunk_size().bytes(), 1024);
    assert_eq!(envelope.chunk_count(), 3);
    let section = header.wrap_section().unwrap();
    assert_eq!(section.padding(), 300);
    assert!(section.stanzas().all(|stanza| stanza.kek_id.is_empty()));
    let stored = waxseal::EncryptionContext::from_canonical(header.stored_context().unwrap()).unwrap();
    assert_eq!(stored.pairs().collect::<Vec<_>>(), [("tenant", "CANARY-value")]);

    let open = ["open", "--kek", "env:K", "--context", PAIR];
    assert_eq!(tool.done(&open, &sealed), bytes(3_000));
    let line = tool.refused(
        &["open", "--kek", "env:K", "--context", "tenant=CANARY-other"],
        &sealed,
    );
    assert!(line.contains("context stored"), "{line}");
}

#[test]
fn the_library_opens_what_the_tool_seals_and_the_reverse() {
    use waxseal::backend::local::{Kdf, LocalKey, PassphraseKey, kek_from_text};
    use waxseal::blocking::Sealer;

    let tool = Tool::new();
    let context = waxseal::EncryptionContext::new([("tenant", "CANARY-value")]).unwrap();
    let kek = kek_from_text(&KEY.to_owned().into()).unwrap();
    let local = Sealer::new(LocalKey::new(&kek));
    let cost = Kdf::Argon2id {
        memory: 19_456,
        passes: 2,
        lanes: 1,
    };
    let passphrase = PassphraseKey::new(PASSPHRASE.to_owned().into()).unwrap();
    let passphrase = Sealer::new(passphrase.with_kdf(cost).unwrap());
    for (sealer, kek) in [(local, "env:K"), (passphrase, CHEAP)] {
        let bound = ["--kek", kek, "--context", PAIR, "--aad", AAD];
        let sealed = tool.done(&[&["seal"][..], &bound].concat(), b"hello");
        let binding = context.with_aad(AAD.as_bytes());
        assert_eq!(sealer.open(&sealed, binding).unwrap(), b"hello");
        let sealed = sealer.seal(b"hello", binding).unwrap();
        assert_eq!(tool.done(&[&["open"][..], &bound].concat(), &sealed), b"hello");
    }
}
