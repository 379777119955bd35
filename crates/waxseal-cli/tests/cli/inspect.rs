//! `waxseal inspect`: what an envelope shows without a key.

use serde_json::{Value, json};
use waxseal::envelope::{DekId, Wraps};
use waxseal::{Envelope, envelope::KekRef, envelope::WrapAlgorithm, envelope::WrapSet, envelope::WrappedDek};

use crate::tool::{PAIR, Tool, bytes};

fn inspect(tool: &Tool, options: &[&str], stdin: &[u8]) -> Value {
    let shown = tool.done(&[&["inspect", "--json"], options].concat(), stdin);
    serde_json::from_slice(&shown).unwrap()
}

/// An envelope whose wraps are these, around a body that the tool sealed.
fn with_wraps(tool: &Tool, wraps: &Wraps) -> Vec<u8> {
    let sealed = tool.done(&["seal", "--kek", "env:K"], b"hello");
    let body = Envelope::parse(&sealed).unwrap().header().body_offset();
    [wraps.prefix(0).unwrap().as_slice(), &sealed[body..]].concat()
}

#[test]
fn every_field_is_the_one_in_the_envelope() {
    let tool = Tool::new();
    let seal = [
        "seal",
        "--kek",
        "env:K",
        "--context",
        PAIR,
        "--chunk-size",
        "1024",
        "--padding",
        "9",
    ];
    let sealed = tool.done(&[&seal[..], &["--store-context"]].concat(), &bytes(2_049));
    let envelope = Envelope::parse(&sealed).unwrap();
    let header = envelope.header();
    let section = header.wrap_section().unwrap();
    let id = section.stanzas().next().unwrap().kek_id;
    let stored = waxseal::EncryptionContext::new([("tenant", "CANARY-value")]).unwrap();
    let expected = json!({
        "schema": 1,
        "version": 1,
        "kind": "attached",
        "suite": "aes-256-gcm",
        "chunk_size": 1024,
        "session_id": hex::encode(header.body().session_id()),
        "header_bytes": header.len(),
        "plaintext_len": 2_049,
        "chunk_count": 3,
        "dek_id": null,
        "threshold": 1,
        "padding": 9,
        "wraps": [{
            "algorithm": "xaes-256-gcm",
            "algorithm_id": 1,
            "class": "symmetric",
            "provider": "local",
            "kek_id": id,
            "kek_version": null,
            "wrapped_len": 72,
            "share_index": 0,
        }],
        "stored_context": { "digest": hex::encode(stored.digest()), "keys": ["tenant"] },
    });
    assert_eq!(inspect(&tool, &[], &sealed), expected);
    tool.write("e", &sealed);
    assert_eq!(inspect(&tool, &["e"], b""), expected);

    let text = String::from_utf8(tool.done(&["inspect", "e"], b"")).unwrap();
    for shown in ["attached", "1024", "2049", "1 of 1", id, "tenant="] {
        assert!(text.contains(shown), "{text}");
    }
}

#[test]
fn context_values_are_shown_on_request_only() {
    let tool = Tool::new();
    let seal = ["seal", "--kek", "env:K", "--context", PAIR, "--store-context"];
    let sealed = tool.done(&seal, b"hello");
    for quiet in [&["inspect"][..], &["inspect", "--json"]] {
        let shown = String::from_utf8(tool.done(quiet, &sealed)).unwrap();
        assert!(shown.contains("tenant") && !shown.contains("CANARY"), "{shown}");
        let shown = tool.done(&[quiet, &["--show-context"]].concat(), &sealed);
        assert!(String::from_utf8(shown).unwrap().contains("CANARY-value"));
    }
}

#[test]
fn the_front_of_an_envelope_is_enough_where_told() {
    let tool = Tool::new();
    let sealed = tool.done(&["seal", "--kek", "env:K"], &bytes(200_000));
    let header = Envelope::parse(&sealed).unwrap().header().len();
    let shown = inspect(&tool, &["--header-only"], &sealed[..header]);
    assert_eq!(shown["plaintext_len"], Value::Null);
    assert_eq!(shown["header_bytes"], header);
    let line = tool.refused(&["inspect"], &sealed[..header]);
    assert!(line.contains("malformed chunks"), "{line}");
    tool.refused(&["inspect", "--header-only"], &sealed[..header - 1]);
}

#[test]
fn lengths_are_those_of_the_library() {
    let tool = Tool::new();
    let sealed = tool.done(&["seal", "--kek", "env:K", "--chunk-size", "1024"], &bytes(2_100));
    let header = Envelope::parse(&sealed).unwrap().header().len();
    let chunk = 1024 + 16;
    for payload in [
        0,
        15,
        16,
        17,
        chunk,
        chunk + 1,
        chunk + 16,
        chunk + 17,
        2 * chunk,
        2 * chunk + 16,
    ] {
        let cut = &sealed[..header + payload];
        tool.write("cut", cut);
        match Envelope::parse(cut) {
            Ok(envelope) => {
                for shown in [inspect(&tool, &[], cut), inspect(&tool, &["cut"], b"")] {
                    assert_eq!(shown["plaintext_len"], envelope.plaintext_len(), "{payload}");
                    assert_eq!(shown["chunk_count"], envelope.chunk_count(), "{payload}");
                }
            }
            Err(_) => {
                tool.refused(&["inspect"], cut);
                tool.refused(&["inspect", "cut"], b"");
            }
        }
    }
}

#[test]
fn a_detached_envelope_shows_its_dek() {
    let tool = Tool::new();
    let detached = with_wraps(&tool, &Wraps::Detached(DekId([0xab; 16])));
    let shown = inspect(&tool, &[], &detached);
    assert_eq!(shown["kind"], "detached");
    assert_eq!(shown["dek_id"], "ab".repeat(16));
    assert_eq!(shown["wraps"], Value::Null);
    let text = String::from_utf8(tool.done(&["inspect"], &detached)).unwrap();
    assert!(text.contains(&"ab".repeat(16)), "{text}");
    for command in ["open", "rewrap"] {
        let line = tool.refused(&[command, "--kek", "env:K"], &detached);
        assert!(line.contains("detached"), "{line}");
    }
}

#[test]
fn names_from_an_envelope_cannot_paint_the_terminal() {
    let tool = Tool::new();
    let id = "left\u{202e}right\u{2028}lock\u{1f512}\"\\";
    let kek = KekRef::new("private-kms", id, "v\u{feff}1").unwrap();
    let wrap = WrappedDek::new(WrapAlgorithm::from_id(230), kek, vec![1]).unwrap();
    let envelope = with_wraps(&tool, &Wraps::Attached(WrapSet::any_of(vec![wrap]).unwrap()));

    let shown = tool.done(&["inspect", "--json"], &envelope);
    assert!(shown.is_ascii());
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    assert_eq!(shown["wraps"][0]["kek_id"], id);
    assert_eq!(shown["wraps"][0]["algorithm"], Value::Null);
    assert_eq!(shown["wraps"][0]["algorithm_id"], 230);

    let text = String::from_utf8(tool.done(&["inspect"], &envelope)).unwrap();
    let line = tool.refused(&["open", "--kek", "env:K"], &envelope);
    for shown in [text, line] {
        assert!(shown.contains("left\\u{202e}right\\u{2028}lock"), "{shown}");
        assert!(!shown.contains(['\u{202e}', '\u{2028}', '\u{feff}']));
    }
}
