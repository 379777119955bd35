//! `waxseal keygen`.

use std::collections::HashSet;

use crate::tool::Tool;

#[test]
fn every_key_is_fresh_and_in_the_format_asked_for() {
    let tool = Tool::new();
    let mut seen = HashSet::new();
    for (arguments, len) in [
        (&["keygen"][..], 44),
        (&["keygen"], 44),
        (&["keygen", "--format", "base64"], 44),
        (&["keygen", "--format", "hex"], 64),
        (&["keygen", "--format=hex", "-o", "-"], 64),
    ] {
        let text = String::from_utf8(tool.done(arguments, b"")).unwrap();
        let key = text.strip_suffix('\n').unwrap();
        assert_eq!(key.len(), len, "{arguments:?}");
        assert!(waxseal::backend::local::kek_from_text(&key.to_owned().into()).is_ok());
        assert!(seen.insert(text));
    }
    assert!(tool.listing().is_empty());
}

#[test]
fn a_key_file_is_for_its_owner_and_works() {
    let tool = Tool::new();
    assert!(tool.done(&["keygen", "-o", "key"], b"").is_empty());
    assert_eq!(tool.listing(), ["key"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(tool.path("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let sealed = tool.done(&["seal", "--kek", "file:key"], b"hello");
    assert_eq!(tool.done(&["open", "--kek", "file:key"], &sealed), b"hello");
}

#[test]
fn nothing_is_ever_overwritten() {
    let tool = Tool::new();
    tool.write("key", "CANARY");
    tool.write("empty", "");
    for name in ["key", "empty", ".", "missing/key"] {
        let run = tool.run(&["keygen", "-o", name], b"");
        assert_eq!(run.stdout.len(), 0, "{name}");
        assert_eq!(run.code, if name == "missing/key" { 9 } else { 8 }, "{name}");
    }
    assert_eq!(tool.read("key"), b"CANARY");
    assert_eq!(tool.read("empty"), b"");
    #[cfg(unix)]
    {
        // Not through a link either, not even one that leads nowhere.
        std::os::unix::fs::symlink("nowhere", tool.path("link")).unwrap();
        tool.refused(&["keygen", "-o", "link"], b"");
        assert_eq!(tool.listing(), ["empty", "key", "link"]);
    }
}

#[test]
fn the_id_is_the_one_that_envelopes_show() {
    let tool = Tool::new();
    let run = tool.run(&["keygen", "-o", "key", "--print-id"], b"");
    assert_eq!(run.code, 0);
    let id = run.stderr.trim();
    let sealed = tool.done(&["seal", "--kek", "file:key"], b"");
    let section = waxseal::envelope::Header::parse(&sealed)
        .unwrap()
        .wrap_section()
        .unwrap();
    assert_eq!(section.stanzas().next().unwrap().kek_id, id);
}
