//! `waxseal rewrap`: other wraps, and the same body.

use waxseal::Envelope;

use crate::tool::{AAD, CHEAP, NEW_KEY, PAIR, Tool, bytes};

const REWRAP: [&str; 5] = ["rewrap", "--kek", "env:K", "--to", "env:NEW"];

fn seal(tool: &Tool, options: &[&str], len: usize) -> Vec<u8> {
    tool.done(&[&["seal", "--kek", "env:K"], options].concat(), &bytes(len))
}

fn body(envelope: &[u8]) -> &[u8] {
    let header = *Envelope::parse(envelope).unwrap().header();
    &envelope[header.body_offset()..]
}

#[test]
fn the_new_key_opens_and_the_old_one_does_not() {
    let tool = Tool::new();
    for len in [0, 1, 65_536, 200_000] {
        let sealed = seal(&tool, &["--context", PAIR, "--aad", AAD], len);
        let new = tool.done(&[&REWRAP[..], &["--context", PAIR]].concat(), &sealed);
        assert!(body(&new) == body(&sealed), "{len}");
        let open = |kek| ["open", "--kek", kek, "--context", PAIR, "--aad", AAD];
        assert!(tool.done(&open("env:NEW"), &new) == bytes(len), "{len}");
        let line = tool.refused(&open("env:K"), &new);
        assert!(line.contains("no configured key"), "{line}");
    }
}

#[test]
fn the_context_must_be_right() {
    let tool = Tool::new();
    let sealed = seal(&tool, &["--context", PAIR], 5);
    for bad in [&[][..], &["--context", "tenant=CANARY"]] {
        let line = tool.refused(&[&REWRAP[..], bad].concat(), &sealed);
        assert!(line.contains("does not open"), "{line}");
    }
    let line = tool.fails_with(2, &[&REWRAP[..], &["--use-stored-context"]].concat(), &sealed);
    assert!(line.contains("stores no context"), "{line}");
    let line = tool.refused(&["rewrap", "--kek", "env:NEW", "--context", PAIR], &sealed);
    assert!(line.contains("no configured key"), "{line}");
}

#[test]
fn a_stored_context_is_taken_only_where_told() {
    let tool = Tool::new();
    let sealed = seal(&tool, &["--context", PAIR, "--store-context"], 5);
    let line = tool.fails_with(2, &REWRAP, &sealed);
    assert!(line.contains("--use-stored-context"), "{line}");
    let line = tool.refused(&[&REWRAP[..], &["--context", "tenant=CANARY"]].concat(), &sealed);
    assert!(line.contains("context stored"), "{line}");
    for good in [&["--use-stored-context"][..], &["--context", PAIR]] {
        let new = tool.done(&[&REWRAP[..], good].concat(), &sealed);
        assert_eq!(body(&new), body(&sealed));
        let open = ["open", "--kek", "env:NEW", "--context", PAIR];
        assert_eq!(tool.done(&open, &new), bytes(5));
    }
}

#[test]
fn any_of_several_new_keys_opens() {
    let tool = Tool::new();
    let sealed = seal(&tool, &[], 5);
    let new = tool.done(&[&REWRAP[..], &["--to", CHEAP]].concat(), &sealed);
    for kek in ["env:NEW", CHEAP] {
        assert_eq!(tool.done(&["open", "--kek", kek], &new), bytes(5));
    }
    tool.refused(&["open", "--kek", "env:K"], &new);
}

#[test]
fn without_to_a_single_key_wraps_anew_and_of_several_one_must_be_named() {
    let tool = Tool::new();
    let sealed = seal(&tool, &[], 5);
    let same = tool.done(&["rewrap", "--kek", "env:K"], &sealed);
    assert_ne!(same, sealed);
    assert_eq!(tool.done(&["open", "--kek", "env:K"], &same), bytes(5));
    let line = tool.fails_with(2, &["rewrap", "--kek", "env:NEW", "--kek", "env:K"], &sealed);
    assert!(line.contains("--to is missing"), "{line}");
    // In the environment it is said which one wraps.
    let variables = [("WAXSEAL_KMS_URI", "env:NEW"), ("WAXSEAL_KMS_ALSO_OPEN", "env:K")];
    let run = tool.run_with(&variables, &["rewrap"], &sealed);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(tool.done(&["open", "--kek", "env:NEW"], &run.stdout), bytes(5));
    tool.refused(&["open", "--kek", "env:K"], &run.stdout);
    let (under, replaced) = run.stderr.split_once('\n').unwrap();
    assert!(
        under.starts_with("waxseal: wrapped under local "),
        "{}",
        run.stderr
    );
    assert!(replaced.starts_with("waxseal: replaced local "), "{}", run.stderr);
}

#[test]
fn wraps_of_other_keys_stay_unless_told() {
    let tool = Tool::new();
    let sealed = seal(&tool, &[], 5);
    let both = ["rewrap", "--kek", "env:K", "--to", "env:K", "--to", "env:NEW"];
    let both = tool.done(&both, &sealed);
    let to_passphrase = ["rewrap", "--kek", "env:K", "--to", CHEAP];
    let kept = tool.done(&to_passphrase, &both);
    assert_eq!(tool.done(&["open", "--kek", "env:NEW"], &kept), bytes(5));
    let dropped = tool.done(&[&to_passphrase[..], &["--drop-unknown"]].concat(), &both);
    tool.refused(&["open", "--kek", "env:NEW"], &dropped);
    for envelope in [kept, dropped] {
        assert_eq!(tool.done(&["open", "--kek", CHEAP], &envelope), bytes(5));
        tool.refused(&["open", "--kek", "env:K"], &envelope);
        assert_eq!(body(&envelope), body(&sealed));
    }
}

#[test]
fn in_place_replaces_the_file_or_leaves_it() {
    let tool = Tool::new();
    let sealed = seal(&tool, &[], 200_000);
    tool.write("e", &sealed);
    tool.set_mode("e", 0o640);
    tool.refused(&["rewrap", "--kek", "env:NEW", "--in-place", "e"], b"");
    assert!(tool.read("e") == sealed);
    assert!(
        tool.done(&[&REWRAP[..], &["--in-place", "e"]].concat(), b"")
            .is_empty()
    );
    assert!(body(&tool.read("e")) == body(&sealed));
    tool.done(&["open", "--kek", "env:NEW", "e", "-o", "opened"], b"");
    assert!(tool.read("opened") == bytes(200_000));
    assert_eq!(tool.listing(), ["e", "opened"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(tool.path("e")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    tool.write("f", &sealed);
    tool.done(&[&REWRAP[..], &["f", "-o", "g"]].concat(), b"");
    assert!(tool.read("f") == sealed && tool.read("g") != sealed);
}

/// What is where the wraps fit: the same file, of which nothing but the wraps is written.
#[cfg(unix)]
#[test]
fn in_place_overwrites_the_wraps_alone_where_they_fit() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let tool = Tool::new();
    let inode = |name: &str| std::fs::metadata(tool.path(name)).unwrap().ino();
    let in_place = [&REWRAP[..], &["--to", CHEAP, "--in-place", "e"]].concat();
    for (reserve, is_same) in [("500", true), ("0", false)] {
        tool.write("e", seal(&tool, &["--reserve", reserve], 200_000));
        let (before, old) = (tool.read("e"), inode("e"));
        tool.done(&in_place, b"");
        assert_eq!(inode("e") == old, is_same, "{reserve}");
        assert_eq!(tool.read("e").len() == before.len(), is_same);
        assert!(body(&tool.read("e")) == body(&before));
        tool.done(&["open", "--kek", "env:NEW", "e", "-o", "opened"], b"");
        assert!(tool.read("opened") == bytes(200_000));
        assert_eq!(tool.listing(), ["e", "opened"]);
    }

    // A file that cannot be overwritten is replaced; one with several names only if told so.
    let to_new = [&REWRAP[..], &["--in-place", "e"]].concat();
    tool.write("e", seal(&tool, &[], 5));
    let old = inode("e");
    std::fs::hard_link(tool.path("e"), tool.path("second")).unwrap();
    let line = tool.fails_with(8, &to_new, b"");
    assert!(
        line.contains("2 names") && line.contains("--break-links"),
        "{line}"
    );
    tool.done(&[&to_new[..], &["--break-links"]].concat(), b"");
    assert!(inode("e") != old && inode("second") == old);
    assert_eq!(tool.done(&["open", "--kek", "env:K", "second"], b""), bytes(5));
    assert_eq!(tool.done(&["open", "--kek", "env:NEW", "e"], b""), bytes(5));

    tool.write("e", seal(&tool, &[], 5));
    tool.set_mode("e", 0o440);
    tool.done(&to_new, b"");
    assert_eq!(tool.done(&["open", "--kek", "env:NEW", "e"], b""), bytes(5));
    let mode = std::fs::metadata(tool.path("e")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o440);
}

#[cfg(unix)]
#[test]
fn in_place_waits_for_nobody_and_clears_what_was_left_behind() {
    let tool = Tool::new();
    let sealed = seal(&tool, &[], 5);
    let in_place = [&REWRAP[..], &["--in-place", "e"]].concat();
    tool.write("e", &sealed);
    let held = std::fs::File::open(tool.path("e")).unwrap();
    held.lock().unwrap();
    let line = tool.refused(&in_place, b"");
    assert!(line.contains("another process"), "{line}");
    tool.write("e.waxseal-journal", b"WAXJ");
    let line = tool.refused(&in_place, b"");
    assert!(line.contains("another process"), "{line}");
    drop(held);
    // The journal was never finished: the file was not touched.
    tool.done(&in_place, b"");
    assert_eq!(tool.listing(), ["e"]);
    assert_eq!(tool.done(&["open", "--kek", "env:NEW", "e"], b""), bytes(5));
    // One beside something that is no envelope: somebody has to look.
    tool.write("e", b"no envelope");
    tool.write("e.waxseal-journal", b"WAXJ");
    let line = tool.refused(&in_place, b"");
    assert!(line.contains("journal"), "{line}");
}

#[test]
fn reserved_bytes_keep_the_length() {
    let tool = Tool::new();
    let sealed = seal(&tool, &["--padding", "500"], 5);
    let to_both = [&REWRAP[..], &["--to", CHEAP]].concat();
    let new = tool.done(&to_both, &sealed);
    assert_eq!(new.len(), sealed.len());
    assert_eq!(tool.done(&["open", "--kek", "env:NEW"], &new), bytes(5));
    let without = tool.done(&[&REWRAP[..], &["--padding", "0"]].concat(), &new);
    assert_eq!(
        Envelope::parse(&without)
            .unwrap()
            .header()
            .wrap_section()
            .unwrap()
            .padding(),
        0
    );
    assert_eq!(body(&without), body(&sealed));
}

#[test]
fn ids_are_hidden_on_request() {
    let tool = Tool::new();
    let sealed = seal(&tool, &[], 5);
    let new = tool.done(&[&REWRAP[..], &["--hide-kek-id"]].concat(), &sealed);
    let section = Envelope::parse(&new).unwrap().header().wrap_section().unwrap();
    assert!(section.stanzas().all(|stanza| stanza.kek_id.is_empty()));
    tool.write_private("new", NEW_KEY);
    let open = ["open", "--kek", "env:K", "--kek", "file:new"];
    assert_eq!(tool.done(&open, &new), bytes(5));
}

#[test]
fn what_was_kept_replaced_and_dropped_is_told_and_fewer_keys_are_refused() {
    let tool = Tool::new();
    let sealed = seal(&tool, &[], 5);
    let both = [
        "rewrap", "-q", "--kek", "env:K", "--to", "env:K", "--to", "env:NEW",
    ];
    let both = tool.done(&both, &sealed);
    let told = |options: &[&str]| {
        let run = tool.run(
            &[&["rewrap", "--kek", "env:K", "--to", CHEAP], options].concat(),
            &both,
        );
        assert_eq!(run.code, 0, "{}", run.stderr);
        let fate = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
        run.stderr.lines().map(fate).collect::<Vec<_>>()
    };
    assert_eq!(told(&[]), ["wrapped", "replaced", "kept"]);
    assert_eq!(told(&["--drop-unknown"]), ["wrapped", "replaced", "dropped"]);
    assert!(told(&["-q"]).is_empty());

    // Primary and recovery would become one.
    let one = ["rewrap", "--kek", "env:K", "--kek", "env:NEW", "--to", CHEAP];
    let line = tool.fails_with(8, &one, &both);
    assert!(line.contains("fewer") && line.contains("--allow-fewer"), "{line}");
    let allowed = tool.done(&[&one[..], &["--allow-fewer"]].concat(), &both);
    assert_eq!(tool.done(&["open", "--kek", CHEAP], &allowed), bytes(5));
    tool.write("e", &both);
    let in_place = [&one[..], &["--in-place", "e"]].concat();
    tool.fails_with(8, &in_place, b"");

    let run = tool.run(
        &[
            "--json", "rewrap", "--kek", "env:K", "--to", CHEAP, "e", "-o", "new",
        ],
        b"",
    );
    let object: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(object["in_place"], false);
    assert_eq!(object["wrapped_under"][0]["provider"], "local");
    assert_eq!(object["old_wraps"][0]["fate"], "replaced");
    assert_eq!(object["old_wraps"][1]["fate"], "kept");
}

/// As a run leaves it that was killed: whoever meets the file says what to do.
#[cfg(unix)]
#[test]
fn a_file_whose_rewrap_was_cut_off_is_explained() {
    let tool = Tool::new();
    let sealed = seal(&tool, &["--padding", "100"], 5);
    tool.write("e", &sealed);
    let mut torn = sealed.clone();
    torn[..4].copy_from_slice(b"torn");
    tool.write("e", &torn);
    tool.write_private("e.waxseal-journal", b"WAXJ");
    for command in [
        &["open", "--kek", "env:K", "e"][..],
        &["inspect", "e"],
        &["rewrap", "--kek", "env:K", "--to", "env:NEW", "e", "-o", "f"],
    ] {
        let line = tool.fails_with(7, command, b"");
        assert!(
            line.contains("interrupted") && line.contains("--in-place"),
            "{line}"
        );
    }
    let line = tool.fails_with(7, &["rewrap", "--kek", "env:NEW", "--in-place", "e"], b"");
    assert!(line.contains("journal"), "{line}");
}
